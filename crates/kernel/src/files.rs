//! The table of files, and what open, read, write and clunk mean for each kind. A file is a row and a function.

use crate::{
    ClientId, Effect, FidState, Kernel, Who, edit,
    gather::{self, Parts},
    limits,
    park::{Ask, On, Outcome},
    place::{Place, Subject, unknown_fid},
    record::Format,
    rights::{READ, WRITE},
    session::State,
    show,
    verbs::CtlRun,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use op::{Access, Errno, Error, Fid, Op, Reply, Result, SessionId, Shape, Stream, Uid};

/// One file of the tree.
pub struct File {
    /// Its name in the directory.
    pub name: &'static str,
    /// Its permission bits at most.
    pub mode: u16,
    /// In which directories it stands.
    pub(crate) on: u8,
    /// A session's mode applies too: only the owner, unless opened with chmod.
    pub private: bool,
    /// Has twins `.json`, `.xml`, `.sexp`.
    pub twins: bool,
    pub(crate) kind: Kind,
    /// For the manual.
    pub doc: &'static str,
}

const CLOUD: u8 = 1;
const NODE: u8 = 2;
const SESSION: u8 = 4;
const ALL: u8 = CLOUD | NODE | SESSION;

/// How a file behaves. Few and closed; what differs within a kind is a function in the row.
pub(crate) enum Kind {
    /// Made when it is read from the start; needs fresh measurements first where `measured`.
    Text { make: fn(&Kernel, Subject, Format) -> Vec<u8>, measured: u8 },
    /// Text that is kept, and understood when it is used.
    Edit(edit::Edit),
    /// Commands in, the name of the subject out.
    Ctl,
    /// Opening allocates; the open file is the new session's `ctl`.
    Clone,
    /// What a program writes, from the start.
    Source(Stream),
    /// What a program reads; with the outputs to read where `both`.
    Sink { both: bool },
    /// A line a leaf that has ended.
    Wait,
    /// A line an event, for ever.
    Events,
    /// The last failures.
    Failures,
}

/// Every file, in the order of a listing. From a row come the listing, the rights, the manual and the test that
/// the manual has it.
pub static FILES: &[File] = &[
    File {
        name: "ctl",
        mode: 0o666,
        on: ALL,
        private: true,
        twins: false,
        kind: Kind::Ctl,
        doc: "commands, one a line, run before the write returns; see the verbs. Reading gives the session's id, or the node's name.",
    },
    File {
        name: "status",
        mode: 0o444,
        on: ALL,
        private: false,
        twins: true,
        kind: Kind::Text { make: show::status, measured: CLOUD | NODE },
        doc: "one line: path, state, time, user, command; of a node: up, users, load, or down since when. A line each for a group or a set of nodes, from memory: `age` in the twins says how old.",
    },
    File {
        name: "info",
        mode: 0o444,
        on: ALL,
        private: false,
        twins: true,
        kind: Kind::Text { make: show::info, measured: ALL },
        doc: "key=value lines, sorted: what it is, where it is, what it may use and has used, and why it is in its state. Of a set of nodes, one record: how many, and what they have together.",
    },
    File {
        name: "wait",
        mode: 0o444,
        on: ALL,
        private: false,
        twins: true,
        kind: Kind::Wait,
        doc: "blocks; a line for each leaf that has ended: path, pid, exit=N or signal=N or lost=node, times in seconds, maxrss. Ends when all have, and answers the same for ever after. Of a set of nodes, those of all; it fails when a part is out of reach.",
    },
    File {
        name: "events",
        mode: 0o444,
        on: ALL,
        private: true,
        twins: false,
        kind: Kind::Events,
        doc: "one JSON object a line, blocking: what happened here, from as far back as the node remembers.",
    },
    File {
        name: "error",
        mode: 0o444,
        on: ALL,
        private: true,
        twins: false,
        kind: Kind::Failures,
        doc: "the last failures here, a line each: time, path, verb, node, stage, errno, cause.",
    },
    File {
        name: "clone",
        mode: 0o666,
        on: ALL,
        private: true,
        twins: false,
        kind: Kind::Clone,
        doc: "opening it allocates a session (in a session: a member of it; in tree/ and phys/: on the least loaded node of the set), and the open file is the new session's ctl: the first read gives its id (of a set: node/id).",
    },
    File {
        name: "args",
        mode: 0o666,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Edit(edit::ARGS),
        doc: "the program and its words, one a line, quoted where needed; set before an `exec` without words.",
    },
    File {
        name: "env",
        mode: 0o666,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Edit(edit::ENV),
        doc: "NAME=value lines, added to the node's environment; in a text with a NUL in it, each ends in a NUL and may have newlines.",
    },
    File {
        name: "ns",
        mode: 0o666,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Edit(edit::NS),
        doc: "what the program finds in its own directory, a line each: put HASH-SIZE NAME [from=NODE]. The content is brought from NODE's store/ if this node has not got it, passed down the tree so that each link carries it once, and kept for the next time. The directory is where the program starts unless `dir` says otherwise, is in UEM_DIR in its environment, and goes when the session is freed.",
    },
    File {
        name: "topology",
        mode: 0o444,
        on: CLOUD | SESSION,
        private: false,
        twins: true,
        kind: Kind::Text { make: show::topology, measured: 0 },
        doc: "where each member is: rank, node/id; of a set of sessions their user and job too. Of a set of nodes, a line a node: its name, its parent (- for the root), its state, its location.",
    },
    File {
        name: "stdin",
        mode: 0o222,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Sink { both: false },
        doc: "bytes for the program. A write returns when the program's pipe has taken all of it; `close stdin` ends it. Of a group, records for its members, as the verb `stdin` says.",
    },
    File {
        name: "stdout",
        mode: 0o444,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Source(Stream::Out),
        doc: "what the program wrote, from the start, to every reader; blocks at the end until the program closes it or exits. Of a group, what its members wrote, collected as the verb `stdout` says.",
    },
    File {
        name: "stderr",
        mode: 0o444,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Source(Stream::Err),
        doc: "the same for descriptor 2; empty where stdio is a terminal.",
    },
    File {
        name: "stdio",
        mode: 0o666,
        on: SESSION,
        private: true,
        twins: false,
        kind: Kind::Sink { both: true },
        doc: "stdin, and stdout and stderr as they come: a console.",
    },
];

/// A row's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RowId(pub(crate) u8);

impl RowId {
    pub(crate) fn row(self) -> &'static File {
        &FILES[usize::from(self.0)]
    }
}

impl File {
    /// In which directories it stands, in words.
    pub fn places(&self) -> Vec<&'static str> {
        [(CLOUD, "cloud"), (NODE, "node"), (SESSION, "session")]
            .into_iter()
            .filter(|(bit, _)| self.on & bit != 0)
            .map(|(_, word)| word)
            .collect()
    }
}

impl File {
    /// Whether opening it makes something.
    pub(crate) fn allocates(&self) -> bool {
        matches!(self.kind, Kind::Clone)
    }

    /// The outputs that its readers read.
    fn streams(&self) -> &'static [Stream] {
        match self.kind {
            Kind::Source(Stream::Out) => &[Stream::Out],
            Kind::Source(Stream::Err) => &[Stream::Err],
            Kind::Sink { both: true } => &[Stream::Out, Stream::Err],
            Kind::Text { .. }
            | Kind::Edit(_)
            | Kind::Ctl
            | Kind::Clone
            | Kind::Sink { both: false }
            | Kind::Wait
            | Kind::Events
            | Kind::Failures => &[],
        }
    }
}

fn bit(subject: Subject) -> u8 {
    match subject {
        Subject::Cloud | Subject::Tree | Subject::Set(_) => CLOUD,
        Subject::Node(_) => NODE,
        Subject::Session(_) => SESSION,
    }
}

/// Names of files in a subject's directory.
pub(crate) fn names(subject: Subject) -> impl Iterator<Item = (String, RowId, Format)> {
    let rows = FILES.iter().enumerate().filter(move |(_, f)| f.on & bit(subject) != 0);
    rows.flat_map(|(i, file)| {
        let formats = if file.twins { &Format::ALL[..] } else { &Format::ALL[..1] };
        formats.iter().map(move |f| (format!("{}{}", file.name, f.suffix()), RowId(i as u8), *f))
    })
}

/// The file of that name in a subject's directory.
pub(crate) fn find(subject: Subject, name: &str) -> Option<(RowId, Format)> {
    let (stem, suffix) = match name.find('.') {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    let format = Format::ALL.into_iter().find(|f| f.suffix() == suffix)?;
    let row = FILES.iter().position(|f| f.name == stem && f.on & bit(subject) != 0)?;
    (format == Format::Text || FILES[row].twins).then_some((RowId(row as u8), format))
}

/// What an open fid remembers.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) access: Access,
    pub(crate) uid: Uid,
    pub(crate) state: OpenState,
    /// What comes from other nodes.
    pub(crate) parts: Option<Box<Parts>>,
    /// Of an output that is made of others: which life of it is read.
    pub(crate) version: u32,
}

#[derive(Debug)]
pub(crate) enum OpenState {
    Plain,
    /// At another node.
    Far,
    /// What is read, as it was when it was read from the start.
    Snapshot(Vec<u8>),
    /// A line that is not whole yet.
    Partial(Vec<u8>),
    /// How far a console has come in both outputs.
    Console([u64; 2]),
    /// Lines so far, and the number in the order of ends, or of events, to go on from.
    Follow {
        text: Vec<u8>,
        next: u64,
    },
}

impl Kernel {
    /// Serves one operation.
    pub(crate) fn operate(&mut self, who: Who, op: Op) -> Outcome {
        if let Some((on, query)) = self.awaits(who, &op) {
            let until = query.shape.timeout.map(|timeout| self.clock.mono + timeout);
            return Outcome::Park(on, Ask::Await(op, until));
        }
        let op = match self.far(who, op) {
            Ok(outcome) => return outcome,
            Err(op) => op,
        };
        if let Some(fid) = op.fid()
            && !matches!(op, Op::Walk { .. })
            && matches!(self.place(who, fid), Ok(Place::Far))
        {
            return self.memory(who, fid, op);
        }
        match op {
            Op::Read { fid, offset, count, wait } => self.read(who, fid, offset, count, wait),
            Op::Write { fid, offset, data } => self.write(who, fid, offset, data),
            Op::Attach { fid, user, tree } => self.attach(who, fid, user, tree),
            Op::Walk { fid, newfid, names } if self.walk_measures(who, fid, newfid, &names) => {
                Outcome::Park(On::Measured, Ask::Op(Op::Walk { fid, newfid, names }))
            }
            Op::Walk { fid, newfid, names } => self.walk(who, fid, newfid, &names, Vec::new()),
            Op::Open { fid, access } => self.open_or_reserve(who, fid, access),
            Op::Create { fid, name, mode, access } => match self.place(who, fid) {
                Ok(Place::Store) if mode & 0o040_000 == 0 => {
                    self.create_content(who, fid, &name, access).into()
                }
                Ok(_) => Err(no_new_files()).into(),
                Err(error) => Err(error).into(),
            },
            Op::List { fid, cookie, count } => match self.opened(who, fid) {
                Ok((place, _)) => {
                    if self.number_matches(who, fid, place, cookie) {
                        let op = Op::List { fid, cookie, count };
                        return Outcome::Park(On::Parts(who.client, fid), Ask::Op(op));
                    }
                    let links = self.clients[&who.client].fids[&fid].links;
                    self.list(place, links, cookie, count).into()
                }
                Err(error) => Err(error).into(),
            },
            Op::Stat { fid } => self.place(who, fid).and_then(|place| self.stat(place)).into(),
            Op::SetStat { fid, set } => {
                self.place(who, fid).and_then(|place| self.set_stat(who.uid, place, &set)).into()
            }
            Op::ReadLink { fid } => self.place(who, fid).and_then(|place| self.read_link(place)).into(),
            Op::Symlink { fid, .. } => match self.place(who, fid) {
                Ok(_) => Err(no_new_files()).into(),
                Err(error) => Err(error).into(),
            },
            Op::Rename { fid, .. } => match self.place(who, fid) {
                Ok(_) => {
                    let cause = "what is here keeps its name; only files of machines, in fs/, are renamed";
                    Err(Error::new(Errno::PERM, cause)).into()
                }
                Err(error) => Err(error).into(),
            },
            Op::Remove { fid } => {
                let result = self.place(who, fid).and_then(|place| self.remove(who, place));
                self.clunk(who.client, fid);
                result.into()
            }
            Op::Clunk { fid } => match self.clunk(who.client, fid) {
                true => Ok(Reply::Done).into(),
                false => Err(unknown_fid(fid)).into(),
            },
            Op::Flush { .. } => Ok(Reply::Done).into(),
        }
    }

    /// Another node says as whom it asks, and is believed; of everybody else the door has said it.
    fn attach(&mut self, who: Who, fid: Fid, user: String, tree: String) -> Outcome {
        let mut uid = who.uid;
        if self.callers.contains_key(&who.client) {
            match self.admitted.get(&user) {
                Some(known) => uid = *known,
                None => {
                    if !self.parked.awaited(&On::Admitted(user.clone())) {
                        self.out.push(Effect::Admit(user.clone()));
                    }
                    let op = Op::Attach { fid, user: user.clone(), tree };
                    return Outcome::Park(On::Admitted(user), Ask::Op(op));
                }
            }
        }
        self.attach_as(who.client, uid, fid, &tree).into()
    }

    fn attach_as(&mut self, client: ClientId, uid: Uid, fid: Fid, tree: &str) -> Result<Reply> {
        let client = self.clients.get_mut(&client).ok_or(Errno::STALE)?;
        let links = match tree {
            "" | "/" => client.links,
            "plain" => false,
            "links" => true,
            other => {
                let cause = format!(
                    "no tree {other}: there is one, and its name is empty; `links` shows it with symbolic links and `plain` without"
                );
                return Err(Error::new(Errno::NOENT, cause));
            }
        };
        if client.fids.contains_key(&fid) {
            return Err(Error::new(Errno::BADF, format!("fid {} is in use", fid.0)));
        }
        if client.fids.len() >= limits::FIDS_PER_CLIENT {
            let cause = format!("this client has {} fids already", client.fids.len());
            return Err(Error::new(Errno::MFILE, cause));
        }
        let place = Place::Dir(Subject::Cloud);
        client.fids.insert(fid, FidState { place, far: None, open: None, uid, links, prefix: None });
        Ok(Reply::Attached(self.qid(place)))
    }

    pub(crate) fn place(&self, who: Who, fid: Fid) -> Result<Place> {
        let client = self.clients.get(&who.client).ok_or(Errno::STALE)?;
        client.fids.get(&fid).map(|f| f.place).ok_or_else(|| unknown_fid(fid))
    }

    fn opened(&self, who: Who, fid: Fid) -> Result<(Place, &Open)> {
        let client = self.clients.get(&who.client).ok_or(Errno::STALE)?;
        let state = client.fids.get(&fid).ok_or_else(|| unknown_fid(fid))?;
        match &state.open {
            Some(open) => Ok((state.place, open)),
            None => Err(Error::new(Errno::BADF, format!("fid {} is not open", fid.0))),
        }
    }

    fn open_mut(&mut self, who: Who, fid: Fid) -> Option<&mut Open> {
        self.clients.get_mut(&who.client)?.fids.get_mut(&fid)?.open.as_mut()
    }

    /// Opens; the `clone` of a query that says how many is answered when so many are reserved.
    fn open_or_reserve(&mut self, who: Who, fid: Fid, access: Access) -> Outcome {
        let stood = self.place(who, fid);
        let line = match stood {
            Ok(Place::File(subject, row, _)) if row.row().allocates() => self.reservation(subject),
            _ => None,
        };
        let opened = self.open(who, fid, access);
        match (opened, line, stood, self.place(who, fid).ok().and_then(Place::session)) {
            (Ok(reply), Some(line), Ok(stood), Some(id)) => {
                let run = CtlRun::opening(Subject::Session(id), fid, line, reply, stood);
                self.run_lines(who, run)
            }
            (opened, ..) => opened.into(),
        }
    }

    fn open(&mut self, who: Who, fid: Fid, access: Access) -> Result<Reply> {
        let place = self.place(who, fid)?;
        if self.opened(who, fid).is_ok() {
            return Err(Error::new(Errno::BUSY, format!("fid {} is open already", fid.0)));
        }
        self.alive(place)?;
        let (place, shape, state) = match place {
            Place::View(_) | Place::Dir(_) | Place::Known(..) | Place::Views(_) => {
                if access.write {
                    return Err(Errno::ISDIR.into());
                }
                (place, Shape::Text, OpenState::Plain)
            }
            Place::Store | Place::Content(_) => {
                let want = if access.read { READ } else { 0 } | if access.write { WRITE } else { 0 };
                self.demand(who.uid, want, self.owned(place), "what is in store/")?;
                let Place::Content(no) = place else { return self.open_store(who, fid, access) };
                self.open_content(no);
                (place, Shape::Spool, OpenState::Plain)
            }
            Place::Link(_) => return Err(Errno::LOOP.into()),
            Place::Far => return Err(Errno::IO.into()),
            Place::File(subject, row, _) => {
                let want = if access.read { READ } else { 0 } | if access.write { WRITE } else { 0 };
                self.demand(who.uid, want, self.owned(place), row.row().name)?;
                self.open_file(who, place, subject, row, access)?
            }
        };
        if let Place::File(subject, ..) = place {
            self.answer_query(subject);
        }
        let parts = match place {
            Place::File(subject, row, format) => self.gather(who, fid, subject, row, format).map(Box::new),
            Place::Dir(subject) if self.of_sessions(subject) => {
                let (row, format) = find(subject, "topology").expect("a set has one");
                self.gather(who, fid, subject, row, format).map(Box::new)
            }
            _ => None,
        };
        let version = self.version_of(place);
        let open = Open { access, uid: who.uid, state, parts, version };
        // A session that a set was asked for is told with its node's name.
        let prefix = match self.place(who, fid)? {
            Place::File(Subject::Tree | Subject::Set(_), row, _) if row.row().allocates() => {
                Some(self.node.name.clone())
            }
            _ => None,
        };
        let client = self.clients.get_mut(&who.client).expect("looked up above");
        let state = client.fids.get_mut(&fid).expect("looked up above");
        (state.place, state.open, state.prefix) = (place, Some(open), prefix);
        if let Some(id) = place.session() {
            self.hold(id, place);
        }
        if access.read
            && let Place::File(Subject::Session(id), row, _) = place
        {
            // It has read nothing yet, so nothing may be let go before it has.
            for stream in row.row().streams() {
                let start = self.session(id)?.out(*stream).trimmed;
                self.reader_at(who.client, fid, id, *stream, start);
            }
        }
        let mut qid = self.qid(place);
        if let Place::File(_, row, _) = place
            && let Kind::Source(_) = row.row().kind
        {
            qid.version = version;
        }
        Ok(Reply::Opened(qid, shape))
    }

    /// Which life of its output a reader of a file has: of a console, of both.
    fn version_of(&self, place: Place) -> u32 {
        let Place::File(Subject::Session(id), row, _) = place else { return 0 };
        row.row().streams().iter().fold(0, |all: u32, s| all.rotate_left(16) ^ self.collect_version(id, *s))
    }

    /// A result that is made anew is not gone on with; `begun` says whether something of it was read.
    fn same_version(&mut self, who: Who, fid: Fid, begun: bool) -> Result<()> {
        let (place, open) = self.opened(who, fid)?;
        let (before, now) = (open.version, self.version_of(place));
        if before == now {
            return Ok(());
        }
        if before != 0 && begun {
            let cause = "a node was restarted meanwhile, and the output is made anew: open it again, and read from the start";
            return Err(Error::new(Errno::STALE, cause));
        }
        if let Some(open) = self.open_mut(who, fid) {
            open.version = now;
        }
        Ok(())
    }

    /// The store's directory, to look around in.
    fn open_store(&mut self, who: Who, fid: Fid, access: Access) -> Result<Reply> {
        if access.write {
            return Err(Errno::ISDIR.into());
        }
        let open = Open { access, uid: who.uid, state: OpenState::Plain, parts: None, version: 0 };
        let state = self.clients.get_mut(&who.client).and_then(|client| client.fids.get_mut(&fid));
        state.ok_or_else(|| unknown_fid(fid))?.open = Some(open);
        Ok(Reply::Opened(self.qid(Place::Store), Shape::Text))
    }

    fn open_file(
        &mut self,
        who: Who,
        place: Place,
        subject: Subject,
        row: RowId,
        access: Access,
    ) -> Result<(Place, Shape, OpenState)> {
        let follow = || OpenState::Follow { text: Vec::new(), next: 0 };
        Ok(match &row.row().kind {
            Kind::Text { .. } | Kind::Failures => (place, Shape::Text, OpenState::Plain),
            Kind::Edit(_) => {
                if access.truncate {
                    self.truncate(who.uid, place, 0)?;
                }
                (place, Shape::Text, OpenState::Plain)
            }
            Kind::Ctl if access.write && self.shows_some(subject) => {
                let cause = "limit= says how many sessions are shown, and a command reaches all that match: leave it out";
                return Err(Error::new(Errno::OPNOTSUPP, cause));
            }
            Kind::Ctl => (place, Shape::Text, OpenState::Partial(Vec::new())),
            Kind::Clone if self.of_sessions(subject) => {
                let cause = "sessions are selected here; a query of nodes allocates on them";
                return Err(Error::new(Errno::OPNOTSUPP, cause));
            }
            Kind::Clone => {
                let id = self.clone_in(who.uid, subject)?;
                let ctl = FILES.iter().position(|f| matches!(f.kind, Kind::Ctl)).expect("there is a ctl");
                let place = Place::File(Subject::Session(id), RowId(ctl as u8), Format::Text);
                (place, Shape::Text, OpenState::Partial(Vec::new()))
            }
            Kind::Source(_) => {
                self.collect_for(subject, row, access);
                (place, Shape::Spool, OpenState::Plain)
            }
            Kind::Sink { both } => {
                self.collect_for(subject, row, access);
                let state = if *both { OpenState::Console([0; 2]) } else { OpenState::Plain };
                (place, Shape::Stream, state)
            }
            Kind::Wait if self.asks_state(subject) => {
                // Of those that are so now, when they end; not of those that ended before.
                let state = OpenState::Follow { text: Vec::new(), next: self.next_end };
                (place, Shape::Spool, state)
            }
            Kind::Wait => (place, Shape::Spool, follow()),
            Kind::Events => (place, Shape::Stream, follow()),
        })
    }

    /// Whoever opens a group's output wants it collected.
    fn collect_for(&mut self, subject: Subject, row: RowId, access: Access) {
        if let (Subject::Session(id), true) = (subject, access.read) {
            row.row().streams().iter().for_each(|stream| self.collect(id, *stream));
        }
    }

    fn read(&mut self, who: Who, fid: Fid, offset: u64, count: u32, wait: bool) -> Outcome {
        let (place, open) = match self.opened(who, fid) {
            Ok(found) => found,
            Err(error) => return Err(error).into(),
        };
        if !open.access.read {
            return Err(Error::new(Errno::BADF, "this fid is not open for reading")).into();
        }
        if let Err(error) = self.alive(place) {
            return Err(error).into();
        }
        let count = count.min(limits::READ);
        if let Place::Content(no) = place {
            return self.read_content(who, fid, no, (offset, count, wait));
        }
        let Place::File(subject, row, format) = place else {
            return Err(Errno::ISDIR.into()).into();
        };
        let outcome = match (&row.row().kind, subject) {
            (Kind::Text { make, measured }, _) => {
                if let Some(on) = self.measure(subject, *measured & bit(subject) != 0) {
                    return Outcome::Park(on, Ask::Op(Op::Read { fid, offset, count, wait }));
                }
                if self.parts(who, fid).is_some_and(|parts| !parts.over()) {
                    let on = On::Parts(who.client, fid);
                    return Outcome::Park(on, Ask::Op(Op::Read { fid, offset, count, wait }));
                }
                let more = match self.told_above(who, fid, subject, row) {
                    true => None,
                    false => self.gathered(who, fid, format),
                };
                match (more, &self.opened(who, fid).map(|(_, open)| &open.state)) {
                    (Some(_), Ok(OpenState::Snapshot(text))) => Ok(Some(cut(text, offset, count))),
                    (Some(mut more), _) => self.read_snapshot(who, fid, offset, count, |k| {
                        let mut text = make(k, subject, format);
                        text.append(&mut more);
                        k.cut_lines(subject, row.row().name, gather::in_order(text, row.row().name))
                    }),
                    (None, _) => self.read_snapshot(who, fid, offset, count, |k| {
                        k.cut_lines(subject, row.row().name, make(k, subject, format))
                    }),
                }
            }
            (Kind::Failures, _) => {
                if self.parts(who, fid).is_some_and(|parts| !parts.over()) {
                    return Outcome::Park(
                        On::Parts(who.client, fid),
                        Ask::Op(Op::Read { fid, offset, count, wait }),
                    );
                }
                self.read_failures(who, fid, subject, offset, count)
            }
            (Kind::Edit(edit), Subject::Session(id)) => {
                self.read_snapshot(who, fid, offset, count, |k| (edit.read)(&k.sessions[&id]))
            }
            (Kind::Ctl | Kind::Clone, _) => {
                let mut name = self.name_of(subject);
                if let Some(prefix) = &self.clients[&who.client].fids[&fid].prefix {
                    name = format!("{prefix}/{name}");
                }
                Ok(Some(cut(name.as_bytes(), offset, count)))
            }
            (Kind::Source(stream), Subject::Session(id)) => {
                return self.read_output(who, fid, id, *stream, offset, count, wait);
            }
            (Kind::Sink { .. }, Subject::Session(id)) => {
                return self.read_console(who, fid, id, count, wait);
            }
            (Kind::Wait, _) => self.read_ends(who, fid, subject, format, offset, count),
            (Kind::Events, _) => self.read_events(who, fid, subject, offset, count),
            (Kind::Edit(_) | Kind::Source(_) | Kind::Sink { .. }, _) => Err(Errno::IO.into()),
        };
        match outcome {
            Ok(Some(data)) => Outcome::Reply(Reply::Data(data)),
            Ok(None) if !wait => Outcome::Reply(Reply::errno(Errno::AGAIN)),
            Ok(None) => {
                let gathers = self.parts(who, fid).is_some();
                let on = match (&row.row().kind, subject) {
                    _ if gathers => On::Parts(who.client, fid),
                    (Kind::Events, _) => On::Events,
                    (_, Subject::Session(id))
                        if self.sessions[&id].group.is_some() || !self.sessions[&id].is_group() =>
                    {
                        On::Life(id)
                    }
                    _ => On::Ends,
                };
                Outcome::Park(on, Ask::Op(Op::Read { fid, offset, count, wait }))
            }
            Err(error) => Err(error).into(),
        }
    }

    fn parts(&self, who: Who, fid: Fid) -> Option<&Parts> {
        self.opened(who, fid).ok()?.1.parts.as_deref()
    }

    /// The failures of a set: its own, those of its parts, and which parts could not be asked.
    fn read_failures(
        &mut self,
        who: Who,
        fid: Fid,
        subject: Subject,
        offset: u64,
        count: u32,
    ) -> Result<Option<Vec<u8>>> {
        let fresh = !matches!(self.opened(who, fid)?.1.state, OpenState::Snapshot(_));
        let mut more = if fresh { self.take_parts(who.client, fid) } else { Vec::new() };
        more.extend(if fresh { self.lost_parts(who.client, fid) } else { Vec::new() });
        let gathers = self.parts(who, fid).is_some();
        if gathers && !fresh {
            // What was gathered is gathered once an open.
            let Some(Open { state: OpenState::Snapshot(text), .. }) = self.open_mut(who, fid) else {
                return Err(Errno::BADF.into());
            };
            return Ok(Some(cut(text, offset, count)));
        }
        self.read_snapshot(who, fid, offset, count, |k| {
            let mut text = show::failures(k, subject, who.uid);
            text.append(&mut more);
            text
        })
    }

    fn read_snapshot(
        &mut self,
        who: Who,
        fid: Fid,
        offset: u64,
        count: u32,
        make: impl FnOnce(&Kernel) -> Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        let made = match self.opened(who, fid)?.1.state {
            OpenState::Snapshot(_) if offset > 0 => None,
            _ => Some(make(self)),
        };
        let open = self.open_mut(who, fid).ok_or_else(|| unknown_fid(fid))?;
        if let Some(text) = made {
            open.state = OpenState::Snapshot(text);
        }
        match &open.state {
            OpenState::Snapshot(text) => Ok(Some(cut(text, offset, count))),
            _ => Ok(Some(Vec::new())),
        }
    }

    /// `Some` if the subject must be measured before it is shown, and what to wait for.
    fn measure(&mut self, subject: Subject, needed: bool) -> Option<On> {
        if !needed {
            return None;
        }
        match subject {
            Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => {
                if !self.holds_me(subject) {
                    return None;
                }
                let fresh =
                    self.gauges.as_ref().is_some_and(|(at, _)| self.clock.mono.since(*at) < limits::FRESH);
                if fresh {
                    return None;
                }
                if !self.parked.awaited(&On::Measured) {
                    self.out.push(Effect::Measure);
                }
                Some(On::Measured)
            }
            Subject::Session(id) => {
                let session = self.sessions.get(&id)?;
                let State::Running { pid, .. } = session.state else { return None };
                let gauge = session.live.as_ref()?.gauge;
                if gauge.is_some_and(|(at, _)| self.clock.mono.since(at) < limits::FRESH) {
                    return None;
                }
                if !self.parked.awaited(&On::Gauged(id)) {
                    self.out.push(Effect::Gauge(id, pid));
                }
                Some(On::Gauged(id))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of Op::Read, taken apart")]
    fn read_output(
        &mut self,
        who: Who,
        fid: Fid,
        id: SessionId,
        stream: Stream,
        offset: u64,
        count: u32,
        wait: bool,
    ) -> Outcome {
        // It may have become a group since this was opened.
        self.collect(id, stream);
        if offset < self.sessions[&id].out(stream).trimmed && self.collect_anew(id, stream) {
            return Outcome::Park(On::Output(id, stream), Ask::Op(Op::Read { fid, offset, count, wait }));
        }
        if let Err(error) = self.same_version(who, fid, offset > 0) {
            return Err(error).into();
        }
        let session = &self.sessions[&id];
        let out = *session.out(stream);
        if offset < out.trimmed {
            let cause = format!("bytes before {} were let go, as `roll` asked; read from there", out.trimmed);
            return Err(Error::new(Errno::SPIPE, cause)).into();
        }
        if offset < out.len {
            let count = u64::from(count).min(out.len - offset) as u32;
            self.reader_at(who.client, fid, id, stream, offset);
            if count == 0 {
                return Outcome::Reply(Reply::Data(Vec::new()));
            }
            let (session, stream) = self.spool_of(id, stream);
            return Outcome::Spool { session, stream, offset, count };
        }
        if out.closed || matches!(session.state, State::Ended { .. }) {
            return self.flaw_of(id, stream).map_or(Ok(Reply::Data(Vec::new())), Err).into();
        }
        self.reader_at(who.client, fid, id, stream, offset);
        match wait {
            true => Outcome::Park(On::Output(id, stream), Ask::Op(Op::Read { fid, offset, count, wait })),
            false => Outcome::Reply(Reply::errno(Errno::AGAIN)),
        }
    }

    /// Both outputs as they come. Waits on the one that is open; a terminal has only one.
    fn read_console(&mut self, who: Who, fid: Fid, id: SessionId, count: u32, wait: bool) -> Outcome {
        let Some(Open { state: OpenState::Console(seen), .. }) = self.open_mut(who, fid) else {
            return Err(Errno::BADF.into()).into();
        };
        let seen = *seen;
        for stream in [Stream::Out, Stream::Err] {
            self.collect(id, stream);
        }
        if let Err(error) = self.same_version(who, fid, seen != [0; 2]) {
            return Err(error).into();
        }
        for stream in [Stream::Out, Stream::Err] {
            self.reader_at(who.client, fid, id, stream, seen[stream as usize]);
        }
        let session = &self.sessions[&id];
        let outputs = session.output;
        let ended = matches!(session.state, State::Ended { .. });
        let Some(Open { state: OpenState::Console(seen), .. }) = self.open_mut(who, fid) else {
            return Err(Errno::BADF.into()).into();
        };
        for stream in [Stream::Out, Stream::Err] {
            let (out, seen) = (outputs[stream as usize], &mut seen[stream as usize]);
            if *seen < out.len && count > 0 {
                let offset = (*seen).max(out.trimmed);
                let count = u64::from(count).min(out.len - offset) as u32;
                *seen = offset + u64::from(count);
                let (session, stream) = self.spool_of(id, stream);
                return Outcome::Spool { session, stream, offset, count };
            }
        }
        if ended || outputs.iter().all(|o| o.closed) || count == 0 {
            let flaw = [Stream::Out, Stream::Err].iter().find_map(|stream| self.flaw_of(id, *stream));
            return flaw.filter(|_| count > 0).map_or(Ok(Reply::Data(Vec::new())), Err).into();
        }
        match wait {
            true => Outcome::Park(On::Console(id), Ask::Op(Op::Read { fid, offset: 0, count, wait })),
            false => Outcome::Reply(Reply::errno(Errno::AGAIN)),
        }
    }

    /// Lines of what has ended, from `offset` on; `None` if there is more to wait for.
    fn read_ends(
        &mut self,
        who: Who,
        fid: Fid,
        subject: Subject,
        format: Format,
        offset: u64,
        count: u32,
    ) -> Result<Option<Vec<u8>>> {
        let next = match self.opened(who, fid)?.1.state {
            OpenState::Follow { next, .. } => next,
            _ => 0,
        };
        let mut more = Vec::new();
        let after = self.ends_since(subject, next, format, &mut more);
        more.append(&mut self.take_parts(who.client, fid));
        let parts = self.parts(who, fid);
        let (over, broken) = (parts.is_none_or(Parts::over), parts.and_then(Parts::broken).cloned());
        let all = self.all_ended(subject) && over;
        let Some(Open { state: OpenState::Follow { text, next }, .. }) = self.open_mut(who, fid) else {
            return Err(Errno::BADF.into());
        };
        *next = after;
        text.append(&mut more);
        match (cut(text, offset, count), broken) {
            // It cannot be said that all have ended, nor waited for.
            (data, Some(error)) if data.is_empty() && count > 0 => Err(error),
            (data, _) if data.is_empty() && !all && count > 0 => Ok(None),
            (data, _) => Ok(Some(data)),
        }
    }

    /// Read first from the end of all numbers on, it begins with what happens next: another node that reads on does so.
    fn read_events(
        &mut self,
        who: Who,
        fid: Fid,
        subject: Subject,
        offset: u64,
        count: u32,
    ) -> Result<Option<Vec<u8>>> {
        let end = self.happenings.end();
        let (kept, next) = match &self.opened(who, fid)?.1.state {
            OpenState::Follow { text, next: 0 } if offset == u64::MAX => (text.is_empty(), end),
            OpenState::Follow { text, next } => (text.is_empty(), *next),
            _ => (true, 0),
        };
        let mut fresh = if kept { show::events(self, subject, who.uid, next) } else { Vec::new() };
        if kept {
            fresh.append(&mut self.take_parts(who.client, fid));
        }
        let Some(Open { state: OpenState::Follow { text, next }, .. }) = self.open_mut(who, fid) else {
            return Err(Errno::BADF.into());
        };
        if kept {
            *text = fresh;
            *next = end;
        }
        let data: Vec<u8> = text.drain(..text.len().min(count as usize)).collect();
        Ok((!data.is_empty() || count == 0).then_some(data))
    }

    fn write(&mut self, who: Who, fid: Fid, offset: u64, data: Vec<u8>) -> Outcome {
        let (place, open) = match self.opened(who, fid) {
            Ok(found) => found,
            Err(error) => return Err(error).into(),
        };
        if !open.access.write {
            return Err(Error::new(Errno::BADF, "this fid is not open for writing")).into();
        }
        if let Err(error) = self.alive(place) {
            return Err(error).into();
        }
        if let Place::Content(no) = place {
            return self.write_content(who, fid, no, offset, data);
        }
        let Place::File(subject, row, _) = place else { return Err(Errno::ISDIR.into()).into() };
        match (&row.row().kind, subject) {
            (Kind::Ctl | Kind::Clone, _) => self.write_ctl(who, fid, subject, &data),
            (Kind::Sink { .. }, Subject::Session(id)) if self.sessions[&id].is_group() => {
                self.write_group_stdin(who, fid, id, offset, data)
            }
            (Kind::Sink { .. }, Subject::Session(id)) => self.write_stdin(who, fid, id, offset, data),
            (Kind::Edit(edit), Subject::Session(id)) => self.write_edit(id, edit, offset, &data).into(),
            _ => Err(Error::new(Errno::BADF, format!("{} is only read", row.row().name))).into(),
        }
    }

    /// Whole lines run now; a part of one waits for its rest, or for the clunk.
    fn write_ctl(&mut self, who: Who, fid: Fid, subject: Subject, data: &[u8]) -> Outcome {
        let Some(Open { state: OpenState::Partial(partial), .. }) = self.open_mut(who, fid) else {
            return Err(Errno::BADF.into()).into();
        };
        partial.extend(data);
        let whole = partial.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if partial.len() - whole > limits::TEXT {
            partial.clear();
            let cause = format!("a control line has at most {} bytes", limits::TEXT);
            return Err(Error::new(Errno::TOOBIG, cause)).into();
        }
        let lines: Vec<u8> = partial.drain(..whole).collect();
        self.run_lines(who, CtlRun::new(subject, Some(fid), lines, data.len() as u32))
    }

    /// A line of a `ctl` that is not whole will never be.
    pub(crate) fn forget_partial(&mut self, who: Who, fid: Fid) {
        if let Some(Open { state: OpenState::Partial(partial), .. }) = self.open_mut(who, fid) {
            partial.clear();
        }
    }

    /// Forgets a fid; false if it was not known. A last line without its newline is run now; what fails of it
    /// is in `error`.
    pub(crate) fn clunk(&mut self, client: ClientId, fid: Fid) -> bool {
        let Some(mut state) = self.clients.get_mut(&client).and_then(|c| c.fids.remove(&fid)) else {
            return false;
        };
        if let Some(far) = state.far.take() {
            // What was asked of it before is answered there, in order: a write that this comes right behind is done.
            self.clunk_far(&far);
            return true;
        }
        let Some(open) = state.open else { return true };
        self.abandon(client, fid);
        if let Some(parts) = open.parts {
            self.drop_parts(*parts);
        }
        if let (OpenState::Partial(line), Place::File(subject, ..)) = (open.state, state.place)
            && !line.is_empty()
            && self.alive(state.place).is_ok()
        {
            self.run_last_line(open.uid, subject, &line);
        }
        if let Some(id) = state.place.session() {
            self.release(client, fid, id);
        }
        if let Place::Content(no) = state.place {
            self.close_content(no, client, fid);
        }
        true
    }

    fn remove(&mut self, who: Who, place: Place) -> Result<Reply> {
        match place {
            Place::Dir(Subject::Session(id)) => {
                let owner = self.session(id)?.owner;
                if !self.stands_for(who.uid, owner) {
                    return Err(Error::new(Errno::PERM, "only a session's owner can free it"));
                }
                self.free(id);
                Ok(Reply::Done)
            }
            _ => Err(Error::new(
                Errno::PERM,
                "only a session's directory can be removed, which frees the session",
            )),
        }
    }

    fn name_of(&self, subject: Subject) -> String {
        match subject {
            Subject::Cloud | Subject::Tree | Subject::Node(_) => format!("{}\n", self.node.name),
            Subject::Set(no) => format!("{}\n", self.set_path(no).join("/")),
            Subject::Session(id) => {
                let mut name = id.0.to_string();
                name.push('\n');
                name
            }
        }
    }
}

fn no_new_files() -> Error {
    Error::new(Errno::PERM, "no files are made here; open `clone` to allocate a session")
}

/// The part of a text that a read asks for.
pub(crate) fn cut(text: &[u8], offset: u64, count: u32) -> Vec<u8> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    text[from..].iter().take(count as usize).copied().collect()
}
