//! Sets of sessions: which sessions of this node a query selects.

use super::{How, Term, Value};
use crate::{Kernel, place::Subject, session::Session, words};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

impl Kernel {
    /// Whether a set's members are sessions.
    pub(crate) fn of_sessions(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Set(no) if self.set(no).query().is_some_and(|query| query.of_sessions()))
    }

    /// Whether a session of this node is in a set that this node is in.
    pub(crate) fn holds(&self, subject: Subject, session: &Session) -> bool {
        self.session_terms(subject).all(|term| self.session_holds(term, session))
    }

    /// The same whatever its state: for what goes on after it has changed.
    pub(crate) fn holds_ever(&self, subject: Subject, session: &Session) -> bool {
        self.session_terms(subject)
            .filter(|term| !term.is_state())
            .all(|term| self.session_holds(term, session))
    }

    /// Whether a query asks for the state that sessions are in now.
    pub(crate) fn asks_state(&self, subject: Subject) -> bool {
        self.session_terms(subject).any(Term::is_state)
    }

    fn session_terms(&self, subject: Subject) -> impl Iterator<Item = &Term> {
        let query = match subject {
            Subject::Set(no) => self.set(no).query(),
            Subject::Cloud | Subject::Tree | Subject::Node(_) | Subject::Session(_) => None,
        };
        query.into_iter().flat_map(|query| &query.terms).filter(|term| term.of_sessions())
    }

    /// Sessions of this node that a query selects; of groups, their members.
    pub(crate) fn matching(&self, subject: Subject) -> impl Iterator<Item = &Session> {
        let here = self.holds_me(subject);
        let leaves = self.sessions.values().map(|s| &**s).filter(move |s| here && !s.is_group());
        leaves.filter(move |s| self.holds(subject, s))
    }

    fn session_holds(&self, term: &Term, s: &Session) -> bool {
        let Term::Is { key, how, wanted, .. } = term else { return true };
        let tag = |key: &str| s.tags.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
        let is: Vec<String> = match key.as_str() {
            "user" => alloc::vec![String::from(&*self.user(s.owner).name)],
            "job" => alloc::vec![s.job().into()],
            "state" => alloc::vec![s.state_name(), s.state_word()],
            "prog" => {
                let words = words::split(&s.command).unwrap_or_default();
                let argv0 = words.first().map(|word| words::lossy(word)).unwrap_or_default();
                let last = argv0.rsplit('/').next().unwrap_or_default().to_string();
                alloc::vec![last, argv0]
            }
            "rank" => alloc::vec![s.member_of.map_or(0, |(_, rank)| rank).to_string()],
            "id" => alloc::vec![s.id.0.to_string()],
            "group" => s.member_of.map(|(group, _)| group.0.to_string()).into_iter().collect(),
            "tag" => s.tags.iter().flat_map(|(k, v)| [k.clone(), format!("{k}={v}")]).collect(),
            key => key.strip_prefix("tag.").and_then(tag).into_iter().collect(),
        };
        let holds = |one: &String, how| Value::Text(one).compare(how, wanted);
        match how {
            // Names of a user or a job are not numbers, whatever they look like: 7 is not 07.
            How::Exactly if matches!(key.as_str(), "user" | "job") => is.contains(&wanted.text),
            How::Not => is.iter().all(|one| holds(one, How::Not)),
            how => is.iter().any(|one| holds(one, *how)),
        }
    }
}
