//! What a node sees of the world around it: the clocks, the machine and its users. A test gives it another world.

use crate::{machine, users::Users};
use kernel::{Attr, Gauges};
use op::{Clock, Mono, NodeId, Uid, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;

/// The world around a node.
pub trait Around {
    /// Both clocks, now.
    fn now(&self) -> Clock;
    /// As whom the node runs.
    fn owner(&self) -> Uid;
    /// What the node is known by: what its key makes of it, unless the test's world knows it by something else.
    fn id(&self, of_key: NodeId) -> NodeId {
        of_key
    }
    /// What the machine is; `state` is the node's state directory.
    fn attributes(&self, state: &Path) -> Vec<(String, Attr)>;
    /// What changes; `state` is the node's state directory.
    fn gauges(&self, state: &Path) -> Gauges;
    /// Who users are.
    fn users(&mut self) -> &mut Users;
}

/// This machine.
#[derive(Debug, Default)]
pub struct Here {
    users: Users,
}

impl Around for Here {
    fn now(&self) -> Clock {
        now()
    }

    fn owner(&self) -> Uid {
        Uid(rustix::process::geteuid().as_raw())
    }

    fn attributes(&self, state: &Path) -> Vec<(String, Attr)> {
        machine::attributes(Path::new("/"), state)
    }

    fn gauges(&self, state: &Path) -> Gauges {
        machine::gauges(state)
    }

    fn users(&mut self) -> &mut Users {
        &mut self.users
    }
}

/// Both clocks, now.
pub fn now() -> Clock {
    let nanos = |id| {
        let t = clock_gettime(id);
        u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
    };
    Clock { mono: Mono(nanos(ClockId::Boottime)), wall: Wall(nanos(ClockId::Realtime)) }
}
