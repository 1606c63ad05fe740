//! Who comes to the link port and is no node of the trust domain: refused, said once, and nothing is left of it; and
//! those who may come.

use crate::byhand::{ByHand, Child};
use crate::cloud::{Cloud, PATIENCE, Running};
use host::client::{Connection, WRITE};
use link::wire::{Frame, Hello, Kind, VERSION};
use op::Errno;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends bytes in the clear, and reads until the other end hangs up.
fn in_the_clear(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut all = Vec::new();
    let _a_reset_is_an_end_too = stream.read_to_end(&mut all);
    all
}

/// That there is one line more, about this, and no connection.
fn refused_once(a: &Running, before: usize, word: &str) {
    a.until("nothing is left", |seen| seen.conns == 0 && seen.refusals.len() > before);
    let refusals = a.seen().refusals;
    assert_eq!(refusals.len(), before + 1, "{refusals:?}");
    let line = &refusals[before];
    assert!(line.starts_with("127.0.0.1:") && line.contains(word), "{line}");
}

#[test]
fn garbage_plain_9p_and_strangers_are_refused_with_one_line_each() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    let user = cloud.user(&mut authority, "ann");
    let mut other_cloud = cloud.found("x");
    let stranger = cloud.member(&mut other_cloud, "y");
    let a = cloud.up("a", &[]);
    let (port, pin) = (a.port(), authority.domain().unwrap());
    let version = [&[19u8, 0, 0, 0, 100, 255, 255, 0, 4, 0, 0, 6, 0][..], b"9P2000"].concat();
    in_the_clear(port, b"GET / HTTP/1.0\r\n\r\n");
    refused_once(&a, 0, "HTTP");
    in_the_clear(port, &version);
    refused_once(&a, 1, "TLS");
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    refused_once(&a, 2, "hung up");
    ByHand::as_member(port, &stranger).until_hung_up();
    refused_once(&a, 3, "");
    // The domain's key is known to him, but he has no certificate.
    let mut nobody = ByHand::as_nobody(port, &pin);
    nobody.send(&version);
    assert!(nobody.until_hung_up().is_empty());
    refused_once(&a, 4, "no certificate");
    let mut hello = Vec::new();
    let theirs =
        Hello { version: VERSION, kind: Kind::Control, epoch: 1, beat: Duration::from_secs(1), above: true };
    Frame::Hello(theirs).encode(&mut hello);
    let mut nobody = ByHand::as_nobody(port, &pin);
    nobody.send(&hello);
    let Ok(Frame::Bye { why, .. }) = Frame::decode(&nobody.until_hung_up()) else { panic!("he is told") };
    assert!(why.contains("no certificate"), "{why}");
    refused_once(&a, 5, "no certificate");
    let mut ann = ByHand::as_member(port, &user);
    ann.send(&hello);
    ann.until_hung_up();
    refused_once(&a, 6, "user ann");
}

#[test]
fn a_node_that_breaks_the_protocol_is_broken_with() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    let home = cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let mut child = Child::link(a.port(), &home, 1, Kind::Control).unwrap();
    a.until("a link", |seen| seen.links == 1);
    child.tls.send(&[7, 0, 0, 0, 250, 255, 255]);
    a.until("no link", |seen| seen.links == 0);
    drop(child);
    a.until("nothing is left", |seen| seen.conns == 0);
    let refusals = a.seen().refusals;
    assert!(refusals.len() == 1 && refusals[0].contains("type 250"), "{refusals:?}");
}

#[test]
fn who_connects_and_says_nothing_is_dropped() {
    let cloud = Cloud::new();
    cloud.found("a");
    let a = cloud.up("a", &[]);
    // Both ends are ours, and other tests run beside: with few descriptors, few.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let many = if limit.is_some_and(|most| most < 2048) { 20 } else { 300 };
    let silent: Vec<TcpStream> =
        (0..many).map(|_| TcpStream::connect(("127.0.0.1", a.port())).unwrap()).collect();
    a.until("they are there", |seen| seen.conns >= many * 2 / 3);
    assert!(a.seen().conns <= 256, "and no more than may be");
    a.until("they are dropped", |seen| seen.conns == 0);
    let lines = a.seen().refusals.len();
    assert!((1..=20).contains(&lines), "the log is not flooded: {lines} lines");
    drop(silent);
}

#[test]
fn a_user_with_a_certificate_is_who_it_says() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    cloud.user(&mut authority, "no-such-ann");
    cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let mut ann = Connection::dial_as(&a.link(), &cloud.state("no-such-ann")).unwrap();
    let status = String::from_utf8(ann.read_file("self/status").unwrap()).unwrap();
    assert!(status.starts_with("a up"), "{status}");
    let fid = ann.open("self/ctl", WRITE);
    let refused = fid.and_then(|fid| ann.write(fid, b"down\n"));
    let errno = refused.unwrap_err().errno;
    assert!(matches!(errno, Errno::PERM | Errno::ACCES), "who has no account here only looks: {errno:?}");
    // A node says for whom it asks: here it is whoever runs this test, who owns the node as well.
    let mut node = Connection::dial_as(&a.link(), &cloud.state("b")).unwrap();
    let fid = node.open("self/ctl", WRITE).unwrap();
    node.write(fid, b"label x=1\n").unwrap();
    authority.revoke("no-such-ann").unwrap();
    let gone = (0..1000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(10));
        ann.read_file("self/status").is_err()
    });
    assert!(gone, "what is revoked takes effect on open connections");
    assert!(Connection::dial_as(&a.link(), &cloud.state("no-such-ann")).is_err());
}
