//! The keeper: the small process that the node is a child of, and that outlives it.
//!
//! Single-threaded, no network, no parsing of foreign input. It does four things: it starts the node (again);
//! it holds, for every program that the node starts, the node's ends of its pipes; it reaps the programs that
//! a dead node leaves, and remembers how they ended; and while no node is wanted (`uem down --keep`), it moves
//! output from pipes to spools, so that programs do not stand still.
//!
//! ```text
//!            start                       node dies
//!   (none) ────────▶ a node runs ◀──────────────────────▶ backing off (0, 0.1, 0.2 … 10 s)
//!                      │  ▲            started again
//!          Stop{keep}  │  │ `wake`
//!                      ▼  │
//!                   no node, pumping                       Stop{keep: false}: the keeper exits
//! ```
//!
//! **When the keeper dies** and the node lives, the node *becomes* the keeper: it execs its own program in the
//! keeper's role, so it keeps its pid and all its children, and passes what it holds in a table ([`TABLE_FD`]).
//! The new keeper starts a new node; programs notice nothing.
//!
//! **No program is unknown.** Between clone and exec the program itself, not yet the program, tells the keeper
//! its pid and lays down the descriptors, so a node that is killed at any moment leaves no program that the
//! keeper cannot name, and a program of which the keeper knows nothing never ran.
//!
//! **One state, one node.** Keeper and node share a lock on `lock` in the state directory (flock(2) on one open
//! file description): it is free when both are gone.

mod kept;
mod line;
mod node;
mod run;
mod wake;
pub(crate) mod wire;

pub use line::Inheritance;
pub(crate) use line::{Held, Line};
pub use run::{Config, run};
pub use wake::{lock, wake};

/// Environment of a node: the number of its end of the line to the keeper.
pub const KEEPER_FD: &str = "UEM_KEEPER_FD";
/// Environment of a node or a keeper: the number of the descriptor that holds the lock.
pub const LOCK_FD: &str = "UEM_LOCK_FD";
/// Environment of a keeper that was a node: the number of the table of what it holds.
pub const TABLE_FD: &str = "UEM_KEEPER_TABLE";
/// Environment of a node or a keeper: the soft limit of descriptors before it was raised, which programs get.
pub const DESCRIPTORS: &str = "UEM_DESCRIPTORS";
/// Environment of every program: `node/session`.
pub const SESSION: &str = "UEM_SESSION";
