//! What a trust domain promises, through its public face and real files.

use link::identity::{Home, Kind, Token, Who};
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

struct Node {
    home: Home,
    dir: TempDir,
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    Node { home: Home::open(dir.path()).unwrap(), dir }
}

fn founded(name: &str) -> Node {
    let mut node = node();
    node.home.found(name).unwrap();
    node
}

fn joined(authority: &mut Node, name: &str) -> Node {
    let mut new = node();
    let token = authority.home.invite(Kind::Node, HOUR).unwrap();
    let grant = authority.home.answer(&new.home.join(&token, name));
    new.home.accept(&token, &grant).unwrap();
    new
}

#[test]
fn a_node_joins_with_a_token_and_is_known_from_then_on() {
    let mut one = founded("one");
    let two = joined(&mut one, "two");
    assert_eq!(two.home.who(), Some(Who::Node { id: two.home.id(), name: "two".into() }));
    assert_eq!(two.home.domain(), one.home.domain());
    assert!(one.home.is_authority() && !two.home.is_authority());
    let again = Home::open(two.dir.path()).unwrap();
    assert_eq!((again.who(), again.id()), (two.home.who(), two.home.id()));
    let _: fn(&str) -> Result<Token, String> = str::parse;
}
