//! What the keeper holds: sessions that are laid down, how they ended, and their output while no node runs.

use super::node::Word;
use super::run::Keeper;
use super::wire::{self, End, Ends, Note};
use crate::spool::{self, Pumped, Spool, Spools};
use crate::sys::{self, Which};
use op::{SessionId, Stream};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A session, as it lies here.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) pid: i32,
    pub(super) ticks: u64,
    pub(super) tty: bool,
    pub(super) ends: Ends,
    pub(super) end: Option<End>,
    /// While no node runs: how long its spools may become, and the spools.
    pub(super) upto: [u64; 2],
    pub(super) spools: Option<[Spool; 2]>,
}

impl Kept {
    /// What is to be moved while no node runs.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let out = if self.tty { &self.ends.stdin } else { &self.ends.out };
        let pairs = [(Stream::Out, out, self.upto[0]), (Stream::Err, &self.ends.err, self.upto[1])];
        pairs
            .into_iter()
            .filter(|(_, _, upto)| *upto > 0)
            .filter_map(|(stream, fd, _)| Some((stream, fd.as_ref()?.as_fd())))
    }
}

impl Keeper {
    /// What this process held when it was a node.
    pub(super) fn load(&mut self, table: OwnedFd) -> io::Result<()> {
        rustix::fs::seek(&table, rustix::fs::SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        std::fs::File::from(table).read_to_end(&mut bytes)?;
        let (mut bytes, mut open) = (&bytes[..], None);
        loop {
            let note = Note::read(&mut bytes);
            match note {
                Some(Note::Fd { number }) => {
                    if let Some((_, fds)) = &mut open {
                        Vec::push(fds, sys::inherited(number)?);
                    }
                    continue;
                }
                Some(Note::Ended { session, end }) => {
                    self.lay(open.take());
                    if let Some(kept) = self.sessions.get_mut(&session) {
                        kept.end = Some(end);
                    }
                }
                Some(other) => {
                    self.lay(open.take());
                    open = Some((other, Vec::new()));
                }
                None => {
                    self.lay(open.take());
                    return Ok(());
                }
            }
        }
    }

    fn lay(&mut self, held: Option<(Note, Vec<OwnedFd>)>) {
        if let Some((note, fds)) = held {
            self.note(note, fds, false);
        }
    }

    /// Programs that are not our children though no node has them: nobody will see how they end.
    pub(super) fn find_the_lost(&mut self) {
        self.bury();
        for kept in self.sessions.values_mut() {
            if kept.end.is_none() && kept.ends.pidfd.is_none() && !sys::is_child(kept.pid) {
                let usage = op::Usage::default();
                kept.end = Some(End { killed: false, status: -1, usage, at: sys::wall() });
            }
        }
    }

    /// One note. `given_up`: from a start that took so long that its session was declared not to have run.
    pub(super) fn note(&mut self, note: Note, fds: Vec<OwnedFd>, given_up: bool) {
        match note {
            Note::Hold { pid, .. } if given_up => {
                if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| sys::is_child(pid)) {
                    let _is_gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            Note::Hold { session, pid, ticks, has } => {
                let (tty, ends) = (has & wire::TTY != 0, Ends::from(has, fds));
                self.pids.insert(pid, session);
                let kept = Kept { pid, ticks, tty, ends, end: None, upto: [u64::MAX; 2], spools: None };
                self.sessions.insert(session, kept);
            }
            Note::Ended { session, end } => {
                if let Some(kept) = self.sessions.get_mut(&session) {
                    kept.end = Some(end);
                    if self.pids.get(&kept.pid) == Some(&session) {
                        self.pids.remove(&kept.pid);
                    }
                }
            }
            Note::Shut { session } => {
                if let Some(kept) = self.sessions.get_mut(&session).filter(|kept| !kept.tty) {
                    kept.ends.stdin = None;
                }
            }
            Note::Drop { session } => {
                let kept = self.sessions.remove(&session);
                if let Some(pid) =
                    kept.map(|kept| kept.pid).filter(|pid| self.pids.get(pid) == Some(&session))
                {
                    self.pids.remove(&pid);
                }
            }
            Note::Upto { session, out, err } => {
                if let Some(kept) = self.sessions.get_mut(&session) {
                    kept.upto = [out, err];
                }
            }
            Note::Stop { keep } => self.node.is_stopping(keep),
            Note::All | Note::Fd { .. } => {}
        }
    }

    /// Takes the dead away and remembers how they ended.
    pub(super) fn bury(&mut self) {
        while let Some(death) = sys::look_for_death(Which::Any) {
            if self.node.pid() == Some(death.pid) {
                sys::reap(death.pid);
                self.node_died(death.killed, death.status);
                continue;
            }
            // It spoke before it ran, and so before it died.
            self.hear();
            self.hear_late();
            sys::reap(death.pid);
            let Some(session) = self.pids.remove(&death.pid) else { continue };
            let Some(kept) = self.sessions.get_mut(&session).filter(|kept| kept.end.is_none()) else {
                continue;
            };
            let end = End { killed: death.killed, status: death.status, usage: death.usage, at: sys::wall() };
            kept.end = Some(end);
            self.node.say(Word::Ended(session, end));
        }
    }

    /// Moves output while no node runs.
    pub(super) fn pump(&mut self, session: SessionId, stream: Stream) {
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        let spools = kept.spools.get_or_insert_with(|| {
            let spools = Spools::new(self.config.state.join("spool"));
            [Stream::Out, Stream::Err].map(|stream| Spool::again(&spools, session, stream))
        });
        let (at, slot) = match stream {
            Stream::Out if kept.tty => (0, &mut kept.ends.stdin),
            Stream::Out => (0, &mut kept.ends.out),
            Stream::Err => (1, &mut kept.ends.err),
        };
        let Some(from) = slot else { return };
        let spool = &mut spools[at];
        spool.trimmed = 0; // the limit is on the whole length here
        match spool.pump(from.as_fd(), kept.tty, Some(kept.upto[at]), spool::TURN) {
            Pumped::Some => {}
            Pumped::End => *slot = None,
            // It stands still until a node is back.
            Pumped::Full => kept.upto[at] = 0,
            Pumped::Stuck(_) => std::thread::sleep(Duration::from_millis(100)), // a full disk: nothing else to do
        }
    }
}
