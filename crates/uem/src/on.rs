//! `--on`: which node, or which part of the tree, is meant: `b`, `net/b`, `tree/gw`, `phys/site/rack`, `all`, `n[1-3]`, or what a query
//! matches: `gpus=1/mem=4G`, `query/x86`, `await/gpus=1`. After a `!` stand nodes that are not: `n[1-64]!n7`, `all!gw`.

use crate::names;
use crate::role::check_name;
use std::collections::BTreeSet;

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
                "{text:?} is no node and no place; write b, n[1-3], all, net/b, tree/gw, phys/site/rack or terms as gpus=1/mem=4G"
            )
        };
        let is_term = |name: &&str| name.contains(['=', '<', '>', '~']);
        let fine = |name: &&str| check_name(name).is_ok() && !name.starts_with('-');
        if !parts.iter().all(|name| is_term(name) || fine(name)) {
            return Err(bad());
        }
        match parts[..] {
            ["all"] => Ok(On { dir: String::new() }),
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
        let mut lists = lists(text);
        let named = names::expand(lists.next().unwrap_or_default())?;
        let mut all: Vec<On> = named.iter().map(|name| On::parse(name)).collect::<Result<_, _>>()?;
        let mut but = BTreeSet::new();
        for list in lists {
            for name in names::expand(list)? {
                let on = On::parse(&name)?;
                let node = on.node().ok_or_else(|| format!("{text:?}: only nodes can be left out by a !"))?;
                but.insert(node.to_string());
            }
        }
        all.retain(|on| on.node().is_none_or(|name| !but.contains(name)));
        match all.is_empty() {
            true => Err(format!("{text:?}: nothing is left of it")),
            false => Ok(Ons { all, but }),
        }
    }

    /// The name of the one node that is meant, if it is one that is named.
    pub(crate) fn node(&self) -> Option<&str> {
        self.dir.strip_prefix("net/")
    }

    /// What a node must be, if it is a query.
    pub(crate) fn terms(&self) -> Option<impl Iterator<Item = &str>> {
        self.dir.strip_prefix("query/").map(|terms| terms.split('/'))
    }

    /// The path of a session that was cloned here, whose `ctl` said this: its number, or `node/number` where the node
    /// was chosen for us.
    pub(crate) fn session(&self, said: &str) -> String {
        if said.contains('/') { format!("net/{said}") } else { format!("{}/{said}", self.dir) }
    }
}

/// All that one `--on` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ons {
    /// Never empty.
    pub(crate) all: Vec<On>,
    /// Nodes that are not meant though they are in one of the places.
    pub(crate) but: BTreeSet<String>,
}

impl Ons {
    /// The one place that is named, if it is one and all of it.
    pub(crate) fn one(&self) -> Option<&On> {
        match &self.all[..] {
            [on] if self.but.is_empty() || on.node().is_some() => Some(on),
            _ => None,
        }
    }
}

/// What stands between exclamation marks that do not belong to a term (`os!=linux`).
fn lists(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mark = text.match_indices('!').map(|(at, _)| at).find(|at| !text[at + 1..].starts_with('='));
        rest = mark.map(|at| &text[at + 1..]);
        Some(&text[..mark.unwrap_or(text.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_paths_are_places() {
        for (text, dir) in [
            ("b", "net/b"),
            ("all", ""),
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
        assert_eq!(On::parse_all("n[1-2]").unwrap().all.len(), 2);
        assert!(On::parse_all("n[1-2]").unwrap().one().is_none());
    }

    #[test]
    fn nodes_are_left_out() {
        let check = |text: &str, all: &str, but: &str| {
            let ons = On::parse_all(text).unwrap();
            let dirs: Vec<&str> = ons.all.iter().map(|on| on.dir.as_str()).collect();
            let names: Vec<&str> = ons.but.iter().map(String::as_str).collect();
            assert_eq!((dirs.join(" "), names.join(" ")), (all.into(), but.into()), "{text}");
        };
        check("n[1-4]!n[2-3]", "net/n1 net/n4", "n2 n3");
        check("all!gw", "", "gw");
        check("os!=linux!n1,n2!n3", "query/os!=linux", "n1 n2 n3");
        check("tree/gw,b!net/a", "tree/gw net/b", "a");
        assert!(On::parse_all("n[1-2]!n2").unwrap().one().is_some());
        assert!(On::parse_all("all!gw").unwrap().one().is_none());
        for text in ["n1!n1", "n1!", "!n1", "all!tree/gw", "all!os=linux"] {
            assert!(On::parse_all(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sessions_are_where_they_were_made() {
        let on = |dir: &str| On { dir: dir.into() };
        assert_eq!(on("net/b").session("7"), "net/b/7");
        assert_eq!(on("tree/gw").session("b/7"), "net/b/7");
        assert_eq!(on("self").session("7"), "self/7");
    }
}
