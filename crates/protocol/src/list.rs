//! Lists of pictures as people and programs write them: one path a line, or NUL-separated like `find -print0`.

use std::io::{self, BufRead};

use crate::bounded::read_until;

/// A byte-order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Longer than any path that a system opens.
const LONGEST_PATH: usize = 1 << 16;

/// Reads a list lazily: one path a line; if the list's first bytes (up to a buffer of them) hold a NUL, paths are
/// NUL-separated instead, so that names with newlines can be told. Empty paths are skipped; bytes are not changed, but for a
/// byte-order mark in front of lines, which editors of other systems put there.
/// What is longer than any path is an error, the last item: the file is no list.
pub fn read_list(mut input: impl BufRead) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let begins = input.fill_buf()?;
    let separator = if begins.contains(&0) { 0 } else { b'\n' };
    if separator == b'\n' && begins.starts_with(MARK) {
        input.consume(MARK.len());
    }
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        while !ended {
            let mut path = Vec::new();
            match read_until(&mut input, separator, LONGEST_PATH, &mut path) {
                Err(e) => {
                    ended = true;
                    return Some(Err(e));
                }
                Ok(0) => return None,
                Ok(_) => {}
            }
            if path.last() == Some(&separator) {
                path.pop();
            }
            if separator == b'\n' && path.last() == Some(&b'\r') {
                path.pop();
            }
            if !path.is_empty() {
                return Some(Ok(path));
            }
        }
        None
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Vec<String> {
        read_list(list.as_bytes()).unwrap().map(|p| String::from_utf8(p.unwrap()).unwrap()).collect()
    }

    #[test]
    fn lines_or_nul_separated() {
        assert_eq!(read("/a b\n\n/c\r\n/d"), ["/a b", "/c", "/d"]);
        assert_eq!(read("/a\nb\0/c\0"), ["/a\nb", "/c"]);
        assert_eq!(read("\u{feff}/a\r\n\u{feff}/b\n"), ["/a", "\u{feff}/b"]);
        assert!(read("").is_empty());
    }
}
