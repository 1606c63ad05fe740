//! The command, driven as people drive it: the binary, with a node of its own in a directory of its own.
#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]

mod cloud;
mod complete;
mod cp;
mod faults;
mod flows;
mod fs;
mod home;
mod join;
mod life;
mod many;
mod on;
mod people;
mod put;
mod reduce;
mod run;
mod terminal;
mod tree;
