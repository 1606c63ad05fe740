//! A small tree in memory that speaks `Op`, with every kind of file that makes a mount's life hard:
//!
//! ```text
//!   hello     text                          clone     each open is another file, a `ctl` of its own
//!   big       text                          many/     300 files
//!   block     a stream that never comes     link      → hello
//!   spool     waits at its end              await/    walking to a name waits for ever
//!   ctl       a conversation                deaf      writing waits for ever
//! ```

use op::{Access, Entry, Errno, Fid, FileKind, Op, Qid, Reply, Shape, Stat, Tag, Uid, Wall};
use std::collections::BTreeMap;

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) parent: u64,
    pub(crate) kind: FileKind,
    pub(crate) shape: Shape,
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
}

/// A fid: its file, and what it is open for.
#[derive(Clone, Copy, Debug)]
struct Held {
    path: u64,
    open: Option<Access>,
}

/// See the module.
pub(crate) struct Tree {
    files: BTreeMap<u64, File>,
    fids: BTreeMap<Fid, Held>,
    parked: Vec<(Tag, Op)>,
    next: u64,
    /// Lines written to `ctl` and to what `clone` gave.
    pub(crate) lines: Vec<(Uid, String)>,
    /// Fids that were clunked and not there: no more than flushed walks.
    pub(crate) strays: usize,
    /// Requests that were answered by a flush only.
    pub(crate) flushed: usize,
}

const ROOT: u64 = 100;
const LARGEST: usize = 16 << 20;

impl Tree {
    pub(crate) fn new() -> Tree {
        let fids = BTreeMap::new();
        let mut tree = Tree {
            files: BTreeMap::new(),
            fids,
            parked: Vec::new(),
            next: ROOT,
            lines: Vec::new(),
            strays: 0,
            flushed: 0,
        };
        tree.add(ROOT, "/", FileKind::Dir, Shape::Text, b"");
        tree.add(ROOT, "hello", FileKind::File, Shape::Text, b"hello, world\n");
        tree.add(ROOT, "big", FileKind::File, Shape::Text, b"");
        tree.add(ROOT, "block", FileKind::File, Shape::Stream, b"");
        tree.add(ROOT, "spool", FileKind::File, Shape::Spool, b"one\ntwo\n");
        tree.add(ROOT, "ctl", FileKind::File, Shape::Stream, b"");
        tree.add(ROOT, "deaf", FileKind::File, Shape::Stream, b"");
        tree.add(ROOT, "clone", FileKind::File, Shape::Stream, b"");
        tree.add(ROOT, "link", FileKind::Link, Shape::Text, b"hello");
        tree.add(ROOT, "await", FileKind::Dir, Shape::Text, b"");
        let many = tree.add(ROOT, "many", FileKind::Dir, Shape::Text, b"");
        for number in 0..300 {
            tree.add(many, &format!("file{number:03}"), FileKind::File, Shape::Text, b"x\n");
        }
        tree
    }

    fn add(&mut self, parent: u64, name: &str, kind: FileKind, shape: Shape, data: &[u8]) -> u64 {
        let (path, mode) = (self.next, if kind == FileKind::Dir { 0o755 } else { 0o666 });
        self.next += 1;
        self.files.insert(path, File { name: name.into(), parent, kind, shape, data: data.to_vec(), mode });
        path
    }

    /// How many fids there are.
    pub(crate) fn fids(&self) -> usize {
        self.fids.len()
    }

    /// How many requests wait.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Does `op` and gives its reply, if it does not wait. A `Flush` takes the request that it names out of those that
    /// wait.
    pub(crate) fn ask(&mut self, tag: Tag, uid: Uid, op: Op) -> Option<Reply> {
        if let Op::Flush { tag } = op {
            let before = self.parked.len();
            self.parked.retain(|(waiting, _)| *waiting != tag);
            self.flushed += before - self.parked.len();
            return Some(Reply::Done);
        }
        match self.handle(uid, &op) {
            Ok(Some(reply)) => Some(reply),
            Ok(None) => {
                self.parked.push((tag, op));
                None
            }
            Err(errno) => Some(Reply::errno(errno)),
        }
    }

    /// More for a file, so that what waits for it may go on.
    pub(crate) fn grow(&mut self, name: &str, data: &[u8]) -> Vec<(Tag, Reply)> {
        let file = self.files.values_mut().find(|file| file.name == name).expect("it is one of the files");
        file.data.extend_from_slice(data);
        let mut replies = Vec::new();
        for (tag, op) in std::mem::take(&mut self.parked) {
            replies.extend(self.ask(tag, Uid(0), op).map(|reply| (tag, reply)));
        }
        replies
    }

    fn handle(&mut self, uid: Uid, op: &Op) -> Result<Option<Reply>, Errno> {
        Ok(Some(match op {
            Op::Attach { fid, .. } => {
                self.make(*fid, ROOT)?;
                Reply::Attached(self.qid(ROOT))
            }
            Op::Walk { fid, newfid, names } => return self.walk(*fid, *newfid, names),
            Op::Open { fid, access } => self.open(*fid, *access)?,
            Op::Create { fid, name, mode, access } => {
                let dir = self.held(*fid)?.path;
                if self.files.values().any(|file| file.parent == dir && file.name == *name) {
                    return Err(Errno::EXIST);
                }
                let made = mode & 0o040_000 != 0;
                let kind = if made { FileKind::Dir } else { FileKind::File };
                let path = self.add(dir, name, kind, Shape::Text, b"");
                self.files.entry(path).and_modify(|file| file.mode = *mode & 0o777);
                self.fids.insert(*fid, Held { path, open: None });
                self.open(*fid, *access)?
            }
            Op::Read { fid, offset, count, wait } => return self.read(*fid, *offset, *count, *wait),
            Op::Write { fid, offset, data } => return self.write(*fid, *offset, data, uid),
            Op::List { fid, cookie, count } => {
                let dir = self.held(*fid)?.path;
                let listed = self.files.iter().filter(|(path, file)| file.parent == dir && **path != dir);
                let after = listed.filter(|(path, _)| **path > *cookie).take(*count as usize);
                Reply::Listed(
                    after.map(|(path, _)| Entry { cookie: *path, stat: self.stat(*path) }).collect(),
                )
            }
            Op::Stat { fid } => Reply::Stat(self.stat(self.held(*fid)?.path)),
            Op::SetStat { fid, set } => {
                let path = self.held(*fid)?.path;
                let file = self.files.get_mut(&path).ok_or(Errno::STALE)?;
                file.mode = set.mode.unwrap_or(file.mode);
                if let Some(size) = set.size.filter(|_| file.shape == Shape::Text) {
                    file.data
                        .resize(Some(size as usize).filter(|size| *size < LARGEST).ok_or(Errno::FBIG)?, 0);
                }
                Reply::Done
            }
            Op::ReadLink { fid } => {
                Reply::Linked(String::from_utf8_lossy(&self.file(self.held(*fid)?.path)?.data).into_owned())
            }
            Op::Symlink { fid, name, target } => {
                let dir = self.held(*fid)?.path;
                let path = self.add(dir, name, FileKind::Link, Shape::Text, target.as_bytes());
                Reply::Made(self.qid(path))
            }
            Op::Rename { fid, name, dir, to, replace } => {
                let (from, dir) = (self.held(*fid)?.path, self.held(*dir)?.path);
                let find = |dir: u64, name: &String| {
                    let found = self.files.iter().find(|(_, file)| file.parent == dir && file.name == *name);
                    found.map(|(path, _)| *path)
                };
                let (path, there) = (find(from, name).ok_or(Errno::NOENT)?, find(dir, to));
                if there.is_some() && !replace {
                    return Err(Errno::EXIST);
                }
                there.filter(|there| *there != path).map(|there| self.files.remove(&there));
                let file = self.files.get_mut(&path).ok_or(Errno::STALE)?;
                (file.name, file.parent) = (to.clone(), dir);
                Reply::Done
            }
            Op::Remove { fid } => {
                let path = self.held(*fid)?.path;
                self.fids.remove(fid);
                self.files.remove(&path);
                Reply::Done
            }
            Op::Clunk { fid } => match self.fids.remove(fid) {
                Some(_) => Reply::Done,
                None => {
                    self.strays += 1;
                    return Err(Errno::BADF);
                }
            },
            Op::Flush { .. } => unreachable!(),
        }))
    }

    fn walk(&mut self, fid: Fid, newfid: Fid, names: &[String]) -> Result<Option<Reply>, Errno> {
        let mut path = self.held(fid)?.path;
        let mut qids = Vec::new();
        for name in names {
            if self.file(path)?.name == "await" {
                return Ok(None);
            }
            let found = self.files.iter().find(|(_, file)| file.parent == path && file.name == *name);
            path = *found.ok_or(Errno::NOENT)?.0;
            qids.push(self.qid(path));
        }
        self.make(newfid, path)?;
        Ok(Some(Reply::Walked(qids)))
    }

    fn open(&mut self, fid: Fid, access: Access) -> Result<Reply, Errno> {
        let held = self.held(fid)?;
        assert!(held.open.is_none(), "{fid:?} is opened twice");
        let mut path = held.path;
        let file = self.files.get_mut(&path).ok_or(Errno::STALE)?;
        if access.truncate && file.shape == Shape::Text {
            file.data.clear();
        }
        let (shape, clone) = (file.shape, file.name == "clone");
        if clone {
            path = self.add(0, "session", FileKind::File, Shape::Stream, b"");
            self.files.entry(path).and_modify(|file| file.data = format!("{path}\n").into_bytes());
        }
        self.fids.insert(fid, Held { path, open: Some(access) });
        Ok(Reply::Opened(self.qid(path), shape))
    }

    fn read(&mut self, fid: Fid, offset: u64, count: u32, wait: bool) -> Result<Option<Reply>, Errno> {
        let held = self.held(fid)?;
        held.open.filter(|access| access.read).ok_or(Errno::BADF)?;
        let file = self.files.get_mut(&held.path).ok_or(Errno::STALE)?;
        let data = match file.shape {
            Shape::Stream => file.data.drain(..file.data.len().min(count as usize)).collect(),
            Shape::Text | Shape::Spool => {
                let start = file.data.len().min(offset as usize);
                file.data[start..file.data.len().min(start + count as usize)].to_vec()
            }
        };
        let waits = file.shape != Shape::Text && file.name != "session";
        match (data.is_empty() && waits, wait) {
            (true, true) => Ok(None),
            (true, false) => Err(Errno::AGAIN),
            (false, _) => Ok(Some(Reply::Data(data))),
        }
    }

    fn write(&mut self, fid: Fid, offset: u64, data: &[u8], uid: Uid) -> Result<Option<Reply>, Errno> {
        let held = self.held(fid)?;
        held.open.filter(|access| access.write).ok_or(Errno::BADF)?;
        let file = self.files.get_mut(&held.path).ok_or(Errno::STALE)?;
        match (file.shape, file.name.as_str()) {
            (_, "deaf") => return Ok(None),
            (Shape::Text, _) => {
                let end = (offset as usize).saturating_add(data.len());
                if end > LARGEST {
                    return Err(Errno::FBIG);
                }
                file.data.resize(file.data.len().max(end), 0);
                file.data[offset as usize..end].copy_from_slice(data);
            }
            (Shape::Stream | Shape::Spool, _) => {
                self.lines.push((uid, String::from_utf8_lossy(data).into_owned()))
            }
        }
        Ok(Some(Reply::Wrote(data.len() as u32)))
    }

    fn make(&mut self, fid: Fid, path: u64) -> Result<(), Errno> {
        assert!(!self.fids.contains_key(&fid), "{fid:?} is in use");
        self.fids.insert(fid, Held { path, open: None });
        Ok(())
    }

    fn held(&self, fid: Fid) -> Result<Held, Errno> {
        self.fids.get(&fid).copied().ok_or(Errno::BADF)
    }

    fn file(&self, path: u64) -> Result<&File, Errno> {
        self.files.get(&path).ok_or(Errno::STALE)
    }

    fn qid(&self, path: u64) -> Qid {
        let kind = self.files.get(&path).map_or(FileKind::File, |file| file.kind);
        Qid { kind, version: 0, path }
    }

    fn stat(&self, path: u64) -> Stat {
        let file = self.files.get(&path);
        let size = file.filter(|file| file.shape != Shape::Stream).map_or(0, |file| file.data.len() as u64);
        Stat {
            name: file.map_or(String::new(), |file| file.name.clone()),
            qid: self.qid(path),
            mode: file.map_or(0, |file| file.mode),
            uid: 0,
            gid: 0,
            user: "root".into(),
            group: "root".into(),
            size,
            mtime: Wall(1_000_000_000_000_000_000),
        }
    }
}
