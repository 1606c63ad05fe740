//! `uem run`: a program on a node, as if it were local.
//!
//! One flight of requests makes a session ready (see [`flight`]), one write starts the program; from then on bytes
//! go back and forth as they come.

mod back;
mod flight;
mod follow;
mod group;
pub(crate) mod put;
mod script;

use crate::at::Common;
use crate::console::terminal;
use crate::failure::{CANNOT_RUN, Failure, NOT_FOUND, Outcome};
use crate::on::{On, Ons};
use crate::tree::{self, Record};
use flight::Flight;
use host::client::Connection;
use op::{Errno, Error};
use script::Surroundings;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Run a program as if it were local: stdin, stdout, stderr, signals and exit status are its own
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Args {
    /// On this node: b, net/b; or the least loaded of tree/gw, phys/site/rack, or of a query: gpus=1/mem=4G. It begins in
    /// your home directory there, with that node's environment
    #[arg(long, value_name = "WHERE", value_parser = On::parse_all)]
    on: Vec<Ons>,
    #[command(flatten)]
    many: group::Many,
    /// Give it a terminal, as for vim or top
    #[arg(short = 't', long)]
    tty: bool,
    /// Start it, print its id, and leave it running until it ends; its output is kept until `uem kill --free`
    #[arg(long, conflicts_with = "tty")]
    detach: bool,
    /// End it after this long (10s, 5m, 1h), with status 124
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "detach")]
    timeout: Option<Duration>,
    /// Send this file along: the program finds it under its name, or NAME, in a directory of its own, where it starts. Sent
    /// once, and kept for the next time by every node on the way (repeatable)
    #[arg(long, value_name = "FILE[=NAME]")]
    put: Vec<OsString>,
    /// Where it starts, on the node where it runs [default: here; on another machine, your home directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A variable of its environment, besides all of yours; on another machine, besides LANG, LC_* and with -t TERM (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// What it may use: cpu= mem= pids= wall= output= fds= (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    limit: Vec<String>,
    /// Priority, from -20 (first) to 19 (last)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    nice: Option<i8>,
    /// An attribute of your own, shown in its info: the verb `tag` (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    attr: Vec<String>,
    /// The same as --attr job=NAME
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Say how it ended as a line of JSON on stderr; with --detach, its id as JSON on stdout
    #[arg(long)]
    json: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROG ARG")]
    command: Vec<OsString>,
}

/// Runs it, to its end unless it is detached.
pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    if let Some(members) = args.many.members(&args.on) {
        return group::run(common, args, members);
    }
    let at = common.at()?;
    let on = args.on.first().and_then(Ons::one);
    let size = args.tty.then(terminal::size).flatten();
    let around = match on.is_none() && at.is_here() {
        true => Surroundings::here(size),
        false => Surroundings::elsewhere(size, on.is_none()),
    };
    let (env, ctl) = (script::env(args, &around)?, script::ctl(args, &around)?);
    let mut node = at.connect_or_start("run")?;
    let ctl = [put::lines(&mut node, &args.put)?, ctl].concat();
    let place = on.cloned().unwrap_or(On::here());
    let flight = Flight::send(&mut node, &place, &env, args.detach);
    match args.detach {
        true => {
            let info = ready(&mut node, &place, &flight)?;
            let exec = flight::exec(&mut node, flight.ctl, &ctl);
            node.wait_for(exec).map_err(|error| cannot_start(error, args))?;
            tell_name(&info, args.json)
        }
        false => follow::Run::new(node, at, place, flight, ctl, args)?.follow(),
    }
}

/// All is ready for it to be started; what its `info` says now.
fn ready(node: &mut Connection, place: &On, flight: &Flight) -> Result<Record, Failure> {
    for tag in &flight.setup {
        node.wait_for(*tag).map_err(|error| not_made(node, place, error))?;
    }
    let info = flight.info.map(|info| node.wait_for(info)).transpose()?;
    tree::record(reply_text(info.unwrap_or(op::Reply::Done)).as_bytes())
}

/// It runs without us: its name is all that is wanted.
fn tell_name(info: &Record, json: bool) -> Outcome {
    let (path, name) = (tree::text(info, "path"), tree::text(info, "node"));
    let mut out = std::io::stdout().lock();
    match json {
        true => {
            let record = serde_json::json!({ "id": info.get("id"), "node": name, "path": path });
            writeln!(out, "{record}")?;
        }
        false => writeln!(out, "{}", path.trim_start_matches("net/"))?,
    }
    Ok(0)
}

/// Why there is no session there: what the node says of the way to it.
fn not_made(node: &mut Connection, place: &On, error: Error) -> Failure {
    // A walk that stopped half-way made no fid, and says no more than that.
    let error = if error.errno == Errno::BADF { Errno::NOENT.into() } else { error };
    // A node that is down has a directory, of what is remembered, and no `clone` in it.
    let (at, error) = tree::reason(node, &format!("{}/clone", place.dir), error);
    match error.errno {
        Errno::NOENT => tree::no_node(&place.dir, at, error),
        _ => error.into(),
    }
}

/// What a short file says.
fn reply_text(reply: op::Reply) -> String {
    match reply {
        op::Reply::Data(data) => String::from_utf8_lossy(&data).trim().to_string(),
        _ => String::new(),
    }
}

/// Why a program did not start, with the status that sh has for it.
fn cannot_start(error: Error, args: &Args) -> Failure {
    let cause = error.to_string();
    let of_program = cause.strip_prefix("exec ").filter(|_| error.errno != Errno::INVAL);
    let Some(cause) = of_program else {
        return Failure::from(error).about(script::shown(&args.command[..1]));
    };
    let slash = args.command[0].as_encoded_bytes().contains(&b'/');
    let (status, hint) = match error.errno {
        Errno::NOENT if slash => (NOT_FOUND, "a program's path is one of the node's, from --dir"),
        Errno::NOENT if !args.on.is_empty() => (NOT_FOUND, "it is looked for on that node, in its own PATH"),
        Errno::NOENT => (NOT_FOUND, "it is looked for on the node, in your PATH"),
        Errno::ACCES => (CANNOT_RUN, "is it a program? chmod +x makes it one"),
        _ => (CANNOT_RUN, ""),
    };
    Failure { status, cause: cause.into(), hint: hint.into() }
}

/// A length of time.
fn span(text: &str) -> Result<Duration, String> {
    op::parse_span(text).ok_or_else(|| format!("{text:?} is no time; write 10s, 5m or 1.5h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_start_has_the_status_of_sh() {
        let args = |word: &str| Args { command: vec![word.into()], ..Args::default() };
        for (errno, cause, word, status, shown) in [
            (
                Errno::NOENT,
                "exec no: not found in PATH",
                "no",
                127,
                "no: not found in PATH (it is looked for",
            ),
            (
                Errno::NOENT,
                "exec /no: No such file or directory",
                "/no",
                127,
                "/no: No such file or directory (a ",
            ),
            (
                Errno::ACCES,
                "exec /x: Permission denied",
                "/x",
                126,
                "/x: Permission denied (is it a program?",
            ),
            (Errno::NOEXEC, "exec /x: Exec format error", "/x", 126, "/x: Exec format error"),
            (Errno::NOENT, "cannot enter directory /d: none", "x", 125, "x: cannot enter directory /d: none"),
            (Errno::INVAL, "limit a=1: known are cpu", "x", 125, "x: limit a=1: known are cpu"),
        ] {
            let failure = cannot_start(Error::new(errno, cause), &args(word));
            assert_eq!(failure.status, status, "{cause}");
            assert!(failure.to_string().starts_with(shown), "{failure}");
        }
    }
}
