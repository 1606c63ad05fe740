//! Modifiers: terms that select nothing, and say how many, in which order, and how long it may take.

use super::{
    How, Term,
    policy::{POLICIES, Policy},
    term::Of,
};
use alloc::{format, string::String, vec::Vec};
use core::time::Duration;
use op::{Errno, Error, Result, parse_span};

use crate::limits;

/// One of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Modifier {
    /// What is allocated there is so many.
    Num(u32),
    /// By this key; descending, if so.
    Sort(String, bool),
    /// The first so many.
    Limit(u32),
    /// Each value of a label in turn.
    Spread(String),
    /// The nearest to a node or a location first.
    Near(String),
    /// Parts that have not answered by then are not waited for.
    Timeout(String, Duration),
    /// Which one is taken first.
    Policy(Policy),
}

impl Modifier {
    /// Understands `key=value`; `None` if the key is no modifier's.
    pub(super) fn parse(key: &str, value: &str, how: How) -> Result<Option<Modifier>> {
        let wrong = |should: &str| {
            let cause = format!("{key}={value}: {should}");
            Err(Error::new(Errno::INVAL, cause))
        };
        let count = || value.parse::<u32>().ok().filter(|n| *n > 0 && *n <= limits::MEMBERS);
        let modifier = match key {
            "num" => match count() {
                Some(n) => Modifier::Num(n),
                None => return wrong(&format!("how many are allocated, from 1 to {}", limits::MEMBERS)),
            },
            "limit" => match count() {
                Some(n) => Modifier::Limit(n),
                None => return wrong(&format!("how many are shown, from 1 to {}", limits::MEMBERS)),
            },
            "sort" => {
                let by = value.strip_prefix('-').unwrap_or(value);
                if by.is_empty() {
                    return wrong("a key is needed, as sort=load; sort=-mem begins with the greatest");
                }
                Modifier::Sort(by.into(), by.len() < value.len())
            }
            "spread" if value.is_empty() => return wrong("a label is needed, as spread=rack"),
            "spread" => Modifier::Spread(value.into()),
            "near" if value.is_empty() => {
                return wrong("a node or a location is needed, as near=n7 or near=hall:r1");
            }
            "near" => Modifier::Near(value.into()),
            "timeout" => match parse_span(value).filter(|t| !t.is_zero() && *t <= limits::PART_MOST) {
                Some(timeout) => Modifier::Timeout(value.into(), timeout),
                None => {
                    let most = limits::PART_MOST.as_secs();
                    return wrong(&format!("a length of time is needed, as 500ms or 10s, at most {most}s"));
                }
            },
            "policy" => match Policy::named(value) {
                Some(policy) => Modifier::Policy(policy),
                None => {
                    let known: Vec<&str> = POLICIES.iter().map(|kind| kind.row.term).collect();
                    return wrong(&format!("there is no such policy; known are {}", known.join(" ")));
                }
            },
            _ => return Ok(None),
        };
        match how {
            How::Eq => Ok(Some(modifier)),
            How::Exactly | How::Not | How::AtLeast | How::AtMost | How::Like => {
                wrong(&format!("{key} says what is done with what matches, and is written {key}=VALUE"))
            }
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Modifier::Num(n) => format!("num={n}"),
            Modifier::Sort(key, false) => format!("sort={key}"),
            Modifier::Sort(key, true) => format!("sort=-{key}"),
            Modifier::Limit(n) => format!("limit={n}"),
            Modifier::Spread(key) => format!("spread={key}"),
            Modifier::Near(path) => format!("near={path}"),
            Modifier::Timeout(text, _) => format!("timeout={text}"),
            Modifier::Policy(policy) => format!("policy={}", policy.name()),
        }
    }

    pub(super) fn is_measured(&self) -> bool {
        matches!(self, Modifier::Sort(key, _) if matches!(Of::key(key), Of::Load | Of::Users | Of::MemFree | Of::DiskFree))
    }
}

/// What all modifiers of a query say together; of one that is said twice the last holds, but of `sort`, of which the first is the
/// most important.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) num: Option<u32>,
    pub(crate) sort: Vec<(String, bool)>,
    pub(crate) limit: Option<u32>,
    pub(crate) spread: Option<String>,
    pub(crate) near: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) policy: Option<Policy>,
}

impl Shape {
    pub(super) fn of(terms: &[Term]) -> Result<Shape> {
        let mut shape = Shape::default();
        let sessions = terms.iter().any(Term::of_sessions);
        for term in terms {
            let Term::Modifier(modifier) = term else { continue };
            match modifier.clone() {
                Modifier::Num(n) => shape.num = Some(n),
                Modifier::Sort(key, down) => shape.sort.push((key, down)),
                Modifier::Limit(n) => shape.limit = Some(n),
                Modifier::Spread(key) => shape.spread = Some(key),
                Modifier::Near(path) => shape.near = Some(path),
                Modifier::Timeout(_, timeout) => shape.timeout = Some(timeout),
                Modifier::Policy(policy) => shape.policy = Some(policy),
            }
            let text = modifier.text();
            let fits = match modifier {
                Modifier::Limit(_) | Modifier::Timeout(..) => true,
                Modifier::Num(_)
                | Modifier::Sort(..)
                | Modifier::Spread(_)
                | Modifier::Near(_)
                | Modifier::Policy(_) => !sessions,
            };
            if !fits {
                let cause = format!(
                    "{text} is about nodes, and this query selects sessions, which are shown by name and only limit= and timeout= mean something to"
                );
                return Err(Error::new(Errno::OPNOTSUPP, cause));
            }
        }
        Ok(shape)
    }

    /// Whether it says in which order nodes are shown, or how many.
    pub(crate) fn orders(&self) -> bool {
        !self.sort.is_empty()
            || self.limit.is_some()
            || self.spread.is_some()
            || self.near.is_some()
            || self.policy.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    fn query(terms: &[&str]) -> Result<Query> {
        terms.iter().try_fold(Query::default(), |query, term| query.with(term))
    }

    #[test]
    fn modifiers_read_back() {
        let texts =
            ["num=16", "sort=load", "sort=-mem", "limit=3", "spread=rack", "near=hall:r1", "policy=pack"];
        for text in texts {
            assert_eq!(Term::parse(text).unwrap().text(), text);
        }
        let both = query(&["timeout=500ms", "user=me", "timeout=1m"]).unwrap();
        assert_eq!(both.shape.timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_wrong_value_is_told_with_what_is_right() {
        for (terms, cause) in [
            (&["num=0"][..], "from 1 to"),
            (&["num=x"], "from 1 to"),
            (&["limit=-1"], "from 1 to"),
            (&["sort=-"], "a key is needed"),
            (&["spread="], "a label is needed"),
            (&["near="], "a node or a location"),
            (&["timeout=soon"], "a length of time"),
            (&["timeout=0"], "a length of time"),
            (&["timeout=1d"], "at most"),
            (&["policy=best"], "known are space "),
            (&["num>=3"], "is written num=VALUE"),
            (&["user=me", "num=3"], "is about nodes"),
            (&["sort=load", "user=me"], "is about nodes"),
        ] {
            let error = query(terms).expect_err("it is wrong");
            assert!(error.cause.contains(cause), "{terms:?}: {error}");
        }
    }
}
