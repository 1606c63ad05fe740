//! 9P2000 and 9P2000.L without IO: bytes to messages and back, a server and a client as state machines.
//!
//! Nothing here opens a socket, waits, locks or starts a thread. A [`server::Conn`] is fed the bytes that
//! arrived and gives file operations ([`op::Op`]) to answer and bytes to send; a [`client::Client`] is fed
//! operations and gives bytes to send, and is fed bytes and gives replies. So both run under any event loop,
//! and a test runs them against each other in memory.
//!
//! ```text
//!            bytes            Op                       Op              bytes
//!   socket ────────▶ Conn ────────▶ your files   you ────────▶ Client ────────▶ socket
//!          ◀────────      ◀────────                  ◀────────        ◀────────
//!            bytes           Reply                     Reply            bytes
//! ```
//!
//! The protocol is that of section 5 of the Plan 9 manual (intro(5), <https://9p.io/sys/man/5/INDEX.html>)
//! and, for 9P2000.L, of diod's `protocol.md` (<https://github.com/chaos/diod/blob/master/protocol.md>).
//! [`Dialect`] says which is spoken, and what our own third one adds.
//!
//! *Architecture invariants.* Whatever bytes come in, nothing panics and nothing grows without a bound
//! ([`server::Config`]). Every request is answered exactly once, or flushed exactly once.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client;
mod dialect;
mod ename;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod name;
pub mod server;
mod slab;
pub mod wire;

pub use dialect::Dialect;
pub use frame::Broken;

/// Not a fid: as `afid`, no authentication; and so never a fid.
pub const NOFID: u32 = u32::MAX;

/// Not a tag: for `Tversion` alone.
pub const NOTAG: u16 = u16::MAX;

/// The smallest message size that is spoken: every answer with a name in it fits.
pub const MSIZE_MIN: u32 = 1024;

/// The largest message size that is spoken.
pub const MSIZE_MAX: u32 = 1 << 20;

/// What a message with data takes besides the data; `msize - IOHDRSZ` bytes are read or written at once.
pub const IOHDRSZ: u32 = 24;

/// Names in one `Twalk`.
pub const MAXWELEM: usize = 16;

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
