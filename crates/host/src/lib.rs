//! A node of uem as a process: the loop that reads clocks and descriptors, hands what it sees to the kernel as
//! events, and does what the kernel says. One thread, one `epoll`; a request runs from its door through the
//! kernel and back without a hop.
//!
//! ```text
//!   9P socket ─┐                                  ┌─ journal
//!   FUSE ──────┼─▶ Op ─▶ Kernel::handle ─▶ Effect ┼─ provider ─▶ programs
//!   links ─────┤  Event                           ├─ links ─▶ other nodes
//!   provider ──┘                                  └─ Reply ─▶ the door, or the link, that it came from
//! ```
//!
//! *Architecture invariants.* Nothing is sent before the journal has what it promises ([`Node::run`] does things
//! in that order). A door decides nothing: it turns bytes into `Op`s and `Reply`s into bytes.
//!
//! [`client`] is the other side: a connection to a node for the command, tests and benches.
#![forbid(unsafe_code)]

mod around;
pub mod client;
pub mod dial;
mod door;
mod journal;
mod links;
mod machine;
mod node;
mod poll;
mod provider;
mod settings;
mod signals;
mod users;

pub use around::{Around, Here, now};
pub use machine::host_name;
pub use node::{Node, Stopped};
pub use provider::{Local, Provider};
pub use settings::{Settings, default_state};
pub use users::Users;
