//! Giving up: one request (`Tflush`), or everything (`Tversion`, hang-up).
//!
//! flush(5) asks that after `Rflush` the old tag is never answered, and allows it to be answered before. What the
//! server below answers before it has answered our `Op::Flush` goes out, and the `Rflush` right after it. What it
//! does not answer any more is dropped; and since a walk may have succeeded all the same, the fid that it was
//! to make is clunked.

use super::Conn;
use super::fid::op_fid;
use super::request::{Request, Work, tag_at};
use crate::frame::Broken;
use crate::wire::Rmsg;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use op::{Op, Tag};

impl Conn {
    /// `Tflush`.
    pub(super) fn flush(
        &mut self,
        tag: u16,
        oldtag: u16,
        asks: &mut VecDeque<(Tag, Op)>,
    ) -> Result<(), Broken> {
        let Some(&at) = self.tags.get(&oldtag) else {
            self.send(tag, &Rmsg::Flush {});
            return Ok(());
        };
        // A flush of each request and one of each flush is more than any client needs.
        if self.tags.len() > 3 * (self.config.requests + self.config.fids) {
            return Err(Broken("too many flushes wait".into()));
        }
        self.tags.insert(tag, at);
        let request = self.request(at);
        request.flushes.push(tag);
        if request.flushes.len() > 1 || request.work.leaves() {
            return Ok(());
        }
        if let Work::Held(_) = request.work {
            let Request { fid, other, newfid, .. } = *request;
            // It waits for one of them.
            fid.into_iter()
                .chain(other)
                .for_each(|fid| self.fids.row(fid).waiting.retain(|held| *held != at));
            // Nothing made it, so nothing needs to clunk it.
            newfid.into_iter().for_each(|newfid| self.fids.unmake(newfid));
            self.close(at);
        } else {
            let target = tag_at(at, request.seq);
            self.ask_own(None, Work::Flush { target }, Op::Flush { tag: target }, asks);
        }
        Ok(())
    }

    /// The server below has given up a request: it will not be answered any more.
    pub(super) fn flushed(&mut self, target: Tag, asks: &mut VecDeque<(Tag, Op)>) {
        let at = target.0 as u32 as usize;
        let Some(request) = self.requests.get(at).filter(|request| tag_at(at, request.seq) == target) else {
            return;
        };
        if request.tag.is_some()
            && let Some(newfid) = request.newfid
        {
            self.forget(newfid, asks);
            self.fids.unmake(newfid);
        }
        self.close(at);
    }

    /// Clunks a fid that the client does not know any more, or never knew.
    pub(super) fn forget(&mut self, fid: usize, asks: &mut VecDeque<(Tag, Op)>) {
        self.fids.unbind(fid);
        if !core::mem::replace(&mut self.fids.row(fid).leaving, true) {
            self.fids.hold(fid);
            self.ask_own(Some(fid), Work::Forget, Op::Clunk { fid: op_fid(fid) }, asks);
        }
    }

    /// Asks something that no message asked.
    fn ask_own(&mut self, fid: Option<usize>, work: Work, op: Op, asks: &mut VecDeque<(Tag, Op)>) {
        let request = Request {
            tag: None,
            fid,
            other: None,
            newfid: None,
            seq: 0,
            work: Work::Settling,
            flushes: Vec::new(),
        };
        let at = self.requests.insert(request);
        self.ask(at, work, op, asks);
    }

    /// Gives up everything that was asked, and clunks every fid.
    pub(super) fn reset(&mut self, asks: &mut VecDeque<(Tag, Op)>) {
        self.tags.clear();
        for at in self.requests.keys() {
            let request = self.request(at);
            let (had_tag, had_flush) = (request.tag.take().is_some(), !request.flushes.is_empty());
            request.flushes.clear();
            if let Work::Held(_) = request.work {
                self.close(at);
            } else if had_tag && !had_flush && !request.work.leaves() {
                let target = tag_at(at, request.seq);
                self.ask_own(None, Work::Flush { target }, Op::Flush { tag: target }, asks);
            }
        }
        self.ready.clear();
        for fid in self.fids.keys() {
            let row = self.fids.row(fid);
            row.busy = None;
            row.waiting.clear();
            self.forget(fid, asks);
        }
    }
}
