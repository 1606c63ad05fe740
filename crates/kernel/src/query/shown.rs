//! How a set is shown: in which order, how much of it, after how long; and which terms are shown to who looks into `query/`.

use super::{Modifier, Query, Set, Term, natural, number, term::Of};
use crate::{
    Kernel,
    cloud::{Known, NodeNo},
    limits,
    place::Subject,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

impl Kernel {
    /// The names of a set's nodes, in the order in which they are shown.
    pub(crate) fn names_in_order(&self, subject: Subject) -> Vec<Arc<str>> {
        let me = self.holds_me(subject);
        let query = match subject {
            Subject::Set(no) => match self.set(no) {
                Set::Query(query) => Some(&**query),
                Set::Loc(_) | Set::Logical(..) => None,
            },
            Subject::Cloud | Subject::Tree | Subject::Node(_) | Subject::Session(_) => None,
        };
        let items = self.items(me, self.set_nodes(subject).map(|(no, _)| no));
        let everywhere = Query::default();
        let items = self.arrange(items, query.unwrap_or(&everywhere), None);
        items.into_iter().map(|item| item.name.clone()).collect()
    }

    /// Nodes of a query that says how many: which they are.
    pub(crate) fn limited(&self, query: &Query) -> Option<Vec<Option<NodeNo>>> {
        if query.shape.limit.is_none() || query.of_sessions() {
            return None;
        }
        let me = query.admits(&self.facts());
        let others = self.cloud.nodes.iter().filter(|(_, known)| query.admits(&known.facts()));
        let items = self.items(me, others.map(|(no, _)| *no));
        Some(self.arrange(items, query, None).into_iter().map(|item| item.no).collect())
    }

    /// Whether a set's nodes are shown in an order of their own; else they are shown by name.
    pub(crate) fn is_ordered(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Set(no) if matches!(self.set(no), Set::Query(query) if query.shape.orders()))
    }

    /// The line for `ctl` that reserves as many as a query says, if it says so.
    pub(crate) fn reservation(&self, subject: Subject) -> Option<Vec<u8>> {
        let Subject::Set(no) = subject else { return None };
        let Set::Query(query) = self.set(no) else { return None };
        let num = query.shape.num?;
        let is_num = |term: &&Term| matches!(term, Term::Modifier(Modifier::Num(_)));
        let terms = query.terms.iter().filter(|term| !is_num(term)).map(|term| term.text().into_bytes());
        let words: Vec<Vec<u8>> =
            [b"res".to_vec(), format!("{num}").into_bytes()].into_iter().chain(terms).collect();
        let mut line = crate::words::join(&words);
        line.push(b'\n');
        Some(line)
    }

    /// How long an aggregate of this set waits for a part.
    pub(crate) fn patience(&self, subject: Subject) -> Duration {
        let told = match subject {
            Subject::Set(no) => match self.set(no) {
                Set::Query(query) => query.shape.timeout,
                Set::Loc(_) | Set::Logical(..) => None,
            },
            Subject::Cloud | Subject::Tree | Subject::Node(_) | Subject::Session(_) => None,
        };
        told.unwrap_or(limits::PART)
    }

    /// Whether only some of the sessions that match are shown.
    pub(crate) fn shows_some(&self, subject: Subject) -> bool {
        self.session_limit(subject).is_some()
    }

    fn session_limit(&self, subject: Subject) -> Option<u32> {
        match subject {
            Subject::Set(no) if self.of_sessions(subject) => match self.set(no) {
                Set::Query(query) => query.shape.limit,
                Set::Loc(_) | Set::Logical(..) => None,
            },
            Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) | Subject::Session(_) => None,
        }
    }

    /// As many lines about sessions as a query asks for; what could not be reached is shown in any case.
    pub(crate) fn cut_lines(&self, subject: Subject, file: &str, text: Vec<u8>) -> Vec<u8> {
        let limit = self.session_limit(subject).filter(|_| file != "info");
        let Some(mut left) = limit else { return text };
        let is_down = |line: &[u8]| {
            line.split(|b| *b == b' ').nth(1) == Some(b"down")
                || line.windows(14).any(|at| at == b"\"state\":\"down\"" || at == b"state=\"down\" ")
        };
        let mut out = Vec::new();
        for line in text.split_inclusive(|b| *b == b'\n') {
            if !is_down(line) {
                if left == 0 {
                    continue;
                }
                left -= 1;
            }
            out.extend_from_slice(line);
        }
        out
    }

    /// Terms that something matches, for who looks into `query` and for completion: of each key the values that there are, the
    /// most frequent ones if they are many.
    pub(crate) fn known_terms(&self) -> Vec<String> {
        let own = ["id", "pid", "ninep", "link", "web"];
        let mut keys: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
        // Of a resource it is asked what is free: only what would be found is shown.
        let mut most: BTreeMap<&str, f64> = BTreeMap::new();
        let me = self.facts();
        for facts in core::iter::once(me).chain(self.cloud.nodes.values().map(Known::facts)) {
            for (key, value) in facts.attrs {
                if own.contains(&key.as_str()) {
                    continue;
                }
                if let Some(free) = facts.free(Of::key(key), key) {
                    let most = most.entry(key).or_insert(free);
                    *most = most.max(free);
                }
                let text = crate::record::plain(value);
                if !text.is_empty() && !text.contains(['/', ' ']) && text.len() < limits::NAME / 2 {
                    *keys.entry(key).or_default().entry(text).or_default() += 1;
                }
            }
        }
        let mut terms = Vec::new();
        for (key, values) in keys {
            let mut values: Vec<(String, usize)> = values.into_iter().collect();
            if let Some(most) = most.get(key) {
                values.retain(|(value, _)| number(value).is_none_or(|n| n <= *most));
                // Nobody has as much free as there is: so much somebody has.
                if values.is_empty() && *most >= 1024.0 {
                    values.push((op::format_size(*most as u64), 1));
                }
            }
            values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| natural(&a.0, &b.0)));
            values.truncate(limits::VALUES);
            terms.extend(values.into_iter().map(|(value, _)| format!("{key}={value}")));
        }
        let users = self.sessions.values().map(|s| s.owner).collect::<BTreeSet<_>>();
        terms.extend(
            users.into_iter().take(limits::VALUES).map(|uid| format!("user={}", self.user(uid).name)),
        );
        terms.extend(["state=running", "state=ended"].map(String::from));
        terms.sort_by(|a, b| natural(a, b));
        terms.dedup();
        terms
    }
}
