//! Sets that a path selects: places of `phys/` and queries, kept while somebody stands there; and the numbers of what
//! a query matches.

use super::{Facts, How, MODIFIERS, Query, Term, compare, natural};
use crate::{
    Attr, Kernel, Who,
    cloud::Known,
    limits,
    place::{Link, Place, Subject, View},
    session::Session,
    words,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Errno, Error, Result};

/// What a path of `phys/` or of `query/` selects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Set {
    Loc(Arc<str>),
    Query(Arc<Query>),
}

/// All that were walked to, and what a query has numbered.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    sets: BTreeMap<u32, Set>,
    numbers: BTreeMap<Set, u32>,
    next: u32,
    matches: BTreeMap<u32, Matches>,
    forgotten: Set,
}

impl Default for Set {
    /// A place that no node can be in.
    fn default() -> Set {
        Set::Loc("\0".into())
    }
}

/// The leaves of a query: their numbers mean the same as long as it is in use.
#[derive(Debug, Default)]
struct Matches {
    leaves: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, u32>,
    /// Those that matched when it was last listed.
    now: BTreeSet<u32>,
}

impl Known {
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts { attrs: &self.attrs, load: self.load, name: &self.name, state: self.state() }
    }
}

impl Kernel {
    /// This node, as terms look at it.
    pub(crate) fn facts(&self) -> Facts<'_> {
        let state = if self.cloud.drained { "drained" } else { "up" };
        Facts { attrs: &self.node.attrs, load: self.own_load(), name: &self.node.name, state }
    }

    pub(crate) fn set(&self, no: u32) -> &Set {
        // One that was forgotten meanwhile holds nothing.
        self.cloud.sets.sets.get(&no).unwrap_or(&self.cloud.sets.forgotten)
    }

    /// The number of a set. When there are very many, those that no fid stands on are forgotten.
    pub(crate) fn set_no(&mut self, set: Set) -> u32 {
        if let Some(no) = self.cloud.sets.numbers.get(&set) {
            return *no;
        }
        if self.cloud.sets.sets.len() >= limits::SETS {
            let fids = self.clients.values().flat_map(|client| client.fids.values());
            let used: BTreeSet<u32> = fids.filter_map(|state| state.place.set()).collect();
            let sets = &mut self.cloud.sets;
            sets.sets.retain(|no, _| used.contains(no));
            sets.numbers.retain(|_, no| used.contains(no));
            sets.matches.retain(|no, _| used.contains(no));
        }
        let sets = &mut self.cloud.sets;
        let no = sets.next;
        sets.next += 1;
        sets.numbers.insert(set.clone(), no);
        sets.sets.insert(no, set);
        no
    }

    /// The names that lead to a set from the root.
    pub(crate) fn set_path(&self, no: u32) -> Vec<String> {
        match self.set(no) {
            Set::Loc(path) => {
                let parts = path.split('/').filter(|name| !name.is_empty());
                core::iter::once("phys").chain(parts).map(String::from).collect()
            }
            Set::Query(query) => {
                let view = if query.waits { View::Await } else { View::Query };
                core::iter::once(view.name().into()).chain(query.names()).collect()
            }
        }
    }

    /// The directory above a set's.
    pub(crate) fn set_parent(&mut self, no: u32) -> Place {
        match self.set(no).clone() {
            Set::Loc(path) => match path.rsplit_once('/') {
                Some((above, _)) => Place::Dir(Subject::Set(self.set_no(Set::Loc(above.into())))),
                None => Place::View(View::Phys),
            },
            Set::Query(query) => {
                let mut terms = query.terms.clone();
                terms.pop();
                match terms.is_empty() {
                    true if query.waits => Place::View(View::Await),
                    true => Place::View(View::Query),
                    false => {
                        let set = Set::Query(Arc::new(Query { terms, waits: query.waits }));
                        Place::Dir(Subject::Set(self.set_no(set)))
                    }
                }
            }
        }
    }

    /// A further term, or the number of a match. A query of nodes that matches none is not there.
    pub(crate) fn step_in_query(
        &mut self,
        from: core::result::Result<u32, bool>,
        name: &str,
    ) -> Result<Place> {
        if let (Ok(no), Ok(number)) = (from, name.parse::<u32>())
            && number.to_string() == name
        {
            self.renumber(no, None);
            let there = self.matched(no, number).is_some();
            let cause =
                format!("no match has the number {number}: list the query to number what matches now");
            return there
                .then_some(Place::Link(Link::Match(no, number)))
                .ok_or(Error::new(Errno::NOENT, cause));
        }
        let before = match from.map(|no| self.set(no)) {
            Ok(Set::Query(query)) => query.clone(),
            Ok(Set::Loc(_)) => Arc::default(),
            Err(waits) => Arc::new(Query { waits, ..Query::default() }),
        };
        if before.terms.len() >= limits::TERMS {
            let cause = format!("a query has at most {} terms", limits::TERMS);
            return Err(Error::new(Errno::NAMETOOLONG, cause));
        }
        if let Some(key) =
            MODIFIERS.iter().find(|key| name.strip_prefix(**key).is_some_and(|r| r.starts_with('=')))
        {
            let cause =
                format!("{key}= is not understood yet: a query selects, and does not order or allocate");
            return Err(Error::new(Errno::OPNOTSUPP, cause));
        }
        let query = before.with(name)?;
        let (sessions, text, waits) = (query.of_sessions(), query.names().join("/"), query.waits);
        if sessions && waits {
            let cause =
                format!("await/{text}: only nodes are waited for; `wait` of a query waits for sessions");
            return Err(Error::new(Errno::OPNOTSUPP, cause));
        }
        let no = self.set_no(Set::Query(Arc::new(query)));
        let subject = Subject::Set(no);
        if !sessions && !waits && !self.holds_me(subject) && self.set_nodes(subject).next().is_none() {
            return Err(Error::new(Errno::NOENT, format!("nothing matches {text}")));
        }
        Ok(Place::Dir(subject))
    }

    /// Whether what is opened here waits for a node that matches.
    pub(crate) fn awaits(&self, who: Who, place: Place) -> bool {
        let (Some(no), false) = (place.set(), self.goes_up(who.client)) else { return false };
        let subject = Subject::Set(no);
        match self.set(no) {
            Set::Query(query) if query.waits => {}
            Set::Query(_) | Set::Loc(_) => return false,
        }
        let here = self.holds_me(subject) && !self.cloud.drained;
        !here && self.set_nodes(subject).all(|(_, known)| known.down.is_some() || known.drained)
    }

    /// Whether a set's members are sessions.
    pub(crate) fn of_sessions(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Set(no) if matches!(self.set(no), Set::Query(query) if query.of_sessions()))
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
            Subject::Set(no) => match self.set(no) {
                Set::Query(query) => Some(query),
                Set::Loc(_) => None,
            },
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
        let Term::Is { key, how, value: wanted } = term else { return true };
        let tag = |key: &str| s.tags.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
        let is: Vec<String> = match key.as_str() {
            "user" => alloc::vec![String::from(&*self.user(s.owner).name)],
            "job" => tag("job").into_iter().collect(),
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
        let holds = |one: &String, how| compare(&Attr::Text(one.clone()), how, wanted);
        match how {
            How::Not => is.iter().all(|one| holds(one, How::Not)),
            how => is.iter().any(|one| holds(one, *how)),
        }
    }

    /// Gives numbers to what matches now: the nodes that are known, or the sessions that were told (`rank node/id` lines).
    pub(crate) fn renumber(&mut self, no: u32, told: Option<&[u8]>) {
        let subject = Subject::Set(no);
        let mut leaves: Vec<Arc<str>> = match (self.of_sessions(subject), told) {
            (true, None) => return,
            (true, Some(text)) => {
                let text = words::lossy(text);
                text.lines().filter_map(|line| line.split(' ').nth(1)).map(Arc::from).collect()
            }
            (false, _) => {
                let me = self.holds_me(subject).then(|| self.node.name.clone());
                me.into_iter().chain(self.set_nodes(subject).map(|(_, known)| known.name.clone())).collect()
            }
        };
        leaves.sort_by(|a, b| natural(a, b));
        leaves.truncate(limits::MATCHES);
        let matches = self.cloud.sets.matches.entry(no).or_default();
        matches.now.clear();
        for leaf in leaves {
            let number = match matches.numbers.get(&leaf) {
                Some(number) => *number,
                None => {
                    let number = matches.leaves.len() as u32;
                    matches.numbers.insert(leaf.clone(), number);
                    matches.leaves.push(leaf);
                    number
                }
            };
            matches.now.insert(number);
        }
    }

    /// The leaf that has a number in a query: `node`, or `node/id`.
    pub(crate) fn matched(&self, no: u32, number: u32) -> Option<&str> {
        let matches = self.cloud.sets.matches.get(&no)?;
        matches.leaves.get(number as usize).map(|leaf| &**leaf)
    }

    /// Numbers of what matched when that was last looked at.
    pub(crate) fn numbered(&self, no: u32) -> Vec<u32> {
        self.cloud
            .sets
            .matches
            .get(&no)
            .map(|matches| matches.now.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Terms that something matches, for who looks into `query` and for completion.
    pub(crate) fn known_terms(&self) -> Vec<String> {
        let mut terms = BTreeSet::new();
        let own = [("id", true), ("pid", true), ("ninep", true), ("link", true)];
        let all = core::iter::once(&self.node.attrs).chain(self.cloud.nodes.values().map(|k| &k.attrs));
        for (key, value) in all.flatten() {
            let text = crate::record::plain(value);
            if !own.contains(&(key, true))
                && !text.contains(['/', ' '])
                && !text.is_empty()
                && terms.len() < limits::MATCHES
            {
                terms.insert(format!("{key}={text}"));
            }
        }
        // Of a resource it is asked what is free: only what would be found is shown.
        let me = self.facts();
        let holds =
            |term: &Term| me.holds(term) || self.cloud.nodes.values().any(|known| known.facts().holds(term));
        terms.retain(|text| match Term::parse(text) {
            Ok(term) => !term.is_resource() || holds(&term),
            Err(_) => false,
        });
        let users = self.sessions.values().map(|s| s.owner).collect::<BTreeSet<_>>();
        terms.extend(users.into_iter().map(|uid| format!("user={}", self.user(uid).name)));
        terms.extend(["state=running", "state=ended"].map(String::from));
        terms.into_iter().collect()
    }
}
