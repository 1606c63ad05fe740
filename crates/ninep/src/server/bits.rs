//! What messages say in bits and strings, to what an [`Op`](op::Op) says: names, open modes, permissions, changes; and
//! which fids they are about.

use crate::wire::{self, DMDIR, Names, Rmsg, S_IFDIR, Tmsg};
use crate::{Dialect, NOFID, name};
use alloc::{format, string::String, vec::Vec};
use op::{Access, Errno, Error, Mtime, SetStat, Wall};

pub(super) fn walk_names(names: Names<'_>) -> Result<Vec<String>, Error> {
    names.iter().map(|name| name::walkable(name).map(|()| String::from(name))).collect()
}

pub(super) fn new_name(name: &str) -> Result<String, Error> {
    name::creatable(name).map(|()| String::from(name))
}

pub(super) const O_NONBLOCK: u32 = 0o4000;

/// The flags of Linux's open(2), on every architecture as on x86: that is what 9P2000.L says.
pub(super) fn linux_access(flags: u32) -> Result<Access, Error> {
    let (read, write) = match flags & 3 {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return Err(Error::new(Errno::INVAL, "open for neither reading nor writing")),
    };
    Ok(Access { read, write, truncate: flags & 0o1000 != 0 })
}

/// The mode byte of open(5), and whether it has ORCLOSE.
pub(super) fn plain_access(mode: u8) -> Result<(Access, bool), Error> {
    if mode & !0x73 != 0 {
        return Err(Error::new(Errno::INVAL, format!("open mode {mode:#x} has unknown bits")));
    }
    // OEXEC reads.
    let (read, write) = (mode & 3 != 1, matches!(mode & 3, 1 | 2));
    Ok((Access { read, write, truncate: mode & 0x10 != 0 }, mode & 0x40 != 0))
}

/// The permissions of create(5), with `S_IFDIR` for a directory.
pub(super) fn plain_mode(perm: u32) -> Result<u32, Error> {
    // Links, devices, pipes and sockets of 9P2000.u.
    if perm & 0x02b0_0000 != 0 {
        return Err(Error::new(Errno::OPNOTSUPP, "only files and directories can be made"));
    }
    Ok(perm & 0o777 | if perm & DMDIR != 0 { S_IFDIR } else { 0 })
}

/// What a `Twstat` changes. The time of the last read is accepted and not kept: `SetStat` has none.
pub(super) fn plain_changes(stat: &wire::Stat<'_>) -> Result<SetStat, Error> {
    if !stat.uid.is_empty() || !stat.gid.is_empty() {
        return Err(Error::new(Errno::PERM, "owner and group can't be changed by name"));
    }
    Ok(SetStat {
        mode: Some(stat.mode & 0o777).filter(|_| stat.mode != u32::MAX),
        size: Some(stat.length).filter(|length| *length != u64::MAX),
        mtime: Some(stat.mtime)
            .filter(|secs| *secs != u32::MAX)
            .map(|secs| Mtime::At(seconds(secs.into(), 0))),
        ..SetStat::default()
    })
}

/// The name that a `Twstat` gives. It is all or nothing, so it gives nothing else.
pub(super) fn plain_rename(stat: &wire::Stat<'_>) -> Result<String, Error> {
    if plain_changes(stat)? != SetStat::default() {
        return Err(Error::new(Errno::INVAL, "a file is renamed by a wstat that changes nothing else"));
    }
    new_name(stat.name)
}

/// What a `Tsetattr` changes.
pub(super) fn linux_changes(message: &Tmsg<'_>) -> SetStat {
    let Tmsg::Setattr { valid, mode, uid, gid, size, mtime, mtime_ns, .. } = *message else {
        return SetStat::default();
    };
    let when = |bit: u32| valid & bit != 0;
    SetStat {
        mode: when(1).then_some(mode & 0o777),
        uid: when(2).then_some(uid),
        gid: when(4).then_some(gid),
        size: when(8).then_some(size),
        // MTIME, and MTIME_SET. What is cut has a new time by that.
        mtime: match (when(0x20), when(0x100)) {
            (false, _) => None,
            (true, true) => Some(Mtime::At(seconds(mtime, mtime_ns))),
            (true, false) => (!when(8)).then_some(Mtime::Now),
        },
    }
}

fn seconds(secs: u64, ns: u64) -> Wall {
    Wall(secs.saturating_mul(1_000_000_000).saturating_add(ns.min(999_999_999)))
}

/// A file system without blocks; V9FS_MAGIC of Linux.
pub(super) const STATFS: Rmsg<'static> = Rmsg::Statfs {
    ty: 0x0102_1997,
    bsize: 4096,
    blocks: 0,
    bfree: 0,
    bavail: 0,
    files: 0,
    ffree: 0,
    fsid: 0,
    namelen: name::NAME_MAX as u32,
};

/// The fid that a message is about, and the one that it makes; or why it is refused whatever they are.
pub(super) fn fids_of(message: &Tmsg<'_>, dialect: Dialect) -> Result<(Option<u32>, Option<u32>), Error> {
    Ok(match *message {
        // Linux takes ENOENT as "not needed".
        Tmsg::Auth { .. } if dialect.is_linux() => return Err(Errno::NOENT.into()),
        Tmsg::Version { .. } | Tmsg::Flush { .. } | Tmsg::Auth { .. } => {
            return Err(Error::new(Errno::OPNOTSUPP, "no authentication required"));
        }
        Tmsg::Attach { afid, .. } if afid != NOFID => {
            return Err(Error::new(Errno::BADF, "no authentication required: afid must be NOFID"));
        }
        Tmsg::Attach { fid, .. } => (None, Some(fid)),
        Tmsg::Walk { fid, newfid, .. } => (Some(fid), Some(newfid).filter(|newfid| *newfid != fid)),
        Tmsg::Open { fid, .. }
        | Tmsg::Create { fid, .. }
        | Tmsg::Read { fid, .. }
        | Tmsg::Write { fid, .. }
        | Tmsg::Clunk { fid }
        | Tmsg::Remove { fid }
        | Tmsg::Stat { fid }
        | Tmsg::Wstat { fid, .. }
        | Tmsg::Statfs { fid }
        | Tmsg::Lopen { fid, .. }
        | Tmsg::Lcreate { fid, .. }
        | Tmsg::Rename { fid, .. }
        | Tmsg::Readlink { fid }
        | Tmsg::Getattr { fid, .. }
        | Tmsg::Setattr { fid, .. }
        | Tmsg::Xattrwalk { fid, .. }
        | Tmsg::Xattrcreate { fid, .. }
        | Tmsg::Readdir { fid, .. }
        | Tmsg::Fsync { fid, .. }
        | Tmsg::Lock { fid, .. }
        | Tmsg::Getlock { fid, .. }
        | Tmsg::Symlink { dfid: fid, .. }
        | Tmsg::Mknod { dfid: fid, .. }
        | Tmsg::Link { dfid: fid, .. }
        | Tmsg::Mkdir { dfid: fid, .. }
        | Tmsg::Renameat { olddirfid: fid, .. }
        | Tmsg::Unlinkat { dirfid: fid, .. } => (Some(fid), None),
    })
}

/// A second fid that a message is about.
pub(super) fn second_fid(message: &Tmsg<'_>) -> Option<u32> {
    match *message {
        Tmsg::Rename { dfid, .. } => Some(dfid),
        Tmsg::Renameat { newdirfid, .. } => Some(newdirfid),
        _ => None,
    }
}
