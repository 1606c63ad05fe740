//! Ten thousand kernels in one process, in a tree, with nothing between them but a queue: what a look at all of them costs the
//! kernels themselves, and how many messages each link carries for it. No sockets, no TLS, no journal.

use crate::table::Outcome;
use kernel::{Attr, ClientId, Effect, Event, Gauges, Kernel, Lane, LinkId, Node, Peer};
use op::{Access, Fid, NodeId, Op, Reply, Tag, Uid, User};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Children of a node: ten thousand are then the root and three levels below it.
const FAN: usize = 22;
/// The link to the parent; those to children follow.
const ABOVE: LinkId = LinkId(1);
/// Bytes of one read.
const READ: u32 = 1 << 20;

/// One kernel, and what its host would know.
struct One {
    kernel: Kernel,
    callers: BTreeMap<(LinkId, Lane), ClientId>,
    /// What others ask it, by its own name for that: over which link, and their name.
    serves: BTreeMap<(ClientId, Tag), (LinkId, Tag)>,
    clients: u64,
    tags: u64,
}

/// All of them.
pub(crate) struct Many {
    nodes: Vec<One>,
    queue: VecDeque<(usize, Event)>,
    /// Requests and answers over the link above a node.
    said: Vec<u64>,
    answer: Option<Reply>,
    effects: Vec<Effect>,
}

fn user() -> Arc<User> {
    Arc::new(User {
        uid: Uid(0),
        name: "root".into(),
        groups: vec![(0, "root".into())],
        home: "/root".into(),
        shell: "/bin/sh".into(),
    })
}

fn id_of(at: usize) -> NodeId {
    NodeId((at as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

/// No two of these have anything in common that a pattern could say.
fn name(at: usize) -> String {
    let mixed = at * 7_654_321 % 26_usize.pow(5);
    (0..5).map(|place| char::from(b'a' + (mixed / 26_usize.pow(place) % 26) as u8)).collect()
}

/// Who is at the other end of a link, and what that is called there.
fn other(at: usize, link: LinkId) -> (usize, LinkId) {
    match link {
        ABOVE => ((at - 1) / FAN, LinkId(((at - 1) % FAN) as u64 + 2)),
        LinkId(below) => (at * FAN + below as usize - 1, ABOVE),
    }
}

impl Many {
    pub(crate) fn new(count: usize) -> Many {
        let one = |at: usize| {
            let node = Node {
                id: id_of(at),
                name: name(at).as_str().into(),
                fs: false,
                owner: user(),
                env: Vec::new(),
                attrs: vec![("cpus".into(), Attr::Int(64)), ("os".into(), Attr::Text("linux".into()))],
                started: host::now().wall,
                store: 0,
            };
            let (callers, serves) = (BTreeMap::new(), BTreeMap::new());
            One { kernel: Kernel::new(node), callers, serves, clients: 0, tags: 0 }
        };
        let nodes = (0..count).map(one).collect();
        let (queue, said) = (VecDeque::new(), vec![0; count]);
        let mut many = Many { nodes, queue, said, answer: None, effects: Vec::new() };
        for at in 0..count {
            many.queue.push_back((at, Event::Recalled));
            if at > 0 {
                let (parent, link) = other(at, ABOVE);
                let peer = |of: usize, above| Peer { id: id_of(of), name: name(of).as_str().into(), above };
                many.queue.push_back((at, Event::Linked { link: ABOVE, peer: peer(parent, true) }));
                many.queue.push_back((parent, Event::Linked { link, peer: peer(at, false) }));
            }
            many.turn();
        }
        // How they do is told with their next look at the clock: those below before those above.
        for at in (0..count).rev() {
            many.queue.push_back((at, Event::Tick));
            many.turn();
        }
        many
    }

    /// Everything that is due, and what comes of it.
    fn turn(&mut self) {
        while let Some((at, event)) = self.queue.pop_front() {
            let mut effects = std::mem::take(&mut self.effects);
            self.nodes[at].kernel.handle(host::now(), event, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(at, effect);
            }
            self.effects = effects;
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Ask { link, lane, tag, op } => {
                self.count(at, link);
                let (to, there) = other(at, link);
                let one = &mut self.nodes[to];
                let client = *one.callers.entry((there, lane)).or_insert_with(|| {
                    one.clients += 1;
                    let client = ClientId(one.clients);
                    self.queue.push_back((to, Event::Caller { link: there, client }));
                    client
                });
                one.tags += 1;
                let ours = Tag(one.tags);
                one.serves.insert((client, ours), (there, tag));
                self.queue.push_back((to, Event::Request { client, tag: ours, uid: Uid(u32::MAX), op }));
            }
            Effect::Answer(client, tag, reply) => match self.nodes[at].serves.remove(&(client, tag)) {
                Some((link, theirs)) => {
                    self.count(at, link);
                    let (to, there) = other(at, link);
                    self.queue.push_back((to, Event::Answered { link: there, tag: theirs, reply }));
                }
                None => self.answer = Some(reply),
            },
            Effect::News(link, news) => {
                let (to, there) = other(at, link);
                self.queue.push_back((to, Event::News(there, news)));
            }
            // At once, as what follows an attach is held back until that is answered.
            Effect::Admit(name) => self.queue.push_front((at, Event::Admitted(name, user()))),
            Effect::Measure => self.queue.push_back((at, Event::Measured(Gauges::default()))),
            _ => {}
        }
    }

    fn count(&mut self, at: usize, link: LinkId) {
        let child = if link == ABOVE { at } else { other(at, link).0 };
        self.said[child] += 1;
    }

    fn ask(&mut self, at: usize, client: ClientId, op: Op) -> Outcome<Reply> {
        self.nodes[at].tags += 1;
        let tag = Tag(self.nodes[at].tags);
        self.queue.push_back((at, Event::Request { client, tag, uid: Uid(0), op }));
        self.turn();
        match self.answer.take() {
            Some(Reply::Failed(error)) => Err(error.to_string().into()),
            Some(reply) => Ok(reply),
            None => Err("it is not answered".into()),
        }
    }

    /// A new client at a node reads a file from start to end. Its lines.
    pub(crate) fn read(&mut self, at: usize, path: &str) -> Outcome<usize> {
        self.nodes[at].clients += 1;
        let client = ClientId(self.nodes[at].clients);
        self.queue.push_back((at, Event::Connect { client, links: true }));
        self.queue.push_back((at, Event::User(user())));
        let (root, fid) = (Fid(0), Fid(1));
        self.ask(at, client, Op::Attach { fid: root, user: String::new(), tree: String::new() })?;
        let names = path.split('/').map(String::from).collect();
        self.ask(at, client, Op::Walk { fid: root, newfid: fid, names })?;
        let access = Access { read: true, ..Access::default() };
        self.ask(at, client, Op::Open { fid, access })?;
        let (mut offset, mut lines) = (0, 0);
        loop {
            match self.ask(at, client, Op::Read { fid, offset, count: READ, wait: true })? {
                Reply::Data(data) if data.is_empty() => break,
                Reply::Data(data) => {
                    offset += data.len() as u64;
                    lines += data.iter().filter(|byte| **byte == b'\n').count();
                }
                other => return Err(format!("{path}: {other:?}").into()),
            }
        }
        self.queue.push_back((at, Event::Hangup(client)));
        self.turn();
        Ok(lines)
    }

    /// Messages that the busiest link has carried since this was last asked.
    pub(crate) fn most_said(&mut self) -> u64 {
        let most = self.said.iter().copied().max().unwrap_or(0);
        self.said.iter_mut().for_each(|said| *said = 0);
        most
    }
}
