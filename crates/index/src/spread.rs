//! A sample of a stream whose length is not known: evenly spread, and the same each time.

/// Some of the things that stream by, in their order: every so many-th, of more things fewer.
#[derive(Debug)]
pub(crate) struct Spread<T> {
    kept: Vec<T>,
    most: usize,
    seen: u64,
    step: u64,
}

impl<T> Spread<T> {
    /// Keeps fewer than `most`; at least half as many, if so many come.
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most, seen: 0, step: 1 }
    }

    /// The next thing, which is made if it is kept. What cannot be made is left out.
    pub(crate) fn push(&mut self, thing: impl FnOnce() -> Option<T>) {
        if self.seen.is_multiple_of(self.step) {
            self.kept.extend(thing());
        }
        self.seen += 1;
        if self.kept.len() == self.most {
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.step *= 2;
        }
    }

    /// How many things came.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Those that are kept.
    pub(crate) fn kept(&self) -> &[T] {
        &self.kept
    }
}
