//! Giving up, in all orders: short conversations around `Tflush`, with every order in which messages can come
//! and answers can be given, each to its end, and every way a flushed request may have gone below.

#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected here is a failure, whatever it is")]

mod common;

use common::{Bench, tree};
use ninep::wire::{Names, Tmsg};
use ninep::{Dialect, NOTAG};
use op::{Errno, Op, Reply, Shape, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// One path through all choices: the same prefix, then the first of what is left.
#[derive(Default)]
struct Path {
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Path {
    fn choose(&mut self, ways: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, ways));
        }
        assert_eq!(self.taken[self.at].1, ways, "the same choices lead to the same place");
        self.at += 1;
        self.taken[self.at - 1].0
    }

    /// The next path in order, if there is one.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((way, ways)) = self.taken.pop() {
            if way + 1 < ways {
                self.taken.push((way + 1, ways));
                return true;
            }
        }
        false
    }
}

/// The server below: asks that are not answered, and the fids that it has.
#[derive(Default)]
struct Below {
    open: Vec<(Tag, Op)>,
    fids: BTreeSet<u32>,
}

impl Below {
    /// Answers one; a flush ends its target, whose walk may have succeeded or not.
    fn answer(&mut self, at: usize, path: &mut Path) -> (Tag, Reply) {
        let (tag, op) = self.open.remove(at);
        let reply = match op {
            Op::Flush { tag: old } => {
                if let Some(at) = self.open.iter().position(|(tag, _)| *tag == old) {
                    let (_, op) = self.open.remove(at);
                    if path.choose(2) == 1 {
                        self.run(&op);
                    }
                }
                Reply::Done
            }
            other => {
                if path.choose(2) == 1 && !matches!(other, Op::Clunk { .. } | Op::Remove { .. }) {
                    Reply::errno(Errno::IO)
                } else {
                    self.run(&other)
                }
            }
        };
        (tag, reply)
    }

    fn run(&mut self, op: &Op) -> Reply {
        let qid = tree::qid_of(1, false);
        let knows = |fid: &op::Fid| self.fids.contains(&fid.0);
        match op {
            Op::Walk { fid, .. } | Op::Open { fid, .. } | Op::Create { fid, .. } | Op::Read { fid, .. }
                if !knows(fid) =>
            {
                Reply::errno(Errno::BADF)
            }
            Op::Walk { newfid, names, fid } => {
                assert!(self.fids.insert(newfid.0) || fid == newfid, "{newfid:?} is made twice");
                Reply::Walked(names.iter().map(|_| qid).collect())
            }
            Op::Open { .. } | Op::Create { .. } => Reply::Opened(qid, Shape::Stream),
            Op::Read { .. } => Reply::Data(vec![1]),
            Op::Clunk { fid } | Op::Remove { fid } => {
                if self.fids.remove(&fid.0) {
                    Reply::Done
                } else {
                    Reply::errno(Errno::BADF)
                }
            }
            other => panic!("not in these conversations: {other:?}"),
        }
    }
}

/// What must hold of the answers so far: a tag is answered once, never after its Rflush.
fn judge(said: &[String], flushes: &BTreeMap<u16, u16>) {
    let mut silent = BTreeSet::new();
    for line in said {
        let (tag, message) = line.split_once(' ').unwrap();
        let tag: u16 = tag.parse().unwrap();
        assert!(silent.insert(tag), "{tag} is answered twice, or after its Rflush: {said:?}");
        assert_eq!(message == "Flush", flushes.contains_key(&tag), "{said:?}");
        silent.extend(flushes.get(&tag));
    }
}

/// Plays a conversation in every order; returns how many there were, and how many ended with a flushed request
/// not answered.
fn all_orders(dialect: Dialect, messages: &[Tmsg<'_>]) -> (usize, usize) {
    let (mut path, mut orders, mut dropped) = (Path::default(), 0, 0);
    let flushes: BTreeMap<u16, u16> = (1..)
        .zip(messages)
        .filter_map(|(tag, message)| match message {
            Tmsg::Flush { oldtag } => Some((tag, *oldtag)),
            _ => None,
        })
        .collect();
    loop {
        let mut bench = Bench::new(dialect);
        let mut below = Below::default();
        let mut sent = 0;
        let (mut said, mut hung_up) = (Vec::new(), false);
        below.fids.insert(0);
        loop {
            below.open.extend(bench.asks.drain(..));
            said.extend(bench.said());
            judge(&said, &flushes);
            // A read of these blocks as long as anything else can happen.
            let ways = below.open.len() + usize::from(sent < messages.len());
            if ways == 0 {
                break;
            }
            // The last way: the client goes, in the middle of it all.
            let way = path.choose(ways + 1);
            if way == ways {
                hung_up = true;
                break;
            }
            if way == below.open.len() {
                sent += 1;
                bench.send(sent as u16, messages[sent - 1]);
            } else {
                let (tag, reply) = below.answer(way, &mut path);
                bench.answer(tag, reply);
            }
        }
        let answered: BTreeSet<u16> =
            said.iter().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
        for tag in 1..=messages.len() as u16 {
            let flushed = flushes.values().any(|old| *old == tag);
            assert!(flushed || hung_up || answered.contains(&tag), "{tag} is never answered: {said:?}");
            dropped += usize::from(!hung_up && !answered.contains(&tag));
        }
        bench.conn.hang_up(&mut bench.asks);
        below.open.extend(bench.asks.drain(..));
        while !below.open.is_empty() {
            let (tag, reply) = below.answer(0, &mut path);
            bench.answer(tag, reply);
            below.open.extend(bench.asks.drain(..));
        }
        assert!(bench.said().is_empty(), "nobody is told anything after the hang-up");
        assert!(bench.conn.is_idle());
        assert!(below.fids.is_empty(), "fids are left over: {:?}", below.fids);
        orders += 1;
        if !path.advance() {
            return (orders, dropped);
        }
    }
}

const fn walk(fid: u32, newfid: u32) -> Tmsg<'static> {
    Tmsg::Walk { fid, newfid, names: Names::Read(b"\x01\0x") }
}

const fn read(fid: u32) -> Tmsg<'static> {
    Tmsg::Read { fid, offset: 0, count: 10 }
}

const fn flush(oldtag: u16) -> Tmsg<'static> {
    Tmsg::Flush { oldtag }
}

const fn open(fid: u32) -> Tmsg<'static> {
    Tmsg::Lopen { fid, flags: 0 }
}

const fn clunk(fid: u32) -> Tmsg<'static> {
    Tmsg::Clunk { fid }
}

const MKDIR: Tmsg<'static> = Tmsg::Mkdir { dfid: 0, name: "d", mode: 0o755, gid: 0 };
const UNLINK: Tmsg<'static> = Tmsg::Unlinkat { dirfid: 0, name: "d", flags: 0 };

#[track_caller]
fn check(dialect: Dialect, messages: &[Tmsg<'_>]) {
    let (orders, dropped) = all_orders(dialect, messages);
    println!("{} messages: {orders} orders, {dropped} requests dropped", messages.len());
    assert!(orders > 10 && dropped > 0, "{orders} orders, {dropped} dropped");
}

#[test]
fn a_read_flushed_twice_and_its_fid_clunked() {
    check(Dialect::L, &[read(0), flush(1), flush(1), clunk(0)]);
}

#[test]
fn a_flush_that_is_flushed() {
    check(Dialect::L, &[read(0), flush(1), flush(2)]);
}

#[test]
fn a_walk_flushed_with_what_follows_it() {
    check(Dialect::L, &[walk(0, 1), flush(1), open(1), clunk(1)]);
    check(Dialect::L, &[walk(0, 1), open(1), flush(1), clunk(1)]);
}

#[test]
fn a_fid_used_again_after_a_flushed_walk() {
    check(Dialect::L, &[walk(0, 1), flush(1), clunk(1), walk(0, 1)]);
}

#[test]
fn a_walk_in_place_is_flushed() {
    check(Dialect::L, &[walk(0, 0), flush(1), clunk(0)]);
}

#[test]
fn messages_of_several_steps_are_flushed() {
    check(Dialect::L, &[MKDIR, flush(1), walk(0, 1)]);
    check(Dialect::L, &[UNLINK, flush(1), clunk(0)]);
    check(Dialect::L, &[MKDIR, walk(0, 1), flush(2), clunk(1)]);
    check(Dialect::L, &[UNLINK, walk(0, 1), read(1), flush(2)]);
}

#[test]
fn an_open_of_9p2000_holds_back_and_is_flushed() {
    let open = Tmsg::Open { fid: 0, mode: 0 };
    check(Dialect::Plain, &[open, read(0), flush(1), clunk(0)]);
    check(Dialect::Plain, &[open, read(0), flush(2), clunk(0)]);
}

#[test]
fn a_new_version_gives_up_everything() {
    let mut bench = Bench::new(Dialect::L);
    for (tag, message) in [(1, walk(0, 1)), (2, read(0)), (3, MKDIR), (4, read(0)), (5, flush(2))] {
        bench.send(tag, message);
    }
    let before: Vec<_> = bench.asks.drain(..).collect();
    bench.send(NOTAG, Tmsg::Version { msize: 8192, version: "9P2000.L" });
    let ops: Vec<String> = bench.asks.iter().map(|(_, op)| format!("{op:?}")).collect();
    assert_eq!(
        ops.iter().filter(|op| op.starts_with("Flush")).count(),
        2,
        "walk and mkdir; the read is: {ops:?}"
    );
    assert_eq!(ops.iter().filter(|op| op.starts_with("Clunk")).count(), 3, "{ops:?}");
    bench.expect(&[r#"65535 Version { msize: 8192, version: "9P2000.L" }"#]);
    for (tag, _) in before {
        bench.answer(tag, Reply::errno(Errno::IO));
    }
    while let Some((tag, _)) = bench.asks.pop_front() {
        bench.answer(tag, Reply::Done);
    }
    bench.expect(&[]);
    assert!(bench.conn.is_idle());
    // The numbers are free again, tags and fids alike.
    bench.send(1, clunk(0));
    bench.expect(&[r#"1 Lerror { ecode: 9, cause: Cause("") }"#]);
}

#[test]
fn nobody_is_flushed_that_is_not_there() {
    let mut bench = Bench::new(Dialect::Plain);
    bench.send(1, flush(77));
    bench.send(2, flush(2));
    bench.expect(&["1 Flush", "2 Flush"]);
    assert!(bench.asks.is_empty());
}

#[test]
fn an_answer_that_wins_the_race_is_sent_before_the_rflush() {
    let mut bench = Bench::new(Dialect::L);
    bench.send(1, read(0));
    let (read, _) = bench.asked();
    bench.send(2, flush(1));
    let (flush, op) = bench.asked();
    assert_eq!(op, Op::Flush { tag: read });
    bench.answer(read, Reply::Data(vec![9]));
    bench.expect(&["1 Read { data: [9] }", "2 Flush"]);
    bench.answer(flush, Reply::Done);
    bench.expect(&[]);
}
