//! The files that the kernel remembers, each with the fid that stands for it; and the numbers of fids.

use crate::{abi, limits};
use op::{Fid, Uid};
use std::collections::BTreeMap;

/// A file that the kernel may name by its number at any time, until it forgets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    /// Stands for the file; never open.
    pub(crate) fid: Fid,
    /// The node it was found in.
    pub(crate) parent: u64,
    /// The file's own identity.
    pub(crate) path: u64,
    /// Who found it first: as whom the fid is clunked.
    pub(crate) uid: Uid,
    /// The fid no longer works, because the link to where it leads broke: the next one found takes its place.
    pub(crate) stale: bool,
    /// How often the kernel was told of it; it forgets in the same coin.
    lookups: u64,
    /// Writes that are not answered.
    writes: u32,
}

/// All nodes. A node is one file *as found in one directory*: a session that two views show is two nodes with one
/// inode number, since the kernel knows each directory by one name only and would move it from view to view.
#[derive(Default)]
pub(crate) struct Nodes {
    nodes: BTreeMap<u64, Node>,
    /// By parent and path.
    found: BTreeMap<(u64, u64), u64>,
    /// Numbers are not used twice.
    last: u64,
}

impl Nodes {
    /// The root, which is never forgotten.
    pub(crate) fn plant(&mut self, fid: Fid, path: u64, uid: Uid) {
        let root = Node { fid, parent: abi::ROOT, path, uid, stale: false, lookups: 0, writes: 0 };
        self.nodes.insert(abi::ROOT, root);
        self.last = abi::ROOT;
    }

    pub(crate) fn get(&self, node: u64) -> Option<&Node> {
        self.nodes.get(&node)
    }

    /// Whether another one may be added.
    pub(crate) fn full(&self) -> bool {
        self.nodes.len() >= limits::NODES
    }

    /// The node that stands for this file already.
    pub(crate) fn find(&self, parent: u64, path: u64) -> Option<u64> {
        self.found.get(&(parent, path)).copied()
    }

    /// The kernel is told of this file once more. Gives its node, and the fid that is not needed: `fid`, or the node's
    /// own where that is stale, or none if the node is new. One that is being written is not shown again: in the kernel whoever opens it would
    /// wait for that write, and not even a signal would end that.
    pub(crate) fn tell(&mut self, parent: u64, path: u64, fid: Fid, uid: Uid) -> (u64, Option<Fid>) {
        if let Some(number) = self.find(parent, path)
            && let Some(node) = self.nodes.get_mut(&number).filter(|node| node.writes == 0)
        {
            node.lookups += 1;
            let spare =
                if std::mem::take(&mut node.stale) { std::mem::replace(&mut node.fid, fid) } else { fid };
            return (number, Some(spare));
        }
        self.last += 1;
        self.found.insert((parent, path), self.last);
        self.nodes.insert(self.last, Node { fid, parent, path, uid, stale: false, lookups: 1, writes: 0 });
        (self.last, None)
    }

    /// The kernel forgets `count` of the times it was told of `node`. Gives the node if that was the last.
    pub(crate) fn forget(&mut self, node: u64, count: u64) -> Option<Node> {
        let known = self.nodes.get_mut(&node).filter(|_| node != abi::ROOT)?;
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups > 0 {
            return None;
        }
        self.retire(node);
        self.nodes.remove(&node)
    }

    /// The next lookup of this file gives another node.
    pub(crate) fn retire(&mut self, node: u64) {
        if let Some(known) = self.nodes.get(&node)
            && self.find(known.parent, known.path) == Some(node)
        {
            self.found.remove(&(known.parent, known.path));
        }
    }

    /// The fid of `node` does not work any more.
    pub(crate) fn spoil(&mut self, node: u64) {
        if let Some(known) = self.nodes.get_mut(&node) {
            known.stale = true;
        }
    }

    /// A write begins, or is answered.
    pub(crate) fn writing(&mut self, node: u64, begins: bool) {
        if let Some(known) = self.nodes.get_mut(&node) {
            known.writes = if begins { known.writes + 1 } else { known.writes.saturating_sub(1) };
        }
    }

    /// Forgets everything, the root too.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Node> + use<> {
        self.found.clear();
        std::mem::take(&mut self.nodes).into_values()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// Numbers for fids. One is used again only after the tree has answered that it forgot it.
#[derive(Default)]
pub(crate) struct Fids {
    made: u32,
    free: Vec<Fid>,
}

impl Fids {
    pub(crate) fn take(&mut self) -> Fid {
        self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            Fid(self.made)
        })
    }

    pub(crate) fn give_back(&mut self, fid: Fid) {
        self.free.push(fid);
    }

    /// How many are in use.
    pub(crate) fn used(&self) -> usize {
        self.made as usize - self.free.len()
    }
}
