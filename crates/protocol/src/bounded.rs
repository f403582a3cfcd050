//! Bounds on what comes from a file or another program, so that no number in it overflows a sum and no line of it fills
//! the memory. What lies on a share may be anything by now, so that also the kind of a file is looked at.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Error, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FileType, OFlags};
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

/// Metadata of no index is larger: 64 MiB.
pub const MOST_METADATA: u64 = 64 << 20;

/// Opens a file for reading, through links. What is no file is named, and nobody waits for a pipe.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is a folder, a pipe, a socket or a device.
pub fn open_file(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path) {
        Ok(file) => is_file(file),
        // A socket cannot be opened at all, nor a device without a driver.
        Err(e) => Err(path.metadata().ok().and_then(|found| no_file(found.mode())).unwrap_or(e)),
    }
}

/// Gives an open file back if it is one.
///
/// # Errors
/// As [`open_file`].
pub fn is_file(file: File) -> io::Result<File> {
    no_file(file.metadata()?.mode()).map_or(Ok(file), Err)
}

/// Names what is in the place of a file, by its mode; `None` if that is a file.
pub fn no_file(mode: u32) -> Option<Error> {
    let what = match FileType::from_raw_mode(mode as _) {
        FileType::RegularFile => return None,
        FileType::Symlink => "a link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::Unknown => "something else",
    };
    Some(Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a file: move it away")))
}

/// All of a file of at most `most_bytes`.
///
/// # Errors
/// [`ErrorKind::InvalidData`] if it is longer, else as [`open_file`].
pub fn read_file(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    read_all(open_file(path)?, most_bytes)
}

/// The same of a file that is open.
pub fn read_all(file: File, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        let long = format!("it is longer than {most_bytes} bytes, as none of its kind is: move it away");
        return Err(Error::new(ErrorKind::InvalidData, long));
    }
    Ok(bytes)
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
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("file"), "1234").unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        std::os::unix::fs::symlink("pipe", path("link to a pipe")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("link to a device")).unwrap();
        for name in ["folder", "pipe", "socket", "link to a pipe", "link to a device"] {
            let error = read_file(&path(name), 100).unwrap_err().to_string();
            let what = name.rsplit(' ').next().unwrap();
            assert!(error.contains(&format!("it is a {what}, not a file")), "{name}: {error}");
        }
        assert_eq!(read_file(&path("file"), 4).unwrap(), b"1234");
        assert!(read_file(&path("file"), 3).unwrap_err().to_string().contains("longer than 3 bytes"));
        assert_eq!(read_file(&path("none"), 3).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn lines_end_at_the_first_that_is_too_long() {
        let read = |text: &str| lines(text.as_bytes(), 3).map(|l| l.map_err(|e| e.kind())).collect::<Vec<_>>();
        let line = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(read("abc\n\nde"), [line("abc"), line(""), line("de")]);
        assert_eq!(read("abc\nabcd\nx"), [line("abc"), Err(ErrorKind::InvalidData)]);
    }
}
