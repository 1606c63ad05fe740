//! What happened how often: a simulation in which the rare things do not happen shows nothing.

use std::{collections::BTreeMap, fmt};

/// Counts by what is counted.
#[derive(Clone, Default, Debug)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    /// Once more.
    pub fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// So many times more.
    pub fn count_many(&mut self, what: &'static str, times: usize) {
        *self.0.entry(what).or_default() += times as u64;
    }

    /// How often.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Both together.
    pub fn add(&mut self, other: &Counters) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| writeln!(f, "{count:>10}  {what}"))
    }
}
