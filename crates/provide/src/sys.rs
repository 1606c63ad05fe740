//! The few system calls that no safe crate offers, each wrapped once.

use crate::keeper::wire::LISTEN;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What a dead child leaves: the status in the halves that waitid(2) gives it, and getrusage(2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) pid: i32,
    pub(crate) killed: bool,
    pub(crate) status: i32,
    pub(crate) usage: op::Usage,
}

/// Which children waitid(2) is to look at.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    Any,
    Pid(i32),
}

/// Looks for a dead child and leaves it dead (`WNOWAIT`): its status stays to be had by whoever becomes its
/// parent. `None`: there are no dead ones, or no children.
pub(crate) fn look_for_death(which: Which) -> Option<Death> {
    waitid(which, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).ok().flatten()
}

/// Takes a dead child away.
pub(crate) fn reap(pid: i32) {
    let _gone_already = waitid(Which::Pid(pid), libc::WEXITED | libc::WNOHANG);
}

/// Waits for a child that is known to be dying, and takes it away.
pub(crate) fn wait_for(pid: i32) {
    while matches!(waitid(Which::Pid(pid), libc::WEXITED), Err(Errno::INTR)) {}
}

/// Whether this is a child of ours, dead or alive.
pub(crate) fn is_child(pid: i32) -> bool {
    waitid(Which::Pid(pid), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// waitid(2) as the kernel has it: unlike the C library's it fills a rusage.
fn waitid(which: Which, options: i32) -> Result<Option<Death>, Errno> {
    let (kind, id) = match which {
        Which::Any => (libc::P_ALL, 0),
        Which::Pid(pid) => (libc::P_PID, pid),
    };
    // SAFETY: both structures are plain data, for which all zeroes is a value.
    let (mut info, mut usage) = unsafe { (std::mem::zeroed::<libc::siginfo_t>(), std::mem::zeroed()) };
    let usage: &mut libc::rusage = &mut usage;
    // SAFETY: the kernel writes one siginfo_t and one rusage, to which we hold the only references.
    let result =
        unsafe { libc::syscall(libc::SYS_waitid, kind, id, &raw mut info, options, &raw mut *usage) };
    if result != 0 {
        return Err(last());
    }
    // SAFETY: waitid filled the fields of a child's siginfo, or left the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(Death {
        pid,
        killed: info.si_code != libc::CLD_EXITED,
        status,
        usage: op::Usage {
            user_us: micros(usage.ru_utime),
            sys_us: micros(usage.ru_stime),
            maxrss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        },
    }))
}

fn micros(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
}

/// The errno of the last raw call.
pub(crate) fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Blocks SIGCHLD in this thread, makes dead children stay until they are waited for, and gives a descriptor
/// that is readable when one has died (signalfd(2)).
pub(crate) fn child_signal(also: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: sigaction and sigset_t are plain data; SIG_DFL is a disposition that runs none of our code.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut());
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        for signal in also {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes all that a signalfd has; gives the last that was more than a reason to look: neither SIGCHLD nor [`LISTEN`].
pub(crate) fn take_signals(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut other = None;
    let mut buf = [0u8; 128 * 8];
    while let Ok(n @ 1..) = rustix::io::read(fd, &mut buf) {
        for info in buf[..n].chunks_exact(128) {
            let signal = i32::from_le_bytes([info[0], info[1], info[2], info[3]].map(|b: u8| b));
            if signal != libc::SIGCHLD && signal != LISTEN {
                other = Some(signal);
            }
        }
    }
    other
}

/// Bytes that wait in a pipe or a terminal.
pub(crate) fn waiting(fd: BorrowedFd<'_>) -> u64 {
    rustix::io::ioctl_fionread(fd).unwrap_or(0)
}

/// Makes a descriptor cross exec, or not.
pub(crate) fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = if on { rustix::io::FdFlags::CLOEXEC } else { rustix::io::FdFlags::empty() };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// Takes a descriptor whose number came through the environment or a table of our own making.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from(Errno::BADF));
    }
    // SAFETY: only looked at: fails if there is no such descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    set_cloexec(fd, true)?;
    // SAFETY: it is open, and by the promise above nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The exit status of a process that was not our child, from the pidfd that we held while it lived
/// (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, Linux 6.15). `None` on older kernels.
pub(crate) fn status_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const GET_INFO: libc::Ioctl = 0xC040_FF0Bu32 as libc::Ioctl;
    const EXIT: u64 = 1 << 3;
    let mut info = [0u64; 8];
    info[0] = EXIT;
    // SAFETY: the size in the ioctl's number is 64 bytes, which is what `info` has.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, info.as_mut_ptr()) };
    let word = info[7].to_ne_bytes();
    (result == 0 && info[0] & EXIT != 0).then(|| i32::from_ne_bytes([word[4], word[5], word[6], word[7]]))
}

/// Raises the soft limit of open descriptors to the hard one; gives what the soft one was.
pub(crate) fn raise_descriptors() -> (u64, u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let was = getrlimit(Resource::Nofile);
    let hard = was.maximum.unwrap_or(1 << 20);
    let soft = was.current.unwrap_or(hard);
    if soft < hard {
        let _stays_as_it_was =
            setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: was.maximum });
    }
    (soft, getrlimit(Resource::Nofile).current.unwrap_or(hard))
}

/// Now, for people.
pub(crate) fn wall() -> op::Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    op::Wall(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Clock ticks since the machine started, as the start times in /proc are counted (proc(5), field 22).
pub(crate) fn boot_ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 100 + u64::try_from(now.tv_nsec).unwrap_or(0) / 10_000_000
}

/// The signal that interrupts a thread which waits. The C library's names of signals begin at `SIGRTMIN`; whoever else
/// uses this one must not mind.
fn interruption() -> i32 {
    libc::SIGRTMIN() + 7
}

extern "C" fn nothing(_signal: i32) {}

/// Makes [`interrupt`] mean that a system call ends with `EINTR`, and nothing else.
pub(crate) fn make_interruptible() -> io::Result<()> {
    // SAFETY: plain data; the handler does nothing, which is allowed at any moment. Without SA_RESTART, calls end.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(interruption(), &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Blocks all signals in this thread but that one: those that system calls raise (`SIGPIPE`, `SIGXFSZ`, `SIGTTIN`) too,
/// which then are errors of the calls and nothing more.
pub(crate) fn hear_interrupts_only() {
    // SAFETY: a set of our own, filled before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigdelset(&raw mut set, interruption());
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Interrupts a thread of this process; 0 is none yet.
pub(crate) fn interrupt(tid: i32) {
    if tid > 0 {
        // SAFETY: takes numbers only; the handler does nothing.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, interruption()) };
    }
}

/// Whether that number is a thread of this process.
pub(crate) fn is_own_thread(tid: i32) -> bool {
    // SAFETY: takes numbers only, and signal 0 is none.
    tid > 0 && unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) } == 0
}

/// The process keeps some of the memory that it gives up, for the next time. By itself the C library gives each piece of a
/// stream (256 KiB) back to the system and has it again for the next piece, page by page, zeroed: a third of what it
/// costs to receive a file. Never more than [`KEPT`] is kept at the heap's end.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only sets two numbers of the allocator, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// What has at least so many bytes is had from the system by itself, and given back at once.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 4 << 20;
/// Bytes that are kept.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 16 << 20;

/// This thread gets a umask of its own, and one that hides nothing: who asks for a mode has looked at his own. Where the
/// system forbids that, the process's umask stays.
pub(crate) fn own_umask() {
    // SAFETY: CLONE_FS takes no descriptors away; the thread uses no relative paths.
    unsafe {
        if libc::unshare(libc::CLONE_FS) == 0 {
            libc::umask(0);
        }
    }
}
