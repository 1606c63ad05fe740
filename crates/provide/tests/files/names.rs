//! Renaming, symbolic links, times.

use crate::asking::{Asker, is_root, me, steps, user};
use op::{Errno, Fid, FileKind, Mtime, Op, Reply, SetStat, Wall};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

const ONE: u32 = 71_001;

fn rename(fid: Fid, name: &str, dir: Fid, to: &str) -> Op {
    Op::Rename { fid, name: name.into(), dir, to: to.into(), replace: true }
}

fn errno(reply: &Reply) -> Errno {
    match reply {
        Reply::Failed(error) => error.errno,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_renamed_in_its_directory_and_into_another() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("a"), "a").unwrap();
    fs::write(at("b"), "b").unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let (here, sub) = (asker.walk(root, dir.path()).unwrap(), asker.walk(root, &at("sub")).unwrap());
    assert_eq!(asker.call(rename(here, "a", here, "b")), Reply::Done, "in place of what is there");
    assert_eq!(fs::read_to_string(at("b")).unwrap(), "a");
    assert_eq!(asker.call(rename(here, "b", sub, "c")), Reply::Done);
    assert_eq!(fs::read_to_string(at("sub/c")).unwrap(), "a");
    assert_eq!(asker.call(rename(here, "sub", here, "dir")), Reply::Done);
    assert_eq!(
        asker.call(rename(sub, "c", here, "back")),
        Reply::Done,
        "a fid is of the file, not of its name"
    );
    fs::write(at("other"), "other").unwrap();
    let careful =
        Op::Rename { fid: here, name: "back".into(), dir: here, to: "other".into(), replace: false };
    assert_eq!(errno(&asker.call(careful)), Errno::EXIST);
    assert_eq!(fs::read_to_string(at("other")).unwrap(), "other");
    for (name, to, refused) in [
        ("none", "x", Errno::NOENT),
        ("dir", "other", Errno::NOTDIR),
        ("other", "dir", Errno::ISDIR),
        ("..", "x", Errno::BUSY),
        ("other", "..", Errno::EXIST),
        ("other", ".", Errno::NOENT),
        ("other", "", Errno::NOENT),
        ("other", "dir/x", Errno::INVAL),
        ("../other", "x", Errno::INVAL),
        ("other", "x\0y", Errno::INVAL),
    ] {
        assert_eq!(errno(&asker.call(rename(here, name, here, to))), refused, "{name:?} {to:?}");
    }
    let Reply::Failed(error) = asker.call(rename(here, "none", sub, "x")) else { panic!() };
    let said = format!("cannot rename {} to {}: No such", at("none").display(), at("dir/x").display());
    assert!(error.cause.contains(&said), "{error}");
}

#[test]
fn a_second_directory_is_waited_for_and_its_fid_may_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("to")).unwrap();
    fs::write(dir.path().join("a"), "a").unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let here = asker.walk(root, dir.path()).unwrap();
    // In one flight, and the walk in two parts, as it comes over a link.
    for round in 0..50 {
        let (to, (from, name, other)) = (
            asker.fid(),
            match round % 2 {
                0 => (here, "a", "b"),
                _ => (here, "b", "a"),
            },
        );
        asker.ask(Op::Walk { fid: root, newfid: to, names: steps(dir.path()) });
        asker.ask(Op::Walk { fid: to, newfid: to, names: vec!["to".into()] });
        let there = asker.ask(rename(from, name, to, other));
        let back = asker.ask(rename(to, other, from, other));
        asker.ask(Op::Clunk { fid: to });
        assert_eq!(asker.wait(there), Reply::Done, "{round}");
        assert_eq!(asker.wait(back), Reply::Done, "{round}");
        assert!(dir.path().join(other).exists());
    }
    // One that is not there, and one that is given up.
    let to = asker.fid();
    asker.ask(Op::Walk { fid: root, newfid: to, names: vec!["no such".into()] });
    let lost = asker.ask(rename(here, "a", to, "b"));
    let next = asker.ask(Op::Stat { fid: here });
    assert_eq!(errno(&asker.wait(lost)), Errno::BADF);
    assert!(matches!(asker.wait(next), Reply::Stat(_)), "what comes after it is done");
    let to = asker.fid();
    asker.ask(Op::Walk { fid: root, newfid: to, names: steps(&dir.path().join("to")) });
    let given_up = asker.ask(rename(here, "a", to, "b"));
    assert_eq!(asker.call(Op::Flush { tag: given_up }), Reply::Done);
    assert!(matches!(asker.call(Op::Stat { fid: here }), Reply::Stat(_)));
    assert!(!asker.answered(given_up));
    let nobody = asker.fid();
    assert_eq!(errno(&asker.call(rename(here, "a", nobody, "b"))), Errno::BADF);
}

#[test]
fn who_may_not_write_both_directories_renames_nothing() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("open", 0o777), ("sticky", 0o1777), ("closed", 0o755)] {
        fs::create_dir(at(name)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        fs::write(at(name).join("f"), name).unwrap();
    }
    let mut asker = Asker::new();
    let (one, root) = (asker.attach(&user(ONE, &[ONE]), ""), asker.attach(&me(), ""));
    let fid = |asker: &mut Asker, who, name: &str| asker.walk(who, &at(name)).unwrap();
    let open = fid(&mut asker, one, "open");
    let closed = fid(&mut asker, one, "closed");
    let sticky = fid(&mut asker, one, "sticky");
    assert_eq!(errno(&asker.call(rename(closed, "f", open, "g"))), Errno::ACCES);
    assert_eq!(errno(&asker.call(rename(open, "f", closed, "f"))), Errno::ACCES);
    assert_eq!(errno(&asker.call(rename(closed, "f", closed, "g"))), Errno::ACCES);
    assert_eq!(errno(&asker.call(rename(sticky, "f", open, "g"))), Errno::PERM, "another's, in a sticky one");
    assert_eq!(
        errno(&asker.call(Op::Symlink { fid: closed, name: "l".into(), target: "f".into() })),
        Errno::ACCES
    );
    // Nobody borrows another's fid.
    let roots = fid(&mut asker, root, "closed");
    assert_eq!(errno(&asker.call(rename(open, "f", roots, "g"))), Errno::PERM);
    assert_eq!(errno(&asker.call(rename(roots, "f", open, "g"))), Errno::PERM);
    assert_eq!(asker.call(rename(open, "f", open, "g")), Reply::Done);
    assert_eq!(fs::read_to_string(at("closed/f")).unwrap(), "closed");
}

#[test]
fn links_are_made_and_lead_where_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let here = asker.walk(root, dir.path()).unwrap();
    let link = |name: &str, target: &str| Op::Symlink { fid: here, name: name.into(), target: target.into() };
    let Reply::Made(qid) = asker.call(link("l", "no/such")) else { panic!() };
    assert_eq!(qid.kind, FileKind::Link);
    assert_eq!(fs::read_link(at("l")).unwrap(), Path::new("no/such"));
    let fid = asker.walk(root, &at("l")).unwrap();
    assert_eq!(asker.stat(fid).qid, qid);
    assert_eq!(asker.call(Op::ReadLink { fid }), Reply::Linked("no/such".into()));
    for (name, target, refused) in [
        ("l", "x", Errno::EXIST),
        ("..", "x", Errno::EXIST),
        ("a/b", "x", Errno::INVAL),
        ("m", "", Errno::NOENT),
        ("m", "x\0", Errno::INVAL),
        ("m", &"x".repeat(5000), Errno::NAMETOOLONG),
    ] {
        assert_eq!(errno(&asker.call(link(name, target))), refused, "{name} {target}");
    }
    // A link is renamed itself, and not what it leads to.
    fs::write(at("f"), "f").unwrap();
    symlink("f", at("to_f")).unwrap();
    assert_eq!(asker.call(rename(here, "to_f", here, "g")), Reply::Done);
    assert!(at("g").is_symlink() && !at("f").is_symlink());
}

#[test]
fn a_file_keeps_the_time_that_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "f").unwrap();
    symlink("nowhere", dir.path().join("l")).unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    for name in ["f", "l"] {
        let fid = asker.walk(root, &dir.path().join(name)).unwrap();
        let mut set = |mtime| {
            let set = SetStat { mtime: Some(mtime), ..SetStat::default() };
            assert_eq!(asker.call(Op::SetStat { fid, set }), Reply::Done, "{name}");
            fs::symlink_metadata(dir.path().join(name)).unwrap()
        };
        let meta = set(Mtime::At(Wall(1_000_000_000_000_000_007)));
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 7), "{name}");
        let meta = set(Mtime::Now);
        assert!(meta.modified().unwrap().elapsed().unwrap().as_secs() < 3600, "{name}: now is now");
    }
}
