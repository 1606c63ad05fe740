//! `uem run` behaves as if the program were local.

use crate::home::{Home, ended, eventually, signal, status};
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_pipeline_is_the_same_as_without_it() {
    let home = Home::up();
    let ended = home.sh("seq 1 3000000 | $uem run -- sort -n | tail -1");
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("3000000\n", ""));
}

#[test]
fn statuses_are_those_of_sh() {
    let home = Home::up();
    let plain = home.dir.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap();
    for (args, expected) in [
        (&["run", "true"][..], 0),
        (&["run", "--", "sh", "-c", "exit 3"], 3),
        (&["run", "--", "sh", "-c", "kill -9 $$"], 137),
        (&["run", "--", "sh", "-c", "kill -TERM $$"], 143),
        (&["run", "/no/such"], 127),
        (&["run", "no-such-program"], 127),
        (&["run", plain], 126),
        (&["run", "/"], 126),
        (&["run", "--bogus", "true"], 2),
        (&["run"], 2),
        (&["run", "--dir", "/no/such", "true"], 125),
        (&["run", "--limit", "no=1", "true"], 125),
        (&["run", "--at", "/no/such", "true"], 125),
    ] {
        let ended = home.run(args);
        assert_eq!(ended.status, expected, "{args:?}: {}", ended.err);
        let ours = (125..128).contains(&expected) || expected == 2;
        assert_eq!(ours, !ended.err.is_empty(), "{args:?}: {}", ended.err);
    }
    let ended = home.run(&["run", "/no/such"]);
    assert!(ended.err.starts_with("uem run: /no/such: No such file or directory ("), "{}", ended.err);
    assert_eq!(home.info("self/info.json", "sessions"), "0", "everything was given back");
}

#[test]
fn stdin_may_be_nothing_a_file_or_a_pipe() {
    let home = Home::up();
    assert_eq!(home.run(&["run", "cat"]).out, "");
    assert_eq!(home.feed(&["run", "cat"], b"piped").out, "piped");
    std::fs::write(home.dir.path().join("f"), "filed").unwrap();
    assert_eq!(home.sh("$uem run cat < $HOME/f").out, "filed");
    assert_eq!(home.sh("$uem run true <&-").status, 0);
    // A program that does not read does not hold up whoever writes.
    assert_eq!(home.sh("yes | $uem run true").status, 0);
    assert_eq!(home.sh("yes | $uem run -- sh -c 'exec <&-; echo on; exit 4'").status, 4);
}

#[test]
fn outputs_are_apart_and_in_time() {
    let home = Home::up();
    let ended = home.run(&["run", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("out\n", "err\n"));
    let mut child = home.uem(&["run", "--", "sh", "-c", "echo early; sleep 60"]).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"early\n");
    signal(child.id(), "TERM");
    assert_eq!(status(&mut child), 143);
}

#[test]
fn here_and_our_environment_go_along() {
    let home = Home::up();
    let mut command =
        home.uem(&["run", "--env", "B=2 3", "--", "sh", "-c", "pwd; echo $A $B; echo $UEM_SESSION"]);
    let dir = std::fs::canonicalize(home.dir.path()).unwrap();
    let ended = ended(command.current_dir(&dir).env("A", "1").env("UEM_SESSION", "x").spawn().unwrap());
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(&lines[..2], [dir.to_str().unwrap(), "1 2 3"]);
    assert!(lines[2].starts_with("n/"), "{}", lines[2]);
}

#[test]
fn much_goes_through_and_the_node_does_not_grow() {
    let home = Home::up();
    assert_eq!(home.sh("head -c 10M /dev/zero | $uem run -- wc -c").out, "10485760\n");
    let rss = |home: &Home| home.info("self/info.json", "node_rss").parse::<u64>().unwrap();
    let before = rss(&home);
    assert_eq!(home.sh("head -c 200M /dev/zero | $uem run -- wc -c").out, "209715200\n");
    assert_eq!(home.sh("$uem run -- head -c 200M /dev/zero | wc -c").out, "209715200\n");
    let grown = rss(&home).saturating_sub(before);
    assert!(grown < 32 << 20, "by {grown} bytes");
}

#[test]
fn a_reader_that_goes_ends_the_program() {
    let home = Home::up();
    let start = Instant::now();
    assert_eq!(home.sh("$uem run -- yes | head -1").out, "y\n");
    assert!(start.elapsed() < Duration::from_secs(5));
    eventually("yes has ended", || home.run(&["ps"]).out.lines().count() == 1);
}

#[test]
fn a_slow_reader_of_one_output_does_not_hold_up_the_rest() {
    let home = Home::up();
    let script = "head -c 3M /dev/zero; echo err >&2; exec sleep 60";
    let mut child = home.uem(&["run", "--", "sh", "-c", script]).spawn().unwrap();
    let mut first = [0; 4];
    child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"err\n");
    signal(child.id(), "INT");
    let all = ended(child);
    assert_eq!((all.status, all.out.len()), (130, 3 << 20));
}

#[test]
fn the_first_interrupt_asks_and_the_second_kills() {
    let home = Home::up();
    let mut plain = home.uem(&["run", "sleep", "60"]).spawn().unwrap();
    home.session();
    signal(plain.id(), "INT");
    assert_eq!(status(&mut plain), 130);
    let script = "trap 'echo asked' INT; echo ready; while :; do sleep 0.05; done";
    let mut deaf = home.uem(&["run", "--", "sh", "-c", script]).spawn().unwrap();
    let mut line = [0; 6];
    deaf.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    signal(deaf.id(), "INT");
    deaf.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"asked\n");
    signal(deaf.id(), "INT");
    assert_eq!(status(&mut deaf), 137);
}

#[test]
fn it_stops_and_goes_on_with_its_program() {
    let home = Home::up();
    let mut child = home.uem(&["run", "sleep", "60"]).spawn().unwrap();
    let id = home.session();
    let ours = |wanted: char| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with(wanted)
    };
    signal(child.id(), "TSTP");
    eventually("we are stopped", || ours('T'));
    eventually("so is it", || home.info(&format!("self/{id}/info.json"), "state") == "stopped");
    signal(child.id(), "CONT");
    eventually("it goes on", || home.info(&format!("self/{id}/info.json"), "state") == "running");
    signal(child.id(), "TERM");
    assert_eq!(status(&mut child), 143);
}

#[test]
fn time_can_be_over() {
    let home = Home::up();
    let ended = home.run(&["run", "--timeout", "100ms", "sleep", "60"]);
    assert_eq!(ended.status, 124);
    assert!(ended.err.contains("--timeout"), "{}", ended.err);
    assert_eq!(home.run(&["run", "--timeout", "1x", "true"]).status, 2);
}

#[test]
fn how_it_ended_can_be_had_as_json() {
    let home = Home::up();
    let ended = home.run(&["run", "--json", "--", "sh", "-c", "exit 5"]);
    let record: serde_json::Value = serde_json::from_str(&ended.err).unwrap();
    assert_eq!((ended.status, &record["exit"]), (5, &serde_json::json!(5)));
}

#[test]
fn a_node_that_dies_is_not_noticed() {
    let home = Home::up();
    let script = "for i in 1 2 3; do echo line $i; read word; done; echo got $word; exit 7";
    let mut child = home.uem(&["run", "--", "sh", "-c", script]).stdin(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 7];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut line).unwrap();
    for word in ["a", "b", "c"] {
        let before = home.info("self/info.json", "pid");
        signal(before.parse().unwrap(), "KILL");
        eventually("another node is up", || {
            let info = home.run(&["cat", "self/info.json"]);
            info.status == 0 && !info.out.contains(&format!("\"pid\":{before},"))
        });
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), format!("{word}\n").as_bytes()).unwrap();
        if word != "c" {
            out.read_exact(&mut line).unwrap();
        }
    }
    assert_eq!(&line, b"line 3\n");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), status(&mut child)), ("got c\n", 7));
}
