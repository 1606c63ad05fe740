//! What a term looks at, and whether it holds there.

use super::{
    candidates::slots,
    term::{How, Of, Term, Wanted},
};
use crate::{Attr, cloud::Load};
use alloc::string::{String, ToString};
use core::cmp::Ordering;
use op::parse_size;

/// Attributes that are numbers and of which nothing is ever taken.
const PLAIN: [&str; 4] = ["pid", "loc", "version", "kernel"];

/// What is known of a node, where a term looks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Int(u64),
    Real(f64),
}

impl<'a> Value<'a> {
    pub(crate) fn of(attr: &'a Attr) -> Value<'a> {
        match attr {
            Attr::Text(text) => Value::Text(text),
            Attr::Int(n) | Attr::Size(n) => Value::Int(*n),
            Attr::Real(x) => Value::Real(*x),
        }
    }

    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(n as f64),
            Value::Real(x) => Some(x),
            Value::Text(text) => number(text),
        }
    }

    /// Whether it is as a term wants it.
    pub(crate) fn compare(self, how: How, wanted: &Wanted) -> bool {
        let order = || match wanted.number.and_then(|b| self.number().map(|a| (a, b.0))) {
            Some((a, b)) => a.partial_cmp(&b),
            None => Some(self.with_text(|text| text.cmp(&wanted.text))),
        };
        match how {
            How::Eq | How::Exactly => {
                order() == Some(Ordering::Equal)
                    || (wanted.text.contains('|')
                        && self.with_text(|text| wanted.text.split('|').any(|one| text == one)))
            }
            How::Not => !self.compare(How::Eq, wanted),
            How::AtLeast => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
            How::AtMost => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
            How::Like => self.with_text(|text| glob(wanted.text.as_bytes(), text.as_bytes())),
        }
    }

    /// As text; only numbers need to be written for it.
    fn with_text<T>(self, use_it: impl FnOnce(&str) -> T) -> T {
        match self {
            Value::Text(text) => use_it(text),
            Value::Int(n) => use_it(&n.to_string()),
            Value::Real(x) => use_it(&x.to_string()),
        }
    }
}

/// What a term looks at.
pub(crate) struct Facts<'a> {
    pub(crate) attrs: &'a [(String, Attr)],
    pub(crate) load: Load,
    pub(crate) name: &'a str,
    pub(crate) state: &'a str,
}

impl<'a> Facts<'a> {
    fn attr(&self, key: &str) -> Option<&'a Attr> {
        self.attrs.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// What the node is, under a key.
    pub(crate) fn value(&self, of: Of, key: &str) -> Option<Value<'a>> {
        Some(match of {
            Of::Name => Value::Text(self.name),
            Of::Load => Value::Real(self.load.load),
            Of::Users => Value::Int(self.load.users),
            Of::Running => Value::Int(self.load.running),
            Of::Sessions => Value::Int(self.load.sessions),
            Of::MemFree => Value::Int(self.load.mem_free),
            Of::DiskFree => Value::Int(self.load.disk_free),
            Of::Disk => Value::of(self.attr("disk")?),
            Of::Up => Value::Int((self.state == "up").into()),
            Of::Slots if self.attrs.is_empty() => return None,
            Of::Slots => Value::Int(slots(self.attrs).into()),
            Of::Session => return None,
            Of::Attr => Value::of(self.attr(key)?),
        })
    }

    /// How much of it is free, if it is something of which there is so much: a resource of every node, or an attribute that is a
    /// size or a count.
    pub(crate) fn free(&self, of: Of, key: &str) -> Option<f64> {
        let less = |whole: f64| (whole - self.load.running as f64).max(0.0);
        match of {
            Of::Disk => Some(self.load.disk_free as f64),
            Of::Slots => Some(less(slots(self.attrs).into())).filter(|_| !self.attrs.is_empty()),
            Of::Attr if PLAIN.contains(&key) => None,
            Of::Attr => {
                let value = self.attr(key)?;
                let whole = match value {
                    Attr::Int(n) | Attr::Size(n) => *n as f64,
                    Attr::Real(_) => return None,
                    Attr::Text(text) => amount(text)?,
                };
                Some(match key {
                    "mem" => self.load.mem_free as f64,
                    "cpus" => less(whole),
                    _ => whole,
                })
            }
            Of::Session
            | Of::Name
            | Of::Load
            | Of::Users
            | Of::Running
            | Of::Sessions
            | Of::MemFree
            | Of::DiskFree
            | Of::Up => None,
        }
    }

    /// Whether a term holds of the node; those about sessions and modifiers leave it in.
    pub(crate) fn holds(&self, term: &Term) -> bool {
        match term {
            Term::Is { of: Of::Session, .. } | Term::Modifier(_) => true,
            Term::Word(word) => self.has_word(word),
            Term::Is { key, of, how: How::Eq, wanted } => match (self.free(*of, key), wanted.number) {
                (Some(free), Some(wanted)) => free >= wanted.0,
                _ => self.value(*of, key).is_some_and(|is| is.compare(How::Eq, wanted)),
            },
            Term::Is { key, of, how, wanted } => match self.value(*of, key) {
                Some(is) => is.compare(*how, wanted),
                None => *how == How::Not,
            },
        }
    }

    fn has_word(&self, word: &str) -> bool {
        let arch = || match self.attr("arch") {
            Some(Attr::Text(arch)) => arch.as_str(),
            _ => "",
        };
        if word == "x86" {
            return matches!(arch(), "x86_64" | "i686");
        }
        self.name == word
            || self.attrs.iter().any(|(key, value)| match value {
                Attr::Text(text) => text == word || (key == word && text != "0" && text != "no"),
                Attr::Int(n) | Attr::Size(n) => key == word && *n > 0,
                Attr::Real(_) => key == word,
            })
    }
}

/// A count, or a size with its unit; a text that merely begins with digits is neither.
fn amount(text: &str) -> Option<f64> {
    text.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    let unit = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let dotted = unit.contains('.') && unit.len() == text.len();
    (!dotted).then(|| parse_size(text)).flatten().map(|n| n as f64)
}

/// A value as a number, whatever its unit.
pub(crate) fn number(text: &str) -> Option<f64> {
    // Most texts are words; the parsers below need not be asked about them.
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    if let Some(milli) = text.strip_suffix('m').and_then(|n| n.parse::<f64>().ok()) {
        return Some(milli / 1000.0);
    }
    parse_size(text).map(|bytes| bytes as f64).or_else(|| op::parse_span(text).map(|span| span.as_secs_f64()))
}

/// Whether a text is as a pattern with `*` and `?` says.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn attrs() -> Vec<(String, Attr)> {
        [
            ("arch", Attr::Text("x86_64".into())),
            ("os", Attr::Text("linux".into())),
            ("kernel", Attr::Text("6.18".into())),
            ("cpus", Attr::Int(8)),
            ("mem", Attr::Size(16 << 30)),
            ("gpus", Attr::Text("2".into())),
            ("disk", Attr::Size(100 << 30)),
            ("fpga", Attr::Text("2".into())),
            ("scratch", Attr::Text("80G".into())),
            ("rack", Attr::Text("r7".into())),
            ("colour", Attr::Text("blue".into())),
        ]
        .map(|(k, v)| (k.into(), v))
        .to_vec()
    }

    fn check(terms: &[(&str, bool)]) {
        let attrs = attrs();
        let load = Load { running: 3, mem_free: 5 << 30, disk_free: 9 << 30, load: 0.5, ..Load::default() };
        let facts = Facts { attrs: &attrs, load, name: "n1", state: "up" };
        for (term, holds) in terms {
            let parsed = Term::parse(term).unwrap();
            assert_eq!(facts.holds(&parsed), *holds, "{term}");
            assert_eq!(parsed.text(), *term);
        }
    }

    #[test]
    fn terms_hold_or_do_not() {
        check(&[
            ("x86", true),
            ("x86_64", true),
            ("arm", false),
            ("n1", true),
            ("blue", true),
            ("colour", true),
            ("os=linux", true),
            ("os!=linux", false),
            ("os!=plan9", true),
            ("nothing!=x", true),
            ("nothing=x", false),
            ("kernel=6.18", true),
            ("kernel=6", false),
            ("mem>=16G", true),
            ("load<=1", true),
            ("load>=1", false),
            ("running=3", true),
            ("running=2", false),
            ("up=1", true),
            ("node~n*", true),
            ("node~?2", false),
            ("arch=arm|x86_64", true),
            ("cpus==4|8", true),
        ]);
    }

    #[test]
    fn of_a_resource_so_much_is_free() {
        check(&[
            ("cpus=5", true),
            ("cpus=6", false),
            ("cpus==8", true),
            ("cpus==5", false),
            ("cpus>=8", true),
            ("slots=5", true),
            ("slots=6", false),
            ("slots==8", true),
            ("mem=4G", true),
            ("mem=6G", false),
            ("disk=9G", true),
            ("disk=10G", false),
            ("disk>=100G", true),
            ("disk_free<=9G", true),
            ("gpus=1", true),
            ("gpus=3", false),
            ("gpus==1", false),
        ]);
    }

    #[test]
    fn a_label_that_is_a_count_or_a_size_is_a_resource() {
        check(&[
            ("fpga=1", true),
            ("fpga=2", true),
            ("fpga=3", false),
            ("fpga==1", false),
            ("scratch=50G", true),
            ("scratch=100G", false),
            ("rack=r7", true),
            ("rack=r6", false),
        ]);
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
