//! What several subcommands do with the tree: read many files and directories in one flight, say why one is not there,
//! understand records, print tables.

use crate::failure::Failure;
use host::client::{Connection, READ, ROOT};
use op::{Entry, Errno, Error, Fid, Op, Reply, Tag};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Map, Value};

/// Paths that are asked about at a time, with a few requests each.
const WINDOW: usize = 256;
/// Entries of one answer to a listing.
const ENTRIES: u32 = 4096;

/// A record, as the `.json` twins of files have it.
pub(crate) type Record = Map<String, Value>;

/// The record in one line of JSON.
pub(crate) fn record(line: &[u8]) -> Result<Record, Failure> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(record)) => Ok(record),
        _ => Err(Failure::new(format!("the node sent no record: {:?}", String::from_utf8_lossy(line)))),
    }
}

/// All records of a text, one a line.
pub(crate) fn records(text: &[u8]) -> Result<Vec<Record>, Failure> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(record).collect()
}

/// A field as text; empty if there is none.
pub(crate) fn text(record: &Record, key: &str) -> String {
    match record.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A field as a number; 0 if there is none.
pub(crate) fn number(record: &Record, key: &str) -> f64 {
    record.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

/// How a session or a wait record ended: `exit=1`, `signal=9`, `lost=node`; `None` if it has not.
pub(crate) fn ending(record: &Record) -> Option<String> {
    ["exit", "signal", "lost"]
        .iter()
        .find_map(|key| Some(format!("{key}={}", text(record, key))).filter(|_| record.contains_key(*key)))
}

/// The status that a shell would give to such an end.
pub(crate) fn status(record: &Record) -> Option<u8> {
    let code = |key: &str| record.get(key).and_then(Value::as_u64).and_then(|n| u8::try_from(n).ok());
    match (code("exit"), code("signal")) {
        (Some(exit), _) => Some(exit),
        (None, Some(signal)) => Some(128 + (signal & 127)),
        (None, None) => record.contains_key("lost").then_some(crate::failure::OURS),
    }
}

/// Reads short files, many in one flight. One that fails does so alone.
pub(crate) fn read_all(node: &mut Connection, paths: &[String]) -> Vec<Result<Vec<u8>, Error>> {
    let mut answers = Vec::with_capacity(paths.len());
    for paths in paths.chunks(WINDOW) {
        let asked: Vec<_> = paths.iter().map(|path| ask(node, path)).collect();
        for (fid, tags) in asked {
            let reply = first_failure(tags.map(|tag| node.wait_for(tag)));
            // Not before: a clunk gives up a read that another node has not answered yet.
            node.clunk(fid);
            answers.push(match reply {
                Ok(Reply::Data(data)) => Ok(data),
                Ok(_) => Err(Errno::PROTO.into()),
                Err(error) => Err(error),
            });
        }
    }
    answers
}

/// Lists directories, all in one flight. One that fails does so alone.
pub(crate) fn list_all(node: &mut Connection, paths: &[String]) -> Vec<Result<Vec<Entry>, Error>> {
    let mut answers = Vec::with_capacity(paths.len());
    for paths in paths.chunks(WINDOW) {
        let asked: Vec<_> = paths.iter().map(|path| begin_list(node, path)).collect();
        let mut lists: Vec<_> = asked.into_iter().map(|asked| first_entries(node, asked)).collect();
        // All that have more are asked for it before any of them is waited for.
        let mut more: Vec<usize> = (0..lists.len()).filter(|at| lists[*at].1.is_ok()).collect();
        while !more.is_empty() {
            let asked: Vec<_> = more.iter().map(|at| (*at, next_entries(node, &lists[*at]))).collect();
            more.clear();
            for (at, tag) in asked {
                let Some(tag) = tag else { continue };
                match (node.wait_for(tag), &mut lists[at].1) {
                    (Ok(Reply::Listed(entries)), Ok(all)) if !entries.is_empty() => {
                        all.extend(entries);
                        more.push(at);
                    }
                    (Ok(_), _) => {}
                    (Err(error), list) => *list = Err(error),
                }
            }
        }
        for (fid, list) in lists {
            node.clunk(fid);
            answers.push(list);
        }
    }
    answers
}

fn begin_list(node: &mut Connection, path: &str) -> (Fid, [Tag; 3]) {
    let (fid, walked) = node.walk(ROOT, path);
    let opened = node.send(Op::Open { fid, access: READ });
    (fid, [walked, opened, node.send(Op::List { fid, cookie: 0, count: ENTRIES })])
}

fn first_entries(node: &mut Connection, (fid, tags): (Fid, [Tag; 3])) -> (Fid, Result<Vec<Entry>, Error>) {
    let replies = tags.map(|tag| node.wait_for(tag));
    let list = match first_failure(replies) {
        Ok(Reply::Listed(entries)) => Ok(entries),
        Ok(_) => Err(Errno::PROTO.into()),
        Err(error) => Err(error),
    };
    (fid, list)
}

/// Asks for what follows; nothing follows an empty list.
fn next_entries(node: &mut Connection, (fid, list): &(Fid, Result<Vec<Entry>, Error>)) -> Option<Tag> {
    let cookie = list.as_ref().ok()?.last()?.cookie;
    Some(node.send(Op::List { fid: *fid, cookie, count: ENTRIES }))
}

/// At which step of a path an error comes up, and what the node says of it: an answer to a walk that stops half-way has
/// no room for a sentence. All steps are asked in one flight.
pub(crate) fn reason(node: &mut Connection, path: &str, error: Error) -> (usize, Error) {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
    if error.errno != Errno::NOENT || node.gone().is_some() {
        return (steps.len(), error);
    }
    let mut from = ROOT;
    let mut asked = Vec::new();
    for step in &steps {
        let (fid, tag) = node.walk(from, step);
        asked.push((fid, tag));
        from = fid;
    }
    let answers: Vec<_> = asked.iter().map(|(_, tag)| node.wait_for(*tag)).collect();
    let failed =
        answers.iter().position(|answer| !matches!(answer, Ok(Reply::Walked(steps)) if steps.len() == 1));
    for (fid, _) in asked.iter().take(failed.unwrap_or(asked.len())) {
        node.clunk(*fid);
    }
    match failed.and_then(|at| Some((at, answers.into_iter().nth(at)?))) {
        Some((at, Err(said))) => (at, said),
        Some((at, Ok(_))) => (at, error),
        None => (steps.len(), error),
    }
}

/// What is to be said when a step of a path to a node is not there.
pub(crate) fn no_node(path: &str, at: usize, error: Error) -> Failure {
    let steps: Vec<&str> = path.split('/').collect();
    let cause = |default: String| if error.cause.is_empty() { default } else { error.cause.clone() };
    match &steps[..] {
        ["net", name, ..] if at == 1 => {
            Failure::new(cause(format!("no node is called {name}"))).hint("uem status lists those there are")
        }
        [view @ ("tree" | "phys"), places @ ..] => {
            Failure::new(cause(format!("no node is in {view} at {}", places.join("/"))))
                .hint(format!("uem ls {view} shows those there are"))
        }
        _ if error.cause.is_empty() => Failure::from(error).about(path),
        _ => Failure::from(error),
    }
}

/// Waits for the next answer, whatever it answers.
pub(crate) fn next_answer(node: &mut Connection) -> Result<(Tag, Reply), Failure> {
    loop {
        if let Some(answer) = node.next() {
            return Ok(answer);
        }
        if let Some(error) = node.gone() {
            return Err(error.clone().into());
        }
        node.flush();
        let flags = if node.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let _ready_or_signal = poll(&mut [PollFd::from_borrowed_fd(node.fd(), flags)], None);
        node.receive();
    }
}

fn ask(node: &mut Connection, path: &str) -> (Fid, [Tag; 3]) {
    let (fid, walked) = node.walk(ROOT, path);
    let opened = node.send(Op::Open { fid, access: READ });
    let count = node.max_io();
    (fid, [walked, opened, node.send(Op::Read { fid, offset: 0, count, wait: true })])
}

/// What came of a walk, an open and what was asked then.
fn first_failure(replies: [Result<Reply, Error>; 3]) -> Result<Reply, Error> {
    let [walked, opened, asked] = replies;
    walked?;
    if let Err(error) = opened {
        // A walk that stopped half-way made no fid.
        return Err(if error.errno == Errno::BADF { Errno::NOENT.into() } else { error });
    }
    asked
}

/// Lines of columns, each as wide as it must be; the last is not filled up.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_become_statuses() {
        for (line, end, expected) in [
            (r#"{"exit":3}"#, Some("exit=3"), Some(3)),
            (r#"{"signal":9}"#, Some("signal=9"), Some(137)),
            (r#"{"lost":"node"}"#, Some("lost=node"), Some(125)),
            (r#"{"state":"running"}"#, None, None),
        ] {
            let record = record(line.as_bytes()).unwrap();
            assert_eq!((ending(&record).as_deref(), status(&record)), (end, expected), "{line}");
        }
        assert!(record(b"[]").is_err() && record(b"").is_err());
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["ID".into(), "COMMAND".into()], vec!["n/100".into(), "true".into()]];
        assert_eq!(table(&rows), "ID     COMMAND\nn/100  true\n");
    }
}
