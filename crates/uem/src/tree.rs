//! What several subcommands do with the tree: read many files in one flight, understand records, print tables.

use crate::failure::Failure;
use host::client::{Connection, READ, ROOT};
use op::{Errno, Error, Op, Reply, Tag};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Map, Value};

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
    // No more at a time than the window of a connection.
    for paths in paths.chunks(200) {
        let asked: Vec<[Tag; 4]> = paths.iter().map(|path| ask(node, path)).collect();
        for [walked, opened, read, clunked] in asked {
            let replies = [node.wait_for(walked), node.wait_for(opened), node.wait_for(read)];
            // After a walk that stopped half-way there is no fid to forget, which is fine.
            let _forgotten = node.wait_for(clunked);
            answers.push(first_failure(replies));
        }
    }
    answers
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

fn ask(node: &mut Connection, path: &str) -> [Tag; 4] {
    let (fid, walked) = node.walk(ROOT, path);
    let opened = node.send(Op::Open { fid, access: READ });
    let count = node.max_io();
    let read = node.send(Op::Read { fid, offset: 0, count, wait: true });
    [walked, opened, read, node.send(Op::Clunk { fid })]
}

fn first_failure(replies: [Result<Reply, Error>; 3]) -> Result<Vec<u8>, Error> {
    let [walked, opened, read] = replies;
    walked?;
    if let Err(error) = opened {
        // A walk that stopped half-way made no fid.
        return Err(if error.errno == Errno::BADF { Errno::NOENT.into() } else { error });
    }
    match read? {
        Reply::Data(data) => Ok(data),
        _ => Err(Errno::PROTO.into()),
    }
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
