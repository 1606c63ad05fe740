//! Waiting for a node that matches, and numbers that mean the same meanwhile.

use super::{Quiet, READ, sessions};
use crate::cloud::{
    Cloud,
    client::{BOTH, Who},
    labels::Labels,
    model::SETTLED,
};
use op::{Fid, Op, Reply};
use std::{collections::BTreeMap, time::Duration};

/// `await`: who waits for what is not there waits; is let go by a flush; and is answered when a node gets the label, or comes with
/// it. Numbers of a query that is in use mean the same before and after.
pub(super) fn wait_for(cloud: &mut Cloud, labels: &mut Labels, quiet: &Quiet) {
    let any = |cloud: &mut Cloud| {
        let all: Vec<usize> = quiet.nodes.keys().copied().collect();
        all[cloud.rng.usize(0..all.len())]
    };
    let (from, to) = (any(cloud), any(cloud));
    let word = format!("w{}", cloud.clock.mono.0);
    let line = format!("label colour={word}\n");
    labels.passing(to, "colour", &word);
    let own = |cloud: &mut Cloud, line: &str| {
        let root = cloud.connect(to, "root");
        cloud.write(root, "self/ctl", line).expect("root labels its own node");
        cloud.hang_up(root);
    };
    // It is known, and gone.
    let leaf = quiet.nodes.keys().all(|at| cloud.parent(*at) != Some(to));
    let joins = from != to && leaf && cloud.parent(to).is_some() && cloud.rng.bool();
    let who = cloud.connect(from, "ericvh");
    let held = cloud.walk(who, "query/x86").expect("every node is one");
    let numbers = numbered(cloud, who, held);
    if joins {
        own(cloud, &line);
        cloud.run(SETTLED);
        cloud.kill(to);
    }
    cloud.run(SETTLED);
    let file = ["topology", "status", "info", "clone"][cloud.rng.usize(0..4)];
    let path = format!("await/colour={word}/{file}");
    let fid = cloud.walk(who, &path).expect("what is waited for is walked to");
    let before = sessions(cloud);
    let access = if file == "clone" { BOTH } else { READ };
    let tag = cloud.ask(who, Op::Open { fid, access });
    cloud.run(SETTLED);
    assert_eq!(cloud.reply(who, tag), None, "{path}: nothing matches");
    let flush = cloud.call(who, Op::Flush { tag });
    assert_eq!((flush, cloud.reply(who, tag)), (Reply::Done, None), "{path}: it is let go");
    // The fid is as it was: not open.
    let tag = cloud.ask(who, Op::Open { fid, access });
    cloud.run(Duration::from_secs(1));
    assert_eq!(cloud.reply(who, tag), None, "{path}: nothing matches yet");
    let more = sessions(cloud).into_iter().zip(before).any(|(now, before)| now > before);
    assert!(!more, "{path}: and nothing is allocated");
    match joins {
        true => cloud.restart(to),
        false => own(cloud, &line),
    }
    cloud.run(SETTLED);
    let reply = cloud.reply(who, tag);
    assert!(matches!(reply, Some(Reply::Opened(..))), "{path}, asked at {from}: {to} matches: {reply:?}");
    assert_eq!(numbered(cloud, who, held), numbers, "numbers mean the same as long as the query is in use");
    cloud.counters.count(if joins { "waits for a node that joined" } else { "waits for a label" });
    let back = labels.of(to, "colour").surely.clone().unwrap_or_default();
    own(cloud, &format!("label colour={back}\n"));
    cloud.hang_up(who);
    cloud.run(SETTLED);
}

/// What the numbers in a query's directory lead to.
fn numbered(cloud: &mut Cloud, who: Who, held: Fid) -> BTreeMap<String, String> {
    let dir = cloud.new_fid(who);
    cloud.call(who, Op::Walk { fid: held, newfid: dir, names: vec![] });
    cloud.call(who, Op::Open { fid: dir, access: READ });
    let Reply::Listed(entries) = cloud.call(who, Op::List { fid: dir, cookie: 0, count: 1000 }) else {
        panic!("a query is listed")
    };
    cloud.call(who, Op::Clunk { fid: dir });
    let mut all = BTreeMap::new();
    for name in entries.into_iter().map(|entry| entry.stat.name).filter(|name| name.parse::<u32>().is_ok()) {
        let fid = cloud.new_fid(who);
        cloud.call(who, Op::Walk { fid: held, newfid: fid, names: vec![name.clone()] });
        let Reply::Linked(to) = cloud.call(who, Op::ReadLink { fid }) else { panic!("{name} is a link") };
        cloud.call(who, Op::Clunk { fid });
        all.insert(name, to);
    }
    all
}
