//! Who has a node below it. Several children may say so of the same node, since some have not heard yet that it went elsewhere:
//! one of these claims is believed, the others are kept for when that one is withdrawn.
//!
//! Who took a parent later is right. Of claims that are equally late (since whatever is above the node moved), that one is right
//! over whose link the node's parent is found too.

use super::{Known, NodeNo, quoted};
use crate::{Kernel, LinkId, event::Attr, limits};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use op::{NodeId, Wall};

/// What somebody who has a node below it says of it.
#[derive(Debug)]
pub(super) struct Claim {
    /// What the node wants to be called.
    pub(super) name: Arc<str>,
    pub(super) parent: NodeId,
    pub(super) term: u64,
    pub(super) down: Option<(Wall, Arc<str>)>,
    pub(super) drained: bool,
    pub(super) attrs: Vec<(String, Attr)>,
    /// It was answered that the node went elsewhere, and will be withdrawn.
    pub(super) told: bool,
}

impl Known {
    /// What is believed, as somebody's claim.
    pub(super) fn believed(&mut self) -> Claim {
        Claim {
            name: self.name.clone(),
            parent: self.parent,
            term: self.term,
            down: self.down.clone(),
            drained: self.drained,
            attrs: core::mem::take(&mut self.attrs),
            told: false,
        }
    }
}

impl Kernel {
    /// Somebody claims a node.
    pub(super) fn claim(&mut self, no: NodeNo, link: LinkId, mut claim: Claim) {
        let Some(known) = self.cloud.nodes.get_mut(&no) else { return };
        let direct = claim.parent == self.node.id;
        match known.via {
            Some(via) if via != link => {
                known.others.insert(link, claim);
                self.weigh(no);
            }
            // It says so itself.
            _ if direct => {
                claim.term = claim.term.max(known.term);
                self.believe(no, link, claim);
            }
            Some(_) if claim.term < known.term => {}
            None if claim.term < known.term && claim.parent != known.parent => {
                let (id, term) = (known.id, known.term);
                self.tell(link, format!("moved {id} {term}\n"));
            }
            // It knows less than this node does, from its journal, and is to hear of it if the node is found elsewhere.
            None if claim.term < known.term => {
                known.via = Some(link);
                self.cloud.unsettled = true;
            }
            Some(_) | None => self.believe(no, link, claim),
        }
    }

    fn believe(&mut self, no: NodeNo, link: LinkId, claim: Claim) {
        let Some(known) = self.cloud.nodes.get(&no) else { return };
        let Claim { name: wanted, parent, term, down, drained, attrs, .. } = claim;
        let id = known.id;
        let name = self.free_name(id, &wanted);
        let Some(known) = self.cloud.nodes.get_mut(&no) else { return };
        self.cloud.unsettled |= known.via != Some(link) || known.parent != parent;
        let old = core::mem::replace(&mut known.name, name.clone());
        (known.via, known.parent, known.term) = (Some(link), parent, term);
        (known.down, known.drained, known.attrs) = (down, drained, attrs);
        known.others.remove(&link);
        if old != name {
            self.cloud.by_name.remove(&old);
            self.cloud.by_name.insert(name.clone(), no);
        }
        if name != wanted {
            self.tell(link, format!("name {id} {}\n", quoted(&name)));
        }
        self.cloud.outdated.insert(no);
        self.cloud.changed.insert(no);
        self.cloud.sets.answers.touch(no);
        self.journal_node(no);
    }

    /// Whether the node's parent, as it is claimed, is found over the same link.
    fn is_sound(&self, id: NodeId, link: LinkId, parent: NodeId) -> bool {
        if parent == self.node.id {
            return self.cloud.links.get(&link).and_then(|tie| tie.peer.as_ref()).is_some_and(|p| p.id == id);
        }
        let parent = self.cloud.by_id.get(&parent).and_then(|no| self.cloud.known(*no));
        parent.is_some_and(|parent| parent.via == Some(link))
    }

    /// Believes another claim of a node if it is better. Whether it was.
    fn weigh(&mut self, no: NodeNo) -> bool {
        let Some(known) = self.cloud.known(no) else { return false };
        let Some(via) = known.via else { return false };
        let id = known.id;
        let weight =
            |link: LinkId, term: u64, parent: NodeId, up: bool| (term, self.is_sound(id, link, parent), up);
        let others = known.others.iter().map(|(l, c)| (weight(*l, c.term, c.parent, c.down.is_none()), *l));
        let best = others.max();
        let own = weight(via, known.term, known.parent, known.down.is_none());
        let Some((_, link)) = best.filter(|(weight, _)| *weight > own) else {
            self.cloud.outdated.insert(no);
            return false;
        };
        let Some(known) = self.cloud.nodes.get_mut(&no) else { return false };
        let Some(claim) = known.others.remove(&link) else { return false };
        let before = known.believed();
        known.others.insert(via, before);
        self.believe(no, link, claim);
        true
    }

    /// Whether the node's parent is said to be over the same link, believed or not. If so, it is the parent that moved, if anybody did: the
    /// one above both has not heard yet, or somebody has moved with all that is below him and has forgotten since when he has it.
    fn goes_with(&self, id: NodeId, link: LinkId, parent: NodeId) -> bool {
        let known = self.cloud.by_id.get(&parent).and_then(|no| self.cloud.known(*no));
        let claimed = known.and_then(|known| known.others.get(&link)).is_some_and(|claim| !claim.told);
        claimed || self.is_sound(id, link, parent)
    }

    /// Whoever has a node where it was before it took its parent is to forget it.
    fn tell_moved(&mut self, no: NodeNo) {
        let Some(known) = self.cloud.known(no) else { return };
        let (id, term, parent) = (known.id, known.term, known.parent);
        // With the parent that it has now it may have been before.
        let stale = |link: LinkId, claim: &Claim| {
            !claim.told
                && claim.term < term
                && (claim.parent != parent || !self.goes_with(id, link, claim.parent))
        };
        let others = known.others.iter().filter(|(link, claim)| stale(**link, claim));
        for link in others.map(|(link, _)| *link).collect::<Vec<_>>() {
            let claim = self.cloud.nodes.get_mut(&no).and_then(|known| known.others.get_mut(&link));
            claim.into_iter().for_each(|claim| claim.told = true);
            self.tell(link, format!("moved {id} {term}\n"));
        }
    }

    /// Where a node's parent is found has changed: claims that are as late as others are weighed again. When all that came is known,
    /// those that are out of date are answered.
    pub(super) fn settle_claims(&mut self) {
        self.weigh_again();
        for no in core::mem::take(&mut self.cloud.outdated) {
            self.tell_moved(no);
        }
    }

    fn weigh_again(&mut self) {
        for _ in 0..limits::DEPTH {
            if !core::mem::take(&mut self.cloud.unsettled) {
                return;
            }
            let contested = self.cloud.nodes.iter().filter(|(_, known)| !known.others.is_empty());
            for no in contested.map(|(no, _)| *no).collect::<Vec<_>>() {
                self.weigh(no);
            }
        }
        self.cloud.unsettled = false;
    }

    /// Nobody claims a node any more where it was believed to be: it is down, as far as anybody knows who still has it.
    /// Whether there is anybody.
    pub(super) fn fall_back(&mut self, no: NodeNo, cause: &str) -> bool {
        let now = self.clock.wall;
        let Some(known) = self.cloud.nodes.get_mut(&no) else { return false };
        let left = known.others.iter().filter(|(_, claim)| !claim.told).max_by_key(|(_, claim)| claim.term);
        let left = left.map(|(link, _)| *link);
        if let Some(link) = left {
            known.others.remove(&link);
        }
        known.via = left;
        known.down.get_or_insert_with(|| (now, cause.into()));
        self.cloud.changed.insert(no);
        self.cloud.sets.answers.touch(no);
        self.cloud.unsettled = true;
        left.is_some()
    }
}
