//! What groups say, held against what really ran.

use super::{Group, Run};
use crate::{cloud::Cloud, provider::Stand};
use op::{Errno, How, Mono, Op, Reply, SessionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Every program that ever ran for a group.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    ran: BTreeMap<(usize, SessionId), Ran>,
    begun: u64,
}

/// A program of a rank.
#[derive(Debug)]
struct Ran {
    token: u64,
    rank: u32,
    alive: bool,
    /// It is more than asked for: what could not be started never is.
    ran: bool,
    how: Option<How>,
    since: Mono,
}

impl Ledger {
    /// Looks at every program of the cloud.
    ///
    /// # Panics
    /// If a rank runs twice at once.
    pub(super) fn look(&mut self, cloud: &Cloud) {
        for ran in self.ran.values_mut() {
            ran.alive = false;
        }
        let since = cloud.clock.mono;
        for (at, host) in cloud.hosts.iter().enumerate() {
            for (id, program) in &host.world.provider.programs {
                let key = (at, *id);
                let Some((token, rank)) = member(&program.launch.argv) else { continue };
                let new = Ran { token, rank, alive: true, ran: false, how: None, since };
                let ran = self.ran.entry(key).or_insert(new);
                ran.alive = program.stand != Stand::Ended;
                ran.ran |= program.stand != Stand::Starting;
                ran.how = program.exit.map(|exit| exit.how);
            }
        }
        if cloud.counters.of("programs started") == self.begun {
            return;
        }
        self.begun = cloud.counters.of("programs started");
        let mut running: BTreeMap<(u64, u32), (usize, SessionId)> = BTreeMap::new();
        for (key, ran) in self.ran.iter().filter(|(_, ran)| ran.alive) {
            if let Some(other) = running.insert((ran.token, ran.rank), *key) {
                panic!("rank {} of g{} runs twice at once: {other:?} and {key:?}", ran.rank, ran.token);
            }
        }
    }

    /// When the last of so many ranks was started, if all were.
    pub(super) fn begun_since(&self, token: u64, ranks: u32) -> Option<Mono> {
        let of: Vec<&Ran> = self.ran.values().filter(|ran| ran.token == token).collect();
        let begun: BTreeSet<u32> = of.iter().map(|ran| ran.rank).collect();
        (begun.len() >= ranks as usize).then(|| of.iter().map(|ran| ran.since).max()).flatten()
    }

    /// How often a rank ran.
    fn of(&self, token: u64, rank: u32) -> usize {
        self.ran.values().filter(|ran| ran.ran && (ran.token, ran.rank) == (token, rank)).count()
    }

    fn runs(&self, token: u64, rank: u32) -> bool {
        self.ran.values().any(|ran| ran.alive && (ran.token, ran.rank) == (token, rank))
    }

    fn alive(&self, token: u64) -> Vec<(usize, SessionId)> {
        self.ran.iter().filter(|(_, ran)| ran.alive && ran.token == token).map(|(key, _)| *key).collect()
    }
}

/// Whose member a program is: its last words are the group's token and its rank.
fn member(argv: &[Vec<u8>]) -> Option<(u64, u32)> {
    let [.., token, rank] = argv else { return None };
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    Some((text(token).strip_prefix('g')?.parse().ok()?, text(rank).parse().ok()?))
}

/// How a line of `wait` says that a rank ended.
fn how(word: &str) -> How {
    match word.split_once('=') {
        Some(("exit", code)) => How::Code(code.parse().expect("a code")),
        Some(("signal", signal)) => How::Signal(signal.parse().expect("a signal")),
        Some(("lost", "node")) => How::Lost,
        _ => panic!("not how anything ends: {word}"),
    }
}

impl Run {
    /// Everything is ended, judged, and freed.
    pub(super) fn finish(&mut self) {
        // What has its end comes to it, and what was cut off is given up or back.
        self.pass(Duration::from_secs(60));
        for at in 0..self.groups.len() {
            self.say(at, "kill KILL");
        }
        self.pass(Duration::from_secs(400));
        for at in 0..self.groups.len() {
            self.judge(at);
        }
        for at in 0..self.groups.len() {
            self.say(at, "free");
        }
        self.pass(Duration::from_secs(90));
        for at in 0..self.groups.len() {
            let (name, group) = (self.name(at), &self.groups[at]);
            let alive = self.ledger.alive(group.token);
            assert!(alive.is_empty(), "{name} was freed, and {alive:?} run on");
        }
        for at in 0..self.groups.len() {
            self.cloud.hang_up(self.groups[at].who);
        }
        self.groups.clear();
        self.pass(Duration::from_secs(200));
        self.nothing_is_left();
        self.cloud.counters.count("clouds in which nothing was left");
    }

    fn name(&self, at: usize) -> String {
        format!("n{}/{}", self.groups[at].home, self.groups[at].id)
    }

    fn nothing_is_left(&mut self) {
        for at in 0..self.cloud.hosts.len() {
            let who = self.cloud.connect(at, "ericvh");
            let listed = self.cloud.ls(who, &format!("net/n{at}")).expect("it is up");
            let left: Vec<&String> =
                listed.iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect();
            let status = left.first().map(|id| self.cloud.cat(who, &format!("net/n{at}/{id}/info")));
            assert!(left.is_empty(), "n{at} still has {left:?}: {status:?}");
            self.cloud.hang_up(who);
        }
    }

    fn judge(&mut self, at: usize) {
        let name = self.name(at);
        let group = &self.groups[at];
        if group.over {
            return;
        }
        assert!(group.said.is_empty(), "{name}: {:?} is not answered", group.said);
        if !group.runs {
            return self.judge_reserved(at);
        }
        match &group.made {
            Some(Ok(())) => {}
            Some(Err(error)) => return self.judge_failed(at, &error.clone()),
            None => panic!("{name}: whether it was made is not known"),
        }
        let (who, path) = (group.who, format!("net/{name}/info"));
        let info = self.cloud.cat(who, &path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let Some(size) = value("size").and_then(|size| size.parse::<u32>().ok()) else {
            // Its node died before it was one.
            assert!(self.groups[at].changed, "{name} is no group: {info}");
            return;
        };
        let over = ["queued", "active"].iter().all(|key| value(key) == Some("0"));
        assert!(over, "{name}: it was killed and all is well, and not all of it has ended:\n{info}");
        let wait =
            self.cloud.cat(who, &format!("net/{name}/wait")).unwrap_or_else(|e| panic!("{name}: wait: {e}"));
        let group = &self.groups[at];
        let mut ranks = BTreeSet::new();
        for line in wait.lines() {
            let rank = self.judge_end(group, &name, line);
            assert!(ranks.insert(rank) || group.shrunk, "{name}: rank {rank} ends twice:\n{wait}");
        }
        for rank in 0..size {
            let ended = ranks.contains(&rank) || group.freed.contains(&rank);
            assert!(ended, "{name}: rank {rank} of {size} has not ended:\n{wait}\n{info}");
            let started = self.ledger.of(group.token, rank);
            let most = 1 + group.retry as usize;
            assert!(group.changed || started <= most, "{name}: rank {rank} was started {started} times");
        }
        assert!(
            group.changed || size == group.asked,
            "{name} has {size} ranks, and {} were asked",
            group.asked
        );
        if self.loses_nothing(&self.groups[at]) {
            self.cloud.counters.count("groups of which nothing could be lost");
        }
        self.cloud.counters.count("groups judged");
        self.cloud.counters.count_many("ends of ranks judged", ranks.len());
    }

    /// A line of `wait` as it comes: whatever it says, its rank does not run.
    ///
    /// # Panics
    /// If it does.
    pub(super) fn hear_end(&mut self, at: usize, line: &str) {
        let group = &self.groups[at];
        let rank = line.split(' ').find_map(|word| word.strip_prefix("rank=")?.parse::<u32>().ok());
        let runs = rank.is_some_and(|rank| self.ledger.runs(group.token, rank));
        assert!(!runs || group.shrunk, "{}: it runs still: {line}", self.name(at));
        if group.kept {
            self.cloud.counters.count("ends of kept groups");
        }
    }

    /// A line of `wait`; its rank.
    fn judge_end(&self, group: &Group, name: &str, line: &str) -> u32 {
        let words: Vec<&str> = line.split(' ').collect();
        let rank = words.iter().find_map(|word| word.strip_prefix("rank=")?.parse::<u32>().ok());
        let rank = rank.unwrap_or_else(|| panic!("{name}: no rank in {line:?}"));
        let said = how(words[2]);
        let lost = said == How::Lost && self.loses_nothing(group);
        assert!(
            !lost,
            "{name}: no machine was lost, and nothing was out of reach for as long as its lease: {line:?}"
        );
        let (node, id) = words[0].split_once('/').unwrap_or((words[0], "-"));
        let node = node.strip_prefix('n').and_then(|node| node.parse::<usize>().ok());
        let (Some(node), Ok(id)) = (node, id.parse::<u64>()) else { return rank };
        let Some(ran) = self.ledger.ran.get(&(node, SessionId(id))) else {
            assert!(!matches!(said, How::Code(0)), "{name}: it never ran, and {line:?}");
            return rank;
        };
        assert_eq!((ran.token, ran.rank), (group.token, rank), "{name}: that is somebody else: {line:?}");
        let really = ran.how;
        let known = really == Some(said) || said == How::Lost || (said == How::Code(127) && really.is_none());
        assert!(known, "{name}: {line:?}, and it ended by {really:?}");
        // Whether it could be started nobody knows any more, if its node died meanwhile.
        let found = !group.kept || said != How::Lost || really == Some(How::Lost) || !ran.ran;
        assert!(found, "{name} is kept, and was not found again: {line:?}, and it ended by {really:?}");
        rank
    }

    fn judge_reserved(&mut self, at: usize) {
        let name = self.name(at);
        let group = &self.groups[at];
        match &group.made {
            Some(Err(error)) => {
                let error = error.clone();
                self.judge_failed(at, &error);
            }
            Some(Ok(())) => self.cloud.counters.count("reservations that were made"),
            None => panic!("{name}: whether it was made is not known"),
        }
    }

    fn judge_failed(&mut self, at: usize, error: &op::Error) {
        let name = self.name(at);
        let known = matches!(error.errno, Errno::AGAIN | Errno::HOSTUNREACH | Errno::STALE | Errno::NOENT);
        let known = known || (error.errno == Errno::NOENT);
        assert!(known, "{name}: nothing that happens explains this: {error:?}");
        self.cloud.counters.count(match error.errno {
            Errno::AGAIN => "groups for which there was no room",
            _ => "groups that could not be made for a fault",
        });
    }

    /// Of two who ask for more than half of all slots at once, exactly one gets them, when nobody holds any.
    pub(super) fn compete(&mut self) {
        let all: u32 = self.slots.iter().sum();
        let most = all / 2 + 1;
        for _ in 0..3 {
            let mut tries = Vec::new();
            for _ in 0..2 {
                let home = self.any();
                let who = self.cloud.connect(home, "ericvh");
                let fid =
                    self.cloud.open(who, &format!("net/n{home}/clone"), super::BOTH).expect("a session");
                tries.push((who, fid));
            }
            let mut tags = Vec::new();
            for (who, fid) in &tries {
                let line = format!("res {most}\n").into_bytes();
                tags.push(self.cloud.ask(*who, Op::Write { fid: *fid, offset: 0, data: line }));
                let soon = Duration::from_micros(self.cloud.rng.u64(0..4000));
                self.pass(soon);
            }
            self.pass(Duration::from_secs(5));
            let mut got = 0;
            for ((who, fid), tag) in tries.iter().zip(tags) {
                match self.cloud.reply(*who, tag) {
                    Some(Reply::Wrote(_)) => got += 1,
                    Some(Reply::Failed(error)) => {
                        assert_eq!(error.errno, Errno::AGAIN, "res {most} of {all}: {error}");
                    }
                    other => panic!("res {most} of {all} is answered with {other:?}"),
                }
                let free = Op::Write { fid: *fid, offset: 0, data: b"free\n".to_vec() };
                self.cloud.call(*who, free);
                self.cloud.hang_up(*who);
            }
            assert_eq!(got, 1, "of two who ask for {most} of {all} slots one gets them");
            self.cloud.counters.count("reservations that competed");
            self.pass(Duration::from_secs(3));
        }
    }
}
