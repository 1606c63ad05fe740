//! `uem ps`: sessions, a line each.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::tree::{self, Record};
use host::client::Connection;
use std::io::Write;
use std::time::Duration;

/// List sessions
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Those that have ended too
    #[arg(long, short)]
    all: bool,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let all = sessions(&mut node, "status.json")?;
    let shown = all.into_iter().filter(|session| args.all || tree::text(session, "state") != "ended");
    let mut out = std::io::stdout().lock();
    if args.json {
        for session in shown {
            writeln!(out, "{}", serde_json::Value::Object(session))?;
        }
        return Ok(0);
    }
    let head = ["ID", "STATE", "TIME", "USER", "COMMAND"].map(String::from).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(shown.map(|session| row(&session))).collect();
    out.write_all(tree::table(&rows).as_bytes())?;
    Ok(0)
}

fn row(session: &Record) -> Vec<String> {
    let state = tree::ending(session).unwrap_or_else(|| tree::text(session, "state"));
    let time = Duration::try_from_secs_f64(tree::number(session, "real")).unwrap_or_default();
    let command = tree::text(session, "command").replace('\n', "\\n");
    vec![tree::text(session, "path"), state, op::format_span(time), tree::text(session, "user"), command]
}

/// A record of each session of the node, of the file of that name. Those that are freed meanwhile are left out.
pub(crate) fn sessions(node: &mut Connection, file: &str) -> Result<Vec<Record>, Failure> {
    let entries = node.list("self")?;
    let ids = entries.iter().map(|entry| &entry.stat.name).filter(|name| name.parse::<u64>().is_ok());
    let paths: Vec<String> = ids.map(|id| format!("self/{id}/{file}")).collect();
    let texts = tree::read_all(node, &paths).into_iter().filter_map(Result::ok);
    let records: Result<Vec<Vec<Record>>, Failure> = texts.map(|text| tree::records(&text)).collect();
    Ok(records?.into_iter().flatten().collect())
}
