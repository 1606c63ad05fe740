//! Who could take what is to be started: the nodes of a query that are up and take sessions, the best first. One function decides
//! this for all that place something.

use super::{Query, Set, number_of};
use crate::{
    Attr, Kernel,
    cloud::{Load, NodeNo},
    place::Subject,
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use op::{NodeId, Result};

/// A node that could take something.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Candidate {
    /// `None` is this node.
    pub(crate) no: Option<NodeNo>,
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    /// How many it takes at a time: its `slots`, else its `cpus`, else 1.
    pub(crate) slots: u32,
    /// Sessions that run there, as it last told.
    pub(crate) plain: u32,
    /// Why it stands where it stands.
    pub(crate) why: String,
}

impl Candidate {
    fn new(no: Option<NodeNo>, id: NodeId, name: &Arc<str>, attrs: &[(String, Attr)], load: &Load) -> Self {
        let plain = u32::try_from(load.running).unwrap_or(u32::MAX);
        let slots = slots(attrs);
        let why = match slots.checked_sub(plain) {
            Some(free) if free > 0 => format!("{free} slots free of {slots}"),
            _ => format!("{plain} run in {slots} slots"),
        };
        Candidate { no, id, name: name.clone(), slots, plain, why }
    }

    /// What each would have of the node, if one more came.
    fn share(&self) -> f64 {
        (f64::from(self.plain) + 1.0) / f64::from(self.slots.max(1))
    }
}

/// How many sessions a node takes at a time.
fn slots(attrs: &[(String, Attr)]) -> u32 {
    let count = |key: &str| {
        let (_, value) = attrs.iter().find(|(k, _)| k == key)?;
        number_of(value).filter(|n| *n >= 0.0).map(|n| n as u32)
    };
    count("slots").or_else(|| count("cpus")).unwrap_or(1)
}

impl Query {
    /// Understands terms; none select every node.
    #[expect(dead_code, reason = "groups will be the first to have terms in words")]
    pub(crate) fn parse(terms: &[String]) -> Result<Query> {
        terms.iter().try_fold(Query::default(), |query, term| query.with(term))
    }
}

impl Kernel {
    /// The nodes that match, are up and not drained: the best first.
    pub(crate) fn candidates(&self, query: &Query) -> Vec<Candidate> {
        let me = query.admits(&self.facts());
        let others = self.cloud.nodes.iter().filter(|(_, known)| query.admits(&known.facts()));
        self.in_order_of_preference(me, others.map(|(no, _)| *no))
    }

    /// The same of any set of nodes.
    pub(crate) fn candidates_in(&self, subject: Subject) -> Vec<Candidate> {
        if let Subject::Set(no) = subject
            && let Set::Query(query) = self.set(no)
        {
            return self.candidates(query);
        }
        self.in_order_of_preference(self.holds_me(subject), self.set_nodes(subject).map(|(no, _)| no))
    }

    fn in_order_of_preference(&self, me: bool, others: impl Iterator<Item = NodeNo>) -> Vec<Candidate> {
        let mine = (me && !self.cloud.drained)
            .then(|| Candidate::new(None, self.node.id, &self.node.name, &self.node.attrs, &self.own_load()));
        let known = others.filter_map(|no| self.cloud.known(no).map(|known| (no, known)));
        let known = known.filter(|(_, known)| known.down.is_none() && !known.drained);
        let theirs = known
            .map(|(no, known)| Candidate::new(Some(no), known.id, &known.name, &known.attrs, &known.load));
        let mut all: Vec<Candidate> = mine.into_iter().chain(theirs).collect();
        // A stable sort: among equals this node comes first, then whoever was known first.
        all.sort_by(|a, b| a.share().total_cmp(&b.share()));
        all
    }
}
