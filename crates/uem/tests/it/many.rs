//! `uem run` of many: on each of three nodes, and as members of ranks.

use crate::cloud::Cloud;
use crate::home::{Home, ended, eventually, signal};

#[test]
fn one_on_each_is_named_by_node() {
    let cloud = Cloud::up();
    let a = &cloud.a;
    let folded = a.run(&["run", "--on", "all", "--fold", "--", "echo", "same"]);
    assert_eq!((folded.out.as_str(), folded.err.as_str(), folded.status), ("a,b,gw: same\n", "", 0));
    let script = "echo one; test {node} != b || echo two";
    let folded = a.run(&["run", "--on", "a,b,gw", "--fold", "--", "sh", "-c", script]);
    let rule = "---------------";
    assert_eq!(folded.out, format!("a,gw: one\n{rule}\nb (1)\n{rule}\none\ntwo\n"), "{}", folded.err);
    let tagged = a.run(&["run", "--on", "all!gw", "--tag", "--", "sh", "-c", "echo out; echo err >&2"]);
    let mut lines: Vec<&str> = tagged.out.lines().chain(tagged.err.lines()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a: err", "a: out", "b: err", "b: out"]);
    let diff = a.run(&["run", "--on", "all", "--diff", "--", "sh", "-c", script]);
    let common = format!("{rule}\na,gw (2 of 3)\n{rule}\none\n");
    assert_eq!(diff.out, format!("{common}--- a,gw\n+++ b\n@@ -1 +1,2 @@\n one\n+two\n"));
    let failed = a.run(&["run", "--on", "all", "--", "sh", "-c", "test {node} = b || exit 3"]);
    assert_eq!((failed.status, failed.err.as_str()), (3, "uem run: 2 of 3 failed: a,gw (2): exit=3\n"));
    let nosuch = a.run(&["run", "--on", "a,nosuch", "--", "true"]);
    assert!(nosuch.status == 125 && nosuch.err.contains("no node is called nosuch"), "{}", nosuch.err);
    let fed = a.feed(&["run", "--on", "a,b", "--tag", "--", "wc", "-c"], b"12345\n");
    let mut lines: Vec<&str> = fed.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a: 6", "b: 6"], "{}", fed.err);
}

#[test]
fn members_have_ranks_and_every_end_is_known() {
    let cloud = Cloud::up();
    let a = &cloud.a;
    let ordered = a.run(&["run", "-n", "5", "--rank", "--", "echo", "{rank} of {size}"]);
    assert_eq!((ordered.out.as_str(), ordered.status), ("0 of 5\n1 of 5\n2 of 5\n3 of 5\n4 of 5\n", 0));
    let log = a.dir.path().join("log");
    let log = log.to_str().unwrap();
    let half = ["run", "-n", "40", "--width", "4", "--joblog", log];
    let half = |more: &[&str], prog: &[&str]| a.run(&[&half[..], more, &["--"], prog].concat());
    let exit = ["sh", "-c", "exit $(({rank} % 2))"];
    let first = half(&[], &exit);
    assert!(first.status == 1 && first.err.starts_with("uem run: 20 of 40 failed: [1,3,5,"), "{}", first.err);
    let again = half(&["--resume"], &exit);
    assert!(again.status == 1 && again.err.contains("20 of 40 failed"), "{}", again.err);
    let text = std::fs::read_to_string(log).unwrap();
    assert_eq!(text.lines().count(), 1 + 40 + 20, "only those that failed ran again");
    assert_eq!(half(&["--resume"], &["false"]).status, 2, "it is the log of another command");
    let input: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    let dealt = a.feed(&["run", "-n", "3", "--stdin", "robin", "--", "wc", "-l"], input.as_bytes());
    let sum: u32 = dealt.out.lines().map(|line| line.trim().parse::<u32>().unwrap()).sum();
    assert_eq!((sum, dealt.out.lines().count()), (1000, 3), "{}", dealt.err);
    let late = a.run(&["run", "-n", "2", "--timeout", "200ms", "--", "sleep", "60"]);
    assert_eq!(late.status, 124, "{}", late.err);
    let none = a.run(&["run", "-n", "2", "--", "no-such-program"]);
    assert!(none.status == 127 && none.err.contains("not found in PATH"), "{}", none.err);
    eventually("nothing is left behind", || {
        cloud.all().iter().all(|home| !home.run(&["ps"]).out.contains("sleep"))
    });
}

#[test]
fn what_a_member_leaves_running_holds_nobody_up() {
    let cloud = Cloud::up();
    let before = std::time::Instant::now();
    let run = cloud.a.run(&["run", "--on", "all", "--tag", "--", "sh", "-c", "sleep 1000 & echo $!; exit 4"]);
    assert!(before.elapsed().as_secs() < 500, "it did not wait for them");
    assert_eq!((run.status, run.err.as_str()), (4, "uem run: 3 of 3 failed: a,b,gw (3): exit=4\n"));
    let left: Vec<&str> = run.out.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(left.len(), 3, "{}", run.out);
    eventually("what they left goes with the group", || {
        left.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
}

#[test]
fn who_would_run_where_is_said_and_nobody_runs() {
    let cloud = Cloud::up();
    let plan = cloud.a.run(&["run", "--dry-run", "--on", "all", "--", "true"]);
    let mut rows: Vec<Vec<&str>> =
        plan.out.lines().skip(1).map(|line| line.split_whitespace().take(2).collect()).collect();
    rows.sort_unstable();
    assert_eq!(rows, [["a", "0"], ["b", "1"], ["gw", "2"]], "{}{}", plan.out, plan.err);
}

#[test]
fn an_interrupt_tells_who_runs_and_ends_also_those_that_wait() {
    let home = Home::up();
    let child = home.uem(&["run", "-n", "6", "--width", "2", "--", "sleep", "60"]).spawn().unwrap();
    eventually("two of them run", || home.run(&["ps"]).out.matches("sleep 60").count() == 2);
    signal(child.id(), "INT");
    let ended = ended(child);
    assert_eq!(ended.status, 130, "{}", ended.err);
    assert!(ended.err.contains("2 still run: [0-1] on n; 4 wait"), "{}", ended.err);
    eventually("nothing is left behind", || home.info("self/info.json", "sessions") == "0");
}

#[test]
fn what_is_detached_has_a_name() {
    let cloud = Cloud::up();
    let id = cloud.a.run(&["run", "--detach", "-n", "3", "--", "sh", "-c", "echo {rank}; exit {rank}"]);
    assert_eq!(id.status, 0, "{}", id.err);
    let wait = cloud.a.run(&["wait", id.out.trim()]);
    assert_eq!((wait.status, wait.out.lines().count()), (2, 3), "{}{}", wait.out, wait.err);
    let mut logs: Vec<String> = cloud.a.run(&["logs", id.out.trim()]).out.lines().map(String::from).collect();
    logs.sort();
    assert_eq!(logs, ["0", "1", "2"]);
}

#[test]
fn the_page_for_who_knows_other_tools_is_right() {
    let page = include_str!("../../../../docs/manual/from-other-tools.md");
    let cloud = Cloud::up();
    let mut tried = 0;
    let spans = page.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`'));
    for span in spans.filter(|span| span.starts_with("uem run") && !span.contains(['…', '<', '.'])) {
        // What is about machines that are not here, and what would write outside of the test.
        if ["gpus=", "n[1-64]", "wc -l", "/etc/"].iter().any(|other| span.contains(other)) {
            continue;
        }
        let ran = cloud.a.sh(&span.replacen("uem", "$uem", 1));
        assert_eq!(ran.status, 0, "{span}: {}", ran.err);
        tried += 1;
    }
    assert!(tried >= 5, "{tried} of the page's lines were tried");
    for example in page.split("\n    $ ").skip(1) {
        let (command, rest) = example.split_once('\n').unwrap();
        let shown = rest.lines().map_while(|line| line.strip_prefix("    "));
        let ran = cloud.a.sh(&command.replacen("uem", "$uem", 1));
        let both = ran.out + &ran.err;
        assert!(both.lines().eq(shown), "{command}: {both}");
    }
}
