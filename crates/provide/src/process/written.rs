//! Spools that no program fills: what the kernel itself writes, for groups.

use super::Processes;
use crate::spool::Spool;
use op::{SessionId, Stream, Tell};

/// One such stream.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) spool: Spool,
    /// What could not be written yet.
    pending: Vec<u8>,
}

impl Processes {
    pub(super) fn append(
        &mut self,
        session: SessionId,
        stream: Stream,
        offset: u64,
        data: Vec<u8>,
        tells: &mut Vec<Tell>,
    ) {
        let spools = &self.spools;
        let written = self.written.entry((session, stream)).or_insert_with(|| {
            let _was_none = std::fs::remove_file(spools.path(session, stream));
            Written { spool: Spool::new(spools, session, stream), pending: Vec::new() }
        });
        if offset == 0 {
            written.spool.remove();
            written.spool = Spool::new(spools, session, stream);
        }
        assert_eq!(offset, written.spool.len, "appended where the spool ends");
        written.pending = data;
        if !self.append_on(session, stream, tells) {
            tells.push(Tell::Full { session, stream });
        }
    }

    /// Writes what is pending; false if it cannot be written now. Then it is tried again.
    pub(super) fn append_on(&mut self, session: SessionId, stream: Stream, tells: &mut Vec<Tell>) -> bool {
        let Some(written) = self.written.get_mut(&(session, stream)) else { return true };
        match written.spool.append(&written.pending) {
            Ok(()) => {
                written.pending = Vec::new();
                tells.push(Tell::Grew { session, stream, len: written.spool.len });
                true
            }
            Err((done, _)) => {
                written.pending.drain(..done);
                self.stuck.push((session, stream));
                self.ring(500);
                false
            }
        }
    }

    pub(super) fn free_written(&mut self, session: SessionId) {
        for stream in [Stream::Out, Stream::Err] {
            if let Some(mut written) = self.written.remove(&(session, stream)) {
                written.spool.remove();
            }
        }
    }
}
