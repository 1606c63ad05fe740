//! Many nodes in one process, under one virtual clock: each is a [`World`] with a kernel, programs, users and a
//! journal of its own; between them are links as real hosts would have them. Nothing happens but what is due in
//! the cloud's queue, in the order of its times; the same seed gives the same run.
//!
//! ```text
//!   client ──▶ World ── Effect::Ask ──▶ Link: two lanes, a queue each way ──▶ Event::Request ── World
//!                 ▲                                                                             │
//!                 └──── Event::Answered ◀──────────────────────────────────── Effect::Answer ◀──┘
//! ```
//! Here is what a cloud is and how time passes in it; `carry` does what kernels want done, [`faults`] is what can
//! happen to it, `link` is what is asserted of a link, [`client`] asks for tests. [`model`] says what must be seen, and
//! [`terms`] what queries must answer; [`seeds`], [`groups`] and [`flows`] play at random, [`mutants`] are broken clouds, and
//! [`play`] plays transcripts; [`traffic`] counts what goes over links.

mod carry;
mod chance;
pub mod client;
mod errand;
pub mod faults;
pub mod files;
pub mod flows;
pub mod groups;
mod host;
mod labels;
mod lanes;
mod link;
pub mod model;
pub mod mutants;
pub mod play;
pub mod programs;
mod queries;
pub mod race;
pub mod seeds;
pub mod terms;
pub mod traffic;

use crate::{
    counters::Counters,
    machine::{EPOCH, Machine, node},
    world::{Make, World},
};
use carry::Due;
use fastrand::Rng;
use files::Files;
pub(crate) use host::Life;
use host::id_of;
pub use host::{Host, Plan};
use kernel::{Attr, ClientId, Event, Kernel, Lane, Node};
use link::{Asks, Link};
use op::{Clock, Mono, NodeId};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

/// After so long without a word something is said; and after twice that, a link is broken off.
pub const BEAT: Duration = Duration::from_secs(1);

/// A silence that breaks a link.
pub const SILENCE: Duration = Duration::from_secs(2);

/// Wraps a node's kernel: to break it.
pub type Wrap = Rc<dyn Fn(Kernel) -> Box<dyn Machine>>;

/// All of them.
pub struct Cloud {
    /// Now, for everybody.
    pub clock: Clock,
    /// The nodes, by number.
    pub hosts: Vec<Host>,
    /// What happened how often.
    pub counters: Counters,
    /// Chance, for latencies.
    pub rng: Rng,
    /// What a frame takes, at least and at most.
    pub latency: (Duration, Duration),
    /// The host of a node to which a child comes back over a new link first takes the old one down.
    pub old_first: bool,
    /// Bytes that were read on lanes for streams, from one node to another.
    pub carried: BTreeMap<(usize, usize), u64>,
    links: Vec<Link>,
    queue: BTreeMap<(Mono, u64), Due>,
    seq: u64,
    clients: Vec<client::Client>,
    /// No way leads from one of a pair to the other.
    blocked: BTreeSet<(usize, usize)>,
    /// What slow links have been given in all: an answer may take that much longer.
    pub(crate) slowness: Duration,
    wrap: Wrap,
    careful: bool,
    events: u64,
    /// Things that have happened at this moment.
    at_once: u32,
}

/// No more than this can come of one thing in no time.
const AT_ONCE: u32 = 5_000;

impl Cloud {
    /// No nodes yet.
    pub fn new(seed: u64) -> Cloud {
        Cloud::of(seed, Rc::new(|kernel| Box::new(kernel)))
    }

    /// No nodes yet; their kernels will be wrapped.
    pub fn of(seed: u64, wrap: Wrap) -> Cloud {
        Cloud {
            clock: EPOCH,
            hosts: Vec::new(),
            counters: Counters::default(),
            rng: Rng::with_seed(seed),
            latency: (Duration::from_micros(100), Duration::from_millis(3)),
            old_first: true,
            carried: BTreeMap::new(),
            links: Vec::new(),
            queue: BTreeMap::new(),
            seq: 0,
            clients: Vec::new(),
            blocked: BTreeSet::new(),
            slowness: Duration::ZERO,
            wrap,
            careful: true,
            events: 0,
            at_once: 0,
        }
    }

    /// Kernels are looked through only at quiet moments ([`Cloud::check`]): for clouds of very many.
    pub fn look_seldom(&mut self) {
        self.careful = false;
        self.hosts.iter_mut().for_each(|host| host.world.careful = false);
    }

    /// A new node, alone. Its number.
    pub fn add(&mut self, plan: Plan) -> usize {
        let at = self.hosts.len();
        let id = plan.id.unwrap_or(id_of(at));
        let make = self.make(&plan, id);
        let mut world = World::of(make);
        world.careful = self.careful;
        world.users.retain(|user| plan.users.contains(&&*user.name));
        // Whoever does not offer any has none: a thousand nodes need not have their files in memory.
        let files = if plan.fs { Files::of(&plan.name) } else { Files::none() };
        self.hosts.push(Host {
            world,
            nick: plan.name.clone(),
            plan,
            id,
            life: Life::Up,
            parents: Vec::new(),
            seeks: true,
            files,
            asked: Vec::new(),
            tries: 0,
            dialing: false,
            links: BTreeMap::new(),
            callers: BTreeMap::new(),
            file_asks: Asks::default(),
            puts: BTreeMap::new(),
            files_last: Mono::default(),
            next_link: 0,
            foreign: Vec::new(),
            adopted_by: BTreeSet::new(),
            age: 0,
            owed: 0,
            ticks: None,
        });
        self.settle_accounts(at);
        at
    }

    fn make(&self, plan: &Plan, id: NodeId) -> Make {
        let mut of = Node { id, name: plan.name.as_str().into(), fs: plan.fs, ..node() };
        if !plan.loc.is_empty() {
            of.attrs.push(("loc".into(), Attr::Text(plan.loc.clone())));
        }
        let wrap = self.wrap.clone();
        Rc::new(move || wrap(Kernel::new(of.clone())))
    }

    /// A new node that takes another for its parent.
    pub fn add_below(&mut self, parent: usize, plan: Plan) -> usize {
        let at = self.add(plan);
        self.set_parents(at, vec![parent]);
        at
    }

    /// From now on these are a node's parents, in order. What it has is kept if it is the first.
    pub fn set_parents(&mut self, at: usize, parents: Vec<usize>) {
        self.hosts[at].parents = parents;
        self.hosts[at].tries = 0;
        self.hosts[at].seeks = true;
        self.dial_in(at, Duration::ZERO);
    }

    // ── time ───────────────────────────────────────────────────────────────────────────────

    pub(crate) fn later(&mut self, span: Duration, due: Due) {
        self.at(self.clock.mono + span, due);
    }

    fn at(&mut self, at: Mono, due: Due) {
        self.seq += 1;
        self.queue.insert((at, self.seq), due);
    }

    /// How long a frame takes.
    fn transit(&mut self) -> Duration {
        let (least, most) = (self.latency.0.as_nanos() as u64, self.latency.1.as_nanos() as u64);
        Duration::from_nanos(if least >= most { least } else { self.rng.u64(least..=most) })
    }

    /// The next thing that is due by then. Whether there was one.
    pub fn step(&mut self, until: Mono) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= until) else {
            self.pass(until);
            return false;
        };
        let ((at, _), due) = entry.remove_entry();
        self.at_once = if at > self.clock.mono { 0 } else { self.at_once + 1 };
        assert!(self.at_once < AT_ONCE, "it comes to rest: {AT_ONCE} things have happened at once");
        self.pass(at);
        self.happen(due);
        true
    }

    fn pass(&mut self, to: Mono) {
        let span = to.since(self.clock.mono);
        self.clock.mono = self.clock.mono + span;
        self.clock.wall.0 += span.as_nanos() as u64;
    }

    /// Time passes for everybody.
    pub fn run(&mut self, span: Duration) {
        let until = self.clock.mono + span;
        while self.step(until) {}
    }

    /// Everything that is due now, and what comes of it at once.
    pub fn settle(&mut self) {
        self.run(Duration::ZERO);
    }

    // ── looking ────────────────────────────────────────────────────────────────────────────

    /// Whether a node's process is there and runs.
    pub fn is_up(&self, at: usize) -> bool {
        matches!(self.hosts[at].life, Life::Up)
    }

    /// Links that both ends have: child and parent.
    pub fn linked(&self) -> impl Iterator<Item = (usize, usize)> {
        self.links.iter().filter(|link| link.is_up()).map(|link| (link.ends[0].node, link.ends[1].node))
    }

    /// The parent that a node has, if both know it.
    pub fn parent(&self, at: usize) -> Option<usize> {
        let of = |(link, end): &(usize, usize)| (*end == 0).then_some(&self.links[*link]);
        self.hosts[at].links.values().filter_map(of).find(|link| link.is_up()).map(|link| link.ends[1].node)
    }

    /// Who has had a node as a child since this was last asked.
    pub(crate) fn adopted_by(&mut self, at: usize) -> BTreeSet<usize> {
        let still = self.parent(at).into_iter().collect();
        std::mem::replace(&mut self.hosts[at].adopted_by, still)
    }

    /// Events that kernels were given.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Asserts what must hold at any moment between events, of every node that is there.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        for host in self.hosts.iter().filter(|host| !matches!(host.life, Life::Dead)) {
            host.world.check();
            for (id, (link, end)) in &host.links {
                let end = &self.links[*link].ends[*end];
                assert_eq!(end.id, *id, "a link's end is where its host says");
            }
        }
        for link in &self.links {
            for end in &link.ends {
                let gone = end.told == link::Told::Gone;
                assert!(!gone || end.asks.sent.is_empty(), "nothing is asked over a link that is gone");
            }
        }
    }

    /// Asserts that nobody holds a fid anywhere that nobody needs: to be called when every client is gone and
    /// every flight is over.
    ///
    /// # Panics
    /// If a fid has leaked.
    pub fn check_no_fids(&self) {
        let mut served = vec![0; self.hosts.len()];
        for link in self.links.iter().filter(|link| link.is_up()) {
            for (at, end) in link.ends.iter().enumerate() {
                let (fids, roots) = end.asks.fids();
                let asker = &self.hosts[end.node].plan.name;
                assert_eq!(
                    fids, roots,
                    "{asker} holds nothing at its neighbour but roots; it asks {:?}",
                    end.asks.sent
                );
                served[link.ends[1 - at].node] += fids;
            }
        }
        for (at, host) in self.hosts.iter().enumerate().filter(|(_, host)| matches!(host.life, Life::Up)) {
            let name = &host.plan.name;
            assert_eq!(host.world.machine().fids(), served[at], "fids at {name} are the roots of others");
            assert_eq!(host.world.machine().waiting(), 0, "nobody waits at {name}");
            let (fids, roots) = host.file_asks.fids();
            assert_eq!((fids, host.files.fids()), (roots, roots), "{name} holds none of its machine's files");
        }
    }

    /// What happens, and when.
    pub(crate) fn dated(&self, what: impl Into<String>) -> String {
        format!("{:9.4} {}", self.clock.mono.since(EPOCH.mono).as_secs_f64(), what.into())
    }

    /// What slow links add, all of them together.
    pub(crate) fn delays(&self) -> Duration {
        self.links.iter().filter(|link| link.is_up()).map(|link| link.delay).sum()
    }

    /// What is under way on every link: for who has to find out.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (no, link) in self.links.iter().enumerate() {
            for (at, end) in link.ends.iter().enumerate() {
                let (from, to) =
                    (&self.hosts[end.node].plan.name, &self.hosts[link.ends[1 - at].node].plan.name);
                let told = (end.told, link.ends[1 - at].told);
                let mut say = |what: String| all.push(format!("link {no}, {from} to {to} {told:?}: {what}"));
                end.asks.sent.iter().for_each(|(tag, sent)| say(format!("asked {tag:?} {:?}", sent.op)));
                end.serving
                    .iter()
                    .for_each(|(ours, s)| say(format!("serves {ours:?}, there {:?}", s.theirs)));
                end.held.iter().for_each(|(_, tag, op)| say(format!("holds back {tag:?} {op:?}")));
            }
        }
        all
    }

    /// Gives an event to a node's kernel, and does what comes of it.
    pub(crate) fn event(&mut self, at: usize, event: Event) {
        self.events += 1;
        let host = &mut self.hosts[at];
        host.world.clock = self.clock;
        let done = host.world.event(event);
        self.carry_out(at, done);
    }

    /// The lane on which a client of a node asks, if it is another node.
    fn caller(&self, at: usize, client: ClientId) -> Option<(usize, usize, Lane)> {
        let (link, end) = *self.hosts[at].callers.get(&client)?;
        let lane = self.links[link].ends[end].lane_of(client)?;
        Some((link, end, lane))
    }
}
