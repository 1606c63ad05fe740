//! Clouds of many nodes, scene by scene: what a user sees of them, and what he must not.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use op::{Errno, Fid, Op, Reply};
use sim::cloud::{Cloud, Plan, faults::Cut, model::SETTLED};
use std::time::{Duration, Instant};

/// Nodes of these names; each below the one whose name stands behind a `<`.
fn cloud(nodes: &[&str]) -> Cloud {
    let mut cloud = Cloud::new(1);
    let mut names: Vec<&str> = Vec::new();
    for node in nodes {
        let (name, parent) = node.split_once(" < ").map_or((*node, None), |(name, up)| (name, Some(up)));
        match parent.map(|up| names.iter().position(|known| *known == up).unwrap()) {
            Some(parent) => cloud.add_below(parent, Plan::named(name)),
            None => cloud.add(Plan::named(name)),
        };
        names.push(name);
    }
    cloud.run(SETTLED);
    cloud
}

/// A tree of so many nodes: each has at most `fan_out` children.
fn tree(count: usize, fan_out: usize) -> Cloud {
    let mut cloud = Cloud::new(1);
    if count > 100 {
        cloud.look_seldom();
    }
    for at in 0..count {
        let plan = Plan { fs: false, ..Plan::named(&format!("n{at:03}")) };
        match at {
            0 => cloud.add(plan),
            at => cloud.add_below((at - 1) / fan_out, plan),
        };
    }
    cloud.run(SETTLED);
    cloud
}

#[test]
fn a_thousand_nodes_are_one_cloud() {
    let begun = Instant::now();
    let mut cloud = tree(1000, 10);
    assert_eq!(cloud.linked().count(), 999);
    println!("joined after {:?}, {} events", begun.elapsed(), cloud.events());
    for at in [0, 7, 999] {
        let who = cloud.connect(at, "ericvh");
        let before = cloud.events();
        let status = cloud.cat(who, "status").unwrap();
        assert_eq!(status.lines().count(), 1000);
        assert!(status.lines().all(|line| line.contains(" up ")), "everybody is up");
        // From memory: nobody is asked but those on the way up.
        assert!(cloud.events() - before < 40, "{} events for one status", cloud.events() - before);
        assert_eq!(cloud.ls(who, "net").unwrap().len(), 1000);
        assert_eq!(cloud.cat(who, "net/n555/ctl").unwrap(), "n555\n");
    }
    // A whole branch goes: it is seen as down everywhere, and comes back.
    let who = cloud.connect(0, "ericvh");
    cloud.kill(3);
    cloud.run(SETTLED);
    let status = cloud.cat(who, "status").unwrap();
    assert_eq!(status.lines().filter(|line| line.contains(" down since ")).count(), 111);
    cloud.restart(3);
    cloud.run(SETTLED);
    let status = cloud.cat(who, "status").unwrap();
    assert_eq!(status.lines().filter(|line| line.contains(" down ")).count(), 0);
    println!("all after {:?}, {} events", begun.elapsed(), cloud.events());
    cloud.check();
}

#[test]
fn a_step_that_fails_says_why_however_far_away() {
    let mut cloud = cloud(&["a", "gw < a", "b < gw", "c < gw"]);
    cloud.kill(2);
    cloud.run(SETTLED);
    for at in [0, 1, 3] {
        let who = cloud.connect(at, "ericvh");
        let error = cloud.cat(who, "net/b/wait").unwrap_err();
        assert_eq!(error.errno, Errno::HOSTUNREACH);
        assert!(error.cause.starts_with("b is down since 2009-"), "{error}");
        let error = cloud.cat(who, "net/nosuch/wait").unwrap_err();
        assert_eq!((error.errno, &*error.cause), (Errno::NOENT, "no node is called nosuch"));
        let error = cloud.cat(who, "net/c/7/wait").unwrap_err();
        assert_eq!(error.errno, Errno::NOENT);
        assert!(error.cause.starts_with("no session 7 on c"), "{error}");
    }
}

#[test]
fn a_node_that_moved_is_asked_where_it_is() {
    let mut cloud = cloud(&["root", "left < root", "right < root", "b < left", "leaf < b"]);
    cloud.move_below(3, 2);
    cloud.run(SETTLED);
    for at in 0..5 {
        let who = cloud.connect(at, "ericvh");
        assert_eq!(cloud.cat(who, "net/b/ctl").unwrap(), "b\n", "asked at {at}");
        assert_eq!(cloud.cat(who, "net/leaf/ctl").unwrap(), "leaf\n", "asked at {at}");
        // Nobody counts it as lost.
        cloud.write(who, "ctl", "kill").unwrap();
        cloud.cat(who, "wait").unwrap();
    }
    // Its old parent does not speak of it any more, even alone.
    cloud.cut(1, Cut::Reset);
    cloud.block(0, 1);
    cloud.run(SETTLED);
    let who = cloud.connect(1, "ericvh");
    assert!(!cloud.cat(who, "topology").unwrap().contains("b "));
}

#[test]
fn the_parent_keeps_its_way_to_a_child_whose_child_moves_up() {
    let mut cloud = cloud(&["root", "mid < root", "b < mid"]);
    cloud.move_below(2, 0);
    cloud.run(Duration::from_secs(1));
    let who = cloud.connect(0, "ericvh");
    for name in ["mid", "b"] {
        assert_eq!(cloud.cat(who, &format!("net/{name}/ctl")).unwrap().trim(), name);
    }
}

#[test]
fn a_gateway_that_comes_back_without_its_child_still_knows_it() {
    let mut cloud = cloud(&["root", "gw < root", "b < gw", "leaf < b"]);
    // All three at once: the gateway has nothing but its journal, and its parent knows more than that.
    for at in [3, 2, 1] {
        cloud.kill(at);
    }
    cloud.restart(1);
    cloud.run(SETTLED);
    // Alone, it still has their rows.
    cloud.block(0, 1);
    cloud.run(SETTLED);
    let who = cloud.connect(1, "ericvh");
    let status = cloud.cat(who, "status").unwrap();
    for name in ["b", "leaf"] {
        assert!(status.contains(&format!("{name} down since ")), "{status}");
    }
}

#[test]
fn a_node_that_was_renamed_is_known_by_its_new_name_after_a_restart() {
    let mut cloud = cloud(&["root", "gw < root", "b < gw"]);
    // Alone it is called as it wants; linked to the root, where that name is taken, otherwise.
    let twin = cloud.add_below(1, Plan::named("root"));
    cloud.run(SETTLED);
    cloud.kill(twin);
    cloud.kill(1);
    cloud.restart(1);
    cloud.block(0, 1);
    cloud.run(SETTLED);
    let who = cloud.connect(1, "ericvh");
    let status = cloud.cat(who, "status").unwrap();
    assert!(
        status.contains("root-") && !status.contains("\nroot down since 2009-08-05T12:00:00.000Z"),
        "{status}"
    );
}

/// What `emit` has written, over three hops, byte for byte.
fn stream(mut cloud: Cloud, size: usize, fault: impl Fn(&mut Cloud)) {
    let who = cloud.connect(0, "ericvh");
    let (id, _) = cloud.start(who, "net/c/clone", &format!("emit {size} 65536")).unwrap();
    let read = op::Access { read: true, ..op::Access::default() };
    let path = format!("net/c/{id}/stdout");
    let mut fid = cloud.open(who, &path, read).unwrap();
    let (mut all, mut faults) = (Vec::new(), 0);
    while all.len() < size {
        let op = Op::Read { fid, offset: all.len() as u64, count: 100_000, wait: true };
        match cloud.call(who, op) {
            Reply::Data(data) => {
                assert!(!data.is_empty(), "it ends at {} of {size}", all.len());
                all.extend(data);
            }
            Reply::Failed(error) => {
                // Gone with its link: opened again when there is a way, and read on from where it was.
                assert!(matches!(error.errno, Errno::HOSTUNREACH | Errno::STALE), "{error}");
                cloud.call(who, Op::Clunk { fid });
                cloud.run(SETTLED);
                fid = cloud.open(who, &path, read).unwrap();
            }
            reply => panic!("{reply:?}"),
        }
        if all.len() > (faults + 1) * size / 5 {
            faults += 1;
            fault(&mut cloud);
        }
    }
    assert!(faults >= 4);
    assert_eq!(
        cloud.call(who, Op::Read { fid, offset: size as u64, count: 1, wait: true }),
        Reply::Data(vec![])
    );
    assert!(all == cloud.written(3, id.parse().unwrap()), "every byte as it was written");
    cloud.hang_up_all();
    cloud.run(SETTLED);
    cloud.check_no_fids();
}

const CHAIN: [&str; 5] = ["a", "gw < a", "hub < gw", "c < hub", "other < gw"];

#[test]
fn eight_megabytes_come_over_three_hops_whatever_happens_elsewhere() {
    stream(cloud(&CHAIN), 8 << 20, |cloud| {
        // Another branch comes and goes, and a node on the way has a short rest.
        if cloud.is_up(4) {
            cloud.kill(4)
        } else {
            cloud.restart(4)
        }
        cloud.freeze(1);
        cloud.run(Duration::from_secs(1));
        cloud.thaw(1);
    });
}

#[test]
fn eight_megabytes_come_over_links_that_break() {
    stream(cloud(&CHAIN), 8 << 20, |cloud| {
        cloud.cut(2, Cut::Reset);
        cloud.run(Duration::from_millis(1));
    });
    stream(cloud(&CHAIN), 1 << 20, |cloud| {
        cloud.kill(1);
        cloud.restart(1);
    });
}

#[test]
fn a_command_to_the_cloud_reaches_whom_it_can_and_counts_the_others() {
    let mut cloud = cloud(&["root", "gw < root", "b < gw", "c < gw", "d < root", "e < d"]);
    let who = cloud.connect(4, "ericvh");
    for at in ["root", "gw", "b", "c", "d", "e"] {
        cloud.start(who, &format!("net/{at}/clone"), "daemon").unwrap();
    }
    cloud.kill(1);
    cloud.run(SETTLED);
    let error = cloud.write(who, "ctl", "kill\n").unwrap_err();
    assert_eq!(error.errno, Errno::HOSTUNREACH);
    assert!(error.cause.contains("gw is down since"), "{error}");
    cloud.run(SETTLED);
    let ended =
        |cloud: &Cloud, at: usize| cloud.hosts[at].world.provider.programs[&op::SessionId(0)].exit.is_some();
    assert_eq!([0, 1, 2, 3, 4, 5].map(|at| ended(&cloud, at)), [true, false, false, false, true, true]);
    // When the gateway is back, so are they; and then each end is named once.
    cloud.restart(1);
    cloud.run(SETTLED);
    cloud.write(who, "ctl", "kill\n").unwrap();
    let mut said: Vec<String> = cloud.cat(who, "wait").unwrap().lines().map(String::from).collect();
    said.sort();
    let named: Vec<&str> = said.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(named, ["b/0", "c/0", "d/0", "e/0", "gw/0", "root/0"]);
}

#[test]
fn a_walk_that_goes_round_comes_to_an_end() {
    let mut cloud = cloud(&["a", "b < a"]);
    // A client of plain 9P is in the same directory again after `.../net`. From below, of a node that only the parent knows, each round
    // is a longer name.
    let who = cloud.connect_plain(1, "ericvh");
    let fid = cloud.new_fid(who);
    let walk = |from: Fid, steps: &[&str]| Op::Walk {
        fid: from,
        newfid: fid,
        names: steps.iter().map(|step| (*step).into()).collect(),
    };
    assert!(matches!(cloud.call(who, walk(Fid(0), &["net", "a"])), Reply::Walked(_)));
    for (done, step) in ["...", "net", "...", "tree"].iter().cycle().enumerate().take(4000) {
        let before = cloud.events();
        match cloud.call(who, walk(fid, &[step])) {
            Reply::Failed(error) => {
                assert_eq!((done, error.errno), (510, Errno::NAMETOOLONG), "{error}");
                // What it has it can still use.
                assert!(matches!(cloud.call(who, Op::Stat { fid }), Reply::Stat(_)));
                cloud.hang_up(who);
                cloud.run(SETTLED);
                cloud.check();
                cloud.check_no_fids();
                return;
            }
            reply => assert!(matches!(reply, Reply::Walked(_)), "{reply:?}"),
        }
        // A step costs no more the longer the name is.
        assert!(cloud.events() - before < 10, "{} events for the {done}th step", cloud.events() - before);
    }
    panic!("it goes round for ever");
}
