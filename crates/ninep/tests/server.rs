//! What the server's side promises, a test a promise.

#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected here is a failure, whatever it is")]

mod common;

use common::{Bench, tree};
use ninep::server::{Config, Conn};
use ninep::wire::{self, NUname, Names, Tmsg};
use ninep::{Dialect, NOFID, NOTAG};
use op::{Access, Entry, Errno, Error, FileKind, Mtime, Op, Qid, Reply, SetStat, Shape, Wall};
use std::collections::VecDeque;

const ALL: [Dialect; 3] = [Dialect::Plain, Dialect::L, Dialect::Uem];

fn file() -> Qid {
    tree::qid_of(5, false)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).into()).collect()
}

/// Walks fid 0 to `fid` and opens it.
fn open(bench: &mut Bench, fid: u32, qid: Qid, shape: Shape, flags: u32) {
    bench.exchange(90, Tmsg::Walk { fid: 0, newfid: fid, names: Names::Write(&[]) }, Reply::Walked(vec![]));
    let message = match bench.dialect {
        Dialect::Plain => Tmsg::Open { fid, mode: flags as u8 },
        Dialect::L | Dialect::Uem => Tmsg::Lopen { fid, flags },
    };
    bench.exchange(91, message, Reply::Opened(qid, shape));
    bench.said();
}

fn entry(at: u64, name: &str) -> Entry {
    Entry {
        cookie: at * 10,
        stat: op::Stat {
            name: name.into(),
            qid: Qid { kind: FileKind::File, version: 0, path: at },
            mode: 0o640,
            uid: 1,
            gid: 2,
            user: "u".into(),
            group: "g".into(),
            size: 3,
            mtime: Wall(4_000_000_005),
        },
    }
}

#[test]
fn versions_are_agreed() {
    let check = |asked: (u32, &str), met: &str| {
        let mut bench = Bench {
            conn: Conn::new(Config { msize: 65_536, ..Config::default() }),
            dialect: Dialect::Plain,
            asks: VecDeque::new(),
        };
        bench.send(NOTAG, Tmsg::Version { msize: asked.0, version: asked.1 });
        bench.expect(&[met]);
    };
    check((8192, "9P2000"), r#"65535 Version { msize: 8192, version: "9P2000" }"#);
    check((1 << 30, "9P2000.L"), r#"65535 Version { msize: 65536, version: "9P2000.L" }"#);
    check((8192, "9P2000.uem"), r#"65535 Version { msize: 8192, version: "9P2000.uem" }"#);
    check((8192, "9P2000.u"), r#"65535 Version { msize: 8192, version: "9P2000" }"#);
    check((8192, "9P3000"), r#"65535 Version { msize: 8192, version: "unknown" }"#);
    check((100, "9P2000"), r#"65535 Version { msize: 1024, version: "unknown" }"#);
}

#[test]
fn what_breaks_the_protocol_is_hung_up_on() {
    let check = |bytes: &[u8], why: &str| {
        let mut bench = Bench::new(Dialect::L);
        let broken = bench.conn.receive(bytes, &mut bench.asks).expect_err(why);
        assert!(broken.0.contains(why), "{broken}");
        assert!(!bench.conn.wants_input());
        assert!(bench.conn.receive(&[], &mut bench.asks).is_err(), "once broken, always broken");
    };
    check(&[6, 0, 0, 0], "a message of 6 bytes");
    check(&[0, 0, 1, 0], "a message of 65536 bytes");
    check(&[8, 0, 0, 0, 120, 1, 0, 0], "ends inside a field");
    check(&[12, 0, 0, 0, 120, 1, 0, 0, 0, 0, 0, 0], "longer than its fields");
    check(&[11, 0, 0, 0, 120, 255, 255, 0, 0, 0, 0], "without a tag");
    let read = [23, 0, 0, 0, 116, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    check(&[read, read].concat(), "tag 1 is used twice");
    let mut conn = Conn::new(Config::default());
    assert!(conn.receive(&read, &mut VecDeque::new()).is_err(), "nothing comes before a version");
}

#[test]
fn strange_but_whole_messages_are_answered() {
    let mut bench = Bench::new(Dialect::L);
    // Topen, which 9P2000.L has not; and a name that is not UTF-8.
    bench.conn.receive(&[12, 0, 0, 0, 112, 1, 0, 0, 0, 0, 0, 0], &mut bench.asks).unwrap();
    bench
        .conn
        .receive(&[20, 0, 0, 0, 110, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0xff], &mut bench.asks)
        .unwrap();
    bench.expect(&[
        r#"1 Lerror { ecode: 95, cause: Cause("") }"#,
        r#"2 Lerror { ecode: 22, cause: Cause("") }"#,
    ]);
}

#[test]
fn errors_speak_the_dialect() {
    let check = |dialect: Dialect, error: Error, said: &str| {
        let mut bench = Bench::new(dialect);
        bench.exchange(1, Tmsg::Remove { fid: 0 }, Reply::Failed(error));
        bench.expect(&[said]);
    };
    let told = || Error::new(Errno::NOENT, "no node matches arch=vax");
    check(Dialect::Plain, Errno::NOENT.into(), r#"1 Error { ename: "file does not exist" }"#);
    check(Dialect::Plain, told(), r#"1 Error { ename: "no node matches arch=vax" }"#);
    check(Dialect::L, told(), r#"1 Lerror { ecode: 2, cause: Cause("") }"#);
    check(Dialect::Uem, told(), r#"1 Lerror { ecode: 2, cause: Cause("no node matches arch=vax") }"#);
}

#[test]
fn authentication_is_not_needed() {
    let auth = Tmsg::Auth { afid: 9, uname: "u", aname: "", n_uname: NUname(1) };
    let mut bench = Bench::new(Dialect::L);
    bench.send(1, auth);
    bench.expect(&[r#"1 Lerror { ecode: 2, cause: Cause("") }"#]);
    let mut bench = Bench::new(Dialect::Plain);
    bench.send(1, auth);
    bench.expect(&[r#"1 Error { ename: "no authentication required" }"#]);
}

#[test]
fn who_asks_is_known_as_the_attach_comes_out() {
    let mut bench = Bench::new(Dialect::L);
    bench.send(1, Tmsg::Attach { fid: 7, afid: NOFID, uname: "ken", aname: "tree", n_uname: NUname(3) });
    let (_, op) = bench.asked();
    assert!(matches!(op, Op::Attach { tree, .. } if tree == "tree"));
    let claim = bench.conn.claim().unwrap();
    assert_eq!((claim.uname.as_str(), claim.n_uname), ("ken", Some(3)));
}

#[test]
fn a_failed_or_partial_walk_binds_no_fid() {
    for reply in [Reply::Walked(vec![file()]), Reply::errno(Errno::NOENT), Reply::Walked(vec![])] {
        let mut bench = Bench::new(Dialect::L);
        let path = names(&["a", "b"]);
        let walk = Tmsg::Walk { fid: 0, newfid: 1, names: Names::Write(&path) };
        bench.exchange(1, walk, reply);
        bench.said();
        bench.send(2, Tmsg::Getattr { fid: 1, mask: 0 });
        bench.expect(&[r#"2 Lerror { ecode: 9, cause: Cause("") }"#]);
        bench.exchange(3, walk, Reply::Walked(vec![file(), file()]));
        assert_eq!(bench.said().len(), 1, "the number can be used again");
    }
}

#[test]
fn an_open_fid_can_be_walked_to_a_new_one() {
    let mut bench = Bench::new(Dialect::L);
    open(&mut bench, 1, tree::qid_of(1, true), Shape::Text, 0);
    let path = names(&["x"]);
    bench.exchange(
        1,
        Tmsg::Walk { fid: 1, newfid: 2, names: Names::Write(&path) },
        Reply::Walked(vec![file()]),
    );
    assert!(bench.said()[0].starts_with("1 Walk"));
}

#[test]
fn bad_names_are_refused_and_bind_nothing() {
    for bad in ["", "a/b", "a\0b", &"n".repeat(256)] {
        let mut bench = Bench::new(Dialect::L);
        let path = names(&["x", bad]);
        bench.send(1, Tmsg::Walk { fid: 0, newfid: 1, names: Names::Write(&path) });
        bench.send(2, Tmsg::Lcreate { fid: 0, name: bad, flags: 0, mode: 0, gid: 0 });
        bench.send(3, Tmsg::Clunk { fid: 1 });
        let said = bench.said();
        assert!(said.len() == 3 && said.iter().all(|line| line.contains("Lerror")), "{bad:?}: {said:?}");
        assert!(bench.asks.is_empty());
    }
}

#[test]
fn a_pipeline_is_held_back_behind_its_walk_and_no_further() {
    for dialect in ALL {
        let mut bench = Bench::new(dialect);
        let open = match dialect {
            Dialect::Plain => Tmsg::Open { fid: 1, mode: 0 },
            Dialect::L | Dialect::Uem => Tmsg::Lopen { fid: 1, flags: 0 },
        };
        bench.send(1, Tmsg::Walk { fid: 0, newfid: 1, names: Names::Write(&[]) });
        bench.send(2, open);
        bench.send(3, Tmsg::Read { fid: 1, offset: 0, count: 5 });
        bench.send(4, Tmsg::Clunk { fid: 1 });
        // Another fid is not held back, and the number 1 may be used again already.
        bench.send(5, Tmsg::Walk { fid: 0, newfid: 1, names: Names::Write(&[]) });
        let mut order = Vec::new();
        while let Some((tag, op)) = bench.asks.pop_front() {
            order.push(format!("{op:?}").split(' ').next().unwrap().to_string());
            let reply = match op {
                Op::Walk { .. } => Reply::Walked(vec![]),
                Op::Open { .. } => Reply::Opened(file(), Shape::Text),
                Op::Read { .. } => Reply::Data(vec![1]),
                _ => Reply::Done,
            };
            bench.answer(tag, reply);
        }
        assert_eq!(order, ["Walk", "Walk", "Open", "Read", "Clunk"]);
        assert_eq!(bench.said().len(), 5);
    }
}

#[test]
fn a_blocked_read_holds_back_nothing() {
    let mut bench = Bench::new(Dialect::L);
    open(&mut bench, 1, file(), Shape::Stream, 2);
    bench.send(1, Tmsg::Read { fid: 1, offset: 0, count: 5 });
    bench.send(2, Tmsg::Write { fid: 1, offset: 0, data: b"x" });
    bench.send(3, Tmsg::Read { fid: 1, offset: 0, count: 5 });
    let kinds: Vec<bool> = bench.asks.iter().map(|(_, op)| matches!(op, Op::Read { .. })).collect();
    assert_eq!(kinds, [true, false, true], "in the order in which they came");
}

#[test]
fn limits_are_errors_not_growth() {
    let config = Config { fids: 3, requests: 4, output: 100, ..Config::default() };
    let mut bench = Bench::with(Dialect::L, config, 8192);
    for fid in 1..=3 {
        bench.send(1, Tmsg::Walk { fid: 0, newfid: fid, names: Names::Write(&[]) });
        if let Some((tag, _)) = bench.asks.pop_front() {
            bench.answer(tag, Reply::Walked(vec![]));
        }
    }
    bench.expect(
        &[
            "1 Walk { qids: Write([]) }",
            "1 Walk { qids: Write([]) }",
            r#"1 Lerror { ecode: 24, cause: Cause("") }"#,
        ]
        .map(|line| line.replace("Write([])", "Read([])"))
        .each_ref()
        .map(String::as_str),
    );
    for tag in 1..=5 {
        bench.send(tag, Tmsg::Read { fid: 0, offset: 0, count: 5 });
    }
    bench.expect(&[r#"5 Lerror { ecode: 11, cause: Cause("") }"#]);
    // Whoever is full can still give up and clunk.
    bench.send(6, Tmsg::Flush { oldtag: 1 });
    bench.send(7, Tmsg::Clunk { fid: 1 });
    assert_eq!(bench.asks.len(), 6);
    let (read, _) = bench.asks.pop_front().unwrap();
    assert!(bench.conn.wants_input());
    let (second, _) = bench.asks.pop_front().unwrap();
    bench.answer(read, Reply::Data(vec![0; 5]));
    assert!(bench.conn.wants_input());
    for _ in 0..10 {
        bench.send(9, Tmsg::Statfs { fid: 0 });
    }
    assert!(!bench.conn.wants_input(), "not while the client does not read");
    bench.said();
    assert!(bench.conn.wants_input());
    bench.answer(second, Reply::Data(vec![0; 6]));
    bench.expect(&[r#"2 Lerror { ecode: 5, cause: Cause("") }"#]);
}

#[test]
fn a_directory_of_9p2000_is_read_in_whole_records() {
    let mut bench = Bench::new(Dialect::Plain);
    open(&mut bench, 1, tree::qid_of(1, true), Shape::Text, 0);
    let record = 2 + 39 + 4 * 2 + "a".len() + "u".len() + "g".len() + "u".len();
    let two = Reply::Listed(vec![entry(1, "a"), entry(2, "b")]);
    let op = bench.exchange(1, Tmsg::Read { fid: 1, offset: 0, count: record as u32 + 10 }, two);
    assert!(matches!(op, Op::List { cookie: 0, count: 1.., .. }));
    let said = bench.said();
    assert!(said[0].contains("Read { data"), "{said:?}");
    let op = bench.exchange(
        2,
        Tmsg::Read { fid: 1, offset: record as u64, count: 1000 },
        Reply::Listed(vec![entry(2, "b")]),
    );
    assert!(matches!(op, Op::List { cookie: 10, .. }), "it goes on after the entry that fitted");
    bench.said();
    bench.send(3, Tmsg::Read { fid: 1, offset: 7, count: 1000 });
    bench.expect(&[r#"3 Error { ename: "bad offset in directory read" }"#]);
    bench.exchange(4, Tmsg::Read { fid: 1, offset: 2 * record as u64, count: 1000 }, Reply::Listed(vec![]));
    bench.expect(&["4 Read { data: [] }"]);
    bench.exchange(5, Tmsg::Read { fid: 1, offset: 0, count: 9 }, Reply::Listed(vec![entry(1, "a")]));
    bench.expect(&[r#"5 Error { ename: "the read is too small for a directory entry" }"#]);
}

#[test]
fn v9fs_gets_its_short_read_once_and_only_in_its_dialect() {
    let check = |dialect: Dialect, shape: Shape, next: (u64, u32), waits: bool| {
        let mut bench = Bench::new(dialect);
        open(&mut bench, 1, file(), shape, 0);
        bench.exchange(1, Tmsg::Read { fid: 1, offset: 100, count: 50 }, Reply::Data(vec![0; 20]));
        bench.said();
        let read = Tmsg::Read { fid: 1, offset: next.0, count: next.1 };
        let op = bench.exchange(2, read, Reply::errno(Errno::AGAIN));
        assert!(matches!(op, Op::Read { wait, .. } if wait == waits), "{dialect:?} {shape:?} {next:?}");
        let said = bench.said();
        assert_eq!(said == ["2 Read { data: [] }"], !waits, "{said:?}");
        bench.send(3, read);
        assert!(matches!(bench.asked().1, Op::Read { wait: true, .. }), "once");
    };
    check(Dialect::L, Shape::Stream, (120, 30), false);
    check(Dialect::L, Shape::Spool, (120, 30), false);
    check(Dialect::L, Shape::Text, (120, 30), true);
    check(Dialect::L, Shape::Stream, (120, 31), true);
    check(Dialect::L, Shape::Stream, (121, 30), true);
    check(Dialect::Uem, Shape::Stream, (120, 30), true);
    check(Dialect::Plain, Shape::Stream, (120, 30), true);
}

#[test]
fn nonblocking_opens_do_not_wait() {
    let mut bench = Bench::new(Dialect::L);
    open(&mut bench, 1, file(), Shape::Stream, 0o4000);
    let op = bench.exchange(1, Tmsg::Read { fid: 1, offset: 0, count: 5 }, Reply::errno(Errno::AGAIN));
    assert!(matches!(op, Op::Read { wait: false, .. }));
    bench.expect(&[r#"1 Lerror { ecode: 11, cause: Cause("") }"#]);
    let mut bench = Bench::new(Dialect::Uem);
    open(&mut bench, 1, file(), Shape::Stream, 0);
    bench.send(1, Tmsg::Read { fid: 1, offset: 0, count: 5 | wire::NOWAIT });
    assert!(matches!(bench.asked().1, Op::Read { wait: false, count: 5, .. }));
}

#[test]
fn open_modes() {
    let access = |read, write, truncate| Access { read, write, truncate };
    let check = |dialect: Dialect, mode: u32, expected: Option<Access>| {
        let mut bench = Bench::new(dialect);
        bench.send(
            1,
            match dialect {
                Dialect::Plain => Tmsg::Open { fid: 0, mode: mode as u8 },
                Dialect::L | Dialect::Uem => Tmsg::Lopen { fid: 0, flags: mode },
            },
        );
        let asked = bench.asks.pop_front().map(|(_, op)| match op {
            Op::Open { access, .. } => access,
            other => panic!("{other:?}"),
        });
        assert_eq!(asked, expected, "{dialect:?} {mode:#x}");
    };
    check(Dialect::Plain, 0, Some(access(true, false, false)));
    check(Dialect::Plain, 1, Some(access(false, true, false)));
    check(Dialect::Plain, 0x12, Some(access(true, true, true)));
    check(Dialect::Plain, 3, Some(access(true, false, false)));
    check(Dialect::Plain, 0x63, Some(access(true, false, false)));
    check(Dialect::Plain, 0x80, None);
    check(Dialect::L, 0o100_000, Some(access(true, false, false)));
    check(Dialect::L, 0o1001, Some(access(false, true, true)));
    check(Dialect::L, 0o2002, Some(access(true, true, false)));
    check(Dialect::L, 3, None);
}

#[test]
fn orclose_removes_at_the_clunk() {
    let mut bench = Bench::new(Dialect::Plain);
    open(&mut bench, 1, file(), Shape::Text, 0x40);
    let op = bench.exchange(1, Tmsg::Clunk { fid: 1 }, Reply::errno(Errno::PERM));
    assert!(matches!(op, Op::Remove { .. }));
    bench.expect(&["1 Clunk"]);
}

#[test]
fn attributes_are_changed_only_where_asked() {
    let mut bench = Bench::new(Dialect::Plain);
    let same = wire::Stat::SAME;
    let stat = wire::Stat { mode: 0o755 | wire::DMDIR, ..same };
    let op = bench.exchange(1, Tmsg::Wstat { fid: 0, stat }, Reply::Done);
    let mode = Some(stat.mode & 0o777);
    assert!(matches!(op, Op::SetStat { set, .. } if set == SetStat { mode, ..SetStat::default() }));
    bench.exchange(2, Tmsg::Wstat { fid: 0, stat: same }, Reply::Done);
    let both = wire::Stat { name: "new", length: 0, ..same };
    bench.send(3, Tmsg::Wstat { fid: 0, stat: both });
    bench.expect(&[
        "1 Wstat",
        "2 Wstat",
        r#"3 Error { ename: "a file is renamed by a wstat that changes nothing else" }"#,
    ]);
    let mut bench = Bench::new(Dialect::L);
    let set = |valid| Tmsg::Setattr {
        fid: 0,
        valid,
        mode: 0o100_600,
        uid: 1,
        gid: 2,
        size: 3,
        atime: 0,
        atime_ns: 0,
        mtime: 5,
        mtime_ns: 6,
    };
    for (valid, expected) in [
        // The time of the last read is not kept. "Now" is the server's own, and what is cut has it anyhow.
        (0x090, SetStat::default()),
        (0x0b0, SetStat { mtime: Some(Mtime::Now), ..SetStat::default() }),
        (0x028, SetStat { size: Some(3), ..SetStat::default() }),
        (7, SetStat { mode: Some(0o600), uid: Some(1), gid: Some(2), ..SetStat::default() }),
        (0x120, SetStat { mtime: Some(Mtime::At(Wall(5_000_000_006))), ..SetStat::default() }),
    ] {
        let op = bench.exchange(1, set(valid), Reply::Done);
        assert!(matches!(op, Op::SetStat { set, .. } if set == expected), "{valid:#x}");
    }
}

#[test]
fn directories_are_made_and_names_removed_in_steps() {
    let mut bench = Bench::new(Dialect::L);
    let mkdir = Tmsg::Mkdir { dfid: 0, name: "d", mode: 0o755, gid: 0 };
    let op = bench.exchange(1, mkdir, Reply::Walked(vec![]));
    assert!(matches!(op, Op::Walk { names, .. } if names.is_empty()));
    let (tag, op) = bench.asked();
    assert!(matches!(op, Op::Create { mode: 0o040_755, .. }));
    bench.answer(tag, Reply::Opened(tree::qid_of(9, true), Shape::Text));
    let (tag, op) = bench.asked();
    assert!(matches!(op, Op::Clunk { .. }));
    bench.answer(tag, Reply::Done);
    bench.expect(&["1 Mkdir { qid: Qid { ty: 128, version: 0, path: 9 } }"]);

    let unlink = |flags| Tmsg::Unlinkat { dirfid: 0, name: "d", flags };
    let check = |bench: &mut Bench, flags: u32, found: Reply, then: &str, said: &str| {
        bench.exchange(2, unlink(flags), found);
        let mut asked = String::new();
        while let Some((tag, op)) = bench.asks.pop_front() {
            asked = format!("{op:?}");
            bench.answer(tag, Reply::Done);
        }
        assert!(asked.starts_with(then), "{asked}");
        bench.expect(&[said]);
    };
    let dir = || Reply::Walked(vec![tree::qid_of(9, true)]);
    check(&mut bench, 0x200, dir(), "Remove", "2 Unlinkat");
    check(&mut bench, 0, Reply::Walked(vec![file()]), "Remove", "2 Unlinkat");
    check(&mut bench, 0, dir(), "Clunk", r#"2 Lerror { ecode: 21, cause: Cause("") }"#);
    check(
        &mut bench,
        0x200,
        Reply::Walked(vec![file()]),
        "Clunk",
        r#"2 Lerror { ecode: 20, cause: Cause("") }"#,
    );
    check(&mut bench, 0, Reply::errno(Errno::NOENT), "", r#"2 Lerror { ecode: 2, cause: Cause("") }"#);
}

#[test]
fn a_file_is_renamed_by_the_names_of_its_directories() {
    for dialect in [Dialect::L, Dialect::Uem] {
        let mut bench = Bench::new(dialect);
        let renameat = |oldname, newname, flags| Tmsg::Renameat {
            olddirfid: 0,
            oldname,
            newdirfid: 0,
            newname,
            flags: wire::RenameFlags(flags),
        };
        let op = bench.exchange(1, renameat("a", "b", 0), Reply::Done);
        let Op::Rename { fid, name, dir, to, replace: true } = op else { panic!("{op:?}") };
        assert_eq!((fid, name.as_str(), to.as_str()), (dir, "a", "b"));
        bench.expect(&["1 Renameat"]);
        // A name is one element of a path, and no way out of a directory.
        for (oldname, newname) in [("..", "b"), ("a", ".."), ("a", "x/y"), ("", "b"), ("a", ".")] {
            bench.send(2, renameat(oldname, newname, 0));
            assert!(bench.asks.is_empty(), "{oldname} {newname}");
            bench.said();
        }
        bench.send(
            3,
            Tmsg::Renameat {
                olddirfid: 0,
                oldname: "a",
                newdirfid: 77,
                newname: "b",
                flags: wire::RenameFlags(0),
            },
        );
        assert!(bench.asks.is_empty());
        bench.said();
        if dialect == Dialect::Uem {
            let op = bench.exchange(4, renameat("a", "b", 1), Reply::errno(Errno::EXIST));
            assert!(matches!(op, Op::Rename { replace: false, .. }));
            bench.expect(&[r#"4 Lerror { ecode: 17, cause: Cause("") }"#]);
            bench.send(5, renameat("a", "b", 2));
            assert!(bench.asks.is_empty(), "an exchange is not known");
            bench.said();
        }
    }
}

#[test]
fn a_file_is_renamed_by_a_fid_of_it() {
    for dialect in [Dialect::Plain, Dialect::L] {
        let mut bench = Bench::new(dialect);
        let stat = wire::Stat { name: "new", ..wire::Stat::SAME };
        let (message, done) = match dialect {
            Dialect::Plain => (Tmsg::Wstat { fid: 0, stat }, "1 Wstat"),
            Dialect::L | Dialect::Uem => (Tmsg::Rename { fid: 0, dfid: 0, name: "new" }, "1 Rename"),
        };
        bench.send(1, message);
        let mut asked = Vec::new();
        while let Some((tag, op)) = bench.asks.pop_front() {
            let reply = match &op {
                Op::Stat { .. } => Reply::Stat(entry(1, "old").stat),
                Op::Walk { .. } => Reply::Walked(vec![tree::qid_of(9, true)]),
                _ => Reply::Done,
            };
            asked.push(op);
            bench.answer(tag, reply);
        }
        let [Op::Stat { .. }, Op::Walk { names, .. }, Op::Rename { to, .. }, Op::Clunk { .. }] = &asked[..]
        else {
            panic!("{asked:?}")
        };
        assert_eq!((names[0].as_str(), to.as_str()), ("..", "new"));
        bench.expect(&[done]);
    }
}

#[test]
fn a_rename_waits_for_both_of_its_directories() {
    let mut bench = Bench::new(Dialect::L);
    bench.send(1, Tmsg::Walk { fid: 0, newfid: 5, names: Names::Write(&names(&["d"])) });
    let (walk, _) = bench.asked();
    let flags = wire::RenameFlags(0);
    bench.send(2, Tmsg::Renameat { olddirfid: 0, oldname: "a", newdirfid: 5, newname: "b", flags });
    assert!(bench.asks.is_empty(), "its second fid is not there yet");
    bench.send(3, Tmsg::Renameat { olddirfid: 0, oldname: "a", newdirfid: 5, newname: "b", flags });
    bench.send(4, Tmsg::Flush { oldtag: 3 });
    bench.expect(&["4 Flush"]);
    bench.answer(walk, Reply::Walked(vec![tree::qid_of(9, true)]));
    let (tag, op) = bench.asked();
    assert!(matches!(op, Op::Rename { .. }));
    bench.answer(tag, Reply::Done);
    bench.expect(&["1 Walk { qids: Read([128, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]) }", "2 Renameat"]);
    bench.send(1, Tmsg::Walk { fid: 0, newfid: 6, names: Names::Write(&names(&["d"])) });
    let (walk, _) = bench.asked();
    bench.send(2, Tmsg::Renameat { olddirfid: 0, oldname: "a", newdirfid: 6, newname: "b", flags });
    bench.answer(walk, Reply::errno(Errno::NOENT));
    assert!(bench.asks.is_empty(), "it was not made");
}

#[test]
fn what_is_not_offered_is_refused() {
    let mut bench = Bench::new(Dialect::L);
    for message in [
        Tmsg::Mknod { dfid: 0, name: "l", mode: 0, major: 0, minor: 0, gid: 0 },
        Tmsg::Link { dfid: 0, fid: 0, name: "l" },
        Tmsg::Xattrwalk { fid: 0, newfid: 3, name: "user.x" },
        Tmsg::Xattrcreate { fid: 0, name: "user.x", size: 0, flags: 0 },
    ] {
        bench.send(1, message);
        bench.expect(&[r#"1 Lerror { ecode: 95, cause: Cause("") }"#]);
    }
}

#[test]
fn locks_are_the_clients_own() {
    let mut bench = Bench::new(Dialect::L);
    bench.send(1, Tmsg::Lock { fid: 0, ty: 1, flags: 0, start: 0, length: 0, proc_id: 7, client_id: "c" });
    bench.send(2, Tmsg::Getlock { fid: 0, ty: 1, start: 0, length: 0, proc_id: 7, client_id: "c" });
    bench.send(3, Tmsg::Fsync { fid: 0, datasync: wire::DataSync(0) });
    bench.expect(&[
        "1 Lock { status: 0 }",
        r#"2 Getlock { ty: 2, start: 0, length: 0, proc_id: 7, client_id: "c" }"#,
        "3 Fsync",
    ]);
}

#[test]
fn a_server_that_answers_nonsense_harms_nobody() {
    let mut bench = Bench::new(Dialect::Uem);
    bench.exchange(1, Tmsg::Getattr { fid: 0, mask: 0 }, Reply::Wrote(7));
    let said = bench.said();
    assert!(said[0].contains("ecode: 5") && said[0].contains("Getattr with Wrote(7)"), "{said:?}");
}

/// Walk, open, read and clunk of one fid, sent at once.
fn one_flight(config: Config) -> Bench {
    let mut bench = Bench::with(Dialect::Uem, config, 8192);
    bench.send(1, Tmsg::Walk { fid: 0, newfid: 5, names: Names::Write(&names(&["f"])) });
    bench.send(2, Tmsg::Lopen { fid: 5, flags: 0 });
    bench.send(3, Tmsg::Read { fid: 5, offset: 0, count: 9 });
    bench.send(4, Tmsg::Clunk { fid: 5 });
    bench
}

#[test]
fn an_eager_server_passes_on_one_flight_as_one() {
    assert_eq!(one_flight(Config::default()).asks.len(), 1, "else the walk is waited for");
    let mut bench = one_flight(Config { eager: true, ..Config::default() });
    let asks: Vec<_> = bench.asks.drain(..).collect();
    assert!(
        matches!(
            &asks[..],
            [(_, Op::Walk { .. }), (_, Op::Open { .. }), (_, Op::Read { .. }), (_, Op::Clunk { .. })]
        ),
        "{asks:?}"
    );
    let replies =
        [Reply::Walked(vec![file()]), Reply::Opened(file(), Shape::Text), Reply::Data(vec![7]), Reply::Done];
    for ((tag, _), reply) in asks.into_iter().zip(replies) {
        bench.answer(tag, reply);
    }
    assert_eq!(bench.said().len(), 4);
    assert!(bench.conn.is_idle());
}

#[test]
fn an_eager_servers_failed_walk_leaves_its_fid_free() {
    let mut bench = one_flight(Config { eager: true, ..Config::default() });
    for (tag, _) in bench.asks.drain(..).collect::<Vec<_>>() {
        bench.answer(tag, Reply::Failed(Error::new(Errno::NOENT, "not here")));
    }
    let said = bench.said();
    assert!(said.len() == 4 && said.iter().all(|line| line.contains("Lerror")), "{said:?}");
    assert!(bench.conn.is_idle());
    bench.send(1, Tmsg::Walk { fid: 0, newfid: 5, names: Names::Write(&[]) });
    assert!(matches!(bench.asked().1, Op::Walk { .. }), "the number is free again");
}

#[test]
fn an_eager_server_keeps_a_flight_behind_an_attach() {
    let mut bench = Bench::with(Dialect::Uem, Config { eager: true, ..Config::default() }, 8192);
    bench.send(1, Tmsg::Attach { fid: 4, afid: u32::MAX, uname: "u", aname: "", n_uname: NUname(0) });
    bench.send(2, Tmsg::Walk { fid: 4, newfid: 5, names: Names::Write(&names(&["f"])) });
    bench.send(3, Tmsg::Lopen { fid: 5, flags: 0 });
    bench.send(4, Tmsg::Read { fid: 5, offset: 0, count: 9 });
    let (attach, op) = bench.asked();
    assert!(matches!(op, Op::Attach { .. }) && bench.asks.is_empty(), "{op:?}, {:?}", bench.asks);
    bench.answer(attach, Reply::Attached(file()));
    let asks: Vec<_> = bench.asks.drain(..).map(|(_, op)| op).collect();
    assert!(matches!(&asks[..], [Op::Walk { .. }, Op::Open { .. }, Op::Read { .. }]), "{asks:?}");
}
