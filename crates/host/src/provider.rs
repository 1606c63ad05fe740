//! What the loop needs of a provider.

use op::{Act, SessionId, Stream, Tell, Usage};
use std::io;
use std::os::fd::BorrowedFd;

/// Something that runs sessions. It never waits; what takes time is told by a later [`turn`](Provider::turn).
pub trait Provider {
    /// Readable when `turn` has something to do.
    fn poll_fd(&self) -> BorrowedFd<'_>;
    /// When `turn` has something to do without `poll_fd` saying so.
    fn timeout(&self) -> Option<std::time::Duration>;
    /// Does what is asked, or begins it.
    fn act(&mut self, act: Act, tells: &mut Vec<Tell>);
    /// Tells what has happened.
    fn turn(&mut self, tells: &mut Vec<Tell>);
    /// What was told is in the journal: the provider may forget it.
    fn settle(&mut self);
    /// Bytes of an output; fewer than asked only at the end.
    ///
    /// # Errors
    /// What reading the spool says.
    fn read_spool(&self, session: SessionId, stream: Stream, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// What a running program has used.
    fn usage(&self, session: SessionId, pid: u32) -> Option<Usage>;
    /// The node is about to exit, leaving programs to whoever keeps them, or not.
    fn stop(&mut self, keep: bool);
}
