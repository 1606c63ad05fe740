//! Groups: sessions that run nothing themselves and speak for their members, wherever those are.
//!
//! ```text
//!   group a/5   size 6, at the top: it plans
//!    ├─ members here          0, 1        sessions of this node
//!    ├─ share at child b      2-4         session b/9, a group too, which hands on in turn
//!    └─ queue                 5           until there is room
//! ```
//! A *share* is a group at the next node on the way that holds some of the ranks; every file of a group is its own members'
//! and its shares', merged. The same code on every level. Only where there is no parent is anything planned, so that the
//! top of the tree knows who holds which slot: below it, a group has one share, at the parent.
//!
//! *Architecture invariants.* A rank is queued, active or ended, never two of them. It is made anew only after the one before it has
//! ended, or cannot run any more: a share whose link broke ends its members after its lease, and is waited for longer than that.

mod acts;
mod behind;
mod change;
mod ends;
mod given_back;
mod heard;
mod held;
mod kept;
mod plan;
mod share;
mod show;
mod tell;
#[cfg(test)]
mod tests;

pub(crate) use acts::{member, res, run};
pub(crate) use behind::BehindStep;
pub(crate) use change::{grow, replace, shrink};
pub(crate) use plan::Begun;
pub(crate) use share::Step as ShareStep;

use crate::{Kernel, limits, ranks::RankSet, session::State, words};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::time::Duration;
use op::{Errno, Error, How, Mono, NodeId, SessionId, Usage};
use share::Share;

/// What makes a session a group of more than the members that were cloned in it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) size: u32,
    /// What a member runs as soon as it is made; nothing after `res`.
    words: Vec<Vec<u8>>,
    /// Members are started as they are made: what cannot be started has ended.
    runs: bool,
    /// Something was started in members elsewhere.
    started: bool,
    /// On which nodes, as query terms.
    terms: Vec<String>,
    /// At most so many at a time.
    width: Option<u32>,
    /// So often a failed one is tried again.
    retry: u32,
    /// Each rank has its node.
    pins: BTreeMap<u32, NodeId>,
    /// Not made yet.
    pub(crate) queue: RankSet,
    /// Made, and not ended.
    pub(crate) active: RankSet,
    /// Where each of those holds a slot.
    placed: BTreeMap<u32, NodeId>,
    /// How often it was made anew, if it was.
    tries: BTreeMap<u32, u32>,
    /// How often of that it had not failed: it was replaced, or given back and taken again.
    spared: BTreeMap<u32, u32>,
    /// Members of this node that have ended and were made anew here, in their order: what they wrote is there still.
    pub(crate) earlier: BTreeMap<u32, Vec<SessionId>>,
    shares: BTreeMap<u64, Share>,
    /// How members ended, in that order.
    pub(crate) log: Vec<Ended>,
    /// How those of it ended that were sessions here and were freed since.
    freed: BTreeMap<SessionId, End>,
    failed: u32,
    /// They are made anew when they have ended.
    replacing: RankSet,
    /// Ranks that were given back, of which a session here has not ended yet.
    going: RankSet,
    /// Nothing is tried again: it was killed.
    cancelled: bool,
    /// All are started at once, however crowded the nodes are: who waits could not take its part of what comes in.
    crowd: bool,
    /// How many there are is being asked of the parent.
    growing: bool,
    /// Where it is planned elsewhere: how many wait and why, as its share above said when that was last asked.
    above: Option<(usize, String)>,
    /// These are not made (`ranks=`), or were freed, as far as that is known below the top.
    left_out: RankSet,
    /// It is a share, and which ranks it was told to make.
    pub(crate) is_share: bool,
    made: RankSet,
}

/// A rank that ended for good. Small: a group may have very many.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) rank: u32,
    pub(crate) again: u32,
    end: As,
}

/// Who knows how it ended.
#[derive(Debug)]
enum As {
    /// A session of this node; once that is freed, `Group::freed`.
    Session(SessionId),
    Said(Box<End>),
}

/// How a member ended, for good.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct End {
    pub(crate) rank: u32,
    pub(crate) again: u32,
    /// `node/id`; `node/-` of what was never made.
    pub(crate) path: Box<str>,
    /// Nothing of it has run: nobody was told to make it, or its node died before it could be started.
    pub(crate) untold: bool,
    pub(crate) pid: u32,
    pub(crate) how: How,
    pub(crate) usage: Usage,
    pub(crate) real: Duration,
}

/// What the kernel remembers of all its groups: who waits for room, and who holds it.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Those with a queue, in the order in which they came.
    waiting: BTreeSet<SessionId>,
    /// Slots that members hold, by node.
    held: BTreeMap<NodeId, u32>,
    /// Nodes on which a slot has become free.
    freed: BTreeSet<NodeId>,
    /// Room is looked for everywhere.
    replan: bool,
    /// Nobody is placed any more: the node is being stopped.
    rests: bool,
    next_share: u64,
    /// Those that have shares. A link that goes or comes says nothing to any other session, however many are kept.
    sharing: BTreeSet<SessionId>,
    /// Sessions that were members and run still, and of which rank of which group: they are being killed.
    going: BTreeMap<SessionId, (SessionId, u32)>,
    /// What was left at other nodes by groups that were freed.
    behind: behind::AllBehind,
    /// When shares that are cut off are given up.
    deadlines: BTreeSet<(Mono, SessionId, u64)>,
    /// Some share is cut off.
    cut: bool,
    /// Some share is held through another node.
    beyond: bool,
    /// When shares that are out of reach are looked for again, and room for who could not be told of its node.
    look_at: Option<Mono>,
}

impl Group {
    /// Whether it has been made: one of `run` of which all were given back is a group still, and may grow.
    pub(crate) fn is_made(&self) -> bool {
        self.size > 0 || self.runs
    }

    /// Whether nothing of it will end any more.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.active.is_empty() && !self.growing
    }

    /// Whether it is not known yet how many they are.
    pub(crate) fn is_growing(&self) -> bool {
        self.growing
    }

    /// Whether something of it may run, here or elsewhere.
    pub(crate) fn is_busy(&self) -> bool {
        self.growing || !self.queue.is_empty() || ((self.runs || self.started) && !self.active.is_empty())
    }

    fn again(&self, rank: u32) -> u32 {
        self.tries.get(&rank).copied().unwrap_or(0)
    }

    /// How often it was made anew since it had failed.
    fn retried(&self, rank: u32) -> u32 {
        self.again(rank) - self.spared.get(&rank).copied().unwrap_or(0).min(self.again(rank))
    }

    /// A rank is to be made once more; whether since it had failed.
    fn once_more(&mut self, rank: u32, failed: bool) {
        let count = |counts: &mut BTreeMap<u32, u32>| {
            let count = counts.entry(rank).or_default();
            *count = count.saturating_add(1);
        };
        count(&mut self.tries);
        if !failed {
            count(&mut self.spared);
        }
    }

    /// All ranks that it has or had.
    pub(crate) fn has(&self, rank: u32) -> bool {
        rank < self.size
    }

    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// How many wait to be made, and how many are made and have not ended. Below the top both are active here: who waits is
    /// known only where it is planned.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let above = self.above.as_ref().map_or(0, |(queued, _)| (*queued).min(self.active.len()));
        (self.queue.len() + above, self.active.len() - above)
    }

    /// The ranks of each share that can be asked.
    pub(crate) fn share_ranks(&self) -> impl Iterator<Item = (u64, &RankSet)> {
        self.shares.iter().filter(|(_, share)| share.refused.is_none()).map(|(no, share)| (*no, &share.ranks))
    }

    /// The word in `status` and `info`; `None` where it is just a session with members.
    pub(crate) fn state(&self) -> Option<&'static str> {
        match (self.runs, self.is_over()) {
            (false, _) => None,
            (true, true) => Some("ended"),
            (true, false) => Some("running"),
        }
    }
}

impl Kernel {
    /// A session's group, made if it has none.
    fn group_mut(&mut self, id: SessionId) -> Option<&mut Group> {
        let session = self.sessions.get_mut(&id)?;
        Some(session.group.get_or_insert_default())
    }

    fn group(&self, id: SessionId) -> Option<&Group> {
        self.sessions.get(&id)?.group.as_deref()
    }

    // ── members are made ───────────────────────────────────────────────────────────────────

    /// Makes a member of a group on this node, and starts it if there is something to start; then it is said which is starting.
    /// One that had its rank before has ended, as whoever asks has seen.
    fn make_member(&mut self, group: SessionId, rank: u32) -> op::Result<Option<SessionId>> {
        let session = self.sessions.get_mut(&group).ok_or_else(|| crate::gone(group))?;
        let words = session.group.as_ref().map(|g| g.words.clone()).unwrap_or_default();
        if let Some(old) = session.member(rank) {
            let ended = self.sessions.get(&old).is_some_and(|old| matches!(old.state, State::Ended { .. }));
            if ended {
                self.keep_earlier(group, rank, old);
            } else {
                self.let_go(group, rank, old);
                self.flow_gone(group, old);
            }
        }
        let id = self.new_member(group, rank)?;
        match words.is_empty() {
            true => Ok(None),
            false => self.exec(id, words).map(|()| Some(id)),
        }
    }

    /// A member that has ended makes room for the next of its rank; its output goes with the group.
    fn keep_earlier(&mut self, group: SessionId, rank: u32, member: SessionId) {
        if let Some(session) = self.sessions.get_mut(&group) {
            session.members.remove(&rank);
            session.group.get_or_insert_default().earlier.entry(rank).or_default().push(member);
        }
    }

    /// A rank is given back, and with it what was made for it before: after a restart one of those would be taken for its member.
    pub(crate) fn free_earlier(&mut self, group: SessionId, rank: u32) {
        let Some(group) = self.sessions.get_mut(&group).and_then(|s| s.group.as_deref_mut()) else { return };
        let earlier = group.earlier.get(&rank).cloned().unwrap_or_default();
        earlier.into_iter().for_each(|member| self.free(member));
    }

    /// Everything is given back: not all could be had.
    fn give_all_back(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let members: Vec<SessionId> = session.members.values().copied().collect();
        let (group, owner) = (session.group.take(), session.owner);
        for member in members {
            self.free(member);
        }
        group.into_iter().for_each(|group| self.group_freed(id, *group, owner));
        // What the journal knows of it is nothing from here on.
        self.append(format!("nogroup {}", id.0).into_bytes());
        self.group_changed(id);
    }

    /// A verb that starts something is on its way to its members.
    pub(crate) fn group_begins(&mut self, id: SessionId, verb: &str) {
        let group = self.sessions.get_mut(&id).and_then(|s| s.group.as_deref_mut());
        if let Some(group) =
            group.filter(|group| verb == "exec" && !group.shares.is_empty() && !group.started)
        {
            group.started = true;
            self.journal_group(id);
        }
    }

    /// Tells a line to the shares that have some of these ranks; `None` if none has.
    pub(crate) fn share_fan(&mut self, id: SessionId, ranks: Option<&RankSet>, line: &[u8]) -> Option<u64> {
        let group = self.group(id)?;
        // `try` says nothing of those who could not be told.
        let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty()).peekable();
        let mut all = true;
        while words.next_if(|word| *word == b"try").is_some() {
            all = false;
        }
        let verb = words.next().unwrap_or_default();
        let lets = (matches!(verb, b"lease" | b"keep" | b"killonclose") && ranks.is_none()).then_some(all);
        // Nobody would find one that is kept and whose number was never heard: it is told when that is known.
        let keeps = verb == b"keep";
        let known = group.shares.iter().filter(|(_, share)| share.refused.is_none());
        let known = known.filter(|(_, share)| !keeps || share.id.is_some());
        let mut told: Vec<(u64, Vec<u8>)> = Vec::new();
        for (no, share) in known {
            match ranks.map(|ranks| ranks.intersection(&share.ranks)) {
                Some(some) if some.is_empty() => {}
                Some(some) => told.push((*no, [format!("@{some} ").as_bytes(), line].concat())),
                None => told.push((*no, line.to_vec())),
            }
        }
        if told.is_empty() {
            return None;
        }
        let fan = self.open_fan();
        for (no, line) in told {
            let how = share::Line { fan: Some(fan), lets, ..share::Line::PLAIN };
            self.tell_share(id, no, line, how);
        }
        Some(fan)
    }

    /// Whether a node that matches is known, though it may be down.
    fn may_come(&self, query: &crate::query::Query) -> bool {
        query.admits(&self.facts()) || self.cloud.nodes.values().any(|known| query.admits(&known.facts()))
    }

    /// How many ranks a node may still be asked to hold, of all that a group has.
    fn room_for_ranks(&self, id: SessionId, more: u32) -> op::Result<u32> {
        let size = self.sessions.get(&id).map_or(0, |s| s.size());
        match size.checked_add(more).filter(|size| *size <= limits::MEMBERS) {
            Some(size) => Ok(size),
            None => {
                let cause = format!("a group has at most {} members", limits::MEMBERS);
                Err(Error::new(Errno::AGAIN, cause))
            }
        }
    }
}

impl crate::session::Session {
    /// Every member of this node, also those that were made anew: what was first of a rank comes first.
    pub(crate) fn ever_members(&self) -> Vec<(u32, SessionId)> {
        let earlier = self.group.iter().flat_map(|group| &group.earlier);
        let earlier = earlier.flat_map(|(rank, ids)| ids.iter().map(|id| (*rank, *id)));
        earlier.chain(self.members.iter().map(|(rank, id)| (*rank, *id))).collect()
    }

    /// How many ranks it has.
    pub(crate) fn size(&self) -> u32 {
        let cloned = self.members.last_key_value().map_or(0, |(last, _)| last + 1);
        self.group.as_ref().map_or(0, |g| g.size).max(cloned)
    }
}

/// Words as one control line.
pub(crate) fn line_of(words: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            line.push(b' ');
        }
        words::quote_line(word, &mut line);
    }
    line
}
