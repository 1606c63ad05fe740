//! Policies: which of those that could take something is taken first. A policy is a row, whose function sorts them; help,
//! completion and the sentence about unknown ones are made from the rows.

use super::{order::Item, table::Row};
use crate::Kernel;

/// A row of the table.
pub struct Kind {
    /// Its name, what it does, and how it is asked for.
    pub row: Row,
    /// Whether the first is filled before the next is used; else one more changes the order.
    fills: bool,
    order: fn(&Kernel, &mut [Item<'_>]),
}

impl core::fmt::Debug for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.row.term)
    }
}

/// A policy by its place in [`POLICIES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Policy(usize);

/// Built-in policies. The first is the one that is used if none is asked for.
pub static POLICIES: &[Kind] = &[
    Kind {
        row: Row {
            term: "space",
            doc: "where one more gets most of the node (the one that is used unless told otherwise)",
            example: "policy=space",
        },
        fills: false,
        order: |_, items| items.sort_by(|a, b| a.share().total_cmp(&b.share())),
    },
    Kind {
        row: Row {
            term: "spread",
            doc: "where fewest run, however large the node is",
            example: "policy=spread",
        },
        fills: false,
        order: |_, items| items.sort_by_key(|item| item.facts.load.running),
    },
    Kind {
        row: Row { term: "pack", doc: "the fullest that has room", example: "policy=pack" },
        fills: true,
        order: |_, items| {
            items.sort_by(|a, b| a.is_full().cmp(&b.is_full()).then_with(|| b.share().total_cmp(&a.share())));
        },
    },
    Kind {
        row: Row { term: "near", doc: "the nearest to the node that places it", example: "policy=near" },
        fills: true,
        order: |kernel, items| {
            let here = kernel.spot_here();
            items.sort_by_cached_key(|item| kernel.distance(&here, item));
        },
    },
    Kind {
        row: Row { term: "random", doc: "any", example: "policy=random" },
        fills: false,
        // As good as chance, and the same again in the same world: the time of the event and the node's id (FNV-1a).
        order: |kernel, items| {
            let seed = kernel.clock.mono.0;
            items.sort_by_cached_key(|item| {
                let bytes = item.id.0.to_le_bytes().into_iter().chain(seed.to_le_bytes());
                bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
            });
        },
    },
];

impl Policy {
    /// The one that is used if none is asked for.
    pub(super) const USUAL: Policy = Policy(0);

    pub(super) fn named(name: &str) -> Option<Policy> {
        POLICIES.iter().position(|kind| kind.row.term == name).map(Policy)
    }

    pub(super) fn name(self) -> &'static str {
        POLICIES[self.0].row.term
    }

    pub(super) fn fills(self) -> bool {
        POLICIES[self.0].fills
    }

    /// Puts the best first; of equals, who stood first.
    pub(super) fn order(self, kernel: &Kernel, items: &mut [Item<'_>]) {
        (POLICIES[self.0].order)(kernel, items);
    }
}
