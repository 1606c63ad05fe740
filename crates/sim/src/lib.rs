//! Worlds to try the kernel in, and what must hold in them.
//!
//! ```text
//!   transcripts ── player ── Driver ─┬─ Calls ── Wire ─┬─ Direct ───────┐
//!                                    │                 └─ Over9p ───────┤
//!                                    └─ (a mount, a socket: in host)    ├── World ── Machine: a Kernel,
//!   seeds, all orders ── Pair: World and Model, compared ───────────────┤           or a mutant
//!   fuzzing: bytes ─────────────────────────────────────────────────────┘
//! ```
//! Read on in this order: [`world`] (one node, and all that a host is to it), [`watch`] and [`provider`] (what is
//! asserted of every effect), [`driver`] and [`player`] (transcripts), [`model`] and [`pair`] (what must come of every
//! event), [`seeded`] and [`seeds`], [`mutants`], [`fuzzing`]; and [`cloud`], where many worlds are linked.
//!
//! *Architecture invariant.* Nothing here has a clock, a thread or randomness of its own: a world is what its events
//! make of it, and the same seed makes the same one.
#![forbid(unsafe_code)]

pub mod calls;
pub mod cloud;
mod commands;
pub mod counters;
pub mod direct;
pub mod driver;
pub mod fuzzing;
mod job;
pub mod machine;
pub mod model;
pub mod mutants;
pub mod over_9p;
pub mod pair;
pub mod player;
pub mod provider;
mod script;
pub mod seeded;
pub mod seeds;
pub mod store;
pub mod watch;
pub mod world;
