//! `uem logs`: what a session has written, from the start, each stream to its own descriptor.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::id::Id;
use crate::tree;
use host::client::{Connection, READ};
use op::{Errno, Fid, Op, Reply, Tag};
use std::io::{self, Write};

/// Show what a session has written: its stdout on stdout, its stderr on stderr
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only its stdout
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only its stderr
    #[arg(long)]
    stderr: bool,
    /// A session
    #[arg(value_name = "ID", value_parser = Id::parse)]
    session: Id,
}

/// One of the two, as far as it is shown.
struct Stream {
    name: &'static str,
    fid: Fid,
    offset: u64,
    /// The read under way; `None` at the end.
    read: Option<Tag>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let wanted = [("stdout", !args.stderr), ("stderr", !args.stdout)];
    let mut streams = Vec::new();
    for (name, _) in wanted.iter().filter(|(_, wanted)| *wanted) {
        let fid = node.open(&args.session.file(name), READ).map_err(|error| args.session.failed(error))?;
        let mut stream = Stream { name, fid, offset: 0, read: None };
        stream.ask(&mut node, args.follow);
        streams.push(stream);
    }
    while streams.iter().any(|stream| stream.read.is_some()) {
        let (tag, reply) = tree::next_answer(&mut node)?;
        let Some(stream) = streams.iter_mut().find(|stream| stream.read == Some(tag)) else { continue };
        stream.read = None;
        match reply {
            Reply::Data(data) if data.is_empty() => {}
            Reply::Data(data) => {
                stream.show(&data)?;
                stream.offset += data.len() as u64;
                stream.ask(&mut node, args.follow);
            }
            // Nothing more so far.
            Reply::Failed(error) if error.errno == Errno::AGAIN => {}
            // It rolls: what its reader in the foreground has, is gone.
            Reply::Failed(error) if error.errno == Errno::SPIPE && stream.offset == 0 => {
                stream.offset = kept_from(&mut node, &args.session)?.ok_or_else(|| Failure::from(error))?;
                stream.ask(&mut node, args.follow);
            }
            Reply::Failed(error) => return Err(args.session.failed(error)),
            _ => return Err(Errno::PROTO.into()),
        }
    }
    Ok(0)
}

impl Stream {
    fn ask(&mut self, node: &mut Connection, wait: bool) {
        let count = node.max_io();
        self.read = Some(node.send(Op::Read { fid: self.fid, offset: self.offset, count, wait }));
    }

    fn show(&self, data: &[u8]) -> io::Result<()> {
        match self.name {
            "stdout" => {
                let mut out = io::stdout().lock();
                out.write_all(data)?;
                out.flush()
            }
            _ => io::stderr().write_all(data),
        }
    }
}

/// From where on a rolling session keeps its output.
fn kept_from(node: &mut Connection, id: &Id) -> Result<Option<u64>, Failure> {
    let info = tree::record(&node.read_file(&id.file("info.json")).map_err(|error| id.failed(error))?)?;
    Ok(info.get("kept_from").and_then(serde_json::Value::as_u64).filter(|from| *from > 0))
}
