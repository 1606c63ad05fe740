//! The tree without a mount, and with one; and what explains it.

use crate::home::Home;

#[test]
fn ls_cat_write_and_cp_reach_every_file() {
    let home = Home::up();
    let root = home.run(&["ls"]).out;
    assert!(
        ["clone", "ctl", "net", "self", "status"].iter().all(|name| root.lines().any(|line| line == *name))
    );
    assert!(home.run(&["ls", "-l", "net"]).out.starts_with("dr-xr-xr-x"));
    assert_eq!(home.run(&["ls", "net"]).out, "n\n");
    assert!(home.cat("self/status").starts_with("n up "));
    let id = home.cat("clone");
    let file = |name: &str| format!("self/{}/{name}", id.trim());
    assert_eq!(home.run(&["write", &file("ctl"), "exec", "cat"]).status, 0);
    assert_eq!(home.feed(&["write", "--eof", &file("stdin")], b"typed").status, 0);
    assert_eq!(home.run(&["wait", id.trim()]).status, 0);
    let copy = home.dir.path().join("copy");
    assert_eq!(home.run(&["cp", &format!("uem:{}", file("stdout")), copy.to_str().unwrap()]).status, 0);
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "typed");
    assert_eq!(home.run(&["cp", "uem:net/n/ctl", "-"]).out, "n\n");
    assert_eq!(home.run(&["cp", "a", "b"]).status, 2);
    let wrong = home.run(&["write", &file("ctl"), "frob"]);
    assert!(wrong.status == 125 && wrong.err.contains("known are"), "{}", wrong.err);
    assert_eq!(home.run(&["cat", "no/such"]).err, "uem cat: no/such: No such file or directory\n");
}

#[test]
fn the_tree_can_be_mounted_twice() {
    let home = Home::empty();
    let (own, other) = (home.dir.path().join("own"), home.dir.path().join("other"));
    let up = home.run(&["up", "--name", "n", "--mount", own.to_str().unwrap()]);
    if up.status != 0 && up.err.contains("fuse") {
        return; // a machine without FUSE
    }
    assert_eq!(up.status, 0, "{}", up.err);
    assert_eq!(std::fs::read_to_string(own.join("net/n/ctl")).unwrap(), "n\n");
    let mount = home.run(&["mount", other.to_str().unwrap()]);
    assert_eq!(mount.status, 0, "{}", mount.err);
    assert_eq!(std::fs::read_to_string(other.join("self/ctl")).unwrap(), "n\n");
    let id = std::fs::read_to_string(other.join("clone")).unwrap();
    let dir = other.join("net/n").join(id.trim());
    std::fs::write(dir.join("ctl"), "exec echo hi\n").unwrap();
    assert_eq!(std::fs::read_to_string(dir.join("stdout")).unwrap(), "hi\n");
    assert_eq!(home.run(&["umount", other.to_str().unwrap()]).status, 0);
    assert!(!other.join("self").exists());
    assert_eq!(home.run(&["umount", other.to_str().unwrap()]).status, 125);
}

#[test]
fn it_explains_itself() {
    let home = Home::empty();
    assert!(home.run(&["help", "ctl"]).out.contains("exec prog [arg…]"));
    assert!(home.run(&["help", "files"]).out.contains("topology"));
    assert!(home.run(&["help", "query"]).out.contains("spread=rack"));
    assert!(home.run(&["help", "run"]).out.contains("--timeout"));
    assert_eq!(home.run(&["help", "frob"]).status, 2);
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&["completions", shell]).out.contains("detach"), "{shell}");
    }
    let man = home.dir.path().join("man");
    assert_eq!(home.run(&["man", man.to_str().unwrap()]).status, 0);
    let page = |name: &str| std::fs::read_to_string(man.join(name)).unwrap();
    assert!(page("uem-ctl.5").contains("killonclose") && page("uem-run.1").contains("timeout"));
    let doctor = home.run(&["doctor"]).out;
    assert!(
        doctor.lines().any(|line| line.starts_with("missing  node") && line.ends_with("uem up")),
        "{doctor}"
    );
}

#[test]
fn top_without_a_terminal_is_one_look() {
    let home = Home::up();
    home.run(&["run", "--detach", "sleep", "60"]);
    let top = home.run(&["top"]).out;
    assert!(top.starts_with("1 up; ") && top.contains("\nn up ") && top.contains("sleep 60"), "{top}");
}
