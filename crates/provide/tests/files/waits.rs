//! What may take for ever, and what it must not hold up.

use crate::asking::{Asker, BOTH, READ, WRITE, is_root, me, user};
use op::{Errno, Fid, Op, Reply, Shape, Tag};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn fifo(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o666)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    path
}

fn threads() -> usize {
    let named =
        |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|c| c.trim() == "files");
    fs::read_dir("/proc/self/task").unwrap().filter(|task| task.as_ref().is_ok_and(named)).count()
}

fn read_of(fid: Fid) -> Op {
    Op::Read { fid, offset: 0, count: 100, wait: true }
}

#[test]
fn pipes_that_nobody_writes_hold_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "text").unwrap();
    let path = fifo(dir.path(), "p");
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    // More than there are threads for anybody, where so many fids can be had.
    let most = getrlimit(Resource::Nofile).current.unwrap_or(4096) / 16;
    let waiting: Vec<Tag> = (0..most.min(300))
        .map(|_| {
            let fid = asker.open(root, &path, READ).unwrap();
            asker.ask(read_of(fid))
        })
        .collect();
    for _ in 0..10 {
        let fid = asker.open(root, &dir.path().join("f"), READ).unwrap();
        assert_eq!(asker.read(fid, 0, 10), b"text");
    }
    assert!(waiting.iter().all(|tag| !asker.answered(*tag)));
    // The end of a writer is the end for all of them.
    drop(fs::OpenOptions::new().write(true).open(&path).unwrap());
    for tag in waiting {
        assert_eq!(asker.wait(tag), Reply::Data(Vec::new()));
    }
    assert!(threads() < 200, "{} threads", threads());
}

#[test]
fn a_pipe_is_read_as_it_is_written_and_reads_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "p");
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.walk(root, &path).unwrap();
    assert!(matches!(asker.call(Op::Open { fid, access: READ }), Reply::Opened(_, Shape::Stream)));
    let now = Op::Read { fid, offset: 0, count: 100, wait: false };
    let Reply::Failed(error) = asker.call(now) else { panic!("nobody has written") };
    assert_eq!(error.errno, Errno::AGAIN);
    let tags: Vec<Tag> =
        (0..3).map(|_| asker.ask(Op::Read { fid, offset: 0, count: 2, wait: true })).collect();
    // While these wait, the fid answers other things.
    assert_eq!(asker.stat(fid).name, "p");
    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"aabbcc").unwrap();
    for (tag, data) in tags.into_iter().zip([b"aa", b"bb", b"cc"]) {
        assert_eq!(asker.wait(tag), Reply::Data(data.to_vec()));
    }
    let end = asker.ask(read_of(fid));
    drop(writer);
    assert_eq!(asker.wait(end), Reply::Data(Vec::new()));
}

#[test]
fn a_write_that_fills_a_pipe_is_done_when_all_of_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "p");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let reader = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, &path, WRITE).unwrap();
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let first = asker.ask(Op::Write { fid, offset: 0, data: data.clone() });
    let second = asker.ask(Op::Write { fid, offset: 0, data: b"the end".to_vec() });
    assert_eq!(asker.stat(fid).name, "p");
    assert!(!asker.answered(first) && !asker.answered(second));
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        fs::File::from(reader).read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(asker.wait(first), Reply::Wrote(1_000_000));
    assert_eq!(asker.wait(second), Reply::Wrote(7));
    asker.call(Op::Clunk { fid });
    let all = reading.join().unwrap();
    assert!(all[..1_000_000] == data && &all[1_000_000..] == b"the end");
}

#[test]
fn what_is_given_up_is_never_answered_and_gives_its_thread_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "p");
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    // A read that is parked.
    let fid = asker.open(root, &path, READ).unwrap();
    let read = asker.ask(read_of(fid));
    asker.stat(fid);
    assert_eq!(asker.call(Op::Flush { tag: read }), Reply::Done);
    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"for the next").unwrap();
    assert_eq!(asker.read(fid, 0, 100), b"for the next");
    assert!(!asker.answered(read));
    drop(writer);
    asker.call(Op::Clunk { fid });
    // Opens that wait in a thread for a reader: more of them, one after the other, than there may be threads.
    for _ in 0..40 {
        let fid = asker.walk(root, &path).unwrap();
        let open = asker.ask(Op::Open { fid, access: WRITE });
        let stat = asker.ask(Op::Stat { fid });
        asker.step(1);
        assert_eq!(asker.call(Op::Flush { tag: open }), Reply::Done);
        assert!(
            matches!(asker.wait(stat), Reply::Stat(_)),
            "the thread came back, and what came after is done"
        );
        assert!(!asker.answered(open));
        asker.call(Op::Clunk { fid });
    }
    // A flushed walk leaves its fid free.
    let newfid = asker.fid();
    let walk = asker.ask(Op::Walk { fid: root, newfid, names: vec!["proc".into()] });
    asker.call(Op::Flush { tag: walk });
    let again = Op::Walk { fid: root, newfid, names: vec!["proc".into()] };
    if !asker.answered(walk) {
        assert!(matches!(asker.call(again), Reply::Walked(_)));
    }
}

#[test]
fn a_clunk_ends_what_waits_and_comes_after_what_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "p");
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, &path, READ).unwrap();
    let read = asker.ask(read_of(fid));
    asker.stat(fid);
    assert_eq!(asker.call(Op::Clunk { fid }), Reply::Done);
    let Reply::Failed(error) = asker.wait(read) else { panic!() };
    assert_eq!(error.errno, Errno::CANCELED);
    // Closed for good: a writer finds no reader.
    let deadline = Instant::now() + Duration::from_secs(20);
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    while rustix::fs::open(&path, flags, Mode::empty()).is_ok() {
        assert!(Instant::now() < deadline, "the pipe is still open");
        asker.step(1);
    }
    // Nor does one that came before the read had begun to wait.
    let fid = asker.open(root, &path, READ).unwrap();
    let read = asker.ask(read_of(fid));
    asker.ask(Op::Clunk { fid });
    let Reply::Failed(error) = asker.wait(read) else { panic!() };
    assert_eq!(error.errno, Errno::CANCELED);
    let fid = asker.create(root, &dir.path().join("f"), 0o600, WRITE).unwrap();
    let writes: Vec<Tag> =
        (0..20).map(|i| asker.ask(Op::Write { fid, offset: i, data: vec![b'a' + i as u8] })).collect();
    asker.ask(Op::Clunk { fid });
    for tag in writes {
        assert_eq!(asker.wait(tag), Reply::Wrote(1));
    }
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"abcdefghijklmnopqrst");
}

#[test]
fn one_user_whose_threads_are_all_held_holds_up_no_other() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = fifo(dir.path(), "p");
    let mut asker = Asker::new();
    let (one, two) = (asker.attach(&user(71_003, &[1]), ""), asker.attach(&user(71_004, &[1]), ""));
    // Opening a pipe for writing waits in a thread until somebody reads.
    let held: Vec<(Fid, Tag)> = (0..provide::files::limits::THREADS_PER_USER)
        .map(|_| {
            let fid = asker.walk(one, &path).unwrap();
            (fid, asker.ask(Op::Open { fid, access: WRITE }))
        })
        .collect();
    let late = asker.ask(Op::Stat { fid: one });
    for _ in 0..10 {
        assert_eq!(asker.stat(two).name, "/");
    }
    assert!(!asker.answered(late), "no thread is left for this user");
    let began = Instant::now();
    let Reply::Failed(error) = asker.wait(late) else { panic!("served by whom?") };
    assert_eq!(error.errno, Errno::TIMEDOUT, "{error}");
    assert!(began.elapsed() > provide::files::limits::STUCK / 2, "{:?}", began.elapsed());
    // Somebody reads: everything goes on.
    let _reader = fs::OpenOptions::new().read(true).open(&path).unwrap();
    for (_, tag) in held {
        assert!(matches!(asker.wait(tag), Reply::Opened(_, Shape::Stream)));
    }
    assert_eq!(asker.stat(one).name, "/");
}

#[test]
fn a_terminal_is_read_and_written_at_once() {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    let fid = asker.open(root, Path::new(&name), BOTH).unwrap();
    let read = asker.ask(read_of(fid));
    assert_eq!(asker.write(fid, 0, b"prompt> "), Reply::Wrote(8));
    let mut seen = [0; 8];
    fs::File::from(master.try_clone().unwrap()).read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"prompt> ");
    assert!(!asker.answered(read));
    rustix::io::write(&master, b"typed\n").unwrap();
    assert_eq!(asker.wait(read), Reply::Data(b"typed\n".to_vec()));
}

#[test]
fn threads_come_and_go() {
    let mut asker = Asker::new();
    let root = asker.attach(&me(), "");
    for _ in 0..50 {
        let tags: Vec<Tag> = (0..50).map(|_| asker.ask(Op::Stat { fid: root })).collect();
        for tag in tags {
            assert!(matches!(asker.wait(tag), Reply::Stat(_)));
        }
    }
}

/// A file system whose server never answers, in a mount namespace of this thread and those that it makes.
struct Mute {
    /// Closed, it ends the server.
    dev: Option<std::os::fd::OwnedFd>,
    dir: tempfile::TempDir,
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.dev = None;
        let _not_there = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// `None`, with a reason: this machine has no such thing.
fn mute() -> Option<Mute> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    // SAFETY: only this thread's view of mounts and its working directory become its own.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    let dev = match rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(dev) => dev,
        Err(errno) => {
            println!("not tried: /dev/fuse: {errno}");
            return None;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&dev);
    let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0,allow_other");
    let options = std::ffi::CString::new(options).unwrap();
    mount("mute", dir.path(), "fuse", MountFlags::empty(), Some(&*options)).unwrap();
    Some(Mute { dev: Some(dev), dir })
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_no_other_user_and_nothing_that_is_given_up() {
    if !is_root() {
        return;
    }
    let Some(mut mute) = mute() else { return };
    let mut asker = Asker::new();
    let (one, two) = (asker.attach(&user(71_005, &[1]), ""), asker.attach(&user(71_006, &[1]), ""));
    let held: Vec<(Fid, Tag)> = (0..provide::files::limits::THREADS_PER_USER + 4)
        .map(|_| {
            let newfid = asker.fid();
            let names = crate::asking::steps(&mute.dir.path().join("file"));
            (newfid, asker.ask(Op::Walk { fid: one, newfid, names }))
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(asker.stat(two).name, "/");
    }
    for (_, tag) in &held {
        assert!(!asker.answered(*tag));
        assert_eq!(asker.call(Op::Flush { tag: *tag }), Reply::Done);
    }
    // The server ends: the threads come back, late, and are heard no more.
    mute.dev = None;
    assert_eq!(asker.stat(one).name, "/");
    for (newfid, tag) in held {
        assert!(!asker.answered(tag));
        assert!(matches!(asker.call(Op::Stat { fid: newfid }), Reply::Failed(_)));
    }
}
