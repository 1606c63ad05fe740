//! Random worlds against the model. `UEM_SEEDS=100000` runs more of them, `UEM_SEED=7` one of them.

use kernel::Kernel;
use sim::{counters::Counters, machine::node, seeded, seeds, world::Make};
use std::rc::Rc;

/// Short and long lives.
fn steps(seed: u64) -> usize {
    30 + (seed % 8) as usize * 35
}

fn run(seed: u64) -> Counters {
    let make: Make = Rc::new(|| Box::new(Kernel::new(node())));
    seeds::run(seed, steps(seed), &make)
}

#[test]
fn random_worlds_are_as_the_model_says() {
    seeded::many(1500, MUST_HAPPEN, run);
}

#[test]
fn one_seed() {
    seeded::one(run);
}

#[test]
fn a_seed_gives_the_same_world_again() {
    let counts = |seed| run(seed).to_string();
    assert_eq!(counts(3), counts(3));
    assert_ne!(counts(3), counts(4));
}

/// Without these a run has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "a client hung up with requests that wait",
    "a clunk answered what waited on its fid",
    "a flush came after the answer",
    "a grace was over",
    "a lease was over",
    "a line of the journal was torn",
    "a line started several",
    "a member was cloned",
    "a measurement came",
    "a program closed its stdin",
    "a program ended while it was fed",
    "a program was found again",
    "a program was lost",
    "a read waited",
    "a request that waited was flushed",
    "a start was refused",
    "a walk to nothing",
    "a write waited",
    "a writer gave up while its bytes were taken",
    "an open was refused",
    "an output closed after the end",
    "an output closed before the end",
    "output came after the end",
    "the node died in the middle of an event",
    "the node died with requests that wait",
    "the node was killed between events",
    "the wall clock jumped",
];
