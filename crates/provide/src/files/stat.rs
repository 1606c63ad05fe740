//! A file's attributes, as `op` has them.

use super::file::Asking;
use op::{FileKind, Qid, Stat, Wall};
use rustix::fs::FileType;

/// What a file is known by: device and number, mixed so that files of different devices do not meet.
pub(super) fn qid(stat: &rustix::fs::Stat) -> Qid {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::File,
    };
    let mtime = mtime(stat).0;
    let version = (mix(mtime) >> 32) as u32;
    Qid { kind, version, path: mix(stat.st_ino ^ mix(stat.st_dev)) }
}

/// One word to another, all bits on all bits, none lost (the finaliser of splitmix64, Steele et al. 2014).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn mtime(stat: &rustix::fs::Stat) -> Wall {
    let secs = u64::try_from(stat.st_mtime).unwrap_or(0);
    Wall(secs.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec))
}

pub(super) fn stat(name: String, stat: &rustix::fs::Stat, asking: &mut Asking<'_>) -> Stat {
    let sized = matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Symlink);
    Stat {
        name,
        qid: qid(stat),
        mode: stat.st_mode & 0o777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        user: asking.names.user(stat.st_uid, asking.user),
        group: asking.names.group(stat.st_gid, asking.user),
        size: if sized { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        mtime: mtime(stat),
    }
}
