//! The nodes of the cloud, or of a part of it, and what runs on them: asked of all nodes at once.

use crate::failure::Failure;
use crate::on::Ons;
use crate::tree::{self, Record};
use host::client::Connection;
use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// A record a node, as `status.json` has it, in that order.
    pub(crate) nodes: Vec<Record>,
    /// A record a session of those that could be asked.
    pub(crate) sessions: Vec<Record>,
}

/// The nodes of these places, each once; of all places if there are none named.
pub(crate) fn nodes(node: &mut Connection, places: &[Ons]) -> Result<Vec<Record>, Failure> {
    let none = BTreeSet::new();
    let mut dirs: Vec<(&str, &BTreeSet<String>)> =
        places.iter().flat_map(|ons| ons.all.iter().map(|on| (on.dir.as_str(), &ons.but))).collect();
    if dirs.is_empty() {
        dirs.push(("", &none));
    }
    let files: Vec<String> = dirs.iter().map(|(dir, _)| format!("{dir}/status.json")).collect();
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for ((dir, but), answer) in dirs.iter().zip(tree::read_all(node, &files)) {
        let text = answer.map_err(|error| {
            let (at, error) = tree::reason(node, dir, error);
            tree::no_node(dir, at, error)
        })?;
        let records = tree::records(&text)?.into_iter();
        all.extend(records.filter(|record| {
            let name = tree::text(record, "node");
            !but.contains(&name) && seen.insert(name)
        }));
    }
    Ok(all)
}

/// The nodes of these places, and the sessions on them: a record each, of the file of that name. Sessions that are freed
/// meanwhile are left out; a node that goes meanwhile is down.
pub(crate) fn sessions(node: &mut Connection, places: &[Ons], file: &str) -> Result<Found, Failure> {
    let mut found = Found { nodes: nodes(node, places)?, sessions: Vec::new() };
    let up: Vec<usize> = (0..found.nodes.len()).filter(|at| !is_down(&found.nodes[*at])).collect();
    let dirs: Vec<String> =
        up.iter().map(|at| format!("net/{}", tree::text(&found.nodes[*at], "node"))).collect();
    let mut files = Vec::new();
    for ((at, dir), list) in up.iter().zip(&dirs).zip(tree::list_all(node, &dirs)) {
        match list {
            Ok(entries) => {
                let names = entries.iter().map(|entry| &entry.stat.name);
                let mut ids: Vec<u64> = names.filter_map(|name| name.parse().ok()).collect();
                ids.sort_unstable();
                files.extend(ids.into_iter().map(|id| format!("{dir}/{id}/{file}")));
            }
            Err(error) => {
                let row = &mut found.nodes[*at];
                row.insert("state".into(), "down".into());
                row.insert("why".into(), error.to_string().into());
            }
        }
    }
    if let Some(error) = node.gone() {
        return Err(error.clone().into());
    }
    // A group has its members' rows too, on each node that hands some of it on.
    let mut seen = BTreeSet::new();
    for text in tree::read_all(node, &files).into_iter().filter_map(Result::ok) {
        let records = tree::records(&text)?.into_iter();
        found.sessions.extend(records.filter(|record| seen.insert(tree::text(record, "path"))));
    }
    Ok(found)
}

/// Whether a node's row says that it cannot be reached.
pub(crate) fn is_down(row: &Record) -> bool {
    tree::text(row, "state") == "down"
}

/// Since when a node is down and why, as far as is known.
pub(crate) fn down_since(row: &Record) -> String {
    let (since, why) = (tree::text(row, "since"), tree::text(row, "why"));
    match (since.is_empty(), why.is_empty()) {
        (false, false) => format!("since {since}: {why}"),
        (false, true) => format!("since {since}"),
        (true, _) => why,
    }
}

/// How many nodes are in each state, as words: `3 up, 1 down`.
pub(crate) fn counts(rows: &[Record]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(tree::text(row, "state")).or_default() += 1);
    let known = ["up", "drained", "down"].into_iter();
    let words = known.filter_map(|state| counts.get(state).map(|count| format!("{count} {state}")));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_who_is_down() {
        let line = |text: &str| tree::record(text.as_bytes()).unwrap();
        let rows = [
            line(r#"{"node":"a","state":"up"}"#),
            line(
                r#"{"node":"b","state":"down","since":"2026-01-02T03:04:05Z","why":"no heartbeat for 2 s"}"#,
            ),
            line(r#"{"node":"c","state":"up"}"#),
        ];
        assert_eq!(counts(&rows), "2 up, 1 down");
        assert!(is_down(&rows[1]) && !is_down(&rows[0]));
        assert_eq!(down_since(&rows[1]), "since 2026-01-02T03:04:05Z: no heartbeat for 2 s");
    }
}
