//! Our own stdin on its way to a session: read when it has something and the node has room for it.

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Most bytes of one read.
const PIECE: usize = 256 << 10;
/// Most bytes that the node has not taken yet.
const WINDOW: usize = 4 * PIECE;

/// Our stdin.
pub(crate) struct Feed {
    terminal: bool,
    /// Nothing more will come, or nobody wants it.
    over: bool,
    /// Bytes and writes that are not acknowledged.
    unanswered: usize,
    writes: usize,
    /// Bytes sent in all: the offset of the next write.
    sent: u64,
}

/// What a look at stdin gave.
#[derive(Debug)]
pub(crate) enum Fed {
    Nothing,
    Data(Vec<u8>),
    /// The end, told once.
    End,
}

impl Feed {
    pub(crate) fn new() -> Feed {
        let terminal = rustix::termios::isatty(rustix::stdio::stdin());
        Feed { terminal, over: false, unanswered: 0, writes: 0, sent: 0 }
    }

    /// A descriptor to poll, if more may be read.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'static>> {
        (!self.over && self.unanswered < WINDOW && !self.in_background()).then(rustix::stdio::stdin)
    }

    /// A terminal that is another's just now: reading it would stop us, though the program may not even want it.
    pub(crate) fn in_background(&self) -> bool {
        let ours = rustix::process::getpgrp();
        self.terminal
            && !self.over
            && rustix::termios::tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|front| front != ours)
    }

    /// Reads once, after poll said that it can.
    pub(crate) fn take(&mut self) -> Fed {
        let mut data = Vec::with_capacity(if self.terminal { 4096 } else { PIECE });
        match rustix::io::read(rustix::stdio::stdin(), spare_capacity(&mut data)) {
            Ok(0) => {
                self.over = true;
                Fed::End
            }
            Ok(n) => {
                self.unanswered += n;
                self.writes += 1;
                self.sent += n as u64;
                Fed::Data(data)
            }
            Err(Errno::INTR | Errno::AGAIN) => Fed::Nothing,
            // A terminal that hung up, a directory: there is nothing to be had from it.
            Err(_) => {
                self.over = true;
                Fed::End
            }
        }
    }

    /// Bytes read so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The node has taken so much.
    pub(crate) fn taken(&mut self, bytes: usize) {
        self.unanswered -= bytes;
        self.writes -= 1;
    }

    /// Nobody reads it any more. Whoever writes to us is to notice, as he would of the program itself.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.over, true) || self.terminal {
            return;
        }
        if let Ok(null) = std::fs::File::open("/dev/null") {
            let _it_stays_open = rustix::stdio::dup2_stdin(&null);
        }
    }

    /// Whether all that was read has been taken.
    pub(crate) fn is_settled(&self) -> bool {
        self.writes == 0
    }

    /// Whether the end has come.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}
