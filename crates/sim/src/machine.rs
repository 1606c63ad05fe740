//! What a world turns: a kernel, or one that was broken on purpose.

use kernel::{Effect, Event, Kernel, Node};
use op::{Clock, Uid, User};
use std::sync::Arc;

/// One node's machine. [`Kernel`] is the one that counts; [`crate::mutants`] has broken ones.
pub trait Machine {
    /// Takes one event, appends what is to be done.
    fn handle(&mut self, clock: Clock, event: Event, effects: &mut Vec<Effect>);
    /// Asserts what the machine itself says must hold between events.
    fn check(&self);
    /// Requests that wait.
    fn waiting(&self) -> usize;
    /// Fids that clients hold.
    fn fids(&self) -> usize;
    /// Sessions that are remembered, and how many of them run.
    fn sessions(&self) -> (usize, usize);
    /// Bytes of groups that are held on their way.
    fn flowing(&self) -> usize;
}

impl Machine for Kernel {
    fn handle(&mut self, clock: Clock, event: Event, effects: &mut Vec<Effect>) {
        Kernel::handle(self, clock, event, effects);
    }

    fn check(&self) {
        Kernel::check(self);
    }

    fn waiting(&self) -> usize {
        Kernel::waiting(self)
    }

    fn fids(&self) -> usize {
        Kernel::fids(self)
    }

    fn sessions(&self) -> (usize, usize) {
        Kernel::sessions(self)
    }

    fn flowing(&self) -> usize {
        Kernel::flowing(self)
    }
}

/// The users of every world: `root`, `ericvh` whose node it is, `alice` and `bob` who share the group `staff`,
/// and `carol` who shares nothing.
pub fn users() -> Vec<Arc<User>> {
    let user = |uid: u32, name: &str, groups: &[(u32, &str)]| {
        Arc::new(User {
            uid: Uid(uid),
            name: name.into(),
            groups: groups.iter().map(|(gid, name)| (*gid, Arc::from(*name))).collect(),
            home: if uid == 0 { "/root".into() } else { format!("/home/{name}").into() },
            shell: "/bin/sh".into(),
        })
    };
    vec![
        user(0, "root", &[(0, "root")]),
        user(1000, "ericvh", &[(1000, "ericvh")]),
        user(1001, "alice", &[(1001, "alice"), (50, "staff")]),
        user(1002, "bob", &[(1002, "bob"), (50, "staff")]),
        user(1003, "carol", &[(1003, "carol")]),
    ]
}

/// The node of every world: `n1`, ericvh's.
pub fn node() -> Node {
    Node {
        id: op::NodeId::default(),
        name: "n1".into(),
        owner: users().swap_remove(1),
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        attrs: vec![
            ("arch".into(), kernel::Attr::Text("x86_64".into())),
            ("cpus".into(), kernel::Attr::Int(2)),
        ],
        started: EPOCH.wall,
        fs: false,
        store: 1 << 30,
    }
}

/// When every world begins: 2009-08-05, 12:00 UTC, a thousand seconds after the machine started.
pub const EPOCH: Clock =
    Clock { mono: op::Mono(1_000_000_000_000), wall: op::Wall(1_249_473_600_000_000_000) };
