//! Names of sessions and nodes on a command line: `56`, `node01/56`, `n[1-64]/3`, `n[1-3]`, `net/node01/56`.

use crate::failure::Failure;
use crate::names;
use crate::role::check_name;
use crate::tree;
use host::client::Connection;
use op::Errno;

/// A session or a node that was named, as a path in the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Id {
    path: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Session,
    /// Or a set of nodes.
    Node,
}

/// All that one word of a command line names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ids(pub(crate) Vec<Id>);

impl Ids {
    /// Understands sessions and nodes, and sets of them.
    pub(crate) fn parse(text: &str) -> Result<Ids, String> {
        names::expand_set(text)?.iter().map(|name| Id::parse_any(name)).collect::<Result<_, _>>().map(Ids)
    }

    /// Understands sessions and sets of them, no nodes.
    pub(crate) fn parse_sessions(text: &str) -> Result<Ids, String> {
        let ids = Ids::parse(text)?;
        match ids.0.iter().find(|id| id.kind == Kind::Node) {
            Some(node) => Err(node.no_session(text)),
            None => Ok(ids),
        }
    }
}

impl Id {
    /// Understands one session.
    pub(crate) fn parse(text: &str) -> Result<Id, String> {
        let id = Id::parse_any(text)?;
        if id.kind == Kind::Node { Err(id.no_session(text)) } else { Ok(id) }
    }

    fn parse_any(text: &str) -> Result<Id, String> {
        let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
        let number = |word: &str| word.parse::<u64>().is_ok() && !word.starts_with('+');
        let reserved = |word: &str| ["net", "tree", "phys"].contains(&word) || word.starts_with('-');
        let name = |word: &str| check_name(word).is_ok() && !reserved(word);
        let session = |path: String| Ok(Id { path, kind: Kind::Session });
        let node = |path: String| Ok(Id { path, kind: Kind::Node });
        match parts[..] {
            [id] | ["self", id] if number(id) => session(format!("self/{id}")),
            ["self"] => node("self".into()),
            ["tree" | "phys", .., id] if number(id) && parts.len() > 2 => session(parts.join("/")),
            ["tree" | "phys", _, ..] if !parts.contains(&"") => node(parts.join("/")),
            [of] | ["net", of] if name(of) => node(format!("net/{of}")),
            [of, id] | ["net", of, id] if number(id) && name(of) => session(format!("net/{of}/{id}")),
            _ => Err(format!("{text:?} is no session; write 56, node01/56 or n[1-64]/3")),
        }
    }

    fn no_session(&self, text: &str) -> String {
        format!("{text:?} is a node and no session; uem ps --on {} lists those on it", self.short())
    }

    /// Whether it is a node, or a set of them.
    pub(crate) fn is_node(&self) -> bool {
        self.kind == Kind::Node
    }

    /// As people write it: `b/7`.
    pub(crate) fn short(&self) -> &str {
        self.path.strip_prefix("net/").or(self.path.strip_prefix("self/")).unwrap_or(&self.path)
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// An error of the node about it; one that is not there, or cannot be reached just now, has a hint.
    pub(crate) fn failed(&self, node: &mut Connection, error: op::Error) -> Failure {
        let (at, error) = tree::reason(node, &self.path, error);
        let steps = self.path.split('/').count();
        match error.errno {
            Errno::NOENT if self.kind == Kind::Session && at + 1 >= steps => {
                let cause = match error.cause.is_empty() {
                    true => format!("no session {}: it never was, or it was freed", self.path),
                    false => error.cause,
                };
                Failure::new(cause).hint("uem ps --all lists those there are")
            }
            Errno::NOENT => tree::no_node(&self.path, at, error),
            Errno::HOSTUNREACH if self.kind == Kind::Session => {
                Failure::from(error).about(self.short()).hint("a session goes on there meanwhile; try again")
            }
            _ => Failure::from(error).about(self.short()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_named_as_in_the_tree() {
        for (text, path) in [
            ("56", "self/56"),
            ("self/56", "self/56"),
            ("n/56", "net/n/56"),
            ("net/n/56", "net/n/56"),
            ("n/56/", "net/n/56"),
            ("tree/gw/b/7", "tree/gw/b/7"),
        ] {
            assert_eq!(Id::parse(text).map(|id| id.path), Ok(path.into()), "{text}");
        }
        for text in ["", "x", "n/", "n/x", "/56", "net/n/56/1", "-1", "net/n", "tree/gw", "self", "a b/1"] {
            assert!(Id::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sets_name_sessions_and_nodes() {
        let paths = |text: &str| {
            Ids::parse(text).unwrap().0.iter().map(|id| id.path.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(paths("n[1-2]/3"), "net/n1/3 net/n2/3");
        assert_eq!(paths("n[1-2]"), "net/n1 net/n2");
        assert_eq!(paths("[4-5]"), "self/4 self/5");
        assert_eq!(paths("phys/a/r[1-2]"), "phys/a/r1 phys/a/r2");
        assert_eq!(paths("net/b,7"), "net/b self/7");
        assert!(Ids::parse("n[1-2]").unwrap().0.iter().all(Id::is_node));
        let why = Ids::parse_sessions("n[1-2]").unwrap_err();
        assert!(why.contains("uem ps --on n1"), "{why}");
        for text in ["n[1-2]/x", "--free", "a//b", "tree", "phys", "net"] {
            assert!(Ids::parse(text).is_err(), "{text}");
        }
    }
}
