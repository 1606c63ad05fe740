//! The threads that carry requests out, one at a time each.
//!
//! A thread gets its next request through a channel of its own and lands through one that all share; a bell rings then.
//! It is interrupted, when its request was given up, by a signal that nothing else uses: whatever waits interruptibly
//! (a pipe's open, a FUSE server) comes back at once. The signal can come a moment too early, so it is sent again until
//! the thread lands.

use super::file::{Asking, File, Outcome, Task, carry_out};
use super::limits;
use super::name::Names;
use super::rights::Rights;
use crate::sys;
use op::{Op, Reply, User};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a thread is given.
pub(super) struct Order {
    pub(super) slot: u64,
    pub(super) task: Task,
    pub(super) file: Option<Box<File>>,
    pub(super) user: Arc<User>,
}

/// What it gives back.
pub(super) struct Landed {
    thread: u64,
    pub(super) slot: u64,
    pub(super) task: Task,
    pub(super) file: Option<Box<File>>,
    pub(super) outcome: Outcome,
}

struct Thread {
    orders: Sender<Order>,
    /// Its number, once it runs; 0 before.
    tid: Arc<AtomicI32>,
    /// Its request was given up, and it was interrupted so often.
    given_up: Option<u32>,
}

/// All threads.
pub(super) struct Crew {
    threads: HashMap<u64, Thread>,
    idle: Vec<u64>,
    bell: Arc<OwnedFd>,
    from: Receiver<Landed>,
    to: Sender<Landed>,
    next: u64,
}

impl Crew {
    pub(super) fn new(bell: Arc<OwnedFd>) -> io::Result<Crew> {
        sys::make_interruptible()?;
        let (to, from) = channel();
        Ok(Crew { threads: HashMap::new(), idle: Vec::new(), bell, from, to, next: 0 })
    }

    pub(super) fn busy(&self) -> usize {
        self.threads.len() - self.idle.len()
    }

    /// Has a request carried out; gives the number of the thread that does. If there can be no thread, gives it back.
    pub(super) fn carry_out(&mut self, order: Order) -> Result<u64, (io::Error, Box<Order>)> {
        let number = match self.idle.pop().map_or_else(|| self.thread(), Ok) {
            Ok(number) => number,
            Err(error) => return Err((error, Box::new(order))),
        };
        let sent = self.threads[&number].orders.send(order);
        assert!(sent.is_ok(), "a thread lives as long as orders can come");
        Ok(number)
    }

    /// One that has landed.
    pub(super) fn landed(&mut self) -> Option<Landed> {
        let landed = self.from.try_recv().ok()?;
        if self.idle.len() < limits::SPARE {
            let thread = self.threads.get_mut(&landed.thread).expect("it was flying");
            thread.given_up = None;
            self.idle.push(landed.thread);
        } else {
            self.threads.remove(&landed.thread); // its channel ends, and so does it
        }
        Some(landed)
    }

    /// What the thread does has been given up.
    pub(super) fn give_up(&mut self, number: u64) {
        if let Some(thread) = self.threads.get_mut(&number) {
            thread.given_up = Some(0);
            thread.kick();
        }
    }

    /// Interrupts again those that should have landed; whether there are any that might still hear.
    pub(super) fn kick(&mut self) -> bool {
        self.threads.values_mut().map(Thread::kick).fold(false, |any, one| any | one)
    }

    /// Whether one is to be kicked again.
    pub(super) fn any_given_up(&self) -> bool {
        self.threads.values().any(|thread| thread.given_up.is_some_and(|kicks| kicks < limits::KICKS))
    }

    fn thread(&mut self) -> io::Result<u64> {
        let (orders, given) = channel();
        let (number, tid) = (self.next, Arc::new(AtomicI32::new(0)));
        let (to, bell, own) = (self.to.clone(), self.bell.clone(), tid.clone());
        let work = move || {
            own.store(rustix::thread::gettid().as_raw_nonzero().get(), SeqCst);
            serve(number, &given, &to, &bell);
        };
        std::thread::Builder::new().name("files".into()).stack_size(limits::STACK).spawn(work)?;
        self.next += 1;
        self.threads.insert(number, Thread { orders, tid, given_up: None });
        Ok(number)
    }
}

impl Thread {
    fn kick(&mut self) -> bool {
        match &mut self.given_up {
            Some(kicks) if *kicks < limits::KICKS => {
                *kicks += 1;
                sys::interrupt(self.tid.load(SeqCst));
                true
            }
            _ => false,
        }
    }
}

fn serve(thread: u64, orders: &Receiver<Order>, to: &Sender<Landed>, bell: &OwnedFd) {
    sys::hear_interrupts_only();
    sys::own_umask();
    let (mut rights, mut names) = (Rights::new(), Names::default());
    while let Ok(Order { slot, mut task, mut file, user }) = orders.recv() {
        let outcome = match rights.take(&user) {
            Ok(()) => carry_out(&mut task, &mut file, &mut Asking { user: &user, names: &mut names }),
            Err(error) => {
                if matches!(task.op, Op::Clunk { .. } | Op::Remove { .. }) {
                    file = None;
                }
                Outcome::Answer(Reply::Failed(error))
            }
        };
        if to.send(Landed { thread, slot, task, file, outcome }).is_err() {
            return;
        }
        let _rings_already = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}
