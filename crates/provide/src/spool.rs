//! A stream's spool: the file that keeps what a program writes, and the pump from its pipe into that file.
//!
//! From a pipe the bytes go by splice(2): they are in the pipe until they are in the file, so a node that is
//! killed at any moment loses none. A terminal cannot be spliced; there, what one read(2) took is written by
//! the next system call, and a kill between these two loses it.

use op::{SessionId, Stream};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Most bytes that one stream moves in one turn, so that a loud program does not silence the others.
pub(crate) const TURN: u64 = 1 << 20;

/// Where the spool of a stream is.
pub(crate) fn path(dir: &Path, session: SessionId, stream: Stream) -> PathBuf {
    let end = match stream {
        Stream::Out => "out",
        Stream::Err => "err",
    };
    dir.join(format!("{}.{end}", session.0))
}

/// What a pump did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pumped {
    /// Took all there was, or as much as it may in one turn.
    Some,
    /// Everything that held the other end has let go.
    End,
    /// The stream's limit is reached.
    Full,
    /// The spool cannot be written now.
    Stuck(Errno),
}

/// One stream's spool.
#[derive(Debug)]
pub(crate) struct Spool {
    path: Box<Path>,
    file: Option<OwnedFd>,
    /// Bytes from the start of the stream.
    pub(crate) len: u64,
    /// Bytes from the start that were let go.
    pub(crate) trimmed: u64,
}

impl Spool {
    /// A new stream's: no file until there is a byte.
    pub(crate) fn new(path: PathBuf) -> Spool {
        Spool { path: path.into(), file: None, len: 0, trimmed: 0 }
    }

    /// One that was begun by an earlier node.
    pub(crate) fn again(path: PathBuf) -> Spool {
        let mut spool = Spool::new(path);
        if let Ok(file) = rustix::fs::open(&*spool.path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            spool.len = rustix::fs::fstat(&file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
            // The only holes are those that `trim` made, all at the start.
            spool.trimmed =
                rustix::fs::seek(&file, SeekFrom::Data(0)).map_or(spool.len, |at| at.min(spool.len));
        }
        spool
    }

    /// Moves what waits in `from`, at most `most` bytes and never more than `limit` bytes kept.
    pub(crate) fn pump(&mut self, from: BorrowedFd<'_>, tty: bool, limit: Option<u64>, most: u64) -> Pumped {
        let mut moved = 0;
        while moved < most {
            let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.len - self.trimmed));
            let want = usize::try_from(room.min(most - moved)).unwrap_or(usize::MAX);
            if want == 0 {
                // Exactly the limit, and nothing waits: its end may still come.
                return if crate::sys::waiting(from) == 0 { Pumped::Some } else { Pumped::Full };
            }
            match self.step(from, tty, want) {
                Ok(0) => return Pumped::End,
                Ok(n) => moved += n as u64,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::IO) if tty => return Pumped::End,
                Err(errno) => return Pumped::Stuck(errno),
            }
        }
        Pumped::Some
    }

    fn step(&mut self, from: BorrowedFd<'_>, tty: bool, want: usize) -> Result<usize, Errno> {
        if self.file.is_none() {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
            self.file = Some(rustix::fs::open(&*self.path, flags, Mode::RUSR | Mode::WUSR)?);
        }
        let file = self.file.as_ref().expect("was opened above");
        if tty {
            return self.copy(from, want, true);
        }
        let mut at = self.len;
        match rustix::pipe::splice(from, None, file, Some(&mut at), want, SpliceFlags::NONBLOCK) {
            Ok(n) => {
                self.len += n as u64;
                Ok(n)
            }
            // A file system that cannot: the same by hand.
            Err(Errno::INVAL) => self.copy(from, want, false),
            Err(errno) => Err(errno),
        }
    }

    /// Read, then write. Only here can a kill lose bytes: those of one read.
    fn copy(&mut self, from: BorrowedFd<'_>, want: usize, tty: bool) -> Result<usize, Errno> {
        let file = self.file.as_ref().expect("opened by step");
        let mut buf = [0u8; 16 << 10];
        let want = want.min(buf.len());
        if !tty && crate::sys::waiting(from) == 0 {
            return Err(Errno::AGAIN); // a pipe's descriptor may be blocking; its end is seen by its hang-up
        }
        // Room first: what was read cannot be put back.
        rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, self.len, want as u64)
            .or_else(|errno| if errno == Errno::OPNOTSUPP { Ok(()) } else { Err(errno) })?;
        let n = rustix::io::read(from, &mut buf[..want])?;
        let mut rest = &buf[..n];
        while !rest.is_empty() {
            match rustix::io::pwrite(file, rest, self.len) {
                Ok(0) => return Err(Errno::IO),
                Ok(wrote) => {
                    self.len += wrote as u64;
                    rest = &rest[wrote..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(n)
    }

    /// Writes at its end, and lets the file go again: what is written so comes in large pieces, and seldom.
    pub(crate) fn append(&mut self, mut data: &[u8]) -> Result<(), (usize, Errno)> {
        let all = data.len();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(&*self.path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| (0, e))?;
        while !data.is_empty() {
            match rustix::io::pwrite(&file, data, self.len) {
                Ok(0) => return Err((all - data.len(), Errno::IO)),
                Ok(wrote) => {
                    self.len += wrote as u64;
                    data = &data[wrote..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err((all - data.len(), errno)),
            }
        }
        Ok(())
    }

    /// Lets the bytes before `offset` go. Where the file system cannot punch holes they stay on the disk, and
    /// count as gone all the same: it is the reader's promise that makes room, not the disk.
    pub(crate) fn trim(&mut self, offset: u64) {
        let offset = offset.min(self.len);
        if offset <= self.trimmed {
            return;
        }
        self.trimmed = offset;
        if let Ok(file) = rustix::fs::open(&*self.path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _stays_on_the_disk = rustix::fs::fallocate(file, flags, 0, offset);
        }
    }

    /// Gives the descriptor back; the file stays.
    pub(crate) fn rest(&mut self) {
        self.file = None;
    }

    /// Removes the file.
    pub(crate) fn remove(&mut self) {
        self.file = None;
        if self.len > 0 {
            let _was_never_made = rustix::fs::unlink(&*self.path);
        }
    }

    /// Reads at an offset; nothing at the end.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        if offset >= self.len {
            return Ok(0);
        }
        match &self.file {
            Some(file) => Ok(rustix::io::pread(file, buf, offset)?),
            None => Ok(rustix::io::pread(self.open()?, buf, offset)?),
        }
    }

    /// The file, for reading.
    pub(crate) fn open(&self) -> std::io::Result<OwnedFd> {
        Ok(rustix::fs::open(&*self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }
}
