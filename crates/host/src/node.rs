//! The loop. One turn: wait until something is ready, hand it to the kernel, do what the kernel says; then, and
//! not before, write the journal, let the provider forget what it told, and send the answers.

mod clients;
mod contents;
mod files;
mod limits;
mod measured;
mod mounted;
mod peers;

use crate::{
    Settings,
    around::{Around, Here},
    dial::Addr,
    door::{Listener, Wired},
    journal::Journal,
    links::{self, Links},
    poll::Poll,
    provider::Provider,
    signals::Signals,
};
use kernel::{Attr, ClientId, Effect, Event, Kernel, LinkId};
use measured::Measured;
use mounted::Mounted;
use op::{Act, Errno, Error, Op, Reply, Tag, Tell, Uid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// How a node came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// Its programs are to live on.
    pub keep: bool,
}

/// A node: one kernel and everything around it.
pub struct Node<P: Provider> {
    kernel: Kernel,
    provider: P,
    journal: Journal,
    around: Box<dyn Around>,
    measured: Measured,
    settings: Settings,
    poll: Rc<Poll>,
    links: Links,
    files: Option<files::Files>,
    store: provide::store::Store,
    listeners: Vec<Listener>,
    clients: BTreeMap<ClientId, Wired>,
    mount: Option<Mounted>,
    signals: Signals,
    next_client: u64,
    asks: VecDeque<Ask>,
    events: VecDeque<Event>,
    effects: Vec<Effect>,
    tells: Vec<Tell>,
    /// Clients with something to send, or whose polling may have to change.
    touched: BTreeSet<ClientId>,
    wake_at: Option<op::Mono>,
    ending: Option<Ending>,
    buffer: Vec<u8>,
}

/// What a client does, in order.
enum Ask {
    Connect { client: ClientId, links: bool },
    Op { client: ClientId, tag: Tag, uid: Uid, op: Op },
}

impl Ask {
    fn client(&self) -> ClientId {
        match self {
            Ask::Connect { client, .. } | Ask::Op { client, .. } => *client,
        }
    }
}

struct Ending {
    keep: bool,
    /// What is left then is left.
    at: op::Mono,
}

/// Tokens of `poll`: these, then listeners, then clients, then connections of links.
const PROVIDER: u64 = 0;
const SIGNALS: u64 = 1;
const MOUNT: u64 = 2;
const FILES: u64 = 3;
/// 4 to 6 are those of links.
const LISTENERS: u64 = 16;
const CLIENTS: u64 = 1 << 32;

/// Bytes read from one client, and requests taken from the mount, before others have their turn.
const TURN_BYTES: usize = 256 << 10;
const TURN_REQUESTS: usize = 64;

/// How long programs have to end when the node is stopped: the grace, and a little for what follows it.
const LAST: Duration = Duration::from_secs(7);

impl<P: Provider> Node<P> {
    /// Makes a node of its settings and its journal, and opens its doors. Programs of an earlier life are found
    /// again before anybody can ask for them.
    ///
    /// # Errors
    /// A sentence that says what could not be had.
    pub fn open(settings: Settings, provider: P) -> Result<Node<P>, String> {
        Node::open_in(settings, provider, Box::new(Here::default()))
    }

    /// The same in another world, for tests.
    ///
    /// # Errors
    /// As [`open`](Node::open).
    pub fn open_in(settings: Settings, provider: P, mut around: Box<dyn Around>) -> Result<Node<P>, String> {
        let said = |what: &str| {
            let what = what.to_string();
            move |e: std::io::Error| format!("{what}: {e}")
        };
        std::fs::create_dir_all(&settings.state).map_err(said(&settings.state.display().to_string()))?;
        let (journal, lines) = Journal::open(&settings.state).map_err(said("the journal"))?;
        around.users().refresh();
        let uid = around.owner();
        let (owner, _) = around.users().by_uid(uid);
        let measured = around.attributes(&settings.state);
        let mut attrs = measured.clone();
        // Whoever starts the node knows better than what is measured.
        attrs.retain(|(key, _)| !settings.labels.iter().any(|(label, _)| label == key));
        // Bound before the tree is there, so that it can say where; answered when it is.
        let listeners = listen(&settings)?;
        let further: Vec<String> =
            listeners[1..].iter().filter_map(Listener::addr).map(|a| a.to_string()).collect();
        if !further.is_empty() {
            attrs.push(("ninep".into(), Attr::Text(further.join(" "))));
        }
        let poll = Rc::new(Poll::new().map_err(said("epoll"))?);
        let mut links = Links::open(&settings, &poll)?;
        links.listen();
        attrs.extend(settings.labels.iter().map(|(k, v)| (k.clone(), Attr::Text(v.clone()))));
        attrs.extend(settings.loc.iter().map(|loc| ("loc".into(), Attr::Text(loc.clone()))));
        let name = settings.name.as_str().into();
        let (env, started) = (settings.env.clone(), around.now().wall);
        let (id, fs) = (around.id(links.home.id()), settings.fs);
        let limit = settings.store.unwrap_or_else(|| {
            // Of what the disk has left, and of what it has already, some is for others.
            limits::STORE.min(around.gauges(&settings.state).disk_free / limits::STORE_SHARE)
        });
        let node = kernel::Node { id, name, owner, env, attrs, started, fs, store: limit };
        let (store, contents) = provide::store::Store::open(&settings.state);
        let signals = Signals::new().map_err(said("signals"))?;
        poll.add(&signals, SIGNALS, true, false).map_err(said("signals"))?;
        poll.add(provider.poll_fd(), PROVIDER, true, false).map_err(said("the provider"))?;
        let mut this = Node {
            kernel: Kernel::new(node),
            provider,
            journal,
            measured: Measured { attrs: measured, at: around.now().mono },
            around,
            poll,
            links,
            files: None,
            store,
            listeners,
            clients: BTreeMap::new(),
            mount: None,
            signals,
            next_client: 1,
            asks: VecDeque::new(),
            events: VecDeque::new(),
            effects: Vec::new(),
            tells: Vec::new(),
            touched: BTreeSet::new(),
            wake_at: None,
            ending: None,
            buffer: vec![0; fuse::limits::BUFFER.max(TURN_BYTES)],
            settings,
        };
        this.events.extend(contents.into_iter().map(Event::Found));
        this.events.extend(lines.into_iter().map(Event::Recall));
        this.events.push_back(Event::Recalled);
        this.pump();
        this.provider.recalled(&mut this.tells);
        this.take_tells();
        this.pump();
        this.settle();
        this.open_doors()?;
        Ok(this)
    }

    fn open_doors(&mut self) -> Result<(), String> {
        for (at, listener) in self.listeners.iter().enumerate() {
            let added = self.poll.add(listener, LISTENERS + at as u64, true, false);
            added.map_err(|e| format!("epoll of a door: {e}"))?;
        }
        if self.settings.stdio {
            self.open_stdio().map_err(|e| format!("standard input and output: {e}"))?;
        }
        self.open_mount()?;
        Ok(())
    }

    /// Where it can be talked to; of port 0, the port that was given.
    pub fn addrs(&self) -> Vec<Addr> {
        self.listeners.iter().filter_map(Listener::addr).chain(self.links.address()).collect()
    }

    /// The provider, for a test that scripts it.
    pub fn provider_mut(&mut self) -> &mut P {
        &mut self.provider
    }

    /// Requests that wait for something to happen; for tests, which thereby know when nothing else will.
    pub fn waiting(&self) -> usize {
        self.kernel.waiting()
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// Only what must not happen: `epoll` itself failed.
    pub fn run(&mut self) -> Result<Stopped, String> {
        loop {
            if let Some(stopped) = self.turn(None)? {
                return Ok(stopped);
            }
        }
    }

    /// One turn of the loop, which waits at most so long for something to do.
    ///
    /// # Errors
    /// As [`run`](Node::run).
    pub fn turn(&mut self, most: Option<Duration>) -> Result<Option<Stopped>, String> {
        let ends = self.ending.as_ref().map(|e| e.at);
        let due = [self.wake_at, ends, Some(self.links.next_tick())].map(|at| self.until(at));
        let mut ready = Vec::new();
        let timeout = due
            .into_iter()
            .flatten()
            .chain(most)
            .chain(self.journal.full.then_some(Duration::from_secs(1)))
            .min();
        self.poll.wait(timeout, &mut ready).map_err(|e| format!("epoll: {e}"))?;
        if self.wake_at.is_some_and(|at| at <= self.around.now().mono) {
            self.wake_at = None;
            self.events.push_back(Event::Tick);
        }
        for token in ready {
            match token {
                PROVIDER => {
                    self.provider.turn(&mut self.tells);
                    self.take_tells();
                }
                SIGNALS => self.signalled(),
                MOUNT => self.mount_ready(),
                FILES => self.files_ready(),
                links::LISTENER | links::LOOKUP | links::NEAR | links::CONNS.. => self.link_ready(token),
                token if token >= CLIENTS => self.client_ready(ClientId(token - CLIENTS)),
                token => self.accept((token - LISTENERS) as usize),
            }
            self.pump();
        }
        self.tick_links();
        self.pump();
        self.settle();
        Ok(self.stopped())
    }

    fn until(&self, at: Option<op::Mono>) -> Option<Duration> {
        at.map(|at| at.since(self.around.now().mono))
    }

    // ── events in ──────────────────────────────────────────────────────────────────────────

    fn take_tells(&mut self) {
        self.events.extend(self.tells.drain(..).map(Event::Told));
    }

    fn signalled(&mut self) {
        self.signals.take();
        // The same as `echo down > ctl`, said by the node's owner.
        let owner = self.around.owner();
        let client = self.new_client();
        self.events.push_back(Event::Connect { client, links: false });
        let fid = op::Fid(0);
        let access = op::Access { write: true, ..op::Access::default() };
        for (tag, op) in [
            Op::Attach { fid, user: String::new(), tree: String::new() },
            Op::Walk { fid, newfid: fid, names: vec!["self".into(), "ctl".into()] },
            Op::Open { fid, access },
            Op::Write { fid, offset: 0, data: b"down\n".to_vec() },
        ]
        .into_iter()
        .enumerate()
        {
            self.events.push_back(Event::Request { client, tag: Tag(tag as u64), uid: owner, op });
        }
        self.events.push_back(Event::Hangup(client));
    }

    // ── the kernel, and effects out ────────────────────────────────────────────────────────

    /// Hands over all that has come in, and what comes of it, until nothing is left.
    fn pump(&mut self) {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.handle(event);
                continue;
            }
            match self.asks.pop_front() {
                Some(Ask::Connect { client, links }) => self.handle(Event::Connect { client, links }),
                Some(Ask::Op { client, tag, uid, op }) => {
                    self.introduce(uid);
                    self.handle(Event::Request { client, tag, uid, op });
                }
                None => return,
            }
        }
    }

    /// Tells the kernel who a user is, before his first request.
    fn introduce(&mut self, uid: Uid) {
        let (user, news) = self.around.users().by_uid(uid);
        if news {
            self.handle(Event::User(user));
        }
    }

    fn handle(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.kernel.handle(self.around.now(), event, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Answer(client, tag, reply) => self.answer(client, tag, reply),
            Effect::AnswerSpool { client, tag, session, stream, offset, count } => {
                let mut data = vec![0; count as usize];
                let reply = match self.provider.read_spool(session, stream, offset, &mut data) {
                    Ok(n) => {
                        data.truncate(n);
                        Reply::Data(data)
                    }
                    Err(e) => Reply::Failed(Error::new(
                        Errno::IO,
                        format!("the spool of session {}: {e}", session.0),
                    )),
                };
                self.answer(client, tag, reply);
            }
            Effect::Fetch { session, stream, offset, count } => {
                let mut data = vec![0; count as usize];
                // What cannot be read is not there; who waits for it is told so by the kernel.
                let n = self.provider.read_spool(session, stream, offset, &mut data).unwrap_or(0);
                data.truncate(n);
                self.events.push_back(Event::Fetched { session, stream, offset, data });
            }
            Effect::AnswerContent { client, tag, content, offset, count } => {
                let reply = self.read_content(content, offset, count);
                self.answer(client, tag, reply);
            }
            Effect::Keep { receipt, content, data, .. } => {
                let result = self.store.keep(receipt, content, &data);
                self.events.push_back(Event::Kept { receipt, result });
            }
            Effect::Used { receipt, content } => {
                if let Err(error) = self.store.used(content) {
                    self.events.push_back(Event::Kept { receipt, result: Err(error) });
                }
            }
            Effect::Drop(content) => self.store.drop(content),
            Effect::Act(act) => {
                if let Act::Start(_) = act {
                    // Should the node die now, it must know of the program it began to start.
                    self.journal.flush();
                }
                self.provider.act(act, &mut self.tells);
                self.take_tells();
            }
            Effect::Journal(line) => self.journal.append(&line),
            Effect::Rewrite(lines) => {
                if let Err(error) = self.journal.rewrite(&lines) {
                    eprintln!("uem: the journal could not be written anew: {error}");
                }
            }
            Effect::WakeAt(at) => self.wake_at = at,
            Effect::Measure => {
                self.measure_again();
                self.events.push_back(Event::Measured(self.around.gauges(&self.settings.state)));
            }
            Effect::Gauge(session, pid) => {
                let usage = self.provider.usage(session, pid);
                self.events.push_back(Event::Gauged(session, usage));
            }
            Effect::FindUser(name) => self.events.push_back(match self.around.users().by_name(&name) {
                // A directory that answers with another name than it was asked for answers nobody's question.
                Some(user) if *user.name == *name || user.uid.0.to_string() == name => Event::User(user),
                Some(_) | None => Event::NoUser(name),
            }),
            Effect::Admit(name) => {
                let user = self.around.users().admit(&name);
                self.events.push_back(Event::Admitted(name, user));
            }
            Effect::Ask { link: LinkId::FILES, tag, op, .. } => self.ask_files(tag, op),
            Effect::Put { tag, user, putting } => self.put_file(tag, &user, putting),
            Effect::Ask { .. } | Effect::News(..) | Effect::Unlink(..) | Effect::Leave => {
                self.for_links(effect)
            }
            Effect::Down { keep } => {
                let at = self.around.now().mono + if keep { Duration::ZERO } else { LAST };
                self.ending.get_or_insert(Ending { keep, at });
            }
        }
    }

    // ── the end of a turn ──────────────────────────────────────────────────────────────────

    /// Journal first, then answers. Sending can bring more: a client that is gone gives back what it had, and others
    /// wait for that. So it is over when nothing is left, not after one round; whoever waits is not told later.
    fn settle(&mut self) {
        loop {
            let was_full = self.journal.full;
            self.journal.flush();
            if self.journal.full != was_full {
                self.handle(Event::DiskFull(self.journal.full));
            }
            if !self.journal.full {
                self.provider.settle();
            }
            self.send_to_mount();
            self.flush_links();
            for client in std::mem::take(&mut self.touched) {
                self.send_to(client);
            }
            self.pump();
            let answers = self.mount.as_ref().is_some_and(|m| !m.answers.is_empty());
            let nothing = self.touched.is_empty() && !self.links.wants_flush() && !answers;
            if nothing && !self.journal.waits() {
                return;
            }
        }
    }

    /// Whether it is over: what was to end has ended, or had its time.
    fn stopped(&mut self) -> Option<Stopped> {
        let ending = self.ending.as_ref()?;
        let keep = ending.keep;
        if !keep && self.kernel.sessions().1 > 0 && self.around.now().mono < ending.at {
            return None;
        }
        self.mount = None;
        self.links.stop(self.around.now().mono);
        // Before nobody answers any more: who starts another node then asks a keeper that knows.
        self.provider.stop(keep);
        self.listeners.clear();
        Some(Stopped { keep })
    }
}

/// Doors that can be connected to: the socket that the command looks for first.
fn listen(settings: &Settings) -> Result<Vec<Listener>, String> {
    let addrs = std::iter::once(Addr::Unix(settings.socket())).chain(settings.ninep.iter().cloned());
    addrs.map(|addr| Listener::new(&addr)).collect()
}
