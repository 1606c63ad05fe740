//! Nodes that die, are stopped and come back: what the command says of it.

use crate::cloud::Cloud;
use crate::home::{Home, eventually, signal, status};
use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

/// Two heartbeats of these nodes, and what a busy machine may take besides.
const SOON: Duration = Duration::from_millis(400 + 2000);
const HUNDRED: &str = "for i in $(seq 100); do echo $i; sleep 0.02; done";

/// A process that is stopped until this is dropped, also by a test that fails: a stopped node cannot be told to go.
struct Stopped(u32);

impl Stopped {
    fn stop(pid: u32) -> Stopped {
        signal(pid, "STOP");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// A program on b that writes a hundred lines, and has begun.
fn hundred(cloud: &Cloud) -> Child {
    let mut child = cloud.a.uem(&["run", "--on", "b", "--", "sh", "-c", HUNDRED]).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"1\n");
    child
}

/// It says soon that it is cut off, and by whom.
fn is_cut_off(mut child: Child, from: Instant, gone: &str) {
    let code = status(&mut child);
    let late = from.elapsed();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(code, 125, "{said}");
    assert!(said.contains(gone) && said.contains("uem logs b/0"), "{said}");
    assert!(late < SOON, "{late:?}");
}

/// All that the program wrote is found again.
fn all_lines(home: &Home) {
    let all: String = (1..=100).map(|line| format!("{line}\n")).collect();
    eventually("all hundred lines are there", || home.run(&["logs", "b/0"]).out == all);
    assert_eq!(home.run(&["wait", "b/0"]).status, 0);
}

#[test]
fn a_gateway_that_is_killed_is_named_and_its_sessions_are_found_again() {
    let cloud = Cloud::up();
    let child = hundred(&cloud);
    let from = Instant::now();
    signal(cloud.gw.pid(), "KILL");
    is_cut_off(child, from, "gw");
    all_lines(&cloud.a);
}

#[test]
fn a_gateway_that_is_silent_is_given_up_after_two_heartbeats() {
    let cloud = Cloud::up();
    let child = hundred(&cloud);
    let gw = cloud.gw.pid();
    let from = Instant::now();
    let stopped = Stopped::stop(gw);
    is_cut_off(child, from, "gw");
    let row = cloud.a.run(&["status"]).out;
    assert!(row.contains("gw down since"), "{row}");
    let refused = Instant::now();
    assert_eq!(cloud.a.run(&["run", "--on", "b", "true"]).status, 125);
    assert!(refused.elapsed() < SOON, "nothing waits for who is down");
    drop(stopped);
    all_lines(&cloud.a);
}

#[test]
fn a_node_that_is_down_has_a_row_until_it_is_back_or_forgotten() {
    let cloud = Cloud::up();
    let id = cloud.b.run(&["run", "--detach", "sleep", "60"]).out;
    assert_eq!(cloud.b.run(&["down", "--keep"]).status, 0);
    eventually("its row says down", || cloud.a.run(&["status"]).out.contains("b down since"));
    let ps = cloud.a.run(&["ps"]).out;
    assert!(ps.lines().any(|line| line.starts_with("b   down ")), "{ps}");
    let json = cloud.a.run(&["ps", "--json"]).out;
    assert!(json.contains(r#""state":"down""#), "{json}");
    let logs = cloud.a.run(&["logs", id.trim()]);
    assert!(logs.status == 125 && logs.err.contains("b is down since"), "{}", logs.err);
    let up = cloud.b.run(&["up", "--no-mount", "--beat", "0.2"]);
    assert!(up.out.starts_with("up: b, "), "it is called what it was called: {}{}", up.out, up.err);
    eventually("it is back", || cloud.a.run(&["ps"]).out.contains("sleep 60"));
    assert_eq!(cloud.a.run(&["kill", id.trim(), "KILL"]).status, 0);
    assert_eq!(cloud.b.run(&["down"]).status, 0);
    eventually("its row says down again", || cloud.a.run(&["status"]).out.contains("b down since"));
    assert_eq!(cloud.gw.run(&["leave", "b"]).status, 0);
    eventually("it is forgotten", || cloud.a.run(&["ls", "net"]).out == "a\ngw\n");
}

#[test]
fn a_node_that_leaves_goes_on_alone() {
    let cloud = Cloud::up();
    assert_eq!(cloud.b.run(&["leave"]).status, 0);
    eventually("its row is gone", || cloud.a.run(&["ls", "net"]).out == "a\ngw\n");
    assert_eq!(cloud.b.run(&["ls", "net"]).out, "b\n");
    assert_eq!(cloud.b.run(&["run", "echo", "on"]).out, "on\n");
}

#[test]
fn our_own_node_may_die_while_a_program_runs_elsewhere() {
    let cloud = Cloud::up();
    let child = hundred(&cloud);
    signal(cloud.a.pid(), "KILL");
    let ended = crate::home::ended(child);
    assert_eq!(ended.status, 0, "{}", ended.err);
    let all: String = (2..=100).map(|line| format!("{line}\n")).collect();
    assert_eq!(ended.out, all);
}
