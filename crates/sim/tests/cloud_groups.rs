//! Groups in random clouds, against what really ran. `UEM_SEEDS=100000` runs more of them, `UEM_SEED=7` one of them.

use sim::{cloud::groups, counters::Counters, seeded};
use std::rc::Rc;

fn run(seed: u64) -> Counters {
    groups::run(seed, Rc::new(|kernel| Box::new(kernel)))
}

#[test]
fn every_rank_ends_once_and_none_runs_twice() {
    seeded::many(60, MUST_HAPPEN, run);
}

#[test]
fn one_seed() {
    seeded::one(run);
}

/// Without these a run has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "a cable was cut, and nobody knew",
    "a node was killed",
    "a node was stopped",
    "clouds in which nothing was left",
    "ends of kept groups",
    "ends of ranks judged",
    "groups for which there was no room",
    "groups judged",
    "groups of which nothing could be lost",
    "links broke with requests under way",
    "machines lost",
    "nodes that were cut off and killed more than once",
    "parents replaced",
    "reservations that competed",
    "reservations that were made",
];
