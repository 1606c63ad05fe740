//! What starts, feeds, watches and ends the things that run, and the keeper that outlives the node.
//!
//! ```text
//!   keeper ──▶ node ──▶ programs          parent ──▶ child
//!      ▲         │
//!      └─ line ──┘   for every program, before it runs: its pid and the ends of its pipes
//! ```
//!
//! [`process`] is the provider of Linux processes: it is asked with [`op::Act`] and answers with [`op::Tell`].
//! [`files`] serves this machine's own files; [`store`] has the contents that programs are given. [`keeper`] is the small process that the node is a child of. When the node dies, its programs become the
//! keeper's children; the keeper starts the node again and hands back pipes, terminals and the statuses of
//! those that ended meanwhile.
//!
//! **Invariants.** No program runs that the keeper was not told of. No status is reaped before it is with the
//! keeper. No output leaves a pipe other than into its spool. Nothing here waits for a program.

pub mod files;
pub mod keeper;
pub mod process;
mod spool;
pub mod store;
mod sys;

pub use sys::keep_memory;
