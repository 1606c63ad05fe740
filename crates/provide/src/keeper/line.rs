//! The node's end of the line to the keeper: it never waits, and forgets nothing when the line is full.

use super::wire::{self, End, Ends, Note};
use op::SessionId;
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a node finds in its environment when a keeper started it.
#[derive(Debug)]
pub struct Inheritance {
    pub(crate) line: OwnedFd,
    pub(crate) lock: OwnedFd,
}

impl Inheritance {
    /// Takes the two descriptors that `UEM_KEEPER_FD` and `UEM_LOCK_FD` name; `None` if there is no keeper.
    /// To be called once, before anything else takes descriptors.
    pub fn from_env() -> io::Result<Option<Inheritance>> {
        let Some(line) = number(super::KEEPER_FD) else { return Ok(None) };
        let Some(lock) = number(super::LOCK_FD) else { return Ok(None) };
        Ok(Some(Inheritance { line: crate::sys::inherited(line)?, lock: crate::sys::inherited(lock)? }))
    }
}

pub(super) fn number(name: &str) -> Option<i32> {
    std::env::var(name).ok()?.parse().ok()
}

/// A session that the keeper held for an earlier node.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pid: i32,
    pub(crate) ticks: u64,
    pub(crate) tty: bool,
    pub(crate) ends: Ends,
    pub(crate) end: Option<End>,
}

/// The line itself.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    /// Notes that wait: for company, or for room on the line.
    waiting: VecDeque<Vec<u8>>,
    pub(crate) full: bool,
    pub(crate) gone: bool,
    /// Messages since the keeper was asked to listen.
    pub(crate) unheard: u32,
}

impl Line {
    pub(crate) fn new(socket: OwnedFd) -> Line {
        Line { socket, waiting: VecDeque::new(), full: false, gone: false, unheard: 0 }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for all that the keeper held: the first thing on a new line, and at once there. A keeper that dies
    /// meanwhile has handed back what it has.
    pub(crate) fn welcome(&mut self) -> io::Result<BTreeMap<SessionId, Held>> {
        let mut held = BTreeMap::new();
        let mut buf = [0u8; wire::MESSAGE];
        loop {
            let (n, fds) = match wire::receive(self.fd(), &mut buf, true) {
                Ok((0, _)) => {
                    self.gone = true;
                    return Ok(held);
                }
                other => other?,
            };
            let mut bytes = &buf[..n];
            let mut fds = Some(fds);
            while let Some(note) = Note::read(&mut bytes) {
                match note {
                    Note::Hold { session, pid, ticks, has } => {
                        let ends = Ends::from(has, fds.take().unwrap_or_default());
                        let tty = has & wire::TTY != 0;
                        held.insert(session, Held { pid, ticks, tty, ends, end: None });
                    }
                    Note::Ended { session, end } => {
                        if let Some(held) = held.get_mut(&session) {
                            held.end = Some(end);
                        }
                    }
                    Note::All => return Ok(held),
                    Note::Shut { .. }
                    | Note::Drop { .. }
                    | Note::Upto { .. }
                    | Note::Stop { .. }
                    | Note::Fd { .. } => {}
                }
            }
        }
    }

    /// Says something that is in no hurry: it goes with the next that is, or by [`Line::flush`].
    pub(crate) fn say(&mut self, note: Note) {
        if self.gone {
            return;
        }
        match self.waiting.back_mut() {
            Some(last) if last.len() < wire::MESSAGE - 256 => note.write(last),
            _ => {
                let mut bytes = Vec::with_capacity(64);
                note.write(&mut bytes);
                self.waiting.push_back(bytes);
            }
        }
    }

    /// Whether something waits to be said.
    pub(crate) fn has_more(&self) -> bool {
        !self.gone && !self.waiting.is_empty()
    }

    /// Says all that waits, as far as the line takes it; whether it took all.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some(bytes) = self.waiting.front() {
            match wire::send(self.socket.as_fd(), bytes, &[]) {
                Ok(()) => {
                    self.unheard += 1;
                    self.waiting.pop_front();
                }
                Err(Errno::INTR) => {}
                Err(errno) => return self.failed(errno),
            }
        }
        self.full = false;
        true
    }

    /// Says that a program ended, with all that waits. `false`: the line is full, and the dead must stay
    /// unreaped until it is not.
    pub(crate) fn ended(&mut self, session: SessionId, end: End) -> bool {
        if self.full || self.gone {
            return self.gone;
        }
        self.say(Note::Ended { session, end });
        if self.flush() {
            return true;
        }
        // Not said: take it back, for it will be tried again.
        if let Some(last) = self.waiting.back_mut() {
            let mut note = Vec::new();
            Note::Ended { session, end }.write(&mut note);
            last.truncate(last.len() - note.len());
            if last.is_empty() {
                self.waiting.pop_back();
            }
        }
        self.gone
    }

    /// Lays down descriptors that the child could not.
    pub(crate) fn hold(&mut self, note: Note, fds: &[BorrowedFd<'_>]) -> bool {
        let mut bytes = Vec::new();
        note.write(&mut bytes);
        match wire::send(self.socket.as_fd(), &bytes, fds) {
            Ok(()) => {
                self.unheard += 1;
                true
            }
            Err(errno) => self.failed(errno),
        }
    }

    /// What the keeper said, one message; `None` when there is no more now.
    pub(crate) fn hear(&mut self) -> Option<Vec<Note>> {
        let mut buf = [0u8; wire::MESSAGE];
        match wire::receive(self.fd(), &mut buf, false) {
            Ok((0, _)) => {
                self.gone = true;
                None
            }
            Ok((n, _)) => {
                let mut bytes = &buf[..n];
                Some(std::iter::from_fn(|| Note::read(&mut bytes)).collect())
            }
            Err(Errno::AGAIN) => None,
            Err(_) => {
                self.gone = true;
                None
            }
        }
    }

    /// Whether the keeper could not be told for want of room, or because there is none any more.
    pub(crate) fn failed(&mut self, errno: Errno) -> bool {
        match errno {
            Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM | Errno::INTR => {
                self.full = true
            }
            _ => self.gone = true,
        }
        false
    }
}
