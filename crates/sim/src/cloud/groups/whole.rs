//! For how long a cloud was not whole: a group that had begun before then loses nothing if it never was for as long as its lease.

use super::{Group, Run};
use op::Mono;
use std::time::Duration;

/// So long all has to be well before what was cut off is surely held again.
const HEALED: Duration = Duration::from_secs(30);

/// What is shorter than a lease by more than what it takes to hear of a break, and to find each other again, costs nobody anything.
const SHORT: Duration = Duration::from_secs(45);

/// Since a group's last member was started, until all know.
const KNOWN: Duration = Duration::from_secs(2);

/// How whole a cloud was.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// Since when it is not, and since when it is again.
    broken: Option<(Mono, Option<Mono>)>,
    longest: Duration,
    machines_lost: bool,
}

impl Whole {
    /// Whoever ran there does not any more; or it has moved, and who held it does not look for it elsewhere, unless it is kept.
    pub(super) fn machine_lost(&mut self) {
        self.machines_lost = true;
    }

    /// Nothing that had begun can have been lost.
    pub(super) fn always_was(&self) -> bool {
        !self.machines_lost && self.longest < SHORT
    }

    fn look(&mut self, is_whole: bool, now: Mono) {
        self.broken = match (self.broken, is_whole) {
            (None, true) => None,
            (None, false) => Some((now, None)),
            (Some((since, _)), false) => Some((since, None)),
            (Some((since, None)), true) => Some((since, Some(now))),
            (Some((_, Some(again))), true) if now.since(again) >= HEALED => None,
            (broken, true) => broken,
        };
        if let Some((since, None)) = self.broken {
            self.longest = self.longest.max(now.since(since));
        }
    }
}

impl Run {
    /// Whether all of a group ran before anything broke, and nothing was broken for long.
    pub(super) fn loses_nothing(&self, group: &Group) -> bool {
        group.settled == Some(true) && !group.changed && group.retry == 0 && self.whole.always_was()
    }

    /// Looks whether every node is there and has its parent; and which groups had all their members while it was so.
    pub(super) fn look_whether_whole(&mut self) {
        let (now, hosts) = (self.cloud.clock.mono, self.cloud.hosts.len());
        let is_whole = (0..hosts).all(|at| self.cloud.is_up(at)) && self.cloud.linked().count() + 1 == hosts;
        self.whole.look(is_whole, now);
        let was = self.whole.broken.is_none();
        for group in self.groups.iter_mut().filter(|group| group.settled.is_none()) {
            let begun = self.ledger.begun_since(group.token, group.asked);
            match (was, begun) {
                (false, _) => group.settled = Some(false),
                (true, Some(at)) if now.since(at) >= KNOWN => group.settled = Some(true),
                (true, _) => {}
            }
        }
    }
}
