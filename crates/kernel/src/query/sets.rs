//! Sets that a path selects: places of `phys/`, of `logical/` and queries, kept while somebody stands there; and the
//! numbers of what a query matches.

use super::{Facts, Query, Term, answers::Answers, jobs, natural};
use crate::{
    Effect, Kernel, Who,
    cloud::Known,
    limits,
    park::On,
    place::{Link, Place, Subject, View},
    words,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Errno, Error, Fid, Result};

/// What a path of `phys/` or of `query/` selects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Set {
    Loc(Arc<str>),
    Query(Arc<Query>),
    /// A place of `logical/`: its path there, and the query that it is.
    Logical(Arc<str>, Arc<Query>),
}

/// The number of `logical` itself.
pub(crate) const LOGICAL: u32 = 0;

/// All that were walked to, and what a query has numbered.
#[derive(Debug)]
pub(crate) struct Sets {
    sets: BTreeMap<u32, Set>,
    numbers: BTreeMap<Set, u32>,
    next: u32,
    matches: BTreeMap<u32, Matches>,
    pub(crate) answers: Answers,
    forgotten: Set,
}

impl Default for Sets {
    fn default() -> Sets {
        let root = Set::logical("");
        Sets {
            sets: BTreeMap::from([(LOGICAL, root.clone())]),
            numbers: BTreeMap::from([(root, LOGICAL)]),
            next: LOGICAL + 1,
            matches: BTreeMap::new(),
            answers: Answers::default(),
            forgotten: Set::default(),
        }
    }
}

impl Set {
    /// What it is as a query, if it is one.
    pub(crate) fn query(&self) -> Option<&Arc<Query>> {
        match self {
            Set::Query(query) | Set::Logical(_, query) => Some(query),
            Set::Loc(_) => None,
        }
    }
}

impl Default for Set {
    /// A place that no node can be in.
    fn default() -> Set {
        Set::Loc("\0".into())
    }
}

impl Sets {
    /// The number of a set that was walked to.
    pub(super) fn no_of(&self, set: &Set) -> Option<u32> {
        self.numbers.get(set).copied()
    }
}

/// The leaves of a query: their numbers mean the same as long as it is in use.
#[derive(Debug, Default)]
pub(super) struct Matches {
    leaves: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, u32>,
    /// Those that matched when it was last listed, in the order in which they are shown.
    now: Vec<u32>,
    /// What those are called in `logical/`, where that is not their number.
    pub(super) names: BTreeMap<u32, Arc<str>>,
    /// All names that lead to them there.
    pub(super) by_name: BTreeMap<Arc<str>, u32>,
    /// Why a part of them is not known.
    pub(super) lost: Option<Error>,
}

impl Matches {
    /// The number of a leaf that matches now.
    fn number(&mut self, leaf: Arc<str>) -> u32 {
        let number = match self.numbers.get(&leaf) {
            Some(number) => *number,
            None => {
                let number = self.leaves.len() as u32;
                self.numbers.insert(leaf.clone(), number);
                self.leaves.push(leaf);
                number
            }
        };
        self.now.push(number);
        number
    }

    /// What matches now, by what it is called.
    fn are_named(&mut self, listed: Vec<jobs::Listed>) {
        self.now.clear();
        self.lost = None;
        (self.names, self.by_name) = (BTreeMap::new(), BTreeMap::new());
        for jobs::Listed { leaf, name, also } in listed.into_iter().take(limits::MATCHES) {
            let number = self.number(leaf);
            self.by_name.extend(also.map(|also| (also, number)));
            self.by_name.insert(name.clone(), number);
            self.names.insert(number, name);
        }
        self.now.sort_unstable();
    }
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
            let used = fids.filter_map(|state| state.place.set());
            let used: BTreeSet<u32> = used.chain([LOGICAL]).collect();
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
            Set::Logical(path, _) => {
                let parts = path.split('/').filter(|name| !name.is_empty());
                core::iter::once("logical").chain(parts).map(String::from).collect()
            }
            Set::Query(query) => {
                let view = if query.waits { View::Await } else { View::Query };
                let mut path = match query.below {
                    true => alloc::vec![String::from(View::Net.name()), (*self.node.name).into()],
                    false => Vec::new(),
                };
                path.push(view.name().into());
                path.extend(query.names());
                path
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
            Set::Logical(path, _) if path.is_empty() => Place::Dir(Subject::Cloud),
            Set::Logical(path, _) => {
                let above = path.rsplit_once('/').map_or("", |(above, _)| above);
                Place::Dir(Subject::Set(self.set_no(Set::logical(above))))
            }
            Set::Query(query) => {
                let Some(query) = query.parent() else { return Place::Dir(Subject::Node(View::Net)) };
                match query.terms.is_empty() && !query.below {
                    true if query.waits => Place::View(View::Await),
                    true => Place::View(View::Query),
                    false => Place::Dir(Subject::Set(self.set_no(Set::Query(Arc::new(query))))),
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
            Ok(Set::Loc(_) | Set::Logical(..)) => Arc::default(),
            Err(waits) => Arc::new(Query { waits, ..Query::default() }),
        };
        if before.terms.len() >= limits::TERMS {
            let cause = format!("a query has at most {} terms", limits::TERMS);
            return Err(Error::new(Errno::NAMETOOLONG, cause));
        }
        let query = before.with(name)?;
        if !self.knows_near(&query.shape) && self.cloud.above.is_none() {
            let cause = format!("{name}: no node is called so, and none has such a location");
            return Err(Error::new(Errno::NOENT, cause));
        }
        let (sessions, text, waits) = (query.of_sessions(), query.names().join("/"), query.waits);
        if sessions && waits {
            let cause =
                format!("await/{text}: only nodes are waited for; `wait` of a query waits for sessions");
            return Err(Error::new(Errno::OPNOTSUPP, cause));
        }
        if let (Some(num), true, Some(_)) = (query.shape.num, query.below, self.cloud.above) {
            let cause = format!(
                "num={num}: slots are counted at the top of the tree, and {} has a parent: ask query/ or await/ itself",
                self.node.name
            );
            return Err(Error::new(Errno::OPNOTSUPP, cause));
        }
        let no = self.set_no(Set::Query(Arc::new(query)));
        let subject = Subject::Set(no);
        if !sessions && !waits && !self.holds_me(subject) && self.set_nodes(subject).next().is_none() {
            return Err(Error::new(Errno::NOENT, format!("nothing matches {text}")));
        }
        Ok(Place::Dir(subject))
    }

    /// The directory of queries over this node and what is below it.
    pub(crate) fn query_below(&mut self, waits: bool) -> Place {
        let query = Query { waits, below: true, ..Query::default() };
        Place::Dir(Subject::Set(self.set_no(Set::Query(Arc::new(query)))))
    }

    /// Whether somebody's requests about a set are for those above.
    pub(crate) fn set_goes_up(&self, who: Who, no: u32) -> bool {
        !self.is_below(no) && self.goes_up(who.client)
    }

    /// Whether a set is one of this node and what is below it, whoever asks.
    pub(crate) fn is_below(&self, no: u32) -> bool {
        matches!(self.set(no), Set::Query(query) if query.below)
    }

    /// Whether a walk is to wait until this node has been measured: it looks at what changes from moment to moment.
    pub(crate) fn walk_measures(&mut self, who: Who, fid: Fid, newfid: Fid, names: &[String]) -> bool {
        let measured = |name: &String| {
            name.contains(['=', '<', '>']) && Term::parse(name).is_ok_and(|term| term.is_measured())
        };
        let Ok(place) = self.place(who, fid) else { return false };
        let looks = matches!(place, Place::View(View::Query | View::Await)) || place.set().is_some();
        let through = names.iter().any(|name| matches!(View::named(name), Some(View::Query | View::Await)));
        if !(looks || through) || self.goes_up(who.client) || !names.iter().any(measured) {
            return false;
        }
        if self.gauges.as_ref().is_some_and(|(at, _)| self.clock.mono.since(*at) < limits::FRESH) {
            return false;
        }
        let Some(client) = self.clients.get_mut(&who.client) else { return false };
        client.making.insert(newfid);
        if !self.parked.awaited(&On::Measured) {
            self.out.push(Effect::Measure);
        }
        true
    }

    /// Gives numbers to what matches now: the nodes that are known, or the sessions that were told (`rank node/id` lines).
    pub(crate) fn renumber(&mut self, no: u32, told: Option<&[u8]>) {
        let subject = Subject::Set(no);
        if let (Set::Logical(path, _), Some(told)) = (self.set(no), told) {
            let listed = jobs::listed(path, &words::lossy(told));
            return self.cloud.sets.matches.entry(no).or_default().are_named(listed);
        }
        let Set::Query(query) = self.set(no).clone() else { return };
        let mut leaves: Vec<Arc<str>> = match (self.of_sessions(subject), told) {
            (true, None) => return,
            (true, Some(text)) => {
                let text = words::lossy(text);
                let lines = text.lines().filter_map(|line| line.split(' ').nth(1));
                let mut leaves: Vec<Arc<str>> = lines.map(Arc::from).collect();
                leaves.sort_by(|a, b| natural(a, b));
                leaves.truncate(query.shape.limit.map_or(usize::MAX, |n| n as usize));
                leaves
            }
            (false, _) => self.names_in_order(subject),
        };
        leaves.truncate(limits::MATCHES);
        let ordered = query.shape.orders();
        let matches = self.cloud.sets.matches.entry(no).or_default();
        matches.now.clear();
        leaves.into_iter().for_each(|leaf| {
            matches.number(leaf);
        });
        // A number is a place in the listing, unless the query says another order.
        if !ordered {
            matches.now.sort_unstable();
        }
    }

    /// A part of the query could not be asked.
    pub(super) fn lost(&mut self, no: u32, why: Error) {
        self.cloud.sets.matches.entry(no).or_default().lost = Some(why);
    }

    /// What a query has numbered.
    pub(super) fn matches(&self, no: u32) -> Option<&Matches> {
        self.cloud.sets.matches.get(&no)
    }

    /// The leaf that has a number in a query: `node`, or `node/id`.
    pub(crate) fn matched(&self, no: u32, number: u32) -> Option<&str> {
        let matches = self.cloud.sets.matches.get(&no)?;
        matches.leaves.get(number as usize).map(|leaf| &**leaf)
    }

    /// Numbers of what matched when that was last looked at.
    pub(crate) fn numbered(&self, no: u32) -> &[u32] {
        self.cloud.sets.matches.get(&no).map_or(&[], |matches| &matches.now)
    }
}
