//! Who knocks at the link port and is not of the domain: refused, logged with his address, and nothing of him stays.

use crate::ended::{LONG, eventually, within};
use crate::host::{Host, Lab};
use crate::three::joined;
use link::identity::Home;
use link::secure::Secure;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One round of knocks; more of them must change nothing.
const ROUND: usize = 500;
const ROUNDS: usize = 4;

/// What is said, and how the connection ends.
#[derive(Clone, Copy, Debug)]
enum Knock {
    Nothing,
    Garbage,
    Ninep,
    Http,
    /// A handshake that stops half-way.
    Hello,
    /// TLS with a certificate of another domain.
    Stranger,
}

const KNOCKS: [Knock; 6] =
    [Knock::Nothing, Knock::Garbage, Knock::Ninep, Knock::Http, Knock::Hello, Knock::Stranger];

impl Knock {
    /// Does it, and reads until the other end has had enough; its own address.
    fn at(self, to: SocketAddr, stranger: &Home) -> SocketAddr {
        let mut stream = TcpStream::connect(to).unwrap();
        let own = stream.local_addr().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let version = b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x06\09P2000";
        match self {
            Knock::Nothing => return own,
            Knock::Garbage => stream.write_all(&[0xa5; 3000]).unwrap(),
            Knock::Ninep => stream.write_all(version).unwrap(),
            Knock::Http => stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(),
            Knock::Hello => {
                let secure = Secure::dial(stranger).unwrap();
                stream.write_all(&secure.output()[..secure.output().len() / 2]).unwrap();
                return own;
            }
            Knock::Stranger => {
                let mut secure = Secure::dial(stranger).unwrap();
                let mut buffer = [0; 16 << 10];
                let mut said = Ok(());
                while secure.handshaking() && said.is_ok() {
                    stream.write_all(secure.output()).unwrap();
                    let sent = secure.output().len();
                    secure.consume(sent);
                    let count = stream.read(&mut buffer).unwrap_or(0);
                    said = if count == 0 {
                        Err(String::new())
                    } else {
                        secure.receive(&buffer[..count], &mut Vec::new())
                    };
                }
                assert!(said.is_err() || secure.handshaking(), "a stranger was let in");
                return own;
            }
        }
        let _reset = stream.read_to_end(&mut Vec::new());
        own
    }
}

/// Resident bytes and open descriptors of a host's node.
fn size(host: &Host, node: u32) -> (u64, usize) {
    let statm = host.ok(&format!("cat /proc/{node}/statm"));
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    (pages * 4096, host.ok(&format!("ls /proc/{node}/fd")).lines().count())
}

fn port(host: &Host, segment: u8) -> SocketAddr {
    host.link(segment).trim_start_matches("tls!").replace('!', ":").parse().unwrap()
}

#[test]
fn strangers_at_the_link_port_are_refused_and_leave_nothing() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, b]) = joined(&lab, "");
    let dir = tempfile::tempdir().unwrap();
    let mut stranger = Home::open(dir.path()).unwrap();
    stranger.found("stranger").unwrap();
    let (node, to) = (g.node(), port(&g, 1));
    // The log has room for so many in ten seconds: one of each kind.
    let mut ends = Vec::new();
    for knock in KNOCKS {
        ends.push((knock, a.inside(|| knock.at(to, &stranger))));
    }
    let log = || std::fs::read_to_string(g.state().join("log")).unwrap_or_default();
    for (knock, end) in &ends {
        // As it is known there: with both versions of IP, an old address is written in the new way.
        let (ip, end) = (end.ip().to_string(), format!(":{}: ", end.port()));
        let mut lines = 0;
        let logged = within(Duration::from_secs(12), || {
            lines = log().lines().filter(|line| line.contains(&ip) && line.contains(&end)).count();
            lines > 0
        });
        assert!(logged && lines == 1, "{knock:?} {end} is logged {lines} times:\n{}", log());
    }
    let round = || {
        a.inside(|| (0..ROUND).for_each(|n| _ = KNOCKS[n % KNOCKS.len()].at(to, &stranger)));
        let mut fds = 0;
        let few = within(Duration::from_secs(20), || {
            fds = size(&g, node).1;
            fds < 40
        });
        assert!(few, "{fds} descriptors");
        size(&g, node)
    };
    let before = round();
    let lines = log().lines().count();
    let after = (1..ROUNDS).fold(before, |_, _| round());
    println!("{before:?}, and {} knocks later {after:?}", (ROUNDS - 1) * ROUND);
    assert!(after.0 < before.0 + (1 << 20), "{} bytes more", after.0 - before.0);
    assert!(after.1 <= before.1 + 2, "{} descriptors more", after.1 - before.1);
    let more = log().lines().count() - lines;
    assert!(more < 200, "{more} lines for {} knocks", (ROUNDS - 1) * ROUND);
    // Nobody else has noticed.
    assert_eq!(g.node(), node);
    assert_eq!(a.ok("uem run --on b -- hostname"), "b\n");
    drop(b);
}

/// It has a certificate; of somebody else.
#[test]
fn a_node_of_another_domain_is_not_linked() {
    let Some(lab) = Lab::new() else { return };
    let ([left, _right], [_a, g, _b]) = joined(&lab, "");
    let x = lab.host("x", &[&left]);
    x.up("");
    x.invite();
    x.ok("uem down");
    x.up(&format!("--parent '{}'", g.link(1)));
    let mut seeking = String::new();
    eventually("it says why it has no parent", || {
        seeking = x.cat("self/info");
        seeking.lines().any(|line| line.starts_with("seeking=") && line.contains("another trust domain"))
    });
    println!("{}", seeking.lines().find(|line| line.starts_with("seeking=")).unwrap());
    assert_eq!(g.ok("uem ls net"), "a\nb\ng\n");
    eventually("g has said so", || g.log().contains(&x.ip(1)));
}
