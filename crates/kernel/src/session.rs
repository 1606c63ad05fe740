//! A session: what a program is to be, what it is, and what became of it.
//!
//! ```text
//!   clone        exec           Started              Exited            free, lease
//!  ───────▶ Fresh ───▶ Starting ───────▶ Running ───────────▶ Ended ──────────────▶ (gone)
//!             ▲            │              ▲    ▼
//!             └────────────┘            start stop
//!               Refused
//! ```
//! A session with members is a *group*: it runs nothing itself, and speaks for them.

use crate::{event::ClientId, flow::Flow, group::Group, limits};
use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::time::Duration;
use op::{Error, Exit, How, Limits, Mono, SessionId, Stream, Tag, Uid, User, Wall, WinSize};

/// One session. Small once it has ended, since very many may be kept.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) owner: Uid,
    pub(crate) gid: u32,
    /// Who may use its private files, as permission bits of owner, group and others.
    pub(crate) mode: u16,
    pub(crate) state: State,
    /// The program and its words as one line, quoted; what `args` shows.
    /// Members share their group's, where it is the same.
    pub(crate) command: Arc<[u8]>,
    /// Which group it is a member of, and its rank there.
    pub(crate) member_of: Option<(SessionId, u32)>,
    /// Members that are sessions of this node.
    pub(crate) members: BTreeMap<u32, SessionId>,
    /// What it has of members elsewhere, and of those that are still to be made.
    pub(crate) group: Option<Box<Group>>,
    /// What is done with its members' bytes.
    pub(crate) flow: Option<Box<Flow>>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) created: Wall,
    pub(crate) output: [Output; 2],
    /// Open fids that keep it.
    pub(crate) holders: u32,
    /// Who held it was cut off: until somebody holds its `ctl` again, closing anything of it means nothing.
    pub(crate) cut_off: bool,
    /// When it is freed, if nothing changes.
    pub(crate) expires: Option<Mono>,
    pub(crate) life: Life,
    /// What we did to it, in a sentence; empty if nothing.
    pub(crate) why: &'static str,
    /// Only while it may still run.
    pub(crate) live: Option<Box<Live>>,
    /// What of it the journal does not say yet.
    pub(crate) unsaid: Unsaid,
}

/// How much of a session its lines in the journal do not say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Unsaid {
    Nothing,
    /// Where it stands, and how much it wrote.
    State,
    Anything,
}

/// Where a session stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum State {
    Fresh,
    /// The provider was asked.
    Starting,
    Running {
        pid: u32,
        at: Wall,
        stopped: bool,
    },
    Ended {
        pid: u32,
        started: Wall,
        exit: Exit,
        /// In which order sessions of this node ended.
        order: u64,
    },
}

/// How long it lives, and what ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) lease: Duration,
    pub(crate) keep: bool,
    pub(crate) kill_on_close: bool,
    /// That it is held again is said by whoever holds it (`until`): being opened is not enough.
    pub(crate) by_word: bool,
    /// `free` was said while it ran.
    pub(crate) freeing: bool,
}

/// One of its two outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Output {
    pub(crate) len: u64,
    /// Bytes from the start that are let go.
    pub(crate) trimmed: u64,
    /// Nothing will be added.
    pub(crate) closed: bool,
    /// The program waits at its limit.
    pub(crate) full: bool,
}

/// What a session has before it ends.
#[derive(Debug)]
pub(crate) struct Live {
    /// Shared by the members of a group, until one of them is told otherwise.
    pub(crate) setup: Arc<Setup>,
    pub(crate) stdin: Stdin,
    /// The words of an `exec` that waits for contents; the provider was not asked yet.
    pub(crate) awaits: Option<Vec<Vec<u8>>>,
    /// Why the last `exec` failed.
    pub(crate) refused: Option<Error>,
    /// How many there were, and why the one before the last failed: who waits for that is told so, whatever somebody else has begun since.
    pub(crate) starts: u32,
    pub(crate) refused_before: Option<Error>,
    /// The provider's word to know it again.
    pub(crate) mark: String,
    pub(crate) limits_by: Arc<str>,
    /// It is killed for good at this time.
    pub(crate) kill_at: Option<Mono>,
    /// It is asked to end at this time.
    pub(crate) wall_at: Option<Mono>,
    /// What it has used, when last asked.
    pub(crate) gauge: Option<(Mono, Option<op::Usage>)>,
    /// Output is let go behind its readers.
    pub(crate) roll: bool,
    /// How far each open reader has come.
    pub(crate) readers: BTreeMap<(ClientId, op::Fid, Stream), u64>,
}

/// What is said before `exec`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Setup {
    pub(crate) env: Vec<u8>,
    /// Lines of `ns`.
    pub(crate) ns: Vec<u8>,
    pub(crate) dir: Option<Vec<u8>>,
    pub(crate) user: Arc<User>,
    pub(crate) nice: i8,
    pub(crate) limits: Limits,
    pub(crate) tty: Option<WinSize>,
}

/// The way in. Before the start a little is kept, as a pipe would; then one write at a time is under way.
#[derive(Debug, Default)]
pub(crate) struct Stdin {
    pub(crate) early: Vec<u8>,
    /// The request whose bytes the provider has; `None` inside: nobody waits for it any more.
    pub(crate) feeding: Option<Option<(ClientId, Tag, u32)>>,
    pub(crate) closed: bool,
    /// The last `Fed` said that nobody reads.
    pub(crate) broken: bool,
}

impl Session {
    /// Whether a member is whose its group is.
    pub(crate) fn is_like(&self, group: &Session) -> bool {
        let of = |session: &Session| (session.owner, session.gid, session.mode, session.life.lease);
        of(self) == of(group)
    }

    /// The same of a line that says no more.
    pub(crate) fn become_like(&mut self, group: &Session) {
        (self.owner, self.gid, self.mode) = (group.owner, group.gid, group.mode);
        self.life.lease = group.life.lease;
    }

    /// When it is ended, held or not, unless that is taken back.
    pub(crate) fn ends(&self) -> Option<Mono> {
        self.expires.filter(|_| self.life.kill_on_close)
    }

    /// When its lease is over, if it was cut off now; one that was cut off before and not held again has no new one. After a
    /// restart of the machine the clock may be behind what was written down: a lease is never longer for that.
    pub(crate) fn lease_from(&self, now: Mono) -> Mono {
        let at = now + self.life.lease;
        self.expires.map_or(at, |ends| ends.min(at))
    }

    pub(crate) fn new(id: SessionId, user: &Arc<User>, now: Wall) -> Session {
        Session {
            id,
            owner: user.uid,
            gid: user.groups.first().map_or(user.uid.0, |g| g.0),
            mode: 0o600,
            state: State::Fresh,
            command: Arc::default(),
            member_of: None,
            members: BTreeMap::new(),
            group: None,
            flow: None,
            tags: Vec::new(),
            created: now,
            output: [Output::default(); 2],
            holders: 0,
            cut_off: false,
            expires: None,
            life: Life {
                lease: limits::LEASE,
                keep: false,
                kill_on_close: false,
                by_word: false,
                freeing: false,
            },
            why: "",
            live: Some(Box::new(Live::new(Setup::new(user)))),
            unsaid: Unsaid::Anything,
        }
    }

    /// What is said before `exec`, to be changed.
    pub(crate) fn setup_mut(&mut self) -> Option<&mut Setup> {
        self.live.as_mut().map(|live| Arc::make_mut(&mut live.setup))
    }

    /// Whether a program of it may be alive.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. })
    }

    pub(crate) fn is_group(&self) -> bool {
        !self.members.is_empty()
            || self.group.as_ref().is_some_and(|group| group.is_made() || group.is_growing())
    }

    pub(crate) fn out(&self, stream: Stream) -> &Output {
        &self.output[stream as usize]
    }

    pub(crate) fn out_mut(&mut self, stream: Stream) -> &mut Output {
        &mut self.output[stream as usize]
    }

    /// The word in `status`: how it is or how it ended.
    pub(crate) fn state_word(&self) -> String {
        match &self.state {
            State::Fresh => self.group.as_ref().and_then(|group| group.state()).unwrap_or("fresh").into(),
            State::Starting => "starting".into(),
            State::Running { stopped: false, .. } => "running".into(),
            State::Running { stopped: true, .. } => "stopped".into(),
            State::Ended { exit, .. } => how_word(exit.how),
        }
    }

    /// Why it is in its state, in one sentence; empty where there is nothing to explain.
    pub(crate) fn why(&self) -> String {
        let live = self.live.as_deref();
        if let Some(error) = live.and_then(|l| l.refused.as_ref()) {
            return alloc::format!("{error}");
        }
        if self.output.iter().any(|o| o.full) && self.runs() {
            return "the program waits: its output has reached `limit output`; raise it, or read with `roll` on".into();
        }
        match &self.state {
            State::Fresh if self.is_group() => "a group: see its members".into(),
            State::Fresh => "nothing was started; write `exec prog` to ctl".into(),
            State::Running { stopped: true, .. } => "stopped by `stop`; `start` lets it go on".into(),
            State::Ended { exit: Exit { how: How::Lost, .. }, .. } => {
                "it ended while nothing could see how: the machine restarted, or node and keeper died together".into()
            }
            State::Starting | State::Running { .. } | State::Ended { .. } => {
                self.why.into()
            }
        }
    }
}

impl Live {
    pub(crate) fn new(setup: Setup) -> Live {
        Live {
            setup: Arc::new(setup),
            stdin: Stdin::default(),
            awaits: None,
            refused: None,
            starts: 0,
            refused_before: None,
            mark: String::new(),
            limits_by: "".into(),
            kill_at: None,
            wall_at: None,
            gauge: None,
            roll: false,
            readers: BTreeMap::new(),
        }
    }
}

impl Setup {
    fn new(user: &Arc<User>) -> Setup {
        Setup {
            env: Vec::new(),
            ns: Vec::new(),
            dir: None,
            user: user.clone(),
            nice: 0,
            limits: Limits { output: Some(limits::OUTPUT), ..Limits::default() },
            tty: None,
        }
    }
}

/// `exit=3`, `signal=9`, `lost=node`.
pub(crate) fn how_word(how: How) -> String {
    match how {
        How::Code(code) => alloc::format!("exit={code}"),
        How::Signal(signal) => alloc::format!("signal={signal}"),
        How::Lost => "lost=node".into(),
    }
}
