//! Our own end of a session: outputs that never wait, stdin, signals, and the terminal's modes.

pub(crate) mod feed;
pub(crate) mod outlet;
pub(crate) mod signals;
pub(crate) mod terminal;
pub(crate) mod wait;
