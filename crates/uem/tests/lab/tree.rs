//! Who belongs to the tree: names, drains, leaving, circles, certificates taken back.

use crate::ended::eventually;
use crate::host::{BEAT, Lab};
use crate::three::joined;

#[test]
fn a_drained_node_starts_nothing_new_until_it_resumes() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, _g, b]) = joined(&lab, "");
    let running = a.start("uem run --on b -- sh -c 'echo on; sleep 2; echo off'");
    running.says("on\n");
    a.ok("uem write net/b/ctl drain");
    eventually("a knows", || a.row("b").ends_with(", drained"));
    let refused = a.sh("uem run --on b -- true");
    assert!(refused.status == 125 && refused.err.contains("drain"), "{}", refused.err);
    a.ok("uem write net/b/ctl resume");
    eventually("a knows", || !a.row("b").ends_with(", drained"));
    assert_eq!(a.ok("uem run --on b -- hostname"), "b\n");
    assert_eq!(running.ended().out, "on\noff\n", "what ran went on");
    drop(b);
}

#[test]
fn a_node_that_leaves_is_gone_and_goes_on_alone() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, b]) = joined(&lab, "");
    let id = b.ok("uem run --detach -- sleep 1000");
    b.ok("uem leave");
    eventually("its row goes", || a.row("b").is_empty() && g.row("b").is_empty());
    assert_eq!(a.ok("uem ls net"), "a\ng\n");
    assert_eq!(b.ok("uem ls net"), "b\n");
    assert!(b.ok("uem ps").contains("sleep 1000"), "{id}");
    // Nor does it come back by itself.
    b.ok(&format!("uem down --keep && uem up --no-mount --beat {BEAT}"));
    assert_eq!(b.info("self/info.json", "parent"), "null");
    assert_eq!(a.ok("uem ls net"), "a\ng\n");
}

#[test]
fn a_node_that_will_not_come_back_can_be_forgotten() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, b]) = joined(&lab, "");
    b.ok("uem down");
    a.sees("b", "down");
    a.ok("uem leave b");
    eventually("its row goes", || a.row("b").is_empty() && g.row("b").is_empty());
}

#[test]
fn a_second_node_of_a_name_gets_digits_of_its_id() {
    let Some(lab) = Lab::new() else { return };
    let ([left, _right], [a, g, _b]) = joined(&lab, "");
    let c = lab.host("c", &[&left]);
    c.ok(&format!("uem join --no-mount --beat {BEAT} --name b '{}' {}", g.link(1), g.invite()));
    let mut names = Vec::new();
    eventually("it has another name", || {
        names = a.ok("uem ls net").lines().map(String::from).collect();
        names.len() == 4 && names.iter().filter(|name| name.starts_with("b-")).count() == 1
    });
    let given = names.iter().find(|name| name.starts_with("b-")).unwrap();
    assert!(given.len() == 6, "{given}");
    assert_eq!(a.ok(&format!("uem run --on {given} -- hostname")), "c\n");
    assert_eq!(a.ok("uem run --on b -- hostname"), "b\n");
    eventually("it knows", || &c.info("self/info.json", "node") == given);
}

#[test]
fn a_circle_is_refused_with_a_sentence() {
    let Some(lab) = Lab::new() else { return };
    let ([_left, _right], [a, g, b]) = joined(&lab, "");
    // a is below g, and now g is to be below a.
    a.ok(&format!("uem down && uem up --no-mount --beat {BEAT} --link 'tls!*!0'"));
    g.sees("a", "up");
    g.ok(&format!("uem down --keep && uem up --no-mount --beat {BEAT} --parent '{}'", a.link(1)));
    a.sees("g", "up");
    let mut said = String::new();
    eventually("it is said", || {
        said = g.cat("self/info") + &a.cat("self/info");
        said.lines().any(|line| {
            line.starts_with("seeking=")
                && (line.contains("below") || line.contains("circle") || line.contains("loop"))
        })
    });
    println!("{}", said.lines().filter(|line| line.starts_with("seeking=")).collect::<Vec<_>>().join("\n"));
    // However that ends, there is one tree.
    eventually("all see all", || {
        [&a, &b].iter().all(|host| {
            let status = host.sh("uem cat status").out;
            status.lines().filter(|row| row.contains(" up ")).count() == 3
        })
    });
}

#[test]
fn a_certificate_that_is_taken_back_ends_open_links() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, b]) = joined(&lab, "");
    let running = a.start("uem run --on b -- sleep 1000");
    eventually("it runs", || a.sh("uem ps --on b").out.contains("sleep 1000"));
    g.ok("uem revoke b");
    let ended = running.ended();
    assert!(ended.status == 125 && ended.err.contains("revoked"), "{}", ended.err);
    a.sees("b", "down");
    let mut seeking = String::new();
    eventually("b is told", || {
        seeking = b.info("self/info.json", "seeking");
        seeking.contains("revoked")
    });
    println!("{seeking}");
    assert_eq!(a.ok("uem run --on g -- hostname"), "g\n");
}

/// A keeper without programs ends as well: whoever comes meanwhile is not told that it does not answer.
#[test]
fn a_node_that_goes_down_comes_up_at_once() {
    let Some(lab) = Lab::new() else { return };
    let wire = lab.segment(1);
    let a = lab.host("a", &[&wire]);
    a.up("");
    for down in ["down", "down --keep"].iter().cycle().take(30) {
        a.ok(&format!("uem {down} && uem up --no-mount"));
    }
}
