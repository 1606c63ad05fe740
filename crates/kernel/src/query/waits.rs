//! `await/`: whoever opens something there waits until a node matches; with `num=`, until so many members could be reserved; with
//! `timeout=`, no longer than that. A flush or a hang-up ends it, as with everything that is parked.

use super::{Query, Set};
use crate::{
    Kernel, Who,
    park::{Ask, On, Outcome},
    place::Subject,
};
use alloc::{format, sync::Arc};
use op::{Errno, Error, Mono, Op};

impl Kernel {
    /// What an open waits for, if it is one that waits.
    pub(crate) fn awaits(&self, who: Who, op: &Op) -> Option<(On, Arc<Query>)> {
        let Op::Open { fid, .. } = op else { return None };
        let no = self.place(who, *fid).ok()?.set().filter(|no| !self.set_goes_up(who, *no))?;
        let query = match self.set(no) {
            Set::Query(query) if query.waits => query,
            Set::Query(_) | Set::Loc(_) | Set::Logical(..) => return None,
        };
        let on = match query.shape.num {
            Some(num) => (self.slots_of(query).1 < u64::from(num)).then_some(On::Room)?,
            None => {
                let subject = Subject::Set(no);
                let here = self.holds_me(subject) && !self.cloud.drained;
                let there =
                    || self.set_nodes(subject).any(|(_, known)| known.down.is_none() && !known.drained);
                (!here && !there()).then_some(On::Nodes)?
            }
        };
        Some((on, query.clone()))
    }

    /// Serves an open that waits: for the first time, or since something has changed.
    pub(crate) fn wait_to_open(&mut self, who: Who, op: Op, until: Option<Mono>) -> Outcome {
        let now = self.clock.mono;
        match self.awaits(who, &op) {
            None => self.operate(who, op),
            Some((_, query)) if until.is_some_and(|at| at <= now) => Err(self.waited_long(&query)).into(),
            Some((on, _)) => Outcome::Park(on, Ask::Await(op, until)),
        }
    }

    fn waited_long(&self, query: &Query) -> Error {
        let path = query.names().join("/");
        let cause = match query.shape.num {
            Some(_) => {
                let (all, free) = self.slots_of(query);
                format!("await/{path}: in that time there was no room; {free} of {all} slots are free")
            }
            None => format!("await/{path}: nothing has matched in that time"),
        };
        Error::new(Errno::TIMEDOUT, cause)
    }
}
