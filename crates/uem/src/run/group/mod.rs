//! `uem run -n N`, `uem run --on n[1-64]`: a program many times, as one: a group of the node that is asked, which plans who goes
//! where. What is done here is for people: names, how far it is, what failed, a log.

mod follow;
mod frames;
mod joblog;
mod labels;
mod layout;
mod mode;
mod plan;
mod progress;
mod tally;
mod which;

use super::flight::{self, Flight};
use super::put;
use super::script::{self, Surroundings};
use super::{Args, cannot_start, tell_name};
use crate::at::Common;
use crate::failure::{Failure, Outcome, say};
use crate::on::{On, Ons};
use crate::tree;
use host::client::Connection;
use joblog::{Earlier, JobLog, Template};
use mode::{Input, Mode};
use op::Op;
use plan::Plan;
use std::path::PathBuf;

/// What is about many.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Many {
    /// Run it N times, as members of ranks 0 to N-1, wherever there is room: {rank}, {size}, {node} and {id} in its words are each
    /// member's own
    #[arg(short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    /// Run it once on each node that --on names or matches, or on every node
    #[arg(long, conflicts_with = "number")]
    each: bool,
    /// At most so many at a time [default: as many as there are free slots]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    width: Option<u32>,
    /// Try one that fails so many times again, elsewhere if its node is lost
    #[arg(long, value_name = "R")]
    retry: Option<u32>,
    /// The name of the node, or with -n the rank, before each line
    #[arg(long, group = "output")]
    tag: bool,
    /// Equal outputs once, under the names of those that wrote them
    #[arg(long, group = "output")]
    fold: bool,
    /// Outputs one after the other, in the order of ranks
    #[arg(long, group = "output")]
    rank: bool,
    /// What most of them wrote, and how the others differ from it
    #[arg(long, group = "output")]
    diff: bool,
    /// Outputs through a command of the shell, on every node that has some of them and on those between, each of which gets what
    /// the ones below it wrote: it must take what it writes, as `sort -u` does, or awk that adds
    #[arg(long, group = "output", value_name = "CMD")]
    reduce: Option<String>,
    /// How stdin reaches members: none, broadcast, robin, 'hash [KEY]', rank [default: broadcast with one on each node and no
    /// terminal, else none]
    #[arg(long, value_name = "MODE", value_parser = Input::parse)]
    stdin: Option<Input>,
    /// How stdout is collected: lines, tag, fold, rank, diff, 'reduce CMD', or frames for a program that takes it apart
    #[arg(long, value_name = "MODE", value_parser = Mode::parse, conflicts_with = "output")]
    stdout: Option<Mode>,
    /// The same of stderr [default: as stdout; with diff, fold]
    #[arg(long, value_name = "MODE", value_parser = Mode::parse)]
    stderr: Option<Mode>,
    /// What a record is, that is never torn: line, nul, blank, len32, 'regex RE'
    #[arg(long, value_name = "RECORD")]
    records: Option<String>,
    /// Write a line for each member that has ended, in the columns of GNU parallel's
    #[arg(long, value_name = "FILE")]
    joblog: Option<PathBuf>,
    /// Only those members of which the joblog does not say that they ended with 0
    #[arg(long, requires = "joblog", conflicts_with = "detach")]
    resume: bool,
    /// Say first who would run where, and why
    #[arg(long)]
    explain: bool,
    /// Say only that
    #[arg(long)]
    dry_run: bool,
}

/// How many it is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Members {
    Number(u32),
    Each,
}

impl Many {
    /// Whether it is many, and how. `-n` says so; without it, nodes that are named, `all`, `--each` and ways to show several outputs
    /// mean one on each; what is only of use for members means one of them.
    pub(super) fn members(&self, on: &[Ons]) -> Option<Members> {
        let places = on.iter().filter(|ons| ons.all.iter().any(|on| on.terms().is_none())).count();
        let several = places > 1 || on.iter().any(|ons| ons.one().is_none_or(|on| on.dir.is_empty()));
        let shown = self.tag || self.fold || self.rank || self.diff || self.reduce.is_some();
        let of_members = self.width.is_some()
            || self.retry.is_some()
            || [&self.stdout, &self.stderr].iter().any(|mode| mode.is_some())
            || self.stdin.is_some()
            || self.records.is_some()
            || self.joblog.is_some()
            || self.explain
            || self.dry_run;
        match self.number {
            Some(number) => Some(Members::Number(number)),
            None if self.each || several || shown && !on.is_empty() => Some(Members::Each),
            None if of_members || shown || on.len() > 1 => Some(Members::Number(1)),
            None => None,
        }
    }

    /// How stdout and stderr are collected.
    fn modes(&self) -> [Mode; 2] {
        let flags = [
            (self.tag, Mode::Tag),
            (self.fold, Mode::Fold),
            (self.rank, Mode::Rank),
            (self.diff, Mode::Diff),
        ];
        let flag = flags.into_iter().find_map(|(set, mode)| set.then_some(mode));
        let flag = flag.or(self.reduce.clone().map(Mode::Reduce));
        let out = self.stdout.clone().or(flag).unwrap_or(Mode::Lines);
        let err = self.stderr.clone().unwrap_or_else(|| match &out {
            // What is wrong is not what is added up.
            Mode::Frames | Mode::Reduce(_) => Mode::Lines,
            // What is wrong is wrong alike.
            Mode::Diff => Mode::Fold,
            Mode::Lines | Mode::Tag | Mode::Fold | Mode::Rank => out.clone(),
        });
        [out, err]
    }
}

pub(super) fn run(common: &Common, args: &Args, members: Members) -> Outcome {
    if args.tty {
        let hint = "uem run -t --on NODE is for one";
        return Err(Failure::misuse("-t: a terminal is one program's, and not many's").hint(hint));
    }
    let at = common.at()?;
    let mut node = at.connect_or_start("run")?;
    let which = which::ask(&mut node, &args.on)?;
    let around = match which.alone && at.is_here() {
        true => Surroundings::here(None),
        false => Surroundings::elsewhere(None, true),
    };
    let by_node = members == Members::Each;
    let size = if let Members::Number(number) = members { number } else { 0 };
    let template = Template::new(&args.command, size);
    let earlier = match (&args.many.joblog, args.many.resume) {
        (Some(path), true) => Earlier::read(path, &template, by_node)?,
        (Some(_) | None, _) => Earlier::default(),
    };
    let Some(plan) = Plan::new(&args.many, members, which, &earlier)? else {
        say("run", "all have ended with 0 already, as the joblog says");
        return Ok(0);
    };
    if args.many.dry_run {
        return plan::explain(&mut node, &plan, &mut std::io::stdout()).map(|()| 0);
    }
    if args.many.explain {
        plan::explain(&mut node, &plan, &mut std::io::stderr())?;
    }
    let env = script::env(args, &around)?;
    let lines = script::group(args, &around, &plan.setup(args.detach)?, &plan.run());
    let lines = [put::lines(&mut node, &args.put)?, lines].concat();
    let flight = Flight::send(&mut node, &On::here(), &env, true);
    if args.detach {
        return detached(node, &flight, &lines, args);
    }
    let log = args.many.joblog.as_deref().map(|path| JobLog::open(path, template, args.many.resume));
    follow::Follow::new(node, at, flight, lines, args, plan, log.transpose()?)?.follow()
}

/// They run without us: the group's name is all that is wanted, as long as there is one that runs.
fn detached(mut node: Connection, flight: &Flight, lines: &[u8], args: &Args) -> Outcome {
    let info = super::ready(&mut node, &On::here(), flight)?;
    let begun = flight::exec(&mut node, flight.ctl, lines);
    let Err(error) = node.wait_for(begun) else { return tell_name(&info, args.json) };
    let session = On::here().session(&tree::text(&info, "id"));
    let now = tree::record(&node.read_file(&format!("{session}/info.json"))?)?;
    if tree::text(&now, "state") == "running" {
        // Some could not be started, and say so when they are waited for.
        Failure::from(error).tell("run");
        return tell_name(&info, args.json);
    }
    let _it_goes_anyway = node.call(Op::Write { fid: flight.ctl, offset: 0, data: b"free\n".to_vec() });
    Err(cannot_start(error, args))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn many_are_told_from_one() {
        use Members::{Each, Number};
        for (line, expected) in [
            ("true", None),
            ("--on b true", None),
            ("--on tree/gw true", None),
            ("--on gpus=1 --job j true", None),
            ("--on n[1-2]!n2 true", None),
            ("-n 3 true", Some(Number(3))),
            ("-n 3 --on a,b true", Some(Number(3))),
            ("--on a,b true", Some(Each)),
            ("--on a --on b true", Some(Each)),
            ("--on all true", Some(Each)),
            ("--on all!a true", Some(Each)),
            ("--on tree/gw!b true", Some(Each)),
            ("--on gpus=1 --each true", Some(Each)),
            ("--each true", Some(Each)),
            ("--on gpus=1 --fold true", Some(Each)),
            ("--on gpus=1 --on x=2 true", Some(Number(1))),
            ("--retry 3 true", Some(Number(1))),
            ("--on b --joblog f true", Some(Number(1))),
            ("--fold true", Some(Number(1))),
            ("--on gpus=1 --reduce cat true", Some(Each)),
        ] {
            let args = Line::try_parse_from(["run"].into_iter().chain(line.split(' '))).unwrap().args;
            assert_eq!(args.many.members(&args.on), expected, "{line}");
        }
        for wrong in [
            "-n 0 true",
            "-n 2 --each true",
            "--tag --reduce cat true",
            "--tag --fold true",
            "--resume true",
            "--stdout x true",
        ] {
            assert!(Line::try_parse_from(["run"].into_iter().chain(wrong.split(' '))).is_err(), "{wrong}");
        }
    }
}
