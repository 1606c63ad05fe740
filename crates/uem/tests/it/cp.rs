//! `uem cp` to and from the files of several nodes at once.

use crate::home::Home;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Two nodes that offer their files, and one that does not.
fn up() -> (Home, Home, Home) {
    let gw = Home::node("n1", &["--link", "tls!127.0.0.1!0", "--fs"]);
    let (n2, n3) = (Home::node("n2", &["--fs"]), Home::node("n3", &[]));
    n2.join(&gw);
    n3.join(&gw);
    crate::home::eventually("everybody is there", || gw.run(&["ls", "net"]).out == "n1\nn2\nn3\n");
    (gw, n2, n3)
}

#[test]
fn trees_go_to_nodes_and_come_back_as_they_were() {
    let (gw, _n2, _n3) = up();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |path: &std::path::Path| path.to_str().unwrap().to_string();
    let bytes: Vec<u8> = (0..3_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::create_dir_all(at("tree/deep")).unwrap();
    fs::write(at("tree/deep/big"), &bytes).unwrap();
    fs::write(at("tree/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at("tree/run"), fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::symlink("run", at("tree/link")).unwrap();

    std::os::unix::fs::symlink("..", at("tree/deep/up")).unwrap();

    let refused = gw.run(&["cp", &text(&at("tree")), &format!("n1:{}", text(&at("out")))]);
    assert_eq!(refused.status, 2, "a directory needs -r: {}", refused.err);

    // Both nodes are on this machine: of the same files, so they go one after the other.
    let to = format!("n1:{}", text(&at("out")));
    let put = gw.run(&["cp", "-r", &text(&at("tree")), &to]);
    assert_eq!(put.status, 1, "the symbolic link is left out, and said: {}", put.err);
    assert!(put.err.contains("n1: ") && put.err.contains("symbolic link"), "{}", put.err);
    assert!(fs::read(at("out/deep/big")).unwrap() == bytes, "byte for byte");
    assert_eq!(fs::metadata(at("out/run")).unwrap().permissions().mode() & 0o777, 0o751);

    let from = format!("n[1-2]:{}", text(&at("tree")));
    let fetched = gw.run(&["cp", "-r", &from, &text(&at("back"))]);
    assert_eq!(fetched.status, 1, "{}", fetched.err);
    assert_eq!(fetched.err.matches("deep/up leads back").count(), 2, "{}", fetched.err);
    assert_eq!(fetched.err.lines().count(), 2, "{}", fetched.err);
    for node in ["n1", "n2"] {
        let back = at("back").join(node).join("tree");
        assert!(fs::read(back.join("deep/big")).unwrap() == bytes, "{node}");
        assert_eq!(fs::read_to_string(back.join("link")).unwrap(), "#!/bin/sh\n", "what it leads to");
        assert!(!back.join("deep/up").exists(), "it leads back");
        assert_eq!(fs::metadata(back.join("run")).unwrap().permissions().mode() & 0o777, 0o751);
    }
}

#[test]
fn what_fails_at_a_node_is_said_with_its_name_and_stops_no_other() {
    let (gw, _n2, _n3) = up();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let back = dir.path().join("back");
    let got = gw.run(&["cp", &format!("all:{}", file.display()), back.to_str().unwrap()]);
    assert_eq!(got.status, 1);
    assert!(got.err.contains("n3: ") && got.err.contains("uem up --fs"), "{}", got.err);
    assert_eq!(fs::read_to_string(back.join("n1/file")).unwrap(), "x");
    assert_eq!(fs::read_to_string(back.join("n2/file")).unwrap(), "x");

    // Nothing is left of what was not whole, and what is there is written anew.
    let none = gw.run(&["cp", file.to_str().unwrap(), &format!("n2:{}/no/such", dir.path().display())]);
    assert!(none.status == 1 && none.err.contains("n2: "), "{}", none.err);
    let other = dir.path().join("other");
    fs::write(&other, "much longer than that").unwrap();
    let from_node = format!("n2:{}", file.display());
    let over = gw.run(&["cp", &from_node, &format!("node=n1:{}", other.display())]);
    assert_eq!((over.status, over.err.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&other).unwrap(), "x");
    assert_eq!(gw.run(&["cp", &from_node, "n1:relative"]).status, 2);
    let nobody = gw.run(&["cp", file.to_str().unwrap(), "nosuch:/tmp/x"]);
    assert!(nobody.err.contains("no node is called nosuch"), "{}", nobody.err);
}
