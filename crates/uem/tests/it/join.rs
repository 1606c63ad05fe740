//! How machines and users come in, and go: tokens, certificates, ssh.

use crate::cloud::Cloud;
use crate::home::{Ended, Home, ended, eventually, status};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The address and the token of an invitation.
fn invitation(home: &Home, flags: &[&str]) -> (String, String) {
    let invite = home.run(&[&["invite", "--json"], flags].concat());
    let record: serde_json::Value = serde_json::from_str(&invite.out).unwrap_or_default();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    let (addr, token) = (word(&record["addresses"][0]), word(&record["token"]));
    assert!(!token.is_empty(), "{}{}", invite.out, invite.err);
    (addr, token)
}

fn refused(ended: &Ended, why: &str) {
    assert!(ended.status == 125 && ended.err.contains(why), "{} {}{}", ended.status, ended.out, ended.err);
}

#[test]
fn two_commands_make_a_cloud() {
    let (gw, b) = (Home::node("gw", &[]), Home::empty());
    let invite = gw.run(&["invite"]);
    assert!(invite.err.contains("gw is the authority of a new trust domain"), "{}", invite.err);
    assert!(invite.out.starts_with("uem join tls!"), "{}", invite.out);
    let words: Vec<&str> = invite.out.split_whitespace().skip(1).collect();
    let join = b.run(&[&words[..], &["--name", "b", "--no-mount"]].concat());
    assert_eq!(join.status, 0, "{}", join.err);
    // It may have begun to listen for others by then, and says where.
    assert!(join.out.starts_with("b has joined: its parent is gw"), "{}", join.out);
    assert!(join.err.contains("no node was up here"), "{}", join.err);
    assert_eq!(b.run(&["run", "--on", "gw", "echo", "hi"]).out, "hi\n");
    assert_eq!(gw.run(&["run", "--on", "b", "echo", "hi"]).out, "hi\n");
    let again = gw.run(&["invite", "--token-only"]);
    assert!(again.out.starts_with("uem1-") && !again.err.contains("new trust domain"), "{}", again.err);
    eventually("all is as it should be", || {
        let doctor = b.run(&["doctor"]).out;
        let wanted = ["ok       trust domain: ", "ok       parent: gw", "ok       link listener: tls!*!"];
        wanted.iter().all(|line| doctor.lines().any(|found| found.starts_with(line)))
    });
    assert_eq!(std::fs::read_to_string(gw.dir.path().join("s/log")).unwrap(), "", "nothing went wrong");
    let doctor = gw.run(&["doctor"]).out;
    for line in ["ok       link listener: tls!*!", "ok       parent: none: this node is the root"] {
        assert!(doctor.lines().any(|found| found.starts_with(line)), "{doctor}");
    }
}

#[test]
fn a_token_is_good_once_and_not_for_ever() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let (addr, token) = invitation(&gw, &[]);
    let (b, c) = (Home::node("b", &[]), Home::node("c", &[]));
    assert_eq!(b.run(&["join", &addr, &token]).status, 0);
    refused(&c.run(&["join", &addr, &token]), "used already");
    let (addr, token) = invitation(&gw, &["--ttl", "1s"]);
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let given = second();
    eventually("its time is over", || second() > given + 2);
    refused(&c.run(&["join", &addr, &token]), "expired");
    // One letter is another.
    let (addr, token) = invitation(&gw, &[]);
    let last = if token.ends_with('a') { 'b' } else { 'a' };
    let wrong = format!("{}{last}", &token[..token.len() - 1]);
    assert_eq!(c.run(&["join", &addr, &wrong]).status, 2);
    assert_eq!(c.run(&["join", &addr]).status, 2);
    assert_eq!(c.run(&["join", "tcp!127.0.0.1!0", &token]).status, 2);
    // What was refused has changed nothing, and the token is still good.
    assert_eq!(c.feed(&["join", &addr, "-"], format!("{token}\n").as_bytes()).status, 0);
}

#[test]
fn nobody_joins_where_he_is_not_meant_to() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let other = Home::node("other", &["--link", "tls!127.0.0.1!0"]);
    let (addr, _) = invitation(&gw, &[]);
    let (_, token) = invitation(&other, &[]);
    let b = Home::node("b", &[]);
    let wrong = b.run(&["join", &addr, &token]);
    assert_eq!(wrong.status, 125, "{}", wrong.out);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = format!("tls!127.0.0.1!{closed}");
    refused(&b.run(&["join", &closed, &token]), "refused");
    b.join(&gw);
    let (addr, token) = invitation(&other, &[]);
    refused(&b.run(&["join", &addr, &token]), "another trust domain");
    let member = Home::node("member", &[]);
    member.join(&other);
    let (addr, token) = invitation(&gw, &[]);
    refused(&other.run(&["join", &addr, &token]), "which has 1 more members");
    refused(&gw.run(&["join", &addr, &token]), "authority");
    refused(&b.run(&["invite"]), "has not its key");
}

#[test]
fn who_was_alone_in_a_domain_may_join_another() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let alone = Home::node("alone", &[]);
    invitation(&alone, &[]);
    alone.join(&gw);
    assert_eq!(gw.run(&["run", "--on", "alone", "echo", "hi"]).out, "hi\n");
}

#[test]
fn who_reaches_only_a_member_joins_through_it() {
    let (gw, a, b) =
        (Home::node("gw", &["--link", "tls!127.0.0.1!0"]), Home::node("a", &[]), Home::node("b", &[]));
    a.join(&gw);
    let mut port = String::new();
    eventually("the member listens too", || {
        let link = a.info("self/info.json", "link");
        port = link.strip_prefix("tls!*!").unwrap_or_default().to_string();
        !port.is_empty()
    });
    let (_, token) = invitation(&gw, &[]);
    let through = format!("tls!127.0.0.1!{port}");
    let join = b.run(&["join", &through, &token]);
    assert!(join.out.starts_with("b has joined: its parent is a"), "{}{}", join.out, join.err);
    eventually("its refusals come through too", || {
        let again = Home::empty().run(&["join", "--name", "c", &through, &token]);
        again.err.contains("used already")
    });
    assert_eq!(gw.run(&["run", "--on", "b", "echo", "hi"]).out, "hi\n");
    assert_eq!(gw.cat("tree/gw/a/b/ctl"), "b\n");
}

#[test]
fn a_second_node_of_a_name_has_another() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let (first, second) = (Home::node("b", &[]), Home::node("b", &[]));
    first.join(&gw);
    second.join(&gw);
    let mut name = String::new();
    eventually("it is called something else", || {
        name = second.cat("self/ctl").trim().to_string();
        name.starts_with("b-") && gw.run(&["ls", "net"]).out == format!("b\n{name}\ngw\n")
    });
    assert_eq!(gw.run(&["run", "--on", &name, "echo", "hi"]).out, "hi\n");
}

#[test]
fn who_is_revoked_is_out_at_once() {
    let cloud = Cloud::up();
    assert_eq!(cloud.gw.run(&["revoke", "b"]).out, "revoked: b\n");
    eventually("its link is broken", || cloud.a.run(&["status"]).out.contains("b down since"));
    let listed = cloud.gw.run(&["revoke"]).out;
    assert!(listed.lines().any(|line| line.starts_with("node b ") && line.ends_with(" revoked")), "{listed}");
    refused(&cloud.gw.run(&["revoke", "nosuch"]), "nosuch");
    refused(&cloud.a.run(&["revoke", "gw"]), "not the authority");
    assert_eq!(cloud.b.run(&["run", "echo", "on"]).out, "on\n", "it goes on alone");
}

#[test]
fn a_user_with_a_certificate_is_himself_elsewhere() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let me = gw.sh("id -un").out;
    let (addr, token) = invitation(&gw, &["--user", me.trim()]);
    let away = Home::empty();
    let join = away.run(&["join", &addr, &token]);
    assert_eq!(join.status, 0, "{}", join.err);
    assert!(join.out.contains(&format!("uem --at {addr} status")), "{}", join.out);
    let there = away.run(&["run", "--at", &addr, "--", "id", "-un"]);
    assert_eq!((there.out.as_str(), there.status), (me.as_str(), 0), "{}", there.err);
    assert!(away.run(&["--at", &addr, "status"]).out.starts_with("gw up "));
    assert_eq!(gw.run(&["revoke", me.trim()]).status, 0);
    eventually("he is not let in any more", || away.run(&["--at", &addr, "status"]).status == 125);
}

#[test]
fn flags_of_links_outlive_the_node() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let (addr, token) = invitation(&gw, &[]);
    let b = Home::node("b", &["--loc", "x/y", "--parent", &addr]);
    assert_eq!(b.run(&["join", &addr, &token]).status, 0);
    let before = b.pid();
    crate::home::signal(before, "KILL");
    eventually("the keeper has started another, which is linked", || {
        let info = b.run(&["cat", "self/info.json"]);
        let record: serde_json::Value = serde_json::from_str(&info.out).unwrap_or_default();
        record["pid"] != before && record["parent"] == "gw"
    });
    assert_eq!(b.cat("phys/x/y/b/ctl"), "b\n");
    assert_eq!(b.run(&["down"]).status, 0);
    let up = b.run(&["up", "--no-mount"]);
    assert!(up.out.starts_with("up: b, "), "{}{}", up.out, up.err);
    eventually("it finds its parent again", || b.run(&["status"]).out.contains("below gw"));
}

#[test]
fn nothing_secret_is_told() {
    let gw = Home::node("gw", &["--link", "tls!127.0.0.1!0"]);
    let (addr, token) = invitation(&gw, &[]);
    let b = Home::node("b", &[]);
    assert_eq!(b.run(&["join", &addr, &token]).status, 0);
    for home in [&gw, &b] {
        let state = home.dir.path().join("s");
        for file in files(&state) {
            let text = std::fs::read(&file).unwrap_or_default();
            let found = text.windows(token.len()).any(|part| part == token.as_bytes());
            assert!(!found, "the token is in {}", file.display());
            if file.starts_with(state.join("trust")) {
                let mode = file.metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", file.display());
            }
        }
        let events = home.run(&["cat", "self/info", "self/error"]).out;
        assert!(!events.contains(&token));
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let of = |entry: std::fs::DirEntry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files(&entry.path()),
        kind if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    };
    entries.flat_map(of).collect()
}

/// Hosts that an ssh of our own reaches: each is a home directory on this machine.
struct Hosts {
    dir: tempfile::TempDir,
}

/// What stands where ssh(1) would be: the command is run here, in the host's home directory.
const SSH: &str = r#"#!/bin/sh
while :; do
    case "$1" in
        -o|-p|-l) shift 2;;
        --) shift; break;;
        -*) shift;;
        *) break;;
    esac
done
host=${1##*@}; shift
echo "$host $*" >> "$HOSTS/argv"
[ "$host" = nowhere ] && { echo "ssh: connect to host nowhere port 22: No route to host" >&2; exit 255; }
export HOME="$HOSTS/$host"
mkdir -p "$HOME" && cd "$HOME" || exit 255
unset UEM_STATE UEM_AT XDG_STATE_HOME
[ "$host" = foreign ] && [ "$*" = "uname -m" ] && { echo riscv64; exit; }
exec sh -c "$*"
"#;

impl Hosts {
    fn new() -> Hosts {
        let dir = tempfile::Builder::new().prefix("uem").tempdir().unwrap();
        let ssh = dir.path().join("ssh");
        std::fs::write(&ssh, SSH).unwrap();
        std::fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).unwrap();
        Hosts { dir }
    }

    /// The command of a home, which reaches these hosts.
    fn uem(&self, home: &Home, args: &[&str]) -> Ended {
        let mut command = home.uem(args);
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        ended(command.env("PATH", path).env("HOSTS", self.dir.path()).spawn().unwrap())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in ["h1", "h2", "h3"] {
            let state = self.dir.path().join(host).join(".local/state/uem");
            if state.exists() {
                let mut down = std::process::Command::new(env!("CARGO_BIN_EXE_uem"));
                down.args(["down", "--state"]).arg(state).env_remove("UEM_AT");
                let _was_down = down.spawn().map(|mut child| status(&mut child));
            }
        }
    }
}

#[test]
fn hosts_that_ssh_reaches_are_brought_in() {
    let (gw, hosts) = (Home::node("gw", &["--link", "tls!127.0.0.1!0"]), Hosts::new());
    let words =
        ["join", "ssh!h[1-2]", "ssh!me@h3", "ssh!nowhere", "ssh!foreign", "--no-mount", "--loc", "lab"];
    let join = hosts.uem(&gw, &words);
    assert_eq!(join.status, 125, "{}{}", join.out, join.err);
    for host in ["h1", "h2", "me@h3"] {
        let line = join.out.lines().find(|line| line.starts_with(&format!("{host}: ")));
        assert!(
            line.is_some_and(|line| line.contains("has joined: its parent is gw")),
            "{}{}",
            join.out,
            join.err
        );
    }
    for line in [
        "uem join: nowhere: ssh: connect to host",
        "uem join: foreign: it is a riscv64",
        "uem join: 2 of 5 hosts",
    ] {
        assert!(join.err.lines().any(|said| said.starts_with(line)), "{}", join.err);
    }
    eventually("all are there", || gw.run(&["ls", "net"]).out.lines().count() == 4);
    assert_eq!(gw.run(&["status", "--on", "phys/lab"]).out.lines().count(), 3);
    let where_it_runs = gw.run(&["run", "--on", "phys/lab", "--", "readlink", "-f", "/proc/self/exe"]);
    assert_eq!(where_it_runs.status, 0, "{}", where_it_runs.err);
    let argv = std::fs::read_to_string(hosts.dir.path().join("argv")).unwrap();
    assert!(argv.contains("uem") && !argv.contains("uem1-"), "no command line has a token: {argv}");
    // The same again is no mistake.
    assert_eq!(hosts.uem(&gw, &["join", "ssh!h1", "--no-mount"]).status, 0);
    // And a node is talked to through ssh.
    let there = hosts.uem(&gw, &["--at", "ssh!h1", "cat", "self/ctl"]);
    assert_eq!(there.status, 0, "{}", there.err);
    assert_eq!(gw.run(&["ls", "net"]).out.lines().filter(|name| *name == there.out.trim()).count(), 1);
}
