//! What waits for a file, and whose turn it is.
//!
//! ```text
//!             dispatch             land
//!   queue ───────────────▶ flight ──────▶ (done)
//!     ▲                      │ Wait
//!     └──── woken ── parked ◀┘
//! ```
//!
//! A slot is a fid's file with its queue; it outlives the fid until all that was asked is done and the file is closed.
//! Parked reads keep their order, and so do parked writes; but neither stops the other, nor anything else.

use super::crew::{Landed, Order};
use super::file::{File, Outcome};
use super::job::Job;
use super::{Files, limits};
use op::{Errno, Error, Fid, Op, Reply, Tag, User};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// The job that is being done; its task is with the thread.
pub(super) struct Flight {
    pub(super) thread: u64,
    pub(super) tag: Option<Tag>,
    cost: usize,
    pub(super) makes: Option<u64>,
    woken: u32,
}

/// A fid, or what is left of one.
pub(super) struct Slot {
    pub(super) fid: Option<Fid>,
    pub(super) user: Arc<User>,
    /// The walk that makes it is not done.
    unborn: bool,
    /// It has stood for a file.
    pub(super) attached: bool,
    /// `None` while a thread has it.
    file: Option<Box<File>>,
    pub(super) flight: Option<Flight>,
    pub(super) queue: VecDeque<Job>,
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    /// It stands among its user's slots that are ready.
    listed: bool,
    /// What parked requests wait for, and what of it epoll was asked.
    waits: Option<Arc<OwnedFd>>,
    watched: EventFlags,
}

impl Slot {
    pub(super) fn new(fid: Option<Fid>, user: Arc<User>, unborn: bool) -> Slot {
        Slot {
            fid,
            user,
            unborn,
            attached: false,
            file: None,
            flight: None,
            queue: VecDeque::new(),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            listed: false,
            waits: None,
            watched: EventFlags::empty(),
        }
    }

    /// Takes all that is parked.
    pub(super) fn unpark(&mut self) -> Vec<Job> {
        self.reads.drain(..).chain(self.writes.drain(..)).collect()
    }

    fn parked(&mut self, op: &Op) -> &mut VecDeque<Job> {
        if matches!(op, Op::Write { .. }) { &mut self.writes } else { &mut self.reads }
    }

    /// Takes the job with this tag out of whatever queue it is in.
    pub(super) fn withdraw(&mut self, tag: Tag) -> Option<Job> {
        [&mut self.queue, &mut self.reads, &mut self.writes].into_iter().find_map(|queue| {
            let at = queue.iter().position(|job| job.tag == Some(tag))?;
            queue.remove(at)
        })
    }
}

impl Files {
    /// Puts a slot among those whose turn will come, if it has something to do. What needs no thread is done at once.
    pub(super) fn ready(&mut self, number: u64) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if slot.unborn || slot.flight.is_some() {
            return;
        }
        let mut lent = Vec::new();
        while let Some(to) = slot.queue.front().and_then(|job| job.lends) {
            slot.queue.pop_front();
            lent.push((to, slot.file.as_ref().map(|file| file.at.clone())));
        }
        let waits = slot.listed || slot.queue.front().is_none_or(|job| job.wants);
        for ((to, tag), at) in lent {
            self.lent(to, tag, at);
        }
        let Some(slot) = self.slots.get_mut(&number).filter(|_| !waits) else { return };
        slot.listed = true;
        let uid = slot.user.uid;
        let share = self.users.entry(uid).or_default();
        if share.ready.is_empty() {
            self.order.push_back(uid);
            if share.running == 0 {
                share.stirred = Instant::now();
            }
        }
        share.ready.push_back(number);
    }

    /// A request has the file of its second fid; or there is none.
    fn lent(&mut self, number: u64, tag: Tag, at: Option<Arc<OwnedFd>>) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        match (slot.queue.iter_mut().find(|job| job.tag == Some(tag) && job.wants), at) {
            (Some(job), Some(at)) => (job.task.other, job.wants) = (Some(at), false),
            (Some(_), None) => {
                if let Some(job) = slot.withdraw(tag) {
                    let cause = "the walk that was to make the second fid has failed";
                    self.finish(number, &job, Reply::Failed(Error::new(Errno::BADF, cause)));
                }
                return self.settle(number);
            }
            // It was given up.
            (None, _) => return,
        }
        self.ready(number);
    }

    /// Gives threads what can be done now, user by user.
    pub(super) fn dispatch(&mut self) {
        let mut passed = 0;
        while passed < self.order.len() && self.crew.busy() < limits::THREADS {
            let Some(uid) = self.order.pop_front() else { break };
            let share = self.users.entry(uid).or_default();
            if share.running >= limits::THREADS_PER_USER {
                self.order.push_back(uid);
                passed += 1;
                continue;
            }
            let Some(number) = share.ready.pop_front() else { continue };
            if !share.ready.is_empty() {
                self.order.push_back(uid);
            }
            passed = 0;
            if !self.start(number) {
                break;
            }
        }
        self.arm();
    }

    /// Has a slot's next job done, unless there is no thread for it just now.
    fn start(&mut self, number: u64) -> bool {
        let slot = self.slots.get_mut(&number).expect("slots that are ready stay");
        slot.listed = false;
        if slot.queue.front().is_none_or(|job| job.wants || job.lends.is_some()) {
            self.settle(number);
            return true;
        }
        let job = slot.queue.pop_front().expect("just seen");
        if job.woken == 0 && matches!(job.task.op, Op::Read { .. } | Op::Write { .. }) {
            let now = matches!(job.task.op, Op::Read { wait: false, .. });
            let before = slot.parked(&job.task.op);
            if !before.is_empty() && now {
                self.finish(number, &job, Reply::errno(Errno::AGAIN));
                self.settle(number);
                return true;
            }
            if !before.is_empty() {
                before.push_back(job);
                self.settle(number);
                return true;
            }
        }
        let Job { tag, task, cost, makes, woken, .. } = job;
        let order = Order { slot: number, task, file: slot.file.take(), user: slot.user.clone() };
        match self.crew.carry_out(order) {
            Ok(thread) => {
                slot.flight = Some(Flight { thread, tag, cost, makes, woken });
                let share = self.users.entry(slot.user.uid).or_default();
                share.running += 1;
                share.stirred = Instant::now();
                self.watch(number);
            }
            Err((error, order)) => {
                slot.file = order.file;
                let job = Job { tag, task: order.task, cost, makes, woken, wants: false, lends: None };
                if self.crew.busy() > 0 {
                    // When one of those that there are lands, it goes on.
                    slot.queue.push_front(job);
                    self.ready(number);
                    return false;
                }
                if matches!(job.task.op, Op::Clunk { .. } | Op::Remove { .. }) {
                    slot.file = None;
                }
                let cause = format!("cannot make a thread to look at files: {error}");
                self.finish(number, &job, Reply::Failed(Error::new(Errno::AGAIN, cause)));
                self.born(makes, None);
                self.settle(number);
            }
        }
        true
    }

    /// A thread is done with a job.
    pub(super) fn land(&mut self, landed: Landed) {
        let Landed { slot: number, task, file, outcome, .. } = landed;
        let slot = self.slots.get_mut(&number).expect("a slot stays while a thread has its file");
        let Flight { tag, cost, makes, woken, .. } = slot.flight.take().expect("it was flying");
        slot.attached |= file.is_some();
        slot.file = file;
        let detached = slot.fid.is_none();
        let share = self.users.entry(slot.user.uid).or_default();
        share.running -= 1;
        share.stirred = Instant::now();
        let mut job = Job { tag, task, cost, makes, woken, wants: false, lends: None };
        match outcome {
            // Given up meanwhile; what it has made is closed in `born`.
            Outcome::Answer(_) | Outcome::Wait(_) if tag.is_none() => self.release(number, &job),
            Outcome::Answer(reply) => self.finish(number, &job, reply),
            Outcome::Made(reply, made) => {
                self.finish(number, &job, reply);
                self.born(makes, Some(made));
                return self.settle(number);
            }
            Outcome::Wait(_) if detached => self.finish(number, &job, Reply::Failed(super::closed())),
            Outcome::Wait(fd) => {
                slot.waits = Some(fd);
                // It says that it is ready and never is: its readiness cannot be asked for.
                if woken >= limits::FALSE_ALARMS {
                    job.task.stay = true;
                    slot.queue.push_front(job);
                } else {
                    slot.parked(&job.task.op).push_front(job);
                }
            }
        }
        self.born(makes, None);
        self.settle(number);
    }

    /// The walk that was to make a slot is done.
    pub(super) fn born(&mut self, makes: Option<u64>, file: Option<Box<File>>) {
        let Some(number) = makes else { return };
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.unborn = false;
            slot.attached |= file.is_some();
            slot.file = file;
            self.settle(number);
        }
    }

    /// Looks what becomes of a slot after something was done with it.
    pub(super) fn settle(&mut self, number: u64) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let idle = slot.flight.is_none() && !slot.unborn;
        if idle && slot.file.is_none() {
            // What it stood for was not found, or is closed: nobody can do anything with it.
            let mut left: Vec<Job> = slot.queue.drain(..).collect();
            left.extend(slot.unpark());
            for job in left {
                if let Some((to, tag)) = job.lends {
                    self.lent(to, tag, None);
                    continue;
                }
                let cause = "the walk that was to make this fid has failed, or its file was removed";
                self.finish(number, &job, Reply::Failed(Error::new(Errno::BADF, cause)));
                self.born(job.makes, None);
            }
            return self.forget(number);
        }
        self.watch(number);
        self.ready(number);
    }

    fn forget(&mut self, number: u64) {
        self.unlist(number);
        let Some(slot) = self.slots.remove(&number) else { return };
        if let Some(fid) = slot.fid {
            self.fids.remove(&fid);
        }
        let share = self.users.entry(slot.user.uid).or_default();
        share.fids -= 1;
        if share.fids == 0 {
            self.users.remove(&slot.user.uid);
            self.order.retain(|uid| *uid != slot.user.uid);
        }
    }

    /// Takes a slot out of the list of those that are ready.
    pub(super) fn unlist(&mut self, number: u64) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if std::mem::take(&mut slot.listed) {
            let share = self.users.entry(slot.user.uid).or_default();
            share.ready.retain(|ready| *ready != number);
            if share.ready.is_empty() {
                self.order.retain(|uid| *uid != slot.user.uid);
            }
        }
    }

    /// Asks epoll for what parked requests wait for, while nothing else of the slot is being done.
    pub(super) fn watch(&mut self, number: u64) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let Some(fd) = &slot.waits else { return };
        let quiet = slot.flight.is_none() && slot.queue.is_empty();
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, quiet && !slot.reads.is_empty());
        wanted.set(EventFlags::OUT, quiet && !slot.writes.is_empty());
        if wanted == slot.watched {
            if slot.reads.is_empty() && slot.writes.is_empty() && wanted.is_empty() {
                slot.waits = None;
            }
            return;
        }
        let data = EventData::new_u64(number);
        let result = match (slot.watched.is_empty(), wanted.is_empty()) {
            (true, _) => epoll::add(&self.epoll, fd, data, wanted),
            (false, false) => epoll::modify(&self.epoll, fd, data, wanted),
            (false, true) => epoll::delete(&self.epoll, fd),
        };
        slot.watched = wanted;
        if slot.reads.is_empty() && slot.writes.is_empty() {
            slot.waits = None; // so that the last to let go of it is the thread that closes it
        }
        if result.is_err() && !wanted.is_empty() {
            // epoll(7) knows nothing of such a file: a thread waits.
            slot.watched = EventFlags::empty();
            let mut jobs = slot.unpark();
            jobs.iter_mut().for_each(|job| (job.task.stay, job.woken) = (true, 1));
            jobs.into_iter().rev().for_each(|job| slot.queue.push_front(job));
            slot.waits = None;
            self.ready(number);
        }
    }

    /// Something can be read or written: whoever waited first tries again.
    pub(super) fn woken(&mut self, number: u64, flags: EventFlags) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let ended = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let mut first = Vec::new();
        if ended || flags.contains(EventFlags::IN) {
            first.extend(slot.reads.pop_front());
        }
        if ended || flags.contains(EventFlags::OUT) {
            first.extend(slot.writes.pop_front());
        }
        for mut job in first {
            job.woken += 1;
            slot.queue.push_front(job);
        }
        self.watch(number);
        self.ready(number);
    }
}
