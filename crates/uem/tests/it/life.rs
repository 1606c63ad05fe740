//! A node's life and its sessions': up, down, detached programs, and what lists, waits for and ends them.

use crate::home::{Home, ended, eventually, signal, status};

#[test]
fn up_says_what_is_up_and_again_is_no_mistake() {
    let home = Home::empty();
    let first = home.run(&["up", "--no-mount", "--name", "n", "--label", "rack=7"]);
    let place = home.dir.path().join("s/uem.sock");
    assert_eq!(first.out, format!("up: n, not mounted, at unix!{}\n", place.display()), "{}", first.err);
    let second = home.run(&["up", "--no-mount"]);
    assert_eq!(second.status, 0);
    assert!(second.out.starts_with("up already: n, "), "{}", second.out);
    assert_eq!(home.info("self/info.json", "rack"), "7");
    assert!(home.run(&["status"]).out.starts_with("n up "));
    assert_eq!(home.run(&["down"]).status, 0);
    let status = home.run(&["status"]);
    assert_eq!(status.status, 125);
    assert!(status.err.contains("uem up"), "{}", status.err);
}

#[test]
fn flags_that_make_no_sense_are_misuse() {
    let home = Home::empty();
    for args in [
        &["up", "--name", "a/b"][..],
        &["up", "--label", "x"],
        &["up", "--ninep", "x"],
        &["frob"],
        &["ps", "x"],
    ] {
        assert_eq!(home.run(args).status, 2, "{args:?}");
    }
    assert_eq!(home.run(&["up", "--no-mount", "--ninep", "tcp!0.0.0.0!0"]).status, 125);
}

#[test]
fn run_brings_a_node_up_and_says_so() {
    let home = Home::empty();
    let first = home.run(&["run", "echo", "hi"]);
    assert_eq!((first.out.as_str(), first.status), ("hi\n", 0), "{}", first.err);
    assert!(first.err.contains("no node was up here"), "{}", first.err);
    let second = home.run(&["run", "echo", "hi"]);
    assert_eq!((second.out.as_str(), second.err.as_str()), ("hi\n", ""));
}

#[test]
fn a_detached_program_is_listed_logged_waited_for_and_ended() {
    let home = Home::up();
    let script = "echo out; echo err >&2; read line || echo eof; exec sleep 60";
    let id = home.run(&["run", "--detach", "--job", "j", "--", "sh", "-c", script]).out;
    let id = id.trim();
    assert!(id.starts_with("n/"), "{id}");
    assert_eq!(home.info(&format!("net/{id}/info.json"), "job"), "j");
    assert!(home.run(&["ps"]).out.contains(id));
    eventually("it has written", || home.run(&["logs", id]).out == "out\neof\n");
    assert_eq!(home.run(&["logs", id]).err, "err\n");
    assert_eq!(home.run(&["logs", "--stderr", id]).out, "");
    let follow = home.uem(&["logs", "-f", id]).spawn().unwrap();
    let wait = home.uem(&["wait", id]).spawn().unwrap();
    assert_eq!(home.run(&["kill", id]).status, 0);
    assert_eq!(ended(follow).out, "out\neof\n");
    let wait = ended(wait);
    assert_eq!(wait.status, 143);
    assert!(wait.out.contains("signal=15"), "{}", wait.out);
    assert!(!home.run(&["ps"]).out.contains(id) && home.run(&["ps", "--all"]).out.contains(id));
    assert_eq!(home.run(&["kill", "--free", id]).status, 0);
    assert!(!home.run(&["ps", "--all"]).out.contains(id));
    let gone = home.run(&["logs", id]);
    assert!(gone.status == 125 && gone.err.contains("uem ps"), "{}", gone.err);
}

#[test]
fn what_cannot_start_is_not_kept() {
    let home = Home::up();
    assert_eq!(home.run(&["run", "--detach", "/no/such"]).status, 127);
    let record = home.run(&["run", "--detach", "--json", "sleep", "60"]).out;
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let id = record["id"].to_string();
    assert_eq!(record["path"], format!("net/n/{id}"));
    assert_eq!(home.run(&["kill", &id, "INT"]).status, 0);
    assert_eq!(home.run(&["wait", "--json", &id]).status, 130);
}

#[test]
fn programs_outlive_a_node_that_is_told_to_keep_them() {
    let home = Home::up();
    let script = "echo before; while [ ! -e $HOME/go ]; do sleep 0.02; done; echo after; exit 9";
    let id = home
        .run(&[
            "run",
            "--detach",
            "--env",
            &format!("HOME={}", home.dir.path().display()),
            "--",
            "sh",
            "-c",
            script,
        ])
        .out;
    assert_eq!(home.run(&["down", "--keep"]).status, 0);
    assert_eq!(home.run(&["status"]).status, 125);
    std::fs::write(home.dir.path().join("go"), "").unwrap();
    let up = home.run(&["up", "--no-mount", "--name", "n"]);
    assert_eq!(up.status, 0, "{}", up.err);
    assert_eq!(home.run(&["wait", id.trim()]).status, 9);
    assert_eq!(home.run(&["logs", id.trim()]).out, "before\nafter\n");
}

/// Writes down its own number and that of what it leaves behind, which is in a session of its own and has no environment.
const LEAVES: &str =
    "(setsid env -i sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >> $HOME/left); echo $$ >> $HOME/left";

#[test]
fn down_asks_what_runs_to_end_and_leaves_nothing_that_came_of_it() {
    let home = Home::up();
    let asked = "trap 'echo asked > $HOME/asked; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    let env = format!("HOME={}", home.dir.path().display());
    let run = |words: &[&str], script: &str| {
        let id = home.run(&[&["run", "--env", &env][..], words, &["--", "sh", "-c", script]].concat());
        assert_eq!(id.status, 0, "{}", id.err);
        id.out
    };
    // One that runs, one that has ended, and one that is forgotten already; and a group, whose ranks would be made again.
    let id = run(&["--detach"], &format!("{LEAVES}; {asked}"));
    run(&["--detach"], LEAVES);
    run(&[], LEAVES);
    let group = run(&["--detach", "-n", "1", "--retry", "3"], "echo begun >> $HOME/begun; sleep 1000");
    let file = |name: &str| std::fs::read_to_string(home.dir.path().join(name)).unwrap_or_default();
    eventually("all are there", || {
        let ready = home.run(&["logs", id.trim()]).out == "ready\n";
        ready && file("left").lines().count() == 6 && file("begun") == "begun\n"
    });
    assert_eq!(home.run(&["down"]).status, 0);
    let there = |pid: &str| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let left: Vec<String> = file("left").lines().filter(|pid| there(pid)).map(String::from).collect();
    assert_eq!((left, file("asked"), file("begun")), (vec![], "asked\n".into(), "begun\n".into()));
    // How they ended is known, and who waits goes on when it is up again.
    assert_eq!(home.run(&["up", "--no-mount", "--name", "n"]).status, 0);
    assert_eq!(home.run(&["wait", id.trim()]).status, 3);
    eventually("the rank is made again", || file("begun") == "begun\nbegun\n");
    assert_eq!(home.run(&["kill", group.trim()]).status, 0);
}

#[test]
fn in_the_foreground_it_ends_when_it_is_told_to() {
    let home = Home::empty();
    let mut up = home.uem(&["up", "--foreground", "--no-mount", "--name", "n"]).spawn().unwrap();
    eventually("it is up", || home.run(&["status"]).status == 0);
    assert_eq!(home.run(&["run", "echo", "hi"]).out, "hi\n");
    signal(up.id(), "INT");
    assert_eq!(status(&mut up), 0);
    assert_eq!(home.run(&["status"]).status, 125);
}
