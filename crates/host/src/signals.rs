//! SIGTERM, SIGINT and SIGHUP as something to poll, for as long as the node is there.

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Readable when one of the signals has come.
pub(crate) struct Signals {
    read: UnixStream,
    registered: Vec<SigId>,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let mut this = Signals { read, registered: Vec::new() };
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            this.registered.push(pipe::register(signal, write.try_clone()?)?);
        }
        Ok(this)
    }

    /// Takes what has come; how often does not matter.
    pub(crate) fn take(&mut self) {
        let _nothing_or_something = self.read.read(&mut [0; 64]);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Each holds a descriptor, which a process that has one node after another would run out of.
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}
