//! The contents that a node keeps: a file each, called by what is in it, in `store/` of the state directory. Who decides what
//! is kept is the kernel; here it is written, checked, read and removed.
//!
//! ```text
//!   partial/HASH-SIZE ── all bytes, and their hash is HASH ──▶ HASH-SIZE
//! ```
//! A file of a whole content is read-only for everybody and was changed at the beginning of time ([`SEAL`]): whatever changes
//! it afterwards changes that too, and it is not taken for the content any more. When it was last used is its access time.
//!
//! Nothing here waits but for this machine's own disk, as for the journal beside it.

use op::{Content, Errno, Error};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// When a whole content was last changed, in seconds since 1970: never.
const SEAL: i64 = 0;

/// The files of a node's store.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    parts: HashMap<Content, Part>,
    /// What was read last: who reads one goes on reading it.
    last: Option<(Content, File)>,
}

/// A content that is being received.
#[derive(Debug)]
struct Part {
    receipt: u64,
    file: File,
    hash: blake3::Hasher,
    have: u64,
}

/// Where a whole content is below a node's state directory.
pub fn path(state: &Path, content: Content) -> PathBuf {
    state.join("store").join(content.to_string())
}

/// Whether a file is still what it was when it was found to be right.
pub(crate) fn is_sealed(file: &Path, content: Content) -> bool {
    let looked = std::fs::symlink_metadata(file);
    looked.is_ok_and(|m| m.is_file() && m.len() == content.size && m.mtime() == SEAL && m.mtime_nsec() == 0)
}

impl Store {
    /// What is below a state directory. Gives the contents that are there whole, what was used last, last; what is not
    /// whole, or was changed, is removed.
    pub fn open(state: &Path) -> (Store, Vec<Content>) {
        let dir = state.join("store");
        let _none_was_begun = std::fs::remove_dir_all(dir.join("partial"));
        let mut found: Vec<((i64, i64), Content)> = Vec::new();
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Some(content) = entry.file_name().to_str().and_then(|name| name.parse::<Content>().ok())
            else {
                continue;
            };
            match std::fs::symlink_metadata(entry.path()) {
                Ok(m) if is_sealed(&entry.path(), content) => {
                    found.push(((m.atime(), m.atime_nsec()), content))
                }
                Ok(_) | Err(_) => drop(std::fs::remove_file(entry.path())),
            }
        }
        found.sort_unstable();
        let found = found.into_iter().map(|(_, content)| content).collect();
        (Store { dir, parts: HashMap::new(), last: None }, found)
    }

    fn file(&self, content: Content) -> PathBuf {
        self.dir.join(content.to_string())
    }

    fn partial(&self, content: Content) -> PathBuf {
        self.dir.join("partial").join(content.to_string())
    }

    /// Appends to what is there of a content; gives how many bytes there are now. With the last one, they are what the name
    /// says.
    ///
    /// # Errors
    /// The disk takes no more, or they are not; nothing of it is there then.
    pub fn keep(&mut self, receipt: u64, content: Content, data: &[u8]) -> Result<u64, Error> {
        let kept = self.append(receipt, content, data);
        if kept.is_err() {
            self.drop(content);
        }
        kept
    }

    fn append(&mut self, receipt: u64, content: Content, data: &[u8]) -> Result<u64, Error> {
        let said = |error: io::Error| {
            let errno = error.raw_os_error().and_then(|n| u16::try_from(n).ok()).map_or(Errno::IO, Errno);
            Error::new(errno, format!("the node's store cannot be written: {error}"))
        };
        if self.parts.get(&content).is_none_or(|part| part.receipt != receipt) {
            let mut make = DirBuilder::new();
            make.recursive(true).mode(0o700).create(self.dir.join("partial")).map_err(said)?;
            let path = self.partial(content);
            let mut how = OpenOptions::new();
            let file = how
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .map_err(said)?;
            self.parts.insert(content, Part { receipt, file, hash: blake3::Hasher::new(), have: 0 });
        }
        let part = self.parts.get_mut(&content).expect("it was just made");
        part.file.write_all(data).map_err(said)?;
        part.hash.update(data);
        part.have += data.len() as u64;
        let have = part.have;
        if have >= content.size {
            let hash = part.hash.finalize();
            if *hash.as_bytes() != content.hash || have != content.size {
                let cause = format!("it is not what its name says: its bytes are {hash}-{have}");
                return Err(Error::new(Errno::BADMSG, cause));
            }
            self.seal(content).map_err(said)?;
        }
        Ok(have)
    }

    fn seal(&mut self, content: Content) -> io::Result<()> {
        let Some(part) = self.parts.remove(&content) else { return Ok(()) };
        let mode = rustix::fs::Mode::from_raw_mode(0o555);
        rustix::fs::fchmod(&part.file, mode)?;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: SEAL, tv_nsec: 0 },
        };
        rustix::fs::futimens(&part.file, &times)?;
        std::fs::rename(self.partial(content), self.file(content))
    }

    /// Bytes of a content; fewer than asked for only at the end of what is there.
    ///
    /// # Errors
    /// What reading says; `NotFound` if it broke off.
    pub fn read(&mut self, content: Content, offset: u64, data: &mut [u8]) -> io::Result<usize> {
        if let Some(part) = self.parts.get(&content) {
            return part.file.read_at(data, offset);
        }
        if self.last.as_ref().is_none_or(|(last, _)| *last != content) {
            self.last = Some((content, File::open(self.file(content))?));
        }
        let (_, file) = self.last.as_ref().expect("it was just opened");
        file.read_at(data, offset)
    }

    /// A whole content, to be read from its start.
    ///
    /// # Errors
    /// It is not there, or not as it was any more.
    pub fn open_whole(&self, content: Content) -> io::Result<File> {
        let file = self.file(content);
        match is_sealed(&file, content) {
            true => File::open(file),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "the content is not in the store any more")),
        }
    }

    /// It is used now.
    ///
    /// # Errors
    /// Somebody has changed it, or it is gone; nothing of it is there then.
    pub fn used(&mut self, content: Content) -> Result<(), Error> {
        let file = self.file(content);
        if !is_sealed(&file, content) {
            self.drop(content);
            return Err(Error::new(
                Errno::IO,
                "somebody has changed it on the disk; it is not kept any more",
            ));
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        let _only_the_order =
            rustix::fs::utimensat(rustix::fs::CWD, &file, &times, AtFlags::SYMLINK_NOFOLLOW);
        Ok(())
    }

    /// It is not kept any longer.
    pub fn drop(&mut self, content: Content) {
        self.last.take_if(|(last, _)| *last == content);
        let path = match self.parts.remove(&content) {
            Some(_) => self.partial(content),
            None => self.file(content),
        };
        let _is_gone = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(data: &[u8]) -> Content {
        Content { hash: *blake3::hash(data).as_bytes(), size: data.len() as u64 }
    }

    #[test]
    fn what_is_whole_is_found_again_and_nothing_else_is() {
        let state = tempfile::tempdir().unwrap();
        let (mut store, found) = Store::open(state.path());
        assert!(found.is_empty());
        let (one, two, three) = (named(b"one"), named(b"two"), named(b"three"));
        assert_eq!(store.keep(1, one, b"on"), Ok(2));
        let mut read = [0; 8];
        assert_eq!(store.read(one, 1, &mut read).unwrap(), 1, "what is there can be read");
        assert_eq!(store.keep(1, one, b"e"), Ok(3));
        assert_eq!(store.read(one, 0, &mut read).unwrap(), 3);
        assert_eq!(store.keep(2, two, b"two"), Ok(3));
        assert_eq!(store.keep(3, three, b"thr"), Ok(3));
        // Begun anew, it begins at its start.
        assert_eq!(store.keep(4, three, b"th"), Ok(2));
        assert_eq!(store.keep(5, named(b""), b""), Ok(0));
        drop(store);
        let (mut store, found) = Store::open(state.path());
        assert_eq!(found.len(), 3);
        assert!(!found.contains(&three));
        assert_eq!(store.used(one), Ok(()));
        drop(store);
        let (_, found) = Store::open(state.path());
        assert_eq!(found.last(), Some(&one), "in the order of use");
    }

    #[test]
    fn what_is_wrong_or_was_changed_is_not_kept() {
        let state = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(state.path());
        let one = named(b"one");
        assert_eq!(store.keep(1, one, b"eno").unwrap_err().errno, Errno::BADMSG);
        assert_eq!(store.keep(2, one, b"one or more").unwrap_err().errno, Errno::BADMSG);
        assert!(store.read(one, 0, &mut [0]).is_err());
        assert_eq!(store.keep(3, one, b"one"), Ok(3));
        let file = path(state.path(), one);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o555);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, b"eno").unwrap();
        assert!(store.used(one).is_err());
        assert!(!file.exists());
        std::fs::write(&file, b"eno").unwrap();
        let (_, found) = Store::open(state.path());
        assert!(found.is_empty() && !file.exists());
    }
}
