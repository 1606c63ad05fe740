//! Ranks that are given back: by `shrink`, by `@RANKS free`, by `replace` of what runs nothing. Whoever had them may run still: here until
//! its end is told, elsewhere until its share has said that it is gone. No other has its number before.
//!
//! ```text
//!   member here     ── free ──▶ going: killed   ── its end ──▶ gone
//!   ranks of a share ─ free ──▶ leaving: told so ── answered, when they are gone there ──▶ gone
//! ```

use super::{Group, share::Line};
use crate::{Kernel, limits, ranks::RankSet};
use alloc::{format, string::String, vec::Vec};
use op::{Errno, Error, Result, SessionId};

impl Kernel {
    /// A member is freed, and is none from now on: another may take its rank when nothing of it runs any more.
    pub(super) fn let_go(&mut self, group: SessionId, rank: u32, member: SessionId) {
        if let Some(session) = self.sessions.get_mut(&group) {
            session.members.remove(&rank);
        }
        self.keep_end(member);
        if let Some(session) = self.sessions.get_mut(&member) {
            session.member_of = None;
            self.touch(member);
        }
        self.free(member);
        if self.sessions.contains_key(&member) {
            self.groups.going.insert(member, (group, rank));
            if let Some(group) = self.group_mut(group) {
                group.going.insert(rank);
            }
        }
    }

    /// A session is gone, and may have been a member that was given back.
    pub(crate) fn is_gone(&mut self, member: SessionId) {
        let Some((group, rank)) = self.groups.going.remove(&member) else { return };
        if let Some(group) = self.sessions.get_mut(&group).and_then(|s| s.group.as_deref_mut()) {
            group.going.remove(rank);
            self.look_for_room();
        }
    }

    /// Sessions of this node that had these ranks, were freed, and are there still.
    pub(crate) fn still_going(&self, id: SessionId, ranks: &RankSet) -> Vec<SessionId> {
        let Some(session) = self.sessions.get(&id) else { return Vec::new() };
        let freed = |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.life.freeing);
        let members = session.members.iter().filter(|(rank, _)| ranks.contains(**rank)).map(|(_, id)| *id);
        let going = self.groups.going.iter();
        let going =
            going.filter(|(_, (group, rank))| *group == id && ranks.contains(*rank)).map(|(id, _)| *id);
        members.filter(freed).chain(going).collect()
    }

    /// A word of a session's line in the journal: which rank it had before it was given back.
    pub(crate) fn going_word(&self, member: SessionId) -> Option<String> {
        let (group, rank) = self.groups.going.get(&member)?;
        Some(format!(" left={} rank={rank}", group.0))
    }

    /// What the journal says of that, in the session's last line.
    pub(crate) fn recall_going(&mut self, member: SessionId, left: Option<(SessionId, u32)>) {
        match left {
            Some(left) => drop(self.groups.going.insert(member, left)),
            None => drop(self.groups.going.remove(&member)),
        }
    }

    /// The journal is read: their groups know of them.
    pub(super) fn going_recalled(&mut self) {
        let runs = |id: &SessionId| self.sessions.get(id).is_some_and(|session| session.runs());
        self.groups.going.retain(|member, _| runs(member));
        for (group, rank) in self.groups.going.values() {
            if let Some(group) = self.sessions.get_mut(group).and_then(|s| s.group.as_deref_mut()) {
                group.going.insert(*rank);
            }
        }
    }

    /// Some ranks of a group are freed; the sessions of this node among them, by whoever asks.
    pub(crate) fn free_ranks(&mut self, id: SessionId, ranks: &RankSet) -> Option<u64> {
        let group = self.group(id)?;
        let mut gone = group.active.clone();
        gone.union_with(&group.queue);
        gone = gone.intersection(ranks);
        if let Some((no, _)) = group.shares.iter().find(|(_, share)| share.up && share.refused.is_none()) {
            // It is planned there.
            let (no, fan) = (*no, self.open_fan());
            let line = format!("@{ranks} free").into_bytes();
            self.tell_share(id, no, line, Line { fan: Some(fan), ..Line::PLAIN });
            self.are_freed(id, &gone);
            // How many there are says nothing of who they are.
            self.group_mut(id)?.left_out.union_with(&gone);
            self.journal_group(id);
            return Some(fan);
        }
        let fan = self.give_back(id, ranks);
        self.are_freed(id, &gone);
        fan
    }

    /// They are nobody's from here on, and end no more.
    fn are_freed(&mut self, id: SessionId, gone: &RankSet) {
        if gone.is_empty() {
            return;
        }
        self.forget(id, gone);
        self.append(format!("freed {} {gone}", id.0).into_bytes());
        self.group_changed(id);
    }

    /// They neither wait nor hold a slot any more.
    pub(super) fn forget(&mut self, id: SessionId, gone: &RankSet) {
        gone.iter().for_each(|rank| self.member_freed(id, rank));
        if let Some(group) = self.group_mut(id) {
            group.queue.subtract(gone);
            group.replacing.subtract(gone);
        }
    }

    /// Ranks go. Who has them below may run them until it has said that it does not; also those of which that was said before, since
    /// nobody may have heard it.
    pub(super) fn give_back(&mut self, id: SessionId, going: &RankSet) -> Option<u64> {
        let shares = self.group_mut(id)?.shares.iter_mut().filter(|(_, share)| share.refused.is_none());
        let mut told = Vec::new();
        for (no, share) in shares {
            let mut had = share.ranks.clone();
            had.union_with(&share.leaving);
            let some = going.intersection(&had);
            if !some.is_empty() {
                share.leaving.union_with(&some);
                told.push(*no);
            }
        }
        if told.is_empty() {
            return None;
        }
        let fan = self.open_fan();
        for no in told {
            self.journal_share(id, no);
            self.free_leaving(id, no, Some(fan));
        }
        Some(fan)
    }

    /// Tells a share which ranks are given back, whether or not it has heard of it.
    pub(super) fn free_leaving(&mut self, id: SessionId, no: u64, fan: Option<u64>) {
        let Some(share) = self.share_mut(id, no).filter(|share| !share.leaving.is_empty()) else { return };
        share.freeing += 1;
        share.unfreed = false;
        let (which, line) = (share.freeing, format!("@{} free", share.leaving).into_bytes());
        self.tell_share(id, no, line, Line { fan, frees: Some(which), ..Line::PLAIN });
    }

    /// They are gone there, or not all of them: somewhere on the way to one there is no way now. Each line names all that leave, so what was
    /// done about the last is about all of them.
    pub(super) fn share_freed(&mut self, id: SessionId, no: u64, which: u64, all: bool) {
        let Some(share) = self.share_mut(id, no).filter(|share| share.freeing == which) else { return };
        if !all {
            share.unfreed = share.is_held();
            return self.look_for_them_in(limits::BEHIND_AGAIN);
        }
        share.leaving = RankSet::new();
        self.journal_share(id, no);
        // Who was replaced is made now.
        self.look_for_room();
    }

    /// Whoever could not pass it on is told again which ranks are given back.
    pub(super) fn free_again(&mut self) {
        let all = self.sharing().flat_map(|(session, group)| {
            let unfreed = group.shares.iter().filter(|(_, share)| share.unfreed);
            unfreed.map(move |(no, _)| (session.id, *no))
        });
        for (id, no) in all.collect::<Vec<_>>() {
            self.free_leaving(id, no, None);
        }
    }

    /// Ranks that were there before are made again only when nobody can run them any more.
    pub(super) fn are_given_back(&mut self, id: SessionId, ranks: core::ops::Range<u32>) -> Result<()> {
        let (Some(group), new) = (self.group(id), RankSet::from_range(ranks)) else { return Ok(()) };
        if let Some(rank) = group.going.intersection(&new).first() {
            let cause = format!("rank {rank}, which was given back, has not ended yet: say it again later");
            return Err(Error::new(Errno::AGAIN, cause));
        }
        let still = group.shares.iter().filter(|(_, share)| share.refused.is_none());
        let still = still.filter(|(_, share)| !share.leaving.intersection(&new).is_empty());
        let still: Vec<_> = still.map(|(no, share)| (*no, share.name.clone())).collect();
        let Some((_, name)) = still.first() else { return Ok(()) };
        let cause = format!(
            "{name} has not said yet that the ranks which were given back are gone: say it again later"
        );
        still.iter().for_each(|(no, _)| self.free_leaving(id, *no, None));
        Err(Error::new(Errno::AGAIN, cause))
    }

    /// Checks that nobody is made of whom another may be there, and that whoever is going here is known by his session and his group alike.
    pub(crate) fn check_given_back(&self) {
        let going = self.groups.going.values().map(|(group, _)| *group);
        let groups = self.groups.sharing.iter().copied().chain(going);
        for (id, group) in groups.filter_map(|id| Some((id, self.group(id)?))) {
            let here = self.groups.going.values().filter(|(of, _)| *of == id).map(|(_, rank)| *rank);
            assert_eq!(here.collect::<RankSet>(), group.going, "who is going of {id:?}");
            let two = group.active.intersection(&group.leaving());
            assert!(
                two.is_empty() || group.is_share,
                "{two} of {id:?} were given back, and made again too early"
            );
        }
        assert!(self.groups.going.keys().all(|id| self.sessions.contains_key(id)), "who is going is there");
    }
}

impl Group {
    /// Ranks that were given back and may be there still: nobody else is made with their numbers.
    pub(super) fn leaving(&self) -> RankSet {
        let mut all = self.going.clone();
        let shares = self.shares.values().filter(|share| share.refused.is_none());
        shares.for_each(|share| all.union_with(&share.leaving));
        all
    }
}
