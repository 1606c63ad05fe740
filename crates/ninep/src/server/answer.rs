//! From a [`Reply`] to the answer of a message, or to the message's next [`Op`].

use super::fid::op_fid;
use super::request::{Request, Work};
use super::{Conn, listing};
use crate::Dialect;
use crate::wire::{self, Qid, Qids, Rmsg, S_IFDIR, S_IFLNK, S_IFREG, ShapeCode};
use alloc::collections::VecDeque;
use alloc::format;
use core::mem;
use op::{Access, Errno, Error, FileKind, Op, Reply, Shape, Tag};

impl Conn {
    /// Takes a reply to where it belongs.
    pub(super) fn settle(&mut self, tag: Tag, reply: Reply, asks: &mut VecDeque<(Tag, Op)>) {
        let (at, seq) = (tag.0 as u32 as usize, (tag.0 >> 32) as u32);
        let Some(request) = self.requests.get_mut(at).filter(|request| request.seq == seq) else {
            return;
        };
        let work = mem::replace(&mut request.work, Work::Settling);
        if request.tag.is_some() {
            return self.conclude(at, work, reply, asks);
        }
        // Something of our own, or of a session that is over: its fids are clunked already.
        self.close(at);
        if let Work::Flush { target } = work {
            self.flushed(target, asks);
        }
    }

    /// What a reply means to its message.
    fn conclude(&mut self, at: usize, work: Work, reply: Reply, asks: &mut VecDeque<(Tag, Op)>) {
        let Request { fid, newfid, .. } = *self.request(at);
        let dialect = self.spoken();
        match (work, reply) {
            (Work::Attach, Reply::Attached(qid)) => {
                self.respond(at, &Rmsg::Attach { qid: Qid::new(qid, dialect) });
            }
            (Work::Walk { names }, Reply::Walked(qids)) if qids.len() == names => {
                self.respond(at, &Rmsg::Walk { qids: Qids::Write(&qids) });
            }
            (Work::Walk { names }, Reply::Walked(qids)) if !qids.is_empty() && qids.len() < names => {
                newfid.into_iter().for_each(|newfid| self.fids.unmake(newfid));
                self.respond(at, &Rmsg::Walk { qids: Qids::Write(&qids) });
            }
            (Work::Walk { .. }, Reply::Walked(qids)) if qids.is_empty() => {
                self.fail(at, &Errno::NOENT.into())
            }
            (Work::Open { remove_on_clunk }, Reply::Opened(qid, shape)) => {
                self.note_open(fid, remove_on_clunk, qid, shape);
                let (qid, iounit, shape) = (Qid::new(qid, dialect), self.iounit(), ShapeCode(shape as u8));
                self.respond(
                    at,
                    &match dialect {
                        Dialect::Plain => Rmsg::Open { qid, iounit },
                        Dialect::L | Dialect::Uem => Rmsg::Lopen { qid, iounit, shape },
                    },
                );
            }
            (Work::Create { remove_on_clunk }, Reply::Opened(qid, shape)) => {
                self.note_open(fid, remove_on_clunk, qid, shape);
                let (qid, iounit, shape) = (Qid::new(qid, dialect), self.iounit(), ShapeCode(shape as u8));
                self.respond(
                    at,
                    &match dialect {
                        Dialect::Plain => Rmsg::Create { qid, iounit },
                        Dialect::L | Dialect::Uem => Rmsg::Lcreate { qid, iounit, shape },
                    },
                );
            }
            (Work::Read { offset, count, .. }, Reply::Data(data)) if data.len() <= count as usize => {
                if let Some(fid) = fid.filter(|_| dialect == Dialect::L) {
                    let row = self.fids.row(fid);
                    let got = data.len() as u32;
                    if row.is_stream && 0 < got && got < count {
                        row.short = Some((offset.wrapping_add(got.into()), count - got));
                    }
                }
                self.respond(at, &Rmsg::Read { data: &data });
            }
            (Work::Read { rest: true, .. }, Reply::Failed(error)) if error.errno == Errno::AGAIN => {
                self.respond(at, &Rmsg::Read { data: &[] });
            }
            (Work::ReadDir { offset, count }, Reply::Listed(entries)) => {
                match listing::pack(&entries, count, dialect) {
                    Ok(packed) => {
                        if let (Some(fid), Some(cookie)) = (fid, packed.cookie) {
                            self.fids.row(fid).next = (offset + packed.data.len() as u64, cookie);
                        } else if let Some(fid) = fid.filter(|_| offset == 0) {
                            self.fids.row(fid).next = (0, 0);
                        }
                        self.respond(at, &Rmsg::Read { data: &packed.data });
                    }
                    Err(error) => self.fail(at, &error),
                }
            }
            (Work::Readdir { count }, Reply::Listed(entries)) => {
                match listing::pack(&entries, count, dialect) {
                    Ok(packed) => self.respond(at, &Rmsg::Readdir { data: &packed.data }),
                    Err(error) => self.fail(at, &error),
                }
            }
            (Work::Write { count }, Reply::Wrote(wrote)) => {
                self.respond(at, &Rmsg::Write { count: wrote.min(count) });
            }
            (Work::Stat, Reply::Stat(stat)) => {
                self.respond(at, &Rmsg::Stat { stat: wire::Stat::new(&stat, dialect) });
            }
            (Work::Getattr, Reply::Stat(stat)) => self.respond(at, &getattr(&stat)),
            (Work::Wstat, Reply::Done) => self.respond(at, &Rmsg::Wstat {}),
            (Work::Setattr, Reply::Done) => self.respond(at, &Rmsg::Setattr {}),
            (Work::Readlink, Reply::Linked(target)) if target.len() < self.iounit() as usize => {
                self.respond(at, &Rmsg::Readlink { target: &target });
            }
            (Work::Readlink, Reply::Linked(_)) => self.fail(at, &Errno::NAMETOOLONG.into()),
            (Work::Symlink, Reply::Made(qid)) => {
                self.respond(at, &Rmsg::Symlink { qid: Qid::new(qid, dialect) });
            }
            (Work::Renameat, Reply::Done) => self.respond(at, &Rmsg::Renameat {}),
            (work @ (Work::RenameLook { .. } | Work::RenameUp { .. } | Work::RenameThere), reply) => {
                self.rename(at, work, reply, asks);
            }
            (Work::Remove, Reply::Done) => self.respond(at, &Rmsg::Remove {}),
            // A file that can't be removed when its fid is clunked stays; the fid goes all the same.
            (Work::Clunk { remove: true }, _) | (Work::Clunk { .. }, Reply::Done) => {
                self.respond(at, &Rmsg::Clunk {});
            }
            (work @ (Work::MkdirWalk { .. } | Work::MkdirCreate), reply) => self.mkdir(at, work, reply, asks),
            (work @ (Work::UnlinkWalk { .. } | Work::UnlinkRemove), reply) => {
                self.unlink(at, &work, reply, asks)
            }
            (_, Reply::Failed(error)) => self.fail(at, &error),
            (work, reply) => self.fail(at, &mismatch(&work, &reply)),
        }
    }

    fn note_open(&mut self, fid: Option<usize>, remove_on_clunk: bool, qid: op::Qid, shape: Shape) {
        if let Some(fid) = fid {
            let row = self.fids.row(fid);
            row.opened(qid, shape);
            row.remove_on_clunk = remove_on_clunk;
        }
    }

    /// The steps of `Tmkdir` after the first.
    fn mkdir(&mut self, at: usize, work: Work, reply: Reply, asks: &mut VecDeque<(Tag, Op)>) {
        let newfid = self.request(at).newfid.expect("Tmkdir has a fid of its own");
        match (work, reply) {
            (Work::MkdirWalk { name, mode }, Reply::Walked(_)) => {
                if self.give_up(at, newfid, asks) {
                    return;
                }
                let access = Access { read: true, ..Access::default() };
                let op = Op::Create { fid: op_fid(newfid), name, mode, access };
                self.ask(at, Work::MkdirCreate, op, asks);
            }
            (Work::MkdirCreate, Reply::Opened(qid, _)) => {
                self.forget(newfid, asks);
                self.respond(at, &Rmsg::Mkdir { qid: Qid::new(qid, self.spoken()) });
            }
            (Work::MkdirCreate, Reply::Failed(error)) => {
                self.forget(newfid, asks);
                self.fail(at, &error);
            }
            (_, Reply::Failed(error)) => self.fail(at, &error),
            (work, reply) => {
                self.forget(newfid, asks);
                self.fail(at, &mismatch(&work, &reply));
            }
        }
    }

    /// The steps of `Tunlinkat` after the first.
    fn unlink(&mut self, at: usize, work: &Work, reply: Reply, asks: &mut VecDeque<(Tag, Op)>) {
        let newfid = self.request(at).newfid.expect("Tunlinkat has a fid of its own");
        match (work, reply) {
            (Work::UnlinkWalk { is_dir }, Reply::Walked(qids)) if qids.len() == 1 => {
                let found_dir = qids[0].kind == FileKind::Dir;
                if self.give_up(at, newfid, asks) {
                    return;
                }
                if found_dir != *is_dir {
                    self.forget(newfid, asks);
                    let errno = if found_dir { Errno::ISDIR } else { Errno::NOTDIR };
                    return self.fail(at, &errno.into());
                }
                self.fids.row(newfid).leaving = true;
                self.ask(at, Work::UnlinkRemove, Op::Remove { fid: op_fid(newfid) }, asks);
            }
            (Work::UnlinkWalk { .. }, Reply::Walked(_)) => self.fail(at, &Errno::NOENT.into()),
            (Work::UnlinkRemove, Reply::Done) => self.respond(at, &Rmsg::Unlinkat {}),
            (_, Reply::Failed(error)) => self.fail(at, &error),
            (work, reply) => self.fail(at, &mismatch(work, &reply)),
        }
    }

    /// The steps of `Trename`, and of a `Twstat` with a name, after the first.
    fn rename(&mut self, at: usize, work: Work, reply: Reply, asks: &mut VecDeque<(Tag, Op)>) {
        let Request { fid, other, newfid, .. } = *self.request(at);
        match (work, reply, newfid) {
            (Work::RenameLook { to }, Reply::Stat(stat), _) => {
                if !self.request(at).flushes.is_empty() {
                    return self.close(at);
                }
                match (self.own_newfid(at), fid) {
                    (Ok(newfid), Some(fid)) => {
                        let names = alloc::vec!["..".into()];
                        let op = Op::Walk { fid: op_fid(fid), newfid, names };
                        self.ask(at, Work::RenameUp { name: stat.name, to }, op, asks);
                    }
                    (Err(error), _) => self.fail(at, &error),
                    (_, None) => self.fail(at, &Errno::BADF.into()),
                }
            }
            (Work::RenameUp { name, to }, Reply::Walked(qids), Some(newfid)) if qids.len() == 1 => {
                if self.give_up(at, newfid, asks) {
                    return;
                }
                let fid = op_fid(newfid);
                let dir = other.map_or(fid, op_fid);
                self.ask(at, Work::RenameThere, Op::Rename { fid, name, dir, to, replace: true }, asks);
            }
            (Work::RenameThere, reply, Some(newfid)) => {
                self.forget(newfid, asks);
                match (reply, self.spoken()) {
                    (Reply::Done, Dialect::Plain) => self.respond(at, &Rmsg::Wstat {}),
                    (Reply::Done, Dialect::L | Dialect::Uem) => self.respond(at, &Rmsg::Rename {}),
                    (Reply::Failed(error), _) => self.fail(at, &error),
                    (reply, _) => self.fail(at, &mismatch(&Work::RenameThere, &reply)),
                }
            }
            (_, Reply::Failed(error), _) => self.fail(at, &error),
            (work, reply, _) => self.fail(at, &mismatch(&work, &reply)),
        }
    }

    /// Between two steps: ends a request that was flushed meanwhile.
    fn give_up(&mut self, at: usize, newfid: usize, asks: &mut VecDeque<(Tag, Op)>) -> bool {
        let flushed = !self.request(at).flushes.is_empty();
        if flushed {
            self.forget(newfid, asks);
            self.close(at);
        }
        flushed
    }

    /// Answers a message.
    pub(super) fn respond(&mut self, at: usize, message: &Rmsg<'_>) {
        if let Some(tag) = self.request(at).tag {
            self.send(tag, message);
        }
        self.close(at);
    }

    /// Answers a message with an error; the fid that it was to make is none.
    pub(super) fn fail(&mut self, at: usize, error: &Error) {
        if let Some(newfid) = self.request(at).newfid {
            self.fids.unmake(newfid);
        }
        if let Some(tag) = self.request(at).tag {
            self.refuse(tag, error);
        }
        self.close(at);
    }

    /// Ends a request. What was flushed has its `Rflush` now, after its answer if it had one.
    pub(super) fn close(&mut self, at: usize) {
        let request = self.requests.remove(at).expect("a request is closed once");
        for tag in request.flushes {
            self.tags.remove(&tag);
            self.send(tag, &Rmsg::Flush {});
        }
        if let Some(tag) = request.tag {
            self.tags.remove(&tag);
        }
        for fid in [request.fid, request.other, request.newfid].into_iter().flatten() {
            let row = self.fids.row(fid);
            if row.busy == Some(at) {
                row.busy = None;
                self.ready.push_back(fid);
            }
            self.fids.release(fid);
        }
    }
}

/// The attributes of stat(2) that Linux calls basic.
fn getattr(stat: &op::Stat) -> Rmsg<'static> {
    let kind = match stat.qid.kind {
        FileKind::Dir => S_IFDIR,
        FileKind::File => S_IFREG,
        FileKind::Link => S_IFLNK,
    };
    let (secs, ns) = (stat.mtime.secs(), stat.mtime.0 % 1_000_000_000);
    Rmsg::Getattr {
        valid: 0x7ff,
        qid: Qid::new(stat.qid, Dialect::L),
        mode: kind | stat.mode & 0o777,
        uid: stat.uid,
        gid: stat.gid,
        nlink: 1,
        rdev: 0,
        size: stat.size,
        blksize: 4096,
        blocks: stat.size.div_ceil(512),
        atime: secs,
        atime_ns: ns,
        mtime: secs,
        mtime_ns: ns,
        ctime: secs,
        ctime_ns: ns,
        btime: 0,
        btime_ns: 0,
        generation: 0,
        data_version: 0,
    }
}

/// What answers the `Op`s broke its promise; the client is told so, and the connection goes on.
fn mismatch(work: &Work, reply: &Reply) -> Error {
    let length = if let Reply::Data(data) = reply { data.len() } else { 0 };
    if length > 0 {
        return Error::new(Errno::IO, format!("the server answered {work:?} with {length} bytes"));
    }
    Error::new(Errno::IO, format!("the server answered {work:?} with {reply:?}"))
}
