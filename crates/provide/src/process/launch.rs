//! A program's start: everything prepared, then one `clone` whose child makes system calls only.
//!
//! The child shares the node's memory while the node stands still (`CLONE_VM | CLONE_VFORK`, the way of
//! posix_spawn(3)): nothing is copied, and what went wrong comes back through that memory. Between clone and
//! exec the child may touch nothing but what [`Child`] points to: no allocation, no lock, no C library
//! function that does more than its system call.

use super::place::{self, Programs};
use crate::keeper::{SESSION, wire};
use libc::{c_char, c_int, c_long, c_void};
use op::{Errno, Error, Launch};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

const STACK: usize = 64 << 10;

/// What stays the same from start to start.
pub(super) struct Launcher {
    stack: *mut c_void,
    /// Signals that the child must put back to their default before it may be interrupted.
    resets: Vec<c_int>,
    /// The soft limit of descriptors that programs get, and the hard one.
    descriptors: u64,
    hard: u64,
    euid: u32,
    priority: c_int,
}

/// The steps between clone and exec, as failures name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Session,
    Terminal,
    Stdio,
    Cgroup,
    Groups,
    User,
    Limit,
    Nice,
    Dir,
    Exec,
}

const STAGES: [Stage; 10] = [
    Stage::Session,
    Stage::Terminal,
    Stage::Stdio,
    Stage::Cgroup,
    Stage::Groups,
    Stage::User,
    Stage::Limit,
    Stage::Nice,
    Stage::Dir,
    Stage::Exec,
];

/// All that the child may look at.
struct Child {
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// Paths to try, in order; null-terminated.
    programs: *const *const c_char,
    dir: *const c_char,
    /// `dir` is only a wish: `/` does as well.
    any_dir: bool,
    stdio: [c_int; 3],
    tty: bool,
    /// `cgroup.procs` files to join.
    cgroups: *const c_int,
    cgroup_count: usize,
    /// Become this user.
    switch: bool,
    uid: u32,
    gid: u32,
    groups: *const u32,
    group_count: usize,
    limits: *const (c_int, libc::rlimit),
    limit_count: usize,
    nice: c_int,
    resets: *const c_int,
    reset_count: usize,
    /// The line to the keeper, or -1; the note about this program, into which it writes its pid; the note that
    /// takes it back.
    line: c_int,
    hold: *const libc::msghdr,
    hold_pid: *mut u8,
    unhold: *const libc::msghdr,
    // What comes back; atomic, so that the compiler keeps each write where it stands among the system calls.
    stage: AtomicUsize,
    errno: AtomicI32,
    /// The errno with which the keeper could not be told.
    untold: AtomicI32,
}

impl Child {
    fn at(&self, stage: Stage) {
        self.stage.store(stage as usize, Relaxed);
    }
}

/// The child's ends of stdio; a terminal's are one.
pub(super) struct Stdio<'a> {
    pub(super) ends: [BorrowedFd<'a>; 3],
    pub(super) tty: bool,
}

/// The line to the keeper, and what is to lie there.
pub(super) struct Deposit<'a> {
    pub(super) line: BorrowedFd<'a>,
    pub(super) note: Vec<u8>,
    pub(super) fds: Vec<BorrowedFd<'a>>,
    pub(super) take_back: Vec<u8>,
}

/// What became of a start that succeeded.
pub(super) struct Begun {
    pub(super) pid: i32,
    /// The keeper could not be told: it is slow, or gone.
    pub(super) untold: Option<Errno>,
}

impl Launcher {
    /// Maps the child's stack and looks up what the node itself has. Signal handlers that the process wants
    /// must be installed before.
    pub(super) fn new(descriptors: u64) -> io::Result<Launcher> {
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
        let resets = (1..=64).filter(|signal| !is_default(*signal)).collect();
        // SAFETY: takes numbers only.
        let priority = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(1 << 20);
        Ok(Launcher { stack, resets, descriptors, hard, euid: rustix::process::geteuid().as_raw(), priority })
    }

    /// Starts the program. On return it runs, or nothing is left of it.
    pub(super) fn start(
        &self,
        launch: &Launch,
        tag: &str,
        stdio: &Stdio<'_>,
        cgroups: &[c_int],
        mut limits: Vec<(c_int, libc::rlimit)>,
        deposit: Option<&mut Deposit<'_>>,
    ) -> Result<Begun, Error> {
        let switch = launch.user.uid.0 != self.euid;
        if switch && self.euid != 0 {
            let cause = format!(
                "cannot become user {}: this node runs as user {} and is not root",
                launch.user.uid.0, self.euid
            );
            return Err(Error::new(Errno::PERM, cause));
        }
        limits.extend(self.descriptor_limit(launch));
        let programs = place::programs(launch)?;
        let argv = strings(&launch.argv, "argument")?;
        let mut envp = strings(&launch.env, "environment")?;
        envp.retain(|line| {
            line.to_bytes().strip_prefix(SESSION.as_bytes()).is_none_or(|rest| !rest.starts_with(b"="))
        });
        envp.push(CString::new(format!("{SESSION}={tag}")).map_err(|_| zero_byte("node's name"))?);
        let wish: &[u8] = launch.dir.as_deref().unwrap_or(launch.user.home.as_bytes());
        let dir = CString::new(wish).map_err(|_| zero_byte("directory"))?;
        let groups: Vec<u32> = launch.user.groups.iter().map(|(gid, _)| *gid).collect();
        let (argv_at, envp_at, programs_at) = (pointers(&argv), pointers(&envp), pointers(&programs.paths));
        let nothing = std::ptr::null();
        let mut parcel = deposit.map(|deposit| Parcel::new(deposit));
        let child = Child {
            argv: argv_at.as_ptr(),
            envp: envp_at.as_ptr(),
            programs: programs_at.as_ptr(),
            dir: dir.as_ptr(),
            any_dir: launch.dir.is_none(),
            stdio: stdio.ends.map(|end| end.as_raw_fd()),
            tty: stdio.tty,
            cgroups: cgroups.as_ptr(),
            cgroup_count: cgroups.len(),
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
            stage: AtomicUsize::new(0),
            errno: AtomicI32::new(0),
            untold: AtomicI32::new(0),
        };
        let pid = self.clone(&child)?;
        let (errno, untold) = (child.errno.load(Relaxed), child.untold.load(Relaxed));
        if errno == 0 {
            let untold = (untold != 0).then(|| errno_of(untold));
            return Ok(Begun { pid, untold });
        }
        crate::sys::wait_for(pid);
        Err(refusal(launch, &programs, STAGES[child.stage.load(Relaxed)], errno_of(errno)))
    }

    /// The soft limit of descriptors that programs get.
    pub(super) fn descriptors(&self) -> u64 {
        self.descriptors
    }

    fn clone(&self, child: &Child) -> Result<i32, Error> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the child runs `child_main` on a stack of its own, which only one clone uses at a time
        // (`Launcher` is not Sync, and CLONE_VFORK holds us until the child has left it); `child` and all it
        // points to outlive that. All signals are blocked around it, so that no handler of ours runs there.
        let pid = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            let top = self.stack.byte_add(STACK);
            let pid = libc::clone(child_main, top, flags, std::ptr::from_ref(child).cast_mut().cast());
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

fn refusal(launch: &Launch, programs: &Programs, stage: Stage, errno: Errno) -> Error {
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
        Stage::Dir => {
            let dir = launch.dir.as_deref().unwrap_or(b"/");
            format!("cannot enter directory {}: {why}", String::from_utf8_lossy(dir))
        }
        Stage::Exec => place::exec_failure(launch, programs, errno),
    };
    Error::new(errno, cause)
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // SAFETY: our mapping, and no child is on it.
        unsafe { libc::munmap(self.stack, STACK) };
    }
}

// SAFETY: the stack is ours alone, whichever thread we are used from.
unsafe impl Send for Launcher {}

/// The message to the keeper with all that sendmsg(2) wants to have pointed at.
struct Parcel<'a> {
    line: c_int,
    hold: libc::msghdr,
    unhold: libc::msghdr,
    pid: *mut u8,
    _parts: Box<([libc::iovec; 2], [u64; 6])>,
    _of: std::marker::PhantomData<&'a ()>,
}

impl<'a> Parcel<'a> {
    fn new(deposit: &'a mut Deposit<'_>) -> Parcel<'a> {
        let mut parts =
            Box::new(([libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2], [0u64; 6]));
        let (lines, control) = &mut *parts;
        for (line, bytes) in lines.iter_mut().zip([&mut deposit.note, &mut deposit.take_back]) {
            *line = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        }
        let count = u32::try_from(deposit.fds.len()).expect("a few");
        assert!(deposit.fds.len() <= wire::FDS, "more descriptors than a session has");
        // SAFETY: plain data; and control has room for a header of 16 bytes and four descriptors, is aligned as
        // cmsghdr wants, and lives in the box as long as the header that points to it.
        let (hold, unhold) = unsafe {
            let mut hold: libc::msghdr = std::mem::zeroed();
            let mut unhold: libc::msghdr = std::mem::zeroed();
            hold.msg_iov = &raw mut lines[0];
            hold.msg_iovlen = 1;
            hold.msg_control = control.as_mut_ptr().cast();
            hold.msg_controllen = libc::CMSG_SPACE(count * 4) as _;
            let beside = libc::CMSG_FIRSTHDR(&raw const hold);
            (*beside).cmsg_level = libc::SOL_SOCKET;
            (*beside).cmsg_type = libc::SCM_RIGHTS;
            (*beside).cmsg_len = libc::CMSG_LEN(count * 4) as _;
            for (at, fd) in deposit.fds.iter().enumerate() {
                libc::CMSG_DATA(beside).cast::<c_int>().add(at).write_unaligned(fd.as_raw_fd());
            }
            unhold.msg_iov = &raw mut lines[1];
            unhold.msg_iovlen = 1;
            (hold, unhold)
        };
        let pid = deposit.note[wire::HOLD_PID_AT..].as_mut_ptr();
        Parcel {
            line: deposit.line.as_raw_fd(),
            hold,
            unhold,
            pid,
            _parts: parts,
            _of: std::marker::PhantomData,
        }
    }
}

/// What the child does: each step, its stage written before it, and out at the first that fails.
extern "C" fn child_main(child: *mut c_void) -> c_int {
    // SAFETY: `start` passes a Child that it keeps, with all it points to, until we have exec'd or exited.
    let child = unsafe { &*child.cast::<Child>() };
    if let Err(errno) = steps(child) {
        if STAGES[child.stage.load(Relaxed)] == Stage::Exec && child.line >= 0 {
            call(libc::SYS_sendmsg, [child.line as c_long, child.unhold as c_long, FLAGS]).ok();
        }
        child.errno.store(errno, Relaxed);
    }
    call(libc::SYS_exit_group, [127]).ok();
    127
}

const FLAGS: c_long = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as c_long;

fn steps(child: &Child) -> Result<(), c_int> {
    call(libc::SYS_setsid, [])?;
    if child.tty {
        child.at(Stage::Terminal);
        call(libc::SYS_ioctl, [child.stdio[0] as c_long, libc::TIOCSCTTY as c_long, 0])?;
    }
    child.at(Stage::Stdio);
    for (to, from) in child.stdio.iter().enumerate() {
        call(libc::SYS_dup3, [*from as c_long, to as c_long, 0])?;
    }
    child.at(Stage::Cgroup);
    for at in 0..child.cgroup_count {
        // SAFETY: within the slice that `start` keeps.
        let file = unsafe { *child.cgroups.add(at) };
        call(libc::SYS_write, [file as c_long, c"0".as_ptr() as c_long, 1])?;
    }
    identity(child)?;
    child.at(Stage::Dir);
    if let Err(errno) = call(libc::SYS_chdir, [child.dir as c_long]) {
        if !child.any_dir {
            return Err(errno);
        }
        call(libc::SYS_chdir, [c"/".as_ptr() as c_long])?;
    }
    call(libc::SYS_umask, [0o022])?;
    signals(child);
    if child.line >= 0 {
        let pid = call(libc::SYS_getpid, [])? as c_int;
        // SAFETY: the four bytes of the note that wait for the pid.
        unsafe { child.hold_pid.cast::<[u8; 4]>().write_unaligned(pid.to_le_bytes()) };
        if let Err(errno) = call(libc::SYS_sendmsg, [child.line as c_long, child.hold as c_long, FLAGS]) {
            child.untold.store(errno, Relaxed);
        }
    }
    // From here only what execve closes: the three are on 0, 1 and 2, the rest is the node's.
    let _old_kernel =
        call(libc::SYS_close_range, [3, c_long::from(u32::MAX), libc::CLOSE_RANGE_CLOEXEC as c_long]);
    child.at(Stage::Exec);
    Err(exec(child))
}

/// Limits and identity: what a user may not raise is refused to the user, though the node be root.
fn identity(child: &Child) -> Result<(), c_int> {
    if child.switch {
        child.at(Stage::Groups);
        call(libc::SYS_setgroups, [child.group_count as c_long, child.groups as c_long])?;
        let gid = c_long::from(child.gid);
        call(libc::SYS_setresgid, [gid, gid, gid])?;
        child.at(Stage::User);
        let uid = c_long::from(child.uid);
        call(libc::SYS_setresuid, [uid, uid, uid])?;
    }
    child.at(Stage::Limit);
    for at in 0..child.limit_count {
        // SAFETY: within the slice that `start` keeps.
        let (resource, limit) = unsafe { &*child.limits.add(at) };
        call(libc::SYS_prlimit64, [0, *resource as c_long, std::ptr::from_ref(limit) as c_long, 0])?;
    }
    child.at(Stage::Nice);
    if child.nice != 0 {
        call(libc::SYS_setpriority, [libc::PRIO_PROCESS as c_long, 0, child.nice as c_long])?;
    }
    Ok(())
}

/// Default handling, then nothing blocked: in this order, for a handler would run in the node's memory.
fn signals(child: &Child) {
    // The kernel's own sigaction: handler, flags, restorer, mask; all zero is SIG_DFL on every architecture.
    let default = [0u64; 4];
    for at in 0..child.reset_count {
        // SAFETY: within the slice that `start` keeps.
        let signal = unsafe { *child.resets.add(at) };
        call(libc::SYS_rt_sigaction, [signal as c_long, default.as_ptr() as c_long, 0, 8]).ok();
    }
    let none = 0u64;
    call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as c_long, &raw const none as c_long, 0, 8]).ok();
}

/// Tries each place, as execvp(3) does, but never a shell in place of a program that is none.
fn exec(child: &Child) -> c_int {
    let mut denied = false;
    let mut at = child.programs;
    loop {
        // SAFETY: a null-terminated array of strings that `start` keeps.
        let program = unsafe { *at };
        if program.is_null() {
            return if denied { libc::EACCES } else { libc::ENOENT };
        }
        match call(libc::SYS_execve, [program as c_long, child.argv as c_long, child.envp as c_long]) {
            Ok(_) | Err(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT) => {}
            Err(libc::EACCES) => denied = true,
            Err(errno) => return errno,
        }
        // SAFETY: not beyond the null.
        at = unsafe { at.add(1) };
    }
}

/// A bare system call.
fn call<const N: usize>(number: c_long, args: [c_long; N]) -> Result<c_long, c_int> {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    // SAFETY: each caller passes what that call wants; unused arguments are ignored. syscall(2) itself touches
    // nothing but errno, which is the node's, and which the node, standing still, does not look at.
    unsafe {
        let result = libc::syscall(number, arg(0), arg(1), arg(2), arg(3));
        if result < 0 { Err(*libc::__errno_location()) } else { Ok(result) }
    }
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
