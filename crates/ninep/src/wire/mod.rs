//! The codec: messages as they stand on the wire, in the layout of intro(5), read in place.
//!
//! [`Tmsg`] is what clients send, [`Rmsg`] what servers answer; strings and data borrow from the bytes that
//! they were read from. Decoding is strict: a length that does not fit, a byte left over or a message that
//! the dialect does not have is [`Malformed`]; no bytes whatever make it panic.

mod field;
mod message;
mod record;

pub use field::{Cause, DataSync, Malformed, NUname, Names, Qid, Qids, RenameFlags, ShapeCode};
pub use message::{Rmsg, Tmsg, tag_of};
pub use record::{Dirent, Stat, directory, dirents, entries};

pub(crate) use record::{is_dir_mode, put_dirent, put_entry, put_record};

/// Bit of a stat record's mode: a directory.
pub const DMDIR: u32 = 0x8000_0000;
/// Bit of a stat record's mode: a symbolic link (9P2000.u and ours).
pub const DMSYMLINK: u32 = 0x0200_0000;
/// File type bits of a Linux mode.
pub const S_IFMT: u32 = 0o170_000;
/// A directory, in a Linux mode.
pub const S_IFDIR: u32 = 0o040_000;
/// A regular file, in a Linux mode.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link, in a Linux mode.
pub const S_IFLNK: u32 = 0o120_000;

/// In `Trenameat` of 9P2000.uem, as in renameat2(2): what is there stays.
pub const NOREPLACE: u32 = 1;

/// Top bit of `count` in a `Tread` of 9P2000.uem: do not wait.
pub const NOWAIT: u32 = 1 << 31;
