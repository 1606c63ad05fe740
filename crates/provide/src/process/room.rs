//! A session's own directory, with what it was given: made before its program starts, removed when the session is freed.
//!
//! What is in it are the store's own files, linked, where nobody who runs there may change them (they are read-only, and
//! another user's than the program's, or the program's user keeps them himself); root, whom no mode stops, gets copies.

use super::Processes;
use crate::store;
use op::{Errno, Error, Launch, Put, SessionId};
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where root's node has the directories of other users, who may not look into its own: with a directory a node below.
const SHARED: &str = "/var/lib/uem/run";

/// Where sessions' directories are.
#[derive(Debug)]
pub(super) struct Rooms {
    state: PathBuf,
    shared: PathBuf,
    /// Sessions that have one.
    made: BTreeSet<SessionId>,
}

/// One to make.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) dir: PathBuf,
    files: Vec<(PathBuf, Put)>,
    /// Whose it is to be, if not the node's.
    owner: Option<(u32, u32)>,
    copies: bool,
}

impl Rooms {
    pub(super) fn new(state: &Path) -> Rooms {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_path_buf());
        let name = state.as_os_str().as_encoded_bytes();
        let name = blake3::hash(name).to_hex();
        let mut rooms = Rooms { shared: Path::new(SHARED).join(&name[..8]), state, made: BTreeSet::new() };
        let all = rooms
            .bases()
            .into_iter()
            .flat_map(|base| std::fs::read_dir(base).into_iter().flatten().flatten());
        let found = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(SessionId);
        rooms.made = found.collect();
        rooms
    }

    fn bases(&self) -> [PathBuf; 2] {
        [self.state.join("run"), self.shared.clone()]
    }

    /// The directory of a session that is given something, still to be made.
    pub(super) fn plan(&mut self, launch: &Launch, switches: bool) -> Option<Room> {
        if launch.puts.is_empty() {
            return None;
        }
        self.made.insert(launch.session);
        let [own, shared] = self.bases();
        let dir = if switches { shared } else { own }.join(launch.session.0.to_string());
        let files =
            launch.puts.iter().map(|put| (store::path(&self.state, put.content), put.clone())).collect();
        let user = &launch.user;
        let owner = switches.then(|| (user.uid.0, user.groups.first().map_or(user.uid.0, |(gid, _)| *gid)));
        Some(Room { dir, files, owner, copies: user.uid.0 == 0 })
    }

    /// Removes a session's directory, in a thread: there may be much in it.
    pub(super) fn remove(&mut self, session: SessionId) {
        if !self.made.remove(&session) {
            return;
        }
        for base in self.bases() {
            // Away under this name at once: the number may not be used again, but nobody is to find it half there.
            let gone = base.join(format!("gone-{}", session.0));
            if std::fs::rename(base.join(session.0.to_string()), &gone).is_ok() {
                clear(gone);
            }
        }
    }

    /// Those of nobody.
    pub(super) fn strays(&self, is_known: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        for base in self.bases() {
            let all = std::fs::read_dir(base).into_iter().flatten().flatten();
            let gone = all.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"gone-"));
            gone.for_each(|entry| clear(entry.path()));
        }
        self.made.iter().copied().filter(|session| !is_known(*session)).collect()
    }
}

fn clear(dir: PathBuf) {
    let work = move || drop(std::fs::remove_dir_all(dir));
    let thread = std::thread::Builder::new().name("rooms".into()).stack_size(256 << 10);
    // If there can be no thread, the next start of the node clears it.
    let _cleared_later = thread.spawn(work);
}

impl Room {
    /// Makes it. May take as long as its files are large, where they are copied.
    pub(super) fn make(&self) -> Result<(), Error> {
        let base = self.dir.parent().unwrap_or(&self.dir);
        let (mode, above) = if self.owner.is_some() { (0o700, 0o711) } else { (0o700, 0o700) };
        DirBuilder::new().recursive(true).mode(above).create(base).map_err(|e| self.said(base, &e))?;
        let _an_earlier_try = std::fs::remove_dir_all(&self.dir);
        DirBuilder::new().mode(mode).create(&self.dir).map_err(|e| self.said(&self.dir, &e))?;
        for (file, put) in &self.files {
            if !store::is_sealed(file, put.content) {
                let cause = format!(
                    "put {}: the store does not have it any more, or somebody changed it; try again",
                    put.name
                );
                return Err(Error::new(Errno::NOENT, cause));
            }
            let to = self.dir.join(&put.name);
            self.give(file, &to).map_err(|e| self.said(&to, &e))?;
        }
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(&self.dir, Some(uid), Some(gid))
                .map_err(|e| self.said(&self.dir, &e))?;
        }
        Ok(())
    }

    fn give(&self, file: &Path, to: &Path) -> io::Result<()> {
        if !self.copies && std::fs::hard_link(file, to).is_ok() {
            return Ok(());
        }
        // A clone, where the file system can: no bytes are moved, and it is another file.
        let from = std::fs::File::open(file)?;
        let copy = std::fs::File::create_new(to)?;
        if rustix::fs::ioctl_ficlone(&copy, &from).is_err() {
            io::copy(&mut &from, &mut &copy)?;
        }
        copy.set_permissions(std::fs::Permissions::from_mode(0o555))?;
        Ok(())
    }

    fn said(&self, at: &Path, error: &io::Error) -> Error {
        let errno = error.raw_os_error().and_then(|n| u16::try_from(n).ok()).map_or(Errno::IO, Errno);
        Error::new(errno, format!("the session's own directory: {}: {error}", at.display()))
    }
}

impl Processes {
    /// What it was given is taken back.
    pub(super) fn clear_room(&mut self, session: SessionId) {
        self.rooms.remove(session);
    }

    /// The node ends: directories of other users' sessions stay only if there are any.
    pub(super) fn leave_rooms(&self) {
        let [_own, shared] = self.rooms.bases();
        let _some_are_left = std::fs::remove_dir(shared);
    }

    pub(super) fn clear_rooms(&mut self) {
        let known = |session| self.programs.contains_key(&session) || self.starts.has(session);
        for session in self.rooms.strays(known) {
            self.rooms.remove(session);
        }
    }
}
