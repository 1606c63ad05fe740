//! A link through ssh: a program of the test stands in for it, and carries bytes to the port that is its host's name.

use crate::cloud::Cloud;
use host::dial::Addr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// What ssh is asked to do, `-o BatchMode=yes PORT … uem bridge --link …`, and what it does here.
const SSH: &str = r#"#!/bin/bash
case "$*" in "-o BatchMode=yes $3 "*"uem bridge --link"*) ;; *) echo "what is $*?" >&2; exit 255 ;; esac
exec 3<>"/dev/tcp/127.0.0.1/$3" || { echo "Could not resolve hostname $3" >&2; exit 255; }
cat <&3 &
cat >&3
kill $!
"#;

#[test]
fn a_parent_is_reached_through_ssh() {
    if std::env::var_os(INNER).is_some() {
        return with_a_stand_in();
    }
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join("ssh");
    std::fs::write(&ssh, SSH).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let inner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ssh::a_parent_is_reached_through_ssh", "--nocapture"])
        .env("UEM_SSH", &ssh)
        .env(INNER, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inner.stdout).into_owned() + &String::from_utf8_lossy(&inner.stderr);
    assert!(inner.status.success() && said.contains("1 passed"), "{said}");
}

/// Set in the process that does it: the environment, which says what ssh is, is the whole process's.
const INNER: &str = "UEM_TEST_OF_SSH";

fn with_a_stand_in() {
    let cloud = Cloud::new();
    let mut authority = cloud.found("a");
    cloud.member(&mut authority, "b");
    let a = cloud.up("a", &[]);
    // Nobody listens at port 1.
    let b = cloud.up("b", &[Addr::Ssh("1".into())]);
    let info = b.until_cat("self/info", |said| said.as_ref().is_ok_and(|info| info.contains("ssh: ")));
    assert!(info.as_ref().unwrap().contains("resolve hostname"), "what ssh says is the reason: {info:?}");
    b.kill();
    let b = cloud.up("b", &[Addr::Ssh(a.port().to_string())]);
    a.until("a link", |seen| seen.links == 1);
    b.until("a link", |seen| seen.links == 1);
    assert!(a.until_cat("net/b/status", Result::is_ok).unwrap().starts_with("b up"));
    b.kill();
    a.until("no link: ssh has ended with the node", |seen| seen.conns == 0);
}
