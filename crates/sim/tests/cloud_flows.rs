//! Records through groups in random clouds. `UEM_SEEDS=100000` runs more of them, `UEM_SEED=7` one of them.

use sim::{cloud::flows, counters::Counters, seeded};
use std::rc::Rc;

fn run(seed: u64) -> Counters {
    flows::run(seed, Rc::new(|kernel| Box::new(kernel)))
}

#[test]
fn no_record_is_torn_or_doubled_and_each_reaches_its_ranks() {
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
    "bytes taken by members",
    "flows of which members were lost",
    "flows through faults, of which all came to the end",
    "flows with records of more than a megabyte",
    "flows without faults",
    "machines lost",
    "readers that came to the end",
    "readers that stopped",
    "records sent",
    "writers that were cut off",
];
