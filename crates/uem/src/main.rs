//! The command `uem`: one binary that is node, keeper and client. A file a subcommand; each works through the tree
//! of the node that it talks to, and nothing else.
#![forbid(unsafe_code)]

mod at;
mod attach;
mod bridge;
mod cat;
mod complete;
mod completions;
mod console;
mod cp;
mod doctor;
mod down;
mod failure;
mod help;
mod id;
mod invite;
mod join;
mod kill;
mod leave;
mod logs;
mod ls;
mod man;
mod mount;
mod names;
mod nodes;
mod on;
mod own;
mod ps;
mod revoke;
mod role;
mod run;
mod start;
mod status;
mod top;
mod tree;
mod umount;
mod up;
mod wait;
mod write;

use at::Common;
use clap::{CommandFactory, Parser};
use failure::Outcome;
use std::process::ExitCode;

/// One file tree through which programs are run, watched and ended, here and elsewhere
#[derive(Parser)]
#[command(name = "uem", version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Uem {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    Status(status::Args),
    Doctor(doctor::Args),
    Invite(invite::Args),
    #[command(mut_arg("stdio", |arg| arg.hide(true)))]
    Join(join::Args),
    Leave(leave::Args),
    Revoke(revoke::Args),
    Run(run::Args),
    Ps(ps::Args),
    Top(top::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Wait(wait::Args),
    Kill(kill::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Write(write::Args),
    Cp(cp::Args),
    Mount(mount::Args),
    Umount(umount::Args),
    Completions(completions::Args),
    Man(man::Args),
    Help(help::Args),
    #[command(hide = true)]
    Complete(complete::Args),
    #[command(hide = true)]
    Bridge(bridge::Args),
    #[command(hide = true)]
    Keeper(start::NodeArgs),
    #[command(hide = true)]
    Node(start::NodeArgs),
}

impl Uem {
    /// What the subcommand is called, for messages, and what came of it.
    fn run(self) -> (&'static str, Outcome) {
        let common = &self.common;
        match self.command {
            Command::Up(args) => ("up", up::run(common, args)),
            Command::Down(args) => ("down", down::run(common, &args)),
            Command::Status(args) => ("status", status::run(common, &args)),
            Command::Doctor(args) => ("doctor", doctor::run(common, &args)),
            Command::Invite(args) => ("invite", invite::run(common, &args)),
            Command::Join(args) => ("join", join::run(common, &args)),
            Command::Leave(args) => ("leave", leave::run(common, &args)),
            Command::Revoke(args) => ("revoke", revoke::run(common, &args)),
            Command::Run(args) => ("run", run::run(common, &args)),
            Command::Ps(args) => ("ps", ps::run(common, &args)),
            Command::Top(args) => ("top", top::run(common, &args)),
            Command::Logs(args) => ("logs", logs::run(common, &args)),
            Command::Attach(args) => ("attach", attach::run(common, &args)),
            Command::Wait(args) => ("wait", wait::run(common, &args)),
            Command::Kill(args) => ("kill", kill::run(common, &args)),
            Command::Ls(args) => ("ls", ls::run(common, &args)),
            Command::Cat(args) => ("cat", cat::run(common, &args)),
            Command::Write(args) => ("write", write::run(common, &args)),
            Command::Cp(args) => ("cp", cp::run(common, &args)),
            Command::Mount(args) => ("mount", mount::run(common, &args)),
            Command::Umount(args) => ("umount", umount::run(&args)),
            Command::Completions(args) => ("completions", completions::run(&args)),
            Command::Man(args) => ("man", man::run(&args)),
            Command::Help(args) => ("help", help::run(&args)),
            Command::Complete(args) => ("complete", complete::run(common, &args)),
            Command::Bridge(args) => ("bridge", bridge::run(common, &args)),
            Command::Keeper(args) => ("keeper", role::keeper(&args.of(common))),
            Command::Node(args) => ("node", role::node(&args.of(common))),
        }
    }
}

/// All subcommands with their flags: what help, completions and manual pages are made from.
fn command() -> clap::Command {
    Uem::command()
}

fn main() -> ExitCode {
    let (name, outcome) = Uem::parse().run();
    let status = outcome.unwrap_or_else(|failure| {
        failure.tell(name);
        failure.status
    });
    ExitCode::from(status)
}
