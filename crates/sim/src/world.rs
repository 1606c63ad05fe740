//! One node, and all that a kernel's host would be to it: the clock, the provider, the users, the journal, the
//! gauges, and the clients' mailboxes. Every event goes through here, and after every event everything that must
//! hold is asserted ([`Watch`], [`Machine::check`]).
//!
//! The journal is bytes, and what was relied on is known, so that a crash can lose exactly what a crash may lose.

use crate::{
    machine::{EPOCH, Machine, node, users},
    provider::Provider,
    store::Store,
    watch::Watch,
};
use kernel::{ClientId, Effect, Event, Gauges, Kernel, LinkId};
use op::{Act, Clock, Fid, Mono, Op, Reply, SessionId, Stream, Tag, Tell, Uid, Usage, User};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// Makes a machine; again at each restart.
pub type Make = Rc<dyn Fn() -> Box<dyn Machine>>;

/// What a host was asked for and has not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// [`Effect::Measure`].
    Measure,
    /// [`Effect::Gauge`].
    Gauge(SessionId),
    /// [`Effect::FindUser`].
    FindUser(String),
    /// [`Effect::Fetch`], with the bytes.
    Fetch {
        /// Whose.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// From here.
        offset: u64,
        /// They.
        data: Vec<u8>,
    },
    /// The provider has done what it does at once.
    Told(Tell),
    /// [`Effect::Keep`].
    Kept(u64, op::Result<u64>),
}

/// One node and what is around it.
pub struct World {
    machine: Box<dyn Machine>,
    make: Make,
    /// Now.
    pub clock: Clock,
    /// What runs.
    pub provider: Provider,
    /// Contents that are kept.
    pub store: Store,
    /// What the host owes the kernel.
    pub due: VecDeque<Due>,
    /// Everybody whom [`Effect::FindUser`] finds.
    pub users: Vec<Arc<User>>,
    /// Load, and so on, as the next measurement finds them.
    pub gauges: Gauges,
    watch: Watch,
    told_users: BTreeSet<Uid>,
    journal: Vec<u8>,
    /// Bytes of the journal that something was done or answered upon.
    promised: usize,
    replies: BTreeMap<(ClientId, Tag), Reply>,
    asked: Vec<Act>,
    wake: Option<Mono>,
    down: Option<bool>,
    next_client: u64,
    next_tag: u64,
    events: u64,
    /// Dies after carrying out so many effects of the next event.
    crash_after: Option<usize>,
    dead: bool,
    /// Everything is checked after every event, not only when somebody asks for it.
    pub careful: bool,
}

/// What every running program has used whenever somebody asks.
pub const USAGE: Option<Usage> = Some(Usage { user_us: 1_500_000, sys_us: 250_000, maxrss_kib: 12 << 10 });

/// How every world's machine does, until a test changes it.
pub fn gauges() -> Gauges {
    Gauges {
        up_secs: 38_100,
        users: 4,
        load: [1.08, 0.75, 0.5],
        mem_free: 3 << 30,
        disk_free: 40 << 30,
        own: None,
    }
}

impl World {
    /// A fresh node with a real kernel.
    pub fn new() -> World {
        World::of(Rc::new(|| Box::new(Kernel::new(node()))))
    }

    /// A fresh node with a machine of another make.
    pub fn of(make: Make) -> World {
        let mut world = World {
            machine: make(),
            make,
            clock: EPOCH,
            provider: Provider::default(),
            store: Store::default(),
            due: VecDeque::new(),
            users: users(),
            gauges: gauges(),
            watch: Watch::default(),
            told_users: BTreeSet::new(),
            journal: Vec::new(),
            promised: 0,
            replies: BTreeMap::new(),
            asked: Vec::new(),
            wake: None,
            down: None,
            next_client: 0,
            next_tag: 0,
            events: 0,
            crash_after: None,
            dead: false,
            careful: true,
        };
        world.recall();
        world
    }

    // ── events ─────────────────────────────────────────────────────────────────────────────

    /// One event and all that comes of it. What was done is given back, in order; bytes of spools in place of
    /// where they are.
    pub fn event(&mut self, event: Event) -> Vec<Effect> {
        assert!(!self.dead, "nothing happens to a dead node");
        if let Event::Request { client, tag, op, .. } = &event {
            self.watch.asked(*client, *tag, op);
        }
        if let Event::Hangup(client) = &event {
            self.watch.gone(*client);
        }
        if let Event::Told(tell) = &event {
            self.provider.telling(tell);
        }
        self.events += 1;
        let recalling = event.is_recall() && event != Event::Recalled;
        let mut effects = Vec::new();
        self.machine.handle(self.clock, event, &mut effects);
        self.watch.batch();
        let carried = self.crash_after.take().map_or(effects.len(), |n| n.min(effects.len()));
        self.dead = carried < effects.len();
        let lost = effects.split_off(carried);
        let done = effects.into_iter().map(|effect| self.carry_out(effect)).collect();
        if let Some(Effect::Journal(line)) = lost.first() {
            // Torn: some of it reached the disk, and never the newline.
            self.journal.extend(&line[..line.len() / 2]);
        }
        if self.careful && !self.dead && !recalling {
            self.check();
        }
        done
    }

    fn carry_out(&mut self, effect: Effect) -> Effect {
        self.watch.effect(&effect);
        match &effect {
            Effect::Journal(_) | Effect::Rewrite(_) | Effect::WakeAt(_) | Effect::Measure => {}
            _ => self.promised = self.journal.len(),
        }
        match effect {
            Effect::Answer(client, tag, ref reply) => {
                self.replies.insert((client, tag), reply.clone());
                effect
            }
            Effect::AnswerSpool { client, tag, session, stream, offset, count } => {
                let reply = Reply::Data(self.provider.read(session, stream, offset, count));
                self.replies.insert((client, tag), reply.clone());
                Effect::Answer(client, tag, reply)
            }
            Effect::AnswerContent { client, tag, content, offset, count } => {
                let reply = match self.store.read(content, offset, count) {
                    Some(data) => Reply::Data(data),
                    None => {
                        let broke = |due: &Due| matches!(due, Due::Kept(_, Err(_)));
                        assert!(self.due.iter().any(broke), "what is read is kept, or the kernel will hear");
                        Reply::Failed(op::Error::new(op::Errno::IO, "it broke off"))
                    }
                };
                self.replies.insert((client, tag), reply.clone());
                Effect::Answer(client, tag, reply)
            }
            Effect::Keep { receipt, content, offset, ref data } => {
                self.due.push_back(Due::Kept(receipt, self.store.keep(receipt, content, offset, data)));
                effect
            }
            Effect::Used { content, .. } => {
                self.store.used(content);
                effect
            }
            Effect::Drop(content) => {
                self.store.drop(content);
                effect
            }
            Effect::Act(ref act) => {
                if let Act::Start(launch) = act {
                    launch
                        .puts
                        .iter()
                        .for_each(|put| assert!(self.store.whole(put.content), "{put:?} is here"));
                }
                self.provider.asked(act);
                if let Act::Append { session, stream, offset, data } = act {
                    let (session, stream, len) = (*session, *stream, offset + data.len() as u64);
                    self.due.push_back(Due::Told(Tell::Grew { session, stream, len }));
                }
                self.asked.push(act.clone());
                effect
            }
            Effect::Journal(ref line) => {
                self.journal.extend(line);
                self.journal.push(b'\n');
                effect
            }
            Effect::Rewrite(ref lines) => {
                self.journal.clone_from(lines);
                self.promised = self.journal.len();
                effect
            }
            Effect::WakeAt(at) => {
                self.wake = at;
                effect
            }
            Effect::Measure => {
                self.due.push_back(Due::Measure);
                effect
            }
            Effect::Fetch { session, stream, offset, count } => {
                let data = self.provider.read(session, stream, offset, count);
                self.due.push_back(Due::Fetch { session, stream, offset, data });
                effect
            }
            Effect::Gauge(id, _) => {
                self.due.push_back(Due::Gauge(id));
                effect
            }
            Effect::FindUser(ref name) => {
                self.due.push_back(Due::FindUser(name.clone()));
                effect
            }
            // Whoever links worlds carries these out.
            Effect::Put { .. }
            | Effect::Admit(_)
            | Effect::Ask { .. }
            | Effect::News(..)
            | Effect::Unlink(..)
            | Effect::Leave => effect,
            Effect::Down { keep } => {
                self.down = Some(keep);
                effect
            }
        }
    }

    /// Asserts what must hold between events.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        self.machine.check();
        let outstanding = self.watch.outstanding().count();
        assert_eq!(self.machine.waiting(), outstanding, "what is not answered waits in the kernel");
        assert_eq!(self.machine.sessions().0, self.watch.journaled(), "the journal knows every session");
    }

    // ── clients ────────────────────────────────────────────────────────────────────────────

    /// A new client; `links`: it understands symbolic links.
    pub fn connect(&mut self, links: bool) -> ClientId {
        self.enter(links).0
    }

    /// The same, and what else came of it: a kernel does with every event what is due by then.
    pub fn enter(&mut self, links: bool) -> (ClientId, Vec<Effect>) {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.watch.connected(client);
        (client, self.event(Event::Connect { client, links }))
    }

    /// The other end of a link asks too, from now on as this client.
    pub fn caller(&mut self, link: LinkId) -> (ClientId, Vec<Effect>) {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.watch.connected(client);
        (client, self.event(Event::Caller { link, client }))
    }

    /// Asks as somebody; the kernel is told first who that is, which may be the last it hears.
    pub fn ask(&mut self, client: ClientId, uid: Uid, op: Op) -> (Tag, Vec<Effect>) {
        let mut done = self.introduce(uid);
        let tag = self.new_tag();
        if !self.dead {
            done.extend(self.event(Event::Request { client, tag, uid, op }));
        }
        (tag, done)
    }

    /// A tag that was not used before.
    pub(crate) fn new_tag(&mut self) -> Tag {
        self.next_tag += 1;
        Tag(self.next_tag)
    }

    /// Tells the kernel who that is, unless it was told.
    pub(crate) fn introduce(&mut self, uid: Uid) -> Vec<Effect> {
        let user = self.users.iter().find(|u| u.uid == uid).cloned();
        match user.filter(|_| self.told_users.insert(uid)) {
            Some(user) => self.event(Event::User(user)),
            None => Vec::new(),
        }
    }

    /// Takes the answer to a request out of its mailbox.
    pub fn reply(&mut self, client: ClientId, tag: Tag) -> Option<Reply> {
        self.replies.remove(&(client, tag))
    }

    /// Asks what must be answered at once.
    ///
    /// # Panics
    /// If it is not.
    pub fn call(&mut self, client: ClientId, uid: Uid, op: Op) -> Reply {
        let name = crate::watch::op_name(&op);
        let (tag, _) = self.ask(client, uid, op);
        self.reply(client, tag).unwrap_or_else(|| panic!("{name} is answered at once"))
    }

    /// Attaches `fid` to the root.
    pub fn attach(&mut self, client: ClientId, uid: Uid, fid: Fid) {
        let reply = self.call(client, uid, Op::Attach { fid, user: String::new(), tree: String::new() });
        assert!(matches!(reply, Reply::Attached(_)), "{reply:?}");
    }

    /// Gives up a request.
    pub fn flush(&mut self, client: ClientId, uid: Uid, tag: Tag) -> Vec<Effect> {
        let (flush, effects) = self.ask(client, uid, Op::Flush { tag });
        assert_eq!(self.reply(client, flush), Some(Reply::Done), "a flush is answered at once");
        effects
    }

    /// The client is gone.
    pub fn hangup(&mut self, client: ClientId) -> Vec<Effect> {
        self.replies.retain(|(of, _), _| *of != client);
        self.event(Event::Hangup(client))
    }

    // ── the host's and the provider's part ─────────────────────────────────────────────────

    /// The provider tells.
    pub fn tell(&mut self, tell: Tell) -> Vec<Effect> {
        self.event(Event::Told(tell))
    }

    /// Pays the `nth` thing that is due.
    pub fn pay(&mut self, nth: usize) -> Vec<Effect> {
        match self.due.remove(nth) {
            Some(Due::Measure) => self.event(Event::Measured(self.gauges.clone())),
            Some(Due::Fetch { session, stream, offset, data }) => {
                self.event(Event::Fetched { session, stream, offset, data })
            }
            Some(Due::Told(tell)) => self.tell(tell),
            Some(Due::Gauge(id)) => self.event(Event::Gauged(id, USAGE)),
            Some(Due::FindUser(name)) => {
                let found =
                    self.users.iter().find(|u| *u.name == *name || u.uid.0.to_string() == name).cloned();
                match found {
                    Some(user) => {
                        self.told_users.insert(user.uid);
                        self.event(Event::User(user))
                    }
                    None => self.event(Event::NoUser(name)),
                }
            }
            Some(Due::Kept(receipt, result)) => self.event(Event::Kept { receipt, result }),
            None => Vec::new(),
        }
    }

    /// Pays all that is due, and what comes of that.
    pub fn pay_all(&mut self) {
        while !self.due.is_empty() && !self.dead {
            self.pay(0);
        }
    }

    /// What the provider was asked since this was last asked.
    pub fn asked(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.asked)
    }

    /// Whether the node was told to stop; with `true`, to leave its programs running.
    pub fn downed(&mut self) -> Option<bool> {
        self.down.take()
    }

    // ── time, and death ────────────────────────────────────────────────────────────────────

    /// Lets time pass. The kernel is waked when it wanted to be, and at no other time.
    pub fn advance(&mut self, span: Duration) -> Vec<Effect> {
        let end = self.clock.mono + span;
        let mut done = Vec::new();
        while let Some(at) = self.wake
            && at <= end
        {
            self.pass(at.since(self.clock.mono));
            self.wake = None;
            done.extend(self.event(Event::Tick));
            assert!(self.wake.is_none_or(|next| next > self.clock.mono), "what was due is done");
            if self.dead {
                return done;
            }
        }
        self.pass(end.since(self.clock.mono));
        done
    }

    /// When the kernel wants to be waked.
    pub fn wake_at(&self) -> Option<Mono> {
        self.wake
    }

    /// Wakes the kernel, whose time it is.
    pub fn tick(&mut self) -> Vec<Effect> {
        assert!(self.wake.take().is_some_and(|at| at <= self.clock.mono), "it is waked when it wanted to be");
        let done = self.event(Event::Tick);
        assert!(self.wake.is_none_or(|next| next > self.clock.mono), "what was due is done");
        done
    }

    fn pass(&mut self, span: Duration) {
        self.clock.mono = self.clock.mono + span;
        self.clock.wall.0 = self.clock.wall.0.saturating_add(span.as_nanos() as u64);
    }

    /// The next event is the last: only so many of its effects are carried out.
    pub fn crash_after(&mut self, effects: usize) {
        self.crash_after = Some(effects);
    }

    /// How many effects of the next event are to be carried out, if it is to be the last; from now on it is not.
    pub(crate) fn put_off_crash(&mut self) -> Option<usize> {
        self.crash_after.take()
    }

    /// Whether the node died in the middle of the last event.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The journal, and how much of it may not be lost.
    pub fn journal(&self) -> (&[u8], usize) {
        (&self.journal, self.promised)
    }

    /// Starts the node again: its clients are gone, its programs and its journal are there. Of the journal, only
    /// the first `kept` bytes, which are never less than what was promised.
    pub fn restart(&mut self, kept: Option<usize>) -> Vec<Effect> {
        let len = self.journal.len();
        let kept = kept.unwrap_or(len).clamp(self.promised.min(len), len);
        self.journal.truncate(kept);
        // A last line without its newline was never answered for.
        let whole = self.journal.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.journal.truncate(whole);
        self.machine = (self.make)();
        self.watch.restarted();
        self.told_users.clear();
        self.replies.clear();
        self.due.clear();
        // A node that starts lets go what nobody of its journal has written.
        self.provider.written.clear();
        self.asked.clear();
        (self.wake, self.down, self.dead, self.crash_after) = (None, None, false, None);
        self.recall()
    }

    fn recall(&mut self) -> Vec<Effect> {
        for content in self.store.restarted() {
            self.event(Event::Found(content));
        }
        // Nothing may shorten it before it is written anew.
        let journal = self.journal.clone();
        self.promised = journal.len();
        for line in journal.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            self.event(Event::Recall(line.to_vec()));
        }
        self.event(Event::Recalled)
    }

    // ── looking ────────────────────────────────────────────────────────────────────────────

    /// Whether a request is neither answered nor flushed.
    pub fn waits(&self, client: ClientId, tag: Tag) -> bool {
        self.watch.is_outstanding(client, tag)
    }

    /// The machine.
    pub fn machine(&self) -> &dyn Machine {
        &*self.machine
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}
