//! Many programs in the foreground: what they write comes as it is wanted, who has ended is counted and logged, a terminal shows how far
//! it is, and a signal asks them all to end. If the node that is asked dies, its keeper starts it again, and we go on.

mod answers;
mod ours;

use crate::at::At;
use crate::console::feed::Feed;
use crate::console::outlet::Outlet;
use crate::console::signals::Signals;
use crate::failure::{Failure, OURS, Outcome, say};
use crate::run::Args;
use crate::run::back::{by, reconnect};
use crate::run::flight::{self, Files, Flight};
use crate::run::group::frames::{Frame, Frames};
use crate::run::group::joblog::JobLog;
use crate::run::group::labels::Labels;
use crate::run::group::layout::Layout;
use crate::run::group::mode::{Input, Mode};
use crate::run::group::plan::Plan;
use crate::run::group::progress::Progress;
use crate::run::group::tally::{self, Tally};
use host::client::{Connection, READ};
use kernel::{Rank, RankSet};
use op::{Error, Fid, Op, Tag};
use rustix::termios::isatty;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Bytes that wait for a slow reader of ours before no more is asked of the node.
const PENDING: usize = 1 << 20;
/// Causes of failures that are told in full.
const CAUSES: usize = 3;

/// What a request is about.
enum Want {
    /// It must work.
    Setup,
    Id,
    Exec,
    /// stdout or stderr is opened.
    Opened(usize),
    /// A read of it.
    Out(usize),
    Wait,
    /// A file that is read to its end.
    File(File),
    /// So many bytes of stdin.
    Fed(usize),
    /// What may come too late.
    Told,
}

/// A file of the group on its way.
struct File {
    about: About,
    fid: Fid,
    text: Vec<u8>,
}

/// Why it is read.
enum About {
    /// Whether there are any, in spite of the error of `run`.
    Size(Error),
    /// Who is where.
    Topology,
    /// How far they are, for the terminal.
    Info,
    /// Who still runs, after a signal.
    Status,
}

impl About {
    fn name(&self) -> &'static str {
        match self {
            About::Size(_) | About::Info => "info.json",
            About::Topology => "topology.json",
            About::Status => "status.json",
        }
    }
}

/// stdout or stderr.
struct Output {
    outlet: Outlet,
    /// Where the next read begins.
    offset: u64,
    /// Which life of it is read: in another one it may have another order.
    life: Option<u32>,
    reading: bool,
    over: bool,
    /// What is made of it here; `None`: it is shown as it comes.
    made: Option<(Frames, Layout)>,
    /// It waits for a name.
    held: Option<Frame>,
}

/// Many that run in the foreground.
pub(super) struct Follow<'a> {
    node: Connection,
    at: At,
    args: &'a Args,
    plan: Plan,
    log: Option<JobLog>,
    /// The lines that start them.
    lines: Vec<u8>,
    ctl: Fid,
    /// Opened when they have started: it is said before that how bytes go in and out.
    files: Option<Files>,
    wants: BTreeMap<Tag, Want>,
    id: Option<String>,
    /// Whether `run` was sent, and whether it was answered.
    sent: bool,
    started: bool,
    /// How many they are, as far as is known.
    size: usize,
    labels: Labels,
    /// Who has no name, though it was asked for.
    unnamed: RankSet,
    asked_names: bool,
    /// Ranks by where they are, as far as that was asked for.
    paths: BTreeMap<String, Rank>,
    /// Who still runs is to be said when that is known.
    asked_who: bool,
    outputs: [Output; 2],
    /// What `wait` has said so far, and what of that is no whole line yet.
    waited: u64,
    line: Vec<u8>,
    ended: bool,
    tally: Tally,
    running: usize,
    feed: Option<Feed>,
    closed: bool,
    signals: Signals,
    /// Those that told us to end.
    interrupts: Vec<i32>,
    progress: Progress,
    asked_info: bool,
    /// What is missing of a result.
    flawed: Option<Error>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        node: Connection,
        at: At,
        flight: Flight,
        lines: Vec<u8>,
        args: &'a Args,
        plan: Plan,
        log: Option<JobLog>,
    ) -> Result<Follow<'a>, Failure> {
        let by_node = plan.by_node();
        let output = |fd, mode: &Mode| Output {
            outlet: Outlet::new(fd),
            offset: 0,
            life: None,
            reading: false,
            over: false,
            made: mode.layout(by_node).map(|layout| (Frames::default(), layout)),
            held: None,
        };
        let [out, err] = &plan.modes;
        let outputs = [output(rustix::stdio::stdout(), out), output(rustix::stdio::stderr(), err)];
        let setup = flight.setup.into_iter().map(|tag| (tag, Want::Setup));
        let info = flight.info.map(|tag| (tag, Want::Told));
        Ok(Follow {
            node,
            at,
            args,
            log,
            lines,
            ctl: flight.ctl,
            files: None,
            wants: setup.chain(info).chain([(flight.id, Want::Id)]).collect(),
            id: None,
            sent: false,
            started: false,
            size: plan.size(),
            labels: if by_node { Labels::Nodes(BTreeMap::new()) } else { Labels::Ranks },
            unnamed: RankSet::new(),
            asked_names: false,
            paths: BTreeMap::new(),
            asked_who: false,
            outputs,
            waited: 0,
            line: Vec::new(),
            ended: false,
            tally: Tally::default(),
            running: 0,
            feed: matches!(plan.input, Input::Dealt(_)).then(Feed::new),
            closed: false,
            signals: Signals::catch()?,
            interrupts: Vec::new(),
            progress: Progress::new(Instant::now(), isatty(rustix::stdio::stderr())),
            asked_info: false,
            flawed: None,
            plan,
        })
    }

    pub(super) fn follow(mut self) -> Outcome {
        let outcome = self.until_they_end();
        self.progress.hide();
        outcome
        // The connection ends after this, and with it the group: `killonclose`.
    }

    fn until_they_end(&mut self) -> Outcome {
        loop {
            while let Some((tag, reply)) = self.node.next() {
                if let Some(want) = self.wants.remove(&tag) {
                    self.answered(want, reply)?;
                }
            }
            if self.node.gone().is_some() && !self.is_done() {
                self.come_back()?;
                continue;
            }
            self.start_when_ready();
            self.read_outputs();
            self.node.flush();
            self.write_outputs()?;
            // What was written made room for more.
            self.read_outputs();
            self.node.flush();
            if self.is_done() {
                self.finish()?;
                if self.outputs.iter().all(|out| out.outlet.waiting() == 0) {
                    return self.end();
                }
            }
            self.wait_for_something()?;
        }
    }

    /// They are started when all is ready for it.
    fn start_when_ready(&mut self) {
        let waits = |want: &Want| matches!(want, Want::Setup | Want::Id);
        if !self.sent && !self.wants.values().any(waits) {
            self.sent = true;
            let tag = flight::exec(&mut self.node, self.ctl, &self.lines);
            self.wants.insert(tag, Want::Exec);
        }
    }

    /// All has ended, and all that they wrote is here.
    fn is_done(&self) -> bool {
        self.ended && self.outputs.iter().all(|out| out.over && out.held.is_none())
    }

    /// What is shown only when all is here.
    fn finish(&mut self) -> Result<(), Failure> {
        for out in &mut self.outputs {
            let Some((frames, mut layout)) = out.made.take() else { continue };
            if !frames.is_empty() {
                return Err(Failure::new("the node sent a part of a frame"));
            }
            let mut text = Vec::new();
            layout.end(&self.tally.ended, &self.labels, &mut text);
            out.outlet.push(text);
        }
        self.write_outputs()
    }

    fn end(&mut self) -> Outcome {
        self.progress.hide();
        let size = self.size.max(self.tally.ended.len());
        if let Some(sentence) = self.tally.sentence(size, &self.labels) {
            say("run", &sentence);
            self.tell_causes();
        }
        let cut_off = self.tell_cut_off();
        match (self.interrupts.first(), self.flawed.take()) {
            (Some(signal), _) => Err(by(*signal)),
            (None, Some(error)) => Err(error.into()),
            (None, None) if cut_off => Ok(self.tally.status().max(OURS)),
            (None, None) => Ok(self.tally.status()),
        }
    }

    /// Says of whom it is not known what he got of stdin, since a node or a link was lost while it flowed.
    fn tell_cut_off(&mut self) -> bool {
        let Some(session) = self.session().filter(|_| self.feed.is_some()) else { return false };
        let text = self.node.read_file(&format!("{session}/error")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let cut_off: Vec<&str> =
            text.lines().filter(|line| line.contains(" stage=flow errno=EPIPE: ")).collect();
        cut_off.iter().take(CAUSES).for_each(|line| say("run", tally::cause(line)));
        !cut_off.is_empty()
    }

    /// What the node says of those that could not be started, or were lost.
    fn tell_causes(&mut self) {
        let Some(session) = self.session().filter(|_| self.tally.has_causes()) else { return };
        let text = self.node.read_file(&format!("{session}/error")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut causes = BTreeSet::new();
        for line in text.lines() {
            let cause = tally::cause(line);
            if causes.len() < CAUSES && causes.insert(cause) {
                say("run", cause);
            }
        }
    }

    // ── requests ───────────────────────────────────────────────────────────────────────────

    fn ask(&mut self, want: Want, op: Op) {
        let tag = self.node.send(op);
        self.wants.insert(tag, want);
    }

    fn read_wait(&mut self) {
        let Some(Files { wait: fid, .. }) = self.files else { return };
        let offset = self.waited;
        let count = self.node.max_io();
        self.ask(Want::Wait, Op::Read { fid, offset, count, wait: true });
    }

    /// Reads a file of the group to its end.
    fn read(&mut self, about: About) {
        let (fid, walked) = self.node.walk(self.ctl, &format!("../{}", about.name()));
        self.wants.insert(walked, Want::Told);
        self.ask(Want::Told, Op::Open { fid, access: READ });
        self.read_on(File { about, fid, text: Vec::new() });
    }

    fn read_on(&mut self, file: File) {
        let count = self.node.max_io();
        let op = Op::Read { fid: file.fid, offset: file.text.len() as u64, count, wait: true };
        self.ask(Want::File(file), op);
    }

    fn read_outputs(&mut self) {
        let Some(Files { out: fids, .. }) = self.files else { return };
        let count = self.node.max_io();
        for (at, fid) in fids.into_iter().enumerate() {
            let out = &mut self.outputs[at];
            let room = out.outlet.waiting() < PENDING && out.held.is_none();
            if !out.reading && !out.over && room {
                out.reading = true;
                let op = Op::Read { fid, offset: out.offset, count, wait: true };
                self.ask(Want::Out(at), op);
            }
        }
    }

    fn tell(&mut self, line: &str) {
        let data = format!("{line}\n").into_bytes();
        self.ask(Want::Told, Op::Write { fid: self.ctl, offset: 0, data });
        self.node.flush();
    }

    // ── the node died ──────────────────────────────────────────────────────────────────────

    /// Finds the group again on a node that was started again, and goes on where it was.
    fn come_back(&mut self) -> Result<(), Failure> {
        let why = self.node.gone().map(ToString::to_string).unwrap_or_default();
        let Some(session) = self.session() else {
            return Err(Failure::new(why).hint("nothing was started"));
        };
        let mut node = reconnect(&self.at, &mut self.signals, &why, &session)?;
        let mut setup = Vec::new();
        let files = Files::again(&mut node, &session, &mut setup);
        self.ctl = files.ctl;
        self.files = self.started.then_some(files);
        self.node = node;
        self.wants = setup.into_iter().map(|tag| (tag, Want::Setup)).collect();
        self.wants.extend((0..2).map(|at| (files.opened[at], Want::Opened(at))));
        if self.feed.as_ref().is_some_and(|feed| !feed.is_settled()) {
            self.tell("free");
            let cause =
                format!("{why}; it is back, but what of stdin they got is not known: they were ended");
            return Err(Failure::new(cause));
        }
        // Sent again if it was not answered: a group that is there is not made twice (`EBUSY`).
        self.sent = self.started;
        self.closed = false;
        self.close_stdin();
        self.outputs.iter_mut().for_each(|out| out.reading = false);
        (self.asked_info, self.asked_names) = (false, false);
        if self.outputs.iter().any(|out| out.held.is_some()) {
            self.asked_names = true;
            self.read(About::Topology);
        }
        self.waited = 0;
        self.line.clear();
        if !self.ended {
            self.read_wait();
        }
        Ok(())
    }
}
