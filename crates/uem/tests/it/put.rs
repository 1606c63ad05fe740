//! Programs that are sent along, over links.

use crate::cloud::Cloud;
use crate::home::{Home, eventually};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// A program of so many bytes that says what it is.
fn program(home: &Home, name: &str, size: usize) -> (String, String) {
    let path = home.dir.path().join(name);
    let mut data = b"#!/bin/sh\nsha256sum \"$0\"; exit 3\n".to_vec();
    let mut seed = 7u64;
    while data.len() < size {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        data.extend(seed.to_le_bytes());
    }
    data.truncate(size);
    std::fs::File::create(&path).unwrap().write_all(&data).unwrap();
    let path = path.to_str().unwrap().to_string();
    let sum = home.sh(&format!("sha256sum < {path}")).out;
    (path, sum.split(' ').next().unwrap().to_string())
}

#[test]
fn a_program_is_sent_once_and_is_the_same_at_the_other_end() {
    let cloud = Cloud::up();
    let size = 16 << 20;
    let (path, sum) = program(&cloud.a, "prog", size);
    let put = format!("{path}=it");
    for round in 0..2 {
        let ran = cloud.a.run(&["run", "--on", "b", "--put", &put, "--", "./it"]);
        assert_eq!((ran.status, ran.out.as_str()), (3, format!("{sum}  ./it\n").as_str()), "{}", ran.err);
        for home in [&cloud.gw, &cloud.b] {
            assert_eq!(home.info("self/info.json", "store_got"), size.to_string(), "round {round}");
        }
        assert_eq!(cloud.a.info("self/info.json", "store_given"), size.to_string());
        assert_eq!(cloud.a.info("self/info.json", "store_got"), "0");
    }
    // What a session was given goes with it.
    let run = cloud.b.dir.path().join("s/run");
    eventually("nothing is left", || std::fs::read_dir(&run).unwrap().count() == 0);
    // After a restart it is still there.
    assert_eq!(cloud.b.run(&["down"]).status, 0);
    assert_eq!(cloud.b.run(&["up", "--no-mount", "--beat", "0.2", "--name", "b"]).status, 0);
    eventually("it is back", || {
        cloud.a.run(&["run", "--on", "b", "--put", &put, "--", "./it"]).out == format!("{sum}  ./it\n")
    });
    assert_eq!(cloud.b.info("self/info.json", "store_got"), "0");
}

#[test]
fn who_is_given_something_cannot_change_what_others_are_given() {
    let home = Home::up();
    let (path, sum) = program(&home, "prog", 100_000);
    let spoil =
        home.run(&["run", "--put", &path, "--", "sh", "-c", "chmod u+w prog; echo x >> prog; echo $?"]);
    assert_eq!(spoil.out, "0\n", "{}", spoil.err);
    let ran = home.run(&["run", "--put", &path, "--", "./prog"]);
    assert_eq!(ran.out, format!("{sum}  ./prog\n"), "{}", ran.err);
}

#[test]
fn another_user_finds_it_too() {
    let home = Home::up();
    if std::fs::metadata(home.dir.path()).unwrap().uid() != 0 {
        return; // only root's node runs anything as somebody else
    }
    let (path, sum) = program(&home, "prog", 100_000);
    assert_eq!(home.run(&["run", "--put", &path, "--", "true"]).status, 0);
    let content = home.run(&["ls", "self/store"]).out.trim().to_string();
    let id = home.cat("self/clone").trim().to_string();
    let ctl = format!("self/{id}/ctl");
    for line in [
        "user nobody",
        &format!("ns put {content} prog"),
        "keep",
        "exec sh -c 'id -un; ./prog; touch own; ls'",
    ] {
        let wrote = home.feed(&["write", &ctl], format!("{line}\n").as_bytes());
        assert_eq!(wrote.status, 0, "{line}: {}", wrote.err);
    }
    home.run(&["wait", &id]);
    assert_eq!(home.cat(&format!("self/{id}/stdout")), format!("nobody\n{sum}  ./prog\nown\nprog\n"));
    assert_eq!(home.feed(&["write", &ctl], b"free\n").status, 0);
}

#[test]
fn what_cannot_be_sent_is_said() {
    let home = Home::node("n", &["--store", "1M"]);
    let (path, _) = program(&home, "prog", 2 << 20);
    for (put, status, says) in [
        (path.as_str(), 125, "the store of n keeps at most 1M"),
        ("/no/such", 125, "/no/such: No such file"),
        ("/etc", 125, "/etc: it is a directory"),
        ("/", 2, "it needs a name: FILE=NAME"),
    ] {
        let ran = home.run(&["run", "--put", put, "--", "true"]);
        assert!(ran.err.contains(says), "{put}: {}", ran.err);
        assert_eq!(ran.status, status, "{put}: {}", ran.err);
    }
}
