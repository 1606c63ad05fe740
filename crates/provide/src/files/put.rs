//! A content of the store becomes a file: written under another name in the directory where it belongs, and renamed. So
//! whoever reads sees the old file or the new one, and what breaks off leaves the old one.

use super::change::new_name;
use super::file::{Asking, File, Outcome, Sys, path_bytes};
use super::limits;
use super::said::{below, sentence};
use op::{Errno, Error, Reply, Wall};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno as Os;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is to be put where.
#[derive(Debug)]
pub struct Put {
    /// The content, open for reading from its start.
    pub from: fs::File,
    /// Its size.
    pub size: u64,
    /// From the root, with names as they are shown. Links are followed, also the last.
    pub path: String,
    /// Permission bits; else those of the file that is there.
    pub mode: Option<u32>,
    /// When it was changed last; else now.
    pub mtime: Option<Wall>,
}

/// Of a file that nobody says anything about.
const MODE: u32 = 0o644;

/// Numbers the other names.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The directory where it belongs, its name there, and what is there.
struct Spot {
    dir: OwnedFd,
    name: Vec<u8>,
    there: Option<rustix::fs::Stat>,
}

impl Put {
    /// In a thread with the user's rights.
    pub(super) fn carry_out(self, asking: &Asking<'_>) -> Outcome {
        let done = self.spot(asking).and_then(|spot| {
            self.write(&spot).map_err(|(errno, what)| sentence(errno, asking.user, what, &self.path))
        });
        Outcome::Answer(done.map_or_else(Reply::Failed, |()| Reply::Done))
    }

    fn spot(&self, asking: &Asking<'_>) -> Result<Spot, Error> {
        let said = |errno| sentence(errno, asking.user, "write", &self.path);
        let names: Vec<&str> = self.path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if names.len() > limits::DEPTH {
            return Err(said(Os::NAMETOOLONG));
        }
        let Some((name, above)) = names.split_last().filter(|_| !self.path.ends_with('/')) else {
            return Err(said(Os::ISDIR));
        };
        let (root, _) = File::root(true).map_err(said)?;
        let mut at = root.at.clone();
        let mut went = String::from("/");
        for step in above {
            match root.step(at.as_fd(), step) {
                Ok((next, _)) => at = next.into(),
                Err(errno) => return Err(sentence(errno, asking.user, "go to", &below(&went, step))),
            }
            went = below(&went, step);
        }
        let bytes = new_name(name).map_err(said)?;
        let there = match rustix::fs::statat(&*at, &*bytes, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Os::NOENT) => {
                let dir = rustix::io::fcntl_dupfd_cloexec(&*at, 0).map_err(said)?;
                return Ok(Spot { dir, name: bytes, there: None });
            }
            Err(errno) => return Err(said(errno)),
        };
        if FileType::from_raw_mode(there.st_mode) != FileType::Symlink {
            let dir = rustix::io::fcntl_dupfd_cloexec(&*at, 0).map_err(said)?;
            return self.regular(Spot { dir, name: bytes, there: Some(there) }, asking);
        }
        // A link stays one: what it leads to is written.
        let (found, _) = root.step(at.as_fd(), name).map_err(said)?;
        let (dir, name, there) = above_of(found.as_fd()).map_err(said)?;
        self.regular(Spot { dir, name, there: Some(there) }, asking)
    }

    /// Nothing but a file makes place for a file.
    fn regular(&self, spot: Spot, asking: &Asking<'_>) -> Result<Spot, Error> {
        let kind = spot.there.as_ref().map(|there| FileType::from_raw_mode(there.st_mode));
        match kind {
            None | Some(FileType::RegularFile) => Ok(spot),
            Some(FileType::Directory) => Err(sentence(Os::ISDIR, asking.user, "write", &self.path)),
            Some(_) => {
                let cause = format!(
                    "{} is a device, a pipe or a socket, which no file takes the place of",
                    self.path
                );
                Err(Error::new(Errno::EXIST, cause))
            }
        }
    }

    fn write(&self, spot: &Spot) -> Result<(), (Os, &'static str)> {
        let (other, name) = other(&spot.dir).map_err(|errno| (errno, "write beside"))?;
        let done = self.fill(&other, spot).and_then(|()| {
            rustix::fs::renameat(&spot.dir, &*name, &spot.dir, &*spot.name)
                .map_err(|errno| (errno, "put in place"))
        });
        if done.is_err() {
            let _it_may_be_gone = rustix::fs::unlinkat(&spot.dir, &*name, AtFlags::empty());
        }
        done
    }

    fn fill(&self, other: &OwnedFd, spot: &Spot) -> Result<(), (Os, &'static str)> {
        copy(&self.from, other, self.size).map_err(|errno| (errno, "write"))?;
        let mut mode = self.mode.unwrap_or(MODE);
        if let Some(there) = &spot.there {
            mode = self.mode.unwrap_or(there.st_mode & 0o777);
            // Only root can; everybody else has it as his own.
            let (uid, gid) =
                (rustix::fs::Uid::from_raw(there.st_uid), rustix::fs::Gid::from_raw(there.st_gid));
            let _is_his = rustix::fs::fchown(other, Some(uid), Some(gid));
        }
        rustix::fs::fchmod(other, Mode::from_raw_mode(mode))
            .map_err(|errno| (errno, "change the mode of"))?;
        if let Some(mtime) = self.mtime {
            let seconds = i64::try_from(mtime.secs()).unwrap_or(i64::MAX);
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
                last_modification: Timespec { tv_sec: seconds, tv_nsec: (mtime.0 % 1_000_000_000) as i64 },
            };
            rustix::fs::futimens(other, &times).map_err(|errno| (errno, "change the time of"))?;
        }
        // After a loss of power there is still the old file or the new one, and not an empty one.
        if spot.there.is_some() {
            rustix::fs::fdatasync(other).map_err(|errno| (errno, "write"))?;
        }
        Ok(())
    }
}

/// Where a file is that was found, and what it is.
fn above_of(found: BorrowedFd<'_>) -> Sys<(OwnedFd, Vec<u8>, rustix::fs::Stat)> {
    let is = rustix::fs::fstat(found)?;
    let (above, name) = super::change::above(&path_bytes(found)?)?;
    let there = rustix::fs::statat(&above, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (there.st_dev, there.st_ino) != (is.st_dev, is.st_ino) {
        return Err(Os::STALE);
    }
    Ok((above, name, there))
}

/// A new file under a name that nobody else has.
fn other(dir: &OwnedFd) -> Sys<(OwnedFd, Vec<u8>)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut last = Os::EXIST;
    for _ in 0..limits::NAMES_TRIED {
        let name = format!(".uem-put-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        match rustix::fs::openat(dir, &*name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => return Ok((fd, name.into_bytes())),
            // Left by a node of an earlier life.
            Err(Os::EXIST) => last = Os::EXIST,
            Err(errno) => return Err(errno),
        }
    }
    Err(last)
}

/// All bytes, by the kernel where it can (some file systems share them), else through this thread.
fn copy(from: &fs::File, to: &OwnedFd, size: u64) -> Sys<()> {
    let (mut at, mut done) = (0, 0);
    while done < size {
        let left = usize::try_from(size - done).unwrap_or(usize::MAX).min(limits::COPY);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, None, left) {
            Ok(0) => return Err(Os::IO),
            Ok(n) => done += n as u64,
            Err(Os::INTR) => {}
            Err(Os::XDEV | Os::INVAL | Os::NOSYS | Os::OPNOTSUPP | Os::PERM | Os::BADF) if done == 0 => {
                return pump(from, to, size);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn pump(mut from: &fs::File, to: &OwnedFd, size: u64) -> Sys<()> {
    let os = |error: std::io::Error| Os::from_io_error(&error).unwrap_or(Os::IO);
    let mut to = fs::File::from(rustix::io::fcntl_dupfd_cloexec(to, 0)?);
    let mut buffer = vec![0; limits::PUMP];
    let mut done = 0;
    loop {
        match from.read(&mut buffer).map_err(os)? {
            0 if done == size => return Ok(()),
            0 => return Err(Os::IO),
            n => {
                to.write_all(&buffer[..n]).map_err(os)?;
                done += n as u64;
            }
        }
    }
}
