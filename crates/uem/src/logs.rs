//! `uem logs`: what sessions have written, from the start, each stream to its own descriptor. Of several, whole lines,
//! with the session's name before each.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::id::{Id, Ids};
use crate::tree;
use host::client::{Connection, READ, ROOT};
use op::{Errno, Error, Fid, Op, Reply, Tag};
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
    /// Sessions; sets such as n[1-64]/3 too: then each line has its session's name before it
    #[arg(required = true, value_name = "ID", value_parser = Ids::parse_sessions)]
    sessions: Vec<Ids>,
}

/// Bytes of a line that is not complete, before what is there of it is shown as if it were.
const LINE: usize = 64 << 10;

/// One of the two of a session, as far as it is shown.
struct Stream<'a> {
    id: &'a Id,
    name: &'static str,
    fid: Fid,
    offset: u64,
    /// The read under way; `None` at the end.
    read: Option<Tag>,
    /// What is written before each line; `None`: bytes go out as they come.
    prefix: Option<String>,
    /// The beginning of a line.
    line: Vec<u8>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let ids: Vec<&Id> = args.sessions.iter().flat_map(|ids| &ids.0).collect();
    let mut streams = open(&mut node, &ids, args)?;
    let mut first = None;
    while streams.iter().any(|stream| stream.read.is_some()) {
        let (tag, reply) = tree::next_answer(&mut node)?;
        let Some(stream) = streams.iter_mut().find(|stream| stream.read == Some(tag)) else { continue };
        stream.read = None;
        match reply {
            Reply::Data(data) if data.is_empty() => stream.finish()?,
            Reply::Data(data) => {
                stream.show(&data)?;
                stream.offset += data.len() as u64;
                stream.ask(&mut node, args.follow);
            }
            // Of a group that has ended, all comes as soon as it is asked for.
            Reply::Failed(error) if error.errno == Errno::AGAIN && has_ended(&mut node, stream.id)? => {
                stream.ask(&mut node, true);
            }
            // Nothing more so far.
            Reply::Failed(error) if error.errno == Errno::AGAIN => stream.finish()?,
            // It rolls: what its reader in the foreground has, is gone.
            Reply::Failed(error) if error.errno == Errno::SPIPE && stream.offset == 0 => {
                stream.offset = kept_from(&mut node, stream.id)?.ok_or_else(|| Failure::from(error))?;
                stream.ask(&mut node, args.follow);
            }
            // The others are shown all the same.
            Reply::Failed(error) => {
                stream.finish()?;
                let failure = stream.id.failed(&mut node, error);
                if let Some(earlier) =
                    first.replace(failure).filter(|earlier| first.as_ref() != Some(earlier))
                {
                    earlier.tell("logs");
                }
            }
            _ => return Err(Errno::PROTO.into()),
        }
    }
    first.map_or(Ok(0), Err)
}

/// Opens what is wanted of all sessions, in one flight.
fn open<'a>(node: &mut Connection, ids: &[&'a Id], args: &Args) -> Result<Vec<Stream<'a>>, Failure> {
    let wanted = [("stdout", !args.stderr), ("stderr", !args.stdout)];
    let mut streams = Vec::new();
    let mut asked = Vec::new();
    for &id in ids {
        for (name, _) in wanted.iter().filter(|(_, wanted)| *wanted) {
            let (fid, walked) = node.walk(ROOT, &id.file(name));
            asked.push([walked, node.send(Op::Open { fid, access: READ })]);
            let prefix = (ids.len() > 1).then(|| format!("{}: ", id.short()));
            streams.push(Stream { id, name, fid, offset: 0, read: None, prefix, line: Vec::new() });
        }
    }
    for (stream, tags) in streams.iter_mut().zip(asked) {
        let [walked, opened] = tags.map(|tag| node.wait_for(tag));
        // A walk that stopped half-way made no fid.
        let opened = opened.map_err(|error| match error.errno {
            Errno::BADF => Error::from(Errno::NOENT),
            _ => error,
        });
        if let Err(error) = walked.and(opened) {
            return Err(stream.id.failed(node, error));
        }
        stream.ask(node, args.follow);
    }
    Ok(streams)
}

impl Stream<'_> {
    fn ask(&mut self, node: &mut Connection, wait: bool) {
        let count = node.max_io();
        self.read = Some(node.send(Op::Read { fid: self.fid, offset: self.offset, count, wait }));
    }

    fn show(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(prefix) = &self.prefix else { return self.write(data) };
        self.line.extend(data);
        let end = match self.line.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if self.line.len() > LINE => self.line.len(),
            None => return Ok(()),
        };
        let rest = self.line.split_off(end);
        let lines = std::mem::replace(&mut self.line, rest);
        let mut text = Vec::with_capacity(lines.len() * 2);
        for line in lines.strip_suffix(b"\n").unwrap_or(&lines).split(|byte| *byte == b'\n') {
            text.extend(prefix.bytes().chain(line.iter().copied()).chain([b'\n']));
        }
        self.write(&text)
    }

    /// A last line may have no newline.
    fn finish(&mut self) -> io::Result<()> {
        if self.line.is_empty() { Ok(()) } else { self.show(b"\n") }
    }

    fn write(&self, data: &[u8]) -> io::Result<()> {
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

fn has_ended(node: &mut Connection, id: &Id) -> Result<bool, Failure> {
    let info = node.read_file(&id.file("info.json")).map_err(|error| id.failed(node, error))?;
    Ok(tree::text(&tree::record(&info)?, "state") == "ended")
}

/// From where on a rolling session keeps its output.
fn kept_from(node: &mut Connection, id: &Id) -> Result<Option<u64>, Failure> {
    let info = node.read_file(&id.file("info.json")).map_err(|error| id.failed(node, error))?;
    let info = tree::record(&info)?;
    Ok(info.get("kept_from").and_then(serde_json::Value::as_u64).filter(|from| *from > 0))
}
