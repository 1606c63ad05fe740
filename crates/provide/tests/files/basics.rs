//! Walks, reads, writes, listings.

use crate::asking::{Asker, BOTH, READ, WRITE, me, steps};
use op::{Errno, Fid, FileKind, Op, Reply, SetStat, Shape};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn what_is_written_in_pieces_is_read_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let data = bytes(3 << 20);
    let fid = asker.create(root, &dir.path().join("big"), 0o640, WRITE).unwrap();
    for (i, piece) in data.chunks(300_000).enumerate() {
        assert_eq!(asker.write(fid, i as u64 * 300_000, piece), Reply::Wrote(piece.len() as u32));
    }
    assert_eq!(asker.call(Op::Clunk { fid }), Reply::Done);
    assert_eq!(fs::read(dir.path().join("big")).unwrap(), data);

    let fid = asker.open(root, &dir.path().join("big"), READ).unwrap();
    assert_eq!(asker.read(fid, 5, 1 << 30), data[5..5 + (1 << 20)], "as much as one read may give");
    // Asked for all at once, answered in order.
    let tags: Vec<_> = (0..data.len().div_ceil(70_000))
        .map(|i| asker.ask(Op::Read { fid, offset: i as u64 * 70_000, count: 70_000, wait: true }))
        .collect();
    let read: Vec<u8> = tags
        .into_iter()
        .flat_map(|tag| match asker.wait(tag) {
            Reply::Data(data) => data,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(read == data);
    assert_eq!(asker.read(fid, 3 << 20, 100), b"", "the end");
    assert_eq!(asker.write(fid, 0, b"x"), failed(Errno::BADF, &asker.write(fid, 0, b"x")));
    let stat = asker.stat(fid);
    assert_eq!((stat.name.as_str(), stat.size, stat.mode), ("big", 3 << 20, 0o640));
}

/// The reply again, if it fails like this with a sentence.
fn failed(errno: Errno, reply: &Reply) -> Reply {
    match reply {
        Reply::Failed(error) if error.errno == errno && !error.cause.is_empty() => reply.clone(),
        other => panic!("{errno:?} is not {other:?}"),
    }
}

#[test]
fn requests_that_follow_a_walk_need_not_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "text").unwrap();
    let mut asker = Asker::new();
    let fid = asker.fid();
    let user = me();
    let attach = asker.ask_as(Op::Attach { fid, user: String::new(), tree: String::new() }, Some(&user));
    let newfid = asker.fid();
    let walk = asker.ask(Op::Walk { fid, newfid, names: steps(&dir.path().join("a")) });
    let open = asker.ask(Op::Open { fid: newfid, access: READ });
    let read = asker.ask(Op::Read { fid: newfid, offset: 0, count: 10, wait: true });
    let clunk = asker.ask(Op::Clunk { fid: newfid });
    assert_eq!(asker.wait(clunk), Reply::Done);
    assert_eq!(asker.wait(read), Reply::Data(b"text".to_vec()));
    assert!(matches!(asker.wait(open), Reply::Opened(_, Shape::Text)));
    assert!(matches!(asker.wait(walk), Reply::Walked(_)));
    assert!(matches!(asker.wait(attach), Reply::Attached(_)));
    // And of one that leads nowhere, all fail.
    let walk = asker.ask(Op::Walk { fid, newfid, names: vec!["nosuch".into()] });
    let open = asker.ask(Op::Open { fid: newfid, access: READ });
    failed(Errno::NOENT, &asker.wait(walk));
    failed(Errno::BADF, &asker.wait(open));
    failed(Errno::BADF, &asker.call(Op::Stat { fid: newfid }));
}

#[test]
fn a_walk_goes_as_far_as_it_can_and_binds_nothing_short_of_its_end() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "").unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let top = asker.walk(root, dir.path()).unwrap();
    let newfid = asker.fid();
    let walk =
        |names: &[&str]| Op::Walk { fid: top, newfid, names: names.iter().map(|n| n.to_string()).collect() };
    for (names, done) in [(&["d", "no", "f"][..], 1), (&["d", "f", "x"], 2), (&["d", "f", ".."], 2)] {
        match asker.call(walk(names)) {
            Reply::Walked(qids) => assert_eq!(qids.len(), done, "{names:?}"),
            other => panic!("{other:?}"),
        }
        failed(Errno::BADF, &asker.call(Op::Stat { fid: newfid }));
    }
    for (names, errno) in [
        (&[""][..], Errno::NOENT),
        (&["a/b"], Errno::INVAL),
        (&["a\0"], Errno::INVAL),
        (&["no"], Errno::NOENT),
    ] {
        failed(errno, &asker.call(walk(names)));
    }
    let long = "n".repeat(256);
    failed(Errno::NAMETOOLONG, &asker.call(walk(&[&long])));
    // The parent of the root is the root.
    let Reply::Walked(qids) = asker.call(Op::Walk { fid: root, newfid, names: vec!["..".into(); 3] }) else {
        panic!("the root has a parent")
    };
    assert!(qids.iter().all(|qid| qid.kind == FileKind::Dir && *qid == qids[0]));
    assert_eq!(asker.stat(newfid).name, "/");
    // No names: the same file again; and a fid that is in use is not made.
    let again = asker.fid();
    assert_eq!(asker.call(Op::Walk { fid: top, newfid: again, names: vec![] }), Reply::Walked(vec![]));
    assert_eq!(asker.stat(again), asker.stat(top));
    failed(Errno::BADF, &asker.call(Op::Walk { fid: top, newfid: again, names: vec![] }));
}

#[test]
fn five_thousand_entries_are_listed_once_each_whatever_the_piece() {
    let dir = tempfile::tempdir().unwrap();
    let names: BTreeSet<String> = (0..5000).map(|i| format!("file-{i:05}-{}", "x".repeat(i % 40))).collect();
    names.iter().for_each(|name| fs::write(dir.path().join(name), "12345").unwrap());
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, dir.path(), READ).unwrap();
    for count in [7, 100, 100_000] {
        let listed: Vec<_> = match count {
            100_000 => {
                let Reply::Listed(all) = asker.call(Op::List { fid, cookie: 0, count }) else { panic!() };
                assert!(all.len() <= 4096, "a listing has a bound");
                continue;
            }
            _ => asker.list(fid, count),
        };
        assert_eq!(listed.len(), 5000);
        assert!(listed.iter().all(|entry| entry.stat.size == 5 && entry.cookie != 0));
        assert_eq!(listed.into_iter().map(|entry| entry.stat.name).collect::<BTreeSet<_>>(), names);
    }
    failed(Errno::ISDIR, &asker.call(Op::Read { fid, offset: 0, count: 10, wait: true }));
}

#[test]
fn a_deep_path_is_walked_in_one_request_and_names_need_not_be_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut path = dir.path().to_path_buf();
    (0..50).for_each(|i| path.push(format!("level{i}")));
    fs::create_dir_all(&path).unwrap();
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"lat\xedn"));
    fs::write(path.join(odd), "here").unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let list = asker.open(root, &path, READ).unwrap();
    let names: Vec<String> = asker.list(list, 10).into_iter().map(|entry| entry.stat.name).collect();
    assert_eq!(names.len(), 1);
    let fid = asker.open(root, &path.join(&names[0]), READ).unwrap();
    assert_eq!(asker.read(fid, 0, 10), b"here");
    assert_eq!(asker.stat(fid).name, names[0]);
    let too_many = Op::Walk { fid: root, newfid: Fid(9999), names: vec!["x".into(); 65] };
    failed(Errno::INVAL, &asker.call(too_many));
}

#[test]
fn links_are_links_and_in_the_plain_tree_what_they_lead_to() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/f"), "in it").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    symlink("nowhere", dir.path().join("broken")).unwrap();
    symlink("/proc/self/fd/0", dir.path().join("sly")).unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let link = asker.walk(root, &dir.path().join("link")).unwrap();
    assert_eq!(asker.call(Op::ReadLink { fid: link }), Reply::Linked("real".into()));
    assert_eq!(asker.stat(link).qid.kind, FileKind::Link);
    failed(Errno::LOOP, &asker.call(Op::Open { fid: link, access: READ }));
    assert_eq!(asker.walk(root, &dir.path().join("link/f")).unwrap_err().errno, Errno::NOENT);
    let real = asker.walk(root, &dir.path().join("real")).unwrap();
    failed(Errno::INVAL, &asker.call(Op::ReadLink { fid: real }));

    let plain = asker.attach(&me(), "plain");
    let fid = asker.open(plain, &dir.path().join("link/f"), READ).unwrap();
    assert_eq!(asker.read(fid, 0, 10), b"in it");
    assert_eq!(asker.stat(fid).qid.path, {
        let f = asker.walk(root, &dir.path().join("real/f")).unwrap();
        asker.stat(f).qid.path
    });
    assert!(asker.walk(plain, &dir.path().join("broken")).is_err());
    assert!(asker.walk(plain, &dir.path().join("sly")).is_err(), "what the node has open is its own");
    let list = asker.open(plain, dir.path(), READ).unwrap();
    assert!(asker.list(list, 10).iter().all(|entry| entry.stat.qid.kind != FileKind::Link));
}

#[test]
fn files_are_made_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let (sub, file) = (dir.path().join("sub"), dir.path().join("sub/f"));
    let made = asker.create(root, &sub, 0o040_777, READ).unwrap();
    assert_eq!(fs::metadata(&sub).unwrap().permissions().mode() & 0o777, 0o777, "no umask but the asker's");
    assert_eq!(asker.list(made, 10), vec![]);
    let fid = asker.create(root, &file, 0o666, BOTH).unwrap();
    assert_eq!(asker.create(root, &file, 0o666, BOTH).unwrap_err().errno, Errno::EXIST);
    assert_eq!(asker.write(fid, 0, b"0123456789"), Reply::Wrote(10));
    let before = asker.stat(fid);
    let set = SetStat { mode: Some(0o444), size: Some(4), ..SetStat::default() };
    assert_eq!(asker.call(Op::SetStat { fid, set }), Reply::Done);
    let after = asker.stat(fid);
    assert_eq!((after.mode, after.size), (0o444, 4));
    assert_eq!(after.qid.path, before.qid.path);
    assert_eq!(asker.read(fid, 0, 100), b"0123");
    let cut = asker.walk(root, &file).unwrap();
    let set = SetStat { size: Some(1), ..SetStat::default() };
    assert_eq!(
        asker.call(Op::SetStat { fid: cut, set }),
        if rustix::process::geteuid().is_root() {
            Reply::Done
        } else {
            failed(Errno::ACCES, &asker.call(Op::SetStat { fid: cut, set: SetStat::default() }))
        }
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let whole = asker.walk(root, &file).unwrap();
    let access = op::Access { truncate: true, ..WRITE };
    assert!(matches!(asker.call(Op::Open { fid: whole, access }), Reply::Opened(..)));
    assert_eq!(fs::metadata(&file).unwrap().size(), 0);

    let full = asker.walk(root, &sub).unwrap();
    failed(Errno::NOTEMPTY, &asker.call(Op::Remove { fid: full }));
    failed(Errno::BADF, &asker.call(Op::Stat { fid: full }));
    // Removed while it is open here, it can be read on.
    assert_eq!(asker.write(fid, 0, b"still here"), Reply::Wrote(10));
    assert_eq!(asker.call(Op::Remove { fid: whole }), Reply::Done);
    assert!(!file.exists());
    assert_eq!(asker.read(fid, 0, 100), b"still here");
    assert_eq!(asker.stat(fid).name, "f");
    failed(Errno::NOENT, &asker.call(Op::Remove { fid }));
    let empty = asker.walk(root, &sub).unwrap();
    assert_eq!(asker.call(Op::Remove { fid: empty }), Reply::Done);
    assert!(!sub.exists());
    let top = asker.walk(root, Path::new("/")).unwrap();
    failed(Errno::BUSY, &asker.call(Op::Remove { fid: top }));
}

#[test]
fn a_file_that_was_renamed_is_removed_by_its_new_name_and_no_other_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, "mine").unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.walk(root, &a).unwrap();
    fs::rename(&a, &b).unwrap();
    fs::write(&a, "another's").unwrap();
    assert_eq!(asker.stat(fid).name, "b");
    assert_eq!(asker.call(Op::Remove { fid }), Reply::Done);
    assert!(a.exists() && !b.exists());
    // What has no name any more is not taken for a file whose name looks like what the kernel says of it.
    let lookalike = dir.path().join("a (deleted)");
    fs::write(&lookalike, "somebody's").unwrap();
    let fid = asker.walk(root, &a).unwrap();
    fs::remove_file(&a).unwrap();
    assert_eq!(asker.stat(fid).name, "a");
    failed(Errno::STALE, &asker.call(Op::Remove { fid }));
    assert!(lookalike.exists());
}

#[test]
fn files_of_proc_are_read_but_not_those_of_the_node_itself() {
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, Path::new("/proc/version"), READ).unwrap();
    assert!(asker.read(fid, 0, 100).starts_with(b"Linux"));
    let own = format!("/proc/{}", std::process::id());
    for path in ["/proc/thread-self", "/proc/self"] {
        assert!(asker.walk(root, Path::new(path)).is_ok(), "links say where they lead");
    }
    assert!(asker.walk(root, Path::new(&own)).is_ok());
    assert!(asker.open(root, &Path::new(&own).join("mounts"), READ).is_ok());
    // A thread of ours that is there until we are through: those of other tests come and go.
    let (tell, told) = std::sync::mpsc::channel();
    let (_until, over) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        over.recv()
    });
    let thread = told.recv().unwrap();
    for below in ["environ", "mem", "maps", "fd", "task", "root", "cwd", "exe"] {
        for who in [&own, &format!("/proc/{thread}")] {
            let path = Path::new(who).join(below);
            let newfid = asker.fid();
            let names = steps(&path);
            match asker.call(Op::Walk { fid: root, newfid, names }) {
                Reply::Walked(qids) => assert_eq!(qids.len(), 2, "{path:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
    let plain = asker.attach(&me(), "plain");
    for path in ["/proc/self/environ", "/dev/fd", "/proc/self/fd/0", "/dev/stdin"] {
        assert!(asker.walk(plain, Path::new(path)).is_err(), "{path}");
    }
    let tty = asker.walk(root, Path::new("/dev/tty")).unwrap();
    failed(Errno::NXIO, &asker.call(Op::Open { fid: tty, access: READ }));
}

#[test]
fn nonsense_is_answered() {
    let mut asker = Asker::new();
    let fid = Fid(77);
    for op in [Op::Stat { fid }, Op::Clunk { fid }, Op::Remove { fid }, Op::Open { fid, access: READ }] {
        failed(Errno::BADF, &asker.call(op));
    }
    assert_eq!(asker.call(Op::Flush { tag: op::Tag(123_456) }), Reply::Done);
    let nobody = Op::Attach { fid, user: "root".into(), tree: String::new() };
    failed(Errno::ACCES, &asker.call(nobody));
    let root = asker.attach(&me(), "");
    failed(Errno::BADF, &asker.call(Op::Read { fid: root, offset: 0, count: 1, wait: true }));
    failed(Errno::BADF, &asker.call(Op::List { fid: root, cookie: 0, count: 1 }));
    failed(Errno::INVAL, &asker.call(Op::Open { fid: root, access: op::Access::default() }));
    failed(Errno::ISDIR, &asker.call(Op::Open { fid: root, access: WRITE }));
    assert!(matches!(asker.call(Op::Open { fid: root, access: READ }), Reply::Opened(..)));
    failed(Errno::BADF, &asker.call(Op::Open { fid: root, access: READ }));
    failed(Errno::INVAL, &asker.call(Op::List { fid: root, cookie: u64::MAX, count: 1 }));
}
