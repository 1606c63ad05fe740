//! What TLS between nodes promises: both ends in memory.

use link::{
    identity::{Home, Kind, Who},
    secure::Secure,
};
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

struct Node {
    home: Home,
    _dir: TempDir,
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    Node { home: Home::open(dir.path()).unwrap(), _dir: dir }
}

fn domain() -> (Node, Node) {
    let (mut one, mut two) = (node(), node());
    one.home.found("one").unwrap();
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    let grant = one.home.answer(&two.home.join(&token, "two"));
    two.home.accept(&token, &grant).unwrap();
    (one, two)
}

/// Carries everything both have to say, until neither has. What each has received, or why it gave up.
fn talk(a: &mut Secure, b: &mut Secure) -> [Result<Vec<u8>, String>; 2] {
    let mut got = [Ok(Vec::new()), Ok(Vec::new())];
    for _ in 0..100 {
        if a.output().is_empty() && b.output().is_empty() {
            return got;
        }
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            let bytes = from.output().to_vec();
            from.consume(bytes.len());
            let mut plain = Vec::new();
            match (to.receive(&bytes, &mut plain), &mut got[turn]) {
                (Ok(()), Ok(all)) => all.extend(plain),
                (Err(why), into @ Ok(_)) => *into = Err(why),
                (_, Err(_)) => {}
            }
        }
    }
    panic!("they talk without an end");
}

#[test]
fn two_nodes_of_a_domain_know_each_other_and_are_heard() {
    let (one, two) = domain();
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
    child.send(b"hello");
    assert_eq!(talk(&mut child, &mut parent), [Ok(b"hello".to_vec()), Ok(Vec::new())]);
    assert!(!child.handshaking() && !parent.handshaking());
    assert_eq!(child.peer(), Some(&Who::Node { id: one.home.id(), name: "one".into() }));
    assert_eq!(parent.peer(), Some(&Who::Node { id: two.home.id(), name: "two".into() }));
    parent.send(b"you too");
    assert_eq!(talk(&mut child, &mut parent), [Ok(Vec::new()), Ok(b"you too".to_vec())]);
}
