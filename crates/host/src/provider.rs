//! What the loop needs of a provider.

use op::{Act, SessionId, Stream, Tell, Usage};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;

/// Something that runs sessions. It never waits; what takes time is told by a later [`turn`](Provider::turn).
pub trait Provider {
    /// Readable when `turn` has something to do.
    fn poll_fd(&self) -> BorrowedFd<'_>;
    /// Does what is asked, or begins it.
    fn act(&mut self, act: Act, tells: &mut Vec<Tell>);
    /// Tells what has happened.
    fn turn(&mut self, tells: &mut Vec<Tell>);
    /// The journal was read and all that it has was adopted: what else there is belongs to nobody.
    fn recalled(&mut self, tells: &mut Vec<Tell>);
    /// What was told is in the journal: the provider may forget it.
    fn settle(&mut self);
    /// Bytes of an output; fewer than asked only at the end.
    ///
    /// # Errors
    /// What reading the spool says.
    fn read_spool(
        &self,
        session: SessionId,
        stream: Stream,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize>;
    /// What a running program has used.
    fn usage(&self, session: SessionId, pid: u32) -> Option<Usage>;
    /// The node is about to exit, leaving programs to whoever keeps them, or not.
    fn stop(&mut self, keep: bool);
}

/// The processes of this machine, kept by a keeper; when that is gone, the node takes its place.
pub struct Local {
    /// The provider of Linux processes.
    pub processes: provide::process::Processes,
    /// The command line that makes this program a keeper of this node.
    pub keeper: Vec<OsString>,
    /// It could not become the keeper, and does not try again.
    pub alone: bool,
}

impl Provider for Local {
    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.processes.poll_fd()
    }

    fn act(&mut self, act: Act, tells: &mut Vec<Tell>) {
        self.processes.act(act, tells);
    }

    fn turn(&mut self, tells: &mut Vec<Tell>) {
        self.processes.turn(tells);
    }

    fn recalled(&mut self, _: &mut Vec<Tell>) {
        self.processes.clear();
    }

    fn settle(&mut self) {
        self.processes.settle();
        if self.processes.keeper_gone() && !self.alone {
            self.alone = true;
            eprintln!("uem: the keeper is gone; the node takes its place and starts another node");
            let error = self.processes.become_keeper(&self.keeper);
            eprintln!("uem: becoming the keeper: {error}; programs end with this node now");
        }
    }

    fn read_spool(
        &self,
        session: SessionId,
        stream: Stream,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        self.processes.read_spool(session, stream, offset, buf)
    }

    fn usage(&self, _: SessionId, pid: u32) -> Option<Usage> {
        crate::machine::usage(pid)
    }

    fn stop(&mut self, keep: bool) {
        self.processes.stop(keep);
    }
}
