//! Somebody who asks a server of files, and waits for its answers.

use op::{Access, Entry, Error, Fid, Op, Reply, Tag, Uid, User};
use provide::files::Files;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const READ: Access = Access { read: true, write: false, truncate: false };
pub(crate) const WRITE: Access = Access { read: false, write: true, truncate: false };
pub(crate) const BOTH: Access = Access { read: true, write: true, truncate: false };

pub(crate) struct Asker {
    pub(crate) files: Files,
    tag: u64,
    fid: u32,
    answers: HashMap<Tag, Reply>,
}

/// A user with no more than a number and groups.
pub(crate) fn user(uid: u32, groups: &[u32]) -> Arc<User> {
    let name: Arc<str> = format!("u{uid}").into();
    let groups = groups.iter().map(|gid| (*gid, gid.to_string().into())).collect();
    Arc::new(User { uid: Uid(uid), name, groups, home: "/".into(), shell: "/bin/sh".into() })
}

/// Whoever runs the test.
pub(crate) fn me() -> Arc<User> {
    user(rustix::process::geteuid().as_raw(), &[rustix::process::getegid().as_raw()])
}

/// Whether we can be others; else says why the test is not made.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("not tried: only root can serve several users");
    }
    root
}

impl Asker {
    pub(crate) fn new() -> Asker {
        Asker { files: Files::new().unwrap(), tag: 0, fid: 0, answers: HashMap::new() }
    }

    pub(crate) fn fid(&mut self) -> Fid {
        self.fid += 1;
        Fid(self.fid)
    }

    pub(crate) fn ask_as(&mut self, op: Op, user: Option<&Arc<User>>) -> Tag {
        self.tag += 1;
        self.files.ask(Tag(self.tag), op, user);
        Tag(self.tag)
    }

    pub(crate) fn ask(&mut self, op: Op) -> Tag {
        self.ask_as(op, None)
    }

    /// Waits for this answer; fails after 20 s.
    pub(crate) fn wait(&mut self, tag: Tag) -> Reply {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(reply) = self.answers.remove(&tag) {
                return reply;
            }
            assert!(Instant::now() < deadline, "{tag:?} is not answered");
            self.step(1000);
        }
    }

    /// Takes the answers that come within a time, or at once.
    pub(crate) fn step(&mut self, ms: i64) {
        let mut fds = [PollFd::from_borrowed_fd(self.files.poll_fd(), PollFlags::IN)];
        let span = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
        poll(&mut fds, Some(&span)).unwrap();
        let mut answers = Vec::new();
        self.files.turn(&mut answers);
        for (tag, reply) in answers {
            assert!(self.answers.insert(tag, reply).is_none(), "{tag:?} is answered twice");
        }
    }

    pub(crate) fn answered(&self, tag: Tag) -> bool {
        self.answers.contains_key(&tag)
    }

    pub(crate) fn call(&mut self, op: Op) -> Reply {
        let tag = self.ask(op);
        self.wait(tag)
    }

    pub(crate) fn attach(&mut self, user: &Arc<User>, tree: &str) -> Fid {
        let fid = self.fid();
        match self.try_attach(fid, user, tree) {
            Reply::Attached(_) => fid,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn try_attach(&mut self, fid: Fid, user: &Arc<User>, tree: &str) -> Reply {
        let tag = self.ask_as(Op::Attach { fid, user: user.name.to_string(), tree: tree.into() }, Some(user));
        self.wait(tag)
    }

    /// Walks from a root; fails if it is not all of the way.
    pub(crate) fn walk(&mut self, root: Fid, path: &Path) -> Result<Fid, Error> {
        let newfid = self.fid();
        let names = steps(path);
        let wanted = names.len();
        match self.call(Op::Walk { fid: root, newfid, names }) {
            Reply::Walked(qids) if qids.len() == wanted => Ok(newfid),
            Reply::Walked(qids) => Err(Error::new(op::Errno::NOENT, format!("{} steps", qids.len()))),
            Reply::Failed(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open(&mut self, root: Fid, path: &Path, access: Access) -> Result<Fid, Error> {
        let fid = self.walk(root, path)?;
        match self.call(Op::Open { fid, access }) {
            Reply::Opened(..) => Ok(fid),
            Reply::Failed(error) => {
                self.call(Op::Clunk { fid });
                Err(error)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn create(&mut self, root: Fid, path: &Path, mode: u32, access: Access) -> Result<Fid, Error> {
        let fid = self.walk(root, path.parent().unwrap())?;
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        match self.call(Op::Create { fid, name, mode, access }) {
            Reply::Opened(..) => Ok(fid),
            Reply::Failed(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn read(&mut self, fid: Fid, offset: u64, count: u32) -> Vec<u8> {
        match self.call(Op::Read { fid, offset, count, wait: true }) {
            Reply::Data(data) => data,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write(&mut self, fid: Fid, offset: u64, data: &[u8]) -> Reply {
        self.call(Op::Write { fid, offset, data: data.to_vec() })
    }

    /// Everything, in pieces of `count`.
    pub(crate) fn list(&mut self, fid: Fid, count: u32) -> Vec<Entry> {
        let (mut all, mut cookie) = (Vec::new(), 0);
        loop {
            match self.call(Op::List { fid, cookie, count }) {
                Reply::Listed(entries) if entries.is_empty() => return all,
                Reply::Listed(entries) => {
                    assert!(entries.len() <= count as usize);
                    cookie = entries.last().unwrap().cookie;
                    all.extend(entries);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn stat(&mut self, fid: Fid) -> op::Stat {
        match self.call(Op::Stat { fid }) {
            Reply::Stat(stat) => stat,
            other => panic!("{other:?}"),
        }
    }
}

/// The steps from the root.
pub(crate) fn steps(path: &Path) -> Vec<String> {
    path.to_str().unwrap().split('/').filter(|step| !step.is_empty()).map(String::from).collect()
}
