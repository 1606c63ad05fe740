//! `uem wait`: how sessions ended, when they have.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::id::Id;
use crate::tree;
use std::io::Write;

/// Wait until sessions have ended, and say how; the status is the worst of theirs
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// As lines of JSON
    #[arg(long)]
    json: bool,
    /// Sessions
    #[arg(required = true, value_name = "ID", value_parser = Id::parse)]
    sessions: Vec<Id>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let mut worst = 0;
    for id in &args.sessions {
        let records = node.read_file(&id.file("wait.json")).map_err(|error| id.failed(error))?;
        let shown = match args.json {
            true => records.clone(),
            false => node.read_file(&id.file("wait")).map_err(|error| id.failed(error))?,
        };
        std::io::stdout().write_all(&shown)?;
        for record in tree::records(&records)? {
            let status = tree::status(&record);
            worst = worst.max(status.ok_or_else(|| Failure::new("the node did not say how it ended"))?);
        }
    }
    Ok(worst)
}
