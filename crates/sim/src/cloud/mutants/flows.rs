//! Kernels that break a rule of flows, one each: what members are fed, and what is written of their outputs, is not what it was.

use super::{Broken, Tamper};
use crate::cloud::Wrap;
use kernel::{Effect, Event};
use op::{Act, Reply};
use std::rc::Rc;

/// How a kernel breaks flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowFault {
    /// Now and then a member gets twice what is for it.
    FeedsTwice,
    /// Now and then the last byte that was for a member goes nowhere.
    LosesAByte,
    /// Now and then what is collected begins in the middle of a record.
    TearsARecord,
    /// What lacks something is said to be whole.
    SaysItIsWhole,
}

impl FlowFault {
    /// All of them.
    pub const ALL: [FlowFault; 4] =
        [FlowFault::FeedsTwice, FlowFault::LosesAByte, FlowFault::TearsARecord, FlowFault::SaysItIsWhole];

    /// Breaks kernels this way.
    pub fn wrap(self) -> Wrap {
        Rc::new(move |kernel| Box::new(Broken::new(kernel, Flows { fault: self, count: 0 })))
    }
}

struct Flows {
    fault: FlowFault,
    count: u64,
}

impl Flows {
    fn now_and_then(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(3)
    }
}

impl Tamper for Flows {
    fn event(&mut self, event: Event) -> Vec<Event> {
        vec![event]
    }

    fn effect(&mut self, effect: Effect) -> (Vec<Effect>, Option<Event>) {
        let effect = match effect {
            Effect::Act(Act::Feed { session, mut data })
                if matches!(self.fault, FlowFault::FeedsTwice | FlowFault::LosesAByte)
                    && self.now_and_then() =>
            {
                match self.fault {
                    FlowFault::FeedsTwice => data.extend(data.clone()),
                    _ if data.len() > 1 => drop(data.pop()),
                    _ => {}
                }
                Effect::Act(Act::Feed { session, data })
            }
            Effect::Act(Act::Append { session, stream, offset, mut data })
                if self.fault == FlowFault::TearsARecord && self.now_and_then() =>
            {
                data.rotate_left(1);
                Effect::Act(Act::Append { session, stream, offset, data })
            }
            Effect::Answer(client, tag, Reply::Failed(error))
                if self.fault == FlowFault::SaysItIsWhole && error.cause.contains("is not whole") =>
            {
                Effect::Answer(client, tag, Reply::Data(Vec::new()))
            }
            effect => effect,
        };
        (vec![effect], None)
    }
}
