//! `Start`: pipes or a terminal, limits, the launch, and the program in its place.

use super::cgroup::{Group, Kept};
use super::launch::{Begun, Order, errno_of};
use super::program::{Frozen, Life, Output, Parent, Program, Stdin};
use super::starting::Starting;
use super::{Processes, family, limits_by, pipes, place};
use op::{Errno, Error, Launch, Limits, SessionId, Stream, Tell};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

impl Processes {
    pub(super) fn start(&mut self, launch: Box<Launch>, tells: &mut Vec<Tell>) {
        let session = launch.session;
        if let Err(error) = self.begin(launch, tells) {
            self.clear_room(session);
            tells.push(Tell::Refused { session, error });
        }
    }

    /// Starts it at once, or in a thread of its own: one that might wait, and one of another user, who may stop
    /// (SIGSTOP) what becomes a process of his before it is his program, and with it whoever waits for that.
    fn begin(&mut self, launch: Box<Launch>, tells: &mut Vec<Tell>) -> Result<(), Error> {
        let session = launch.session;
        if self.programs.contains_key(&session) || self.starts.has(session) {
            return Err(Error::new(Errno::BUSY, "this session has been started before"));
        }
        let mut launch = launch;
        let switches = self.launcher.switches(&launch);
        let room = self.rooms.plan(&launch, switches);
        if let Some(room) = &room {
            let dir = room.dir.as_os_str().as_bytes();
            Arc::make_mut(&mut launch.env).push([b"UEM_DIR=", dir].concat());
            launch.dir.get_or_insert_with(|| dir.to_vec());
        }
        let places = place::places(&launch)?;
        // Files may be copied for it, which takes a while.
        let alone = switches || room.is_some() || !self.reach.is_near(&places);
        let (ours, theirs) = pipes::make(&launch, self.descriptors)?;
        let ours = Arc::new(ours);
        let (group, kept) = self.group(session, &launch.limits);
        let mut starting = Starting::new(&launch, ours.clone(), group, limits_by(&launch.limits, &kept));
        let order = doors(starting.group.as_ref()).map(|doors| Order {
            places,
            room,
            tag: self.tag(session),
            ours,
            theirs,
            doors,
            limits: rlimits(&launch.limits, &kept),
            ticks: starting.ticks,
            launch,
        });
        let line = self.line.as_ref().filter(|line| !line.gone).map(|line| line.fd());
        let begun = match order {
            Ok(order) if alone => match self.starts.start(order, &self.launcher, line, starting) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    starting = *back;
                    Err(error)
                }
            },
            Ok(mut order) => self.launcher.start(&mut order, &mut self.stack, line, None),
            Err(error) => Err(error),
        };
        match begun {
            Ok(begun) => self.started(session, starting, begun, tells),
            Err(error) => {
                if let Some(group) = starting.group {
                    self.cgroups.remove(&group);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// It runs, and is put in its place.
    pub(super) fn started(
        &mut self,
        session: SessionId,
        starting: Starting,
        begun: Begun,
        tells: &mut Vec<Tell>,
    ) {
        let Begun { pid, untold } = begun;
        let Starting { ours, ticks, limits, tty, group, limits_by, end, .. } = starting;
        let ours = Arc::into_inner(ours).expect("who started it let go of its pipes before it said so");
        let program = Program {
            pid,
            ticks,
            tty,
            limits,
            stdin: Stdin::new(Some(ours.stdin)),
            out: Output::new(&self.spools, session, Stream::Out, Some(ours.out)),
            err: Output::new(&self.spools, session, Stream::Err, ours.err),
            life: Life::Running,
            parent: Parent::Node,
            group,
            frozen: Frozen::No,
        };
        self.programs.insert(session, Box::new(program));
        if end.is_none() {
            self.pids.insert(pid, session);
        }
        match (untold, &mut self.line) {
            (Some(errno), Some(line)) => {
                line.failed(rustix::io::Errno::from_raw_os_error(i32::from(errno.0)));
                self.untold.push(session);
            }
            // The child has said it.
            (None, Some(line)) => line.unheard += 1,
            (_, None) => {}
        }
        tells.push(Tell::Started {
            session,
            pid: pid.unsigned_abs(),
            mark: self.mark(pid, ticks),
            limits_by: limits_by.into(),
        });
        self.watch(session, Stream::Out);
        self.watch(session, Stream::Err);
        if let Some(end) = end {
            self.exited(session, end, tells);
        }
    }

    /// A group if a limit asks for one and this machine can.
    fn group(&mut self, session: SessionId, limits: &Limits) -> (Option<Group>, Kept) {
        if limits.cpu.is_none() && limits.mem.is_none() && limits.pids.is_none() {
            return (None, Kept::default());
        }
        let (group, kept) = self.cgroups.for_limits(session, limits);
        (Some(group), kept)
    }

    /// What `Adopt` needs to know the program again: pid, start in ticks since boot, and which boot.
    pub(super) fn mark(&self, pid: i32, ticks: u64) -> String {
        format!("{pid}:{ticks}:{}", self.boot)
    }

    /// New limits for what runs.
    pub(super) fn limit(&mut self, session: SessionId, limits: Limits, tells: &mut Vec<Tell>) {
        let Some(mut program) = self.programs.remove(&session) else { return };
        let before = std::mem::replace(&mut program.limits, limits);
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
            let mut all = self.launcher.unlimited(&before, &limits);
            all.extend(rlimits(&limits, &kept));
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
            .chain(self.starts.pids())
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

fn doors(group: Option<&Group>) -> Result<Vec<std::fs::File>, Error> {
    group.map_or(Ok(Vec::new()), Group::doors).map_err(|error| {
        let errno = errno_of(error.raw_os_error().unwrap_or(5));
        Error::new(errno, format!("cannot open the session's control group: {}", errno.text()))
    })
}

/// Limits of a process that stand in for those of a group.
fn rlimits(limits: &Limits, kept: &Kept) -> Vec<(i32, libc::rlimit)> {
    let both = |n: u64| libc::rlimit { rlim_cur: n, rlim_max: n };
    let mem = limits.mem.filter(|_| !kept.mem).map(|n| (libc::RLIMIT_AS as i32, both(n)));
    let pids = limits.pids.filter(|_| !kept.pids).map(|n| (libc::RLIMIT_NPROC as i32, both(n)));
    mem.into_iter().chain(pids).collect()
}
