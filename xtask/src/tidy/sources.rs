//! Rules about Rust files.

use super::Tree;

/// Lines that a file may have before it is a question.
const LONG: usize = 400;

/// Longer files, and the answer to the question.
const LONGER: &[(&str, &str)] = &[
    (
        "crates/kernel/src/files.rs",
        "the table of files, and what open, read and write mean for each kind in it",
    ),
    ("crates/kernel/src/life.rs", "one state machine; each function is an arrow of its drawing"),
    ("crates/kernel/src/place.rs", "the shape of the tree: walk, list and stat look at the same cases"),
    ("crates/kernel/src/verbs.rs", "a third is the table of verbs"),
    (
        "crates/kernel/src/flow/deal.rs",
        "one machine: who is next, and how much of what it is dealt it has taken",
    ),
    ("crates/kernel/src/flow/merge.rs", "one machine: whose turn it is, and what comes out"),
    ("crates/host/src/node.rs", "the loop: what is ready, in; effects, out; one order of both"),
    ("crates/sim/src/model/mod.rs", "one model: its parts, and each operation of a client"),
    ("crates/sim/src/world.rs", "one world: kernel, provider, clients and checks, stepped together"),
    ("crates/fuse/tests/it/conn.rs", "tests"),
    ("crates/ninep/tests/server.rs", "tests"),
    ("crates/provide/tests/lab/keeps.rs", "tests"),
];

/// Where tests wait for time, and why.
const SLEEPS: &[(&str, &str)] = &[
    (
        "crates/provide/tests/lab/",
        "looks again, with a deadline, for what another process does; kills at random times",
    ),
    ("crates/uem/tests/it/home.rs", "looks again, with a deadline, for what another process does"),
    ("crates/uem/tests/lab/ended.rs", "looks again, with a deadline, for what other machines do"),
];

/// Names of types that sound empty, and what they say here.
const NAMED: &[(&str, &str)] = &[(
    "crates/uem/src/at.rs",
    "`Common` is the options that all subcommands have in common; a better name is welcome",
)];

/// What stands among the tests and is none, and why.
const IGNORED: &[(&str, &str)] = &[
    ("crates/fuse/tests/it/mount.rs", "a server in a process of its own, which tests start and kill"),
    ("crates/ninep/tests/codec.rs", "writes the seeds of the corpus, when messages have changed"),
];

/// Rooms that ask the system for what only unsafe code can.
const UNSAFE: &[&str] = &["provide"];

/// Rooms that must do without an operating system.
const PURE: &[&str] = &["op", "kernel", "ninep"];

/// Words that say nothing about a type.
const EMPTY_NAMES: &[&str] = &["Manager", "Handler", "Service", "Util", "Utils", "Helper", "Common"];

/// Lines of tests in a file, numbered from 1: all of a file in `tests/`, and what follows `#[cfg(test)]`.
fn test_lines<'a>(path: &str, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let mut inside = path.contains("/tests/");
    text.lines().enumerate().filter_map(move |(i, line)| {
        inside |= line.trim() == "#[cfg(test)]";
        inside.then_some((i + 1, line))
    })
}

/// Lines without what is quoted or commented on them.
fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// `wrong`, which is paths and sentences, but for the exceptions: paths, or what paths begin with. An exception that
/// is none any more is wrong too.
fn except(list: &[(&str, &str)], what: &str, wrong: Vec<(String, String)>) -> Vec<String> {
    let idle = list.iter().filter(|(start, _)| !wrong.iter().any(|(path, _)| path.starts_with(start)));
    let mut left: Vec<String> =
        idle.map(|(start, _)| format!("{start} is in the list of {what} and need not be")).collect();
    let excepted = |path: &str| list.iter().any(|(start, _)| path.starts_with(start));
    left.extend(wrong.into_iter().filter(|(path, _)| !excepted(path)).map(|(_, sentence)| sentence));
    left
}

pub(super) fn say_what_they_are(tree: &Tree) -> Vec<String> {
    let silent = tree.sources.iter().filter(|(_, text)| {
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("//!").is_none_or(|sentence| sentence.trim().len() < 12)
    });
    silent.map(|(path, _)| format!("{path} does not open with `//!` and a sentence")).collect()
}

pub(super) fn attributes(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in &tree.sources {
        let Some((room, file)) = path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/"))
        else {
            continue;
        };
        if !matches!(file, "lib.rs" | "main.rs") {
            continue;
        }
        let has = |attribute: &str| text.lines().any(|line| line == attribute);
        if PURE.contains(&room) && !has("#![no_std]") {
            wrong.push(format!("{path} lacks #![no_std]"));
        }
        let below = format!("crates/{room}/src/");
        let own = |(path, _): &&(String, String)| path.starts_with(&below);
        let uses = tree.sources.iter().filter(own).any(|(_, text)| {
            text.lines()
                .map(code)
                .any(|line| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == "unsafe"))
        });
        match (UNSAFE.contains(&room), uses, has("#![forbid(unsafe_code)]")) {
            (false, _, false) => wrong.push(format!("{path} lacks #![forbid(unsafe_code)]")),
            (true, false, false) => wrong.push(format!("{room} has no unsafe code: {path} can forbid it")),
            (false, _, true) | (true, true, false) | (true, _, true) => {}
        }
    }
    wrong
}

pub(super) fn lengths(tree: &Tree) -> Vec<String> {
    let long = tree.sources.iter().filter(|(_, text)| text.lines().count() > LONG);
    let wrong = long.map(|(path, text)| {
        let sentence = format!(
            "{path} has {} lines: can it be two? If not, say why in xtask/src/tidy/sources.rs",
            text.lines().count()
        );
        (path.clone(), sentence)
    });
    except(LONGER, "long files", wrong.collect())
}

pub(super) fn no_stubs(tree: &Tree) -> Vec<String> {
    let (mut stubs, mut ignored) = (Vec::new(), Vec::new());
    for (path, text) in &tree.sources {
        for (i, line) in text.lines().enumerate() {
            let line = code(line);
            if ["todo!(", "unimplemented!("].iter().any(|stub| line.contains(stub)) {
                stubs.push(format!("{path}:{}: a stub", i + 1));
            }
            if line.contains("#[ignore") {
                ignored.push((path.clone(), format!("{path}:{}: a test that is not run", i + 1)));
            }
        }
    }
    stubs.extend(except(IGNORED, "ignored tests", ignored));
    stubs
}

pub(super) fn no_sleeps(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in &tree.sources {
        let slept = test_lines(path, text).filter(|(_, line)| code(line).contains("sleep("));
        wrong.extend(slept.map(|(n, _)| (path.clone(), format!("{path}:{n}: a test sleeps"))));
    }
    except(SLEEPS, "sleeping tests", wrong)
}

/// Any port in a directory of tests; beside code, where addresses are also only read, one that is used.
pub(super) fn no_ports(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in &tree.sources {
        let used =
            |line: &str| path.contains("/tests/") || ["bind(", "connect("].iter().any(|w| line.contains(w));
        let fixed = test_lines(path, text).filter(|(_, line)| used(line) && names_port(line));
        wrong.extend(
            fixed.map(|(n, _)| format!("{path}:{n}: a port that something else may have; ask for 0")),
        );
    }
    wrong
}

fn names_port(line: &str) -> bool {
    ["127.0.0.1", "localhost", "0.0.0.0", "[::1]"].iter().any(|host| {
        line.match_indices(host).any(|(at, _)| {
            let mut after = line[at + host.len()..].chars();
            matches!(after.next(), Some(':' | '!')) && after.next().is_some_and(|c| ('1'..='9').contains(&c))
        })
    })
}

pub(super) fn type_names(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in &tree.sources {
        for (i, line) in text.lines().enumerate() {
            let line = code(line);
            let mut words =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            while let Some(word) = words.next() {
                if matches!(word, "struct" | "enum" | "trait" | "type")
                    && let Some(name) = words.next()
                    && EMPTY_NAMES.iter().any(|empty| name.ends_with(empty))
                {
                    wrong.push((path.clone(), format!("{path}:{}: what is a {name}?", i + 1)));
                }
            }
        }
    }
    except(NAMED, "type names", wrong)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    fn found(rule: fn(&Tree) -> Vec<String>, path: &str, text: &str) -> bool {
        rule(&tree((path, text), ("a.md", ""))).iter().any(|sentence| sentence.contains(path))
    }

    #[test]
    fn each_rule_sees_what_breaks_it_and_nothing_else() {
        let test = "crates/x/tests/a.rs";
        assert!(found(say_what_they_are, test, "use std;"));
        assert!(found(say_what_they_are, test, "//! x"));
        assert!(!found(say_what_they_are, test, "//! What this file is."));
        assert!(found(lengths, test, &"\n".repeat(LONG + 1)));
        assert!(!found(lengths, test, &"\n".repeat(LONG)));
        assert!(found(no_stubs, test, concat!("tod", "o!()")));
        assert!(found(no_stubs, test, "#[ignore = \"why\"]"));
        assert!(found(no_sleeps, test, concat!("thread::sle", "ep(x)")));
        assert!(found(no_sleeps, "crates/x/src/a.rs", concat!("#[cfg(test)]\nthread::sle", "ep(x)")));
        let port = |n: u16| format!("bind(\"127.0.0.1:{n}\")");
        assert!(found(no_ports, test, &port(564)));
        assert!(found(no_ports, "crates/x/src/a.rs", &format!("#[cfg(test)]\n{}", port(564))));
        assert!(!found(no_ports, test, &port(0)));
        assert!(found(type_names, test, concat!("pub struct Session", "Manager {")));
        assert!(!found(type_names, test, "struct Session { manager: u8 }"));
    }

    #[test]
    fn what_is_quoted_or_commented_is_not_code() {
        let quoted = concat!("spawn(\"sle", "ep(1)\") // tod", "o!()");
        assert_eq!(code(quoted), "spawn(\"\") ");
        assert!(!found(no_sleeps, "crates/x/src/a.rs", concat!("thread::sle", "ep(x)")));
    }

    #[test]
    fn attributes_of_a_room_are_held_against_its_code() {
        let lib = |room: &str, text: &str| found(attributes, &format!("crates/{room}/src/lib.rs"), text);
        assert!(lib("op", "#![forbid(unsafe_code)]"));
        assert!(!lib("op", "#![no_std]\n#![forbid(unsafe_code)]"));
        assert!(lib("uem", "fn f() {}"));
        assert!(lib("provide", "fn f() {}"));
        assert!(!lib("provide", "fn f() { unsafe {} }"));
    }

    #[test]
    fn an_exception_that_is_none_is_seen() {
        let wrong =
            vec![("a".to_string(), "a is wrong".to_string()), ("b".to_string(), "b is wrong".to_string())];
        assert_eq!(except(&[("a", "why")], "things", wrong.clone()), ["b is wrong"]);
        let idle = except(&[("a", ""), ("b", ""), ("c", "")], "things", wrong);
        assert_eq!(idle, ["c is in the list of things and need not be"]);
    }
}
