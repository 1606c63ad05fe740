//! One program as its provider sees it: two outputs, one input, and how far its life is.

use crate::keeper::wire::End;
use crate::spool::{Pumped, Spool, Spools};
use op::{Errno, Error, Limits, SessionId, Stream};
use rustix::event::epoll;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What an event of the inner epoll is about; with the session it makes the event's data word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum About {
    Stdin,
    Out,
    Err,
    /// The pidfd of a program that is nobody's child here.
    Death,
    Children,
    Keeper,
    Timer,
    /// A start that was made in a thread of its own is done.
    Starts,
}

const ABOUTS: [About; 8] = [
    About::Stdin,
    About::Out,
    About::Err,
    About::Death,
    About::Children,
    About::Keeper,
    About::Timer,
    About::Starts,
];

impl About {
    /// The data word; sessions are numbered below 2^61.
    pub(super) fn word(self, session: SessionId) -> epoll::EventData {
        epoll::EventData::new_u64(session.0 << 3 | self as u64)
    }

    pub(super) fn of(data: epoll::EventData) -> (SessionId, About) {
        (SessionId(data.u64() >> 3), ABOUTS[(data.u64() & 7) as usize])
    }
}

/// How far a program is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Running,
    /// Told, but perhaps not written down yet.
    Ended(End),
    /// Told and written down: the keeper may forget it.
    Settled(End),
}

impl Life {
    /// Its end, if that was told but not settled, and the place to say that it is.
    pub(super) fn ended(&mut self) -> Option<(&mut Life, End)> {
        match *self {
            Life::Ended(end) => Some((self, end)),
            Life::Running | Life::Settled(_) => None,
        }
    }
}

/// Who will see how the program ends.
#[derive(Debug)]
pub(super) enum Parent {
    /// This process.
    Node,
    /// The keeper; the pidfd is for the case that the keeper dies.
    Keeper(Option<OwnedFd>),
    /// Neither: its pidfd tells.
    Nobody(Option<OwnedFd>),
}

/// How a session was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Frozen {
    No,
    ByGroup,
    BySignal,
}

/// An output: the end of the pipe (or the terminal) and the spool that it goes to.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) from: Option<OwnedFd>,
    pub(super) spool: Spool,
    /// In the epoll.
    pub(super) watched: bool,
    /// `Full` was told for this halt.
    pub(super) full: bool,
    /// The spool could not be written; tried again by the timer.
    pub(super) stuck: bool,
    /// `Closed` was told.
    pub(super) closed: bool,
}

impl Output {
    pub(super) fn new(
        spools: &Arc<Spools>,
        session: SessionId,
        stream: Stream,
        from: Option<OwnedFd>,
    ) -> Output {
        let spool = Spool::new(spools, session, stream);
        Output { from, spool, watched: false, full: false, stuck: false, closed: false }
    }

    pub(super) fn again(
        spools: &Arc<Spools>,
        session: SessionId,
        stream: Stream,
        from: Option<OwnedFd>,
    ) -> Output {
        let spool = Spool::again(spools, session, stream);
        Output { from, spool, watched: false, full: false, stuck: false, closed: false }
    }

    /// Moves what waits; `None` if it is closed already.
    pub(super) fn pump(&mut self, tty: bool, limit: Option<u64>, most: u64) -> Option<Pumped> {
        let from = self.from.as_ref()?;
        Some(self.spool.pump(from.as_fd(), tty, limit, most))
    }
}

/// The way in.
#[derive(Debug, Default)]
pub(super) struct Stdin {
    pub(super) to: Option<OwnedFd>,
    data: Vec<u8>,
    at: usize,
    /// A `Feed` is under way.
    pub(super) feeding: bool,
    /// To be closed when all is fed.
    pub(super) shut: bool,
    /// In the epoll.
    pub(super) watched: bool,
    nonblocking: bool,
    /// The last byte fed did not end a line: a terminal's end-of-file must be given twice.
    mid_line: bool,
}

/// How far feeding came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fed {
    All,
    /// The rest when there is room.
    Some,
    No(Error),
}

impl Stdin {
    pub(super) fn new(to: Option<OwnedFd>) -> Stdin {
        Stdin { to, ..Stdin::default() }
    }

    /// Takes bytes to feed.
    pub(super) fn take(&mut self, data: Vec<u8>) {
        assert!(!self.feeding, "one Feed a session at a time");
        (self.data, self.at, self.feeding) = (data, 0, true);
    }

    /// Writes what the program takes.
    pub(super) fn feed(&mut self) -> Fed {
        let Some(to) = self.to.as_ref() else {
            return Fed::No(Error::new(Errno::PIPE, "its stdin is closed"));
        };
        if !self.nonblocking {
            self.nonblocking = set_nonblocking(to.as_fd());
        }
        while self.at < self.data.len() {
            match rustix::io::write(to, &self.data[self.at..]) {
                Ok(n) => self.at += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Fed::Some,
                Err(errno) => {
                    let errno = super::launch::errno_of(errno.raw_os_error());
                    let cause = match errno {
                        Errno::PIPE | Errno::IO => "nothing reads its stdin any more".to_owned(),
                        other => format!("cannot write its stdin: {}", other.text()),
                    };
                    return Fed::No(Error::new(Errno::PIPE, cause));
                }
            }
        }
        self.mid_line = self.data.last().is_some_and(|byte| *byte != b'\n');
        Fed::All
    }

    /// Lets what was not taken go.
    pub(super) fn unfeed(&mut self) {
        (self.data, self.at, self.feeding) = (Vec::new(), 0, false);
    }

    /// The end-of-file character of a terminal, once more where it would only end an unfinished line.
    pub(super) fn end_of_file(&mut self) {
        let Some(to) = self.to.as_ref() else { return };
        let eof = rustix::termios::tcgetattr(to)
            .map_or(4, |modes| modes.special_codes[rustix::termios::SpecialCodeIndex::VEOF]);
        let twice = [eof, eof];
        let _nobody_there = rustix::io::write(to, if self.mid_line { &twice } else { &twice[..1] });
        self.mid_line = false;
    }
}

/// A program and what belongs to it.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) pid: i32,
    pub(super) ticks: u64,
    pub(super) tty: bool,
    pub(super) limits: Limits,
    pub(super) stdin: Stdin,
    pub(super) out: Output,
    pub(super) err: Output,
    pub(super) life: Life,
    pub(super) parent: Parent,
    pub(super) group: Option<super::cgroup::Group>,
    pub(super) frozen: Frozen,
}

impl Program {
    pub(super) fn output(&mut self, stream: Stream) -> &mut Output {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    pub(super) fn out_of(&self, stream: Stream) -> &Output {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    /// Nothing of it is left but its spools.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.life, Life::Settled(_)) && self.out.closed && self.err.closed
    }
}

pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> bool {
    let flags = rustix::fs::fcntl_getfl(fd).map(|flags| flags | rustix::fs::OFlags::NONBLOCK);
    flags.is_ok_and(|flags| rustix::fs::fcntl_setfl(fd, flags).is_ok())
}
