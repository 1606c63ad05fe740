//! Random clouds against the model. `UEM_SEEDS=100000` runs more of them, `UEM_SEED=7` one of them.

use sim::{cloud::seeds, counters::Counters, seeded};
use std::rc::Rc;

fn run(seed: u64) -> Counters {
    seeds::run(seed, Rc::new(|kernel| Box::new(kernel)))
}

#[test]
fn random_clouds_are_as_the_model_says() {
    seeded::many(40, MUST_HAPPEN, run);
}

#[test]
fn one_seed() {
    seeded::one(run);
}

#[test]
fn a_seed_gives_the_same_cloud_again() {
    assert_eq!(run(3).to_string(), run(3).to_string());
    assert_ne!(run(3).to_string(), run(4).to_string());
}

/// Without these a run has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "a cable was cut, and both knew",
    "a cable was cut, and nobody knew",
    "a cable was cut, and the child knew first",
    "a cable was cut, and the parent knew first",
    "a client hung up in the middle",
    "a lane for streams was made",
    "a link became slow",
    "a node has another's name, and is called otherwise",
    "a node was killed",
    "a node was started again",
    "a node was stopped",
    "a request was given up",
    "a user of another machine",
    "asks for streams",
    "contents that became files",
    "ends waited for",
    "files found whole",
    "files of machines changed by several",
    "files of machines read",
    "groups of queries for which there was no room",
    "groups reserved by queries",
    "files that got another name",
    "labels as they were written",
    "links to files of machines",
    "matches while things happened",
    "flushes over a link",
    "links broke with requests in both directions",
    "links broke with requests under way",
    "nodes asked, over however many hops",
    "nodes seen as down",
    "open files that went with their link",
    "outputs read to their end",
    "parents replaced",
    "programs killed by a query",
    "programs started over links and not",
    "programs started where a query says",
    "queries in an order of their own",
    "queries looked into",
    "queries of nodes",
    "queries of sessions",
    "queries that matched none",
    "relinks before the old link was known to be gone",
    "requests that ended because a node could not be reached",
    "sessions allocated by queries",
    "the cloud was parted",
    "waits for a label",
    "waits for a node that joined",
    "waits for what is not there",
    "walks given up that succeeded below",
];
