//! The reference model: what a node must answer, written as simply as it can be said, with no parking, no
//! journal and no effects. It is told every event first, and says which requests are answered now and with what, and
//! what the provider is asked. After every event, whatever still waits is looked at again, so a wake-up that a
//! kernel forgets is a difference.
//!
//! It knows sessions, groups, rights, leases, `ctl` (most verbs), `stdin`, the outputs, `stdio`, `wait`, `status`,
//! `args` and listings. It does not know `events`, `error`, limits, terminals and `roll`: transcripts have those.

mod ctl;
mod files;
mod life;
mod reads;
mod recall;

use crate::provider::Provider;
use ctl::Run;
use kernel::ClientId;
use op::{Access, Clock, Errno, Exit, Fid, Mono, Stream, Tag, Uid, User, Wall};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// What a request comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// It is not answered yet.
    Waits,
    /// `Opened`.
    Opened,
    /// `Walked`, so many steps.
    Walked(usize),
    /// `Data`, exactly.
    Data(Vec<u8>),
    /// `Data`, of which only this much is known to be in it.
    Says(String),
    /// `Wrote`, so many bytes.
    Wrote(u32),
    /// `Listed`, these names at the end.
    Names(Vec<String>),
    /// `Done`.
    Done,
    /// `Failed`.
    Errno(Errno),
}

/// What the provider must be asked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ask {
    /// `Start`, with these words.
    Start(u64, Vec<Vec<u8>>),
    /// `Signal`.
    Signal(u64, i32, bool),
    /// `Freeze`.
    Freeze(u64),
    /// `Thaw`.
    Thaw(u64),
    /// `Feed`.
    Feed(u64, Vec<u8>),
    /// `Unfeed`.
    Unfeed(u64),
    /// `CloseStdin`.
    CloseStdin(u64),
    /// `Free`.
    Free(u64),
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum State {
    Fresh,
    Starting,
    Running { pid: u32, at: Wall, stopped: bool },
    Ended { pid: u32, at: Wall, exit: Exit, order: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) owner: Uid,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
    pub(crate) state: State,
    pub(crate) command: Vec<u8>,
    pub(crate) group: Option<(u64, u32)>,
    pub(crate) members: BTreeMap<u32, u64>,
    pub(crate) lease: Duration,
    pub(crate) keep: bool,
    pub(crate) strict: bool,
    pub(crate) freeing: bool,
    pub(crate) holders: u32,
    pub(crate) expires: Option<Mono>,
    pub(crate) kill_at: Option<Mono>,
    /// Why the last start failed.
    refused: Option<Errno>,
    /// How often it was started, and why the start before the last failed.
    starts: u32,
    refused_before: Option<Errno>,
    /// Bytes told of each output, and whether it is closed.
    pub(crate) told: [u64; 2],
    pub(crate) closed: [bool; 2],
    pub(crate) stdin: Stdin,
    gauged: Option<Mono>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stdin {
    pub(crate) early: Vec<u8>,
    /// Whose bytes are being taken; nobody's, if he gave up or they were written early.
    pub(crate) feeding: Option<Option<(ClientId, Tag, u32)>>,
    pub(crate) closed: bool,
    pub(crate) broken: bool,
}

/// What a path leads to, as far as the model goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The root.
    Root,
    /// The node's directory.
    Node,
    /// A session's directory.
    Session(u64),
    /// A file of the node (`None`) or of a session.
    File(Option<u64>, Name),
}

/// The files that the model knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "they are the names of the files")]
pub enum Name {
    Ctl,
    Clone,
    Status,
    Info,
    Wait,
    Args,
    Stdin,
    Stdout,
    Stderr,
    Stdio,
}

impl Name {
    /// All of them.
    pub const ALL: [Name; 10] = [
        Name::Ctl,
        Name::Clone,
        Name::Status,
        Name::Info,
        Name::Wait,
        Name::Args,
        Name::Stdin,
        Name::Stdout,
        Name::Stderr,
        Name::Stdio,
    ];

    /// As it stands in a directory.
    pub fn text(self) -> &'static str {
        match self {
            Name::Ctl => "ctl",
            Name::Clone => "clone",
            Name::Status => "status",
            Name::Info => "info",
            Name::Wait => "wait",
            Name::Args => "args",
            Name::Stdin => "stdin",
            Name::Stdout => "stdout",
            Name::Stderr => "stderr",
            Name::Stdio => "stdio",
        }
    }

    /// Its bits at most, and whether a session's mode applies.
    fn mode(self) -> (u16, bool) {
        match self {
            Name::Ctl | Name::Clone | Name::Args | Name::Stdio => (0o666, true),
            Name::Status | Name::Info | Name::Wait => (0o444, false),
            Name::Stdin => (0o222, true),
            Name::Stdout | Name::Stderr => (0o444, true),
        }
    }

    fn of_node(self) -> bool {
        matches!(self, Name::Ctl | Name::Clone | Name::Status | Name::Info | Name::Wait)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FidState {
    pub(crate) place: Place,
    pub(crate) open: Option<(Access, Uid)>,
    partial: Vec<u8>,
    seen: [u64; 2],
    text: Vec<u8>,
    next: u64,
    snapshot: Option<Vec<u8>>,
}

/// A request that waits.
#[derive(Clone, Debug)]
enum Wait {
    Read {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Stdin {
        fid: Fid,
        id: u64,
        data: Vec<u8>,
    },
    /// The provider takes its bytes.
    Fed {
        id: u64,
    },
    Ctl(Run),
}

/// One node, as it must be.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) clock: Clock,
    users: BTreeMap<Uid, Arc<User>>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) next: u64,
    ends: BTreeMap<u64, u64>,
    next_end: u64,
    pub(crate) fids: BTreeMap<(ClientId, Fid), FidState>,
    waiting: VecDeque<((ClientId, Tag), Uid, Wait)>,
    /// Answers of this event.
    answers: BTreeMap<(ClientId, Tag), Expect>,
    /// What the provider is asked in this event.
    asks: Vec<Ask>,
    /// Sessions as they were on the way through this event, where the journal says so before the rest is done.
    pub(crate) trail: Vec<(u64, Session)>,
    gauges: Option<Mono>,
    known: BTreeSet<Uid>,
}

impl Model {
    /// A fresh node.
    pub fn new(clock: Clock) -> Model {
        Model {
            clock,
            users: crate::machine::users().into_iter().map(|u| (u.uid, u)).collect(),
            sessions: BTreeMap::new(),
            next: 0,
            ends: BTreeMap::new(),
            next_end: 0,
            fids: BTreeMap::new(),
            waiting: VecDeque::new(),
            answers: BTreeMap::new(),
            asks: Vec::new(),
            trail: Vec::new(),
            gauges: None,
            known: BTreeSet::new(),
        }
    }

    /// The event is over: who is answered by it, and what is asked.
    pub fn over(&mut self, provider: &Provider) -> (BTreeMap<(ClientId, Tag), Expect>, Vec<Ask>) {
        self.ring(self.clock.mono);
        self.serve_waiting(provider);
        let mut asks = std::mem::take(&mut self.asks);
        asks.sort();
        (std::mem::take(&mut self.answers), asks)
    }

    /// Whatever waits is looked at, in the order in which it came, until nothing changes: what does something before
    /// what only looks.
    fn serve_waiting(&mut self, provider: &Provider) {
        let mut look = false;
        loop {
            let mut moved = false;
            for (name, uid, wait) in std::mem::take(&mut self.waiting) {
                if matches!(wait, Wait::Read { .. }) != look {
                    self.waiting.push_back((name, uid, wait));
                    continue;
                }
                match self.serve(name, uid, wait, provider) {
                    Ok(expect) => {
                        moved = true;
                        self.answers.insert(name, expect);
                    }
                    Err(wait) => self.waiting.push_back((name, uid, wait)),
                }
            }
            if !moved && look {
                return;
            }
            look = !moved;
        }
    }

    fn serve(&mut self, name: (ClientId, Tag), uid: Uid, wait: Wait, p: &Provider) -> Result<Expect, Wait> {
        match wait {
            Wait::Read { fid, offset, count } => match self.read(name.0, fid, offset, count, p) {
                Expect::Waits => Err(Wait::Read { fid, offset, count }),
                expect => Ok(expect),
            },
            Wait::Stdin { fid, id, data } => match self.write_stdin(name, fid, id, data) {
                Ok(expect) => Ok(expect),
                Err(wait) => Err(wait),
            },
            Wait::Fed { id } => {
                let fed = self.sessions.get(&id).and_then(|s| s.stdin.feeding).flatten();
                if fed.is_some_and(|(client, tag, _)| (client, tag) == name) {
                    return Err(Wait::Fed { id });
                }
                Ok(Expect::Errno(Errno::PIPE))
            }
            Wait::Ctl(run) => self.run(name.0, uid, run).map_err(Wait::Ctl),
        }
    }

    /// Keeps a request for later, or answers it.
    fn keep(&mut self, name: (ClientId, Tag), uid: Uid, outcome: Result<Expect, Wait>) {
        match outcome {
            Ok(expect) => drop(self.answers.insert(name, expect)),
            Err(wait) => self.waiting.push_back((name, uid, wait)),
        }
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Fids that are held.
    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// Sessions that are there, and how many of them run.
    pub fn sessions(&self) -> (usize, usize) {
        (self.sessions.len(), self.sessions.values().filter(|s| s.runs()).count())
    }

    /// The sessions that are there.
    pub fn session_ids(&self) -> impl Iterator<Item = u64> {
        self.sessions.keys().copied()
    }

    /// Whether this would have to do with output that is collected from members, which this model does not know: a group's
    /// streams, or a session whose streams are open and that would become a group.
    pub fn is_collected(&self, id: u64, name: Name) -> bool {
        let stream = |name: Name| matches!(name, Name::Stdin | Name::Stdout | Name::Stderr | Name::Stdio);
        let open = |state: &FidState| {
            state.open.is_some()
                && matches!(state.place, Place::File(Some(of), name) if of == id && stream(name))
        };
        match name {
            Name::Clone => self.fids.values().any(open),
            name => stream(name) && self.sessions.get(&id).is_some_and(Session::is_group),
        }
    }

    /// The sessions that run.
    pub fn running_ids(&self) -> impl Iterator<Item = u64> {
        self.sessions.iter().filter(|(_, s)| s.runs()).map(|(id, _)| *id)
    }

    /// Whether a fid stands for something.
    pub fn knows(&self, client: ClientId, fid: Fid) -> bool {
        self.fids.contains_key(&(client, fid))
    }

    /// Whether a fid is open.
    pub fn is_open(&self, client: ClientId, fid: Fid) -> bool {
        self.fids.get(&(client, fid)).is_some_and(|f| f.open.is_some())
    }

    /// Whether a write's bytes are being taken by the provider.
    pub fn is_fed(&self, client: ClientId, tag: Tag) -> bool {
        self.waiting.iter().any(|(name, _, wait)| *name == (client, tag) && matches!(wait, Wait::Fed { .. }))
    }

    /// How long the output of a fid's file is; of other files, about as long as they may be.
    pub fn told_of(&self, client: ClientId, fid: Fid, name: Name) -> u64 {
        let id = self.fids.get(&(client, fid)).and_then(|f| files::session_of(f.place));
        match (id.and_then(|id| self.sessions.get(&id)), name) {
            (Some(session), Name::Stdout) => session.told[0],
            (Some(session), Name::Stderr) => session.told[1],
            _ => 0,
        }
    }

    fn spool<'a>(&self, p: &'a Provider, id: u64, stream: Stream) -> &'a [u8] {
        p.programs.get(&op::SessionId(id)).map_or(&[], |program| &program.spool[stream as usize])
    }

    pub(crate) fn user(&self, uid: Uid) -> &User {
        &self.users[&uid]
    }
}

impl Session {
    pub(crate) fn runs(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. })
    }

    pub(crate) fn ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    pub(crate) fn is_group(&self) -> bool {
        !self.members.is_empty()
    }
}
