//! A hundred daemons on one machine: no port and no path is fixed.

use crate::ended::within;
use crate::host::{BEAT, Lab};
use std::time::{Duration, Instant};

const NODES: usize = 100;
const FAN: usize = 10;

/// n0 is the root, n1 to n10 its children, and so on: each has ten at most.
#[test]
fn a_hundred_daemons_on_one_machine_are_one_tree() {
    let Some(lab) = Lab::new() else { return };
    let wire = lab.segment(1);
    let m = lab.host("m", &[&wire]);
    let begun = Instant::now();
    let tokens = m.ok(&format!(
        "export UEM_STATE=$HOME/n0; uem up --no-mount --name n0 --beat {BEAT} && \
         for i in $(seq 1 {}); do uem invite --token-only; done",
        NODES - 1
    ));
    std::fs::write(m.home().join("tokens"), tokens.lines().skip(1).collect::<Vec<_>>().join("\n") + "\n")
        .unwrap();
    // One level after the other, several of one at a time. The port is what the parent was given.
    std::fs::write(
        m.home().join("join"),
        format!(
            "set -e; i=$1; parent=$(((i - 1) / {FAN})); token=$(sed -n ${{i}}p $HOME/tokens)\n\
             port=$(sed 's/.*!//' $HOME/n$parent/trust/listen)\n\
             export UEM_STATE=$HOME/n$i\n\
             uem join --no-mount --name n$i --beat {BEAT} --link 'tls!127.0.0.1!0' \"tls!127.0.0.1!$port\" $token >/dev/null\n\
             until grep -q '![1-9]' $UEM_STATE/trust/listen 2>/dev/null; do sleep .02; done\n"
        ),
    )
    .unwrap();
    for (first, last) in [(1, FAN), (FAN + 1, NODES - 1)] {
        m.ok(&format!("seq {first} {last} | xargs -P 4 -n 1 sh $HOME/join"));
    }
    println!("up and joined after {:?}", begun.elapsed());
    let count = |node: usize| {
        let status = m.sh(&format!("UEM_STATE=$HOME/n{node} uem cat status")).out;
        status.lines().filter(|row| row.split(' ').nth(1) == Some("up")).count()
    };
    for node in [0, 1, NODES - 1] {
        let mut up = 0;
        let all = within(Duration::from_secs(20), || {
            up = count(node);
            up == NODES
        });
        assert!(all, "n{node} sees {up} of {NODES}");
    }
    // From a leaf through the root to another leaf; and one program each on all of them.
    let last = NODES - 1;
    assert_eq!(
        m.ok(&format!("UEM_STATE=$HOME/n11 uem run --on n{last} -- printenv UEM_SESSION")),
        format!("n{last}/0\n")
    );
    let begun = Instant::now();
    let said = m.ok(&format!(
        "export UEM_STATE=$HOME/n0; seq 0 {last} | xargs -P 8 -I @ uem run --on n@ -- sh -c 'echo ${{UEM_SESSION%/*}}'"
    ));
    println!("a program on each after {:?}", begun.elapsed());
    let mut names: Vec<&str> = said.lines().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), NODES, "{names:?}");
    let ports = m.ok("sed 's/.*!//' $HOME/n*/trust/listen | sort | uniq -d");
    assert_eq!(ports, "", "ports are nobody's twice");
}
