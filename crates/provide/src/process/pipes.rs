//! Both sides of a program's stdio: three pipes, or a terminal.

use super::launch::errno_of;
use crate::keeper::wire;
use op::{Errno, Error, Launch, WinSize};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The node's side.
#[derive(Debug)]
pub(super) struct Ours {
    /// Stdin's write end, or the terminal.
    pub(super) stdin: OwnedFd,
    /// Stdout's read end, or the terminal.
    pub(super) out: OwnedFd,
    /// Stderr's read end.
    pub(super) err: Option<OwnedFd>,
}

impl Ours {
    /// What of it lies with the keeper.
    pub(super) fn deposit(&self) -> (u8, Vec<BorrowedFd<'_>>) {
        match &self.err {
            Some(err) => {
                (wire::IN | wire::OUT | wire::ERR, vec![self.stdin.as_fd(), self.out.as_fd(), err.as_fd()])
            }
            None => (wire::IN | wire::TTY, vec![self.stdin.as_fd()]),
        }
    }
}

/// What a launch asks for: our side, and the program's: three ends, or the terminal. No descriptor has a number
/// from `highest` on.
pub(super) fn make(launch: &Launch, highest: i32) -> Result<(Ours, Vec<OwnedFd>), Error> {
    let made = match launch.tty {
        Some(size) => terminal(size, launch.user.uid.0),
        None => pipes(),
    };
    let (ours, theirs) = made.map_err(|errno| {
        let errno = errno_of(errno.raw_os_error());
        let what = if launch.tty.is_some() { "a terminal" } else { "pipes" };
        Error::new(errno, format!("cannot make {what} for it: {}{}", errno.text(), hint(errno)))
    })?;
    let taken = theirs.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(0);
    if taken >= highest {
        let cause = format!(
            "too many programs at once for this node: {taken} descriptors are in use and the rest is its reserve \
             (raise ulimit -n)"
        );
        return Err(Error::new(Errno::MFILE, cause));
    }
    Ok((ours, theirs))
}

fn pipes() -> rustix::io::Result<(Ours, Vec<OwnedFd>)> {
    let (stdin_read, stdin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (out, out_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (err, err_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Ours { stdin, out, err: Some(err) }, vec![stdin_read, out_write, err_write]))
}

/// A terminal that belongs to its user. Stdin is a second descriptor of the same, with a watch of its own.
fn terminal(size: WinSize, uid: u32) -> rustix::io::Result<(Ours, Vec<OwnedFd>)> {
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
    Ok((Ours { stdin, out: master, err: None }, vec![theirs]))
}

pub(super) fn winsize(size: WinSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::MFILE => " (the node's limit, ulimit -n)",
        Errno::NFILE => " (the machine's limit, fs.file-max)",
        Errno::NOSPC => " (no terminal is free, kernel.pty.max)",
        _ => "",
    }
}
