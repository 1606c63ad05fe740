//! One of our own outputs, written without ever waiting: a slow reader of stdout holds up neither stderr nor ^C.
//!
//! The descriptor is shared with whoever gave it to us, often a shell, so it cannot be made non-blocking. A pipe or
//! terminal is opened a second time instead, as a description of our own; a socket has a flag for each send.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where bytes wait to be written.
pub(crate) struct Outlet {
    fd: BorrowedFd<'static>,
    /// Found out when there is something to write.
    way: Option<Way>,
    pending: VecDeque<Vec<u8>>,
    /// Of the first.
    written: usize,
    bytes: usize,
}

/// How a descriptor is written without waiting.
enum Way {
    /// A file: writing does not wait for anybody.
    Plain,
    /// Our own open file description of the same pipe or terminal.
    Own(OwnedFd),
    Socket,
    /// Nothing better than pieces that a pipe takes whole when it says that it has room.
    Pieces,
}

/// What a pipe that is ready for writing takes without waiting (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

impl Outlet {
    pub(crate) fn new(fd: BorrowedFd<'static>) -> Outlet {
        Outlet { fd, way: None, pending: VecDeque::new(), written: 0, bytes: 0 }
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes
    }

    /// To be polled for writing while something waits.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Some(Way::Own(fd)) => fd.as_fd(),
            Some(Way::Plain | Way::Socket | Way::Pieces) | None => self.fd,
        }
    }

    pub(crate) fn push(&mut self, data: Vec<u8>) {
        self.bytes += data.len();
        self.pending.push_back(data);
    }

    /// Writes what can be written now.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        while let Some(data) = self.pending.front() {
            let way = self.way.get_or_insert_with(|| Way::of(self.fd));
            match way.write(self.fd, &data[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.bytes -= n;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
            if self.written == data.len() {
                self.pending.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }
}

impl Way {
    fn of(fd: BorrowedFd<'_>) -> Way {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::open(path, flags, Mode::empty()).map_or(Way::Pieces, Way::Own)
            }
            Ok(FileType::Socket) => Way::Socket,
            Ok(_) => Way::Plain,
            Err(_) => Way::Pieces,
        }
    }

    fn write(&self, fd: BorrowedFd<'_>, data: &[u8]) -> Result<usize, Errno> {
        match self {
            Way::Plain => rustix::io::write(fd, data),
            Way::Own(own) => rustix::io::write(own, data),
            Way::Socket => rustix::net::send(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Pieces => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
                    0 => Err(Errno::AGAIN),
                    _ => rustix::io::write(fd, &data[..data.len().min(PIECE)]),
                }
            }
        }
    }
}
