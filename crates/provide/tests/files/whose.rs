//! With whose rights files are looked at.

use crate::asking::{Asker, BOTH, READ, WRITE, is_root, me, user};
use op::{Errno, Op, Reply, SetStat, Uid};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

const ONE: u32 = 71_001;
const TWO: u32 = 71_002;
const TEAM: u32 = 71_100;

#[test]
fn a_user_reads_and_writes_what_he_may_and_nothing_else() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = |name: &str, uid, gid, mode| {
        let path = dir.path().join(name);
        fs::write(&path, name).unwrap();
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let own = made("own", ONE, ONE, 0o600);
    let team = made("team", TWO, TEAM, 0o060);
    let others = made("others", TWO, TWO, 0o600);
    let roots = made("roots", 0, 0, 0o600);
    let mut asker = Asker::new();
    let one = asker.attach(&user(ONE, &[ONE, TEAM]), "");
    let two = asker.attach(&user(TWO, &[TWO]), "");
    let root = asker.attach(&me(), "");
    // In turns, so that threads change users.
    for _ in 0..20 {
        for (who, path, errno) in [
            (one, &own, None),
            (two, &own, Some(Errno::ACCES)),
            (root, &own, None),
            (one, &team, None),
            (two, &team, Some(Errno::ACCES)),
            (one, &others, Some(Errno::ACCES)),
            (two, &others, None),
            (one, &roots, Some(Errno::ACCES)),
            (root, &roots, None),
        ] {
            match (asker.open(who, path, BOTH), errno) {
                (Ok(fid), None) => {
                    assert_eq!(asker.read(fid, 0, 100), path.file_name().unwrap().as_encoded_bytes());
                    asker.call(Op::Clunk { fid });
                }
                (Err(error), Some(errno)) => {
                    assert_eq!(error.errno, errno);
                    assert!(error.cause.contains("cannot open") && error.cause.contains("Permission denied"));
                }
                (is, _) => panic!("{path:?}: {is:?}"),
            }
        }
    }
    let denied = asker.walk(two, &own).unwrap();
    for set in [
        SetStat { mode: Some(0o666), ..SetStat::default() },
        SetStat { size: Some(0), ..SetStat::default() },
        SetStat { uid: Some(TWO), ..SetStat::default() },
    ] {
        let Reply::Failed(error) = asker.call(Op::SetStat { fid: denied, set }) else { panic!() };
        assert!(matches!(error.errno, Errno::PERM | Errno::ACCES), "{error:?}");
    }
    let Reply::Failed(error) = asker.call(Op::Remove { fid: denied }) else { panic!() };
    assert_eq!(error.errno, Errno::ACCES);
    let given = asker.walk(root, &own).unwrap();
    let set = SetStat { uid: Some(TWO), gid: Some(TEAM), ..SetStat::default() };
    assert_eq!(asker.call(Op::SetStat { fid: given, set }), Reply::Done);
    let meta = fs::metadata(&own).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (TWO, TEAM));
}

#[test]
fn what_a_user_makes_is_his() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut asker = Asker::new();
    for (uid, gid) in [(ONE, TEAM), (TWO, TWO)] {
        let root = asker.attach(&user(uid, &[gid]), "");
        let (file, sub) = (dir.path().join(format!("f{uid}")), dir.path().join(format!("d{uid}")));
        asker.create(root, &file, 0o600, WRITE).unwrap();
        asker.create(root, &sub, 0o040_700, READ).unwrap();
        for path in [file, sub] {
            let meta = fs::metadata(path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (uid, gid));
        }
    }
    let (one, two) = (asker.attach(&user(ONE, &[ONE]), ""), asker.attach(&user(TWO, &[TWO]), ""));
    assert!(asker.create(one, &dir.path().join(format!("d{ONE}/in")), 0o600, WRITE).is_ok());
    // Walking through another's closed directory is refused, as the last step that worked shows.
    assert!(asker.create(two, &dir.path().join(format!("d{ONE}/mine")), 0o600, WRITE).is_err());
}

#[test]
fn a_user_has_none_of_the_powers_of_the_node() {
    if !is_root() {
        return;
    }
    let mut asker = Asker::new();
    let one = asker.attach(&user(ONE, &[ONE]), "");
    // What the kernel grants by capability or by the effective user, not by the mode of a file.
    for path in ["/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern"] {
        let error = asker.open(one, Path::new(path), WRITE).unwrap_err();
        assert_eq!(error.errno, Errno::ACCES, "{path}");
    }
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let (maps, environ) = (format!("/proc/{}/maps", child.id()), format!("/proc/{}/environ", child.id()));
    let opened = asker.open(one, Path::new(&maps), READ);
    let seen = opened.map(|fid| asker.call(Op::Read { fid, offset: 0, count: 100, wait: true }));
    // A thread that served a user is root's again for root, and the other way round.
    let root = asker.attach(&me(), "");
    let by_root = asker.open(root, Path::new(&environ), READ);
    let by_one = asker.open(one, Path::new(&environ), READ);
    child.kill().unwrap();
    child.wait().unwrap();
    match seen {
        Err(error) => assert_eq!(error.errno, Errno::ACCES),
        Ok(Reply::Failed(_)) => {}
        Ok(other) => panic!("another's process is seen: {other:?}"),
    }
    assert!(by_root.is_ok(), "{by_root:?}");
    assert_eq!(by_one.unwrap_err().errno, Errno::ACCES);
}

#[test]
fn who_has_no_account_here_is_refused_with_a_sentence() {
    let mut asker = Asker::new();
    for uid in [Uid::FOREIGN.0, Uid::FOREIGN.0 + 7, u32::MAX - 1, u32::MAX] {
        let fid = asker.fid();
        let Reply::Failed(error) = asker.try_attach(fid, &user(uid, &[0]), "") else { panic!("{uid}") };
        assert_eq!(error.errno, Errno::ACCES);
        assert!(error.cause.contains("has no account on this machine"), "{error}");
        let Reply::Failed(_) = asker.call(Op::Stat { fid }) else { panic!("the fid is there") };
    }
}
