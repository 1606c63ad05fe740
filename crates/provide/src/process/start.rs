//! `Start`: pipes or a terminal, limits, the launch, and the program in its place.

use super::cgroup::{Group, Kept};
use super::family;
use super::launch::{Deposit, Stdio, errno_of};
use super::program::{Frozen, Life, Output, Parent, Program, Stdin};
use super::{Processes, limits_by};
use crate::keeper::wire::{self, Note};
use crate::sys;
use op::{Errno, Error, Launch, Limits, SessionId, Stream, Tell, WinSize};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Both sides of a program's stdio.
struct Pipes {
    /// Ours: stdin's write end or the terminal, and the read ends of pipes.
    stdin: OwnedFd,
    out: OwnedFd,
    err: Option<OwnedFd>,
    /// The program's: three ends, or the terminal.
    theirs: Vec<OwnedFd>,
}

impl Processes {
    pub(super) fn start(&mut self, launch: &Launch, tells: &mut Vec<Tell>) {
        let session = launch.session;
        match self.begin(launch) {
            Ok(limits_by) => {
                let program = &self.programs[&session];
                tells.push(Tell::Started {
                    session,
                    pid: program.pid.unsigned_abs(),
                    mark: self.mark(program.pid, program.ticks),
                    limits_by: limits_by.into(),
                });
                self.watch(session, Stream::Out);
                self.watch(session, Stream::Err);
            }
            Err(error) => tells.push(Tell::Refused { session, error }),
        }
    }

    fn begin(&mut self, launch: &Launch) -> Result<String, Error> {
        let session = launch.session;
        if self.programs.contains_key(&session) {
            return Err(Error::new(Errno::BUSY, "this session has been started before"));
        }
        let pipes = self.pipes(launch)?;
        let (group, kept) = self.group(session, &launch.limits);
        let limits_by = limits_by(&launch.limits, &kept);
        let begun = self.launch(launch, &pipes, group.as_ref(), &kept);
        let (pid, ticks) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if let Some(group) = group {
                    self.cgroups.remove(&group);
                }
                return Err(error);
            }
        };
        let tty = launch.tty.is_some();
        let program = Program {
            pid,
            ticks,
            tty,
            limits: launch.limits,
            stdin: Stdin::new(Some(pipes.stdin)),
            out: Output::new(&self.spools, session, Stream::Out, Some(pipes.out)),
            err: Output::new(&self.spools, session, Stream::Err, pipes.err),
            life: Life::Running,
            parent: Parent::Node,
            group,
            frozen: Frozen::No,
        };
        self.programs.insert(session, program);
        self.pids.insert(pid, session);
        Ok(limits_by)
    }

    fn launch(
        &mut self,
        launch: &Launch,
        pipes: &Pipes,
        group: Option<&Group>,
        kept: &Kept,
    ) -> Result<(i32, u64), Error> {
        let session = launch.session;
        let doors = group.map_or(Ok(Vec::new()), Group::doors).map_err(|error| {
            let errno = errno_of(error.raw_os_error().unwrap_or(5));
            Error::new(errno, format!("cannot open the session's control group: {}", errno.text()))
        })?;
        let doors_at: Vec<i32> = doors.iter().map(AsRawFd::as_raw_fd).collect();
        let end = |at: usize| pipes.theirs[at.min(pipes.theirs.len() - 1)].as_fd();
        let stdio = Stdio { ends: [end(0), end(1), end(2)], tty: launch.tty.is_some() };
        let ticks = sys::boot_ticks();
        let mut deposit = self.line.as_ref().filter(|line| !line.gone).map(|line| {
            let (has, fds) = pipes.deposit();
            let (mut note, mut take_back) = (Vec::new(), Vec::new());
            Note::Hold { session, pid: 0, ticks, has }.write(&mut note);
            Note::Drop { session }.write(&mut take_back);
            Deposit { line: line.fd(), note, fds, take_back }
        });
        let limits = rlimits(&launch.limits, kept);
        let tag = self.tag(session);
        let begun = self.launcher.start(launch, &tag, &stdio, &doors_at, limits, deposit.as_mut())?;
        drop(deposit);
        if let (Some(errno), Some(line)) = (begun.untold, &mut self.line) {
            line.failed(rustix::io::Errno::from_raw_os_error(i32::from(errno.0)));
            self.untold.push(session);
        }
        Ok((begun.pid, ticks))
    }

    /// A group if a limit asks for one and this machine can.
    fn group(&mut self, session: SessionId, limits: &Limits) -> (Option<Group>, Kept) {
        if limits.cpu.is_none() && limits.mem.is_none() && limits.pids.is_none() {
            return (None, Kept::default());
        }
        let (group, kept) = self.cgroups.for_limits(session, limits);
        (Some(group), kept)
    }

    fn pipes(&self, launch: &Launch) -> Result<Pipes, Error> {
        let made = match launch.tty {
            Some(size) => terminal(size, launch.user.uid.0),
            None => pipes(),
        };
        let pipes = made.map_err(|errno| {
            let errno = errno_of(errno.raw_os_error());
            let what = if launch.tty.is_some() { "a terminal" } else { "pipes" };
            Error::new(errno, format!("cannot make {what} for it: {}{}", errno.text(), hint(errno)))
        })?;
        let highest = pipes.theirs.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(0);
        if highest >= self.descriptors {
            let cause = format!(
                "too many programs at once for this node: {highest} descriptors are in use and the rest is its \
                 reserve (raise ulimit -n)"
            );
            return Err(Error::new(Errno::MFILE, cause));
        }
        Ok(pipes)
    }

    /// What `Adopt` needs to know the program again: pid, start in ticks since boot, and which boot.
    pub(super) fn mark(&self, pid: i32, ticks: u64) -> String {
        format!("{pid}:{ticks}:{}", self.boot)
    }

    /// New limits for what runs.
    pub(super) fn limit(&mut self, session: SessionId, limits: Limits, tells: &mut Vec<Tell>) {
        let Some(mut program) = self.programs.remove(&session) else { return };
        program.limits = limits;
        let alive = program.life == Life::Running;
        if alive {
            if program.group.is_none()
                && (limits.cpu.is_some() || limits.mem.is_some() || limits.pids.is_some())
            {
                let (group, _) = self.cgroups.for_limits(session, &limits);
                for pid in self.family(session, &program) {
                    group.join(pid);
                }
                program.group = Some(group);
            }
            let kept = program.group.as_ref().map_or(Kept::default(), |group| group.limit(&limits));
            let mut all = rlimits(&limits, &kept);
            if let Some(fds) = limits.fds {
                all.push((libc::RLIMIT_NOFILE as i32, libc::rlimit { rlim_cur: fds, rlim_max: fds }));
            }
            for (resource, limit) in all {
                // SAFETY: reads one rlimit; the pid is of a program that is not reaped.
                unsafe { libc::prlimit(program.pid, resource as _, &raw const limit, std::ptr::null_mut()) };
            }
        }
        self.programs.insert(session, program);
        self.resume(session, Stream::Out, tells);
        self.resume(session, Stream::Err, tells);
    }

    /// The living processes of a session.
    pub(super) fn family(&self, session: SessionId, program: &Program) -> std::collections::BTreeSet<i32> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let pids = &self.pids;
        let adopted: std::collections::HashSet<i32> = self
            .programs
            .values()
            .filter(|other| !matches!(other.parent, Parent::Node))
            .map(|other| other.pid)
            .chain([program.pid, own])
            .collect();
        let is_known = |pid: i32| pids.contains_key(&pid) || adopted.contains(&pid);
        let kin = family::Kin { reapers: &[own, self.keeper_pid], is_known: &is_known };
        let alive = program.life == Life::Running;
        let mut all = kin.family(program.pid, alive, &self.tag(session));
        all.extend(program.group.iter().flat_map(Group::pids));
        all
    }
}

impl Pipes {
    fn deposit(&self) -> (u8, Vec<BorrowedFd<'_>>) {
        match &self.err {
            Some(err) => {
                (wire::IN | wire::OUT | wire::ERR, vec![self.stdin.as_fd(), self.out.as_fd(), err.as_fd()])
            }
            None => (wire::IN | wire::TTY, vec![self.stdin.as_fd()]),
        }
    }
}

fn pipes() -> rustix::io::Result<Pipes> {
    let (stdin_read, stdin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (out, out_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (err, err_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok(Pipes { stdin, out, err: Some(err), theirs: vec![stdin_read, out_write, err_write] })
}

/// A terminal that belongs to its user. Stdin is a second descriptor of the same, with a watch of its own.
fn terminal(size: WinSize, uid: u32) -> rustix::io::Result<Pipes> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    rustix::termios::tcsetwinsize(&theirs, winsize(size))?;
    if uid != rustix::process::geteuid().as_raw() {
        rustix::fs::fchown(&theirs, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    }
    super::program::set_nonblocking(master.as_fd());
    let stdin = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
    Ok(Pipes { stdin, out: master, err: None, theirs: vec![theirs] })
}

pub(super) fn winsize(size: WinSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Limits of a process that stand in for those of a group.
fn rlimits(limits: &Limits, kept: &Kept) -> Vec<(i32, libc::rlimit)> {
    let both = |n: u64| libc::rlimit { rlim_cur: n, rlim_max: n };
    let mem = limits.mem.filter(|_| !kept.mem).map(|n| (libc::RLIMIT_AS as i32, both(n)));
    let pids = limits.pids.filter(|_| !kept.pids).map(|n| (libc::RLIMIT_NPROC as i32, both(n)));
    mem.into_iter().chain(pids).collect()
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::MFILE => " (the node's limit, ulimit -n)",
        Errno::NFILE => " (the machine's limit, fs.file-max)",
        Errno::NOSPC => " (no terminal is free, kernel.pty.max)",
        _ => "",
    }
}
