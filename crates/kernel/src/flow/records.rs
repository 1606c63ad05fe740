//! What a record is, and where records end in a stream of bytes that comes in pieces.
//!
//! A [`Cutter`] keeps no bytes: it is shown each byte once, and says at which positions of the stream records end. So a record
//! of any length costs what its bytes cost to look at.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::fmt;
use op::{Errno, Error, Result};
use regex_automata::{
    hybrid::{LazyStateID, dfa},
    nfa::thompson,
    util::{start, syntax},
};

/// Bytes that a separator of `records regex` has at most; the longest match that is looked for.
const SEPARATOR: usize = 1024;
/// Bytes that a regular expression may come to when it is compiled, and what its search may remember.
const COMPILED: usize = 1 << 20;

/// What ends a record, or says how long it is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Records {
    /// A newline.
    #[default]
    Line,
    /// A zero byte.
    Nul,
    /// An empty line. More empty lines belong to the record that follows.
    Blank,
    /// Its length stands before it: four bytes, the most significant first, that do not count themselves.
    Len32,
    /// Whatever matches.
    Regex(Arc<Separator>),
}

/// A regular expression that matches what ends a record.
pub(crate) struct Separator {
    text: String,
    dfa: dfa::DFA,
}

impl Separator {
    /// On bytes, without Unicode's classes; it must not match nothing.
    pub(crate) fn new(text: &str) -> Result<Separator> {
        let wrong = |cause: String| Error::new(Errno::INVAL, format!("records regex {text}: {cause}"));
        let dfa = dfa::DFA::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(COMPILED)))
            .configure(dfa::Config::new().cache_capacity(COMPILED))
            .build(text)
            .map_err(|error| wrong(format!("{error}")))?;
        if dfa.get_nfa().has_empty() {
            return Err(wrong("it matches where there is nothing; a record must end in something".into()));
        }
        Ok(Separator { text: text.into(), dfa })
    }
}

impl fmt::Debug for Separator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Records::Line => f.write_str("line"),
            Records::Nul => f.write_str("nul"),
            Records::Blank => f.write_str("blank"),
            Records::Len32 => f.write_str("len32"),
            Records::Regex(separator) => write!(f, "regex {}", separator.text),
        }
    }
}

impl Records {
    /// The words after `records`.
    pub(crate) fn parse(words: &[&str]) -> Result<Records> {
        Ok(match words {
            ["line"] => Records::Line,
            ["nul"] => Records::Nul,
            ["blank"] => Records::Blank,
            ["len32"] => Records::Len32,
            ["regex", text] => Records::Regex(Arc::new(Separator::new(text)?)),
            _ => {
                let cause = "records is one of line, nul, blank, len32, regex RE";
                return Err(Error::new(Errno::INVAL, cause));
            }
        })
    }

    /// What a last record that does not end must be given, so that the next does not grow onto it. Of `len32` that is not known
    /// from its end, and of `regex` any: there it is a newline.
    pub(crate) fn terminator(&self, record: &[u8]) -> &'static [u8] {
        match self {
            Records::Line | Records::Regex(_) => b"\n",
            Records::Nul => b"\0",
            Records::Blank if record.ends_with(b"\n") => b"\n",
            Records::Blank => b"\n\n",
            Records::Len32 => b"",
        }
    }

    /// What a whole record says, without what ends it (which a match of `regex` is not told apart from).
    pub(crate) fn body<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        match self {
            Records::Line => record.strip_suffix(b"\n").unwrap_or(record),
            Records::Nul => record.strip_suffix(b"\0").unwrap_or(record),
            Records::Blank => {
                let end = record.iter().rposition(|b| *b != b'\n').map_or(0, |at| at + 1);
                &record[..end]
            }
            Records::Len32 => record.get(4..).unwrap_or_default(),
            Records::Regex(_) => record,
        }
    }
}

/// Finds the ends of records in one stream.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// Bytes seen.
    at: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// One byte ends it.
    Byte(u8),
    /// The record has more than newlines; the last byte was one.
    Blank {
        some: bool,
        newline: bool,
    },
    /// Bytes of the length, and of the record.
    Len32 {
        head: u32,
        have: u8,
        left: u32,
    },
    Regex(Box<Search>),
}

/// A search that is fed byte by byte. The automaton says one byte late that a match has ended, and goes on as long as it might
/// become longer.
struct Search {
    separator: Arc<Separator>,
    cache: dfa::Cache,
    state: Option<LazyStateID>,
    /// The byte before the next one, for `^` and `\b`; and the one before the end of the match.
    before: Option<u8>,
    ends_in: Option<u8>,
    /// Where the longest match so far ends, and what was seen behind it.
    matched: Option<u64>,
    behind: Vec<u8>,
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.separator)
    }
}

impl Cutter {
    pub(crate) fn new(records: &Records) -> Cutter {
        let state = match records {
            Records::Line => State::Byte(b'\n'),
            Records::Nul => State::Byte(0),
            Records::Blank => State::Blank { some: false, newline: false },
            Records::Len32 => State::Len32 { head: 0, have: 0, left: 0 },
            Records::Regex(separator) => State::Regex(Box::new(Search {
                separator: separator.clone(),
                cache: separator.dfa.create_cache(),
                state: None,
                before: None,
                ends_in: None,
                matched: None,
                behind: Vec::new(),
            })),
        };
        Cutter { at: 0, state }
    }

    /// Looks at the next bytes of the stream, and appends the positions (from the start of the stream) where records end.
    pub(crate) fn scan(&mut self, bytes: &[u8], ends: &mut Vec<u64>) {
        let from = self.at;
        match &mut self.state {
            State::Byte(end) => {
                let found = bytes.iter().enumerate().filter(|(_, b)| *b == end);
                ends.extend(found.map(|(i, _)| from + i as u64 + 1));
            }
            State::Blank { some, newline } => {
                for (i, byte) in bytes.iter().enumerate() {
                    let ends_line = *byte == b'\n';
                    if ends_line && *newline && *some {
                        ends.push(from + i as u64 + 1);
                        (*some, *newline) = (false, false);
                        continue;
                    }
                    *some |= !ends_line;
                    *newline = ends_line;
                }
            }
            State::Len32 { head, have, left } => {
                let mut i = 0;
                while i < bytes.len() {
                    if *have < 4 {
                        *head = *head << 8 | u32::from(bytes[i]);
                        *have += 1;
                        *left = *head;
                        i += 1;
                    } else {
                        let step = (bytes.len() - i).min(*left as usize);
                        *left -= step as u32;
                        i += step;
                    }
                    if *have == 4 && *left == 0 {
                        ends.push(from + i as u64);
                        (*head, *have) = (0, 0);
                    }
                }
            }
            State::Regex(search) => search.scan(from, bytes, ends),
        }
        self.at += bytes.len() as u64;
    }

    /// The stream has ended: a record may end here that could have gone on. Whatever is behind the last end is a record that
    /// did not end.
    pub(crate) fn finish(&mut self, ends: &mut Vec<u64>) {
        if let State::Regex(search) = &mut self.state {
            search.finish(self.at, ends);
        }
    }

    /// No end will be found before here: bytes up to this position belong to records that ended, or to the one that has begun.
    pub(crate) fn settled(&self) -> u64 {
        match &self.state {
            State::Regex(search) => search.matched.unwrap_or(self.at),
            State::Byte(_) | State::Blank { .. } | State::Len32 { .. } => self.at,
        }
    }
}

impl Search {
    /// One byte at `at`; the end of a record, if that is known now.
    fn step(&mut self, at: u64, byte: u8) -> Option<u64> {
        let state = match self.state {
            Some(state) => state,
            None => self.start()?,
        };
        // The search may never give up: it was not told to.
        let next = self.separator.dfa.next_state(&mut self.cache, state, byte).ok()?;
        self.state = Some(next);
        if next.is_match() {
            self.matched = Some(at);
            self.ends_in = self.before;
            self.behind.clear();
        }
        self.before = Some(byte);
        if self.matched.is_some() {
            self.behind.push(byte);
        }
        let over = next.is_dead() || next.is_quit() || self.behind.len() > SEPARATOR;
        if over && self.matched.is_none() {
            self.state = None;
        }
        self.matched.filter(|_| over)
    }

    fn start(&mut self) -> Option<LazyStateID> {
        let config = start::Config::new().look_behind(self.before);
        self.separator.dfa.start_state(&mut self.cache, &config).ok()
    }

    /// A record has ended: what was seen behind its end is looked at again.
    fn restart(&mut self) -> Vec<u8> {
        self.state = None;
        self.matched = None;
        self.before = self.ends_in;
        core::mem::take(&mut self.behind)
    }

    fn scan(&mut self, from: u64, bytes: &[u8], ends: &mut Vec<u64>) {
        let mut at = from;
        let mut bytes = bytes.iter();
        let mut again = Vec::new().into_iter();
        while let Some(byte) = again.next().or_else(|| bytes.next().copied()) {
            let end = self.step(at, byte);
            at += 1;
            if let Some(end) = end {
                ends.push(end);
                at = end;
                let mut behind = self.restart();
                behind.extend(again);
                again = behind.into_iter();
            }
        }
    }

    fn finish(&mut self, mut at: u64, ends: &mut Vec<u64>) {
        loop {
            let state = self.state.take();
            let last = state.and_then(|s| self.separator.dfa.next_eoi_state(&mut self.cache, s).ok());
            if last.is_some_and(|state| state.is_match()) {
                self.restart();
                return ends.push(at);
            }
            let Some(end) = self.matched else { return };
            ends.push(end);
            let behind = self.restart();
            at = end + behind.len() as u64;
            self.scan(end, &behind, ends);
        }
    }
}

/// The records in bytes that begin and end with one; a last one that does not end is one too.
pub(crate) fn split<'a>(records: &Records, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let (mut cutter, mut ends) = (Cutter::new(records), Vec::new());
    cutter.scan(bytes, &mut ends);
    cutter.finish(&mut ends);
    let mut from = 0;
    let mut all: Vec<&[u8]> = Vec::with_capacity(ends.len() + 1);
    for end in ends {
        all.push(&bytes[from..end as usize]);
        from = end as usize;
    }
    if from < bytes.len() {
        all.push(&bytes[from..]);
    }
    all
}

#[cfg(test)]
mod tests;
