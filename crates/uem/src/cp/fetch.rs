//! Files and trees fetched from the files of a node: each is written under another name and renamed when it is whole.
//! A symbolic link is fetched as what it leads to; one that leads back up is left out.

use super::put::shown;
use crate::cat;
use crate::failure::Failure;
use host::client::{Connection, READ};
use op::{Fid, FileKind, Op, Reply, Stat};
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file of the tree, as something to read.
pub(super) struct Reader<'a> {
    node: &'a mut Connection,
    fid: Fid,
    offset: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn open(node: &'a mut Connection, path: &str) -> Result<Reader<'a>, Failure> {
        let fid = node.open(path, READ).map_err(|error| Failure::from(error).about(path))?;
        Ok(Reader { node, fid, offset: 0 })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = u32::try_from(buffer.len()).unwrap_or(u32::MAX).min(self.node.max_io());
        match self.node.call(Op::Read { fid: self.fid, offset: self.offset, count, wait: true }) {
            Ok(Reply::Data(data)) => {
                buffer[..data.len()].copy_from_slice(&data);
                self.offset += data.len() as u64;
                Ok(data.len())
            }
            Ok(_) => Err(io::Error::other("the node answered something else")),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}

/// Fetches what is at a path of the tree, in directories of these numbers; failures below a directory are added, and the rest goes on.
pub(super) fn any(
    node: &mut Connection,
    from: &str,
    to: &Path,
    recursive: bool,
    above: &mut Vec<u64>,
    failures: &mut Vec<Failure>,
) -> Result<(), Failure> {
    let stat = node.stat(from).map_err(|error| Failure::from(error).about(shown(from)))?;
    match stat.qid.kind {
        FileKind::File => file(node, from, to, &stat),
        FileKind::Link => Err(Failure::new(format!("{} is a symbolic link: left out", shown(from)))),
        FileKind::Dir if !recursive => Err(Failure::new(format!("{} is a directory", shown(from)))
            .hint("-r copies it with all that is in it")),
        FileKind::Dir if above.contains(&stat.qid.path) => {
            let why = "leads back to a directory that it is in: left out";
            Err(Failure::new(format!("{} {why}", shown(from))))
        }
        FileKind::Dir => {
            let local = |error: io::Error| Failure::new(error.to_string()).about(to.display());
            if !to.is_dir() {
                std::fs::create_dir(to).map_err(local)?;
            }
            let entries = node.list(from).map_err(|error| Failure::from(error).about(shown(from)))?;
            above.push(stat.qid.path);
            for entry in entries {
                let name = &entry.stat.name;
                // Another machine's word about a name is no way out of the directory.
                if name.is_empty() || name.contains('/') || matches!(name.as_str(), "." | "..") {
                    continue;
                }
                let (below, to) = (format!("{from}/{name}"), to.join(name));
                let fetched = any(node, &below, &to, recursive, above, failures);
                fetched.unwrap_or_else(|failure| failures.push(failure));
            }
            above.pop();
            std::fs::set_permissions(to, Permissions::from_mode(stat.mode & 0o777)).map_err(local)
        }
    }
}

fn file(node: &mut Connection, from: &str, to: &Path, stat: &Stat) -> Result<(), Failure> {
    let local = |error: io::Error| Failure::new(error.to_string()).about(to.display());
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let part = dir.join(format!(".{name}.uem-{}", std::process::id()));
    let mut whole = File::options().write(true).create_new(true).open(&part).map_err(local)?;
    let done = cat::copy(node, from, &mut whole).and_then(|()| {
        whole.set_permissions(Permissions::from_mode(stat.mode & 0o777)).map_err(local)?;
        std::fs::rename(&part, to).map_err(local)
    });
    if done.is_err() {
        let _it_is_not_whole = std::fs::remove_file(&part);
    }
    done
}
