//! A thread takes a user's rights, and another's after that.
//!
//! On Linux each thread has rights of its own, though the C library hides it; the calls here are the kernel's. The
//! effective user becomes whoever asks, and with it what files are looked at as; a thread that is not root by it has no
//! capabilities in effect. The real and the saved user stay root's: so the thread can become another user, and no user
//! may send it signals.

use op::{Errno, Error, User};
use rustix::process::{Gid, Uid};
use rustix::thread;

/// Whose rights a thread has.
pub(super) struct Rights {
    /// The node's own user; only root can become others.
    own: u32,
    now: Option<(u32, Vec<u32>)>,
}

impl Rights {
    pub(super) fn new() -> Rights {
        Rights { own: rustix::process::geteuid().as_raw(), now: None }
    }

    /// From here on the thread may what this user may. After a failure it may nothing that matters, and is asked again.
    pub(super) fn take(&mut self, user: &User) -> Result<(), Error> {
        let uid = user.uid.0;
        if self.own != 0 {
            return allowed(self.own, user);
        }
        let groups: Vec<u32> = user.groups.iter().map(|(gid, _)| *gid).collect();
        if self.now.as_ref().is_some_and(|(now, of)| *now == uid && *of == groups) {
            return Ok(());
        }
        self.now = None;
        let become_it = || {
            let gids: Vec<Gid> =
                groups.iter().filter(|gid| **gid != u32::MAX).map(|gid| Gid::from_raw(*gid)).collect();
            let first = gids.first().copied().unwrap_or(Gid::from_raw(uid));
            thread::set_thread_res_uid(None, Uid::ROOT, None)?;
            thread::set_thread_groups(&gids)?;
            thread::set_thread_res_gid(None, first, None)?;
            thread::set_thread_res_uid(None, Uid::from_raw(uid), None)?;
            // A node may have been told to keep its capabilities when it changes users. Not here.
            let kept = uid != 0 && !thread::capabilities(None)?.effective.is_empty();
            if kept { Err(rustix::io::Errno::PERM) } else { Ok(()) }
        };
        let result: Result<(), rustix::io::Errno> = become_it();
        result.map_err(|errno| {
            let cause = format!("the node cannot take the rights of {} ({uid}): {errno}", user.name);
            Error::new(Errno::PERM, cause)
        })?;
        self.now = Some((uid, groups));
        Ok(())
    }
}

/// Whether a node that runs as user `own` can serve files to this user at all.
pub(super) fn allowed(own: u32, user: &User) -> Result<(), Error> {
    let uid = user.uid;
    if uid.is_foreign() || uid.0 >= u32::MAX - 1 {
        let cause = format!(
            "{} has no account on this machine, and its files are shown only to who has one; \
             ask its owner for an account of that name",
            user.name
        );
        return Err(Error::new(Errno::ACCES, cause));
    }
    if own != 0 && own != uid.0 {
        let cause = format!(
            "this node runs as user {own}, not as root, and can show this machine's files to that user only, not to {}",
            user.name
        );
        return Err(Error::new(Errno::ACCES, cause));
    }
    Ok(())
}
