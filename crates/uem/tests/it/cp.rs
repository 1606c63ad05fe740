//! `uem cp` to and from the files of several nodes at once.

use crate::home::{Home, eventually, signal};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Two nodes that offer their files, and one that does not.
fn up() -> (Home, Home, Home) {
    let gw = Home::node("n1", &["--link", "tls!127.0.0.1!0", "--fs"]);
    let (n2, n3) = (Home::node("n2", &["--fs"]), Home::node("n3", &[]));
    n2.join(&gw);
    n3.join(&gw);
    eventually("everybody is there", || gw.run(&["ls", "net"]).out == "n1\nn2\nn3\n");
    (gw, n2, n3)
}

fn noise(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Names in a directory that a copy has left behind.
fn litter(dir: &Path) -> Vec<std::ffi::OsString> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_bytes().starts_with(b".")).collect()
}

/// A tree with everything that can be copied.
fn tree(at: &Path) {
    let deep = at.join((0..40).map(|n| n.to_string()).collect::<Vec<_>>().join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "deep").unwrap();
    fs::write(at.join("big"), noise(3_000_003)).unwrap();
    fs::write(at.join("empty"), "").unwrap();
    fs::write(at.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("run"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::write(at.join("read only"), "r").unwrap();
    fs::set_permissions(at.join("read only"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::write(at.join("new\nline 'quoted' \"twice\" $x \\"), "odd").unwrap();
    fs::write(at.join(OsStr::from_bytes(b"lat\xedn")), "latin").unwrap();
    symlink("run", at.join("link")).unwrap();
    symlink("..", at.join("0/up")).unwrap();
    symlink("/no/such", at.join("dangling")).unwrap();
    fs::create_dir(at.join("closed")).unwrap();
    fs::write(at.join("closed/in"), "in").unwrap();
    fs::set_permissions(at.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
}

/// What is below a directory: path, kind and mode, contents or target, and time.
fn listing(dir: &Path, times: bool) -> Vec<String> {
    let (mut all, mut left) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = match () {
                () if meta.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                () if meta.is_dir() => format!("{:o}", meta.mode()),
                () => format!("{:o} {}", meta.mode(), blake3::hash(&fs::read(&path).unwrap())),
            };
            let time = if times && !meta.is_symlink() { meta.mtime_nsec() + meta.mtime() } else { 0 };
            all.push(format!("{:?} {what} {time}", path.strip_prefix(dir).unwrap()));
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    all.sort();
    all
}

/// Says only what differs.
fn same(is: &[String], should: &[String], what: &str) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (more, less) = (only(is, should), only(should, is));
    assert!(more.is_empty() && less.is_empty(), "{what}: {more:?} instead of {less:?}");
}

#[test]
fn trees_go_to_nodes_and_come_back_as_they_were() {
    let (gw, _n2, _n3) = up();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    tree(&at("tree"));
    let refused = gw.run(&["cp", text(&at("tree")), &format!("n1:{}", text(&at("out")))]);
    assert_eq!(refused.status, 2, "a directory needs -r: {}", refused.err);

    // To one node by itself, and to two, which write the same files of this machine, through their stores.
    for (to, out) in [("n2", "one"), ("n[1-2]", "two")] {
        // What is a directory already is copied into; it is one for both, or the slower one would find what the other made.
        fs::create_dir(at(out)).unwrap();
        let put = gw.run(&["cp", "-rp", text(&at("tree")), &format!("{to}:{}", text(&at(out)))]);
        assert_eq!((put.status, put.err.as_str()), (0, ""), "{to}");
        // Two that write one directory of this machine at once leave its time to whoever is last.
        let times = to == "n2";
        same(&listing(&at(out).join("tree"), times), &listing(&at("tree"), times), to);
        // Over what is there.
        let again = gw.run(&[
            "cp",
            "-rp",
            &format!("{}/.", text(&at("tree"))),
            &format!("{to}:{}/", text(dir.path())),
        ]);
        assert_eq!((again.status, again.err.as_str()), (0, ""), "{to}");
        same(&listing(&at("tree"), times), &listing(&at(out).join("tree"), times), "of itself");
    }
    let fetched = gw.run(&["cp", "-rp", &format!("n[1-2]:{}", text(&at("tree"))), text(&at("back"))]);
    assert_eq!((fetched.status, fetched.err.as_str()), (0, ""));
    for node in ["n1", "n2"] {
        same(&listing(&at("back").join(node).join("tree"), true), &listing(&at("tree"), true), node);
    }
    // From a node to nodes, through a directory of our own.
    fs::create_dir(at("three")).unwrap();
    fs::create_dir(at("four")).unwrap();
    let over = gw.run(&[
        "cp",
        "-r",
        &format!("n2:{}", text(&at("tree"))),
        &format!("n[1-2]:{}", text(&at("three"))),
    ]);
    assert_eq!((over.status, over.err.as_str()), (0, ""));
    same(&listing(&at("three/tree"), false), &listing(&at("tree"), false), "over");
    // A pipe is left out and said once; the rest is there.
    rustix::fs::mknodat(rustix::fs::CWD, at("tree/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let piped = gw.run(&["cp", "-r", text(&at("tree")), &format!("n[1-2]:{}", text(&at("four")))]);
    assert_eq!(piped.status, 1);
    assert_eq!(piped.err.matches("is a named pipe: left out").count(), 1, "{}", piped.err);
    same(&listing(&at("four/tree"), false), &listing(&at("three/tree"), false), "over");
}

#[test]
fn what_goes_to_several_nodes_goes_over_each_link_once() {
    let n1 = Home::node("n1", &["--link", "tls!127.0.0.1!0", "--fs"]);
    let [n2, n3, n4] = ["n2", "n3", "n4"].map(|name| Home::node(name, &["--fs"]));
    n2.join(&n1);
    let mut port = String::new();
    eventually("n2 listens too", || {
        let link = n2.info("self/info.json", "link");
        port = link.strip_prefix("tls!*!").unwrap_or_default().to_string();
        !port.is_empty()
    });
    for leaf in [&n3, &n4] {
        let invite = n1.run(&["invite"]).out;
        let token = invite.split_whitespace().last().unwrap();
        let joined = leaf.run(&["join", &format!("tls!127.0.0.1!{port}"), token]);
        assert!(joined.out.contains("its parent is n2"), "{}{}", joined.out, joined.err);
    }
    eventually("everybody is there", || n1.run(&["ls", "net"]).out == "n1\nn2\nn3\nn4\n");
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("file"), dir.path().join("out"));
    fs::write(&file, noise(5_000_000)).unwrap();
    for round in 0..2 {
        let put = n1.run(&["cp", text(&file), &format!("all:{}", text(&out))]);
        assert_eq!((put.status, put.err.as_str()), (0, ""), "round {round}");
        assert!(fs::read(&out).unwrap() == noise(5_000_000));
        for (node, got, given) in [("n1", 0, 1), ("n2", 1, 2), ("n3", 1, 0), ("n4", 1, 0)] {
            let said = |key| n1.info(&format!("net/{node}/info.json"), key);
            let times = |n: u64| (n * 5_000_000).to_string();
            assert_eq!(
                (said("store_got"), said("store_given")),
                (times(got), times(given)),
                "{node} {round}"
            );
        }
    }
    assert!(litter(dir.path()).is_empty());
    // From the other end of the tree it goes up and down.
    fs::write(&file, noise(1_000_000)).unwrap();
    let put = n4.run(&["cp", "-p", text(&file), &format!("n[1,3]:{}", text(&out))]);
    assert_eq!((put.status, put.err.as_str()), (0, ""));
    assert_eq!(
        fs::metadata(&out).unwrap().modified().unwrap(),
        fs::metadata(&file).unwrap().modified().unwrap()
    );
}

#[test]
fn what_fails_at_a_node_is_said_with_its_name_and_stops_no_other() {
    let (gw, n2, _n3) = up();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let back = dir.path().join("back");
    let got = gw.run(&["cp", &format!("all:{}", file.display()), text(&back)]);
    assert_eq!(got.status, 1);
    assert!(got.err.contains("n3: ") && got.err.contains("uem up --fs"), "{}", got.err);
    assert_eq!(fs::read_to_string(back.join("n1/file")).unwrap(), "x");
    assert_eq!(fs::read_to_string(back.join("n2/file")).unwrap(), "x");
    let put = gw.run(&["cp", text(&file), &format!("all:{}/put", dir.path().display())]);
    assert_eq!(put.status, 1);
    assert!(put.err.lines().count() == 1 && put.err.contains("n3: "), "{}", put.err);
    assert_eq!(fs::read_to_string(dir.path().join("put")).unwrap(), "x");

    // Nothing is left of what was not whole, and what is there is written anew.
    let none = gw.run(&["cp", text(&file), &format!("n2:{}/no/such", dir.path().display())]);
    assert!(none.status == 1 && none.err.contains("n2: "), "{}", none.err);
    let other = dir.path().join("other");
    fs::write(&other, "much longer than that").unwrap();
    let from_node = format!("n2:{}", file.display());
    let over = gw.run(&["cp", &from_node, &format!("node=n1:{}", other.display())]);
    assert_eq!((over.status, over.err.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&other).unwrap(), "x");
    assert_eq!(gw.run(&["cp", &from_node, "n1:relative"]).status, 2);
    let nobody = gw.run(&["cp", text(&file), "nosuch:/tmp/x"]);
    assert!(nobody.err.contains("no node is called nosuch"), "{}", nobody.err);
    let device = gw.run(&["cp", text(&file), "n2:/dev/null"]);
    assert!(device.status == 1 && !fs::metadata("/dev/null").unwrap().is_file(), "{}", device.err);
    assert!(litter(dir.path()).is_empty());

    // One stands still, and dies in the middle of it: the other has it, and who did not is said.
    fs::write(&file, noise(2_000_000)).unwrap();
    let pid = n2.pid();
    signal(pid, "STOP");
    let cp = gw.uem(&["cp", text(&file), &format!("n[1-2]:{}", other.display())]).spawn().unwrap();
    eventually("n1 has it", || fs::metadata(&other).is_ok_and(|meta| meta.len() == 2_000_000));
    signal(pid, "KILL");
    let ended = crate::home::ended(cp);
    assert_eq!(ended.status, 1, "{}", ended.err);
    assert!(ended.err.contains("n2: ") && !ended.err.contains("n1: "), "{}", ended.err);
    assert!(fs::read(&other).unwrap() == noise(2_000_000));
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one() {
    let (gw, _n2, _n3) = up();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a"), vec![b'a'; 700_000]).unwrap();
    fs::write(at("b"), vec![b'b'; 900_000]).unwrap();
    fs::copy(at("a"), at("out")).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0; 2];
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let data = fs::read(at("out")).unwrap();
                let first = data[0];
                assert!(
                    data.iter().all(|b| *b == first) && matches!(data.len(), 700_000 | 900_000),
                    "{}",
                    data.len()
                );
                seen[usize::from(first - b'a')] += 1;
            }
            seen
        });
        for round in 0..8 {
            let (file, to) =
                (if round % 2 == 0 { "b" } else { "a" }, if round % 4 < 2 { "n2" } else { "n[1-2]" });
            let put = gw.run(&["cp", text(&at(file)), &format!("{to}:{}", text(&at("out")))]);
            assert_eq!((put.status, put.err.as_str()), (0, ""), "{round}");
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let seen = reader.join().unwrap();
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    });
    // Stopped by a signal in the middle, nothing is changed and nothing left behind.
    let big = fs::File::create(at("big")).unwrap();
    big.set_len(4 << 30).unwrap();
    let cp = gw.uem(&["cp", text(&at("big")), &format!("n2:{}", text(&at("out")))]).spawn().unwrap();
    eventually("it is on its way", || !litter(dir.path()).is_empty());
    signal(cp.id(), "INT");
    let ended = crate::home::ended(cp);
    assert_eq!(ended.status, 130, "{}", ended.err);
    assert!(litter(dir.path()).is_empty());
    assert_eq!(fs::metadata(at("out")).unwrap().len(), 700_000);
}
