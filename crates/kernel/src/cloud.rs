//! Who else there is. What is below this node it knows from memory, from what its children push up; of what is above, only
//! the way to the root. Nothing here asks anybody.
//!
//! ```text
//!   a child's kernel ── node, load, gone ──▶ this kernel ── the same of all below it ──▶ its parent's
//!                    ◀──── above, name ────              ◀──────── above, name ────────
//! ```
//! News are lines of words, as in a `ctl`:
//!
//! - `node ID NAME PARENT TERM up|drained|down SINCE WHY key=value…`: one node, whole. TERM grows whenever the node itself takes a
//!   parent, so that of two who both claim to have it below them the later one is believed.
//! - `load ID AGE_MS UP_SECS USERS LOAD MEM_FREE DISK_FREE SESSIONS RUNNING`: how it does.
//! - `gone ID`: it left for good.
//! - `above ID NAME …`: from the root to the sender.
//! - `name ID NEW`: another node has that name; be called this.
//! - `moved ID TERM`: it took another parent, so who still has it as down is to forget it.

mod claims;
mod kept;
mod name;
mod news;
mod stand;

use claims::Claim;
use name::{is_node_name, quoted};
pub(crate) use name::{loc, within};

use crate::{
    Effect, Kernel, LinkId, Peer,
    event::{Attr, Gauges},
    far::Tie,
    limits,
    notices::What,
    park::On,
    query::Sets,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Errno, Error, Mono, NodeId, Wall};

/// A known node's number in this kernel; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct NodeNo(pub(crate) u32);

/// A node that is below this one, or was.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    pub(crate) parent: NodeId,
    /// The child link that leads there; `None` when that is gone.
    pub(crate) via: Option<LinkId>,
    /// Since when it cannot be reached, and why.
    pub(crate) down: Option<(Wall, Arc<str>)>,
    pub(crate) drained: bool,
    pub(crate) attrs: Vec<(String, Attr)>,
    pub(crate) load: Load,
    /// When that was so.
    pub(crate) measured: Mono,
    /// It has told how it does.
    has_load: bool,
    /// Of several that have it below them, the one with the greatest term is right.
    pub(crate) term: u64,
    /// Others that have it too, by the links that lead to them.
    others: BTreeMap<LinkId, Claim>,
}

/// How a node does, as far as others are told.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Load {
    pub(crate) up_secs: u64,
    pub(crate) users: u64,
    pub(crate) load: f64,
    pub(crate) mem_free: u64,
    pub(crate) disk_free: u64,
    pub(crate) sessions: u64,
    pub(crate) running: u64,
}

/// Everything that is known of other nodes.
#[derive(Debug, Default)]
pub(crate) struct Cloud {
    pub(crate) nodes: BTreeMap<NodeNo, Known>,
    by_id: BTreeMap<NodeId, NodeNo>,
    by_name: BTreeMap<Arc<str>, NodeNo>,
    next_no: u32,
    pub(crate) links: BTreeMap<LinkId, Tie>,
    /// The link to the parent.
    pub(crate) above: Option<LinkId>,
    /// From the root to the parent.
    pub(crate) ancestors: Vec<(NodeId, Arc<str>)>,
    /// A parent that was there: who, since when not, why.
    pub(crate) lost: Option<(Arc<str>, Wall, Arc<str>)>,
    pub(crate) seeking: String,
    pub(crate) drained: bool,
    term: u64,
    /// What was walked to in `phys/` and `query/`.
    pub(crate) sets: Sets,
    /// What the parent is to be told before the event is over.
    changed: BTreeSet<NodeNo>,
    changed_self: bool,
    gone: Vec<NodeId>,
    /// Claims are to be weighed again.
    unsettled: bool,
    /// Nodes of which somebody may have to be told that they went elsewhere.
    outdated: BTreeSet<NodeNo>,
    /// Loads that it is told with the next beat of the pusher.
    loads: BTreeSet<NodeNo>,
    told_load: Option<Load>,
    pub(crate) push_at: Option<Mono>,
    /// What the journal says of each node: its name and its parent.
    journaled: BTreeMap<NodeNo, (Arc<str>, NodeId)>,
}

impl Cloud {
    pub(crate) fn known(&self, no: NodeNo) -> Option<&Known> {
        self.nodes.get(&no)
    }

    pub(crate) fn named(&self, name: &str) -> Option<NodeNo> {
        self.by_name.get(name).copied()
    }

    /// Links to children.
    pub(crate) fn children(&self) -> impl Iterator<Item = (LinkId, &Tie)> {
        self.links.iter().filter(|(_, tie)| tie.peer.as_ref().is_some_and(|p| !p.above)).map(|(l, t)| (*l, t))
    }

    fn forget(&mut self, no: NodeNo) {
        if let Some(known) = self.nodes.remove(&no) {
            self.by_id.remove(&known.id);
            self.by_name.remove(&known.name);
            self.changed.remove(&no);
            self.loads.remove(&no);
            self.journaled.remove(&no);
            self.gone.push(known.id);
            self.sets.answers.touch(no);
        }
    }
}

impl Known {
    pub(crate) fn loc(&self) -> Option<&str> {
        loc(&self.attrs)
    }

    /// The word for its state.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.down, self.drained) {
            (Some(_), _) => "down",
            (None, true) => "drained",
            (None, false) => "up",
        }
    }
}

impl Load {
    fn of(gauges: &Gauges, sessions: usize, running: usize) -> Load {
        Load {
            up_secs: gauges.up_secs,
            users: gauges.users.into(),
            load: gauges.load[0],
            mem_free: gauges.mem_free,
            disk_free: gauges.disk_free,
            sessions: sessions as u64,
            running: running as u64,
        }
    }

    /// Whether somebody who decides by it might decide otherwise.
    fn differs(&self, told: &Load) -> bool {
        let off = |a: u64, b: u64| a.abs_diff(b) > a.max(b) / 32;
        (self.load - told.load).abs() >= 0.05
            || self.users != told.users
            || off(self.mem_free, told.mem_free)
            || off(self.disk_free, told.disk_free)
            || (self.sessions, self.running) != (told.sessions, told.running)
            || self.up_secs < told.up_secs
    }
}

// ── links come and go ──────────────────────────────────────────────────────────────────────

impl Kernel {
    pub(crate) fn linked(&mut self, link: LinkId, peer: Peer) {
        let name = peer.name.clone();
        if let Some(cause) = self.circle(&peer) {
            self.failed(None, self.node.owner.uid, "", "link", &Error::new(Errno::LOOP, cause.clone()));
            return self.out.push(Effect::Unlink(link, cause));
        }
        if peer.above {
            let now = self.clock.wall.0;
            let cloud = &mut self.cloud;
            cloud.term = (cloud.term + 1).max(now);
            let term = cloud.term;
            cloud.above = Some(link);
            cloud.lost = None;
            cloud.ancestors = alloc::vec![(peer.id, peer.name.clone())];
            cloud.changed_self = true;
            cloud.changed = cloud.nodes.keys().copied().collect();
            cloud.loads = cloud.changed.clone();
            cloud.told_load = None;
            cloud.push_at = Some(self.clock.mono);
            cloud.links.insert(link, Tie::new(Some(peer)));
            self.journal_term(term);
        } else {
            let children = self.cloud.children().count();
            if children >= limits::CHILDREN {
                let cause = format!("{} has {children} children already, its limit", self.node.name);
                return self.out.push(Effect::Unlink(link, cause));
            }
            self.child(link, peer);
        }
        let owner = self.node.owner.uid;
        self.happened(None, owner, What::NodeUp { node: name });
        self.tell_above(link);
        self.regather(link);
    }

    /// Why this link would make a circle of the tree.
    fn circle(&self, peer: &Peer) -> Option<String> {
        let (me, other) = (&self.node.name, &peer.name);
        let below = self.cloud.by_id.get(&peer.id).and_then(|no| self.cloud.known(*no));
        if peer.id == self.node.id {
            return Some(format!("{me} cannot be its own parent"));
        }
        if peer.above && below.is_some_and(|known| known.via.is_some() && known.down.is_none()) {
            return Some(format!("a loop: {other} is below {me} already, so it cannot be its parent"));
        }
        if !peer.above && self.cloud.ancestors.iter().any(|(id, _)| *id == peer.id) {
            return Some(format!("a loop: {other} is above {me}, so it cannot be its child"));
        }
        None
    }

    fn child(&mut self, link: LinkId, peer: Peer) {
        let (id, wanted) = (peer.id, peer.name.clone());
        self.cloud.links.insert(link, Tie::new(Some(peer)));
        let no = match self.cloud.by_id.get(&id) {
            Some(no) => *no,
            None => match self.enter(id, &wanted) {
                Some(no) => no,
                None => return,
            },
        };
        let old = self.cloud.nodes.get(&no).and_then(|known| known.via);
        // It may have been below another child: what that one has stays where it is.
        let own = |link: LinkId| self.cloud.links.get(&link).and_then(|tie| tie.peer.as_ref());
        let (old, was) = match old {
            Some(old) if own(old).is_none_or(|peer| peer.id == id) => (Some(old), None),
            old => (None, old),
        };
        self.cloud.unsettled = true;
        let parent = self.node.id;
        for (at, known) in &mut self.cloud.nodes {
            // What was below it is believed to be so still, until it says otherwise: it says so at once.
            if *at == no || (known.via.is_some() && known.via == old) {
                known.via = Some(link);
            }
        }
        let name = self.cloud.nodes[&no].name.clone();
        if let Some(known) = self.cloud.nodes.get_mut(&no) {
            if let Some(was) = was {
                let before = known.believed();
                known.attrs.clone_from(&before.attrs);
                known.others.insert(was, before);
            }
            (known.parent, known.down) = (parent, None);
        }
        if name != wanted {
            self.tell(link, format!("name {id} {name}\n"));
        }
        self.cloud.changed.insert(no);
        self.cloud.sets.answers.touch(no);
        self.journal_node(no);
    }

    /// A row for a node that was not known; `None` if there are too many.
    fn enter(&mut self, id: NodeId, wanted: &str) -> Option<NodeNo> {
        if self.cloud.nodes.len() >= limits::NODES {
            let cause = format!("{wanted} is not shown: {} nodes are known already", limits::NODES);
            self.failed(None, self.node.owner.uid, "", "link", &Error::new(Errno::AGAIN, cause));
            return None;
        }
        let no = NodeNo(self.cloud.next_no);
        self.cloud.next_no += 1;
        let name = self.free_name(id, wanted);
        let known = Known {
            id,
            name: name.clone(),
            parent: self.node.id,
            via: None,
            down: None,
            drained: false,
            attrs: Vec::new(),
            load: Load::default(),
            measured: self.clock.mono,
            has_load: false,
            term: 0,
            others: BTreeMap::new(),
        };
        self.cloud.nodes.insert(no, known);
        self.cloud.by_id.insert(id, no);
        self.cloud.by_name.insert(name, no);
        self.cloud.sets.answers.touch(no);
        Some(no)
    }

    /// What a node can be called here: as it wants, or with as many digits of its id behind that as it takes.
    fn free_name(&self, id: NodeId, wanted: &str) -> Arc<str> {
        let taken = |name: &str| {
            (*name == *self.node.name && id != self.node.id)
                || self.cloud.named(name).is_some_and(|no| self.cloud.nodes[&no].id != id)
        };
        if !taken(wanted) {
            return wanted.into();
        }
        let digits = id.to_string();
        let longer = (4..=digits.len()).map(|n| format!("{wanted}-{}", &digits[..n]));
        longer.into_iter().find(|name| !taken(name)).unwrap_or(digits).into()
    }

    /// What a neighbour is called, whatever its certificate says.
    fn called(&self, link: LinkId, peer: &Peer) -> Arc<str> {
        let parent = self.cloud.ancestors.last().filter(|_| self.cloud.above == Some(link));
        let child = self.cloud.by_id.get(&peer.id).and_then(|no| self.cloud.known(*no));
        match (peer.above, parent, child) {
            (true, Some((id, name)), _) if *id == peer.id => self.free_name(peer.id, name),
            (false, _, Some(known)) => known.name.clone(),
            (true | false, ..) => self.free_name(peer.id, &peer.name),
        }
    }

    pub(crate) fn unlinked(&mut self, link: LinkId, why: &str, left: bool) {
        let Some(tie) = self.cloud.links.remove(&link) else { return };
        let (above, name) = match &tie.peer {
            Some(peer) => (peer.above, self.called(link, peer)),
            None => return,
        };
        self.fail_asks(link, &format!("the link to {name} broke: {why}"));
        self.shares_cut(link);
        if self.cloud.above == Some(link) {
            let now = self.clock.wall;
            let cloud = &mut self.cloud;
            (cloud.above, cloud.push_at) = (None, None);
            cloud.ancestors.clear();
            cloud.lost = (!left).then(|| (name.clone(), now, why.into()));
            self.tell_all_above();
        }
        if !above {
            for known in self.cloud.nodes.values_mut() {
                known.others.remove(&link);
            }
            let lost: Vec<NodeNo> =
                self.cloud.nodes.iter().filter(|(_, k)| k.via == Some(link)).map(|(no, _)| *no).collect();
            for no in lost {
                if left {
                    self.forget_left(no);
                    continue;
                }
                let direct = self.cloud.nodes[&no].parent == self.node.id;
                let cause = if direct { String::from(why) } else { format!("{name} is down: {why}") };
                self.fall_back(no, &cause);
            }
        }
        let owner = self.node.owner.uid;
        self.happened(None, owner, What::NodeDown { node: name, cause: why.into() });
        self.parked.notify(On::Ends);
    }

    pub(crate) fn sought(&mut self, how: String) {
        if how.is_empty() {
            self.cloud.lost = None;
        }
        self.cloud.seeking = how;
    }
}
