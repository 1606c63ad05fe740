//! Every bound that links keep. What one lane holds stands in `link::wire::limits`.

use std::time::Duration;

/// Links at a time: a parent, and children.
pub(super) const LINKS: usize = 4096;
/// Connections of which nothing is known yet; the oldest makes room for one more.
pub(super) const UNKNOWN: usize = 256;
/// How long whoever connects may take to say who he is; a dialled end, to answer.
pub(super) const OPENING: Duration = Duration::from_secs(5);
/// How long a connection that is given up is kept, so that the other end can read why.
pub(super) const CLOSING: Duration = Duration::from_secs(1);
/// Requests to join that are passed on and not answered, and how long they may take.
pub(super) const JOINS: usize = 64;
pub(super) const JOIN: Duration = Duration::from_secs(10);
/// Between two attempts to find a parent: the first wait, and the longest.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Names that are looked up at a time.
pub(super) const LOOKUPS: usize = 4;
/// Bytes read from one connection before others have their turn; bytes made ready for it ahead of its taking them.
pub(super) const TURN: usize = 256 << 10;
/// Lines that the log has of refused connections in ten seconds; the others are counted.
pub(super) const REFUSED: (u32, Duration) = (10, Duration::from_secs(10));
/// Nodes near by that are tried as a parent.
pub(super) const NEAR: usize = 8;
/// Complaints that are said, each once, until `trust/` changes.
pub(super) const COMPLAINTS: usize = 32;
