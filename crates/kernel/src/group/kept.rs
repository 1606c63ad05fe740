//! What of a group outlives the node. Lines of the journal, in order:
//!
//! - `group ID SIZE runs|started|holds|cancelled WIDTH RETRY TERMS… -- WORDS…`: what it is; with `share-` before it if it is one.
//! - `queue ID RANKS`: these wait. `left ID RANKS`: these were never asked for. `pin ID NODE RANKS`: these are for that node.
//! - `share ID NO PEER NAME NUMBER|- up|down LEASE|keep [RANKS]`: a share, and its session there when its number is known; how long it
//!   has to be held again; and which ranks were given back, until it has said that it has them no more.
//! - `unshare ID NO`: it was given up, or could not be had.
//! - `place ID NO|- NODE RANKS`: these were made there, through that share or here. Of one that was made here since the journal was
//!   last written anew, its session's line says it (`slot=1`).
//! - `again ID RANK COUNT SPARED`: it waits to be made once more. `try ID RANKS COUNT SPARED`: they were made so often before, and so
//!   often of that without having failed. `replace ID RANKS`: they are made anew when they have ended.
//! - `freed ID RANKS`: they were given back before they had ended.
//! - `nogroup ID`: it is none any more.
//! - `ended ID line-of-wait`: how a rank ended, for good; `ended ID SESSION COUNT` of one that is a session here, and was made so
//!   often before.

use super::{As, Ended, Group, line_of, tell};
use crate::{Kernel, ranks::RankSet, record::Format, session::Session, words};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use op::{Errno, Error, NodeId, SessionId};

fn group_line(id: SessionId, group: &Group) -> Vec<u8> {
    let share = if group.is_share { "share-" } else { "" };
    let kind = match (group.cancelled, group.runs, group.started) {
        (true, ..) => "cancelled",
        (false, true, _) => "runs",
        (false, false, true) => "started",
        (false, false, false) => "holds",
    };
    let width = group.width.map_or("-".into(), |w| w.to_string());
    let mut words: Vec<Vec<u8>> = [
        "group",
        &id.0.to_string(),
        &group.size.to_string(),
        &format!("{share}{kind}"),
        &width,
        &group.retry.to_string(),
    ]
    .iter()
    .map(|w| w.as_bytes().to_vec())
    .collect();
    words.extend(group.terms.iter().map(|term| term.clone().into_bytes()));
    words.push(b"--".to_vec());
    words.extend(group.words.iter().cloned());
    line_of(&words)
}

impl Kernel {
    /// What a group is, and who waits.
    pub(super) fn journal_group(&mut self, id: SessionId) {
        let Some(group) = self.group(id) else { return };
        let mut lines =
            alloc::vec![group_line(id, group), format!("queue {} {}", id.0, group.queue).into_bytes()];
        lines.extend(left_line(id, group));
        lines.extend(pin_lines(id, group));
        lines.into_iter().for_each(|line| self.append(line));
    }

    pub(super) fn journal_share(&mut self, id: SessionId, no: u64) {
        let line = self.group(id).and_then(|group| group.share_lines().remove(&no));
        if let Some(line) = line {
            self.append(format!("share {} {no} {line}", id.0).into_bytes());
        }
    }

    /// A rank waits to be made once more.
    pub(super) fn journal_again(&mut self, id: SessionId, rank: u32) {
        let Some(group) = self.group(id) else { return };
        let spared = group.spared.get(&rank).copied().unwrap_or(0);
        self.append(format!("again {} {rank} {} {spared}", id.0, group.again(rank)).into_bytes());
    }

    /// How often these were made before.
    pub(super) fn journal_tries(&mut self, id: SessionId, ranks: &[u32]) {
        let Some(group) = self.group(id) else { return };
        let lines: Vec<Vec<u8>> = group.try_lines(id, ranks.iter().copied()).collect();
        lines.into_iter().for_each(|line| self.append(line));
    }

    pub(super) fn journal_place(&mut self, id: SessionId, share: u64, node: NodeId, ranks: &RankSet) {
        self.append(format!("place {} {share} {node} {ranks}", id.0).into_bytes());
    }

    /// Whether a member of this node holds one of its slots.
    pub(crate) fn holds_slot(&self, group: &Session, member: &Session) -> bool {
        let Some((_, rank)) = member.member_of.filter(|(_, rank)| group.member(*rank) == Some(member.id))
        else {
            return false;
        };
        group.group.as_ref().is_some_and(|group| group.placed.get(&rank) == Some(&self.node.id))
    }

    /// A member was made here. Where nothing is known of its group, that follows, and says so too.
    pub(crate) fn recall_slot(&mut self, member: &Session) {
        let Some((group, rank)) = member.member_of else { return };
        if let Some(group) = self.sessions.get_mut(&group).and_then(|group| group.group.as_deref_mut()) {
            group.recall_place(None, self.node.id, &RankSet::from_range(rank..rank + 1));
        }
    }

    /// How a rank ended: by its session, if that is there still. Nothing where nobody knows any more.
    pub(super) fn end_line(&self, id: SessionId, group: &Group, end: &Ended) -> Option<Vec<u8>> {
        let mut line = Vec::with_capacity(48);
        line.extend_from_slice(b"ended ");
        words::digits(id.0, &mut line);
        line.push(b' ');
        if let As::Session(member) = end.end
            && self.sessions.contains_key(&member)
        {
            words::digits(member.0, &mut line);
            line.push(b' ');
            words::digits(end.again.into(), &mut line);
            return Some(line);
        }
        self.end_of(group, end)?.write(Format::Text, &mut line);
        line.pop();
        Some(line)
    }

    /// Lines for a journal that is written anew.
    pub(crate) fn write_groups(&self, text: &mut Vec<u8>) {
        let groups = self.sessions.values().filter_map(|s| Some((s.id, s.group.as_deref()?)));
        for (id, group) in groups.filter(|(_, group)| group.is_made() || !group.shares.is_empty()) {
            self.write_group(id, group, |line| {
                text.extend_from_slice(line);
                text.push(b'\n');
            });
        }
    }

    fn write_group(&self, id: SessionId, group: &Group, mut say: impl FnMut(&[u8])) {
        say(&group_line(id, group));
        left_line(id, group).iter().chain(&pin_lines(id, group)).for_each(|line| say(line));
        for (no, line) in group.share_lines() {
            say(format!("share {} {no} {line}", id.0).as_bytes());
        }
        let mut places: BTreeMap<(Option<u64>, NodeId), RankSet> = BTreeMap::new();
        for rank in group.active.iter() {
            let share = group.shares.iter().find(|(_, s)| s.ranks.contains(rank)).map(|(no, _)| *no);
            let node = group.placed.get(&rank).copied().unwrap_or_default();
            places.entry((share, node)).or_default().insert(rank);
        }
        let mut known: RankSet = group.log.iter().map(|end| end.rank).collect();
        known.union_with(&group.queue);
        let ended = |share: &super::Share| {
            let mut ranks = share.ranks.intersection(&known);
            ranks.subtract(&group.active);
            ranks.subtract(&share.leaving);
            ranks
        };
        // Those that have ended are in their share still, for whoever reads what they wrote; those that were freed are nobody's.
        for (no, share) in &group.shares {
            let ranks = ended(share);
            if !ranks.is_empty() {
                places.entry((Some(*no), NodeId::default())).or_default().union_with(&ranks);
            }
        }
        for ((share, node), ranks) in places {
            let share = share.map_or("-".into(), |no| no.to_string());
            say(format!("place {} {share} {node} {ranks}", id.0).as_bytes());
        }
        group.try_lines(id, group.tries.keys().copied()).for_each(|line| say(&line));
        if !group.replacing.is_empty() {
            say(format!("replace {} {}", id.0, group.replacing).as_bytes());
        }
        group.log.iter().filter_map(|end| self.end_line(id, group, end)).for_each(|line| say(&line));
        let given_up = group.shares.iter().filter(|(_, share)| share.up && share.refused.is_some());
        given_up.for_each(|(no, _)| say(format!("unshare {} {no}", id.0).as_bytes()));
        say(format!("queue {} {}", id.0, group.queue).as_bytes());
    }

    /// A line of the journal that speaks of a group.
    pub(crate) fn recall_group(&mut self, line: &[u8]) -> Option<()> {
        if let Some(rest) = line.strip_prefix(b"ended ") {
            let text = words::lossy(rest);
            let (id, end) = text.split_once(' ')?;
            let end: Ended = match end.split_once(' ')? {
                (member, again) if member.bytes().all(|b| b.is_ascii_digit()) => {
                    let member = SessionId(member.parse().ok()?);
                    let (_, rank) = self.sessions.get(&member)?.member_of?;
                    Ended { rank, again: again.parse().ok()?, end: As::Session(member) }
                }
                _ => tell::read_end(end)?.into(),
            };
            let how = self.how_ended(&end)?;
            let group = self.sessions.get_mut(&SessionId(id.parse().ok()?))?.group.get_or_insert_default();
            // Else it was made anew since.
            if end.again >= group.again(end.rank) {
                group.active.remove(end.rank);
                group.placed.remove(&end.rank);
                group.queue.remove(end.rank);
                group.replacing.remove(end.rank);
            }
            group.failed += u32::from(how != op::How::Code(0));
            group.log.push(end);
            return Some(());
        }
        let words = words::split(line).ok()?;
        let text: Vec<String> = words.iter().map(|w| words::lossy(w)).collect();
        let text: Vec<&str> = text.iter().map(String::as_str).collect();
        let (verb, id) = (*text.first()?, SessionId(text.get(1)?.parse().ok()?));
        if ![
            "group", "queue", "left", "pin", "share", "place", "again", "try", "replace", "freed", "unshare",
            "nogroup",
        ]
        .contains(&verb)
        {
            return None;
        }
        let group = match self.sessions.get_mut(&id) {
            Some(session) => session.group.get_or_insert_default(),
            // It was freed since, and the journal says so in another place.
            None => return Some(()),
        };
        match text[..] {
            ["group", _, size, kind, width, retry, ..] => {
                let terms = text.iter().skip(6).take_while(|word| **word != "--").map(|w| String::from(*w));
                group.terms = terms.collect();
                group.words = words.iter().skip(7 + group.terms.len()).cloned().collect();
                group.size = size.parse().ok().filter(|n| *n <= crate::limits::MEMBERS)?;
                // Those that were given back are not there any more.
                group.active = group.active.intersection(&RankSet::from_range(0..group.size));
                group.is_share = kind.starts_with("share-");
                let kind = kind.trim_start_matches("share-");
                (group.width, group.retry) = (width.parse().ok(), retry.parse().ok()?);
                group.runs = matches!(kind, "runs" | "cancelled");
                (group.cancelled, group.started) = (kind == "cancelled", kind == "started");
            }
            ["queue", _, ranks] => group.queue = RankSet::parse(ranks).ok()?,
            ["queue", _] => group.queue = RankSet::new(),
            ["left", _, ranks] => group.left_out = RankSet::parse(ranks).ok()?,
            ["pin", _, node, ranks] => {
                let node: NodeId = node.parse().ok()?;
                group.pins.extend(RankSet::parse(ranks).ok()?.iter().map(|rank| (rank, node)));
            }
            ["share", _, no, ref share @ ..] => {
                group.recall_share(no.parse().ok()?, share)?;
                self.groups.next_share = self.groups.next_share.max(no.parse::<u64>().ok()? + 1);
            }
            ["place", _, no, node, ranks] => {
                group.recall_place(no.parse().ok(), node.parse().ok()?, &RankSet::parse(ranks).ok()?);
            }
            ["again", _, rank, count, spared] => {
                let rank = rank.parse().ok().filter(|rank| *rank < crate::limits::MEMBERS)?;
                group.recall_tries(&RankSet::from_range(rank..rank + 1), count, spared)?;
                group.active.remove(rank);
                group.placed.remove(&rank);
                group.replacing.remove(rank);
                group.queue.insert(rank);
            }
            ["try", _, ranks, count, spared] => {
                group.recall_tries(&RankSet::parse(ranks).ok()?, count, spared)?;
            }
            ["freed", _, ranks] => {
                let freed = RankSet::parse(ranks).ok()?;
                group.active.subtract(&freed);
                group.queue.subtract(&freed);
                group.replacing.subtract(&freed);
                group.placed.retain(|rank, _| !freed.contains(*rank));
            }
            ["replace", _, ranks] => group.replacing.union_with(&RankSet::parse(ranks).ok()?),
            ["unshare", _, no] => group.recall_unshared(no.parse().ok()?),
            ["nogroup", _] => **group = Group::default(),
            _ => return None,
        }
        Some(())
    }

    /// The journal is read: who waits and who holds a slot is counted anew.
    pub(crate) fn groups_recalled(&mut self) {
        self.going_recalled();
        for session in self.sessions.values_mut() {
            let id = session.id;
            let Some(group) = session.group.as_deref_mut() else { continue };
            // Its session is there still; it has ended all the same.
            let mut ended = group.ended();
            ended.union_with(&group.queue);
            group.active.subtract(&ended);
            group.active = group.active.intersection(&RankSet::from_range(0..group.size));
            let planned_here = !group.is_share && !group.shares.values().any(|share| share.up);
            // They were being given back when the node died, and not all of that was written down. Nothing is run again for that.
            let half = group.active.intersection(&group.leaving());
            group.active.subtract(&half);
            for rank in
                half.iter().filter(|_| planned_here && !group.runs && !group.started).collect::<Vec<_>>()
            {
                group.once_more(rank, false);
                group.queue.insert(rank);
            }
            group.placed.retain(|rank, _| !half.contains(*rank));
            group.replacing = group.replacing.intersection(&group.active);
            // What was written down but never made is made anew.
            let mut unmade = group.active.clone();
            let has: RankSet = session.members.keys().copied().collect();
            unmade.subtract(&has);
            group.shares.values().for_each(|share| unmade.subtract(&share.ranks));
            group.active.subtract(&unmade);
            for rank in unmade.iter() {
                group.placed.remove(&rank);
                if planned_here {
                    group.queue.insert(rank);
                }
            }
            // Who was given back holds no slot any more, though the line of his place is there.
            group.placed.retain(|rank, _| group.active.contains(*rank));
            group.made = group.active.clone();
            group.made.union_with(&group.log.iter().map(|end| end.rank).collect());
            if !group.queue.is_empty() {
                self.groups.waiting.insert(id);
            }
            for node in group.placed.values() {
                *self.groups.held.entry(*node).or_default() += 1;
            }
        }
        self.groups.replan = true;
        self.shares_recalled();
    }
}

fn left_line(id: SessionId, group: &Group) -> Option<Vec<u8>> {
    (!group.left_out.is_empty()).then(|| format!("left {} {}", id.0, group.left_out).into_bytes())
}

fn pin_lines(id: SessionId, group: &Group) -> Vec<Vec<u8>> {
    let mut by_node: BTreeMap<NodeId, RankSet> = BTreeMap::new();
    for (rank, node) in &group.pins {
        by_node.entry(*node).or_default().insert(*rank);
    }
    by_node.iter().map(|(node, ranks)| format!("pin {} {node} {ranks}", id.0).into_bytes()).collect()
}

impl Group {
    /// It was given up. That the group was planned above is known by it still.
    pub(super) fn recall_unshared(&mut self, no: u64) {
        match self.shares.get_mut(&no) {
            Some(share) if share.up => {
                let cause = format!("what {} had of it was given up", share.name);
                share.refused = Some(Error::new(Errno::STALE, cause));
            }
            _ => drop(self.shares.remove(&no)),
        }
    }

    fn try_lines(&self, id: SessionId, ranks: impl Iterator<Item = u32>) -> impl Iterator<Item = Vec<u8>> {
        let mut alike: BTreeMap<(u32, u32), RankSet> = BTreeMap::new();
        for rank in ranks {
            let spared = self.spared.get(&rank).copied().unwrap_or(0);
            alike.entry((self.again(rank), spared)).or_default().insert(rank);
        }
        let line = move |((count, spared), ranks)| format!("try {} {ranks} {count} {spared}", id.0);
        alike.into_iter().map(move |alike| line(alike).into_bytes())
    }

    fn recall_place(&mut self, share: Option<u64>, node: NodeId, ranks: &RankSet) {
        for share in self.shares.values_mut() {
            share.ranks.subtract(ranks);
        }
        if let Some(no) = share {
            let share = self.recalled_share(no);
            share.ranks.union_with(ranks);
            share.leaving.subtract(ranks);
        }
        self.queue.subtract(ranks);
        self.active.union_with(ranks);
        if node != NodeId::default() {
            self.placed.extend(ranks.iter().map(|rank| (rank, node)));
        }
    }

    fn recall_tries(&mut self, ranks: &RankSet, count: &str, spared: &str) -> Option<()> {
        let (count, spared): (u32, u32) = (count.parse().ok()?, spared.parse().ok()?);
        for rank in ranks.iter().take_while(|rank| *rank < crate::limits::MEMBERS) {
            self.tries.insert(rank, count);
            if spared > 0 {
                self.spared.insert(rank, spared);
            }
        }
        Some(())
    }
}

impl Session {
    /// Whether a rank's member is one of this node's sessions.
    pub(crate) fn member(&self, rank: u32) -> Option<SessionId> {
        self.members.get(&rank).copied()
    }
}
