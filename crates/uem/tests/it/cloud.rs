//! Several nodes on one machine, a and b below gw: one tree, whoever is asked.

use crate::home::{Home, ended, eventually, signal, status};
use std::io::Read;
use std::process::Stdio;

/// Three nodes, linked.
pub(crate) struct Cloud {
    pub(crate) a: Home,
    pub(crate) gw: Home,
    pub(crate) b: Home,
}

impl Cloud {
    pub(crate) fn up() -> Cloud {
        let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
        let (a, b) = (Home::node("a", &[]), Home::node("b", &["--loc", "site/rack"]));
        a.join(&gw);
        b.join(&gw);
        let cloud = Cloud { a, gw, b };
        eventually("everybody knows everybody", || {
            cloud.all().iter().all(|home| home.run(&["ls", "net"]).out == "a\nb\ngw\n")
        });
        cloud
    }

    pub(crate) fn all(&self) -> [&Home; 3] {
        [&self.a, &self.gw, &self.b]
    }
}

#[test]
fn one_tree_whoever_is_asked() {
    let Cloud { a, gw, b } = &Cloud::up();
    for home in [a, gw, b] {
        let rows = home.run(&["status"]).out;
        for name in ["a", "b", "gw"] {
            assert!(rows.lines().any(|row| row.starts_with(&format!("{name} up "))), "{rows}");
        }
        let json = home.run(&["status", "--json"]).out;
        assert_eq!(json.lines().filter(|line| line.contains(r#""state":"up""#)).count(), 3, "{json}");
        assert_eq!(home.cat("net/b/ctl"), "b\n");
        assert_eq!(home.cat("phys/site/rack/b/ctl"), "b\n");
        assert_eq!(home.cat("tree/gw/a/ctl"), "a\n");
    }
    assert_eq!(a.cat("self/ctl"), "a\n");
    assert!(a.run(&["status"]).out.contains("node      a, below gw\n"));
    assert_eq!(a.run(&["status", "--on", "b,gw"]).out.lines().count(), 2);
}

#[test]
fn a_program_on_another_node_is_as_if_it_were_here() {
    let cloud = Cloud::up();
    let a = &cloud.a;
    let on_b = |words: &[&str]| a.run(&[&["run", "--on", "b", "--"], words].concat());
    assert_eq!(on_b(&["sh", "-c", "echo $UEM_SESSION"]).out, "b/0\n");
    let sum = a.sh("seq 1 1000000 | $uem run --on b -- md5sum");
    assert_eq!((sum.out.as_str(), sum.err.as_str()), (a.sh("seq 1 1000000 | md5sum").out.as_str(), ""));
    assert_eq!(a.sh("$uem run --on b -- head -c 20M /dev/zero | wc -c").out, "20971520\n");
    let both = on_b(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((both.status, both.out.as_str(), both.err.as_str()), (3, "out\n", "err\n"));
    assert_eq!(on_b(&["sh", "-c", "kill -9 $$"]).status, 137);
    assert_eq!(on_b(&["/no/such"]).status, 127);
    assert_eq!(a.sh("yes | $uem run --on b -- true").status, 0);
    assert_eq!(a.sh("$uem run --on b -- yes | head -1").out, "y\n");
    let mut child = a.uem(&["run", "--on", "b", "sleep", "60"]).spawn().unwrap();
    eventually("it runs", || a.run(&["ps", "--on", "b"]).out.contains("sleep 60"));
    signal(child.id(), "INT");
    assert_eq!(status(&mut child), 130);
    assert_eq!(a.run(&["run", "--on", "b", "--timeout", "100ms", "sleep", "60"]).status, 124);
    eventually("nothing is left behind", || cloud.b.info("self/info.json", "sessions") == "0");
    let started = std::time::Instant::now();
    let nosuch = a.run(&["run", "--on", "nosuch", "--", "true"]);
    assert!(nosuch.err.starts_with("uem run: no node is called nosuch"), "{}", nosuch.err);
    assert_eq!(nosuch.status, 125);
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn sessions_of_all_nodes_are_listed_followed_waited_for_and_ended() {
    let cloud = Cloud::up();
    let (a, script) = (&cloud.a, "echo hello from $UEM_SESSION; exec sleep 60");
    for node in ["a", "gw", "b"] {
        let id = a.run(&["run", "--detach", "--on", node, "--", "sh", "-c", script]);
        assert_eq!(id.out, format!("{node}/0\n"), "{}", id.err);
    }
    let placed = a.run(&["run", "--detach", "--json", "--on", "phys/site", "sleep", "60"]).out;
    assert!(placed.contains(r#""path":"net/b/1""#), "{placed}");
    for home in cloud.all() {
        let ps = home.run(&["ps"]).out;
        assert_eq!(ps.lines().count(), 5, "{ps}");
        assert_eq!(home.run(&["ps", "--on", "b"]).out.lines().count(), 3);
        assert_eq!(home.run(&["ps", "--on", "tree/gw/a"]).out.lines().count(), 2);
    }
    assert!(a.run(&["top"]).out.starts_with("3 up; 4 sessions, 4 running; "));
    eventually("they have written", || {
        let logs = a.run(&["logs", "a/0", "gw/0,b/0"]).out;
        ["a", "gw", "b"].iter().all(|node| logs.contains(&format!("{node}/0: hello from {node}/0\n")))
    });
    let follow = a.uem(&["logs", "-f", "b/0"]).spawn().unwrap();
    let attach = a.uem(&["attach", "b/0"]).spawn().unwrap();
    let wait = a.uem(&["wait", "a/0", "gw/0", "b/[0-1]"]).spawn().unwrap();
    assert_eq!(a.run(&["kill", "a/0", "gw/0", "b/[0-1]", "TERM"]).status, 0);
    let wait = ended(wait);
    assert_eq!((wait.status, wait.out.lines().count()), (143, 4), "{}{}", wait.out, wait.err);
    for shown in [ended(follow), ended(attach)] {
        assert_eq!(shown.out, "hello from b/0\n", "{}", shown.err);
    }
    assert_eq!(a.run(&["kill", "--free", "a/0", "gw/0", "b/[0-1]"]).status, 0);
    assert_eq!(a.run(&["ps", "--all"]).out.lines().count(), 1);
}

#[test]
fn a_session_elsewhere_is_taken_part_in() {
    let cloud = Cloud::up();
    let a = &cloud.a;
    let id = a.cat("net/b/clone");
    let id = format!("b/{}", id.trim());
    let exec = "exec sh -c 'while read w; do echo got $w; [ $w = end ] && exit 3; done'";
    assert_eq!(a.run(&["write", &format!("net/{id}/ctl"), exec]).status, 0);
    let mut attach = a.uem(&["attach", &id]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = attach.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"one\n").unwrap();
    let mut seen = [0; 8];
    attach.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"got one\n");
    std::io::Write::write_all(&mut input, b"end\n").unwrap();
    assert_eq!(status(&mut attach), 3);
}

#[test]
fn files_of_a_node_that_offers_them_are_read_and_written_there() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0", "--fs"]);
    let b = Home::node("b", &[]);
    b.join(&gw);
    let file = gw.dir.path().join("file");
    std::fs::write(&file, "there").unwrap();
    let path = format!("net/gw/fs{}", file.display());
    assert_eq!(b.cat(&path), "there");
    assert_eq!(b.feed(&["write", &path], b"from b").status, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "from b");
    let none = b.run(&["cat", "self/fs/etc/hostname"]);
    assert_eq!(none.status, 125, "b offers none");
}
