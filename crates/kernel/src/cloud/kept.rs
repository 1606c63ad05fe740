//! What of a cloud outlives the node: who was known, labels, and whether it is drained.

use super::{Known, NodeNo, is_node_name, quoted};
use crate::{Kernel, LinkId, event::Attr, words};
use alloc::{format, string::String, vec::Vec};
use op::{Errno, Error, NodeId, Result, Uid};

impl Kernel {
    pub(super) fn journal_node(&mut self, no: NodeNo) {
        let Some(known) = self.cloud.nodes.get(&no) else { return };
        let (line, now) = (journal_line(known), (known.name.clone(), known.parent));
        if self.cloud.journaled.insert(no, now.clone()).is_none_or(|before| before != now) {
            self.append(line);
        }
    }

    /// A clock that was set back must not make this node's word older than what it said before.
    pub(super) fn journal_term(&mut self, term: u64) {
        self.append(format!("term {term}").into_bytes());
    }

    pub(super) fn journal_gone(&mut self, no: NodeNo) {
        let Some(known) = self.cloud.known(no) else { return };
        let line = format!("nonode {}", known.id).into_bytes();
        self.append(line);
    }

    /// Lines for a journal that is written anew.
    pub(crate) fn cloud_lines(&self) -> Vec<Vec<u8>> {
        let nodes = self.cloud.nodes.values().map(journal_line);
        let labels = self.labels.iter().map(|(key, value)| label_line(key, value));
        let drained = self.cloud.drained.then(|| b"drained 1".to_vec());
        let term = (self.cloud.term > 0).then(|| format!("term {}", self.cloud.term).into_bytes());
        nodes.chain(labels).chain(drained).chain(term).collect()
    }

    /// A line of the journal that speaks of other nodes, or of this one.
    pub(crate) fn recall_cloud(&mut self, line: &[u8]) -> Option<()> {
        let words: Vec<String> = words::split(line).ok()?.iter().map(|w| words::lossy(w)).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["node", id, name, parent] if is_node_name(name) => {
                let (id, parent) = (id.parse().ok()?, parent.parse().ok()?);
                if id == self.node.id {
                    return Some(());
                }
                // The last line about a node counts.
                if let Some(no) = self.cloud.by_id.get(&id).copied() {
                    self.cloud.forget(no);
                    self.cloud.gone.clear();
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
            ["term", term] => self.cloud.term = term.parse().ok()?,
            ["drained", on] => self.cloud.drained = on == "1",
            ["label", key, value] => self.set_label(key, value),
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn set_label(&mut self, key: &str, value: &str) {
        self.labels.retain(|(k, _)| k != key);
        self.labels.push((key.into(), value.into()));
        self.set_attr(key, (!value.is_empty()).then(|| Attr::Text(value.into())));
    }

    /// What the host says of the machine; a label of the same name says it better.
    pub(crate) fn told_attr(&mut self, key: &str, value: Option<Attr>) {
        if !self.labels.iter().any(|(label, text)| label == key && !text.is_empty()) {
            self.set_attr(key, value);
        }
    }

    /// What the host says of itself is not for the journal: it says so again.
    fn set_attr(&mut self, key: &str, value: Option<Attr>) {
        self.node.attrs.retain(|(k, _)| k != key);
        self.node.attrs.extend(value.map(|value| (key.into(), value)));
        self.cloud.changed_self = true;
        self.look_for_room();
    }

    pub(crate) fn label(&mut self, key: &str, value: &str) {
        self.set_label(key, value);
        self.append(label_line(key, value));
    }

    pub(crate) fn drain(&mut self, on: bool) {
        if core::mem::replace(&mut self.cloud.drained, on) != on {
            self.cloud.changed_self = true;
            self.append(format!("drained {}", u8::from(on)).into_bytes());
            self.look_for_room();
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
        let forgotten = self.forget_below(no);
        forgotten.into_iter().for_each(|id| self.shares_left(id));
        Ok(())
    }

    /// Forgets a node that left for good; who else has it is to do so too.
    pub(super) fn forget_left(&mut self, no: NodeNo) {
        let Some(known) = self.cloud.known(no) else { return };
        let (id, term) = (known.id, known.term + 1);
        let links: Vec<LinkId> = known.others.keys().copied().collect();
        links.into_iter().for_each(|link| self.tell(link, format!("moved {id} {term}\n")));
        self.journal_gone(no);
        self.cloud.forget(no);
        self.shares_left(id);
    }

    /// Forgets a node that cannot be reached, with what is known to be below it; which they were. They may be elsewhere in the cloud.
    pub(super) fn forget_below(&mut self, no: NodeNo) -> Vec<NodeId> {
        let (mut left, mut forgotten) = (alloc::vec![no], Vec::new());
        while let Some(no) = left.pop() {
            let Some(id) = self.cloud.known(no).map(|known| known.id) else { continue };
            let below = self.cloud.nodes.iter().filter(|(_, k)| k.parent == id && k.via.is_none());
            left.extend(below.map(|(no, _)| *no));
            self.journal_gone(no);
            self.cloud.forget(no);
            forgotten.push(id);
        }
        forgotten
    }
}

fn journal_line(known: &Known) -> Vec<u8> {
    format!("node {} {} {}", known.id, quoted(&known.name), known.parent).into_bytes()
}

fn label_line(key: &str, value: &str) -> Vec<u8> {
    format!("label {key} {}", quoted(value)).into_bytes()
}
