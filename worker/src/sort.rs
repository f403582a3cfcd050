//! What is done with sorted streams.

use std::iter::Peekable;

use index::Sorted;
use protocol::{Entry, ImagePath};

/// Of sorted entries the first of each path.
pub fn one_a_path(entries: Sorted<Entry>) -> impl Iterator<Item = anyhow::Result<Entry>> {
    let mut last: Option<ImagePath> = None;
    let entries = entries.filter(move |entry| match entry {
        Ok(entry) if last.as_ref() == Some(&entry.path) => false,
        Ok(entry) => {
            last = Some(entry.path.clone());
            true
        }
        Err(_) => true,
    });
    entries.map(|entry| Ok(entry?))
}

/// The next thing of a sorted stream, if it is of this kind. An error always is.
pub fn next_if<T, E>(
    stream: &mut Peekable<impl Iterator<Item = Result<T, E>>>,
    which: impl Fn(&T) -> bool,
) -> Result<Option<T>, E> {
    stream.next_if(|next| next.as_ref().map_or(true, &which)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use index::Sorter;

    #[test]
    fn of_each_path_there_is_one_entry() {
        let mut sorter = Sorter::default();
        let entry =
            |i: u64| Entry { path: ImagePath::new(format!("{:02}.jpg", i % 30)).unwrap(), size_bytes: i, mtime_ns: 1 };
        (0..90).for_each(|i| sorter.push(entry(i)).unwrap());
        let one: Vec<Entry> = one_a_path(sorter.sorted().unwrap()).map(Result::unwrap).collect();
        assert!(one.into_iter().eq((0..30).map(entry)));
    }
}
