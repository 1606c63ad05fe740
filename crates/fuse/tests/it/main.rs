//! The tests of this crate, in one program: requests made by hand, random kernels, the fuzz target's corpus, and real
//! mounts.

#[cfg(test)]
mod common;
#[cfg(test)]
mod conn;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod mount;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod server;
