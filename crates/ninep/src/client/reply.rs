//! From the answer of a server to the [`Reply`] of an [`Op`](op::Op).

use super::{Client, Kind, Listing};
use crate::frame::Broken;
use crate::wire::{self, Malformed, Rmsg, Tmsg};
use crate::{Dialect, NOFID, ename};
use alloc::{format, string::String, vec::Vec};
use op::{Entry, Errno, Error, Fid, FileKind, Op, Qid, Reply, Shape, Stat, Wall};

impl Client {
    /// The message in row `at` is answered.
    pub(super) fn answered(&mut self, at: usize, kind: Kind, message: &Rmsg<'_>) -> Result<(), Broken> {
        if let (Kind::Flush { old }, Rmsg::Flush {}) = (kind, message) {
            self.flushed(old.into());
            self.deliver(at, Reply::Done);
            return Ok(());
        }
        let reply = self.reply(kind, message)?;
        if let (Kind::List { fid, count, .. }, Reply::Listed(entries)) = (kind, &reply)
            && let Some(last) = entries.last()
            && entries.iter().all(is_dots)
        {
            // Nothing that an `Op::List` tells of, and not the end either.
            self.list_on(at, fid, last.cookie, count);
            return Ok(());
        }
        let reply = without_dots(reply);
        match (kind, &reply) {
            (Kind::Attach { fid } | Kind::Walk { newfid: Some(fid), .. }, Reply::Failed(_)) => {
                self.bound.remove(&fid);
            }
            (Kind::Walk { newfid: Some(fid), names }, Reply::Walked(qids)) if qids.len() < names => {
                self.bound.remove(&fid);
            }
            (Kind::Leave { fid }, _) => {
                self.bound.remove(&fid);
                self.listings.remove(&fid);
            }
            _ => {}
        }
        self.deliver(at, reply);
        Ok(())
    }

    /// Asks for what follows `.` and `..`, for whoever asked for them.
    fn list_on(&mut self, at: usize, fid: u32, cookie: u64, count: u32) {
        let flight = self.flights.get_mut(at).expect("it was found by its tag");
        if flight.flushes > 0 {
            return self.deliver(at, Reply::errno(Errno::CANCELED));
        }
        let tag = flight.tag.take();
        self.deliver(at, Reply::Done);
        if let Some(tag) = tag {
            self.send(tag, &Op::List { fid: Fid(fid), cookie, count });
        }
    }

    /// Answers whoever asked. The tag is free, unless a flush of it is under way.
    fn deliver(&mut self, at: usize, reply: Reply) {
        let flight = self.flights.get_mut(at).expect("it was found by its tag");
        self.ready.extend(flight.tag.take().map(|tag| (tag, reply)));
        flight.kind = Kind::Over;
        if flight.flushes == 0 {
            self.flights.remove(at);
        }
    }

    /// `Rflush`: what is not answered by now never is.
    fn flushed(&mut self, old: usize) {
        let flight = self.flights.get_mut(old).expect("a tag is kept until it is flushed");
        let kind = core::mem::replace(&mut flight.kind, Kind::Over);
        flight.tag = None;
        flight.flushes -= 1;
        if flight.flushes == 0 {
            self.flights.remove(old);
        }
        match kind {
            // It may have come to pass all the same.
            Kind::Attach { fid } | Kind::Walk { newfid: Some(fid), .. } => {
                self.launch(None, Kind::Leave { fid }, [(fid, true), (NOFID, false)], &Tmsg::Clunk { fid });
            }
            Kind::Leave { fid } => {
                self.bound.remove(&fid);
            }
            Kind::Walk { newfid: None, .. }
            | Kind::Open
            | Kind::Read { .. }
            | Kind::Write { .. }
            | Kind::List { .. }
            | Kind::Stat
            | Kind::SetStat
            | Kind::ReadLink
            | Kind::Symlink
            | Kind::Rename
            | Kind::Flush { .. }
            | Kind::Over => {}
        }
    }

    fn reply(&mut self, kind: Kind, message: &Rmsg<'_>) -> Result<Reply, Broken> {
        Ok(match (kind, *message) {
            (_, Rmsg::Error { ename }) => Reply::Failed(Error::new(ename::guessed(ename), ename)),
            (_, Rmsg::Lerror { ecode, cause }) => {
                Reply::Failed(Error::new(u16::try_from(ecode).map_or(Errno::IO, Errno), cause.0))
            }
            (Kind::Attach { .. }, Rmsg::Attach { qid }) => Reply::Attached(qid.into()),
            (Kind::Walk { names, .. }, Rmsg::Walk { qids }) => {
                let qids: Vec<Qid> = qids.iter(self.dialect).map(Qid::from).collect();
                if qids.len() > names {
                    return Err(Broken("a walk has more steps than names".into()));
                }
                Reply::Walked(qids)
            }
            (Kind::Open, Rmsg::Open { qid, .. } | Rmsg::Create { qid, .. }) => {
                Reply::Opened(qid.into(), Shape::Text)
            }
            (Kind::Open, Rmsg::Lopen { qid, shape, .. } | Rmsg::Lcreate { qid, shape, .. }) => {
                let shape = match shape.0 {
                    1 => Shape::Stream,
                    2 => Shape::Spool,
                    _ => Shape::Text,
                };
                Reply::Opened(qid.into(), shape)
            }
            (Kind::Read { count }, Rmsg::Read { data }) if data.len() <= count as usize => {
                Reply::Data(data.to_vec())
            }
            (Kind::Write { count }, Rmsg::Write { count: wrote }) if wrote <= count => Reply::Wrote(wrote),
            (Kind::List { fid, cookie, count }, Rmsg::Read { data } | Rmsg::Readdir { data }) => {
                // 9P2000 reads files and directories alike: what came may be the bytes of a file.
                let no_listing = |_| Reply::Failed(Error::new(Errno::NOTDIR, "what was read is no listing"));
                self.listed(fid, cookie, count, data).unwrap_or_else(no_listing)
            }
            (Kind::Stat, Rmsg::Stat { stat }) => Reply::Stat(stat.to_op()),
            (Kind::Stat, Rmsg::Getattr { qid, mode, uid, gid, size, mtime, mtime_ns, .. }) => {
                let ns = mtime.saturating_mul(1_000_000_000).saturating_add(mtime_ns);
                let qid = Qid { kind: kind_of(mode), ..qid.into() };
                Reply::Stat(Stat {
                    name: String::new(),
                    qid,
                    mode: mode & 0o777,
                    uid,
                    gid,
                    user: format!("{uid}").into(),
                    group: format!("{gid}").into(),
                    size,
                    mtime: Wall(ns),
                })
            }
            (Kind::SetStat, Rmsg::Wstat {} | Rmsg::Setattr {}) => Reply::Done,
            (Kind::ReadLink, Rmsg::Readlink { target }) => Reply::Linked(target.into()),
            (Kind::Symlink, Rmsg::Symlink { qid }) => Reply::Made(qid.into()),
            (Kind::Rename, Rmsg::Renameat {}) => Reply::Done,
            (Kind::Leave { .. }, Rmsg::Clunk {} | Rmsg::Remove {}) => Reply::Done,
            (kind, message) => {
                let number = message.number();
                return Err(Broken(format!("a message of type {number} answers {kind:?}").into()));
            }
        })
    }

    fn listed(&mut self, fid: u32, cookie: u64, count: u32, data: &[u8]) -> Result<Reply, Malformed> {
        let count = count as usize;
        let entries: Result<Vec<Entry>, Malformed> = match self.dialect {
            Dialect::L => {
                wire::dirents(data).take(count).map(|dirent| dirent.map(|dirent| entry(&dirent))).collect()
            }
            Dialect::Uem => wire::entries(data)
                .take(count)
                .map(|entry| entry.map(|(cookie, stat)| Entry { cookie, stat: stat.to_op() }))
                .collect(),
            Dialect::Plain => wire::directory(data)
                .map(|record| {
                    record.map(|(end, stat)| Entry { cookie: cookie.saturating_add(end), stat: stat.to_op() })
                })
                .collect(),
        };
        let mut entries = entries?;
        if entries.len() > count {
            // 9P2000 reads a directory on only from where the last read of it ended.
            let rest = entries.split_off(count);
            let from = entries.last().map_or(cookie, |entry| entry.cookie);
            self.listings.insert(fid, Listing { from, entries: rest.into() });
        }
        Ok(Reply::Listed(entries))
    }
}

fn is_dots(entry: &Entry) -> bool {
    matches!(entry.stat.name.as_str(), "." | "..")
}

/// An `Op::List` does not tell of `.` and `..`, which many servers list.
fn without_dots(reply: Reply) -> Reply {
    if let Reply::Listed(mut entries) = reply {
        entries.retain(|entry| !is_dots(entry));
        return Reply::Listed(entries);
    }
    reply
}

/// What 9P2000.L tells of an entry: name, qid and kind.
fn entry(dirent: &wire::Dirent<'_>) -> Entry {
    let kind = match dirent.ty {
        4 => FileKind::Dir,
        10 => FileKind::Link,
        _ => FileKind::File,
    };
    let stat = Stat {
        name: dirent.name.into(),
        qid: Qid { kind, ..dirent.qid.into() },
        mode: 0,
        uid: u32::MAX,
        gid: u32::MAX,
        user: "".into(),
        group: "".into(),
        size: 0,
        mtime: Wall(0),
    };
    Entry { cookie: dirent.offset, stat }
}

fn kind_of(mode: u32) -> FileKind {
    match mode & wire::S_IFMT {
        wire::S_IFDIR => FileKind::Dir,
        wire::S_IFLNK => FileKind::Link,
        _ => FileKind::File,
    }
}
