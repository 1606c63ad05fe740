//! `reduce`: a real program on every level of a chain of three nodes.

use crate::home::{Home, eventually};

/// top — mid — leaf, two slots each.
pub(crate) struct Chain {
    pub(crate) top: Home,
    pub(crate) mid: Home,
    pub(crate) leaf: Home,
}

impl Chain {
    pub(crate) fn up() -> Chain {
        let flags = ["--label", "slots=2", "--link", "tls!127.0.0.1!0"];
        let [top, mid, leaf] = ["top", "mid", "leaf"].map(|name| Home::busy_node(name, &flags));
        mid.join(&top);
        leaf.join_at(&listens(&mid), &top);
        let chain = Chain { top, mid, leaf };
        eventually("everybody knows everybody", || {
            chain.all().iter().all(|home| home.run(&["ls", "net"]).out == "leaf\nmid\ntop\n")
        });
        chain
    }

    pub(crate) fn all(&self) -> [&Home; 3] {
        [&self.top, &self.mid, &self.leaf]
    }

    fn is_clean(&self) -> bool {
        self.all().iter().all(|home| home.info("self/info.json", "sessions") == "0")
    }
}

/// Where a node can be joined.
fn listens(home: &Home) -> String {
    let doctor = home.run(&["doctor"]).out;
    let line = doctor.lines().find_map(|line| line.strip_prefix("ok       link listener: "));
    line.unwrap_or_else(|| panic!("{doctor}")).split_whitespace().next().unwrap().to_string()
}

const ADD: &str = "awk '{s+=$1} END {print s+0}'";

#[test]
fn numbers_of_all_members_are_added_on_every_level_whoever_asks() {
    let chain = Chain::up();
    for home in chain.all() {
        let sum = home.run(&["run", "-n", "12", "--reduce", ADD, "--", "seq", "1", "1000"]);
        assert_eq!((sum.out.as_str(), sum.err.as_str(), sum.status), ("6006000\n", "", 0));
    }
    let sorted = chain.leaf.run(&["run", "--on", "all", "--reduce", "sort -u", "--", "echo", "{node}"]);
    assert_eq!((sorted.out.as_str(), sorted.status), ("leaf\nmid\ntop\n", 0), "{}", sorted.err);
    // More goes in than any of them holds at once.
    let count = "awk 'length($0) < 10 {n+=$1; next} {n++} END {print n+0}'";
    let yes = "yes 0123456789 | head -n 1000000";
    let lines = chain.top.run(&["run", "-n", "6", "--reduce", count, "--", "sh", "-c", yes]);
    assert_eq!((lines.out.as_str(), lines.status), ("6000000\n", 0), "{}", lines.err);
    eventually("nothing is left behind", || chain.is_clean());
}

#[test]
fn a_program_that_cannot_be_started_or_fails_is_told_with_where() {
    let chain = Chain::up();
    let top = &chain.top;
    let script = "test \"${UEM_SESSION%/*}\" = mid && { echo no, not here >&2; exit 3; }; cat";
    let failed = top.run(&["run", "--on", "all", "--reduce", script, "--", "echo", "{node}"]);
    let mut lines: Vec<&str> = failed.out.lines().collect();
    lines.sort_unstable();
    assert!(failed.status == 125 && lines == ["top"], "{}{}", failed.out, failed.err);
    let told = "the result is not whole: reduce sh on mid (net/mid/";
    assert!(failed.err.contains(told) && failed.err.contains("has ended with exit=3"), "{}", failed.err);
    let id = top.run(&["cat", "clone"]).out;
    let id = id.trim();
    let ctl = format!("self/{id}/ctl");
    for line in ["lease 30", "stdout reduce /no/such/program -x", "run each -- echo hello"] {
        assert_eq!(top.run(&["write", &ctl, line]).status, 0);
    }
    let none = top.run(&["cat", &format!("self/{id}/stdout")]);
    assert!(none.status == 125 && none.err.contains("cannot be started"), "{}", none.err);
    // Whoever reads is told of the first that is known; the others need not have said so by then.
    eventually("each node says what could not be started", || {
        let errors = top.cat(&format!("self/{id}/error"));
        let said = |node| errors.contains(&format!("reduce /no/such/program on {node} (net/{node}/"));
        ["top", "mid", "leaf"].into_iter().all(said)
    });
    assert_eq!(
        top.cat(&format!("self/{id}/wait")).lines().count(),
        3,
        "ends of members are known all the same"
    );
    assert_eq!(top.run(&["write", &ctl, "free"]).status, 0);
    eventually("nothing is left behind", || chain.is_clean());
}

#[test]
fn a_node_that_is_killed_in_the_middle_takes_part_again() {
    let chain = Chain::up();
    let top = &chain.top;
    let go = top.dir.path().join("go");
    let script = format!("echo 1; until test -e {}; do sleep 0.05; done; echo 10", go.display());
    let child = top.uem(&["run", "-n", "6", "--reduce", ADD, "--", "sh", "-c", &script]).spawn().unwrap();
    eventually("all run", || top.run(&["ps"]).out.matches("until test").count() >= 6);
    eventually("mid adds", || chain.mid.run(&["ps", "--on", "mid"]).out.contains("awk"));
    let pid = chain.mid.pid();
    crate::home::signal(pid, "KILL");
    eventually("it is back", || chain.mid.run(&["cat", "self/ctl"]).status == 0 && chain.mid.pid() != pid);
    std::fs::write(go, "").unwrap();
    let sum = crate::home::ended(child);
    assert_eq!((sum.out.as_str(), sum.status), ("66\n", 0), "{}", sum.err);
    eventually("nothing is left behind", || chain.is_clean());
}
