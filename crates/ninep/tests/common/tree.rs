//! A small tree that answers `Op`s: a text, a stream that blocks, a large directory, and a place to make and remove files.
//!
//! What is asked is done at once and in order, as the contract of `Op` has it; when it is answered is up to the test.

use op::{Entry, Errno, Fid, FileKind, Op, Qid, Reply, Shape, Stat, Tag, Wall};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub parent: usize,
    pub is_dir: bool,
    pub data: Vec<u8>,
    pub shape: Shape,
    pub gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct State {
    node: usize,
    open: bool,
}

/// The tree, with the fids of one connection.
#[derive(Clone)]
pub struct Tree {
    pub nodes: Vec<Node>,
    fids: BTreeMap<Fid, State>,
    /// Reads of the stream that wait.
    pub parked: Vec<(Tag, u32)>,
    /// Bytes of the stream that nobody read yet.
    pub ready: usize,
    /// Done, but not answered.
    pub answers: Vec<(Tag, Reply)>,
    /// Walks that had made a fid when they were flushed.
    pub orphans: usize,
    next_byte: u8,
}

pub fn qid_of(node: usize, is_dir: bool) -> Qid {
    Qid { kind: if is_dir { FileKind::Dir } else { FileKind::File }, version: 0, path: node as u64 }
}

/// The contents of `/text`.
pub fn text() -> Vec<u8> {
    (0..5000u32).map(|at| (at % 251) as u8).collect()
}

impl Default for Tree {
    fn default() -> Tree {
        let mut tree = Tree {
            nodes: Vec::new(),
            fids: BTreeMap::new(),
            parked: Vec::new(),
            ready: 0,
            answers: Vec::new(),
            orphans: 0,
            next_byte: 0,
        };
        tree.add("/", 0, true, Shape::Text);
        let at = tree.add("text", 0, false, Shape::Text);
        tree.nodes[at].data = text();
        tree.add("stream", 0, false, Shape::Stream);
        let dir = tree.add("dir", 0, true, Shape::Text);
        for number in 0..70 {
            tree.add(&format!("{number}{}", "-".repeat(number)), dir, false, Shape::Text);
        }
        tree.add("scratch", 0, true, Shape::Text);
        tree
    }
}

impl Tree {
    fn add(&mut self, name: &str, parent: usize, is_dir: bool, shape: Shape) -> usize {
        self.nodes.push(Node { name: name.into(), parent, is_dir, data: Vec::new(), shape, gone: false });
        self.nodes.len() - 1
    }

    fn find(&self, parent: usize, name: &str) -> Option<usize> {
        if name == ".." {
            return Some(self.nodes[parent].parent);
        }
        (1..self.nodes.len()).find(|&at| {
            let node = &self.nodes[at];
            !node.gone && node.parent == parent && node.name == name
        })
    }

    fn qid(&self, node: usize) -> Qid {
        qid_of(node, self.nodes[node].is_dir)
    }

    fn stat(&self, at: usize) -> Stat {
        let node = &self.nodes[at];
        Stat {
            name: node.name.clone(),
            qid: self.qid(at),
            mode: if node.is_dir { 0o755 } else { 0o644 },
            uid: 7,
            gid: 8,
            user: "glenda".into(),
            group: "sys".into(),
            size: node.data.len() as u64,
            mtime: Wall(1_700_000_000_000_000_123),
        }
    }

    pub fn live_fids(&self) -> usize {
        self.fids.len()
    }

    /// Does what is asked; its answer is in `answers`, now or later.
    pub fn ask(&mut self, tag: Tag, op: Op) {
        if let Op::Flush { tag: old } = op {
            self.parked.retain(|(parked, _)| *parked != old);
            if let Some(at) = self.answers.iter().position(|(tag, _)| *tag == old) {
                let (_, reply) = self.answers.remove(at);
                self.orphans += usize::from(matches!(reply, Reply::Walked(_) | Reply::Attached(_)));
            }
            self.answers.push((tag, Reply::Done));
        } else if let Some(reply) = self.run(tag, op).unwrap_or_else(|errno| Some(Reply::errno(errno))) {
            self.answers.push((tag, reply));
        }
    }

    /// Bytes arrive in the stream: the reads that wait get them.
    pub fn feed(&mut self, bytes: usize) {
        self.ready += bytes;
        while self.ready > 0 && !self.parked.is_empty() {
            let (tag, count) = self.parked.remove(0);
            let data = self.take(count);
            self.answers.push((tag, Reply::Data(data)));
        }
    }

    /// Bytes of the stream count up, so that a lost or doubled one shows.
    fn take(&mut self, count: u32) -> Vec<u8> {
        let count = self.ready.min(count as usize);
        self.ready -= count;
        (0..count)
            .map(|_| {
                self.next_byte = self.next_byte.wrapping_add(1);
                self.next_byte
            })
            .collect()
    }

    fn run(&mut self, tag: Tag, op: Op) -> Result<Option<Reply>, Errno> {
        let state = |fid: &Fid| self.fids.get(fid).copied().ok_or(Errno::BADF);
        Ok(Some(match op {
            Op::Attach { fid, .. } => {
                assert!(
                    self.fids.insert(fid, State { node: 0, open: false }).is_none(),
                    "{fid:?} is made twice"
                );
                Reply::Attached(self.qid(0))
            }
            Op::Walk { fid, newfid, names } => {
                let mut node = state(&fid)?.node;
                assert!(fid == newfid || !self.fids.contains_key(&newfid), "{newfid:?} is made twice");
                let mut qids = Vec::new();
                for name in &names {
                    match self.find(node, name) {
                        Some(next) => node = next,
                        None if qids.is_empty() => return Err(Errno::NOENT),
                        None => return Ok(Some(Reply::Walked(qids))),
                    }
                    qids.push(self.qid(node));
                }
                self.fids.insert(newfid, State { node, open: false });
                Reply::Walked(qids)
            }
            Op::Open { fid, access } => {
                let State { node, open } = state(&fid)?;
                if open {
                    return Err(Errno::BUSY);
                }
                if self.nodes[node].is_dir && access.write {
                    return Err(Errno::ISDIR);
                }
                self.fids.insert(fid, State { node, open: true });
                Reply::Opened(self.qid(node), self.nodes[node].shape)
            }
            Op::Create { fid, name, mode, .. } => {
                let State { node, open } = state(&fid)?;
                if open || !self.nodes[node].is_dir {
                    return Err(Errno::NOTDIR);
                }
                if self.find(node, &name).is_some() {
                    return Err(Errno::EXIST);
                }
                let node = self.add(&name, node, mode & 0o170_000 == 0o040_000, Shape::Text);
                self.fids.insert(fid, State { node, open: true });
                Reply::Opened(self.qid(node), Shape::Text)
            }
            Op::Read { fid, offset, count, wait } => {
                let State { node, open } = state(&fid)?;
                if !open || self.nodes[node].is_dir {
                    return Err(Errno::BADF);
                }
                if self.nodes[node].shape == Shape::Stream {
                    if self.ready > 0 {
                        return Ok(Some(Reply::Data(self.take(count))));
                    }
                    if !wait {
                        return Err(Errno::AGAIN);
                    }
                    self.parked.push((tag, count));
                    return Ok(None);
                }
                let data = &self.nodes[node].data;
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
                let end = start.saturating_add(count as usize).min(data.len());
                Reply::Data(data[start..end].to_vec())
            }
            Op::Write { fid, offset, data } => {
                let State { node, open } = state(&fid)?;
                let end = offset as usize + data.len();
                if !open || end > 1 << 20 {
                    return Err(Errno::BADF);
                }
                let file = &mut self.nodes[node].data;
                file.resize(file.len().max(end), 0);
                file[offset as usize..end].copy_from_slice(&data);
                Reply::Wrote(data.len() as u32)
            }
            Op::List { fid, cookie, count } => {
                let State { node, open } = state(&fid)?;
                if !open || !self.nodes[node].is_dir {
                    return Err(Errno::NOTDIR);
                }
                let entries = (cookie as usize + 1..self.nodes.len())
                    .filter(|&at| !self.nodes[at].gone && self.nodes[at].parent == node)
                    .take(count as usize)
                    .map(|at| Entry { cookie: at as u64, stat: self.stat(at) });
                Reply::Listed(entries.collect())
            }
            Op::Stat { fid } => Reply::Stat(self.stat(state(&fid)?.node)),
            Op::SetStat { fid, set } => {
                let node = state(&fid)?.node;
                if let Some(size) = set.size {
                    self.nodes[node].data.resize(size.min(1 << 20) as usize, 0);
                }
                Reply::Done
            }
            Op::ReadLink { fid } => {
                state(&fid)?;
                return Err(Errno::INVAL);
            }
            Op::Symlink { fid, name, .. } => {
                let State { node, .. } = state(&fid)?;
                if !self.nodes[node].is_dir || self.find(node, &name).is_some() {
                    return Err(Errno::EXIST);
                }
                let node = self.add(&name, node, false, Shape::Text);
                Reply::Made(self.qid(node))
            }
            Op::Rename { fid, name, dir, to, replace } => {
                let (from, dir) = (state(&fid)?.node, state(&dir)?.node);
                let node = self.find(from, &name).ok_or(Errno::NOENT)?;
                let mut above = dir;
                while above != 0 && above != node {
                    above = self.nodes[above].parent;
                }
                if !self.nodes[dir].is_dir || above == node {
                    return Err(Errno::INVAL);
                }
                match self.find(dir, &to) {
                    Some(_) if !replace => return Err(Errno::EXIST),
                    Some(there) if self.nodes[there].is_dir => return Err(Errno::ISDIR),
                    Some(there) if there != node => self.nodes[there].gone = true,
                    _ => {}
                }
                (self.nodes[node].name, self.nodes[node].parent) = (to, dir);
                Reply::Done
            }
            Op::Remove { fid } => {
                let node = state(&fid)?.node;
                self.fids.remove(&fid);
                if node == 0 || self.nodes.iter().any(|child| !child.gone && child.parent == node) {
                    return Err(Errno::NOTEMPTY);
                }
                self.nodes[node].gone = true;
                Reply::Done
            }
            Op::Clunk { fid } => {
                state(&fid)?;
                self.fids.remove(&fid);
                Reply::Done
            }
            Op::Flush { .. } => unreachable!("flushes are seen to before"),
        }))
    }
}
