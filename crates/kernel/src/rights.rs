//! Who may do what: owner, group and mode, as for any file. The machine's root may everything.

use crate::Kernel;
use alloc::{format, sync::Arc};
use op::{Errno, Error, Result, Uid, User};

/// What somebody wants with a file, as permission bits.
pub(crate) const READ: u16 = 4;
pub(crate) const WRITE: u16 = 2;

/// Owner, group and permission bits of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owned {
    pub(crate) uid: Uid,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
}

impl Kernel {
    pub(crate) fn may(&self, uid: Uid, want: u16, file: Owned) -> bool {
        if uid.0 == 0 {
            // Root may what anybody may; what is never written is not written by root either.
            return (file.mode >> 6 | file.mode >> 3 | file.mode) & want == want;
        }
        let in_group = || self.users.get(&uid).is_some_and(|u| u.groups.iter().any(|g| g.0 == file.gid));
        let shift = if uid == file.uid {
            6
        } else if in_group() {
            3
        } else {
            0
        };
        (file.mode >> shift) & want == want
    }

    pub(crate) fn demand(&self, uid: Uid, want: u16, file: Owned, name: &str) -> Result<()> {
        if self.may(uid, want, file) {
            return Ok(());
        }
        let what = if want & WRITE != 0 { "written" } else { "read" };
        // No chmod opens what nobody can do with such a file.
        if file.mode & (want | want << 3 | want << 6) == 0 {
            return Err(Error::new(Errno::ACCES, format!("{name} is never {what}, by anybody")));
        }
        let (asker, owner) = (self.user(uid), self.user(file.uid));
        let cause = format!(
            "{name} cannot be {what} by {}: it is {}'s, mode {:03o}; its owner can open it with chmod",
            asker.name, owner.name, file.mode
        );
        Err(Error::new(Errno::ACCES, cause))
    }

    /// Whether somebody may see and command what belongs to `owner`.
    pub(crate) fn stands_for(&self, uid: Uid, owner: Uid) -> bool {
        uid.0 == 0 || uid == owner
    }

    pub(crate) fn group_name(&self, gid: u32) -> Arc<str> {
        let known = self.users.values().flat_map(|u| &u.groups).find(|g| g.0 == gid);
        known.map_or_else(|| format!("{gid}").into(), |g| g.1.clone())
    }
}

/// A user of whom nothing but the number is known.
pub(crate) fn nameless(uid: Uid) -> Arc<User> {
    Arc::new(User {
        uid,
        name: format!("{}", uid.0).into(),
        groups: alloc::vec![(uid.0, format!("{}", uid.0).into())],
        home: "/".into(),
        shell: "/bin/sh".into(),
    })
}
