//! In which order the nodes of a query stand: for listings, and for whoever places something.
//!
//! What is most important is sorted by last, since every sort keeps what the one before it did: first the policy, then `near=`, then
//! `sort=`; then `spread=` takes from each value of its label in turn, and `limit=` cuts.

use super::{Facts, Query, Value, candidates::slots, modifiers::Shape, natural, policy::Policy, term::Of};
use crate::{Attr, Kernel, cloud, cloud::NodeNo};
use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::cmp::{Ordering, Reverse};
use op::NodeId;

/// A node that is put into an order.
pub(super) struct Item<'a> {
    /// `None` is this node.
    pub(super) no: Option<NodeNo>,
    pub(super) id: NodeId,
    pub(super) name: &'a Arc<str>,
    pub(super) facts: Facts<'a>,
}

impl Item<'_> {
    /// What each would have of the node, if one more came.
    pub(super) fn share(&self) -> f64 {
        (self.facts.load.running as f64 + 1.0) / f64::from(slots(self.facts.attrs).max(1))
    }

    pub(super) fn is_full(&self) -> bool {
        self.facts.load.running >= u64::from(slots(self.facts.attrs))
    }
}

/// Where somebody wants to be near to.
pub(super) struct Spot<'a> {
    loc: Option<&'a str>,
    /// Of a node: from the top of what is known here down to it.
    chain: Option<Vec<NodeId>>,
}

/// How near something is: fewer levels in common are farther, then more steps over links.
pub(super) type Distance = (Reverse<usize>, usize);

impl Kernel {
    /// Puts nodes into the order that a query asks for; without one, `base` says.
    pub(super) fn arrange<'a>(
        &'a self,
        mut items: Vec<Item<'a>>,
        query: &Query,
        base: Option<Policy>,
    ) -> Vec<Item<'a>> {
        let shape = &query.shape;
        match shape.policy.or(base) {
            None => items.sort_by(|a, b| natural(a.name, b.name)),
            Some(policy) => policy.order(self, &mut items),
        }
        if let Some(spot) = shape.near.as_deref().and_then(|path| self.spot(path)) {
            items.sort_by_cached_key(|item| self.distance(&spot, item));
        }
        for (key, down) in shape.sort.iter().rev() {
            let of = Of::key(key);
            items.sort_by(|a, b| in_order(a.facts.value(of, key), b.facts.value(of, key), *down));
        }
        if let Some(key) = &shape.spread {
            items = spread(items, key);
        }
        if let Some(limit) = shape.limit {
            items.truncate(limit as usize);
        }
        items
    }

    /// Whether `near=` of a query says where that is; it may be known only to those above.
    pub(super) fn knows_near(&self, shape: &Shape) -> bool {
        shape.near.as_deref().is_none_or(|path| self.spot(path).is_some())
    }

    /// This node.
    pub(super) fn spot_here(&self) -> Spot<'_> {
        Spot { loc: cloud::loc(&self.node.attrs), chain: Some(self.chain(None)) }
    }

    /// A node by name, or a location that some node is in: its parts with `/` or, since a path has that already, `:` between them.
    fn spot<'a>(&'a self, path: &'a str) -> Option<Spot<'a>> {
        if *path == *self.node.name || path == "self" {
            return Some(self.spot_here());
        }
        if let Some(no) = self.cloud.named(path) {
            let known = self.cloud.known(no)?;
            return Some(Spot { loc: known.loc(), chain: Some(self.chain(Some(no))) });
        }
        let parts = || path.split(['/', ':']).filter(|part| !part.is_empty());
        let begins = |loc: Option<&str>| {
            loc.is_some_and(|loc| {
                let mut of = loc.split('/');
                parts().all(|part| of.next() == Some(part))
            })
        };
        let known =
            begins(cloud::loc(&self.node.attrs)) || self.cloud.nodes.values().any(|k| begins(k.loc()));
        known.then_some(Spot { loc: Some(path), chain: None })
    }

    /// From this node down to another of those below it.
    fn chain(&self, no: Option<NodeNo>) -> Vec<NodeId> {
        let mut chain = Vec::new();
        let mut at = no.and_then(|no| self.cloud.known(no));
        while let Some(known) = at
            && chain.len() < crate::limits::DEPTH
        {
            chain.push(known.id);
            at = self.node_no(known.parent).and_then(|no| self.cloud.known(no));
        }
        chain.push(self.node.id);
        chain.reverse();
        chain
    }

    pub(super) fn distance(&self, from: &Spot<'_>, item: &Item<'_>) -> Distance {
        let shared = match (from.loc, cloud::loc(item.facts.attrs)) {
            (Some(a), Some(b)) => {
                let a = a.split(['/', ':']).filter(|part| !part.is_empty());
                a.zip(b.split('/')).take_while(|(a, b)| a == b).count()
            }
            _ => 0,
        };
        let steps = from.chain.as_ref().map_or(0, |chain| {
            let other = self.chain(item.no);
            let common = chain.iter().zip(&other).take_while(|(a, b)| a == b).count();
            chain.len() + other.len() - 2 * common
        });
        (Reverse(shared), steps)
    }
}

/// Numbers by their value and before words; what is not known comes last either way.
fn in_order(a: Option<Value<'_>>, b: Option<Value<'_>>, down: bool) -> Ordering {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return a.is_none().cmp(&b.is_none()),
    };
    let order = match (a.number(), b.number()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (None, None) => match (a, b) {
            (Value::Text(a), Value::Text(b)) => natural(a, b),
            _ => Ordering::Equal,
        },
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    if down { order.reverse() } else { order }
}

/// One of each value in turn; those without the label are a value of their own.
fn spread<'a>(items: Vec<Item<'a>>, key: &str) -> Vec<Item<'a>> {
    let of = |item: &Item<'a>| match item.facts.attrs.iter().find(|(k, _)| k == key) {
        Some((_, Attr::Text(text))) => Some(alloc::string::String::from(text)),
        Some((_, value)) => Some(crate::record::plain(value)),
        None => None,
    };
    // In the order in which values first come, so that the best of all stays the first.
    let mut at = BTreeMap::new();
    let mut groups: Vec<VecDeque<Item<'a>>> = Vec::new();
    let count = items.len();
    for item in items {
        let group = *at.entry(of(&item)).or_insert_with(|| {
            groups.push(VecDeque::new());
            groups.len() - 1
        });
        groups[group].push_back(item);
    }
    let mut out = Vec::with_capacity(count);
    while !groups.is_empty() {
        out.extend(groups.iter_mut().filter_map(VecDeque::pop_front));
        groups.retain(|group| !group.is_empty());
    }
    out
}
