//! What each verb does: to one session here, to the node in `nodes`. A function a row of `verbs`.

mod limit;
mod nodes;

pub(crate) use limit::{limit, limit_words};
pub(crate) use nodes::{down, drain, label, leave, resume};

use crate::{
    Effect, Kernel, gone, limits,
    query::job_name,
    session::{Setup, State},
    verbs::{Step, signal_names, signal_number},
    words::lossy,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use op::{Act, Errno, Error, Result, SessionId, Uid, WinSize, parse_span};

pub(crate) type Words<'a> = &'a [Vec<u8>];

/// The usage line of a verb, as an error.
pub(crate) fn usage(verb: &str) -> Error {
    let usage = crate::verbs::VERBS.iter().find(|v| v.name == verb).map_or("", |v| v.usage);
    Error::new(Errno::INVAL, format!("usage: {verb} {usage}").trim_end().to_string())
}

fn none(verb: &str, words: Words<'_>) -> Result<()> {
    if words.is_empty() { Ok(()) } else { Err(usage(verb)) }
}

fn number<T: core::str::FromStr>(verb: &str, word: &[u8]) -> Result<T> {
    lossy(word).parse().map_err(|_| usage(verb))
}

impl Kernel {
    /// Changes what is said before `exec`.
    fn set_up(&mut self, id: SessionId, verb: &str, change: impl FnOnce(&mut Setup)) -> Result<Step> {
        let session = self.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
        let fresh = session.state == State::Fresh;
        match session.setup_mut().filter(|_| fresh) {
            Some(setup) => change(setup),
            None => {
                let cause = format!("{verb} comes before exec, and session {} was started", id.0);
                return Err(Error::new(Errno::BUSY, cause));
            }
        }
        self.touch(id);
        Ok(Step::Done)
    }

    fn running(&self, id: SessionId, verb: &str) -> Result<()> {
        match self.session(id)?.state {
            State::Running { .. } | State::Starting => Ok(()),
            State::Fresh => {
                Err(Error::new(Errno::SRCH, format!("{verb}: nothing was started in session {}", id.0)))
            }
            State::Ended { .. } => {
                Err(Error::new(Errno::SRCH, format!("{verb}: session {} has ended", id.0)))
            }
        }
    }
}

impl Kernel {
    /// Whether there is anything yet that can be stopped.
    fn asked_to_start(&self, id: SessionId, verb: &str) -> Result<()> {
        match self.awaits_contents(id) {
            true => {
                let cause = format!("{verb}: session {} waits for contents; `kill` ends that", id.0);
                Err(Error::new(Errno::AGAIN, cause))
            }
            false => Ok(()),
        }
    }
}

pub(crate) fn exec(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    k.exec(id, words.to_vec()).map(|()| Step::Starting)
}

pub(crate) fn dir(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let [path] = words else { return Err(usage("dir")) };
    if !path.starts_with(b"/") {
        let cause = format!(
            "dir {}: a path from the root is needed, since a node has no place of its own",
            lossy(path)
        );
        return Err(Error::new(Errno::INVAL, cause));
    }
    k.set_up(id, "dir", |setup| setup.dir = Some(path.clone()))
}

/// A login name, or a number as it is usually written: `007` is answered as `7`, and whoever asked waits for that.
pub(crate) fn user_name(word: &[u8]) -> String {
    let name = lossy(word);
    name.parse::<u32>().map_or(name, |number| number.to_string())
}

pub(crate) fn user(k: &mut Kernel, id: SessionId, uid: Uid, words: Words<'_>) -> Result<Step> {
    let [name] = words else { return Err(usage("user")) };
    let name = user_name(name);
    let known = k.users.values().find(|u| *u.name == *name || u.uid.0.to_string() == name).cloned();
    let Some(user) = known else {
        k.out.push(Effect::FindUser(name));
        return Ok(Step::User);
    };
    let owner = k.session(id)?.owner;
    if user.uid != owner && uid.0 != 0 {
        return Err(Error::new(Errno::PERM, format!("user {name}: only root may run as somebody else")));
    }
    k.set_up(id, "user", |setup| setup.user = user)
}

pub(crate) fn env(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    if words.is_empty() {
        return Err(usage("env"));
    }
    words.iter().try_for_each(|word| crate::edit::check_variable(word))?;
    let before = k.session(id)?.live.as_ref().map_or(0, |live| live.setup.env.len());
    let size = before + words.iter().map(|word| word.len() + 1).sum::<usize>();
    if size > limits::TEXT {
        return Err(Error::new(Errno::FBIG, format!("env: at most {} bytes", limits::TEXT)));
    }
    k.set_up(id, "env", |setup| setup.env = crate::edit::with_variables(&setup.env, words))
}

pub(crate) fn ns(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    if words.is_empty() {
        return Err(usage("ns"));
    }
    let mut text = k.session(id)?.live.as_ref().map(|live| live.setup.ns.clone()).unwrap_or_default();
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text.extend(crate::words::join(words));
    text.push(b'\n');
    crate::store::lines(&text)?;
    if text.len() > limits::TEXT {
        return Err(Error::new(Errno::FBIG, format!("ns has at most {} bytes", limits::TEXT)));
    }
    k.set_up(id, "ns", |setup| setup.ns = text)
}

pub(crate) fn nice(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let [n] = words else { return Err(usage("nice")) };
    let n: i8 = number("nice", n)?;
    if !(-20..=19).contains(&n) {
        return Err(Error::new(Errno::INVAL, format!("nice {n}: from -20 to 19")));
    }
    k.set_up(id, "nice", |setup| setup.nice = n)
}

fn size(verb: &str, words: Words<'_>) -> Result<WinSize> {
    let [rows, cols] = words else { return Err(usage(verb)) };
    Ok(WinSize { rows: number(verb, rows)?, cols: number(verb, cols)? })
}

pub(crate) fn tty(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let size = if words.is_empty() { WinSize { rows: 24, cols: 80 } } else { size("tty", words)? };
    k.set_up(id, "tty", |setup| setup.tty = Some(size))
}

pub(crate) fn winsize(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let size = size("winsize", words)?;
    let session = k.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
    let runs = session.runs() && session.live.as_ref().is_some_and(|live| live.awaits.is_none());
    let Some(setup) = session.setup_mut().filter(|s| s.tty.is_some()) else {
        let cause = format!("winsize: session {} has no terminal; `tty` before `exec` gives it one", id.0);
        return Err(Error::new(Errno::INVAL, cause));
    };
    setup.tty = Some(size);
    if runs {
        k.out.push(Effect::Act(Act::Resize { session: id, size }));
    }
    Ok(Step::Done)
}

pub(crate) fn kill(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    k.running(id, "kill")?;
    match words {
        [] => {
            if let Some(session) = k.sessions.get_mut(&id) {
                session.why = "it was ended by `kill`";
            }
            k.end_politely(id);
        }
        [word] => {
            let word = lossy(word);
            let signal = signal_number(&word).ok_or_else(|| {
                Error::new(
                    Errno::INVAL,
                    format!("kill {word}: no such signal; known are 1 to 64 and {}", signal_names()),
                )
            })?;
            k.signal(id, signal, false);
        }
        _ => return Err(usage("kill")),
    }
    Ok(Step::Done)
}

pub(crate) fn stop(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    none("stop", words)?;
    k.running(id, "stop")?;
    k.asked_to_start(id, "stop")?;
    k.out.push(Effect::Act(Act::Freeze(id)));
    k.set_stopped(id, true);
    Ok(Step::Done)
}

pub(crate) fn start(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    none("start", words)?;
    k.running(id, "start")?;
    k.asked_to_start(id, "start")?;
    k.out.push(Effect::Act(Act::Thaw(id)));
    k.set_stopped(id, false);
    Ok(Step::Done)
}

pub(crate) fn close(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    if words != [b"stdin".to_vec()] {
        return Err(usage("close"));
    }
    let session = k.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
    // Of what is starting, after the early bytes.
    let runs = matches!(session.state, State::Running { .. });
    // Closing what is closed, or has ended, is no mistake.
    if let Some(live) = &mut session.live
        && !core::mem::replace(&mut live.stdin.closed, true)
    {
        if runs {
            k.out.push(Effect::Act(Act::CloseStdin(id)));
        }
        k.touch(id);
        k.parked.notify(crate::park::On::Fed(id));
        k.parked.notify(crate::park::On::Life(id));
    }
    Ok(Step::Done)
}

pub(crate) fn roll(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    none("roll", words)?;
    let session = k.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
    if let Some(live) = &mut session.live {
        live.roll = true;
        k.flow_has_room(id);
        k.touch(id);
    }
    Ok(Step::Done)
}

pub(crate) fn free(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    none("free", words)?;
    k.free(id);
    Ok(Step::Done)
}

impl Kernel {
    fn set_life(&mut self, id: SessionId, change: impl FnOnce(&mut crate::session::Life)) -> Result<Step> {
        let session = self.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
        let ends = session.ends();
        change(&mut session.life);
        self.touch(id);
        self.settle_life(id);
        self.shares_let(id);
        self.goes_on(id, ends);
        Ok(Step::Done)
    }
}

pub(crate) fn killonclose(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    none("killonclose", words)?;
    k.set_life(id, |life| (life.kill_on_close, life.keep) = (true, false))
}

pub(crate) fn keep(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    none("keep", words)?;
    k.set_life(id, |life| (life.keep, life.kill_on_close) = (true, false))
}

pub(crate) fn lease(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let [span] = words else { return Err(usage("lease")) };
    let span = parse_span(&lossy(span)).ok_or_else(|| usage("lease"))?;
    k.set_life(id, |life| (life.lease, life.keep) = (span, false))
}

pub(crate) fn until(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let at = match words {
        [] => None,
        [span] => Some(k.clock.mono + parse_span(&lossy(span)).ok_or_else(|| usage("until"))?),
        _ => return Err(usage("until")),
    };
    let session = k.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
    let ends = session.ends();
    session.life.by_word = true;
    // Who is cut off itself cannot give what it has not got.
    let at = at.map(|at| session.expires.map_or(at, |ends| ends.min(at)));
    if session.life.kill_on_close {
        k.set_timer(id, crate::life::Timer::Lease, at);
    }
    k.goes_on(id, ends);
    k.touch(id);
    Ok(Step::Done)
}

pub(crate) fn tag(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for word in words {
        let word = lossy(word);
        let (key, value) = word.split_once('=').unwrap_or((&word, ""));
        let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if key.is_empty() || key.len() > limits::NAME || !key.chars().all(plain) {
            return Err(Error::new(
                Errno::INVAL,
                format!("tag {word:?}: a key is letters, digits and _ - ."),
            ));
        }
        if key == "job" {
            job_name(value)?;
        }
        tags.push((key.into(), value.into()));
    }
    if tags.is_empty() {
        return Err(usage("tag"));
    }
    let session = k.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
    for (key, value) in tags {
        session.tags.retain(|(old, _)| *old != key);
        if session.tags.len() >= limits::TAGS {
            return Err(Error::new(Errno::AGAIN, format!("a session has at most {} tags", limits::TAGS)));
        }
        session.tags.push((key, value));
    }
    k.touch(id);
    Ok(Step::Done)
}

pub(crate) fn untag(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    if words.is_empty() {
        return Err(usage("untag"));
    }
    let session = k.sessions.get_mut(&id).ok_or_else(|| gone(id))?;
    session.tags.retain(|(key, _)| !words.iter().any(|w| w == key.as_bytes()));
    k.touch(id);
    Ok(Step::Done)
}
