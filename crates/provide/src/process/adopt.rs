//! `Adopt`: programs of an earlier node found again; and the ways in which this node leaves its own behind.

use super::Processes;
use super::family;
use super::program::{About, Frozen, Life, Output, Parent, Program, Stdin};
use super::reap::end_from_wait_status;
use crate::keeper::wire::{self, Ends, Note};
use crate::keeper::{self, Held};
use crate::sys;
use op::{Errno, Error, Limits, SessionId, Stream, Tell};
use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;

/// How much later than its mark says a process may have started and still be the one, in clock ticks.
const SLACK: u64 = 200;

impl Processes {
    pub(super) fn adopt(&mut self, session: SessionId, mark: &str, tells: &mut Vec<Tell>) {
        if self.programs.contains_key(&session) {
            return;
        }
        match self.held.remove(&session) {
            Some(held) => self.take_back(session, held, tells),
            None => self.search(session, mark, tells),
        }
    }

    /// From the keeper's hands.
    fn take_back(&mut self, session: SessionId, held: Held, tells: &mut Vec<Tell>) {
        let Held { pid, ticks, tty, ends, end } = held;
        let Ends { stdin, out, err, pidfd } = ends;
        let out =
            if tty { stdin.as_ref().and_then(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok()) } else { out };
        let parent = match (pidfd, end) {
            (Some(pidfd), _) => Parent::Nobody(Some(pidfd)),
            (None, None) => {
                Parent::Keeper(Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()))
            }
            (None, Some(_)) => Parent::Keeper(None),
        };
        self.found(session, pid, ticks, tty, stdin, [out, err], parent, tells);
        if let Some(end) = end {
            self.exited(session, end, tells);
        }
    }

    /// Not with the keeper: by its mark in /proc, or else what is left of it.
    fn search(&mut self, session: SessionId, mark: &str, tells: &mut Vec<Tell>) {
        let spools = [Stream::Out, Stream::Err].map(|stream| self.spools.path(session, stream));
        if mark.is_empty() && !spools.iter().any(|path| path.exists()) {
            let cause = "the node was restarted before it could start this program; it has not run";
            tells.push(Tell::Refused { session, error: Error::new(Errno::CANCELED, cause) });
            return;
        }
        let alive = self.alive(mark);
        let (pid, ticks, pidfd) = alive.unwrap_or((0, 0, None));
        let found = pidfd.is_some();
        self.found(session, pid, ticks, false, None, [None, None], Parent::Nobody(pidfd), tells);
        if !found {
            let mut end = end_from_wait_status(None);
            end.at = sys::wall();
            self.exited(session, end, tells);
        }
    }

    /// The process of a mark, if it still is that one.
    fn alive(&self, mark: &str) -> Option<(i32, u64, Option<OwnedFd>)> {
        let mut parts = mark.split(':');
        let (pid, ticks) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u64>().ok()?);
        if parts.next()? != self.boot {
            return None;
        }
        // The descriptor first: what it names cannot become another while we look.
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let stat = family::stat(pid)?;
        let is_it = stat.state != b'Z' && (ticks.saturating_sub(2)..ticks + SLACK).contains(&stat.start);
        is_it.then_some((pid, ticks, Some(pidfd)))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a program that the two ways of finding one differ in"
    )]
    fn found(
        &mut self,
        session: SessionId,
        pid: i32,
        ticks: u64,
        tty: bool,
        stdin: Option<OwnedFd>,
        [out, err]: [Option<OwnedFd>; 2],
        parent: Parent,
        tells: &mut Vec<Tell>,
    ) {
        if let Parent::Nobody(Some(pidfd)) = &parent {
            let _no_memory =
                epoll::add(&self.epoll, pidfd, About::Death.word(session), epoll::EventFlags::IN);
        }
        let program = Program {
            pid,
            ticks,
            tty,
            limits: Limits::default(),
            stdin: Stdin::new(stdin),
            out: Output::again(&self.spools, session, Stream::Out, out),
            err: Output::again(&self.spools, session, Stream::Err, err),
            life: Life::Running,
            parent,
            group: self.cgroups.again(session),
            frozen: Frozen::No,
        };
        if pid > 0 {
            let mark = self.mark(pid, ticks);
            let limits_by = if program.group.is_some() { "cgroup" } else { "rlimits" };
            tells.push(Tell::Started { session, pid: pid.unsigned_abs(), mark, limits_by: limits_by.into() });
        }
        let lens = [(Stream::Out, program.out.spool.len), (Stream::Err, program.err.spool.len)];
        self.programs.insert(session, Box::new(program));
        for (stream, len) in lens {
            if len > 0 {
                tells.push(Tell::Grew { session, stream, len });
            }
            self.watch(session, stream);
            let gone = self.programs[&session].out_of(stream).from.is_none();
            if gone && !(tty && stream == Stream::Err) {
                self.close_again(session, stream, tells);
            }
        }
    }

    /// An output that has no descriptor any more was closed before.
    fn close_again(&mut self, session: SessionId, stream: Stream, tells: &mut Vec<Tell>) {
        if let Some(program) = self.programs.get_mut(&session) {
            program.output(stream).closed = false;
        }
        self.close(session, stream, tells);
    }

    /// Tells the keeper that this node ends by intent, and is not to be started again. With `keep` the programs
    /// stay, and the keeper moves their output until a node is started ([`keeper::wake`]); without it the host
    /// has ended them before. The host exits right after.
    pub fn stop(&mut self, keep: bool) {
        self.cgroups.leave();
        self.leave_rooms();
        if self.line.is_none() && !keep {
            // There is no keeper that would do it.
            let all: Vec<SessionId> = self.programs.keys().copied().collect();
            all.into_iter().for_each(|session| self.signal(session, libc::SIGKILL, true));
        }
        let Some(line) = &mut self.line else { return };
        for (session, program) in &self.programs {
            let upto = |output: &Output| {
                program.limits.output.map_or(u64::MAX, |limit| output.spool.trimmed.saturating_add(limit))
            };
            line.say(Note::Upto { session: *session, out: upto(&program.out), err: upto(&program.err) });
        }
        line.say(Note::Stop { keep });
        while !line.flush() && !line.gone {
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(line.fd(), rustix::event::PollFlags::OUT)];
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            let _room_or_time = rustix::event::poll(&mut fds, Some(&pause));
        }
    }

    /// Makes this process the keeper, after the keeper has died ([`Processes::keeper_gone`]): it execs `argv`,
    /// which must come to [`keeper::run`], keeps its pid and so all its programs, and the new keeper starts a
    /// new node. What was told must be written down before. Returns only if it fails, and then the node can go
    /// on, without a keeper.
    pub fn become_keeper(&mut self, argv: &[OsString]) -> io::Error {
        let table = match self.table() {
            Ok(table) => table,
            Err(error) => return error,
        };
        let Some((program, words)) = argv.split_first() else {
            return io::Error::from(io::ErrorKind::InvalidInput);
        };
        for fd in [table.as_fd(), self.lock.as_fd()] {
            if let Err(error) = sys::set_cloexec(fd, false) {
                return error;
            }
        }
        // The keeper starts no programs; and its nodes are to find their groups where this one made them.
        self.cgroups.leave();
        let error = std::process::Command::new(program)
            .args(words)
            .env(keeper::TABLE_FD, table.as_raw_fd().to_string())
            .env(keeper::LOCK_FD, self.lock.as_raw_fd().to_string())
            .env(keeper::DESCRIPTORS, self.launcher.descriptors().to_string())
            .env_remove(keeper::KEEPER_FD)
            .exec();
        self.cgroups.settle_in();
        error
    }

    /// All that the keeper must know, in a file that goes through exec, descriptors by number.
    fn table(&self) -> io::Result<std::fs::File> {
        let file = rustix::fs::memfd_create("uem-keeper", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        let mut bytes = Vec::new();
        let held = self.held.iter().map(|(session, held)| {
            let (has, fds) = held.ends.list();
            let has = has | if held.tty { wire::TTY } else { 0 };
            (*session, held.pid, held.ticks, has, fds, held.end)
        });
        let own = self.programs.iter().filter(|(_, program)| !program.is_over()).map(|(session, program)| {
            let (has, fds) = deposit_of(program);
            let end = match program.life {
                Life::Ended(end) | Life::Settled(end) => Some(end),
                Life::Running => None,
            };
            (*session, program.pid, program.ticks, has, fds, end)
        });
        let starting = self.starts.table().map(|(session, pid, ticks, ours, end)| {
            let (has, fds) = ours.deposit();
            (session, pid, ticks, has, fds, end)
        });
        for (session, pid, ticks, has, fds, end) in held.chain(own).chain(starting) {
            Note::Hold { session, pid, ticks, has }.write(&mut bytes);
            for fd in fds {
                sys::set_cloexec(fd, false)?;
                Note::Fd { number: fd.as_raw_fd() }.write(&mut bytes);
            }
            if let Some(end) = end {
                Note::Ended { session, end }.write(&mut bytes);
            }
        }
        file.write_all(&bytes)?;
        Ok(file)
    }
}

/// What of a program lies with the keeper.
pub(super) fn deposit_of(program: &Program) -> (u8, Vec<BorrowedFd<'_>>) {
    let mut has = if program.tty { wire::TTY } else { 0 };
    let mut fds = Vec::new();
    let pidfd = match &program.parent {
        Parent::Nobody(pidfd) | Parent::Keeper(pidfd) => pidfd.as_ref(),
        Parent::Node => None,
    };
    let out = program.out.from.as_ref().filter(|_| !program.tty);
    for (bit, fd) in [
        (wire::IN, program.stdin.to.as_ref()),
        (wire::OUT, out),
        (wire::ERR, program.err.from.as_ref()),
        (wire::PID, pidfd),
    ] {
        if let Some(fd) = fd {
            has |= bit;
            fds.push(fd.as_fd());
        }
    }
    (has, fds)
}
