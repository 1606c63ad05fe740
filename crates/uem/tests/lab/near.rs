//! Nodes that find each other on a segment by DNS-SD.

use crate::ended::eventually;
use crate::host::{BEAT, Lab};

#[test]
fn a_node_finds_its_parent_on_the_segment() {
    let Some(lab) = Lab::new() else { return };
    let one = lab.segment(1);
    let (g, c, other) = (lab.host("g", &[&one]), lab.host("c", &[&one]), lab.host("o", &[&one]));
    g.up("");
    let token = g.invite();
    // Another domain on the same wire.
    other.up("");
    other.invite();
    c.join(&g, 1, &token, "");
    c.ok("uem down && rm ~/.local/state/uem/trust/parents");
    c.up("--parent auto");
    eventually("it has found g", || c.info("self/info.json", "parent") == "g");
    assert_eq!(g.ok("uem ls net"), "c\ng\n");
    let seen = c.ok("uem status --discover");
    for name in ["g", "o"] {
        assert!(seen.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name}: {seen}");
    }
    println!("{seen}{BEAT}");
}
