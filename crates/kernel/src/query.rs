//! Queries: a path of terms, all of which must hold, selects nodes or sessions.
//!
//! ```text
//!   key=value  key!=value  key>=value  key<=value  key==value  key~glob    W
//! ```
//! A bare word W is an architecture, a label or a tag; `x86` is either of its two. Of a *resource* (`cpus mem disk gpus`, and every
//! attribute that is a size or a count), `=` asks for at least that much free, and `==` for exactly so much. Values have units. A term
//! about sessions makes the answer sessions; else it is nodes.

pub(crate) mod candidates;
mod sets;

pub(crate) use sets::{Set, Sets};

use crate::{Attr, cloud::Load};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::cmp::Ordering;
use op::{Errno, Error, Result, parse_size};

/// One term.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Term {
    Is { key: String, how: How, value: String },
    Word(String),
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

/// Keys that are about sessions.
pub(crate) const SESSION_KEYS: [&str; 8] = ["user", "job", "state", "prog", "rank", "tag", "id", "group"];
/// Terms that would say what is done with what matches.
const MODIFIERS: [&str; 7] = ["num", "sort", "limit", "spread", "near", "timeout", "policy"];
/// Resources, of which so much is free.
const RESOURCES: [&str; 4] = ["cpus", "mem", "disk", "gpus"];

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
        Ok(Term::Is { key: key.into(), how, value: rest[word.len()..].into() })
    }

    /// Whether it is about sessions.
    pub(crate) fn of_sessions(&self) -> bool {
        match self {
            Term::Is { key, .. } => SESSION_KEYS.contains(&key.as_str()) || key.starts_with("tag."),
            Term::Word(_) => false,
        }
    }

    fn is_resource(&self) -> bool {
        matches!(self, Term::Is { key, .. } if RESOURCES.contains(&key.as_str()))
    }

    fn is_state(&self) -> bool {
        matches!(self, Term::Is { key, .. } if key == "state")
    }

    /// As it was written.
    pub(crate) fn text(&self) -> String {
        match self {
            Term::Is { key, how, value } => format!("{key}{}{value}", how.word()),
            Term::Word(word) => word.clone(),
        }
    }
}

fn bad(text: &str) -> Error {
    let cause = format!(
        "{text:?} is no term; write key=value, key!=value, key>=value, key<=value, key==value, key~glob or a word"
    );
    Error::new(Errno::INVAL, cause)
}

/// What a term looks at.
pub(crate) struct Facts<'a> {
    pub(crate) attrs: &'a [(String, Attr)],
    pub(crate) load: Load,
    pub(crate) name: &'a str,
    pub(crate) state: &'a str,
}

impl Facts<'_> {
    /// An attribute of the node, by name.
    fn value(&self, key: &str) -> Option<Attr> {
        match key {
            "node" | "name" => Some(Attr::Text(self.name.into())),
            "load" => Some(Attr::Real(self.load.load)),
            "users" => Some(Attr::Int(self.load.users)),
            "running" => Some(Attr::Int(self.load.running)),
            "sessions" => Some(Attr::Int(self.load.sessions)),
            "mem_free" => Some(Attr::Size(self.load.mem_free)),
            "disk_free" | "disk" => Some(Attr::Size(self.load.disk_free)),
            "up" => Some(Attr::Text(if self.state == "up" { "1" } else { "0" }.into())),
            key => self.attrs.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone()),
        }
    }

    /// How much of a resource is free.
    fn free(&self, key: &str) -> Option<f64> {
        let whole = number_of(&self.value(key)?)?;
        Some(match key {
            "mem" => self.load.mem_free as f64,
            "disk" => self.load.disk_free as f64,
            "cpus" => (whole - self.load.running as f64).max(0.0),
            _ => whole,
        })
    }

    /// Whether a term holds of the node.
    pub(crate) fn holds(&self, term: &Term) -> bool {
        match term {
            Term::Word(word) => self.has_word(word),
            Term::Is { key, how: How::Eq, value } if self.is_resource(key) => {
                match (self.free(key), number(value)) {
                    (Some(free), Some(wanted)) => free >= wanted,
                    _ => false,
                }
            }
            Term::Is { key, how, value } => {
                self.value(key).is_some_and(|is| compare(&is, *how, value))
                    || (*how == How::Not && self.value(key).is_none())
            }
        }
    }

    fn is_resource(&self, key: &str) -> bool {
        RESOURCES.contains(&key)
    }

    fn has_word(&self, word: &str) -> bool {
        let text = |key: &str| match self.value(key) {
            Some(Attr::Text(text)) => Some(text),
            _ => None,
        };
        let arch = text("arch").unwrap_or_default();
        if word == "x86" {
            return matches!(arch.as_str(), "x86_64" | "i686");
        }
        arch == word
            || self.name == word
            || self.attrs.iter().any(|(key, value)| {
                (key == word && !matches!(value, Attr::Text(text) if text == "0" || text == "no"))
                    || matches!(value, Attr::Text(text) if text == word)
            })
    }
}

/// A value as a number, whatever its unit.
fn number(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    if let Some(milli) = text.strip_suffix('m').and_then(|n| n.parse::<f64>().ok()) {
        return Some(milli / 1000.0);
    }
    parse_size(text).map(|bytes| bytes as f64).or_else(|| op::parse_span(text).map(|span| span.as_secs_f64()))
}

fn number_of(value: &Attr) -> Option<f64> {
    match value {
        Attr::Int(n) | Attr::Size(n) => Some(*n as f64),
        Attr::Real(x) => Some(*x),
        Attr::Text(text) => number(text),
    }
}

/// Whether a value is as a term wants it.
pub(crate) fn compare(is: &Attr, how: How, wanted: &str) -> bool {
    let text = match is {
        Attr::Text(text) => text.clone(),
        Attr::Int(n) | Attr::Size(n) => n.to_string(),
        Attr::Real(x) => format!("{x}"),
    };
    let order = match (number_of(is), number(wanted)) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(text.as_str().cmp(wanted)),
    };
    match how {
        How::Eq | How::Exactly => wanted.split('|').any(|one| text == one) || order == Some(Ordering::Equal),
        How::Not => !compare(is, How::Eq, wanted),
        How::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        How::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        How::Like => glob(wanted.as_bytes(), text.as_bytes()),
    }
}

/// Whether a text is as a pattern with `*` and `?` says.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                // Let the last star take one more.
                Some((star, from)) => {
                    (p, t) = (star, from + 1);
                    back = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// A query: what its path says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Query {
    pub(crate) terms: Vec<Term>,
    /// What is opened there waits until something matches.
    pub(crate) waits: bool,
}

impl Query {
    /// The same with one more term.
    pub(crate) fn with(&self, text: &str) -> Result<Query> {
        let mut terms = self.terms.clone();
        terms.push(Term::parse(text)?);
        Ok(Query { terms, waits: self.waits })
    }

    /// Whether its answer is sessions.
    pub(crate) fn of_sessions(&self) -> bool {
        self.terms.iter().any(Term::of_sessions)
    }

    /// Whether the node is one of those that it speaks of.
    pub(crate) fn admits(&self, facts: &Facts<'_>) -> bool {
        self.terms.iter().filter(|term| !term.of_sessions()).all(|term| facts.holds(term))
    }

    /// The names of its path.
    pub(crate) fn names(&self) -> Vec<String> {
        self.terms.iter().map(Term::text).collect()
    }
}

/// Names in the order that people expect: numbers in them by their value.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (na, nb) = (digits(a), digits(b));
        if na > 0 && nb > 0 {
            let (x, y) = (a[..na].trim_start_matches('0'), b[..nb].trim_start_matches('0'));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| na.cmp(&nb));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[na..], &b[nb..]);
            continue;
        }
        let (mut ca, mut cb) = (a.chars(), b.chars());
        match (ca.next(), cb.next()) {
            (None, None) => return Ordering::Equal,
            (x, y) if x != y => return x.cmp(&y),
            _ => (a, b) = (ca.as_str(), cb.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(attrs: &'a [(String, Attr)], load: &'a Load) -> Facts<'a> {
        Facts { attrs, load: *load, name: "n1", state: "up" }
    }

    #[test]
    fn terms_hold_or_do_not() {
        let attrs: Vec<(String, Attr)> = [
            ("arch", Attr::Text("x86_64".into())),
            ("os", Attr::Text("linux".into())),
            ("cpus", Attr::Int(8)),
            ("mem", Attr::Size(16 << 30)),
            ("gpus", Attr::Text("2".into())),
            ("colour", Attr::Text("blue".into())),
        ]
        .map(|(k, v)| (k.into(), v))
        .to_vec();
        let load = Load { running: 3, mem_free: 5 << 30, load: 0.5, ..Load::default() };
        for (term, holds) in [
            ("x86", true),
            ("x86_64", true),
            ("arm", false),
            ("blue", true),
            ("colour", true),
            ("os=linux", true),
            ("os!=linux", false),
            ("os!=plan9", true),
            ("nothing!=x", true),
            ("cpus=5", true),
            ("cpus=6", false),
            ("cpus==8", true),
            ("cpus==5", false),
            ("mem=4G", true),
            ("mem=6G", false),
            ("mem>=16G", true),
            ("gpus=1", true),
            ("gpus=3", false),
            ("load<=1", true),
            ("load>=1", false),
            ("node~n*", true),
            ("node~?2", false),
            ("arch=arm|x86_64", true),
        ] {
            let parsed = Term::parse(term).unwrap();
            assert_eq!(facts(&attrs, &load).holds(&parsed), holds, "{term}");
            assert_eq!(parsed.text(), term);
        }
    }

    #[test]
    fn what_is_no_term_is_told() {
        for text in ["", "=x", "a!b", "a b=c", "!x"] {
            assert!(Term::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["n10/2", "n2/10", "n2/9", "n2", "a", "n02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "n2", "n2/9", "n2/10", "n02", "n10/2"]);
    }

    #[test]
    fn globs() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("", "a", false),
            ("*a*b", "aab", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), is, "{pattern} {text}");
        }
    }
}
