//! `uem status`: all nodes, a line each, and this one in a few more.

use crate::at::Common;
use crate::failure::Outcome;
use crate::nodes;
use crate::on::{On, Ons};
use crate::start;
use crate::tree::{self, Record};
use link::discovery;
use rustix::stdio::stdout;
use rustix::termios::isatty;
use std::io::Write;
use std::time::Duration;

/// See what is up
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Only this node, or this place: b, n[1-3], tree/gw, phys/site/rack (repeatable)
    #[arg(long, value_name = "NODE", value_parser = On::parse_all)]
    on: Vec<Ons>,
    /// Nodes that say on the local network that they are there, of whatever trust domain
    #[arg(long, conflicts_with = "on")]
    discover: bool,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

/// How long nodes of the local network are listened for.
const LISTEN: Duration = Duration::from_millis(1500);

/// What a terminal shows in red (ECMA-48, SGR 31).
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    if args.discover {
        return discover(args);
    }
    let at = common.at()?;
    let mut node = at.connect()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        for record in nodes::nodes(&mut node, &args.on)? {
            writeln!(out, "{}", serde_json::Value::Object(record))?;
        }
        return Ok(0);
    }
    let dirs: Vec<&str> = args.on.iter().flat_map(|ons| &ons.all).map(|on| on.dir.as_str()).collect();
    let but: Vec<&String> = args.on.iter().flat_map(|ons| &ons.but).collect();
    let files: Vec<String> = match dirs.is_empty() {
        true => vec!["status".into(), "self/info.json".into()],
        false => dirs.iter().map(|dir| format!("{dir}/status")).collect(),
    };
    let mut texts = Vec::new();
    for (file, answer) in files.iter().zip(tree::read_all(&mut node, &files)) {
        let dir = file.trim_end_matches("status").trim_end_matches('/');
        texts.push(answer.map_err(|error| {
            let (at, error) = tree::reason(&mut node, dir, error);
            tree::no_node(dir, at, error)
        })?);
    }
    let own = if dirs.is_empty() { texts.pop() } else { None };
    let red = isatty(stdout()) && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    for text in &texts {
        let text = String::from_utf8_lossy(text);
        let is_meant = |row: &&str| !but.iter().any(|name| row.split(' ').next() == Some(name));
        let meant: String = text.split_inclusive('\n').filter(is_meant).collect();
        out.write_all(rows(&meant, red).as_bytes())?;
    }
    if let Some(own) = own {
        let info = tree::record(&own)?;
        out.write_all(this_node(&info, &start::up_of(&info, at.addr)).as_bytes())?;
    }
    Ok(0)
}

fn discover(args: &Args) -> Outcome {
    let found = discovery::list(LISTEN)?;
    let mut out = std::io::stdout().lock();
    let mut rows = vec![["NODE", "ID", "DOMAIN", "LOC", "ADDRESSES"].map(String::from).to_vec()];
    for node in &found {
        let about = &node.about;
        let addresses: Vec<String> = node.dial().iter().map(ToString::to_string).collect();
        if args.json {
            let record = serde_json::json!({ "node": about.name, "id": about.id.to_string(), "domain": about.domain,
                "loc": about.loc, "auto": about.auto, "addresses": addresses });
            writeln!(out, "{record}")?;
        }
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let (domain, loc) = (or_dash(&about.domain), or_dash(&about.loc));
        rows.push(vec![about.name.clone(), about.id.to_string(), domain, loc, addresses.join(" ")]);
    }
    if !args.json {
        out.write_all(tree::table(&rows).as_bytes())?;
    }
    Ok(0)
}

/// The lines as they are; who is down in red, if it is for a terminal.
fn rows(text: &str, red: bool) -> String {
    let row = |line: &str| match red && line.split(' ').nth(1) == Some("down") {
        true => format!("{RED}{line}{PLAIN}\n"),
        false => format!("{line}\n"),
    };
    text.lines().map(row).collect()
}

/// What only the node that was asked knows of itself.
fn this_node(info: &Record, up: &start::Up) -> String {
    let mut lines = format!("node      {}", up.name);
    let (parent, seeking) = (tree::text(info, "parent"), tree::text(info, "seeking"));
    match (parent.is_empty(), seeking.is_empty()) {
        (false, _) => lines.push_str(&format!(", below {parent}")),
        (true, false) => lines.push_str(&format!(", looking for a parent: {seeking}")),
        (true, true) => {}
    }
    let mount = up.mount.as_deref().unwrap_or("none");
    let (sessions, running) = (tree::text(info, "sessions"), tree::text(info, "running"));
    format!("{lines}\nmount     {mount}\nsocket    {}\nsessions  {sessions}, {running} running\n", up.addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_down_is_red() {
        let text = "a up 10:35, 4 users, load average: 1.08\nb down since 2026-01-02T03:04:05Z\n";
        assert_eq!(rows(text, false), text);
        let shown = rows(text, true);
        assert!(
            shown.starts_with("a up")
                && shown.ends_with("\x1b[31mb down since 2026-01-02T03:04:05Z\x1b[0m\n")
        );
    }
}
