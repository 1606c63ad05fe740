//! What a host does: hands its kernel what has come, and does what the kernel wants done.

use super::{
    Cloud, Life,
    link::{End, Frame, LANES, Serving, Told, lane_no, made, used},
    programs::{self, Step},
};
use kernel::{ClientId, Effect, Event, Lane, LinkId, Peer};
use op::{Act, Errno, Error, Mono, Op, Reply, SessionId, Tag, Uid, User};
use std::{sync::Arc, time::Duration};

/// Something that will happen.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Due {
    /// The next frame arrives at this end of a link, on this lane.
    Arrive(usize, usize, Lane),
    /// This end of a link has heard nothing for too long, if the other end is still silent.
    Silence(usize, usize),
    /// This end of a link finds out that it is broken.
    Break(usize, usize, String),
    /// A kernel wanted to be waked.
    Tick(usize, Mono),
    /// A node looks for a parent. Of this and what follows: in which of its lives.
    Dial(usize, u32),
    /// A host pays what is due.
    Pay(usize, u32),
    /// A name is looked up for another node.
    Admit(usize, u32, String),
    /// The machine's files answer.
    File(usize, u32, Tag),
    /// A program goes on; in whichever life of its node.
    Program(usize, SessionId, Step),
}

impl Cloud {
    /// To whom it happens.
    fn whose(&self, due: &Due) -> usize {
        match due {
            Due::Arrive(link, end, _) | Due::Silence(link, end) | Due::Break(link, end, _) => {
                self.links[*link].ends[*end].node
            }
            Due::Tick(at, _)
            | Due::Dial(at, _)
            | Due::Pay(at, _)
            | Due::Admit(at, ..)
            | Due::File(at, ..)
            | Due::Program(at, ..) => *at,
        }
    }

    pub(super) fn happen(&mut self, due: Due) {
        let at = self.whose(&due);
        let (age, dead) = (self.hosts[at].age, matches!(self.hosts[at].life, Life::Dead));
        if let Life::Frozen(waits) = &mut self.hosts[at].life {
            waits.push(due);
            return;
        }
        match due {
            Due::Program(_, session, step) => self.program(at, session, step),
            _ if dead => {}
            Due::Arrive(link, end, lane) => self.arrive(link, end, lane),
            Due::Silence(link, end) => {
                let other = self.links[link].ends[1 - end].node;
                if matches!(self.hosts[other].life, Life::Frozen(_)) {
                    self.break_end(link, end, "no heartbeat for 2 s", false);
                }
            }
            Due::Break(link, end, why) => self.break_end(link, end, &why, false),
            Due::Tick(_, when) => {
                if self.hosts[at].world.wake_at() == Some(when) {
                    self.hosts[at].world.clock = self.clock;
                    let done = self.hosts[at].world.tick();
                    self.carry_out(at, done);
                }
            }
            Due::Dial(_, of) | Due::Pay(_, of) | Due::Admit(_, of, _) | Due::File(_, of, _) if of != age => {}
            Due::Dial(..) => self.dial(at),
            Due::Pay(..) => {
                self.hosts[at].owed -= 1;
                self.hosts[at].world.clock = self.clock;
                let done = self.hosts[at].world.pay(0);
                self.carry_out(at, done);
            }
            Due::Admit(_, _, name) => {
                let user = self.admitted(at, &name);
                self.event(at, Event::User(user));
            }
            Due::File(_, _, tag) => self.file(at, tag),
        }
    }

    // ── what a kernel wants ────────────────────────────────────────────────────────────────

    pub(super) fn carry_out(&mut self, at: usize, done: Vec<Effect>) {
        for effect in done {
            match effect {
                Effect::Answer(client, tag, reply) => self.answer(at, client, tag, reply),
                Effect::AnswerSpool { .. } => unreachable!("a world answers with the bytes"),
                Effect::Ask { link: LinkId::FILES, lane, tag, op } => {
                    assert_eq!(lane, Lane::Bulk, "files are asked on the lane for streams: {op:?}");
                    self.ask_files(at, tag, &op);
                }
                Effect::Ask { link, lane, tag, op } => self.ask_over(at, link, lane, tag, op),
                Effect::News(link, news) => {
                    let (link, end) = self.end_of(at, link, "told news over");
                    assert!(!news.is_empty(), "news say something");
                    self.counters.count("news");
                    self.send(link, end, Lane::Control, Frame::News(news));
                }
                Effect::Unlink(link, why) => {
                    let (link, end) = self.end_of(at, link, "broken off");
                    self.counters.count("a kernel broke a link off");
                    self.bye(link, end, why, false);
                }
                Effect::Leave => self.leave(at),
                Effect::Admit(name) => {
                    let (age, span) = (self.hosts[at].age, self.transit());
                    self.later(span, Due::Admit(at, age, name));
                }
                // The world has done these.
                Effect::Act(_)
                | Effect::Journal(_)
                | Effect::Rewrite(_)
                | Effect::WakeAt(_)
                | Effect::Measure
                | Effect::Gauge(..)
                | Effect::FindUser(_)
                | Effect::Down { .. } => {}
            }
        }
        if self.hosts[at].world.is_dead() {
            self.died(at);
        } else {
            self.settle_accounts(at);
        }
    }

    /// What the world has noted down is set going.
    pub(super) fn settle_accounts(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let new = host.world.due.len() - host.owed;
        host.owed += new;
        let (age, wake, acts) = (host.age, host.world.wake_at(), host.world.asked());
        if wake != host.ticks {
            host.ticks = wake;
            if let Some(when) = wake {
                self.at(when.max(self.clock.mono), Due::Tick(at, when));
            }
        }
        for _ in 0..new {
            self.later(Duration::ZERO, Due::Pay(at, age));
        }
        for act in acts {
            if !self.hosts[at].plan.runs {
                self.hosts[at].asked.push(act);
            } else if let Act::Adopt { session, .. } = act {
                for tell in self.hosts[at].world.provider.adopted(session, self.clock.wall) {
                    self.event(at, Event::Told(tell));
                }
            } else if let Some((session, step, span)) = programs::after(&act) {
                if step == Step::Start {
                    self.counters.count("programs started");
                }
                self.later(span, Due::Program(at, session, step));
            }
        }
    }

    fn program(&mut self, at: usize, session: SessionId, step: Step) {
        self.hosts[at].world.clock = self.clock;
        let (tells, next) = programs::take((at, session), step, &mut self.hosts[at].world, self.clock.wall);
        for tell in tells {
            if matches!(self.hosts[at].life, Life::Dead) {
                self.hosts[at].world.provider.telling(&tell);
            } else {
                self.event(at, Event::Told(tell));
            }
        }
        if let Some((step, span)) = next {
            self.later(span, Due::Program(at, session, step));
        }
    }

    fn admitted(&mut self, at: usize, name: &str) -> Arc<User> {
        let host = &mut self.hosts[at];
        if let Some(user) = host.world.users.iter().find(|user| &*user.name == name) {
            return user.clone();
        }
        self.counters.count("a user of another machine");
        if !host.foreign.iter().any(|known| known == name) {
            host.foreign.push(name.into());
        }
        let number = host.foreign.iter().position(|known| known == name).unwrap_or(0) as u32;
        let uid = Uid(Uid::FOREIGN.0 + number);
        let groups = vec![(uid.0, Arc::from(name))];
        Arc::new(User { uid, name: name.into(), groups, home: "/".into(), shell: "/bin/false".into() })
    }

    fn ask_files(&mut self, at: usize, tag: Tag, op: &Op) {
        let span = self.transit();
        let host = &mut self.hosts[at];
        assert!(host.plan.fs, "a node that does not offer its files does not ask for them: {op:?}");
        host.file_asks.ask(Lane::Bulk, tag, op);
        host.files_last = host.files_last.max(self.clock.mono + span);
        let (when, age) = (host.files_last, host.age);
        self.at(when, Due::File(at, age, tag));
    }

    fn file(&mut self, at: usize, tag: Tag) {
        let host = &mut self.hosts[at];
        let Some(sent) = host.file_asks.sent.get(&tag) else { return };
        let reply = host.files.answer(&sent.op);
        host.file_asks.reply(tag, &reply);
        self.event(at, Event::Answered { link: LinkId::FILES, tag, reply });
    }

    // ── over a link ────────────────────────────────────────────────────────────────────────

    /// The link and the end that a kernel speaks of.
    fn end_of(&self, at: usize, id: LinkId, what: &str) -> (usize, usize) {
        let name = &self.hosts[at].plan.name;
        let found = self.hosts[at].links.get(&id).copied();
        let (link, end) =
            found.unwrap_or_else(|| panic!("{id:?} of {name} is {what}, and is gone or never was"));
        let told = self.links[link].ends[end].told;
        // What is said between giving a link up and hearing that it is gone goes nowhere.
        assert!(matches!(told, Told::Up | Told::Closing), "{id:?} of {name} is {what}, and {told:?}");
        (link, end)
    }

    fn ask_over(&mut self, at: usize, id: LinkId, lane: Lane, tag: Tag, op: Op) {
        let (link, end) = self.end_of(at, id, "asked over");
        let host = &self.hosts[at];
        let elsewhere = host.links.iter().filter(|(other, _)| **other != id);
        for (link, end) in elsewhere.map(|(_, at)| *at) {
            let taken = self.links[link].ends[end].asks.sent.contains_key(&tag);
            assert!(!taken, "{tag:?} is used on two links of {}", host.plan.name);
        }
        assert!(!host.file_asks.sent.contains_key(&tag), "{tag:?} is used for files too");
        self.counters.count("asks");
        if lane == Lane::Bulk {
            self.counters.count("asks for streams");
        }
        if let Op::Flush { .. } = op {
            self.counters.count("flushes over a link");
        }
        self.links[link].ends[end].asks.ask(lane, tag, &op);
        self.send(link, end, lane, Frame::Ask(tag, op));
    }

    fn answer(&mut self, at: usize, client: ClientId, tag: Tag, reply: Reply) {
        let Some((link, end, lane)) = self.caller(at, client) else { return };
        // It goes over the link and is in nobody's mailbox.
        self.hosts[at].world.reply(client, tag);
        let of = &mut self.links[link].ends[end];
        let served = of.serving.remove(&(client, tag)).expect("what is answered was asked");
        if let Some(old) = served.flushes {
            of.serving.remove(&(client, old));
        }
        let refused = matches!(reply, Reply::Failed(_));
        self.send(link, end, lane, Frame::Reply(served.theirs, reply));
        if served.attaches.is_some() {
            let held = std::mem::take(&mut self.links[link].ends[end].held);
            for (lane, theirs, op) in held {
                if refused && used(&op) == served.attaches {
                    let error = Error::new(Errno::BADF, "unknown fid");
                    self.send(link, end, lane, Frame::Reply(theirs, Reply::Failed(error)));
                } else {
                    self.serve(link, end, lane, theirs, op);
                }
            }
        }
    }

    /// Puts a frame on its way from one end of a link to the other.
    pub(super) fn send(&mut self, no: usize, from: usize, lane: Lane, frame: Frame) {
        let mut span = self.transit();
        if lane == Lane::Bulk && !self.links[no].bulk {
            self.links[no].bulk = true;
            span += self.transit() + self.transit();
            self.counters.count("a lane for streams was made");
        }
        let link = &mut self.links[no];
        if !link.cable {
            return;
        }
        let to = &mut link.ends[1 - from];
        let when = (self.clock.mono + span + link.delay).max(to.last[lane_no(lane)]);
        to.last[lane_no(lane)] = when;
        to.inbox[lane_no(lane)].push_back(frame);
        self.at(when, Due::Arrive(no, 1 - from, lane));
    }

    fn arrive(&mut self, no: usize, at: usize, lane: Lane) {
        let end = &mut self.links[no].ends[at];
        if end.told == Told::Nothing && end.inbox[lane_no(lane)].front() != Some(&Frame::Up) {
            // A stream's lane is not looked at before the link is up.
            if !end.inbox[lane_no(lane)].is_empty() {
                self.later(Duration::from_millis(1), Due::Arrive(no, at, lane));
            }
            return;
        }
        let Some(frame) = end.inbox[lane_no(lane)].pop_front() else { return };
        let (node, id) = (end.node, end.id);
        match (frame, end.told) {
            (_, Told::Closing | Told::Gone) => {}
            (Frame::Up, _) => self.up(no, at),
            (Frame::Ask(tag, op), _) => self.serve(no, at, lane, tag, op),
            (Frame::Reply(tag, reply), _) => {
                let flushed = end.asks.flushed(tag);
                let Some(sent) = end.asks.reply(tag, &reply) else { return };
                if flushed && matches!((&sent.op, &reply), (Op::Walk { .. }, Reply::Walked(_))) {
                    self.counters.count("walks given up that succeeded below");
                }
                self.event(node, Event::Answered { link: id, tag, reply });
            }
            (Frame::News(news), _) => self.event(node, Event::News(id, news)),
            (Frame::Bye { why, left }, _) => self.break_end(no, at, &why, left),
        }
    }

    /// The handshake is over at this end.
    fn up(&mut self, no: usize, at: usize) {
        let (node, id) = (self.links[no].ends[at].node, self.links[no].ends[at].id);
        let other = self.links[no].ends[1 - at].node;
        let old: Vec<usize> = self.other_links(no, at);
        if !old.is_empty() {
            self.counters.count("relinks before the old link was known to be gone");
        }
        let why = "it came back over a new link";
        if self.old_first {
            old.iter().for_each(|old| self.break_end(*old, at, why, false));
        }
        let peer = Peer {
            id: self.hosts[other].id,
            name: self.hosts[other].plan.name.as_str().into(),
            above: at == 0,
        };
        self.links[no].ends[at].told = Told::Up;
        if at == 1 {
            self.hosts[other].adopted_by.insert(node);
        }
        self.counters.count("links came up");
        self.event(node, Event::Linked { link: id, peer });
        if self.rng.bool() && self.links[no].ends[at].told == Told::Up {
            self.caller_on(no, at, Lane::Control);
        }
        for old in old {
            let span = self.transit();
            self.later(span, Due::Break(old, at, why.into()));
        }
    }

    /// Links of the same two nodes that this end's kernel still has.
    fn other_links(&self, no: usize, at: usize) -> Vec<usize> {
        let (node, other) = (self.links[no].ends[at].node, self.links[no].ends[1 - at].node);
        let same = |(link, end): &&(usize, usize)| {
            *link != no
                && *end == at
                && self.links[*link].ends[1 - at].node == other
                && self.links[*link].ends[at].told == Told::Up
        };
        self.hosts[node].links.values().filter(same).map(|(link, _)| *link).collect()
    }

    /// The other node, as the client that it is here on a lane.
    fn caller_on(&mut self, no: usize, at: usize, lane: Lane) -> ClientId {
        let end: &mut End = &mut self.links[no].ends[at];
        let (node, id) = (end.node, end.id);
        if let Some(client) = end.callers[lane_no(lane)] {
            return client;
        }
        self.hosts[node].world.clock = self.clock;
        let (client, done) = self.hosts[node].world.caller(id);
        self.links[no].ends[at].callers[lane_no(lane)] = Some(client);
        self.hosts[node].callers.insert(client, (no, at));
        self.carry_out(node, done);
        client
    }

    fn serve(&mut self, no: usize, at: usize, lane: Lane, theirs: Tag, op: Op) {
        if self.links[no].ends[at].told != Told::Up {
            return;
        }
        let client = self.caller_on(no, at, lane);
        let end = &mut self.links[no].ends[at];
        let node = end.node;
        if end.waits(client, lane, &op) {
            return end.held.push((lane, theirs, op));
        }
        if let Op::Flush { tag } = op {
            let before = end.held.len();
            end.held.retain(|(of, held, _)| (*of, *held) != (lane, tag));
            if end.held.len() < before {
                return self.send(no, at, lane, Frame::Reply(theirs, Reply::Done));
            }
        }
        let mut flushes = None;
        let op = if let Op::Flush { tag } = op {
            let of = |(key, serving): (&(ClientId, Tag), &Serving)| {
                (key.0 == client && serving.theirs == tag).then_some(key.1)
            };
            flushes = end.serving.iter().find_map(of);
            match flushes {
                Some(tag) => Op::Flush { tag },
                // It was answered, and the answer is on its way.
                None => return self.send(no, at, lane, Frame::Reply(theirs, Reply::Done)),
            }
        } else {
            op
        };
        let tag = self.hosts[node].world.new_tag();
        let attaches = if let Op::Attach { .. } = op { made(&op) } else { None };
        self.links[no].ends[at].serving.insert((client, tag), Serving { theirs, flushes, attaches });
        // Who asks is said in the attach; the number means nothing.
        self.event(node, Event::Request { client, tag, uid: Uid(u32::MAX), op });
    }

    /// A link's end is told that it is gone; unless it knows.
    pub(super) fn break_end(&mut self, no: usize, at: usize, why: &str, left: bool) {
        self.links[no].cable = false;
        let end = &mut self.links[no].ends[at];
        let (node, id, told) = (end.node, end.id, end.told);
        if told == Told::Gone {
            return;
        }
        let callers = LANES.map(|lane| end.callers[lane_no(lane)].take());
        if told != Told::Nothing {
            for client in callers.into_iter().flatten() {
                self.hosts[node].callers.remove(&client);
                self.event(node, Event::Hangup(client));
            }
        }
        let end = &mut self.links[no].ends[at];
        if end.told == Told::Gone {
            return;
        }
        end.told = Told::Gone;
        end.serving.clear();
        end.held.clear();
        end.inbox.iter_mut().for_each(std::collections::VecDeque::clear);
        if !end.asks.sent.is_empty() {
            self.counters.count("links broke with requests under way");
        }
        self.links[no].ends[at].asks.sent.clear();
        self.hosts[node].links.remove(&id);
        if told != Told::Nothing {
            self.event(node, Event::Unlinked { link: id, why: why.into(), left });
        }
        if at == 0 {
            let backoff = Duration::from_millis(100 + self.rng.u64(0..200));
            self.dial_in(node, backoff);
        }
    }

    /// A link is given up on purpose, by the kernel at this end.
    pub(super) fn bye(&mut self, no: usize, at: usize, why: String, left: bool) {
        self.send(no, at, Lane::Control, Frame::Bye { why: why.clone(), left });
        self.links[no].cable = false;
        self.links[no].ends[at].told = Told::Closing;
        self.later(Duration::ZERO, Due::Break(no, at, why));
    }

    fn leave(&mut self, at: usize) {
        self.counters.count("a node left");
        let host = &mut self.hosts[at];
        host.seeks = false;
        host.parents.clear();
        let above = host.links.values().filter(|(_, end)| *end == 0).map(|(link, _)| *link);
        for link in above.collect::<Vec<_>>() {
            self.bye(link, 0, "it left the cloud".into(), true);
        }
    }
}
