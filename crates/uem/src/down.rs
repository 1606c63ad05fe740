//! `uem down`: stops the node, and what runs on it unless it is to be kept.

use crate::at::{At, Common, is_absent};
use crate::failure::{Failure, Outcome};
use crate::start::{self, NodeArgs};
use host::client::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// Stop the node, and what runs on it
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Leave programs running, for the next uem up to find
    #[arg(long)]
    keep: bool,
}

/// How long it may take; programs have 5 s of grace.
const LONGEST: Duration = Duration::from_secs(12);
const TRY: Duration = Duration::from_millis(2);

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let at = common.at()?;
    let mut node = match at.dial() {
        Ok(node) => node,
        Err(error) if is_absent(error.errno) && !args.keep => wake(&at)?,
        Err(_) => at.connect()?,
    };
    let line: &[u8] = if args.keep { b"down keep\n" } else { b"down\n" };
    match node.write_file("self/ctl", line) {
        Err(error) if node.gone().is_none() => return Err(error.into()),
        // It may be gone before it could say that it goes.
        Ok(()) | Err(_) => {}
    }
    let until = Instant::now() + LONGEST;
    let over = || match (&at.state, args.keep) {
        (Some(state), false) => is_free(state),
        (Some(_), true) | (None, _) => at.dial().is_err(),
    };
    while !over() {
        if Instant::now() >= until {
            let cause = format!(
                "the node at {} was told to stop, and has not within {} s",
                at.addr,
                LONGEST.as_secs()
            );
            return Err(Failure::new(cause).hint("its log is in the state directory"));
        }
        std::thread::sleep(TRY);
    }
    Ok(0)
}

/// Programs that were kept are ended by a node: if only their keeper is there, it starts one.
fn wake(at: &At) -> Result<Connection, Failure> {
    match &at.state {
        Some(state) if state.exists() && !is_free(state) => {
            start::start(&NodeArgs { no_mount: true, ..NodeArgs::local(state.clone()) })?;
            at.connect()
        }
        _ => at.connect(),
    }
}

/// Whether neither node nor keeper has the state directory.
fn is_free(state: &Path) -> bool {
    provide::keeper::lock(state).is_ok()
}
