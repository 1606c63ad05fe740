//! The child between clone and exec: system calls only.
//!
//! It shares the node's memory, so it may touch nothing but what [`Child`] points to: no allocation, no lock,
//! no C library function that does more than its system call.
//!
//! ```text
//!   session ▸ terminal ▸ stdio ▸ groups ▸ [hold, close] ▸ user ▸ limits ▸ directory ▸ signals ▸ [hold] ▸ exec
//! ```
//!
//! One that starts *alone*, in a thread of its own, may stand anywhere behind its first bracket for as long as
//! a file system does not answer. It has told the keeper before, and has let go of all that is the node's: of
//! the pipes of others, which would not end as long as it holds them, and of the line, for whose end the keeper
//! waits when a node has died. One that is not alone tells the keeper last, because then most of what can fail
//! has not.

use libc::{c_char, c_int, c_long, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

/// The steps between clone and exec, as failures name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
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

pub(super) const STAGES: [Stage; 10] = [
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
pub(super) struct Child {
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    /// Paths to try, in order; null-terminated.
    pub(super) programs: *const *const c_char,
    pub(super) dir: *const c_char,
    /// `dir` is only a wish: `/` does as well.
    pub(super) any_dir: bool,
    pub(super) stdio: [c_int; 3],
    pub(super) tty: bool,
    /// `cgroup.procs` files to join.
    pub(super) cgroups: *const c_int,
    pub(super) cgroup_count: usize,
    /// Become this user.
    pub(super) switch: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: *const u32,
    pub(super) group_count: usize,
    pub(super) limits: *const (c_int, libc::rlimit),
    pub(super) limit_count: usize,
    pub(super) nice: c_int,
    pub(super) resets: *const c_int,
    pub(super) reset_count: usize,
    /// The line to the keeper, or -1; the note about this program, into which it writes its pid; the note that
    /// takes it back.
    pub(super) line: c_int,
    pub(super) hold: *const libc::msghdr,
    pub(super) hold_pid: *mut u8,
    pub(super) unhold: *const libc::msghdr,
    /// Of one that starts alone: whether it is not wanted any more. Else null.
    pub(super) unwanted: *const AtomicBool,
    // What comes back; atomic, so that the compiler keeps each write where it stands among the system calls.
    pub(super) stage: AtomicUsize,
    pub(super) errno: AtomicI32,
    /// The errno with which the keeper could not be told.
    pub(super) untold: AtomicI32,
}

impl Child {
    fn at(&self, stage: Stage) {
        self.stage.store(stage as usize, Relaxed);
    }

    /// In a thread of its own, where it may wait.
    fn is_alone(&self) -> bool {
        !self.unwanted.is_null()
    }
}

/// What the child does: each step, its stage written before it, and out at the first that fails.
pub(super) extern "C" fn child_main(child: *mut c_void) -> c_int {
    // SAFETY: `start` passes a Child that it keeps, with all it points to, until we have exec'd or exited.
    let child = unsafe { &*child.cast::<Child>() };
    if let Err(errno) = steps(child) {
        // One that is alone has the line no more; the node says it.
        if STAGES[child.stage.load(Relaxed)] == Stage::Exec && child.line >= 0 && !child.is_alone() {
            call(libc::SYS_sendmsg, [child.line as c_long, child.unhold as c_long, FLAGS]).ok();
        }
        child.errno.store(errno, Relaxed);
    }
    call(libc::SYS_exit_group, [127]).ok();
    127
}

const FLAGS: c_long = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as c_long;

fn steps(child: &Child) -> Result<(), c_int> {
    // SAFETY: null, or what `start` keeps. The node writes the wish and then reads our pid, which stood there
    // before we ran: one of us sees the other.
    if child.is_alone() && unsafe { &*child.unwanted }.load(SeqCst) {
        let pid = call(libc::SYS_getpid, [])?;
        call(libc::SYS_kill, [pid, libc::SIGKILL as c_long])?;
    }
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
    if child.is_alone() {
        hold(child)?;
        let _old_kernel = call(libc::SYS_close_range, [3, c_long::from(u32::MAX), 0]);
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
    if !child.is_alone() {
        hold(child)?;
        // From here only what execve closes: the three are on 0, 1 and 2, the rest is the node's.
        let _old_kernel =
            call(libc::SYS_close_range, [3, c_long::from(u32::MAX), libc::CLOSE_RANGE_CLOEXEC as c_long]);
    }
    child.at(Stage::Exec);
    Err(exec(child))
}

/// Lays down with the keeper the program that we are to be.
fn hold(child: &Child) -> Result<(), c_int> {
    if child.line < 0 {
        return Ok(());
    }
    let pid = call(libc::SYS_getpid, [])? as c_int;
    // SAFETY: the four bytes of the note that wait for the pid.
    unsafe { child.hold_pid.cast::<[u8; 4]>().write_unaligned(pid.to_le_bytes()) };
    if let Err(errno) = call(libc::SYS_sendmsg, [child.line as c_long, child.hold as c_long, FLAGS]) {
        child.untold.store(errno, Relaxed);
    }
    Ok(())
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
    // nothing but errno, which is that of the thread that made us, and which it, standing still, does not look at.
    unsafe {
        let result = libc::syscall(number, arg(0), arg(1), arg(2), arg(3));
        if result < 0 { Err(*libc::__errno_location()) } else { Ok(result) }
    }
}
