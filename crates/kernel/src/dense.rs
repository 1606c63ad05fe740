//! A map whose keys are numbers that were given out one after the other: where few of them were taken out again it is an array in
//! pieces, and finds what it is asked for without a search.

use alloc::{boxed::Box, vec::Vec};
use core::{marker::PhantomData, ops::RangeFrom};
use op::SessionId;

/// Slots of a piece. A key that is alone costs a whole one.
const SLOTS: usize = 64;

/// What is counted.
pub(crate) trait Number: Copy {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }

    fn of(number: u64) -> u64 {
        number
    }
}

impl Number for SessionId {
    fn number(self) -> u64 {
        self.0
    }

    fn of(number: u64) -> SessionId {
        SessionId(number)
    }
}

/// In the order of its keys, as a `BTreeMap` is, whose methods it has.
#[derive(Debug)]
pub(crate) struct Dense<K, V> {
    /// Sorted by `no`; none is empty.
    pieces: Vec<Piece<V>>,
    len: usize,
    key: PhantomData<K>,
}

#[derive(Debug)]
struct Piece<V> {
    /// The number of its first slot, divided by `SLOTS`.
    no: u64,
    used: usize,
    slots: Box<[Option<V>]>,
}

impl<K, V> Default for Dense<K, V> {
    fn default() -> Dense<K, V> {
        Dense { pieces: Vec::new(), len: 0, key: PhantomData }
    }
}

fn split(number: u64) -> (u64, usize) {
    (number / SLOTS as u64, (number % SLOTS as u64) as usize)
}

impl<V> Piece<V> {
    fn new(no: u64) -> Piece<V> {
        Piece { no, used: 0, slots: core::iter::repeat_with(|| None).take(SLOTS).collect() }
    }

    fn first(&self) -> u64 {
        self.no * SLOTS as u64
    }
}

impl<K: Number, V> Dense<K, V> {
    /// Where the piece of this number is, or would be.
    fn find(&self, no: u64) -> Result<usize, usize> {
        let (Some(first), Some(last)) = (self.pieces.first(), self.pieces.last()) else { return Err(0) };
        if no > last.no {
            return Err(self.pieces.len());
        }
        // Where none is missing on one side, it is known where it stands.
        let from_front = no.checked_sub(first.no).map(|at| at as usize);
        let from_back = (self.pieces.len() - 1).checked_sub((last.no - no) as usize);
        let is = |at: &usize| self.pieces.get(*at).is_some_and(|piece| piece.no == no);
        match from_back.filter(is).or(from_front.filter(is)) {
            Some(at) => Ok(at),
            None => self.pieces.binary_search_by_key(&no, |piece| piece.no),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (no, slot) = split(key.number());
        self.pieces[self.find(no).ok()?].slots[slot].as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (no, slot) = split(key.number());
        let at = self.find(no).ok()?;
        self.pieces[at].slots[slot].as_mut()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (no, slot) = split(key.number());
        let at = self.find(no).unwrap_or_else(|at| {
            self.pieces.insert(at, Piece::new(no));
            at
        });
        let piece = &mut self.pieces[at];
        let before = piece.slots[slot].replace(value);
        if before.is_none() {
            piece.used += 1;
            self.len += 1;
        }
        before
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (no, slot) = split(key.number());
        let at = self.find(no).ok()?;
        let piece = &mut self.pieces[at];
        let value = piece.slots[slot].take()?;
        piece.used -= 1;
        if piece.used == 0 {
            self.pieces.remove(at);
        }
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.range(K::of(0)..)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.pieces.iter().flat_map(|piece| piece.slots.iter().flatten())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.pieces.iter_mut().flat_map(|piece| piece.slots.iter_mut().flatten())
    }

    pub(crate) fn range(&self, range: RangeFrom<K>) -> impl Iterator<Item = (K, &V)> {
        let from = range.start.number();
        let (no, _) = split(from);
        let at = self.find(no).unwrap_or_else(|at| at);
        let slots = self.pieces[at..].iter().flat_map(|piece| (piece.first()..).zip(piece.slots.iter()));
        let there = slots.filter_map(|(number, slot)| Some((number, slot.as_ref()?)));
        there.skip_while(move |(number, _)| *number < from).map(|(number, value)| (K::of(number), value))
    }
}

impl<K: Number, V> core::ops::Index<&K> for Dense<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("it is there, as was checked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    /// Some thousand changes, with keys that stand together and keys that stand alone.
    #[test]
    fn it_is_what_a_btree_map_is() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut dense, mut model) = (Dense::<u64, u64>::default(), BTreeMap::new());
        for n in 0..20_000 {
            let key = match random(4) {
                // Now many, now few.
                0 | 1 => random(if n / 4_000 % 2 == 0 { 3_000 } else { 200 }),
                2 => 1_000_000 + random(500),
                _ => random(8) << random(60),
            };
            if random(5) < if n / 2_000 % 2 == 0 { 3 } else { 1 } {
                assert_eq!(dense.insert(key, n), model.insert(key, n));
            } else {
                assert_eq!(dense.remove(&key), model.remove(&key));
            }
            assert_eq!((dense.get(&key), dense.len()), (model.get(&key), model.len()));
            let other = random(3_000);
            assert_eq!(dense.get_mut(&other), model.get_mut(&other));
            assert_eq!(dense.contains_key(&other), model.contains_key(&other));
            if n % 100 == 0 {
                assert!(dense.range(other..).eq(model.range(other..).map(|(key, value)| (*key, value))));
                assert!(dense.iter().eq(model.iter().map(|(key, value)| (*key, value))));
                assert!(dense.values().eq(model.values()));
                assert!(dense.values_mut().eq(model.values_mut()));
                assert!(dense.pieces.iter().all(|piece| piece.used > 0));
            }
        }
        for key in model.keys().copied().collect::<Vec<_>>() {
            assert_eq!(dense.remove(&key), model.remove(&key));
        }
        assert!(dense.pieces.is_empty());
    }
}
