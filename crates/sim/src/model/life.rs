//! How sessions begin and end in the model: what a provider tells, leases, and freeing.

use super::{Ask, Expect, Model, Session, State, Stdin};
use op::{Errno, Mono, Tell, Uid};
use std::{collections::BTreeMap, time::Duration};

const KILL: i32 = 9;
const TERM: i32 = 15;
const GRACE: Duration = Duration::from_secs(5);

impl Model {
    /// A new session, in a group a member of it.
    pub(crate) fn cloned(&mut self, uid: Uid, group: Option<u64>) -> Result<u64, Errno> {
        let id = self.next;
        let gid = self.user(uid).groups[0].0;
        let mut session = Session {
            owner: uid,
            gid,
            mode: 0o600,
            state: State::Fresh,
            command: Vec::new(),
            group: None,
            members: BTreeMap::new(),
            lease: Duration::from_secs(60),
            keep: false,
            strict: false,
            freeing: false,
            holders: 0,
            expires: None,
            kill_at: None,
            refused: None,
            starts: 0,
            refused_before: None,
            told: [0; 2],
            closed: [false; 2],
            stdin: Stdin::default(),
            gauged: None,
        };
        if let Some(group) = group {
            let parent = self.sessions.get_mut(&group).ok_or(Errno::STALE)?;
            if parent.state != State::Fresh {
                return Err(Errno::BUSY);
            }
            if parent.group.is_some() {
                return Err(Errno::OPNOTSUPP);
            }
            let rank = parent.members.keys().last().map_or(0, |last| last + 1);
            parent.members.insert(rank, id);
            session.group = Some((group, rank));
            session.owner = parent.owner;
            session.gid = parent.gid;
            session.mode = parent.mode;
            session.command = parent.command.clone();
        }
        self.next += 1;
        self.sessions.insert(id, session);
        Ok(id)
    }

    /// The provider tells.
    pub fn told(&mut self, tell: &Tell) {
        let now = self.clock;
        let id = crate::provider::session_told(tell).0;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match tell {
            Tell::Started { pid, .. } => {
                match &mut session.state {
                    State::Starting => {
                        session.state = State::Running { pid: *pid, at: now.wall, stopped: false };
                    }
                    State::Running { pid: known, .. } => *known = *pid,
                    State::Fresh | State::Ended { .. } => return,
                }
                let early = std::mem::take(&mut session.stdin.early);
                let (closed, freeing) = (session.stdin.closed, session.freeing);
                if !early.is_empty() {
                    session.stdin.feeding = Some(None);
                    self.asks.push(Ask::Feed(id, early));
                }
                if closed {
                    self.asks.push(Ask::CloseStdin(id));
                }
                if freeing {
                    self.asks.push(Ask::Signal(id, KILL, true));
                }
            }
            Tell::Refused { error, .. } => {
                if session.state != State::Starting {
                    return;
                }
                session.state = State::Fresh;
                session.refused = Some(error.errno);
                session.kill_at = None;
                if session.freeing { self.free(id) } else { self.settle(id) }
            }
            Tell::Grew { stream, len, .. } => {
                let told = &mut session.told[*stream as usize];
                *told = (*told).max(*len);
            }
            Tell::Closed { stream, .. } => session.closed[*stream as usize] = true,
            Tell::Full { .. } => {}
            Tell::Fed { result, .. } => {
                if session.ended() {
                    return;
                }
                session.stdin.broken |= result.as_ref().is_err_and(|e| e.errno != Errno::CANCELED);
                if let Some(Some((client, tag, len))) = session.stdin.feeding.take() {
                    self.waiting.retain(|(name, ..)| *name != (client, tag));
                    let expect = match result {
                        Ok(()) => Expect::Wrote(len),
                        Err(error) => Expect::Errno(error.errno),
                    };
                    self.answers.insert((client, tag), expect);
                }
            }
            Tell::Exited { exit, .. } => {
                let (pid, at) = match session.state {
                    State::Starting => (0, exit.at),
                    State::Running { pid, at, .. } => (pid, at),
                    State::Fresh | State::Ended { .. } => return,
                };
                let order = self.next_end;
                self.next_end += 1;
                session.state = State::Ended { pid, at, exit: *exit, order };
                session.kill_at = None;
                session.stdin.feeding = None;
                let freeing = session.freeing;
                self.ends.insert(order, id);
                if freeing { self.free(id) } else { self.settle(id) }
            }
        }
    }

    /// The lease, as things stand now. A member's life is its group's.
    pub(crate) fn settle(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        if let Some((group, _)) = session.group {
            return self.settle(group);
        }
        // Whoever had it has the lease to come back once: only that somebody holds it takes it back.
        if session.strict && session.holders == 0 && session.expires.is_some() {
            return;
        }
        let busy = |s: &Session| s.holders > 0 || s.runs();
        let members = session.members.values().filter_map(|m| self.sessions.get(m));
        let idle = !busy(session) && !members.into_iter().any(busy) && !session.keep;
        let at = idle.then(|| self.clock.mono + session.lease);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.expires = at;
        }
    }

    pub(crate) fn hold(&mut self, id: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.holders += 1;
            self.settle(id);
        }
    }

    pub(crate) fn release(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.holders -= 1;
        if session.holders == 0 && session.strict { self.close_for_good(id) } else { self.settle(id) }
    }

    fn close_for_good(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.runs() {
            session.freeing = true;
            self.end_politely(id);
        } else {
            self.free(id);
        }
    }

    pub(crate) fn end_politely(&mut self, id: u64) {
        let now = self.clock.mono;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.asks.push(Ask::Signal(id, TERM, false));
        if let State::Running { stopped, .. } = &mut session.state
            && std::mem::take(stopped)
        {
            self.asks.push(Ask::Thaw(id));
        }
        session.kill_at = Some(now + GRACE);
    }

    /// Gives it all back; what runs is killed first.
    pub(crate) fn free(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        for member in session.members.values().copied().collect::<Vec<_>>() {
            self.free(member);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.runs() {
            session.freeing = true;
            self.asks.push(Ask::Signal(id, KILL, true));
            return;
        }
        let Some(session) = self.sessions.remove(&id) else { return };
        if let State::Ended { order, .. } = session.state {
            self.ends.remove(&order);
            self.asks.push(Ask::Free(id));
        }
        if let Some((group, rank)) = session.group
            && let Some(parent) = self.sessions.get_mut(&group)
        {
            parent.members.remove(&rank);
            self.settle(group);
        }
    }

    /// When something is due next.
    pub fn next_timer(&self) -> Option<Mono> {
        self.sessions.values().flat_map(|s| [s.expires, s.kill_at]).flatten().min()
    }

    /// What is due by then happens.
    pub(crate) fn ring(&mut self, until: Mono) {
        loop {
            let leases = self.sessions.iter().filter_map(|(id, s)| Some((s.expires?, *id, 0)));
            let kills = self.sessions.iter().filter_map(|(id, s)| Some((s.kill_at?, *id, 1)));
            let Some((at, id, which)) = leases.chain(kills).min().filter(|(at, ..)| *at <= until) else {
                return;
            };
            self.clock.wall.0 += at.since(self.clock.mono).as_nanos() as u64;
            self.clock.mono = self.clock.mono.max(at);
            let Some(session) = self.sessions.get_mut(&id) else { return };
            if which == 1 {
                session.kill_at = None;
                self.asks.push(Ask::Signal(id, KILL, true));
            } else {
                session.expires = None;
                if session.runs() { self.close_for_good(id) } else { self.free(id) }
            }
        }
    }

    /// A running program was measured.
    pub fn gauged(&mut self, id: u64) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|s| !s.ended()) {
            session.gauged = Some(self.clock.mono);
        }
    }

    /// The node was measured.
    pub fn measured(&mut self) {
        self.gauges = Some(self.clock.mono);
    }
}
