//! One term. It is understood once, when it is walked to, so that ten thousand nodes are looked at without copying anything.

use super::{Modifier, facts::number, table::SESSION_KEYS};
use alloc::{format, string::String};
use core::cmp::Ordering;
use op::{Errno, Error, Result};

/// One term.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Term {
    Is { key: String, of: Of, how: How, wanted: Wanted },
    Word(String),
    Modifier(Modifier),
}

/// What a key is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Of {
    Session,
    Name,
    Load,
    Users,
    Running,
    Sessions,
    MemFree,
    DiskFree,
    Disk,
    Up,
    Slots,
    /// Any other attribute of the node.
    Attr,
}

/// What a key is compared with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Wanted {
    pub(crate) text: String,
    pub(super) number: Option<Number>,
}

/// A number that can be a key of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) f64);

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// How a key is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum How {
    Eq,
    Exactly,
    Not,
    AtLeast,
    AtMost,
    Like,
}

impl How {
    /// The longer ones first, since the shorter ones begin them.
    const ALL: [(&'static str, How); 6] = [
        ("==", How::Exactly),
        ("!=", How::Not),
        (">=", How::AtLeast),
        ("<=", How::AtMost),
        ("=", How::Eq),
        ("~", How::Like),
    ];

    fn word(self) -> &'static str {
        How::ALL.iter().find(|(_, how)| *how == self).map_or("=", |(word, _)| word)
    }
}

/// Resources that every node may have, of which so much is free.
const RESOURCES: [&str; 5] = ["cpus", "mem", "disk", "gpus", "slots"];

impl Term {
    /// Understands a term.
    pub(crate) fn parse(text: &str) -> Result<Term> {
        let at = text.find(['=', '!', '>', '<', '~']);
        let Some(at) = at else {
            return match text.is_empty() {
                true => Err(bad(text)),
                false => Ok(Term::Word(text.into())),
            };
        };
        let (key, rest) = text.split_at(at);
        let (word, how) =
            How::ALL.into_iter().find(|(word, _)| rest.starts_with(word)).ok_or_else(|| bad(text))?;
        let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if key.is_empty() || !key.chars().all(plain) {
            return Err(bad(text));
        }
        let value = &rest[word.len()..];
        if let Some(modifier) = Modifier::parse(key, value, how)? {
            return Ok(Term::Modifier(modifier));
        }
        let wanted = Wanted::new(value);
        if how == How::Eq && RESOURCES.contains(&key) && wanted.number.is_none() {
            let cause = format!("{text}: {key} is a resource, of which a number is asked for, as {key}=4");
            let unit = if matches!(key, "mem" | "disk") { "G" } else { "" };
            return Err(Error::new(Errno::INVAL, format!("{cause}{unit}")));
        }
        Ok(Term::Is { key: key.into(), of: Of::key(key), how, wanted })
    }

    /// Whether it is about sessions.
    pub(crate) fn of_sessions(&self) -> bool {
        matches!(self, Term::Is { of: Of::Session, .. })
    }

    pub(crate) fn is_state(&self) -> bool {
        matches!(self, Term::Is { key, .. } if key == "state")
    }

    /// Whether it speaks of what changes from moment to moment.
    pub(crate) fn is_measured(&self) -> bool {
        match self {
            Term::Is { key, of, how, .. } => match of {
                Of::Load | Of::Users | Of::MemFree | Of::DiskFree | Of::Disk => true,
                Of::Attr => key == "mem" && *how == How::Eq,
                Of::Session | Of::Name | Of::Running | Of::Sessions | Of::Up | Of::Slots => false,
            },
            Term::Word(_) => false,
            Term::Modifier(modifier) => modifier.is_measured(),
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> String {
        match self {
            Term::Is { key, how, wanted, .. } => format!("{key}{}{}", how.word(), wanted.text),
            Term::Word(word) => word.clone(),
            Term::Modifier(modifier) => modifier.text(),
        }
    }
}

impl Of {
    pub(crate) fn key(key: &str) -> Of {
        match key {
            "node" | "name" => Of::Name,
            "load" => Of::Load,
            "users" => Of::Users,
            "running" => Of::Running,
            "sessions" => Of::Sessions,
            "mem_free" => Of::MemFree,
            "disk_free" => Of::DiskFree,
            "disk" => Of::Disk,
            "up" => Of::Up,
            "slots" => Of::Slots,
            key if SESSION_KEYS.contains(&key) || key.starts_with("tag.") => Of::Session,
            _ => Of::Attr,
        }
    }
}

impl Wanted {
    pub(crate) fn new(text: &str) -> Wanted {
        Wanted { text: text.into(), number: number(text).map(Number) }
    }
}

fn bad(text: &str) -> Error {
    let cause = format!(
        "{text:?} is no term; write key=value, key!=value, key>=value, key<=value, key==value, key~glob or a word"
    );
    Error::new(Errno::INVAL, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_term_is_told() {
        for text in ["", "=x", "a!b", "a b=c", "!x", "mem=lots", "cpus=", "slots=-"] {
            assert!(Term::parse(text).is_err(), "{text:?}");
        }
    }
}
