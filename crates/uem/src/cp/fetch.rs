//! Files and trees fetched from the files of a node: each is written under another name and renamed when it is whole. A
//! symbolic link below what is named is fetched as a link; what a node says is written nowhere but below where it belongs.

use super::place::{real, shown};
use super::put::stopped;
use crate::failure::Failure;
use host::client::{Connection, READ};
use op::{Errno, FileKind, Op, Reply, Stat};
use provide::files::{name_bytes, name_text};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, UNIX_EPOCH};

/// Reads that are under way at a time, and bytes of each.
const WINDOW: usize = 8;
const PIECE: u32 = 256 << 10;

/// Numbers the other names.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// How things are fetched, and what went wrong on the way.
pub(super) struct Fetch<'a> {
    pub(super) node: &'a mut Connection,
    pub(super) recursive: bool,
    /// With the time of the last change.
    pub(super) times: bool,
    pub(super) stop: &'a AtomicBool,
    pub(super) failures: Vec<Failure>,
}

impl Fetch<'_> {
    /// Fetches what is at a path of a node; failures below a directory are noted, and the rest goes on.
    pub(super) fn all(&mut self, fs: &str, path: &str, to: &Path) -> Result<(), Failure> {
        self.node.stat(fs)?;
        let (from, _) = real(self.node, fs, path)?;
        let stat = self.node.stat(&from).map_err(|error| Failure::from(error).about(shown(&from)))?;
        self.any(&from, to, &stat, true)
    }

    fn any(&mut self, from: &str, to: &Path, stat: &Stat, top: bool) -> Result<(), Failure> {
        match stat.qid.kind {
            FileKind::File => self.file(from, to, stat),
            FileKind::Link => self.link(from, to),
            FileKind::Dir if !self.recursive => Err(Failure::new(format!("{} is a directory", shown(from)))
                .hint("-r copies it with all that is in it")),
            FileKind::Dir => self.directory(from, to, stat, top),
        }
    }

    fn directory(&mut self, from: &str, to: &Path, stat: &Stat, top: bool) -> Result<(), Failure> {
        let local = |error: io::Error| Failure::from(error).about(to.display());
        match fs::symlink_metadata(to) {
            // A link that came with the tree, or was there, would lead out of it.
            Ok(there) if there.is_symlink() && !top => {
                let cause = "is a symbolic link here, and a directory there: left out";
                return Err(Failure::new(format!("{} {cause}", to.display())));
            }
            Ok(_) if to.is_dir() => {}
            Ok(_) | Err(_) => fs::create_dir(to).map_err(local)?,
        }
        let entries = self.node.list(from).map_err(|error| Failure::from(error).about(shown(from)))?;
        for entry in entries {
            if self.stop.load(Relaxed) {
                return Err(stopped());
            }
            let name = &entry.stat.name;
            let (below, bytes) = (format!("{from}/{name}"), os_name(name));
            // Another machine's word about a name is no way out of the directory.
            if matches!(bytes.as_bytes(), b"" | b"." | b"..") || bytes.as_bytes().contains(&b'/') {
                continue;
            }
            let fetched = self.any(&below, &to.join(bytes), &entry.stat, false);
            fetched.unwrap_or_else(|failure| self.failures.push(failure));
        }
        fs::set_permissions(to, Permissions::from_mode(stat.mode & 0o777)).map_err(local)?;
        if self.times {
            File::open(to).and_then(|dir| dir.set_times(times(stat))).map_err(local)?;
        }
        Ok(())
    }

    fn link(&mut self, from: &str, to: &Path) -> Result<(), Failure> {
        let local = |error: io::Error| Failure::from(error).about(to.display());
        let there = |error: op::Error| Failure::from(error).about(shown(from));
        let fid = self.node.go(from).map_err(there)?;
        let target = self.node.call(Op::ReadLink { fid });
        self.node.clunk(fid);
        let Reply::Linked(target) = target.map_err(there)? else { return Err(there(Errno::PROTO.into())) };
        let part = part(to);
        std::os::unix::fs::symlink(os_name(&target), &part).map_err(local)?;
        fs::rename(&part, to).map_err(|error| {
            let _it_is_of_no_use = fs::remove_file(&part);
            local(error)
        })
    }

    fn file(&mut self, from: &str, to: &Path, stat: &Stat) -> Result<(), Failure> {
        let local = |error: io::Error| Failure::from(error).about(to.display());
        let part = part(to);
        let mut whole = File::options().write(true).create_new(true).open(&part).map_err(local)?;
        let done = self.pour(from, &mut whole).and_then(|()| {
            whole.set_permissions(Permissions::from_mode(stat.mode & 0o777)).map_err(local)?;
            if self.times {
                whole.set_times(times(stat)).map_err(local)?;
            }
            fs::rename(&part, to).map_err(local)
        });
        if done.is_err() {
            let _it_is_not_whole = fs::remove_file(&part);
        }
        done
    }

    /// Reads a file to its end, several pieces at a time.
    fn pour(&mut self, from: &str, to: &mut File) -> Result<(), Failure> {
        let there = |error: op::Error| Failure::from(error).about(shown(from));
        let fid = self.node.open(from, READ).map_err(there)?;
        let piece = PIECE.min(self.node.max_io());
        let (mut asked, mut got, mut under_way) = (0, 0, VecDeque::new());
        let result = loop {
            while under_way.len() < WINDOW {
                under_way.push_back((
                    asked,
                    self.node.send(Op::Read { fid, offset: asked, count: piece, wait: true }),
                ));
                asked += u64::from(piece);
            }
            self.node.flush();
            let Some((offset, tag)) = under_way.pop_front() else { break Ok(()) };
            if self.stop.load(Relaxed) {
                under_way.push_back((offset, tag));
                break Err(stopped());
            }
            match self.node.wait_for(tag) {
                Ok(Reply::Data(data)) if data.is_empty() && offset == got => break Ok(()),
                // Behind a short read: it is asked for again.
                Ok(Reply::Data(_)) if offset != got => {}
                Ok(Reply::Data(data)) => {
                    if let Err(error) = to.write_all(&data) {
                        break Err(Failure::from(error).about("here"));
                    }
                    got += data.len() as u64;
                    if data.len() < piece as usize {
                        for (_, tag) in under_way.drain(..) {
                            let _behind_a_short_read = self.node.wait_for(tag);
                        }
                        asked = got;
                    }
                }
                Ok(_) => break Err(there(Errno::PROTO.into())),
                Err(error) => break Err(there(error)),
            }
        };
        for (_, tag) in under_way {
            let _it_is_over = self.node.wait_for(tag);
        }
        self.node.clunk(fid);
        result
    }
}

fn os_name(text: &str) -> OsString {
    OsString::from_vec(name_bytes(text).unwrap_or_else(|| text.as_bytes().to_vec()))
}

/// Another name beside it.
fn part(to: &Path) -> PathBuf {
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = name_text(to.file_name().unwrap_or_default().as_bytes());
    let name: String = name.chars().take(40).collect();
    dir.join(format!(".{name}.uem-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)))
}

fn times(stat: &Stat) -> FileTimes {
    FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_nanos(stat.mtime.0))
}
