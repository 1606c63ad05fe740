//! The machine: [`Kernel::handle`] takes one event and says what is to be done. It never waits and never looks:
//! no clock, no descriptor, no thread, no lock. Time, requests and completions come in as [`Event`]s; answers,
//! starts, signals and lines for the journal go out as [`Effect`]s. Same events, same effects, always.
//!
//! Read on in this order: [`event`](Event) (what comes in and goes out), `place` (where a fid can stand), `files`
//! and `verbs` (the two tables that make the interface), `session` and `life` (what becomes of a program),
//! `park` (what cannot be answered yet), `show` (what the information files say); then `cloud` (what is known of other
//! nodes), `far` (what is asked of them) and `gather` (what many of them say at once).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod acts;
mod cloud;
mod dense;
mod edit;
mod event;
mod far;
mod files;
mod flow;
mod gather;
mod group;
mod journal;
mod life;
pub mod limits;
pub mod manual;
mod notices;
mod park;
mod place;
mod query;
mod ranks;
mod record;
mod rights;
mod session;
mod show;
mod store;
mod verbs;
mod words;

pub use event::{Attr, ClientId, Effect, Event, Gauges, Lane, LinkId, Node, Peer, Putting};
pub use ranks::{Rank, RankSet};
pub use words::{join, quote, quote_line, split};

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use dense::Dense;
use files::Open;
use notices::{Failure, Happening, Ring, What};
use op::{Clock, Error, Fid, Mono, SessionId, Tag, Uid, User};
use park::{On, Parked};
use place::Place;
use session::Session;

/// One node's whole state.
#[derive(Debug)]
pub struct Kernel {
    node: Node,
    clock: Clock,
    users: BTreeMap<Uid, Arc<User>>,
    /// Whom other nodes mean by a name.
    admitted: BTreeMap<String, Uid>,
    sessions: Dense<SessionId, Box<Session>>,
    next_id: u64,
    /// Ended sessions in the order of their ends.
    ended: Dense<u64, SessionId>,
    next_end: u64,
    /// How many run or start.
    running: usize,
    /// The environment of what was launched last, and what it was set up as.
    env_of: Option<(Arc<session::Setup>, op::Environment)>,
    clients: BTreeMap<ClientId, Client>,
    /// Clients that are other nodes, and over which link they ask.
    callers: BTreeMap<ClientId, LinkId>,
    cloud: cloud::Cloud,
    /// What was asked of other nodes and not answered.
    asked: BTreeMap<Tag, far::Asked>,
    next_ask: u64,
    /// When parts of an aggregate are not waited for any longer.
    part_timers: BTreeSet<(Mono, ClientId, Fid)>,
    groups: group::Groups,
    /// What walks that must know of sessions elsewhere are told.
    looks: BTreeMap<Fid, Box<gather::Parts>>,
    next_look: u32,
    /// Groups of which something has changed that bytes may wait for.
    flows: BTreeSet<SessionId>,
    /// Those that wait for a share to be reached.
    flows_later: BTreeSet<SessionId>,
    /// Sessions whose program an output of a group goes through.
    reducers: BTreeMap<SessionId, (SessionId, op::Stream)>,
    fans: BTreeMap<u64, gather::Fan>,
    next_fan: u64,
    /// What is closed now was not closed by anybody: another node cannot be reached.
    cut_off: bool,
    /// Set by `label`, over what the node was started with.
    labels: Vec<(String, String)>,
    parked: Parked,
    timers: BTreeSet<(Mono, SessionId, life::Timer)>,
    wake_at: Option<Mono>,
    gauges: Option<(Mono, Gauges)>,
    happenings: Ring<Happening>,
    failures: Ring<Failure>,
    /// Sessions whose line in the journal is out of date.
    dirty: Vec<SessionId>,
    journal_len: u64,
    journal_base: u64,
    store: store::Store,
    disk_full: bool,
    recalled: bool,
    out: Vec<Effect>,
    /// Kept back until the journal has what they promise.
    answers: Vec<Effect>,
}

#[derive(Debug, Default)]
struct Client {
    links: bool,
    fids: BTreeMap<Fid, FidState>,
    /// Fids whose walk waits: what is asked of them waits too.
    making: BTreeSet<Fid>,
    pending: usize,
}

#[derive(Debug)]
struct FidState {
    place: Place,
    /// Where it stands, if that is not here.
    far: Option<Box<far::Far>>,
    open: Option<Open>,
    /// As whom another node made it; of other clients each request says.
    uid: Uid,
    /// Whether it is shown symbolic links.
    links: bool,
    /// The name of the node on which a set's new session was placed.
    prefix: Option<Arc<str>>,
}

/// Who asks, and under which name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Who {
    client: ClientId,
    tag: Tag,
    uid: Uid,
}

impl Kernel {
    /// A node that has just been made; feed it its journal, then [`Event::Recalled`], before anything else.
    pub fn new(node: Node) -> Kernel {
        // Its owner has an account here, unless he is only a number.
        let owner = &node.owner;
        let has_name = owner.name.parse::<u64>().is_err();
        let admitted = has_name.then(|| (String::from(&*owner.name), owner.uid)).into_iter().collect();
        let mut cloud = cloud::Cloud::default();
        if node.fs {
            cloud.links.insert(LinkId::FILES, far::Tie::new(None));
        }
        Kernel {
            users: BTreeMap::from([(node.owner.uid, node.owner.clone())]),
            node,
            clock: Clock::default(),
            sessions: Dense::default(),
            next_id: 0,
            ended: Dense::default(),
            next_end: 0,
            running: 0,
            env_of: None,
            clients: BTreeMap::new(),
            callers: BTreeMap::new(),
            admitted,
            cloud,
            asked: BTreeMap::new(),
            next_ask: 0,
            part_timers: BTreeSet::new(),
            groups: group::Groups::default(),
            looks: BTreeMap::new(),
            next_look: 0,
            flows: BTreeSet::new(),
            flows_later: BTreeSet::new(),
            reducers: BTreeMap::new(),
            fans: BTreeMap::new(),
            next_fan: 0,
            cut_off: false,
            labels: Vec::new(),
            parked: Parked::default(),
            timers: BTreeSet::new(),
            wake_at: None,
            gauges: None,
            happenings: notices::happenings(),
            failures: notices::failures(),
            dirty: Vec::new(),
            journal_len: 0,
            journal_base: 0,
            store: store::Store::default(),
            disk_full: false,
            recalled: false,
            out: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Takes one event; appends what is to be done, in order, to `effects`.
    pub fn handle(&mut self, clock: Clock, event: Event, effects: &mut Vec<Effect>) {
        self.clock = clock;
        match event {
            Event::Connect { client, links } => self.connect(client, links),
            Event::Request { client, tag, uid, op } => self.request(Who { client, tag, uid }, op),
            Event::Hangup(client) => self.hangup(client),
            Event::User(user) => self.know(user),
            Event::Admitted(name, user) => self.admit(name, user),
            Event::NoUser(name) => self.no_user(&name),
            Event::Told(tell) => self.told(tell),
            Event::Measured(gauges) => {
                self.gauges = Some((clock.mono, gauges));
                self.parked.notify(On::Measured);
                self.push_own_load();
                self.parked.notify(On::Nodes);
                self.look_for_room();
            }
            Event::Fetched { session, stream, offset, data } => self.fetched(session, stream, offset, &data),
            Event::Gauged(session, usage) => self.gauged(session, usage),
            Event::Recall(line) => self.recall(&line),
            Event::Recalled => self.recall_done(),
            Event::Linked { link, peer } => {
                self.linked(link, peer);
                self.shares_back();
                self.look_for_room();
            }
            Event::Caller { link, client } => self.caller(link, client),
            Event::Answered { link, tag, reply } => self.answered(link, tag, reply),
            Event::News(link, text) => {
                self.news(link, &text);
                self.shares_back();
                self.look_for_room();
            }
            Event::Unlinked { link, why, left } => self.unlinked(link, &why, left),
            Event::Seeking(how) => self.sought(how),
            Event::Attr(key, value) => self.told_attr(&key, value),
            Event::Found(content) => self.found_content(content),
            Event::Kept { receipt, result } => self.kept(receipt, result),
            Event::Tick => {}
            Event::DiskFull(full) => self.disk_full = full,
        }
        self.ring_timers();
        self.ring_parts();
        self.ring_shares();
        self.ring_fetches();
        self.ring_awaits();
        self.serve_woken();
        self.pump();
        self.push_up();
        loop {
            self.flow_on();
            self.serve_woken();
            if self.flows.is_empty() {
                break;
            }
        }
        self.write_journal();
        self.set_wake();
        effects.append(&mut self.out);
        effects.append(&mut self.answers);
    }

    /// Requests that wait for something; for a host that wants to say so, and for tests.
    pub fn waiting(&self) -> usize {
        self.parked.len()
    }

    /// Fids that clients hold; for tests of leaks.
    pub fn fids(&self) -> usize {
        self.clients.values().map(|c| c.fids.len()).sum()
    }

    /// Sessions that the node remembers, and how many of them run.
    pub fn sessions(&self) -> (usize, usize) {
        (self.sessions.len(), self.running)
    }

    /// Bytes of groups' stdin and outputs that are held here on their way; for tests of what is bounded.
    pub fn flowing(&self) -> usize {
        self.sessions.values().filter_map(|s| s.flow.as_deref()).map(flow::Flow::held).sum()
    }

    /// Requests to other nodes that are not answered; for tests of leaks.
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Checks what must hold between events; for the simulation, since it looks at everything.
    pub fn check(&self) {
        let runs = self.sessions.values().filter(|s| s.runs()).count();
        assert_eq!(self.running, runs, "the count of running sessions is right");
        for (order, id) in self.ended.iter() {
            let s = self.sessions.get(id).expect("an ended session in the order of ends is remembered");
            assert!(matches!(s.state, session::State::Ended { order: o, .. } if o == order));
        }
        let mut holders: BTreeMap<SessionId, u32> = BTreeMap::new();
        for state in self.clients.values().flat_map(|c| c.fids.values()).filter(|f| f.open.is_some()) {
            if let Some(id) = state.place.session() {
                *holders.entry(id).or_default() += 1;
            }
        }
        let mut open: BTreeMap<u64, u32> = BTreeMap::new();
        for state in self.clients.values().flat_map(|c| c.fids.values()).filter(|f| f.open.is_some()) {
            if let Place::Content(no) = state.place {
                *open.entry(no).or_default() += 1;
            }
        }
        self.store.check(self.node.store, &open);
        for s in self.sessions.values() {
            assert_eq!(s.holders, holders.get(&s.id).copied().unwrap_or(0), "holders of {:?}", s.id);
            assert!(s.unsaid == session::Unsaid::Nothing, "a change of {:?} is in the journal", s.id);
            assert!(s.live.is_some() || !s.runs(), "what runs is live");
        }
        assert_eq!(self.parked.len(), self.clients.values().map(|c| c.pending).sum::<usize>());
        assert!(self.parked.nothing_woken());
        let linked = |asked: &far::Asked| self.cloud.links.contains_key(&asked.link);
        assert!(self.asked.values().all(linked), "nothing is asked over a link that is gone");
        self.check_answers();
        self.check_sharing();
        self.check_given_back();
        assert!(self.looks.keys().all(|look| self.parked.looks(*look)), "for each look a walk waits");
        let waiting = self.callers.keys().all(|client| self.clients.contains_key(client));
        assert!(waiting, "a node that asks is a client");
    }

    fn session(&self, id: SessionId) -> op::Result<&Session> {
        self.sessions.get(&id).map(|session| &**session).ok_or_else(|| gone(id))
    }

    fn user(&self, uid: Uid) -> Arc<User> {
        self.users.get(&uid).cloned().unwrap_or_else(|| rights::nameless(uid))
    }

    fn happened(&mut self, session: Option<SessionId>, owner: Uid, what: What) {
        self.happenings.push(Happening { at: self.clock.wall, session, owner, what: what.clipped() });
        self.parked.notify(On::Events);
    }

    /// Remembers a failure for `error`, and tells it as an event.
    fn failed(
        &mut self,
        session: Option<SessionId>,
        owner: Uid,
        verb: &str,
        stage: &'static str,
        error: &Error,
    ) {
        let failure =
            Failure { at: self.clock.wall, session, owner, verb: verb.into(), stage, error: error.clone() };
        self.failures.push(failure.clipped());
        let cause = alloc::format!("{error}");
        self.happened(session, owner, What::Failed { verb: verb.into(), cause });
    }
}

fn gone(id: SessionId) -> Error {
    Error::new(op::Errno::STALE, alloc::format!("session {} is gone: it was freed", id.0))
}
