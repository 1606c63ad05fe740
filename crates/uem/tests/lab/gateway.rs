//! The gateway dies and comes back: it is said in time, and nothing that ran beyond it is lost.

use crate::ended::eventually;
use crate::host::{BEAT, BEAT_MS, Host, Lab};
use crate::three::joined;
use std::time::{Duration, Instant};

/// Two heartbeats, and what a busy machine takes besides.
const TWO_BEATS: Duration = Duration::from_millis(2 * BEAT_MS + 2500);

const HUNDRED: &str = "uem run --on b -- sh -c 'for i in $(seq 100); do echo $i; sleep .1; done'";

fn hundred() -> String {
    (1..=100).map(|n| format!("{n}\n")).collect()
}

/// The one session that runs there.
fn session(from: &Host, node: &str) -> String {
    let mut id = String::new();
    eventually("a session runs", || {
        let ps = from.sh(&format!("uem ps --on {node} --json")).out;
        let records = ps.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut running = records.filter(|record| record["state"] == "running");
        let path = running.next().map(|record| record["path"].as_str().unwrap().to_string());
        id = path.unwrap_or_default().trim_start_matches("net/").into();
        !id.is_empty()
    });
    id
}

#[test]
fn a_gateway_whose_daemon_is_killed_is_missed_and_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, _b]) = joined(&lab, "");
    let running = a.start(HUNDRED);
    running.says("5\n");
    let id = session(&a, "b");
    let node = g.node();
    g.signal(node, "KILL");
    let took = running.complains("g", TWO_BEATS);
    let ended = running.ended();
    assert_eq!(ended.status, 125, "{}", ended.err);
    assert!(ended.err.contains(&format!("uem logs {id}")), "{}", ended.err);
    assert!(hundred().starts_with(&ended.out), "{:?}", ended.out);
    println!("said after {took:?}: {}", ended.err);
    // Its keeper starts it again, and both find it.
    a.sees("b", "up");
    assert_ne!(g.node(), node);
    assert_eq!(a.ok(&format!("uem logs --follow {id}")), hundred());
    assert_eq!(a.sh(&format!("uem wait {id}")).status, 0);
}

#[test]
fn a_gateway_that_is_gone_for_long_leaves_no_gap() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, b]) = joined(&lab, "");
    let running = a.start(HUNDRED);
    running.says("5\n");
    let id = session(&a, "b");
    let (node, begun) = (g.node(), Instant::now());
    let keeper = g.keeper_of(node);
    g.ok(&format!("kill -KILL {keeper} {node}"));
    running.complains("g", TWO_BEATS);
    assert_eq!(running.ended().status, 125);
    // Nobody waits for what cannot come.
    a.sees("g", "down");
    b.sees("g", "down");
    let asked = Instant::now();
    let missed = a.sh(&format!("uem logs {id}"));
    assert_eq!(missed.status, 125, "{}", missed.out);
    assert!(asked.elapsed() < TWO_BEATS, "{:?}", asked.elapsed());
    assert!(missed.err.contains('g'), "{}", missed.err);
    // Beyond, nothing has happened.
    let number = id.trim_start_matches("b/");
    assert_eq!(
        b.info(&format!("self/{number}/info.json"), "state"),
        "running",
        "after {:?}",
        begun.elapsed()
    );
    // It is told nothing: not where it listened, not whose child it was.
    g.ok(&format!("uem up --no-mount --beat {BEAT}"));
    a.sees("b", "up");
    b.sees("a", "up");
    assert_eq!(a.ok(&format!("uem logs --follow {id}")), hundred());
}
