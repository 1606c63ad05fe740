//! Starts in threads of their own, so that one which waits holds nothing else still.
//!
//! ```text
//!   Start ──▶ flying ──▶ landed ──▶ Started, and what was asked meanwhile
//!               │ │        └──────▶ Refused
//!               │ └ anything: kept for later
//!               └ KILL, Free: its child is killed now, if it has one; else it kills itself when it begins
//! ```
//!
//! The thread makes the child and stands still until the child has become the program or is dead (`CLONE_VFORK`),
//! then lands: its result goes through a channel, and a bell (eventfd(2)) rings in the provider's epoll. It owns
//! all that it needs but the node's ends of the pipes, which it shares, and it reaps nothing: the dead are taken
//! away in one place only, for a pid is free for another program from then on.
//!
//! What cannot be killed: a child that waits for a FUSE server which has read its request and does not answer
//! (the kernel waits for that without end). Its session is starting until the server answers or is gone.

use super::Processes;
use super::cgroup::Group;
use super::family;
use super::launch::{Begun, Launcher, Order, Stack};
use super::pipes::Ours;
use crate::keeper::wire::{End, Note};
use crate::sys;
use op::{Act, Errno, Error, Launch, Limits, SessionId, Tell};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Most threads at a time. Each costs two stacks (mapped, and touched for some KiB).
const FLYING: usize = 1024;
/// Stacks that are kept for the next.
const SPARE: usize = 8;

/// What a thread and the node both look at.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// The child; 0 while there is none.
    pub(super) pid: AtomicI32,
    /// The child is to kill itself.
    pub(super) unwanted: AtomicBool,
}

impl Flight {
    /// Ends the child, now or when it is born. It is not reaped yet, so the pid is its own.
    fn kill(&self) {
        self.unwanted.store(true, SeqCst);
        family::kill(self.pid.load(SeqCst), libc::SIGKILL);
    }
}

/// A session that starts: what its program will be made of.
#[derive(Debug)]
pub(super) struct Starting {
    flight: Arc<Flight>,
    pub(super) ours: Arc<Ours>,
    pub(super) ticks: u64,
    pub(super) limits: Limits,
    pub(super) tty: bool,
    pub(super) group: Option<Group>,
    pub(super) limits_by: String,
    /// Its child has died, as a program or before it was one.
    pub(super) end: Option<End>,
    /// What was asked meanwhile.
    later: Vec<Act>,
    /// Nobody wants to hear of it any more.
    freed: bool,
}

impl Starting {
    pub(super) fn new(launch: &Launch, ours: Arc<Ours>, group: Option<Group>, limits_by: String) -> Starting {
        Starting {
            flight: Arc::default(),
            ours,
            ticks: sys::boot_ticks(),
            limits: launch.limits,
            tty: launch.tty.is_some(),
            group,
            limits_by,
            end: None,
            later: Vec::new(),
            freed: false,
        }
    }

    /// Keeps what is asked. Of a kind of which only the last counts, only the last: nobody can fill memory.
    fn ask(&mut self, act: Act, tells: &mut Vec<Tell>) {
        match &act {
            Act::Free(_) => {
                self.freed = true;
                return self.flight.kill();
            }
            Act::Unfeed(session) => {
                if let Some(at) = self.later.iter().position(|act| matches!(act, Act::Feed { .. })) {
                    self.later.remove(at);
                    let error = Error::new(Errno::CANCELED, "feeding was given up");
                    tells.push(Tell::Fed { session: *session, result: Err(error) });
                }
                return;
            }
            Act::Signal { signal, .. } => {
                if *signal == libc::SIGKILL {
                    self.flight.kill();
                }
                self.later.retain(|old| *old != act);
            }
            Act::Freeze(_) | Act::Thaw(_) => {
                self.later.retain(|old| !matches!(old, Act::Freeze(_) | Act::Thaw(_)));
            }
            Act::Start(_)
            | Act::Adopt { .. }
            | Act::Feed { .. }
            | Act::CloseStdin(_)
            | Act::Resize { .. }
            | Act::Limit { .. }
            | Act::Append { .. }
            | Act::Trim { .. } => {
                let kind = std::mem::discriminant(&act);
                self.later.retain(|old| std::mem::discriminant(old) != kind);
            }
        }
        self.later.push(act);
    }
}

/// A thread's last word.
struct Landed {
    session: SessionId,
    result: Result<Begun, Error>,
    stack: Stack,
}

/// All that start in threads of their own.
pub(super) struct Starts {
    all: HashMap<SessionId, Starting>,
    bell: Arc<OwnedFd>,
    from: Receiver<Landed>,
    to: Sender<Landed>,
    spare: Vec<Stack>,
}

impl Starts {
    pub(super) fn new() -> io::Result<Starts> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (to, from) = channel();
        Ok(Starts { all: HashMap::new(), bell, from, to, spare: Vec::new() })
    }

    /// Readable when some have landed.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.all.contains_key(&session)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The children that there are.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        let living = self.all.values().filter(|starting| starting.end.is_none());
        living.map(|starting| starting.flight.pid.load(SeqCst)).filter(|pid| *pid > 0)
    }

    /// Whose child this is.
    pub(super) fn of_pid(&self, pid: i32) -> Option<SessionId> {
        let mut all = self.all.iter().filter(|(_, starting)| starting.end.is_none());
        all.find(|(_, starting)| starting.flight.pid.load(SeqCst) == pid).map(|(session, _)| *session)
    }

    /// Its child is dead and reaped.
    pub(super) fn died(&mut self, session: SessionId, end: End) {
        if let Some(starting) = self.all.get_mut(&session) {
            starting.end = Some(end);
        }
    }

    /// For the table of a node that becomes the keeper: those that have a child, with what the keeper would have
    /// been told. Those that have none yet never will.
    pub(super) fn table(&self) -> impl Iterator<Item = (SessionId, i32, u64, &Ours, Option<End>)> {
        self.all.iter().filter_map(|(session, starting)| {
            let flight = &starting.flight;
            if flight.pid.load(SeqCst) == 0 {
                flight.kill();
            }
            let pid = flight.pid.load(SeqCst);
            (pid > 0).then_some((*session, pid, starting.ticks, &*starting.ours, starting.end))
        })
    }

    /// Starts in a thread. If there can be none, gives the session back.
    pub(super) fn start(
        &mut self,
        order: Order,
        launcher: &Arc<Launcher>,
        line: Option<BorrowedFd<'_>>,
        starting: Starting,
    ) -> Result<(), (Error, Box<Starting>)> {
        match self.fly(order, launcher, line, starting.flight.clone()) {
            Ok(session) => {
                self.all.insert(session, starting);
                Ok(())
            }
            Err(error) => {
                let errno = super::launch::errno_of(error.raw_os_error().unwrap_or(libc::EAGAIN));
                let cause = format!("cannot make a thread to start it in: {error}");
                Err((Error::new(errno, cause), Box::new(starting)))
            }
        }
    }

    fn fly(
        &mut self,
        mut order: Order,
        launcher: &Arc<Launcher>,
        line: Option<BorrowedFd<'_>>,
        flight: Arc<Flight>,
    ) -> io::Result<SessionId> {
        if self.all.len() >= FLYING {
            return Err(io::Error::other(format!("{FLYING} starts are under way, and none gets done")));
        }
        let session = order.launch.session;
        let mut stack = self.spare.pop().map_or_else(Stack::new, Ok)?;
        // Its own: the thread may outlive the provider.
        let line = line.map(|line| rustix::io::fcntl_dupfd_cloexec(line, 3)).transpose()?;
        let (launcher, to, bell) = (launcher.clone(), self.to.clone(), self.bell.clone());
        let work = move || {
            let line = line.as_ref().map(AsFd::as_fd);
            let result = launcher.start(&mut order, &mut stack, line, Some(&flight));
            drop(order); // our side of the pipes is the node's alone again, and theirs is closed
            if to.send(Landed { session, result, stack }).is_ok() {
                let _rings_already = rustix::io::write(&*bell, &1u64.to_ne_bytes());
            }
        };
        std::thread::Builder::new().name("start".into()).stack_size(64 << 10).spawn(work).map(|_| session)
    }
}

impl Processes {
    /// Takes what is asked of a session that is starting; gives all else back.
    pub(super) fn hold_back(&mut self, act: Act, tells: &mut Vec<Tell>) -> Option<Act> {
        if self.starts.is_empty() {
            return Some(act);
        }
        let session = match &act {
            Act::Start(_) | Act::Adopt { .. } => return Some(act),
            Act::Freeze(session)
            | Act::Thaw(session)
            | Act::Unfeed(session)
            | Act::CloseStdin(session)
            | Act::Free(session)
            | Act::Signal { session, .. }
            | Act::Feed { session, .. }
            | Act::Resize { session, .. }
            | Act::Limit { session, .. }
            | Act::Append { session, .. }
            | Act::Trim { session, .. } => *session,
        };
        match self.starts.all.get_mut(&session) {
            Some(starting) => {
                starting.ask(act, tells);
                None
            }
            None => Some(act),
        }
    }

    /// Some starts are done.
    pub(super) fn land(&mut self, tells: &mut Vec<Tell>) {
        let _count = rustix::io::read(self.starts.bell(), &mut [0u8; 8]);
        while let Ok(Landed { session, result, stack }) = self.starts.from.try_recv() {
            if self.starts.spare.len() < SPARE {
                self.starts.spare.push(stack);
            }
            let Some(mut starting) = self.starts.all.remove(&session) else { continue };
            let (later, freed) = (std::mem::take(&mut starting.later), starting.freed);
            match result {
                Ok(begun) if freed => {
                    self.started(session, starting, begun, &mut Vec::new());
                    self.free(session);
                }
                Ok(begun) => {
                    self.started(session, starting, begun, tells);
                    later.into_iter().for_each(|act| self.act(act, tells));
                }
                Err(error) => {
                    self.failed(session, &starting);
                    if freed {
                        continue;
                    }
                    tells.push(Tell::Refused { session, error });
                    // What it was to be fed is answered: there is nothing to feed.
                    let fed = later.into_iter().filter(|act| matches!(act, Act::Feed { .. }));
                    fed.for_each(|act| self.act(act, tells));
                }
            }
        }
    }

    /// It could not be started: nothing of it is left, here or with the keeper.
    fn failed(&mut self, session: SessionId, starting: &Starting) {
        self.clear_room(session);
        if let Some(group) = &starting.group {
            self.cgroups.remove(group);
            self.ring(200);
        }
        if let Some(line) = &mut self.line {
            line.say(Note::Drop { session });
        }
    }
}
