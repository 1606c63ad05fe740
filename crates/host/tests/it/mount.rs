//! Transcripts through a real mount: each call is made by a thread, as a program would, and the node runs in the
//! test's own until every call is over or waits in the node.

use crate::world::World;
use op::{Errno, Error, FileKind, Qid, Stat, Wall};
use sim::driver::{Able, Answer, Call, CallNo, Conn, Driver, FileNo, Node};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn possible() -> bool {
    let helper = || ["/usr/bin/fusermount3", "/bin/fusermount3"].iter().any(|p| PathBuf::from(p).exists());
    PathBuf::from("/dev/fuse").exists() && (rustix::process::geteuid().is_root() || helper())
}

type Files = Arc<Mutex<BTreeMap<FileNo, Arc<File>>>>;

/// A call that is over.
type Done = (CallNo, Answer);

/// A mounted node.
pub(crate) struct Mounted {
    world: World,
    root: PathBuf,
    files: Files,
    owners: BTreeMap<FileNo, Conn>,
    running: BTreeMap<CallNo, Running>,
    answers: BTreeMap<CallNo, Answer>,
    done: (Sender<Done>, Receiver<Done>),
    conns: usize,
    next: usize,
}

struct Running {
    conn: Conn,
    thread: thread::JoinHandle<()>,
}

impl Mounted {
    pub(crate) fn new() -> Mounted {
        let mut world = World::new(Some("m"));
        let root = world.dir.path().join("m");
        world.turn(Duration::ZERO);
        Mounted {
            world,
            root,
            files: Files::default(),
            owners: BTreeMap::new(),
            running: BTreeMap::new(),
            answers: BTreeMap::new(),
            done: channel(),
            conns: 0,
            next: 0,
        }
    }

    /// A client holds a session that goes with it; a reader in the mount waits for what happens. The one turn in which
    /// the client is gone must answer him: the node may not wake again for a long time.
    pub(crate) fn a_hang_up_frees_what_somebody_waits_for(&mut self) {
        let addr = host::dial::Addr::Unix(self.world.socket.clone());
        let (mut client, _) = host::client::Connection::begin(&addr).unwrap();
        let (fid, _) = client.walk(host::client::ROOT, "clone");
        client.send(op::Op::Open { fid, access: host::client::BOTH });
        client.send(op::Op::Write { fid, offset: 0, data: b"killonclose\n".to_vec() });
        while client.outstanding() > 0 {
            client.flush();
            self.world.turn(Duration::ZERO);
            client.receive();
        }
        let opened = self.begin(Conn(0), Call::Open("events".into(), host::client::READ));
        self.settle();
        let Some(Answer::File(file)) = self.poll(opened) else { panic!("events was not opened") };
        let read = || Call::Read { file, offset: 0, count: 1000, wait: true };
        let first = self.begin(Conn(0), read());
        self.settle();
        assert!(matches!(self.poll(first), Some(Answer::Data(_))), "what has happened so far");
        let waiting = self.begin(Conn(0), read());
        self.settle();
        assert!(self.poll(waiting).is_none(), "nothing more has happened");
        drop(client);
        self.world.turn(Duration::from_secs(5));
        let (no, answer) = self.done.1.recv_timeout(Duration::from_secs(5)).expect("the reader is told");
        assert_eq!(no, waiting);
        let Answer::Data(line) = &answer else { panic!("{answer:?}") };
        assert!(String::from_utf8_lossy(line).contains("\"freed\""), "{answer:?}");
        let running = self.running.remove(&no).unwrap();
        running.thread.join().unwrap();
    }

    fn collect(&mut self) {
        while let Ok((no, answer)) = self.done.1.try_recv() {
            if let Some(running) = self.running.remove(&no) {
                running.thread.join().unwrap();
                if let Answer::File(file) = answer {
                    self.owners.insert(file, running.conn);
                }
            }
            self.answers.insert(no, answer);
        }
    }
}

impl Driver for Mounted {
    fn able(&self) -> Able {
        // Only an errno comes through a system call; whoever mounts is every client's user.
        Able { users: false, restart: false, cause: false, owners: false, ..Able::ALL }
    }

    fn connect(&mut self, _: &str) -> Conn {
        self.conns += 1;
        Conn(self.conns)
    }

    fn begin(&mut self, conn: Conn, call: Call) -> CallNo {
        self.next += 1;
        let (no, root, files, done) =
            (CallNo(self.next), self.root.clone(), self.files.clone(), self.done.0.clone());
        let next = FileNo(self.next);
        let thread = thread::spawn(move || {
            let answer = perform(&root, &files, next, call).unwrap_or_else(|e| Answer::Failed(error(&e)));
            let _nobody_may_want_it = done.send((no, answer));
        });
        self.running.insert(no, Running { conn, thread });
        no
    }

    fn poll(&mut self, call: CallNo) -> Option<Answer> {
        self.collect();
        self.answers.remove(&call)
    }

    fn interrupt(&mut self, call: CallNo) {
        if let Some(running) = self.running.get(&call) {
            interrupt(&running.thread);
        }
        self.settle();
    }

    fn hangup(&mut self, conn: Conn) {
        for running in self.running.values().filter(|r| r.conn == conn) {
            interrupt(&running.thread);
        }
        self.settle();
        let gone: Vec<FileNo> = self.owners.iter().filter(|(_, c)| **c == conn).map(|(f, _)| *f).collect();
        for file in gone {
            self.owners.remove(&file);
            self.files.lock().unwrap().remove(&file);
        }
        self.settle();
    }

    /// Over when every call that is not waits in the node, and the node finds nothing to do for a while. The
    /// kernel sends what closes a file after the close, so the last turn has some time.
    fn settle(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut quiet = 0;
        while quiet < 3 {
            assert!(Instant::now() < deadline, "{} calls hang", self.running.len());
            let before = Instant::now();
            self.world.turn(Duration::from_millis(3));
            self.collect();
            let idle = before.elapsed() >= Duration::from_millis(3)
                && self.running.len() == self.world.node.waiting();
            quiet = if idle { quiet + 1 } else { 0 };
        }
    }

    fn node(&mut self) -> &mut dyn Node {
        &mut self.world
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever waits still is told so; else his thread would hold the mount.
        for running in self.running.values() {
            interrupt(&running.thread);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.running.is_empty() && Instant::now() < deadline {
            self.world.turn(Duration::from_millis(1));
            self.collect();
        }
    }
}

/// A transcript's path as one of the mount, and of nothing else.
fn below(root: &std::path::Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn perform(root: &std::path::Path, files: &Files, next: FileNo, call: Call) -> io::Result<Answer> {
    let file = |no: FileNo| files.lock().unwrap().get(&no).cloned().ok_or(io::ErrorKind::NotFound);
    Ok(match call {
        Call::Open(path, access) => {
            let mut options = fs::OpenOptions::new();
            options.read(access.read).write(access.write).truncate(access.truncate);
            let opened = Arc::new(options.open(below(root, &path))?);
            files.lock().unwrap().insert(next, opened);
            Answer::File(next)
        }
        Call::Read { file: no, offset, count, wait } => {
            let file = file(no)?;
            let mut data = vec![0; count as usize];
            let n = if wait { read(&file, &mut data, offset)? } else { read_now(&file, &mut data, offset)? };
            data.truncate(n);
            Answer::Data(data)
        }
        Call::Write { file: no, offset, data } => {
            let file = file(no)?;
            let n = file.write_at(&data, offset).or_else(|e| match e.raw_os_error() {
                Some(29) => io::Write::write(&mut &*file, &data),
                _ => Err(e),
            })?;
            Answer::Wrote(n as u32)
        }
        Call::Close(no) => {
            let file = files.lock().unwrap().remove(&no).ok_or(io::ErrorKind::NotFound)?;
            drop(file);
            Answer::Done
        }
        Call::List(path) => {
            let mut entries = Vec::new();
            for entry in fs::read_dir(below(root, &path))? {
                let entry = entry?;
                let name = entry.file_name().into_string().unwrap_or_default();
                entries.push(stat(&fs::symlink_metadata(entry.path())?, name));
            }
            Answer::Entries(entries)
        }
        Call::Stat(path) => {
            let path = below(root, &path);
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            Answer::Stat(stat(&fs::symlink_metadata(path)?, name))
        }
        Call::Chmod(path, mode) => {
            fs::set_permissions(below(root, &path), std::os::unix::fs::PermissionsExt::from_mode(mode))?;
            Answer::Done
        }
        Call::Chgrp(path, gid) => {
            std::os::unix::fs::chown(below(root, &path), None, Some(gid))?;
            Answer::Done
        }
        Call::Truncate(path, size) => {
            fs::OpenOptions::new().write(true).open(below(root, &path))?.set_len(size)?;
            Answer::Done
        }
        Call::ReadLink(path) => {
            Answer::Linked(fs::read_link(below(root, &path))?.to_string_lossy().into_owned())
        }
        Call::Remove(path) => {
            let path = below(root, &path);
            if fs::symlink_metadata(&path)?.is_dir() {
                fs::remove_dir(path)?
            } else {
                fs::remove_file(path)?
            }
            Answer::Done
        }
        Call::Mkdir(path) => {
            fs::create_dir(below(root, &path))?;
            Answer::Done
        }
    })
}

/// One pread(2), or read(2) where there are no offsets; an interruption is told, not tried again.
fn read(file: &File, data: &mut [u8], offset: u64) -> io::Result<usize> {
    match rustix::io::pread(file, &mut *data, offset) {
        Err(rustix::io::Errno::SPIPE) => Ok(rustix::io::read(file, data)?),
        other => Ok(other?),
    }
}

/// The same without waiting: `O_NONBLOCK` for this one read.
fn read_now(file: &File, data: &mut [u8], offset: u64) -> io::Result<usize> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    rustix::fs::fcntl_setfl(file, flags | rustix::fs::OFlags::NONBLOCK)?;
    let result = read(file, data, offset);
    rustix::fs::fcntl_setfl(file, flags)?;
    result
}

fn stat(m: &fs::Metadata, name: String) -> Stat {
    let kind = match m.file_type() {
        t if t.is_dir() => FileKind::Dir,
        t if t.is_symlink() => FileKind::Link,
        _ => FileKind::File,
    };
    Stat {
        name,
        qid: Qid { kind, version: 0, path: m.ino() },
        mode: m.mode() & 0o777,
        uid: m.uid(),
        gid: m.gid(),
        user: "".into(),
        group: "".into(),
        size: m.size(),
        mtime: Wall(m.mtime() as u64 * 1_000_000_000 + m.mtime_nsec() as u64),
    }
}

fn error(e: &io::Error) -> Error {
    let errno = e.raw_os_error().and_then(|n| u16::try_from(n).ok()).map_or(Errno::IO, Errno);
    Error::from(errno)
}

/// SIGUSR1, whose handler does nothing, makes a system call that waits return.
fn interrupt(thread: &thread::JoinHandle<()>) {
    use std::os::unix::thread::JoinHandleExt;
    static HANDLER: std::sync::Once = std::sync::Once::new();
    HANDLER.call_once(|| {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, and no SA_RESTART.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        }
    });
    // SAFETY: the thread is not joined yet, so its number is its own.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
}
