//! What changes a file or its directory: making, changing attributes, renaming, removing.

use super::file::{File, Sys, open_flags, path_bytes};
use super::name::{self, step_name};
use super::stat;
use op::{Access, Mtime, Reply, SetStat};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

impl File {
    pub(super) fn create(&mut self, name: &str, mode: u32, access: Access) -> Sys<Reply> {
        const DIR: u32 = 0o040_000;
        if self.open.is_some() {
            return Err(rustix::io::Errno::BADF);
        }
        let name = new_name(name)?;
        let bits = Mode::from_raw_mode(mode & 0o777);
        let fd = if mode & DIR != 0 {
            if access.write {
                return Err(rustix::io::Errno::ISDIR);
            }
            rustix::fs::mkdirat(self.at(), &*name, bits)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // It is there, also when its own mode forbids to list it.
            match rustix::fs::openat(self.at(), &*name, flags, Mode::empty()) {
                Err(rustix::io::Errno::ACCESS) => {
                    rustix::fs::openat(self.at(), &*name, flags | OFlags::PATH, Mode::empty())
                }
                result => result,
            }
        } else {
            let access = Access { read: access.read || !access.write, ..access };
            let flags = open_flags(access)? | OFlags::CREATE | OFlags::EXCL | OFlags::NONBLOCK;
            rustix::fs::openat(self.at(), &*name, flags, bits)
        }?;
        self.at = Arc::new(fd);
        self.opened(self.at.clone())
    }

    pub(super) fn set_stat(&self, set: &SetStat) -> Result<Reply, (rustix::io::Errno, &'static str)> {
        if let Some(size) = set.size {
            let writable = self.open.as_ref().filter(|open| rustix::fs::ftruncate(&open.fd, size).is_ok());
            if writable.is_none() {
                truncate(&self.door(), size).map_err(|errno| (errno, "change the size of"))?;
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            if set.uid == Some(u32::MAX) || set.gid == Some(u32::MAX) {
                return Err((rustix::io::Errno::INVAL, "change the owner of"));
            }
            let (uid, gid) = (set.uid.map(rustix::fs::Uid::from_raw), set.gid.map(rustix::fs::Gid::from_raw));
            rustix::fs::chownat(self.at(), "", uid, gid, AtFlags::EMPTY_PATH)
                .map_err(|errno| (errno, "change the owner of"))?;
        }
        if let Some(mode) = set.mode {
            let change = || {
                let is = rustix::fs::fstat(self.at())?.st_mode;
                // Whoever changes nine bits of a directory does not mean the three above them.
                let keep = if FileType::from_raw_mode(is) == FileType::Directory { is & 0o7000 } else { 0 };
                let mode = Mode::from_raw_mode(mode & 0o777 | keep);
                rustix::fs::chmodat(rustix::fs::CWD, self.door(), mode, AtFlags::empty())
            };
            change().map_err(|errno| (errno, "change the mode of"))?;
        }
        if let Some(mtime) = set.mtime {
            let last_modification = match mtime {
                Mtime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
                Mtime::At(at) => Timespec {
                    tv_sec: i64::try_from(at.secs()).unwrap_or(i64::MAX),
                    tv_nsec: (at.0 % 1_000_000_000) as i64,
                },
            };
            let times =
                Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification };
            rustix::fs::utimensat(rustix::fs::CWD, self.door(), &times, AtFlags::empty())
                .map_err(|errno| (errno, "change the time of"))?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn symlink(&self, name: &str, target: &str) -> Sys<Reply> {
        let name = new_name(name)?;
        let target = name::bytes(target).unwrap_or_else(|| target.as_bytes().to_vec());
        rustix::fs::symlinkat(&*target, self.at(), &*name)?;
        Ok(Reply::Made(stat::qid(&rustix::fs::statat(self.at(), &*name, AtFlags::SYMLINK_NOFOLLOW)?)))
    }

    /// Both names are one element of a path, so they lead nowhere but to where the two directories were walked to.
    pub(super) fn rename(&self, name: &str, dir: BorrowedFd<'_>, to: &str, replace: bool) -> Sys<Reply> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let to = new_name(to)?;
        let rename = |name: &[u8]| rustix::fs::renameat_with(self.at(), name, dir, &*to, flags);
        if step_name(name)? == ".." {
            return Err(rustix::io::Errno::BUSY);
        }
        // Nobody who copies a file means to have it in place of a device.
        let there = rustix::fs::statat(dir, &*to, AtFlags::SYMLINK_NOFOLLOW);
        let kind = there.map(|there| FileType::from_raw_mode(there.st_mode));
        if matches!(kind, Ok(FileType::CharacterDevice | FileType::BlockDevice)) {
            return Err(rustix::io::Errno::BUSY);
        }
        match rename(name.as_bytes()) {
            Err(rustix::io::Errno::NOENT) if let Some(bytes) = name::bytes(name) => rename(&bytes),
            result => result,
        }?;
        Ok(Reply::Done)
    }

    /// Removes the name by which the file was found, if that still is this file's.
    pub(super) fn remove(&self) -> Sys<()> {
        let is = rustix::fs::fstat(self.at())?;
        let (above, name) = above(&path_bytes(self.at())?)?;
        let there = rustix::fs::statat(&above, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (there.st_dev, there.st_ino) != (is.st_dev, is.st_ino) {
            return Err(rustix::io::Errno::STALE);
        }
        let dir = FileType::from_raw_mode(is.st_mode) == FileType::Directory;
        rustix::fs::unlinkat(&above, &*name, if dir { AtFlags::REMOVEDIR } else { AtFlags::empty() })
    }
}

/// The directory of a path that the kernel has told, and the last name.
pub(super) fn above(path: &[u8]) -> Sys<(OwnedFd, Vec<u8>)> {
    let slash = path.iter().rposition(|byte| *byte == b'/').ok_or(rustix::io::Errno::STALE)?;
    let (above, name) = (&path[..=slash], &path[slash + 1..]);
    if name.is_empty() {
        return Err(rustix::io::Errno::BUSY);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((rustix::fs::open(above, flags, Mode::empty())?, name.to_vec()))
}

/// The bytes of a name that something is to have.
pub(super) fn new_name(name: &str) -> Sys<Vec<u8>> {
    let name = step_name(name)?;
    if name == ".." {
        return Err(rustix::io::Errno::EXIST);
    }
    Ok(name::bytes(name).unwrap_or_else(|| name.as_bytes().to_vec()))
}

/// truncate(2), by opening: it follows only where the user may write.
fn truncate(door: &str, size: u64) -> Sys<()> {
    let fd = rustix::fs::open(door, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    rustix::fs::ftruncate(fd, size)
}
