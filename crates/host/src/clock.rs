//! The two clocks, read.

use op::{Clock, Mono, Wall};
use rustix::time::{ClockId, clock_gettime};

/// Both clocks, now.
pub fn now() -> Clock {
    let nanos = |id| {
        let t = clock_gettime(id);
        u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
    };
    Clock { mono: Mono(nanos(ClockId::Boottime)), wall: Wall(nanos(ClockId::Realtime)) }
}
