//! Who has ended and how, from the lines of a group's `wait`; what of that is an exit status, and what is to be said.

use super::joblog::{Done, End};
use super::labels::{self, Labels};
use crate::failure::{Failure, OURS, TIMED_OUT};
use crate::names;
use crate::tree::{self, Record};
use kernel::{Rank, RankSet};
use std::collections::BTreeMap;
use std::time::Duration;

/// Characters of a list of members in a sentence.
const NAMES: usize = 200;

const LOST: &str = "lost with the node";

/// All that has ended so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) ended: RankSet,
    /// Those that did not end with 0, by how.
    failed: BTreeMap<String, RankSet>,
    pub(super) failures: usize,
    worst: u8,
}

/// Understands a line of `wait.json`; nothing if it is about a part that could not be reached.
pub(super) fn done(record: &Record) -> Result<Done, Failure> {
    let path = tree::text(record, "path");
    let (node, id) = path.trim_start_matches("net/").rsplit_once('/').unwrap_or((&path, ""));
    let number = |key: &str| record.get(key).and_then(serde_json::Value::as_u64);
    let small = |key: &str| number(key).and_then(|n| u8::try_from(n).ok());
    let rank = number("rank").and_then(|rank| u32::try_from(rank).ok());
    let end = match (small("exit"), small("signal"), record.contains_key("lost")) {
        (Some(exit), ..) => Some(End::Exit(exit)),
        (None, Some(signal), _) => Some(End::Signal(signal)),
        (None, None, true) => Some(End::Lost),
        (None, None, false) => None,
    };
    let (Some(rank), Some(end)) = (rank, end) else {
        let line = serde_json::Value::Object(record.clone());
        return Err(Failure::new(format!("the node does not say how a member ended: {line}")));
    };
    let ran = Duration::try_from_secs_f64(tree::number(record, "real")).unwrap_or_default();
    Ok(Done { rank, node: node.into(), id: id.into(), ran, end })
}

impl Tally {
    /// One has ended for good. With `late`, a time was set, and it was over.
    pub(super) fn add(&mut self, done: &Done, late: bool) {
        self.ended.insert(done.rank);
        let (status, how) = match done.end {
            _ if late => (TIMED_OUT, "ended by --timeout".into()),
            End::Exit(exit) => (exit, format!("exit={exit}")),
            End::Signal(signal) => (128 + (signal & 127), signal_name(signal)),
            End::Lost => (OURS, LOST.into()),
        };
        self.worst = self.worst.max(status);
        if status != 0 {
            self.failures += 1;
            self.failed.entry(how).or_default().insert(done.rank);
        }
    }

    /// Whether some ended so that the node has more to say of it.
    pub(super) fn has_causes(&self) -> bool {
        let told = ["exit=126", "exit=127", LOST];
        self.failed.keys().any(|how| told.contains(&how.as_str()))
    }

    /// The worst of their statuses.
    pub(super) fn status(&self) -> u8 {
        self.worst
    }

    /// What failed, if anything: `3 of 64 failed: n[3,7] exit=1; n9 signal=9 (KILL)`.
    pub(super) fn sentence(&self, size: usize, labels: &Labels) -> Option<String> {
        let parts: Vec<String> = self
            .failed
            .iter()
            .map(|(how, ranks)| {
                let count = if ranks.len() > 1 { format!(" ({})", ranks.len()) } else { String::new() };
                format!("{}{count}: {how}", labels.short(ranks, NAMES))
            })
            .collect();
        (!parts.is_empty()).then(|| format!("{} of {size} failed: {}", self.failures, parts.join("; ")))
    }
}

/// Who has not ended yet, and what becomes of them: for whoever has interrupted us. Of `status.json`.
pub(super) fn who_runs(rows: &[Record], ranks: &BTreeMap<String, Rank>, labels: &Labels) -> String {
    let (mut running, mut queued) = (Vec::new(), RankSet::new());
    let mut nodes = Vec::new();
    for row in rows {
        match tree::text(row, "state").as_str() {
            "queued" => queued.union_with(&RankSet::parse(&tree::text(row, "ranks")).unwrap_or_default()),
            "ended" => {}
            _ => {
                let path = tree::text(row, "path");
                let path = path.trim_start_matches("net/");
                running.extend(ranks.get(path).copied());
                nodes.push(path.split('/').next().unwrap_or_default().to_string());
            }
        }
    }
    let running: RankSet = running.into_iter().collect();
    let mut text = match running.len() {
        0 => "nobody runs any more".into(),
        count => format!("{count} still run: {}", labels.short(&running, NAMES)),
    };
    if let (Labels::Ranks, false) = (labels, nodes.is_empty()) {
        let nodes = names::fold(nodes.iter().map(String::as_str));
        text.push_str(&format!(" on {}", labels::clipped(&nodes, NAMES)));
    }
    if !queued.is_empty() {
        text.push_str(&format!("; {} wait and will not be run", queued.len()));
    }
    text.push_str("; they are told to end (^C again: killed)");
    text
}

/// What a line of `error` says, without when and where.
pub(super) fn cause(line: &str) -> &str {
    // After the errno comes the sentence.
    line.split_once(" errno=").and_then(|(_, rest)| rest.split_once(": ")).map_or(line, |(_, cause)| cause)
}

fn signal_name(signal: u8) -> String {
    let known = kernel::manual::SIGNALS.iter().find(|(_, number)| i64::from(*number) == i64::from(signal));
    known.map_or_else(|| format!("signal={signal}"), |(name, _)| format!("signal={signal} ({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Done, Failure> {
        done(&tree::record(line.as_bytes()).unwrap())
    }

    #[test]
    fn ends_are_understood() {
        let one = of(r#"{"path":"net/n1/7","pid":4,"exit":3,"real":1.5,"rank":2}"#).unwrap();
        assert_eq!((one.rank, one.node.as_str(), one.id.as_str(), one.end), (2, "n1", "7", End::Exit(3)));
        assert_eq!(one.ran, Duration::from_millis(1500));
        assert_eq!(of(r#"{"path":"n1/7","signal":9,"rank":0}"#).unwrap().end, End::Signal(9));
        assert_eq!(of(r#"{"path":"n1/7","lost":"node","rank":0}"#).unwrap().end, End::Lost);
        for wrong in [r#"{"path":"n1/7","exit":0}"#, r#"{"path":"n1/7","rank":0}"#, r#"{"rank":-1,"exit":0}"#]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn causes_are_told_without_when_and_where() {
        let line =
            "2026-11-22T21:54:55Z net/gw/20 exec node=gw stage=start errno=ENOENT: exec x: not found in PATH";
        assert_eq!(cause(line), "exec x: not found in PATH");
        assert_eq!(cause("odd"), "odd");
    }

    #[test]
    fn who_still_runs_is_told_where() {
        let row = |text: &str| tree::record(text.as_bytes()).unwrap();
        let rows = [
            row(r#"{"path":"-","state":"queued","ranks":"4-5","why":"width=4 are active"}"#),
            row(r#"{"path":"n2/3","state":"running"}"#),
            row(r#"{"path":"n1/3","state":"stopped"}"#),
            row(r#"{"path":"n1/4","state":"ended","exit":0}"#),
        ];
        let ranks = [("n2/3", 0), ("n1/3", 1), ("n1/4", 2)].map(|(path, rank)| (path.into(), rank)).into();
        let told = "they are told to end (^C again: killed)";
        assert_eq!(
            who_runs(&rows, &ranks, &Labels::Ranks),
            format!("2 still run: [0-1] on n[1-2]; 2 wait and will not be run; {told}")
        );
        let names = Labels::Nodes([(0, "n2".into()), (1, "n1".into())].into());
        assert_eq!(who_runs(&rows[1..3], &ranks, &names), format!("2 still run: n[1-2]; {told}"));
        assert_eq!(who_runs(&rows[3..], &ranks, &names), format!("nobody runs any more; {told}"));
    }

    #[test]
    fn the_worst_counts_and_all_that_failed_is_said_once() {
        let mut tally = Tally::default();
        assert_eq!((tally.status(), tally.sentence(3, &Labels::Ranks)), (0, None));
        for rank in 0..8 {
            let end = [End::Exit(0), End::Exit(1), End::Signal(9), End::Lost][rank % 4];
            let done = Done { rank: rank as u32, node: "n".into(), id: "0".into(), ran: Duration::ZERO, end };
            tally.add(&done, false);
        }
        assert_eq!((tally.status(), tally.failures, tally.ended.len()), (137, 6, 8));
        assert_eq!(
            tally.sentence(8, &Labels::Ranks).unwrap(),
            "6 of 8 failed: [1,5] (2): exit=1; [3,7] (2): lost with the node; [2,6] (2): signal=9 (KILL)"
        );
    }
}
