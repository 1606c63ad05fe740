//! On which nodes: what all `--on` say together, as terms of a query. Nodes and places add up, terms narrow.

use crate::failure::Failure;
use crate::nodes;
use crate::on::Ons;
use crate::tree::{self, Record};
use host::client::Connection;
use std::collections::BTreeSet;

/// Where members may run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Which {
    /// Of a query, all of which must hold.
    pub(super) terms: Vec<String>,
    /// Those that match now.
    pub(super) nodes: BTreeSet<String>,
    /// The cloud is one node, and none was named.
    pub(super) alone: bool,
}

/// Asks the node for what the places mean, and whether the nodes that are named are there.
pub(super) fn ask(node: &mut Connection, ons: &[Ons]) -> Result<Which, Failure> {
    let rows = nodes::nodes(node, &[])?;
    let name = |row: &Record| tree::text(row, "node");
    let all: BTreeSet<String> = rows.iter().map(name).collect();
    let mut named = Vec::new();
    for ons in ons {
        for on in &ons.all {
            let names = match (on.terms(), on.node(), on.dir.as_str()) {
                (Some(_), ..) | (_, _, "") => continue,
                (_, Some(name), _) => vec![name.to_string()],
                (_, _, "self") => vec![String::from_utf8_lossy(&node.read_file("self/ctl")?).trim().into()],
                (_, _, dir) if dir.starts_with("await/") => {
                    let hint = "one program can wait for a node: uem run --on await/…, without -n and --each";
                    return Err(
                        Failure::misuse(format!("--on {dir}: members do not wait for nodes")).hint(hint)
                    );
                }
                (_, _, dir) => {
                    let part = Ons { all: vec![on.clone()], but: BTreeSet::new() };
                    let names: Vec<String> = nodes::nodes(node, &[part])?.iter().map(name).collect();
                    match names.is_empty() {
                        true => return Err(Failure::new(format!("{dir}: no node is there"))),
                        false => names,
                    }
                }
            };
            named.extend(names);
        }
    }
    if let Some(name) = named.iter().find(|name| !all.contains(*name)) {
        let path = format!("net/{name}");
        let (at, error) = tree::reason(node, &path, op::Errno::NOENT.into());
        return Err(tree::no_node(&path, at, error));
    }
    let terms = terms(ons, named, &all)?;
    let alone = all.len() == 1 && ons.is_empty();
    let nodes = if terms.is_empty() { all } else { matching(node, &terms)? };
    Ok(Which { terms, nodes, alone })
}

/// The names of the nodes of which all terms hold.
fn matching(node: &mut Connection, terms: &[String]) -> Result<BTreeSet<String>, Failure> {
    let dir = format!("query/{}", terms.join("/"));
    match node.read_file(&format!("{dir}/status.json")) {
        Ok(text) => Ok(tree::records(&text)?.iter().map(|row| tree::text(row, "node")).collect()),
        Err(error) if error.errno == op::Errno::NOENT => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}

/// The terms, when it is known which nodes the places are; `all` are all nodes.
fn terms(ons: &[Ons], named: Vec<String>, all: &BTreeSet<String>) -> Result<Vec<String>, Failure> {
    let everywhere = ons.iter().flat_map(|ons| &ons.all).any(|on| on.dir.is_empty());
    let but: BTreeSet<&String> = ons.iter().flat_map(|ons| &ons.but).collect();
    let narrow = ons.iter().flat_map(|ons| &ons.all).filter_map(|on| on.terms()).flatten().map(String::from);
    let mut terms: Vec<String> = narrow.collect();
    if named.is_empty() || everywhere {
        let but: Vec<&str> = but.into_iter().filter(|name| all.contains(*name)).map(String::as_str).collect();
        if !but.is_empty() {
            terms.push(format!("node!={}", but.join("|")));
        }
        return Ok(terms);
    }
    let left: BTreeSet<String> = named.into_iter().filter(|name| !but.contains(name)).collect();
    if left.is_empty() {
        return Err(Failure::misuse("--on: no node is left of those that are named"));
    }
    if left != *all {
        terms.push(format!("node={}", left.into_iter().collect::<Vec<_>>().join("|")));
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::on::On;

    #[test]
    fn nodes_add_up_and_terms_narrow() {
        let all: BTreeSet<String> = ["a", "b", "c"].map(String::from).into();
        let check = |ons: &[&str], named: &[&str], expected: &str| {
            let ons: Vec<Ons> = ons.iter().map(|on| On::parse_all(on).unwrap()).collect();
            let named = named.iter().map(ToString::to_string).collect();
            assert_eq!(terms(&ons, named, &all).unwrap().join(" "), expected, "{ons:?}");
        };
        check(&[], &[], "");
        check(&["all"], &[], "");
        check(&["all!b"], &[], "node!=b");
        check(&["all!x"], &[], "");
        check(&["a,b"], &["a", "b"], "node=a|b");
        check(&["a", "b"], &["a", "b"], "node=a|b");
        check(&["a,b,c"], &["a", "b", "c"], "");
        check(&["a", "all"], &["a"], "");
        check(&["tree/gw!b"], &["a", "b"], "node=a");
        check(&["gpus=1/mem=4G", "a,b"], &["a", "b"], "gpus=1 mem=4G node=a|b");
        check(&["os!=linux!a"], &[], "os!=linux node!=a");
        let ons = [On::parse_all("tree/gw!b").unwrap()];
        assert!(terms(&ons, vec!["b".into()], &all).is_err());
    }
}
