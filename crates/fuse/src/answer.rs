//! Answers to the kernel: typed values to bytes.

use crate::abi::{self, fopen, init, mode};
use crate::limits;
use core::time::Duration;
use op::{Entry, Errno, FileKind, Shape, Stat};

/// One whole message to the kernel: both parts go out in a single writev(2), head first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    head: [u8; abi::OUT_HEADER],
    body: Vec<u8>,
}

impl Answer {
    /// The request that this answers.
    pub fn unique(&self) -> u64 {
        let [_, _, _, _, _, _, _, _, unique @ ..] = self.head;
        u64::from_ne_bytes(unique)
    }

    /// What the caller is told: nothing bad, or an errno.
    pub fn result(&self) -> Result<(), Errno> {
        let [_, _, _, _, a, b, c, d, ..] = self.head;
        match i32::from_ne_bytes([a, b, c, d]).unsigned_abs() {
            0 => Ok(()),
            errno => Err(Errno(errno as u16)),
        }
    }

    /// The sixteen bytes that come first.
    pub fn head(&self) -> &[u8; 16] {
        &self.head
    }

    /// What comes after.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A success with this body.
    pub(crate) fn new(unique: u64, body: Vec<u8>) -> Answer {
        Answer { head: head(unique, 0, body.len()), body }
    }

    /// A failure. The kernel takes numbers from 1 to 511 only.
    pub(crate) fn failed(unique: u64, errno: Errno) -> Answer {
        let number = if (1..512).contains(&errno.0) { errno.0 } else { Errno::IO.0 };
        Answer { head: head(unique, -i32::from(number), 0), body: Vec::new() }
    }
}

fn head(unique: u64, error: i32, body: usize) -> [u8; abi::OUT_HEADER] {
    let length =
        u32::try_from(abi::OUT_HEADER + body).expect("an answer is no longer than its request allows");
    let mut bytes = [0; abi::OUT_HEADER];
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..8].copy_from_slice(&error.to_ne_bytes());
    bytes[8..16].copy_from_slice(&unique.to_ne_bytes());
    bytes
}

/// To `INIT`: what is agreed on. `offered` are the kernel's flags.
pub(crate) fn init_body(readahead: u32, offered: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put32(&mut out, [abi::MAJOR, abi::MINOR, readahead, offered & init::WANTED]);
    put16(&mut out, [u16::MAX, u16::MAX]); // requests in the background, and when that is congestion
    put32(&mut out, [limits::WRITE, 1]); // the largest write; times are exact to a nanosecond
    put16(&mut out, [limits::PAGES, 0]);
    put32(&mut out, [0; 8]);
    out
}

/// To an `INIT` of a kernel that knows later majors: it begins again with ours.
pub(crate) fn init_major_body() -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put32(&mut out, [abi::MAJOR, abi::MINOR]);
    out.resize(64, 0);
    out
}

/// A file that was found, under the node that it is known by from now on.
pub(crate) fn put_entry(
    out: &mut Vec<u8>,
    node: u64,
    entry_ttl: Duration,
    attr_ttl: Duration,
    ino: u64,
    stat: &Stat,
) {
    put64(out, [node, 0, entry_ttl.as_secs(), attr_ttl.as_secs()]);
    put32(out, [entry_ttl.subsec_nanos(), attr_ttl.subsec_nanos()]);
    put_attributes(out, ino, stat);
}

/// To `GETATTR` and `SETATTR`.
pub(crate) fn put_stat(out: &mut Vec<u8>, attr_ttl: Duration, ino: u64, stat: &Stat) {
    put64(out, [attr_ttl.as_secs()]);
    put32(out, [attr_ttl.subsec_nanos(), 0]);
    put_attributes(out, ino, stat);
}

fn put_attributes(out: &mut Vec<u8>, ino: u64, stat: &Stat) {
    let (secs, nanos) = (stat.mtime.secs(), (stat.mtime.0 % 1_000_000_000) as u32);
    let (kind, links) = match stat.qid.kind {
        FileKind::Dir => (mode::DIR, 2),
        FileKind::File => (mode::FILE, 1),
        FileKind::Link => (mode::LINK, 1),
    };
    put64(out, [ino, stat.size, stat.size.div_ceil(512), secs, secs, secs]);
    put32(out, [nanos, nanos, nanos, kind | (stat.mode & 0o777), links, stat.uid, stat.gid]);
    put32(out, [0, 65536, 0]); // device number, block size, flags
}

/// To `OPEN`, and the end of the answer to `CREATE`: the file's handle, and how it behaves.
pub(crate) fn put_open(out: &mut Vec<u8>, file: u64, shape: Option<Shape>) {
    let flags = match shape {
        None => 0, // a directory
        Some(Shape::Text | Shape::Spool) => fopen::DIRECT_IO | fopen::PARALLEL_DIRECT_WRITES,
        Some(Shape::Stream) => {
            fopen::DIRECT_IO | fopen::STREAM | fopen::NONSEEKABLE | fopen::PARALLEL_DIRECT_WRITES
        }
    };
    put64(out, [file]);
    put32(out, [flags, 0]);
}

/// To `WRITE`.
pub(crate) fn wrote_body(count: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(8);
    put32(&mut out, [count, 0]);
    out
}

/// To `STATFS`: a file system without blocks, as those of the kernel's own that hold no data.
pub(crate) fn statfs_body() -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    put64(&mut out, [0; 5]);
    put32(&mut out, [4096, limits::NAME as u32, 4096]);
    put32(&mut out, [0; 7]);
    out
}

/// The answer to `READDIR` as it fills up. Offsets: 0 is before `.`, 1 before `..`, 2 before the first entry, and an
/// entry's cookie and 2 after it.
pub(crate) struct Listing {
    out: Vec<u8>,
    size: usize,
}

impl Listing {
    /// The cookie to list from for a kernel that asks from `offset`.
    pub(crate) fn cookie(offset: u64) -> u64 {
        offset.saturating_sub(2)
    }

    /// How many entries to ask for: about what fits.
    pub(crate) fn count(size: u32) -> u32 {
        (size / 40).clamp(1, limits::LIST)
    }

    pub(crate) fn new(size: u32) -> Listing {
        let size = size.min(limits::WRITE) as usize;
        Listing { out: Vec::with_capacity(size), size }
    }

    /// `.` (at offset 0) or `..` (at offset 1). False if it does not fit.
    pub(crate) fn dots(&mut self, offset: u64, ino: u64) -> bool {
        let name = if offset == 0 { "." } else { ".." };
        self.put(ino, offset + 1, mode::DIR, name)
    }

    /// One entry. False if it does not fit.
    pub(crate) fn entry(&mut self, ino: u64, entry: &Entry) -> bool {
        let kind = match entry.stat.qid.kind {
            FileKind::Dir => mode::DIR,
            FileKind::File => mode::FILE,
            FileKind::Link => mode::LINK,
        };
        self.put(ino, entry.cookie.saturating_add(2), kind, &entry.stat.name)
    }

    /// `None` when there was something to list and nothing fitted.
    pub(crate) fn finish(self, any: bool) -> Option<Vec<u8>> {
        (!any || !self.out.is_empty()).then_some(self.out)
    }

    fn put(&mut self, ino: u64, next: u64, kind: u32, name: &str) -> bool {
        let end = self.out.len() + (24 + name.len()).next_multiple_of(8);
        if end > self.size {
            return false;
        }
        put64(&mut self.out, [ino, next]);
        put32(&mut self.out, [name.len() as u32, kind >> 12]);
        self.out.extend_from_slice(name.as_bytes());
        self.out.resize(end, 0);
        true
    }
}

fn put16<const N: usize>(out: &mut Vec<u8>, values: [u16; N]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_ne_bytes()));
}

fn put32<const N: usize>(out: &mut Vec<u8>, values: [u32; N]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_ne_bytes()));
}

fn put64<const N: usize>(out: &mut Vec<u8>, values: [u64; N]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_ne_bytes()));
}
