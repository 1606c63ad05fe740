//! One mount's side of the FUSE protocol, as a pure machine: requests and replies in, [`Step`]s out.
//!
//! A request of the kernel is a [`Task`]: one to four asks of the tree, one after the other, and then one answer. Where a
//! task stands is its [`Stage`]:
//!
//! ```text
//!   LOOKUP   Find ─▶ Look                       OPEN    Reach ─▶ Open              SETATTR  Change ─▶ Stat
//!   SYMLINK  Symlink ─▶ Find ─▶ Look
//!   UNLINK   FindDoomed ─▶ Remove               CREATE  ReachDir ─▶ Make ─▶ Return ─▶ LookMade
//!   the others have one stage
//!
//!   an INTERRUPT asks Flush of the ask that is under way, and marks the task as given up:
//!     the ask is answered first      a last stage answers as if nothing had been; another ends with EINTR
//!     the Flush is answered first    the task ends with EINTR
//! ```
//!
//! A task that ends early clunks the fids that it made, or may have made: a walk that was flushed can still have worked.

mod task;

use crate::abi;
use crate::answer::{self, Answer, Listing};
use crate::limits;
use crate::nodes::{Fids, Nodes};
use crate::request::{self, Call, Header, Want};
use core::time::Duration;
use op::{Access, Errno, Fid, Op, Reply, SetStat, Tag, Uid};
use std::collections::{BTreeMap, VecDeque};
use task::{Stage, Task};

/// What a mount shows, and for how long the kernel may believe it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which tree to attach to: empty for the whole.
    pub tree: String,
    /// As whom to attach: the mount's owner. Every other request is made as whoever made it.
    pub uid: Uid,
    /// How long a name that was found needs no other lookup. Nothing, usually: sessions come and go. What is not
    /// there is looked for every time in any case.
    pub entry_ttl: Duration,
    /// How long attributes need not be asked for again. The kernel rounds up to its clock tick (1 to 10 ms), so that
    /// one nanosecond makes stat(2) one request instead of two, for attributes that old.
    pub attr_ttl: Duration,
}

impl Default for Config {
    /// The whole tree, attached as root, nothing cached.
    fn default() -> Config {
        Config { tree: String::new(), uid: Uid(0), entry_ttl: Duration::ZERO, attr_ttl: Duration::ZERO }
    }
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask the tree. Each `tag` is new, and is answered once through [`Conn::answer`], now or any time later; after a
    /// `Flush` of it was answered, not at all.
    Ask {
        /// Of this request.
        tag: Tag,
        /// Who asks.
        uid: Uid,
        /// What.
        op: Op,
    },
    /// Write this to the kernel: [`Mount::send`](crate::Mount::send).
    Send(Answer),
    /// It was unmounted, every request is answered or flushed and every fid clunked: drop the `Conn`.
    Unmounted,
}

/// The protocol of one mount, from its `INIT` to its end.
pub struct Conn {
    config: Config,
    nodes: Nodes,
    fids: Fids,
    /// Who opened what is open, by the number of its fid, which is the kernel's handle for it.
    opens: BTreeMap<u64, Uid>,
    /// What the tree has not answered yet, by tag.
    asked: BTreeMap<Tag, Asked>,
    /// The ask that is under way for each request that is not answered yet.
    tags: BTreeMap<u64, Tag>,
    last_tag: u64,
    /// It was unmounted.
    ending: bool,
}

/// Why the tree was asked.
enum Asked {
    /// To answer a request.
    Task(Task),
    /// Nobody waits; the number is free when it is answered.
    Clunk(Fid),
    /// To give up this one.
    Flush(Tag),
}

impl Conn {
    /// Nothing is asked before the kernel's first message.
    pub fn new(config: Config) -> Conn {
        Conn {
            config,
            nodes: Nodes::default(),
            fids: Fids::default(),
            opens: BTreeMap::new(),
            asked: BTreeMap::new(),
            tags: BTreeMap::new(),
            last_tag: 0,
            ending: false,
        }
    }

    /// Takes one message, as one read of `/dev/fuse` gave it. Steps are added to those that are there.
    pub fn receive(&mut self, message: &[u8], steps: &mut VecDeque<Step>) {
        let Some((header, call)) = request::parse(message) else { return };
        let begun = match call {
            Call::Interrupt { unique } => return self.interrupt(header, unique, steps),
            Call::Forget { count } => return self.forget(header.node, count, steps),
            Call::ForgetMany(nodes) => {
                return nodes.each().for_each(|(node, count)| self.forget(node, count, steps));
            }
            Call::Ignored => return,
            _ if self.tags.contains_key(&header.unique) => return, // it is under way; the kernel does not do this
            _ if self.ending => Err(Errno::NODEV),
            _ if self.tags.len() >= limits::REQUESTS => Err(Errno::NOMEM),
            Call::Always(Ok(())) => Ok(Some(Vec::new())),
            Call::Always(Err(errno)) => Err(errno),
            Call::StatFs => Ok(Some(answer::statfs_body())),
            Call::Destroy => {
                steps.push_back(Step::Send(Answer::new(header.unique, Vec::new())));
                return self.hang_up(steps);
            }
            Call::Init { major, minor, readahead, flags } => {
                self.begin_all(header, (major, minor), Stage::Attach { readahead, flags }, steps)
            }
            Call::Node(want) => self.begin(header, want, steps).map(|()| None),
        };
        match begun {
            Ok(None) => {}
            Ok(Some(body)) => steps.push_back(Step::Send(Answer::new(header.unique, body))),
            Err(errno) => steps.push_back(Step::Send(Answer::failed(header.unique, errno))),
        }
    }

    /// Takes the tree's reply to the ask `tag`.
    ///
    /// # Panics
    /// If `tag` is not waiting: it was answered before, or its `Flush` was.
    pub fn answer(&mut self, tag: Tag, reply: Reply, steps: &mut VecDeque<Step>) {
        match self.asked.remove(&tag).expect("each ask is answered once, and never after its flush") {
            Asked::Clunk(fid) => self.fids.give_back(fid),
            Asked::Flush(victim) => {
                if let Some(Asked::Task(task)) = self.asked.remove(&victim) {
                    self.fail(&task, Errno::INTR, steps);
                }
            }
            Asked::Task(task) => self.resume(task, reply, steps),
        }
        self.finish(steps);
    }

    /// The file system was unmounted, or the kernel let go of it: gives up all that is under way and clunks all fids.
    /// [`Step::Unmounted`] comes when the tree has answered all of it.
    pub fn hang_up(&mut self, steps: &mut VecDeque<Step>) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        let waiting: Vec<Tag> = self.tags.values().copied().collect();
        waiting.into_iter().for_each(|tag| self.flush(tag, steps));
        for (number, uid) in std::mem::take(&mut self.opens) {
            self.clunk(Fid(number as u32), uid, steps);
        }
        for node in self.nodes.drain() {
            self.clunk(node.fid, node.uid, steps);
        }
        self.finish(steps);
    }

    /// Files that the kernel remembers, the root included.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Fids that the tree knows, or may know, of this connection.
    pub fn fids(&self) -> usize {
        self.fids.used()
    }

    /// Requests that are not answered.
    pub fn waiting(&self) -> usize {
        self.tags.len()
    }

    /// Begins the conversation, unless its first answer can be given at once.
    fn begin_all(
        &mut self,
        header: Header,
        (major, minor): (u32, u32),
        stage: Stage,
        steps: &mut VecDeque<Step>,
    ) -> Result<Option<Vec<u8>>, Errno> {
        if major > abi::MAJOR {
            return Ok(Some(answer::init_major_body()));
        }
        if major < abi::MAJOR || minor < abi::OLDEST_MINOR || self.nodes.len() > 0 || !self.asked.is_empty() {
            return Err(Errno::PROTO);
        }
        let (fid, tree) = (self.fids.take(), self.config.tree.clone());
        let header = Header { uid: self.config.uid, ..header };
        self.start(header, Some(fid), stage, Op::Attach { fid, user: String::new(), tree }, steps);
        Ok(None)
    }

    /// Begins a request about a node or an open file; an error is its answer.
    fn begin(&mut self, header: Header, want: Want<'_>, steps: &mut VecDeque<Step>) -> Result<(), Errno> {
        let node = header.node;
        let fid = self.target(node, None)?;
        match want {
            Want::Lookup { name } => {
                let newfid = self.fids.take();
                let walk = Op::Walk { fid, newfid, names: vec![name.to_owned()] };
                self.start(header, Some(newfid), Stage::Find { parent: node }, walk, steps);
            }
            Want::Stat { file } => {
                let fid = self.target(node, file)?;
                self.start(header, None, Stage::Stat { node }, Op::Stat { fid }, steps);
            }
            Want::SetStat { file, set } => {
                let fid = self.target(node, file)?;
                if set == SetStat::default() {
                    // Only times that the tree knows better; touch(1) is content.
                    self.start(header, None, Stage::Stat { node }, Op::Stat { fid }, steps);
                } else {
                    self.start(header, None, Stage::Change { node, file }, Op::SetStat { fid, set }, steps);
                }
            }
            Want::ReadLink => self.start(header, None, Stage::ReadLink { node }, Op::ReadLink { fid }, steps),
            Want::Open { access } => self.reach(header, fid, access, false, steps)?,
            Want::OpenDir => {
                let access = Access { read: true, ..Access::default() };
                self.reach(header, fid, access, true, steps)?;
            }
            Want::Create { name, mode, access } => {
                self.create(header, fid, (name, mode), access, true, steps)?
            }
            Want::MakeNode { name, mode } => {
                let dir = mode & abi::mode::KIND == abi::mode::DIR;
                let access = Access { read: dir, write: !dir, ..Access::default() };
                self.create(header, fid, (name, mode), access, false, steps)?;
            }
            Want::Remove { name } => {
                let newfid = self.fids.take();
                let walk = Op::Walk { fid, newfid, names: vec![name.to_owned()] };
                self.start(header, Some(newfid), Stage::FindDoomed { parent: node }, walk, steps);
            }
            Want::Symlink { name, target } => {
                let (name, target) = (name.to_owned(), target.to_owned());
                let stage = Stage::Symlink { parent: node, name: name.clone() };
                self.start(header, None, stage, Op::Symlink { fid, name, target }, steps);
            }
            Want::Rename { name, dir: to_node, to, replace } => {
                let dir = self.target(to_node, None)?;
                let rename = Op::Rename { fid, name: name.to_owned(), dir, to: to.to_owned(), replace };
                self.start(header, None, Stage::Rename { node, to: to_node }, rename, steps);
            }
            Want::Read { file, offset, count, wait } => {
                let fid = self.target(node, Some(file))?;
                self.start(header, None, Stage::Read { count }, Op::Read { fid, offset, count, wait }, steps);
            }
            Want::Write { file, offset, data } => {
                let (fid, count) = (self.target(node, Some(file))?, data.len() as u32);
                let write = Op::Write { fid, offset, data: data.to_vec() };
                self.nodes.writing(node, true);
                self.start(header, None, Stage::Write { node, count }, write, steps);
            }
            Want::List { file, offset, size } => {
                let fid = self.target(node, Some(file))?;
                let list = Op::List { fid, cookie: Listing::cookie(offset), count: Listing::count(size) };
                self.start(header, None, Stage::List { node, offset, size }, list, steps);
            }
            Want::Release { file } => {
                let uid = self.opens.remove(&file).ok_or(Errno::BADF)?;
                self.clunk(Fid(file as u32), uid, steps);
                steps.push_back(Step::Send(Answer::new(header.unique, Vec::new())));
            }
        }
        Ok(())
    }

    /// The fid of an open file, or else of the node.
    pub(super) fn target(&self, node: u64, file: Option<u64>) -> Result<Fid, Errno> {
        match file {
            Some(file) if self.opens.contains_key(&file) => Ok(Fid(file as u32)),
            Some(_) => Err(Errno::BADF),
            None => self.nodes.get(node).map(|node| node.fid).ok_or(Errno::STALE),
        }
    }

    /// An open begins with a fid of its own.
    fn reach(
        &mut self,
        header: Header,
        fid: Fid,
        access: Access,
        dir: bool,
        steps: &mut VecDeque<Step>,
    ) -> Result<(), Errno> {
        if self.opens.len() >= limits::OPENS {
            return Err(Errno::NFILE);
        }
        let newfid = self.fids.take();
        let stage = Stage::Reach { node: header.node, access, dir };
        self.start(header, Some(newfid), stage, Op::Walk { fid, newfid, names: Vec::new() }, steps);
        Ok(())
    }

    /// A file is made through a second fid for its directory, which then stands for the file.
    fn create(
        &mut self,
        header: Header,
        fid: Fid,
        (name, mode): (&str, u32),
        access: Access,
        open: bool,
        steps: &mut VecDeque<Step>,
    ) -> Result<(), Errno> {
        if self.opens.len() >= limits::OPENS {
            return Err(Errno::NFILE);
        }
        let newfid = self.fids.take();
        let stage = Stage::ReachDir { parent: header.node, name: name.to_owned(), mode, access, open };
        self.start(header, Some(newfid), stage, Op::Walk { fid, newfid, names: Vec::new() }, steps);
        Ok(())
    }

    fn start(&mut self, header: Header, made: Option<Fid>, stage: Stage, op: Op, steps: &mut VecDeque<Step>) {
        let task =
            Task { unique: header.unique, uid: header.uid, given_up: false, made: [made, None], stage };
        self.ask(task, op, steps);
    }

    /// Asks the next thing for a task.
    fn ask(&mut self, task: Task, op: Op, steps: &mut VecDeque<Step>) {
        let (unique, uid) = (task.unique, task.uid);
        let tag = self.tag(Asked::Task(task));
        self.tags.insert(unique, tag);
        steps.push_back(Step::Ask { tag, uid, op });
    }

    fn clunk(&mut self, fid: Fid, uid: Uid, steps: &mut VecDeque<Step>) {
        let tag = self.tag(Asked::Clunk(fid));
        steps.push_back(Step::Ask { tag, uid, op: Op::Clunk { fid } });
    }

    fn tag(&mut self, asked: Asked) -> Tag {
        self.last_tag += 1;
        self.asked.insert(Tag(self.last_tag), asked);
        Tag(self.last_tag)
    }

    /// The caller got a signal. An `INTERRUPT` that overtook its request is put back by `EAGAIN`; the kernel drops it
    /// if the request was answered meanwhile.
    fn interrupt(&mut self, header: Header, unique: u64, steps: &mut VecDeque<Step>) {
        match self.tags.get(&unique) {
            Some(&tag) => self.flush(tag, steps),
            None => steps.push_back(Step::Send(Answer::failed(header.unique, Errno::AGAIN))),
        }
    }

    /// Gives up the task whose ask is `tag`, once.
    fn flush(&mut self, tag: Tag, steps: &mut VecDeque<Step>) {
        let Some(Asked::Task(task)) = self.asked.get_mut(&tag) else { return };
        if !std::mem::replace(&mut task.given_up, true) {
            let (uid, flush) = (task.uid, self.tag(Asked::Flush(tag)));
            steps.push_back(Step::Ask { tag: flush, uid, op: Op::Flush { tag } });
        }
    }

    fn forget(&mut self, node: u64, count: u64, steps: &mut VecDeque<Step>) {
        if let Some(node) = self.nodes.forget(node, count) {
            self.clunk(node.fid, node.uid, steps);
        }
    }

    /// Says so when the last thing is answered after the end.
    fn finish(&mut self, steps: &mut VecDeque<Step>) {
        if self.ending && self.asked.is_empty() {
            steps.push_back(Step::Unmounted);
        }
    }
}
