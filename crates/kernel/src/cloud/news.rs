//! News: what nodes tell each other of themselves and of what is below them. See `cloud` for the lines.

use super::{Claim, Known, Load, is_node_name, quoted};
use crate::{Effect, Kernel, LinkId, event::Attr, limits, notices::What, park::On, words};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::time::Duration;
use op::{Errno, Error, Mono, NodeId, Wall};

impl Kernel {
    pub(super) fn tell(&mut self, link: LinkId, text: String) {
        self.out.push(Effect::News(link, text.into_bytes()));
    }

    /// From the root to this node, for those below it.
    pub(super) fn tell_above(&mut self, link: LinkId) {
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

    pub(super) fn tell_all_above(&mut self) {
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
                (true, ["moved", id, term]) => self.learn_moved(id, term),
                _ => None,
            };
            if done.is_none() {
                let shown = words::lossy(&line[..line.len().min(80)]);
                let error = Error::new(Errno::PROTO, format!("news that were not understood: {shown:?}"));
                self.failed(None, self.node.owner.uid, "", "link", &error);
            }
        }
        self.look_again();
    }

    pub(super) fn learn(&mut self, link: LinkId, words: &[&str]) -> Option<()> {
        let [id, wanted, parent, term, state, since, why, attrs @ ..] = words else { return None };
        let (id, parent): (NodeId, NodeId) = (id.parse().ok()?, parent.parse().ok()?);
        let (term, since): (u64, u64) = (term.parse().ok()?, since.parse().ok()?);
        let direct = self.cloud.links.get(&link)?.peer.as_ref()?.id == id;
        if !is_node_name(wanted) || attrs.len() > limits::ATTRS {
            return None;
        }
        if id == self.node.id {
            // Who was above this node once is below it now, and has not heard.
            let term = self.cloud.term + 1;
            self.tell(link, format!("moved {id} {term}\n"));
            return Some(());
        }
        let attrs = attrs.iter().map(|a| read_attr(a)).collect::<Option<Vec<_>>>()?;
        let down = (*state == "down").then(|| (Wall(since), Arc::from(*why)));
        let no = match self.cloud.by_id.get(&id) {
            Some(no) => *no,
            None => self.enter(id, wanted)?,
        };
        // A child itself cannot say that it is down, or whose child it is: we know better.
        let (parent, down) = if direct { (self.node.id, None) } else { (parent, down) };
        let drained = *state == "drained";
        let claim = Claim { name: Arc::from(*wanted), parent, term, down, drained, attrs, told: false };
        self.claim(no, link, claim);
        Some(())
    }

    /// A node that was below this one took a parent elsewhere. Who has it as a child that is down forgets it and what was
    /// below it, and says so; the others pass that on.
    fn learn_moved(&mut self, id: &str, term: &str) -> Option<()> {
        let (id, term): (NodeId, u64) = (id.parse().ok()?, term.parse().ok()?);
        let Some(no) = self.cloud.by_id.get(&id).copied() else { return Some(()) };
        let known = &self.cloud.nodes[&no];
        if known.term >= term {
            return Some(());
        }
        let links: Vec<LinkId> = known.via.into_iter().chain(known.others.keys().copied()).collect();
        match links.is_empty() {
            true => drop(self.forget_below(no)),
            false => links.into_iter().for_each(|link| self.tell(link, format!("moved {id} {term}\n"))),
        }
        Some(())
    }

    pub(super) fn learn_load(&mut self, link: LinkId, words: &[&str]) -> Option<()> {
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
            // What was never told goes on at once; changes of it when the time comes.
            if !core::mem::replace(&mut known.has_load, true) && self.cloud.above.is_some() {
                self.cloud.push_at = Some(now);
            }
            known.load = load;
            self.parked.notify(On::Nodes);
            known.measured = Mono(now.0.saturating_sub(age.as_nanos() as u64));
            self.cloud.loads.insert(no);
            self.cloud.sets.answers.touch(no);
        }
        Some(())
    }

    pub(super) fn learn_gone(&mut self, link: LinkId, id: &str) -> Option<()> {
        let no = self.cloud.by_id.get(&id.parse().ok()?).copied();
        let Some(no) = no else { return Some(()) };
        let Some(known) = self.cloud.nodes.get_mut(&no) else { return Some(()) };
        known.others.remove(&link);
        if known.via == Some(link) && !self.fall_back(no, "it is not where it was") {
            self.journal_gone(no);
            self.cloud.forget(no);
        }
        Some(())
    }

    pub(super) fn learn_above(&mut self, link: LinkId, words: &[&str]) -> Option<()> {
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

    pub(super) fn learn_name(&mut self, id: &str, name: &str) -> Option<()> {
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
        self.cloud.sets.answers.touch(no);
        if let Some(link) = via {
            self.tell(link, format!("name {id} {}\n", quoted(name)));
        }
        Some(())
    }

    // ── upwards ────────────────────────────────────────────────────────────────────────────

    /// Tells the parent what changed, all of an event in one message or few.
    pub(crate) fn push_up(&mut self) {
        self.settle_claims();
        let due = self.cloud.push_at.is_some_and(|at| at <= self.clock.mono);
        if let (true, None) = (due, self.cloud.above) {
            self.cloud.push_at = None;
        }
        let cloud = &self.cloud;
        if !cloud.changed.is_empty() || cloud.changed_self {
            self.parked.notify(On::Nodes);
        }
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

    pub(super) fn own_line(&self) -> String {
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
        let (sessions, running) = (self.sessions.len(), self.running);
        match &self.gauges {
            Some((_, gauges)) => Load::of(gauges, sessions, running),
            None => Load { sessions: sessions as u64, running: running as u64, ..Load::default() },
        }
    }
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
