//! `--on`: which node, or which part of the tree, is meant: `b`, `net/b`, `tree/gw`, `phys/site/rack`, `n[1-3]`, or what a query
//! matches: `gpus=1/mem=4G`, `query/x86`, `await/gpus=1`.

use crate::failure::Failure;
use crate::names;
use crate::role::check_name;

/// A directory of the tree in which something can be started or listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct On {
    /// From the root, without slashes around it.
    pub(crate) dir: String,
}

impl On {
    /// The node that is asked.
    pub(crate) fn here() -> On {
        On { dir: "self".into() }
    }

    /// Understands one place.
    pub(crate) fn parse(text: &str) -> Result<On, String> {
        let parts: Vec<&str> = text.trim_matches('/').split('/').collect();
        let bad = || {
            format!(
                "{text:?} is no node and no place; write b, n[1-3], net/b, tree/gw, phys/site/rack or terms as gpus=1/mem=4G"
            )
        };
        let is_term = |name: &&str| name.contains(['=', '<', '>', '~']);
        let fine = |name: &&str| check_name(name).is_ok() && !name.starts_with('-');
        if !parts.iter().all(|name| is_term(name) || fine(name)) {
            return Err(bad());
        }
        match parts[..] {
            ["self"] | ["net", _] | ["tree" | "phys", _, ..] => Ok(On { dir: parts.join("/") }),
            ["net" | "tree" | "phys" | "query" | "await"] => Err(bad()),
            ["query" | "await", ..] => Ok(On { dir: parts.join("/") }),
            _ if parts.iter().any(is_term) => Ok(On { dir: format!("query/{}", parts.join("/")) }),
            [name] => Ok(On { dir: format!("net/{name}") }),
            _ => Err(bad()),
        }
    }

    /// Understands one place, or a set of them.
    pub(crate) fn parse_all(text: &str) -> Result<Ons, String> {
        names::expand(text)?.iter().map(|name| On::parse(name)).collect::<Result<_, _>>().map(Ons)
    }

    /// The path of a session that was cloned here, whose `ctl` said this: its number, or `node/number` where the node
    /// was chosen for us.
    pub(crate) fn session(&self, said: &str) -> String {
        if said.contains('/') { format!("net/{said}") } else { format!("{}/{said}", self.dir) }
    }
}

/// All that one `--on` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ons(pub(crate) Vec<On>);

impl Ons {
    /// The one that is named.
    pub(crate) fn one(&self) -> Result<&On, Failure> {
        match &self.0[..] {
            [on] => Ok(on),
            all => Err(Failure::misuse(format!("--on names {} nodes, and a program runs on one", all.len()))
                .hint("--on tree/… or phys/… takes the least loaded of a set")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_paths_are_places() {
        for (text, dir) in [
            ("b", "net/b"),
            ("self", "self"),
            ("net/b", "net/b"),
            ("/net/b/", "net/b"),
            ("tree/gw", "tree/gw"),
            ("phys/site/rack", "phys/site/rack"),
            ("gpus=1", "query/gpus=1"),
            ("x86/mem>=4G", "query/x86/mem>=4G"),
            ("query/x86", "query/x86"),
            ("await/gpus=1", "await/gpus=1"),
        ] {
            assert_eq!(On::parse(text).map(|on| on.dir), Ok(dir.into()), "{text}");
        }
        for text in ["", "net", "query", "phys", "net/b/c", "b/c", "a b", "../x", "tree/../x", "--json"] {
            assert!(On::parse(text).is_err(), "{text}");
        }
        assert_eq!(On::parse_all("n[1-2]").unwrap().0.len(), 2);
        assert!(On::parse_all("n[1-2]").unwrap().one().is_err());
    }

    #[test]
    fn sessions_are_where_they_were_made() {
        let on = |dir: &str| On { dir: dir.into() };
        assert_eq!(on("net/b").session("7"), "net/b/7");
        assert_eq!(on("tree/gw").session("b/7"), "net/b/7");
        assert_eq!(on("self").session("7"), "self/7");
    }
}
