//! What happens to the nodes and links of a cloud in which groups run, and how nodes come back.

use super::Run;
use crate::cloud::faults::Cut;
use std::time::Duration;

/// A node's process that dies is started again, and one that stopped goes on, within this; else its programs would outlive
/// their lease with nobody there to end them.
const AWAY: Duration = Duration::from_secs(8);

/// No node is away again before this has passed.
const BETWEEN: Duration = Duration::from_secs(150);

impl Run {
    pub(super) fn fault(&mut self) {
        let at = self.any();
        match self.cloud.rng.u32(0..12) {
            0..=4 => {
                let how = Cut::ALL[self.cloud.rng.usize(0..4)];
                if self.cloud.cut(at, how) {
                    self.note(format!("the link above n{at} is cut: {how:?}"));
                }
            }
            5 => {
                let other = self.any();
                if other != at {
                    self.note(format!("n{at} and n{other} are parted"));
                    self.cloud.block(at, other);
                }
            }
            6 => {
                let side: Vec<bool> = (0..self.cloud.hosts.len()).map(|_| self.cloud.rng.bool()).collect();
                self.note(format!("parted: {side:?}"));
                self.cloud.partition(|at| side[at]);
            }
            7 => {
                if at > 0 {
                    let parent = self.cloud.rng.usize(0..at);
                    self.note(format!("n{at} goes below n{parent}"));
                    self.whole.machine_lost();
                    self.cloud.move_below(at, parent);
                }
            }
            8 | 9 => {
                self.note("every way is open");
                self.cloud.heal();
            }
            _ if self.cloud.clock.mono < self.rested[at] || !self.cloud.is_up(at) => {}
            10 => self.away(at),
            _ => self.lose(at),
        }
    }

    fn away(&mut self, at: usize) {
        let now = self.cloud.clock.mono;
        self.rested[at] = now + BETWEEN;
        let span = Duration::from_millis(self.cloud.rng.u64(0..AWAY.as_millis() as u64));
        self.back.push((now + span, at));
        match self.cloud.rng.u32(0..3) {
            0 => {
                self.note(format!("n{at} is stopped for {span:?}"));
                self.cloud.freeze(at);
            }
            1 => {
                self.note(format!("n{at} is killed for {span:?}"));
                self.cloud.kill(at);
            }
            // Cut off all the time, and started anew in between: its lease does not begin anew with that.
            _ => {
                let others: Vec<usize> = (0..self.cloud.hosts.len()).filter(|other| *other != at).collect();
                let (again, third) = (self.cloud.rng.u64(10..55), self.cloud.rng.u64(10..55));
                self.note(format!(
                    "n{at} is alone, is killed for {span:?}, again after {again} s and after {third} s"
                ));
                others.into_iter().for_each(|other| self.cloud.block(at, other));
                self.cloud.counters.count("nodes that were cut off and killed more than once");
                self.cloud.kill(at);
                let again = now + span + Duration::from_secs(again);
                self.dies.extend([(again, at), (again + Duration::from_secs(third), at)]);
            }
        }
    }

    /// The machine is lost, and everything that ran there. It comes back much later, or soon.
    fn lose(&mut self, at: usize) {
        let now = self.cloud.clock.mono;
        self.rested[at] = now + BETWEEN;
        let span = Duration::from_millis(self.cloud.rng.u64(0..140_000));
        self.note(format!("the machine of n{at} is lost for {span:?}"));
        self.whole.machine_lost();
        self.back.push((now + span, at));
        self.cloud.lose(at);
        self.ledger.look(&self.cloud);
    }

    /// No more faults.
    pub(super) fn heal(&mut self) {
        self.note("all is well again");
        self.cloud.heal();
        self.back.clear();
        self.dies.clear();
        for at in 0..self.cloud.hosts.len() {
            self.cloud.thaw(at);
            self.cloud.restart(at);
        }
        self.pass(Duration::from_secs(10));
    }

    pub(super) fn come_back(&mut self) {
        let now = self.cloud.clock.mono;
        let due: Vec<usize> = self.back.iter().filter(|(at, _)| *at <= now).map(|(_, node)| *node).collect();
        self.back.retain(|(at, _)| *at > now);
        for (_, node) in self.dies.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            if self.cloud.is_up(node) && self.back.iter().all(|(_, away)| *away != node) {
                self.note(format!("n{node} is killed for a second"));
                self.back.push((now + Duration::from_secs(1), node));
                self.cloud.kill(node);
            }
        }
        for node in due {
            self.note(format!("n{node} is back"));
            self.cloud.thaw(node);
            self.cloud.restart(node);
        }
    }
}
