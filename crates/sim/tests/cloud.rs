//! Clouds of many nodes, scene by scene: what a user sees of them, and what he must not.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use op::Errno;
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
