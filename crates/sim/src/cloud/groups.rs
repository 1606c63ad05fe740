//! Clouds in which groups run while nodes are lost, links break and parents are replaced: random ones, from a seed. What members
//! do is known from their programs, so what a group says of itself is held against what really ran.
//!
//! What must hold, whatever happens: no rank runs twice at once, a rank that is not retried is started once, `wait` names every
//! rank once and with how it really ended, and none that still runs, `res` gets all or nothing, what is kept (`keep`) is found again, and
//! of what was freed nothing is left.

mod clients;
mod faults;
mod judge;
mod whole;

use super::{
    Cloud, Plan, Wrap,
    client::{BOTH, Who},
};
use crate::{
    counters::Counters,
    seeded::{self, Trace, Traced},
};
use clients::Reader;
use judge::Ledger;
use op::{Fid, Mono, Tag};
use std::{collections::BTreeSet, time::Duration};
use whole::Whole;

/// A session that is a group, or was asked to become one.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) home: usize,
    pub(super) id: u64,
    pub(super) token: u64,
    pub(super) asked: u32,
    pub(super) retry: u32,
    pub(super) runs: bool,
    /// What made it was answered, and how.
    pub(super) made: Option<Result<(), op::Error>>,
    /// It was replaced or grown or shrunk: how often a rank may be started is not known.
    pub(super) changed: bool,
    /// Ranks were given back: their numbers may be others' now.
    pub(super) shrunk: bool,
    /// Ranks that were told to be freed: whether they end is not known.
    pub(super) freed: BTreeSet<u32>,
    /// It runs on where it cannot be reached.
    pub(super) kept: bool,
    /// All its members ran, and were known to, before anything broke.
    pub(super) settled: Option<bool>,
    pub(super) who: Who,
    ctl: Fid,
    said: Vec<(Tag, String)>,
    reader: Option<Reader>,
    pub(super) over: bool,
}

/// A run under one seed.
pub(super) struct Run {
    pub(super) cloud: Cloud,
    pub(super) groups: Vec<Group>,
    ledger: Ledger,
    whole: Whole,
    pub(super) slots: Vec<u32>,
    tokens: u64,
    /// When a node may be away again; and when it comes back.
    rested: Vec<Mono>,
    back: Vec<(Mono, usize)>,
    /// When a node is killed for a second.
    dies: Vec<(Mono, usize)>,
    trace: Trace,
}

/// Runs one seed, with kernels wrapped like this.
///
/// # Panics
/// If anything is not as it must be. What happened last is printed before.
pub fn run(seed: u64, wrap: Wrap) -> Counters {
    let mut run = Run {
        cloud: Cloud::of(seed, wrap),
        groups: Vec::new(),
        ledger: Ledger::default(),
        whole: Whole::default(),
        slots: Vec::new(),
        tokens: 1_000,
        rested: Vec::new(),
        back: Vec::new(),
        dies: Vec::new(),
        trace: Trace::of(120),
    };
    seeded::play(&mut run, (seed, "cloud_groups"), Run::play);
    run.cloud.counters
}

impl Traced for Run {
    fn trace(&self) -> &Trace {
        &self.trace
    }

    fn under_way(&self) -> Vec<String> {
        self.cloud.under_way()
    }
}

impl Run {
    fn play(&mut self) {
        self.found();
        self.compete();
        let faults = self.cloud.rng.u32(0..4) > 0;
        for _ in 0..15 + self.cloud.rng.usize(0..50) {
            self.act(faults);
        }
        self.heal();
        self.finish();
        self.compete();
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.trace.note(self.cloud.dated(what));
    }

    /// A tree of nodes, each with some slots.
    fn found(&mut self) {
        let count = 1 + self.cloud.rng.usize(0..6);
        for at in 0..count {
            let plan = Plan { fs: false, ..Plan::named(&format!("n{at}")) };
            self.cloud.add(plan);
            let slots = self.cloud.rng.u32(1..5);
            let who = self.cloud.connect(at, "root");
            let line = format!("label slots={slots}\n");
            self.cloud.write(who, &format!("net/n{at}/ctl"), &line).expect("it is its own node");
            self.cloud.hang_up(who);
            self.slots.push(slots);
            self.rested.push(Mono::default());
            if at > 0 {
                let parent = self.cloud.rng.usize(0..at);
                self.note(format!("n{at} below n{parent}, {slots} slots"));
                self.cloud.set_parents(at, vec![parent]);
            }
        }
        self.pass(Duration::from_secs(5));
    }

    pub(super) fn any(&mut self) -> usize {
        self.cloud.rng.usize(0..self.cloud.hosts.len())
    }

    /// Time passes; what happens is looked at as it happens.
    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.cloud.clock.mono + span;
        while self.cloud.clock.mono < until {
            let next = self.cloud.clock.mono + Duration::from_millis(50);
            let next = next.min(until);
            let next = self.back.iter().chain(&self.dies).map(|(at, _)| *at).fold(next, Mono::min);
            while self.cloud.step(next) {
                self.ledger.look(&self.cloud);
            }
            self.look_whether_whole();
            self.come_back();
            for at in 0..self.groups.len() {
                self.go(at);
            }
        }
    }
}
