//! What can happen to a cloud: nodes dial, cables are cut, processes are killed, stopped and started again.

use super::{
    Cloud, Life, SILENCE,
    carry::Due,
    link::{Frame, Link, Told},
};
use crate::provider::{Stand, started};
use kernel::{Event, Lane, LinkId};
use op::{Exit, How, SessionId, Stream, Tell, Usage};
use std::time::Duration;

/// How a cable is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Both ends find out at once.
    Reset,
    /// The child at once, the parent by the silence.
    ChildFirst,
    /// The parent at once, the child by the silence.
    ParentFirst,
    /// Both by the silence.
    Silent,
}

impl Cut {
    /// All ways.
    pub const ALL: [Cut; 4] = [Cut::Reset, Cut::ChildFirst, Cut::ParentFirst, Cut::Silent];
}

impl Cloud {
    // ── finding a parent ───────────────────────────────────────────────────────────────────

    pub(super) fn dial_in(&mut self, at: usize, span: Duration) {
        let host = &mut self.hosts[at];
        if host.seeks && !host.parents.is_empty() && !std::mem::replace(&mut host.dialing, true) {
            let age = host.age;
            self.later(span, Due::Dial(at, age));
        }
    }

    pub(super) fn dial(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        host.dialing = false;
        let linked = host.links.values().any(|(_, end)| *end == 0);
        if linked || !host.seeks || host.parents.is_empty() {
            return;
        }
        let target = host.parents[host.tries % host.parents.len()];
        let pair = (at.min(target), at.max(target));
        if !matches!(self.hosts[target].life, Life::Up) || self.blocked.contains(&pair) {
            self.hosts[at].tries += 1;
            let (tries, name) = (self.hosts[at].tries.min(4) as u64, self.hosts[target].plan.name.clone());
            let backoff = Duration::from_millis(100 * (1 << tries) - self.rng.u64(0..100));
            self.event(at, Event::Seeking(format!("tcp!{name}!7264: connection refused")));
            self.dial_in(at, backoff.min(Duration::from_secs(1)));
            return;
        }
        self.hosts[at].tries = 0;
        let no = self.links.len();
        let mut number = |node: usize, end: usize| {
            let host = &mut self.hosts[node];
            host.next_link += 1;
            host.links.insert(LinkId(host.next_link), (no, end));
            (node, LinkId(host.next_link))
        };
        let (child, parent) = (number(at, 0), number(target, 1));
        self.links.push(Link::new(child, parent));
        self.event(at, Event::Seeking(String::new()));
        self.send(no, 1, Lane::Control, Frame::Up);
        self.send(no, 0, Lane::Control, Frame::Up);
    }

    /// A node gets another parent: what it has with the old one is given up by its host.
    pub fn move_below(&mut self, at: usize, parent: usize) {
        self.counters.count("parents replaced");
        let old = self.link_above(at);
        self.set_parents(at, vec![parent]);
        if let Some(no) = old.filter(|no| self.links[*no].ends[1].node != parent) {
            self.bye(no, 0, "it has another parent".into(), false);
        }
    }

    // ── cables ─────────────────────────────────────────────────────────────────────────────

    /// The link that a node has with its parent: its number, if both have it.
    fn link_above(&self, at: usize) -> Option<usize> {
        let above = self.hosts[at].links.values().filter(|(_, end)| *end == 0).map(|(link, _)| *link);
        above.rev().find(|link| self.links[*link].cable)
    }

    /// Cuts the cable between a node and its parent. What was on its way is lost, or some of it. Whether there was
    /// one.
    pub fn cut(&mut self, child: usize, how: Cut) -> bool {
        let Some(no) = self.link_above(child) else { return false };
        let asked = [0, 1].map(|end| !self.links[no].ends[end].asks.sent.is_empty());
        if asked == [true, true] {
            self.counters.count("links broke with requests in both directions");
        }
        self.counters.count(match how {
            Cut::Reset => "a cable was cut, and both knew",
            Cut::ChildFirst => "a cable was cut, and the child knew first",
            Cut::ParentFirst => "a cable was cut, and the parent knew first",
            Cut::Silent => "a cable was cut, and nobody knew",
        });
        self.sever(no);
        let soon = self.transit();
        let (child, parent) = match how {
            Cut::Reset => (soon, soon),
            Cut::ChildFirst => (soon, SILENCE),
            Cut::ParentFirst => (SILENCE, soon),
            Cut::Silent => (SILENCE, SILENCE),
        };
        for (end, span) in [(0, child), (1, parent)] {
            let why = if span == SILENCE { "no heartbeat for 2 s" } else { "the connection was reset" };
            self.later(span, Due::Break(no, end, why.into()));
        }
        true
    }

    /// No frame comes through any more, and of those on their way not all.
    fn sever(&mut self, no: usize) {
        self.links[no].cable = false;
        for end in &mut self.links[no].ends {
            for lane in &mut end.inbox {
                let kept = self.rng.usize(0..=lane.len());
                lane.truncate(kept);
            }
        }
    }

    /// What goes over the link of a node with its parent takes so much longer from now on.
    pub fn delay(&mut self, child: usize, span: Duration) {
        if let Some(no) = self.link_above(child) {
            self.counters.count("a link became slow");
            self.links[no].delay = span;
            self.slowness += span;
        }
    }

    /// No way leads between these two any more; a link that they have is cut.
    pub fn block(&mut self, one: usize, other: usize) {
        self.blocked.insert((one.min(other), one.max(other)));
        for child in [one, other] {
            let parent = self.link_above(child).map(|no| self.links[no].ends[1].node);
            if parent.is_some_and(|parent| parent + child == one + other) {
                self.cut(child, Cut::Silent);
            }
        }
    }

    /// There are two sides, and no way leads from one to the other.
    pub fn partition(&mut self, side: impl Fn(usize) -> bool) {
        self.counters.count("the cloud was parted");
        let all = self.hosts.len();
        for one in 0..all {
            for other in (one + 1..all).filter(|other| side(one) != side(*other)) {
                self.block(one, other);
            }
        }
    }

    /// Every way is open again, and nothing is slow.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.links.iter_mut().for_each(|link| link.delay = Duration::ZERO);
    }

    // ── nodes ──────────────────────────────────────────────────────────────────────────────

    /// The node's process is killed. Its programs run on.
    pub fn kill(&mut self, at: usize) {
        if !matches!(self.hosts[at].life, Life::Dead) {
            self.counters.count("a node was killed");
            self.died(at);
        }
    }

    /// The node's next event is its last, and so many of its effects are carried out.
    pub fn crash(&mut self, at: usize, effects: usize) {
        if self.is_up(at) {
            self.hosts[at].world.crash_after(effects);
        }
    }

    /// Nor does it die in its next event, if it was to.
    pub(super) fn live_on(&mut self, at: usize) {
        self.hosts[at].world.put_off_crash();
    }

    pub(super) fn died(&mut self, at: usize) {
        let waits = match std::mem::replace(&mut self.hosts[at].life, Life::Dead) {
            Life::Frozen(waits) => waits,
            Life::Up | Life::Dead => Vec::new(),
        };
        let links: Vec<(usize, usize)> = self.hosts[at].links.values().copied().collect();
        for (no, end) in links {
            self.sever(no);
            let mine = &mut self.links[no].ends[end];
            mine.told = Told::Gone;
            mine.asks.sent.clear();
            mine.serving.clear();
            mine.held.clear();
            mine.callers = [None; 2];
            let span = self.transit();
            self.later(span, Due::Break(no, 1 - end, "the connection was closed".into()));
        }
        let host = &mut self.hosts[at];
        host.links.clear();
        host.callers.clear();
        host.file_asks = Default::default();
        host.puts.clear();
        host.files.hangup();
        self.clients.iter_mut().filter(|client| client.node == at).for_each(|client| client.gone = true);
        // Programs do not stop with their node.
        for due in waits {
            if let Due::Program(..) = due {
                self.later(Duration::ZERO, due);
            }
        }
    }

    /// The machine of a node is lost: its process, and every program that ran there.
    pub fn lose(&mut self, at: usize) {
        self.counters.count("machines lost");
        self.kill(at);
        let wall = self.clock.wall;
        let provider = &mut self.hosts[at].world.provider;
        let alive = provider.programs.iter().filter(|(_, p)| p.stand != Stand::Ended);
        let alive: Vec<(SessionId, Stand)> = alive.map(|(id, p)| (*id, p.stand)).collect();
        for (session, stand) in alive {
            if stand == Stand::Starting {
                let pid = provider.pid();
                provider.telling(&started(session, pid));
            }
            let exit = Exit { how: How::Lost, usage: Usage::default(), at: wall };
            for stream in [Stream::Out, Stream::Err] {
                if !provider.programs[&session].closed[stream as usize] {
                    provider.telling(&Tell::Closed { session, stream });
                }
            }
            provider.telling(&Tell::Exited { session, exit });
        }
    }

    /// Starts a killed node again, from its journal.
    pub fn restart(&mut self, at: usize) {
        if !matches!(self.hosts[at].life, Life::Dead) {
            return;
        }
        self.counters.count("a node was started again");
        let host = &mut self.hosts[at];
        host.life = Life::Up;
        host.age += 1;
        (host.owed, host.ticks, host.dialing, host.tries) = (0, None, false, 0);
        host.world.clock = self.clock;
        let done = host.world.restart(None);
        self.carry_out(at, done);
        self.dial_in(at, Duration::ZERO);
    }

    /// The node's process is stopped where it is. Who hears nothing of it breaks off.
    pub fn freeze(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        self.counters.count("a node was stopped");
        self.hosts[at].life = Life::Frozen(Vec::new());
        let links: Vec<(usize, usize)> = self.hosts[at].links.values().copied().collect();
        for (no, end) in links {
            self.later(SILENCE, Due::Silence(no, 1 - end));
        }
    }

    /// And goes on: reads what has come first, and then finds out who has broken off.
    pub fn thaw(&mut self, at: usize) {
        let Life::Frozen(waits) = &mut self.hosts[at].life else { return };
        let waits = std::mem::take(waits);
        self.hosts[at].life = Life::Up;
        for due in waits {
            self.later(Duration::ZERO, due);
        }
        let links: Vec<(usize, usize)> = self.hosts[at].links.values().copied().collect();
        for (no, end) in links {
            if self.links[no].ends[1 - end].told == Told::Gone {
                let why = "the connection was reset";
                self.later(Duration::from_millis(1), Due::Break(no, end, why.into()));
            }
        }
    }
}
