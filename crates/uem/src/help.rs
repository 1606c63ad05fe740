//! `uem help`: of a subcommand, of the verbs of `ctl`, of the files of the tree.

use crate::failure::{Failure, Outcome};
use std::io::Write;

/// Explain a subcommand, or: ctl (its verbs), files (of the tree), query (its terms)
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// A subcommand, ctl, files or query
    topic: Option<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut command = crate::command();
    let text = match args.topic.as_deref() {
        None => command.render_long_help().to_string(),
        Some("ctl") => verbs(),
        Some("files") => files(),
        Some("query") => query(),
        Some(topic) => match command.find_subcommand_mut(topic) {
            Some(sub) => sub.clone().bin_name(format!("uem {topic}")).render_long_help().to_string(),
            None => {
                return Err(Failure::misuse(format!("there is no help on {topic:?}"))
                    .hint("a subcommand, ctl, files or query; uem help lists them"));
            }
        },
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

fn verbs() -> String {
    let verbs = kernel::manual::VERBS.iter().map(|verb| {
        let usage = format!("{} {}", verb.name, verb.usage);
        format!("{}\n    {}\n    Example: {}\n", usage.trim_end(), verb.doc, verb.example)
    });
    format!(
        "Commands that are written to ctl files, one a line, words quoted as in sh.\n\n{}",
        verbs.collect::<String>()
    )
}

fn files() -> String {
    let files = kernel::manual::FILES.iter().map(|file| {
        let twins = if file.twins { ", also .json .xml .sexp" } else { "" };
        format!("{} ({:03o}; {}{twins})\n    {}\n", file.name, file.mode, file.places().join(", "), file.doc)
    });
    format!("Files of the tree.\n\n{}", files.collect::<String>())
}

fn query() -> String {
    fn rows<'a>(rows: impl IntoIterator<Item = &'a kernel::manual::Row>, after: &str) -> String {
        let row = |row: &kernel::manual::Row| {
            format!("{}{after}\n    {}\n    Example: query/{}\n", row.term, row.doc, row.example)
        };
        rows.into_iter().map(row).collect()
    }
    let keys = kernel::manual::SESSION_KEYS.join(" ");
    format!(
        "Queries: a path of terms below query/, all of which must hold: uem ls query/x86/gpus=1/mem=4G\n\n{}\nKeys of nodes are what \
         their info shows, labels among them. Keys of sessions are {keys} and tag.KEY;\na term about sessions makes the answer sessions.\n\n\
         What is done with what matches:\n\n{}\nPolicies:\n\n{}",
        rows(kernel::manual::TERMS, ""),
        rows(kernel::manual::MODIFIERS, "="),
        rows(kernel::manual::POLICIES.iter().map(|kind| &kind.row), ""),
    )
}
