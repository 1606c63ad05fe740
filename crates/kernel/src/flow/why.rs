//! Why a group's bytes stand still.

use super::{STREAMS, name_of};
use crate::{Kernel, park::On};
use alloc::{format, string::String, vec::Vec};
use op::SessionId;

impl Kernel {
    /// Why a group's bytes stand still, if they do.
    pub(crate) fn flow_why(&self, id: SessionId) -> Option<String> {
        let session = self.sessions.get(&id)?;
        let flow = session.flow.as_deref()?;
        let mut all: Vec<String> = Vec::new();
        let queue = session.group.as_ref().map(|group| &group.queue).filter(|queue| !queue.is_empty());
        let placing = session.group.as_ref().is_some_and(|group| group.is_placing());
        if placing && self.parked.awaited(&On::Fed(id)) {
            all.push("stdin waits until those that are being made are there".into());
        }
        if let (Some(queue), true) = (queue, self.parked.awaited(&On::Fed(id))) {
            all.push(format!("stdin waits until ranks {queue} have their places"));
        }
        if let Some(full) = flow.feed.as_ref().map(|feed| feed.waits_for()).filter(|full| !full.is_empty()) {
            all.push(format!(
                "stdin waits for ranks {full}, which do not read theirs{}",
                self.stopped(session, &full)
            ));
        }
        for stream in STREAMS {
            let (Some(collect), name) = (&flow.collects[stream as usize], name_of(stream)) else { continue };
            all.extend(self.why_reduces(id, stream));
            if session.out(stream).full {
                all.push(format!("{name} has reached `limit output`: raise it, or read with `roll` on"));
            } else if let Some(ranks) = collect.waits_for() {
                all.push(format!("{name} waits for rank {ranks}{}", self.stopped(session, &ranks)));
            }
        }
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn stopped(&self, group: &crate::session::Session, ranks: &crate::ranks::RankSet) -> &'static str {
        let member = |rank| group.members.get(&rank).and_then(|id| self.sessions.get(id));
        let stopped = |s: &&crate::session::Session| {
            matches!(s.state, crate::session::State::Running { stopped: true, .. })
        };
        match ranks.iter().filter_map(member).map(|s| &**s).find(stopped) {
            Some(_) => " (stopped by `stop`)",
            None => "",
        }
    }
}
