//! A cloud of random nodes, random clients and random faults, all from one number. While things happen, every
//! answer must be one that what happens can explain, and must come in time; whenever it is quiet, every node must
//! see what the [`Model`] says; at the end everything has run once, and nobody holds anything.

mod asking;
mod placing;

use super::{
    Cloud, Plan, Wrap,
    errand::{Errand, Want, started},
    labels::Labels,
    model::{Model, SETTLED},
    queries,
};
use crate::{
    counters::Counters,
    provider::{Program, Stand},
    seeded::{self, Trace, Traced},
};
use op::SessionId;
use std::time::Duration;

/// A run under one seed.
pub(super) struct Run {
    pub(super) cloud: Cloud,
    model: Model,
    labels: Labels,
    placed: placing::Placed,
    errands: Vec<Errand>,
    /// Two nodes that are called the same, if there are.
    twins: Vec<usize>,
    tokens: u64,
    trace: Trace,
}

/// Runs one seed, with kernels wrapped like this.
///
/// # Panics
/// If anything is not as it must be. What happened last is printed before.
pub fn run(seed: u64, wrap: Wrap) -> Counters {
    let mut run = Run {
        cloud: Cloud::of(seed, wrap),
        model: Model::default(),
        labels: Labels::default(),
        placed: placing::Placed::default(),
        errands: Vec::new(),
        twins: Vec::new(),
        tokens: 1_000_000,
        trace: Trace::of(60),
    };
    seeded::play(&mut run, (seed, "cloud_seeds"), Run::play);
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

const USERS: [&str; 4] = ["ericvh", "ericvh", "alice", "root"];

impl Run {
    fn play(&mut self) {
        self.found();
        self.quiet("at the start", true);
        self.stock();
        for round in 0..2 + self.cloud.rng.usize(0..2) {
            for _ in 0..20 + self.cloud.rng.usize(0..40) {
                self.step();
            }
            let well = self.calm(round);
            self.quiet("after faults", well);
        }
        self.finish();
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.trace.note(self.cloud.dated(what));
    }

    /// A tree of nodes.
    fn found(&mut self) {
        let count = 2 + self.cloud.rng.usize(0..7);
        let twins = count > 3 && self.cloud.rng.u32(0..3) == 0;
        for at in 0..count {
            let mut plan = Plan::named(&format!("n{at}"));
            if twins && at + 1 == count {
                plan.name = format!("n{}", at - 1);
                self.twins = vec![at - 1, at];
            }
            plan.loc = ["", "hall", "hall/r1", "hall/r2", "yard/r1"][self.cloud.rng.usize(0..5)].into();
            plan.fs = self.cloud.rng.u32(0..4) > 0;
            if self.cloud.rng.u32(0..4) == 0 {
                plan.users.retain(|user| *user != "alice");
            }
            self.cloud.add(plan);
            queries::label(&mut self.cloud, &mut self.labels, at);
            if at > 0 {
                let mut parents = vec![self.cloud.rng.usize(0..at)];
                if self.cloud.rng.u32(0..3) == 0 {
                    parents.push(self.cloud.rng.usize(0..at));
                    parents.dedup();
                }
                self.note(format!("n{at} below {parents:?}"));
                self.cloud.set_parents(at, parents);
            }
        }
    }

    pub(super) fn any(&mut self) -> usize {
        self.cloud.rng.usize(0..self.cloud.hosts.len())
    }

    // ── while things happen ────────────────────────────────────────────────────────────────

    fn step(&mut self) {
        match self.cloud.rng.u32(0..100) {
            0..=64 => self.errand(),
            65..=69 => self.give_up(),
            70..=71 => self.hang_up(),
            72..=79 => self.cut(),
            80..=81 => self.die(),
            82..=85 => self.start_again(),
            86..=87 => self.stop(),
            88..=91 => self.go_on(),
            92 => self.part(),
            93..=94 => self.move_below(),
            95..=96 => self.slow(),
            97 => self.family(),
            _ => self.cloud.heal(),
        }
        let span = match self.cloud.rng.u32(0..10) {
            0 => Duration::from_millis(self.cloud.rng.u64(0..2500)),
            1..=3 => Duration::ZERO,
            _ => Duration::from_micros(self.cloud.rng.u64(0..20_000)),
        };
        self.run(span);
    }

    fn run(&mut self, span: Duration) {
        let end = self.cloud.clock.mono + span;
        loop {
            self.go();
            let left = end.since(self.cloud.clock.mono);
            if left.is_zero() {
                return;
            }
            self.cloud.run(left.min(Duration::from_millis(40)));
        }
    }

    fn go(&mut self) {
        let mut errands = std::mem::take(&mut self.errands);
        errands.iter_mut().for_each(|errand| errand.go(&mut self.cloud));
        let (over, errands) = errands.into_iter().partition(|errand| errand.over);
        self.errands = errands;
        over.iter().for_each(|errand: &Errand| self.judge(errand));
    }

    /// A node to ask for something; as it was called last.
    fn target(&mut self) -> (usize, String) {
        let at = self.any();
        let name = self.model.names.get(&at).unwrap_or(&self.cloud.hosts[at].plan.name);
        (at, name.clone())
    }

    fn errand(&mut self) {
        let from = self.any();
        if !self.cloud.is_up(from) || self.errands.len() > 12 {
            return;
        }
        let user = USERS[self.cloud.rng.usize(0..USERS.len())];
        if !self.cloud.hosts[from].plan.users.contains(&user) {
            return;
        }
        let (to, name) = self.target();
        let ids: Vec<u64> = self.cloud.hosts[to].world.provider.programs.keys().map(|id| id.0).collect();
        let id = if ids.is_empty() { 0 } else { ids[self.cloud.rng.usize(0..ids.len())] };
        let session = SessionId(id);
        let judged = !self.twins.contains(&to) && !ids.is_empty();
        let mut text = String::new();
        let (path, want) = match self.cloud.rng.u32(0..26) {
            0..=5 if !self.twins.contains(&to) => {
                self.tokens += 1;
                let command = match self.cloud.rng.u32(0..6) {
                    0 => "exit 3".into(),
                    1 => "sleep 2".into(),
                    2 => "daemon".into(),
                    3 => "cat".into(),
                    _ => format!("emit {} {}", self.cloud.rng.u32(0..30_000), self.cloud.rng.u32(1..2000)),
                };
                text = format!("keep\nexec {command} {}\n", self.tokens);
                (format!("net/{name}/clone"), Want::Start { node: to, token: self.tokens })
            }
            6..=9 if judged => (format!("net/{name}/{id}/stdout"), Want::Output { node: to, session }),
            10 if judged => (format!("net/{name}/{id}/wait"), Want::Wait { node: to, session }),
            11 if judged => {
                text = ["kill\n", "tag a=b\n", "close stdin\n"][self.cloud.rng.usize(0..3)].into();
                (format!("net/{name}/{id}/ctl"), Want::Say { node: to, session })
            }
            12 if self.cloud.hosts[to].plan.fs && !self.twins.contains(&to) => {
                let file = ["etc/hostname", "var/big"][self.cloud.rng.usize(0..2)];
                let holds = self.cloud.hosts[to].files.get(file).unwrap_or_default().to_vec();
                (format!("net/{name}/fs/{file}"), Want::File { holds })
            }
            13..=14 if self.cloud.hosts[to].plan.fs && !self.twins.contains(&to) => {
                let (path, want, line) = self.placing(to, &name);
                text = line;
                (path, want)
            }
            15..=19 => {
                let file = LOOKS[self.cloud.rng.usize(0..LOOKS.len())];
                let lists = LISTS.contains(&file);
                let path = file.replace("NODE", &name).replace("ID", &id.to_string());
                (path, if lists { Want::List } else { Want::Look })
            }
            _ => {
                let (path, want, line) = self.query();
                text = line;
                (path, want)
            }
        };
        let who = self.cloud.connect(from, user);
        self.note(format!("{user} at {from} for {path} {text:?}"));
        let errand = Errand::new(&mut self.cloud, who, path, want, &text);
        self.errands.push(errand);
    }

    fn give_up(&mut self) {
        if !self.errands.is_empty() {
            let at = self.cloud.rng.usize(0..self.errands.len());
            self.note(format!("{} is given up", self.errands[at].path));
            self.errands[at].give_up(&mut self.cloud);
        }
    }

    fn hang_up(&mut self) {
        if !self.errands.is_empty() {
            let errand = self.errands.swap_remove(self.cloud.rng.usize(0..self.errands.len()));
            self.note(format!("who is about {} hangs up", errand.path));
            if self.cloud.is_up(self.cloud.node_of(errand.who)) {
                self.cloud.counters.count("a client hung up in the middle");
                self.cloud.hang_up(errand.who);
                self.judge(&errand);
            } else {
                self.errands.push(errand);
            }
        }
    }

    // ── when it is quiet ───────────────────────────────────────────────────────────────────

    /// No more faults; in most rounds everything is well again. Whether it is.
    fn calm(&mut self, round: usize) -> bool {
        let well = round == 0 || self.cloud.rng.bool();
        if !well && self.cloud.rng.bool() {
            self.family();
        }
        for at in 0..self.cloud.hosts.len() {
            self.cloud.live_on(at);
            self.cloud.thaw(at);
            if well {
                self.cloud.restart(at);
            }
        }
        if well {
            self.cloud.heal();
        }
        self.note(if well { "all is well again" } else { "it becomes quiet" });
        self.run(SETTLED);
        well
    }

    fn quiet(&mut self, when: &str, well: bool) {
        self.run(SETTLED);
        self.note(format!("a quiet moment {when}"));
        for errand in &self.errands {
            let from = self.cloud.node_of(errand.who);
            let Some(to) = errand.waits_for(&self.cloud) else { continue };
            assert!(
                Model::reaches(&self.cloud, from, to),
                "{} is waited for by a client of {from}, which cannot reach {to}",
                errand.path
            );
        }
        self.cloud.slowness = Duration::ZERO;
        self.cloud.check();
        self.model.check(&mut self.cloud);
        self.queries(well);
        self.whole();
        for token in 1_000_001..=self.tokens {
            assert!(started(&self.cloud, token).len() <= 1, "{token} was started more than once");
        }
    }

    fn finish(&mut self) {
        for at in 0..self.cloud.hosts.len() {
            self.cloud.thaw(at);
            self.cloud.restart(at);
        }
        self.cloud.heal();
        self.note("the end: all is well again");
        self.quiet("at the end", true);
        self.kill_some();
        self.kill_all();
        self.cloud.hang_up_all();
        self.errands.clear();
        self.cloud.run(SETTLED);
        self.cloud.check();
        self.cloud.check_no_fids();
    }

    /// `kill` to a query of sessions reaches those that match, and nobody else.
    fn kill_some(&mut self) {
        let run = |cloud: &Cloud| {
            let all = cloud.hosts.iter().flat_map(|host| host.world.provider.programs.values());
            let run = |prog: &str| {
                let of = |p: &&Program| p.launch.argv[0] == prog.as_bytes() && p.stand == Stand::Running;
                all.clone().filter(of).count()
            };
            (run("daemon"), run("cat"))
        };
        let from = self.any();
        let who = self.cloud.connect(from, "root");
        let (daemons, cats) = run(&self.cloud);
        let path = "query/prog=daemon/state=running/ctl";
        self.cloud.write(who, path, "kill KILL\n").expect("everything can be reached");
        self.cloud.run(Duration::from_secs(7));
        assert_eq!(run(&self.cloud), (0, cats), "{path} reaches those that match, of {daemons} and {cats}");
        self.cloud.counters.count_many("programs killed by a query", daemons);
        self.cloud.hang_up(who);
    }

    /// `kill` to the cloud reaches everything; then `wait` at the cloud names every end once.
    fn kill_all(&mut self) {
        let from = self.any();
        let who = self.cloud.connect(from, "root");
        self.cloud.write(who, "ctl", "kill KILL\n").expect("everything can be reached");
        self.cloud.run(Duration::from_secs(7));
        let said = self.cloud.cat(who, "wait").expect("everything has ended");
        let mut ended = Vec::new();
        for (at, host) in self.cloud.hosts.iter().enumerate() {
            for (id, program) in &host.world.provider.programs {
                assert_eq!(program.stand, Stand::Ended, "session {} of {at} was killed", id.0);
                ended.push(format!("{}/{}", self.model.names[&at], id.0));
            }
        }
        // What a node was about to start when it died was never started, and is lost.
        let began = |line: &&str| {
            let name = line.split(' ').next().unwrap_or_default();
            !line.contains(" lost=node") || ended.iter().any(|ended| ended == name)
        };
        let lines = said.lines().filter(began);
        let mut named: Vec<String> =
            lines.map(|line| line.split(' ').next().unwrap_or_default().into()).collect();
        ended.sort();
        named.sort();
        assert_eq!(named, ended, "wait at the cloud names every end once");
    }
}

/// Of what is looked at, directories.
const LISTS: &[&str] = &["net", "tree", "logical", "logical/ericvh/-"];

/// What is looked at.
const LOOKS: &[&str] = &[
    "status",
    "info",
    "topology",
    "net",
    "tree",
    "net/NODE/status",
    "net/NODE/info.json",
    "net/NODE/ctl",
    "net/NODE/error",
    "net/NODE/ID/status",
    "net/NODE/ID/info",
    "tree/NODE/status",
    "phys/hall/status",
    "logical",
    "logical/ericvh/-",
    "logical/ericvh/-/status",
    "logical/ericvh/-/0.NODE.ID/status",
    "net/NODE/ID/.../logical/status",
    "status.json",
];
