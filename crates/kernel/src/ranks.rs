//! Sets of ranks, as they are written in verbs, frames and status lines: `0-3,7`.
//!
//! A set is kept as ranges, so that the ten thousand members of a group are one pair of numbers wherever they are told
//! from hand to hand.

use crate::limits;
use alloc::{format, vec::Vec};
use core::{fmt, ops::Range};
use op::{Errno, Error, Result};

/// A set of ranks. Small where the ranks stand together, whatever their number.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RankSet {
    /// Sorted; no two touch, none is empty.
    ranges: Vec<Range<Rank>>,
}

/// Its number in a group, from 0.
pub type Rank = u32;

impl RankSet {
    /// Nobody.
    pub const fn new() -> RankSet {
        RankSet { ranges: Vec::new() }
    }

    /// All from `range.start` to before `range.end`.
    pub fn from_range(range: Range<Rank>) -> RankSet {
        let mut set = RankSet::new();
        set.insert_range(range);
        set
    }

    /// Ranks and ranges between commas, in any order: `7,0-3`. Never empty, and no rank beyond what a group can have.
    ///
    /// # Errors
    /// A sentence that names the word which is none.
    pub fn parse(text: &str) -> Result<RankSet> {
        let number = |word: &str| -> Option<Rank> {
            let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
            word.parse().ok().filter(|n| digits && *n < limits::MEMBERS)
        };
        let range = |word: &str| -> Option<Range<Rank>> {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..last + 1)
        };
        let mut ranges = Vec::new();
        for word in text.split(',') {
            let Some(range) = range(word) else {
                let cause = format!(
                    "{:?} is not a rank nor a range of ranks below {}; ranks are written as 0-3,7",
                    clipped(word),
                    limits::MEMBERS
                );
                return Err(Error::new(Errno::INVAL, cause));
            };
            ranges.push(range);
        }
        Ok(RankSet::joined(ranges))
    }

    /// Sorts, and joins what touches.
    fn joined(mut ranges: Vec<Range<Rank>>) -> RankSet {
        ranges.sort_unstable_by_key(|r| r.start);
        let mut set = RankSet::new();
        for range in ranges.into_iter().filter(|r| !r.is_empty()) {
            match set.ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => set.ranges.push(range),
            }
        }
        set
    }

    /// In ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Rank> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    /// The ranges that it is kept as: sorted, and no two touch.
    pub fn ranges(&self) -> &[Range<Rank>] {
        &self.ranges
    }

    /// Whether a rank is in it.
    pub fn contains(&self, rank: Rank) -> bool {
        let after = self.ranges.partition_point(|r| r.end <= rank);
        self.ranges.get(after).is_some_and(|r| r.contains(&rank))
    }

    /// Takes one in. Whether it was not in it.
    pub fn insert(&mut self, rank: Rank) -> bool {
        let new = !self.contains(rank);
        if new {
            self.insert_range(rank..rank.saturating_add(1));
        }
        new
    }

    /// Takes in all from `range.start` to before `range.end`.
    pub fn insert_range(&mut self, range: Range<Rank>) {
        if range.is_empty() {
            return;
        }
        // All that touch it become one with it.
        let from = self.ranges.partition_point(|r| r.end < range.start);
        let to = self.ranges.partition_point(|r| r.start <= range.end);
        let mut whole = range;
        if let Some(first) = self.ranges.get(from..to).and_then(<[_]>::first) {
            whole.start = whole.start.min(first.start);
            whole.end = whole.end.max(self.ranges[to - 1].end);
        }
        self.ranges.splice(from..to, [whole]);
    }

    /// Takes one out. Whether it was in it.
    pub fn remove(&mut self, rank: Rank) -> bool {
        let there = self.contains(rank);
        if there {
            self.remove_range(&(rank..rank + 1));
        }
        there
    }

    /// Takes out all from `range.start` to before `range.end`.
    fn remove_range(&mut self, range: &Range<Rank>) {
        let from = self.ranges.partition_point(|r| r.end <= range.start);
        let to = self.ranges.partition_point(|r| r.start < range.end);
        let some = self.ranges.get(from..to).unwrap_or_default();
        let (Some(first), Some(last)) = (some.first(), some.last()) else { return };
        let left = [first.start..range.start, range.end..last.end].into_iter().filter(|r| !r.is_empty());
        self.ranges.splice(from..to, left);
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranks are in it.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    /// The lowest.
    pub fn first(&self) -> Option<Rank> {
        self.ranges.first().map(|r| r.start)
    }

    /// The highest.
    pub fn last(&self) -> Option<Rank> {
        self.ranges.last().map(|r| r.end - 1)
    }

    /// Takes the lowest out.
    pub fn pop_first(&mut self) -> Option<Rank> {
        let first = self.first()?;
        self.remove(first);
        Some(first)
    }

    /// Takes the `n` lowest out, or all if there are fewer.
    pub fn take_first(&mut self, n: usize) -> RankSet {
        let mut left = n;
        let mut whole = 0;
        while let Some(range) = self.ranges.get(whole).filter(|r| r.len() <= left) {
            left -= range.len();
            whole += 1;
        }
        let mut taken: Vec<_> = self.ranges.drain(..whole).collect();
        if left > 0
            && let Some(range) = self.ranges.first_mut()
        {
            let end = range.start + left as Rank;
            taken.push(range.start..end);
            range.start = end;
        }
        RankSet { ranges: taken }
    }

    /// The `n` lowest, or all if there are fewer.
    pub fn first_few(&self, n: usize) -> RankSet {
        let mut left = n;
        let mut few = RankSet::new();
        for range in &self.ranges {
            let count = range.len().min(left);
            if count == 0 {
                break;
            }
            left -= count;
            few.ranges.push(range.start..range.start + count as Rank);
        }
        few
    }

    /// Takes in all of `other`.
    pub fn union_with(&mut self, other: &RankSet) {
        match other.ranges.as_slice() {
            [] => {}
            [one] => self.insert_range(one.clone()),
            many => {
                let mine = core::mem::take(&mut self.ranges);
                *self = RankSet::joined(mine.into_iter().chain(many.iter().cloned()).collect());
            }
        }
    }

    /// Takes out all of `other`.
    pub fn subtract(&mut self, other: &RankSet) {
        if let [one] = other.ranges.as_slice() {
            return self.remove_range(one);
        }
        let mut others = other.ranges.iter().peekable();
        let mut left = Vec::with_capacity(self.ranges.len());
        for mut range in core::mem::take(&mut self.ranges) {
            while let Some(out) = others.peek() {
                if out.end <= range.start {
                    others.next();
                    continue;
                }
                if out.start >= range.end {
                    break;
                }
                if out.start > range.start {
                    left.push(range.start..out.start);
                }
                range.start = out.end.min(range.end);
                if range.is_empty() {
                    break;
                }
            }
            if !range.is_empty() {
                left.push(range);
            }
        }
        self.ranges = left;
    }

    /// Those that are in both.
    pub fn intersection(&self, other: &RankSet) -> RankSet {
        let (mut mine, mut others) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges = Vec::new();
        while let (Some(a), Some(b)) = (mine.peek(), others.peek()) {
            let both = a.start.max(b.start)..a.end.min(b.end);
            let mine_ends_first = a.end <= b.end;
            if !both.is_empty() {
                ranges.push(both);
            }
            match mine_ends_first {
                true => drop(mine.next()),
                false => drop(others.next()),
            }
        }
        RankSet { ranges }
    }
}

impl FromIterator<Rank> for RankSet {
    fn from_iter<I: IntoIterator<Item = Rank>>(ranks: I) -> RankSet {
        RankSet::joined(ranks.into_iter().map(|r| r..r.saturating_add(1)).collect())
    }
}

impl fmt::Display for RankSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.ranges.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match range.len() {
                1 => write!(f, "{comma}{}", range.start)?,
                _ => write!(f, "{comma}{}-{}", range.start, range.end - 1)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RankSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// So much of a wrong word as a sentence can bear.
fn clipped(word: &str) -> &str {
    let end = word.char_indices().map(|(i, _)| i).take_while(|i| *i <= 32).last().unwrap_or(0);
    if word.len() <= 32 { word } else { &word[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, string::ToString};

    fn set(text: &str) -> RankSet {
        RankSet::parse(text).unwrap()
    }

    #[test]
    fn what_is_written_is_folded() {
        let check = |text: &str, folded: &str| assert_eq!(set(text).to_string(), folded, "{text}");
        check("3", "3");
        check("0-3,7", "0-3,7");
        check("7,0-3", "0-3,7");
        check("0,1,2,3", "0-3");
        check("4-9,0-5", "0-9");
        check("0-9999", "0-9999");
        check("5,5,5", "5");
        assert_eq!(set("0-9999"), RankSet::from_range(0..10_000));
        assert_eq!(set("0-9999").ranges().len(), 1);
        assert_eq!(set("0-3,7").len(), 5);
    }

    #[test]
    fn what_is_no_set_of_ranks_is_said_so() {
        let long = "9".repeat(1000);
        for wrong in ["", ",", "1,", "3-1", "-1", "1-", "+1", "a", "1 ", "*", "1048576", "4294967296", &long]
        {
            let error = RankSet::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("0-3,7") && error.len() < 200, "{wrong}: {error}");
        }
    }

    /// All sets of six ranks, against the obvious.
    #[test]
    fn every_operation_is_that_of_a_set() {
        let all =
            (0..64u32).map(|bits| (0..6).filter(move |b| bits >> b & 1 == 1).collect::<BTreeSet<u32>>());
        let all: Vec<_> = all.collect();
        let of = |plain: &BTreeSet<u32>| plain.iter().copied().collect::<RankSet>();
        let same = |set: &RankSet, plain: &BTreeSet<u32>| {
            assert_eq!(set, &of(plain));
            assert!(set.iter().eq(plain.iter().copied()));
            assert_eq!((set.len(), set.is_empty()), (plain.len(), plain.is_empty()));
            assert_eq!((set.first(), set.last()), (plain.first().copied(), plain.last().copied()));
        };
        for a in &all {
            same(&of(a), a);
            if !a.is_empty() {
                same(&set(&of(a).to_string()), a);
            }
            for rank in 0..8 {
                let (mut one, mut plain) = (of(a), a.clone());
                assert_eq!(one.contains(rank), plain.contains(&rank));
                assert_eq!(one.insert(rank), plain.insert(rank));
                same(&one, &plain);
                let (mut one, mut plain) = (of(a), a.clone());
                assert_eq!(one.remove(rank), plain.remove(&rank));
                same(&one, &plain);
                let (mut left, plain) = (of(a), a.iter().copied());
                same(&left.take_first(rank as usize), &plain.clone().take(rank as usize).collect());
                same(&left, &plain.skip(rank as usize).collect());
                for end in 0..8 {
                    let mut one = of(a);
                    one.insert_range(rank..end);
                    same(&one, &a.iter().copied().chain(rank..end).collect());
                }
            }
            for n in 0..8 {
                same(&of(a).first_few(n), &a.iter().copied().take(n).collect());
            }
            let (mut one, mut plain) = (of(a), a.clone());
            assert_eq!(one.pop_first(), plain.pop_first());
            same(&one, &plain);
            for b in &all {
                let mut one = of(a);
                one.union_with(&of(b));
                same(&one, &(a | b));
                let mut one = of(a);
                one.subtract(&of(b));
                same(&one, &(a - b));
                same(&of(a).intersection(&of(b)), &(a & b));
            }
        }
    }
}
