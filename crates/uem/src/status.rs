//! `uem status`: the node in a few lines.

use crate::at::Common;
use crate::failure::Outcome;
use crate::start;
use crate::tree;
use std::io::Write;

/// See what is up
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// As a line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let at = common.at()?;
    let mut node = at.connect()?;
    let mut out = std::io::stdout().lock();
    let info = tree::record(&node.read_file("info.json")?)?;
    if args.json {
        writeln!(out, "{}", serde_json::Value::Object(info))?;
        return Ok(0);
    }
    out.write_all(&node.read_file("status")?)?;
    let up = start::describe(&mut node, at.addr)?;
    let mount = up.mount.unwrap_or_else(|| "none".into());
    let (sessions, running) = (tree::text(&info, "sessions"), tree::text(&info, "running"));
    writeln!(out, "mount     {mount}\nsocket    {}\nsessions  {sessions}, {running} running", up.addr)?;
    Ok(0)
}
