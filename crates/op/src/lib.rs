//! The vocabulary that every room speaks: file operations and their replies, errors with causes, ids, time
//! and units, and the few things that are asked of a provider and told by it. Data only: nothing here acts.
//!
//! [`Op`] is the one way into the tree. 9P, FUSE, a peer node, the command line and the tests all make the
//! same `Op`s, and the kernel answers each with one [`Reply`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod errno;
mod file;
mod provide;
mod store;
mod time;
mod unit;

pub use errno::{Errno, Error, Result};
pub use file::{Access, Entry, Fid, FileKind, Mtime, Op, Qid, Reply, SetStat, Shape, Stat, Tag};
pub use provide::{
    Act, Environment, Exit, How, Launch, Limits, NodeId, SessionId, Stream, Tell, Uid, Usage, User, WinSize,
};
pub use store::{Content, Put};
pub use time::{Clock, Mono, Wall};
pub use unit::{format_cpu, format_size, format_span, parse_cpu, parse_size, parse_span};
