//! Our terminal in raw mode, for `-t`: every key goes to the program. It is given back as it was, however we end.

use op::WinSize;
use rustix::termios::{OptionalActions, Termios};
use std::os::fd::BorrowedFd;

/// A terminal in raw mode; the former mode comes back when this is dropped.
pub(crate) struct Raw {
    fd: BorrowedFd<'static>,
    before: Termios,
}

impl Raw {
    /// Our stdin, if it is a terminal.
    pub(crate) fn enter() -> Option<Raw> {
        let fd = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(fd).ok()?;
        let raw = Raw { fd, before };
        raw.again();
        Some(raw)
    }

    /// Raw again, after [`pause`](Raw::pause).
    pub(crate) fn again(&self) {
        let mut mode = self.before.clone();
        mode.make_raw();
        let _hung_up = rustix::termios::tcsetattr(self.fd, OptionalActions::Drain, &mode);
    }

    /// As it was, for as long as we are stopped.
    pub(crate) fn pause(&self) {
        let _hung_up = rustix::termios::tcsetattr(self.fd, OptionalActions::Drain, &self.before);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.pause();
    }
}

/// The size of the terminal that we are in, whichever of our descriptors it is.
pub(crate) fn size() -> Option<WinSize> {
    let fds = [rustix::stdio::stdout(), rustix::stdio::stdin(), rustix::stdio::stderr()];
    let sizes = fds.into_iter().filter_map(|fd| rustix::termios::tcgetwinsize(fd).ok());
    let size = sizes.into_iter().find(|size| size.ws_row > 0 && size.ws_col > 0)?;
    Some(WinSize { rows: size.ws_row, cols: size.ws_col })
}
