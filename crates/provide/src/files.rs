//! This machine's own files, served as [`Op`]s with the rights of whoever asks: what `net/<node>/fs/` shows.
//!
//! ```text
//!   ask ──▶ queue of the fid ──▶ a thread with the user's rights ──▶ turn: answer
//!                  ▲                          │ nothing to read yet
//!                  └──── epoll says ready ◀── parked
//! ```
//!
//! Nothing here waits: system calls that may are made in threads, which take the rights of the user first, so that the
//! kernel of the machine decides what is allowed. Requests for one fid are carried out in order, one at a time; those for
//! others at the same time, as many as [`limits`] allows each user. A read or write of a pipe or a terminal that would wait
//! is *parked* and needs no thread. A file system that does not answer holds threads of the users that ask it, and no more.
//!
//! Links are shown as links, unless the tree is `plain`; `..` of the root is the root. Names that are not UTF-8 are shown
//! with characters of the private use area (U+F780 to U+F7FF for the bytes from 0x80), by which they are found again.
//!
//! **Invariants.** No system call that could wait is made in the caller's thread, closing included. Every request is
//! answered once, or flushed once. No file is touched with other rights than those of the user of its fid. What the
//! node's own process has in `/proc` is nobody's to see.

mod change;
mod crew;
mod file;
mod given_up;
mod job;
pub mod limits;
mod listing;
mod name;
mod put;
mod rights;
mod said;
mod slot;
mod stat;

pub use self::name::{bytes as name_bytes, text as name_text};
pub use self::put::Put;

use self::crew::Crew;
use self::file::Task;
use self::job::Job;
use self::slot::Slot;
use op::{Errno, Error, Fid, Op, Reply, Tag, Uid, User};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::process::{Resource, getrlimit};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BELL: u64 = 0;
const TIMER: u64 = 1;
/// Slots are numbered from here.
const FIRST: u64 = 2;

/// The server of this machine's files. See the module's page.
pub struct Files {
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    timer: OwnedFd,
    armed: bool,
    /// As whom the node runs.
    own: u32,
    fids: HashMap<Fid, u64>,
    slots: HashMap<u64, Slot>,
    /// Requests that are not answered, and where they are.
    tags: HashMap<Tag, u64>,
    users: HashMap<Uid, Share>,
    /// Users that have something to be done, whose turn it is first.
    order: VecDeque<Uid>,
    crew: Crew,
    answers: Vec<(Tag, Reply)>,
    bytes: usize,
    next: u64,
}

/// What one user has of everything.
struct Share {
    /// Slots whose next job can be done.
    ready: VecDeque<u64>,
    running: usize,
    requests: usize,
    bytes: usize,
    fids: usize,
    /// When a thread was last given or given back.
    stirred: Instant,
}

impl Default for Share {
    fn default() -> Share {
        let ready = VecDeque::new();
        Share { ready, running: 0, requests: 0, bytes: 0, fids: 0, stirred: Instant::now() }
    }
}

impl Files {
    /// Costs three descriptors, and no thread until something is asked.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub fn new() -> io::Result<Files> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Files {
            epoll,
            timer,
            armed: false,
            own: rustix::process::geteuid().as_raw(),
            fids: HashMap::new(),
            slots: HashMap::new(),
            tags: HashMap::new(),
            users: HashMap::new(),
            order: VecDeque::new(),
            crew: Crew::new(bell.clone())?,
            bell,
            answers: Vec::new(),
            bytes: 0,
            next: FIRST,
        })
    }

    /// Readable when [`Files::turn`] has something to do.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Takes a request; [`Files::turn`] brings its answer. The user is given with `Attach`, whatever name is in it; what
    /// is walked to from there is looked at as that user.
    pub fn ask(&mut self, tag: Tag, op: Op, user: Option<&Arc<User>>) {
        if let Err(error) = self.take(tag, op, user) {
            self.answer(tag, Reply::Failed(error));
        }
        self.dispatch();
    }

    /// Takes a content that is to become a file with the rights of this user; answered with `Reply::Done`, or why not.
    /// A flush does not end it: it is done, or nothing is.
    pub fn put(&mut self, tag: Tag, put: Put, user: &Arc<User>) {
        let taken = rights::allowed(self.own, user).and_then(|()| self.room(user.uid)).and_then(|()| {
            let slot = self.slot_for(None, user.clone(), false)?;
            self.users.entry(user.uid).or_default().requests += 1;
            self.tags.insert(tag, slot);
            let job = Job::putting(tag, Box::new(put));
            self.slots.get_mut(&slot).expect("just made").queue.push_back(job);
            self.ready(slot);
            Ok(())
        });
        if let Err(error) = taken {
            self.answer(tag, Reply::Failed(error));
        }
        self.dispatch();
    }

    /// Gives the answers that there are. Call it when [`Files::poll_fd`] is readable, or at any other time.
    pub fn turn(&mut self, answers: &mut Vec<(Tag, Reply)>) {
        let mut events = Vec::with_capacity(64);
        while let Ok(count @ 1..) =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default()))
        {
            for Event { flags, data } in events.drain(..) {
                let (flags, data) = (EventFlags::from_bits_retain({ flags }.bits()), { data }.u64());
                match data {
                    BELL => drop(rustix::io::read(&*self.bell, &mut [0u8; 8])),
                    TIMER => self.rung(),
                    slot => self.woken(slot, flags),
                }
            }
            if count < 64 {
                break;
            }
        }
        while let Some(landed) = self.crew.landed() {
            self.land(landed);
        }
        self.dispatch();
        answers.append(&mut self.answers);
    }

    fn answer(&mut self, tag: Tag, reply: Reply) {
        self.answers.push((tag, reply));
        let _rings_already = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }

    /// Puts a request where it belongs, or refuses it.
    fn take(&mut self, tag: Tag, op: Op, user: Option<&Arc<User>>) -> Result<(), Error> {
        if let Op::Flush { tag: given_up } = op {
            self.flush(given_up);
            self.answer(tag, Reply::Done);
            return Ok(());
        }
        if self.tags.contains_key(&tag) {
            return Err(Error::new(Errno::INVAL, "a request with this tag is not answered yet"));
        }
        let (slot, makes) = match &op {
            Op::Attach { fid, .. } => {
                let user = user.ok_or_else(|| {
                    Error::new(Errno::ACCES, "files are shown to users, and nobody has said who asks")
                })?;
                rights::allowed(self.own, user)?;
                self.room(user.uid)?;
                (self.new_slot(*fid, user.clone(), false)?, None)
            }
            Op::Walk { fid, newfid, .. } if newfid != fid => {
                let from = self.slot_of(*fid)?;
                let user = self.slots[&from].user.clone();
                self.room(user.uid)?;
                (from, Some(self.new_slot(*newfid, user, true)?))
            }
            op => match op.fid() {
                Some(fid) => (self.slot_of(fid)?, None),
                None => return Ok(()),
            },
        };
        let lends = match &op {
            Op::Rename { fid, dir, .. } if fid != dir => Some(self.slot_of(*dir)?),
            _ => None,
        };
        if lends.is_some_and(|other| self.slots[&other].user.uid != self.slots[&slot].user.uid) {
            let cause = "a file is renamed by one user, and the two directories were walked to by two";
            return Err(Error::new(Errno::PERM, cause));
        }
        let cost = if let Op::Write { data, .. } = &op { data.len() } else { 0 };
        let uid = self.slots[&slot].user.uid;
        let (gone, removed) = (matches!(op, Op::Clunk { .. }), matches!(op, Op::Remove { .. }));
        // What gives back is never refused.
        if !gone && !removed && makes.is_none() && !matches!(op, Op::Attach { .. }) {
            self.room(uid)?;
        }
        let share = self.users.entry(uid).or_default();
        if cost > 0 && (share.bytes + cost > limits::BYTES_PER_USER || self.bytes + cost > limits::BYTES) {
            let cause =
                "too many bytes are on their way to files that do not take them; wait for some writes to end";
            return Err(Error::new(Errno::AGAIN, cause));
        }
        share.bytes += cost;
        share.requests += 1;
        self.bytes += cost;
        if gone || removed {
            self.detach(slot);
        }
        if gone {
            // Answered now: what was asked before is still carried out, and then the file is closed.
            self.users.entry(uid).or_default().requests -= 1;
            self.answer(tag, Reply::Done);
        } else {
            self.tags.insert(tag, slot);
        }
        let task = Task { op, done: 0, stay: false, other: None, put: None };
        let wants = lends.is_some();
        let job = Job { tag: (!gone).then_some(tag), task, cost, makes, woken: 0, wants, lends: None };
        self.slots.get_mut(&slot).expect("just found").queue.push_back(job);
        if let Some(other) = lends {
            self.slots.get_mut(&other).expect("just found").queue.push_back(Job::lending(slot, tag));
            self.ready(other);
        }
        self.ready(slot);
        Ok(())
    }

    /// Whether this user may ask for more.
    fn room(&self, uid: Uid) -> Result<(), Error> {
        let share = self.users.get(&uid);
        if self.tags.len() >= limits::REQUESTS
            || share.is_some_and(|share| share.requests >= limits::REQUESTS_PER_USER)
        {
            let cause = "too many requests wait for files of this machine; wait for some, or give them up";
            return Err(Error::new(Errno::AGAIN, cause));
        }
        Ok(())
    }

    fn slot_of(&self, fid: Fid) -> Result<u64, Error> {
        self.fids.get(&fid).copied().ok_or_else(|| Error::new(Errno::BADF, "this fid stands for no file"))
    }

    fn new_slot(&mut self, fid: Fid, user: Arc<User>, unborn: bool) -> Result<u64, Error> {
        if self.fids.contains_key(&fid) {
            return Err(Error::new(Errno::BADF, "this fid is in use"));
        }
        self.slot_for(Some(fid), user, unborn)
    }

    fn slot_for(&mut self, fid: Option<Fid>, user: Arc<User>, unborn: bool) -> Result<u64, Error> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
        let most = usize::try_from(descriptors).unwrap_or(limits::FIDS).min(limits::FIDS);
        let share = self.users.entry(user.uid).or_default();
        if self.slots.len() >= most || share.fids >= most / limits::FIDS_SHARE {
            let cause = format!("too many files of this machine are held ({most} is the most); clunk some");
            return Err(Error::new(Errno::MFILE, cause));
        }
        share.fids += 1;
        let number = self.next;
        self.next += 1;
        fid.map(|fid| self.fids.insert(fid, number));
        self.slots.insert(number, Slot::new(fid, user, unborn));
        Ok(number)
    }

    /// Takes a fid away from its file. What is asked of it already is carried out; what is parked is given up.
    fn detach(&mut self, slot: u64) {
        let held = self.slots.get_mut(&slot).expect("just found");
        if let Some(fid) = held.fid.take() {
            self.fids.remove(&fid);
        }
        for job in held.unpark() {
            self.finish(slot, &job, Reply::Failed(closed()));
        }
        self.watch(slot);
    }

    /// A job is done: its answer, and what it held.
    fn finish(&mut self, slot: u64, job: &Job, reply: Reply) {
        self.release(slot, job);
        if let Some(tag) = job.tag {
            self.tags.remove(&tag);
            self.answer(tag, reply);
        }
    }

    fn release(&mut self, slot: u64, job: &Job) {
        let uid = self.slots[&slot].user.uid;
        let share = self.users.entry(uid).or_default();
        self.bytes -= job.cost;
        share.bytes -= job.cost;
        share.requests -= usize::from(job.tag.is_some());
    }

    /// Arms the clock if something is to be looked at again later.
    fn arm(&mut self) {
        let waiting = self.users.values().any(|share| !share.ready.is_empty());
        let span = match (self.crew.any_given_up(), waiting) {
            (true, _) => limits::KICK,
            (false, true) => limits::STUCK / 4,
            (false, false) => return,
        };
        if !self.armed {
            self.armed = set(&self.timer, span);
        }
    }

    fn rung(&mut self) {
        let _count = rustix::io::read(&self.timer, &mut [0u8; 8]);
        self.armed = false;
        self.crew.kick();
        let is_stuck = |share: &Share| !share.ready.is_empty() && share.stirred.elapsed() >= limits::STUCK;
        let stuck: Vec<Uid> =
            self.users.iter().filter(|(_, share)| is_stuck(share)).map(|(uid, _)| *uid).collect();
        for uid in stuck {
            self.refuse_waiting(uid);
        }
    }
}

fn closed() -> Error {
    Error::new(Errno::CANCELED, "the file was closed while this waited")
}

fn set(timer: &OwnedFd, span: Duration) -> bool {
    let zero = Timespec::default();
    let value = Timespec { tv_sec: span.as_secs().cast_signed(), tv_nsec: i64::from(span.subsec_nanos()) };
    let time = Itimerspec { it_interval: zero, it_value: value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &time).is_ok()
}
