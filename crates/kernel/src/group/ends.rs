//! How members end, for good or to be made anew; and what is given back with them.

use super::{As, End, Ended, Group};
use crate::{
    Kernel, limits,
    query::Query,
    ranks::RankSet,
    session::{Session, State},
    words,
};
use alloc::{borrow::Cow, format, vec::Vec};
use core::time::Duration;
use op::{Errno, Error, How, NodeId, SessionId, Uid, Usage};

impl Kernel {
    /// A session of this node that is a member has ended.
    pub(crate) fn member_exited(&mut self, id: SessionId) {
        let Some((group, rank)) = self.sessions.get(&id).and_then(|s| s.member_of) else { return };
        let again = self.group(group).map_or(0, |g| g.again(rank));
        self.rank_ended(group, Ended { rank, again, end: As::Session(id) });
    }

    /// What should have been started as it was made could not be; if that was never tried (`unrun`), it is to be planned again.
    pub(crate) fn member_refused(&mut self, id: SessionId, error: &Error, unrun: bool) {
        let Some((group, rank)) = self.sessions.get(&id).and_then(|s| s.member_of) else { return };
        if self.group(group).is_some_and(|g| g.runs) {
            let path = format!("{}/{}", self.node.name, id.0);
            match unrun {
                true => self.rank_untold(group, rank, &path),
                false => self.rank_failed(group, rank, &path, error),
            }
        }
    }

    /// A rank that never ran: it has ended as it does in a shell.
    pub(super) fn rank_failed(&mut self, group: SessionId, rank: u32, path: &str, error: &Error) {
        let how = match error.errno {
            Errno::NOENT => How::Code(127),
            Errno::HOSTUNREACH | Errno::STALE | Errno::TIMEDOUT => How::Lost,
            _ => How::Code(126),
        };
        let again = self.group(group).map_or(0, |g| g.again(rank));
        self.rank_ended(group, End::unmade(rank, again, path, how).into());
    }

    /// A rank of which nothing has run: its node was out of reach before anybody was told to make it there, or died before it could start it.
    pub(super) fn rank_untold(&mut self, group: SessionId, rank: u32, path: &str) {
        let again = self.group(group).map_or(0, |g| g.again(rank));
        let end = End::unmade(rank, again, path, How::Lost);
        self.rank_ended(group, End { untold: true, ..end }.into());
    }

    /// A rank has ended: for good, or to be made anew.
    pub(super) fn rank_ended(&mut self, id: SessionId, end: Ended) {
        let Some(how) = self.how_ended(&end) else { return };
        let untold = matches!(&end.end, As::Said(end) if end.untold);
        let Some(group) = self.sessions.get_mut(&id).and_then(|s| s.group.as_deref_mut()) else { return };
        if end.again < group.again(end.rank) || !(group.active.remove(end.rank) || group.is_news(&end)) {
            return;
        }
        let rank = end.rank;
        if group.growing {
            group.size = group.size.max(rank + 1);
        }
        let held = group.placed.remove(&rank);
        let failed = how != How::Code(0);
        let replaced = group.replacing.remove(rank);
        // Where it was planned, it is planned again: nothing of it has run.
        let untold = untold && held.is_some() && group.runs && !group.is_share && group.pins.is_empty();
        if !group.cancelled && (replaced || untold || (failed && group.retried(rank) < group.retry)) {
            group.once_more(rank, !replaced && !untold);
            group.queue.insert(rank);
            self.groups.waiting.insert(id);
            // Its slot is free again on a node that is out of reach: elsewhere there may be one that nobody has looked at.
            self.groups.replan |= how == How::Lost && !untold;
            self.journal_again(id, rank);
        } else {
            group.failed += u32::from(failed);
            // First that it ended, then that it has done so as a member.
            if let As::Session(member) = end.end {
                self.say(member);
            }
            self.log_end(id, end);
        }
        if let Some(node) = held {
            self.give_slot_back(node);
            // Where it was it may not go again: the node was drained since, or has fewer slots. Elsewhere there may be one.
            self.groups.replan |= !untold && self.is_queued(id, rank) && !self.has_room_for(id, node);
            if untold {
                // That its node is down is not known here yet: not there, and not at once.
                self.groups.freed.remove(&node);
                self.look_for_them_in(limits::ROOM);
            }
        }
        self.group_changed(id);
    }

    fn is_queued(&self, id: SessionId, rank: u32) -> bool {
        self.group(id).is_some_and(|group| group.queue.contains(rank))
    }

    /// Whether a node has a free slot that is fit for a group.
    fn has_room_for(&self, id: SessionId, node: NodeId) -> bool {
        let query = self.group(id).and_then(|group| Query::parse(&group.terms).ok());
        let candidate = query.and_then(|query| self.candidate(&query, node));
        candidate.is_some_and(|candidate| self.free_slots(&candidate) > 0)
    }

    pub(super) fn give_slot_back(&mut self, node: NodeId) {
        if let Some(held) = self.groups.held.get_mut(&node) {
            *held -= 1;
            if *held == 0 {
                self.groups.held.remove(&node);
            }
        }
        self.groups.freed.insert(node);
    }

    /// A member is freed by itself, and had not ended: what was to run has ended with it, what was reserved is nobody's. The journal says
    /// so before it is gone; else its rank would be made again after a restart.
    pub(crate) fn member_leaves(&mut self, id: SessionId) {
        let Some((of, rank)) = self.sessions.get(&id).and_then(|s| s.member_of) else { return };
        let is_its = |group: &&Session| group.member(rank) == Some(id);
        let group = self.sessions.get(&of).map(|group| &**group).filter(is_its);
        let Some(group) = group.and_then(|g| g.group.as_deref()).filter(|g| g.active.contains(rank)) else {
            return;
        };
        if group.runs {
            let end =
                End::unmade(rank, group.again(rank), &words::path(&self.node.name, id.0), How::Signal(9));
            return self.rank_ended(of, end.into());
        }
        self.append(format!("freed {} {rank}", of.0).into_bytes());
        self.member_freed(of, rank);
    }

    /// A member of this node is freed: if it had not ended, nothing more is heard of it.
    pub(crate) fn member_freed(&mut self, group: SessionId, rank: u32) {
        let Some(group) = self.sessions.get_mut(&group).and_then(|s| s.group.as_deref_mut()) else { return };
        if group.active.remove(rank)
            && let Some(node) = group.placed.remove(&rank)
        {
            self.give_slot_back(node);
        }
    }

    /// One that was made anew is freed, and its output with it.
    pub(crate) fn earlier_freed(&mut self, group: SessionId, rank: u32, member: SessionId) {
        let of = self.sessions.get_mut(&group).and_then(|s| s.group.as_deref_mut());
        if let Some(earlier) = of.and_then(|group| group.earlier.get_mut(&rank)) {
            earlier.retain(|id| *id != member);
            self.flow_gone(group, member);
        }
    }

    /// A group is freed: its shares follow by being closed; those that may be kept, when they have said so.
    pub(crate) fn group_freed(&mut self, id: SessionId, mut group: Group, owner: Uid) {
        self.groups.sharing.remove(&id);
        for node in core::mem::take(&mut group.placed).into_values() {
            self.give_slot_back(node);
        }
        for (no, share) in core::mem::take(&mut group.shares) {
            if share.lease.is_none() && share.refused.is_none() {
                self.leave_behind(no, &share, owner);
            }
            self.close_share(no, share);
        }
    }

    /// What was never begun will not be.
    pub(crate) fn cancel_queue(&mut self, id: SessionId, ranks: Option<&RankSet>) {
        let Some(group) = self.sessions.get_mut(&id).and_then(|s| s.group.as_deref_mut()) else { return };
        let cancelled = match ranks {
            Some(ranks) => group.queue.intersection(ranks),
            None => {
                group.cancelled = true;
                group.queue.clone()
            }
        };
        group.queue.subtract(&cancelled);
        group.failed += cancelled.len() as u32;
        let ends = cancelled.iter().map(|rank| End::unmade(rank, group.again(rank), "-", How::Signal(15)));
        let ends: Vec<End> = ends.collect();
        ends.into_iter().for_each(|end| self.log_end(id, end.into()));
        self.group_changed(id);
    }

    /// A rank has ended for good: that is remembered, here and in the journal.
    fn log_end(&mut self, id: SessionId, end: Ended) {
        let line = self.group(id).and_then(|group| self.end_line(id, group, &end));
        line.into_iter().for_each(|line| self.append(line));
        if let Some(group) = self.group_mut(id) {
            group.log.push(end);
        }
    }

    /// How a rank ended, of the log of a group.
    pub(crate) fn end_of<'a>(&self, group: &'a Group, end: &'a Ended) -> Option<Cow<'a, End>> {
        let member = match &end.end {
            As::Said(end) => return Some(Cow::Borrowed(end)),
            As::Session(member) => member,
        };
        match self.sessions.get(member) {
            Some(session) => End::of(&self.node.name, session, end.again).map(Cow::Owned),
            None => group.freed.get(member).map(|kept| Cow::Owned(End { again: end.again, ..kept.clone() })),
        }
    }

    /// The same, without what it used.
    pub(super) fn how_ended(&self, end: &Ended) -> Option<How> {
        match &end.end {
            As::Said(end) => Some(end.how),
            As::Session(member) => match self.sessions.get(member)?.state {
                State::Ended { exit, .. } => Some(exit.how),
                State::Fresh | State::Starting | State::Running { .. } => None,
            },
        }
    }

    /// A member is freed, and its group is not: how it ended is known from here on.
    pub(crate) fn keep_end(&mut self, member: SessionId) {
        let Some(session) = self.sessions.get(&member) else { return };
        let Some((group, rank)) = session.member_of else { return };
        let end = End::of(&self.node.name, session, 0);
        let group = self.sessions.get_mut(&group).and_then(|s| s.group.as_deref_mut());
        if let (Some(end), Some(group)) = (end, group)
            && group.has_logged(rank, member)
        {
            group.freed.insert(member, end);
        }
    }
}

impl From<End> for Ended {
    fn from(end: End) -> Ended {
        Ended { rank: end.rank, again: end.again, end: As::Said(end.into()) }
    }
}

impl Group {
    /// Those that have ended, and are not made anew.
    pub(super) fn ended(&self) -> RankSet {
        self.log.iter().filter(|end| end.again >= self.again(end.rank)).map(|end| end.rank).collect()
    }

    /// Of as many as there are, those that have not ended, as far as that is known where it is not planned.
    pub(super) fn not_ended(&self) -> RankSet {
        let mut all = RankSet::from_range(0..self.size);
        all.subtract(&self.ended());
        all.subtract(&self.left_out);
        all
    }

    /// Whether it is this session by which a rank's end is known.
    fn has_logged(&self, rank: u32, member: SessionId) -> bool {
        let earlier = self.earlier.get(&rank).is_some_and(|ids| ids.contains(&member));
        match earlier {
            true => self.log.iter().any(|end| matches!(end.end, As::Session(id) if id == member)),
            false => !self.log.is_empty() && !self.active.contains(rank) && !self.queue.contains(rank),
        }
    }

    /// A group that is planned elsewhere has what is said there: while it is asked how many there are, one that is new may have ended
    /// already, and one that was given back and taken again ends once more.
    fn is_news(&self, end: &Ended) -> bool {
        let elsewhere = self.growing || self.shares.values().any(|share| share.up);
        elsewhere && !self.log.iter().any(|known| known.rank == end.rank && known.again >= end.again)
    }
}

impl End {
    /// How a session ended, if it has; a member that was made so often before.
    pub(crate) fn of(node: &str, session: &Session, again: u32) -> Option<End> {
        let State::Ended { pid, started, exit, .. } = &session.state else { return None };
        Some(End {
            rank: session.member_of.map_or(0, |(_, rank)| rank),
            again,
            path: words::path(node, session.id.0),
            untold: false,
            pid: *pid,
            how: exit.how,
            usage: exit.usage,
            real: exit.at.since(*started),
        })
    }

    fn unmade(rank: u32, again: u32, path: &str, how: How) -> End {
        let usage = Usage::default();
        End { rank, again, path: path.into(), untold: false, pid: 0, how, usage, real: Duration::ZERO }
    }
}
