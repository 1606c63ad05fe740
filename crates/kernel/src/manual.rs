//! The tables as the manual shows them. The pages in `docs/manual/` are made from here.

pub use crate::{
    files::{FILES, File},
    query::{
        policy::{Kind as PolicyKind, POLICIES},
        table::{MODIFIERS, Row, SESSION_KEYS, TERMS},
    },
    verbs::{SIGNALS, VERBS, Verb},
};
use alloc::{format, string::String};

/// Terms of queries, as a table in Markdown.
pub fn terms(rows: &[Row]) -> String {
    let mut out = String::from("| term | meaning | example |\n|---|---|---|\n");
    for row in rows {
        let (term, doc) = (row.term.replace('|', "\\|"), row.doc.replace('|', "\\|"));
        out.push_str(&format!("| `{term}` | {doc} | `{}` |\n", row.example));
    }
    out
}

/// The files of the tree, as a table in Markdown.
pub fn files() -> String {
    let mut out = String::from("| file | mode | where | what |\n|---|---|---|---|\n");
    for file in FILES {
        let twins = if file.twins { " (also `.json`, `.xml`, `.sexp`)" } else { "" };
        let private = if file.private { ", owner's" } else { "" };
        out.push_str(&format!(
            "| `{}` | {:03o}{private} | {} | {}{twins} |\n",
            file.name,
            file.mode,
            file.places().join(", "),
            file.doc.replace('|', "\\|")
        ));
    }
    out
}

/// The verbs of `ctl`, as a table in Markdown.
pub fn verbs() -> String {
    let mut out = String::from("| verb | meaning | example |\n|---|---|---|\n");
    for verb in VERBS {
        let usage = format!("{} {}", verb.name, verb.usage);
        out.push_str(&format!(
            "| `{}` | {} | `{}` |\n",
            usage.trim_end(),
            verb.doc.replace('|', "\\|"),
            verb.example
        ));
    }
    out
}
