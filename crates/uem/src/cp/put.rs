//! Files and trees put into the files of a node: its `fs/`.
//!
//! A directory `fs/` cannot rename, so a file is written under its own name. One that was not there before is removed
//! again when it did not come whole; of one that was there it is said.

use super::many::Source;
use crate::failure::Failure;
use host::client::{Connection, ROOT};
use op::{Access, Errno, FileKind, Op, Reply, SetStat};
use std::collections::VecDeque;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bytes of one write, and writes that are under way at a time.
const PIECE: usize = 256 << 10;
const WINDOW: usize = 8;
/// What makes a directory of what is created.
const DIR: u32 = 0o040_000;
const INTO: Access = Access { read: false, write: true, truncate: true };

/// Where things are put, and what went wrong on the way.
pub(super) struct Put<'a> {
    pub(super) node: &'a mut Connection,
    pub(super) failures: Vec<Failure>,
}

impl Put<'_> {
    /// Puts sources at a path of a node.
    pub(super) fn all(&mut self, sources: &[(Source, String)], fs: &str, path: &str) -> Result<(), Failure> {
        self.node.stat(fs)?;
        let to = format!("{fs}{path}");
        let is_dir = match self.node.stat(&to) {
            Ok(stat) => stat.qid.kind == FileKind::Dir,
            Err(error) if error.errno == Errno::NOENT => false,
            Err(error) => return Err(Failure::from(error).about(path)),
        };
        if !is_dir && (sources.len() > 1 || path.ends_with('/')) {
            return Err(Failure::new(format!("{path} is no directory there")));
        }
        for (source, name) in sources {
            let to = if is_dir { format!("{}/{name}", to.trim_end_matches('/')) } else { to.clone() };
            let put = match source {
                Source::Local(from) => self.any(from, &to),
                Source::Far(common, from) => common.connect().and_then(|mut far| {
                    let mut reader = super::fetch::Reader::open(&mut far, from)?;
                    self.file(&mut reader, 0o644, &to)
                }),
            };
            put.unwrap_or_else(|failure| self.failures.push(failure));
        }
        Ok(())
    }

    fn any(&mut self, from: &Path, to: &str) -> Result<(), Failure> {
        let local = |error: std::io::Error| Failure::new(error.to_string()).about(from.display());
        let about = std::fs::symlink_metadata(from).map_err(local)?;
        let mode = about.permissions().mode() & 0o777;
        if about.is_dir() {
            return self.tree(from, &about, to);
        }
        if !about.is_file() {
            let what = if about.is_symlink() { "a symbolic link" } else { "no file and no directory" };
            return Err(Failure::new(format!(
                "{} is {what}, which cannot be made there: left out",
                from.display()
            )));
        }
        let mut file = std::fs::File::open(from).map_err(local)?;
        self.file(&mut file, mode, to)
    }

    fn tree(&mut self, from: &Path, about: &Metadata, to: &str) -> Result<(), Failure> {
        let local = |error: std::io::Error| Failure::new(error.to_string()).about(from.display());
        let mode = about.permissions().mode() & 0o777;
        // Until all is in it, it must be open to us.
        let made = match self.create(to, DIR | mode | 0o700, Access { read: true, ..Access::default() }) {
            Ok(fid) => {
                self.node.clunk(fid);
                true
            }
            Err(error) if error.errno == Errno::EXIST => false,
            Err(error) => return Err(Failure::from(error).about(shown(to))),
        };
        let entries =
            std::fs::read_dir(from).map_err(local)?.collect::<Result<Vec<_>, _>>().map_err(local)?;
        for entry in entries {
            let put = match entry.file_name().to_str() {
                Some(name) => self.any(&entry.path(), &format!("{to}/{name}")),
                None => {
                    Err(Failure::new(format!("{}: its name is no UTF-8: left out", entry.path().display())))
                }
            };
            put.unwrap_or_else(|failure| self.failures.push(failure));
        }
        if made {
            self.mode(to, mode)?;
        }
        Ok(())
    }

    /// Puts one file there, whole or not at all where there was none.
    fn file(&mut self, from: &mut impl Read, mode: u32, to: &str) -> Result<(), Failure> {
        let about = |error: op::Error| Failure::from(error).about(shown(to));
        let (fid, made) = match self.node.open(to, INTO) {
            Ok(fid) => (fid, false),
            Err(error) if error.errno == Errno::NOENT => (self.create(to, mode, INTO).map_err(about)?, true),
            Err(error) => return Err(about(error)),
        };
        let poured = self.pour(fid, from);
        match (poured, made) {
            (Ok(_), _) => {
                self.node.call(Op::Clunk { fid }).map_err(about)?;
                if made { self.mode(to, mode) } else { Ok(()) }
            }
            (Err(failure), true) => {
                let _it_may_be_out_of_reach = self.node.call(Op::Remove { fid });
                Err(failure.about(shown(to)))
            }
            (Err(failure), false) => {
                self.node.clunk(fid);
                Err(failure.about(format!("{} is there in part", shown(to))))
            }
        }
    }

    fn pour(&mut self, fid: op::Fid, from: &mut impl Read) -> Result<u64, Failure> {
        let piece = PIECE.min(self.node.max_io() as usize);
        let (mut offset, mut under_way) = (0, VecDeque::new());
        let mut buffer = vec![0; piece];
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 || under_way.len() >= WINDOW {
                while let Some((tag, size)) = under_way.pop_front() {
                    match self.node.wait_for(tag)? {
                        Reply::Wrote(wrote) if wrote as usize == size => {}
                        _ => return Err(Failure::new("the node took a part of what was written")),
                    }
                    if n > 0 {
                        break;
                    }
                }
            }
            if n == 0 {
                return Ok(offset);
            }
            let data = buffer[..n].to_vec();
            under_way.push_back((self.node.send(Op::Write { fid, offset, data }), n));
            offset += n as u64;
        }
    }

    fn create(&mut self, path: &str, mode: u32, access: Access) -> op::Result<op::Fid> {
        let (dir, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        self.node.stat(dir)?;
        let (fid, walked) = self.node.walk(ROOT, dir);
        self.node.wait_for(walked)?;
        match self.node.call(Op::Create { fid, name: name.into(), mode, access }) {
            Ok(_) => Ok(fid),
            Err(error) => {
                self.node.clunk(fid);
                Err(error)
            }
        }
    }

    /// The umask there may have taken something from the mode.
    fn mode(&mut self, path: &str, mode: u32) -> Result<(), Failure> {
        let (fid, walked) = self.node.walk(ROOT, path);
        let set = SetStat { mode: Some(mode), ..SetStat::default() };
        let done = self.node.wait_for(walked).and_then(|_| self.node.call(Op::SetStat { fid, set }));
        self.node.clunk(fid);
        done.map(drop).map_err(|error| Failure::from(error).about(shown(path)))
    }
}

/// A path as it is called at the node itself.
pub(super) fn shown(path: &str) -> &str {
    path.split_once("/fs").map_or(path, |(_, rest)| rest)
}
