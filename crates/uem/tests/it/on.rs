//! What names nodes and sets of them, on one node.

use crate::home::{Home, ended, eventually};

#[test]
fn a_node_that_is_not_there_is_said_not_to_be() {
    let home = Home::up();
    for args in [
        &["run", "--on", "nosuch", "--", "true"][..],
        &["run", "--detach", "--on", "net/nosuch", "true"],
        &["ps", "--on", "nosuch"],
        &["status", "--on", "nosuch"],
        &["logs", "nosuch/1"],
        &["wait", "nosuch/1"],
        &["wait", "nosuch"],
        &["attach", "nosuch/1"],
        &["kill", "n/0", "nosuch/1"],
    ] {
        let ended = home.run(args);
        assert_eq!(ended.status, 125, "{args:?}: {}", ended.err);
        let said = format!("uem {}: no node is called nosuch", args[0]);
        assert!(ended.err.lines().any(|line| line.starts_with(&said)), "{args:?}: {}", ended.err);
    }
    assert_eq!(home.run(&["run", "--on", "a b", "true"]).status, 2);
}

#[test]
fn a_program_on_a_named_node_begins_as_after_a_login() {
    let home = Home::up();
    let mut command =
        home.uem(&["run", "--on", "n", "--env", "B=2", "--", "sh", "-c", "pwd; echo $A.$B.$LC_X"]);
    let dir = std::fs::canonicalize(home.dir.path()).unwrap();
    let ended = ended(command.current_dir(&dir).env("A", "1").env("LC_X", "x").spawn().unwrap());
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_ne!(lines[0], dir.to_str().unwrap(), "our directory means nothing there");
    assert_eq!(lines[1], ".2.x", "{}", ended.err);
    let there = home.run(&["run", "--on", "n", "--dir", dir.to_str().unwrap(), "pwd"]);
    assert_eq!(there.out.trim(), dir.to_str().unwrap());
}

#[test]
fn sets_of_sessions_are_listed_shown_waited_for_and_ended() {
    let home = Home::up();
    for number in 0..3 {
        let script = format!("echo line {number}; printf 'no end'; exec sleep 60");
        assert_eq!(home.run(&["run", "--detach", "--", "sh", "-c", &script]).out, format!("n/{number}\n"));
    }
    assert_eq!(home.run(&["ps", "--on", "n"]).out.lines().count(), 4);
    eventually("all have written", || {
        let logs = home.run(&["logs", "n/[0-2]"]);
        let mut lines: Vec<&str> = logs.out.lines().collect();
        lines.sort_unstable();
        let expected: Vec<String> =
            (0..3).flat_map(|n| [format!("n/{n}: line {n}"), format!("n/{n}: no end")]).collect();
        logs.status == 0 && lines == expected
    });
    let wait = home.uem(&["wait", "n/[0-1],2"]).spawn().unwrap();
    assert_eq!(home.run(&["kill", "n/[0,2]", "KILL"]).status, 0);
    assert_eq!(home.run(&["wait", "0"]).status, 137);
    assert_eq!(home.run(&["kill", "1"]).status, 0);
    let wait = ended(wait);
    assert_eq!((wait.status, wait.out.lines().count()), (143, 3), "{}{}", wait.out, wait.err);
}

#[test]
fn all_on_a_node_is_ended_when_it_is_meant() {
    let home = Home::up();
    home.run(&["run", "--detach", "sleep", "60"]);
    home.run(&["run", "--detach", "sleep", "60"]);
    let slip = home.run(&["kill", "n"]);
    assert!(slip.status == 2 && slip.err.contains("net/n"), "{}", slip.err);
    assert_eq!(home.run(&["kill", "net/n", "KILL"]).status, 0);
    let wait = home.run(&["wait", "n"]);
    assert_eq!((wait.status, wait.out.lines().count()), (137, 2), "{}{}", wait.out, wait.err);
    assert_eq!(home.run(&["logs", "n"]).status, 2);
}
