//! Runs that all come from a number: which numbers are run is said in the environment, what must have happened in all of
//! them is counted, and of one that fails what happened last is printed.
//!
//! | variable | meaning |
//! |---|---|
//! | `UEM_SEEDS=100000` | so many seeds, in place of those that every test run takes |
//! | `UEM_FIRST=5000` | beginning with this one |
//! | `UEM_SEED=7` | this one, by the test `one_seed` |
//! | `UEM_TRACE=5000` | of one that fails, so many of the things that happened last |

use crate::counters::Counters;
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

/// More that fail are not looked for.
const FAILURES: usize = 10;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs so many seeds, or those that the environment says.
///
/// # Panics
/// If one fails; or if something of `must_happen` never did, since then they have shown nothing.
pub fn many(seeds: u64, must_happen: &[&str], run: impl Fn(u64) -> Counters) {
    let seeds = from_env("UEM_SEEDS").unwrap_or(seeds);
    let first = from_env("UEM_FIRST").unwrap_or(0);
    let begun = Instant::now();
    let (mut counters, mut failed) = (Counters::default(), Vec::new());
    for seed in first..first + seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(of) => counters.add(&of),
            Err(_) => failed.push(seed),
        }
        if failed.len() == FAILURES {
            break;
        }
    }
    println!("{seeds} seeds from {first} in {:?}\n{counters}", begun.elapsed());
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    let missing: Vec<&&str> = must_happen.iter().filter(|what| counters.of(what) == 0).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

/// Runs the seed that the environment says, if it says one.
pub fn one(run: impl Fn(u64) -> Counters) {
    if let Some(seed) = from_env("UEM_SEED") {
        println!("{}", run(seed));
    }
}

/// What happened last in a run, for who has to find out.
#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    most: usize,
}

impl Trace {
    /// Of the last so many things, or of as many as the environment says.
    pub fn of(most: usize) -> Trace {
        let most = from_env("UEM_TRACE").map_or(most, |most| most as usize);
        Trace { lines: VecDeque::new(), most }
    }

    /// This happens.
    pub fn note(&mut self, what: impl Into<String>) {
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(what.into());
    }
}

/// A run under one seed.
pub trait Traced {
    /// What happened last in it.
    fn trace(&self) -> &Trace;

    /// What had not come to its end.
    fn under_way(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Plays a run; if that panics, prints how it came to that, and the way to see it again: the seed, and the test that has it.
pub fn play<R: Traced, T>(run: &mut R, (seed, test): (u64, &str), play: impl FnOnce(&mut R) -> T) -> T {
    struct Telltale<'a, R: Traced>(&'a mut R, u64, &'a str);
    impl<R: Traced> Drop for Telltale<'_, R> {
        fn drop(&mut self) {
            let Telltale(run, seed, test) = self;
            if std::thread::panicking() {
                eprintln!("under way:\n  {}", run.under_way().join("\n  "));
                let last: Vec<&str> = run.trace().lines.iter().map(String::as_str).collect();
                eprintln!("seed {seed}; the last that happened:\n  {}", last.join("\n  "));
                eprintln!("again: UEM_SEED={seed} cargo test -p sim --test {test} one_seed");
            }
        }
    }
    play(Telltale(run, seed, test).0)
}
