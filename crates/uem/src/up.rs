//! `uem up`: starts the local node, in the background or here.

use crate::at::{At, Common};
use crate::failure::{Failure, Outcome, say};
use crate::start::{self, NodeArgs};
use std::io::Write;

/// Start a node on this machine
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// Stay in the foreground; ^C ends it
    #[arg(long)]
    foreground: bool,
}

pub(crate) fn run(common: &Common, args: Args) -> Outcome {
    let mut node = args.node.of(common);
    check(&node)?;
    let at = At::local(node.dir.clone());
    if let Ok(mut there) = at.dial() {
        let up = start::describe(&mut there, at.addr)?;
        return tell(&format!("up already: {up}"));
    }
    if args.foreground || node.stdio {
        if let Some(why) = node.choose_mount()? {
            say("up", &format!("going on without a mount: {why}"));
        }
        start::make_state(&node.dir)?;
        return if node.stdio { crate::role::node(&node) } else { crate::role::keep(&node) };
    }
    let up = start::start(&node)?;
    tell(&format!("up: {up}"))
}

/// What is wrong with the flags is said here, and not by a node in the background.
pub(crate) fn check(node: &NodeArgs) -> Result<(), Failure> {
    crate::role::links(node)?;
    crate::role::store(node)?;
    node.name.iter().try_for_each(|name| crate::role::check_name(name))?;
    node.label.iter().try_for_each(|label| crate::role::label(label).map(drop))?;
    node.ninep.iter().try_for_each(|addr| host::dial::Addr::parse(addr).map(drop).map_err(Failure::misuse))
}

fn tell(line: &str) -> Outcome {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(0)
}
