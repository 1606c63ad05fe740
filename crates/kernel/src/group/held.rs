//! How shares are held: what becomes of them when links break and come back, and when they are given up.
//!
//! ```text
//!   held ── the link breaks ──▶ cut off ── a way is found ──▶ held, told again what it may have missed
//!                                  └────── its time is up ──▶ given up: its ranks have ended
//! ```

use super::{
    Group,
    share::{BOTH, Share, Step},
};
use crate::{Kernel, Lane, LinkId, far::Purpose, limits, session::Session};
use alloc::{format, string::String, vec::Vec};
use op::{Errno, Error, Mono, NodeId, Reply, SessionId};

impl Kernel {
    /// Why a share cannot be asked.
    pub(super) fn why_cut(&self, share: &Share) -> Error {
        let down =
            self.node_no(share.peer).filter(|no| self.cloud.known(*no).is_some_and(|k| k.down.is_some()));
        match down {
            Some(no) => self.is_down(no),
            None if share.up => self.no_parent(),
            None => Error::new(Errno::HOSTUNREACH, format!("{} cannot be reached", share.name)),
        }
    }

    /// When a share is given up, in words.
    pub(super) fn when_lost(&self, share: &Share) -> String {
        match share.deadline {
            Some(at) => format!("in {} s", at.since(self.clock.mono).as_secs()),
            None => "never, since it is kept".into(),
        }
    }

    /// A link is gone: what was held over it has its lease to come back.
    pub(crate) fn shares_cut(&mut self, link: LinkId) {
        self.behind_cut(link);
        let held = |(_, share): &(&u64, &Share)| share.at.is_some_and(|(at, _)| at == link);
        let cut = self.sharing().flat_map(|(session, group)| {
            group.shares.iter().filter(held).map(move |(no, _)| (session.id, *no))
        });
        let cut: Vec<(SessionId, u64)> = cut.collect();
        let mut unsaid = Vec::new();
        for (id, no) in cut {
            if let Some(share) = self.share_mut(id, no) {
                (share.at, share.wait) = (None, None);
                unsaid.extend(share.held_back.take().into_iter().flatten());
            }
            // However often it was cut off before: it was held until now, as far as its node knows.
            self.in_time(id, no);
            self.give_it_time(id, no);
        }
        for fan in unsaid.into_iter().filter_map(|(_, line)| line.fan) {
            let error = Error::new(Errno::HOSTUNREACH, "the link broke before it was told");
            self.fan_answered(link, fan, true, Reply::Failed(error));
        }
    }

    /// When a share that is cut off is given up. All levels below it end what they have at the same time, since each is told how long
    /// the one above has. A kept share lives on there, so nothing of it may ever be made elsewhere.
    fn give_it_time(&mut self, id: SessionId, no: u64) {
        self.groups.cut = true;
        let now = self.clock.mono;
        let Some(share) = self.share_mut(id, no) else { return };
        if let (Some(lease), None) = (share.lease, share.deadline) {
            let at = now + lease + limits::LOST;
            share.deadline = Some(at);
            self.groups.deadlines.insert((at, id, no));
        }
    }

    /// A group is held for another time from now on. Who was told a longer one is waited for by that one, until it is known that it, and
    /// everybody below it, has heard of the shorter: what is cut off meanwhile may not have.
    pub(crate) fn shares_let(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let lease = (!session.life.keep).then_some(session.life.lease);
        let shares = session.group.iter_mut().flat_map(|group| &mut group.shares);
        let mut longer = Vec::new();
        for (no, share) in shares.filter(|(_, share)| share.id.is_some() || lease.is_some()) {
            let most = share.lease.zip(lease).map(|(had, has)| had.max(has));
            if core::mem::replace(&mut share.lease, most) != most {
                longer.push(*no);
            }
        }
        longer.into_iter().for_each(|no| self.journal_share(id, no));
    }

    /// What a line about that was answered with.
    pub(super) fn share_let(&mut self, id: SessionId, no: u64, everybody: bool) {
        let Some(life) = self.sessions.get(&id).map(|session| session.life) else { return };
        let Some(share) = self.share_mut(id, no) else { return };
        share.letting -= 1;
        let lease = (!life.keep).then_some(life.lease);
        if everybody && share.letting == 0 && share.is_held() && share.lease != lease {
            share.lease = lease;
            self.journal_share(id, no);
        }
    }

    /// The node in the middle has forgotten a share; what that had below it is cut off, and has its time to end: what is left of it, if
    /// the share itself was cut off, since all below it end with it.
    pub(super) fn lost_between(&mut self, group: SessionId, no: u64, error: &Error) {
        if let Some(owner) = self.sessions.get(&group).map(|s| s.owner) {
            self.failed(Some(group), owner, "", "share", error);
        }
        let Some(share) = self.share_mut(group, no) else { return };
        let (at, wait) = (share.at.take(), share.wait.take());
        share.id = None;
        // Nobody finds it again, kept or not.
        share.lease.get_or_insert(limits::LEASE);
        if let Some((link, fid)) = at {
            self.clunk_there(link, Lane::Control, fid);
            wait.into_iter().for_each(|wait| self.clunk_there(link, Lane::Control, wait.fid));
        }
        self.give_it_time(group, no);
    }

    /// Whether a share has handed on some of its members.
    pub(super) fn has_further(&self, id: SessionId, no: u64) -> bool {
        let Some((group, share)) = self.group(id).and_then(|group| Some((group, group.shares.get(&no)?)))
        else {
            return false;
        };
        share.up || share.ranks.iter().any(|rank| group.placed.get(&rank).is_some_and(|at| *at != share.peer))
    }

    /// Some node may be reached again: shares that are there are held again, and told what they may have missed.
    pub(crate) fn shares_back(&mut self) {
        self.tell_behind();
        if core::mem::take(&mut self.groups.beyond) {
            self.look_beyond();
        }
        if !self.groups.cut {
            return;
        }
        let (mut back, mut still) = (Vec::new(), false);
        for (session, group) in self.sharing() {
            let keep = session.life.keep;
            let cut =
                group.shares.iter().filter(|(_, s)| s.at.is_none() && s.refused.is_none() && s.id.is_some());
            let (there, not): (Vec<_>, Vec<_>) =
                cut.partition(|(_, s)| self.route_to(s.peer, s.up || keep).is_some());
            still |= !not.is_empty();
            back.extend(there.into_iter().map(move |(no, _)| (session.id, *no)));
        }
        self.groups.cut = still;
        for (group, no) in back {
            self.hold_again(group, no);
        }
    }

    /// Shares that are held through other nodes: those whose node has taken a parent since, or is down, are not held any more.
    fn look_beyond(&mut self) {
        let beyond = self.sharing().flat_map(|(session, group)| {
            group.shares.iter().map(move |(no, share)| (session.id, *no, share))
        });
        let beyond = beyond.filter(|(.., share)| share.is_held() && share.term.is_some());
        let (well, cut): (Vec<_>, Vec<_>) = beyond
            .map(|(id, no, share)| (id, no, self.known_term(share.peer) == share.term))
            .partition(|(.., well)| *well);
        self.groups.beyond = !well.is_empty();
        cut.into_iter().for_each(|(id, no, _)| self.out_of_reach(id, no));
    }

    /// Which parent a node below has taken, if it can be reached.
    fn known_term(&self, peer: NodeId) -> Option<u64> {
        let known = self.node_no(peer).and_then(|no| self.cloud.known(no));
        known.filter(|known| known.down.is_none()).map(|known| known.term)
    }

    fn hold_again(&mut self, group: SessionId, no: u64) {
        let Some((link, names)) = self.share_names(group, no, "ctl") else { return };
        let Ok(user) = self.session(group).map(|s| self.user(s.owner).name.clone()) else { return };
        let Some(share) = self.share_mut(group, no) else { return };
        share.times += 1;
        let step = Step::Open { times: share.times };
        let purpose = || Purpose::Share { group, share: no, step };
        let Ok(fid) = self.open_there(link, &user, &names, BOTH, purpose) else { return };
        let Some(share) = self.share_mut(group, no) else { return };
        share.at = Some((link, fid));
        share.held_back = None;
        let (up, peer) = (share.up, share.peer);
        if self.share_is_beyond(group, no, link) {
            let term = self.known_term(peer);
            self.groups.beyond |= term.is_some();
            self.share_mut(group, no).into_iter().for_each(|share| share.term = term);
        }
        self.open_wait(group, no);
        self.flow_share_back(group, no);
        match up {
            true => drop(self.ask_size(group, no, None)),
            false => self.tell_again(group, no),
        }
    }

    /// A group that was cut off is held again: what it left meanwhile it does now.
    pub(crate) fn goes_on(&mut self, id: SessionId, before: Option<Mono>) {
        if before.is_none() || self.is_cut_off(id) {
            return;
        }
        let below = self.group(id).into_iter().flat_map(|group| &group.shares);
        let below = below.filter(|(_, share)| !share.up && share.is_held()).map(|(no, _)| *no);
        below.collect::<Vec<_>>().into_iter().for_each(|no| self.tell_again(id, no));
        self.look_for_room();
    }

    /// Whether nobody holds a group that is to be held: it makes nothing new until it is.
    pub(super) fn is_cut_off(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.ends().is_some())
    }

    /// How long a group has that is cut off from whoever holds it, as a word of `until`.
    pub(super) fn time_left(&self, session: &Session) -> Option<String> {
        session.ends().map(|at| format!("{}ms", at.since(self.clock.mono).as_millis()))
    }

    /// A group has been cut off, or is held again: so are its shares, if that was otherwise before.
    pub(crate) fn tell_until(&mut self, id: SessionId, before: Option<Mono>) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.group.is_some()) else { return };
        if session.ends() == before {
            return;
        }
        let left = self.time_left(session).unwrap_or_default();
        self.tell_shares(id, format!("try until {left}").as_bytes());
        self.goes_on(id, before);
    }

    /// A share can be asked again: it is told how it is held, whatever it may have missed of that.
    pub(super) fn held_again(&mut self, group: SessionId, no: u64) {
        self.in_time(group, no);
        let Some(session) = self.sessions.get(&group) else { return };
        if self.share(group, no).is_none_or(|share| share.id.is_none()) {
            return;
        }
        let lease = session.life.lease.as_millis();
        // What it cannot pass on is no reason to leave out the rest.
        let words = match (session.life.keep, self.time_left(session)) {
            (true, _) => "try keep".into(),
            (false, left) => {
                format!("try until {}\ntry killonclose\ntry lease {lease}ms", left.unwrap_or_default())
            }
        };
        self.tell_share(group, no, words.into_bytes(), super::share::Line::PLAIN);
    }

    /// It is held again, in time.
    pub(super) fn in_time(&mut self, group: SessionId, no: u64) {
        if let Some(at) = self.share_mut(group, no).and_then(|share| share.deadline.take()) {
            self.groups.deadlines.remove(&(at, group, no));
        }
    }

    /// Somewhere on the way to a share there is no way now: it is not gone for that, and is looked for again.
    pub(super) fn out_of_reach(&mut self, group: SessionId, no: u64) {
        let Some(share) = self.share_mut(group, no) else { return };
        let (at, wait) = (share.at.take(), share.wait.take());
        share.term = None;
        self.give_it_time(group, no);
        if let Some((link, fid)) = at {
            self.clunk_there(link, Lane::Control, fid);
            wait.into_iter().for_each(|wait| self.clunk_there(link, Lane::Control, wait.fid));
        }
        self.look_for_them_in(limits::PUSH);
    }

    /// What is out of reach, or has no room, is looked for again in this time or before.
    pub(crate) fn look_for_them_in(&mut self, span: core::time::Duration) {
        let at = self.clock.mono + span;
        self.groups.look_at = Some(self.groups.look_at.map_or(at, |before| before.min(at)));
    }

    /// Time is up for shares that did not come back.
    pub(crate) fn ring_shares(&mut self) {
        if self.groups.look_at.is_some_and(|at| at <= self.clock.mono) {
            self.groups.look_at = None;
            self.shares_back();
            self.free_again();
            self.flows_again();
            self.look_for_room();
        }
        self.tell_behind();
        while let Some(&(at, group, no)) = self.groups.deadlines.first()
            && at <= self.clock.mono
        {
            self.groups.deadlines.pop_first();
            let Some(share) = self.share_mut(group, no) else { continue };
            share.deadline = None;
            let name = share.name.clone();
            let cause = format!(
                "{name} has not come back in time: what ran below it has ended, unless it had ended before"
            );
            self.share_refused(group, no, Error::new(Errno::HOSTUNREACH, cause));
        }
    }

    pub(crate) fn next_share_deadline(&self) -> Option<Mono> {
        let first = self.groups.deadlines.first().map(|(at, ..)| *at);
        first.into_iter().chain(self.groups.look_at).chain(self.next_behind()).min()
    }

    /// A node is no part of the cloud any more: what was kept there is lost.
    pub(crate) fn shares_left(&mut self, peer: NodeId) {
        let there =
            |(_, share): &(&u64, &Share)| share.peer == peer && share.at.is_none() && share.refused.is_none();
        let lost = self.sharing().filter(|(session, _)| session.life.keep).flat_map(|(session, group)| {
            group.shares.iter().filter(there).map(move |(no, _)| (session.id, *no))
        });
        for (id, no) in lost.collect::<Vec<_>>() {
            let Some(name) = self.share(id, no).map(|share| share.name.clone()) else { continue };
            let error = Error::new(Errno::HOSTUNREACH, format!("{name} has left the cloud"));
            self.share_refused(id, no, error);
        }
        self.behind_left(peer);
    }

    /// After a restart: every share is to be found again.
    pub(crate) fn shares_recalled(&mut self) {
        let groups = self.sessions.values().filter_map(|s| Some((s.id, s.group.as_deref()?)));
        self.groups.sharing =
            groups.filter(|(_, group)| !group.shares.is_empty()).map(|(id, _)| id).collect();
        let all = self
            .sharing()
            .flat_map(|(session, group)| group.shares.keys().map(move |no| (session.id, *no)))
            .collect::<Vec<_>>();
        for (id, no) in all {
            self.give_it_time(id, no);
        }
    }

    /// The groups that have shares.
    pub(super) fn sharing(&self) -> impl Iterator<Item = (&Session, &Group)> {
        let groups = self.groups.sharing.iter().filter_map(|id| self.sessions.get(id));
        groups.filter_map(|session| Some((&**session, session.group.as_deref()?)))
    }

    /// Checks that no group is left out of what a link that goes or comes is looked up in, and nothing else is in it.
    pub(crate) fn check_sharing(&self) {
        let shares = |s: &Session| s.group.as_deref().is_some_and(|group| !group.shares.is_empty());
        for session in self.sessions.values().filter(|session| shares(session)) {
            assert!(
                self.groups.sharing.contains(&session.id),
                "{:?} has shares, and is known for it",
                session.id
            );
        }
        assert!(
            self.groups.sharing.iter().all(|id| self.sessions.contains_key(id)),
            "who has shares is there"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, place::Subject, place::View};
    use alloc::sync::Arc;
    use op::{Uid, User, Wall};

    fn kernel() -> Kernel {
        let groups = alloc::vec![(0, "root".into())];
        let owner =
            User { uid: Uid(0), name: "root".into(), groups, home: "/root".into(), shell: "/bin/sh".into() };
        let (env, attrs) = (Vec::new(), Vec::new());
        let (id, name, started) = (NodeId(7), "b".into(), Wall(0));
        Kernel::new(Node { id, name, owner: Arc::new(owner), env, attrs, started, fs: false, store: 0 })
    }

    #[test]
    fn of_ten_thousand_sessions_that_are_kept_a_link_that_goes_or_comes_looks_at_those_with_shares() {
        let mut kernel = kernel();
        for _ in 0..10_000 {
            let id = kernel.clone_in(Uid(0), Subject::Node(View::Net)).unwrap();
            kernel.sessions.get_mut(&id).unwrap().life.keep = true;
        }
        for id in [SessionId(70), SessionId(7000)] {
            kernel.group_mut(id).unwrap().recall_share(id.0, &["0", "c", "5", "down", "60s"]).unwrap();
        }
        kernel.shares_recalled();
        kernel.check_sharing();
        // Each looks at what `sharing` gives, and at nothing else.
        let looked = kernel.sharing().map(|(session, _)| session.id.0).collect::<Vec<_>>();
        assert_eq!(looked, [70, 7000]);
        kernel.free(SessionId(70));
        assert_eq!(kernel.sharing().count(), 1);
        kernel.check_sharing();
    }
}
