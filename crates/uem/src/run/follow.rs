//! A program in the foreground: bytes both ways, signals, its terminal, its end; and the way back to it when the
//! node died in between and its keeper started it again. When a link on the way to another node breaks, the program goes
//! on there without us, and we say how to find it.

mod ours;

use super::back::reconnect;
use super::flight::{self, Files, Flight};
use super::{Args, cannot_start, not_made, reply_text};
use crate::at::At;
use crate::console::feed::Feed;
use crate::console::outlet::Outlet;
use crate::console::signals::Signals;
use crate::console::terminal::Raw;
use crate::failure::{Failure, Outcome, TIMED_OUT};
use crate::on::On;
use crate::tree::{self, Record};
use host::client::Connection;
use op::{Errno, Op, Reply, Tag};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

/// Bytes that wait for a slow reader of ours before no more is asked of the node.
const PENDING: usize = 1 << 20;

/// What a request is about.
enum Want {
    /// It must work.
    Setup,
    Id,
    Exec,
    /// A read of stdout or stderr.
    Out(usize),
    Wait,
    /// So many bytes of stdin.
    Fed(usize),
    /// A line of ctl that may come too late.
    Told,
}

/// stdout or stderr.
struct Output {
    outlet: Outlet,
    /// Where the next read begins.
    offset: u64,
    reading: bool,
    over: bool,
}

/// A program that runs in the foreground.
pub(super) struct Run<'a> {
    node: Connection,
    at: At,
    /// Where it runs.
    place: On,
    args: &'a Args,
    /// The lines that start it.
    lines: Vec<u8>,
    files: Files,
    wants: BTreeMap<Tag, Want>,
    id: Option<String>,
    /// Whether `exec` was sent, and whether it was answered.
    sent: bool,
    started: bool,
    outputs: [Output; 2],
    /// What `wait` has said so far, and what that means.
    wait: Vec<u8>,
    ended: Option<Record>,
    feed: Feed,
    /// Whether `close stdin` was said.
    closed: bool,
    signals: Signals,
    raw: Option<Raw>,
    interrupts: usize,
    deadline: Option<Instant>,
    timed_out: bool,
    /// The way to the program broke, and that was said; what came of it before is still written.
    cut_off: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        node: Connection,
        at: At,
        place: On,
        flight: Flight,
        lines: Vec<u8>,
        args: &'a Args,
    ) -> Result<Run<'a>, Failure> {
        let output = |fd| Output { outlet: Outlet::new(fd), offset: 0, reading: false, over: false };
        let setup = flight.setup.into_iter().map(|tag| (tag, Want::Setup));
        let mut run = Run {
            node,
            at,
            place,
            args,
            lines,
            files: flight.files.expect("a flight in the foreground opens them"),
            wants: setup.chain([(flight.id, Want::Id)]).collect(),
            id: None,
            sent: false,
            started: false,
            outputs: [output(rustix::stdio::stdout()), output(rustix::stdio::stderr())],
            wait: Vec::new(),
            ended: None,
            feed: Feed::new(),
            closed: false,
            signals: Signals::catch()?,
            raw: None,
            interrupts: 0,
            deadline: args.timeout.map(|span| Instant::now() + span),
            timed_out: false,
            cut_off: false,
        };
        run.read_wait();
        Ok(run)
    }

    /// The program is started when all is ready for it.
    fn start_when_ready(&mut self) {
        let waits = |want: &Want| matches!(want, Want::Setup | Want::Id);
        if !self.sent && !self.cut_off && !self.wants.values().any(waits) {
            self.sent = true;
            let tag = flight::exec(&mut self.node, self.files.ctl, &self.lines);
            self.wants.insert(tag, Want::Exec);
        }
    }

    pub(super) fn follow(mut self) -> Outcome {
        let outcome = self.until_it_ends();
        // The terminal first, so that lines are lines again.
        self.raw = None;
        // Where we are no holder whose close counts, nothing is left behind either.
        if self.place != On::here() && self.id.is_some() && !self.cut_off && self.node.gone().is_none() {
            let data = b"free\n".to_vec();
            let _it_may_be_gone = self.node.call(Op::Write { fid: self.files.ctl, offset: 0, data });
        }
        outcome
    }

    fn until_it_ends(&mut self) -> Outcome {
        loop {
            while let Some((tag, reply)) = self.node.next() {
                if let Some(want) = self.wants.remove(&tag) {
                    self.answered(want, reply)?;
                }
            }
            if self.node.gone().is_some() && self.ended.is_none() && !self.cut_off {
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
            if self.is_over() {
                return self.end();
            }
            self.wait_for_something()?;
        }
    }

    fn is_over(&self) -> bool {
        let written = self.outputs.iter().all(|out| out.outlet.waiting() == 0);
        let all = self.ended.is_some() && self.outputs.iter().all(|out| out.over);
        (all || self.cut_off) && written
    }

    fn end(&mut self) -> Outcome {
        let record = self.ended.take().unwrap_or_default();
        self.raw = None;
        if self.cut_off {
            return Err(Failure::new("")); // it was said when it happened
        }
        if self.args.json {
            let _nobody_listens = std::io::stderr().write_all(&self.wait);
        }
        if self.timed_out {
            return Ok(TIMED_OUT);
        }
        tree::status(&record).ok_or_else(|| Failure::new("the node did not say how it ended"))
        // The connection ends after this, and with it the session: `killonclose`.
    }

    // ── answers ────────────────────────────────────────────────────────────────────────────

    fn answered(&mut self, want: Want, reply: Reply) -> Result<(), Failure> {
        if matches!(reply, Reply::Failed(_)) && self.node.gone().is_some() {
            return Ok(()); // not the node's word; see `come_back`
        }
        if let Reply::Failed(error) = &reply
            && matches!(error.errno, Errno::HOSTUNREACH | Errno::STALE)
            && let (Some(session), true) = (self.session(), self.sent)
        {
            self.is_cut_off(error, &session);
            return Ok(());
        }
        match (want, reply) {
            (Want::Setup, Reply::Failed(error)) => return Err(not_made(&mut self.node, &self.place, error)),
            (Want::Id, reply) => self.id = Some(reply_text(reply)).filter(|id| !id.is_empty()),
            // It had started before the node died.
            (Want::Exec, Reply::Failed(error)) if error.errno == Errno::BUSY => self.has_started(),
            (Want::Exec, Reply::Failed(error)) => return Err(cannot_start(error, self.args)),
            (Want::Exec, _) => self.has_started(),
            (Want::Out(at), Reply::Data(data)) => self.got_output(at, data),
            (Want::Wait, Reply::Data(data)) => self.got_wait(&data)?,
            (Want::Out(_) | Want::Wait, Reply::Failed(error)) => return Err(error.into()),
            (Want::Fed(bytes), Reply::Failed(_)) => {
                self.feed.taken(bytes);
                self.feed.close();
            }
            (Want::Fed(bytes), _) => {
                self.feed.taken(bytes);
                self.close_stdin();
            }
            (Want::Out(_) | Want::Wait, _) => return Err(Errno::PROTO.into()),
            (Want::Setup | Want::Told, _) => {}
        }
        Ok(())
    }

    /// The path of the session, once it is known.
    fn session(&self) -> Option<String> {
        self.id.as_ref().map(|id| self.place.session(id))
    }

    /// A link between us and the program is gone. Said at once, even if somebody is slow to read what came before.
    fn is_cut_off(&mut self, error: &op::Error, session: &str) {
        if self.ended.is_some() || std::mem::replace(&mut self.cut_off, true) {
            return;
        }
        self.raw = None;
        self.deadline = None;
        let short = session.trim_start_matches("net/");
        let hint = match self.started {
            true => format!("when it can be reached again: uem logs {short}, uem wait {short}"),
            false => format!(
                "whether it was started is not known; when it can be reached, uem ps --all shows {short}"
            ),
        };
        Failure::from(error.clone()).hint(hint).tell("run");
    }

    fn has_started(&mut self) {
        self.started = true;
        if self.args.tty && self.raw.is_none() {
            self.raw = Raw::enter();
        }
    }

    fn got_output(&mut self, at: usize, data: Vec<u8>) {
        let out = &mut self.outputs[at];
        out.reading = false;
        out.over = data.is_empty();
        out.offset += data.len() as u64;
        if !data.is_empty() {
            out.outlet.push(data);
        }
    }

    fn got_wait(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.wait.extend(data);
        if self.wait.ends_with(b"\n") {
            self.ended = Some(tree::record(&self.wait)?);
        } else if data.is_empty() {
            return Err(Failure::new(
                "the session was freed by somebody; how its program ended is not known",
            ));
        } else {
            self.read_wait();
        }
        Ok(())
    }

    // ── requests ───────────────────────────────────────────────────────────────────────────

    fn ask(&mut self, want: Want, op: Op) {
        let tag = self.node.send(op);
        self.wants.insert(tag, want);
    }

    fn read_wait(&mut self) {
        let (fid, offset) = (self.files.wait, self.wait.len() as u64);
        self.ask(Want::Wait, Op::Read { fid, offset, count: 4096, wait: true });
    }

    /// The next read is on its way before what the last one brought is written.
    fn read_outputs(&mut self) {
        if self.cut_off {
            return;
        }
        let count = self.node.max_io();
        for at in 0..2 {
            let out = &mut self.outputs[at];
            if !out.reading && !out.over && out.outlet.waiting() < PENDING {
                out.reading = true;
                let op = Op::Read { fid: self.files.out[at], offset: out.offset, count, wait: true };
                self.ask(Want::Out(at), op);
            }
        }
    }

    fn tell(&mut self, line: &str) {
        let data = format!("{line}\n").into_bytes();
        self.ask(Want::Told, Op::Write { fid: self.files.ctl, offset: 0, data });
        self.node.flush();
    }

    // ── the node died ──────────────────────────────────────────────────────────────────────

    /// Finds the session again on a node that was started again, and goes on where it was.
    fn come_back(&mut self) -> Result<(), Failure> {
        let why = self.node.gone().map(ToString::to_string).unwrap_or_default();
        let Some(session) = self.session() else {
            return Err(Failure::new(why).hint("the program was not started"));
        };
        let mut node = reconnect(&self.at, &mut self.signals, &why, &session)?;
        let mut setup = Vec::new();
        self.files = Files::again(&mut node, &session, &mut setup);
        self.node = node;
        self.wants = setup.into_iter().map(|tag| (tag, Want::Setup)).collect();
        if !self.feed.is_settled() {
            self.tell("free");
            let cause =
                format!("{why}; it is back, but what of stdin the program got is not known: it was ended");
            return Err(Failure::new(cause));
        }
        // Sent again if it was not answered: a program that did start is not started twice (`EBUSY`).
        self.sent = self.started;
        self.closed = false;
        self.close_stdin();
        self.outputs.iter_mut().for_each(|out| out.reading = false);
        self.wait.clear();
        self.read_wait();
        Ok(())
    }
}
