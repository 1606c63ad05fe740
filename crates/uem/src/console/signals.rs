//! Signals as something to poll. What was ignored when we were started (nohup(1), a shell's `&`) stays ignored.

use crate::failure::Failure;
use signal_hook::consts as sig;
use signal_hook::low_level;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that go on to the program, with their names in `ctl`.
const PASSED: [(i32, &str); 6] = [
    (sig::SIGINT, "INT"),
    (sig::SIGTERM, "TERM"),
    (sig::SIGHUP, "HUP"),
    (sig::SIGQUIT, "QUIT"),
    (sig::SIGUSR1, "USR1"),
    (sig::SIGUSR2, "USR2"),
];

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// For the program: number and name.
    Signal(i32, &'static str),
    /// ^Z.
    Stop,
    /// The terminal has another size.
    Resized,
}

/// Signals, caught from now on.
pub(crate) struct Signals {
    pipe: UnixStream,
    flags: Vec<(Came, Arc<AtomicBool>)>,
}

impl Signals {
    /// Catches what a program in the foreground is to be told of.
    pub(crate) fn catch() -> Result<Signals, Failure> {
        let (pipe, wake) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let mut this = Signals { pipe, flags: Vec::new() };
        let ignored = ignored();
        let passed = PASSED.map(|(number, name)| (number, Came::Signal(number, name)));
        let others = [(sig::SIGTSTP, Came::Stop), (sig::SIGWINCH, Came::Resized)];
        for (number, came) in passed.into_iter().chain(others) {
            if ignored >> (number - 1) & 1 == 0 {
                let flag = Arc::new(AtomicBool::new(false));
                signal_hook::flag::register(number, flag.clone())?;
                low_level::pipe::register(number, wake.try_clone()?)?;
                this.flags.push((came, flag));
            }
        }
        Ok(this)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// What came since the last look.
    pub(crate) fn take(&mut self) -> Vec<Came> {
        let _how_many_does_not_matter = self.pipe.read(&mut [0; 64]);
        let came = self.flags.iter().filter(|(_, flag)| flag.swap(false, Ordering::Relaxed));
        came.map(|(came, _)| *came).collect()
    }
}

/// Stops this process as ^Z would have, and returns when it goes on.
pub(crate) fn stop_self() {
    let _cannot = low_level::emulate_default_handler(sig::SIGTSTP);
}

/// The mask of ignored signals (proc_pid_status(5), SigIgn).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
