//! `uem cat`: files of the tree, as they come.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use host::client::{Connection, READ};
use op::{Errno, Op, Reply};
use std::io::Write;

/// Show files of the tree; one that waits is shown as it grows
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Paths in the tree
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let mut out = std::io::stdout().lock();
    for path in &args.paths {
        copy(&mut node, path, &mut out)?;
    }
    Ok(0)
}

/// Copies a file of the tree to its end; what has come is there for the reader at once.
pub(crate) fn copy(node: &mut Connection, path: &str, out: &mut impl Write) -> Result<(), Failure> {
    let about = |error: op::Error| Failure::from(error).about(path);
    let fid = node.open(path, READ).map_err(about)?;
    let mut offset = 0;
    loop {
        let op = Op::Read { fid, offset, count: node.max_io(), wait: true };
        match node.call(op).map_err(about)? {
            Reply::Data(data) if data.is_empty() => break,
            Reply::Data(data) => {
                out.write_all(&data)?;
                out.flush()?;
                offset += data.len() as u64;
            }
            _ => return Err(about(Errno::PROTO.into())),
        }
    }
    node.clunk(fid);
    Ok(())
}
