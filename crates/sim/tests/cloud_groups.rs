//! Groups in random clouds, against what really ran. `UEM_SEEDS=100000` runs more of them, `UEM_SEED=7` one of them.

use sim::{cloud::groups, counters::Counters};
use std::rc::Rc;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> Counters {
    groups::run(seed, Rc::new(|kernel| Box::new(kernel)))
}

#[test]
fn every_rank_ends_once_and_none_runs_twice() {
    let seeds = from_env("UEM_SEEDS").unwrap_or(60);
    let first = from_env("UEM_FIRST").unwrap_or(0);
    let begun = std::time::Instant::now();
    let mut counters = Counters::default();
    for seed in first..first + seeds {
        counters.add(&run(seed));
    }
    println!("{seeds} seeds in {:?}\n{counters}", begun.elapsed());
    let missing: Vec<&&str> = MUST_HAPPEN.iter().filter(|what| counters.of(what) == 0).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn one_seed() {
    if let Some(seed) = from_env("UEM_SEED") {
        run(seed);
    }
}

/// Without these a run has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "a cable was cut, and nobody knew",
    "a node was killed",
    "a node was stopped",
    "ends of ranks judged",
    "groups for which there was no room",
    "groups judged",
    "links broke with requests under way",
    "machines lost",
    "parents replaced",
    "reservations that competed",
    "reservations that were made",
];
