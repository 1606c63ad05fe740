//! The two tables as the manual shows them. The pages in `docs/manual/` are made from here.

pub use crate::{
    files::{FILES, File},
    verbs::{SIGNALS, VERBS, Verb},
};
use alloc::{format, string::String};

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
