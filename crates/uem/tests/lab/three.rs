//! Three hosts, a — g — b, and no route from a to b: one tree all the same.

use crate::ended::Running;
use crate::host::{BEAT, Host, Lab, Segment};
use std::io::Write;
use std::process::Stdio;

/// Joined as the manual says: `uem up` and `uem invite` on g, and what that prints typed on a and b.
pub(crate) fn joined(lab: &Lab, flags: &str) -> ([Segment; 2], [Host; 3]) {
    let (segments, hosts) = lab.three();
    let [a, g, b] = &hosts;
    g.up(flags);
    for host in [a, b] {
        let command = g.ok("uem invite");
        let (verb, rest) = command.trim().split_at("uem join".len());
        assert_eq!(verb, "uem join", "{command}");
        let said = host.ok(&format!("uem join --beat {BEAT} --no-mount {flags}{}", quoted(rest)));
        assert!(said.contains("its parent is g"), "{said}");
    }
    a.sees("b", "up");
    b.sees("a", "up");
    (segments, hosts)
}

/// An exclamation mark is nothing special in a script.
fn quoted(words: &str) -> String {
    words.split_whitespace().map(|word| format!(" '{word}'")).collect()
}

#[test]
fn everything_on_every_host_is_in_everybodys_tree() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, g, b]) = joined(&lab, "");
    let route = a.sh(&format!("ip route get {}", b.ip(2)));
    assert!(route.err.contains("unreachable"), "there is a route from a to b: {}", route.out);
    for host in [&a, &g, &b] {
        assert_eq!(host.ok("uem ls net").lines().collect::<Vec<_>>(), ["a", "b", "g"], "on {}", host.name);
        let status = host.cat("status");
        let rows: Vec<&str> =
            status.lines().map(|line| line.split_at(line.find(" up ").unwrap()).0).collect();
        assert_eq!(rows, ["a", "b", "g"], "on {}: {status}", host.name);
    }
    assert_eq!(a.ok("uem run --on b -- hostname"), "b\n");
    assert_eq!(b.ok("uem run --on a -- hostname"), "a\n");
    assert_eq!(a.sh("uem run --on b -- sh -c 'echo err >&2; exit 7'").status, 7);
    let sum = a.ok("seq 1 1000000 | uem run --on b -- md5sum");
    assert_eq!(sum, a.ok("seq 1 1000000 | md5sum"));
    assert_eq!(a.ok("seq 1 1000000 | uem run --on b -- cat | md5sum"), sum);
}

#[test]
fn a_program_on_a_node_that_is_not_there_fails_at_once() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, _g, _b]) = joined(&lab, "");
    let begun = std::time::Instant::now();
    let ended = a.sh("uem run --on nosuch -- true");
    assert_eq!(ended.status, 125);
    assert!(ended.err.contains("no node is called nosuch"), "{}", ended.err);
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn mounts_on_all_hosts_show_the_same_tree() {
    let Some(lab) = Lab::new() else { return };
    if !std::path::Path::new("/dev/fuse").exists() {
        let _nobody_listens =
            writeln!(std::io::stderr(), "SKIPPED: no /dev/fuse; not tested: mounts of several hosts");
        return;
    }
    let (_segments, [a, _g, b]) = joined(&lab, "");
    for host in [&a, &b] {
        host.ok("uem mount ~/uem");
    }
    for host in [&a, &b] {
        assert_eq!(host.ok("ls ~/uem/net"), "a\nb\ng\n");
        assert_eq!(host.ok("cat ~/uem/net/b/ctl ~/uem/net/a/ctl"), "b\na\n");
        assert_eq!(host.ok("cut -d' ' -f1,2 ~/uem/status"), "a up\nb up\ng up\n");
    }
    // What is begun on one is found on the other.
    let id = a.ok("id=$(cat ~/uem/net/b/clone); echo exec hostname > ~/uem/net/b/$id/ctl; echo $id");
    let dir = format!("~/uem/net/b/{}", id.trim());
    for host in [&a, &b] {
        assert_eq!(host.ok(&format!("cat {dir}/stdout")), "b\n");
        assert!(host.ok(&format!("cat {dir}/wait")).contains(" exit=0 "));
    }
    let mut input: Vec<u8> = Vec::new();
    (0..1_000_000u32).for_each(|n| input.extend(n.to_le_bytes()));
    let script = "exec 3<&0; cd ~/uem/net/b; id=$(cat clone); echo exec cat > $id/ctl; \
                  { cat <&3 > $id/stdin; echo close stdin > $id/ctl; } & cat $id/stdout; wait; echo free > $id/ctl";
    let mut running = a.command("bash").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = running.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let input = input.clone();
        move || stdin.write_all(&input)
    });
    let output = running.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(
        output.stdout == input,
        "{} bytes of {}: {}",
        output.stdout.len(),
        input.len(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Several at a time, from both ends.
#[test]
fn many_programs_run_at_once_across_the_gateway() {
    let Some(lab) = Lab::new() else { return };
    let (_segments, [a, _g, b]) = joined(&lab, "");
    let script = |to: &str| {
        format!("for i in $(seq 12); do uem run --on {to} -- sh -c \"seq $i 20000 | md5sum\" & done; wait")
    };
    let there: Vec<Running> =
        [(&a, "b"), (&b, "a")].iter().map(|(from, to)| from.start(&script(to))).collect();
    let mut wanted: Vec<String> =
        (1..=12).map(|n| a.ok(&format!("seq {n} 20000 | md5sum"))).map(|sum| sum.trim().into()).collect();
    wanted.sort();
    for running in there {
        let ended = running.ended();
        let mut got: Vec<String> = ended.out.lines().map(String::from).collect();
        got.sort();
        assert_eq!(got, wanted, "{}", ended.err);
    }
}
