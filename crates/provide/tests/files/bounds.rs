//! Nothing is unbounded, and what reaches a bound is told so.

use crate::asking::{Asker, READ, WRITE, me};
use op::{Errno, Fid, Op, Reply, Tag};
use provide::files::limits;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::process::{Resource, getrlimit};
use std::path::PathBuf;

fn fifo(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("p");
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
    path
}

/// The reply fails like this, with a sentence.
fn refused(reply: &Reply, errno: Errno) -> bool {
    matches!(reply, Reply::Failed(error) if error.errno == errno && !error.cause.is_empty())
}

#[test]
fn requests_that_wait_are_counted_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(&dir);
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, &path, READ).unwrap();
    let read = Op::Read { fid, offset: 0, count: 1, wait: true };
    let tags: Vec<Tag> = (0..limits::REQUESTS_PER_USER).map(|_| asker.ask(read.clone())).collect();
    assert!(refused(&asker.call(read.clone()), Errno::AGAIN));
    assert!(refused(&asker.call(Op::Walk { fid: root, newfid: Fid(70_000), names: vec![] }), Errno::AGAIN));
    assert_eq!(asker.call(Op::Flush { tag: tags[5] }), Reply::Done);
    let one_more = asker.ask(read);
    // What gives back is never refused.
    assert_eq!(asker.call(Op::Clunk { fid }), Reply::Done);
    for tag in tags.into_iter().enumerate().filter(|(i, _)| *i != 5).map(|(_, tag)| tag).chain([one_more]) {
        assert!(refused(&asker.wait(tag), Errno::CANCELED));
    }
    assert_eq!(asker.stat(root).name, "/");
}

#[test]
fn bytes_that_nobody_takes_are_counted_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(&dir);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let _reader = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, &path, WRITE).unwrap();
    let write = |bytes: usize| Op::Write { fid, offset: 0, data: vec![0; bytes] };
    let piece = 8 << 20;
    let tags: Vec<Tag> = (0..limits::BYTES_PER_USER / piece).map(|_| asker.ask(write(piece))).collect();
    assert!(refused(&asker.call(write(1)), Errno::AGAIN));
    assert_eq!(asker.call(Op::Flush { tag: tags[0] }), Reply::Done);
    // Given up while a thread had it, or not: it is not held for long.
    asker.stat(fid);
    let again = asker.ask(write(piece));
    asker.stat(fid);
    assert!(!asker.answered(again));
}

#[test]
fn fids_are_counted_and_given_back_and_leave_descriptors_to_the_node() {
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let most = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20) as usize / 4;
    let most = most.min(limits::FIDS) / limits::FIDS_SHARE;
    let walk = |fid| Op::Walk { fid: root, newfid: Fid(fid), names: vec!["proc".into()] };
    let base = 100_000;
    for i in 1..most as u32 {
        assert!(matches!(asker.call(walk(base + i)), Reply::Walked(_)), "{i} of {most}");
    }
    assert!(refused(&asker.call(walk(base)), Errno::MFILE));
    assert_eq!(asker.call(Op::Clunk { fid: Fid(base + 1) }), Reply::Done);
    // The file is closed a moment later; after whatever is asked of another, since there is room again.
    let mut tries = 0;
    while refused(&asker.call(walk(base)), Errno::MFILE) {
        tries += 1;
        assert!(tries < 10_000, "the fid is not given back");
        asker.stat(root);
    }
}
