//! A program's start: everything prepared, then one `clone` whose [`child`](super::child) makes system calls only.
//!
//! The child shares the node's memory while the thread that made it stands still (`CLONE_VM | CLONE_VFORK`, the
//! way of posix_spawn(3)): nothing is copied, and what went wrong comes back through that memory.

use super::child::{Child, STAGES, Stage, child_main};
use super::parcel::{Deposit, Parcel};
use super::pipes::Ours;
use super::place::{self, Places};
use super::room::Room;
use super::starting::Flight;
use crate::keeper::SESSION;
use libc::{c_char, c_int, c_void};
use op::{Errno, Error, Launch, Limits};
use rustix::process::Resource;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

/// What stays the same from start to start.
pub(super) struct Launcher {
    /// Signals that the child must put back to their default before it may be interrupted.
    resets: Vec<c_int>,
    /// The soft limit of descriptors that programs get, and the hard one.
    descriptors: u64,
    hard: u64,
    euid: u32,
    priority: c_int,
}

/// One program to start, and all that it needs for that.
pub(super) struct Order {
    pub(super) launch: Box<Launch>,
    pub(super) places: Places,
    /// The directory that it is to have.
    pub(super) room: Option<Room>,
    /// For its environment.
    pub(super) tag: String,
    pub(super) ours: Arc<Ours>,
    /// Its ends of stdio: three, or the terminal.
    pub(super) theirs: Vec<OwnedFd>,
    /// The files through which it joins its groups.
    pub(super) doors: Vec<File>,
    pub(super) limits: Vec<(c_int, libc::rlimit)>,
    /// When it starts, in ticks since the machine did.
    pub(super) ticks: u64,
}

/// What became of a start that succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) pid: i32,
    /// The keeper could not be told: it is slow, or gone.
    pub(super) untold: Option<Errno>,
}

impl Launcher {
    /// Looks up what the node itself has. Signal handlers that the process wants must be installed before.
    pub(super) fn new(descriptors: u64) -> Launcher {
        let resets = (1..=64).filter(|signal| !is_default(*signal)).collect();
        // SAFETY: takes numbers only.
        let priority = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let hard = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
        Launcher { resets, descriptors, hard, euid: rustix::process::geteuid().as_raw(), priority }
    }

    /// Whether a program of this user changes its identity before it runs.
    pub(super) fn switches(&self, launch: &Launch) -> bool {
        launch.user.uid.0 != self.euid
    }

    /// Starts the program. On return it runs, or nothing is left of it; of one that is `alone`, the dead child,
    /// for the dead are taken away in one thread only. One that is killed on its way is taken for running: its
    /// death tells.
    pub(super) fn start(
        &self,
        order: &mut Order,
        stack: &mut Stack,
        line: Option<BorrowedFd<'_>>,
        alone: Option<&Flight>,
    ) -> Result<Begun, Error> {
        let Order { launch, places, room, tag, ours, theirs, doors, limits, ticks } = order;
        if let Some(room) = room {
            room.make()?;
        }
        let switch = self.switches(launch);
        if switch && self.euid != 0 {
            let cause = format!(
                "cannot become user {}: this node runs as user {} and is not root",
                launch.user.uid.0, self.euid
            );
            return Err(Error::new(Errno::PERM, cause));
        }
        limits.extend(self.descriptor_limit(launch));
        let argv = strings(&launch.argv, "argument")?;
        let mut envp = strings(&launch.env, "environment")?;
        envp.retain(|line| {
            line.to_bytes().strip_prefix(SESSION.as_bytes()).is_none_or(|rest| !rest.starts_with(b"="))
        });
        envp.push(CString::new(format!("{SESSION}={tag}")).map_err(|_| zero_byte("node's name"))?);
        let groups: Vec<u32> = launch.user.groups.iter().map(|(gid, _)| *gid).collect();
        let (argv_at, envp_at, programs_at) = (pointers(&argv), pointers(&envp), pointers(&places.programs));
        let doors: Vec<c_int> = doors.iter().map(AsRawFd::as_raw_fd).collect();
        let end = |at: usize| theirs[at.min(theirs.len() - 1)].as_raw_fd();
        let mut deposit = line.map(|line| Deposit::new(line, launch.session, *ticks, ours.deposit()));
        let mut parcel = deposit.as_mut().map(Parcel::new);
        let nothing = std::ptr::null();
        let child = Child {
            argv: argv_at.as_ptr(),
            envp: envp_at.as_ptr(),
            programs: programs_at.as_ptr(),
            dir: places.dir.as_ptr(),
            any_dir: places.any_dir,
            stdio: [end(0), end(1), end(2)],
            tty: launch.tty.is_some(),
            cgroups: doors.as_ptr(),
            cgroup_count: doors.len(),
            switch,
            uid: launch.user.uid.0,
            gid: groups.first().copied().unwrap_or(launch.user.uid.0),
            groups: groups.as_ptr(),
            group_count: groups.len(),
            limits: limits.as_ptr(),
            limit_count: limits.len(),
            nice: if launch.nice == 0 { 0 } else { self.priority + c_int::from(launch.nice) },
            resets: self.resets.as_ptr(),
            reset_count: self.resets.len(),
            line: parcel.as_ref().map_or(-1, |parcel| parcel.line),
            hold: parcel.as_ref().map_or(nothing, |parcel| &raw const parcel.hold),
            hold_pid: parcel.as_mut().map_or(std::ptr::null_mut(), |parcel| parcel.pid),
            unhold: parcel.as_ref().map_or(nothing, |parcel| &raw const parcel.unhold),
            unwanted: alone.map_or(std::ptr::null(), |flight| &raw const flight.unwanted),
            stage: AtomicUsize::new(0),
            errno: AtomicI32::new(0),
            untold: AtomicI32::new(0),
        };
        let own_pid = AtomicI32::new(0);
        let pid = stack.clone_child(&child, alone.map_or(&own_pid, |flight| &flight.pid))?;
        let (errno, untold) = (child.errno.load(Relaxed), child.untold.load(Relaxed));
        if errno == 0 {
            let untold = (untold != 0).then(|| errno_of(untold));
            return Ok(Begun { pid, untold });
        }
        if alone.is_none() {
            crate::sys::wait_for(pid);
        }
        Err(refusal(launch, places, STAGES[child.stage.load(Relaxed)], errno_of(errno)))
    }

    /// The soft limit of descriptors that programs get.
    pub(super) fn descriptors(&self) -> u64 {
        self.descriptors
    }

    /// What a process gets back whose limits are lifted: what the node has itself. (A node that is not root
    /// cannot give it back.)
    pub(super) fn unlimited(&self, before: &Limits, now: &Limits) -> Vec<(c_int, libc::rlimit)> {
        let own = |resource| {
            let limit = rustix::process::getrlimit(resource);
            let number = |n: Option<u64>| n.unwrap_or(libc::RLIM_INFINITY);
            libc::rlimit { rlim_cur: number(limit.current), rlim_max: number(limit.maximum) }
        };
        let mut all = Vec::new();
        if before.mem.is_some() && now.mem.is_none() {
            all.push((libc::RLIMIT_AS as c_int, own(Resource::As)));
        }
        if before.pids.is_some() && now.pids.is_none() {
            all.push((libc::RLIMIT_NPROC as c_int, own(Resource::Nproc)));
        }
        if before.fds.is_some() && now.fds.is_none() {
            let limit = libc::rlimit { rlim_cur: self.descriptors, rlim_max: self.hard };
            all.push((libc::RLIMIT_NOFILE as c_int, limit));
        }
        all
    }

    fn descriptor_limit(&self, launch: &Launch) -> Option<(c_int, libc::rlimit)> {
        let hard = self.hard;
        let limit = match launch.limits.fds {
            Some(fds) => libc::rlimit { rlim_cur: fds, rlim_max: fds.min(hard) },
            None if self.descriptors < hard => libc::rlimit { rlim_cur: self.descriptors, rlim_max: hard },
            None => return None,
        };
        Some((c_int::try_from(libc::RLIMIT_NOFILE).expect("a small number"), limit))
    }
}

/// What a child runs on, one at a time.
pub(super) struct Stack(*mut c_void);

/// Its size, in bytes.
const STACK: usize = 64 << 10;

impl Stack {
    pub(super) fn new() -> io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a fresh mapping, and its lowest page made a guard.
        let stack = unsafe {
            let stack =
                libc::mmap(std::ptr::null_mut(), STACK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            if stack == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            libc::mprotect(stack, 4096, libc::PROT_NONE);
            stack
        };
        Ok(Stack(stack))
    }

    /// Makes the child and stands still until it has left our memory. Its pid is in `told` before it runs.
    fn clone_child(&mut self, child: &Child, told: &AtomicI32) -> Result<i32, Error> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the child runs `child_main` on this stack, which only one clone uses at a time (we have it
        // `&mut`, and CLONE_VFORK holds us until the child has left it); `child` and all it points to outlive
        // that, and so does `told`. All signals are blocked around it, so that no handler of ours runs there.
        let pid = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            let (top, arg) = (self.0.byte_add(STACK), std::ptr::from_ref(child).cast_mut().cast());
            let pid = libc::clone(child_main, top, flags, arg, told.as_ptr());
            let errno = crate::sys::last();
            libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut());
            if pid < 0 { Err(errno) } else { Ok(pid) }
        };
        pid.map_err(|errno| {
            let errno = errno_of(errno.raw_os_error());
            Error::new(
                errno,
                format!("cannot make a process: {} (a limit of processes or of memory)", errno.text()),
            )
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our mapping, and no child is on it.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

// SAFETY: the mapping is this value's alone, whichever thread it is used from.
unsafe impl Send for Stack {}

fn refusal(launch: &Launch, places: &Places, stage: Stage, errno: Errno) -> Error {
    let why = errno.text();
    let cause = match stage {
        Stage::Session => format!("cannot make a session: {why}"),
        Stage::Terminal => format!("cannot take the terminal: {why}"),
        Stage::Stdio => format!("cannot arrange stdin, stdout and stderr: {why}"),
        Stage::Cgroup => format!("cannot join the control group: {why}"),
        Stage::Groups => format!("cannot take the groups of {}: {why}", launch.user.name),
        Stage::User => format!("cannot become user {} ({}): {why}", launch.user.uid.0, launch.user.name),
        Stage::Limit => format!("cannot set the limits (above those of the node?): {why}"),
        Stage::Nice => format!("cannot set nice {}: {why}", launch.nice),
        Stage::Dir => format!("cannot enter directory {}: {why}", places.dir.to_string_lossy()),
        Stage::Exec => place::exec_failure(launch, places, errno),
    };
    Error::new(errno, cause)
}

/// Asked of the kernel itself: the C library hides two signals that may have been inherited as ignored.
fn is_default(signal: c_int) -> bool {
    let mut action = [0u64; 4];
    // SAFETY: only asks; the kernel's sigaction is four words at most, the handler first.
    let asked = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<u64>(), action.as_mut_ptr(), 8)
    };
    asked != 0 || action[0] == 0
}

pub(super) fn errno_of(number: i32) -> Errno {
    Errno(u16::try_from(number).unwrap_or(Errno::IO.0))
}

fn strings(words: &[Vec<u8>], what: &str) -> Result<Vec<CString>, Error> {
    words.iter().map(|word| CString::new(word.as_slice()).map_err(|_| zero_byte(what))).collect()
}

fn zero_byte(what: &str) -> Error {
    Error::new(Errno::INVAL, format!("a zero byte in the {what}: no program can be given one"))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
