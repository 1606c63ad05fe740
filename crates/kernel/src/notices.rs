//! What happened and what failed: the two rings behind every `events` and `error`. Kept as data, written when
//! read, since most are never read.

use crate::{limits, record::json, session::how_word};
use alloc::{collections::VecDeque, format, string::String, sync::Arc};
use op::{Error, How, SessionId, Uid, Wall};

/// A ring whose entries are numbered for ever, so that a reader knows what it has missed.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    first: u64,
    kept: VecDeque<T>,
    most: usize,
}

impl<T> Ring<T> {
    pub(crate) fn new(most: usize) -> Ring<T> {
        Ring { first: 0, kept: VecDeque::new(), most }
    }

    pub(crate) fn push(&mut self, entry: T) {
        if self.kept.len() == self.most {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(entry);
    }

    /// The number that the next entry will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// Entries from number `from` on, and how many of those are forgotten.
    pub(crate) fn since(&self, from: u64) -> (u64, impl Iterator<Item = &T>) {
        let skip = from.saturating_sub(self.first) as usize;
        (self.first.saturating_sub(from), self.kept.iter().skip(skip))
    }
}

/// Something that happened to a session.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) at: Wall,
    pub(crate) session: Option<SessionId>,
    pub(crate) owner: Uid,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum What {
    Cloned {
        rank: Option<u32>,
    },
    Exec {
        command: String,
    },
    Started {
        pid: u32,
    },
    Adopted {
        pid: u32,
    },
    Refused {
        cause: String,
    },
    Signal {
        signal: i32,
    },
    Stopped,
    Continued,
    Full {
        stream: &'static str,
    },
    Ended {
        how: How,
    },
    Freed,
    WouldReach {
        verb: String,
        by: Arc<str>,
    },
    /// Where a group's members would go; nowhere yet, if no slot is free.
    WouldPlace {
        ranks: String,
        node: Option<Arc<str>>,
        why: String,
    },
    /// Another node is linked with this one, or no longer.
    NodeUp {
        node: Arc<str>,
    },
    NodeDown {
        node: Arc<str>,
        cause: String,
    },
    /// This node is called otherwise now.
    Renamed {
        old: Arc<str>,
        new: Arc<str>,
    },
    Failed {
        verb: String,
        cause: String,
    },
}

/// A text of which very many are kept: its end is cut off where it is too long.
fn clipped(mut text: String) -> String {
    if text.len() > limits::NOTICE {
        let mut end = limits::NOTICE;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

impl What {
    /// Whether anybody may know of it.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, What::NodeUp { .. } | What::NodeDown { .. } | What::Renamed { .. })
    }

    /// Fit to be kept.
    pub(crate) fn clipped(self) -> What {
        match self {
            What::Exec { command } => What::Exec { command: clipped(command) },
            What::Refused { cause } => What::Refused { cause: clipped(cause) },
            What::Failed { verb, cause } => What::Failed { verb: clipped(verb), cause: clipped(cause) },
            What::WouldReach { verb, by } => What::WouldReach { verb: clipped(verb), by },
            What::NodeDown { node, cause } => What::NodeDown { node, cause: clipped(cause) },
            What::Cloned { .. }
            | What::Started { .. }
            | What::Adopted { .. }
            | What::Signal { .. }
            | What::Stopped
            | What::Continued
            | What::Full { .. }
            | What::Ended { .. }
            | What::WouldPlace { .. }
            | What::NodeUp { .. }
            | What::Renamed { .. }
            | What::Freed => self,
        }
    }
}

impl Failure {
    /// Fit to be kept.
    pub(crate) fn clipped(self) -> Failure {
        let error = Error::new(self.error.errno, clipped(self.error.cause));
        Failure { verb: clipped(self.verb), error, ..self }
    }
}

impl Happening {
    /// One line of JSON.
    pub(crate) fn line(&self, node: &str) -> String {
        let path = match (&self.what, self.session) {
            (What::NodeUp { node } | What::NodeDown { node, .. }, _) => format!("net/{node}"),
            (_, Some(id)) => format!("net/{node}/{}", id.0),
            (_, None) => format!("net/{node}"),
        };
        let (event, more) = match &self.what {
            What::Cloned { rank: None } => ("cloned", String::new()),
            What::Cloned { rank: Some(rank) } => ("cloned", format!(",\"rank\":{rank}")),
            What::Exec { command } => ("exec", format!(",\"command\":{}", json(command))),
            What::Started { pid } => ("started", format!(",\"pid\":{pid}")),
            What::Adopted { pid } => ("adopted", format!(",\"pid\":{pid}")),
            What::Refused { cause } => ("refused", format!(",\"cause\":{}", json(cause))),
            What::Signal { signal } => ("signal", format!(",\"signal\":{signal}")),
            What::Stopped => ("stopped", String::new()),
            What::Continued => ("continued", String::new()),
            What::Full { stream } => ("full", format!(",\"stream\":\"{stream}\"")),
            What::Ended { how } => {
                let word = how_word(*how);
                let (key, value) = word.split_once('=').expect("how_word makes key=value");
                let value = if *how == How::Lost { json(value) } else { value.into() };
                ("ended", format!(",\"{key}\":{value}"))
            }
            What::Freed => ("freed", String::new()),
            What::WouldReach { verb, by } => ("dry", format!(",\"verb\":{},\"by\":{}", json(verb), json(by))),
            What::WouldPlace { ranks, node, why } => {
                let node = node.as_ref().map(|node| format!(",\"node\":{}", json(node))).unwrap_or_default();
                ("would-place", format!(",\"ranks\":\"{ranks}\"{node},\"why\":{}", json(why)))
            }
            What::NodeUp { .. } => ("up", format!(",\"at\":{}", json(node))),
            What::NodeDown { cause, .. } => {
                ("down", format!(",\"cause\":{},\"at\":{}", json(cause), json(node)))
            }
            What::Renamed { old, new } => {
                ("renamed", format!(",\"from\":{},\"to\":{}", json(old), json(new)))
            }
            What::Failed { verb, cause } => {
                ("failed", format!(",\"verb\":{},\"cause\":{}", json(verb), json(cause)))
            }
        };
        format!(
            "{{\"time\":\"{}\",\"path\":{},\"event\":\"{event}\"{more}}}\n",
            rfc3339(self.at),
            json(&path)
        )
    }
}

/// A failure, whole: where, at what, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) at: Wall,
    pub(crate) session: Option<SessionId>,
    pub(crate) owner: Uid,
    pub(crate) verb: String,
    pub(crate) stage: &'static str,
    pub(crate) error: Error,
}

impl Failure {
    /// One line: time, path, verb, node, stage, errno, then the sentence.
    pub(crate) fn line(&self, node: &str) -> String {
        let path = match self.session {
            Some(id) => format!("net/{node}/{}", id.0),
            None => format!("net/{node}"),
        };
        let verb = if self.verb.is_empty() { "-" } else { &self.verb };
        format!(
            "{} {path} {verb} node={node} stage={} errno={}: {}\n",
            rfc3339(self.at),
            self.stage,
            self.error.errno.symbol(),
            format!("{}", self.error).replace('\n', " ")
        )
    }
}

/// How many events are kept.
pub(crate) fn happenings() -> Ring<Happening> {
    Ring::new(limits::EVENTS)
}

/// How many failures are kept.
pub(crate) fn failures() -> Ring<Failure> {
    Ring::new(limits::FAILURES)
}

/// `2009-08-05T12:00:00.250Z` (RFC 3339). The calendar is Howard Hinnant's `civil_from_days`.
pub(crate) fn rfc3339(at: Wall) -> String {
    let secs = at.secs();
    let (days, time) = (secs / 86_400, secs % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        time / 3600,
        time / 60 % 60,
        time % 60,
        at.0 / 1_000_000 % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_249_473_600, "2009-08-05T12:00:00.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Wall(secs * 1_000_000_000)), text);
        }
    }

    #[test]
    fn a_ring_says_what_it_has_forgotten() {
        let mut ring = Ring::new(3);
        for n in 0..5 {
            ring.push(n);
        }
        let (lost, kept) = ring.since(1);
        assert_eq!((lost, kept.copied().collect::<alloc::vec::Vec<_>>()), (1, alloc::vec![2, 3, 4]));
        assert_eq!(ring.since(4).1.count(), 1);
        assert_eq!(ring.since(ring.end()).1.count(), 0);
    }
}
