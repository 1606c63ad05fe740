//! Clouds in which groups run while nodes are lost, links break and parents are replaced: random ones, from a seed. What members
//! do is known from their programs, so what a group says of itself is held against what really ran.
//!
//! What must hold, whatever happens: no rank runs twice at once, a rank that is not retried is started once, `wait` names every
//! rank once and with how it really ended, and none that still runs, `res` gets all or nothing, what is kept (`keep`) is found again, and
//! of what was freed nothing is left.

mod judge;
mod whole;

use super::{
    Cloud, Plan, Wrap,
    client::{BOTH, Who, names},
    faults::Cut,
};
use crate::{
    counters::Counters,
    seeded::{self, Trace, Traced},
};
use judge::Ledger;
use op::{Access, Fid, Mono, Op, Reply, Tag};
use std::time::Duration;
use whole::Whole;

/// A node's process that dies is started again, and one that stopped goes on, within this; else its programs would outlive
/// their lease with nobody there to end them.
const AWAY: Duration = Duration::from_secs(8);

/// No node is away again before this has passed.
const BETWEEN: Duration = Duration::from_secs(150);

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

/// Who reads its `wait`.
#[derive(Debug)]
struct Reader {
    fid: Fid,
    tag: Tag,
    op: Op,
    /// What of a line has come.
    torn: Vec<u8>,
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

    // ── time ───────────────────────────────────────────────────────────────────────────────

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

    fn come_back(&mut self) {
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

    // ── groups ─────────────────────────────────────────────────────────────────────────────

    fn act(&mut self, faults: bool) {
        let live: Vec<usize> = (0..self.groups.len()).filter(|at| !self.groups[*at].over).collect();
        let some = (!live.is_empty()).then(|| live[self.cloud.rng.usize(0..live.len().max(1))]);
        match (self.cloud.rng.u32(0..100), some) {
            (0..=19, _) if live.len() < 6 => self.begin(true),
            (20..=24, _) if live.len() < 6 => self.begin(false),
            (25..=49, Some(at)) => self.command(at),
            (50..=94, _) if faults => self.fault(),
            _ => {}
        }
        let span = match self.cloud.rng.u32(0..20) {
            0 => Duration::from_secs(self.cloud.rng.u64(20..120)),
            1..=5 => Duration::from_millis(self.cloud.rng.u64(0..4000)),
            6..=9 => Duration::ZERO,
            _ => Duration::from_micros(self.cloud.rng.u64(0..30_000)),
        };
        self.pass(span);
    }

    fn begin(&mut self, runs: bool) {
        let home = self.any();
        if !self.cloud.is_up(home) || self.back.iter().any(|(_, node)| *node == home) {
            return;
        }
        let who = self.cloud.connect(home, "ericvh");
        let Ok(ctl) = self.cloud.open(who, &format!("net/n{home}/clone"), BOTH) else { return };
        let Reply::Data(id) = self.cloud.call(who, Op::Read { fid: ctl, offset: 0, count: 100, wait: true })
        else {
            return;
        };
        let id = String::from_utf8_lossy(&id).trim().parse().expect("a session's number");
        self.tokens += 1;
        let (token, rng) = (self.tokens, &mut self.cloud.rng);
        let asked = rng.u32(1..12);
        let retry = if rng.bool() { 0 } else { rng.u32(1..3) };
        let command = match rng.u32(0..8) {
            0 => "nosuch",
            1 => "exit 3",
            2..=3 => "sleep 1",
            4 => "sleep 40",
            5 => "daemon",
            _ => "exit 0",
        };
        let width = if rng.u32(0..3) == 0 { format!(" width={}", rng.u32(1..5)) } else { String::new() };
        let kept = rng.u32(0..4) == 0;
        let line = match runs {
            true => format!("run {asked}{width} retry={retry} -- {command} g{token} {{rank}}\n"),
            false => format!("res {asked}\n"),
        };
        let line = if kept { format!("keep\n{line}") } else { line };
        self.note(format!("n{home}/{id}: {line:?}"));
        let write = Op::Write { fid: ctl, offset: 0, data: line.into_bytes() };
        let tag = self.cloud.ask(who, write);
        let said = vec![(tag, "made".into())];
        let group = Group {
            home,
            id,
            token,
            asked,
            runs,
            who,
            ctl,
            said,
            retry: if runs { retry } else { 0 },
            made: None,
            changed: false,
            shrunk: false,
            kept,
            settled: None,
            reader: None,
            over: false,
        };
        self.groups.push(group);
    }

    fn command(&mut self, at: usize) {
        let (rank, n) = (self.cloud.rng.u32(0..12), self.cloud.rng.u32(1..4));
        let token = self.groups[at].token;
        let line = match self.cloud.rng.u32(0..12) {
            0 => format!("grow {n}"),
            1 => format!("shrink {n}"),
            2 | 3 => format!("replace {rank}"),
            4 => "kill".into(),
            5 | 6 => format!("@{rank} kill"),
            7 => format!("@{}-{} kill KILL", n, n + rank),
            8 | 9 if !self.groups[at].runs => format!("exec sleep 3 g{token} {{rank}}"),
            _ => return,
        };
        self.say(at, &line);
    }

    /// A line to a group's `ctl`, if its client is there.
    pub(super) fn say(&mut self, at: usize, line: &str) {
        let group = &self.groups[at];
        if group.made.is_none() || self.cloud.is_gone(group.who) || !self.cloud.is_up(group.home) {
            return;
        }
        let (who, fid) = (group.who, group.ctl);
        self.note(format!("n{}/{}: {line}", self.groups[at].home, self.groups[at].id));
        let tag = self.cloud.ask(who, Op::Write { fid, offset: 0, data: format!("{line}\n").into_bytes() });
        let group = &mut self.groups[at];
        group.over |= line == "free";
        group.shrunk |= line.starts_with("shrink");
        group.changed |= ["grow", "shrink", "replace"].iter().any(|verb| line.starts_with(verb));
        group.said.push((tag, line.into()));
    }

    /// What a group's client and its reader do by themselves.
    fn go(&mut self, at: usize) {
        let group = &self.groups[at];
        if group.over || !self.cloud.is_up(group.home) {
            return;
        }
        if self.cloud.is_gone(group.who) {
            return self.come_again(at);
        }
        let who = group.who;
        for (tag, line) in std::mem::take(&mut self.groups[at].said) {
            let Some(reply) = self.cloud.reply(who, tag) else {
                self.groups[at].said.push((tag, line));
                continue;
            };
            self.note(format!(
                "n{}/{}: {line} is answered {reply:?}",
                self.groups[at].home, self.groups[at].id
            ));
            if line == "made" {
                self.groups[at].made = Some(match reply {
                    Reply::Failed(error) => Err(error),
                    _ => Ok(()),
                });
            }
        }
        self.read(at);
    }

    /// Its client is gone with the node; another takes its place.
    fn come_again(&mut self, at: usize) {
        let (home, id) = (self.groups[at].home, self.groups[at].id);
        let who = self.cloud.connect(home, "ericvh");
        let Ok(ctl) = self.cloud.open(who, &format!("net/n{home}/{id}/ctl"), BOTH) else {
            self.note(format!("n{home}/{id} is not there after its node was started again"));
            self.groups[at].over = true;
            return;
        };
        let group = &mut self.groups[at];
        (group.who, group.ctl, group.reader) = (who, ctl, None);
        group.said.clear();
        // Whether it was made is not known: its own word counts.
        if group.made.is_none() {
            group.made = Some(Ok(()));
            group.changed = true;
        }
    }

    /// Reads on in `wait`, so that the group is held and its ends are seen.
    fn read(&mut self, at: usize) {
        let group = &self.groups[at];
        if !group.runs || !matches!(group.made, Some(Ok(()))) {
            return;
        }
        let who = group.who;
        if group.reader.is_none() {
            let path = format!("net/n{}/{}/wait", group.home, group.id);
            let fid = self.cloud.new_fid(who);
            let op = Op::Walk { fid: Fid(0), newfid: fid, names: names(&path) };
            let tag = self.cloud.ask(who, op.clone());
            self.groups[at].reader = Some(Reader { fid, tag, op, torn: Vec::new() });
        }
        while let Some(Reader { fid, tag, op, torn }) = &mut self.groups[at].reader {
            let (fid, op) = (*fid, op.clone());
            let Some(reply) = self.cloud.reply(who, *tag) else { return };
            let mut torn = std::mem::take(torn);
            if let (Op::Read { .. }, Reply::Data(data)) = (&op, &reply) {
                torn.extend(data);
                let whole = torn.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                let lines: Vec<u8> = torn.drain(..whole).collect();
                String::from_utf8_lossy(&lines).lines().for_each(|line| self.hear_end(at, line));
            }
            let next = match (op, reply) {
                (Op::Walk { .. }, Reply::Walked(qids)) if qids.len() == 4 => {
                    Op::Open { fid, access: Access { read: true, ..Access::default() } }
                }
                (Op::Open { .. }, Reply::Opened(..)) => Op::Read { fid, offset: 0, count: 4096, wait: true },
                // It may grow again.
                (Op::Read { .. }, Reply::Data(data)) if data.is_empty() => return,
                (Op::Read { offset, .. }, Reply::Data(data)) => {
                    Op::Read { fid, offset: offset + data.len() as u64, count: 4096, wait: true }
                }
                (op, reply) => {
                    panic!("wait of n{}/{}: {op:?}: {reply:?}", self.groups[at].home, self.groups[at].id)
                }
            };
            let tag = self.cloud.ask(who, next.clone());
            self.groups[at].reader = Some(Reader { fid, tag, op: next, torn });
        }
    }

    // ── faults ─────────────────────────────────────────────────────────────────────────────

    fn fault(&mut self) {
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
    fn heal(&mut self) {
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
}
