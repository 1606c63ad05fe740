//! The messages: one table for what clients send and one for what servers answer. From a row come the
//! variant, its decoding, its encoding, and which dialects have it.

use super::field::{
    Cause, DataSync, Field, Get, Malformed, NUname, Names, Qid, Qids, RenameFlags, ShapeCode,
};
use super::record::Stat;
use crate::Dialect;
use alloc::vec::Vec;

// The dialects that have a message: sums of `Dialect::bit`.
const ALL: u8 = 7;
const PLAIN: u8 = 1;
const LINUX: u8 = 6;
const RECORDS: u8 = 5;

/// The tag of a frame, which is seven bytes or more.
pub fn tag_of(frame: &[u8]) -> u16 {
    u16::from_le_bytes([frame[5], frame[6]])
}

macro_rules! messages {
    ($(#[$about:meta])* $enum:ident {
        $($(#[$doc:meta])* $name:ident $number:literal $has:ident { $($field:ident: $ty:ty),* })*
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        #[expect(missing_docs, reason = "fields are named and explained by the manual page of their message")]
        pub enum $enum<'a> {
            $($(#[$doc])* $name { $($field: $ty),* },)*
        }

        impl<'a> $enum<'a> {
            /// Reads one whole frame: `size[4] type[1] tag[2]` and the fields, with nothing left over.
            pub fn decode(frame: &'a [u8], dialect: Dialect) -> Result<(u16, $enum<'a>), Malformed> {
                let mut from = Get { bytes: frame, dialect };
                let size: u32 = from.get()?;
                if size as usize != frame.len() {
                    return Err(if (size as usize) < frame.len() { Malformed::Long } else { Malformed::Short });
                }
                let (number, tag): (u8, u16) = (from.get()?, from.get()?);
                let message = match number {
                    $($number if $has & dialect.bit() != 0 => $enum::$name { $($field: from.get()?),* },)*
                    unknown => return Err(Malformed::Unknown(unknown)),
                };
                from.end()?;
                Ok((tag, message))
            }

            /// Appends one whole frame.
            pub fn encode(&self, tag: u16, dialect: Dialect, out: &mut Vec<u8>) {
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                out.push(self.number());
                tag.put(out, dialect);
                match self {
                    $($enum::$name { $($field),* } => { $($field.put(out, dialect);)* })*
                }
                let size = (out.len() - start) as u32;
                out[start..start + 4].copy_from_slice(&size.to_le_bytes());
            }

            /// The type byte.
            pub fn number(&self) -> u8 {
                match self { $($enum::$name { .. } => $number,)* }
            }

            /// Whether a dialect has this message.
            pub fn is_in(&self, dialect: Dialect) -> bool {
                match self { $($enum::$name { .. } => $has & dialect.bit() != 0,)* }
            }
        }
    };
}

messages! {
    /// A message of a client.
    Tmsg {
        /// Begins a session, and ends the one before.
        Version 100 ALL { msize: u32, version: &'a str }
        /// Asks for a conversation that proves who one is.
        Auth 102 ALL { afid: u32, uname: &'a str, aname: &'a str, n_uname: NUname }
        /// Gives up the request `oldtag`.
        Flush 108 ALL { oldtag: u16 }
        /// Makes a fid of the root.
        Attach 104 ALL { fid: u32, afid: u32, uname: &'a str, aname: &'a str, n_uname: NUname }
        /// Goes along names.
        Walk 110 ALL { fid: u32, newfid: u32, names: Names<'a> }
        /// Prepares for reading and writing.
        Open 112 PLAIN { fid: u32, mode: u8 }
        /// Makes a file and opens it.
        Create 114 PLAIN { fid: u32, name: &'a str, perm: u32, mode: u8 }
        /// Reads.
        Read 116 ALL { fid: u32, offset: u64, count: u32 }
        /// Writes.
        Write 118 ALL { fid: u32, offset: u64, data: &'a [u8] }
        /// Forgets a fid.
        Clunk 120 ALL { fid: u32 }
        /// Removes a file, and forgets the fid.
        Remove 122 ALL { fid: u32 }
        /// Asks for attributes.
        Stat 124 RECORDS { fid: u32 }
        /// Changes attributes.
        Wstat 126 PLAIN { fid: u32, stat: Stat<'a> }
        /// Asks about the file system: statfs(2).
        Statfs 8 LINUX { fid: u32 }
        /// Prepares for reading and writing: open(2).
        Lopen 12 LINUX { fid: u32, flags: u32 }
        /// Makes a file and opens it.
        Lcreate 14 LINUX { fid: u32, name: &'a str, flags: u32, mode: u32, gid: u32 }
        /// Makes a symbolic link.
        Symlink 16 LINUX { dfid: u32, name: &'a str, target: &'a str, gid: u32 }
        /// Makes a device file.
        Mknod 18 LINUX { dfid: u32, name: &'a str, mode: u32, major: u32, minor: u32, gid: u32 }
        /// Moves a file.
        Rename 20 LINUX { fid: u32, dfid: u32, name: &'a str }
        /// Asks where a link leads.
        Readlink 22 LINUX { fid: u32 }
        /// Asks for attributes.
        Getattr 24 LINUX { fid: u32, mask: u64 }
        /// Changes attributes.
        Setattr 26 LINUX { fid: u32, valid: u32, mode: u32, uid: u32, gid: u32, size: u64, atime: u64,
            atime_ns: u64, mtime: u64, mtime_ns: u64 }
        /// Opens an extended attribute.
        Xattrwalk 30 LINUX { fid: u32, newfid: u32, name: &'a str }
        /// Makes an extended attribute.
        Xattrcreate 32 LINUX { fid: u32, name: &'a str, size: u64, flags: u32 }
        /// Lists a directory.
        Readdir 40 LINUX { fid: u32, offset: u64, count: u32 }
        /// Asks that what was written be kept safe.
        Fsync 50 LINUX { fid: u32, datasync: DataSync }
        /// Takes or gives back a lock: fcntl(2).
        Lock 52 LINUX { fid: u32, ty: u8, flags: u32, start: u64, length: u64, proc_id: u32, client_id: &'a str }
        /// Asks who holds a lock.
        Getlock 54 LINUX { fid: u32, ty: u8, start: u64, length: u64, proc_id: u32, client_id: &'a str }
        /// Makes a second name of a file.
        Link 70 LINUX { dfid: u32, fid: u32, name: &'a str }
        /// Makes a directory.
        Mkdir 72 LINUX { dfid: u32, name: &'a str, mode: u32, gid: u32 }
        /// Moves a file.
        Renameat 74 LINUX { olddirfid: u32, oldname: &'a str, newdirfid: u32, newname: &'a str, flags: RenameFlags }
        /// Removes a name.
        Unlinkat 76 LINUX { dirfid: u32, name: &'a str, flags: u32 }
    }
}

messages! {
    /// A message of a server: the answer to the [`Tmsg`] of the same name, or an error.
    Rmsg {
        /// What is spoken.
        Version 101 ALL { msize: u32, version: &'a str }
        /// Never sent here.
        Auth 103 ALL { aqid: Qid }
        /// An error, in words.
        Error 107 PLAIN { ename: &'a str }
        /// An error, as a number; with words in our dialect.
        Lerror 7 LINUX { ecode: u32, cause: Cause<'a> }
        /// Nothing with `oldtag` comes after this.
        Flush 109 ALL {}
        /// The root.
        Attach 105 ALL { qid: Qid }
        /// A qid a step.
        Walk 111 ALL { qids: Qids<'a> }
        /// Opened.
        Open 113 PLAIN { qid: Qid, iounit: u32 }
        /// Made and opened.
        Create 115 PLAIN { qid: Qid, iounit: u32 }
        /// The bytes; none at the end.
        Read 117 ALL { data: &'a [u8] }
        /// Bytes taken.
        Write 119 ALL { count: u32 }
        /// Forgotten.
        Clunk 121 ALL {}
        /// Removed and forgotten.
        Remove 123 ALL {}
        /// Attributes.
        Stat 125 RECORDS { stat: Stat<'a> }
        /// Changed.
        Wstat 127 PLAIN {}
        /// statfs(2).
        Statfs 9 LINUX { ty: u32, bsize: u32, blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
            fsid: u64, namelen: u32 }
        /// Opened.
        Lopen 13 LINUX { qid: Qid, iounit: u32, shape: ShapeCode }
        /// Made and opened.
        Lcreate 15 LINUX { qid: Qid, iounit: u32, shape: ShapeCode }
        /// Made.
        Symlink 17 LINUX { qid: Qid }
        /// Made.
        Mknod 19 LINUX { qid: Qid }
        /// Moved.
        Rename 21 LINUX {}
        /// Where it leads.
        Readlink 23 LINUX { target: &'a str }
        /// Attributes, as of stat(2).
        Getattr 25 LINUX { valid: u64, qid: Qid, mode: u32, uid: u32, gid: u32, nlink: u64, rdev: u64, size: u64,
            blksize: u64, blocks: u64, atime: u64, atime_ns: u64, mtime: u64, mtime_ns: u64, ctime: u64,
            ctime_ns: u64, btime: u64, btime_ns: u64, generation: u64, data_version: u64 }
        /// Changed.
        Setattr 27 LINUX {}
        /// Size of the attribute.
        Xattrwalk 31 LINUX { size: u64 }
        /// Made.
        Xattrcreate 33 LINUX {}
        /// [`Dirent`](super::Dirent)s one after another.
        Readdir 41 LINUX { data: &'a [u8] }
        /// Kept.
        Fsync 51 LINUX {}
        /// 0 granted, 1 blocked, 2 error, 3 grace.
        Lock 53 LINUX { status: u8 }
        /// Who holds it; type 2 is nobody.
        Getlock 55 LINUX { ty: u8, start: u64, length: u64, proc_id: u32, client_id: &'a str }
        /// Made.
        Link 71 LINUX {}
        /// Made.
        Mkdir 73 LINUX { qid: Qid }
        /// Moved.
        Renameat 75 LINUX {}
        /// Removed.
        Unlinkat 77 LINUX {}
    }
}
