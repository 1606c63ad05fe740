//! The provider of Linux processes.
//!
//! One thread (almost), no waiting: an inner epoll watches every pipe, the dead and the line to the keeper, and
//! [`Processes::turn`] does what is ready. The host puts [`Processes::poll_fd`] into its own epoll and, when it
//! is readable:
//!
//! ```text
//!   loop:  turn(&mut tells)  ─▶  kernel  ─▶  journal  ─▶  settle()
//! ```
//!
//! **A start may wait** where nothing else does: for a file system that does not answer (one of the network, one
//! of FUSE, which may be this node's own), or for another user who stops what is about to be his program. Such
//! a start is made in a thread of its own ([`starting`]), and is told when it is done; what is asked of the
//! session meanwhile is done then, but for killing, which is done at once. All other starts are known to wait
//! for nothing but this machine's own disks ([`reach`]), and are made, and told, where they are asked for.
//!
//! `settle` lets the keeper forget what is now written down. A node that dies before it finds everything again:
//! it asks [`op::Act::Adopt`] for every session that its journal has and that was not freed, then calls
//! [`Processes::clear`] for what the journal does not have.
//!
//! **Output** goes through pipes, not straight into the spool: a program that opens `/dev/stderr` would
//! truncate a file, and a pipe ends exactly when the last holder lets go and stands still exactly at the
//! output limit. **A terminal's** output is the terminal's, all of it, in the spool of `Out`.

mod adopt;
mod cgroup;
mod child;
pub(crate) mod family;
mod flow;
mod launch;
mod parcel;
mod pipes;
mod place;
mod program;
mod reach;
mod reap;
mod room;
mod signal;
mod start;
mod starting;
mod written;

use crate::keeper::{Held, Inheritance, Line};
use crate::spool::{Spool, Spools};
use crate::sys;
use cgroup::Cgroups;
use launch::{Launcher, Stack};
use op::{Act, Limits, SessionId, Stream, Tell};
use program::{About, Life, Program};
use reach::Reach;
use rustix::event::{Timespec, epoll};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use starting::Starts;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use written::Written;

/// What a provider of processes is made with.
#[derive(Debug)]
pub struct Config {
    /// The node's state directory; spools are in `spool/` below it.
    pub state: PathBuf,
    /// The node's name: in the names of control groups and in every program's `UEM_SESSION`.
    pub node: String,
    /// What the keeper gave ([`Inheritance::from_env`]). `None`: no keeper, and programs end with the node.
    pub keeper: Option<Inheritance>,
}

/// The Linux processes that a node runs.
pub struct Processes {
    epoll: OwnedFd,
    children: OwnedFd,
    timer: Option<OwnedFd>,
    /// When it rings next.
    rings_at: Option<Instant>,
    spools: Arc<Spools>,
    node: String,
    boot: String,
    /// Highest descriptor number that a start may use; what is above is the node's reserve.
    descriptors: i32,
    /// In boxes, since most of a table's places are empty and very many that ended may be kept.
    programs: HashMap<SessionId, Box<Program>>,
    /// What the kernel writes itself.
    written: HashMap<(SessionId, Stream), Written>,
    /// Programs that are children of this process.
    pids: HashMap<i32, SessionId>,
    launcher: Arc<Launcher>,
    /// What the children of this thread run on.
    stack: Stack,
    reach: Reach,
    /// Programs that are being started in threads of their own.
    starts: Starts,
    rooms: room::Rooms,
    cgroups: Cgroups,
    line: Option<Line>,
    keeper_pid: i32,
    lock: OwnedFd,
    /// What the keeper returned and nobody has adopted yet.
    held: BTreeMap<SessionId, Held>,
    /// Ends that were told since the last `settle`.
    unsettled: Vec<SessionId>,
    /// Programs that run but are not with the keeper, because the line was full.
    untold: Vec<SessionId>,
    /// Outputs that wait for room on the disk.
    stuck: Vec<(SessionId, Stream)>,
    /// Freed programs whose orphans are still to be looked for: number and tag.
    freed: Vec<(i32, String)>,
    /// The dead could not all be looked at: the line was full.
    dead_wait: bool,
    events: Vec<epoll::Event>,
}

impl Processes {
    /// Takes the state directory and, if a keeper returns any, the programs of an earlier node.
    ///
    /// Blocks SIGCHLD in the calling thread, and so must be called before other threads are made and after
    /// the process has arranged its signal handlers; raises the soft limit of descriptors (programs get back
    /// what it was); ignores SIGPIPE; becomes a child subreaper. Errors: the state directory is in use by
    /// another node (`WouldBlock`) or cannot be made.
    pub fn new(config: Config) -> io::Result<Processes> {
        open_stdio()?;
        let spools = config.state.join("spool");
        std::fs::create_dir_all(&spools)?;
        let (mut line, lock) = match config.keeper {
            Some(from) => (Some(Line::new(from.line)), from.lock),
            None => (None, crate::keeper::lock(&config.state)?),
        };
        let children = sys::child_signal(&[])?;
        ignore_sigpipe();
        let (was, now) = sys::raise_descriptors();
        // The keeper raised it already; it says what it was.
        let was = std::env::var(crate::keeper::DESCRIPTORS).ok().and_then(|n| n.parse().ok()).unwrap_or(was);
        let _only_a_refinement = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let held = match &mut line {
            Some(line) => line.welcome()?,
            None => BTreeMap::new(),
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &children, About::Children.word(SessionId(0)), epoll::EventFlags::IN)?;
        if let Some(line) = &line {
            epoll::add(&epoll, line.fd(), About::Keeper.word(SessionId(0)), epoll::EventFlags::IN)?;
        }
        let starts = Starts::new()?;
        let mut cgroups = Cgroups::new(&config.node, &config.state);
        cgroups.settle_in();
        epoll::add(&epoll, starts.bell(), About::Starts.word(SessionId(0)), epoll::EventFlags::IN)?;
        let reserve = (now / 8).clamp(32, 256);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        Ok(Processes {
            keeper_pid: if line.is_some() { parent } else { 0 },
            epoll,
            children,
            timer: None,
            rings_at: None,
            spools: Spools::with_spares(spools),
            cgroups,
            node: config.node,
            boot: boot.chars().take(8).collect(),
            descriptors: i32::try_from(now.saturating_sub(reserve)).unwrap_or(i32::MAX),
            programs: HashMap::new(),
            written: HashMap::new(),
            pids: HashMap::new(),
            launcher: Arc::new(Launcher::new(was)),
            stack: Stack::new()?,
            reach: Reach::new(),
            starts,
            rooms: room::Rooms::new(&config.state),
            line,
            lock,
            held,
            unsettled: Vec::new(),
            untold: Vec::new(),
            stuck: Vec::new(),
            freed: Vec::new(),
            dead_wait: false,
            events: Vec::with_capacity(256),
        })
    }

    /// Readable when [`turn`](Processes::turn) has something to do; timers included.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Does what is asked, or begins it. Never waits. Acts for sessions that are not known are passed over:
    /// their end is on its way, or was told.
    pub fn act(&mut self, act: Act, tells: &mut Vec<Tell>) {
        let act = match self.hold_back(act, tells) {
            Some(act) => act,
            None => return,
        };
        match act {
            Act::Start(launch) => self.start(launch, tells),
            Act::Adopt { session, mark } => self.adopt(session, &mark, tells),
            Act::Signal { session, signal, all } => self.signal(session, signal, all),
            Act::Freeze(session) => self.freeze(session, true),
            Act::Thaw(session) => self.freeze(session, false),
            Act::Feed { session, data } => self.feed(session, data, tells),
            Act::Unfeed(session) => self.unfeed(session, tells),
            Act::CloseStdin(session) => self.close_stdin(session),
            Act::Resize { session, size } => self.resize(session, size),
            Act::Limit { session, limits } => self.limit(session, limits, tells),
            Act::Trim { session, stream, offset } => self.trim(session, stream, offset),
            Act::Append { session, stream, offset, data } => {
                self.append(session, stream, offset, data, tells);
            }
            Act::Free(session) => {
                self.free_written(session);
                self.free(session);
            }
        }
    }

    /// Does all that is ready, a bounded piece of each, and tells what came of it. Never waits.
    pub fn turn(&mut self, tells: &mut Vec<Tell>) {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _none = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now));
        let mut deaths = false;
        for event in &events {
            let flags = event.flags;
            let (session, about) = About::of(event.data);
            match about {
                About::Stdin => self.feed_on(session, tells),
                About::Out => self.output_ready(session, Stream::Out, flags, tells),
                About::Err => self.output_ready(session, Stream::Err, flags, tells),
                About::Death => self.foreign_death(session, tells),
                About::Children => deaths = true,
                About::Keeper => self.hear(tells),
                About::Timer => self.timer(tells),
                About::Starts => self.land(tells),
            }
        }
        self.events = events;
        // After the outputs: what a program wrote is told before its end.
        if deaths || self.dead_wait {
            self.reap(tells);
        }
        self.talk();
    }

    /// All that was told so far is written down: the keeper may forget it. Without a journal, call it after
    /// every turn.
    pub fn settle(&mut self) {
        for session in std::mem::take(&mut self.unsettled) {
            let program = self.programs.get_mut(&session);
            if let Some((life, end)) = program.and_then(|program| program.life.ended()) {
                *life = Life::Settled(end);
            }
            self.over(session);
        }
        self.talk();
    }

    /// The journal has been read, and all that it has was adopted: what the keeper held beyond that is ended,
    /// spools and control groups that belong to nobody are removed.
    pub fn clear(&mut self) {
        let mut unheard = Vec::new();
        let strays: Vec<SessionId> = self.held.keys().copied().collect();
        for session in strays {
            self.adopt(session, "", &mut unheard);
            self.free(session);
        }
        self.spools.clear(|id| self.programs.contains_key(&id));
        self.clear_rooms();
        let programs = &self.programs;
        let starts = &self.starts;
        self.cgroups.clear(|session| programs.contains_key(&session) || starts.has(session));
    }

    /// Whether there was a keeper and it is gone: time for [`become_keeper`](Processes::become_keeper).
    pub fn keeper_gone(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.gone)
    }

    /// How many sessions are held here, ended ones included.
    pub fn len(&self) -> usize {
        self.programs.len() + self.starts.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.starts.is_empty()
    }

    /// Reads from a stream's spool; 0 bytes at its present end. `NotFound`: no such session.
    pub fn read_spool(
        &self,
        session: SessionId,
        stream: Stream,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        self.spool(session, stream)?.read(offset, buf)
    }

    fn spool(&self, session: SessionId, stream: Stream) -> io::Result<&Spool> {
        if let Some(written) = self.written.get(&(session, stream)) {
            return Ok(&written.spool);
        }
        let program = self.programs.get(&session).ok_or(io::ErrorKind::NotFound)?;
        Ok(match stream {
            Stream::Out => &program.out.spool,
            Stream::Err => &program.err.spool,
        })
    }

    /// What every program of a session has in its environment.
    fn tag(&self, session: SessionId) -> String {
        format!("{}/{}", self.node, session.0)
    }

    /// Has the timer ring once, in `ms` at the latest.
    fn ring(&mut self, ms: u64) {
        let at = Instant::now() + Duration::from_millis(ms);
        if self.rings_at.is_some_and(|before| before <= at) {
            return;
        }
        if self.timer.is_none() {
            let timer = rustix::time::timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            );
            let Ok(timer) = timer else { return };
            let word = About::Timer.word(SessionId(0));
            if epoll::add(&self.epoll, &timer, word, epoll::EventFlags::IN).is_err() {
                return;
            }
            self.timer = Some(timer);
        }
        let Some(timer) = &self.timer else { return };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let after = Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000) as i64 * 1_000_000 };
        let spec = Itimerspec { it_interval: none, it_value: after };
        let set = rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec).is_ok();
        self.rings_at = set.then_some(at);
    }

    /// What was put off: full disks, busy groups, orphans of the freed, words to the keeper.
    fn timer(&mut self, tells: &mut Vec<Tell>) {
        if let Some(timer) = &self.timer {
            let _count = rustix::io::read(timer, &mut [0u8; 8]);
        }
        self.rings_at = None;
        for (session, stream) in std::mem::take(&mut self.stuck) {
            self.unstick(session, stream, tells);
        }
        self.sweep();
        let busy = self.cgroups.tidy();
        if let Some(line) = &mut self.line
            && line.flush()
            && line.unheard > 0
        {
            self.have_it_heard();
        }
        if busy || !self.stuck.is_empty() {
            self.ring(500);
        }
    }
}

/// Words of what keeps a limit.
fn limits_by(limits: &Limits, kept: &cgroup::Kept) -> String {
    let by_rlimit =
        limits.mem.is_some() && !kept.mem || limits.pids.is_some() && !kept.pids || limits.fds.is_some();
    let by_group = kept.mem || kept.pids || kept.cpu;
    let mut words = match (by_group, by_rlimit) {
        (true, true) => format!("{}, rlimits", kept.by),
        (true, false) => kept.by.to_owned(),
        (false, true) => "rlimits".to_owned(),
        (false, false) => "none".to_owned(),
    };
    if limits.cpu.is_some() && !kept.cpu {
        words.push_str(", cpu not kept");
    }
    words
}

/// Makes sure that 0, 1 and 2 are taken, so that no pipe ever gets these numbers.
fn open_stdio() -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    loop {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if std::os::fd::AsRawFd::as_raw_fd(&null) > 2 {
            return Ok(());
        }
        let _stays_open = std::os::fd::IntoRawFd::into_raw_fd(null);
    }
}

fn ignore_sigpipe() {
    // SAFETY: SIG_IGN runs none of our code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
