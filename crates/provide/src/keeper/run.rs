//! The keeper's loop: start the node, hold what it lays down, reap what it leaves, start it again.

use super::kept::Kept;
use super::node::{Node, Word};
use super::wire::{self, Note};
use crate::process::family;
use crate::sys::{self, Which};
use op::SessionId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a keeper is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's state directory: `lock`, `keeper.sock`, `keeper.log` and `spool/` are in it.
    pub state: PathBuf,
    /// The node's command line. The first word is a path: after an upgrade it names the new program.
    pub node: Vec<OsString>,
    /// A node that lived this long (10 s is sensible) did not die of its start, and is started again at once.
    pub lived: Duration,
}

/// Longest pause before a node that keeps dying is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a start that a dead node had begun may take until it is given up.
const LATE: Duration = Duration::from_secs(10);
/// How long what is killed in the end is waited for.
const LAST: Duration = Duration::from_secs(2);
/// Most bytes of the log; then it begins again.
const LOG: u64 = 1 << 20;

/// Keeps. Returns only with an error at its start (`WouldBlock`: a keeper or node has the state directory);
/// when all is over it exits the process. Blocks SIGCHLD, SIGTERM and SIGINT, which must not have handlers.
pub fn run(config: Config) -> io::Result<Infallible> {
    let mut keeper = Keeper::new(config)?;
    keeper.bury();
    loop {
        keeper.start_when_due();
        keeper.wait_and_serve()?;
    }
}

pub(super) struct Keeper {
    pub(super) config: Config,
    lock: OwnedFd,
    signals: OwnedFd,
    listener: OwnedFd,
    pub(super) sessions: BTreeMap<SessionId, Kept>,
    pub(super) pids: HashMap<i32, SessionId>,
    pub(super) node: Node,
    /// The line of a node that died: a start that it had begun may still report here. And until when.
    late: Option<(OwnedFd, Instant)>,
    /// When the next node is due; `None` while one runs or none is wanted.
    due: Option<Instant>,
    /// Another node is wanted as soon as this one, which is stopping, has ended.
    wanted: bool,
    /// Deaths in a row, soon after the start.
    failures: u32,
    descriptors: u64,
}

impl Keeper {
    fn new(config: Config) -> io::Result<Keeper> {
        let lock = match super::line::number(super::LOCK_FD) {
            Some(number) => sys::inherited(number)?,
            None => super::lock(&config.state)?,
        };
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let signals = sys::child_signal(&[libc::SIGTERM, libc::SIGINT, wire::LISTEN])?;
        let (was, _) = sys::raise_descriptors();
        let was = std::env::var(super::DESCRIPTORS).ok().and_then(|n| n.parse().ok()).unwrap_or(was);
        let mut keeper = Keeper {
            listener: listen(&config)?,
            config,
            lock,
            signals,
            sessions: BTreeMap::new(),
            pids: HashMap::new(),
            node: Node::None,
            late: None,
            due: Some(Instant::now()),
            wanted: false,
            failures: 0,
            descriptors: was,
        };
        if let Some(number) = super::line::number(super::TABLE_FD) {
            keeper.load(sys::inherited(number)?)?;
            keeper.log("was a node; its keeper had died");
        }
        Ok(keeper)
    }

    /// Starts the node if it is due and no start of the last one is still under way.
    fn start_when_due(&mut self) {
        let now = Instant::now();
        if self.late.as_ref().is_some_and(|(_, until)| *until > now) || self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        self.find_the_lost();
        match Node::start(&self.config.node, self.lock.as_fd(), self.descriptors) {
            Ok(mut node) => {
                for (session, kept) in &mut self.sessions {
                    kept.spools = None;
                    node.say(Word::Hold(*session));
                    if let Some(end) = kept.end {
                        node.say(Word::Ended(*session, end));
                    }
                }
                node.say(Word::All);
                self.node = node;
            }
            Err(error) => {
                self.log(&format!("cannot start the node: {error}"));
                self.again();
            }
        }
    }

    fn again(&mut self) {
        self.failures += 1;
        let pause = match self.failures {
            0 | 1 => Duration::ZERO,
            n => Duration::from_millis(100 << (n - 2).min(10)).min(LONGEST_PAUSE),
        };
        self.due = Some(Instant::now() + pause);
    }

    fn wait_and_serve(&mut self) -> io::Result<()> {
        let pumping = self.due.is_none() && matches!(self.node, Node::None);
        let mut outputs = Vec::new();
        let mut fds =
            vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        // What the node says is heard when it asks for that with a signal, or has died.
        if let Some(line) = self.node.line_to_write() {
            fds.push(PollFd::from_borrowed_fd(line, PollFlags::OUT));
        }
        if let Some((late, _)) = &self.late {
            fds.push(PollFd::new(late, PollFlags::IN));
        }
        let fixed = fds.len();
        if pumping {
            for (session, kept) in &self.sessions {
                for (stream, from) in kept.outputs() {
                    outputs.push((*session, stream));
                    fds.push(PollFd::from_borrowed_fd(from, PollFlags::IN));
                }
            }
        }
        let until = [self.due, self.late.as_ref().map(|(_, until)| *until)].into_iter().flatten().max();
        let pause =
            until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut fds, pause.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        // The signals first: what is said after this one was taken comes with another.
        let signal = if ready[0].is_empty() { None } else { sys::take_signals(self.signals.as_fd()) };
        self.hear();
        self.hear_late();
        if !ready[0].is_empty() {
            if let Some(signal) = signal {
                self.asked_to_end(signal);
            }
            self.bury();
        }
        if !ready[1].is_empty() {
            self.called();
        }
        self.speak();
        for (at, (session, stream)) in outputs.into_iter().enumerate() {
            if !ready[fixed + at].is_empty() {
                self.pump(session, stream);
            }
        }
        Ok(())
    }

    /// All that the node said.
    pub(super) fn hear(&mut self) {
        while let Some((notes, mut fds)) = self.node.hear() {
            for note in notes {
                self.note(note, std::mem::take(&mut fds), false);
            }
        }
    }

    /// What a dead node's starts said; when the last is through, its line ends.
    pub(super) fn hear_late(&mut self) {
        let Some((line, until)) = self.late.take() else { return };
        let given_up = self.due.is_none();
        let mut buf = [0u8; wire::MESSAGE];
        loop {
            match wire::receive(line.as_fd(), &mut buf, false) {
                Ok((n @ 1.., fds)) => {
                    let (mut bytes, mut fds) = (&buf[..n], fds);
                    while let Some(note) = Note::read(&mut bytes) {
                        self.note(note, std::mem::take(&mut fds), given_up);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => {
                    self.late = Some((line, until));
                    return;
                }
                Ok((0, _)) | Err(_) => return,
            }
        }
    }

    pub(super) fn node_died(&mut self, killed: bool, status: i32) {
        self.hear();
        let Node::Runs { line, since, stopping, .. } = std::mem::replace(&mut self.node, Node::None) else {
            return;
        };
        self.late = Some((line, Instant::now() + LATE));
        match stopping {
            Some(false) => self.exit(),
            Some(true) if std::mem::take(&mut self.wanted) => {
                self.failures = 0;
                self.due = Some(Instant::now());
            }
            Some(true) => {
                self.hear_late();
                if self.sessions.is_empty() {
                    self.exit();
                }
                self.log("the node has stopped; its programs stay");
            }
            None => {
                let how = if killed { "signal" } else { "status" };
                self.log(&format!(
                    "the node died: {how} {status}; {} sessions are held",
                    self.sessions.len()
                ));
                if since.elapsed() >= self.config.lived {
                    self.failures = 0;
                }
                self.again();
            }
        }
    }

    /// The last act: what is left of the programs goes too, and all that came of them, also of those that have ended.
    fn exit(&mut self) -> ! {
        for kept in self.sessions.values().filter(|kept| kept.end.is_none() && sys::is_child(kept.pid)) {
            if let Some(pid) = rustix::process::Pid::from_raw(kept.pid) {
                let _is_gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
        }
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let until = Instant::now() + LAST;
        while family::kill_below(own) && Instant::now() < until {
            while let Some(death) = sys::look_for_death(Which::Any) {
                sys::reap(death.pid);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _was_removed = std::fs::remove_file(self.config.state.join("keeper.sock"));
        std::process::exit(0)
    }

    /// A signal to the keeper is for the node; without a node the keeper ends, and programs live on alone.
    fn asked_to_end(&mut self, signal: i32) {
        match self.node.pid().and_then(rustix::process::Pid::from_raw) {
            Some(pid) => {
                let signal = if signal == libc::SIGINT {
                    rustix::process::Signal::INT
                } else {
                    rustix::process::Signal::TERM
                };
                let _is_gone = rustix::process::kill_process(pid, signal);
            }
            None => {
                let _was_removed = std::fs::remove_file(self.config.state.join("keeper.sock"));
                std::process::exit(0)
            }
        }
    }

    /// Somebody called through the socket: `up`, and perhaps the words of a new command line.
    fn called(&mut self) {
        let Ok(caller) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) else { return };
        let timeout = Some(Duration::from_millis(500));
        let _else_it_waits =
            rustix::net::sockopt::set_socket_timeout(&caller, rustix::net::sockopt::Timeout::Recv, timeout);
        let mut buf = vec![0u8; 64 << 10];
        let Ok((n, _)) = rustix::net::recv(&caller, &mut buf[..], rustix::net::RecvFlags::empty()) else {
            return;
        };
        let mut words = buf[..n].split(|byte| *byte == 0);
        if words.next() != Some(b"up") {
            return;
        }
        let words: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
        let stopping = match &self.node {
            Node::None => None,
            Node::Runs { stopping: Some(keep), .. } => Some(*keep),
            // It is up.
            Node::Runs { stopping: None, .. } => {
                let _hung_up = rustix::net::send(&caller, b"ok", rustix::net::SendFlags::NOSIGNAL);
                return;
            }
        };
        if stopping == Some(false) {
            return; // all ends: the caller sees that
        }
        if !words.is_empty() {
            self.config.node = words;
        }
        match stopping {
            Some(_) => self.wanted = true,
            None => {
                self.failures = 0;
                self.due = Some(Instant::now());
            }
        }
        let _hung_up = rustix::net::send(&caller, b"ok", rustix::net::SendFlags::NOSIGNAL);
    }

    /// Says to the node what it is to hear, as far as the line takes it.
    fn speak(&mut self) {
        let sessions = &self.sessions;
        self.node.speak(|session| {
            let kept = sessions.get(&session)?;
            let (has, fds) = kept.ends.list();
            let has = has | if kept.tty { wire::TTY } else { 0 };
            Some((Note::Hold { session, pid: kept.pid, ticks: kept.ticks, has }, fds))
        });
    }

    fn log(&self, line: &str) {
        let path = self.config.state.join("keeper.log");
        let long = std::fs::metadata(&path).is_ok_and(|data| data.len() > LOG);
        let file =
            std::fs::OpenOptions::new().create(true).append(!long).write(true).truncate(long).open(&path);
        let Ok(mut file) = file else { return };
        let _no_room = writeln!(file, "{} {line}", sys::wall().secs());
    }
}

fn listen(config: &Config) -> io::Result<OwnedFd> {
    let path = config.state.join("keeper.sock");
    let _was_none = std::fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Nobody else may call: the socket is made with the mode, not given it afterwards.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?);
    rustix::process::umask(mask);
    bound?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}
