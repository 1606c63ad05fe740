//! `uem write`: into a file of the tree.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use host::client::{Connection, WRITE};
use op::{Fid, Op, Reply};
use std::io::Read;

/// Write to a file of the tree: the words as one line, or stdin if there are none
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// After a session's stdin: that was all (close stdin)
    #[arg(long)]
    eof: bool,
    /// A path in the tree
    #[arg(value_name = "PATH")]
    path: String,
    /// What to write
    #[arg(value_name = "TEXT", trailing_var_arg = true)]
    text: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let about = |error: op::Error| Failure::from(error).about(&args.path);
    let fid = node.open(&args.path, WRITE).map_err(about)?;
    match args.text.is_empty() {
        true => {
            pour(&mut node, fid, &mut std::io::stdin().lock()).map_err(|failure| failure.about(&args.path))?
        }
        false => node.write(fid, format!("{}\n", args.text.join(" ")).as_bytes()).map_err(about)?,
    }
    // Waited for: a last line without its newline is run now.
    node.call(Op::Clunk { fid }).map_err(about)?;
    if args.eof {
        let dir = args.path.trim_end_matches('/').rsplit_once('/').map_or("", |(dir, _)| dir);
        node.write_file(&format!("{dir}/ctl"), b"close stdin\n").map_err(about)?;
    }
    Ok(0)
}

/// Copies from a reader to its end.
pub(crate) fn pour(node: &mut Connection, fid: Fid, from: &mut impl Read) -> Result<(), Failure> {
    let mut buffer = vec![0; (node.max_io() as usize).min(256 << 10)];
    let mut offset = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        match node.call(Op::Write { fid, offset, data: buffer[..n].to_vec() })? {
            Reply::Wrote(_) => offset += n as u64,
            _ => return Err(op::Errno::PROTO.into()),
        }
    }
}
