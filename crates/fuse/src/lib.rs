//! A mount: the kernel's FUSE requests to uem's [`Op`](op::Op)s, and the replies back.
//!
//! Two halves that know nothing of each other:
//!
//! - [`Conn`] is the protocol, pure: the bytes of one request in, [`Step`]s out. It waits for nothing, so that one thread
//!   serves all requests, however many of them are blocked.
//! - [`Mount`] is the descriptor: it mounts and unmounts, reads one request, writes one answer.
//!
//! The loop around them is the host's:
//!
//! ```no_run
//! # fn tree(tag: op::Tag, uid: op::Uid, op: op::Op) -> Vec<(op::Tag, op::Reply)> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fuse::{Config, Conn, Incoming, Mount, Step, limits};
//! let mut mount = Mount::new("/n/uem".as_ref())?;
//! let mut conn = Conn::new(Config::default());
//! let (mut buffer, mut steps) = (vec![0; limits::BUFFER], std::collections::VecDeque::new());
//! loop {
//!     // Wait in epoll for `mount.fd()` to be readable, or for a reply to what was parked; then:
//!     match mount.read(&mut buffer)? {
//!         Incoming::Message(length) => conn.receive(&buffer[..length], &mut steps),
//!         Incoming::Empty => {}
//!         Incoming::Unmounted => conn.hang_up(&mut steps),
//!     }
//!     while let Some(step) = steps.pop_front() {
//!         match step {
//!             Step::Ask { tag, uid, op } => {
//!                 for (tag, reply) in tree(tag, uid, op) {
//!                     conn.answer(tag, reply, &mut steps);
//!                 }
//!             }
//!             Step::Send(answer) => mount.send(&answer)?,
//!             Step::Unmounted => return Ok(()),
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! To stop serving: [`Mount::unmount`], [`Conn::hang_up`], go on until [`Step::Unmounted`], drop both.
//!
//! # What waits for what, in the kernel
//! A request that is blocked here hinders nothing else here. But Linux itself holds a lock while some are under way, and
//! whoever waits for that lock may not be killable until the first one is answered (which its own signal can bring about):
//!
//! - writes to one file wait for each other (as they do to any file that ends before the place that is written to), and an
//!   open with `O_TRUNC` waits for a write. So a name that is looked up while its file is being written is shown as another file with the same
//!   inode number, and a second `echo kill > ctl` does not wait for the first line. Who had opened it before does;
//! - two lookups of the same name wait for each other: two walks to one name under `await/`;
//! - making or removing a name in a directory waits for lookups in it.
#![forbid(unsafe_code)]

mod abi;
mod answer;
mod conn;
pub mod limits;
mod mount;
mod nodes;
mod request;

pub use answer::Answer;
pub use conn::{Config, Conn, Step};
pub use mount::{Incoming, Mount, recover};
