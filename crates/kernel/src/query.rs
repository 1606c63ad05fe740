//! Queries: a path of terms, all of which must hold, selects nodes or sessions.
//!
//! ```text
//!   key=value  key!=value  key>=value  key<=value  key==value  key~glob    W
//! ```
//! A bare word W is an architecture, a label or a tag; `x86` is either of its two. Of a *resource* (`cpus mem disk gpus slots`, and every
//! label that is a size or a count), `=` asks for at least that much free, and `==` for exactly so much. Values have units. A term
//! about sessions makes the answer sessions; else it is nodes. *Modifiers* (`num= sort= limit= spread= near= timeout= policy=`) are terms
//! too: they select nothing, and say in which order, how many, how long.

mod answers;
pub(crate) mod candidates;
mod facts;
mod jobs;
mod modifiers;
mod order;
pub(crate) mod policy;
mod sessions;
mod sets;
mod shown;
pub(crate) mod table;
mod term;
mod waits;

pub(crate) use facts::Facts;
use facts::{Value, number};
pub(crate) use jobs::{LOOKS, Look, job_name};
use modifiers::{Modifier, Shape};
pub(crate) use sets::{LOGICAL, Set, Sets};
use term::How;
pub(crate) use term::Term;

use alloc::{string::String, vec::Vec};
use core::cmp::Ordering;
use op::Result;

/// A query: what its path says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Query {
    pub(crate) terms: Vec<Term>,
    /// What its modifiers say together.
    pub(crate) shape: Shape,
    /// What is opened there waits until something matches.
    pub(crate) waits: bool,
    /// It is asked of this node and what is below it, and never of those above.
    pub(crate) below: bool,
}

impl Query {
    /// Understands terms; none select every node.
    pub(crate) fn parse(terms: &[String]) -> Result<Query> {
        terms.iter().try_fold(Query::default(), |query, term| query.with(term))
    }

    /// The same with one more term.
    pub(crate) fn with(&self, text: &str) -> Result<Query> {
        let mut query = self.clone();
        query.push(Term::parse(text)?)?;
        Ok(query)
    }

    fn push(&mut self, term: Term) -> Result<()> {
        self.terms.push(term);
        self.shape = Shape::of(&self.terms)?;
        Ok(())
    }

    /// The same without its last term; `None` if it has none.
    pub(crate) fn parent(&self) -> Option<Query> {
        let mut query = self.clone();
        query.terms.pop()?;
        query.shape = Shape::of(&query.terms).unwrap_or_default();
        Some(query)
    }

    /// Whether its answer is sessions.
    pub(crate) fn of_sessions(&self) -> bool {
        self.terms.iter().any(Term::of_sessions)
    }

    /// Whether the node is one of those that it speaks of. One that has just come, and has not said what it is, matches no term: what
    /// it lacks is not known either.
    pub(crate) fn admits(&self, facts: &Facts<'_>) -> bool {
        let new = facts.attrs.is_empty() && facts.state == "up" && !self.terms.is_empty();
        !new && self.terms.iter().all(|term| facts.holds(term))
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

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["n10/2", "n2/10", "n2/9", "n2", "a", "n02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "n2", "n2/9", "n2/10", "n02", "n10/2"]);
    }
}
