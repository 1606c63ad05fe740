//! File operations, in the manner of 9P: a client names files by *fids* that it chooses, walks a fid to
//! another file, opens it, reads and writes at offsets, and clunks it. See intro(5) of Plan 9.

use crate::{Errno, Error, Wall};
use alloc::{string::String, sync::Arc, vec::Vec};

/// A client's own number for a file it has walked to. Fids of different clients have nothing in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fid(pub u32);

/// A client's own number for a request that is not answered yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub u64);

/// What a file is, as far as any file protocol cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A directory.
    Dir,
    /// Anything that is read and written.
    File,
    /// A symbolic link.
    Link,
}

/// The server's own name for a file: two files are the same when their `path`s are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Qid {
    /// Directory, file or link.
    pub kind: FileKind,
    /// Changes when the contents do; 0 where that is not tracked.
    pub version: u32,
    /// Unique among all files, living and dead, of one server.
    pub path: u64,
}

/// What an open fid may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
    /// Empty the file first. A conversation (`ctl`, `stdin`, …) accepts it, and it means nothing there.
    pub truncate: bool,
}

/// One request. Every one is answered exactly once, or flushed exactly once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Makes `fid` stand for the root. Who asks is told beside the request, by the door it came through.
    Attach {
        /// New fid.
        fid: Fid,
        /// As whom, by name. Only another node of the same trust domain is believed; of everybody else the door
        /// knows better.
        user: String,
        /// Which tree: empty for the whole, as this client is shown it; `links` for the whole with symbolic links, `plain` with
        /// what they lead to in their place.
        tree: String,
    },
    /// Goes from `fid` along `names` (`..` is the parent) and makes `newfid` stand for what is found there.
    /// `newfid` may equal `fid`. Answered `Walked` with a qid a step; fewer qids than names means that the walk
    /// stopped there and `newfid` was not made; failing at the first step is `Failed`.
    Walk {
        /// Where to start; it may be open.
        fid: Fid,
        /// What to make.
        newfid: Fid,
        /// The steps; none means a second fid for the same file.
        names: Vec<String>,
    },
    /// Prepares for reading and writing. For `clone` this allocates a session, and the fid is its `ctl`.
    Open {
        /// Not open yet.
        fid: Fid,
        /// What for.
        access: Access,
    },
    /// Makes a file in the directory `fid`.
    Create {
        /// The directory; stands for the new file afterwards.
        fid: Fid,
        /// Its name.
        name: String,
        /// Permission bits; with `S_IFDIR` (`0o040000`) among them, a directory is made.
        mode: u32,
        /// Opened for this.
        access: Access,
    },
    /// Reads at most `count` bytes. No bytes means the end. With `wait` unset, what is not there yet is
    /// answered at once with `EAGAIN` instead of waited for.
    Read {
        /// Open for reading.
        fid: Fid,
        /// In bytes; conversations ignore it.
        offset: u64,
        /// In bytes.
        count: u32,
        /// Whether to wait.
        wait: bool,
    },
    /// Writes all of `data`, or fails.
    Write {
        /// Open for writing.
        fid: Fid,
        /// In bytes; conversations ignore it.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Lists the open directory `fid` from `cookie` (0: the start) on, at most `count` entries. The names
    /// `.` and `..` are not listed. No entries means the end.
    List {
        /// An open directory.
        fid: Fid,
        /// Of the last entry seen.
        cookie: u64,
        /// Entries.
        count: u32,
    },
    /// Asks for a file's attributes.
    Stat {
        /// Any fid.
        fid: Fid,
    },
    /// Changes a file's attributes.
    SetStat {
        /// Any fid.
        fid: Fid,
        /// What to change.
        set: SetStat,
    },
    /// Asks where a link leads.
    ReadLink {
        /// A link.
        fid: Fid,
    },
    /// Makes a symbolic link in the directory `fid`.
    Symlink {
        /// The directory; stays what it is.
        fid: Fid,
        /// The link's name.
        name: String,
        /// Where it leads; nobody looks whether there is anything.
        target: String,
    },
    /// Gives a file another name, in the same directory or in another one of the same file system: at every moment there is
    /// what was under the new name, or what is renamed. See renameat2(2).
    Rename {
        /// The directory that it is in.
        fid: Fid,
        /// Its name there.
        name: String,
        /// The directory that it goes to; may be `fid`.
        dir: Fid,
        /// Its name there.
        to: String,
        /// What has that name already goes; unset, it stays, and that is `EEXIST`.
        replace: bool,
    },
    /// Removes the file, and clunks the fid whether that works or not.
    Remove {
        /// Any fid.
        fid: Fid,
    },
    /// Forgets the fid.
    Clunk {
        /// Any fid.
        fid: Fid,
    },
    /// Gives up request `tag`: after this is answered (`Done`), `tag` never will be.
    Flush {
        /// An earlier request of this client.
        tag: Tag,
    },
}

impl Op {
    /// The fid that it is about: one that is there already.
    pub fn fid(&self) -> Option<Fid> {
        match self {
            Op::Attach { .. } | Op::Flush { .. } => None,
            Op::Walk { fid, .. }
            | Op::Open { fid, .. }
            | Op::Create { fid, .. }
            | Op::Read { fid, .. }
            | Op::Write { fid, .. }
            | Op::List { fid, .. }
            | Op::Stat { fid }
            | Op::SetStat { fid, .. }
            | Op::ReadLink { fid }
            | Op::Symlink { fid, .. }
            | Op::Rename { fid, .. }
            | Op::Remove { fid }
            | Op::Clunk { fid } => Some(*fid),
        }
    }

    /// A second fid that it is about, which is there already too.
    pub fn other_fid(&self) -> Option<Fid> {
        match self {
            Op::Rename { dir, .. } => Some(*dir),
            _ => None,
        }
    }
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetStat {
    /// Permission bits (the low nine).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// When it was changed last. Files that are made as they are read have times of their own, and ignore this.
    pub mtime: Option<Mtime>,
}

/// When a file is to have been changed last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mtime {
    /// Now, by the clock of the machine that has the file.
    Now,
    /// Then.
    At(Wall),
}

/// A file's attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its last name.
    pub name: String,
    /// Its identity.
    pub qid: Qid,
    /// The low nine permission bits; what kind it is stands in `qid`.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name.
    pub user: Arc<str>,
    /// Group's name.
    pub group: Arc<str>,
    /// In bytes; 0 for files that are made as they are read.
    pub size: u64,
    /// Last change.
    pub mtime: Wall,
}

/// One line of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where to go on after this entry.
    pub cookie: u64,
    /// Name and attributes.
    pub stat: Stat,
}

/// How an open file behaves, for doors that must tell a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Has offsets; reading never waits.
    Text,
    /// A conversation or a stream that waits at its end: offsets mean nothing, short reads are normal.
    Stream,
    /// Has offsets, and waits at its end.
    Spool,
}

/// The answer to an [`Op`] of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To `Attach`.
    Attached(Qid),
    /// To `Walk`: a qid a step that worked.
    Walked(Vec<Qid>),
    /// To `Open` and `Create`.
    Opened(Qid, Shape),
    /// To `Read`.
    Data(Vec<u8>),
    /// To `Write`: bytes taken; always all of them.
    Wrote(u32),
    /// To `List`.
    Listed(Vec<Entry>),
    /// To `Stat`.
    Stat(Stat),
    /// To `ReadLink`.
    Linked(String),
    /// To `Symlink`.
    Made(Qid),
    /// To everything else that worked.
    Done,
    /// To anything that did not.
    Failed(Error),
}

impl Reply {
    /// A failure without a sentence of its own.
    pub fn errno(errno: Errno) -> Reply {
        Reply::Failed(Error::from(errno))
    }
}
