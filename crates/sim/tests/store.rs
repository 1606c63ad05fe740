//! Contents on their way through a cloud: each link carries each once, what is started has what it was given, and what is
//! wrong is never run.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod common;

use common::{bytes, called, cloud, put, write};
use op::{Access, Content, Errno, Op, Reply, Result};
use sim::{
    cloud::{
        Cloud,
        client::{BOTH, Who},
        faults::Cut,
        model::SETTLED,
    },
    store::content,
};
use std::time::Duration;

/// Starts a program at a node that is given a content as `prog`.
fn start(cloud: &mut Cloud, who: Who, node: &str, what: Content, from: &str) -> Result<()> {
    let fid = cloud.open(who, &format!("net/{node}/clone"), BOTH)?;
    let text = format!("keep\nns put {what} prog from={from}\nexec ./prog\n");
    let reply = called(cloud, who, Op::Write { fid, offset: 0, data: text.into_bytes() });
    cloud.call(who, Op::Clunk { fid });
    reply.map(drop)
}

fn info(cloud: &mut Cloud, at: usize, key: &str) -> String {
    let who = cloud.connect(at, "root");
    let info = cloud.cat(who, "self/info").unwrap();
    cloud.hang_up(who);
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).map(String::from);
    line.unwrap_or_else(|| panic!("{key} is in info: {info}"))
}

#[test]
fn each_link_carries_a_content_once_and_the_second_time_not_at_all() {
    // Two levels below the top, two branches; the content is at a leaf of one.
    let mut cloud = cloud(&[None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
    let data = bytes(3_000_000, 1);
    let what = put(&mut cloud, 3, &data);
    for round in 0..2 {
        for at in [5, 6, 4, 0, 3] {
            let who = cloud.connect(3, "ericvh");
            start(&mut cloud, who, &format!("n{at}"), what, "n3").unwrap();
        }
        let size = data.len() as u64;
        let carried: Vec<((usize, usize), u64)> = cloud.carried.iter().map(|(way, n)| (*way, *n)).collect();
        let once = [(0, 2), (1, 0), (1, 4), (2, 5), (2, 6), (3, 1)].map(|way| (way, size));
        assert_eq!(carried, once, "round {round}");
        assert_eq!(info(&mut cloud, 2, "store_got"), size.to_string());
        assert_eq!(info(&mut cloud, 2, "store_given"), (2 * size).to_string());
    }
    for host in &cloud.hosts {
        assert!(host.world.store.whole(what), "{} keeps it", host.plan.name);
    }
    cloud.check();
}

#[test]
fn sixty_four_sessions_at_once_wait_for_one() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let data = bytes(2_000_000, 2);
    let what = put(&mut cloud, 0, &data);
    let mut asked = Vec::new();
    for _ in 0..64 {
        let who = cloud.connect(0, "ericvh");
        let fid = cloud.open(who, "net/n2/clone", BOTH).unwrap();
        let text = format!("ns put {what} prog from=n0\nexec ./prog\n");
        asked.push((who, cloud.ask(who, Op::Write { fid, offset: 0, data: text.into_bytes() })));
    }
    cloud.run(Duration::from_secs(20));
    for (who, tag) in asked {
        assert!(matches!(cloud.reply(who, tag), Some(Reply::Wrote(_))));
    }
    assert_eq!(cloud.carried, [((0, 1), 2_000_000), ((1, 2), 2_000_000)].into());
    assert_eq!(info(&mut cloud, 2, "running"), "64");
    cloud.check();
}

#[test]
fn it_is_passed_on_while_it_comes() {
    let mut cloud = cloud(&[None, Some(0), Some(1), Some(2), Some(3)]);
    // Each link takes 20 ms: one after the other, whole, would take four times as long as one.
    let data = bytes(16 << 20, 3);
    let what = put(&mut cloud, 0, &data);
    (1..5).for_each(|child| cloud.delay(child, Duration::from_millis(20)));
    let mut took = Vec::new();
    for node in ["n1", "n4"] {
        let who = cloud.connect(0, "ericvh");
        let begun = cloud.clock.mono;
        start(&mut cloud, who, node, what, "n0").unwrap();
        took.push(cloud.clock.mono.since(begun));
        if node == "n1" {
            // The next run begins with nothing.
            cloud.kill(1);
            cloud.hosts[1].world.store = sim::store::Store::default();
            cloud.restart(1);
            cloud.run(SETTLED);
            (1..5).for_each(|child| cloud.delay(child, Duration::from_millis(20)));
        }
    }
    assert!(took[1] < took[0] * 5 / 2, "four links in a row take {:?}, and one {:?}", took[1], took[0]);
}

#[test]
fn a_link_that_breaks_in_the_middle_is_gone_on_over_when_it_is_back() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let data = bytes(8 << 20, 4);
    let what = put(&mut cloud, 0, &data);
    let who = cloud.connect(2, "ericvh");
    let fid = cloud.open(who, "self/clone", BOTH).unwrap();
    let text = format!("keep\nns put {what} prog from=n0\nexec ./prog\n");
    let tag = cloud.ask(who, Op::Write { fid, offset: 0, data: text.into_bytes() });
    let until = cloud.clock.mono + Duration::from_secs(10);
    while cloud.hosts[1].world.store.bytes() < 3 << 20 {
        assert!(cloud.step(until), "it comes");
    }
    let got = cloud.hosts[1].world.store.bytes();
    cloud.cut(1, Cut::Reset);
    cloud.run(Duration::from_millis(500));
    assert!(cloud.waits(who, tag), "it is waited for");
    cloud.run(Duration::from_secs(20));
    assert!(matches!(cloud.reply(who, tag), Some(Reply::Wrote(_))), "it has started");
    let again = cloud.carried[&(0, 1)] - (8 << 20);
    assert!(again <= 4 << 20, "what was there is not sent again: {got} were there, {again} came twice");
    assert!(cloud.hosts[2].world.store.whole(what));
    // The other link never broke.
    assert_eq!(cloud.carried[&(1, 2)], 8 << 20);
    cloud.hang_up_all();
    cloud.run(SETTLED);
    cloud.check();
}

#[test]
fn why_says_what_a_session_waits_for() {
    let mut cloud = cloud(&[None, Some(0)]);
    let data = bytes(8 << 20, 5);
    let what = put(&mut cloud, 0, &data);
    let who = cloud.connect(1, "ericvh");
    let fid = cloud.open(who, "self/clone", BOTH).unwrap();
    let text = format!("ns put {what} prog from=n0\nexec ./prog\n");
    let tag = cloud.ask(who, Op::Write { fid, offset: 0, data: text.into_bytes() });
    let until = cloud.clock.mono + Duration::from_secs(10);
    while cloud.hosts[1].world.store.bytes() < 2 << 20 {
        assert!(cloud.step(until), "it comes");
    }
    cloud.block(0, 1);
    cloud.run(Duration::from_secs(4));
    let other = cloud.connect(1, "ericvh");
    let why = cloud.cat(other, "self/0/info").unwrap();
    let why = why.lines().find(|line| line.starts_with("why=")).unwrap().to_string();
    assert!(
        why.starts_with("why=waiting for contents: ") && why.contains(" of 8M of prog from n0 ("),
        "{why}"
    );
    assert!(why.contains("it is tried again"), "{why}");
    // Nobody has to wait for ever: neither who gives up …
    let kill = cloud.open(other, "self/0/ctl", BOTH).unwrap();
    assert!(cloud.waits(who, tag));
    cloud.hang_up(who);
    let _ = called(&mut cloud, other, Op::Write { fid: kill, offset: 0, data: b"free\n".to_vec() });
    cloud.run(Duration::from_secs(30));
    // … nor who waits on.
    let error = start(&mut cloud, other, "n1", what, "n0").unwrap_err();
    assert_eq!(error.errno, Errno::HOSTUNREACH);
    assert!(error.cause.contains("put prog") && error.cause.contains("n0"), "{error}");
    cloud.check();
}

#[test]
fn what_is_not_what_its_name_says_is_not_kept_and_not_run() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let (data, other) = (bytes(550_000, 6), bytes(550_000, 7));
    let who = cloud.connect(0, "ericvh");
    let error = write(&mut cloud, who, "self/store", content(&data), &other).unwrap_err();
    assert_eq!(error.errno, Errno::BADMSG);
    let error = write(&mut cloud, who, "self/store", content(&data), &bytes(600_000, 6)).unwrap_err();
    assert_eq!(error.errno, Errno::FBIG);
    // Half of it is nothing.
    let alice = cloud.connect(0, "alice");
    write(&mut cloud, who, "self/store", content(&data), &data[..300_000]).unwrap();
    assert_eq!(cloud.hosts[0].world.store.bytes(), 0);
    assert_eq!(
        cloud.ls(alice, "self/store").map_err(|e| e.errno),
        Err(Errno::ACCES),
        "it is the owner's to list"
    );
    // A node whose disk has changed it sends something else: nobody runs that.
    let what = put(&mut cloud, 0, &data);
    cloud.hosts[0].world.store.spoil(what);
    let error = start(&mut cloud, who, "n2", what, "n0").unwrap_err();
    assert!(matches!(error.errno, Errno::BADMSG | Errno::IO) && error.cause.contains("put prog"), "{error}");
    for at in [1, 2] {
        assert_eq!(cloud.hosts[at].world.store.bytes(), 0, "n{at} keeps nothing");
        assert_eq!(info(&mut cloud, at, "running"), "0");
    }
}

#[test]
fn what_nobody_has_is_refused_with_the_node_that_does_not_have_it() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let what = content(b"never put");
    let who = cloud.connect(2, "ericvh");
    for (from, errno, says) in [
        ("n0", Errno::NOENT, "it cannot be had from n0: n0 does not have it"),
        ("n2", Errno::NOENT, "n2 does not have it (any more)"),
        ("nosuch", Errno::NOENT, "no node is called nosuch"),
    ] {
        let error = start(&mut cloud, who, "n2", what, from).unwrap_err();
        assert_eq!(error.errno, errno, "{error}");
        assert!(error.cause.contains(says), "{error}");
    }
    let error = start(&mut cloud, who, "n2", what, "n0\nns bind /a /b").unwrap_err();
    assert!(error.cause.contains("known is put HASH-SIZE NAME [from=NODE]"), "{error}");
    cloud.check();
}

#[test]
fn a_store_lets_go_what_was_used_longest_ago_and_nothing_that_is_in_use() {
    let mut cloud = cloud(&[None, Some(0)]);
    // The store of a simulated node takes a gibibyte.
    let size = 300 << 20;
    let named = |seed: u8| Content { hash: [seed; 32], size };
    let who = cloud.connect(0, "ericvh");
    let begin = |cloud: &mut Cloud, seed: u8| -> Result<op::Fid> {
        let fid = cloud.walk(who, "self/store")?;
        let access = Access { write: true, ..Access::default() };
        let made = called(cloud, who, Op::Create { fid, name: named(seed).to_string(), mode: 0o644, access });
        made.map(|_| fid)
    };
    let held: Vec<op::Fid> = (1..=3).map(|seed| begin(&mut cloud, seed).unwrap()).collect();
    let error = begin(&mut cloud, 4).unwrap_err();
    assert_eq!(error.errno, Errno::NOSPC);
    assert!(error.cause.contains("900M of 1G are in use"), "{error}");
    cloud.call(who, Op::Clunk { fid: held[0] });
    begin(&mut cloud, 4).unwrap();
    cloud.check();
    cloud.check();
}

#[test]
fn contents_are_there_after_a_restart_and_half_ones_are_not() {
    let mut cloud = cloud(&[None, Some(0)]);
    let (one, two) = (bytes(500_000, 8), bytes(8 << 20, 9));
    let (one, two) = (put(&mut cloud, 0, &one), put(&mut cloud, 0, &two));
    let who = cloud.connect(0, "ericvh");
    start(&mut cloud, who, "n1", one, "n0").unwrap();
    let fid = cloud.open(who, "net/n1/clone", BOTH).unwrap();
    let text = format!("keep\nns put {two} prog from=n0\nexec ./prog\n");
    cloud.ask(who, Op::Write { fid, offset: 0, data: text.into_bytes() });
    let until = cloud.clock.mono + Duration::from_secs(10);
    while cloud.hosts[1].world.store.bytes() < 2 << 20 {
        assert!(cloud.step(until), "it comes");
    }
    cloud.kill(1);
    cloud.restart(1);
    cloud.run(SETTLED);
    assert_eq!(cloud.hosts[1].world.store.bytes(), 500_000);
    assert_eq!(info(&mut cloud, 1, "running"), "1", "the one that had begun");
    let before = cloud.carried[&(0, 1)];
    start(&mut cloud, who, "n1", one, "n0").unwrap();
    assert_eq!(cloud.carried[&(0, 1)], before, "it was there");
    start(&mut cloud, who, "n1", two, "n0").unwrap();
    cloud.check();
}

#[test]
fn the_same_content_from_both_ends_at_once_meets_in_the_middle() {
    // n1 and n2 have it; the nodes between them are told to take it from the far end each.
    let mut cloud = cloud(&[None, Some(0), Some(1), Some(0), Some(3)]);
    let data = bytes(3_000_000, 10);
    let what = put(&mut cloud, 2, &data);
    put(&mut cloud, 4, &data);
    let mut asked = Vec::new();
    for (at, from) in [(1, "n4"), (3, "n2")] {
        let who = cloud.connect(at, "ericvh");
        let fid = cloud.open(who, "self/clone", BOTH).unwrap();
        let text = format!("ns put {what} prog from={from}\nexec ./prog\n");
        asked.push((who, cloud.ask(who, Op::Write { fid, offset: 0, data: text.into_bytes() })));
    }
    cloud.run(Duration::from_secs(40));
    for (who, tag) in asked {
        let reply = cloud.reply(who, tag);
        assert!(matches!(reply, Some(Reply::Wrote(_))), "{reply:?}");
    }
    cloud.hang_up_all();
    cloud.run(SETTLED);
    cloud.check();
}

#[test]
fn every_member_of_a_group_is_given_what_the_group_is_given() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let data = bytes(1_000_000, 11);
    let what = put(&mut cloud, 0, &data);
    let who = cloud.connect(0, "ericvh");
    let fid = cloud.open(who, "self/clone", BOTH).unwrap();
    let text = format!("keep\nns put {what} prog from=n0\nrun 6 -- ./prog\n");
    called(&mut cloud, who, Op::Write { fid, offset: 0, data: text.into_bytes() }).unwrap();
    cloud.run(Duration::from_secs(10));
    for at in 0..3 {
        assert!(cloud.hosts[at].world.store.whole(what), "n{at} has it");
        assert_eq!(info(&mut cloud, at, "running"), "2", "n{at}");
        let given =
            cloud.hosts[at].world.provider.programs.values().filter(|p| p.launch.puts.len() == 1).count();
        assert_eq!(given, 2, "n{at}");
    }
    assert_eq!(
        (info(&mut cloud, 1, "store_got"), info(&mut cloud, 2, "store_got")),
        ("1000000".into(), "1000000".into())
    );
    cloud.check();
}
