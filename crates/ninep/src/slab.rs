//! A table whose keys are small numbers that are used again: one index to reach a value, no hashing, no tree.

use alloc::vec::Vec;

/// Values under numbers from 0 on.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    rows: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { rows: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps a value; its number is free again once it is removed.
    pub(crate) fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(at) => {
                self.rows[at] = Some(value);
                at
            }
            None => {
                self.rows.push(Some(value));
                self.rows.len() - 1
            }
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.rows.get(at)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.rows.get_mut(at)?.as_mut()
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        let value = self.rows.get_mut(at)?.take()?;
        self.free.push(at);
        Some(value)
    }

    /// The first that is such.
    pub(crate) fn find(&self, is: impl Fn(&T) -> bool) -> Option<usize> {
        self.rows.iter().position(|row| row.as_ref().is_some_and(&is))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// All numbers in use, smallest first.
    pub(crate) fn keys(&self) -> Vec<usize> {
        (0..self.rows.len()).filter(|&at| self.rows[at].is_some()).collect()
    }
}
