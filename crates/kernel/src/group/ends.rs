//! How members end, for good or to be made anew; and what is given back with them.

use super::{End, Group, kept};
use crate::{
    Kernel, limits,
    ranks::RankSet,
    session::{Session, State},
};
use alloc::{format, vec::Vec};
use core::time::Duration;
use op::{Errno, Error, How, NodeId, SessionId, Usage};

impl Kernel {
    /// A session of this node that is a member has ended.
    pub(crate) fn member_exited(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some((group, rank)) = session.member_of else { return };
        let again = self.group(group).map_or(0, |g| g.again(rank));
        if let Some(end) = End::of(&self.node.name, session, again) {
            self.rank_ended(group, end);
        }
    }

    /// What should have been started as it was made could not be.
    pub(crate) fn member_refused(&mut self, id: SessionId, error: &Error) {
        let Some((group, rank)) = self.sessions.get(&id).and_then(|s| s.member_of) else { return };
        if self.group(group).is_some_and(|g| g.runs) {
            let path = format!("{}/{}", self.node.name, id.0);
            self.rank_failed(group, rank, &path, error);
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
        self.rank_ended(group, End::unmade(rank, again, path, how));
    }

    /// A rank whose node is out of reach before anybody was told to make it there.
    pub(super) fn rank_untold(&mut self, group: SessionId, rank: u32, node: &str) {
        let again = self.group(group).map_or(0, |g| g.again(rank));
        let end = End::unmade(rank, again, &format!("{node}/-"), How::Lost);
        self.rank_ended(group, End { untold: true, ..end });
    }

    /// A rank has ended: for good, or to be made anew.
    pub(super) fn rank_ended(&mut self, id: SessionId, end: End) {
        let Some(group) = self.sessions.get_mut(&id).and_then(|s| s.group.as_deref_mut()) else { return };
        if end.again < group.again(end.rank) || !(group.active.remove(end.rank) || group.is_news(&end)) {
            return;
        }
        let rank = end.rank;
        if group.growing {
            group.size = group.size.max(rank + 1);
        }
        let held = group.placed.remove(&rank);
        let failed = end.how != How::Code(0);
        let replaced = group.replacing.remove(rank);
        // Where it was planned, it is planned again: nothing of it has run.
        let untold = end.untold && held.is_some() && group.runs && !group.is_share && group.pins.is_empty();
        if !group.cancelled && (replaced || untold || (failed && group.retried(rank) < group.retry)) {
            group.once_more(rank, !replaced && !untold);
            group.queue.insert(rank);
            self.groups.waiting.insert(id);
            // Its slot is free again on a node that is out of reach: elsewhere there may be one that nobody has looked at.
            self.groups.replan |= end.how == How::Lost && !untold;
            self.journal_again(id, rank);
        } else {
            group.failed += u32::from(failed);
            let member = self.member_that_ended(id, &end);
            // First that it ended, then that it has done so as a member.
            member.into_iter().for_each(|member| self.say(member));
            self.append(kept::end_line(id, member, &end));
            if let Some(group) = self.group_mut(id) {
                group.log.push(end);
            }
        }
        if let Some(node) = held {
            self.give_slot_back(node);
            if untold {
                // That its node is down is not known here yet: not there, and not at once.
                self.groups.freed.remove(&node);
                self.look_for_them_in(limits::ROOM);
            }
        }
        self.group_changed(id);
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

    /// A group is freed: its shares follow by being closed.
    pub(crate) fn group_freed(&mut self, id: SessionId, mut group: Group) {
        self.groups.sharing.remove(&id);
        for node in core::mem::take(&mut group.placed).into_values() {
            self.give_slot_back(node);
        }
        for share in core::mem::take(&mut group.shares).into_values() {
            self.close_share(share);
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
        let lines: Vec<Vec<u8>> = ends.iter().map(|end| kept::end_line(id, None, end)).collect();
        group.log.extend(ends);
        lines.into_iter().for_each(|line| self.append(line));
        self.group_changed(id);
    }
}

impl Group {
    /// A group that is planned elsewhere has what is said there: while it is asked how many there are, one that is new may have ended
    /// already, and one that was given back and taken again ends once more.
    fn is_news(&self, end: &End) -> bool {
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
            path: format!("{node}/{}", session.id.0).into(),
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
