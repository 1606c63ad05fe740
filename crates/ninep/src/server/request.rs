//! From a message to its first [`Op`]: what is known of a request, who may ask it now, and what it asks.

use super::bits::{
    O_NONBLOCK, STATFS, fids_of, linux_access, linux_changes, new_name, plain_access, plain_changes,
    plain_mode, plain_rename, second_fid, walk_names,
};
use super::fid::op_fid;
use super::{Claim, Conn, listing};
use crate::wire::{NOREPLACE, NOWAIT, Rmsg, S_IFDIR, Tmsg, is_dir_mode};
use crate::{Dialect, NOFID};
use alloc::collections::VecDeque;
use alloc::{format, string::String, vec::Vec};
use op::{Errno, Error, Fid, Op, Tag};

/// A request under way: a message that is not answered yet, or something of our own (a clunk, a flush).
#[derive(Debug)]
pub(super) struct Request {
    /// The client's tag; `None` when nobody waits for the answer.
    pub(super) tag: Option<u16>,
    /// What it is about.
    pub(super) fid: Option<usize>,
    /// A second fid that it is about.
    pub(super) other: Option<usize>,
    /// What it makes.
    pub(super) newfid: Option<usize>,
    /// With the request's number, the `Tag` of its present `Op`.
    pub(super) seq: u32,
    /// What its answer will mean.
    pub(super) work: Work,
    /// The tags of the `Tflush`es that gave it up, in order.
    pub(super) flushes: Vec<u16>,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Work {
    /// Its fid is busy; here is the message.
    Held(Vec<u8>),
    /// Its answer is here, and being worked on.
    Settling,
    Attach,
    Walk {
        names: usize,
    },
    Open {
        remove_on_clunk: bool,
    },
    Create {
        remove_on_clunk: bool,
    },
    /// `rest`: asks for what a short read left, which may not be there.
    Read {
        offset: u64,
        count: u32,
        rest: bool,
    },
    /// A `Tread` of a directory.
    ReadDir {
        offset: u64,
        count: u32,
    },
    Readdir {
        count: u32,
    },
    Write {
        count: u32,
    },
    Stat,
    Getattr,
    Wstat,
    Setattr,
    Readlink,
    Symlink,
    /// `Trenameat`.
    Renameat,
    /// `Trename`, or a `Twstat` with a name, first: what the file is called…
    RenameLook {
        to: String,
    },
    /// …then a fid for the directory that it is in…
    RenameUp {
        name: String,
        to: String,
    },
    /// …by which it is renamed.
    RenameThere,
    Remove,
    /// `remove`: the fid was opened with ORCLOSE.
    Clunk {
        remove: bool,
    },
    /// `Tmkdir`, first: a second fid for the directory…
    MkdirWalk {
        name: String,
        mode: u32,
    },
    /// …which then becomes the new one, and is clunked.
    MkdirCreate,
    /// `Tunlinkat`, first: a fid for the file…
    UnlinkWalk {
        is_dir: bool,
    },
    /// …which is then removed.
    UnlinkRemove,
    /// `Op::Flush` of another request.
    Flush {
        target: Tag,
    },
    /// Clunk of a fid that the client does not know any more.
    Forget,
}

impl Work {
    /// Gives a fid back: done even when it is flushed, since the client's number is already free.
    pub(super) fn leaves(&self) -> bool {
        if let Work::Held(frame) = self {
            return matches!(frame[4], 120 | 122);
        }
        matches!(self, Work::Remove | Work::Clunk { .. } | Work::UnlinkRemove | Work::Forget)
    }

    /// Whether other messages about the same fid wait until it is done.
    fn is_exclusive(&self, in_place: bool) -> bool {
        let changes = matches!(self, Work::Open { .. } | Work::Create { .. } | Work::ReadDir { .. });
        let has_steps =
            matches!(self, Work::MkdirWalk { .. } | Work::UnlinkWalk { .. } | Work::RenameLook { .. });
        changes || has_steps || in_place && matches!(self, Work::Walk { .. })
    }
}

/// What to do about a message.
enum Plan<'a> {
    Ask(Work, Op),
    Answer(Rmsg<'a>),
}

impl Conn {
    /// Takes in a message: its fids are found or made now, whatever is under way, since that is the order in
    /// which the client meant them.
    pub(super) fn admit(
        &mut self,
        tag: u16,
        message: &Tmsg<'_>,
        frame: &[u8],
        asks: &mut VecDeque<(Tag, Op)>,
    ) -> Result<(), Error> {
        let leaves = matches!(message, Tmsg::Clunk { .. } | Tmsg::Remove { .. });
        if self.requests.len() >= self.config.requests && !leaves {
            let limit = self.config.requests;
            return Err(Error::new(Errno::AGAIN, format!("{limit} requests are not answered yet")));
        }
        let (fid, newfid) = fids_of(message, self.spoken())?;
        let fid = fid.map(|fid| self.fids.find(fid)).transpose()?;
        let other = second_fid(message).map(|other| self.fids.find(other)).transpose()?;
        let newfid = newfid.map(|newfid| self.fids.make(newfid, self.config.fids)).transpose()?;
        fid.into_iter().chain(other).for_each(|fid| self.fids.hold(fid));
        if let Some(fid) = fid.filter(|_| leaves) {
            self.fids.unbind(fid);
        }
        let work = Work::Settling;
        let request = Request { tag: Some(tag), fid, other, newfid, seq: 0, work, flushes: Vec::new() };
        let at = self.requests.insert(request);
        self.tags.insert(tag, at);
        let busy = self.waits_for(at);
        // A walk that is held back itself holds back what follows it, even if the server is eager.
        let waits = busy.is_some() || !(self.is_eager() && matches!(message, Tmsg::Walk { .. }));
        if let Some(newfid) = newfid.filter(|_| waits) {
            self.fids.row(newfid).busy = Some(at);
        }
        if let Some(fid) = busy {
            self.request(at).work = Work::Held(frame.to_vec());
            self.fids.row(fid).waiting.push_back(at);
        } else {
            self.start(at, message, asks);
        }
        Ok(())
    }

    /// The fid of a request that others hold back.
    fn waits_for(&mut self, at: usize) -> Option<usize> {
        let Request { fid, other, .. } = *self.request(at);
        fid.into_iter().chain(other).find(|fid| self.fids.row(*fid).busy.is_some())
    }

    /// Asks what a message asks first.
    fn start(&mut self, at: usize, message: &Tmsg<'_>, asks: &mut VecDeque<(Tag, Op)>) {
        let Request { fid, other, newfid, .. } = *self.request(at);
        if fid.into_iter().chain(other).any(|fid| self.fids.row(fid).unmade) {
            return self.fail(at, &Error::new(Errno::BADF, "unknown fid"));
        }
        match self.plan(at, message) {
            Ok(Plan::Ask(work, op)) => {
                if let Some(fid) = fid {
                    let waits = !(self.is_eager() && matches!(work, Work::Open { .. }));
                    if waits && work.is_exclusive(newfid.is_none()) {
                        self.fids.row(fid).busy = Some(at);
                    }
                    self.fids.row(fid).leaving |= work.leaves();
                }
                let passed_on = self.is_eager() && matches!(work, Work::Walk { .. });
                self.ask(at, work, op, asks);
                if let Some(newfid) = newfid.filter(|_| passed_on) {
                    self.fids.row(newfid).busy = None;
                    self.ready.push_back(newfid);
                }
            }
            Ok(Plan::Answer(message)) => self.respond(at, &message),
            Err(error) => self.fail(at, &error),
        }
    }

    /// Sends an `Op` on its way for a request.
    pub(super) fn ask(&mut self, at: usize, work: Work, op: Op, asks: &mut VecDeque<(Tag, Op)>) {
        self.seq = self.seq.wrapping_add(1);
        let seq = self.seq;
        let request = self.request(at);
        request.work = work;
        request.seq = seq;
        asks.push_back((tag_at(at, seq), op));
    }

    /// Starts what was held back by fids that are free now.
    pub(super) fn resume(&mut self, asks: &mut VecDeque<(Tag, Op)>) {
        while let Some(fid) = self.ready.pop_front() {
            while let Some(row) = self.fids.get(fid)
                && row.busy.is_none()
                && let Some(at) = row.waiting.pop_front()
            {
                if let Some(other) = self.waits_for(at) {
                    self.fids.row(other).waiting.push_back(at);
                    continue;
                }
                let Work::Held(frame) = core::mem::replace(&mut self.request(at).work, Work::Settling) else {
                    unreachable!("only held requests wait");
                };
                let (_, message) = Tmsg::decode(&frame, self.spoken()).expect("it was decoded when it came");
                self.start(at, &message, asks);
            }
        }
    }

    /// What a message comes to.
    fn plan<'a>(&mut self, at: usize, message: &Tmsg<'a>) -> Result<Plan<'a>, Error> {
        let Request { fid: row, other, newfid, .. } = *self.request(at);
        // Messages without a fid to start from are Tattach, which does not look at it, and those refused before.
        let fid = row.map_or(Fid(NOFID), op_fid);
        let (work, op) = match *message {
            Tmsg::Attach { uname, aname, n_uname, .. } => {
                let n_uname = Some(n_uname.0).filter(|uid| *uid != u32::MAX);
                self.claim = Some(Claim { uname: uname.into(), n_uname });
                let fid = op_fid(newfid.expect("Tattach makes a fid"));
                (Work::Attach, Op::Attach { fid, user: uname.into(), tree: aname.into() })
            }
            Tmsg::Walk { names, .. } => {
                let names = walk_names(names)?;
                let newfid = newfid.map_or(fid, op_fid);
                (Work::Walk { names: names.len() }, Op::Walk { fid, newfid, names })
            }
            Tmsg::Open { mode, .. } => {
                let (access, remove_on_clunk) = plain_access(mode)?;
                (Work::Open { remove_on_clunk }, Op::Open { fid, access })
            }
            Tmsg::Lopen { flags, .. } => {
                self.set_nowait(row, flags);
                (Work::Open { remove_on_clunk: false }, Op::Open { fid, access: linux_access(flags)? })
            }
            Tmsg::Create { name, perm, mode, .. } => {
                let (access, remove_on_clunk) = plain_access(mode)?;
                let op = Op::Create { fid, name: new_name(name)?, mode: plain_mode(perm)?, access };
                (Work::Create { remove_on_clunk }, op)
            }
            Tmsg::Lcreate { name, flags, mode, .. } => {
                self.set_nowait(row, flags);
                let kind = if self.spoken() == Dialect::Uem && is_dir_mode(mode) { S_IFDIR } else { 0 };
                let (name, access) = (new_name(name)?, linux_access(flags)?);
                (
                    Work::Create { remove_on_clunk: false },
                    Op::Create { fid, name, mode: mode & 0o777 | kind, access },
                )
            }
            Tmsg::Read { offset, count, .. } => self.plan_read(row, offset, count)?,
            Tmsg::Readdir { offset, count, .. } => {
                let count = count.min(self.iounit());
                let op = Op::List { fid, cookie: offset, count: listing::estimate(count, self.spoken()) };
                (Work::Readdir { count }, op)
            }
            Tmsg::Write { offset, data, .. } => {
                (Work::Write { count: data.len() as u32 }, Op::Write { fid, offset, data: data.to_vec() })
            }
            Tmsg::Clunk { .. } => match row.is_some_and(|row| self.fids.row(row).remove_on_clunk) {
                true => (Work::Clunk { remove: true }, Op::Remove { fid }),
                false => (Work::Clunk { remove: false }, Op::Clunk { fid }),
            },
            Tmsg::Remove { .. } => (Work::Remove, Op::Remove { fid }),
            Tmsg::Stat { .. } => (Work::Stat, Op::Stat { fid }),
            Tmsg::Getattr { .. } => (Work::Getattr, Op::Stat { fid }),
            Tmsg::Wstat { stat, .. } if !stat.name.is_empty() => {
                (Work::RenameLook { to: plain_rename(&stat)? }, Op::Stat { fid })
            }
            Tmsg::Wstat { stat, .. } => (Work::Wstat, Op::SetStat { fid, set: plain_changes(&stat)? }),
            Tmsg::Setattr { .. } => (Work::Setattr, Op::SetStat { fid, set: linux_changes(message) }),
            Tmsg::Symlink { name, target, .. } => {
                (Work::Symlink, Op::Symlink { fid, name: new_name(name)?, target: target.into() })
            }
            Tmsg::Rename { name, .. } => (Work::RenameLook { to: new_name(name)? }, Op::Stat { fid }),
            Tmsg::Renameat { oldname, newname, flags, .. } => {
                if flags.0 & !NOREPLACE != 0 {
                    let cause = "of the ways of renameat2(2) only RENAME_NOREPLACE is known here";
                    return Err(Error::new(Errno::INVAL, cause));
                }
                let (name, to) = (new_name(oldname)?, new_name(newname)?);
                let dir = other.map_or(Fid(NOFID), op_fid);
                (Work::Renameat, Op::Rename { fid, name, dir, to, replace: flags.0 == 0 })
            }
            Tmsg::Readlink { .. } => (Work::Readlink, Op::ReadLink { fid }),
            Tmsg::Mkdir { name, mode, .. } => {
                let work = Work::MkdirWalk { name: new_name(name)?, mode: mode & 0o777 | S_IFDIR };
                (work, Op::Walk { fid, newfid: self.own_newfid(at)?, names: Vec::new() })
            }
            Tmsg::Unlinkat { name, flags, .. } => {
                // AT_REMOVEDIR of unlinkat(2).
                let (names, is_dir) = (Vec::from([new_name(name)?]), flags & 0x200 != 0);
                (Work::UnlinkWalk { is_dir }, Op::Walk { fid, newfid: self.own_newfid(at)?, names })
            }
            Tmsg::Statfs { .. } => return Ok(Plan::Answer(STATFS)),
            // Nothing here is kept anywhere safer than where it was written.
            Tmsg::Fsync { .. } => return Ok(Plan::Answer(Rmsg::Fsync {})),
            // Locks hold among the programs of one client, which sees to that itself.
            Tmsg::Lock { .. } => return Ok(Plan::Answer(Rmsg::Lock { status: 0 })),
            Tmsg::Getlock { start, length, proc_id, client_id, .. } => {
                return Ok(Plan::Answer(Rmsg::Getlock { ty: 2, start, length, proc_id, client_id }));
            }
            Tmsg::Version { .. } | Tmsg::Auth { .. } | Tmsg::Flush { .. } => {
                unreachable!("these are no requests about a fid")
            }
            Tmsg::Mknod { .. } | Tmsg::Link { .. } | Tmsg::Xattrwalk { .. } | Tmsg::Xattrcreate { .. } => {
                return Err(Errno::OPNOTSUPP.into());
            }
        };
        Ok(Plan::Ask(work, op))
    }

    fn plan_read(&mut self, row: Option<usize>, offset: u64, count: u32) -> Result<(Work, Op), Error> {
        let dialect = self.spoken();
        let at = row.expect("Tread names a fid");
        let (max, row) = (self.iounit(), self.fids.row(at));
        let nowait = dialect == Dialect::Uem && count & NOWAIT != 0;
        let count = if dialect == Dialect::Uem { count & !NOWAIT } else { count }.min(max);
        if dialect == Dialect::Plain && row.is_dir {
            let cookie = match row.next {
                _ if offset == 0 => 0,
                (next, cookie) if offset == next => cookie,
                _ => return Err(Error::new(Errno::INVAL, "bad offset in directory read")),
            };
            let op = Op::List { fid: op_fid(at), cookie, count: listing::estimate(count, dialect) };
            return Ok((Work::ReadDir { offset, count }, op));
        }
        // Linux v9fs gives nothing to its reader before the buffer is full or a read brings nothing: it asks for
        // the rest of every short read. On a stream that would wait for bytes that may never come.
        let rest = row.short.take() == Some((offset, count));
        let wait = !(row.nowait || nowait || rest);
        Ok((Work::Read { offset, count, rest }, Op::Read { fid: op_fid(at), offset, count, wait }))
    }

    fn set_nowait(&mut self, row: Option<usize>, flags: u32) {
        if let Some(row) = row {
            self.fids.row(row).nowait = flags & O_NONBLOCK != 0;
        }
    }

    /// A fid of our own, for the steps of one message.
    pub(super) fn own_newfid(&mut self, at: usize) -> Result<Fid, Error> {
        let newfid = self.fids.make_own(self.config.fids)?;
        self.request(at).newfid = Some(newfid);
        Ok(op_fid(newfid))
    }

    pub(super) fn request(&mut self, at: usize) -> &mut Request {
        self.requests.get_mut(at).expect("a request stands until it is closed")
    }
}

/// The `Tag` of a request's present `Op`.
pub(super) fn tag_at(at: usize, seq: u32) -> Tag {
    Tag(u64::from(seq) << 32 | at as u64)
}
