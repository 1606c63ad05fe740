//! A world and the model beside it: whatever happens, happens to both, and is compared.

use crate::{
    machine::EPOCH,
    model::{Ask, Expect, Model},
    world::{Due, Make, World},
};
use kernel::{ClientId, Effect, Event};
use op::{Act, Fid, Op, Reply, SessionId, Tag, Tell, Uid};
use std::{collections::BTreeMap, time::Duration};

/// Both.
pub struct Pair {
    /// The node.
    pub world: World,
    /// What it must be.
    pub model: Model,
    /// What was requested of whom, and still waits.
    late: BTreeMap<(ClientId, Tag), &'static str>,
    /// The next event is the last, and so many of its effects are carried out.
    crash: Option<usize>,
}

/// What came of an event.
#[derive(Debug, Default)]
pub struct Came {
    /// Kinds of the requests that had waited and were answered now.
    pub answered_late: Vec<&'static str>,
    /// What the provider was asked.
    pub asks: Vec<Ask>,
    /// The node died in the middle of it: how the model was before it, and how long the journal.
    pub died: Option<Box<(Model, usize)>>,
}

impl Pair {
    /// A fresh node with machines of this make.
    pub fn new(make: &Make) -> Pair {
        let (world, model) = (World::of(make.clone()), Model::new(EPOCH));
        Pair { world, model, late: BTreeMap::new(), crash: None }
    }

    /// The next event is the node's last: only so many of its effects are carried out. It may have no more.
    pub fn crash_next(&mut self, effects: usize) {
        self.crash = Some(effects);
    }

    /// One event.
    pub fn event(&mut self, event: Event, apply: impl FnOnce(&mut Model, &World)) -> Came {
        let before = self.crash.take().map(|effects| {
            self.world.crash_after(effects);
            Box::new((self.model.clone(), self.world.journal().0.len()))
        });
        self.model.clock = self.world.clock;
        // The model looks into the spools as they are; a tell changes them.
        let done = if let Event::Told(_) = event {
            let done = self.world.event(event);
            apply(&mut self.model, &self.world);
            done
        } else {
            apply(&mut self.model, &self.world);
            self.world.event(event)
        };
        self.compare(&done, before)
    }

    fn compare(&mut self, done: &[Effect], before: Option<Box<(Model, usize)>>) -> Came {
        let (expected, asks) = self.model.over(&self.world.provider);
        if self.world.is_dead() {
            return Came { died: before, ..Came::default() };
        }
        // It is over, whole.
        self.model.trail.clear();
        self.world.asked();
        let mut came = Came { asks, ..Came::default() };
        let mut answers = BTreeMap::new();
        let mut acts = Vec::new();
        for effect in done {
            match effect {
                Effect::Answer(client, tag, reply) => drop(answers.insert((*client, *tag), reply)),
                Effect::Act(act) => acts.extend(asked(act)),
                Effect::AnswerSpool { .. }
                | Effect::AnswerContent { .. }
                | Effect::Keep { .. }
                | Effect::Used { .. }
                | Effect::Drop(_)
                | Effect::Journal(_)
                | Effect::Rewrite(_)
                | Effect::WakeAt(_)
                | Effect::Measure
                | Effect::Gauge(..)
                | Effect::Fetch { .. }
                | Effect::FindUser(_)
                | Effect::Admit(_)
                | Effect::Ask { .. }
                | Effect::Put { .. }
                | Effect::News(..)
                | Effect::Unlink(..)
                | Effect::Leave
                | Effect::Down { .. } => {}
            }
        }
        for (name, expect) in &expected {
            match answers.remove(name) {
                Some(reply) => assert!(meets(expect, reply), "{name:?}: must be {expect:?}, is {reply:?}"),
                None => panic!("{name:?} is not answered, and must be: {expect:?}"),
            }
            self.world.reply(name.0, name.1);
            came.answered_late.extend(self.late.remove(name));
        }
        assert!(answers.is_empty(), "answered, and must not be: {answers:?}");
        acts.sort();
        assert_eq!(acts, came.asks, "what the provider is asked (left) is what it must be");
        self.agree();
        came
    }

    fn agree(&self) {
        let machine = self.world.machine();
        assert_eq!(machine.sessions(), self.model.sessions(), "sessions that are there, that run");
        assert_eq!(machine.fids(), self.model.fids(), "fids that are held");
        assert_eq!(machine.waiting(), self.model.waiting(), "requests that wait");
    }

    /// A new client, attached with fid 0.
    pub fn connect(&mut self, uid: Uid) -> ClientId {
        let client = self.world.connect(true);
        self.ask(client, uid, &Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
        client
    }

    /// A client asks.
    pub fn ask(&mut self, client: ClientId, uid: Uid, op: &Op) -> (Tag, Came) {
        self.world.introduce(uid);
        let tag = self.world.new_tag();
        let waits = match op {
            Op::Read { .. } => "a read waited",
            Op::Write { .. } => "a write waited",
            _ => "another request waited",
        };
        if let Op::Flush { tag } = op {
            self.late.remove(&(client, *tag));
        }
        let event = Event::Request { client, tag, uid, op: op.clone() };
        let came = self.event(event, |model, world| model.request(client, uid, tag, op, &world.provider));
        if came.died.is_none() && self.world.waits(client, tag) {
            self.late.insert((client, tag), waits);
        }
        (tag, came)
    }

    /// A client is gone.
    pub fn hangup(&mut self, client: ClientId) -> Came {
        self.late.retain(|(of, _), _| *of != client);
        self.event(Event::Hangup(client), |model, _| model.hangup(client))
    }

    /// The provider tells.
    pub fn tell(&mut self, tell: &Tell) -> Came {
        self.event(Event::Told(tell.clone()), |model, _| model.told(tell))
    }

    /// The host pays the `nth` thing that it owes.
    pub fn pay(&mut self, nth: usize) -> Came {
        self.model.clock = self.world.clock;
        match self.world.due.get(nth) {
            Some(Due::Measure) => self.model.measured(),
            Some(Due::Gauge(id)) => self.model.gauged(id.0),
            Some(Due::FindUser(_) | Due::Fetch { .. } | Due::Told(_) | Due::Kept(..)) | None => {}
        }
        let done = self.world.pay(nth);
        self.compare(&done, None)
    }

    /// Time passes.
    pub fn advance(&mut self, span: Duration) -> Came {
        self.model.clock = self.world.clock;
        let done = self.world.advance(span);
        self.model.ring(self.world.clock.mono);
        self.model.clock = self.world.clock;
        self.compare(&done, None)
    }

    /// The node is started again with so much of its journal. It may have lost what was done since `before`. Whom
    /// the new one asks for is given back.
    pub fn restart(&mut self, before: &Model, kept: usize) -> Vec<SessionId> {
        self.late.clear();
        let done = self.world.restart(Some(kept));
        // What it remembers is what it writes anew; timers that ring at once come after that.
        let written = done.iter().find_map(|effect| match effect {
            Effect::Rewrite(lines) => Some(lines.clone()),
            _ => None,
        });
        let journal = written.expect("a node that was started writes its journal anew");
        self.model = before.recalled(&self.model, &journal, self.world.clock);
        // Who owns what is looked up before anybody comes.
        self.world.pay_all();
        // A lease of no time is over at once.
        self.model.over(&self.world.provider);
        self.agree();
        let adopted = |act| if let Act::Adopt { session, .. } = act { Some(session) } else { None };
        let adopted: Vec<SessionId> = self.world.asked().into_iter().filter_map(adopted).collect();
        for id in self.model.running_ids() {
            assert!(adopted.contains(&SessionId(id)), "session {id} ran, and is not looked for");
        }
        adopted
    }

    /// Whether a request still waits.
    pub fn waits(&self, client: ClientId, tag: Tag) -> bool {
        self.world.waits(client, tag)
    }
}

fn asked(act: &Act) -> Option<Ask> {
    Some(match act {
        Act::Start(launch) => Ask::Start(launch.session.0, launch.argv.clone()),
        Act::Signal { session, signal, all } => Ask::Signal(session.0, *signal, *all),
        Act::Freeze(id) => Ask::Freeze(id.0),
        Act::Thaw(id) => Ask::Thaw(id.0),
        Act::Feed { session, data } => Ask::Feed(session.0, data.clone()),
        Act::Unfeed(id) => Ask::Unfeed(id.0),
        Act::CloseStdin(id) => Ask::CloseStdin(id.0),
        Act::Free(id) => Ask::Free(id.0),
        Act::Adopt { .. }
        | Act::Resize { .. }
        | Act::Limit { .. }
        | Act::Trim { .. }
        | Act::Append { .. } => return None,
    })
}

/// Whether a reply is what was expected.
fn meets(expect: &Expect, reply: &Reply) -> bool {
    match (expect, reply) {
        (Expect::Opened, Reply::Opened(..)) | (Expect::Done, Reply::Done) => true,
        (Expect::Walked(n), Reply::Walked(qids)) => *n == qids.len(),
        (Expect::Walked(0), Reply::Attached(_)) => true,
        (Expect::Data(data), Reply::Data(got)) => data == got,
        (Expect::Says(text), Reply::Data(got)) => {
            // A short read may cut it off.
            got.len() < 400 || String::from_utf8_lossy(got).contains(text)
        }
        (Expect::Says(_), Reply::Stat(_) | Reply::Linked(_) | Reply::Listed(_)) => true,
        (Expect::Wrote(n), Reply::Wrote(got)) => n == got,
        (Expect::Names(names), Reply::Listed(entries)) => {
            let numbers = |e: &&op::Entry| e.stat.name.bytes().all(|b| b.is_ascii_digit());
            entries.iter().filter(numbers).map(|e| &e.stat.name).eq(names)
        }
        (Expect::Errno(errno), Reply::Failed(error)) => *errno == error.errno,
        _ => false,
    }
}
