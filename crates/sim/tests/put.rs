//! Contents that become files of machines: at each node of a set, each link carrying them once, and nothing held by what fails.

mod common;

use common::{bytes, called, cloud, put};
use op::{Errno, Op, Reply, Result};
use sim::{
    cloud::{
        Cloud, Plan,
        client::{BOTH, Who},
        model::SETTLED,
    },
    store::content,
};
use std::time::Duration;

/// Writes lines to a `ctl`.
fn ctl(cloud: &mut Cloud, who: Who, path: &str, lines: &str) -> Result<()> {
    let fid = cloud.open(who, path, BOTH)?;
    let reply = called(cloud, who, Op::Write { fid, offset: 0, data: lines.as_bytes().to_vec() });
    cloud.call(who, Op::Clunk { fid });
    reply.map(drop)
}

#[test]
fn a_content_becomes_a_file_at_each_node_of_a_set_and_each_link_carries_it_once() {
    let mut cloud = cloud(&[None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
    let data = bytes(3_000_000, 5);
    let what = put(&mut cloud, 3, &data);
    let who = cloud.connect(3, "ericvh");
    for round in ["one", "two"] {
        ctl(&mut cloud, who, "ctl", &format!("put {what} /tmp/{round} from=n3 mode=600\n")).unwrap();
        for host in &cloud.hosts {
            let file = host.files.get(&format!("tmp/{round}"));
            assert!(file == Some(&data[..]), "{}", host.plan.name);
        }
        let size = data.len() as u64;
        let once = [(0, 2), (1, 0), (1, 4), (2, 5), (2, 6), (3, 1)].map(|way| (way, size));
        assert_eq!(cloud.carried, once.into(), "{round}");
    }
    // One alone, and what it says when it cannot; the other lines of the write are not run then.
    ctl(&mut cloud, who, "net/n6/ctl", &format!("put {what} /tmp/three\n")).unwrap();
    assert!(cloud.hosts[6].files.get("tmp/three").is_some());
    let wrong = format!("put {what} /no/such\nput {what} /tmp/four\n");
    assert_eq!(ctl(&mut cloud, who, "net/n6/ctl", &wrong).unwrap_err().errno, Errno::NOENT);
    assert!(cloud.hosts[6].files.get("tmp/four").is_none());
    let all = ctl(&mut cloud, who, "ctl", &format!("put {what} /no/such from=n3\n")).unwrap_err();
    assert!(all.cause.contains("7 failed"), "{all}");
    let dir = ctl(&mut cloud, who, "net/n5/ctl", &format!("put {what} /tmp\n")).unwrap_err();
    assert_eq!(dir.errno, Errno::ISDIR);
    let nowhere = format!("put {} /tmp/x from=n3\n", content(b"nobody has it"));
    assert_eq!(ctl(&mut cloud, who, "net/n5/ctl", &nowhere).unwrap_err().errno, Errno::NOENT);
    cloud.check();
}

#[test]
fn a_put_that_is_given_up_or_loses_its_link_holds_nothing() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let what = put(&mut cloud, 0, &bytes(2_000_000, 6));
    let line = format!("put {what} /tmp/x from=n0\n");
    let who = cloud.connect(0, "ericvh");
    let fid = cloud.open(who, "net/n2/ctl", BOTH).unwrap();
    let tag = cloud.ask(who, Op::Write { fid, offset: 0, data: line.clone().into_bytes() });
    cloud.run(Duration::from_millis(3));
    cloud.call(who, Op::Flush { tag });
    cloud.run(SETTLED);
    cloud.check();
    assert!(cloud.hosts[2].files.get("tmp/x").is_none());
    // In its last part no newline: nobody is told, and it is done.
    let fid = cloud.open(who, "net/n2/ctl", BOTH).unwrap();
    let data = format!("put {what} /tmp/y from=n0").into_bytes();
    cloud.call(who, Op::Write { fid, offset: 0, data });
    cloud.call(who, Op::Clunk { fid });
    cloud.run(SETTLED);
    assert!(cloud.hosts[2].files.get("tmp/y").is_some());
    // The node in the middle dies while it comes.
    let other = put(&mut cloud, 0, &bytes(3_000_000, 7));
    let fid = cloud.open(who, "net/n2/ctl", BOTH).unwrap();
    let line = format!("put {other} /tmp/z from=n0\n");
    let tag = cloud.ask(who, Op::Write { fid, offset: 0, data: line.into_bytes() });
    cloud.run(Duration::from_millis(3));
    cloud.kill(1);
    cloud.run(SETTLED);
    assert!(matches!(cloud.reply(who, tag), Some(Reply::Failed(_))));
    cloud.restart(1);
    cloud.run(Duration::from_secs(30));
    cloud.check();
}

#[test]
fn a_put_waits_for_the_way_to_where_it_is_had_from() {
    let mut cloud = cloud(&[None, Some(0), Some(1)]);
    let data = bytes(3_000_000, 8);
    let what = put(&mut cloud, 2, &data);
    let who = cloud.connect(0, "ericvh");
    let fid = cloud.open(who, "net/n0/ctl", BOTH).unwrap();
    let line = format!("put {what} /tmp/x from=n2\n");
    let tag = cloud.ask(who, Op::Write { fid, offset: 0, data: line.into_bytes() });
    cloud.run(Duration::from_millis(3));
    // The node in the middle looks for it above, where it may have gone, and there it is had from the middle.
    cloud.block(1, 2);
    cloud.run(Duration::from_secs(6));
    assert!(cloud.waits(who, tag));
    cloud.heal();
    cloud.run(SETTLED);
    assert!(matches!(cloud.reply(who, tag), Some(Reply::Wrote(_))));
    assert!(cloud.hosts[0].files.get("tmp/x") == Some(&data[..]));
    cloud.check();
}

#[test]
fn who_offers_no_files_is_put_none_and_the_others_are() {
    let mut cloud = Cloud::new(1);
    cloud.add(Plan::named("n0"));
    cloud.add_below(0, Plan { fs: false, ..Plan::named("n1") });
    cloud.add_below(0, Plan::named("n2"));
    cloud.run(SETTLED);
    let what = put(&mut cloud, 2, b"hello");
    let who = cloud.connect(2, "ericvh");
    let refused = ctl(&mut cloud, who, "ctl", &format!("put {what} /tmp/x from=n2\n")).unwrap_err();
    assert!(refused.cause.contains("n1") && refused.cause.contains("uem up --fs"), "{refused}");
    for (at, has) in [(0, true), (1, false), (2, true)] {
        assert_eq!(cloud.hosts[at].files.get("tmp/x").is_some(), has, "n{at}");
    }
    cloud.check();
}
