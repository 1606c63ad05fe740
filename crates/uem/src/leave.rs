//! `uem leave`: out of the cloud for good, which is another thing than to be down; and to have a node forgotten that will
//! not come back.

use crate::at::Common;
use crate::failure::Outcome;
use crate::id::{Id, Ids};
use std::io::Write;

/// Leave the cloud: this node goes on alone; of a node that is down: forget it
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The node [default: this one]
    #[arg(value_name = "NODE", value_parser = node)]
    node: Option<Id>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let told = match &args.node {
        None => node.write_file("self/ctl", b"leave\n").map_err(Into::into),
        Some(id) => {
            let told = node.write_file(&id.file("ctl"), b"leave\n");
            told.map_err(|error| id.failed(&mut node, error))
        }
    };
    told?;
    let name = args.node.as_ref().map_or("this node", |id| id.short());
    writeln!(std::io::stdout(), "{name} has left")?;
    Ok(0)
}

/// One node.
fn node(text: &str) -> Result<Id, String> {
    match Ids::parse(text)?.0.as_slice() {
        [id] if id.is_node() => Ok(id.clone()),
        _ => Err(format!("{text:?} is not one node; write b or net/b")),
    }
}
