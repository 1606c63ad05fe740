//! What members of this node give: their spools, read as the merge wants them.

use super::{COLLECTOR, Collect, Local};
use crate::{Effect, Kernel, flow::merge::SourceId, limits, session::State};
use op::{SessionId, Stream};

impl Kernel {
    /// Whether a member will write no more, whatever is still to be read.
    fn is_complete(&self, local: &Local, stream: Stream) -> bool {
        let Some(session) = self.sessions.get(&local.session) else { return true };
        let never = || {
            let group = session.member_of.and_then(|(group, _)| self.sessions.get(&group)?.group.as_deref());
            group.is_some_and(|group| group.log.iter().rev().any(|end| end.rank == local.rank))
        };
        let out = session.out(stream);
        out.closed
            || matches!(session.state, State::Ended { .. })
            || (session.state == State::Fresh && never())
    }

    pub(super) fn see_complete(&mut self, collect: &mut Collect, stream: Stream, source: SourceId) {
        let Some(local) = collect.members.get(&source) else { return };
        if !local.complete && self.is_complete(local, stream) {
            collect.merge.complete(source);
            if let Some(local) = collect.members.get_mut(&source) {
                local.complete = true;
            }
        }
    }

    /// A member's output grew or ended.
    pub(in crate::flow) fn member_wrote(&mut self, group: SessionId, stream: Stream, member: SessionId) {
        self.with_collect(group, stream, |k, collect| {
            if let Some(source) = collect.by_session.get(&member).copied() {
                k.see_complete(collect, stream, source);
                k.read_member(collect, stream, source);
            }
        });
    }

    pub(in crate::flow) fn collect_gone(&mut self, group: SessionId, stream: Stream, member: SessionId) {
        self.with_collect(group, stream, |k, collect| {
            if let Some(source) = collect.by_session.get(&member).copied() {
                k.end_member(collect, stream, source);
            }
        });
    }

    pub(in crate::flow) fn read_member(&mut self, collect: &mut Collect, stream: Stream, source: SourceId) {
        if !collect.merge.wants(source) {
            return;
        }
        let Some(local) = collect.members.get_mut(&source).filter(|local| !local.fetching) else { return };
        if local.after.is_some_and(|before| collect.by_session.contains_key(&before)) {
            return;
        }
        let Some(session) = self.sessions.get(&local.session) else { return collect.merge.close(source) };
        let out = *session.out(stream);
        local.offset = local.offset.max(out.trimmed);
        let (session, offset) = (local.session, local.offset);
        self.reader_at(COLLECTOR.0, COLLECTOR.1, session, stream, offset);
        let Some(local) = collect.members.get_mut(&source) else { return };
        if offset < out.len {
            local.fetching = true;
            let count = (out.len - offset).min(limits::FLOW as u64) as u32;
            self.out.push(Effect::Fetch { session, stream, offset, count });
        } else if local.complete {
            self.end_member(collect, stream, source);
        }
    }

    /// Nothing more comes of a member; perhaps another has its rank now.
    pub(super) fn end_member(&mut self, collect: &mut Collect, stream: Stream, source: SourceId) {
        collect.merge.close(source);
        let Some(local) = collect.members.remove(&source) else { return };
        collect.by_session.remove(&local.session);
        if let Some(next) = collect.next_try.remove(&local.session) {
            self.read_member(collect, stream, next);
        }
    }
}
