//! A stream's spool: the file that keeps what a program writes, and the pump from its pipe into that file.
//!
//! From a pipe the bytes go by splice(2): they are in the pipe until they are in the file, so a node that is
//! killed at any moment loses none. A terminal cannot be spliced; there, what one read(2) took is written by
//! the next system call, and a kill between these two loses it.
//!
//! Files of freed sessions are kept, empty, for others: some file systems take long to make a file where many were
//! removed a moment ago (ext4 looks at each of them: a millisecond of CPU after some ten thousand).

use op::{SessionId, Stream};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Most bytes that one stream moves in one turn, so that a loud program does not silence the others.
pub(crate) const TURN: u64 = 1 << 20;

/// Most empty files that are kept for new streams.
const SPARES: u32 = 1_024;

/// Where spools are.
#[derive(Debug)]
pub(crate) struct Spools {
    dir: PathBuf,
    /// Empty files that were spools: `spare-0` and so on.
    spares: AtomicU32,
}

impl Spools {
    /// Those of a directory, for who leaves its spares alone.
    pub(crate) fn new(dir: PathBuf) -> Arc<Spools> {
        Arc::new(Spools { dir, spares: AtomicU32::new(0) })
    }

    /// Those of a directory, with the spares that are there. Only one process of a node may use them.
    pub(crate) fn with_spares(dir: PathBuf) -> Arc<Spools> {
        let spools = Spools::new(dir);
        let there = (0..SPARES).take_while(|no| spools.spare(*no).exists()).count();
        spools.spares.store(u32::try_from(there).unwrap_or(0), Relaxed);
        spools
    }

    /// The file of a stream.
    pub(crate) fn path(&self, session: SessionId, stream: Stream) -> PathBuf {
        let end = match stream {
            Stream::Out => "out",
            Stream::Err => "err",
        };
        self.dir.join(format!("{}.{end}", session.0))
    }

    fn spare(&self, no: u32) -> PathBuf {
        self.dir.join(format!("spare-{no}"))
    }

    /// A new file of that name: one that is spare, or one that is made.
    fn make(&self, path: &PathBuf, access: OFlags) -> Result<OwnedFd, Errno> {
        let taken = self.spares.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        let flags = match taken {
            Ok(n) if rustix::fs::rename(self.spare(n - 1), path).is_ok() => access,
            _ => access | OFlags::CREATE,
        };
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
    }

    /// A file that is not needed any more. Nobody has it open, or he would see what the next one writes.
    fn give_back(&self, path: &PathBuf) {
        let no = self.spares.load(Relaxed);
        let empty = || {
            let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::ftruncate(file, 0)?;
            rustix::fs::rename(path, self.spare(no))
        };
        if no < SPARES && empty().is_ok() {
            self.spares.store(no + 1, Relaxed);
        } else {
            let _was_never_made = rustix::fs::unlink(path);
        }
    }

    /// Removes what is no spool of a session that somebody knows.
    pub(crate) fn clear(&self, known: impl Fn(SessionId) -> bool) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.split('.').next()?.parse().ok()).map(SessionId);
            if id.is_some_and(|id| !known(id)) {
                let _is_gone = std::fs::remove_file(entry.path());
            }
        }
    }
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
    spools: Arc<Spools>,
    session: SessionId,
    stream: Stream,
    file: Option<OwnedFd>,
    /// Bytes from the start of the stream.
    pub(crate) len: u64,
    /// Bytes from the start that were let go.
    pub(crate) trimmed: u64,
}

impl Spool {
    /// A new stream's: no file until there is a byte.
    pub(crate) fn new(spools: &Arc<Spools>, session: SessionId, stream: Stream) -> Spool {
        Spool { spools: spools.clone(), session, stream, file: None, len: 0, trimmed: 0 }
    }

    /// One that was begun by an earlier node.
    pub(crate) fn again(spools: &Arc<Spools>, session: SessionId, stream: Stream) -> Spool {
        let mut spool = Spool::new(spools, session, stream);
        if let Ok(file) = spool.open(OFlags::RDWR) {
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
            self.file = Some(self.first(OFlags::RDWR)?);
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
        let file = self.first(OFlags::WRONLY).map_err(|e| (0, e))?;
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
        if let Ok(file) = self.open(OFlags::RDWR) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _stays_on_the_disk = rustix::fs::fallocate(file, flags, 0, offset);
        }
    }

    /// Gives the descriptor back; the file stays.
    pub(crate) fn rest(&mut self) {
        self.file = None;
    }

    /// Gives the file back.
    pub(crate) fn remove(&mut self) {
        self.file = None;
        if self.len > 0 {
            self.spools.give_back(&self.path());
        }
    }

    /// Reads at an offset; nothing at the end.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        if offset >= self.len {
            return Ok(0);
        }
        match &self.file {
            Some(file) => Ok(rustix::io::pread(file, buf, offset)?),
            None => Ok(rustix::io::pread(self.open(OFlags::RDONLY)?, buf, offset)?),
        }
    }

    fn path(&self) -> PathBuf {
        self.spools.path(self.session, self.stream)
    }

    fn open(&self, access: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::open(self.path(), access | OFlags::CLOEXEC, Mode::empty())
    }

    /// The file, to be written; a new one if nothing was written yet.
    fn first(&self, access: OFlags) -> Result<OwnedFd, Errno> {
        match self.len {
            0 => self.spools.make(&self.path(), access),
            _ => self.open(access),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spools: &Arc<Spools>, session: u64) -> Spool {
        Spool::new(spools, SessionId(session), Stream::Out)
    }

    fn names(dir: &std::path::Path) -> Vec<String> {
        let all = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_was_given_back_is_another_streams_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::with_spares(dir.path().to_path_buf());
        let mut first = of(&spools, 1);
        first.append(b"a secret of the first").unwrap();
        first.remove();
        assert_eq!(names(dir.path()), ["spare-0"]);
        // Another process of the same node, later.
        let spools = Spools::with_spares(dir.path().to_path_buf());
        let mut second = of(&spools, 2);
        second.append(b"mine").unwrap();
        assert_eq!(names(dir.path()), ["2.out"]);
        let again = Spool::again(&spools, SessionId(2), Stream::Out);
        let mut buf = [0; 64];
        assert_eq!(again.read(0, &mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"mine");
    }

    #[test]
    fn no_more_spares_are_kept_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::with_spares(dir.path().to_path_buf());
        let mut all: Vec<Spool> = (0..u64::from(SPARES) + 3).map(|no| of(&spools, no)).collect();
        all.iter_mut().for_each(|spool| spool.append(b"x").unwrap());
        all.iter_mut().for_each(Spool::remove);
        assert_eq!(names(dir.path()).len(), SPARES as usize);
    }

    #[test]
    fn a_spare_that_somebody_removed_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::with_spares(dir.path().to_path_buf());
        let mut first = of(&spools, 1);
        first.append(b"x").unwrap();
        first.remove();
        std::fs::remove_file(dir.path().join("spare-0")).unwrap();
        of(&spools, 2).append(b"y").unwrap();
        assert_eq!(names(dir.path()), ["2.out"]);
    }
}
