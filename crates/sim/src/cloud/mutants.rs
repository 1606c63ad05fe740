//! Kernels of a cloud that are broken on purpose, one way each: what checks clouds must find every one of them.

mod flows;
mod groups;

pub use flows::FlowFault;
pub use groups::GroupFault;

use super::Wrap;
use crate::machine::Machine;
use kernel::{ClientId, Effect, Event, Kernel, LinkId};
use op::{Act, Clock, Op, Reply, Tag};
use std::{collections::BTreeMap, rc::Rc};

/// How a kernel is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Now and then a line of news is not told.
    DropsNews,
    /// Now and then a request of another node is answered twice.
    AnswersTwice,
    /// Now and then a request is not answered.
    ForgetsAnAnswer,
    /// That a link broke is not heard.
    MissesTheBreak,
    /// A link that comes back is taken for the old one: what was had there is asked on.
    KeepsTheOldLink,
    /// What is had at another node is not given back.
    ForgetsToClunk,
    /// What is given up is not given up at the other node.
    ForgetsToFlush,
    /// Now and then an answer of another node is not heard.
    MissesAnAnswer,
    /// Now and then a byte that another node answers is another one.
    ChangesAByte,
    /// Reading at another node begins at its start again, now and then.
    IgnoresTheOffset,
    /// What is written at another node is written twice.
    WritesTwice,
    /// Who was known before a restart is not.
    ForgetsNodes,
    /// Nodes are not written to the journal.
    ForgetsToWriteNodes,
    /// What fails at another node worked.
    SaysItWorked,
    /// Everybody asks as whom the node is.
    AsksAsItself,
    /// A node with another's name keeps it.
    KeepsItsName,
    /// A circle of links is not refused.
    KeepsALoop,
    /// Nobody is told why something cannot be reached.
    SaysNoReason,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 18] = [
        Fault::DropsNews,
        Fault::AnswersTwice,
        Fault::ForgetsAnAnswer,
        Fault::MissesTheBreak,
        Fault::KeepsTheOldLink,
        Fault::ForgetsToClunk,
        Fault::ForgetsToFlush,
        Fault::MissesAnAnswer,
        Fault::ChangesAByte,
        Fault::IgnoresTheOffset,
        Fault::WritesTwice,
        Fault::ForgetsNodes,
        Fault::ForgetsToWriteNodes,
        Fault::SaysItWorked,
        Fault::AsksAsItself,
        Fault::KeepsItsName,
        Fault::KeepsALoop,
        Fault::SaysNoReason,
    ];

    /// Breaks kernels this way.
    pub fn wrap(self) -> Wrap {
        Rc::new(move |kernel| {
            let links = BTreeMap::new();
            let links = Links { fault: self, count: 0, links, peers: BTreeMap::new(), callers: vec![] };
            Box::new(Broken::new(kernel, links))
        })
    }
}

/// Changes what a kernel hears and what it wants done.
trait Tamper {
    /// What the kernel gets to see of an event.
    fn event(&mut self, event: Event) -> Vec<Event>;
    /// What is left of an effect; or an event in its place.
    fn effect(&mut self, effect: Effect) -> (Vec<Effect>, Option<Event>);
}

/// A kernel that is tampered with.
struct Broken<T> {
    kernel: Kernel,
    how: T,
}

impl<T> Broken<T> {
    fn new(kernel: Kernel, how: T) -> Broken<T> {
        Broken { kernel, how }
    }
}

struct Links {
    fault: Fault,
    count: u64,
    /// Of `KeepsTheOldLink`: what a link is called inside, and outside.
    links: BTreeMap<LinkId, LinkId>,
    peers: BTreeMap<op::NodeId, LinkId>,
    callers: Vec<ClientId>,
}

impl Links {
    fn nth(&mut self, n: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(n)
    }

    fn inside(&self, link: LinkId) -> LinkId {
        self.links.iter().find(|(_, outside)| **outside == link).map_or(link, |(inside, _)| *inside)
    }
}

impl Tamper for Links {
    fn event(&mut self, event: Event) -> Vec<Event> {
        match (self.fault, event) {
            (Fault::MissesTheBreak, Event::Unlinked { .. }) if self.nth(3) => vec![],
            (Fault::ForgetsNodes, Event::Recall(line)) if line.starts_with(b"node ") => vec![],
            (Fault::MissesAnAnswer, Event::Answered { .. }) if self.nth(300) => vec![],
            (Fault::KeepsItsName, Event::News(_, news)) if news.starts_with(b"name ") => vec![],
            (Fault::ChangesAByte, Event::Answered { link, tag, reply: Reply::Data(mut data) })
                if !data.is_empty() && self.nth(5) =>
            {
                data[0] ^= 1;
                vec![Event::Answered { link, tag, reply: Reply::Data(data) }]
            }
            (Fault::SaysItWorked, Event::Answered { link, tag, reply: Reply::Failed(error) }) => {
                let wrote = error.cause.contains("down since") || error.cause.contains("account");
                let reply = if wrote { Reply::Wrote(1) } else { Reply::Failed(error) };
                vec![Event::Answered { link, tag, reply }]
            }
            (Fault::SaysNoReason, Event::Unlinked { link, left, .. }) => {
                vec![Event::Unlinked { link, why: String::new(), left }]
            }
            (Fault::KeepsALoop, Event::News(link, news)) => {
                let kept = news.split_inclusive(|b| *b == b'\n').filter(|line| !line.starts_with(b"above "));
                vec![Event::News(link, kept.flatten().copied().collect())]
            }
            (Fault::KeepsTheOldLink, Event::Linked { link, peer }) => {
                match self.peers.get(&peer.id).copied() {
                    Some(old) => {
                        self.links.insert(old, link);
                        vec![]
                    }
                    None => {
                        self.peers.insert(peer.id, link);
                        vec![Event::Linked { link, peer }]
                    }
                }
            }
            (Fault::KeepsTheOldLink, Event::Unlinked { .. }) => vec![],
            (Fault::KeepsTheOldLink, Event::Caller { link, client }) => {
                vec![Event::Caller { link: self.inside(link), client }]
            }
            (Fault::KeepsTheOldLink, Event::Answered { link, tag, reply }) => {
                vec![Event::Answered { link: self.inside(link), tag, reply }]
            }
            (Fault::KeepsTheOldLink, Event::News(link, news)) => vec![Event::News(self.inside(link), news)],
            (_, event) => {
                if let Event::Caller { client, .. } = event {
                    self.callers.push(client);
                }
                vec![event]
            }
        }
    }

    fn effect(&mut self, effect: Effect) -> (Vec<Effect>, Option<Event>) {
        let done = |link, tag: Tag| (vec![], Some(Event::Answered { link, tag, reply: Reply::Done }));
        let kept = match (self.fault, effect) {
            (Fault::DropsNews, Effect::News(..)) if self.nth(4) => vec![],
            (Fault::AnswersTwice, Effect::Answer(client, tag, reply))
                if self.callers.contains(&client) && self.nth(40) =>
            {
                vec![Effect::Answer(client, tag, reply.clone()), Effect::Answer(client, tag, reply)]
            }
            (Fault::ForgetsAnAnswer, Effect::Answer(client, ..))
                if self.callers.contains(&client) && self.nth(100) =>
            {
                vec![]
            }
            (Fault::ForgetsToClunk, Effect::Ask { link, tag, op: Op::Clunk { .. }, .. })
            | (Fault::ForgetsToFlush, Effect::Ask { link, tag, op: Op::Flush { .. }, .. }) => {
                return done(link, tag);
            }
            (
                Fault::IgnoresTheOffset,
                Effect::Ask { link, lane, tag, op: Op::Read { fid, count, wait, offset } },
            ) => {
                let offset = if self.nth(3) { 0 } else { offset };
                vec![Effect::Ask { link, lane, tag, op: Op::Read { fid, offset, count, wait } }]
            }
            (
                Fault::WritesTwice,
                Effect::Ask { link, lane, tag, op: Op::Write { fid, offset, mut data } },
            ) => {
                data.extend(data.clone());
                vec![Effect::Ask { link, lane, tag, op: Op::Write { fid, offset, data } }]
            }
            (Fault::AsksAsItself, Effect::Ask { link, lane, tag, op: Op::Attach { fid, tree, .. } }) => {
                vec![Effect::Ask { link, lane, tag, op: Op::Attach { fid, user: "root".into(), tree } }]
            }
            (Fault::ForgetsToWriteNodes, Effect::Journal(line)) if line.starts_with(b"node ") => vec![],
            (Fault::ForgetsToWriteNodes, Effect::Rewrite(lines)) => {
                let all = lines.split_inclusive(|b| *b == b'\n');
                vec![Effect::Rewrite(
                    all.filter(|line| !line.starts_with(b"node ")).flatten().copied().collect(),
                )]
            }
            (Fault::KeepsALoop, Effect::Unlink(_, why)) if why.contains("loop") => vec![],
            (Fault::KeepsTheOldLink, Effect::Ask { link, lane, tag, op }) => {
                let link = self.links.get(&link).copied().unwrap_or(link);
                vec![Effect::Ask { link, lane, tag, op }]
            }
            (Fault::KeepsTheOldLink, Effect::News(link, news)) => {
                vec![Effect::News(self.links.get(&link).copied().unwrap_or(link), news)]
            }
            // Programs are not what is broken here.
            (_, Effect::Act(act @ (Act::Start(_) | Act::Free(_)))) => vec![Effect::Act(act)],
            (_, effect) => vec![effect],
        };
        (kept, None)
    }
}

impl<T: Tamper> Machine for Broken<T> {
    fn handle(&mut self, clock: Clock, event: Event, effects: &mut Vec<Effect>) {
        let mut events = self.how.event(event);
        while let Some(event) = events.pop() {
            let mut done = Vec::new();
            self.kernel.handle(clock, event, &mut done);
            for effect in done {
                let (kept, instead) = self.how.effect(effect);
                effects.extend(kept);
                events.extend(instead);
            }
        }
    }

    fn check(&self) {
        self.kernel.check();
    }

    fn waiting(&self) -> usize {
        self.kernel.waiting()
    }

    fn fids(&self) -> usize {
        self.kernel.fids()
    }

    fn sessions(&self) -> (usize, usize) {
        self.kernel.sessions()
    }

    fn flowing(&self) -> usize {
        self.kernel.flowing()
    }
}
