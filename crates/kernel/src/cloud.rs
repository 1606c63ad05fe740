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

use crate::{Effect, Kernel, LinkId, Peer, far::Tie, limits, notices::What, park::On, place::View, words};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;
use op::{Errno, Error, Mono, NodeId, Result, Uid, Wall};

use crate::event::{Attr, Gauges};

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
    /// Of several that have it below them, the one with the greatest term is right.
    term: u64,
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
    /// Paths of `phys/`, numbered as they are first walked.
    pub(crate) locs: Vec<Arc<str>>,
    /// What the parent is to be told before the event is over.
    changed: BTreeSet<NodeNo>,
    changed_self: bool,
    gone: Vec<NodeId>,
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

/// The label `loc` among attributes.
pub(crate) fn loc(attrs: &[(String, Attr)]) -> Option<&str> {
    attrs.iter().find_map(|(key, value)| match value {
        Attr::Text(text) if key == "loc" => Some(text.trim_matches('/')).filter(|text| !text.is_empty()),
        _ => None,
    })
}

/// Whether a location is `of`, or within it; everything is within the empty one.
pub(crate) fn within(loc: Option<&str>, of: &str) -> bool {
    let Some(loc) = loc else { return false };
    of.is_empty() || loc.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
            cloud.above = Some(link);
            cloud.lost = None;
            cloud.ancestors = alloc::vec![(peer.id, peer.name.clone())];
            cloud.changed_self = true;
            cloud.changed = cloud.nodes.keys().copied().collect();
            cloud.loads = cloud.changed.clone();
            cloud.told_load = None;
            cloud.push_at = Some(self.clock.mono);
            cloud.links.insert(link, Tie::new(Some(peer)));
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
        if peer.above && below.is_some_and(|known| known.via.is_some()) {
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
        let parent = self.node.id;
        for (at, known) in &mut self.cloud.nodes {
            // What was below it is believed to be so still, until it says otherwise: it says so at once.
            if *at == no || (known.via.is_some() && known.via == old) {
                known.via = Some(link);
            }
        }
        let name = self.cloud.nodes[&no].name.clone();
        if let Some(known) = self.cloud.nodes.get_mut(&no) {
            (known.parent, known.down) = (parent, None);
        }
        if name != wanted {
            self.tell(link, format!("name {id} {name}\n"));
        }
        self.cloud.changed.insert(no);
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
            term: 0,
        };
        self.cloud.nodes.insert(no, known);
        self.cloud.by_id.insert(id, no);
        self.cloud.by_name.insert(name, no);
        self.cloud.gone.retain(|gone| *gone != id);
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

    pub(crate) fn unlinked(&mut self, link: LinkId, why: &str, left: bool) {
        let Some(tie) = self.cloud.links.remove(&link) else { return };
        let (above, name) = match &tie.peer {
            Some(peer) => (peer.above, peer.name.clone()),
            None => return,
        };
        self.fail_asks(link, &format!("the link to {name} broke: {why}"));
        if self.cloud.above == Some(link) {
            let now = self.clock.wall;
            let cloud = &mut self.cloud;
            (cloud.above, cloud.push_at) = (None, None);
            cloud.ancestors.clear();
            cloud.lost = (!left && !cloud.seeking.is_empty()).then(|| (name.clone(), now, why.into()));
            self.tell_all_above();
        }
        if !above {
            let lost: Vec<NodeNo> =
                self.cloud.nodes.iter().filter(|(_, k)| k.via == Some(link)).map(|(no, _)| *no).collect();
            for no in lost {
                if left {
                    self.journal_gone(no);
                    self.cloud.forget(no);
                    continue;
                }
                let known = self.cloud.nodes.get_mut(&no).expect("just seen");
                known.via = None;
                let direct = known.parent == self.node.id;
                let cause = if direct { String::from(why) } else { format!("{name} is down: {why}") };
                known.down.get_or_insert((self.clock.wall, cause.into()));
                self.cloud.changed.insert(no);
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

// ── news ───────────────────────────────────────────────────────────────────────────────────

impl Kernel {
    fn tell(&mut self, link: LinkId, text: String) {
        self.out.push(Effect::News(link, text.into_bytes()));
    }

    /// From the root to this node, for those below it.
    fn tell_above(&mut self, link: LinkId) {
        if self.cloud.above == Some(link) || !self.cloud.links.contains_key(&link) {
            return;
        }
        let mut line = String::from("above");
        let me = (self.node.id, self.node.name.clone());
        for (id, name) in self.cloud.ancestors.iter().chain([&me]) {
            line.push_str(&format!(" {id} {}", quoted(name)));
        }
        line.push('\n');
        self.tell(link, line);
    }

    fn tell_all_above(&mut self) {
        let links: Vec<LinkId> = self.cloud.children().map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.tell_above(link));
    }

    /// What the other end of a link says. A line that is not understood is somebody's newer version, and does no harm.
    pub(crate) fn news(&mut self, link: LinkId, text: &[u8]) {
        let Some(above) = self.cloud.links.get(&link).and_then(|tie| tie.peer.as_ref()).map(|p| p.above)
        else {
            return;
        };
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let words: Vec<String> =
                words::split(line).unwrap_or_default().iter().map(|w| words::lossy(w)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let done = match (above, words.as_slice()) {
                (false, ["node", rest @ ..]) => self.learn(link, rest),
                (false, ["load", rest @ ..]) => self.learn_load(link, rest),
                (false, ["gone", id]) => self.learn_gone(link, id),
                (true, ["above", rest @ ..]) => self.learn_above(link, rest),
                (true, ["name", id, name]) => self.learn_name(id, name),
                _ => None,
            };
            if done.is_none() {
                let shown = words::lossy(&line[..line.len().min(80)]);
                let error = Error::new(Errno::PROTO, format!("news that were not understood: {shown:?}"));
                self.failed(None, self.node.owner.uid, "", "link", &error);
            }
        }
    }

    fn learn(&mut self, link: LinkId, words: &[&str]) -> Option<()> {
        let [id, wanted, parent, term, state, since, why, attrs @ ..] = words else { return None };
        let (id, parent): (NodeId, NodeId) = (id.parse().ok()?, parent.parse().ok()?);
        let (term, since): (u64, u64) = (term.parse().ok()?, since.parse().ok()?);
        let direct = self.cloud.links.get(&link)?.peer.as_ref()?.id == id;
        if id == self.node.id || !is_node_name(wanted) || attrs.len() > limits::ATTRS {
            return None;
        }
        let down = (*state == "down").then(|| (Wall(since), Arc::from(*why)));
        let no = match self.cloud.by_id.get(&id) {
            Some(no) => *no,
            None => self.enter(id, wanted)?,
        };
        let known = &self.cloud.nodes[&no];
        let elsewhere = known.via.is_some_and(|via| via != link);
        if term < known.term || (term == known.term && elsewhere && down.is_some()) {
            return Some(());
        }
        let name = self.free_name(id, wanted);
        let attrs = attrs.iter().map(|a| read_attr(a)).collect::<Option<Vec<_>>>()?;
        let known = self.cloud.nodes.get_mut(&no)?;
        let old = core::mem::replace(&mut known.name, name.clone());
        // A child itself cannot say that it is down, or whose child it is: we know better.
        (known.parent, known.down) = if direct { (self.node.id, None) } else { (parent, down) };
        (known.via, known.term, known.attrs) = (Some(link), term, attrs);
        known.drained = *state == "drained";
        if old != name {
            self.cloud.by_name.remove(&old);
            self.cloud.by_name.insert(name.clone(), no);
        }
        if *name != **wanted {
            self.tell(link, format!("name {id} {}\n", quoted(&name)));
        }
        self.cloud.changed.insert(no);
        self.journal_node(no);
        Some(())
    }

    fn learn_load(&mut self, link: LinkId, words: &[&str]) -> Option<()> {
        let [id, age, rest @ ..] = words else { return None };
        let [up_secs, users, load, mem_free, disk_free, sessions, running] = rest else { return None };
        let number = |text: &str| text.parse::<u64>().ok();
        let age = Duration::from_millis(number(age)?);
        let load = Load {
            up_secs: number(up_secs)?,
            users: number(users)?,
            load: load.parse().ok().filter(|x: &f64| x.is_finite())?,
            mem_free: number(mem_free)?,
            disk_free: number(disk_free)?,
            sessions: number(sessions)?,
            running: number(running)?,
        };
        let no = *self.cloud.by_id.get(&id.parse().ok()?)?;
        let now = self.clock.mono;
        let known = self.cloud.nodes.get_mut(&no).filter(|known| known.via == Some(link));
        if let Some(known) = known {
            known.load = load;
            known.measured = Mono(now.0.saturating_sub(age.as_nanos() as u64));
            self.cloud.loads.insert(no);
        }
        Some(())
    }

    fn learn_gone(&mut self, link: LinkId, id: &str) -> Option<()> {
        let no = self.cloud.by_id.get(&id.parse().ok()?).copied();
        if let Some(no) = no.filter(|no| self.cloud.nodes[no].via == Some(link)) {
            self.journal_gone(no);
            self.cloud.forget(no);
        }
        Some(())
    }

    fn learn_above(&mut self, link: LinkId, words: &[&str]) -> Option<()> {
        if words.len() > 2 * limits::DEPTH {
            return None;
        }
        let pairs = words.chunks_exact(2).map(|pair| Some((pair[0].parse().ok()?, Arc::from(pair[1]))));
        let ancestors: Vec<(NodeId, Arc<str>)> = pairs.collect::<Option<_>>()?;
        if ancestors.iter().any(|(id, _)| *id == self.node.id) {
            let parent = ancestors.last().map_or("", |(_, name)| name);
            let cause =
                format!("a loop: {} is above {parent}, so {parent} cannot be its parent", self.node.name);
            self.failed(None, self.node.owner.uid, "", "link", &Error::new(Errno::LOOP, cause.clone()));
            self.out.push(Effect::Unlink(link, cause));
            return Some(());
        }
        if self.cloud.above == Some(link) {
            self.cloud.ancestors = ancestors;
            self.tell_all_above();
        }
        Some(())
    }

    fn learn_name(&mut self, id: &str, name: &str) -> Option<()> {
        let id: NodeId = id.parse().ok()?;
        if !is_node_name(name) {
            return None;
        }
        if id == self.node.id {
            let old = core::mem::replace(&mut self.node.name, name.into());
            if *old != *name {
                self.cloud.changed_self = true;
                let owner = self.node.owner.uid;
                self.happened(None, owner, What::Renamed { old, new: name.into() });
                self.tell_all_above();
            }
            return Some(());
        }
        let no = *self.cloud.by_id.get(&id)?;
        let known = self.cloud.nodes.get_mut(&no)?;
        let via = known.via;
        let old = core::mem::replace(&mut known.name, name.into());
        self.cloud.by_name.remove(&old);
        self.cloud.by_name.insert(name.into(), no);
        self.cloud.changed.insert(no);
        if let Some(link) = via {
            self.tell(link, format!("name {id} {}\n", quoted(name)));
        }
        Some(())
    }

    // ── upwards ────────────────────────────────────────────────────────────────────────────

    /// Tells the parent what changed, all of an event in one message or few.
    pub(crate) fn push_up(&mut self) {
        let due = self.cloud.push_at.is_some_and(|at| at <= self.clock.mono);
        if let (true, None) = (due, self.cloud.above) {
            self.cloud.push_at = None;
        }
        let cloud = &self.cloud;
        if cloud.changed.is_empty() && cloud.gone.is_empty() && !cloud.changed_self && !due {
            return;
        }
        let (changed, gone) =
            (core::mem::take(&mut self.cloud.changed), core::mem::take(&mut self.cloud.gone));
        let myself = core::mem::take(&mut self.cloud.changed_self);
        let Some(link) = self.cloud.above else { return };
        let mut lines = Vec::new();
        if myself {
            lines.push(self.own_line());
        }
        lines.extend(gone.iter().map(|id| format!("gone {id}\n")));
        lines.extend(changed.iter().filter_map(|no| self.cloud.known(*no)).map(node_line));
        if due {
            self.cloud.push_at = Some(self.clock.mono + limits::PUSH);
            if !self.parked.awaited(&On::Measured) {
                self.out.push(Effect::Measure);
            }
            let loads = core::mem::take(&mut self.cloud.loads);
            let now = self.clock.mono;
            let known = loads.iter().filter_map(|no| self.cloud.known(*no)).filter(|k| k.down.is_none());
            lines.extend(known.map(|k| load_line(k.id, now.since(k.measured), &k.load)));
        }
        let mut text = String::new();
        for line in lines {
            if text.len() + line.len() > limits::NEWS {
                self.tell(link, core::mem::take(&mut text));
            }
            text.push_str(&line);
        }
        if !text.is_empty() {
            self.tell(link, text);
        }
    }

    /// The node was measured: its parent is told if that changes anything.
    pub(crate) fn push_own_load(&mut self) {
        let (Some(link), Some((_, gauges))) = (self.cloud.above, &self.gauges) else { return };
        let load = Load::of(gauges, self.sessions.len(), self.running);
        if self.cloud.told_load.is_none_or(|told| load.differs(&told)) {
            self.cloud.told_load = Some(load);
            let line = load_line(self.node.id, Duration::ZERO, &load);
            self.tell(link, line);
        }
    }

    fn own_line(&self) -> String {
        let state = if self.cloud.drained { "drained" } else { "up" };
        let parent = self.cloud.ancestors.last().map_or(self.node.id, |(id, _)| *id);
        let mut line = format!(
            "node {} {} {parent} {} {state} 0 ''",
            self.node.id,
            quoted(&self.node.name),
            self.cloud.term
        );
        write_attrs(&self.node.attrs, &mut line);
        line
    }

    /// This node's own load, from when it was last measured.
    pub(crate) fn own_load(&self) -> Load {
        let gauges = self.gauges.as_ref().map(|(_, gauges)| gauges.clone()).unwrap_or_default();
        Load::of(&gauges, self.sessions.len(), self.running)
    }

    // ── the journal, and what people ask for ───────────────────────────────────────────────

    fn journal_node(&mut self, no: NodeNo) {
        let Some(known) = self.cloud.nodes.get(&no) else { return };
        let (line, now) = (journal_line(known), (known.name.clone(), known.parent));
        if self.cloud.journaled.insert(no, now.clone()).is_none_or(|before| before != now) {
            self.append(line);
        }
    }

    fn journal_gone(&mut self, no: NodeNo) {
        let Some(known) = self.cloud.known(no) else { return };
        let line = format!("nonode {}", known.id).into_bytes();
        self.append(line);
    }

    /// Lines for a journal that is written anew.
    pub(crate) fn cloud_lines(&self) -> Vec<Vec<u8>> {
        let nodes = self.cloud.nodes.values().map(journal_line);
        let labels = self.labels.iter().map(|(key, value)| label_line(key, value));
        let drained = self.cloud.drained.then(|| b"drained 1".to_vec());
        nodes.chain(labels).chain(drained).collect()
    }

    /// A line of the journal that speaks of other nodes, or of this one.
    pub(crate) fn recall_cloud(&mut self, line: &[u8]) -> Option<()> {
        let words: Vec<String> = words::split(line).ok()?.iter().map(|w| words::lossy(w)).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["node", id, name, parent] if is_node_name(name) => {
                let (id, parent) = (id.parse().ok()?, parent.parse().ok()?);
                if id == self.node.id || self.cloud.by_id.contains_key(&id) {
                    return Some(());
                }
                let no = self.enter(id, name)?;
                let since = self.node.started;
                let why = format!("{} has just started, and it is not back yet", self.node.name);
                let known = self.cloud.nodes.get_mut(&no)?;
                known.parent = parent;
                known.down = Some((since, why.into()));
                self.cloud.journaled.insert(no, (known.name.clone(), parent));
            }
            ["nonode", id] => {
                if let Some(no) = self.cloud.by_id.get(&id.parse().ok()?).copied() {
                    self.cloud.forget(no);
                    self.cloud.gone.clear();
                }
            }
            ["drained", on] => self.cloud.drained = on == "1",
            ["label", key, value] => self.set_label(key, value),
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn set_label(&mut self, key: &str, value: &str) {
        self.labels.retain(|(k, _)| k != key);
        self.labels.push((key.into(), value.into()));
        self.node.attrs.retain(|(k, _)| k != key);
        if !value.is_empty() {
            self.node.attrs.push((key.into(), Attr::Text(value.into())));
        }
        self.cloud.changed_self = true;
    }

    pub(crate) fn label(&mut self, key: &str, value: &str) {
        self.set_label(key, value);
        self.append(label_line(key, value));
    }

    pub(crate) fn drain(&mut self, on: bool) {
        if core::mem::replace(&mut self.cloud.drained, on) != on {
            self.cloud.changed_self = true;
            self.append(format!("drained {}", u8::from(on)).into_bytes());
        }
    }

    /// A node that is down for good is forgotten, with what is known to be below it.
    pub(crate) fn forget_node(&mut self, uid: Uid, no: NodeNo) -> Result<()> {
        let known = self.cloud.known(no).ok_or(Errno::NOENT)?;
        if !self.stands_for(uid, self.node.owner.uid) {
            let cause = format!(
                "only {} and root can make {} forget {}",
                self.node.owner.name, self.node.name, known.name
            );
            return Err(Error::new(Errno::PERM, cause));
        }
        let mut left = alloc::vec![no];
        while let Some(no) = left.pop() {
            let Some(id) = self.cloud.known(no).map(|known| known.id) else { continue };
            let below = self.cloud.nodes.iter().filter(|(_, k)| k.parent == id && k.via.is_none());
            left.extend(below.map(|(no, _)| *no));
            self.journal_gone(no);
            self.cloud.forget(no);
        }
        Ok(())
    }

    /// The view of a set's part of `phys/`: its number for this path.
    pub(crate) fn loc_no(&mut self, path: &str) -> u32 {
        match self.cloud.locs.iter().position(|known| **known == *path) {
            Some(at) => at as u32,
            None => {
                self.cloud.locs.push(path.into());
                self.cloud.locs.len() as u32 - 1
            }
        }
    }

    /// Names from the child that leads there down to a node, for a walk in its `tree/`.
    pub(crate) fn tree_names(&self, no: NodeNo) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = Some(no);
        while let Some(known) = at.and_then(|no| self.cloud.known(no)) {
            names.push(String::from(&*known.name));
            let top = known.parent == self.node.id || names.len() > limits::DEPTH;
            at = if top { None } else { self.cloud.by_id.get(&known.parent).copied() };
        }
        names.reverse();
        names
    }

    /// Where a node stands in another view than by name; `None` if it does not.
    pub(crate) fn view_of(&self, no: Option<NodeNo>, view: View) -> Option<Vec<String>> {
        let name = match no {
            Some(no) => self.cloud.known(no)?.name.clone(),
            None => self.node.name.clone(),
        };
        Some(match view {
            View::Net => alloc::vec!["net".into(), String::from(&*name)],
            View::Tree => {
                let mut names = alloc::vec![String::from("tree")];
                names.extend(self.cloud.ancestors.iter().map(|(_, name)| String::from(&**name)));
                names.push(String::from(&*self.node.name));
                names.extend(no.into_iter().flat_map(|no| self.tree_names(no)));
                names
            }
            View::Phys => {
                let loc = match no {
                    Some(no) => self.cloud.known(no)?.loc()?,
                    None => loc(&self.node.attrs)?,
                };
                let mut names = alloc::vec![String::from("phys")];
                names.extend(loc.split('/').map(String::from));
                names.push(String::from(&*name));
                names
            }
        })
    }

    /// A child of this node by name, in `tree/`.
    pub(crate) fn child_named(&self, name: &str) -> Option<NodeNo> {
        self.cloud.named(name).filter(|no| self.cloud.nodes[no].parent == self.node.id)
    }

    pub(crate) fn node_no(&self, id: NodeId) -> Option<NodeNo> {
        self.cloud.by_id.get(&id).copied()
    }
}

fn journal_line(known: &Known) -> Vec<u8> {
    format!("node {} {} {}", known.id, quoted(&known.name), known.parent).into_bytes()
}

fn label_line(key: &str, value: &str) -> Vec<u8> {
    format!("label {key} {}", quoted(value)).into_bytes()
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    words::quote(text.replace('\n', " ").as_bytes(), &mut out);
    words::lossy(&out)
}

fn node_line(known: &Known) -> String {
    let (since, why) = known.down.as_ref().map_or((0, ""), |(since, why)| (since.0, &**why));
    let mut line = format!(
        "node {} {} {} {} {} {since} {}",
        known.id,
        quoted(&known.name),
        known.parent,
        known.term,
        known.state(),
        quoted(why)
    );
    write_attrs(&known.attrs, &mut line);
    line
}

fn load_line(id: NodeId, age: Duration, load: &Load) -> String {
    let Load { up_secs, users, load, mem_free, disk_free, sessions, running } = load;
    let age = age.as_millis();
    format!("load {id} {age} {up_secs} {users} {load:.2} {mem_free} {disk_free} {sessions} {running}\n")
}

/// `key=` and a letter for the kind before the value, each one word.
fn write_attrs(attrs: &[(String, Attr)], line: &mut String) {
    for (key, value) in attrs.iter().take(limits::ATTRS) {
        let text = match value {
            Attr::Text(text) => format!("{key}=t{text}"),
            Attr::Int(n) => format!("{key}=i{n}"),
            Attr::Size(n) => format!("{key}=s{n}"),
            Attr::Real(x) => format!("{key}=r{x}"),
        };
        line.push(' ');
        line.push_str(&quoted(&text));
    }
    line.push('\n');
}

fn read_attr(word: &str) -> Option<(String, Attr)> {
    let (key, rest) = word.split_once('=')?;
    let value = rest.get(1..)?;
    let value = match rest.as_bytes()[0] {
        b't' => Attr::Text(value.into()),
        b'i' => Attr::Int(value.parse().ok()?),
        b's' => Attr::Size(value.parse().ok()?),
        b'r' => Attr::Real(value.parse().ok()?),
        _ => return None,
    };
    Some((key.into(), value))
}

/// What a node can be called: one element of a path, and no number, since those are sessions'.
fn is_node_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    !name.is_empty()
        && name.len() <= limits::NAME
        && !matches!(name, "." | ".." | "...")
        && !name.contains(odd)
        && !name.bytes().all(|b| b.is_ascii_digit())
}
