//! What a share's node says: that it is there, which number it has, how its members ended, and what is wrong with it.

use super::{
    share::{Line, READ, Step},
    tell,
};
use crate::{Kernel, Lane, LinkId, far::Purpose, limits, park::On, ranks::RankSet, words::lossy};
use alloc::{format, vec::Vec};
use op::{Errno, Error, NodeId, Op, Qid, Reply, SessionId};

/// Names of a walk to a file of a share that is beyond a neighbour: `net/NODE/ID/FILE`.
const BEYOND: usize = 4;

impl Kernel {
    /// What a share's node said.
    pub(crate) fn share_answered(
        &mut self,
        link: LinkId,
        group: SessionId,
        no: u64,
        step: Step,
        reply: Reply,
    ) {
        let linked = self.cloud.links.contains_key(&link);
        if let (Step::Line(line), _) = (step, linked) {
            if let Some(share) = self.share_mut(group, no).filter(|_| line.places) {
                share.placing -= 1;
                self.flows.insert(group);
            }
            if let Some(whole) = line.lets {
                self.share_let(group, no, whole && linked && matches!(reply, Reply::Wrote(_)));
            }
            return self.line_answered(group, no, line, reply);
        }
        if let Step::Size { fan, fid } = step {
            if linked {
                self.clunk_there(link, Lane::Control, fid);
            }
            fan.into_iter().for_each(|fan| self.fan_answered(link, fan, true, Reply::Wrote(0)));
        }
        if step == Step::Why {
            let gone =
                matches!(&reply, Reply::Failed(error) if matches!(error.errno, Errno::NOENT | Errno::STALE));
            // Its own node says so, whether it is being looked for again meanwhile or not.
            let had =
                self.share(group, no).is_some_and(|share| share.id.is_some() && share.refused.is_none());
            if let (Reply::Failed(error), true) = (reply, gone && had && linked) {
                self.share_refused(group, no, error);
            }
            return;
        }
        if !linked || self.share(group, no).is_none_or(|share| !share.is_answer(link, step)) {
            return;
        }
        match (step, reply) {
            (Step::Open { .. } | Step::Wait { .. }, Reply::Failed(error))
                if error.errno == Errno::HOSTUNREACH
                    && self.share(group, no).is_some_and(|share| share.id.is_some()) =>
            {
                self.out_of_reach(group, no);
            }
            // A link on the way broke; or it is gone, which its own node says.
            (Step::Open { .. } | Step::Wait { .. }, Reply::Failed(error))
                if error.errno == Errno::STALE && self.share_is_beyond(group, no, link) =>
            {
                self.ask_why_share(group, no, link);
                self.out_of_reach(group, no);
            }
            // Whoever is on the way there may know nothing of the node, or cannot reach it: nothing is known to be gone by that.
            (Step::Open { .. } | Step::Wait { .. }, Reply::Walked(qids))
                if self.went_astray(group, no, link, &qids) =>
            {
                if qids.len() > 1 {
                    self.ask_why_share(group, no, link);
                }
                self.out_of_reach(group, no);
            }
            (Step::Open { .. } | Step::Named | Step::Setup, Reply::Failed(error)) => {
                self.share_refused(group, no, error)
            }
            (Step::Open { .. }, Reply::Opened(..)) => self.held_again(group, no),
            (Step::Named, Reply::Data(data)) => {
                let id = lossy(&data).trim().parse().ok();
                if let Some(share) = self.share_mut(group, no) {
                    share.id = id;
                }
                if id.is_some() {
                    self.journal_share(group, no);
                    self.open_wait(group, no);
                    self.flows.insert(group);
                    if self.sessions.get(&group).is_some_and(|session| session.life.keep) {
                        self.shares_let(group);
                        self.tell_share(group, no, b"keep".to_vec(), Line::PLAIN);
                    }
                }
            }
            (Step::Setup, _) => {
                let held = self.share_mut(group, no).and_then(|share| share.held_back.take());
                for (text, line) in held.into_iter().flatten() {
                    // It was counted when it was held back.
                    line.fan.into_iter().for_each(|fan| self.fan_less(fan));
                    self.tell_share(group, no, text, line);
                }
            }
            (Step::Wait { read: true, .. }, Reply::Data(data)) => self.wait_read(group, no, &data),
            (Step::Wait { .. }, Reply::Failed(error)) => self.share_refused(group, no, error),
            (Step::Size { .. }, Reply::Data(data)) => {
                let text = lossy(&data);
                let size = text.lines().find_map(|line| line.strip_prefix("size=")?.parse().ok());
                self.resized_above(group, no, size.unwrap_or(0));
            }
            (
                Step::Open { .. }
                | Step::Named
                | Step::Wait { .. }
                | Step::Size { .. }
                | Step::Why
                | Step::Line(_),
                _,
            ) => {}
        }
    }

    /// Whether a walk to a file of a share came to an end on the way to its node.
    pub(crate) fn went_astray(&self, group: SessionId, no: u64, link: LinkId, walked: &[Qid]) -> bool {
        self.share_is_beyond(group, no, link) && walked.len() < BEYOND
    }

    fn wait_read(&mut self, group: SessionId, no: u64, data: &[u8]) {
        let Some(share) = self.share_mut(group, no) else { return };
        let told = share.told;
        let Some(wait) = &mut share.wait else { return };
        let before = wait.reading.take();
        wait.offset += data.len() as u64;
        wait.torn.extend_from_slice(data);
        let whole = wait.torn.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = wait.torn.drain(..whole).collect();
        if wait.torn.len() > limits::TEXT {
            let error = Error::new(Errno::PROTO, "a line of wait without an end");
            return self.share_refused(group, no, error);
        }
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            if let Some(end) = tell::read_end(&lossy(line)) {
                self.rank_ended(group, end.into());
            }
        }
        // All that it had has ended; unless it was told of more since it was asked, or what was made there is not known here.
        let (Some(g), Some(share)) = (self.group(group), self.share(group, no)) else { return };
        let torn = share.wait.as_ref().is_some_and(|wait| !wait.torn.is_empty());
        let may_come = || share.up || torn || !g.active.intersection(&share.ranks).is_empty();
        if before != Some(told) || (!data.is_empty() && may_come()) {
            self.read_wait(group, no);
        } else if share.up && data.is_empty() && !g.growing && !g.active.is_empty() {
            self.over_above(group, no);
        }
    }

    /// Above, all have ended, and every end was read. Who has an end here was only taken for given back, by the word of a node that had
    /// heard too little; who has none is not of the group any more, and word of that was lost on the way.
    pub(super) fn over_above(&mut self, id: SessionId, no: u64) {
        let Some(group) = self.group_mut(id) else { return };
        let mut tried = Vec::new();
        for end in group.log.iter().rev() {
            if group.active.remove(end.rank) {
                group.tries.insert(end.rank, end.again);
                tried.push(end.rank);
            }
        }
        let all = group.active.is_empty();
        self.journal_tries(id, &tried);
        self.group_changed(id);
        if !all {
            self.ask_size(id, no, None);
        }
    }

    pub(super) fn line_answered(&mut self, group: SessionId, no: u64, line: Line, reply: Reply) {
        let link = self.share(group, no).and_then(|share| share.at).map_or(LinkId::FILES, |(link, _)| link);
        if line.resizes {
            // Also when it failed: it may have come some of its way.
            let fan = line.fan.filter(|_| !matches!(reply, Reply::Failed(_)));
            if self.ask_size(group, no, fan) {
                return;
            }
        }
        if let Some(which) = line.frees {
            self.share_freed(group, no, which, matches!(reply, Reply::Wrote(_)));
        }
        let stale = matches!(&reply, Reply::Failed(error) if error.errno == Errno::STALE);
        if stale && link != LinkId::FILES && self.share_is_beyond(group, no, link) {
            self.out_of_reach(group, no);
        }
        let reply = match reply {
            Reply::Failed(error) => {
                let error = self.share(group, no).and_then(|share| share.refused.clone()).unwrap_or(error);
                if let Some(owner) = self.sessions.get(&group).map(|s| s.owner) {
                    self.failed(Some(group), owner, "", "share", &error);
                }
                if line.all_or_nothing {
                    self.give_all_back(group);
                }
                Reply::Failed(error)
            }
            reply => reply,
        };
        if let Some(fan) = line.fan {
            self.fan_answered(link, fan, true, reply);
        }
    }

    /// Asks a share above how many members there are now. True if whoever waits for the line is told when that is known.
    pub(super) fn ask_size(&mut self, group: SessionId, no: u64, fan: Option<u64>) -> bool {
        let Some((link, names)) = self.share_names(group, no, "info") else { return false };
        let Ok(user) = self.session(group).map(|s| self.user(s.owner).name.clone()) else { return false };
        let purpose = || Purpose::Nobody { clunk: None };
        let Ok(fid) = self.open_there(link, &user, &names, READ, purpose) else { return false };
        let read = Op::Read { fid, offset: 0, count: limits::FAR_IO as u32, wait: true };
        let step = Step::Size { fan, fid };
        self.ask(link, Lane::Control, Purpose::Share { group, share: no, step }, read);
        fan.is_some()
    }

    pub(super) fn resized_above(&mut self, group: SessionId, no: u64, size: u32) {
        let id = group;
        let Some(group) = self.group_mut(group) else { return };
        group.growing = false;
        let (all, before) = (RankSet::from_range(0..size), group.size);
        group.size = size;
        let mut tried = Vec::new();
        if size < before {
            group.active = group.active.intersection(&all);
            group.left_out = group.left_out.intersection(&all);
            // Should they be taken again, they are others than those that have ended.
            for (rank, again) in group.log.iter().filter(|e| e.rank >= size).map(|e| (e.rank, e.again)) {
                let tries = group.tries.entry(rank).or_default();
                *tries = (*tries).max(again.saturating_add(1));
                tried.push(rank);
            }
        } else {
            group.active.union_with(&group.not_ended());
        }
        if let Some(share) = group.shares.get_mut(&no) {
            share.ranks = all;
        }
        let active = group.active.clone();
        self.journal_tries(id, &tried);
        self.journal_place(id, no, NodeId::default(), &active);
        self.journal_group(id);
        self.group_changed(id);
        if size > before {
            // It may have been read to its end before.
            self.read_wait(id, no);
        }
    }

    /// A share cannot be had, or is there no more: what it held has ended, or is to be made elsewhere.
    pub(super) fn share_refused(&mut self, group: SessionId, no: u64, error: Error) {
        let gone = matches!(error.errno, Errno::NOENT | Errno::STALE | Errno::BADF);
        let had = self.share(group, no).is_some_and(|share| share.id.is_some());
        if gone && had && self.has_further(group, no) {
            return self.lost_between(group, no, &error);
        }
        let owner = self.sessions.get(&group).map(|s| s.owner);
        let Some(g) = self.sessions.get_mut(&group).and_then(|s| s.group.as_deref_mut()) else { return };
        let Some(share) = g.shares.get_mut(&no).filter(|share| share.refused.is_none()) else { return };
        let lost = share.id.is_some();
        let error = match (lost, error.errno) {
            (true, Errno::NOENT | Errno::STALE | Errno::BADF) => {
                let cause = format!("what {} had of session {} is gone: {error}", share.name, group.0);
                Error::new(Errno::STALE, cause)
            }
            _ => error,
        };
        share.refused = Some(error.clone());
        let (name, at, wait, held) =
            (share.name.clone(), share.at.take(), share.wait.take(), share.held_back.take());
        let deadline = share.deadline.take();
        let mut ranks = g.active.intersection(&share.ranks);
        let (up, left) = (share.up, !share.leaving.is_empty());
        let runs = g.runs || g.started;
        if core::mem::take(&mut g.growing) && up {
            // How many there are was never heard; of as many as one of them was heard of, those have ended, too.
            let all = g.not_ended();
            g.active.union_with(&all);
            ranks.union_with(&all);
        }
        if let Some(at) = deadline {
            self.groups.deadlines.remove(&(at, group, no));
        }
        if let Some((link, fid)) = at {
            self.clunk_there(link, Lane::Control, fid);
            wait.into_iter().for_each(|wait| self.clunk_there(link, Lane::Control, wait.fid));
        }
        for (_, line) in held.into_iter().flatten() {
            self.line_answered(group, no, line, Reply::Failed(error.clone()));
        }
        if let Some(owner) = owner {
            self.failed(Some(group), owner, "", "share", &error);
        }
        for rank in ranks.iter() {
            if runs {
                self.rank_failed(group, rank, &format!("{name}/-"), &error);
            } else {
                self.member_freed(group, rank);
            }
        }
        if left {
            // Nor is anybody there who was given back.
            self.look_for_room();
        }
        // After the ends of its ranks: what is in no share and has not ended is made anew.
        self.append(format!("unshare {} {no}", group.0).into_bytes());
        self.flow_share_lost(group, no);
        self.parked.notify(On::Life(group));
    }
}
