//! Links between real nodes over real TLS: they come up, they break, and what is no link is refused.

use crate::cloud::{BEAT, Cloud};

#[test]
fn a_node_finds_its_parent_and_each_reads_the_others_files() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let b = cloud.up("b", &[a.link()]);
    a.until("a link", |seen| seen.links == 1);
    b.until("a link", |seen| seen.links == 1);
    let status = a.until_cat("net/b/status", Result::is_ok).unwrap();
    assert!(status.starts_with("b up"), "{status}");
    let info = b.until_cat("net/a/info", Result::is_ok).unwrap();
    assert!(info.contains(&format!("link={}", a.link())) || info.contains(&a.link().to_string()), "{info}");
    assert_eq!(a.ls("net"), ["a", "b"]);
    assert_eq!(b.ls("net"), ["a", "b"]);
    assert!(a.seen().refusals.is_empty() && b.seen().refusals.is_empty());
}

#[test]
fn a_killed_node_is_noticed_at_once() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    let b = cloud.up("b", &[a.link()]);
    a.until("a link", |seen| seen.links == 1);
    b.kill();
    let took = a.until("no link", |seen| seen.links == 0);
    assert!(took < BEAT, "a connection that is closed says so: {took:?}");
    a.until("nothing left", |seen| seen.conns == 0);
}
