//! Requests: each is served, and either answered or *parked* under what it waits for. When that changes it is
//! served again, from the start, in the order of arrival. A flush or a hang-up is one removal.

use crate::{Client, ClientId, Effect, Event, Kernel, LinkId, Who, limits, query::Look, verbs::CtlRun};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use op::{Errno, Error, Fid, Mono, Op, Reply, SessionId, Stream, Tag, Uid};

/// What a request can wait for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum On {
    /// A stream grew or ended.
    Output(SessionId, Stream),
    /// Either of a session's streams grew or ended.
    Console(SessionId),
    /// A session's state changed.
    Life(SessionId),
    /// A session's stdin may be written again.
    Fed(SessionId),
    /// The provider takes these bytes; answered when it tells so, never served again.
    Feeding(SessionId),
    /// Some session of the node ended, or was freed.
    Ends,
    /// Something happened at the node.
    Events,
    /// The node was measured.
    Measured,
    /// A program was measured.
    Gauged(SessionId),
    /// A user was looked up.
    User(String),
    /// Whom another node means by a name.
    Admitted(String),
    /// Another node answers this.
    Asked(Tag),
    /// Other nodes said more of what an open file gathers.
    Parts(ClientId, Fid),
    /// A fid stands for what it will stand for.
    Made(ClientId, Fid),
    /// Something of some node has changed.
    Nodes,
    /// There may be more room for members than there was.
    Room,
    /// Everybody else in a set has run a line.
    Fan(u64),
    /// A content has become a file of the machine, or could not.
    Put(u64),
    /// More of a content is kept.
    Content(u64),
    /// The host keeps these bytes of a content; answered when it says so, never served again.
    Keeping(u64),
}

/// What is to be served.
#[derive(Debug)]
pub(crate) enum Ask {
    Op(Op),
    /// What is opened in `await/`, and until when that waits.
    Await(Op, Option<Mono>),
    /// A walk that must know what sessions there are, and where it has looked.
    Walk(Op, Vec<Look>),
    /// Lines written to a `ctl` of which some are still to run.
    Ctl(CtlRun),
    /// Bytes that the provider is taking; answered by `Fed`.
    Feeding(SessionId),
    /// Asked of another node under this tag; its answer is the answer.
    Far(Tag),
    /// Bytes of a content that the host is keeping.
    Keeping(u64),
}

/// What serving came to.
pub(crate) enum Outcome {
    Reply(Reply),
    Spool { session: SessionId, stream: Stream, offset: u64, count: u32 },
    Content { content: op::Content, offset: u64, count: u32 },
    Park(On, Ask),
}

impl From<op::Result<Reply>> for Outcome {
    fn from(result: op::Result<Reply>) -> Outcome {
        Outcome::Reply(result.unwrap_or_else(Reply::Failed))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Parked {
    asks: BTreeMap<(ClientId, Tag), (Who, Ask, On)>,
    queues: BTreeMap<On, VecDeque<(ClientId, Tag)>>,
    /// Those that do not wait for ever.
    until: BTreeSet<(Mono, ClientId, Tag)>,
    woken: VecDeque<On>,
}

impl Parked {
    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    pub(crate) fn nothing_woken(&self) -> bool {
        self.woken.is_empty()
    }

    /// Whatever waits for this is served again before the event is over.
    pub(crate) fn notify(&mut self, on: On) {
        if !self.asks.is_empty() && self.queues.contains_key(&on) && !self.woken.contains(&on) {
            self.woken.push_back(on);
        }
    }

    /// Who waits for this.
    pub(crate) fn waiting_on(&self, on: &On) -> Vec<(ClientId, Tag)> {
        self.queues.get(on).into_iter().flatten().copied().collect()
    }

    /// Whether somebody waits for this already.
    pub(crate) fn awaited(&self, on: &On) -> bool {
        self.queues.contains_key(on)
    }

    fn add(&mut self, who: Who, ask: Ask, on: On) {
        self.queues.entry(on.clone()).or_default().push_back((who.client, who.tag));
        if let Ask::Await(_, Some(at)) = ask {
            self.until.insert((at, who.client, who.tag));
        }
        let before = self.asks.insert((who.client, who.tag), (who, ask, on));
        assert!(before.is_none(), "a tag names one request at a time");
    }

    /// Takes out a request that stands in no queue any more.
    fn take(&mut self, client: ClientId, tag: Tag) -> Option<(Who, Ask, On)> {
        let taken = self.asks.remove(&(client, tag))?;
        if let Ask::Await(_, Some(at)) = taken.1 {
            self.until.remove(&(at, client, tag));
        }
        Some(taken)
    }

    fn remove(&mut self, client: ClientId, tag: Tag) -> Option<(Who, Ask)> {
        let (who, ask, on) = self.take(client, tag)?;
        if let Some(queue) = self.queues.get_mut(&on) {
            queue.retain(|waiting| *waiting != (client, tag));
            if queue.is_empty() {
                self.queues.remove(&on);
            }
        }
        Some((who, ask))
    }

    /// Reads and writes of a fid that wait.
    fn of_fid(&self, client: ClientId, fid: Fid) -> Vec<Tag> {
        let of = self.asks.range((client, Tag(0))..=(client, Tag(u64::MAX)));
        of.filter(|(_, (_, ask, _))| match ask {
            Ask::Op(Op::Read { fid: of, .. } | Op::Write { fid: of, .. }) => *of == fid,
            Ask::Op(_)
            | Ask::Await(..)
            | Ask::Walk(..)
            | Ask::Ctl(_)
            | Ask::Feeding(_)
            | Ask::Far(_)
            | Ask::Keeping(_) => false,
        })
        .map(|((_, tag), _)| *tag)
        .collect()
    }

    /// Whether a walk waits for what is found there.
    pub(crate) fn looks(&self, look: Fid) -> bool {
        self.asks.values().any(
            |(_, ask, _)| matches!(ask, Ask::Walk(_, looks) if looks.iter().any(|one| one.waits_for(look))),
        )
    }

    fn of(&self, client: ClientId) -> Vec<Tag> {
        self.asks.range((client, Tag(0))..=(client, Tag(u64::MAX))).map(|((_, tag), _)| *tag).collect()
    }
}

impl Kernel {
    pub(crate) fn connect(&mut self, client: ClientId, links: bool) {
        self.clients.insert(client, Client { links, ..Client::default() });
    }

    /// Another node asks as this client.
    pub(crate) fn caller(&mut self, link: LinkId, client: ClientId) {
        self.connect(client, true);
        self.callers.insert(client, link);
    }

    pub(crate) fn request(&mut self, mut who: Who, op: Op) {
        if self.callers.contains_key(&who.client) {
            // As whom another node asks is said when a fid is made.
            let fid = op.fid().and_then(|fid| self.clients.get(&who.client)?.fids.get(&fid));
            who.uid = fid.map_or(Uid::FOREIGN, |state| state.uid);
        }
        let Some(client) = self.clients.get(&who.client) else {
            return self.answer(who, Reply::errno(Errno::STALE));
        };
        if client.pending >= limits::PENDING_PER_CLIENT && !matches!(op, Op::Flush { .. }) {
            let cause = format!("{} requests of this client wait already", client.pending);
            return self.answer(who, Reply::Failed(Error::new(Errno::AGAIN, cause)));
        }
        if let Op::Flush { tag } = op {
            self.flush(who.client, tag);
            return self.answer(who, Reply::Done);
        }
        match op.fid().filter(|fid| client.making.contains(fid)) {
            Some(fid) => self.park(who, On::Made(who.client, fid), Ask::Op(op)),
            None => self.serve(who, Ask::Op(op)),
        }
    }

    fn serve(&mut self, who: Who, ask: Ask) {
        let outcome = match ask {
            Ask::Op(op) => self.operate(who, op),
            Ask::Await(op, until) => self.wait_to_open(who, op, until),
            Ask::Walk(Op::Walk { fid, newfid, names }, looks) => self.walk(who, fid, newfid, &names, looks),
            Ask::Walk(op, _) => self.operate(who, op),
            Ask::Ctl(run) => self.run_lines(who, run),
            Ask::Feeding(id) => Outcome::Park(On::Feeding(id), Ask::Feeding(id)),
            Ask::Far(tag) => Outcome::Park(On::Asked(tag), Ask::Far(tag)),
            Ask::Keeping(no) => Outcome::Park(On::Keeping(no), Ask::Keeping(no)),
        };
        match outcome {
            Outcome::Reply(reply) => self.answer(who, reply),
            Outcome::Spool { session, stream, offset, count } => {
                let Who { client, tag, .. } = who;
                self.answers.push(Effect::AnswerSpool { client, tag, session, stream, offset, count });
            }
            Outcome::Content { content, offset, count } => {
                let Who { client, tag, .. } = who;
                self.answers.push(Effect::AnswerContent { client, tag, content, offset, count });
            }
            Outcome::Park(on, ask) => self.park(who, on, ask),
        }
    }

    fn park(&mut self, who: Who, on: On, ask: Ask) {
        if let Some(client) = self.clients.get_mut(&who.client) {
            client.pending += 1;
            self.parked.add(who, ask, on);
        }
    }

    /// A fid that waited to be made is, or never will be: what was asked of it meanwhile is served.
    pub(crate) fn made(&mut self, client: ClientId, fid: Fid) {
        if self.clients.get_mut(&client).is_some_and(|c| c.making.remove(&fid)) {
            self.parked.notify(On::Made(client, fid));
        }
    }

    fn answer(&mut self, who: Who, reply: Reply) {
        self.answers.push(Effect::Answer(who.client, who.tag, reply));
    }

    /// Parks what waits already under something else that it waits for.
    pub(crate) fn park_again(&mut self, who: Who, on: On, ask: Ask) {
        if self.unpark(who.client, who.tag).is_some() {
            self.park(who, on, ask);
        }
    }

    /// Takes a request out of the waiting ones.
    pub(crate) fn unpark(&mut self, client: ClientId, tag: Tag) -> Option<(Who, Ask)> {
        let waited = self.parked.remove(client, tag)?;
        if let Some(client) = self.clients.get_mut(&client) {
            client.pending -= 1;
        }
        Some(waited)
    }

    /// Answers a request that waits with something that is known elsewhere.
    pub(crate) fn answer_parked(&mut self, client: ClientId, tag: Tag, reply: Reply) {
        if self.unpark(client, tag).is_some() {
            self.answers.push(Effect::Answer(client, tag, reply));
        }
    }

    fn flush(&mut self, client: ClientId, tag: Tag) {
        match self.unpark(client, tag).map(|(_, ask)| ask) {
            Some(Ask::Feeding(id)) => self.unfeed(id),
            Some(Ask::Keeping(no)) => self.unkeep(no, client, tag),
            Some(Ask::Far(tag)) => self.flush_there(tag),
            Some(Ask::Ctl(run)) => {
                run.fan().into_iter().for_each(|fan| self.drop_fan(fan));
                run.put().into_iter().for_each(|put| self.drop_put(put));
                self.undo_open(client, &run);
            }
            Some(Ask::Op(Op::Walk { newfid, .. })) => self.made(client, newfid),
            Some(Ask::Walk(op, looks)) => {
                self.drop_looks(&looks);
                if let Op::Walk { newfid, .. } = op {
                    self.made(client, newfid);
                }
            }
            Some(Ask::Op(_) | Ask::Await(..)) | None => {}
        }
    }

    /// When the first of those that do not wait for ever is told so.
    pub(crate) fn next_until(&self) -> Option<Mono> {
        self.parked.until.first().map(|(at, ..)| *at)
    }

    /// Who has waited for as long as he said is served once more, and told so if that is for nothing.
    pub(crate) fn ring_awaits(&mut self) {
        while let Some(&(at, client, tag)) = self.parked.until.first()
            && at <= self.clock.mono
        {
            let Some((who, ask)) = self.unpark(client, tag) else { return };
            self.serve(who, ask);
        }
    }

    /// A fid is clunked: what still waits on it would wait for ever, or be served on whatever gets its number next.
    pub(crate) fn abandon(&mut self, client: ClientId, fid: Fid) {
        if self.clients.get(&client).is_none_or(|c| c.pending == 0) {
            return;
        }
        for tag in self.parked.of_fid(client, fid) {
            let cause = format!("fid {} was clunked", fid.0);
            self.answer_parked(client, tag, Reply::Failed(Error::new(Errno::BADF, cause)));
        }
    }

    pub(crate) fn hangup(&mut self, client: ClientId) {
        for tag in self.parked.of(client) {
            self.flush(client, tag);
        }
        let fids: Vec<Fid> =
            self.clients.get(&client).into_iter().flat_map(|c| c.fids.keys().copied()).collect();
        self.cut_off = self.callers.contains_key(&client);
        for fid in fids {
            self.clunk(client, fid);
        }
        self.cut_off = false;
        self.clients.remove(&client);
        self.callers.remove(&client);
    }

    /// Serves what was waked until nothing is left. Serving may wake more; each round only takes what waited
    /// when it began, so it ends.
    pub(crate) fn serve_woken(&mut self) {
        while let Some(on) = self.parked.woken.pop_front() {
            for (client, tag) in self.parked.queues.remove(&on).unwrap_or_default() {
                let Some((who, ask, _)) = self.parked.take(client, tag) else { continue };
                if let Some(client) = self.clients.get_mut(&client) {
                    client.pending -= 1;
                }
                self.serve(who, ask);
            }
        }
    }

    /// Nobody of that name: whoever waits for him is told so by serving it again.
    pub(crate) fn no_user(&mut self, name: &str) {
        let waiting: Vec<(ClientId, Tag)> =
            self.parked.queues.get(&On::User(name.into())).into_iter().flatten().copied().collect();
        for (client, tag) in waiting {
            let cause = format!("user {name}: there is no such user on {}", self.node.name);
            self.answer_parked(client, tag, Reply::Failed(Error::new(Errno::INVAL, cause)));
        }
    }
}

impl Event {
    /// Whether the journal must be complete before this comes in.
    pub fn is_recall(&self) -> bool {
        matches!(self, Event::Recall(_) | Event::Recalled)
    }
}
