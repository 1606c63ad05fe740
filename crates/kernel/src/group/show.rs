//! What the files of a group say of members that are not sessions of this node, and where those are.

use super::share::Share;
use crate::{
    Kernel, LinkId, far::Anchor, park::On, place::View, ranks::RankSet, record::Format, session::Session,
    words::lossy,
};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Error, SessionId};

/// A share's part of a file: over which link, whose, by which name.
type There = (LinkId, Arc<str>, Vec<String>);

impl Kernel {
    /// Which ranks have a member, from one of them on.
    pub(crate) fn member_ranks(&self, id: SessionId, from: u32) -> Vec<u32> {
        let Some(session) = self.sessions.get(&id) else { return Vec::new() };
        let mut ranks: RankSet = session.members.range(from..).map(|(rank, _)| *rank).collect();
        for share in
            session.group.iter().flat_map(|group| group.shares.values()).filter(|s| s.refused.is_none())
        {
            ranks.union_with(&share.ranks);
        }
        ranks.iter().filter(|rank| *rank >= from).collect()
    }

    pub(crate) fn has_member(&self, id: SessionId, rank: u32) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        session.members.contains_key(&rank) || self.share_with(session, rank).is_some()
    }

    fn share_with<'a>(&self, session: &'a Session, rank: u32) -> Option<(u64, &'a Share)> {
        let shares = session.group.as_deref()?.shares.iter();
        shares.filter(|(_, s)| s.refused.is_none() && s.ranks.contains(rank)).map(|(no, s)| (*no, s)).next()
    }

    /// Where a member stands that is not here: through the share that has it.
    pub(crate) fn member_elsewhere(&self, id: SessionId, rank: u32) -> Option<(Anchor, Vec<String>)> {
        let session = self.sessions.get(&id).filter(|s| !s.members.contains_key(&rank))?;
        let (no, share) = self.share_with(session, rank)?;
        let number = self.share_number(id, no)?.to_string();
        let rest = alloc::vec![number, rank.to_string()];
        match self.share_node(share).filter(|_| !share.up) {
            Some(node) => Some((Anchor::Node(node, View::Net), rest)),
            None => {
                let names = ["net".into(), share.peer.to_string()].into_iter().chain(rest);
                Some((Anchor::Up, names.collect()))
            }
        }
    }

    /// The parts of a group's file that its shares have, and which of them cannot be asked.
    pub(crate) fn share_parts(&self, id: SessionId, file: &str) -> (Vec<There>, Vec<(Arc<str>, Error)>) {
        let (mut there, mut lost) = (Vec::new(), Vec::new());
        let shares = self.group(id).map(|group| &group.shares);
        for (no, share) in shares.into_iter().flatten().filter(|(_, share)| share.refused.is_none()) {
            match self.share_names(id, *no, file) {
                Some((link, names)) if share.is_held() => there.push((link, share.name.clone(), names)),
                Some(_) | None => lost.push((share.name.clone(), self.why_cut(share))),
            }
        }
        (there, lost)
    }

    /// A line for those that have no session: they wait, or never were.
    pub(crate) fn unmade_status(&self, session: &Session, format: Format, out: &mut Vec<u8>) {
        if let Some(group) = session.group.as_deref() {
            super::tell::queued_line(&group.queue, &self.why_queued(session), format, out);
        }
    }

    fn why_queued(&self, session: &Session) -> String {
        let Some(group) = session.group.as_deref() else { return String::new() };
        if session.ends().is_some() {
            return "nobody holds it since a link broke, and nothing is begun until somebody does".into();
        }
        let had =
            |share: &&Share| share.refused.is_none() && !share.leaving.intersection(&group.queue).is_empty();
        let all_wait = group.next(usize::MAX).is_empty();
        if let (true, Some(share)) = (all_wait, group.shares.values().find(had)) {
            return format!("{} has not said yet that who was given back there is gone", share.name);
        }
        if let (true, Some(rank)) = (all_wait, group.queue.intersection(&group.going).first()) {
            return format!("who had rank {rank} before has not ended yet");
        }
        if group.room() == 0 {
            return format!("width={} are active", group.width.unwrap_or(0));
        }
        let Ok(query) = crate::query::Query::parse(&group.terms) else { return String::new() };
        match self.slots_of(&query) {
            (0, _) => format!("no node is up and takes sessions {}", group.terms.join(" ")).trim_end().into(),
            (all, 0) => format!("all {all} slots are taken"),
            (all, free) => format!("{free} of {all} slots are free"),
        }
    }

    /// Why a group is in its state, in one sentence.
    pub(crate) fn group_why(&self, session: &Session) -> String {
        let Some(group) = session.group.as_deref() else { return session.why() };
        let mut all: Vec<String> = Vec::new();
        for share in group.shares.values().filter(|share| !share.is_held()) {
            let active = group.active.intersection(&share.ranks);
            if !active.is_empty() {
                let why = match &share.refused {
                    Some(error) => error.to_string(),
                    None => format!("{}; they count as lost {}", self.why_cut(share), self.when_lost(share)),
                };
                all.push(format!("ranks {active}: {why}"));
            }
        }
        if !group.queue.is_empty() {
            all.push(format!("ranks {} wait: {}", group.queue, self.why_queued(session)));
        }
        if let Some((_, why)) = group.above.as_ref().filter(|(queued, _)| *queued > 0 && !group.is_over()) {
            all.push(why.clone());
        }
        all.extend(self.flow_why(session.id));
        match all.is_empty() {
            true if group.is_over() => "all its members have ended".into(),
            true => "a group: see its members".into(),
            false => all.join("; "),
        }
    }

    /// Whether somebody else plans it: a share above holds all its ranks.
    pub(crate) fn is_planned_above(&self, id: SessionId) -> bool {
        self.held_above(id).is_some()
    }

    fn held_above(&self, id: SessionId) -> Option<u64> {
        let mut shares = self.group(id)?.shares.iter();
        shares.find(|(_, share)| share.up && share.is_held()).map(|(no, _)| *no)
    }

    /// What `info` of the share above says, or nothing if that is not known. Its node may have heard late how many they are, of which
    /// nobody tells those below.
    pub(crate) fn heard_above(&mut self, id: SessionId, info: Option<&[u8]>) {
        let text = lossy(info.unwrap_or_default());
        let field = |key| text.lines().find_map(|line| line.split_once('=').filter(|(k, _)| *k == key));
        let queued = field("queued").and_then(|(_, queued)| queued.parse().ok());
        let why = field("why").map(|(_, why)| String::from(why)).unwrap_or_default();
        if let Some(group) = self.sessions.get_mut(&id).and_then(|s| s.group.as_deref_mut()) {
            group.above = queued.map(|queued| (queued, why));
        }
        let size = field("size").and_then(|(_, size)| size.parse().ok());
        if let (Some(no), Some(size)) = (self.held_above(id), size)
            && self.group(id).is_some_and(|group| !group.growing && group.size != size)
        {
            self.resized_above(id, no, size);
            if field("active").is_some_and(|(_, n)| n == "0") && queued == Some(0) {
                self.over_above(id, no);
            }
        }
    }

    /// Whoever reads what happens in a group, or waits for its room, is served again.
    pub(crate) fn group_changed(&mut self, id: SessionId) {
        self.flows.insert(id);
        self.parked.notify(On::Life(id));
        self.parked.notify(On::Ends);
        self.settle_life(id);
    }
}
