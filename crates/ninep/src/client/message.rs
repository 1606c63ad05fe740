//! From an [`Op`] to the message that asks for it.

use super::order::uses;
use super::{Client, Kind, Listing};
use crate::wire::{self, DMDIR, NOREPLACE, NOWAIT, NUname, Names, RenameFlags, S_IFREG, Tmsg, is_dir_mode};
use crate::{Dialect, MAXWELEM, NOFID, name};
use alloc::format;
use op::{Access, Errno, Error, Mtime, Op, Reply, SetStat, Tag, Wall};

impl Client {
    /// Sends what an `Op` asks; or answers it, if the dialect can't say it.
    pub(super) fn send(&mut self, tag: Tag, op: &Op) {
        if let Err(error) = self.try_send(tag, op) {
            if let Op::Attach { fid, .. } | Op::Walk { newfid: fid, .. } = op {
                self.bound.remove(&fid.0);
            }
            self.ready.push_back((tag, Reply::Failed(error)));
        }
    }

    fn try_send(&mut self, tag: Tag, op: &Op) -> Result<(), Error> {
        let dialect = self.dialect;
        let linux = dialect.is_linux();
        let (kind, message) = match *op {
            Op::Attach { fid, ref user, ref tree } => {
                let (uname, n_uname) = core::mem::take(&mut self.user);
                let message = Tmsg::Attach {
                    fid: fid.0,
                    afid: NOFID,
                    uname: if user.is_empty() { &uname } else { user },
                    aname: tree,
                    n_uname: NUname(n_uname),
                };
                self.launch(Some(tag), Kind::Attach { fid: fid.0 }, uses(op), &message);
                self.user = (uname, n_uname);
                return Ok(());
            }
            Op::Walk { fid, newfid, ref names } => {
                if names.len() > MAXWELEM {
                    return Err(Error::new(
                        Errno::NAMETOOLONG,
                        format!("a walk has at most {MAXWELEM} names"),
                    ));
                }
                names.iter().try_for_each(|name| name::walkable(name))?;
                let made = Some(newfid.0).filter(|_| newfid != fid);
                let message = Tmsg::Walk { fid: fid.0, newfid: newfid.0, names: Names::Write(names) };
                (Kind::Walk { newfid: made, names: names.len() }, message)
            }
            Op::Open { fid, access } => {
                self.listings.remove(&fid.0);
                let message = if linux {
                    Tmsg::Lopen { fid: fid.0, flags: flags(access) }
                } else {
                    Tmsg::Open { fid: fid.0, mode: mode(access) }
                };
                (Kind::Open, message)
            }
            Op::Create { fid, ref name, mode: bits, access } => {
                name::creatable(name)?;
                let (is_dir, bits) = (is_dir_mode(bits), bits & 0o777);
                let message = match dialect {
                    Dialect::Plain => {
                        let perm = bits | if is_dir { DMDIR } else { 0 };
                        Tmsg::Create { fid: fid.0, name, perm, mode: mode(access) }
                    }
                    Dialect::L if is_dir => {
                        return Err(Error::new(
                            Errno::OPNOTSUPP,
                            "no one message of 9P2000.L makes and opens a directory",
                        ));
                    }
                    Dialect::L | Dialect::Uem => {
                        let kind = if is_dir { wire::S_IFDIR } else { S_IFREG };
                        // O_CREAT; and the group that chown(2) understands as "as it is".
                        let flags = flags(access) | 0o100;
                        Tmsg::Lcreate { fid: fid.0, name, flags, mode: kind | bits, gid: u32::MAX }
                    }
                };
                (Kind::Open, message)
            }
            Op::Read { fid, offset, count, wait } => {
                if !wait && dialect != Dialect::Uem {
                    return Err(Error::new(Errno::OPNOTSUPP, "only 9P2000.uem can read without waiting"));
                }
                let count = count.min(self.max_io());
                let message = Tmsg::Read { fid: fid.0, offset, count: count | if wait { 0 } else { NOWAIT } };
                (Kind::Read { count }, message)
            }
            Op::Write { fid, offset, ref data } => {
                if data.len() > self.max_io() as usize {
                    let cause = format!("a write has at most {} bytes here", self.max_io());
                    return Err(Error::new(Errno::INVAL, cause));
                }
                (Kind::Write { count: data.len() as u32 }, Tmsg::Write { fid: fid.0, offset, data })
            }
            Op::List { fid, cookie, count } => {
                if self.list_kept(tag, fid.0, cookie, count) {
                    return Ok(());
                }
                // The longest entries: of the largest name, and three such in a record.
                let longest = if dialect == Dialect::L { 24 + 255 } else { 4 * 255 + 80 };
                let bytes = count.saturating_mul(longest).min(self.max_io());
                let message = if linux {
                    Tmsg::Readdir { fid: fid.0, offset: cookie, count: bytes }
                } else {
                    Tmsg::Read { fid: fid.0, offset: cookie, count: bytes }
                };
                (Kind::List { fid: fid.0, cookie, count }, message)
            }
            Op::Stat { fid } if dialect == Dialect::L => {
                (Kind::Stat, Tmsg::Getattr { fid: fid.0, mask: 0x7ff })
            }
            Op::Stat { fid } => (Kind::Stat, Tmsg::Stat { fid: fid.0 }),
            Op::SetStat { fid, ref set } => (Kind::SetStat, changes(fid.0, set, dialect)?),
            Op::ReadLink { fid } if linux => (Kind::ReadLink, Tmsg::Readlink { fid: fid.0 }),
            Op::ReadLink { .. } => return Err(Error::new(Errno::OPNOTSUPP, "9P2000 has no links")),
            Op::Symlink { fid, ref name, ref target } if linux => {
                name::creatable(name)?;
                (Kind::Symlink, Tmsg::Symlink { dfid: fid.0, name, target, gid: u32::MAX })
            }
            Op::Symlink { .. } => return Err(Error::new(Errno::OPNOTSUPP, "9P2000 has no links")),
            Op::Rename { fid, ref name, dir, ref to, replace } => {
                if !linux || !replace && dialect == Dialect::L {
                    let cause = format!("{} has no such way to rename", dialect.name());
                    return Err(Error::new(Errno::OPNOTSUPP, cause));
                }
                name::creatable(name)?;
                name::creatable(to)?;
                let flags = RenameFlags(if replace { 0 } else { NOREPLACE });
                let message =
                    Tmsg::Renameat { olddirfid: fid.0, oldname: name, newdirfid: dir.0, newname: to, flags };
                (Kind::Rename, message)
            }
            Op::Remove { fid } => {
                self.listings.remove(&fid.0);
                (Kind::Leave { fid: fid.0 }, Tmsg::Remove { fid: fid.0 })
            }
            Op::Clunk { fid } => {
                self.listings.remove(&fid.0);
                (Kind::Leave { fid: fid.0 }, Tmsg::Clunk { fid: fid.0 })
            }
            Op::Flush { .. } => unreachable!("flushes do not wait"),
        };
        self.launch(Some(tag), kind, uses(op), &message);
        Ok(())
    }

    /// Answers a listing from what the last read of the directory brought, if it goes on there.
    fn list_kept(&mut self, tag: Tag, fid: u32, cookie: u64, count: u32) -> bool {
        match self.listings.get_mut(&fid) {
            Some(Listing { from, entries }) if *from == cookie && !entries.is_empty() => {
                let end = entries.len().min(count as usize);
                let listed: alloc::vec::Vec<_> = entries.drain(..end).collect();
                *from = listed.last().map_or(cookie, |entry| entry.cookie);
                self.ready.push_back((tag, Reply::Listed(listed)));
                true
            }
            _ => {
                self.listings.remove(&fid);
                false
            }
        }
    }
}

fn flags(access: Access) -> u32 {
    let rw = match (access.read, access.write) {
        (true, true) => 2,
        (false, true) => 1,
        (_, false) => 0,
    };
    rw | if access.truncate { 0o1000 } else { 0 }
}

fn mode(access: Access) -> u8 {
    (flags(access) & 3) as u8 | if access.truncate { 0x10 } else { 0 }
}

fn changes(fid: u32, set: &SetStat, dialect: Dialect) -> Result<Tmsg<'static>, Error> {
    if dialect == Dialect::Plain {
        if set.uid.is_some() || set.gid.is_some() {
            return Err(Error::new(Errno::PERM, "9P2000 has no numbers of owner and group"));
        }
        let mtime = match set.mtime {
            None => u32::MAX,
            Some(Mtime::At(at)) => u32::try_from(at.secs()).unwrap_or(u32::MAX - 1),
            Some(Mtime::Now) => return Err(Error::new(Errno::OPNOTSUPP, "9P2000 has no time that is now")),
        };
        let stat = wire::Stat {
            mode: set.mode.unwrap_or(u32::MAX),
            length: set.size.unwrap_or(u64::MAX),
            mtime,
            ..wire::Stat::SAME
        };
        return Ok(Tmsg::Wstat { fid, stat });
    }
    let bit = |is: bool, bit: u32| if is { bit } else { 0 };
    let at = match set.mtime {
        Some(Mtime::At(at)) => at,
        Some(Mtime::Now) | None => Wall(0),
    };
    Ok(Tmsg::Setattr {
        fid,
        valid: bit(set.mode.is_some(), 1)
            | bit(set.uid.is_some(), 2)
            | bit(set.gid.is_some(), 4)
            | bit(set.size.is_some(), 8)
            | bit(set.mtime.is_some(), 0x20)
            | bit(matches!(set.mtime, Some(Mtime::At(_))), 0x100),
        mode: set.mode.unwrap_or(0),
        uid: set.uid.unwrap_or(0),
        gid: set.gid.unwrap_or(0),
        size: set.size.unwrap_or(0),
        atime: 0,
        atime_ns: 0,
        mtime: at.secs(),
        mtime_ns: at.0 % 1_000_000_000,
    })
}
