//! Several machines with real daemons: network namespaces that a test makes, cables that it pulls, processes that it
//! kills. Where namespaces are not to be had, this is said, and nothing is tested.
//!
//! ```text
//!   space   the namespaces of a machine         host    a machine with a home, cables and uem
//!   ended   what runs there, and waiting        the others: what is promised
//! ```
#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]

mod ended;
mod faults;
mod gateway;
mod host;
mod hundred;
mod near;
mod port;
mod space;
mod ssh;
mod ten;
mod three;
mod tree;
