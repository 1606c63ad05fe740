//! Rules about packages: who may depend on whom, and on what from outside.

use super::Tree;
use serde_json::Value;

/// The matrix: what a room may depend on inside the workspace, and what its tests may besides.
struct Room {
    name: &'static str,
    on: &'static [&'static str],
    tests_on: &'static [&'static str],
}

const fn room(name: &'static str, on: &'static [&'static str], tests_on: &'static [&'static str]) -> Room {
    Room { name, on, tests_on }
}

/// Lower rooms first: a room depends only on rooms that stand above it in this list.
const ROOMS: &[Room] = &[
    // Pure.
    room("op", &[], &[]),
    room("kernel", &["op"], &[]),
    room("ninep", &["op"], &[]),
    // The edge: a world for the pure rooms. Nothing that is shipped depends on it.
    room("sim", &["op", "kernel", "ninep"], &[]),
    // IO. They know operations, not the kernel, so that each can be tried and used alone.
    room("fuse", &["op"], &[]),
    room("provide", &["op"], &[]),
    room("link", &["op", "ninep"], &[]),
    // `host` alone brings them together. Its tests play the transcripts of `sim` through real doors.
    room("host", &["op", "kernel", "ninep", "fuse", "provide", "link"], &["sim"]),
    // The command is node, keeper and client in one: it makes a provider, reads the kernel's tables for its help,
    // mounts, and speaks through `host`'s client.
    room("uem", &["op", "kernel", "ninep", "fuse", "provide", "link", "host"], &["sim"]),
    // Programs of the repository, which nobody gets.
    room("benches", &["op", "kernel", "ninep", "sim", "fuse", "provide", "link", "host", "uem"], &[]),
    room("xtask", &["kernel"], &[]),
];

/// The record that has a line for each package that we take.
const REASONS: &str = "docs/decisions/0012-dependencies.md";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Dependencies of a package: name, and whether only tests have it.
fn dependencies(package: &Value) -> impl Iterator<Item = (&str, bool)> {
    let all = package["dependencies"].as_array().into_iter().flatten();
    all.map(|d| (text(d, "name"), text(d, "kind") == "dev"))
}

pub(super) fn depend_downwards(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in &tree.packages {
        let name = text(package, "name");
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            wrong.push(format!("{name} is not in the matrix (xtask/src/tidy/rooms.rs)"));
            continue;
        };
        for (on, test) in dependencies(package) {
            let inside = ROOMS.iter().any(|other| other.name == on);
            if inside && !room.on.contains(&on) && !(test && room.tests_on.contains(&on)) {
                wrong.push(format!("{name} may not depend on {on}; it may on {:?}", room.on));
            }
        }
    }
    wrong
}

/// Packages that the record has: the names in backquotes that its table's rows begin with, and who may use each.
fn reasons(page: &str) -> Vec<(&str, &str)> {
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`'), cells.next()?))
        })
        .collect()
}

pub(super) fn taken_with_reason(tree: &Tree) -> Vec<String> {
    let reasons = reasons(Tree::text(&tree.pages, REASONS));
    let mut wrong = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    for package in &tree.packages {
        let name = text(package, "name");
        for (on, _) in dependencies(package).filter(|(on, _)| !ROOMS.iter().any(|room| room.name == *on)) {
            used.push(on);
            match reasons.iter().find(|(known, _)| *known == on) {
                Some((_, by)) if by.split(", ").any(|user| user == name) => {}
                Some(_) => wrong.push(format!("{REASONS} does not say that {name} uses {on}")),
                None => wrong.push(format!("{name} takes {on}, and {REASONS} has no reason for it")),
            }
        }
    }
    let unused = reasons.iter().filter(|(known, _)| !used.contains(known));
    wrong.extend(unused.map(|(known, _)| format!("{REASONS} has a reason for {known}, which nobody uses")));
    wrong
}

pub(super) fn fields(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in &tree.packages {
        let name = text(package, "name");
        if text(package, "description").is_empty() {
            wrong.push(format!("{name} has no description"));
        }
        if text(package, "license") != "MIT OR Apache-2.0" {
            wrong.push(format!("{name} is not under MIT OR Apache-2.0"));
        }
    }
    let files =
        ["LICENSE-MIT", "LICENSE-APACHE"].into_iter().filter(|file| !tree.others.iter().any(|f| f == file));
    wrong.extend(files.map(|file| format!("{file} is missing")));
    wrong
}

pub(super) fn locked(tree: &Tree) -> Vec<String> {
    let there = tree.others.iter().any(|file| file == "Cargo.lock");
    if there { Vec::new() } else { vec!["Cargo.lock is missing".into()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn world(name: &str, on: &str, kind: Option<&str>) -> Tree {
        let page = "| crate | used by | reason |\n|---|---|---|\n| `serde_json` | kernel, uem | JSON |\n";
        let mut tree = super::super::tests::tree(("a.rs", ""), (REASONS, page));
        tree.packages = vec![json!({"name": name, "dependencies": [{"name": on, "kind": kind}]})];
        tree
    }

    #[test]
    fn the_matrix_leads_downwards() {
        for (at, room) in ROOMS.iter().enumerate() {
            let below = |on: &&str| ROOMS[..at].iter().any(|other| other.name == *on);
            assert!(room.on.iter().chain(room.tests_on).all(below), "{}", room.name);
        }
    }

    #[test]
    fn a_dependency_upwards_or_sideways_is_seen() {
        for (name, on, kind, wrong) in [
            ("kernel", "op", None, 0),
            ("kernel", "ninep", None, 1),
            ("op", "kernel", None, 1),
            ("fuse", "kernel", None, 1),
            ("host", "sim", None, 1),
            ("host", "sim", Some("dev"), 0),
            ("nobody", "op", None, 1),
            ("kernel", "serde_json", None, 0),
        ] {
            assert_eq!(depend_downwards(&world(name, on, kind)).len(), wrong, "{name} on {on}");
        }
    }

    #[test]
    fn what_is_taken_without_a_reason_is_seen_and_so_is_a_reason_without_use() {
        let wrong = |name, on| taken_with_reason(&world(name, on, None)).len();
        assert_eq!(wrong("kernel", "serde_json"), 0);
        assert_eq!(wrong("ninep", "serde_json"), 1);
        assert_eq!(wrong("kernel", "tokio"), 2);
        assert_eq!(wrong("kernel", "op"), 1);
    }
}
