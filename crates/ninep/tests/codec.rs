//! The codec: every message comes back as it was, cut anywhere, in every dialect that has it; and the corpora of
//! the fuzzers, replayed.

#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]

mod common;

use common::Bench;
use ninep::wire::{
    self, Cause, DataSync, NUname, Names, Qid, Qids, RenameFlags, Rmsg, ShapeCode, Stat, Tmsg,
};
use ninep::{Dialect, NOTAG, fuzzing};
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

const ALL: [Dialect; 3] = [Dialect::Plain, Dialect::L, Dialect::Uem];

/// Values for the fields.
#[derive(Debug)]
struct Values {
    b: u8,
    n: u32,
    m: u32,
    q: u64,
    r: u64,
    s: String,
    t: String,
    data: Vec<u8>,
    names: Vec<String>,
    qids: Vec<op::Qid>,
}

fn values() -> impl Strategy<Value = Values> {
    let qid = (0..3u8, any::<u32>(), any::<u64>()).prop_map(|(kind, version, path)| op::Qid {
        kind: [op::FileKind::Dir, op::FileKind::File, op::FileKind::Link][usize::from(kind)],
        version,
        path,
    });
    let numbers = (any::<u8>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    let texts = (".{0,40}", ".{0,300}", proptest::collection::vec(any::<u8>(), 0..200));
    let lists = (proptest::collection::vec(".{0,20}", 0..=16), proptest::collection::vec(qid, 0..=16));
    (numbers, texts, lists).prop_map(|((b, n, m, q, r), (s, t, data), (names, qids))| Values {
        b,
        n,
        m,
        q,
        r,
        s,
        t,
        data,
        names,
        qids,
    })
}

impl Values {
    fn qid(&self) -> Qid {
        Qid { ty: self.b, version: self.n, path: self.r }
    }

    fn stat(&self, dialect: Dialect) -> Stat<'_> {
        let ours = dialect == Dialect::Uem;
        Stat {
            ty: self.b.into(),
            dev: self.n,
            qid: self.qid(),
            mode: self.m,
            atime: self.n,
            mtime: self.m,
            length: self.q,
            name: &self.s,
            uid: &self.t,
            gid: &self.s,
            muid: &self.t,
            n_uid: if ours { self.n } else { u32::MAX },
            n_gid: if ours { self.m } else { u32::MAX },
            mtime_ns: if ours { self.n } else { 0 },
        }
    }

    /// One of each.
    fn tmsgs(&self, dialect: Dialect) -> Vec<Tmsg<'_>> {
        let Values { b, n, m, q, r, .. } = *self;
        let (s, t, data) = (self.s.as_str(), self.t.as_str(), self.data.as_slice());
        let n_uname = NUname(if dialect == Dialect::Plain { u32::MAX } else { n });
        vec![
            Tmsg::Version { msize: n, version: s },
            Tmsg::Auth { afid: n, uname: s, aname: t, n_uname },
            Tmsg::Flush { oldtag: b.into() },
            Tmsg::Attach { fid: n, afid: m, uname: s, aname: t, n_uname },
            Tmsg::Walk { fid: n, newfid: m, names: Names::Write(&self.names) },
            Tmsg::Open { fid: n, mode: b },
            Tmsg::Create { fid: n, name: s, perm: m, mode: b },
            Tmsg::Read { fid: n, offset: q, count: m },
            Tmsg::Write { fid: n, offset: q, data },
            Tmsg::Clunk { fid: n },
            Tmsg::Remove { fid: n },
            Tmsg::Stat { fid: n },
            Tmsg::Wstat { fid: n, stat: self.stat(dialect) },
            Tmsg::Statfs { fid: n },
            Tmsg::Lopen { fid: n, flags: m },
            Tmsg::Lcreate { fid: n, name: s, flags: m, mode: n, gid: m },
            Tmsg::Symlink { dfid: n, name: s, target: t, gid: m },
            Tmsg::Mknod { dfid: n, name: s, mode: m, major: n, minor: m, gid: n },
            Tmsg::Rename { fid: n, dfid: m, name: s },
            Tmsg::Readlink { fid: n },
            Tmsg::Getattr { fid: n, mask: q },
            Tmsg::Setattr {
                fid: n,
                valid: m,
                mode: n,
                uid: m,
                gid: n,
                size: q,
                atime: r,
                atime_ns: q,
                mtime: r,
                mtime_ns: q,
            },
            Tmsg::Xattrwalk { fid: n, newfid: m, name: s },
            Tmsg::Xattrcreate { fid: n, name: s, size: q, flags: m },
            Tmsg::Readdir { fid: n, offset: q, count: m },
            Tmsg::Fsync { fid: n, datasync: DataSync(m) },
            Tmsg::Lock { fid: n, ty: b, flags: m, start: q, length: r, proc_id: m, client_id: s },
            Tmsg::Getlock { fid: n, ty: b, start: q, length: r, proc_id: m, client_id: s },
            Tmsg::Link { dfid: n, fid: m, name: s },
            Tmsg::Mkdir { dfid: n, name: s, mode: m, gid: n },
            Tmsg::Renameat {
                olddirfid: n,
                oldname: s,
                newdirfid: m,
                newname: t,
                flags: RenameFlags(if dialect == Dialect::Uem { m } else { 0 }),
            },
            Tmsg::Unlinkat { dirfid: n, name: s, flags: m },
        ]
    }

    /// One of each.
    fn rmsgs(&self, dialect: Dialect) -> Vec<Rmsg<'_>> {
        let Values { b, n, m, q, r, .. } = *self;
        let (s, t, data) = (self.s.as_str(), self.t.as_str(), self.data.as_slice());
        let (qid, ours) = (self.qid(), dialect == Dialect::Uem);
        let shape = ShapeCode(if ours { b } else { 0 });
        vec![
            Rmsg::Version { msize: n, version: s },
            Rmsg::Auth { aqid: qid },
            Rmsg::Error { ename: t },
            Rmsg::Lerror { ecode: n, cause: Cause(if ours { t } else { "" }) },
            Rmsg::Flush {},
            Rmsg::Attach { qid },
            Rmsg::Walk { qids: Qids::Write(&self.qids) },
            Rmsg::Open { qid, iounit: n },
            Rmsg::Create { qid, iounit: n },
            Rmsg::Read { data },
            Rmsg::Write { count: n },
            Rmsg::Clunk {},
            Rmsg::Remove {},
            Rmsg::Stat { stat: self.stat(dialect) },
            Rmsg::Wstat {},
            Rmsg::Statfs {
                ty: n,
                bsize: m,
                blocks: q,
                bfree: r,
                bavail: q,
                files: r,
                ffree: q,
                fsid: r,
                namelen: m,
            },
            Rmsg::Lopen { qid, iounit: n, shape },
            Rmsg::Lcreate { qid, iounit: n, shape },
            Rmsg::Symlink { qid },
            Rmsg::Mknod { qid },
            Rmsg::Rename {},
            Rmsg::Readlink { target: t },
            Rmsg::Getattr {
                valid: q,
                qid,
                mode: n,
                uid: m,
                gid: n,
                nlink: r,
                rdev: q,
                size: r,
                blksize: q,
                blocks: r,
                atime: q,
                atime_ns: r,
                mtime: q,
                mtime_ns: r,
                ctime: q,
                ctime_ns: r,
                btime: q,
                btime_ns: r,
                generation: q,
                data_version: r,
            },
            Rmsg::Setattr {},
            Rmsg::Xattrwalk { size: q },
            Rmsg::Xattrcreate {},
            Rmsg::Readdir { data },
            Rmsg::Fsync {},
            Rmsg::Lock { status: b },
            Rmsg::Getlock { ty: b, start: q, length: r, proc_id: n, client_id: s },
            Rmsg::Link {},
            Rmsg::Mkdir { qid },
            Rmsg::Renameat {},
            Rmsg::Unlinkat {},
        ]
    }
}

proptest! {
    #[test]
    fn every_message_comes_back_as_it_was(values in values(), tag: u16) {
        for dialect in ALL {
            let (tmsgs, rmsgs) = (values.tmsgs(dialect), values.rmsgs(dialect));
            let numbers = tmsgs.iter().map(Tmsg::number).chain(rmsgs.iter().map(Rmsg::number));
            prop_assert_eq!(numbers.collect::<BTreeSet<u8>>().len(), 32 + 34, "one of each");
            for message in tmsgs {
                let mut bytes = Vec::new();
                message.encode(tag, dialect, &mut bytes);
                let read = Tmsg::decode(&bytes, dialect);
                prop_assert_eq!(read.is_ok(), message.is_in(dialect), "{:?}", &message);
                if let Ok(read) = read {
                    // Plain walks know no links, so the qids of a walk are those of its dialect.
                    prop_assert_eq!(read, (tag, message));
                    for end in 0..bytes.len() {
                        prop_assert!(Tmsg::decode(&bytes[..end], dialect).is_err(), "cut to {}", end);
                    }
                }
            }
            for message in rmsgs {
                let mut bytes = Vec::new();
                message.encode(tag, dialect, &mut bytes);
                let read = Rmsg::decode(&bytes, dialect);
                prop_assert_eq!(read.is_ok(), message.is_in(dialect), "{:?}", &message);
                match (read, message) {
                    (Ok((_, Rmsg::Walk { qids })), Rmsg::Walk { qids: sent }) => {
                        prop_assert!(qids.iter(dialect).eq(sent.iter(dialect)));
                    }
                    (Ok(read), _) => prop_assert_eq!(read, (tag, message)),
                    (Err(_), _) => {}
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::decode(&bytes);
        fuzzing::server(&bytes);
    }

    #[test]
    fn attributes_come_back_as_they_were(values in values()) {
        let stat = op::Stat {
            name: values.s.clone(), qid: values.qids.first().copied().unwrap_or(op::Qid::from(values.qid())),
            mode: values.m & 0o777, uid: values.n, gid: values.m, user: values.t.as_str().into(),
            group: values.s.as_str().into(), size: 0, mtime: op::Wall(values.q % 4_000_000_000_000_000_000),
        };
        let told = Stat::new(&stat, Dialect::Uem).to_op();
        prop_assert_eq!(told, stat);
    }
}

#[test]
fn a_session_is_the_same_wherever_its_bytes_are_cut() {
    let mut stream = Vec::new();
    let path = ["a".to_string(), "b".to_string()];
    let messages = [
        (NOTAG, Tmsg::Version { msize: 8192, version: "9P2000.L" }),
        (1, Tmsg::Attach { fid: 0, afid: u32::MAX, uname: "", aname: "", n_uname: NUname(0) }),
        (2, Tmsg::Walk { fid: 0, newfid: 1, names: Names::Write(&path) }),
        (3, Tmsg::Walk { fid: 0, newfid: 1, names: Names::Write(&path) }),
        (4, Tmsg::Statfs { fid: 0 }),
        (5, Tmsg::Flush { oldtag: 1 }),
    ];
    for (tag, message) in messages {
        message.encode(tag, Dialect::L, &mut stream);
    }
    let play = |parts: &[&[u8]]| {
        let mut bench = Bench {
            conn: ninep::server::Conn::new(Default::default()),
            dialect: Dialect::L,
            asks: VecDeque::new(),
        };
        for part in parts {
            bench.conn.receive(part, &mut bench.asks).unwrap();
        }
        (bench.said(), format!("{:?}", bench.asks))
    };
    let whole = play(&[&stream]);
    for cut in 0..stream.len() {
        assert_eq!(play(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
    }
    assert_eq!(play(&stream.chunks(1).collect::<Vec<_>>()), whole, "a byte at a time");
}

#[test]
fn listings_end_at_the_first_malformed_entry() {
    let bytes = [1; 30];
    assert!(wire::dirents(&bytes).all(|entry| entry.is_err()));
    assert_eq!(wire::dirents(&bytes).count(), 1);
    assert_eq!(wire::entries(&bytes).count(), 1);
    assert_eq!(wire::directory(&[]).count(), 0);
}

fn replay(target: &str, run: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for file in std::fs::read_dir(&dir).unwrap() {
        run(&std::fs::read(file.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 20, "{} has {seeds} seeds", dir.display());
}

#[test]
fn the_corpora_are_replayed() {
    replay("ninep_decode", fuzzing::decode);
    replay("ninep_server", fuzzing::server);
}

/// Writes seeds: every message in every dialect that has it, and short sessions. `cargo test -p ninep -- --ignored`.
#[test]
#[ignore = "writes into fuzz/corpus; run it when the messages change"]
fn write_seeds() {
    let values = Values {
        b: 7,
        n: 1,
        m: 2,
        q: 3,
        r: 4,
        s: "name".into(),
        t: "text".into(),
        data: vec![1, 2, 3],
        names: vec!["a".into(), "b".into()],
        qids: vec![op::Qid { kind: op::FileKind::Dir, version: 1, path: 2 }],
    };
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let write = |target: &str, name: String, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target)).unwrap();
        std::fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    for (choice, dialect) in (0..).zip(ALL) {
        for message in values.rmsgs(dialect).iter().filter(|message| message.is_in(dialect)) {
            if choice == 0 || !message.is_in(ALL[usize::from(choice - 1)]) || dialect == Dialect::Uem {
                let mut bytes = vec![choice];
                message.encode(9, dialect, &mut bytes);
                write("ninep_decode", format!("r{:03}-{choice}", message.number()), &bytes);
            }
        }
        for message in values.tmsgs(dialect).iter().filter(|message| message.is_in(dialect)) {
            let mut frame = Vec::new();
            message.encode(9, dialect, &mut frame);
            if dialect != Dialect::L {
                write(
                    "ninep_decode",
                    format!("t{:03}-{choice}", message.number()),
                    &[&[choice], &frame[..]].concat(),
                );
            }
            // Attach as fid 1, do it, answer it this way and that, flush it, hang up.
            let mut session = vec![choice];
            let mut step = |message: &Tmsg<'_>, tag: u16| {
                let mut frame = Vec::new();
                message.encode(tag, dialect, &mut frame);
                session.extend([0, (frame.len() - 4) as u8]);
                session.extend(&frame[4..]);
            };
            step(&Tmsg::Attach { fid: 1, afid: u32::MAX, uname: "", aname: "", n_uname: NUname(0) }, 1);
            step(message, 2);
            step(&Tmsg::Flush { oldtag: 2 }, 3);
            session.extend([5, 0, 0, 5, 0, 1, 5, 0, 2]);
            if dialect != Dialect::L {
                write("ninep_server", format!("t{:03}-{choice}", message.number()), &session);
            }
        }
    }
}
