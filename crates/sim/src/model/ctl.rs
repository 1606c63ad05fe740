//! `ctl` in the model: lines, and what a verb does to one session.

use super::{Ask, Expect, Model, State};
use kernel::{ClientId, join, split};
use op::{Errno, Fid, Uid};

/// The verbs that the model knows.
const VERBS: [&str; 10] =
    ["exec", "kill", "stop", "start", "close", "free", "keep", "lease", "killonclose", "tag"];

/// Whether a verb may have these words.
fn fits(verb: &str, words: &[Vec<u8>]) -> bool {
    match verb {
        "exec" => true,
        "kill" => words.len() < 2 && words.iter().all(|word| signal(word).is_some()),
        "close" => words == [b"stdin".to_vec()],
        "lease" => words.len() == 1,
        "tag" => !words.is_empty() && words.iter().all(|word| tags(word)),
        _ => words.is_empty(),
    }
}

/// The number of a signal by its name. (`kill ` and then `stop` is one line, and does not stop.)
fn signal(word: &[u8]) -> Option<i32> {
    let name = String::from_utf8_lossy(word).to_ascii_uppercase();
    kernel::manual::SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn tags(word: &[u8]) -> bool {
    let text = String::from_utf8_lossy(word);
    let key = text.split('=').next().unwrap_or("");
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
}

/// Lines that were written to a `ctl`, on their way.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// `None`: the node.
    pub(crate) subject: Option<u64>,
    pub(crate) fid: Option<Fid>,
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) len: u32,
    /// By the number of their start.
    waiting: Vec<(u64, u32)>,
    problems: Vec<(u64, Errno)>,
    best_effort: bool,
}

impl Run {
    pub(crate) fn new(subject: Option<u64>, fid: Option<Fid>, lines: Vec<Vec<u8>>, len: u32) -> Run {
        Run { subject, fid, lines, len, waiting: vec![], problems: vec![], best_effort: false }
    }
}

impl Model {
    /// Takes lines as far as they go.
    pub(crate) fn run(&mut self, client: ClientId, uid: Uid, mut run: Run) -> Result<Expect, Run> {
        loop {
            let starting = |id: &u64| self.sessions.get(id).is_some_and(|s| s.state == State::Starting);
            while let Some((id, start)) = run.waiting.last().copied() {
                // Whoever has begun another start since has done so because this one had failed.
                let again = self.sessions.get(&id).is_some_and(|s| s.starts != start);
                if starting(&id) && !again {
                    return Err(run);
                }
                let refused = match self.sessions.get(&id) {
                    None => Some(Errno::STALE),
                    Some(session) if again => session.refused_before,
                    Some(session) => session.refused,
                };
                run.problems.extend(refused.map(|errno| (id, errno)));
                run.waiting.pop();
            }
            let mut problems = std::mem::take(&mut run.problems);
            problems.sort_by_key(|(id, _)| *id);
            if let Some((_, errno)) = problems.first().filter(|_| !run.best_effort) {
                return Ok(self.failed(client, &run, *errno));
            }
            if run.lines.is_empty() {
                return Ok(Expect::Wrote(run.len));
            }
            if run.subject.as_ref().is_some_and(starting) {
                return Err(run);
            }
            let line = run.lines.remove(0);
            if let Err(errno) = self.line(uid, &mut run, &line) {
                return Ok(self.failed(client, &run, errno));
            }
        }
    }

    fn failed(&mut self, client: ClientId, run: &Run, errno: Errno) -> Expect {
        if let Some(fid) = run.fid.and_then(|fid| self.fids.get_mut(&(client, fid))) {
            fid.partial.clear();
        }
        Expect::Errno(errno)
    }

    /// One line, on all that it reaches.
    pub(crate) fn line(&mut self, uid: Uid, run: &mut Run, line: &[u8]) -> Result<(), Errno> {
        let mut words = split(line).map_err(|e| e.errno)?;
        run.best_effort = false;
        while words.first().is_some_and(|w| w == b"try") {
            run.best_effort = true;
            words.remove(0);
        }
        let Some(verb) = words.first().map(|w| String::from_utf8_lossy(w).into_owned()) else {
            return if run.best_effort { Err(Errno::INVAL) } else { Ok(()) };
        };
        words.remove(0);
        if !VERBS.contains(&verb.as_str()) {
            return Err(Errno::INVAL);
        }
        let reached = match self.reached(uid, run.subject, &verb) {
            Ok(reached) => reached,
            Err(_) if run.best_effort => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for id in reached {
            match self.verb(id, &verb, &words) {
                Ok(true) => run.waiting.push((id, self.sessions[&id].starts)),
                Ok(false) => {}
                Err(errno) => run.problems.push((id, errno)),
            }
        }
        Ok(())
    }

    fn reached(&self, uid: Uid, subject: Option<u64>, verb: &str) -> Result<Vec<u64>, Errno> {
        let running = |ids: Vec<u64>| ids.into_iter().filter(|id| self.sessions[id].runs()).collect();
        if let Some(id) = subject {
            let session = self.sessions.get(&id).ok_or(Errno::STALE)?;
            let members: Vec<u64> = session.members.values().copied().collect();
            return Ok(match verb {
                "exec" | "close" | "tag" if session.is_group() => members,
                "kill" | "stop" | "start" if session.is_group() => running(members),
                _ => vec![id],
            });
        }
        let mine = self.sessions.iter().filter(|(_, s)| uid.0 == 0 || s.owner == uid);
        let ids =
            |mine: Vec<(&u64, &super::Session)>| mine.into_iter().map(|(id, _)| *id).collect::<Vec<_>>();
        match verb {
            "kill" | "stop" | "start" => Ok(running(ids(mine.collect()))),
            "tag" => Ok(ids(mine.filter(|(_, s)| !s.is_group()).collect())),
            "free" => Ok(ids(mine.filter(|(_, s)| s.group.is_none()).collect())),
            _ => Err(Errno::INVAL),
        }
    }

    /// Whether it has to start first.
    fn verb(&mut self, id: u64, verb: &str, words: &[Vec<u8>]) -> Result<bool, Errno> {
        let alive = |s: &super::Session| if s.runs() { Ok(()) } else { Err(Errno::SRCH) };
        // That nothing runs is said before that the signal is none.
        if verb == "kill" {
            alive(self.sessions.get(&id).ok_or(Errno::STALE)?)?;
        }
        if !fits(verb, words) {
            return Err(Errno::INVAL);
        }
        if verb == "free" {
            self.free(id);
            return Ok(false);
        }
        let session = self.sessions.get_mut(&id).ok_or(Errno::STALE)?;
        match (verb, words) {
            ("exec", _) => {
                if session.state != State::Fresh {
                    return Err(Errno::BUSY);
                }
                let argv = if words.is_empty() {
                    split(&session.command).map_err(|e| e.errno)?
                } else {
                    words.to_vec()
                };
                if argv.is_empty() {
                    return Err(Errno::INVAL);
                }
                let argv = self.substituted(id, argv);
                let session = self.sessions.get_mut(&id).ok_or(Errno::STALE)?;
                session.command = join(&argv);
                session.state = State::Starting;
                session.refused_before = session.refused.take();
                session.starts += 1;
                session.expires = None;
                self.trail.push((id, session.clone()));
                self.asks.push(Ask::Start(id, argv));
                return Ok(true);
            }
            ("kill", []) => {
                alive(session)?;
                self.end_politely(id);
            }
            ("kill", words) => {
                let number = words.first().and_then(|word| signal(word)).ok_or(Errno::INVAL)?;
                self.asks.push(Ask::Signal(id, number, false));
            }
            ("stop" | "start", _) => {
                alive(session)?;
                if let State::Running { stopped, .. } = &mut session.state {
                    *stopped = verb == "stop";
                }
                self.asks.push(if verb == "stop" { Ask::Freeze(id) } else { Ask::Thaw(id) });
            }
            ("close", _) => {
                let running = matches!(session.state, State::Running { .. });
                if !session.ended() && !std::mem::replace(&mut session.stdin.closed, true) && running {
                    self.asks.push(Ask::CloseStdin(id));
                }
            }
            ("keep", _) => {
                (session.keep, session.strict) = (true, false);
                self.settle(id);
            }
            ("killonclose", _) => {
                (session.keep, session.strict) = (false, true);
                self.settle(id);
            }
            ("lease", [span]) => {
                let span = op::parse_span(&String::from_utf8_lossy(span)).ok_or(Errno::INVAL)?;
                (session.lease, session.keep) = (span, false);
                self.settle(id);
            }
            ("tag", _) => {}
            _ => return Err(Errno::INVAL),
        }
        Ok(false)
    }

    fn substituted(&self, id: u64, argv: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let Some((group, rank)) = self.sessions[&id].group else { return argv };
        // Ranks are not counted anew where one was freed: each is below the size.
        let size = self.sessions.get(&group).and_then(|g| g.members.keys().last()).map_or(1, |last| last + 1);
        let known = [
            ("{rank}", rank.to_string()),
            ("{size}", size.to_string()),
            ("{node}", "n1".into()),
            ("{id}", id.to_string()),
        ];
        let one = |word: Vec<u8>| match String::from_utf8(word) {
            Ok(text) => known.iter().fold(text, |t, (name, value)| t.replace(name, value)).into_bytes(),
            Err(other) => other.into_bytes(),
        };
        argv.into_iter().map(one).collect()
    }
}
