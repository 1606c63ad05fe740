//! `epoll`, with a number for each source.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Sources, and what each waits for.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        Ok(Poll(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: u64, read: bool, write: bool) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token), flags(read, write))?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: u64, read: bool, write: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(token), flags(read, write))?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It may be gone already, which is what is wanted.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for sources to be ready, at most so long; appends their numbers.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<u64>) -> io::Result<()> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let mut events = [MaybeUninit::<Event>::uninit(); 64];
        match epoll::wait(&self.0, &mut events[..], timeout.as_ref()) {
            Ok((found, _)) => ready.extend(found.iter().map(|e| { e.data }.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn flags(read: bool, write: bool) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, read);
    flags.set(EventFlags::OUT, write);
    flags
}
