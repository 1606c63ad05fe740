//! Fids: the client's numbers, and the rows that they stand for, whose own numbers the [`Op`](op::Op)s use.
//!
//! A row lives from the message that makes the fid until nothing under way knows it any more; the client's
//! number is free as soon as its `Tclunk` is read, as the protocol wants it. So neither can be taken for the other's
//! successor.

use crate::NOFID;
use crate::slab::Slab;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use op::{Errno, Error, Fid, FileKind, Qid, Shape};

/// What is known of a fid.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The client's number; `None` once it was clunked, and for fids of our own.
    client: Option<u32>,
    /// Requests that know this row.
    users: usize,
    /// The request that holds back others, if one does.
    pub(super) busy: Option<usize>,
    /// Those held back, oldest first.
    pub(super) waiting: VecDeque<usize>,
    /// The walk that was to make it did not: what was held back for it fails.
    pub(super) unmade: bool,
    /// Its clunk is asked.
    pub(super) leaving: bool,
    /// Open, and a directory.
    pub(super) is_dir: bool,
    /// Where a read of the directory may go on: the offset, and the cookie that it stands for.
    pub(super) next: (u64, u64),
    /// Short reads are no sign of the end.
    pub(super) is_stream: bool,
    /// After a short read: the offset and count that ask for the rest of it.
    pub(super) short: Option<(u64, u32)>,
    /// Opened with `O_NONBLOCK`.
    pub(super) nowait: bool,
    /// Opened with `ORCLOSE`.
    pub(super) remove_on_clunk: bool,
}

impl Row {
    /// Notes how it was opened.
    pub(super) fn opened(&mut self, qid: Qid, shape: Shape) {
        self.is_dir = qid.kind == FileKind::Dir;
        self.is_stream = shape != Shape::Text;
        self.next = (0, 0);
        self.short = None;
    }
}

/// All fids of a connection.
#[derive(Debug, Default)]
pub(super) struct Fids {
    rows: Slab<Row>,
    clients: BTreeMap<u32, usize>,
}

impl Fids {
    /// The row of a client's fid.
    pub(super) fn find(&self, fid: u32) -> Result<usize, Error> {
        self.clients.get(&fid).copied().ok_or_else(|| Error::new(Errno::BADF, "unknown fid"))
    }

    /// A new row for a client's fid, with one user.
    pub(super) fn make(&mut self, fid: u32, limit: usize) -> Result<usize, Error> {
        if fid == NOFID {
            return Err(Error::new(Errno::BADF, format!("{NOFID} stands for no fid")));
        }
        if self.clients.contains_key(&fid) {
            return Err(Error::new(Errno::BADF, format!("fid {fid} is in use")));
        }
        let at = self.make_own(limit)?;
        self.row(at).client = Some(fid);
        self.clients.insert(fid, at);
        Ok(at)
    }

    /// A new row that no fid of the client stands for, with one user.
    pub(super) fn make_own(&mut self, limit: usize) -> Result<usize, Error> {
        if self.rows.len() >= limit {
            return Err(Error::new(Errno::MFILE, format!("a connection has at most {limit} fids")));
        }
        Ok(self.rows.insert(Row { users: 1, ..Row::default() }))
    }

    /// One more user.
    pub(super) fn hold(&mut self, at: usize) {
        self.row(at).users += 1;
    }

    /// One user less; a row that nobody knows any more is gone.
    pub(super) fn release(&mut self, at: usize) {
        let row = self.row(at);
        row.users -= 1;
        if row.users == 0 && row.client.is_none() {
            self.rows.remove(at);
        }
    }

    /// It was not made after all. Only while a user holds the row.
    pub(super) fn unmake(&mut self, at: usize) {
        self.unbind(at);
        self.row(at).unmade = true;
    }

    /// The client's number does not stand for this row any more. Only while a user holds the row.
    pub(super) fn unbind(&mut self, at: usize) {
        if let Some(client) = self.row(at).client.take() {
            self.clients.remove(&client);
        }
    }

    /// A row that some request holds.
    pub(super) fn row(&mut self, at: usize) -> &mut Row {
        self.rows.get_mut(at).expect("a row lives as long as a request knows it")
    }

    /// A row, if it is still there.
    pub(super) fn get(&mut self, at: usize) -> Option<&mut Row> {
        self.rows.get_mut(at)
    }

    /// All rows.
    pub(super) fn keys(&self) -> alloc::vec::Vec<usize> {
        self.rows.keys()
    }
}

/// As the `Op`s name it.
pub(super) fn op_fid(at: usize) -> Fid {
    Fid(u32::try_from(at).expect("fids are limited to fewer than 2^32"))
}
