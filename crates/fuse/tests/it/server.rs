//! A real mount with the tree in memory behind it, served by one thread, and programs that use it. Everything is undone
//! when it is dropped, also by a test that fails.

use crate::common::tree::Tree;
use fuse::{Config, Conn, Incoming, Mount, Step, limits};
use op::Uid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything may take that should happen at once. Slow machines need it; nothing waits for it in vain.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A directory of a test's own, removed at the end with whatever is mounted in it.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("uem-fuse-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in list.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(point).starts_with(&self.0) {
                let _ = Command::new("umount").args(["-l", point]).status();
            }
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the serving thread shows of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) parked: usize,
    /// How often a file grew.
    pub(crate) grown: usize,
    pub(crate) lines: Vec<(Uid, String)>,
}

enum Order {
    Grow(&'static str, &'static [u8]),
    Stop,
}

/// A tree that is being served.
pub(crate) struct Server {
    dir: PathBuf,
    orders: Sender<Order>,
    bell: UnixStream,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(dir: &Path) -> Server {
        let mount = Mount::new(dir).unwrap_or_else(|error| panic!("{error}"));
        let (bell, heard) = UnixStream::pair().unwrap();
        let (orders, received) = channel();
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let shown = Arc::clone(&seen);
        let dir = mount.dir().to_owned();
        let thread = std::thread::spawn(move || serve(mount, &heard, &received, &shown));
        Server { dir, orders, bell, seen, thread: Some(thread) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Waits until the tree looks so.
    pub(crate) fn wait(&self, what: &str, look: impl Fn(&Seen) -> bool) -> Seen {
        let seen = self.seen.0.lock().unwrap();
        let (seen, late) = self.seen.1.wait_timeout_while(seen, SOON, |seen| !look(seen)).unwrap();
        assert!(!late.timed_out(), "{what} does not happen: {seen:?}");
        seen.clone()
    }

    /// More for a file.
    pub(crate) fn grow(&self, name: &'static str, data: &'static [u8]) {
        self.order(Order::Grow(name, data));
    }

    /// Runs a shell script in the mounted directory, which must end soon.
    pub(crate) fn sh(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&self.dir).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap())
    }

    /// The same, for what it prints; it must succeed.
    pub(crate) fn says(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a program with one of the files as argument.
    pub(crate) fn start(&self, program: &str, file: &str) -> Running {
        let mut command = Command::new(program);
        Running(command.arg(self.path(file)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
        (&self.bell).write_all(&[0]).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        let _ = (&self.bell).write_all(&[0]);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server failed");
    }
}

/// A program that is killed if the test does not wait for it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn kill(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// It ends soon.
    pub(crate) fn finish(mut self) -> Output {
        let ended = wait(&mut self.0);
        assert!(ended, "it does not end");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status: self.0.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        if wait(&mut self.0) {
            let _ = self.0.wait();
        }
    }
}

/// Waits for the end of a program that prints little enough for a pipe, or whose output is taken here.
fn finish(mut child: Child) -> Output {
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        all
    });
    if !wait(&mut child) {
        let _ = child.kill();
        panic!("it does not end");
    }
    let mut output = child.wait_with_output().unwrap();
    output.stdout = reader.join().unwrap();
    output
}

/// Whether a child ends soon.
pub(crate) fn wait(child: &mut Child) -> bool {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return true;
    }
    let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let limit = Timespec { tv_sec: SOON.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

/// The loop that a host has, around a tree that answers at once or parks.
fn serve(mut mount: Mount, bell: &UnixStream, orders: &Receiver<Order>, seen: &(Mutex<Seen>, Condvar)) {
    let (mut conn, mut tree) = (Conn::new(Config::default()), Tree::new());
    tree.grow("big", &(0..=250).collect::<Vec<u8>>().repeat(12_533)); // 3 MiB and a bit
    let (mut buffer, mut steps) = (vec![0; limits::BUFFER], VecDeque::new());
    let mut grown = 0;
    loop {
        let mut ready =
            [PollFd::from_borrowed_fd(mount.fd(), PollFlags::IN), PollFd::new(bell, PollFlags::IN)];
        poll(&mut ready, None).unwrap();
        let rung = !ready[1].revents().is_empty();
        match mount.read(&mut buffer).unwrap() {
            Incoming::Message(length) => conn.receive(&buffer[..length], &mut steps),
            Incoming::Empty => {}
            Incoming::Unmounted => conn.hang_up(&mut steps),
        }
        if rung && (&mut &*bell).read(&mut [0]).unwrap() == 1 {
            match orders.recv().unwrap() {
                Order::Grow(name, data) => {
                    grown += 1;
                    for (tag, reply) in tree.grow(name, data) {
                        conn.answer(tag, reply, &mut steps);
                    }
                }
                Order::Stop => {
                    mount.unmount().unwrap();
                    conn.hang_up(&mut steps);
                }
            }
        }
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Ask { tag, uid, op } => {
                    if let Some(reply) = tree.ask(tag, uid, op) {
                        conn.answer(tag, reply, &mut steps);
                    }
                }
                Step::Send(answer) => mount.send(&answer).unwrap(),
                Step::Unmounted => {
                    assert_eq!((tree.fids(), tree.parked(), conn.fids()), (0, 0, 0), "something is left");
                    return;
                }
            }
        }
        *seen.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Seen { parked: tree.parked(), grown, lines: tree.lines.clone() };
        seen.1.notify_all();
    }
}
