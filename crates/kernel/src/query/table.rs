//! The terms of queries as a table: help, manual and completion are made from it.

/// A term, or how one is written.
#[derive(Debug)]
pub struct Row {
    /// As it is written; of a modifier its key.
    pub term: &'static str,
    /// When it holds, or what it does.
    pub doc: &'static str,
    /// One that can be tried.
    pub example: &'static str,
}

const fn row(term: &'static str, doc: &'static str, example: &'static str) -> Row {
    Row { term, doc, example }
}

/// How a term is written that selects.
pub static TERMS: &[Row] = &[
    row(
        "key=value",
        "it is so; a|b is either. Of a resource (cpus mem disk gpus slots, and a label that is a count or a size): at least that much is free",
        "gpus=1",
    ),
    row("key==value", "exactly so", "cpus==8"),
    row("key!=value", "it is not so, or there is no such key", "os!=plan9"),
    row(
        "key>=value",
        "in the order of numbers, or of words; values have units: 4G, 250m, 10s. Of a resource: there is so much, free or not",
        "mem>=64G",
    ),
    row("key<=value", "the other way round", "load<=0.5"),
    row("key~glob", "it is as the pattern says: * is anything, ? one character", "gpu~*A100*"),
    row(
        "W",
        "a bare word: the architecture, the node's name, a label's name or its value; x86 is x86_64 or i686",
        "x86",
    ),
];

/// Keys that are about sessions; any other is about nodes.
pub static SESSION_KEYS: &[&str] = &["user", "job", "state", "prog", "rank", "tag", "id", "group"];

/// Keys that say what is done with what matches.
pub static MODIFIERS: &[Row] = &[
    row(
        "num",
        "clone allocates a group of so many, all of them or none; in await/ as soon as there is room",
        "num=16",
    ),
    row("sort", "in the order of a key; with - before it, the greatest first", "sort=-mem_free"),
    row("limit", "the first so many", "limit=5"),
    row("spread", "from each value of a label in turn", "spread=rack"),
    row(
        "near",
        "the nearest to a node or to a location (its parts with : between them) first",
        "near=hall:r1",
    ),
    row(
        "timeout",
        "parts that have not answered by then are rows that say down; 2s unless told otherwise. In await/ how long is waited",
        "timeout=500ms",
    ),
    row("policy", "which one is taken first: space, spread, pack, near or random", "policy=pack"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Query, Term, policy::POLICIES};

    #[test]
    fn every_row_can_be_tried() {
        for row in TERMS {
            let term = Term::parse(row.example).unwrap();
            assert!(!term.of_sessions() && term.text() == row.example, "{}", row.example);
        }
        for row in MODIFIERS.iter().chain(POLICIES.iter().map(|kind| &kind.row)) {
            let query = Query::default().with(row.example).unwrap();
            assert!(matches!(query.terms[..], [Term::Modifier(_)]), "{}", row.example);
        }
        for key in SESSION_KEYS {
            assert!(Term::parse(&alloc::format!("{key}=x")).unwrap().of_sessions(), "{key}");
        }
    }
}
