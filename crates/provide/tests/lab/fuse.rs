//! A file system that answers only when the test has it answer: fuse(4), as little of it as an exec needs.
//!
//! Its root holds one file, `prog`, a script. Mounted in a mount namespace of the test's own.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub(crate) const SCRIPT: &[u8] = b"#!/bin/sh\nread x\necho ran $x\nexit 7\n";

/// The server's end.
pub(crate) struct Fuse {
    dev: OwnedFd,
    point: tempfile::TempDir,
}

/// Gives this process mounts of its own, so that none outlives it. `false`, loudly: it may not.
pub(crate) fn own_mounts() -> bool {
    // SAFETY: this process has one thread, which shares its working directory with nobody.
    let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) };
    if let Err(errno) = unshared {
        println!("NOT TESTED: no mount namespace: {errno}");
        return false;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    true
}

impl Fuse {
    /// Mounts; nothing is answered yet. `None`, loudly: this machine cannot.
    pub(crate) fn new() -> Option<Fuse> {
        if !own_mounts() {
            return None;
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let dev = match rustix::fs::open("/dev/fuse", flags, Mode::empty()) {
            Ok(dev) => dev,
            Err(errno) => {
                println!("NOT TESTED: /dev/fuse: {errno}");
                return None;
            }
        };
        let point = tempfile::tempdir().unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", dev.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("lab", point.path(), "fuse", MountFlags::empty(), Some(&*options)).unwrap();
        Some(Fuse { dev, point })
    }

    pub(crate) fn point(&self) -> &Path {
        self.point.path()
    }

    pub(crate) fn prog(&self) -> PathBuf {
        self.point().join("prog")
    }

    /// Answers what is asked now.
    pub(crate) fn answer(&self) {
        let mut buf = vec![0u8; 1 << 18];
        loop {
            match rustix::io::read(&self.dev, &mut buf) {
                Ok(n) => self.one(&buf[..n]),
                Err(Errno::INTR | Errno::NOENT) => {}
                Err(Errno::AGAIN) => return,
                Err(errno) => panic!("/dev/fuse: {errno}"),
            }
        }
    }

    fn one(&self, request: &[u8]) {
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (word(4), long(8), long(16));
        let answer = match opcode {
            2 | 36 | 42 => return,
            1 if request[40..].starts_with(b"prog\0") => {
                Ok([long_words(&[2, 1, 0, 0, 0]), attributes(2)].concat())
            }
            1 => Err(2),
            3 => Ok([long_words(&[0, 0]), attributes(node)].concat()),
            14 | 27 => Ok(long_words(&[1, 0])),
            15 => {
                let from = SCRIPT.len().min(long(48) as usize);
                Ok(SCRIPT[from..SCRIPT.len().min(from + word(56) as usize)].to_vec())
            }
            18 | 25 | 29 | 34 => Ok(Vec::new()),
            26 => {
                let mut init = vec![0; 64];
                init[..4].copy_from_slice(&7u32.to_le_bytes());
                init[4..8].copy_from_slice(&31u32.to_le_bytes());
                init[20..24].copy_from_slice(&4096u32.to_le_bytes());
                Ok(init)
            }
            _ => Err(38),
        };
        let (errno, body) = answer.map_or_else(|errno: i32| (-errno, Vec::new()), |body| (0, body));
        let mut out = ((16 + body.len()) as u32).to_le_bytes().to_vec();
        out.extend(errno.to_le_bytes());
        out.extend(unique.to_le_bytes());
        out.extend(body);
        let _given_up = rustix::io::write(&self.dev, &out);
    }
}

fn long_words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// `struct fuse_attr`: the root's or the script's.
fn attributes(node: u64) -> Vec<u8> {
    let (mode, size) = if node == 1 { (0o040_755u32, 0) } else { (0o100_755, SCRIPT.len() as u64) };
    let mut out = long_words(&[node, size, 1, 0, 0, 0]);
    for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        out.extend(word.to_le_bytes());
    }
    out
}
