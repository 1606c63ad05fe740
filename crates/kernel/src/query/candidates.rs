//! Who could take what is to be started: the nodes of a query that are up and take sessions, the best first. One function decides
//! this for all that place something.

use super::{Facts, Query, Set, facts::Value, order::Item, policy::Policy};
use crate::{Attr, Kernel, cloud::NodeNo, place::Subject};
use alloc::{string::String, sync::Arc, vec::Vec};
use op::NodeId;

/// A node that could take something.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Candidate {
    /// `None` is this node.
    pub(crate) no: Option<NodeNo>,
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    /// How many it takes at a time: its `slots`, else its `cpus`, else 1.
    pub(crate) slots: u32,
}

impl Candidate {
    fn of(item: &Item<'_>) -> Candidate {
        let slots = slots(item.facts.attrs);
        Candidate { no: item.no, id: item.id, name: item.name.clone(), slots }
    }
}

/// How many sessions a node takes at a time.
pub(super) fn slots(attrs: &[(String, Attr)]) -> u32 {
    let count = |key: &str| {
        let (_, value) = attrs.iter().find(|(k, _)| k == key)?;
        Value::of(value).number().filter(|n| *n >= 0.0).map(|n| n as u32)
    };
    count("slots").or_else(|| count("cpus")).unwrap_or(1)
}

impl Query {
    /// Whether the best node is filled before the next is used.
    pub(crate) fn fills(&self) -> bool {
        let shape = &self.shape;
        shape.policy.is_some_and(Policy::fills) || shape.near.is_some() || !shape.sort.is_empty()
    }
}

impl Kernel {
    /// The nodes that match, are up and not drained, in the order that the query asks for: else the one first where one more gets
    /// most of the node.
    pub(crate) fn candidates(&self, query: &Query) -> Vec<Candidate> {
        let me = query.admits(&self.facts());
        let others = self.cloud.nodes.iter().filter(|(_, known)| query.admits(&known.facts()));
        self.in_order_of_preference(query, me, others.map(|(no, _)| *no))
    }

    /// One node, if it could take something of a query.
    pub(crate) fn candidate(&self, query: &Query, id: NodeId) -> Option<Candidate> {
        let no = self.node_no(id);
        let fits = match no.and_then(|no| self.cloud.known(no)) {
            Some(known) => query.admits(&known.facts()),
            None => id == self.node.id && query.admits(&self.facts()),
        };
        let item = self.items(fits && no.is_none(), no.filter(|_| fits).into_iter()).pop();
        item.filter(|item| item.facts.state == "up").as_ref().map(Candidate::of)
    }

    /// The same of any set of nodes.
    pub(crate) fn candidates_in(&self, subject: Subject) -> Vec<Candidate> {
        if let Subject::Set(no) = subject
            && let Set::Query(query) = self.set(no)
        {
            return self.candidates(query);
        }
        let others = self.set_nodes(subject).map(|(no, _)| no);
        self.in_order_of_preference(&Query::default(), self.holds_me(subject), others)
    }

    fn in_order_of_preference(
        &self,
        query: &Query,
        me: bool,
        others: impl Iterator<Item = NodeNo>,
    ) -> Vec<Candidate> {
        // Sorts are stable: among equals this node comes first, then whoever was known first.
        let all = self.items(me, others).into_iter().filter(|item| item.facts.state == "up").collect();
        let all = self.arrange(all, query, Some(Policy::USUAL));
        all.iter().map(Candidate::of).collect()
    }

    /// Nodes, as they are put into an order.
    pub(super) fn items(&self, me: bool, others: impl Iterator<Item = NodeNo>) -> Vec<Item<'_>> {
        let mine =
            me.then(|| Item { no: None, id: self.node.id, name: &self.node.name, facts: self.facts() });
        let known = others.filter_map(|no| self.cloud.known(no).map(|known| (no, known)));
        let theirs = known.map(|(no, known)| {
            let facts: Facts<'_> = known.facts();
            Item { no: Some(no), id: known.id, name: &known.name, facts }
        });
        mine.into_iter().chain(theirs).collect()
    }
}
