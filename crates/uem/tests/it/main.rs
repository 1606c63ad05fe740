//! The command, driven as people drive it: the binary, with a node of its own in a directory of its own.

mod home;
mod life;
mod run;
mod terminal;
mod tree;
