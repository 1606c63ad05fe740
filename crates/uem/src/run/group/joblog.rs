//! `--joblog FILE`: a line a member when it has ended for good, in the columns of GNU parallel's, tabs between them:
//!
//! ```text
//!   Seq  Host  Starttime  JobRuntime  Send  Receive  Exitval  Signal  Command
//! ```
//! Seq is the rank, from 0. Starttime is in seconds since 1970, JobRuntime in seconds. Send and Receive, bytes, are not counted and are
//! 0. Who was lost with its node has the exit value 125. What `--resume` asks is which of them ended well.

use crate::failure::{Failure, OURS};
use kernel::{Rank, RankSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const HEAD: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// A member that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) rank: Rank,
    pub(super) node: String,
    /// Its number there.
    pub(super) id: String,
    pub(super) ran: Duration,
    pub(super) end: End,
}

impl Done {
    /// Whether it was ended since its time was over.
    pub(super) fn was_ended_after(&self, time: Duration) -> bool {
        matches!(self.end, End::Signal(9 | 15)) && self.ran >= time
    }
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Exit(u8),
    Signal(u8),
    Lost,
}

/// The command as each member has it.
#[derive(Clone, Debug)]
pub(super) struct Template {
    words: Vec<OsString>,
    size: u32,
}

impl Template {
    pub(super) fn new(words: &[OsString], size: u32) -> Template {
        Template { words: words.to_vec(), size }
    }

    /// Whether it is the same at each try of a member: an id is not.
    fn is_told_apart(&self) -> bool {
        !self.words.iter().any(|word| word.as_bytes().windows(4).any(|at| at == b"{id}"))
    }

    /// In one line without tabs.
    fn of(&self, rank: Rank, node: &str, id: &str) -> String {
        let words: Vec<&[u8]> = self.words.iter().map(|word| word.as_bytes()).collect();
        let line = String::from_utf8_lossy(&kernel::join(&words)).into_owned();
        let line = line.replace("{rank}", &rank.to_string()).replace("{size}", &self.size.to_string());
        let line = line.replace("{node}", node).replace("{id}", id);
        line.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")
    }
}

/// A log that is written.
pub(super) struct JobLog {
    path: PathBuf,
    file: File,
    template: Template,
}

impl JobLog {
    /// Begins a log, or goes on with one.
    pub(super) fn open(path: &Path, template: Template, resume: bool) -> Result<JobLog, Failure> {
        let failed = |error: std::io::Error| Failure::from(error).about(path.display());
        let mut options = File::options();
        options.create(true).write(true).append(resume).truncate(!resume).read(resume);
        let mut file = options.open(path).map_err(failed)?;
        let mut text = Vec::new();
        if resume {
            file.read_to_end(&mut text).map_err(failed)?;
        }
        // A line that was cut off when a disk was full or a machine died is ended.
        if !text.is_empty() && !text.ends_with(b"\n") {
            file.write_all(b"\n").map_err(failed)?;
        }
        if text.is_empty() {
            file.write_all(HEAD.as_bytes()).map_err(failed)?;
        }
        Ok(JobLog { path: path.into(), file, template })
    }

    /// Writes one line, at once.
    pub(super) fn write(&mut self, done: &Done, now: SystemTime) -> Result<(), Failure> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (exit, signal) = match done.end {
            End::Exit(exit) => (exit, 0),
            End::Signal(signal) => (0, signal),
            End::Lost => (OURS, 0),
        };
        let line = format!(
            "{}\t{}\t{:.3}\t{:.3}\t0\t0\t{exit}\t{signal}\t{}\n",
            done.rank,
            done.node,
            since.saturating_sub(done.ran).as_secs_f64(),
            done.ran.as_secs_f64(),
            self.template.of(done.rank, &done.node, &done.id),
        );
        self.file.write_all(line.as_bytes()).map_err(|error| {
            Failure::new(format!("{}: {error}", self.path.display()))
                .hint("what ended is not in the log any more")
        })
    }
}

/// What of an earlier run ended with 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Earlier {
    pub(super) ranks: RankSet,
    pub(super) nodes: BTreeSet<String>,
}

impl Earlier {
    /// Reads a log; one that is not there is empty. The last line of a member counts. `by_node`: a member is known by its node,
    /// not by its rank.
    pub(super) fn read(path: &Path, template: &Template, by_node: bool) -> Result<Earlier, Failure> {
        let text = match std::fs::read(path) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Earlier::default()),
            Err(error) => return Err(Failure::from(error).about(path.display())),
        };
        Earlier::parse(&text, template, by_node).map_err(|failure| failure.about(path.display()))
    }

    fn parse(text: &str, template: &Template, by_node: bool) -> Result<Earlier, Failure> {
        let mut ends: BTreeMap<(Rank, &str), bool> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with("Seq\t")) {
            let columns: Vec<&str> = line.splitn(9, '\t').collect();
            // A line that was cut off is as if it had never been.
            let [rank, node, _, _, _, _, exit, signal, command] = columns[..] else { continue };
            let Ok(rank) = rank.parse::<Rank>() else { continue };
            if template.is_told_apart() && template.of(rank, node, "") != command {
                let cause = format!("it is of another command: {command}");
                return Err(Failure::misuse(cause).hint("without --resume it is begun anew"));
            }
            let key = if by_node { (0, node) } else { (rank, "") };
            ends.insert(key, exit == "0" && signal == "0");
        }
        let mut earlier = Earlier::default();
        for ((rank, node), _) in ends.into_iter().filter(|(_, well)| *well) {
            match by_node {
                true => drop(earlier.nodes.insert(node.into())),
                false => drop(earlier.ranks.insert(rank)),
            }
        }
        Ok(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(words: &[&str]) -> Template {
        Template::new(&words.iter().map(OsString::from).collect::<Vec<_>>(), 4)
    }

    fn done(rank: Rank, end: End) -> Done {
        Done { rank, node: format!("n{rank}"), id: "7".into(), ran: Duration::from_millis(1500), end }
    }

    #[test]
    fn a_log_has_the_columns_of_parallel_and_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let command = template(&["sh", "-c", "echo {rank} of\n{size} on {node}/{id}"]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_500);
        let mut log = JobLog::open(&path, command.clone(), false).unwrap();
        log.write(&done(0, End::Exit(0)), now).unwrap();
        log.write(&done(1, End::Signal(9)), now).unwrap();
        log.write(&done(2, End::Lost), now).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "0\tn0\t999.000\t1.500\t0\t0\t0\t0\tsh -c 'echo 0 of\\n4 on n0/7'";
        assert_eq!(text.lines().nth(1), Some(expected));
        assert!(text.lines().nth(2).unwrap().contains("\t0\t9\tsh"), "{text}");
        assert!(text.lines().nth(3).unwrap().contains("\t125\t0\tsh"), "{text}");
        std::fs::write(&path, text + "3\tn3\t1.0").unwrap();
        let mut log = JobLog::open(&path, command.clone(), true).unwrap();
        log.write(&done(1, End::Exit(0)), now).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("Seq").count(), 1);
        let earlier = Earlier::read(&path, &command, false).unwrap();
        assert_eq!(earlier.ranks.to_string(), "0-1");
        JobLog::open(&path, command, false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEAD);
    }

    #[test]
    fn who_ended_well_is_known_by_rank_or_by_node() {
        let line = |rank, node, exit| format!("{rank}\t{node}\t1.0\t1.0\t0\t0\t{exit}\t0\ttrue {rank}\n");
        let log = [
            HEAD.into(),
            line(0, "a", 0),
            line(1, "b", 0),
            line(1, "b", 1),
            line(2, "a", 1),
            line(3, "c", 0),
        ];
        let log = log.concat();
        let command = template(&["true", "{rank}"]);
        assert_eq!(Earlier::parse(&log, &command, false).unwrap().ranks.to_string(), "0,3");
        let nodes = Earlier::parse(&log, &command, true).unwrap().nodes;
        assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["c"]);
        let other = Earlier::parse(&log, &template(&["false"]), false).unwrap_err();
        assert!(other.to_string().contains("true 0"), "{other}");
        assert_eq!(Earlier::parse("junk\n\n1\tx\n", &command, false).unwrap(), Earlier::default());
    }
}
