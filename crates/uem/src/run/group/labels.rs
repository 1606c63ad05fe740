//! What members are called when a person reads of them: by node where there is one on each, else by rank.

use crate::names;
use kernel::{Rank, RankSet};
use std::collections::BTreeMap;

/// How members are named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Labels {
    /// `3`, `[0-3,7]`.
    Ranks,
    /// `n1`, `n[1-3,7]`, as far as it is known who is where.
    Nodes(BTreeMap<Rank, String>),
}

impl Labels {
    /// Whether all of these have a name.
    pub(super) fn know(&self, ranks: &RankSet) -> bool {
        match self {
            Labels::Ranks => true,
            Labels::Nodes(nodes) => ranks.iter().all(|rank| nodes.contains_key(&rank)),
        }
    }

    /// The name of one or of many.
    pub(super) fn of(&self, ranks: &RankSet) -> String {
        match self {
            Labels::Ranks if ranks.len() == 1 => ranks.to_string(),
            Labels::Ranks => format!("[{ranks}]"),
            Labels::Nodes(nodes) => {
                let names: Vec<String> = ranks
                    .iter()
                    .map(|rank| nodes.get(&rank).cloned().unwrap_or_else(|| format!("rank-{rank}")))
                    .collect();
                names::fold(names.iter().map(String::as_str))
            }
        }
    }

    /// The same where it stands before what all of them wrote: `[3]`, `n3`.
    pub(super) fn of_block(&self, ranks: &RankSet) -> String {
        match self {
            Labels::Ranks => format!("[{ranks}]"),
            Labels::Nodes(_) => self.of(ranks),
        }
    }

    /// The same in at most about so many characters.
    pub(super) fn short(&self, ranks: &RankSet, most: usize) -> String {
        clipped(&self.of(ranks), most)
    }
}

/// Folded names in at most about so many characters.
pub(super) fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    let cut: String = text.chars().take(most).collect();
    let whole = cut.rfind(',').map_or(cut.as_str(), |comma| &cut[..comma]);
    let close = if whole.matches('[').count() > whole.matches(']').count() { ",…]" } else { ",…" };
    format!("{whole}{close}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> RankSet {
        RankSet::parse(text).unwrap()
    }

    #[test]
    fn members_are_named_by_rank_or_by_node() {
        assert_eq!(Labels::Ranks.of(&set("3")), "3");
        assert_eq!(Labels::Ranks.of(&set("0-3,7")), "[0-3,7]");
        let nodes = Labels::Nodes([(0, "n1".into()), (1, "n2".into()), (2, "gw".into())].into());
        assert_eq!(nodes.of(&set("1")), "n2");
        assert_eq!(nodes.of(&set("0-2")), "gw,n[1-2]");
        assert!(nodes.know(&set("0-2")) && !nodes.know(&set("3")));
        assert_eq!(nodes.of(&set("0,3")), "n1,rank-3");
    }

    #[test]
    fn long_names_are_cut_where_a_word_ends() {
        let odd: RankSet = (0..100).filter(|n| n % 2 == 1).collect();
        assert_eq!(Labels::Ranks.short(&odd, 12), "[1,3,5,7,9,…]");
        assert_eq!(Labels::Ranks.short(&set("0-9"), 12), "[0-9]");
        let names = (0..9).map(|n| (n, format!("{}x", char::from(b'a' + n as u8)))).collect();
        assert_eq!(Labels::Nodes(names).short(&set("0-8"), 7), "ax,bx,…");
    }
}
