//! Waiting for whatever comes first: an answer of the node, a signal, our stdin, room in our outputs, or a time.

use super::feed::Feed;
use super::outlet::Outlet;
use super::signals::Signals;
use crate::failure::Failure;
use host::client::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// How often a terminal in the background is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What has come. What the node said is received already, and outputs are for whoever drains them next.
pub(crate) struct Ready {
    pub(crate) signals: bool,
    pub(crate) stdin: bool,
}

/// Waits. `feed` is our stdin if somebody wants it, and `until` is when it is time for something else.
pub(crate) fn wait<'a>(
    node: &mut Connection,
    signals: &Signals,
    feed: Option<&Feed>,
    outlets: impl IntoIterator<Item = &'a Outlet>,
    until: Option<Instant>,
) -> Result<Ready, Failure> {
    let mut flags = PollFlags::IN;
    flags.set(PollFlags::OUT, node.wants_write());
    let mut fds = vec![PollFd::from_borrowed_fd(node.fd(), flags)];
    fds.push(PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN));
    let stdin = feed.and_then(Feed::fd);
    fds.extend(stdin.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    for outlet in outlets.into_iter().filter(|outlet| outlet.waiting() > 0) {
        fds.push(PollFd::from_borrowed_fd(outlet.fd(), PollFlags::OUT));
    }
    let left = until.map(|at| at.saturating_duration_since(Instant::now()));
    let look = feed.is_some_and(Feed::in_background).then_some(LOOK);
    let timeout = [left, look].into_iter().flatten().min().and_then(|span| Timespec::try_from(span).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(std::io::Error::from(errno).into()),
    }
    let ready = |at: usize| !fds[at].revents().is_empty();
    let (said, ready) = (ready(0), Ready { signals: ready(1), stdin: stdin.is_some() && ready(2) });
    drop(fds);
    if said {
        node.receive();
    }
    Ok(ready)
}
