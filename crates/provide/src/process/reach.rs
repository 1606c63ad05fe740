//! Whether a start may have to wait for a file system that does not answer.
//!
//! The directory and each place of the program are opened as paths only, from what the kernel has in memory
//! (`RESOLVE_CACHED`, openat2(2), Linux 5.12): that never waits, and says of the file that is there on which
//! mount it is (`STATX_MNT_ID`). A mount whose file system is known to be of this machine alone is *near*;
//! every other is far, of the network or of FUSE, which may be this very node. What is not in memory is looked
//! up, if the directory that it would be in is near: then it is one of this machine's disks that is read, as
//! exec would.
//!
//! So a start is near if walking to its directory and its program, and reading the program's first bytes (and
//! those of the interpreter that a script names), asks nobody. What is not known is far, and so is everything
//! where openat2 is missing (older kernels, some sandboxes): then each start costs a thread.
//!
//! Not looked at: the loader and the libraries that a near program is linked with, for those it waits itself,
//! after its start; and what lies under an overlay. Between look and start the answer may change, when somebody
//! mounts or the kernel forgets: then the start waits for what was near a moment ago.

use super::place::Places;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Most programs of which it is remembered whether they are scripts.
const HEADS: usize = 256;
/// Most interpreters that are scripts themselves: as the kernel has it (binfmt_script).
const DEPTH: usize = 5;

/// What is remembered from start to start.
#[derive(Debug)]
pub(super) struct Reach {
    mounts: Option<File>,
    /// By the number of the mount; forgotten when mounts change.
    near: HashMap<u64, bool>,
    /// The interpreter that a file's first line names.
    heads: HashMap<Ident, Option<CString>>,
}

/// A file that has not changed: device, inode, size, change time.
type Ident = (u32, u32, u64, u64, i64, u32);

/// What is at a place.
enum Found {
    Near(OwnedFd, Box<Statx>),
    /// Nothing, or nothing that we may see; an exec there fails at once.
    Nothing(Errno),
    Far,
}

impl Reach {
    pub(super) fn new() -> Reach {
        Reach { mounts: File::open("/proc/self/mountinfo").ok(), near: HashMap::new(), heads: HashMap::new() }
    }

    /// Whether a start at these places waits for this machine at most.
    pub(super) fn is_near(&mut self, places: &Places) -> bool {
        self.look_for_mounts();
        let dir = match self.find(CWD, &places.dir, OFlags::DIRECTORY) {
            Found::Nothing(_) if places.any_dir => self.find(CWD, c"/", OFlags::DIRECTORY),
            other => other,
        };
        let dir = match dir {
            Found::Near(dir, _) => dir,
            Found::Nothing(_) => return true, // refused at once
            Found::Far => return false,
        };
        for place in &places.programs {
            match self.program(dir.as_fd(), place) {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
        }
        true
    }

    /// Whether there is a program at this place, all of it near; `None`: that cannot be said.
    fn program(&mut self, dir: BorrowedFd<'_>, place: &CStr) -> Option<bool> {
        let mut place = place.to_owned();
        for _ in 0..DEPTH {
            let (file, stat) = match self.find(dir, &place, OFlags::empty()) {
                Found::Near(file, stat) => (file, stat),
                Found::Nothing(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Some(false),
                Found::Nothing(_) => return Some(true), // exec stops here, too
                Found::Far => return None,
            };
            let mode = u32::from(stat.stx_mode);
            if FileType::from_raw_mode(mode) != FileType::RegularFile || mode & 0o111 == 0 {
                return Some(false);
            }
            drop(file);
            match self.head(dir, &place, &stat) {
                Some(interpreter) => place = interpreter,
                None => return Some(true),
            }
        }
        Some(true)
    }

    /// Opens a path, without waiting.
    fn find(&mut self, dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Found {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), ResolveFlags::CACHED) {
            Err(Errno::AGAIN) => match self.read_in(dir, path) {
                // Now it is in memory, unless it is a link that goes on to where nothing is.
                Ok(()) => match rustix::fs::openat2(dir, path, flags, Mode::empty(), ResolveFlags::CACHED) {
                    Ok(file) => self.judge(file),
                    Err(_) => Found::Far,
                },
                Err(Some(errno)) => Found::Nothing(errno),
                Err(None) => Found::Far,
            },
            Ok(file) => self.judge(file),
            Err(
                errno @ (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG),
            ) => Found::Nothing(errno),
            Err(_) => Found::Far,
        }
    }

    fn judge(&mut self, file: OwnedFd) -> Found {
        // No field is asked for that would have to be fetched.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        match rustix::fs::statx(&file, c"", flags, StatxFlags::MNT_ID) {
            Ok(stat) if self.is_near_mount(stat.stx_mnt_id) => Found::Near(file, Box::new(stat)),
            Ok(_) | Err(_) => Found::Far,
        }
    }

    /// Reads one entry of a directory that is in memory and near. `Err(Some)`: there is none. Some file systems
    /// (tmpfs) remember no names that are not there, and are asked like this for each.
    fn read_in(&mut self, dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Option<Errno>> {
        let path = path.to_bytes();
        let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let parent: &[u8] = if cut == 0 { b"." } else { &path[..cut] };
        let name = &path[cut..];
        if name.is_empty() || name == b"." || name == b".." {
            return Err(None);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let parent = rustix::fs::openat2(dir, parent, flags, Mode::empty(), ResolveFlags::CACHED);
        let Found::Near(parent, _) = parent.map_or(Found::Far, |parent| self.judge(parent)) else {
            return Err(None);
        };
        let only_here = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(parent, name, flags | OFlags::NOFOLLOW, Mode::empty(), only_here) {
            Ok(_) => Ok(()),
            Err(errno @ (Errno::NOENT | Errno::ACCESS)) => Err(Some(errno)),
            Err(_) => Err(None),
        }
    }

    /// What a file's first line names as its interpreter: execve(2).
    fn head(&mut self, dir: BorrowedFd<'_>, path: &CStr, stat: &Statx) -> Option<CString> {
        let time = stat.stx_ctime;
        let (major, minor) = (stat.stx_dev_major, stat.stx_dev_minor);
        let ident = (major, minor, stat.stx_ino, stat.stx_size, time.tv_sec, time.tv_nsec);
        if let Some(head) = self.heads.get(&ident) {
            return head.clone();
        }
        let mut head = [0u8; 256];
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(dir, path, flags, Mode::empty(), ResolveFlags::CACHED);
        let n = file.and_then(|file| rustix::io::read(file, &mut head)).unwrap_or(0);
        let interpreter = super::place::interpreter(&head[..n]).and_then(|path| CString::new(path).ok());
        if self.heads.len() >= HEADS {
            self.heads.clear();
        }
        self.heads.insert(ident, interpreter.clone());
        interpreter
    }

    fn is_near_mount(&mut self, mount: u64) -> bool {
        if self.near.is_empty() {
            self.read_mounts();
        }
        self.near.get(&mount).copied().unwrap_or(false)
    }

    /// Forgets the mounts if they have changed: then their file has an exceptional condition (proc(5)).
    fn look_for_mounts(&mut self) {
        let Some(file) = &self.mounts else { return };
        let mut fds = [PollFd::new(file, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)) != Ok(0) {
            self.near.clear();
        }
    }

    fn read_mounts(&mut self) {
        let Some(file) = &self.mounts else { return };
        let (mut text, mut part) = (Vec::new(), vec![0; 16 << 10]);
        while let Ok(n @ 1..) = file.read_at(&mut part, text.len() as u64) {
            text.extend(&part[..n]);
        }
        self.near = String::from_utf8_lossy(&text).lines().filter_map(mount).collect();
    }
}

/// Number of a mount, and whether it is near: a line of /proc/PID/mountinfo (proc(5)).
fn mount(line: &str) -> Option<(u64, bool)> {
    let (left, right) = line.split_once(" - ")?;
    Some((left.split(' ').next()?.parse().ok()?, is_near(right.split(' ').next()?)))
}

/// File systems that answer without anybody's help.
fn is_near(kind: &str) -> bool {
    const KINDS: [&str; 38] = [
        "bcachefs",
        "btrfs",
        "cgroup",
        "cgroup2",
        "cramfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "erofs",
        "exfat",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "hfs",
        "hfsplus",
        "hugetlbfs",
        "iso9660",
        "jffs2",
        "jfs",
        "minix",
        "msdos",
        "nilfs2",
        "ntfs3",
        "overlay",
        "proc",
        "ramfs",
        "reiserfs",
        "romfs",
        "rootfs",
        "squashfs",
        "sysfs",
        "tmpfs",
        "ubifs",
        "udf",
        "vfat",
        "xfs",
        "zfs",
    ];
    KINDS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_near() {
        let check = |kind: &str, near: bool| {
            let line = format!("36 35 98:0 /mnt1 /mnt rw,noatime master:1 - {kind} /dev/root rw");
            assert_eq!(mount(&line), Some((36, near)), "{kind}");
        };
        ["ext4", "tmpfs", "overlay"].iter().for_each(|kind| check(kind, true));
        let far = [
            "fuse",
            "fuse.sshfs",
            "fuseblk",
            "nfs",
            "nfs4",
            "9p",
            "cifs",
            "ceph",
            "autofs",
            "virtiofs",
            "new",
        ];
        far.iter().for_each(|kind| check(kind, false));
        assert_eq!(mount("nonsense"), None);
    }

    #[test]
    fn programs_of_this_machine_are_near() {
        let dir = tempfile::tempdir().unwrap();
        let text = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
        let places = |programs: &[&std::path::Path]| Places {
            dir: text(dir.path()),
            any_dir: false,
            programs: programs.iter().map(|path| text(path)).collect(),
        };
        let mut reach = Reach::new();
        let script = dir.path().join("script");
        std::fs::write(&script, "#! /bin/sh -e\n").unwrap();
        let mut mode = std::fs::metadata(&script).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let none = dir.path().join("none");
        let _warm = std::fs::metadata("/bin/sh").unwrap();
        assert!(reach.is_near(&places(&[&none, &script])));
        assert!(reach.is_near(&places(&["./script".as_ref()])), "from its directory");
        assert!(reach.is_near(&places(&[&none])), "refused at once");
        let magic = std::path::Path::new("/proc/self/exe");
        assert!(!reach.is_near(&places(&[magic])), "what cannot be said is far");
        assert!(reach.heads.values().any(|head| head.as_deref() == Some(c"/bin/sh")));
    }
}
