//! What is asked of groups, by clients that come again when their node was away; and how the `wait` of each is read.

use super::{Group, Run};
use crate::cloud::client::{BOTH, names};
use op::{Access, Fid, Op, Reply, Tag};
use std::{collections::BTreeSet, time::Duration};

/// Who reads its `wait`.
#[derive(Debug)]
pub(super) struct Reader {
    fid: Fid,
    tag: Tag,
    op: Op,
    /// What of a line has come.
    torn: Vec<u8>,
}

impl Run {
    pub(super) fn act(&mut self, faults: bool) {
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
            freed: BTreeSet::new(),
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
            10 => format!("@{rank} free"),
            _ => return,
        };
        self.say(at, &line);
        // Who was given back may not be gone when their numbers are wanted again.
        if line.starts_with("shrink") && self.cloud.rng.bool() {
            self.say(at, &format!("grow {n}"));
        }
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
        let freed = line.strip_prefix('@').and_then(|line| line.strip_suffix(" free"));
        group.freed.extend(freed.and_then(|rank| rank.parse::<u32>().ok()));
        group.changed |= ["grow", "shrink", "replace"].iter().any(|verb| line.starts_with(verb));
        group.said.push((tag, line.into()));
    }

    /// What a group's client and its reader do by themselves.
    pub(super) fn go(&mut self, at: usize) {
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
}
