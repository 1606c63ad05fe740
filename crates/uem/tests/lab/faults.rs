//! Everything that can break, one after the other, on a chain a — g — m — h — b of three segments and two gateways: it is said in time,
//! nothing hangs, and 8 MB that a program writes meanwhile are all there afterwards, byte for byte.
//!
//! ```text
//!   segment 1      segment 2      segment 3
//!   a ───── g ─────── m ─────── h ─────── b         m is the root; nobody has a route further than one segment
//! ```

use crate::ended::{eventually, within};
use crate::host::{BEAT_MS, Host, Lab, Segment};
use std::time::{Duration, Instant};

/// Two heartbeats, and what a busy machine takes besides.
const TWO_BEATS: Duration = Duration::from_millis(2 * BEAT_MS + 2500);

struct Chain {
    a: Host,
    g: Host,
    m: Host,
    h: Host,
    b: Host,
    _segments: [Segment; 3],
    _lab: Lab,
}

impl Chain {
    fn new() -> Option<Chain> {
        let lab = Lab::new()?;
        let [one, two, three] = [1, 2, 3].map(|number| lab.segment(number));
        let a = lab.host("a", &[&one]);
        let g = lab.host("g", &[&one, &two]);
        let m = lab.host("m", &[&two]);
        let h = lab.host("h", &[&two, &three]);
        let b = lab.host("b", &[&three]);
        m.up("");
        let mut tokens = (0..4).map(|_| m.invite()).collect::<Vec<_>>().into_iter();
        let mut join = |child: &Host, parent: &Host, segment| {
            child.join(parent, segment, &tokens.next().unwrap(), "");
        };
        join(&g, &m, 2);
        join(&h, &m, 2);
        // Their tokens go through the gateways to the authority, which they cannot reach.
        join(&a, &g, 1);
        join(&b, &h, 3);
        let chain = Chain { a, g, m, h, b, _segments: [one, two, three], _lab: lab };
        chain.is_whole("joined");
        Some(chain)
    }

    fn is_whole(&self, after: &str) {
        for host in [&self.a, &self.b] {
            let mut status = String::new();
            let whole = within(Duration::from_secs(20), || {
                status = host.sh("uem cat status").out;
                status.lines().count() == 5 && status.lines().all(|row| row.split(' ').nth(1) == Some("up"))
            });
            assert!(whole, "after {after}, on {}:\n{status}", host.name);
        }
    }
}

/// 400,000 lines of 20 bytes, in about three seconds.
const WRITER: &str = "for i in $(seq 100 139); do seq -f \"line %014.0f\" ${i}0000 ${i}9999; sleep .05; done";

fn written() -> String {
    (100..140).flat_map(|i| (i * 10_000)..(i * 10_000 + 10_000)).map(|n| format!("line {n:014}\n")).collect()
}

/// A program on b writes 8 MB while this happens to the way to it. What waits for it is told.
fn survives(chain: &Chain, name: &str, breaks: bool, fault: impl FnOnce(&Chain), heal: impl FnOnce(&Chain)) {
    let begun = Instant::now();
    let a = &chain.a;
    let id = a.ok(&format!("uem run --detach --on b -- sh -c '{WRITER}'"));
    let id = id.trim();
    let logs = a.start(&format!("uem logs --follow {id} >/dev/null"));
    let wait = a.start(&format!("uem wait {id}"));
    eventually("it writes", || a.sh(&format!("uem logs {id} | head -c 1000 | wc -c")).out.trim() == "1000");
    let told = Instant::now();
    fault(chain);
    if breaks {
        for running in [wait, logs] {
            let ended = running.ended();
            assert!(ended.status == 125 && !ended.err.is_empty(), "{name}: {} {:?}", ended.status, ended.err);
            println!("{name}: said within {:?}: {}", told.elapsed(), ended.err.trim());
        }
        assert!(told.elapsed() < TWO_BEATS, "{name}: told after {:?}", told.elapsed());
    } else {
        drop((wait, logs));
    }
    heal(chain);
    chain.is_whole(name);
    let status = a.sh(&format!("uem wait {id}"));
    assert_eq!(status.status, 0, "{name}: {}{}", status.out, status.err);
    let expected = written();
    let said = a.ok(&format!("uem logs {id}"));
    assert!(said == expected, "{name}: uem logs: {}", differs(&said, &expected));
    let said = a.ok(&format!("uem cat net/{id}/stdout"));
    assert!(said == expected, "{name}: uem cat: {}", differs(&said, &expected));
    a.ok(&format!("uem kill --free {id}"));
    println!("{name}: {:?}", begun.elapsed());
}

fn differs(said: &str, expected: &str) -> String {
    let at = said.bytes().zip(expected.bytes()).position(|(one, other)| one != other);
    format!("{} bytes of {}; they differ at {at:?}", said.len(), expected.len())
}

/// `kill -9`; its keeper starts it again.
fn kill(host: &Host) {
    let node = host.node();
    host.signal(node, "KILL");
    eventually("another node is up", || {
        let pid = host.sh("uem cat self/info").out;
        let pid = pid.lines().find_map(|line| line.strip_prefix("pid=")).map(String::from);
        pid.is_some_and(|pid| pid != node.to_string())
    });
}

#[test]
fn output_survives_the_death_of_leaf_gateways_and_root() {
    let Some(chain) = Chain::new() else { return };
    survives(&chain, "the gateway beside us is killed", true, |c| kill(&c.g), |_| {});
    survives(&chain, "the root is killed", true, |c| kill(&c.m), |_| {});
    survives(&chain, "the far gateway is killed", true, |c| kill(&c.h), |_| {});
    survives(&chain, "the leaf is killed", true, |c| kill(&c.b), |_| {});
}

#[test]
fn output_survives_pulled_cables_and_stopped_machines() {
    let Some(chain) = Chain::new() else { return };
    let pull = |c: &Chain| {
        c.h.cable(3, false);
        c.a.sees("b", "down");
        c.a.sees("h", "up");
    };
    survives(&chain, "a cable is pulled", true, pull, |c| c.h.cable(3, true));
    let middle = |c: &Chain| {
        c.m.cable(2, false);
        c.a.sees("m", "down");
        // What is on this side is still there.
        assert_eq!(c.a.ok("uem run --on g -- hostname"), "g\n");
    };
    survives(&chain, "the root's cable is pulled", true, middle, |c| c.m.cable(2, true));
    let half = |c: &Chain| {
        c.h.mute(&c.b, 3);
        c.a.sees("b", "down");
    };
    survives(&chain, "a connection is half open", true, half, |c| c.h.unmute(&c.b, 3));
    let node = chain.h.node();
    let stop = |c: &Chain| {
        c.h.signal(node, "STOP");
        c.a.sees("h", "down");
    };
    survives(&chain, "a gateway is stopped", true, stop, |c| c.h.signal(node, "CONT"));
    let leaf = chain.b.node();
    let stop = |c: &Chain| {
        c.b.signal(leaf, "STOP");
        c.a.sees("b", "down");
    };
    survives(&chain, "a leaf is stopped", true, stop, |c| c.b.signal(leaf, "CONT"));
}

/// Rows are right within two beats, with a cause, and since when.
#[test]
fn a_row_is_down_in_time_and_says_since_when() {
    let Some(chain) = Chain::new() else { return };
    let begun = Instant::now();
    chain.h.cable(3, false);
    chain.a.sees("b", "down");
    let took = begun.elapsed();
    println!("seen after {took:?}: {}", chain.a.row("b"));
    assert!(took < TWO_BEATS, "{took:?}");
    assert!(chain.a.row("b").contains("since 20"), "{}", chain.a.row("b"));
    let asked = Instant::now();
    let run = chain.a.sh("uem run --on b -- true");
    assert!(run.status == 125 && run.err.contains("since"), "{}", run.err);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    // What is known of it can be read; b itself goes on, and knows that it is cut off.
    assert!(chain.a.cat("net/b/info").contains("state=down"));
    chain.b.sees("h", "down");
    assert_eq!(chain.b.ok("uem run -- hostname"), "b\n");
    chain.h.cable(3, true);
    chain.is_whole("the cable was pulled");
}
