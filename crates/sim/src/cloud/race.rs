//! One node, one client, and a child whose link breaks and comes back: the far end is a script, so that every event can
//! come at every moment. For trying all orders of the few things that can happen to a request that is asked of another
//! node.

use super::link::Asks;
use crate::world::World;
use kernel::{ClientId, Effect, Event, LinkId, Peer};
use op::{Access, Errno, Fid, FileKind, NodeId, Op, Qid, Reply, Shape, Tag, Uid};
use std::collections::BTreeMap;

const ME: Uid = Uid(1000);
/// The child's id.
pub const CHILD: NodeId = NodeId(0xB0B0_0000_0000_0000_0000_0000_0000_0001);

/// What the client is about when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A walk to a file of the child's.
    Walk,
    /// Opening one.
    Open,
    /// Reading an output that has nothing new.
    Read,
    /// A line to the `ctl` of a session there.
    Write,
    /// Reading `wait` of the cloud, whose part is there.
    Gather,
    /// A line to the cloud's `ctl`, which goes there too.
    Fan,
}

impl Kind {
    /// All.
    pub const ALL: [Kind; 6] = [Kind::Walk, Kind::Open, Kind::Read, Kind::Write, Kind::Gather, Kind::Fan];
}

/// The game.
pub struct Race {
    world: World,
    kind: Kind,
    client: Option<ClientId>,
    /// The request that is raced for.
    tag: Option<Tag>,
    /// What is asked over links that are there, and in which order.
    links: BTreeMap<LinkId, Asks>,
    asked: Vec<(LinkId, Tag)>,
    callers: BTreeMap<LinkId, ClientId>,
    /// Nothing is answered by itself any more.
    by_hand: bool,
    next_link: u64,
}

fn qid(kind: FileKind) -> Qid {
    Qid { kind, version: 0, path: 77 }
}

impl Race {
    /// The child is linked, and the client's request is asked of it and not answered.
    pub fn new(kind: Kind) -> Race {
        let mut race = Race {
            world: World::new(),
            kind,
            client: None,
            tag: None,
            links: BTreeMap::new(),
            asked: Vec::new(),
            callers: BTreeMap::new(),
            by_hand: false,
            next_link: 0,
        };
        race.link();
        race.news();
        let client = race.world.connect(true);
        race.client = Some(client);
        race.ask(Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
        let read = Access { read: true, ..Access::default() };
        let write = Access { write: true, ..Access::default() };
        let data = b"kill\n".to_vec();
        let path = match kind {
            Kind::Gather => "wait",
            Kind::Fan => "ctl",
            Kind::Write => "net/b/0/ctl",
            Kind::Walk | Kind::Open | Kind::Read => "net/b/0/stdout",
        };
        let names = path.split('/').map(String::from).collect();
        let walk = Op::Walk { fid: Fid(0), newfid: Fid(1), names };
        let last = match kind {
            Kind::Walk => walk.clone(),
            Kind::Open => Op::Open { fid: Fid(1), access: read },
            Kind::Read | Kind::Gather => Op::Read { fid: Fid(1), offset: 0, count: 100, wait: true },
            Kind::Write | Kind::Fan => Op::Write { fid: Fid(1), offset: 0, data },
        };
        if kind != Kind::Walk {
            race.ask(walk);
        }
        match kind {
            Kind::Read => drop(race.ask(Op::Open { fid: Fid(1), access: read })),
            // Its part is asked for as soon as it is open.
            Kind::Gather => {
                race.by_hand = true;
                race.ask(Op::Open { fid: Fid(1), access: read });
            }
            Kind::Write | Kind::Fan => drop(race.ask(Op::Open { fid: Fid(1), access: write })),
            Kind::Walk | Kind::Open => {}
        }
        race.by_hand = true;
        race.tag = race.ask(last);
        assert!(race.waits(), "{kind:?} waits for the other node");
        race
    }

    fn ask(&mut self, op: Op) -> Option<Tag> {
        let (tag, done) = self.world.ask(self.client?, ME, op);
        self.carry(done);
        Some(tag)
    }

    fn event(&mut self, event: Event) {
        let done = self.world.event(event);
        self.carry(done);
    }

    fn carry(&mut self, done: Vec<Effect>) {
        for effect in done {
            if let Effect::Ask { link, lane, tag, op } = effect {
                let asks = self.links.get_mut(&link).unwrap_or_else(|| panic!("{link:?} is gone: {op:?}"));
                asks.ask(lane, tag, &op);
                self.asked.push((link, tag));
                if !self.by_hand {
                    self.answer();
                }
            }
        }
        self.world.pay_all();
    }

    /// The child is linked, with a new link. Which.
    pub fn link(&mut self) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, Asks::default());
        self.event(Event::Linked { link, peer: Peer { id: CHILD, name: "b".into(), above: false } });
        link
    }

    fn newest(&self) -> Option<LinkId> {
        self.links.keys().last().copied()
    }

    /// The child says who it is, over its newest link.
    pub fn news(&mut self) {
        if let Some(link) = self.newest() {
            let line = format!("node {CHILD} b {} {} up 0 ''\n", NodeId::default(), link.0);
            self.event(Event::News(link, line.into_bytes()));
        }
    }

    /// The child asks too, over its newest link, and attaches.
    pub fn caller(&mut self) {
        if let Some(link) = self.newest().filter(|link| !self.callers.contains_key(link)) {
            let (client, done) = self.world.caller(link);
            self.carry(done);
            self.callers.insert(link, client);
            let attach = Op::Attach { fid: Fid(0), user: "ericvh".into(), tree: String::new() };
            let (_, done) = self.world.ask(client, Uid(u32::MAX), attach);
            self.carry(done);
        }
    }

    /// The oldest link breaks.
    pub fn unlink(&mut self) {
        let Some((link, _)) = self.links.pop_first() else { return };
        if let Some(client) = self.callers.remove(&link) {
            self.event(Event::Hangup(client));
        }
        self.asked.retain(|(of, _)| *of != link);
        let waited = self.waits();
        let far = !matches!(self.kind, Kind::Gather | Kind::Fan);
        self.event(Event::Unlinked { link, why: "it was cut".into(), left: false });
        if waited && link == LinkId(1) && far {
            assert!(!self.waits(), "what was asked over a link that broke is answered");
            let reply = self.client.zip(self.tag).and_then(|(client, tag)| self.world.reply(client, tag));
            if let (Kind::Walk, Some(Reply::Walked(qids))) = (self.kind, &reply) {
                // As far as this node knows.
                assert_eq!(qids.len(), 2, "net and b are there");
                return;
            }
            let Some(Reply::Failed(error)) = reply else { panic!("it failed, and is answered {reply:?}") };
            assert_eq!(error.errno, Errno::HOSTUNREACH, "{error}");
            assert!(error.cause.contains("the link to b broke: it was cut"), "{error}");
        }
    }

    /// The oldest request over a link is answered.
    pub fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let (link, tag) = self.asked.remove(0);
        let Some(asks) = self.links.get_mut(&link) else { return };
        let Some(sent) = asks.sent.get(&tag) else { return };
        let waits = matches!(&sent.op, Op::Read { .. }) && !self.by_hand;
        let reply = match &sent.op {
            Op::Attach { .. } => Reply::Attached(qid(FileKind::Dir)),
            Op::Walk { names, .. } => Reply::Walked(names.iter().map(|_| qid(FileKind::File)).collect()),
            Op::Open { .. } | Op::Create { .. } => Reply::Opened(qid(FileKind::File), Shape::Spool),
            Op::Read { .. } => Reply::Data(Vec::new()),
            Op::Write { data, .. } => Reply::Wrote(data.len() as u32),
            Op::List { .. } => Reply::Listed(Vec::new()),
            Op::Stat { .. } | Op::ReadLink { .. } => Reply::errno(Errno::INVAL),
            Op::Symlink { .. } => Reply::Made(qid(FileKind::Link)),
            Op::SetStat { .. } | Op::Rename { .. } | Op::Remove { .. } => Reply::Done,
            Op::Clunk { .. } | Op::Flush { .. } => Reply::Done,
        };
        if !waits {
            asks.reply(tag, &reply);
            self.event(Event::Answered { link, tag, reply });
        }
    }

    /// The client gives its request up.
    pub fn flush(&mut self) {
        if let Some(tag) = self.tag.take() {
            let flush = self.ask(Op::Flush { tag });
            let reply = self.client.zip(flush).and_then(|(client, flush)| self.world.reply(client, flush));
            assert!(
                self.client.is_none() || reply == Some(Reply::Done),
                "a flush is answered at once: {reply:?}"
            );
        }
    }

    /// The client clunks the fid.
    pub fn clunk(&mut self) {
        self.ask(Op::Clunk { fid: Fid(1) });
    }

    /// The client hangs up.
    pub fn hang_up(&mut self) {
        if let Some(client) = self.client.take() {
            let done = self.world.hangup(client);
            self.carry(done);
        }
    }

    /// The client asks again for the same, with another fid.
    pub fn again(&mut self) {
        let names = ["net", "b", "0", "stdout"].map(String::from).to_vec();
        self.ask(Op::Walk { fid: Fid(0), newfid: Fid(2), names });
        self.ask(Op::Open { fid: Fid(2), access: Access { read: true, ..Access::default() } });
    }

    /// Whether the request still waits.
    pub fn waits(&self) -> bool {
        self.client.zip(self.tag).is_some_and(|(client, tag)| self.world.waits(client, tag))
    }

    /// Everything comes to its end, and nothing is left.
    pub fn finish(mut self) {
        for _ in 0..200 {
            self.answer();
        }
        assert!(self.asked.is_empty(), "there is an end to what is asked: {:?}", self.asked);
        self.hang_up();
        for _ in 0..200 {
            self.answer();
        }
        for asks in self.links.values() {
            let (fids, roots) = asks.fids();
            assert_eq!(fids, roots, "nothing is held at the other node but roots");
            assert!(asks.sent.is_empty(), "everything was answered: {:?}", asks.sent);
        }
        while !self.links.is_empty() {
            self.unlink();
        }
        assert_eq!(self.world.machine().fids(), 0, "nobody holds anything");
        assert_eq!(self.world.machine().waiting(), 0, "nobody waits");
        self.world.check();
    }
}
