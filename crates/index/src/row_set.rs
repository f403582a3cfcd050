//! A set of rows.

use std::sync::Arc;

/// Rows of an index, one bit a row. Cheap to clone; many threads may ask one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSet {
    words: Arc<[u64]>,
    len: u64,
}

impl RowSet {
    /// Of row r, bit r % 64 of word r / 64.
    pub(crate) fn new(words: Vec<u64>) -> Self {
        let len = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Self { words: words.into(), len }
    }

    /// Whether a row is in it.
    #[inline]
    pub fn contains(&self, row: u64) -> bool {
        self.words.get((row / 64) as usize).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// How many rows are in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
