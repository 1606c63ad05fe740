//! Links between real nodes over real TLS: they come up, they break, and come up again.

use crate::byhand::{Child, ask_to_join};
use crate::cloud::{BEAT, Cloud, Running};
use host::Settings;
use host::dial::Addr;
use link::identity::{Home, Kind as Invited};
use link::wire::{Frame, Kind, Said};
use std::net::TcpListener;
use std::time::Duration;

/// What a busy machine may add to anything.
const SLACK: Duration = Duration::from_secs(3);

/// Two nodes, the first of which is the authority and the other's parent.
fn pair(cloud: &Cloud) -> (Home, Running, Running) {
    let mut authority = cloud.found("a");
    cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let b = cloud.up("b", &[a.link()]);
    a.until("a link", |seen| seen.links == 1);
    b.until("a link", |seen| seen.links == 1);
    (authority, a, b)
}

#[test]
fn a_node_finds_its_parent_and_each_reads_the_others_files() {
    let cloud = Cloud::new();
    let (_, a, b) = pair(&cloud);
    let status = a.until_cat("net/b/status", Result::is_ok).unwrap();
    assert!(status.starts_with("b up"), "{status}");
    let info = b.until_cat("net/a/info", Result::is_ok).unwrap();
    assert!(info.contains(&a.link().to_string()), "{info}");
    assert_eq!(a.ls("net"), ["a", "b"]);
    assert_eq!(b.ls("net"), ["a", "b"]);
    let error = a.cat("net/nosuch/status").unwrap_err();
    assert!(error.cause.contains("nosuch"), "a sentence, though the walk went a step: {error:?}");
    assert!(a.seen().refusals.is_empty() && b.seen().refusals.is_empty());
}

#[test]
fn a_killed_node_is_noticed_at_once_and_a_stopped_one_says_so() {
    let cloud = Cloud::new();
    let (_, a, b) = pair(&cloud);
    b.kill();
    let took = a.until("no link", |seen| seen.links == 0);
    assert!(took < SLACK, "a connection that is closed says so: {took:?}");
    a.until("nothing left", |seen| seen.conns == 0);
    let b = cloud.up("b", &[a.link()]);
    a.until("a link", |seen| seen.links == 1);
    b.until("a link", |seen| seen.links == 1);
    b.write("self/ctl", "down\n").unwrap();
    a.until("no link", |seen| seen.links == 0 && seen.conns == 0);
    let info = a.until_cat("net/b/info", |said| said.as_ref().is_ok_and(|s| s.contains("down"))).unwrap();
    assert!(info.contains("stopped"), "{info}");
}

#[test]
fn a_frozen_node_is_given_up_after_two_beats_and_comes_back() {
    let cloud = Cloud::new();
    let (_, a, b) = pair(&cloud);
    b.freeze();
    let took = a.until("no link", |seen| seen.links == 0);
    assert!(took > BEAT && took < 2 * BEAT + SLACK, "two beats are {:?}: {took:?}", 2 * BEAT);
    let info = a.cat("net/b/info").unwrap();
    assert!(info.contains("no heartbeat for 0.6 s"), "{info}");
    a.until("nothing left", |seen| seen.conns == 0);
    b.thaw();
    a.until("it is back", |seen| seen.links == 1);
    b.until("it is back", |seen| seen.links == 1);
    a.until_cat("net/b/status", |said| said.as_ref().is_ok_and(|s| s.starts_with("b up"))).unwrap();
}

#[test]
fn a_node_whose_parent_dies_takes_the_next_one() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    cloud.member(&mut authority, "b");
    cloud.member(&mut authority, "c");
    // Nothing listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (a, b) = (cloud.up("a", &[]), cloud.up("b", &[]));
    let parents = [Addr::Tls("127.0.0.1".into(), nobody), a.link(), b.link()];
    let c = cloud.up("c", &parents);
    a.until("a link", |seen| seen.links == 1);
    c.until("a link", |seen| seen.links == 1);
    a.kill();
    b.until("a link", |seen| seen.links == 1);
    assert_eq!(c.until_cat("net/b/status", Result::is_ok).unwrap().split(' ').next(), Some("b"));
}

#[test]
fn the_same_node_linking_again_takes_the_place_of_the_link_before() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    let home = cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let mut first = Child::link(a.port(), &home, 1, Kind::Control).unwrap();
    a.until("a link", |seen| seen.links == 1);
    let mut second = Child::link(a.port(), &home, 2, Kind::Control).unwrap();
    let is_bye =
        |said: &Said| matches!(said, Said::Frame(Frame::Bye { left: false, why }) if why.contains("again"));
    a.until("a link", |seen| seen.links == 1);
    second.turn().unwrap();
    first.until(|child| child.said.iter().any(is_bye)).unwrap();
    // A lane of the first life finds no link that it is of.
    assert!(Child::link(a.port(), &home, 1, Kind::Bulk).is_err());
    a.until("a line", |seen| seen.refusals.iter().any(|line| line.contains("no link")));
}

#[test]
fn a_child_that_says_nothing_more_is_given_up() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    let home = cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let mut half_open = Child::link(a.port(), &home, 1, Kind::Control).unwrap();
    a.until("a link", |seen| seen.links == 1);
    let took = a.until("it is given up", |seen| seen.links == 0);
    assert!(took < 2 * BEAT + SLACK, "{took:?}");
    let is_bye =
        |said: &Said| matches!(said, Said::Frame(Frame::Bye { why, .. }) if why.contains("no heartbeat"));
    half_open.until(|child| child.said.iter().any(is_bye)).unwrap();
    drop(half_open);
    a.until("nothing left", |seen| seen.conns == 0);
}

#[test]
fn streams_go_over_a_connection_of_their_own_and_arrive_whole() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    cloud.member(&mut authority, "b");
    let bytes: Vec<u8> = (0..8u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let file = cloud.dir.path().join("eight-mib");
    std::fs::write(&file, &bytes).unwrap();
    let a = Running::start(Settings { fs: true, ..cloud.settings("a", &[]) });
    let b = Running::start(Settings { fs: true, ..cloud.settings("b", &[a.link()]) });
    a.until("a link", |seen| seen.links == 1);
    b.until("a link", |seen| seen.links == 1);
    assert_eq!((a.seen().conns, b.seen().conns), (1, 1), "no second connection before it is needed");
    // The parent wants it, and only the child can dial; and the other way round.
    for (from, to) in [(&a, "b"), (&b, "a")] {
        let path = format!("net/{to}/fs{}", file.display());
        from.until_cat(&format!("net/{to}/status"), Result::is_ok).unwrap();
        let read = from.connect().read_file(&path).unwrap();
        assert!(read == bytes, "{} bytes came", read.len());
        let copy = cloud.dir.path().join(format!("copy-by-{to}"));
        std::fs::write(&copy, b"").unwrap();
        from.connect().write_file(&format!("net/{to}/fs{}", copy.display()), &bytes).unwrap();
        assert!(std::fs::read(&copy).unwrap() == bytes);
    }
    assert_eq!((a.seen().conns, b.seen().conns), (2, 2));
}

#[test]
fn whoever_has_a_token_joins_at_any_node() {
    let cloud = Cloud::new();
    let (mut authority, _a, b) = pair(&cloud);
    let token = authority.invite(Invited::Node, Duration::from_secs(60)).unwrap();
    let mut home = Home::open(&cloud.state("c")).unwrap();
    let grant = ask_to_join(b.port(), token.pin(), home.join(&token, "c")).unwrap();
    home.accept(&token, &grant).unwrap();
    let c = cloud.up("c", &[b.link()]);
    c.until("a link", |seen| seen.links == 1);
    // Once is enough for a token.
    let mut other = Home::open(&cloud.state("d")).unwrap();
    let grant = ask_to_join(b.port(), token.pin(), other.join(&token, "d")).unwrap();
    assert!(other.accept(&token, &grant).is_err());
    b.until("nothing left but links", |seen| seen.conns == 2);
}

#[test]
fn a_join_is_refused_with_a_sentence_while_the_authority_is_away() {
    let cloud = Cloud::new();
    let (mut authority, a, b) = pair(&cloud);
    a.kill();
    b.until("no link", |seen| seen.links == 0);
    let token = authority.invite(Invited::Node, Duration::from_secs(60)).unwrap();
    let mut home = Home::open(&cloud.state("c")).unwrap();
    let grant = ask_to_join(b.port(), token.pin(), home.join(&token, "c")).unwrap();
    let why = home.accept(&token, &grant).unwrap_err();
    assert!(why.contains("its link to it is down"), "{why}");
}

#[test]
fn what_another_process_changes_is_taken_notice_of() {
    let cloud = Cloud::new();
    let (a, b) = (cloud.up("a", &[]), cloud.up("b", &[]));
    let is_link = |addr: &Addr| matches!(addr, Addr::Tls(..));
    assert!(!a.seen().addrs.iter().any(is_link), "without a trust domain nobody can be let in");
    let mut authority = cloud.found("a");
    a.until("it listens", |seen| seen.addrs.iter().any(is_link));
    let text = a.link().to_string();
    a.until_cat("self/info", |said| said.as_ref().is_ok_and(|info| info.contains(&text))).unwrap();
    let mut home = cloud.member(&mut authority, "b");
    home.set_parents(&[text]).unwrap();
    b.until("a link", |seen| seen.links == 1);
    a.until("a link", |seen| seen.links == 1);
    authority.revoke("b").unwrap();
    a.until("its link is gone", |seen| seen.links == 0);
    b.until("its link is gone", |seen| seen.links == 0);
    // It knows, and does not even try; one that does not know is told.
    assert!(a.seen().refusals.is_empty());
    assert!(Child::link(a.port(), &home, 1, Kind::Control).is_err());
    a.until("it is refused", |seen| seen.refusals.iter().any(|line| line.contains("revoked")));
}

#[test]
fn a_port_that_was_given_once_is_taken_again() {
    let cloud = Cloud::new();
    cloud.found("a");
    let a = cloud.up("a", &[]);
    let link = a.link();
    a.kill();
    assert_eq!(cloud.up("a", &[]).link(), link);
}

#[test]
fn who_leaves_is_gone_for_good() {
    let cloud = Cloud::new();
    let (_, a, b) = pair(&cloud);
    a.until_cat("net/b/status", Result::is_ok).unwrap();
    b.write("self/ctl", "leave\n").unwrap();
    a.until("no link", |seen| seen.links == 0);
    b.until("no link", |seen| seen.links == 0);
    a.until_cat("net/b/status", Result::is_err).unwrap_err();
    assert_eq!(a.ls("net"), ["a"]);
    assert!(Home::open(&b.state).unwrap().parents().unwrap().is_empty());
}
