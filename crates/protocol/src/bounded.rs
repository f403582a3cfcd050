//! Bounds on what comes from a file or another program, so that no number in it overflows a sum and no line of it fills
//! the memory.

use std::io::{self, BufRead, Error, ErrorKind, Read};

use serde::{Deserialize, Deserializer, de};

/// More pictures than any collection has, few enough that 16 million such numbers can be added up.
const MOST: u64 = 1 << 40;

/// More bytes than any file has, few enough that 200,000 such numbers can be added up.
pub(crate) const MOST_BYTES: u64 = 1 << 46;

/// Reads a number of pictures, rows or chunks.
pub(crate) fn count<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    below(MOST, input)
}

/// Reads a number of bytes.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    below(MOST_BYTES, input)
}

fn below<'de, D: Deserializer<'de>>(most: u64, input: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(input)?;
    if number <= most { Ok(number) } else { Err(de::Error::custom(format!("{number} is more than there can be"))) }
}

/// Appends to `line` what comes up to and with `separator`; gives the number of bytes, 0 at the end.
///
/// # Errors
/// If reading fails, or no separator comes within `most_bytes`.
pub(crate) fn read_until(
    input: &mut impl BufRead,
    separator: u8,
    most_bytes: usize,
    line: &mut Vec<u8>,
) -> io::Result<usize> {
    let count = input.take(most_bytes as u64 + 1).read_until(separator, line)?;
    if count > most_bytes && line.last() != Some(&separator) {
        return Err(Error::new(ErrorKind::InvalidData, format!("a line of it is longer than {most_bytes} bytes")));
    }
    Ok(count)
}

/// The lines of `input` without their ends, each of at most `most_bytes`; a longer one is an error, the last item.
pub fn lines(mut input: impl BufRead, most_bytes: usize) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let mut ended = false;
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        if ended {
            return None;
        }
        match read_until(&mut input, b'\n', most_bytes, &mut line) {
            Ok(0) => None,
            Ok(_) => {
                line.pop_if(|last| *last == b'\n');
                Some(Ok(line))
            }
            Err(e) => {
                ended = true;
                Some(Err(e))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_the_first_that_is_too_long() {
        let read = |text: &str| lines(text.as_bytes(), 3).map(|l| l.map_err(|e| e.kind())).collect::<Vec<_>>();
        let line = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(read("abc\n\nde"), [line("abc"), line(""), line("de")]);
        assert_eq!(read("abc\nabcd\nx"), [line("abc"), Err(ErrorKind::InvalidData)]);
    }
}
