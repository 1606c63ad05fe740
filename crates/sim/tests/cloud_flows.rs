//! Records through groups in random clouds. `UEM_SEEDS=100000` runs more of them, `UEM_SEED=7` one of them.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use op::{Access, Op, Reply};
use sim::{
    cloud::{
        Cloud, Plan,
        client::{BOTH, Who},
        flows::{self, HELD},
        programs::pattern,
    },
    counters::Counters,
    seeded,
};
use std::{rc::Rc, time::Duration};

fn run(seed: u64) -> Counters {
    flows::run(seed, Rc::new(|kernel| Box::new(kernel)))
}

#[test]
fn no_record_is_torn_or_doubled_and_each_reaches_its_ranks() {
    seeded::many(60, MUST_HAPPEN, run);
}

#[test]
fn one_seed() {
    seeded::one(run);
}

const READ: Access = Access { read: true, write: false, truncate: false };
const WRITE: Access = Access { read: false, write: true, truncate: false };

/// Nodes n0, n1 below it, n2 below that, of so many slots each; and somebody at n0 with a new session.
fn chain(slots: [u32; 3]) -> (Cloud, Who, op::Fid) {
    let mut cloud = Cloud::new(1);
    for (at, slots) in slots.iter().enumerate() {
        let plan = Plan { fs: false, ..Plan::named(&format!("n{at}")) };
        match at {
            0 => cloud.add(plan),
            at => cloud.add_below(at - 1, plan),
        };
        let who = cloud.connect(at, "root");
        cloud.write(who, &format!("net/n{at}/ctl"), &format!("label slots={slots}\n")).unwrap();
    }
    cloud.run(Duration::from_secs(5));
    let who = cloud.connect(0, "ericvh");
    let ctl = cloud.open(who, "net/n0/clone", BOTH).unwrap();
    (cloud, who, ctl)
}

fn say(cloud: &mut Cloud, who: Who, ctl: op::Fid, line: &str) {
    let reply = cloud.call(who, Op::Write { fid: ctl, offset: 0, data: format!("{line}\n").into_bytes() });
    assert!(matches!(reply, Reply::Wrote(_)), "{line}: {reply:?}");
}

/// Bytes that flow and are held at one node, at most.
fn held(cloud: &Cloud) -> usize {
    cloud.hosts.iter().map(|host| host.world.machine().flowing()).max().unwrap()
}

#[test]
fn a_record_of_64_megabytes_comes_whole_through_two_levels() {
    const SIZE: usize = 64 << 20;
    let (mut cloud, who, ctl) = chain([0, 0, 3]);
    cloud.look_seldom();
    say(&mut cloud, who, ctl, "res 3");
    say(&mut cloud, who, ctl, &format!("@0 exec emit {SIZE} 1048576"));
    say(&mut cloud, who, ctl, "@1-2 exec emit 1000 10");
    let mut all = Vec::new();
    let fid = cloud.open(who, "net/n0/0/stdout", READ).unwrap();
    loop {
        let read = Op::Read { fid, offset: all.len() as u64, count: 1 << 20, wait: true };
        let Reply::Data(data) = cloud.call(who, read) else { panic!("it is read") };
        assert!(held(&cloud) <= 3 * HELD, "{} bytes are held", held(&cloud));
        if data.is_empty() {
            break;
        }
        all.extend(data);
    }
    assert_eq!(all.len(), SIZE + 1 + 2 * 1001);
    let mut lengths = Vec::new();
    for record in all.split_inclusive(|b| *b == b'\n') {
        let record = &record[..record.len() - 1];
        lengths.push(record.len());
        // Whose it is shows in every byte.
        let is = |id: u64| {
            let of = |(at, b): (usize, &u8)| *b == pattern(2, op::SessionId(id), at as u64);
            record.iter().enumerate().all(of)
        };
        let whose = (1..4).filter(|id| is(*id)).count();
        assert_eq!(whose, 1, "a record of {} bytes is one program's, from first to last", record.len());
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [1000, 1000, SIZE]);
}

#[test]
fn a_member_that_reads_nothing_stops_stdin_and_nothing_else() {
    let (mut cloud, who, ctl) = chain([1, 1, 2]);
    say(&mut cloud, who, ctl, "stdin robin");
    say(&mut cloud, who, ctl, "run 4 -- stuckcat 1 {rank}");
    let stdin = cloud.open(who, "net/n0/0/stdin", WRITE).unwrap();
    let line = |i: u32| format!("{i} {}\n", "x".repeat(100)).into_bytes();
    let data: Vec<u8> = (0..40_000).flat_map(line).collect();
    let (mut at, mut waits) = (0, false);
    while !waits {
        assert!(at < data.len(), "a member that takes nothing is not given all");
        let piece = data[at..(at + 100_000).min(data.len())].to_vec();
        at += piece.len();
        let tag = cloud.ask(who, Op::Write { fid: stdin, offset: 0, data: piece });
        cloud.run(Duration::from_millis(200));
        waits = cloud.reply(who, tag).is_none();
        assert!(held(&cloud) <= 4 * HELD, "{} bytes are held", held(&cloud));
    }
    let why = cloud.cat(who, "net/n0/0/info").unwrap();
    assert!(why.contains("why=stdin waits for ranks "), "who stops it is named: {why}");
    // The others' ends are known.
    let wait = cloud.open(who, "net/n0/0/wait", READ).unwrap();
    say(&mut cloud, who, ctl, "@0,2-3 kill");
    cloud.run(Duration::from_secs(1));
    let read = Op::Read { fid: wait, offset: 0, count: 10_000, wait: true };
    let Reply::Data(ends) = cloud.call(who, read) else { panic!("wait is read") };
    let text = String::from_utf8_lossy(&ends).into_owned();
    let mut ranks: Vec<&str> = text.lines().map(|line| line.rsplit_once("rank=").unwrap().1).collect();
    ranks.sort_unstable();
    assert_eq!(ranks, ["0", "2", "3"], "{text}");
    say(&mut cloud, who, ctl, "@1 kill");
    let rest = cloud.read_on(who, wait, ends.len() as u64).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("rank=1"), "and then its own");
}

#[test]
fn a_reader_that_stops_holds_nobody_up_and_no_memory() {
    const SIZE: usize = 6_000_000;
    let (mut cloud, who, ctl) = chain([1, 1, 2]);
    cloud.look_seldom();
    say(&mut cloud, who, ctl, "limit output=1M");
    say(&mut cloud, who, ctl, &format!("run 4 -- emit {SIZE} 10000 {{rank}}"));
    let fid = cloud.open(who, "net/n0/0/stdout", READ).unwrap();
    cloud.call(who, Op::Read { fid, offset: 0, count: 1000, wait: true });
    for _ in 0..100 {
        cloud.run(Duration::from_millis(50));
        assert!(held(&cloud) <= 4 * HELD, "{} bytes are held", held(&cloud));
    }
    let ends = cloud.cat(who, "net/n0/0/wait").unwrap();
    assert_eq!(ends.lines().count(), 4, "all have ended, though nobody reads: {ends}");
    let info = cloud.cat(who, "net/n0/0/info").unwrap();
    assert!(info.contains("stdout has reached `limit output`"), "why it stands still is said: {info}");
    let spool: usize = cloud.hosts[0].world.provider.written.values().map(|(spool, _)| spool.len()).sum();
    assert!(spool <= (1 << 20) + kernel::limits::FLOW, "the group's output keeps to its limit: {spool}");
    // Nothing is lost of it.
    say(&mut cloud, who, ctl, "limit output=100M");
    let all = cloud.read_on(who, fid, 0).unwrap();
    assert_eq!(all.len(), 4 * (SIZE + 1));
}

/// Reads an output on until it has so many bytes, or to its end.
fn read_until(cloud: &mut Cloud, who: Who, fid: op::Fid, all: &mut Vec<u8>, most: usize) {
    while all.len() < most {
        let read = Op::Read { fid, offset: all.len() as u64, count: 1 << 20, wait: true };
        let Reply::Data(data) = cloud.call(who, read) else { panic!("it is read") };
        if data.is_empty() {
            return;
        }
        all.extend(data);
    }
}

#[test]
fn a_node_in_the_middle_that_is_started_again_in_the_middle_of_long_records_loses_nothing() {
    const SIZE: usize = 12_000_000;
    let (mut cloud, who, ctl) = chain([0, 0, 2]);
    cloud.look_seldom();
    say(&mut cloud, who, ctl, "keep");
    say(&mut cloud, who, ctl, &format!("run 2 -- emit {SIZE} 10000"));
    let fid = cloud.open(who, "net/n0/0/stdout", READ).unwrap();
    let mut all = Vec::new();
    read_until(&mut cloud, who, fid, &mut all, SIZE / 2);
    assert!(all.len() < SIZE, "it is in the middle of one");
    // When it is started, what is below it is not back yet, and whoever is above knows no way either.
    cloud.partition(|at| at == 2);
    cloud.kill(1);
    cloud.run(Duration::from_secs(1));
    cloud.restart(1);
    cloud.run(Duration::from_secs(1));
    cloud.heal();
    read_until(&mut cloud, who, fid, &mut all, usize::MAX);
    assert_eq!(all.len(), 2 * (SIZE + 1));
    for record in all.split_inclusive(|b| *b == b'\n') {
        let is = |id: u64| {
            let of = |(at, b): (usize, &u8)| *b == pattern(2, op::SessionId(id), at as u64);
            record[..SIZE].iter().enumerate().all(of)
        };
        assert!(record.len() == SIZE + 1 && (1..3).any(is), "a record is one program's, from first to last");
    }
    let error = cloud.cat(who, "net/n0/0/error").unwrap();
    assert!(!error.contains("stage=flow"), "{error}");
}

#[test]
fn the_end_of_stdin_reaches_who_could_not_be_reached_when_it_was_said() {
    let (mut cloud, who, ctl) = chain([0, 0, 2]);
    say(&mut cloud, who, ctl, "keep");
    say(&mut cloud, who, ctl, "stdin robin");
    say(&mut cloud, who, ctl, "run 2 -- cat");
    let stdin = cloud.open(who, "net/n0/0/stdin", WRITE).unwrap();
    cloud.call(who, Op::Write { fid: stdin, offset: 0, data: b"a\nb\n".to_vec() });
    cloud.run(Duration::from_secs(1));
    cloud.partition(|at| at == 2);
    say(&mut cloud, who, ctl, "close stdin");
    cloud.run(Duration::from_millis(100));
    // What was said is in its memory.
    cloud.kill(1);
    cloud.run(Duration::from_secs(5));
    cloud.restart(1);
    cloud.heal();
    let ends = cloud.cat(who, "net/n0/0/wait").unwrap();
    assert_eq!(ends.lines().filter(|line| line.contains("exit=0")).count(), 2, "{ends}");
}

/// Without these a run has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "a cable was cut, and nobody knew",
    "a node was killed",
    "a node was stopped",
    "bytes taken by members",
    "flows of stderr",
    "flows of which members were lost",
    "flows through a program",
    "flows through faults, of which all came to the end",
    "flows with records of more than a megabyte",
    "flows without faults",
    "machines lost",
    "readers that came to the end",
    "readers that stopped",
    "records sent",
    "results that lack something, and say so",
    "writers that were cut off",
];
