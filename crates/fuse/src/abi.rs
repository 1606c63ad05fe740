//! The words of the kernel's FUSE protocol, version 7.31 and later: opcodes, flags and the layout of structures.
//! Source: `linux/fuse.h` and fuse(4). Everything is in the byte order of the machine.

/// Protocol that is spoken here: what 5.4 and later kernels understand.
pub(crate) const MAJOR: u32 = 7;
/// See [`MAJOR`]. The kernel uses the smaller of its minor and ours; nothing newer is needed.
pub(crate) const MINOR: u32 = 38;
/// Oldest minor that is served: all structures below have had this form since.
pub(crate) const OLDEST_MINOR: u32 = 31;

/// Bytes before each answer: length, negative errno, unique.
pub(crate) const OUT_HEADER: usize = 16;
/// The root's node.
pub(crate) const ROOT: u64 = 1;

/// What is asked: numbers of the kernel's requests.
pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const IOCTL: u32 = 39;
    pub(crate) const NOTIFY_REPLY: u32 = 41;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const RENAME2: u32 = 45;
}

/// What can be agreed on at `INIT`.
pub(crate) mod init {
    /// Several reads of a file at once.
    pub(crate) const ASYNC_READ: u32 = 1;
    /// `O_TRUNC` comes with the open, not as a `SETATTR` after it.
    pub(crate) const ATOMIC_O_TRUNC: u32 = 1 << 3;
    /// Writes of more than a page.
    pub(crate) const BIG_WRITES: u32 = 1 << 5;
    /// Several direct reads and writes of a large transfer at once.
    pub(crate) const ASYNC_DIO: u32 = 1 << 15;
    /// Lookups in a directory do not wait for each other: one of them may block.
    pub(crate) const PARALLEL_DIROPS: u32 = 1 << 18;
    /// `max_pages` is meant.
    pub(crate) const MAX_PAGES: u32 = 1 << 22;

    /// All that is wanted here. Not wanted, and why: `WRITEBACK_CACHE` (a write to `ctl` must be run before it
    /// returns), `DO_READDIRPLUS` (names live for no time, so what it fetched would be looked up again),
    /// `POSIX_ACL` (rights are the tree's own).
    pub(crate) const WANTED: u32 =
        ASYNC_READ | ATOMIC_O_TRUNC | BIG_WRITES | ASYNC_DIO | PARALLEL_DIROPS | MAX_PAGES;
}

/// What an `OPEN` answers about the file.
pub(crate) mod fopen {
    /// No page cache: every read and write comes here as it was made.
    pub(crate) const DIRECT_IO: u32 = 1;
    /// No seeking.
    pub(crate) const NONSEEKABLE: u32 = 1 << 2;
    /// No position at all, so that a read and a write through one descriptor do not wait for each other.
    pub(crate) const STREAM: u32 = 1 << 4;
    /// Writes to the file do not wait for each other.
    pub(crate) const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
}

/// Which fields of a `SETATTR` are meant.
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const FH: u32 = 1 << 6;
}

/// `RENAME2`: what has the new name already stays.
pub(crate) const RENAME_NOREPLACE: u32 = 1;

/// `GETATTR` is about an open file.
pub(crate) const GETATTR_FH: u32 = 1;

/// Flags of open(2), as on x86-64, AArch64, RISC-V, POWER and s390x.
pub(crate) mod open {
    pub(crate) const ACCESS: u32 = 3;
    pub(crate) const WRITE_ONLY: u32 = 1;
    pub(crate) const READ_WRITE: u32 = 2;
    pub(crate) const TRUNCATE: u32 = 0o1000;
    pub(crate) const NONBLOCK: u32 = 0o4000;
}

/// Kinds of file in a mode: inode(7).
pub(crate) mod mode {
    pub(crate) const KIND: u32 = 0o170_000;
    pub(crate) const FILE: u32 = 0o100_000;
    pub(crate) const DIR: u32 = 0o040_000;
    pub(crate) const LINK: u32 = 0o120_000;
}
