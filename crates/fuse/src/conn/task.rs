//! How a request goes on: from each stage and the tree's reply to it, to the next stage or to the answer.

use super::{Conn, Step};
use crate::answer::{self, Answer, Listing};
use crate::{abi, limits};
use op::{Access, Entry, Errno, Fid, Op, Qid, Reply, Shape, Stat, Uid};
use std::collections::VecDeque;

/// A request of the kernel that is not answered yet.
pub(super) struct Task {
    /// The kernel's number for it.
    pub(super) unique: u64,
    /// Who asks.
    pub(super) uid: Uid,
    /// A `Flush` of its ask is under way.
    pub(super) given_up: bool,
    /// Fids made for it, or being made, and clunked if it fails.
    pub(super) made: [Option<Fid>; 2],
    pub(super) stage: Stage,
}

/// What a task has asked for last: see the picture in [`super`].
pub(super) enum Stage {
    /// The root; answers `INIT`.
    Attach {
        readahead: u32,
        flags: u32,
    },
    /// Walk to a name.
    Find {
        parent: u64,
    },
    /// Stat what was found.
    Look {
        parent: u64,
    },
    Stat {
        node: u64,
    },
    /// SetStat; then Stat of the same.
    Change {
        node: u64,
        file: Option<u64>,
    },
    ReadLink {
        node: u64,
    },
    /// Walk nowhere, for a fid to open.
    Reach {
        node: u64,
        access: Access,
        dir: bool,
    },
    Open {
        node: u64,
        dir: bool,
    },
    Read {
        count: u32,
    },
    Write {
        node: u64,
        count: u32,
    },
    List {
        node: u64,
        offset: u64,
        size: u32,
    },
    /// Symlink; then Find.
    Symlink {
        parent: u64,
        name: String,
    },
    /// Rename.
    Rename {
        node: u64,
        to: u64,
    },
    /// Walk to a name that is to be removed.
    FindDoomed {
        parent: u64,
    },
    Remove,
    /// Walk nowhere, for a fid to make a file with.
    ReachDir {
        parent: u64,
        name: String,
        mode: u32,
        access: Access,
        open: bool,
    },
    /// Create.
    Make {
        parent: u64,
        open: bool,
    },
    /// Walk nowhere, for a fid that stands for the new file's node.
    Return {
        parent: u64,
        open: Option<Shape>,
    },
    /// Stat the new file.
    LookMade {
        parent: u64,
        open: Option<Shape>,
    },
}

impl Stage {
    /// Whether its reply is all that the answer needs, so that it need not be given up for an interrupt any more.
    fn last(&self) -> bool {
        match self {
            Stage::Attach { .. } | Stage::Look { .. } | Stage::Stat { .. } | Stage::ReadLink { .. } => true,
            Stage::Open { .. } | Stage::Read { .. } | Stage::Write { .. } | Stage::List { .. } => true,
            Stage::Remove | Stage::LookMade { .. } | Stage::Rename { .. } => true,
            Stage::Symlink { .. } => false,
            Stage::Find { .. } | Stage::Change { .. } | Stage::Reach { .. } | Stage::FindDoomed { .. } => {
                false
            }
            Stage::ReachDir { .. } | Stage::Make { .. } | Stage::Return { .. } => false,
        }
    }

    /// The node whose own fid was asked with.
    fn node(&self) -> Option<u64> {
        match *self {
            Stage::Find { parent } | Stage::FindDoomed { parent } | Stage::ReachDir { parent, .. } => {
                Some(parent)
            }
            Stage::Stat { node } | Stage::ReadLink { node } | Stage::Reach { node, .. } => Some(node),
            Stage::Change { node, .. } | Stage::Rename { node, .. } => Some(node),
            Stage::Symlink { parent, .. } => Some(parent),
            Stage::Attach { .. } | Stage::Look { .. } | Stage::Open { .. } | Stage::Read { .. } => None,
            Stage::Write { .. } | Stage::List { .. } | Stage::Remove | Stage::Make { .. } => None,
            Stage::Return { .. } | Stage::LookMade { .. } => None,
        }
    }
}

impl Conn {
    /// The tree has replied to what `task` asked.
    pub(super) fn resume(&mut self, mut task: Task, reply: Reply, steps: &mut VecDeque<Step>) {
        self.settle(&mut task, &reply);
        if let Stage::Write { node, .. } = task.stage {
            self.nodes.writing(node, false);
        }
        if self.ending || (task.given_up && !task.stage.last()) {
            return self.fail(&task, Errno::INTR, steps);
        }
        if let Reply::Failed(error) = reply {
            if error.errno == Errno::STALE
                && let Some(node) = task.stage.node()
            {
                self.nodes.spoil(node);
                if let Stage::Rename { to, .. } = task.stage {
                    self.nodes.spoil(to);
                }
            }
            return self.fail(&task, error.errno, steps);
        }
        self.advance(task, reply, steps);
    }

    /// Which of the task's fids the reply has unmade, or not made.
    fn settle(&mut self, task: &mut Task, reply: &Reply) {
        let failed = matches!(reply, Reply::Failed(_));
        let gone = match task.stage {
            Stage::Attach { .. } | Stage::Reach { .. } | Stage::ReachDir { .. } => failed,
            Stage::Find { .. } | Stage::FindDoomed { .. } => failed || *reply == Reply::Walked(Vec::new()),
            Stage::Remove => true,
            Stage::Return { .. } => {
                if failed && let Some(fid) = task.made[1].take() {
                    self.fids.give_back(fid);
                }
                false
            }
            Stage::Look { .. } | Stage::Stat { .. } | Stage::Change { .. } | Stage::ReadLink { .. } => false,
            Stage::Open { .. } | Stage::Read { .. } | Stage::Write { .. } | Stage::List { .. } => false,
            Stage::Make { .. } | Stage::LookMade { .. } => false,
            Stage::Symlink { .. } | Stage::Rename { .. } => false,
        };
        if gone && let Some(fid) = task.made[0].take() {
            self.fids.give_back(fid);
        }
    }

    /// Ends a task without success: its fids are clunked. A walk that was flushed may have made its fid all the same,
    /// so one that is not there is clunked too, and the tree's `EBADF` means nothing.
    pub(super) fn fail(&mut self, task: &Task, errno: Errno, steps: &mut VecDeque<Step>) {
        for &fid in task.made.iter().flatten() {
            self.clunk(fid, task.uid, steps);
        }
        self.tags.remove(&task.unique);
        if !self.ending {
            steps.push_back(Step::Send(Answer::failed(task.unique, errno)));
        }
    }

    /// Ends a task that has done what it should; the fids that it made have found their places.
    fn succeed(&mut self, unique: u64, body: Vec<u8>, steps: &mut VecDeque<Step>) {
        self.tags.remove(&unique);
        steps.push_back(Step::Send(Answer::new(unique, body)));
    }

    /// A reply of success.
    fn advance(&mut self, mut task: Task, reply: Reply, steps: &mut VecDeque<Step>) {
        let unique = task.unique;
        match (&mut task.stage, reply, task.made) {
            (Stage::Read { count }, Reply::Data(data), _) if data.len() <= *count as usize => {
                self.succeed(unique, data, steps);
            }
            (Stage::Write { count, .. }, Reply::Wrote(taken), _) if taken <= *count => {
                self.succeed(unique, answer::wrote_body(taken), steps);
            }
            (Stage::Stat { node }, Reply::Stat(stat), _) => {
                let mut body = Vec::with_capacity(104);
                answer::put_stat(&mut body, self.config.attr_ttl, self.ino(*node, &stat.qid), &stat);
                self.succeed(unique, body, steps);
            }
            (Stage::Find { parent }, Reply::Walked(_), [Some(fid), _]) => {
                task.stage = Stage::Look { parent: *parent };
                self.ask(task, Op::Stat { fid }, steps);
            }
            (Stage::Look { parent }, Reply::Stat(stat), [Some(fid), _]) => {
                match self.entry(*parent, fid, &stat, task.uid, steps) {
                    Ok(body) => self.succeed(unique, body, steps),
                    Err(errno) => self.fail(&task, errno, steps),
                }
            }
            (Stage::Reach { node, access, dir }, Reply::Walked(_), [Some(fid), _]) => {
                let access = *access;
                task.stage = Stage::Open { node: *node, dir: *dir };
                self.ask(task, Op::Open { fid, access }, steps);
            }
            (Stage::Open { node, dir }, Reply::Opened(qid, shape), [Some(fid), _]) => {
                let mut body = Vec::with_capacity(16);
                answer::put_open(&mut body, u64::from(fid.0), (!*dir).then_some(shape));
                self.opened(fid, *node, &qid, task.uid);
                self.succeed(unique, body, steps);
            }
            (Stage::List { node, offset, size }, Reply::Listed(entries), _) => {
                match self.listing(*node, *offset, *size, &entries) {
                    Some(body) => self.succeed(unique, body, steps),
                    None => self.fail(&task, Errno::INVAL, steps),
                }
            }
            (Stage::Change { node, file }, Reply::Done, _) => match self.target(*node, *file) {
                Ok(fid) => {
                    task.stage = Stage::Stat { node: *node };
                    self.ask(task, Op::Stat { fid }, steps);
                }
                Err(errno) => self.fail(&task, errno, steps),
            },
            (Stage::ReadLink { .. }, Reply::Linked(target), _) => {
                self.succeed(unique, target.into_bytes(), steps)
            }
            (Stage::Symlink { parent, name }, Reply::Made(_), _) => {
                let (parent, names) = (*parent, vec![std::mem::take(name)]);
                let Ok(fid) = self.target(parent, None) else {
                    return self.fail(&task, Errno::STALE, steps);
                };
                let newfid = self.fids.take();
                (task.stage, task.made[0]) = (Stage::Find { parent }, Some(newfid));
                self.ask(task, Op::Walk { fid, newfid, names }, steps);
            }
            (Stage::Rename { .. }, Reply::Done, _) => self.succeed(unique, Vec::new(), steps),
            (Stage::FindDoomed { .. }, Reply::Walked(_), [Some(fid), _]) => {
                task.stage = Stage::Remove;
                self.ask(task, Op::Remove { fid }, steps);
            }
            (Stage::Remove, Reply::Done, _) => self.succeed(unique, Vec::new(), steps),
            (Stage::Attach { readahead, flags }, Reply::Attached(qid), [Some(fid), _]) => {
                self.nodes.plant(fid, qid.path, task.uid);
                self.succeed(unique, answer::init_body(*readahead, *flags), steps);
            }
            (Stage::Find { .. } | Stage::FindDoomed { .. }, Reply::Walked(_), [None, _]) => {
                self.fail(&task, Errno::NOENT, steps);
            }
            (_, reply, _) => self.advance_made(task, reply, steps),
        }
    }

    /// The stages of a `CREATE`, `MKNOD` or `MKDIR`; any other stage has got a reply that does not belong to it.
    fn advance_made(&mut self, mut task: Task, reply: Reply, steps: &mut VecDeque<Step>) {
        let unique = task.unique;
        match (&mut task.stage, reply, task.made) {
            (Stage::ReachDir { parent, name, mode, access, open }, Reply::Walked(_), [Some(fid), _]) => {
                let make = Op::Create { fid, name: std::mem::take(name), mode: *mode, access: *access };
                task.stage = Stage::Make { parent: *parent, open: *open };
                self.ask(task, make, steps);
            }
            (Stage::Make { parent, open }, Reply::Opened(_, shape), [Some(fid), _]) => {
                task.stage = Stage::Return { parent: *parent, open: open.then_some(shape) };
                let newfid = self.fids.take();
                task.made[1] = Some(newfid);
                self.ask(task, Op::Walk { fid, newfid, names: Vec::new() }, steps);
            }
            (Stage::Return { parent, open }, Reply::Walked(_), [_, Some(fid)]) => {
                task.stage = Stage::LookMade { parent: *parent, open: *open };
                self.ask(task, Op::Stat { fid }, steps);
            }
            (Stage::LookMade { parent, open }, Reply::Stat(stat), [Some(file), Some(fid)]) => {
                let open = *open;
                match self.entry(*parent, fid, &stat, task.uid, steps) {
                    Ok(mut body) => {
                        match open {
                            Some(shape) => {
                                let node = self.nodes.find(*parent, stat.qid.path).unwrap_or(abi::ROOT);
                                answer::put_open(&mut body, u64::from(file.0), Some(shape));
                                self.opened(file, node, &stat.qid, task.uid);
                            }
                            None => self.clunk(file, task.uid, steps),
                        }
                        self.succeed(unique, body, steps);
                    }
                    Err(errno) => self.fail(&task, errno, steps),
                }
            }
            _ => self.fail(&task, Errno::PROTO, steps),
        }
    }

    /// The kernel is told of a file: its node takes the fid, or the fid is spare and clunked.
    fn entry(
        &mut self,
        parent: u64,
        fid: Fid,
        stat: &Stat,
        uid: Uid,
        steps: &mut VecDeque<Step>,
    ) -> Result<Vec<u8>, Errno> {
        if self.nodes.full() {
            return Err(Errno::NFILE);
        }
        let (node, spare) = self.nodes.tell(parent, stat.qid.path, fid, uid);
        if let Some(spare) = spare {
            self.clunk(spare, uid, steps);
        }
        let mut body = Vec::with_capacity(144); // with room for a CREATE's open
        let (entry_ttl, attr_ttl) = (self.config.entry_ttl, self.config.attr_ttl);
        answer::put_entry(&mut body, node, entry_ttl, attr_ttl, self.ino(node, &stat.qid), stat);
        Ok(body)
    }

    /// A file is open. Where that made another file of it, as opening `clone` does, the kernel should not take the next
    /// open for the same file: among other things it makes writes to one file wait for each other.
    fn opened(&mut self, fid: Fid, node: u64, qid: &Qid, uid: Uid) {
        self.opens.insert(u64::from(fid.0), uid);
        if self.nodes.get(node).is_some_and(|node| node.path != qid.path) {
            self.nodes.retire(node);
        }
    }

    /// The inode number of a file: its path, where that is not one of the two that mean something to the kernel.
    fn ino(&self, node: u64, qid: &Qid) -> u64 {
        match qid.path {
            _ if node == abi::ROOT => abi::ROOT,
            path @ 0..=abi::ROOT => u64::MAX - path,
            path => path,
        }
    }

    /// One buffer of directory entries. A name that the kernel would refuse the whole buffer for is left out.
    fn listing(&self, node: u64, offset: u64, size: u32, entries: &[Entry]) -> Option<Vec<u8>> {
        let mut listing = Listing::new(size);
        let (mut offset, mut fits) = (offset, true);
        while fits && offset < 2 {
            let shown = if offset == 0 { Some(node) } else { self.nodes.get(node).map(|node| node.parent) };
            let ino = shown.filter(|&node| node != abi::ROOT).and_then(|node| self.nodes.get(node));
            fits = listing.dots(offset, ino.map_or(abi::ROOT, |node| node.path));
            offset += 1;
        }
        for entry in entries {
            let name = &entry.stat.name;
            if name.is_empty() || name.len() > limits::NAME || name.contains(['/', '\0']) {
                continue;
            }
            fits = fits && listing.entry(self.ino(0, &entry.stat.qid), entry);
        }
        listing.finish(!fits)
    }
}
