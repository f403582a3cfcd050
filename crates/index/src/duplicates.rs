//! Groups of nearly the same pictures over a whole collection.
//!
//! Candidates are neighbours when all rows are sorted by their bits from one place on, for many places: rows that differ in a
//! tenth of their bits share enough of them at one place or another, as the property test shows. Exact cosines decide.
//! Time grows as N log N whatever the rows are; memory is 20 bytes a row, and a row's bits where there is no file of them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use protocol::is_raw;
use protocol::search::{Duplicate, DuplicateGroup, DuplicatesRequest};
use rayon::prelude::*;

use crate::bits::Bits;
use crate::code::{Coder, words};
use crate::find::SAME;
use crate::scan::score;
use crate::{Index, IndexError};

/// Places where a sorting begins.
const PLACES: usize = 32;
/// With so many rows that come next each is compared.
const NEIGHBOURS: usize = 12;
/// Rows that differ in more than one of so many bits are not looked at closely.
const DIFFERENT_BITS: u32 = 5;
/// Neighbours are looked for among so many rows at a time, so that what was found joins before more of the same is.
const BLOCK: usize = 1 << 16;
/// A picture joins the first of so many last groups of its neighbourhood whose first picture it is like.
const LEADERS: usize = 64;

/// Nearly the same pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Duplicates {
    /// The cosine from which two pictures are nearly the same.
    pub similarity: f32,
    /// Groups in the collection.
    pub num_groups: u64,
    /// Pictures in them; those that lead to one file are one.
    pub num_pictures: u64,
    /// The largest groups, largest first; of equal size, in the row order of their first pictures.
    pub groups: Vec<DuplicateGroup>,
}

/// The file that a path leads to, as the system tells files apart: its device and its number there.
pub type FileId = (u64, u64);

/// Rows that are nearly the same and the files that their paths lead to, the best first.
type Group = Vec<(u32, Option<FileId>)>;

impl Index {
    /// The largest groups, with the best pictures of each. `file_of` tells which file the picture of a canonical path is;
    /// `None` if it cannot be reached. A file is no duplicate of itself, whatever names it has.
    ///
    /// # Errors
    /// If a file of the index cannot be read, or there are more than 2^32 rows.
    pub fn duplicates(
        &self,
        wanted: &DuplicatesRequest,
        file_of: impl Fn(&str) -> Option<FileId> + Sync,
    ) -> Result<Duplicates, IndexError> {
        self.sound()?;
        let rows = u32::try_from(self.meta().num_images).map_err(|_| IndexError::TooMany {
            what: "rows to look for duplicates among".into(),
            most: u64::from(u32::MAX),
        })?;
        let similarity = wanted.similarity.unwrap_or_else(|| self.alike());
        // Vectors are of length 1 but for rounding.
        let bound = similarity.min(SAME);
        let cosine = |a: u32, b: u32| score(self.vector(u64::from(a)), &self.values(u64::from(b)));
        let roots = self.codes().joined(rows, |a, b| cosine(a, b) >= bound);
        let mut members: Vec<(u32, u32)> = (0..rows).map(|row| (roots[row as usize], row)).collect();
        members.par_sort_unstable();
        let neighbourhoods: Vec<&[(u32, u32)]> = members.chunk_by(|a, b| a.0 == b.0).filter(|c| c.len() > 1).collect();
        let grouped = |members: &&[(u32, u32)]| {
            let mut groups: Vec<Vec<u32>> = Vec::new();
            for row in self.best_first(members)? {
                let last = groups.len().saturating_sub(LEADERS);
                match groups[last..].iter_mut().find(|group| cosine(group[0], row) >= bound) {
                    Some(group) => group.push(row),
                    None => groups.push(vec![row]),
                }
            }
            groups.retain(|group| group.len() > 1);
            let with_files = |group: &Vec<u32>| {
                let with_file = |&row: &u32| Ok((row, file_of(&self.path(u64::from(row))?)));
                group.iter().map(with_file).collect::<Result<Group, IndexError>>()
            };
            groups.iter().map(with_files).collect()
        };
        let groups = neighbourhoods.par_iter().map(grouped).collect::<Result<Vec<Vec<Group>>, IndexError>>()?;
        let mut groups: Vec<Group> = groups.into_iter().flatten().collect();
        let mut rows_of = HashMap::<FileId, Vec<u32>>::new();
        for (row, file) in groups.iter().flatten() {
            file.map(|file| rows_of.entry(file).or_default().push(*row));
        }
        groups.iter_mut().for_each(tell_apart);
        groups.retain(|group| group.len() > 1);
        groups.sort_unstable_by_key(|group| (Reverse(group.len()), group[0].0));
        let num_pictures = groups.iter().map(|group| group.len() as u64).sum();
        let told = |group: &Group| {
            let both_forms = self.in_both_forms(group)?;
            let picture = |(&(row, file), &in_both_forms): (&(u32, Option<FileId>), &bool)| {
                let same = file.and_then(|file| rows_of.get(&file)).into_iter().flatten().filter(|same| **same != row);
                Ok(Duplicate {
                    path: self.path(u64::from(row))?,
                    score: cosine(group[0].0, row),
                    file: self.facts(u64::from(row))?,
                    same_file: same.map(|&row| self.path(u64::from(row))).collect::<Result<_, IndexError>>()?,
                    in_both_forms,
                })
            };
            let pictures = group.iter().zip(&both_forms).take(wanted.max_pictures).map(picture);
            Ok(DuplicateGroup {
                count: group.len() as u64,
                compared: group.iter().all(|(_, file)| file.is_some()),
                pictures: pictures.collect::<Result<_, IndexError>>()?,
            })
        };
        Ok(Duplicates {
            similarity,
            num_groups: groups.len() as u64,
            num_pictures,
            groups: groups.iter().take(wanted.max_groups).map(told).collect::<Result<_, IndexError>>()?,
        })
    }

    /// Of each row whether it is one of a RAW file and a developed picture of one shot, which are both in the group: they lie
    /// in one folder, and their names differ in the ending alone.
    fn in_both_forms(&self, group: &Group) -> Result<Vec<bool>, IndexError> {
        let paths = group.iter().map(|(row, _)| self.path(u64::from(*row))).collect::<Result<Vec<_>, IndexError>>()?;
        let shot = |path: &str| path.rsplit_once('.').map_or(path, |(shot, _)| shot).to_owned();
        let mut forms = HashMap::<String, [bool; 2]>::new();
        for path in &paths {
            forms.entry(shot(path)).or_default()[usize::from(is_raw(path.as_ref()))] = true;
        }
        Ok(paths.iter().map(|path| forms[&shot(path)] == [true; 2]).collect())
    }

    /// The rows of a neighbourhood: that with the most pixels first, of as many that with the most bytes.
    fn best_first(&self, members: &[(u32, u32)]) -> Result<Vec<u32>, IndexError> {
        let ranked = members.iter().map(|&(_, row)| {
            let file = self.facts(u64::from(row))?;
            let pixels = u64::from(file.width) * u64::from(file.height);
            Ok((Reverse((pixels, file.size_bytes)), row))
        });
        let mut ranked = ranked.collect::<Result<Vec<_>, IndexError>>()?;
        ranked.sort_unstable();
        Ok(ranked.into_iter().map(|(_, row)| row).collect())
    }

    /// All rows' bits around one mean: of the first pass, or made now.
    fn codes(&self) -> Codes<'_> {
        let dim = self.meta().model.embedding_dim;
        if let [segment] = &self.segments[..]
            && let Some((bits, _)) = &segment.bits
        {
            return Codes { dim, source: Source::Mapped(bits) };
        }
        let coder = Coder::new(self.mean());
        let rows: Vec<u64> = (0..self.meta().num_images).collect();
        let code = |rows: &[u64]| {
            let mut bits = Vec::new();
            for row in rows {
                coder.code(self.vector(*row), &mut bits);
            }
            bits.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
        };
        Codes { dim, source: Source::Made(rows.par_chunks(1024).map(code).collect::<Vec<_>>().concat()) }
    }
}

/// Leaves the best of the rows that lead to one file.
fn tell_apart(group: &mut Group) {
    let mut seen = HashSet::new();
    group.retain(|(_, file)| file.is_none_or(|file| seen.insert(file)));
}

struct Codes<'a> {
    dim: usize,
    source: Source<'a>,
}

enum Source<'a> {
    Mapped(&'a Bits),
    Made(Vec<u8>),
}

impl Codes<'_> {
    fn row(&self, row: u32) -> &[[u8; 8]] {
        let bytes = 8 * words(self.dim);
        let row = match &self.source {
            Source::Mapped(bits) => bits.row(u64::from(row)),
            Source::Made(bits) => &bits[row as usize * bytes..][..bytes],
        };
        row.as_chunks().0
    }

    /// 64 of a row's bits from one of them on, and on from the first after the last.
    fn key(&self, row: u32, from: usize) -> u64 {
        let (row, used) = (self.row(row), self.dim.div_ceil(64));
        let (word, shift) = (from / 64, from % 64);
        let low = u64::from_le_bytes(row[word]) >> shift;
        let high = u64::from_le_bytes(row[(word + 1) % used]);
        // Sorting looks at the highest bits first.
        (low | high.checked_shl(64 - shift as u32).unwrap_or(0)).reverse_bits()
    }

    fn different_bits(&self, a: u32, b: u32) -> u32 {
        let pairs = self.row(a).iter().zip(self.row(b));
        pairs.map(|(a, b)| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones()).sum()
    }

    /// For each row the first of all rows to which it is joined by pairs that are alike.
    fn joined(&self, rows: u32, is_alike: impl Fn(u32, u32) -> bool + Sync) -> Vec<u32> {
        let mut joined: Vec<u32> = (0..rows).collect();
        let most_different = self.dim as u32 / DIFFERENT_BITS;
        for from in (0..self.dim).step_by((self.dim / PLACES).max(1)) {
            let mut sorted: Vec<(u64, u32)> = (0..rows).into_par_iter().map(|row| (self.key(row, from), row)).collect();
            sorted.par_sort_unstable();
            for begin in (0..sorted.len()).step_by(BLOCK) {
                let block = begin..(begin + BLOCK).min(sorted.len());
                let pairs: Vec<(u32, u32)> = block
                    .into_par_iter()
                    .flat_map_iter(|at| {
                        let (_, row) = sorted[at];
                        let next = &sorted[at + 1..sorted.len().min(at + 1 + NEIGHBOURS)];
                        let joined = &joined;
                        next.iter().map(move |(_, other)| (row, *other)).filter(move |(a, b)| {
                            self.different_bits(*a, *b) <= most_different && root(joined, *a) != root(joined, *b)
                        })
                    })
                    .filter(|(a, b)| is_alike(*a, *b))
                    .collect();
                for (a, b) in pairs {
                    let (a, b) = (root(&joined, a), root(&joined, b));
                    joined[a.max(b) as usize] = a.min(b);
                }
            }
            // Every way to the first is one step again.
            for row in 0..joined.len() {
                joined[row] = joined[joined[row] as usize];
            }
        }
        joined
    }
}

/// The first of the rows that are joined to this one. Each points to itself or to an earlier one.
fn root(joined: &[u32], mut row: u32) -> u32 {
    while joined[row as usize] != row {
        row = joined[row as usize];
    }
    row
}
