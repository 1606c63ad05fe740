//! A machine's own files, in memory: what stands behind `fs/`, asked over [`kernel::LinkId::FILES`]. A few files, a
//! directory that takes new ones, and one file that is large.

use op::{Entry, Errno, Fid, FileKind, Op, Qid, Reply, Shape, Stat, Wall};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A tree of files.
#[derive(Clone, Debug)]
pub struct Files {
    /// By path, without a leading slash; `None` is a directory. The root is the empty path.
    tree: BTreeMap<String, Option<Vec<u8>>>,
    /// Those of them that are symbolic links, and hold what they lead to.
    links: BTreeSet<String>,
    fids: BTreeMap<Fid, String>,
}

/// Bytes of `var/big`.
pub const BIG: usize = 300_000;

impl Files {
    /// The files of a machine of this name.
    pub fn of(name: &str) -> Files {
        let file = |text: String| Some(text.into_bytes());
        let tree = BTreeMap::from([
            (String::new(), None),
            ("etc".into(), None),
            ("etc/hostname".into(), file(format!("{name}\n"))),
            ("etc/motd".into(), file("welcome\n".into())),
            ("tmp".into(), None),
            ("var".into(), None),
            ("var/big".into(), Some((0..BIG).map(|at| (at * 7 % 251) as u8).collect())),
        ]);
        Files { tree, links: BTreeSet::new(), fids: BTreeMap::new() }
    }

    /// A machine without any.
    pub fn none() -> Files {
        let tree = BTreeMap::from([(String::new(), None)]);
        Files { tree, links: BTreeSet::new(), fids: BTreeMap::new() }
    }

    /// The node behind it has gone: its fids with it.
    pub fn hangup(&mut self) {
        self.fids.clear();
    }

    /// What a file holds.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.tree.get(path)?.as_deref()
    }

    /// Whether it is a symbolic link.
    pub(super) fn is_link(&self, path: &str) -> bool {
        self.links.contains(path)
    }

    /// The paths in a directory.
    pub(super) fn in_dir(&self, path: &str) -> Vec<String> {
        self.below(path).into_iter().cloned().collect()
    }

    fn qid(&self, path: &str) -> Qid {
        let kind = match &self.tree[path] {
            Some(_) if self.is_link(path) => FileKind::Link,
            Some(_) => FileKind::File,
            None => FileKind::Dir,
        };
        let number = path.bytes().fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
        Qid { kind, version: 0, path: number }
    }

    fn stat(&self, path: &str) -> Stat {
        let (user, group): (Arc<str>, Arc<str>) = ("root".into(), "root".into());
        let (name, size) = (path.rsplit('/').next().unwrap_or_default(), self.tree[path].as_ref());
        Stat {
            name: name.into(),
            qid: self.qid(path),
            mode: if size.is_some() { 0o644 } else { 0o755 },
            uid: 0,
            gid: 0,
            user,
            group,
            size: size.map_or(0, |data| data.len() as u64),
            mtime: Wall(1_249_473_600_000_000_000),
        }
    }

    fn below(&self, path: &str) -> Vec<&String> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let inside =
            |p: &&String| p.strip_prefix(&prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
        self.tree.keys().filter(inside).collect()
    }

    /// Answers, as a file server would.
    pub fn answer(&mut self, op: &Op) -> Reply {
        self.try_answer(op).unwrap_or_else(Reply::errno)
    }

    fn try_answer(&mut self, op: &Op) -> Result<Reply, Errno> {
        let path = |fid: &Fid| self.fids.get(fid).cloned().ok_or(Errno::BADF);
        Ok(match op {
            Op::Attach { fid, .. } => {
                self.fids.insert(*fid, String::new());
                Reply::Attached(self.qid(""))
            }
            Op::Walk { fid, newfid, names } => {
                let (mut at, mut qids) = (path(fid)?, Vec::new());
                for name in names {
                    let next = match name.as_str() {
                        "." => at.clone(),
                        ".." => at.rsplit_once('/').map_or(String::new(), |(up, _)| up.into()),
                        name if at.is_empty() => name.into(),
                        name => format!("{at}/{name}"),
                    };
                    if !self.tree.contains_key(&next) {
                        break;
                    }
                    at = next;
                    qids.push(self.qid(&at));
                }
                if qids.len() == names.len() {
                    self.fids.insert(*newfid, at);
                } else if qids.is_empty() {
                    return Err(Errno::NOENT);
                }
                Reply::Walked(qids)
            }
            Op::Open { fid, .. } => Reply::Opened(self.qid(&path(fid)?), Shape::Text),
            Op::Create { fid, name, mode, .. } => {
                let dir = path(fid)?;
                let new = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
                if self.tree.contains_key(&new) {
                    return Err(Errno::EXIST);
                }
                self.tree.insert(new.clone(), (mode & 0o040_000 == 0).then(Vec::new));
                self.fids.insert(*fid, new.clone());
                Reply::Opened(self.qid(&new), Shape::Text)
            }
            Op::Read { fid, offset, count, .. } => {
                let at = path(fid)?;
                let data = self.tree[&at].as_ref().ok_or(Errno::ISDIR)?;
                let from = (*offset as usize).min(data.len());
                let to = (from + *count as usize).min(data.len());
                Reply::Data(data[from..to].to_vec())
            }
            Op::Write { fid, offset, data } => {
                let at = path(fid)?;
                let file = self.tree.get_mut(&at).and_then(Option::as_mut).ok_or(Errno::ISDIR)?;
                let from = *offset as usize;
                file.resize(file.len().max(from + data.len()), 0);
                file[from..from + data.len()].copy_from_slice(data);
                Reply::Wrote(data.len() as u32)
            }
            Op::List { fid, cookie, count } => {
                let at = path(fid)?;
                let below = self.below(&at);
                let from = below.iter().enumerate().skip(*cookie as usize).take(*count as usize);
                let entry = |(i, p): (usize, &&String)| Entry { cookie: i as u64 + 1, stat: self.stat(p) };
                Reply::Listed(from.map(entry).collect())
            }
            Op::Stat { fid } => Reply::Stat(self.stat(&path(fid)?)),
            Op::SetStat { fid, set } => {
                let at = path(fid)?;
                if let (Some(size), Some(Some(data))) = (set.size, self.tree.get_mut(&at)) {
                    data.resize(size as usize, 0);
                }
                Reply::Done
            }
            Op::ReadLink { fid } => {
                let at = path(fid)?;
                let target = self.get(&at).filter(|_| self.is_link(&at)).ok_or(Errno::INVAL)?;
                Reply::Linked(String::from_utf8_lossy(target).into_owned())
            }
            Op::Symlink { fid, name, target } => {
                let new = format!("{}/{name}", path(fid)?);
                if self.tree.contains_key(&new) {
                    return Err(Errno::EXIST);
                }
                self.tree.insert(new.clone(), Some(target.clone().into_bytes()));
                self.links.insert(new.clone());
                Reply::Made(self.qid(&new))
            }
            Op::Rename { fid, name, dir, to, replace } => {
                let under = |dir: String, name: &str| match dir.is_empty() {
                    true => name.to_string(),
                    false => format!("{dir}/{name}"),
                };
                let (from, to) = (under(path(fid)?, name), under(path(dir)?, to));
                if !self.tree.contains_key(&from) {
                    return Err(Errno::NOENT);
                }
                if self.tree.contains_key(&to) && (!replace || self.tree[&to].is_none()) {
                    return Err(Errno::EXIST);
                }
                if from == to || format!("{to}/").starts_with(&format!("{from}/")) {
                    return Err(Errno::INVAL);
                }
                let inside = format!("{from}/");
                let moved: Vec<String> =
                    self.tree.keys().filter(|p| **p == from || p.starts_with(&inside)).cloned().collect();
                for path in moved {
                    let node = self.tree.remove(&path).expect("it was just listed");
                    let new = format!("{to}{}", &path[from.len()..]);
                    match self.links.remove(&path) {
                        true => self.links.insert(new.clone()),
                        false => self.links.remove(&new),
                    };
                    for at in self.fids.values_mut().filter(|at| **at == path) {
                        at.clone_from(&new);
                    }
                    self.tree.insert(new, node);
                }
                Reply::Done
            }
            Op::Remove { fid } => {
                let at = self.fids.remove(fid).ok_or(Errno::BADF)?;
                if at.is_empty() || !self.below(&at).is_empty() {
                    return Err(Errno::NOTEMPTY);
                }
                self.tree.remove(&at);
                self.links.remove(&at);
                Reply::Done
            }
            Op::Clunk { fid } => {
                self.fids.remove(fid).ok_or(Errno::BADF)?;
                Reply::Done
            }
            Op::Flush { .. } => Reply::Done,
        })
    }

    /// A content becomes a file, whole.
    pub(super) fn put(&mut self, path: &str, data: &[u8]) -> Reply {
        let path = path.trim_matches('/');
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        match (self.tree.get(above), self.tree.get(path)) {
            (Some(None), None | Some(Some(_))) => {
                self.tree.insert(path.into(), Some(data.to_vec()));
                Reply::Done
            }
            (Some(None), Some(None)) => Reply::errno(Errno::ISDIR),
            _ => Reply::errno(Errno::NOENT),
        }
    }

    /// Fids that are held.
    pub fn fids(&self) -> usize {
        self.fids.len()
    }
}
