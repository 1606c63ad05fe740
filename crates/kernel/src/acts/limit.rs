//! `limit`: what a session may use.

use super::{Words, usage};
use crate::{Effect, Kernel, session::State, verbs::Step, words::lossy};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;
use op::{Act, Errno, Error, Limits, Result, SessionId, Uid, parse_cpu, parse_size, parse_span};

/// Limits as words of the verb.
pub(crate) fn limit_words(limits: &Limits) -> Vec<String> {
    let none = || String::from("none");
    alloc::vec![
        format!("cpu={}", limits.cpu.map_or_else(none, |cpu| format!("{cpu}m"))),
        format!("mem={}", limits.mem.map_or_else(none, |n| n.to_string())),
        format!("pids={}", limits.pids.map_or_else(none, |n| n.to_string())),
        format!("wall={}", limits.wall.map_or_else(none, |d| format!("{}ms", d.as_millis()))),
        format!("output={}", limits.output.map_or_else(none, |n| n.to_string())),
        format!("fds={}", limits.fds.map_or_else(none, |n| n.to_string())),
    ]
}

pub(crate) fn limit(k: &mut Kernel, id: SessionId, _: Uid, words: Words<'_>) -> Result<Step> {
    if words.is_empty() {
        return Err(usage("limit"));
    }
    let session = k.session(id)?;
    let Some(live) = &session.live else {
        return Err(Error::new(Errno::SRCH, format!("limit: session {} has ended", id.0)));
    };
    let mut limits = live.setup.limits;
    for word in words {
        set_limit(&mut limits, &lossy(word))?;
    }
    let (runs, since) = match session.state {
        State::Running { at, .. } => (true, k.clock.wall.since(at)),
        State::Fresh | State::Starting | State::Ended { .. } => (false, Duration::ZERO),
    };
    let wall = limits.wall.filter(|_| runs).map(|wall| k.clock.mono + wall.saturating_sub(since));
    if let Some(setup) = k.sessions.get_mut(&id).and_then(|s| s.setup_mut()) {
        setup.limits = limits;
    }
    k.flow_has_room(id);
    if runs {
        k.set_timer(id, crate::life::Timer::Wall, wall);
        k.out.push(Effect::Act(Act::Limit { session: id, limits }));
    }
    k.touch(id);
    Ok(Step::Done)
}

fn set_limit(limits: &mut Limits, word: &str) -> Result<()> {
    let (key, value) = word.split_once('=').ok_or_else(|| usage("limit"))?;
    let none = matches!(value, "none" | "max" | "unlimited");
    fn parsed<T>(none: bool, word: &str, read: Option<T>) -> Result<Option<T>> {
        match (none, read) {
            (true, _) => Ok(None),
            (false, Some(value)) => Ok(Some(value)),
            (false, None) => Err(Error::new(
                Errno::INVAL,
                format!("limit {word}: not a value with a unit, as 2G, 250m, 10s or none"),
            )),
        }
    }
    match key {
        "cpu" => limits.cpu = parsed(none, word, parse_cpu(value).filter(|c| *c > 0))?,
        "mem" => limits.mem = parsed(none, word, parse_size(value).filter(|m| *m > 0))?,
        "pids" => limits.pids = parsed(none, word, value.parse().ok().filter(|p| *p > 0))?,
        "wall" => limits.wall = parsed(none, word, parse_span(value))?,
        "output" => limits.output = parsed(none, word, parse_size(value).filter(|o| *o > 0))?,
        "fds" => limits.fds = parsed(none, word, value.parse().ok().filter(|f| *f > 2))?,
        _ => {
            let cause = format!("limit {word}: known are cpu mem pids wall output fds");
            return Err(Error::new(Errno::INVAL, cause));
        }
    }
    Ok(())
}
