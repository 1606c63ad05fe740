//! Client and server in one process with a tree below, bytes cut anywhere, answers in any order, flushes at any
//! moment: seeded, so that a failure comes back. Counters say that what should be hard did happen.

#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected here is a failure, whatever it is")]

mod common;

use common::Dice;
use common::tree::{Tree, text};
use ninep::Dialect;
use ninep::client::Client;
use ninep::server::{Config, Conn};
use op::{Access, Errno, Error, Fid, Op, Reply, SetStat, Tag};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const ALL: [Dialect; 3] = [Dialect::Plain, Dialect::L, Dialect::Uem];

#[derive(Debug, Default)]
struct Counts {
    answered: usize,
    failed: usize,
    flushed_for_good: usize,
    flushed_too_late: usize,
    orphans: usize,
    parked: usize,
    cut: usize,
}

struct World {
    dice: Dice,
    client: Client,
    conn: Conn,
    tree: Tree,
    asks: VecDeque<(Tag, Op)>,
    /// Requests that may still be answered.
    open: BTreeMap<Tag, Op>,
    /// Fids that the client knows to have.
    bound: BTreeSet<Fid>,
    /// Fids that it has asked for, to be used before it knows.
    hoped: Vec<Fid>,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let dialect = ALL[dice.roll(3)];
        let msize = [1024, 1500, 8192][dice.roll(3)];
        let window = [1, 3, 1000][dice.roll(3)];
        let mut world = World {
            client: Client::new(dialect, msize).with_window(window).with_user("glenda", Some(7)),
            conn: Conn::new(Config { output: 4096, ..Config::default() }),
            tree: Tree::default(),
            asks: VecDeque::new(),
            open: BTreeMap::new(),
            bound: BTreeSet::new(),
            hoped: vec![Fid(0)],
            counts: Counts::default(),
            dice,
        };
        world.run(Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
        world.bound.insert(Fid(0));
        world
    }

    fn request(&mut self, op: Op) -> Tag {
        let tag = self.client.request(op.clone());
        assert!(self.open.insert(tag, op).is_none());
        tag
    }

    /// Moves some bytes from client to server.
    fn carry_up(&mut self) {
        let waiting = self.client.output().len();
        if waiting > 0 && self.conn.wants_input() {
            let count = 1 + self.dice.roll(waiting);
            self.counts.cut += usize::from(count < waiting);
            self.conn.receive(&self.client.output()[..count], &mut self.asks).unwrap();
            self.client.consume(count);
        }
    }

    /// Moves some bytes from server to client, and hears what they say.
    fn carry_down(&mut self) {
        let waiting = self.conn.output().len();
        if waiting > 0 {
            let count = 1 + self.dice.roll(waiting);
            self.client.receive(&self.conn.output()[..count]).unwrap();
            self.conn.consume(count);
        }
        while let Some((tag, reply)) = self.client.next_reply() {
            self.hear(tag, &reply);
        }
    }

    fn hear(&mut self, tag: Tag, reply: &Reply) {
        let op = self.open.remove(&tag).expect("answered once, and not after its flush");
        self.counts.answered += 1;
        self.counts.failed += usize::from(matches!(reply, Reply::Failed(_)));
        match (op, reply) {
            (Op::Flush { tag: old }, reply) => {
                assert_eq!(*reply, Reply::Done);
                match self.open.remove(&old) {
                    Some(_) => self.counts.flushed_for_good += 1,
                    None => self.counts.flushed_too_late += 1,
                }
            }
            (Op::Attach { fid, .. }, Reply::Attached(_)) => {
                self.bound.insert(fid);
            }
            (Op::Walk { newfid, names, .. }, Reply::Walked(qids)) if names.len() == qids.len() => {
                self.bound.insert(newfid);
            }
            (Op::Walk { newfid, .. }, _) => self.hoped.retain(|hoped| *hoped != newfid || newfid == Fid(0)),
            (Op::Clunk { fid } | Op::Remove { fid }, _) => {
                self.bound.remove(&fid);
            }
            (Op::Read { count, .. }, Reply::Data(data)) => assert!(data.len() <= count as usize),
            (_, Reply::Failed(Error { errno, .. })) => {
                let known = [
                    Errno::NOENT,
                    Errno::BADF,
                    Errno::BUSY,
                    Errno::NOTDIR,
                    Errno::ISDIR,
                    Errno::NOTEMPTY,
                    Errno::INVAL,
                    Errno::OPNOTSUPP,
                    Errno::PERM,
                    Errno::EXIST,
                    Errno::AGAIN,
                    Errno::TOOBIG,
                ];
                assert!(known.contains(errno), "{errno:?}");
            }
            _ => {}
        }
    }

    /// One random thing happens.
    fn step(&mut self) {
        match self.dice.roll(10) {
            0 | 1 => self.ask_something(),
            2 | 3 => self.carry_up(),
            4 | 5 => self.carry_down(),
            6 => self.ask_below(),
            7 | 8 => self.answer_below(),
            _ if self.dice.one_in(4) => self.tree.feed(1),
            _ => {}
        }
    }

    fn ask_below(&mut self) {
        for _ in 0..self.dice.roll(4) {
            if let Some((tag, op)) = self.asks.pop_front() {
                let parked = self.tree.parked.len();
                self.tree.ask(tag, op);
                self.counts.parked += self.tree.parked.len().saturating_sub(parked);
            }
        }
    }

    fn answer_below(&mut self) {
        if !self.tree.answers.is_empty() {
            let at = self.dice.roll(self.tree.answers.len());
            let (tag, reply) = self.tree.answers.remove(at);
            self.conn.answer(tag, reply, &mut self.asks);
        }
    }

    fn ask_something(&mut self) {
        let fid = self.hoped[self.dice.roll(self.hoped.len())];
        // The root stays the root; half of what is not a walk is about the latest.
        let fid = if fid == Fid(0) || self.dice.one_in(2) { self.hoped[self.hoped.len() - 1] } else { fid };
        let access = Access { read: true, ..Access::default() };
        match self.dice.roll(16) {
            0..=3 => {
                let paths: [&[&str]; 8] = [
                    &["text"],
                    &["stream"],
                    &["stream"],
                    &["scratch"],
                    &["nope"],
                    &["dir", "nope"],
                    &["dir", "..", "stream"],
                    &[],
                ];
                let names = paths[self.dice.roll(8)].iter().map(|name| (*name).into()).collect();
                let newfid = self.client.new_fid();
                self.hoped.push(newfid);
                self.request(Op::Walk { fid: Fid(0), newfid, names });
                // All in one flight, as often as not.
                if self.dice.one_in(2) {
                    self.request(Op::Open { fid: newfid, access });
                    self.read(newfid);
                    if self.dice.one_in(2) {
                        self.clunk(newfid);
                    }
                }
            }
            4 => drop(self.request(Op::Open { fid, access })),
            5 | 6 => self.read(fid),
            7 => drop(self.request(Op::List { fid, cookie: 0, count: 5 })),
            8 => drop(self.request(Op::Stat { fid })),
            9 => {
                let access = Access { read: true, write: true, truncate: false };
                let name = format!("f{}", self.dice.roll(5));
                let mode = if self.dice.one_in(4) { 0o040_755 } else { 0o644 };
                self.request(Op::Create { fid, name, mode, access });
            }
            10 => drop(self.request(Op::SetStat { fid, set: SetStat::default() })),
            11 if fid != Fid(0) => self.clunk(fid),
            12 if fid != Fid(0) => {
                self.request(Op::Walk { fid, newfid: fid, names: vec!["..".into()] });
            }
            13 if self.dice.one_in(2) => {
                let dir = if self.dice.one_in(4) { fid } else { Fid(0) };
                let (name, to) = (format!("l{}", self.dice.roll(9)), format!("l{}", self.dice.roll(9)));
                let replace = self.dice.one_in(2);
                self.request(Op::Rename { fid: Fid(0), name, dir, to, replace });
            }
            13 => {
                let name = format!("l{}", self.dice.roll(9));
                self.request(Op::Symlink { fid: Fid(0), name, target: "text".into() });
            }
            _ => {
                if let Some(&tag) = self.open.keys().nth(self.dice.roll(self.open.len().max(1))) {
                    self.request(Op::Flush { tag });
                }
            }
        }
    }

    fn read(&mut self, fid: Fid) {
        let wait = !(self.client.dialect() == Some(Dialect::Uem) && self.dice.one_in(4));
        let offset = if self.dice.one_in(2) { 1 << 20 } else { self.dice.roll(6000) as u64 };
        let count = 1 + self.dice.roll(2000) as u32;
        self.request(Op::Read { fid, offset, count, wait });
    }

    fn clunk(&mut self, fid: Fid) {
        self.hoped.retain(|hoped| *hoped != fid);
        self.request(Op::Clunk { fid });
    }

    /// Lets everything come to rest.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "it comes to rest: {:?}", self.open);
            self.carry_up();
            self.ask_below();
            self.answer_below();
            self.carry_down();
            if self.open.is_empty() && self.client.outstanding() == 0 && self.conn.is_idle() {
                return;
            }
            if round % 10 == 0 {
                self.tree.feed(1);
            }
        }
    }

    /// Asks and waits for the answer.
    fn run(&mut self, op: Op) -> Reply {
        let tag = self.client.request(op);
        loop {
            if let Some((answered, reply)) = self.client.next_reply() {
                assert_eq!(answered, tag);
                return reply;
            }
            let count = self.client.output().len();
            self.conn.receive(self.client.output(), &mut self.asks).unwrap();
            self.client.consume(count);
            while let Some((tag, op)) = self.asks.pop_front() {
                self.tree.ask(tag, op);
                for (tag, reply) in std::mem::take(&mut self.tree.answers) {
                    self.conn.answer(tag, reply, &mut self.asks);
                }
            }
            self.client.receive(self.conn.output()).unwrap();
            self.conn.consume(self.conn.output().len());
        }
    }

    /// What a calm client finds.
    fn look_around(&mut self) {
        let dialect = self.client.dialect().unwrap();
        let (fid, access) = (self.client.new_fid(), Access { read: true, ..Access::default() });
        let root = self.client.new_fid();
        self.run(Op::Attach { fid: root, user: String::new(), tree: String::new() });
        self.run(Op::Walk { fid: root, newfid: fid, names: vec!["text".into()] });
        self.run(Op::Open { fid, access });
        let mut read = Vec::new();
        loop {
            match self.run(Op::Read { fid, offset: read.len() as u64, count: 700, wait: true }) {
                Reply::Data(data) if data.is_empty() => break,
                Reply::Data(data) => read.extend(data),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read, text());
        match self.run(Op::Stat { fid }) {
            Reply::Stat(stat) => {
                assert_eq!(stat.size, 5000);
                assert_eq!(stat.mode, 0o644);
                assert_eq!(&*stat.user, if dialect == Dialect::L { "7" } else { "glenda" });
                assert_eq!(stat.uid, if dialect == Dialect::Plain { u32::MAX } else { 7 });
                assert_eq!(stat.mtime.secs(), 1_700_000_000);
            }
            other => panic!("{other:?}"),
        }
        self.run(Op::Clunk { fid });
        self.run(Op::Walk { fid: root, newfid: fid, names: vec!["dir".into()] });
        self.run(Op::Open { fid, access });
        for count in [1, 7, 1000] {
            let (mut listed, mut cookie) = (Vec::new(), 0);
            loop {
                match self.run(Op::List { fid, cookie, count }) {
                    Reply::Listed(entries) => {
                        assert!(entries.len() <= count as usize);
                        let Some(last) = entries.last() else { break };
                        cookie = last.cookie;
                        listed.extend(entries.into_iter().map(|entry| entry.stat.name));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let expected: Vec<String> =
                (0..70).map(|number| format!("{number}{}", "-".repeat(number))).collect();
            listed.retain(|name: &String| !name.starts_with('f'));
            assert_eq!(listed, expected, "{count} at a time");
        }
        self.run(Op::Clunk { fid });
    }
}

fn play(seed: u64) -> Counts {
    let mut world = World::new(seed);
    for _ in 0..600 {
        world.step();
    }
    world.settle();
    assert_eq!(world.tree.live_fids(), world.bound.len(), "no fid is left that nobody knows");
    world.look_around();
    world.conn.hang_up(&mut world.asks);
    while let Some((tag, op)) = world.asks.pop_front() {
        world.tree.ask(tag, op);
        for (tag, reply) in std::mem::take(&mut world.tree.answers) {
            world.conn.answer(tag, reply, &mut world.asks);
        }
    }
    assert!(world.conn.is_idle());
    assert_eq!(world.tree.live_fids(), 0);
    world.counts.orphans = world.tree.orphans;
    world.counts
}

#[test]
fn every_request_is_answered_once_or_flushed_once() {
    let mut sum = Counts::default();
    for seed in 0..400 {
        let counts = std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        sum.answered += counts.answered;
        sum.failed += counts.failed;
        sum.flushed_for_good += counts.flushed_for_good;
        sum.flushed_too_late += counts.flushed_too_late;
        sum.orphans += counts.orphans;
        sum.parked += counts.parked;
        sum.cut += counts.cut;
    }
    println!("{sum:?}");
    let Counts { answered, failed, flushed_for_good, flushed_too_late, orphans, parked, cut } = sum;
    assert!(
        answered > 20_000 && failed > 1000 && failed < answered / 2,
        "{answered} answered, {failed} failed"
    );
    assert!(flushed_for_good > 1000, "flushed before they were answered: {flushed_for_good}");
    assert!(flushed_too_late > 1000, "answered before they were flushed: {flushed_too_late}");
    assert!(orphans > 50, "flushed walks that had succeeded: {orphans}");
    assert!(parked > 200, "reads that waited: {parked}");
    assert!(cut > 10_000, "messages cut: {cut}");
}
