//! A request in the queue of its fid, with what it holds.

use super::file::Task;
use super::put::Put;
use op::{Fid, Op, Tag};

/// A request.
pub(super) struct Job {
    /// `None`: nobody waits for an answer.
    pub(super) tag: Option<Tag>,
    pub(super) task: Task,
    /// Bytes that it holds.
    pub(super) cost: usize,
    /// The slot that a walk fills.
    pub(super) makes: Option<u64>,
    /// How often in a row it was told that the file is ready.
    pub(super) woken: u32,
    /// It needs the file of a second fid, which has a turn of its own to lend it.
    pub(super) wants: bool,
    /// Nothing but that turn: for the request with this tag, which stands in the queue of this slot.
    pub(super) lends: Option<(u64, Tag)>,
}

impl Job {
    /// The turn of a second fid: what was asked of it before is done by then.
    pub(super) fn lending(slot: u64, tag: Tag) -> Job {
        let task = Task { op: Op::Stat { fid: Fid(0) }, done: 0, stay: false, other: None, put: None };
        Job { tag: None, task, cost: 0, makes: None, woken: 0, wants: false, lends: Some((slot, tag)) }
    }

    /// A content becomes a file.
    pub(super) fn putting(tag: Tag, put: Box<Put>) -> Job {
        let task = Task { op: Op::Stat { fid: Fid(0) }, done: 0, stay: false, other: None, put: Some(put) };
        Job { tag: Some(tag), task, cost: 0, makes: None, woken: 0, wants: false, lends: None }
    }

    /// Nobody waits for it: the file is closed.
    pub(super) fn closing() -> Job {
        let task = Task { op: Op::Clunk { fid: Fid(0) }, done: 0, stay: false, other: None, put: None };
        Job { tag: None, task, cost: 0, makes: None, woken: 0, wants: false, lends: None }
    }
}
