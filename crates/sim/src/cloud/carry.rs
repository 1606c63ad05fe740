//! What a host does: hands its kernel what has come, and does what the kernel wants done.

use super::{
    Cloud, Life,
    link::Frame,
    programs::{self, Step},
};
use kernel::{Effect, Event, Lane, LinkId};
use op::{Act, Mono, Op, SessionId, Tag, Uid, User};
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
    /// A content has become a file.
    Put(usize, u32, Tag),
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
            | Due::Put(at, ..)
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
            Due::Dial(_, of)
            | Due::Pay(_, of)
            | Due::Admit(_, of, _)
            | Due::File(_, of, _)
            | Due::Put(_, of, _)
                if of != age => {}
            Due::Dial(..) => self.dial(at),
            Due::Pay(..) => {
                self.hosts[at].owed -= 1;
                self.hosts[at].world.clock = self.clock;
                let done = self.hosts[at].world.pay(0);
                self.carry_out(at, done);
            }
            Due::Admit(_, _, name) => {
                let user = self.admitted(at, &name);
                self.event(at, Event::Admitted(name, user));
            }
            Due::File(_, _, tag) => self.file(at, tag),
            Due::Put(_, _, tag) => self.put(at, tag),
        }
    }

    // ── what a kernel wants ────────────────────────────────────────────────────────────────

    pub(super) fn carry_out(&mut self, at: usize, done: Vec<Effect>) {
        for effect in done {
            match effect {
                Effect::Answer(client, tag, reply) => self.answer(at, client, tag, reply),
                Effect::AnswerSpool { .. } | Effect::AnswerContent { .. } => {
                    unreachable!("a world answers with the bytes")
                }
                Effect::Ask { link: LinkId::FILES, lane, tag, op } => {
                    assert_eq!(lane, Lane::Bulk, "files are asked on the lane for streams: {op:?}");
                    self.ask_files(at, tag, &op);
                }
                Effect::Put { tag, putting, .. } => {
                    let (age, span) = (self.hosts[at].age, self.transit());
                    self.hosts[at].puts.insert(tag, putting);
                    self.later(span, Due::Put(at, age, tag));
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

    fn put(&mut self, at: usize, tag: Tag) {
        let host = &mut self.hosts[at];
        let Some(putting) = host.puts.remove(&tag) else { return };
        let reply = match host.world.store.bytes_of(putting.content) {
            Some(data) => host.files.put(&putting.path, data),
            None => op::Reply::errno(op::Errno::IO),
        };
        self.counters.count("a content became a file");
        self.event(at, Event::Answered { link: LinkId::FILES, tag, reply });
    }

    fn file(&mut self, at: usize, tag: Tag) {
        let host = &mut self.hosts[at];
        let Some(sent) = host.file_asks.sent.get(&tag) else { return };
        let reply = host.files.answer(&sent.op);
        host.file_asks.reply(tag, &reply);
        self.event(at, Event::Answered { link: LinkId::FILES, tag, reply });
    }
}
