//! What is said in the log of connections that were refused: one line each, and not more than anybody would read.

use super::limits;
use op::Mono;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Refused {
    since: Mono,
    lines: u32,
    /// Refused since, without a line.
    more: u64,
    /// The last lines, for tests.
    last: VecDeque<String>,
}

impl Refused {
    /// A connection from `peer` was refused.
    pub(super) fn note(&mut self, peer: &str, why: &str, now: Mono) {
        let (most, span) = limits::REFUSED;
        if now.since(self.since) >= span {
            if self.more > 0 {
                eprintln!("uem: {} more connections were refused", self.more);
            }
            (self.since, self.lines, self.more) = (now, 0, 0);
        }
        if self.lines >= most {
            self.more += 1;
            return;
        }
        self.lines += 1;
        let line = format!("{peer}: {why}");
        eprintln!("uem: refused a connection from {line}");
        self.last.push_back(line);
        if self.last.len() > most as usize {
            self.last.pop_front();
        }
    }

    pub(super) fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}
