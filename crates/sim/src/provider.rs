//! A provider in memory. It keeps spools, remembers what it was asked and told, outlives the kernel as programs
//! do, and asserts that whoever asks keeps to the protocol of [`op::Act`].

use op::{Act, Errno, Error, Exit, How, Launch, SessionId, Stream, Tell, Usage};
use std::collections::{BTreeMap, BTreeSet};

/// Where a program stands, as far as was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    /// Asked for, not answered.
    Starting,
    /// Told as started.
    Running,
    /// Told as ended.
    Ended,
}

/// One program and its spools.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it stands.
    pub stand: Stand,
    /// What was asked for.
    pub launch: Launch,
    /// Its process, once it started.
    pub pid: u32,
    /// All that it wrote.
    pub spool: [Vec<u8>; 2],
    /// Bytes that were let go.
    pub trimmed: [u64; 2],
    /// Which outputs were told as closed.
    pub closed: [bool; 2],
    /// What it is being fed.
    pub feeding: Option<Vec<u8>>,
    /// The feeding was given up.
    pub unfed: bool,
    /// Bytes that it took.
    pub taken: Vec<u8>,
    /// Its stdin is at its end.
    pub eof: bool,
    /// Signals sent; whether to everything.
    pub signals: Vec<(i32, bool)>,
    /// Stopped where it is.
    pub frozen: bool,
    /// How it ended.
    pub exit: Option<Exit>,
    /// A new kernel asked for it, and was not answered yet.
    pub adopting: bool,
}

/// All programs of a node.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    /// What it has.
    pub programs: BTreeMap<SessionId, Program>,
    /// Adopted in vain: never had, or lost.
    pub lost: BTreeSet<SessionId>,
    /// What the kernel wrote itself, for groups, and what of it was let go.
    pub written: BTreeMap<(SessionId, Stream), (Vec<u8>, u64)>,
    /// Sessions that were ever started, to see that none is started twice.
    pub started: BTreeSet<SessionId>,
    /// Those that it was ever asked to start: they have spools, so what became of them is not known if they are not here.
    asked: BTreeSet<SessionId>,
    next_pid: u32,
}

fn must<T>(found: Option<T>, what: &str, act: &Act) -> T {
    found.unwrap_or_else(|| panic!("asked of a session that {what}: {act:?}"))
}

/// Whose an act is.
pub fn session_of(act: &Act) -> SessionId {
    match act {
        Act::Start(launch) => launch.session,
        Act::Adopt { session, .. }
        | Act::Signal { session, .. }
        | Act::Feed { session, .. }
        | Act::Resize { session, .. }
        | Act::Limit { session, .. }
        | Act::Trim { session, .. }
        | Act::Append { session, .. }
        | Act::Freeze(session)
        | Act::Thaw(session)
        | Act::Unfeed(session)
        | Act::CloseStdin(session)
        | Act::Free(session) => *session,
    }
}

/// Whose a tell is.
pub fn session_told(tell: &Tell) -> SessionId {
    match tell {
        Tell::Started { session, .. }
        | Tell::Refused { session, .. }
        | Tell::Grew { session, .. }
        | Tell::Full { session, .. }
        | Tell::Closed { session, .. }
        | Tell::Fed { session, .. }
        | Tell::Exited { session, .. } => *session,
    }
}

impl Provider {
    /// Takes what is asked; panics if it could never be asked.
    pub fn asked(&mut self, act: &Act) {
        let id = session_of(act);
        match act {
            Act::Start(launch) => {
                assert!(!launch.argv.is_empty(), "a program has a name: {act:?}");
                assert!(self.started.insert(id), "started twice: {act:?}");
                self.asked.insert(id);
                self.programs.insert(id, Program::new((**launch).clone()));
            }
            Act::Adopt { .. } => match self.programs.get_mut(&id) {
                Some(program) => {
                    program.adopting = true;
                    program.feeding = None;
                    program.unfed = false;
                    // That it was asked to close may not have reached the journal.
                    program.eof = false;
                }
                None => drop(self.lost.insert(id)),
            },
            Act::Append { stream, offset, data, .. } => {
                let (spool, trimmed) = self.written.entry((id, *stream)).or_default();
                if *offset == 0 {
                    (*spool, *trimmed) = (Vec::new(), 0);
                }
                assert_eq!(*offset, spool.len() as u64, "appended at the end of a spool: {act:?}");
                assert!(!data.is_empty(), "nothing is appended: {act:?}");
                spool.extend(data);
            }
            Act::Trim { stream, offset, .. } if self.written.contains_key(&(id, *stream)) => {
                let (spool, trimmed) = self.written.entry((id, *stream)).or_default();
                assert!(
                    (*trimmed..=spool.len() as u64).contains(offset),
                    "trimmed where nothing is: {act:?}"
                );
                *trimmed = *offset;
            }
            Act::Free(_) if self.written.keys().any(|(of, _)| *of == id) => {
                self.written.retain(|(of, _), _| *of != id);
            }
            Act::Free(_) => {
                if !self.lost.remove(&id) {
                    let program = must(self.programs.remove(&id), "is not here", act);
                    assert_eq!(program.stand, Stand::Ended, "freed before its end: {act:?}");
                }
            }
            Act::Signal { .. }
            | Act::Freeze(_)
            | Act::Thaw(_)
            | Act::Feed { .. }
            | Act::Unfeed(_)
            | Act::CloseStdin(_)
            | Act::Resize { .. }
            | Act::Limit { .. }
            | Act::Trim { .. } => {
                // Between a restart and the answer to Adopt, nobody knows yet that it was lost.
                if !self.lost.contains(&id) {
                    must(self.programs.get_mut(&id), "is not here", act).asked(act);
                }
            }
        }
    }

    /// Takes note of what is about to be told.
    pub fn telling(&mut self, tell: &Tell) {
        let id = session_told(tell);
        if let Tell::Refused { .. } = tell {
            self.programs.remove(&id);
            self.started.remove(&id);
            self.lost.remove(&id);
            return;
        }
        let Some(program) = self.programs.get_mut(&id) else { return };
        match tell {
            Tell::Started { pid, .. } => {
                program.stand = Stand::Running;
                program.pid = *pid;
                program.adopting = false;
            }
            Tell::Closed { stream, .. } => program.closed[*stream as usize] = true,
            Tell::Fed { result, .. } => {
                let data = program.feeding.take().unwrap_or_default();
                if result.is_ok() && !program.unfed {
                    program.taken.extend(data);
                }
                program.unfed = false;
            }
            Tell::Exited { exit, .. } => {
                program.stand = Stand::Ended;
                program.exit = Some(*exit);
                program.feeding = None;
                program.adopting = false;
            }
            Tell::Grew { .. } | Tell::Full { .. } | Tell::Refused { .. } => {}
        }
    }

    /// Appends to a spool; what to tell.
    pub fn output(&mut self, id: SessionId, stream: Stream, data: &[u8]) -> Tell {
        let spool = match self.programs.get_mut(&id) {
            Some(program) => &mut program.spool[stream as usize],
            None => return Tell::Grew { session: id, stream, len: 0 },
        };
        spool.extend(data);
        Tell::Grew { session: id, stream, len: spool.len() as u64 }
    }

    /// The bytes of an `AnswerSpool`; panics if they are not there.
    pub fn read(&self, id: SessionId, stream: Stream, offset: u64, count: u32) -> Vec<u8> {
        if let Some((spool, trimmed)) = self.written.get(&(id, stream)) {
            assert!(count > 0 && offset >= *trimmed, "bytes that are there are answered");
            return spool[offset as usize..][..count as usize].to_vec();
        }
        let program =
            self.programs.get(&id).unwrap_or_else(|| panic!("no spool of {id:?} is left to answer from"));
        let (spool, from) = (&program.spool[stream as usize], offset as usize);
        assert!(count > 0, "an answer from a spool has bytes");
        assert!(offset >= program.trimmed[stream as usize], "bytes that were let go are answered");
        let end = from + count as usize;
        assert!(end <= spool.len(), "bytes {from}..{end} of {} are answered", spool.len());
        spool[from..end].to_vec()
    }

    /// What is told of a program that a new kernel has asked for: its spools, then that it runs or how it ended. What the node died
    /// before it could ask for has not run, and what could not be started while the node was away is lost.
    pub fn adopted(&self, id: SessionId, now: op::Wall) -> Vec<Tell> {
        let Some(program) = self.programs.get(&id) else {
            if !self.asked.contains(&id) {
                let cause = "the node was restarted before it could start this program; it has not run";
                return vec![Tell::Refused { session: id, error: Error::new(Errno::CANCELED, cause) }];
            }
            let exit = Exit { how: How::Lost, usage: Usage::default(), at: now };
            return vec![Tell::Exited { session: id, exit }];
        };
        let mut tells = Vec::new();
        for stream in [Stream::Out, Stream::Err] {
            let len = program.spool[stream as usize].len() as u64;
            if len > 0 {
                tells.push(Tell::Grew { session: id, stream, len });
            }
            if program.closed[stream as usize] {
                tells.push(Tell::Closed { session: id, stream });
            }
        }
        let pid = if program.pid == 0 { 100 } else { program.pid };
        tells.push(started(id, pid));
        tells.extend(program.exit.map(|exit| Tell::Exited { session: id, exit }));
        tells
    }

    /// A process number that was not used before.
    pub fn pid(&mut self) -> u32 {
        self.next_pid += 1;
        99 + self.next_pid
    }
}

/// `Started`, as this provider tells it.
pub fn started(session: SessionId, pid: u32) -> Tell {
    Tell::Started { session, pid, mark: format!("{pid}@boot"), limits_by: "sim".into() }
}

impl Program {
    fn new(launch: Launch) -> Program {
        Program {
            stand: Stand::Starting,
            launch,
            pid: 0,
            spool: [Vec::new(), Vec::new()],
            trimmed: [0; 2],
            closed: [false; 2],
            feeding: None,
            unfed: false,
            taken: Vec::new(),
            eof: false,
            signals: Vec::new(),
            frozen: false,
            exit: None,
            adopting: false,
        }
    }

    fn asked(&mut self, act: &Act) {
        // A new kernel may ask before it knows that the program ended while it was away.
        assert!(self.stand != Stand::Ended || self.adopting, "asked of a program that has ended: {act:?}");
        match act {
            Act::Signal { signal, all, .. } => self.signals.push((*signal, *all)),
            Act::Freeze(_) => self.frozen = true,
            Act::Thaw(_) => self.frozen = false,
            Act::Feed { data, .. } => {
                assert_ne!(self.stand, Stand::Starting, "fed before it has started: {act:?}");
                assert!(self.feeding.is_none(), "one feeding at a time: {act:?}");
                assert!(!data.is_empty() && !self.eof, "fed nothing, or after the end: {act:?}");
                self.feeding = Some(data.clone());
            }
            Act::Unfeed(_) => {
                assert!(self.feeding.is_some() && !self.unfed, "nothing to give up: {act:?}");
                self.unfed = true;
            }
            Act::CloseStdin(_) => self.eof = true,
            Act::Trim { stream, offset, .. } => {
                let (before, len) =
                    (self.trimmed[*stream as usize], self.spool[*stream as usize].len() as u64);
                assert!((before..=len).contains(offset), "{offset} is not in {before}..={len}: {act:?}");
                self.trimmed[*stream as usize] = *offset;
            }
            Act::Resize { .. } | Act::Limit { .. } => {}
            Act::Start(_) | Act::Adopt { .. } | Act::Append { .. } | Act::Free(_) => {
                unreachable!("not of one program: {act:?}")
            }
        }
    }
}
