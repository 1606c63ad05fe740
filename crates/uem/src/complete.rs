//! `uem complete`: what a shell could put where the cursor is, a line each. Shells ask it; see [`completions`](crate::completions).
//!
//! It looks, and does no more: no node is started, nothing is allocated, and nobody is waited for for long. Where it knows nothing it says
//! so by its status, and the shell offers what it would have offered without it.

use crate::at::Common;
use crate::failure::Outcome;
use host::client::Connection;
use kernel::manual::{MODIFIERS, POLICIES, SESSION_KEYS};
use op::FileKind;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

/// Say what a command line could go on with, for shells
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The words of the line up to the cursor; the last may be empty
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Whoever waits at a prompt waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// More is of no use to anybody.
const MOST: usize = 1000;
/// Views, below which there are places.
const VIEWS: [&str; 5] = ["net", "tree", "phys", "query", "await"];

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let Some(asked) = Asked::of(&args.words) else { return Ok(1) };
    let common = Common { at: asked.at.clone().or_else(|| common.at.clone()), ..common.clone() };
    let common = Common { state: asked.state.clone().map(Into::into).or(common.state), ..common };
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        std::process::exit(1);
    });
    let Ok(mut node) = common.at().and_then(|at| at.connect()) else { return Ok(1) };
    let found = match asked.what {
        What::Path => paths(&mut node, asked.word, false),
        What::On => places(&mut node, asked.word),
    };
    let mut out = std::io::stdout().lock();
    for one in found.iter().take(MOST) {
        writeln!(out, "{}{one}", asked.before)?;
    }
    Ok(u8::from(found.is_empty()))
}

/// What is to be completed.
#[derive(Debug, PartialEq)]
struct Asked<'a> {
    what: What,
    word: &'a str,
    /// What stands before it in the same word.
    before: &'a str,
    at: Option<String>,
    state: Option<String>,
}

#[derive(Debug, PartialEq)]
enum What {
    /// A path in the tree.
    Path,
    /// What `--on` takes.
    On,
}

impl<'a> Asked<'a> {
    /// `None` where the tree has no say.
    fn of(words: &'a [String]) -> Option<Asked<'a>> {
        let (word, before) = words.split_last()?;
        let of = |flag: &str| {
            let at = before.iter().position(|word| word == flag)?;
            before.get(at + 1).cloned()
        };
        let (at, state) = (of("--at"), of("--state"));
        if before.last().is_some_and(|last| last == "--on") {
            return Some(Asked { what: What::On, word, before: "", at, state });
        }
        if let Some(rest) = word.strip_prefix("--on=") {
            return Some(Asked { what: What::On, word: rest, before: "--on=", at, state });
        }
        let takes_paths = |word: &String| matches!(word.as_str(), "ls" | "cat" | "write" | "kill");
        let sub = before.iter().skip(1).find(|word| takes_paths(word) || *word == "run")?;
        let flags = ["--at", "--state", "-s", "--signal"];
        let is_value = before.last().is_some_and(|last| flags.contains(&last.as_str()));
        if !takes_paths(sub) || is_value || word.starts_with('-') {
            return None;
        }
        Some(Asked { what: What::Path, word, before: "", at, state })
    }
}

/// What `--on` could be: nodes, places, and terms without `query/` before them.
fn places(node: &mut Connection, word: &str) -> Vec<String> {
    let first = word.split('/').next().unwrap_or_default();
    if word.contains('/') && (VIEWS.contains(&first) || first == "self") {
        return paths(node, word, true);
    }
    let mut found: Vec<String> = Vec::new();
    if !word.contains('/') {
        let names = nodes(node).into_iter().chain(["self".into()]);
        let views = VIEWS.iter().map(|view| format!("{view}/"));
        found.extend(names.chain(views).filter(|name| name.starts_with(word)));
    }
    let (dir, last) = split(word);
    found.extend(terms(node, "query", last, false).into_iter().map(|term| format!("{dir}{term}")));
    found
}

/// What a path could go on with; directories and terms get a slash.
fn paths(node: &mut Connection, word: &str, dirs: bool) -> Vec<String> {
    let (dir, last) = split(word);
    let mut found = Vec::new();
    if let Some(query) = query_of(dir) {
        found.extend(terms(node, &query, last, !dirs));
    }
    // Nothing is in `await` to look at, and below it opening waits.
    let waits = dir.trim_matches('/').split('/').any(|name| name == "await");
    let entries = if waits { Vec::new() } else { node.list(&format!("/{dir}/.")).unwrap_or_default() };
    for entry in entries {
        let name = &entry.stat.name;
        let is_dir = entry.stat.qid.kind != FileKind::File;
        let is_term = query_of(dir).is_some() && name.contains('=');
        if name.starts_with(last) && (is_dir || !dirs) && !is_term {
            found.push(format!("{name}{}", if is_dir && !dirs { "/" } else { "" }));
        }
    }
    found.into_iter().map(|name| format!("{dir}{name}")).collect()
}

/// The part of a path up to its last slash, and what is behind that.
fn split(word: &str) -> (&str, &str) {
    word.split_at(word.rfind('/').map_or(0, |at| at + 1))
}

/// The directory that lists the terms of a query that a path is in: terms follow there too.
fn query_of(dir: &str) -> Option<String> {
    let names: Vec<&str> = dir.split('/').filter(|name| !name.is_empty()).collect();
    let at = names.iter().position(|name| matches!(*name, "query" | "await"))?;
    // A number leads to what matches, and out of the query.
    let numbered = names[at + 1..].iter().any(|name| name.bytes().all(|b| b.is_ascii_digit()));
    (!numbered).then(|| names[..at].iter().chain(&["query"]).copied().collect::<Vec<_>>().join("/"))
}

/// Keys that begin so; behind a key and its operator, the values that there are.
fn terms(node: &mut Connection, query: &str, last: &str, slash: bool) -> Vec<String> {
    let entries = node.list(&format!("/{query}/.")).unwrap_or_default();
    let known: Vec<(String, String)> = entries
        .iter()
        .filter_map(|entry| entry.stat.name.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    let keys = || -> BTreeSet<&str> { known.iter().map(|(key, _)| key.as_str()).collect() };
    let after = if slash { "/" } else { "" };
    let Some(at) = last.find(['=', '!', '>', '<', '~']) else {
        let modifiers = MODIFIERS.iter().map(|row| row.term);
        let all = keys().into_iter().chain(["node"]).chain(SESSION_KEYS.iter().copied());
        let all: BTreeSet<&str> = all.chain(modifiers).filter(|key| key.starts_with(last)).collect();
        return all.into_iter().map(|key| format!("{key}=")).collect();
    };
    let key = &last[..at];
    let operator = last[at..].trim_end_matches(|c: char| !"=!<>~".contains(c));
    let operator = &operator[..operator.rfind(['=', '~']).map_or(operator.len(), |at| at + 1).min(2)];
    let values: Vec<String> = match key {
        "policy" => POLICIES.iter().map(|kind| kind.row.term.into()).collect(),
        "sort" => {
            let measured = ["load", "mem_free", "disk_free", "running", "sessions", "users", "node"];
            let keys: BTreeSet<&str> = keys().into_iter().chain(measured).collect();
            keys.iter().flat_map(|key| [String::from(*key), format!("-{key}")]).collect()
        }
        "spread" => keys().into_iter().map(String::from).collect(),
        "near" | "node" | "name" => nodes(node),
        key => known.iter().filter(|(k, _)| k == key).map(|(_, value)| value.clone()).collect(),
    };
    let all = values.into_iter().map(|value| format!("{key}{operator}{value}"));
    all.filter(|term| term.starts_with(last)).map(|term| format!("{term}{after}")).collect()
}

fn nodes(node: &mut Connection) -> Vec<String> {
    node.list("/net/.").unwrap_or_default().into_iter().map(|entry| entry.stat.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<(What, String, String)> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        Asked::of(&words).map(|asked| (asked.what, asked.before.into(), asked.word.into()))
    }

    #[test]
    fn the_tree_has_a_say_about_places_and_paths() {
        let on = |before: &str, word: &str| Some((What::On, before.into(), word.into()));
        let path = |word: &str| Some((What::Path, String::new(), word.into()));
        assert_eq!(asked("uem run --on gp"), on("", "gp"));
        assert_eq!(asked("uem ps --on "), on("", ""));
        assert_eq!(asked("uem run --on=gpus=1/me"), on("--on=", "gpus=1/me"));
        assert_eq!(asked("uem ls query/"), path("query/"));
        assert_eq!(asked("uem --at x cat "), path(""));
        for line in
            ["uem ", "uem l", "uem ls --js", "uem run ec", "uem run ls ", "uem ls --at ", "uem mount d"]
        {
            assert_eq!(asked(line), None, "{line}");
        }
    }

    #[test]
    fn terms_follow_terms_until_a_number_leads_out() {
        for (dir, query) in [
            ("query/", Some("query")),
            ("/query/x86/", Some("query")),
            ("await/gpus=1/", Some("query")),
            ("net/gw/query/x86/", Some("net/gw/query")),
            ("query/x86/0/", None),
            ("net/gw/", None),
            ("", None),
        ] {
            assert_eq!(query_of(dir).as_deref(), query, "{dir}");
        }
    }
}
