//! What becomes of a session: it is cloned, started, fed, ended, freed, and found again after the node died.

use crate::{
    ClientId, Effect, Kernel, gone, journal, limits,
    notices::What,
    park::{Ask, On, Outcome},
    place::{Place, Subject},
    ranks::RankSet,
    session::{Life, Session, Setup, State, Unsaid},
    words,
};
use alloc::{
    boxed::Box,
    collections::BTreeSet,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{
    Act, Environment, Errno, Error, Exit, Fid, Launch, Mono, Reply, Result, SessionId, Stream, Tell, Uid,
    Usage,
};

/// Why a session is looked at when a time comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    Lease,
    Kill,
    Wall,
}

/// SIGKILL and SIGTERM, which are the same everywhere.
pub(crate) const KILL: i32 = 9;
pub(crate) const TERM: i32 = 15;

impl Kernel {
    // ── beginning ──────────────────────────────────────────────────────────────────────────

    /// Allocates a session, in a session a member of it.
    pub(crate) fn clone_in(&mut self, uid: Uid, subject: Subject) -> Result<SessionId> {
        self.allocate(uid, subject, None)
    }

    /// Makes a member of this rank.
    pub(crate) fn new_member(&mut self, group: SessionId, rank: u32) -> Result<SessionId> {
        let owner = self.session(group)?.owner;
        self.allocate(owner, Subject::Session(group), Some(rank))
    }

    fn allocate(&mut self, uid: Uid, subject: Subject, mut rank: Option<u32>) -> Result<SessionId> {
        self.room_for_session()?;
        self.not_when_drained()?;
        let id = SessionId(self.next_id);
        let mut session = Session::new(id, &self.user(uid), self.clock.wall);
        if let Subject::Session(group) = subject {
            let parent = self.sessions.get_mut(&group).ok_or_else(|| gone(group))?;
            if parent.state != State::Fresh {
                let cause = format!("session {} runs a program; a group is made of a fresh session", group.0);
                return Err(Error::new(Errno::BUSY, cause));
            }
            if parent.member_of.is_some() {
                return Err(Error::new(Errno::OPNOTSUPP, "a member cannot have members"));
            }
            let next = rank.unwrap_or_else(|| parent.size());
            if next >= limits::MEMBERS {
                return Err(Error::new(
                    Errno::AGAIN,
                    format!("a group has at most {} members", limits::MEMBERS),
                ));
            }
            if let Some(group) = &mut parent.group {
                group.size = group.size.max(next + 1);
                group.active.insert(next);
            }
            parent.members.insert(next, id);
            session.member_of = Some((group, next));
            session.owner = parent.owner;
            session.gid = parent.gid;
            session.mode = parent.mode;
            session.tags = parent.tags.clone();
            session.command = parent.command.clone();
            if let (Some(live), Some(model)) = (&mut session.live, &parent.live) {
                live.setup = model.setup.clone();
                // What of it is on its way is let go at every level, or the first would be full for ever.
                live.roll = model.roll;
            }
            rank = Some(next);
            // Who waits for its end now waits for its members'.
            self.parked.notify(On::Life(group));
        }
        self.next_id += 1;
        let owner = session.owner;
        session.unsaid = Unsaid::Nothing;
        let member_of = session.member_of;
        self.sessions.insert(id, Box::new(session));
        if let Some((group, rank)) = member_of {
            self.flow_member(group, rank, id);
        }
        self.touch(id);
        self.happened(Some(id), owner, What::Cloned { rank });
        Ok(id)
    }

    pub(crate) fn room_for_session(&self) -> Result<()> {
        if self.sessions.len() >= limits::SESSIONS {
            let cause =
                format!("{} has {} sessions, its limit; free some", self.node.name, self.sessions.len());
            return Err(Error::new(Errno::AGAIN, cause));
        }
        self.not_when_full()
    }

    pub(crate) fn not_when_full(&self) -> Result<()> {
        match self.disk_full {
            true => {
                let cause =
                    format!("{} cannot write its journal: the disk is full; free some space", self.node.name);
                Err(Error::new(Errno::NOSPC, cause))
            }
            false => Ok(()),
        }
    }

    fn not_when_drained(&self) -> Result<()> {
        match self.cloud.drained {
            true => {
                let cause = format!("{} is drained: it starts nothing new until `resume`", self.node.name);
                Err(Error::new(Errno::AGAIN, cause))
            }
            false => Ok(()),
        }
    }

    /// Asks the provider to start a program; `words` empty means what `args` says.
    pub(crate) fn exec(&mut self, id: SessionId, words: Vec<Vec<u8>>) -> Result<()> {
        self.not_when_full()?;
        // What a group's output goes through is no new work.
        if !self.reducers.contains_key(&id) {
            self.not_when_drained()?;
        }
        let session = self.session(id)?;
        if let Some(live) = session.live.as_ref().filter(|live| live.setup.user.uid.is_foreign()) {
            let (name, me) = (&live.setup.user.name, &self.node.name);
            let cause =
                format!("{name} has no account on {me}: nothing is run as a user that it does not know");
            return Err(Error::new(Errno::ACCES, cause));
        }
        match session.state {
            State::Fresh => {}
            State::Starting | State::Running { .. } => {
                return Err(Error::new(
                    Errno::BUSY,
                    format!("session {} runs already: `status` tells what", id.0),
                ));
            }
            State::Ended { .. } => {
                let cause = format!("session {} has run, and ended; clone another", id.0);
                return Err(Error::new(Errno::BUSY, cause));
            }
        }
        let argv = if words.is_empty() { words::split(&session.command)? } else { words };
        if argv.is_empty() {
            let cause = "exec needs a program: exec prog [arg…], or write the words to args first";
            return Err(Error::new(Errno::INVAL, cause));
        }
        if argv.iter().any(|w| w.contains(&0)) {
            return Err(Error::new(Errno::INVAL, "a word of a command cannot contain NUL"));
        }
        let argv = self.substituted(session, argv);
        let command = words::join(&argv);
        let live = session.live.as_deref().expect("a fresh session is live");
        for line in crate::edit::variables(&live.setup.env) {
            crate::edit::check_variable(line)?;
        }
        let owner = session.owner;
        let puts = crate::store::lines(&live.setup.ns)?;
        let here = self.pin_contents(id, &puts)?;
        let session = self.sessions.get_mut(&id).expect("looked up above");
        if *session.command != *command {
            session.command = command.into();
        }
        session.state = State::Starting;
        session.why = "";
        if let Some(live) = &mut session.live {
            live.refused_before = live.refused.take();
            live.starts += 1;
            live.awaits = Some(argv);
        }
        session.unsaid = Unsaid::Nothing;
        let command = words::lossy(&session.command);
        self.running += 1;
        self.set_timer(id, Timer::Lease, None);
        self.append_session(id, Unsaid::Anything);
        if here {
            self.launch(id);
        }
        self.happened(Some(id), owner, What::Exec { command });
        Ok(())
    }

    /// A content has come that this session was given: it starts if that was the last.
    pub(crate) fn launch_if_ready(&mut self, id: SessionId) {
        if self.awaits_contents(id) && self.contents_here(id) {
            self.launch(id);
        }
    }

    /// Whether it is starting, and the provider was not asked yet.
    pub(crate) fn awaits_contents(&self, id: SessionId) -> bool {
        self.sessions.get(&id).and_then(|s| s.live.as_ref()).is_some_and(|live| live.awaits.is_some())
    }

    /// Everything is here: the provider is asked to start it.
    fn launch(&mut self, id: SessionId) {
        let live = self.sessions.get_mut(&id).and_then(|session| session.live.as_mut());
        let Some((argv, setup)) = live.and_then(|live| Some((live.awaits.take()?, live.setup.clone())))
        else {
            return;
        };
        let launch = Launch {
            session: id,
            argv,
            env: self.environment(&setup),
            dir: setup.dir.clone(),
            puts: crate::store::lines(&setup.ns).into_iter().flatten().map(|line| line.put).collect(),
            user: setup.user.clone(),
            nice: setup.nice,
            limits: setup.limits,
            tty: setup.tty,
        };
        self.out.push(Effect::Act(Act::Start(Box::new(launch))));
    }

    /// `{rank} {size} {node} {id}` of a member's command.
    fn substituted(&self, session: &Session, argv: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let Some((group, rank)) = session.member_of else { return argv };
        if !argv.iter().any(|word| word.contains(&b'{')) {
            return argv;
        }
        let size = self.sessions.get(&group).map_or(1, |g| g.size());
        let known = [
            ("{rank}", rank.to_string()),
            ("{size}", size.to_string()),
            ("{node}", self.node.name.to_string()),
            ("{id}", session.id.0.to_string()),
        ];
        let replace = |mut word: Vec<u8>| {
            for (name, value) in &known {
                let mut from = 0;
                while let Some(at) = word[from..].windows(name.len()).position(|w| w == name.as_bytes()) {
                    word.splice(from + at..from + at + name.len(), value.bytes());
                    from += at + value.len();
                }
            }
            word
        };
        argv.into_iter().map(replace).collect()
    }

    /// The node's environment, the user's, the session's: the last one of a name counts. Members that are set up alike have the same.
    fn environment(&mut self, setup: &Arc<Setup>) -> Environment {
        if let Some((of, env)) = &self.env_of
            && Arc::ptr_eq(of, setup)
        {
            return env.clone();
        }
        let user = &setup.user;
        let mut env: Vec<Vec<u8>> = Vec::with_capacity(self.node.env.len() + 8);
        let mut set = |line: Vec<u8>| {
            let name = line.iter().position(|b| *b == b'=').map_or(line.len(), |at| at + 1);
            match env.iter_mut().find(|old| old.starts_with(&line[..name])) {
                Some(old) => *old = line,
                None => env.push(line),
            }
        };
        self.node.env.iter().cloned().for_each(&mut set);
        for (name, value) in
            [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &user.shell)]
        {
            set([name, "=", value].concat().into_bytes());
        }
        crate::edit::variables(&setup.env).for_each(|line| set(line.to_vec()));
        let env = Arc::new(env);
        self.env_of = Some((setup.clone(), env.clone()));
        env
    }

    // ── what the provider tells ────────────────────────────────────────────────────────────

    pub(crate) fn told(&mut self, tell: Tell) {
        match tell {
            Tell::Started { session, pid, mark, limits_by } => self.started(session, pid, mark, limits_by),
            Tell::Refused { session, error } => {
                // Of a start that was asked for before a restart: nothing of it has run.
                let unrun = error.errno == Errno::CANCELED;
                self.not_started(session, &error, unrun);
            }
            Tell::Grew { session, stream, len } => {
                self.output_changed(session, stream, |out| {
                    out.full = false;
                    out.len = out.len.max(len);
                });
            }
            Tell::Closed { session, stream } => self.output_changed(session, stream, |out| out.closed = true),
            Tell::Full { session, stream } => {
                self.output_changed(session, stream, |out| out.full = true);
                if let Some(owner) = self.sessions.get(&session).map(|s| s.owner) {
                    let stream = if stream == Stream::Out { "stdout" } else { "stderr" };
                    self.happened(Some(session), owner, What::Full { stream });
                }
            }
            Tell::Fed { session, result } => self.fed(session, result),
            Tell::Exited { session, exit } => self.exited(session, exit),
        }
    }

    fn started(&mut self, id: SessionId, pid: u32, mark: String, limits_by: Arc<str>) {
        let now = self.clock;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let adopted = matches!(session.state, State::Running { .. });
        match &mut session.state {
            State::Starting => session.state = State::Running { pid, at: now.wall, stopped: false },
            State::Running { pid: known, .. } => *known = pid,
            State::Fresh | State::Ended { .. } => return,
        }
        let owner = session.owner;
        let State::Running { at, .. } = session.state else { return };
        let mut wall = None;
        let mut feed = Vec::new();
        let mut close = false;
        if let Some(live) = &mut session.live {
            live.mark = mark;
            live.limits_by = limits_by;
            wall = live.setup.limits.wall.map(|limit| now.mono + limit.saturating_sub(now.wall.since(at)));
            feed = core::mem::take(&mut live.stdin.early);
            close = live.stdin.closed;
            if !feed.is_empty() {
                live.stdin.feeding = Some(None);
            }
        }
        self.set_timer(id, Timer::Wall, wall);
        if adopted && let Some(live) = self.sessions.get(&id).and_then(|s| s.live.as_ref()) {
            // The provider knows what runs, but not what it may use.
            self.out.push(Effect::Act(Act::Limit { session: id, limits: live.setup.limits }));
        }
        if self.sessions.get(&id).is_some_and(|s| s.life.freeing) {
            // Nobody wants it any more; that was said before there was anything to kill, or before a restart.
            self.signal(id, KILL, true);
        }
        if !feed.is_empty() {
            self.out.push(Effect::Act(Act::Feed { session: id, data: feed }));
        }
        if close {
            self.out.push(Effect::Act(Act::CloseStdin(id)));
        }
        self.touch_state(id);
        // First who wrote before `exec`, then lines and writes that came after it, in their order.
        self.flow_of_member(id, None);
        self.reducer_took(id);
        self.parked.notify(On::Fed(id));
        self.parked.notify(On::Life(id));
        self.happened(Some(id), owner, if adopted { What::Adopted { pid } } else { What::Started { pid } });
    }

    /// It could not be started.
    pub(crate) fn refused(&mut self, id: SessionId, error: &Error) {
        self.not_started(id, error, false);
    }

    /// The same; and whether that is so only since the node died before the program could be tried (`unrun`).
    fn not_started(&mut self, id: SessionId, error: &Error, unrun: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.state != State::Starting {
            return;
        }
        let (owner, freeing) = (session.owner, session.life.freeing);
        session.state = State::Fresh;
        if let Some(live) = &mut session.live {
            live.refused = Some(error.clone());
            live.awaits = None;
        }
        self.unpin_contents(id);
        self.running -= 1;
        // A `kill` meanwhile was for this program, not for the next.
        self.set_timer(id, Timer::Kill, None);
        self.failed(Some(id), owner, "exec", "start", error);
        self.happened(Some(id), owner, What::Refused { cause: format!("{error}") });
        self.touch(id);
        self.parked.notify(On::Life(id));
        self.parked.notify(On::Ends);
        // Its group is told, whoever freed it.
        self.member_refused(id, error, unrun);
        if freeing {
            return self.free(id);
        }
        self.reducer_refused(id, error);
        self.settle_life(id);
    }

    fn output_changed(
        &mut self,
        id: SessionId,
        stream: Stream,
        change: impl FnOnce(&mut crate::session::Output),
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        change(session.out_mut(stream));
        // While it runs, the spool itself knows its length; and a group's is made anew after a restart.
        if session.is_group() {
            let len = session.out(stream).len;
            self.appended(id, stream, Some(len));
        } else if !session.runs() {
            self.touch_state(id);
        }
        self.parked.notify(On::Output(id, stream));
        self.parked.notify(On::Console(id));
        self.flow_of_member(id, Some(stream));
        if stream == Stream::Out {
            self.reducer_wrote(id);
        }
    }

    fn exited(&mut self, id: SessionId, exit: Exit) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (pid, started) = match session.state {
            State::Running { pid, at, .. } => (pid, at),
            State::Starting => (0, exit.at),
            State::Fresh | State::Ended { .. } => return,
        };
        let order = self.next_end;
        self.next_end += 1;
        self.running -= 1;
        session.state = State::Ended { pid, started, exit, order };
        self.unpin_contents(id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (owner, freeing) = (session.owner, session.life.freeing);
        let feeding = session.live.as_mut().and_then(|l| l.stdin.feeding.take()).flatten();
        self.set_timer(id, Timer::Kill, None);
        self.set_timer(id, Timer::Wall, None);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.live = None;
            for out in &mut session.output {
                out.full = false;
            }
        }
        if let Some((client, tag, _)) = feeding {
            self.answer_parked(client, tag, Reply::Failed(ended_stdin(id)));
        }
        self.ended.insert(order, id);
        self.touch_state(id);
        for stream in [None, Some(Stream::Out), Some(Stream::Err)] {
            self.flow_of_member(id, stream);
        }
        self.reducer_exited(id);
        self.wake_all(id);
        self.happened(Some(id), owner, What::Ended { how: exit.how });
        self.member_exited(id);
        if freeing {
            return self.free(id);
        }
        self.settle_life(id);
    }

    fn wake_all(&mut self, id: SessionId) {
        for on in [
            On::Life(id),
            On::Output(id, Stream::Out),
            On::Output(id, Stream::Err),
            On::Console(id),
            On::Fed(id),
            On::Gauged(id),
            On::Ends,
        ] {
            self.parked.notify(on);
        }
    }

    pub(crate) fn gauged(&mut self, id: SessionId, usage: Option<Usage>) {
        let now = self.clock.mono;
        if let Some(live) = self.sessions.get_mut(&id).and_then(|s| s.live.as_mut()) {
            live.gauge = Some((now, usage));
        }
        self.parked.notify(On::Gauged(id));
    }

    // ── stdin ──────────────────────────────────────────────────────────────────────────────

    /// One write at a time goes to the program; others wait their turn, in order.
    pub(crate) fn write_stdin(
        &mut self,
        who: crate::Who,
        fid: Fid,
        id: SessionId,
        offset: u64,
        data: Vec<u8>,
    ) -> Outcome {
        let session = self.sessions.get_mut(&id).expect("alive, as was checked");
        let fresh = !matches!(session.state, State::Running { .. });
        let Some(live) = &mut session.live else { return Err(ended_stdin(id)).into() };
        let stdin = &mut live.stdin;
        if stdin.closed {
            return Err(Error::new(Errno::PIPE, format!("stdin of session {} was closed", id.0))).into();
        }
        if stdin.broken {
            return Err(Error::new(Errno::PIPE, format!("the program of session {} closed its stdin", id.0)))
                .into();
        }
        let len = data.len() as u32;
        if data.is_empty() {
            return Outcome::Reply(Reply::Wrote(0));
        }
        if fresh && stdin.early.len() + data.len() <= limits::EARLY_STDIN {
            stdin.early.extend(data);
            return Outcome::Reply(Reply::Wrote(len));
        }
        if session.state == State::Starting {
            // Among the lines for its `ctl` that wait for the start: one of them may be `close stdin`.
            return Outcome::Park(On::Life(id), Ask::Op(op::Op::Write { fid, offset, data }));
        }
        if fresh || stdin.feeding.is_some() {
            return Outcome::Park(On::Fed(id), Ask::Op(op::Op::Write { fid, offset, data }));
        }
        stdin.feeding = Some(Some((who.client, who.tag, len)));
        self.out.push(Effect::Act(Act::Feed { session: id, data }));
        // Parked under a thing of its own: only `Fed` answers it.
        Outcome::Park(On::Feeding(id), Ask::Feeding(id))
    }

    fn fed(&mut self, id: SessionId, result: Result<()>) {
        let Some(live) = self.sessions.get_mut(&id).and_then(|s| s.live.as_mut()) else { return };
        // What was given up says so too (ECANCELED), and the next writer may well be read.
        live.stdin.broken |= result.as_ref().is_err_and(|error| error.errno != Errno::CANCELED);
        if let Some(Some((client, tag, len))) = live.stdin.feeding.take() {
            self.answer_parked(client, tag, result.map_or_else(Reply::Failed, |()| Reply::Wrote(len)));
        }
        self.parked.notify(On::Fed(id));
        self.flow_of_member(id, None);
        self.reducer_took(id);
    }

    /// Whoever wrote has given up: what is not taken is dropped.
    pub(crate) fn unfeed(&mut self, id: SessionId) {
        if let Some(live) = self.sessions.get_mut(&id).and_then(|s| s.live.as_mut())
            && let Some(feeding @ Some(_)) = &mut live.stdin.feeding
        {
            *feeding = None;
            self.out.push(Effect::Act(Act::Unfeed(id)));
        }
    }

    /// A reader of an output has come to `offset`. A rolling session lets go what all of them have behind them.
    pub(crate) fn reader_at(
        &mut self,
        client: ClientId,
        fid: Fid,
        id: SessionId,
        stream: Stream,
        offset: u64,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let out = *session.out(stream);
        let Some(live) = &mut session.live else { return };
        // Whoever asks beyond the end has not read what is before it.
        live.readers.insert((client, fid, stream), offset.min(out.len));
        // What a share says is only on its way.
        let is_share = session.group.as_ref().is_some_and(|group| group.is_share);
        // A result is kept: whoever had some of it may have to have it again.
        if !live.roll && !is_share || session.flow.as_ref().is_some_and(|flow| flow.reduces(stream)) {
            return;
        }
        let slowest =
            live.readers.iter().filter(|(r, _)| r.2 == stream).map(|(_, at)| *at).min().unwrap_or(0);
        // Sooner, where less is kept: else what is full would wait for room, and the room for what is full.
        let step = live.setup.limits.output.map_or(limits::ROLL, |most| limits::ROLL.min(most.div_ceil(2)));
        if slowest >= out.trimmed + step && slowest > out.trimmed {
            session.out_mut(stream).trimmed = slowest;
            session.out_mut(stream).full = false;
            // After a restart, nobody may be promised what is gone.
            self.append_session(id, Unsaid::State);
            self.out.push(Effect::Act(Act::Trim { session: id, stream, offset: slowest }));
            self.appended(id, stream, None);
        }
    }

    // ── the end ────────────────────────────────────────────────────────────────────────────

    /// A fid of it was opened.
    pub(crate) fn hold(&mut self, id: SessionId, place: Place) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.holders += 1;
            session.cut_off &= !place.is_ctl();
            let ends = session.ends();
            // Of a member, the group's lease.
            self.settle_life(id);
            self.tell_until(id, ends);
        }
    }

    /// An open fid of it was clunked.
    pub(crate) fn release(&mut self, client: ClientId, fid: Fid, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.holders -= 1;
        if let Some(live) = &mut session.live {
            for stream in [Stream::Out, Stream::Err] {
                live.readers.remove(&(client, fid, stream));
            }
        }
        session.cut_off |= self.cut_off;
        if session.holders == 0 && session.life.kill_on_close && (session.cut_off || session.life.by_word) {
            // Nobody has closed it: its link broke. Whoever had it has the lease to come back. Where a node is between the two, the link
            // that broke is not ours, and looks like a close; so a share is given back by `free` only.
            let (ends, at) = (session.ends(), session.lease_from(self.clock.mono));
            self.set_timer(id, Timer::Lease, Some(at));
            self.touch(id);
            self.tell_until(id, ends);
        } else if session.holders == 0 && session.life.kill_on_close {
            self.close_for_good(id);
        } else {
            self.settle_life(id);
        }
    }

    /// The strict rule: nobody holds it, so it goes.
    fn close_for_good(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.runs() {
            session.life.freeing = true;
            session.why = "it is ended since nobody holds it open (killonclose)";
            self.touch(id);
            self.end_politely(id);
        } else {
            self.free(id);
        }
    }

    /// TERM now, KILL for everything after the grace.
    pub(crate) fn end_politely(&mut self, id: SessionId) {
        self.signal(id, TERM, false);
        if self.sessions.get(&id).is_none_or(|s| !s.runs()) {
            return;
        }
        if self.sessions.get(&id).is_some_and(|s| matches!(s.state, State::Running { stopped: true, .. })) {
            self.out.push(Effect::Act(Act::Thaw(id)));
            self.set_stopped(id, false);
        }
        let at = self.clock.mono + limits::GRACE;
        self.set_timer(id, Timer::Kill, Some(at));
    }

    /// The node is being stopped: what runs is asked to end, and nothing is made anew for it here. What waits in groups is in the journal.
    pub(crate) fn end_all(&mut self) {
        self.place_no_more();
        let running = self.sessions.values().filter(|session| session.runs()).map(|session| session.id);
        for id in running.collect::<Vec<_>>() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.why = "it was ended since its node was stopped (down)";
            }
            self.end_politely(id);
        }
    }

    pub(crate) fn signal(&mut self, id: SessionId, signal: i32, all: bool) {
        let Some(owner) = self.sessions.get(&id).map(|s| s.owner) else { return };
        if self.awaits_contents(id) {
            let cause = "it was ended while it waited for contents";
            return self.refused(id, &Error::new(Errno::CANCELED, cause));
        }
        self.out.push(Effect::Act(Act::Signal { session: id, signal, all }));
        self.happened(Some(id), owner, What::Signal { signal });
    }

    pub(crate) fn set_stopped(&mut self, id: SessionId, to: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let owner = session.owner;
        if let State::Running { stopped, .. } = &mut session.state
            && *stopped != to
        {
            *stopped = to;
            self.touch_state(id);
            self.parked.notify(On::Life(id));
            self.happened(Some(id), owner, if to { What::Stopped } else { What::Continued });
        }
    }

    /// Sets or takes back the lease, as things stand now. A member's life is its group's.
    pub(crate) fn settle_life(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        if let Some((group, _)) = session.member_of {
            return self.settle_life(group);
        }
        let Life { kill_on_close, by_word, .. } = session.life;
        if kill_on_close && (by_word || (session.holders == 0 && session.expires.is_some())) {
            return;
        }
        let held = |s: &Session| s.holders > 0 || s.runs();
        let runs = |id| self.sessions.get(&id).is_some_and(|s| s.runs());
        // Members last: there may be very many, and this is asked at the end of each.
        let busy = || {
            held(session)
                || session.group.as_ref().is_some_and(|group| group.is_busy())
                || session.flow.as_ref().is_some_and(|flow| flow.reducers().any(runs))
                || session.members.values().filter_map(|m| self.sessions.get(m)).any(|s| held(s))
        };
        let at = (!session.life.keep && !busy()).then(|| self.clock.mono + session.life.lease);
        self.set_timer(id, Timer::Lease, at);
    }

    /// Gives it all back. What runs is killed first, and the rest follows when it has ended.
    pub(crate) fn free(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let reducers = session.flow.iter().flat_map(|flow| flow.reducers()).collect::<Vec<_>>();
        if let Some(group) = &mut session.group {
            // Nobody will ask any more how they ended, nor who has not.
            (group.log, group.active) = (Vec::new(), RankSet::new());
        }
        for (_, member) in session.ever_members() {
            self.free(member);
        }
        // Before it: the journal would not know whose they were.
        for reducer in reducers {
            self.free_reducer(reducer);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.runs() {
            let again = core::mem::replace(&mut session.life.freeing, true);
            if !again {
                session.why = "it is being freed";
            }
            self.touch(id);
            return self.signal(id, KILL, true);
        }
        for timer in [Timer::Lease, Timer::Kill, Timer::Wall] {
            self.set_timer(id, timer, None);
        }
        self.keep_end(id);
        self.member_leaves(id);
        let mut session = self.sessions.remove(&id).expect("looked up above");
        self.is_gone(id);
        if let Some(group) = session.group.take() {
            self.group_freed(id, *group, session.owner);
        }
        // First the journal: should the node die between the two, a spool is left over, and not a session whose
        // output is gone.
        self.append(format!("free {}", id.0).into_bytes());
        if let State::Ended { order, .. } = session.state {
            self.ended.remove(&order);
            self.out.push(Effect::Act(Act::Free(id)));
        }
        self.reducer_freed(id);
        if let Some(flow) = session.flow.take() {
            if flow.wrote() {
                self.out.push(Effect::Act(Act::Free(id)));
            }
            self.flow_freed(*flow);
        }
        if let Some((of, rank)) = session.member_of
            && let Some(group) = self.sessions.get_mut(&of).filter(|g| g.member(rank) == Some(id))
        {
            group.members.remove(&rank);
            self.flow_gone(of, id);
            self.free_earlier(of, rank);
            // It may have been the last that was busy.
            self.settle_life(of);
        } else if let Some((of, rank)) = session.member_of {
            self.earlier_freed(of, rank, id);
        }
        self.wake_all(id);
        self.happened(Some(id), session.owner, What::Freed);
    }

    // ── time ───────────────────────────────────────────────────────────────────────────────

    pub(crate) fn set_timer(&mut self, id: SessionId, timer: Timer, at: Option<Mono>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let slot = match timer {
            Timer::Lease => &mut session.expires,
            Timer::Kill | Timer::Wall => match &mut session.live {
                Some(live) if timer == Timer::Kill => &mut live.kill_at,
                Some(live) => &mut live.wall_at,
                None => return,
            },
        };
        let before = core::mem::replace(slot, at);
        if let Some(before) = before {
            self.timers.remove(&(before, id, timer));
        }
        if let Some(at) = at {
            self.timers.insert((at, id, timer));
        }
        // A node that is started again goes by what is written: who came back in time is not to be late after all.
        if timer == Timer::Lease && before != at && self.sessions[&id].life.kill_on_close {
            self.touch(id);
        }
    }

    pub(crate) fn ring_timers(&mut self) {
        while let Some(&(at, id, timer)) = self.timers.first()
            && at <= self.clock.mono
        {
            self.set_timer(id, timer, None);
            match timer {
                Timer::Lease if self.sessions.get(&id).is_some_and(|s| s.runs()) => self.close_for_good(id),
                Timer::Lease => self.free(id),
                Timer::Kill => self.signal(id, KILL, true),
                Timer::Wall => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.why = "it has reached `limit wall`";
                        self.end_politely(id);
                    }
                }
            }
        }
    }

    pub(crate) fn set_wake(&mut self) {
        let parts = self.part_timers.first().map(|(at, ..)| *at);
        let timers = self.timers.first().map(|(at, ..)| *at);
        let fetches = self.store.next_again();
        let at = [timers, self.cloud.push_at, parts, self.next_share_deadline(), fetches, self.next_until()]
            .into_iter()
            .flatten()
            .min();
        if at != self.wake_at {
            self.wake_at = at;
            self.out.push(Effect::WakeAt(at));
        }
    }

    // ── the journal ────────────────────────────────────────────────────────────────────────

    /// Its line in the journal is written before the event is answered.
    pub(crate) fn touch(&mut self, id: SessionId) {
        self.unsaid(id, Unsaid::Anything);
    }

    /// The same, where it only stands elsewhere now, or has written more.
    fn touch_state(&mut self, id: SessionId) {
        self.unsaid(id, Unsaid::State);
    }

    fn unsaid(&mut self, id: SessionId, what: Unsaid) {
        if let Some(session) = self.sessions.get_mut(&id) {
            if session.unsaid == Unsaid::Nothing {
                self.dirty.push(id);
            }
            session.unsaid = session.unsaid.max(what);
        }
    }

    pub(crate) fn write_journal(&mut self) {
        if !self.recalled {
            return;
        }
        for id in core::mem::take(&mut self.dirty) {
            self.say(id);
        }
        if self.journal_len > limits::JOURNAL.max(2 * self.journal_base) {
            self.rewrite_journal();
        }
    }

    /// What the journal does not say of a session yet.
    pub(crate) fn say(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let what = core::mem::replace(&mut session.unsaid, Unsaid::Nothing);
            self.append_session(id, what);
        }
    }

    /// So much of a session, as a line.
    fn append_session(&mut self, id: SessionId, what: Unsaid) {
        let line = match (self.sessions.get(&id), what) {
            (None, _) | (_, Unsaid::Nothing) => return,
            (Some(session), Unsaid::State) => journal::write_state(session),
            (Some(session), Unsaid::Anything) => {
                let mut line = Vec::with_capacity(256);
                self.write_session(session, &mut line);
                line
            }
        };
        self.append(line);
    }

    fn write_session(&self, session: &Session, line: &mut Vec<u8>) {
        let group = session.member_of.and_then(|(group, _)| self.sessions.get(&group));
        journal::write(session, group.map(|group| &**group), line);
        if group.is_some_and(|group| self.holds_slot(group, session)) {
            line.extend_from_slice(b" slot=1");
        }
        line.extend(self.going_word(session.id).into_iter().flat_map(String::into_bytes));
    }

    pub(crate) fn append(&mut self, line: Vec<u8>) {
        self.journal_len += line.len() as u64 + 1;
        self.out.push(Effect::Journal(line));
    }

    /// In one piece: there may be a million lines.
    fn rewrite_journal(&mut self) {
        let mut text = format!("next {}\n", self.next_id).into_bytes();
        let add = |lines: Vec<Vec<u8>>, text: &mut Vec<u8>| {
            lines.iter().for_each(|line| text.extend([line, &b"\n"[..]].concat()));
        };
        add(self.cloud_lines(), &mut text);
        for session in self.sessions.values() {
            self.write_session(session, &mut text);
            text.push(b'\n');
        }
        self.write_groups(&mut text);
        add(self.behind_lines().collect(), &mut text);
        add(self.flow_lines(), &mut text);
        self.journal_base = text.len() as u64;
        self.journal_len = 0;
        self.out.push(Effect::Rewrite(text));
    }

    pub(crate) fn recall(&mut self, line: &[u8]) {
        let read = journal::read(line, |uid| self.user(uid));
        match read {
            Some(journal::Line::Next(id)) => self.next_id = self.next_id.max(id),
            Some(journal::Line::Free(id)) => {
                self.next_id = self.next_id.max(id.0 + 1);
                self.keep_end(id);
                self.recall_going(id, None);
                self.sessions.remove(&id);
            }
            Some(journal::Line::State(id, stands)) => {
                // One that was freed: the journal says so in another place.
                if let Some(session) = self.sessions.get_mut(&id) {
                    stands.apply(session);
                }
            }
            Some(journal::Line::Session(mut session, of)) => {
                self.next_id = self.next_id.max(session.id.0 + 1);
                let group = session.member_of.and_then(|(group, _)| self.sessions.get(&group));
                if of.like {
                    let Some(group) = group else { return self.not_understood(line) };
                    session.become_like(group);
                    if of.same {
                        session.command = group.command.clone();
                    }
                }
                if of.set_up
                    && let Some(live) = &mut session.live
                {
                    // Else nobody knows as whom it is to run.
                    let model = group.and_then(|group| group.live.as_ref());
                    let Some(model) = model else { return self.not_understood(line) };
                    live.setup = model.setup.clone();
                }
                if of.slot {
                    self.recall_slot(&session);
                }
                self.recall_going(session.id, of.left);
                // What it has as a group is in lines of its own.
                if let Some(before) = self.sessions.get_mut(&session.id) {
                    (session.group, session.flow) = (before.group.take(), before.flow.take());
                }
                self.sessions.insert(session.id, session);
            }
            None if self.recall_flow(line).is_some() => {}
            None if self.recall_cloud(line).is_some() || self.recall_group(line).is_some() => {}
            None if self.recall_behind(line).is_some() => {}
            None => self.not_understood(line),
        }
    }

    fn not_understood(&mut self, line: &[u8]) {
        let shown = words::lossy(&line[..line.len().min(80)]);
        let error = Error::new(Errno::IO, format!("a line of the journal was not understood: {shown:?}"));
        self.failed(None, self.node.owner.uid, "", "recall", &error);
    }

    /// Who a user is: for what waits to know it, and for what was recalled before it was known.
    pub(crate) fn know(&mut self, user: Arc<op::User>) {
        for session in self.sessions.values_mut().filter_map(|s| s.live.as_mut()) {
            if session.setup.user.uid == user.uid && session.setup.user != user {
                Arc::make_mut(&mut session.setup).user = user.clone();
            }
        }
        self.parked.notify(On::User(String::from(&*user.name)));
        self.parked.notify(On::User(user.uid.0.to_string()));
        self.users.insert(user.uid, user);
    }

    /// Whom another node means by a name: only the host can say. A name of digits is no number of this machine's, and
    /// one that cannot be a name here stands for somebody who is called otherwise.
    pub(crate) fn admit(&mut self, name: String, user: Arc<op::User>) {
        if self.admitted.len() >= limits::ADMITTED {
            self.admitted.clear();
        }
        self.admitted.insert(name.clone(), user.uid);
        self.know(user);
        self.parked.notify(On::Admitted(name));
    }

    /// The journal is read: find what ran, and give everything its place again.
    pub(crate) fn recall_done(&mut self) {
        let ids: Vec<SessionId> = self.sessions.keys().collect();
        for &id in &ids {
            let session = &self.sessions[&id];
            let freeing = session.life.freeing;
            if let Some((group, rank)) = session.member_of {
                // Only what can be a group: a file may say anything.
                let whole = |g: &&mut Box<Session>| g.member_of.is_none() && g.state == State::Fresh;
                match self.sessions.get_mut(&group).filter(whole) {
                    Some(group) => {
                        let before = group.members.insert(rank, id);
                        if let Some(ranks) = &mut group.group {
                            // The one with the higher number was made anew.
                            if let Some(before) = before {
                                ranks.earlier.entry(rank).or_default().push(before);
                            }
                            ranks.size = ranks.size.max(rank + 1);
                            if !freeing {
                                ranks.active.insert(rank);
                            }
                        }
                    }
                    None => self.sessions.get_mut(&id).expect("just seen").member_of = None,
                }
            }
        }
        for &id in &ids {
            let session = &self.sessions[&id];
            if let State::Ended { order, .. } = session.state {
                let order = if self.ended.contains_key(&order) { self.next_end } else { order };
                self.next_end = self.next_end.max(order + 1);
                self.ended.insert(order, id);
                if let Some(State::Ended { order: kept, .. }) =
                    self.sessions.get_mut(&id).map(|session| &mut session.state)
                {
                    *kept = order;
                }
                if self.sessions[&id].output.iter().any(|out| out.len > 0) {
                    // Nothing runs, but there is a spool to read.
                    self.out.push(Effect::Act(Act::Adopt { session: id, mark: String::new() }));
                }
            } else if session.runs() {
                self.running += 1;
                let mark = session.live.as_ref().map(|l| l.mark.clone()).unwrap_or_default();
                self.out.push(Effect::Act(Act::Adopt { session: id, mark }));
            }
            self.settle_life(id);
        }
        for id in ids {
            let Some(session) = self.sessions.get(&id).filter(|s| s.life.kill_on_close) else { continue };
            // Its client lost its fid when the node died; it has the lease to come back, or what is left of it. A group too, though
            // its members run.
            let at = session.lease_from(self.clock.mono);
            self.set_timer(id, Timer::Lease, Some(at));
        }
        // Each once, however many sessions there are.
        let named =
            self.sessions.values().flat_map(|s| [Some(s.owner), s.live.as_ref().map(|l| l.setup.user.uid)]);
        let unknown: BTreeSet<Uid> = named.flatten().filter(|uid| !self.users.contains_key(uid)).collect();
        self.out.extend(unknown.into_iter().map(|uid| Effect::FindUser(uid.0.to_string())));
        self.groups_recalled();
        for session in self.sessions.values_mut().filter(|session| session.is_group()) {
            // What was collected is collected anew.
            session.output = Default::default();
        }
        self.reducers_recalled();
        self.feeds_recalled();
        self.recalled = true;
        self.rewrite_journal();
    }
}

fn ended_stdin(id: SessionId) -> Error {
    Error::new(Errno::PIPE, format!("session {} has ended; nobody reads its stdin", id.0))
}
