//! The table of verbs, and how lines written to a `ctl` are run: each on the session it speaks of, on every
//! member of a group, or on every session that a set holds.

use crate::{
    ClientId, Kernel, Who, acts, flow, gather, gone,
    group::{self, Begun},
    life::KILL,
    notices::What,
    park::{Ask, On, Outcome},
    place::{Place, Subject},
    ranks::RankSet,
    session::State,
    words,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use op::{Errno, Error, Fid, Reply, Result, SessionId, Uid};

/// One verb of `ctl`.
pub struct Verb {
    /// The word.
    pub name: &'static str,
    /// Its words, as in a usage line; empty if it has none.
    pub usage: &'static str,
    pub(crate) run: Run,
    /// For the manual.
    pub doc: &'static str,
    /// A line that the manual shows and a test runs.
    pub example: &'static str,
}

/// What a verb does to one session: its number, who asks, and the words after the verb.
pub(crate) type Act = fn(&mut Kernel, SessionId, Uid, &[Vec<u8>]) -> Result<Step>;

/// What a verb of groups does: the session, the words after the verb, and whether it only says what it would do.
pub(crate) type GroupAct = fn(&mut Kernel, SessionId, &[Vec<u8>], bool) -> Result<Begun>;

/// What a verb does, and to whom a line reaches.
pub(crate) enum Run {
    /// To a session.
    Session { act: Act, reach: Reach },
    /// To a session that is to be, or is, a group; planned where there is no parent.
    Group { act: GroupAct },
    /// To the node itself; written to a set, to each node of it where `set`.
    Node { act: fn(&mut Kernel, Uid, &[Vec<u8>]) -> Result<()>, set: bool },
    /// `put`: to each node of a set, and done when the file is there.
    Put,
    /// Goes before another verb.
    Prefix,
}

/// Whom a verb reaches when it is written to more than one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// A session alone, or every member of a group; not for other sets.
    Members,
    /// A group itself as one; not for other sets.
    Whole,
    /// Every member, and of a set every session that runs.
    Running,
    /// Every member, and of a set every session.
    All,
    /// A group as one; of a set every session.
    AllWhole,
}

/// Whether a verb is done when its function returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Done,
    /// When the session has started, or not.
    Starting,
    /// When this user is known.
    User,
}

/// Every verb, in the order of the manual.
pub static VERBS: &[Verb] = &[
    Verb {
        name: "exec",
        usage: "prog [arg…]",
        run: Run::Session { act: acts::exec, reach: Reach::Members },
        doc: "start a program; the write returns when it has started, or fails with the cause. Without words, what `args` says. In a group {rank} {size} {node} {id} are substituted for each member.",
        example: "exec sh -c 'echo hello'",
    },
    Verb {
        name: "dir",
        usage: "PATH",
        run: Run::Session { act: acts::dir, reach: Reach::Members },
        doc: "the directory to start in; the user's home unless said.",
        example: "dir /tmp",
    },
    Verb {
        name: "user",
        usage: "NAME",
        run: Run::Session { act: acts::user, reach: Reach::Members },
        doc: "the account to run as, a login name or a number; only root may name another than the session's owner.",
        example: "user 0",
    },
    Verb {
        name: "ns",
        usage: "put HASH-SIZE NAME [from=NODE]",
        run: Run::Session { act: acts::ns, reach: Reach::Members },
        doc: "adds a line to `ns`: what the program finds in its own directory.",
        example: "ns put af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262-0 nothing from=n0",
    },
    Verb {
        name: "nice",
        usage: "N",
        run: Run::Session { act: acts::nice, reach: Reach::Members },
        doc: "scheduling priority to add, -20 (first) to 19 (last).",
        example: "nice 10",
    },
    Verb {
        name: "limit",
        usage: "key=value…",
        run: Run::Session { act: acts::limit, reach: Reach::All },
        doc: "what it may use: cpu= (processors, 250m is a quarter) mem= pids= wall= output= (bytes kept of each stream) fds=; `none` lifts one. While it runs too, where the node can.",
        example: "limit mem=2G wall=10m",
    },
    Verb {
        name: "tty",
        usage: "[ROWS COLS]",
        run: Run::Session { act: acts::tty, reach: Reach::Members },
        doc: "stdio is a terminal, 24 by 80 unless said.",
        example: "tty 50 132",
    },
    Verb {
        name: "winsize",
        usage: "ROWS COLS",
        run: Run::Session { act: acts::winsize, reach: Reach::Members },
        doc: "the terminal's size, before or after the start.",
        example: "winsize 24 80",
    },
    Verb {
        name: "kill",
        usage: "[SIG]",
        run: Run::Session { act: acts::kill, reach: Reach::Running },
        doc: "end it: TERM, and after 5 s KILL for all that came of it. With a signal, by name or number: just that one.",
        example: "kill INT",
    },
    Verb {
        name: "stop",
        usage: "",
        run: Run::Session { act: acts::stop, reach: Reach::Running },
        doc: "freeze the whole session where it is.",
        example: "stop",
    },
    Verb {
        name: "start",
        usage: "",
        run: Run::Session { act: acts::start, reach: Reach::Running },
        doc: "let a stopped session go on.",
        example: "start",
    },
    Verb {
        name: "close",
        usage: "stdin",
        run: Run::Session { act: acts::close, reach: Reach::Members },
        doc: "end of stdin, after all that was written.",
        example: "close stdin",
    },
    Verb {
        name: "roll",
        usage: "",
        run: Run::Session { act: acts::roll, reach: Reach::Members },
        doc: "let output go behind its slowest open reader, so that `limit output` bounds what is kept and not what is written.",
        example: "roll",
    },
    Verb {
        name: "free",
        usage: "",
        run: Run::Session { act: acts::free, reach: Reach::AllWhole },
        doc: "give everything back: what runs is killed, output and status are forgotten. Of some ranks (`@RANKS free`), the write returns when they are gone.",
        example: "free",
    },
    Verb {
        name: "killonclose",
        usage: "",
        run: Run::Session { act: acts::killonclose, reach: Reach::Whole },
        doc: "end and free it when nothing holds it open any more.",
        example: "killonclose",
    },
    Verb {
        name: "keep",
        usage: "",
        run: Run::Session { act: acts::keep, reach: Reach::Whole },
        doc: "keep it, and its output and status, until `free`.",
        example: "keep",
    },
    Verb {
        name: "lease",
        usage: "SECONDS",
        run: Run::Session { act: acts::lease, reach: Reach::Whole },
        doc: "how long it is kept when nothing holds it open and nothing runs; 60 s unless said.",
        example: "lease 3600",
    },
    Verb {
        name: "until",
        usage: "[SECONDS]",
        run: Run::Session { act: acts::until, reach: Reach::Whole },
        doc: "with `killonclose`: end and free it after that, held or not, unless `until` takes it back; once cut off, it is not enough to open it again, and it is no end of it to close it: `free` is. How a node tells another that it is itself cut off.",
        example: "until 60",
    },
    Verb {
        name: "tag",
        usage: "key=value…",
        run: Run::Session { act: acts::tag, reach: Reach::All },
        doc: "attributes of one's own, shown in info; members inherit them.",
        example: "tag job=nightly",
    },
    Verb {
        name: "untag",
        usage: "key…",
        run: Run::Session { act: acts::untag, reach: Reach::All },
        doc: "take attributes away.",
        example: "untag job",
    },
    Verb {
        name: "stdin",
        usage: "broadcast|robin|hash [KEY]|rank|frames [queued]",
        run: Run::Group { act: flow::stdin },
        doc: "how a group's stdin reaches its members: every record to all, to one after the other, by what it or its field KEY (from 1) says, to the ranks that its first word names, or as frames say. Said before anything flows; `run` then starts all members at once, but with `queued`: what comes in waits until all have their places.",
        example: "stdin robin",
    },
    Verb {
        name: "stdout",
        usage: "lines|tag|fold|rank|reduce CMD…|frames",
        run: Run::Group { act: flow::stdout },
        doc: "how members' output is collected: whole records as they come; each with `RANK: ` before it; equal outputs once, under their ranks; one rank after the other; through a program at every level of the tree; or as frames, which say whose they are. Said before it is opened.",
        example: "stdout tag",
    },
    Verb {
        name: "stderr",
        usage: "lines|tag|fold|rank|reduce CMD…|frames",
        run: Run::Group { act: flow::stderr },
        doc: "the same for stderr.",
        example: "stderr tag",
    },
    Verb {
        name: "records",
        usage: "line|nul|blank|len32|regex RE",
        run: Run::Group { act: flow::records },
        doc: "what a record is, which is never torn: it ends in a newline, in a zero byte, in an empty line, or in what RE matches; or its length is in the four bytes before it.",
        example: "records line",
    },
    Verb {
        name: "whole",
        usage: "",
        run: Run::Group { act: flow::whole },
        doc: "no members are added any more: when these have ended, so has their output. How a node ends what it told another by `member`.",
        example: "whole",
    },
    Verb {
        name: "env",
        usage: "NAME=value…",
        run: Run::Session { act: acts::env, reach: Reach::Members },
        doc: "variables for the program, added to what the file `env` has.",
        example: "env LANG=C",
    },
    Verb {
        name: "res",
        usage: "N|each [term…] [min=M]",
        run: Run::Group { act: group::res },
        doc: "reserve N members on nodes that match the query terms, a slot each: all, or at least M, or none (EAGAIN). `each`: as many as nodes match.",
        example: "res 1",
    },
    Verb {
        name: "run",
        usage: "N|each [width=W] [retry=R] [ranks=RANKS] [term…] -- prog [arg…]",
        run: Run::Group { act: group::run },
        doc: "make N members (`each`: one on each node that matches) and start the program in them, at most W at a time or as many as there are slots; the others are queued. One that fails is tried again R times, elsewhere if its node is lost. With ranks=, only those of the N.",
        example: "run 2 -- true",
    },
    Verb {
        name: "grow",
        usage: "N",
        run: Run::Group { act: group::grow },
        doc: "N members more, as the first ones were had.",
        example: "grow 1",
    },
    Verb {
        name: "shrink",
        usage: "N",
        run: Run::Group { act: group::shrink },
        doc: "the N members of the highest ranks fewer: what runs in them is killed; the write returns when it is gone.",
        example: "shrink 1",
    },
    Verb {
        name: "replace",
        usage: "RANKS",
        run: Run::Group { act: group::replace },
        doc: "end these members, and make them anew where there is room.",
        example: "replace 0",
    },
    Verb {
        name: "member",
        usage: "[size=N] RANKS NODE… [-- prog [arg…]]",
        run: Run::Group { act: group::member },
        doc: "make members of these ranks on these nodes, each this one or below it: how a node tells another what part of a group is there. What is there already is left as it is.",
        example: "member size=1 0 a",
    },
    Verb {
        name: "drain",
        usage: "",
        run: Run::Node { act: acts::drain, set: true },
        doc: "of a node: start nothing new; what runs goes on. Of a set: of each node in it.",
        example: "drain",
    },
    Verb {
        name: "resume",
        usage: "",
        run: Run::Node { act: acts::resume, set: true },
        doc: "of a node that was drained: take sessions again.",
        example: "resume",
    },
    Verb {
        name: "label",
        usage: "key=value…",
        run: Run::Node { act: acts::label, set: true },
        doc: "attributes of a node, shown in info; `loc=a/b/c` is its place in phys/. An empty value takes one away.",
        example: "label loc=home/rack1",
    },
    Verb {
        name: "put",
        usage: "HASH-SIZE PATH [from=NODE] [mode=BITS] [mtime=SECONDS]",
        run: Run::Put,
        doc: "of a node that offers its files: write a content of NODE's store/ to the file PATH of its machine, with the rights of whoever says so; of a set: at each node in it. The content is brought as by `ns put`, each link carries it once. The file is there whole or not at all: it is written under another name beside PATH and renamed. The write returns when it is there.",
        example: "put af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262-0 /tmp/nothing from=n0 mode=644",
    },
    Verb {
        name: "leave",
        usage: "",
        run: Run::Node { act: acts::leave, set: true },
        doc: "of a node: leave the cloud for good, with all that is below it; its programs go on. Of a node that is down: forget it.",
        example: "leave",
    },
    Verb {
        name: "down",
        usage: "[keep]",
        run: Run::Node { act: acts::down, set: false },
        doc: "stop the node, and what runs on it; with `keep`, leave its programs running for the next `uem up` to find.",
        example: "down keep",
    },
    Verb {
        name: "@RANKS",
        usage: "VERB…",
        run: Run::Prefix,
        doc: "before a verb, in a group's ctl: only to the members of these ranks, as in `@0,4-7 kill`.",
        example: "@0 kill",
    },
    Verb {
        name: "try",
        usage: "VERB…",
        run: Run::Prefix,
        doc: "before a verb: best effort, the write succeeds; what failed is in `error`.",
        example: "try kill",
    },
    Verb {
        name: "dry",
        usage: "VERB…",
        run: Run::Prefix,
        doc: "before a verb: only list in `events` whom it would reach.",
        example: "dry kill",
    },
];

/// Lines of a write to a `ctl`, on their way.
#[derive(Debug)]
pub(crate) struct CtlRun {
    subject: Subject,
    /// Through which open file they came.
    fid: Option<Fid>,
    lines: Vec<u8>,
    /// From here on they are still to run.
    at: usize,
    /// What the write is answered with.
    len: u32,
    /// Sessions that the current line waits for, each with the number of its start, and what went wrong in it so far.
    waiting: Vec<(SessionId, u32)>,
    /// Sessions whose end it waits for: they were given back.
    ending: Vec<SessionId>,
    reached: usize,
    problems: Vec<(SessionId, Error)>,
    best_effort: bool,
    /// The same line at everybody else in a set.
    fan: Option<u64>,
    /// A file that is being put here, and how that went.
    put: Option<u64>,
    put_failed: Option<Error>,
    /// They are what an open comes to: its answer, and where its fid stood.
    opens: Option<Box<(Reply, Place)>>,
}

impl CtlRun {
    pub(crate) fn new(subject: Subject, fid: Option<Fid>, lines: Vec<u8>, len: u32) -> CtlRun {
        let (waiting, problems) = (Vec::new(), Vec::new());
        CtlRun {
            subject,
            fid,
            lines,
            at: 0,
            len,
            waiting,
            ending: Vec::new(),
            reached: 0,
            problems,
            best_effort: false,
            fan: None,
            put: None,
            put_failed: None,
            opens: None,
        }
    }

    /// Lines that are run before an open of a `clone` is answered.
    pub(crate) fn opening(subject: Subject, fid: Fid, lines: Vec<u8>, reply: Reply, stood: Place) -> CtlRun {
        CtlRun { opens: Some(Box::new((reply, stood))), ..CtlRun::new(subject, Some(fid), lines, 0) }
    }

    /// What it waits for elsewhere.
    pub(crate) fn fan(&self) -> Option<u64> {
        self.fan
    }

    /// The file that it waits for.
    pub(crate) fn put(&self) -> Option<u64> {
        self.put
    }
}

/// What one line came to.
enum Line {
    Done,
    Waiting(Vec<SessionId>),
    /// Served again, whole, when this is so.
    Again(On),
}

impl Kernel {
    /// Runs lines until one waits or fails, or all are done.
    pub(crate) fn run_lines(&mut self, who: Who, mut run: CtlRun) -> Outcome {
        loop {
            if let Some(id) = self.still_starting(&mut run) {
                return Outcome::Park(On::Life(id), Ask::Ctl(run));
            }
            if let Some(id) = self.still_ending(&mut run) {
                return Outcome::Park(On::Life(id), Ask::Ctl(run));
            }
            if let Some(put) = run.put {
                let Some(over) = self.put_over(put) else {
                    return Outcome::Park(On::Put(put), Ask::Ctl(run));
                };
                run.put = None;
                if let Err(error) = over {
                    self.failed(None, who.uid, "put", "ctl", &error);
                    run.put_failed = Some(error);
                }
            }
            let elsewhere = match run.fan.map(|fan| (fan, self.fan_over(fan))) {
                Some((fan, None)) => return Outcome::Park(On::Fan(fan), Ask::Ctl(run)),
                Some((_, Some(over))) => over,
                None => None,
            };
            run.fan = None;
            if let Err(error) = self.line_over(&mut run, elsewhere) {
                return self.line_failed(who, &run, error);
            }
            let Some(len) = run.lines[run.at..].iter().position(|b| *b == b'\n') else {
                let wrote = Reply::Wrote(run.len);
                return Outcome::Reply(run.opens.map_or(wrote, |opens| opens.0));
            };
            if let Some(id) = self.busy_starting(run.subject) {
                return Outcome::Park(On::Life(id), Ask::Ctl(run));
            }
            let line: Vec<u8> = run.lines[run.at..run.at + len].to_vec();
            match self.run_line(who.uid, &mut run, &line) {
                Ok(Line::Done) => {}
                Ok(Line::Waiting(ids)) => {
                    let start = |id: SessionId| {
                        let live = self.sessions.get(&id).and_then(|s| s.live.as_ref());
                        (id, live.map_or(0, |live| live.starts))
                    };
                    run.waiting = ids.into_iter().map(start).collect();
                }
                Ok(Line::Again(on)) => return Outcome::Park(on, Ask::Ctl(run)),
                Err(error) => return self.line_failed(who, &run, error),
            }
            run.at += len + 1;
        }
    }

    /// Nothing of a write runs after the line that failed: not its last part either, which has no newline yet and
    /// would run at the close.
    fn line_failed(&mut self, who: Who, run: &CtlRun, error: Error) -> Outcome {
        run.fan.into_iter().for_each(|fan| self.drop_fan(fan));
        run.put.into_iter().for_each(|put| self.drop_put(put));
        if run.opens.is_some() {
            self.undo_open(who.client, run);
        } else if let Some(fid) = run.fid {
            self.forget_partial(who, fid);
        }
        Err(error).into()
    }

    /// What was allocated by an open that fails, or is given up, is freed again.
    pub(crate) fn undo_open(&mut self, client: ClientId, run: &CtlRun) {
        let (Some(opens), Subject::Session(id), Some(fid)) = (&run.opens, run.subject, run.fid) else {
            return;
        };
        let state = self.clients.get_mut(&client).and_then(|client| client.fids.get_mut(&fid));
        if let Some(state) = state.filter(|state| state.open.is_some() && state.place.session() == Some(id)) {
            (state.open, state.prefix, state.place) = (None, None, opens.1);
            self.release(client, fid, id);
        }
        if self.sessions.contains_key(&id) {
            self.free(id);
        }
    }

    /// The last line of a `ctl` that was closed before its newline: nobody is there to be told.
    pub(crate) fn run_last_line(&mut self, uid: Uid, subject: Subject, line: &[u8]) {
        let mut run = CtlRun::new(subject, None, Vec::new(), 0);
        let _failed_is_in_error = self.run_line(uid, &mut run, line);
        run.put.into_iter().for_each(|put| self.leave_put(put));
    }

    /// Drops from those that are waited for who has started or failed; says whom to wait for next.
    fn still_starting(&mut self, run: &mut CtlRun) -> Option<SessionId> {
        while let Some(&(id, start)) = run.waiting.last() {
            let session = self.sessions.get(&id);
            let live = session.and_then(|s| s.live.as_ref());
            let again = live.is_some_and(|live| live.starts != start);
            if session.is_some_and(|s| s.state == State::Starting) && !again {
                return Some(id);
            }
            let refused = match (session, live) {
                (None, _) => Some(gone(id)),
                (_, Some(live)) if again => live.refused_before.clone(),
                (_, live) => live.and_then(|live| live.refused.clone()),
            };
            run.problems.extend(refused.map(|error| (id, error)));
            run.waiting.pop();
        }
        None
    }

    /// The same of those that are to be gone.
    fn still_ending(&self, run: &mut CtlRun) -> Option<SessionId> {
        while let Some(&id) = run.ending.last() {
            if self.sessions.contains_key(&id) {
                return Some(id);
            }
            run.ending.pop();
        }
        None
    }

    /// What a line that reached several came to as one answer.
    fn line_over(&mut self, run: &mut CtlRun, elsewhere: Option<(u64, Error)>) -> Result<()> {
        let mut problems = core::mem::take(&mut run.problems);
        // The first is the first member's, in whatever order they were told.
        problems.sort_by_key(|(id, _)| *id);
        let reached = core::mem::take(&mut run.reached);
        let here = problems.first().map(|(id, first)| {
            let cause = format!("net/{}/{}: {first}", self.node.name, id.0);
            (problems.len(), Error::new(first.errno, cause), first)
        });
        let put = run.put_failed.take();
        if run.best_effort {
            return Ok(());
        }
        if let Some(error) = put {
            let Some((failed, _)) = elsewhere.filter(|_| !matches!(run.subject, Subject::Node(_))) else {
                return Err(error);
            };
            let here = Error::new(error.errno, format!("net/{}: {error}", self.node.name));
            return Err(gather::tallied(failed + 1, &here));
        }
        match (here, elsewhere) {
            (None, None) => Ok(()),
            (None, Some((failed, first))) => Err(gather::tallied(failed, &first)),
            (Some((1, _, alone)), None) if reached == 1 => Err(alone.clone()),
            (Some((failed, first, _)), None) if matches!(run.subject, Subject::Session(_)) => {
                let cause = format!("{failed} of {reached} failed; the first, {first}");
                Err(Error::new(first.errno, cause))
            }
            (Some((failed, first, _)), elsewhere) => {
                let more = elsewhere.map_or(0, |(failed, _)| failed);
                Err(gather::tallied(failed as u64 + more, &first))
            }
        }
    }

    /// A line for a session that is just starting waits until it has.
    fn busy_starting(&self, subject: Subject) -> Option<SessionId> {
        let Subject::Session(id) = subject else { return None };
        (self.sessions.get(&id)?.state == State::Starting).then_some(id)
    }

    fn run_line(&mut self, uid: Uid, run: &mut CtlRun, line: &[u8]) -> Result<Line> {
        let subject = run.subject;
        let told = |k: &mut Kernel, verb: &str, error: Error| {
            let (session, owner) = match subject {
                Subject::Session(id) => (Some(id), k.sessions.get(&id).map_or(uid, |s| s.owner)),
                Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => (None, uid),
            };
            k.failed(session, owner, verb, "ctl", &error);
            Err(error)
        };
        let mut words = match words::split(line) {
            Ok(words) => words,
            Err(error) => return told(self, "", error),
        };
        let (mut dry, mut best_effort) = (false, false);
        let mut ranks = None;
        loop {
            match words.first().map(Vec::as_slice) {
                Some(b"dry") => dry = true,
                Some(b"try") => best_effort = true,
                Some([b'@', set @ ..]) => match self.ranks_of(subject, &words::lossy(set)) {
                    Ok(set) => ranks = Some(set),
                    Err(error) => return told(self, &words::lossy(&words[0]), error),
                },
                _ => break,
            }
            words.remove(0);
        }
        run.best_effort = best_effort;
        if words.is_empty() {
            return match dry || best_effort || ranks.is_some() {
                true => told(self, "", Error::new(Errno::INVAL, "try, dry and @RANKS go before a verb")),
                false => Ok(Line::Done),
            };
        }
        let name = words::lossy(&words.remove(0));
        let Some(verb) = VERBS.iter().find(|v| v.name == name) else {
            return told(self, &name, unknown(&name));
        };
        let closes = name == "close" && ranks.is_none() && !dry && words == [b"stdin".to_vec()];
        if let (true, Subject::Session(id)) = (closes, subject)
            && self.deals(id)
        {
            return match self.close_group_stdin(id) {
                Ok(()) => Ok(Line::Done),
                Err(error) => told(self, &name, error),
            };
        }
        let result = match &verb.run {
            Run::Prefix => Err(Error::new(Errno::INVAL, "try, dry and @RANKS go before a verb")),
            Run::Group { .. } if ranks.is_some() => Err(Error::new(
                Errno::INVAL,
                format!("{name} is for the whole group, not for some of its ranks"),
            )),
            Run::Group { act } => match subject {
                Subject::Session(id) => match act(self, id, &words, dry) {
                    Ok(begun) => {
                        (run.fan, run.reached, run.problems) = (begun.fan, begun.reached, begun.problems);
                        run.ending = begun.ending;
                        return self.begun(run, begun.starting);
                    }
                    Err(error) => Err(error),
                },
                Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => {
                    let cause =
                        format!("{name} is for the ctl of a session, which becomes a group: clone one first");
                    Err(Error::new(Errno::INVAL, cause))
                }
            },
            Run::Node { act, set } => match subject {
                Subject::Session(_) => {
                    Err(Error::new(Errno::INVAL, format!("{name} is for a node's ctl, not for a session's")))
                }
                Subject::Set(_) if self.of_sessions(subject) => {
                    let cause = format!("{name} is for nodes, and this query selects sessions");
                    Err(Error::new(Errno::INVAL, cause))
                }
                Subject::Cloud | Subject::Tree | Subject::Set(_) if !set && !self.is_alone() => {
                    let cause = format!("{name} is for one node: write it to net/<node>/ctl");
                    Err(Error::new(Errno::INVAL, cause))
                }
                Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => {
                    if *set {
                        run.fan = self.fan_out(uid, subject, line);
                    }
                    match self.holds_me(subject) {
                        true if dry => {
                            self.would_reach(None, uid, &name);
                            Ok(())
                        }
                        true => act(self, uid, &words),
                        false => Ok(()),
                    }
                }
            },
            Run::Put => match subject {
                Subject::Session(_) => {
                    let cause = "put is for a node's ctl; a session is given contents by ns put";
                    Err(Error::new(Errno::INVAL, cause))
                }
                Subject::Set(_) if self.of_sessions(subject) => {
                    Err(Error::new(Errno::INVAL, "put is for nodes, and this query selects sessions"))
                }
                Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => {
                    run.fan = self.fan_out(uid, subject, line);
                    match self.holds_me(subject) {
                        true if dry => self.would_reach(None, uid, &name),
                        true => match self.put_file(uid, &words) {
                            Ok(put) => run.put = Some(put),
                            // Told when everybody else has answered.
                            Err(error) if run.fan.is_some() => {
                                self.failed(None, uid, &name, "ctl", &error);
                                run.put_failed = Some(error);
                            }
                            Err(error) => {
                                return if best_effort {
                                    let _told = told(self, &name, error);
                                    Ok(Line::Done)
                                } else {
                                    told(self, &name, error)
                                };
                            }
                        },
                        false => {}
                    }
                    Ok(())
                }
            },
            Run::Session { act, reach } => match self.reached(uid, subject, *reach, &name, ranks.as_ref()) {
                Ok(ids) if dry => {
                    run.fan = self.pass_on(uid, subject, *reach, ranks.as_ref(), line);
                    ids.iter().for_each(|id| self.would_reach(Some(*id), uid, &name));
                    return Ok(Line::Done);
                }
                Ok(ids) => {
                    run.fan = self.fan_line(uid, subject, (*reach, &name, &words), ranks.as_ref(), line);
                    let line = self.run_on(uid, run, *act, &name, &words, &ids);
                    // Who frees some ranks waits until they are gone: their numbers may be taken again.
                    if let (Subject::Session(id), Reach::AllWhole, Some(ranks)) = (subject, *reach, &ranks) {
                        run.ending = self.still_going(id, ranks);
                    }
                    return line;
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(()) => Ok(Line::Done),
            Err(error) if best_effort => {
                let _told = told(self, &name, error);
                Ok(Line::Done)
            }
            Err(error) => told(self, &name, error),
        }
    }

    /// The ranks that a line is for.
    fn ranks_of(&self, subject: Subject, text: &str) -> Result<RankSet> {
        let Subject::Session(id) = subject else {
            return Err(Error::new(Errno::INVAL, "@RANKS is for the ctl of a group"));
        };
        let (ranks, size) = (RankSet::parse(text)?, self.session(id)?.size());
        // A share may not have heard of all.
        if self.session(id)?.group.as_deref().is_some_and(|group| group.is_share) {
            return Ok(ranks);
        }
        match ranks.last() {
            Some(last) if last >= size => {
                let known = if size == 0 {
                    "it has no members".into()
                } else {
                    format!("its ranks are 0-{}", size - 1)
                };
                Err(Error::new(Errno::NOENT, format!("no member {last} in session {}: {known}", id.0)))
            }
            _ => Ok(ranks),
        }
    }

    /// Sends a line to everybody else that it is for, and does what is to be done about those who wait or are elsewhere.
    fn fan_line(
        &mut self,
        uid: Uid,
        subject: Subject,
        (reach, verb, words): (Reach, &str, &[Vec<u8>]),
        ranks: Option<&RankSet>,
        line: &[u8],
    ) -> Option<u64> {
        if let Subject::Session(id) = subject {
            let ends = |word: &Vec<u8>| matches!(signal_number(&words::lossy(word)), Some(1..=3 | 9 | 15));
            if verb == "kill" && words.iter().all(ends) {
                self.cancel_queue(id, ranks);
            }
            if let (Reach::AllWhole, Some(ranks)) = (reach, ranks) {
                return self.free_ranks(id, ranks);
            }
            self.group_begins(id, verb);
        }
        self.pass_on(uid, subject, reach, ranks, line)
    }

    /// Sends a line to everybody else that it is for.
    fn pass_on(
        &mut self,
        uid: Uid,
        subject: Subject,
        reach: Reach,
        ranks: Option<&RankSet>,
        line: &[u8],
    ) -> Option<u64> {
        let Subject::Session(id) = subject else { return self.fan_out(uid, subject, line) };
        if reach == Reach::AllWhole && ranks.is_none() {
            // What is freed as one is freed by being closed.
            return None;
        }
        let prefix = line.iter().position(|b| *b == b'@');
        let rest = match (ranks, prefix) {
            (Some(_), Some(at)) => {
                let end = line[at..].iter().position(|b| *b == b' ').map_or(line.len(), |n| at + n);
                [&line[..at], &line[end..]].concat()
            }
            _ => line.to_vec(),
        };
        self.share_fan(id, ranks, &rest)
    }

    /// What was begun is waited for.
    fn begun(&mut self, run: &mut CtlRun, starting: Vec<SessionId>) -> Result<Line> {
        if starting.is_empty() {
            if run.fan.is_none() {
                self.line_over(run, None)?;
            }
            return Ok(Line::Done);
        }
        Ok(Line::Waiting(starting))
    }

    fn would_reach(&mut self, session: Option<SessionId>, uid: Uid, verb: &str) {
        let owner = session.and_then(|id| self.sessions.get(&id)).map_or(uid, |s| s.owner);
        let by = self.user(uid).name.clone();
        self.happened(session, owner, What::WouldReach { verb: verb.into(), by });
    }

    /// Whom a verb means at this subject.
    fn reached(
        &self,
        uid: Uid,
        subject: Subject,
        reach: Reach,
        verb: &str,
        ranks: Option<&RankSet>,
    ) -> Result<Vec<SessionId>> {
        match subject {
            Subject::Session(id) => {
                let session = self.session(id)?;
                let runs = |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.runs());
                let members =
                    || session.members.iter().filter(|(rank, _)| ranks.is_none_or(|r| r.contains(**rank)));
                let members = || members().map(|(_, id)| *id);
                let own = session.group.as_deref().is_some_and(|group| !group.is_share);
                Ok(match reach {
                    _ if !session.is_group() => alloc::vec![id],
                    // A group has output too; a share's is only on its way. Those that have ended cannot be told any more.
                    _ if ranks.is_none() && matches!(verb, "limit" | "roll") => {
                        let live = |id: &SessionId| self.sessions.get(id).is_some_and(|s| s.live.is_some());
                        members().filter(live).chain(own.then_some(id)).collect()
                    }
                    Reach::Whole | Reach::AllWhole if ranks.is_none() => alloc::vec![id],
                    // When none of them is left, what their output still goes through.
                    Reach::Running if ranks.is_none() && !members().any(|id| runs(&id)) => {
                        session.flow.iter().flat_map(|flow| flow.reducers()).filter(runs).collect()
                    }
                    Reach::Running => members().filter(runs).collect(),
                    Reach::Members | Reach::All | Reach::Whole | Reach::AllWhole => members().collect(),
                })
            }
            Subject::Set(_) if !self.holds_me(subject) && !matches!(reach, Reach::Members | Reach::Whole) => {
                Ok(Vec::new())
            }
            Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => {
                let mine = self.sessions.values().filter(|s| self.stands_for(uid, s.owner));
                let mine = mine.filter(|s| self.holds(subject, s));
                match reach {
                    Reach::Members | Reach::Whole => Err(Error::new(
                        Errno::INVAL,
                        format!("{verb} is for one session or group, not for a whole set"),
                    )),
                    Reach::Running => Ok(mine.filter(|s| s.runs()).map(|s| s.id).collect()),
                    Reach::All => Ok(mine.filter(|s| !s.is_group()).map(|s| s.id).collect()),
                    Reach::AllWhole => Ok(mine.filter(|s| s.member_of.is_none()).map(|s| s.id).collect()),
                }
            }
        }
    }

    fn run_on(
        &mut self,
        uid: Uid,
        run: &mut CtlRun,
        act: Act,
        verb: &str,
        words: &[Vec<u8>],
        ids: &[SessionId],
    ) -> Result<Line> {
        run.reached = ids.len();
        let mut waiting = Vec::new();
        for &id in ids {
            match act(self, id, uid, words) {
                Ok(Step::Done) => {}
                Ok(Step::Starting) => waiting.push(id),
                Ok(Step::User) => return Ok(Line::Again(On::User(acts::user_name(&words[0])))),
                Err(error) => {
                    let owner = self.sessions.get(&id).map_or(uid, |s| s.owner);
                    self.failed(Some(id), owner, verb, "ctl", &error);
                    run.problems.push((id, error));
                }
            }
        }
        // With an answer from elsewhere to come, what failed here is told with it.
        self.begun(run, waiting)
    }
}

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = VERBS.iter().map(|v| v.name).collect();
    Error::new(Errno::INVAL, format!("unknown verb {name:?}; known are {}", known.join(" ")))
}

/// A signal by name, with or without SIG, or by number.
pub(crate) fn signal_number(word: &str) -> Option<i32> {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    SIGNALS.iter().find(|(n, _)| *n == name).map(|(_, number)| *number)
}

/// Names of signal(7), as numbered on x86, ARM, RISC-V and POWER.
pub static SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", KILL),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Names of signals for a sentence.
pub(crate) fn signal_names() -> String {
    SIGNALS.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" ")
}
