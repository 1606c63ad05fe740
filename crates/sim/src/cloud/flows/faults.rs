//! What happens to the nodes and links of a cloud in which records flow; and time, in which it does.

use super::{AWAY, Group, HELD, Run};
use crate::cloud::{client::names, faults::Cut};
use op::{Access, Fid, Mono, Op};
use std::time::Duration;

impl Run {
    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.cloud.clock.mono + span;
        loop {
            let next = self.back.iter().map(|(at, _)| *at).fold(until, Mono::min);
            self.cloud.run(next.since(self.cloud.clock.mono));
            for host in &self.cloud.hosts {
                let held = host.world.machine().flowing();
                let most = HELD * (self.size as usize + self.cloud.hosts.len()) + self.kept;
                assert!(held <= most, "{} holds {held} bytes that flow", host.plan.name);
            }
            let now = self.cloud.clock.mono;
            let (due, back) = self.back.drain(..).partition(|(at, _)| *at <= now);
            self.back = back;
            let due: Vec<(Mono, Option<usize>)> = due;
            for (_, node) in due {
                self.note(format!("{node:?} is back"));
                match node {
                    Some(node) => {
                        self.cloud.thaw(node);
                        self.cloud.restart(node);
                    }
                    None => self.cloud.heal(),
                }
            }
            if now >= until {
                return;
            }
        }
    }

    pub(super) fn fault(&mut self, group: &Group) {
        let at = self.cloud.rng.usize(0..self.cloud.hosts.len());
        let back =
            self.cloud.clock.mono + Duration::from_millis(self.cloud.rng.u64(0..AWAY.as_millis() as u64));
        let away = self.back.iter().any(|(_, node)| *node == Some(at));
        match self.cloud.rng.u32(0..10) {
            0..=4 => {
                let how = Cut::ALL[self.cloud.rng.usize(0..4)];
                if self.cloud.cut(at, how) {
                    self.note(format!("the link above n{at} is cut: {how:?}"));
                }
            }
            5 => {
                let side: Vec<bool> = (0..self.cloud.hosts.len()).map(|_| self.cloud.rng.bool()).collect();
                self.note(format!("parted: {side:?}"));
                self.cloud.partition(|at| side[at]);
                self.back.push((back, None));
            }
            _ if away || !self.cloud.is_up(at) => {}
            6 => {
                self.note(format!("n{at} is stopped"));
                self.cloud.freeze(at);
                self.back.push((back, Some(at)));
            }
            // What the group's node has been given and not passed on is lost with it: that is another's business.
            7..=8 => {
                self.note(format!(
                    "n{at} is killed{}",
                    if at == group.home { ", where the group is" } else { "" }
                ));
                self.cloud.kill(at);
                self.back.push((back, Some(at)));
            }
            _ => {
                self.note(format!("the machine of n{at} is lost"));
                self.cloud.lose(at);
                self.back.push((back, Some(at)));
            }
        }
    }

    /// The output whose programs are killed while they make it, in some runs.
    pub(super) fn killed_on_its_way(&mut self, group: &Group) -> Option<&'static str> {
        let reduced = ["stdout", "stderr"].into_iter().find(|file| group.reduces(file));
        reduced.filter(|_| self.faults && self.also.bool())
    }

    /// What outputs go through is killed at a node and below it: the result lacks what it had.
    pub(super) fn kill_sums(&mut self) {
        let at = self.also.usize(0..self.cloud.hosts.len());
        if !self.cloud.is_up(at) {
            return;
        }
        self.note(format!("programs that outputs go through are killed from n{at} on"));
        let who = self.cloud.connect(at, "ericvh");
        let fid = self.cloud.new_fid(who);
        let names = names(&format!("net/n{at}/query/prog=sum/ctl"));
        self.cloud.ask(who, Op::Walk { fid: Fid(0), newfid: fid, names });
        let access = Access { write: true, ..Access::default() };
        self.cloud.ask(who, Op::Open { fid, access });
        self.cloud.ask(who, Op::Write { fid, offset: 0, data: b"kill KILL\n".to_vec() });
    }

    /// No more faults.
    pub(super) fn heal(&mut self) {
        self.cloud.heal();
        self.back.clear();
        for at in 0..self.cloud.hosts.len() {
            self.cloud.thaw(at);
            self.cloud.restart(at);
        }
        self.cloud.run(Duration::from_secs(20));
    }
}
