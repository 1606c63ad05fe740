//! Directories, listed from any of their cookies, which are the file system's own (`d_off` of getdents64(2)).

use super::file::Asking;
use super::{name, stat};
use op::{Entry, FileKind, Qid, Reply, Stat, Wall};
use rustix::fs::{AtFlags, FileType, RawDir, RawDirEntry, SeekFrom};
use std::os::fd::BorrowedFd;

pub(super) fn list(
    dir: BorrowedFd<'_>,
    cookie: u64,
    count: u32,
    plain: bool,
    asking: &mut Asking<'_>,
) -> Result<Reply, rustix::io::Errno> {
    rustix::fs::seek(dir, SeekFrom::Start(cookie))?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut raw = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut entries: Vec<Entry> = Vec::new();
    while entries.len() < count as usize {
        match raw.next() {
            None => break,
            Some(Ok(entry)) => {
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    entries.extend(look(dir, &entry, plain, asking));
                }
            }
            // What was read is answered; whoever asks for the rest is told.
            Some(Err(_)) if !entries.is_empty() => break,
            Some(Err(rustix::io::Errno::NOENT)) => break, // the directory itself is removed
            Some(Err(errno)) => return Err(errno),
        }
    }
    Ok(Reply::Listed(entries))
}

/// One entry; `None` if it is gone since it was read.
fn look(dir: BorrowedFd<'_>, entry: &RawDirEntry<'_>, plain: bool, asking: &mut Asking<'_>) -> Option<Entry> {
    let as_is = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let follow = AtFlags::NO_AUTOMOUNT;
    let looked = rustix::fs::statat(dir, entry.file_name(), if plain { follow } else { as_is });
    let looked = match looked {
        Err(_) if plain => rustix::fs::statat(dir, entry.file_name(), as_is), // a link that leads nowhere
        looked => looked,
    };
    let name = name::text(entry.file_name().to_bytes());
    let mut stat = match looked {
        Ok(found) => stat::stat(name, &found, asking),
        Err(rustix::io::Errno::NOENT) => return None,
        // It may be listed but not looked at.
        Err(_) => unseen(name, entry, asking),
    };
    if plain && stat.qid.kind == FileKind::Link {
        stat.qid.kind = FileKind::File;
    }
    Some(Entry { cookie: entry.next_entry_cookie(), stat })
}

fn unseen(name: String, entry: &RawDirEntry<'_>, asking: &mut Asking<'_>) -> Stat {
    let kind = match entry.file_type() {
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::File,
    };
    let qid = Qid { kind, version: 0, path: entry.ino() };
    let (user, group) = (asking.names.user(0, asking.user), asking.names.group(0, asking.user));
    Stat { name, qid, mode: 0, uid: 0, gid: 0, user, group, size: 0, mtime: Wall(0) }
}
