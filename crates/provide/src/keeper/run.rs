//! The keeper's loop. (Being built.)
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What a keeper is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's state directory.
    pub state: PathBuf,
    /// The node's command line. The first word is a path: after an upgrade it names the new program.
    pub node: Vec<OsString>,
}

/// Keeps: returns only with an error at its start (`WouldBlock`: the state directory is in use). When all is
/// over it exits the process.
pub fn run(config: Config) -> io::Result<Infallible> {
    let _ = config;
    Err(io::Error::other("being built"))
}
