//! `uem ps`: sessions of all nodes, a line each, and a line for each node that is down.

use crate::at::Common;
use crate::failure::Outcome;
use crate::nodes::{self, Found};
use crate::on::{On, Ons};
use crate::tree::{self, Record};
use std::io::Write;
use std::time::Duration;

/// List sessions, on all nodes
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Those that have ended too
    #[arg(long, short)]
    all: bool,
    /// Only on this node, or in this place: b, n[1-3], tree/gw, phys/site/rack (repeatable)
    #[arg(long, value_name = "NODE", value_parser = On::parse_all)]
    on: Vec<Ons>,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let Found { nodes, sessions } = nodes::sessions(&mut node, &args.on, "status.json")?;
    let shown = sessions.into_iter().filter(|session| args.all || tree::text(session, "state") != "ended");
    let down = nodes.into_iter().filter(nodes::is_down);
    let mut out = std::io::stdout().lock();
    if args.json {
        for record in shown.chain(down) {
            writeln!(out, "{}", serde_json::Value::Object(record))?;
        }
        return Ok(0);
    }
    let head = ["ID", "STATE", "TIME", "USER", "COMMAND"].map(String::from).to_vec();
    let rows = shown.map(|session| row(&session)).chain(down.map(|node| down_row(&node)));
    let rows: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    out.write_all(tree::table(&rows).as_bytes())?;
    Ok(0)
}

fn row(session: &Record) -> Vec<String> {
    let state = tree::ending(session).unwrap_or_else(|| tree::text(session, "state"));
    let time = Duration::try_from_secs_f64(tree::number(session, "real")).unwrap_or_default();
    let command = tree::text(session, "command").replace('\n', "\\n");
    vec![tree::text(session, "path"), state, op::format_span(time), tree::text(session, "user"), command]
}

/// What runs on it is not known, and goes on.
fn down_row(node: &Record) -> Vec<String> {
    let dash = || String::from("-");
    vec![tree::text(node, "node"), "down".into(), dash(), dash(), nodes::down_since(node)]
}
