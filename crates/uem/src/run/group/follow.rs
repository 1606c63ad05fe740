//! Many programs in the foreground: what they write comes as it is wanted, who has ended is counted and logged, a terminal shows how far
//! it is, and a signal asks them all to end. If the node that is asked dies, its keeper starts it again, and we go on.

use super::frames::{Frame, Frames};
use super::joblog::JobLog;
use super::labels::Labels;
use super::layout::Layout;
use super::mode::{Input, Mode};
use super::plan::Plan;
use super::progress::{Counts, Progress};
use super::tally::{self, Tally};
use crate::at::At;
use crate::console::feed::{Fed, Feed};
use crate::console::outlet::Outlet;
use crate::console::signals::{Came, Signals, stop_self};
use crate::failure::{BROKEN_PIPE, Failure, Outcome, say};
use crate::on::On;
use crate::run::back::{by, reconnect};
use crate::run::flight::{self, Files, Flight};
use crate::run::{Args, cannot_start, not_made, reply_text};
use crate::tree;
use host::client::{Connection, READ};
use kernel::{Rank, RankSet};
use op::{Errno, Error, Fid, Op, Reply, Tag};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::isatty;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

/// Bytes that wait for a slow reader of ours before no more is asked of the node.
const PENDING: usize = 1 << 20;
/// How often a terminal in the background is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Causes of failures that are told in full.
const CAUSES: usize = 3;

/// What a request is about.
enum Want {
    /// It must work.
    Setup,
    Id,
    Exec,
    /// A read of stdout or stderr.
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
        match self.interrupts.first() {
            Some(signal) => Err(by(*signal)),
            None => Ok(self.tally.status()),
        }
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

    // ── answers ────────────────────────────────────────────────────────────────────────────

    fn answered(&mut self, want: Want, reply: Reply) -> Result<(), Failure> {
        if matches!(reply, Reply::Failed(_)) && self.node.gone().is_some() {
            return Ok(()); // not the node's word; see `come_back`
        }
        match (want, reply) {
            (Want::Setup, Reply::Failed(error)) => return Err(not_made(&mut self.node, &On::here(), error)),
            (Want::Id, reply) => self.id = Some(reply_text(reply)).filter(|id| !id.is_empty()),
            // They had been started before the node died.
            (Want::Exec, Reply::Failed(error)) if error.errno == Errno::BUSY => self.have_started(),
            // Some could not be started: that is how they ended.
            (Want::Exec, Reply::Failed(error)) => self.read(About::Size(error)),
            (Want::Exec, _) => self.have_started(),
            (Want::Out(at), Reply::Data(data)) => self.got_output(at, data)?,
            (Want::Wait, Reply::Data(data)) => self.got_wait(&data)?,
            (Want::Out(_) | Want::Wait, Reply::Failed(error)) => return Err(error.into()),
            (Want::File(mut file), Reply::Data(data)) if !data.is_empty() => {
                file.text.extend(data);
                self.read_on(file);
            }
            (Want::File(file), reply) => {
                self.node.clunk(file.fid);
                self.got_file(file, matches!(reply, Reply::Failed(_)))?;
            }
            (Want::Fed(bytes), reply) => self.fed(bytes, matches!(reply, Reply::Failed(_))),
            (Want::Out(_) | Want::Wait, _) => return Err(Errno::PROTO.into()),
            (Want::Setup | Want::Told, _) => {}
        }
        Ok(())
    }

    /// The path of the group, once it is known.
    fn session(&self) -> Option<String> {
        self.id.as_ref().map(|id| On::here().session(id))
    }

    fn have_started(&mut self) {
        self.started = true;
        if self.files.is_none() {
            let mut setup = Vec::new();
            self.files = Some(Files::open(&mut self.node, self.ctl, &mut setup));
            self.wants.extend(setup.into_iter().map(|tag| (tag, Want::Setup)));
            self.read_wait();
        }
    }

    fn got_file(&mut self, file: File, failed: bool) -> Result<(), Failure> {
        let record = || tree::record(&file.text);
        match file.about {
            About::Size(error) => {
                let state = record().map(|record| tree::text(&record, "state")).unwrap_or_default();
                if !matches!(state.as_str(), "running" | "ended") {
                    return Err(cannot_start(error, self.args));
                }
                self.have_started();
            }
            About::Topology => {
                self.asked_names = false;
                if !failed {
                    for record in tree::records(&file.text)? {
                        let rank = tree::number(&record, "rank") as u32;
                        let path = tree::text(&record, "path").trim_start_matches("net/").to_string();
                        self.name(rank, path.split('/').next().unwrap_or_default());
                        self.paths.insert(path, rank);
                    }
                }
                for out in &self.outputs {
                    out.held.iter().for_each(|frame| self.unnamed.union_with(&frame.ranks));
                }
                (0..2).try_for_each(|at| self.make(at))?;
                if std::mem::take(&mut self.asked_who) {
                    self.read(About::Status);
                }
            }
            About::Info => {
                self.asked_info = false;
                self.running = record().map_or(0.0, |record| tree::number(&record, "running")) as usize;
            }
            About::Status => {
                self.progress.hide();
                say("run", &tally::who_runs(&tree::records(&file.text)?, &self.paths, &self.labels));
                // Not before: it would be said of nobody any more.
                self.tell("kill");
            }
        }
        Ok(())
    }

    fn name(&mut self, rank: u32, node: &str) {
        if let Labels::Nodes(nodes) = &mut self.labels
            && !node.is_empty()
        {
            nodes.insert(rank, node.into());
        }
    }

    fn got_output(&mut self, at: usize, data: Vec<u8>) -> Result<(), Failure> {
        let out = &mut self.outputs[at];
        out.reading = false;
        out.over = data.is_empty();
        out.offset += data.len() as u64;
        match &mut out.made {
            _ if data.is_empty() => {}
            None => out.outlet.push(data),
            Some((frames, _)) => {
                frames.push(&data);
                self.make(at)?;
            }
        }
        Ok(())
    }

    /// Makes text of the frames that are here, as far as they have names.
    fn make(&mut self, at: usize) -> Result<(), Failure> {
        let out = &mut self.outputs[at];
        let Some((frames, layout)) = &mut out.made else { return Ok(()) };
        let mut text = Vec::new();
        let mut nameless = false;
        loop {
            let frame = match out.held.take() {
                Some(frame) => frame,
                None => match frames.next()? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            let known =
                || self.labels.know(&frame.ranks) || frame.ranks.iter().all(|r| self.unnamed.contains(r));
            if layout.names_early() && !known() {
                out.held = Some(frame);
                nameless = true;
                break;
            }
            layout.frame(&frame, &self.labels, &mut text)?;
        }
        out.outlet.push(text);
        if nameless && !std::mem::replace(&mut self.asked_names, true) {
            self.read(About::Topology);
        }
        Ok(())
    }

    fn got_wait(&mut self, data: &[u8]) -> Result<(), Failure> {
        if data.is_empty() {
            self.ended = true;
            if let Some(feed) = &mut self.feed {
                feed.close();
            }
            return Ok(());
        }
        self.waited += data.len() as u64;
        self.line.extend(data);
        let whole = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.line.split_off(whole);
        let lines = std::mem::replace(&mut self.line, rest);
        for record in tree::records(&lines)? {
            let done = tally::done(&record)?;
            // Told again by a node that was started again.
            if self.tally.ended.contains(done.rank) {
                continue;
            }
            let late = self.args.timeout.is_some_and(|span| done.was_ended_after(span));
            self.name(done.rank, &done.node);
            self.tally.add(&done, late);
            if let Some(log) = &mut self.log {
                log.write(&done, SystemTime::now())?;
            }
        }
        self.read_wait();
        Ok(())
    }

    fn fed(&mut self, bytes: usize, failed: bool) {
        let Some(feed) = &mut self.feed else { return };
        feed.taken(bytes);
        match failed {
            true => feed.close(),
            false => self.close_stdin(),
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

    // ── our own side ───────────────────────────────────────────────────────────────────────

    fn write_outputs(&mut self) -> Result<(), Failure> {
        for at in 0..2 {
            if self.outputs[at].outlet.waiting() > 0 {
                self.progress.hide();
            }
            if let Err(error) = self.outputs[at].outlet.drain() {
                // They would have got the signal themselves, had they been local; the group ends with us.
                let failure = Failure::from(error);
                return Err(match failure.status {
                    BROKEN_PIPE => failure,
                    _ => failure.about(if at == 0 { "stdout" } else { "stderr" }),
                });
            }
        }
        Ok(())
    }

    fn wait_for_something(&mut self) -> Result<(), Failure> {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.node.wants_write());
        let mut fds = vec![PollFd::from_borrowed_fd(self.node.fd(), flags)];
        fds.push(PollFd::from_borrowed_fd(self.signals.fd(), PollFlags::IN));
        let feed = self.feed.as_ref().filter(|_| self.started && !self.ended);
        let stdin = feed.and_then(Feed::fd).map(|fd| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            fds.len() - 1
        });
        for out in self.outputs.iter().filter(|out| out.outlet.waiting() > 0) {
            fds.push(PollFd::from_borrowed_fd(out.outlet.fd(), PollFlags::OUT));
        }
        let look = feed.is_some_and(Feed::in_background).then_some(LOOK);
        let due = self.progress.due().filter(|_| self.started && !self.ended);
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = [due, look].into_iter().flatten().min().and_then(|span| Timespec::try_from(span).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        let ready = |at: usize| !fds[at].revents().is_empty();
        let (node, signals, stdin) = (ready(0), ready(1), stdin.is_some_and(ready));
        if node {
            self.node.receive();
        }
        if signals {
            self.take_signals()?;
        }
        if stdin {
            self.take_stdin();
        }
        if due.is_some_and(|left| left.is_zero()) {
            self.show_progress();
        }
        Ok(())
    }

    fn show_progress(&mut self) {
        let size = self.size;
        let counts = Counts {
            size,
            running: self.running,
            ended: self.tally.ended.len() + self.plan.left_out(size),
            failed: self.tally.failures,
        };
        // What is there now; what is asked for comes with the next.
        self.progress.show(counts, Instant::now());
        if !std::mem::replace(&mut self.asked_info, true) {
            self.read(About::Info);
            self.node.flush();
        }
    }

    fn take_stdin(&mut self) {
        let (Some(feed), Some(Files { stdin: fid, .. })) = (&mut self.feed, self.files) else { return };
        let offset = feed.sent();
        match feed.take() {
            Fed::Nothing => {}
            Fed::Data(data) => {
                let want = Want::Fed(data.len());
                self.ask(want, Op::Write { fid, offset, data });
            }
            Fed::End => self.close_stdin(),
        }
    }

    /// The end of stdin is told when all before it is taken: what is asked of different files has no order.
    fn close_stdin(&mut self) {
        let over = self.feed.as_ref().is_some_and(|feed| feed.is_over() && feed.is_settled());
        if over && !std::mem::replace(&mut self.closed, true) {
            self.tell("close stdin");
        }
    }

    fn take_signals(&mut self) -> Result<(), Failure> {
        for came in self.signals.take() {
            match came {
                Came::Signal(number, _) if !self.started || self.ended => return Err(by(number)),
                Came::Signal(_, name @ ("USR1" | "USR2")) => self.tell(&format!("kill {name}")),
                Came::Signal(number, _) => {
                    // The first asks, the second does not.
                    match self.interrupts.is_empty() {
                        true => {
                            self.asked_who = true;
                            self.read(About::Topology);
                        }
                        false => self.tell("kill KILL"),
                    }
                    self.interrupts.push(number);
                }
                Came::Stop => {
                    self.progress.hide();
                    self.tell("stop");
                    stop_self();
                    self.tell("start");
                }
                Came::Resized => {}
            }
        }
        Ok(())
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
