//! `reduce`: an output goes through a program at every level of a group. It is fed what the members here write and what the same
//! program has made of the rest at each share; what it writes is what this level gives up, and at the top the group's output.
//!
//! ```text
//!   (none) ── somebody opens the output ──▶ fed ── all is in ──▶ shut ── it ends ──▶ ended: its result stands
//!     ▲                                      │                     │
//!     └─ a share of which something was read begins anew, or this node was restarted: it is freed, and so its result
//! ```
//! The program is a session like any other, with the owner, the directory, the environment and the name space of the group. The
//! group's output is read from its spool, so nothing is copied. Of two lives of a result bytes are never mixed: who has read of the
//! one is told that it is gone ([`Kernel::collect_version`]).

use super::{Collect, Flow, STREAMS, name_of};
use crate::{
    Effect, Kernel, acts, limits,
    notices::What,
    park::On,
    session::{Output, Session, State, Unsaid, how_word},
    words::{lossy, quote_line},
};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use op::{Act, Errno, Error, How, Result, SessionId, Stream};

/// Bytes of what the program wrote to its stderr that are told: the last ones.
const SAID: u64 = limits::NOTICE as u64 / 2;

/// The program of one output of a group, at this level.
#[derive(Debug)]
pub(crate) struct Reducer {
    /// Its session; a number that nobody has if there could be none.
    pub(super) session: SessionId,
    /// It was given all there is.
    shut: bool,
    /// It ended before our eyes, so its result is all that it will be.
    ended: bool,
    /// What is wrong with the result: whoever has read all of it is told.
    flaw: Option<String>,
}

impl Reducer {
    /// For the journal.
    pub(super) fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let state = if self.ended { "ended" } else { "begun" };
        let mut line = format!("reducer {name} {} {state} ", self.session.0).into_bytes();
        quote_line(self.flaw.as_deref().unwrap_or_default().as_bytes(), &mut line);
        (self.session != NONE).then_some(line)
    }
}

/// Before what is told of a result, once.
const NOT_WHOLE: &str = "the result is not whole: ";

const NONE: SessionId = SessionId(u64::MAX);

impl Flow {
    /// The words of a line of the journal.
    pub(super) fn recall_reducer(&mut self, words: &[Vec<u8>]) -> Option<()> {
        let [name, session, state, flaw] = words else { return None };
        let stream = STREAMS.into_iter().find(|stream| name_of(*stream).as_bytes() == name)?;
        let session = SessionId(lossy(session).parse().ok()?);
        let flaw = (!flaw.is_empty()).then(|| lossy(flaw));
        let reducer = Reducer { session, shut: true, ended: state == b"ended", flaw };
        self.reducers[stream as usize] = Some(Box::new(reducer));
        Some(())
    }

    /// The same, with the names of the outputs.
    pub(crate) fn reduced_by(&self) -> impl Iterator<Item = (SessionId, &'static str)> {
        let known = self.reducers.iter().zip(STREAMS.map(name_of));
        known.filter_map(|(r, name)| Some((r.as_ref()?.session, name))).filter(|(id, _)| *id != NONE)
    }

    /// Sessions of programs that outputs go through.
    pub(crate) fn reducers(&self) -> impl Iterator<Item = SessionId> {
        self.reducers.iter().flatten().map(|reducer| reducer.session)
    }
}

impl Kernel {
    fn reducer(&self, group: SessionId, stream: Stream) -> Option<&Reducer> {
        self.sessions.get(&group)?.flow.as_deref()?.reducers[stream as usize].as_deref()
    }

    fn reducer_mut(&mut self, group: SessionId, stream: Stream) -> Option<&mut Reducer> {
        self.sessions.get_mut(&group)?.flow.as_deref_mut()?.reducers[stream as usize].as_deref_mut()
    }

    fn journal_reducer(&mut self, group: SessionId, stream: Stream) {
        if let Some(line) = self.reducer(group, stream).and_then(|reducer| reducer.kept(name_of(stream))) {
            self.append([format!("flow {} ", group.0).as_bytes(), &line].concat());
        }
    }

    // ── its beginning ──────────────────────────────────────────────────────────────────────

    /// Starts the program of an output that somebody wants to read.
    pub(super) fn begin_reducing(&mut self, group: SessionId, stream: Stream) {
        let Some(flow) = self.sessions.get(&group).and_then(|s| s.flow.as_deref()) else { return };
        let Some(words) = flow.reduces[stream as usize].clone() else { return };
        let made = self.new_reducer(group, stream);
        let session = *made.as_ref().unwrap_or(&NONE);
        let begun = made.and_then(|session| self.exec(session, words));
        if let Err(error) = begun {
            self.reducer_refused(session, &error);
            if session == NONE {
                let reducer = Reducer { session, shut: true, ended: true, flaw: None };
                self.set_reducer(group, stream, reducer);
                self.cannot_reduce(group, stream, &error);
            }
        }
    }

    fn set_reducer(&mut self, group: SessionId, stream: Stream, reducer: Reducer) {
        if let Some(flow) = self.sessions.get_mut(&group).and_then(|s| s.flow.as_deref_mut()) {
            flow.reducers[stream as usize] = Some(Box::new(reducer));
        }
    }

    /// A session of this node for the program, with what members of the group have.
    fn new_reducer(&mut self, group: SessionId, stream: Stream) -> Result<SessionId> {
        self.room_for_session()?;
        let of = self.session(group)?;
        let id = SessionId(self.next_id);
        let mut session = Session::new(id, &self.user(of.owner), self.clock.wall);
        (session.gid, session.mode, session.life.keep) = (of.gid, of.mode, true);
        session.unsaid = Unsaid::Nothing;
        session.tags.push(("reduces".into(), format!("{}", group.0)));
        if let (Some(live), Some(model)) = (&mut session.live, &of.live) {
            live.setup = model.setup.clone();
            let setup = Arc::make_mut(&mut live.setup);
            (setup.tty, setup.limits.wall) = (None, None);
        }
        let owner = session.owner;
        self.next_id += 1;
        // First whose it is: without that it would be kept for ever.
        let reducer = Reducer { session: id, shut: false, ended: false, flaw: None };
        self.set_reducer(group, stream, reducer);
        self.journal_reducer(group, stream);
        self.sessions.insert(id, Box::new(session));
        self.reducers.insert(id, (group, stream));
        self.touch(id);
        self.happened(Some(id), owner, What::Cloned { rank: None });
        Ok(id)
    }

    /// The program cannot be started: then there is no result, and whoever reads is told why.
    pub(crate) fn reducer_refused(&mut self, session: SessionId, error: &Error) {
        if let Some((group, stream)) = self.reducers.get(&session).copied() {
            self.cannot_reduce(group, stream, error);
        }
    }

    fn cannot_reduce(&mut self, group: SessionId, stream: Stream, error: &Error) {
        let text = format!("{} cannot be started: {error}", self.reduces_by(group, stream));
        self.flow_failed(group, text.clone());
        self.flaw(group, stream, text);
        self.end_reducing(group, stream);
    }

    /// `reduce awk on a (net/a/7)`.
    fn reduces_by(&self, group: SessionId, stream: Stream) -> String {
        let flow = self.sessions.get(&group).and_then(|s| s.flow.as_deref());
        let words = flow.and_then(|flow| flow.reduces[stream as usize].as_deref());
        let prog = words.and_then(|words| words.first()).map(|word| lossy(word)).unwrap_or_default();
        let name = &self.node.name;
        match self.reducer(group, stream).filter(|reducer| reducer.session != NONE) {
            Some(reducer) => format!("reduce {prog} on {name} (net/{name}/{})", reducer.session.0),
            None => format!("reduce {prog} on {name}"),
        }
    }

    // ── what goes through it ───────────────────────────────────────────────────────────────

    /// Gives it the next of what is merged. True if it took something.
    pub(super) fn feed_reducer(&mut self, group: SessionId, stream: Stream, collect: &mut Collect) -> bool {
        let Some(reducer) = self.reducer(group, stream) else { return false };
        let (id, shut) = (reducer.session, reducer.shut);
        if collect.over || shut {
            return false;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let runs = matches!(session.state, State::Running { .. });
        let Some(live) = session.live.as_mut() else { return false };
        if live.stdin.broken || live.stdin.closed {
            // It wants no more, as `head` does: nobody needs to write it.
            self.want_no_more(collect);
            return false;
        }
        if !runs || live.stdin.feeding.is_some() {
            return false;
        }
        let data = collect.merge.take(limits::FLOW);
        if !data.is_empty() {
            live.stdin.feeding = Some(None);
            self.out.push(Effect::Act(Act::Feed { session: id, data }));
            return true;
        }
        if collect.merge.is_over() {
            collect.over = true;
            let owner = session.owner;
            if let Some(reducer) = self.reducer_mut(group, stream) {
                reducer.shut = true;
            }
            let _it_is_there = acts::close(self, id, owner, &[b"stdin".to_vec()]);
        }
        false
    }

    /// It was started, or has taken what it was given.
    pub(crate) fn reducer_took(&mut self, session: SessionId) {
        if let Some((group, stream)) = self.reducers.get(&session).copied() {
            self.with_collect(group, stream, |_, _| {});
        }
    }

    /// It wrote: that is the group's output.
    pub(crate) fn reducer_wrote(&mut self, session: SessionId) {
        let Some((group, stream)) = self.reducers.get(&session).copied() else { return };
        let Some(out) = self.sessions.get(&session).map(|s| *s.out(Stream::Out)) else { return };
        let Some(of) = self.sessions.get_mut(&group) else { return };
        let closed = of.out(stream).closed;
        *of.out_mut(stream) = Output { closed, ..out };
        self.output_told(group, stream);
    }

    /// Whose spool has a session's output.
    pub(crate) fn spool_of(&self, id: SessionId, stream: Stream) -> (SessionId, Stream) {
        match self.reducer(id, stream) {
            Some(reducer) => (reducer.session, Stream::Out),
            None => (id, stream),
        }
    }

    // ── its end ────────────────────────────────────────────────────────────────────────────

    /// It has ended: what it wrote is the result.
    pub(crate) fn reducer_exited(&mut self, session: SessionId) {
        let Some((group, stream)) = self.reducers.get(&session).copied() else { return };
        let Some(State::Ended { exit, .. }) = self.sessions.get(&session).map(|s| &s.state) else { return };
        let how = exit.how;
        let said = self.sessions[&session].out(Stream::Err).len;
        let text = format!("{} has ended with {}", self.reduces_by(group, stream), how_word(how));
        if said > 0 {
            let offset = said.saturating_sub(SAID);
            let count = (said - offset) as u32;
            self.out.push(Effect::Fetch { session, stream: Stream::Err, offset, count });
        } else if how != How::Code(0) {
            self.flow_failed(group, text.clone());
        }
        if how != How::Code(0) {
            self.flaw(group, stream, text);
        }
        self.end_reducing(group, stream);
    }

    /// The end of what it wrote to stderr has come.
    pub(crate) fn reducer_said(&mut self, session: SessionId, data: &[u8]) -> bool {
        let Some((group, stream)) = self.reducers.get(&session).copied() else { return false };
        let how = self.sessions.get(&session).map(|s| s.state_word()).unwrap_or_default();
        let text = format!("{} has ended with {how}, and said: ", self.reduces_by(group, stream));
        self.flow_failed(group, text + lossy(data).trim_end());
        true
    }

    /// It is freed, and with it what it wrote.
    pub(crate) fn reducer_freed(&mut self, session: SessionId) {
        let Some((group, stream)) = self.reducers.remove(&session) else { return };
        self.flaw(group, stream, format!("session {}, which made it, was freed", session.0));
        if let Some(of) = self.sessions.get_mut(&group) {
            *of.out_mut(stream) = Output::default();
        }
        self.end_reducing(group, stream);
    }

    fn end_reducing(&mut self, group: SessionId, stream: Stream) {
        if let Some(reducer) = self.reducer_mut(group, stream) {
            reducer.ended = true;
        }
        self.journal_reducer(group, stream);
        self.with_collect(group, stream, |k, collect| k.want_no_more(collect));
        if let Some(of) = self.sessions.get_mut(&group) {
            of.out_mut(stream).closed = true;
        }
        self.output_told(group, stream);
        self.settle_life(group);
    }

    fn output_told(&mut self, group: SessionId, stream: Stream) {
        self.parked.notify(On::Output(group, stream));
        self.parked.notify(On::Console(group));
    }

    /// Something is missing of a result.
    pub(super) fn flaw(&mut self, group: SessionId, stream: Stream, text: String) {
        if let Some(reducer) = self.reducer_mut(group, stream) {
            reducer.flaw.get_or_insert(text);
        }
    }

    /// A share says that something is missing of what it gave.
    pub(super) fn share_lacks(&mut self, group: SessionId, stream: Stream, error: &Error) {
        let text = match error.cause.strip_prefix(NOT_WHOLE) {
            Some(flaw) => flaw.into(),
            None => format!("a share's output: {error}"),
        };
        self.flow_lacks(group, stream, text);
    }

    /// What whoever has read a whole output must be told.
    pub(crate) fn flaw_of(&self, id: SessionId, stream: Stream) -> Option<Error> {
        let flaw = self.reducer(id, stream)?.flaw.as_ref()?;
        let cause = format!("{NOT_WHOLE}{flaw}");
        Some(Error::new(Errno::IO, cause))
    }

    /// What it has of a part of the tree was taken back: all is done once more.
    pub(super) fn reduce_anew(&mut self, group: SessionId, stream: Stream) {
        let Some(flow) = self.sessions.get_mut(&group).and_then(|s| s.flow.as_deref_mut()) else { return };
        let reducer = flow.reducers[stream as usize].take();
        if let Some(reducer) = reducer {
            self.free_reducer(reducer.session);
        }
        if let Some(of) = self.sessions.get_mut(&group) {
            *of.out_mut(stream) = Output::default();
        }
        self.output_told(group, stream);
        self.collect(group, stream);
    }

    pub(crate) fn free_reducer(&mut self, session: SessionId) {
        self.reducers.remove(&session);
        self.free(session);
    }

    // ── after a restart ────────────────────────────────────────────────────────────────────

    /// The journal is read. A result that was made stands; what was not is made anew, since nobody knows any more what went into it.
    pub(crate) fn reducers_recalled(&mut self) {
        let flows = self.sessions.iter().filter_map(|(id, s)| Some((id, s.flow.as_deref()?)));
        let all = flows.flat_map(|(id, flow)| {
            STREAMS.map(|stream| (id, stream, flow.reducers[stream as usize].as_ref()))
        });
        let all: Vec<_> =
            all.filter_map(|(id, stream, r)| r.map(|r| (id, stream, r.session, r.ended))).collect();
        for (group, stream, session, ended) in all {
            let stands =
                ended && self.sessions.get(&session).is_some_and(|s| matches!(s.state, State::Ended { .. }));
            if stands {
                self.reducers.insert(session, (group, stream));
                self.collect_ended(group, stream);
                self.reducer_wrote(session);
            } else {
                if let Some(flow) = self.sessions.get_mut(&group).and_then(|s| s.flow.as_deref_mut()) {
                    flow.reducers[stream as usize] = None;
                }
                self.free(session);
            }
        }
    }

    /// Why an output stands still that goes through a program, if it does.
    pub(super) fn why_reduces(&self, group: SessionId, stream: Stream) -> Option<String> {
        let reducer = self.reducer(group, stream).filter(|reducer| !reducer.ended)?;
        let session = self.sessions.get(&reducer.session)?;
        let waits = format!("{} waits for {}", name_of(stream), self.reduces_by(group, stream));
        let flow = self.sessions.get(&group)?.flow.as_deref()?;
        let over = flow.collects[stream as usize].as_ref().is_some_and(|collect| collect.over);
        let fed = session.live.as_ref().is_some_and(|live| live.stdin.feeding.is_some());
        match session.state {
            State::Running { stopped: true, .. } => Some(format!("{waits}, which is stopped by `stop`")),
            _ if over => Some(format!("{waits}, which gets no more and has not ended")),
            _ if fed => Some(format!("{waits}, which does not read what it has")),
            _ => None,
        }
    }
}
