//! Who goes where: nodes are chosen for ranks by the slots that are free on them, and whoever waits is placed when one becomes free.
//!
//! A node has as many slots as its `slots`, else its `cpus`; a member holds one from when it is made until it has ended. What
//! runs beside groups holds none, and only makes a node less preferred.

use super::{Group, share::Line};
use crate::{
    Kernel, LinkId,
    notices::What,
    park::On,
    query::{Query, candidates::Candidate},
    ranks::RankSet,
};
use alloc::{
    borrow::Cow,
    collections::{BTreeMap, BinaryHeap},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::{
    cmp::{Ordering, Reverse},
    ops::Bound,
};
use op::{Errno, Error, NodeId, Result, SessionId};

/// Ranks for a node.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Pick {
    pub(super) node: NodeId,
    pub(super) name: Arc<str>,
    pub(super) ranks: RankSet,
    pub(super) why: Cow<'static, str>,
}

/// What was begun by a line, and who is to be waited for.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) starting: Vec<SessionId>,
    /// Whom it gave back, and who runs still.
    pub(crate) ending: Vec<SessionId>,
    pub(crate) fan: Option<u64>,
    pub(crate) reached: usize,
    /// What failed here at once.
    pub(crate) problems: Vec<(SessionId, Error)>,
}

/// A node's turn: whoever has the least of its slots taken comes first.
#[derive(PartialEq, Eq)]
struct Turn {
    taken: u64,
    slots: u64,
    at: usize,
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> Ordering {
        // Fractions, compared without dividing.
        let (mine, theirs) = (self.taken * other.slots, other.taken * self.slots);
        mine.cmp(&theirs).then(self.at.cmp(&other.at))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Kernel {
    fn held(&self, node: NodeId) -> u32 {
        self.groups.held.get(&node).copied().unwrap_or(0)
    }

    pub(super) fn free_slots(&self, candidate: &Candidate) -> u32 {
        candidate.slots.saturating_sub(self.held(candidate.id))
    }

    /// Nodes for these ranks, as many as there is room for; for all of them, however crowded that is, where `crowd`.
    pub(super) fn choose(&self, query: &Query, ranks: &RankSet, crowd: bool) -> Vec<Pick> {
        let candidates = self.candidates(query);
        let mut counts = alloc::vec![0_usize; candidates.len()];
        let mut left = ranks.len();
        if query.fills() && !crowd {
            for (candidate, count) in candidates.iter().zip(&mut counts) {
                *count = left.min(self.free_slots(candidate) as usize);
                left -= *count;
            }
        } else {
            let turn = |(at, c): (usize, &Candidate)| {
                let taken = u64::from(self.held(c.id)) + 1;
                Reverse(Turn { taken, slots: u64::from(c.slots.max(1)), at })
            };
            let mut turns: BinaryHeap<Reverse<Turn>> = candidates.iter().enumerate().map(turn).collect();
            while left > 0
                && let Some(Reverse(Turn { taken, slots, at })) = turns.pop()
            {
                if !crowd && counts[at] >= self.free_slots(&candidates[at]) as usize {
                    continue;
                }
                counts[at] += 1;
                left -= 1;
                turns.push(Reverse(Turn { taken: taken + 1, slots, at }));
            }
        }
        let mut ranks = ranks.clone();
        let picks = candidates.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        let pick = |(c, count): (Candidate, usize)| Pick {
            why: format!("{} of {} slots free", self.free_slots(&c), c.slots).into(),
            node: c.id,
            name: c.name,
            ranks: ranks.take_first(count),
        };
        picks.map(pick).collect()
    }

    /// How many slots there are on what matches, and how many of them are free.
    pub(crate) fn slots_of(&self, query: &Query) -> (u64, u64) {
        let all = self.candidates(query);
        let free = all.iter().map(|c| u64::from(self.free_slots(c))).sum();
        (all.iter().map(|c| u64::from(c.slots)).sum(), free)
    }

    /// Says in `events` where members would go.
    pub(super) fn would_place(&mut self, id: SessionId, picks: &[Pick], queued: &RankSet) {
        let Some(owner) = self.sessions.get(&id).map(|s| s.owner) else { return };
        for Pick { name, ranks, why, .. } in picks {
            let (ranks, node, why) =
                (alloc::string::ToString::to_string(ranks), name.clone(), String::from(&**why));
            self.happened(Some(id), owner, What::WouldPlace { ranks, node: Some(node), why });
        }
        if !queued.is_empty() {
            let ranks = alloc::string::ToString::to_string(queued);
            let why = "no slot is free; it would wait".into();
            self.happened(Some(id), owner, What::WouldPlace { ranks, node: None, why });
        }
    }

    /// Makes members where they were planned: here, and through shares elsewhere.
    pub(super) fn make(
        &mut self,
        id: SessionId,
        picks: &[Pick],
        all_or_nothing: bool,
        waited: bool,
    ) -> Begun {
        let mut begun = Begun::default();
        let mut below: BTreeMap<LinkId, Vec<(NodeId, Arc<str>, RankSet)>> = BTreeMap::new();
        let mut unknown: Vec<(RankSet, Arc<str>, Error)> = Vec::new();
        for Pick { node, name, ranks, .. } in picks {
            begun.reached += ranks.len();
            let held = self.groups.held.entry(*node).or_default();
            *held += ranks.len() as u32;
            let Some(group) = self.group_mut(id) else { return begun };
            group.queue.subtract(ranks);
            group.active.union_with(ranks);
            // One that was there before has given its slot back, or keeps it.
            let again = ranks.iter().filter_map(|rank| group.placed.insert(rank, *node)).collect::<Vec<_>>();
            again.into_iter().for_each(|node| self.give_slot_back(node));
            if *node == self.node.id {
                self.place_here(id, ranks, &mut begun);
                continue;
            }
            let known = self.node_no(*node).map(|no| (no, self.cloud.known(no).and_then(|known| known.via)));
            match known {
                Some((_, Some(link))) => {
                    below.entry(link).or_default().push((*node, name.clone(), ranks.clone()));
                }
                Some((no, None)) => unknown.push((ranks.clone(), name.clone(), self.is_down(no))),
                None => {
                    let cause = format!("{name} is not below {}", self.node.name);
                    unknown.push((ranks.clone(), name.clone(), Error::new(Errno::HOSTUNREACH, cause)));
                }
            }
        }
        if waited && !below.is_empty() {
            begun.fan = Some(self.open_fan());
        }
        for (link, list) in below {
            let line = Line { fan: begun.fan, all_or_nothing, places: true, ..Line::PLAIN };
            match self.share_over(id, link) {
                Ok(no) => self.place_there(id, no, &list, line),
                Err(error) => {
                    unknown.extend(list.into_iter().map(|(_, name, ranks)| (ranks, name, error.clone())));
                }
            }
        }
        for (ranks, name, error) in unknown {
            for rank in ranks.iter() {
                begun.problems.push((id, error.clone()));
                self.rank_untold(id, rank, &format!("{name}/-"));
            }
        }
        begun
    }

    fn place_here(&mut self, id: SessionId, ranks: &RankSet, begun: &mut Begun) {
        // What becomes of a share that had one of them before is nothing to it from here on.
        let shares = self.group_mut(id).into_iter().flat_map(|group| group.shares.values_mut());
        shares.for_each(|share| share.ranks.subtract(ranks));
        for rank in ranks.iter() {
            match self.make_member(id, rank) {
                Ok(starting) => begun.starting.extend(starting),
                Err(error) => {
                    let member = self.sessions.get(&id).and_then(|s| s.member(rank));
                    let path = match member {
                        Some(member) => format!("{}/{}", self.node.name, member.0),
                        None => format!("{}/-", self.node.name),
                    };
                    if let Some(owner) = self.sessions.get(&id).map(|s| s.owner) {
                        self.failed(Some(member.unwrap_or(id)), owner, "member", "start", &error);
                    }
                    begun.problems.push((member.unwrap_or(id), error.clone()));
                    self.rank_failed(id, rank, &path, &error);
                }
            }
        }
    }

    fn place_there(&mut self, id: SessionId, no: u64, list: &[(NodeId, Arc<str>, RankSet)], line: Line) {
        for (node, _, ranks) in list {
            if let Some(group) = self.group_mut(id) {
                for (other, share) in &mut group.shares {
                    match *other == no {
                        // What is said later counts: whoever was to go there comes again.
                        true => {
                            share.ranks.union_with(ranks);
                            share.leaving.subtract(ranks);
                        }
                        false => share.ranks.subtract(ranks),
                    }
                }
            }
            self.journal_place(id, no, *node, ranks);
        }
        self.flows.insert(id);
        let named: Vec<(Arc<str>, RankSet)> =
            list.iter().map(|(_, name, ranks)| (name.clone(), ranks.clone())).collect();
        if let Some(text) = self.group(id).map(|group| group.member_line(&named)) {
            self.tell_share(id, no, text, line);
        }
    }

    /// Whoever waits is placed where there is room now; then those in `await/` may have what is left.
    pub(crate) fn pump(&mut self) {
        if self.groups.rests || (self.groups.freed.is_empty() && !self.groups.replan) {
            return;
        }
        let freed = core::mem::take(&mut self.groups.freed);
        let everywhere = core::mem::take(&mut self.groups.replan);
        let mut next = self.groups.waiting.first().copied();
        while let Some(id) = next {
            next = self.groups.waiting.range((Bound::Excluded(id), Bound::Unbounded)).next().copied();
            let Some(group) = self.group(id).filter(|group| !group.queue.is_empty()) else {
                self.groups.waiting.remove(&id);
                continue;
            };
            let room = group.room();
            if room == 0 || self.is_cut_off(id) {
                continue;
            }
            let picks = match self.next_picks(group, room, (!everywhere).then_some(&freed)) {
                Ok(picks) if !picks.is_empty() => picks,
                Ok(_) | Err(_) => continue,
            };
            self.make(id, &picks, false, false);
            if self.group(id).is_none_or(|group| group.queue.is_empty()) {
                self.groups.waiting.remove(&id);
            }
        }
        self.parked.notify(On::Room);
    }

    /// Where the next of a queue go: on any node, or only on those where a slot has become free.
    pub(super) fn next_picks(
        &self,
        group: &Group,
        room: usize,
        freed: Option<&alloc::collections::BTreeSet<NodeId>>,
    ) -> Result<Vec<Pick>> {
        let mut next = group.next(room);
        if !group.pins.is_empty() {
            return Ok(self.pinned(group, &next));
        }
        let query = Query::parse(&group.terms)?;
        if let Some(freed) = freed.filter(|_| !group.crowd) {
            let mut picks = Vec::new();
            for candidate in freed.iter().filter_map(|node| self.candidate(&query, *node)) {
                let ranks = next.take_first(self.free_slots(&candidate) as usize);
                if !ranks.is_empty() {
                    let why = "a slot became free".into();
                    picks.push(Pick { node: candidate.id, name: candidate.name, ranks, why });
                }
            }
            return Ok(picks);
        }
        Ok(self.choose(&query, &next, group.crowd))
    }

    /// Ranks that have their nodes.
    pub(super) fn pinned(&self, group: &Group, ranks: &RankSet) -> Vec<Pick> {
        let mut by_node: BTreeMap<NodeId, RankSet> = BTreeMap::new();
        for rank in ranks.iter() {
            if let Some(node) = group.pins.get(&rank) {
                by_node.entry(*node).or_default().insert(rank);
            }
        }
        let pick = |(node, ranks)| {
            let name = self.node_name(node).unwrap_or_else(|| "?".into());
            Pick { node, name, ranks, why: "each node has one".into() }
        };
        by_node.into_iter().map(pick).collect()
    }

    /// Who waits goes on waiting: the node is being stopped.
    pub(crate) fn place_no_more(&mut self) {
        self.groups.rests = true;
    }

    /// Whether all members must run at once, since what comes in is dealt out to them.
    pub(super) fn crowds(&self, id: SessionId) -> bool {
        self.sessions.get(&id).and_then(|s| s.flow.as_ref()).is_some_and(|flow| flow.deals())
    }

    /// Something has changed that may have made room.
    pub(crate) fn look_for_room(&mut self) {
        self.groups.replan |= !self.groups.waiting.is_empty() || self.parked.awaited(&On::Room);
    }
}

impl Group {
    /// Who of the queue is made next: nobody of whom another may be there still.
    pub(super) fn next(&self, room: usize) -> RankSet {
        let mut next = self.queue.clone();
        next.subtract(&self.leaving());
        next.first_few(room)
    }

    /// How many more may be active.
    pub(super) fn room(&self) -> usize {
        self.width.map_or(usize::MAX, |width| (width as usize).saturating_sub(self.active.len()))
    }
}
