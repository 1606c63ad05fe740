//! The files of an identity: a directory that is its owner's alone, where each is replaced as a whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long another process may hold the lock before we give up, in steps of [`LOCK_STEP`].
const LOCK_STEPS: u32 = 50;
const LOCK_STEP: Duration = Duration::from_millis(4);
/// The kernel's clock for files is coarse: a change so soon after another may leave the same time behind.
const COARSE: Duration = Duration::from_millis(100);

/// The directory.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// What the directory's entry says of its last change.
pub(super) type Stamp = (u64, i64, i64);

/// Others that would change the files wait until this is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing it unlocks")] File);

impl Folder {
    /// Makes the directory if it is not there.
    pub(super) fn open(path: PathBuf) -> Result<Folder, String> {
        let folder = Folder { path };
        folder.make(&folder.path)?;
        Ok(folder)
    }

    fn make(&self, path: &Path) -> Result<(), String> {
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) => return Err(format!("cannot make {}: {error}", path.display())),
        }
        let metadata =
            fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
        if metadata.mode() & 0o077 == 0 {
            return Ok(());
        }
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(path, mode).map_err(|error| {
            format!("cannot close {} to others: {error}; run chmod 700 on it", path.display())
        })
    }

    /// Where a file of that name is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn failed(&self, what: &str, name: &str, error: &std::io::Error) -> String {
        format!("cannot {what} {}: {error}", self.path(name).display())
    }

    /// What is in a file, if it is there. One that is longer than `most` is an error.
    pub(super) fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", name, &error)),
        };
        let mut bytes = Vec::new();
        file.take(most as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failed("read", name, &error))?;
        if bytes.len() > most {
            return Err(format!(
                "{} is longer than {most} bytes: it is none of uem's",
                self.path(name).display()
            ));
        }
        Ok(Some(bytes))
    }

    /// The same for a file that nobody else may have read.
    pub(super) fn read_secret(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        match fs::metadata(self.path(name)) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => Err(format!(
                "{0} can be read by others (mode {1:o}), so the key in it may be known to them: run chmod 600 {0} \
                 if they are to be trusted, else remove it and join again",
                self.path(name).display(),
                metadata.mode() & 0o777
            )),
            _ => self.read(name, most),
        }
    }

    /// Puts a file there, as a whole or not at all. With the [`Lock`] only. `durable`: it outlives a power cut.
    pub(super) fn write(&self, name: &str, bytes: &[u8], durable: bool) -> Result<(), String> {
        let new = self.path(&format!("{name}.new"));
        let written = || {
            // Left behind by a crash, perhaps with another mode.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            if durable {
                file.sync_all()?;
            }
            fs::rename(&new, self.path(name))
        };
        written().map_err(|error| self.failed("write", name, &error))?;
        if durable { self.sync(name) } else { Ok(()) }
    }

    /// Appends a line to a file. With the [`Lock`] only. A line that a crash has cut is ended first.
    pub(super) fn append(&self, name: &str, line: &str) -> Result<(), String> {
        let appended = || {
            let path = self.path(name);
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
            let length = file.metadata()?.len();
            let mut last = [b'\n'];
            if length > 0 {
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut last, length - 1)?;
            }
            let start = if last == *b"\n" { "" } else { "\n" };
            file.write_all(format!("{start}{line}\n").as_bytes())?;
            file.sync_all()
        };
        appended().map_err(|error| self.failed("write", name, &error))
    }

    /// Removes a file; whether it was there. For good, also after a power cut.
    pub(super) fn remove(&self, name: &str) -> Result<bool, String> {
        match fs::remove_file(self.path(name)) {
            Ok(()) => self.sync(name).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("remove", name, &error)),
        }
    }

    /// Makes names in the directory of a file outlive a power cut.
    fn sync(&self, name: &str) -> Result<(), String> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.path);
        File::open(directory)
            .and_then(|file| file.sync_all())
            .map_err(|error| self.failed("write", name, &error))
    }

    /// Makes a directory in it.
    pub(super) fn directory(&self, name: &str) -> Result<(), String> {
        self.make(&self.path(name))
    }

    /// Names of the files in a directory of it, at most so many; none if it is not there.
    pub(super) fn names(&self, name: &str, most: usize) -> Result<Vec<String>, String> {
        let entries = match fs::read_dir(self.path(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("read", name, &error)),
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).take(most).collect())
    }

    /// Keeps other processes from changing anything.
    pub(super) fn lock(&self) -> Result<Lock, String> {
        let path = self.path("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| self.failed("open", "lock", &error))?;
        for _ in 0..LOCK_STEPS {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
                Err(TryLockError::Error(error)) => return Err(self.failed("lock", "lock", &error)),
            }
        }
        Err(format!(
            "another process has held {} for {} ms: see who with \"fuser\" on it, and try again",
            path.display(),
            (LOCK_STEP * LOCK_STEPS).as_millis()
        ))
    }

    /// Something to compare: another value, and a file was put there or taken away. `None`: too soon after a change
    /// to tell.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, String> {
        let metadata = fs::metadata(&self.path).map_err(|error| self.failed("look at", "", &error))?;
        let changed =
            UNIX_EPOCH + Duration::new(metadata.mtime().max(0) as u64, metadata.mtime_nsec() as u32);
        let settled = SystemTime::now().duration_since(changed).is_ok_and(|age| age > COARSE);
        Ok(settled.then(|| (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())))
    }
}
