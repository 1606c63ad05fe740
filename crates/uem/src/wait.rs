//! `uem wait`: how sessions ended, when they have; all are waited for at the same time.

use crate::at::Common;
use crate::failure::{Failure, OURS, Outcome};
use crate::id::Ids;
use crate::tree;
use host::client::{Connection, READ, ROOT};
use op::{Errno, Fid, Op, Reply, Tag};
use std::collections::BTreeMap;
use std::io::Write;

/// Wait until sessions have ended, and say how; the status is the worst of theirs
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// As lines of JSON
    #[arg(long)]
    json: bool,
    /// Sessions, or nodes: all that runs there; sets such as n[1-64]/3 too
    #[arg(required = true, value_name = "ID", value_parser = Ids::parse)]
    sessions: Vec<Ids>,
}

/// One that is waited for: its records, as JSON.
struct Waited {
    fid: Fid,
    json: Vec<u8>,
    text: Vec<u8>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let ids: Vec<_> = args.sessions.iter().flat_map(|ids| &ids.0).collect();
    let mut all: Vec<Waited> = Vec::new();
    let mut asked: BTreeMap<Tag, usize> = BTreeMap::new();
    let mut opened = Vec::new();
    for id in &ids {
        let (fid, walked) = node.walk(ROOT, &id.file("wait.json"));
        opened.push((walked, node.send(Op::Open { fid, access: READ })));
        all.push(Waited { fid, json: Vec::new(), text: Vec::new() });
    }
    for (at, (walked, opened)) in opened.into_iter().enumerate() {
        let answers = [node.wait_for(walked), node.wait_for(opened)];
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            let error = if error.errno == Errno::BADF { Errno::NOENT.into() } else { error };
            return Err(ids[at].failed(&mut node, error));
        }
        ask(&mut node, &all[at], at, &mut asked);
    }
    let mut worst = 0;
    let mut lost = None;
    while !asked.is_empty() {
        let (tag, reply) = tree::next_answer(&mut node)?;
        let Some(at) = asked.remove(&tag) else { continue };
        match reply {
            Reply::Data(data) if data.is_empty() => {
                worst = worst.max(tell(&mut node, args, &ids[at].file("wait"), &mut all[at])?);
            }
            Reply::Data(data) => {
                all[at].json.extend(data);
                ask(&mut node, &all[at], at, &mut asked);
            }
            // The others are waited for all the same.
            Reply::Failed(error) => {
                let failure = ids[at].failed(&mut node, error);
                if let Some(earlier) = lost.replace(failure) {
                    earlier.tell("wait");
                }
            }
            _ => return Err(Errno::PROTO.into()),
        }
    }
    lost.map_or(Ok(worst), Err)
}

fn ask(node: &mut Connection, waited: &Waited, at: usize, asked: &mut BTreeMap<Tag, usize>) {
    let (fid, offset) = (waited.fid, waited.json.len() as u64);
    let count = node.max_io();
    asked.insert(node.send(Op::Read { fid, offset, count, wait: true }), at);
}

/// Says how one of them ended, and gives the status for that.
fn tell(node: &mut Connection, args: &Args, file: &str, waited: &mut Waited) -> Result<u8, Failure> {
    node.clunk(waited.fid);
    if !args.json {
        waited.text = node.read_file(file)?;
    }
    std::io::stdout().write_all(if args.json { &waited.json } else { &waited.text })?;
    let mut worst = 0;
    for record in tree::records(&waited.json)? {
        // A part that could not be reached has a row that says so, and no end.
        worst = worst.max(tree::status(&record).unwrap_or(OURS));
    }
    Ok(worst)
}
