//! The way back to a session when the node that we talk to died, and its keeper has started it again.

use crate::at::At;
use crate::console::signals::{Came, Signals};
use crate::failure::Failure;
use host::client::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// How long a node may take to come back.
const BACK: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const TRY: Duration = Duration::from_millis(20);

/// A connection to the node that was started again, which has found its own way back to where the session is.
pub(super) fn reconnect(
    at: &At,
    signals: &mut Signals,
    why: &str,
    session: &str,
) -> Result<Connection, Failure> {
    let until = Instant::now() + BACK;
    loop {
        let found = at.connect().and_then(|mut node| match node.stat(session) {
            // Another node's session may be out of reach until links are up again.
            Err(error) if !session.starts_with("self/") && Instant::now() < until => Err(error.into()),
            Ok(_) | Err(_) => Ok(node),
        });
        match found {
            Ok(node) => return Ok(node),
            Err(failure) if Instant::now() >= until => {
                let cause = format!("{why}; it did not come back within {} s: {failure}", BACK.as_secs());
                return Err(Failure::new(cause).hint("when it does, uem ps and uem logs find the program"));
            }
            Err(_) => {}
        }
        let pause = Timespec::try_from(TRY).ok();
        let _signal_or_time =
            poll(&mut [PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)], pause.as_ref());
        if let Some(Came::Signal(number, _)) = signals.take().first() {
            return Err(by(*number));
        }
    }
}

/// We were told to end, and there is no program to pass that on to.
pub(super) fn by(signal: i32) -> Failure {
    Failure { status: 128 + (signal & 127) as u8, ..Failure::new("") }
}
