//! The faults of random clouds: whom they hit is chance.

use super::{faults::Cut, seeds::Run};
use std::time::Duration;

impl Run {
    pub(super) fn cut(&mut self) {
        let (at, how) = (self.any(), Cut::ALL[self.cloud.rng.usize(0..4)]);
        if self.cloud.cut(at, how) {
            self.note(format!("the link above {at} is cut: {how:?}"));
        }
    }

    pub(super) fn die(&mut self) {
        let at = self.any();
        if self.cloud.is_up(at) && self.cloud.rng.bool() {
            self.note(format!("{at} dies in its next event"));
            let effects = self.cloud.rng.usize(0..4);
            self.cloud.crash(at, effects);
        } else {
            self.note(format!("{at} is killed"));
            self.cloud.kill(at);
        }
    }

    pub(super) fn start_again(&mut self) {
        for at in 0..self.cloud.hosts.len() {
            if self.cloud.rng.bool() {
                self.note(format!("{at} is started again if it is dead"));
                self.cloud.restart(at);
            }
        }
    }

    pub(super) fn stop(&mut self) {
        let at = self.any();
        self.note(format!("{at} is stopped"));
        self.cloud.freeze(at);
    }

    pub(super) fn go_on(&mut self) {
        for at in 0..self.cloud.hosts.len() {
            if self.cloud.rng.bool() {
                self.cloud.thaw(at);
            }
        }
        self.note("some go on");
    }

    pub(super) fn part(&mut self) {
        let side: Vec<bool> = (0..self.cloud.hosts.len()).map(|_| self.cloud.rng.bool()).collect();
        self.note(format!("parted: {side:?}"));
        self.cloud.partition(|at| side[at]);
    }

    /// A node gets another parent: one that was there before it, so that there is no circle.
    pub(super) fn move_below(&mut self) {
        let at = self.any();
        if at > 0 && self.cloud.hosts[at].seeks {
            let parent = self.cloud.rng.usize(0..at);
            self.note(format!("{at} goes below {parent}"));
            self.cloud.move_below(at, parent);
        }
    }

    /// A node and its child die; only the node comes back, and knows of the child from its journal.
    pub(super) fn family(&mut self) {
        let child = self.any();
        if let Some(parent) = self.cloud.parent(child) {
            self.note(format!("{child} and {parent} above it are killed, and {parent} started again"));
            self.cloud.kill(child);
            self.cloud.kill(parent);
            self.cloud.restart(parent);
        }
    }

    pub(super) fn slow(&mut self) {
        let (at, span) = (self.any(), Duration::from_millis(self.cloud.rng.u64(0..1500)));
        self.note(format!("the link above {at} is {span:?} slow"));
        self.cloud.delay(at, span);
    }
}
