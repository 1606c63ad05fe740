//! `args` and `env`: text that is kept as it was written and understood when it is used. What is wrong in a whole
//! line is refused by the write that completes it.

use crate::{
    Kernel,
    files::Kind,
    limits,
    place::{Place, Subject},
    rights::WRITE,
    session::{Session, State},
    words,
};
use alloc::{format, vec::Vec};
use op::{Errno, Error, Reply, Result, SessionId, Uid};

/// A kept text: how it is read, where it is kept, and what a line of it must be.
pub(crate) struct Edit {
    pub(crate) read: fn(&Session) -> Vec<u8>,
    keep: fn(&mut Session, Vec<u8>),
    check: fn(&[u8]) -> Result<()>,
}

pub(crate) const ARGS: Edit = Edit { read: read_args, keep: keep_args, check: check_args };
pub(crate) const ENV: Edit = Edit { read: read_env, keep: keep_env, check: check_env };

pub(crate) const NS: Edit = Edit { read: read_ns, keep: keep_ns, check: check_ns };

fn read_args(session: &Session) -> Vec<u8> {
    // Before the start it is shown as it was written, so that offsets mean what a writer thinks.
    if session.state == State::Fresh {
        return session.command.to_vec();
    }
    let mut out = Vec::new();
    for word in words::split(&session.command).unwrap_or_default() {
        words::quote(&word, &mut out);
        out.push(b'\n');
    }
    out
}

fn keep_args(session: &mut Session, text: Vec<u8>) {
    session.command = text.into();
}

fn check_args(text: &[u8]) -> Result<()> {
    // A long text comes in several writes; only one that ends a line can be whole.
    if text.ends_with(b"\n") { words::split(text).map(|_| ()) } else { Ok(()) }
}

fn read_env(session: &Session) -> Vec<u8> {
    session.live.as_ref().map(|l| l.setup.env.clone()).unwrap_or_default()
}

fn keep_env(session: &mut Session, text: Vec<u8>) {
    if let Some(setup) = session.setup_mut() {
        setup.env = text;
    }
}

fn check_env(text: &[u8]) -> Result<()> {
    // The last one may not be whole yet.
    let end = end_of_variable(text);
    let whole = text.iter().rposition(|b| *b == end).map_or(0, |at| at + 1);
    variables(&text[..whole]).try_for_each(check_variable)
}

fn read_ns(session: &Session) -> Vec<u8> {
    session.live.as_ref().map(|l| l.setup.ns.clone()).unwrap_or_default()
}

fn keep_ns(session: &mut Session, text: Vec<u8>) {
    if let Some(setup) = session.setup_mut() {
        setup.ns = text;
    }
}

fn check_ns(text: &[u8]) -> Result<()> {
    // The last line may not be whole yet.
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    crate::store::lines(&text[..whole]).map(|_| ())
}

/// What ends a variable: a newline; in a text that has a NUL, a NUL, as in /proc/PID/environ, so that a value may
/// have newlines in it.
fn end_of_variable(text: &[u8]) -> u8 {
    if text.contains(&0) { 0 } else { b'\n' }
}

/// The variables of an environment.
pub(crate) fn variables(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = end_of_variable(text);
    text.split(move |b| *b == end).filter(|line| !line.is_empty())
}

/// An environment with these variables added to it.
pub(crate) fn with_variables(text: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let all: Vec<&[u8]> = variables(text).chain(more.iter().map(Vec::as_slice)).collect();
    let newlines = all.iter().any(|line| line.contains(&b'\n'));
    let end = if newlines { 0 } else { b'\n' };
    all.iter().flat_map(|line| line.iter().copied().chain(core::iter::once(end))).collect()
}

/// Whether a variable is `NAME=value`.
pub(crate) fn check_variable(line: &[u8]) -> Result<()> {
    match line.iter().position(|b| *b == b'=') {
        Some(at) if at > 0 && !line.contains(&0) => Ok(()),
        _ => {
            let shown = words::lossy(&line[..line.len().min(80)]);
            Err(Error::new(Errno::INVAL, format!("env: {shown:?} is not NAME=value")))
        }
    }
}

impl Kernel {
    pub(crate) fn write_edit(
        &mut self,
        id: SessionId,
        edit: &Edit,
        offset: u64,
        data: &[u8],
    ) -> Result<Reply> {
        let session = self.sessions.get_mut(&id).ok_or(Errno::STALE)?;
        if session.state != State::Fresh {
            let cause = format!("session {} was started; this is set before `exec`", id.0);
            return Err(Error::new(Errno::BUSY, cause));
        }
        let mut text = (edit.read)(session);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let end = offset + data.len();
        if end > limits::TEXT {
            return Err(Error::new(Errno::FBIG, format!("this text has at most {} bytes", limits::TEXT)));
        }
        text.resize(text.len().max(end), 0);
        text[offset..end].copy_from_slice(data);
        if let Err(error) = (edit.check)(&text) {
            let owner = session.owner;
            self.failed(Some(id), owner, "write", "check", &error);
            return Err(error);
        }
        (edit.keep)(session, text);
        self.touch(id);
        Ok(Reply::Wrote(data.len() as u32))
    }

    /// Shortens a kept text; for every other file it works and means nothing, as `echo … > ctl` expects.
    pub(crate) fn truncate(&mut self, uid: Uid, place: Place, size: u64) -> Result<()> {
        if let Place::File(Subject::Session(id), row, _) = place
            && let Kind::Edit(edit) = &row.row().kind
        {
            self.demand(uid, WRITE, self.owned(place), row.row().name)?;
            let session = self.sessions.get_mut(&id).ok_or(Errno::STALE)?;
            if session.state == State::Fresh {
                let mut text = (edit.read)(session);
                text.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                (edit.keep)(session, text);
                self.touch(id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_nul_ends_a_variable_where_there_is_one_and_else_a_newline_does() {
        for (text, expected) in [
            (&b"A=1\nB=2\n"[..], &[&b"A=1"[..], b"B=2"][..]),
            (b"A=1\n\nB=2", &[b"A=1", b"B=2"]),
            (b"F=one\ntwo\0B=2\0", &[b"F=one\ntwo", b"B=2"]),
            (b"", &[]),
        ] {
            assert_eq!(variables(text).collect::<Vec<_>>(), expected);
            assert!(check_env(text).is_ok());
        }
        assert!(check_env(b"F=one\ntwo\n").is_err());
        assert!(check_env(b"F=one\ntwo").is_ok(), "the last line may not be whole yet");
    }
}
