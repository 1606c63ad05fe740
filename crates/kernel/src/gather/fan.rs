//! Commands to a set: a line goes down every child link at once, and the answers come up counted.

use crate::{Kernel, Lane, LinkId, far::Purpose, park::On, place::Subject};
use alloc::{collections::BTreeMap, format, string::ToString};
use op::{Access, Error, Op, Reply, Uid};

/// A line that others run too.
#[derive(Debug, Default)]
pub(crate) struct Fan {
    left: usize,
    /// How many failed, and the first that was told.
    failed: u64,
    first: Option<Error>,
    /// Failures on the way to a child's `ctl`, before its last answer.
    before: BTreeMap<LinkId, Error>,
}

impl Kernel {
    /// Sends a line to everybody else in a set; `None` if there is nobody.
    pub(crate) fn fan_out(&mut self, uid: Uid, subject: Subject, line: &[u8]) -> Option<u64> {
        let (links, lost) = (self.set_links(subject), self.set_lost(subject));
        if links.is_empty() && lost.is_empty() {
            return None;
        }
        self.next_fan += 1;
        let number = self.next_fan;
        let mut fan = Fan::default();
        for no in lost {
            let error = self.is_down(no);
            fan.failed += 1;
            fan.first.get_or_insert(error);
        }
        let user = self.user(uid).name.clone();
        let names = self.set_names(subject, "ctl");
        let access = Access { write: true, ..Access::default() };
        fan.left = links.len();
        self.fans.insert(number, fan);
        for (link, _) in links {
            let purpose = || Purpose::Fan { fan: number, last: false };
            let data = [line, b"\n"].concat();
            match self.open_there(link, &user, &names, access, purpose) {
                Ok(fid) => {
                    let lane = Lane::Control;
                    let purpose = Purpose::Fan { fan: number, last: true };
                    self.ask(link, lane, purpose, Op::Write { fid, offset: 0, data });
                    self.clunk_there(link, lane, fid);
                }
                Err(error) => self.fan_answered(link, number, true, Reply::Failed(error)),
            }
        }
        Some(number)
    }

    /// A line of which each receiver is counted as it is told.
    pub(crate) fn open_fan(&mut self) -> u64 {
        self.next_fan += 1;
        self.fans.insert(self.next_fan, Fan::default());
        self.next_fan
    }

    pub(crate) fn fan_more(&mut self, number: u64) {
        if let Some(fan) = self.fans.get_mut(&number) {
            fan.left += 1;
        }
    }

    pub(crate) fn fan_less(&mut self, number: u64) {
        if let Some(fan) = self.fans.get_mut(&number) {
            fan.left -= 1;
        }
    }

    pub(crate) fn fan_answered(&mut self, link: LinkId, number: u64, last: bool, reply: Reply) {
        let Some(fan) = self.fans.get_mut(&number) else { return };
        match (reply, last) {
            (Reply::Failed(error), false) => drop(fan.before.entry(link).or_insert(error)),
            (Reply::Failed(error), true) => {
                let error = fan.before.remove(&link).unwrap_or(error);
                let (failed, first) = tally(error);
                fan.failed += failed;
                fan.first.get_or_insert(first);
                fan.left -= 1;
            }
            (_, true) => fan.left -= 1,
            (_, false) => {}
        }
        if fan.left == 0 {
            self.parked.notify(On::Fan(number));
        }
    }

    /// What a line came to everywhere else; `None` while answers are missing.
    pub(crate) fn fan_over(&mut self, number: u64) -> Option<Option<(u64, Error)>> {
        if self.fans.get(&number).is_some_and(|fan| fan.left > 0) {
            return None;
        }
        let fan = self.fans.remove(&number).unwrap_or_default();
        Some(fan.first.map(|first| (fan.failed, first)))
    }

    /// Whether no other node is known.
    pub(crate) fn is_alone(&self) -> bool {
        self.cloud.nodes.is_empty() && self.cloud.above.is_none()
    }

    pub(crate) fn drop_fan(&mut self, number: u64) {
        self.fans.remove(&number);
    }
}

/// How many failures an answer stands for, and the first of them: a set says `3 failed; the first, …`.
pub(crate) fn tally(error: Error) -> (u64, Error) {
    let counted = error.cause.split_once(" failed; the first, ").and_then(|(count, first)| {
        let count = count.split(' ').next()?.parse().ok()?;
        Some((count, Error::new(error.errno, first.to_string())))
    });
    counted.unwrap_or((1, error))
}

/// The same, as one answer.
pub(crate) fn tallied(failed: u64, first: &Error) -> Error {
    match failed {
        1 => first.clone(),
        n => Error::new(first.errno, format!("{n} failed; the first, {first}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use op::Errno;

    #[test]
    fn failures_are_counted_on_every_level() {
        let alone = Error::new(Errno::SRCH, "kill: session 7 has ended");
        assert_eq!(tally(alone.clone()), (1, alone.clone()));
        assert_eq!(tallied(1, &alone), alone);
        let three = tallied(3, &alone);
        assert_eq!(three.cause, "3 failed; the first, kill: session 7 has ended");
        assert_eq!(tally(three), (3, alone.clone()));
        // A group on one node says of how many.
        let group = Error::new(Errno::SRCH, "2 of 5 failed; the first, kill: session 7 has ended");
        assert_eq!(tally(group), (2, alone));
    }
}
