//! Worlds to try the kernel in: see `world`.
#![forbid(unsafe_code)]

pub mod calls;
pub mod counters;
pub mod commands;
pub mod direct;
pub mod driver;
pub mod fuzzing;
pub mod machine;
pub mod model;
pub mod mutants;
pub mod over_9p;
pub mod pair;
pub mod player;
pub mod provider;
mod script;
pub mod seeds;
pub mod watch;
pub mod world;
