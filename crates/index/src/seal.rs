//! The seal of a parquet file: counts and checksums at a fixed width in its footer's key-value metadata, so that
//! damage is found before the parquet reader sees a byte.
//!
//! `imagefleet-seal:ROWS:ROWS_HASH:FILES_HASH:FOOTER_HASH:FILE_HASH`, ROWS in 20 digits, each hash an XXH3-128 in 32.
//! FOOTER_HASH is over the footer (thrift metadata, its length, `PAR1`) with zeros for itself and FILE_HASH;
//! FILE_HASH is over the whole file with zeros for itself.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::IndexError;
use crate::error::FileKind;
use crate::row::hex;

/// The metadata key whose value is the seal.
pub(crate) const KEY: &str = "imagefleet.seal";
const MARK: &str = disk::ours::SEAL;
const HASH: usize = 32;
const ROWS: Range<usize> = MARK.len()..MARK.len() + 20;
const ROWS_HASH: Range<usize> = ROWS.end + 1..ROWS.end + 1 + HASH;
const FILES_HASH: Range<usize> = ROWS_HASH.end + 1..ROWS_HASH.end + 1 + HASH;
const FOOTER_HASH: Range<usize> = FILES_HASH.end + 1..FILES_HASH.end + 1 + HASH;
const FILE_HASH: Range<usize> = FOOTER_HASH.end + 1..FOOTER_HASH.end + 1 + HASH;
const LENGTH: usize = FILE_HASH.end;
/// Length of the metadata and `PAR1`, which end every parquet file.
const TRAILER: usize = 8;
/// More than any footer of ours; keeps a damaged length from asking for all memory.
const LONGEST_FOOTER: u64 = 1 << 30;

/// What a seal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub rows: u64,
    pub rows_hash: String,
    pub files_hash: String,
}

/// The value to write before anything is known.
pub(crate) fn blank() -> String {
    let zeros = "0".repeat(HASH);
    format!("{MARK}{:020}:{zeros}:{zeros}:{zeros}:{zeros}", 0)
}

/// Fills the seal in the last bytes of a file. `before` has hashed all bytes that precede them; gives back the
/// checksum of the finished file.
pub(crate) fn fill(tail: &mut [u8], before: &Xxh3, seal: &Seal) -> String {
    let at = find(tail).expect("the writer was given a blank seal");
    let footer = tail.len() - TRAILER - metadata_length(tail);
    let put = |tail: &mut [u8], field: &Range<usize>, text: &str| {
        tail[at + field.start..at + field.end].copy_from_slice(text.as_bytes());
    };
    put(tail, &ROWS, &format!("{:020}", seal.rows));
    put(tail, &ROWS_HASH, &seal.rows_hash);
    put(tail, &FILES_HASH, &seal.files_hash);
    let footer_hash = protocol::hash_hex(&tail[footer..]);
    put(tail, &FOOTER_HASH, &footer_hash);
    let whole = |tail: &[u8]| {
        let mut hash = before.clone();
        hash.update(tail);
        hex(&hash)
    };
    let file_hash = whole(tail);
    put(tail, &FILE_HASH, &file_hash);
    whole(tail)
}

/// A footer whose seal fits.
#[derive(Debug)]
pub(crate) struct Footer {
    pub seal: Seal,
    /// Thrift metadata, its length, `PAR1`.
    pub bytes: Vec<u8>,
    /// Where the footer begins in the file.
    pub offset: u64,
    file_hash: String,
    file_hash_at: u64,
}

/// The end of a parquet file, and where it begins: thrift metadata, its length, `PAR1`.
pub(crate) fn read_tail(
    input: &mut (impl Read + Seek),
    path: &Path,
    kind: FileKind,
) -> Result<(u64, Vec<u8>), IndexError> {
    let io = |e| IndexError::io("read", path)(e);
    let length = input.seek(SeekFrom::End(0)).map_err(io)?;
    if length < TRAILER as u64 {
        return Err(kind.damaged(path, "it is too short"));
    }
    input.seek(SeekFrom::End(-(TRAILER as i64))).map_err(io)?;
    let mut trailer = [0; TRAILER];
    input.read_exact(&mut trailer).map_err(io)?;
    let footer_length = (metadata_length(&trailer) + TRAILER) as u64;
    if trailer[4..] != *b"PAR1" || footer_length > length.min(LONGEST_FOOTER) {
        return Err(kind.damaged(path, "it does not end as a parquet file does, so it was cut short or is none"));
    }
    let offset = length - footer_length;
    input.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut bytes = vec![0; footer_length as usize];
    input.read_exact(&mut bytes).map_err(io)?;
    Ok((offset, bytes))
}

/// Reads a file's footer and compares it with its seal.
pub(crate) fn read_footer(input: &mut (impl Read + Seek), path: &Path, kind: FileKind) -> Result<Footer, IndexError> {
    let (offset, bytes) = read_tail(input, path, kind)?;
    let damaged = |what: &str| kind.damaged(path, what);
    let at = find(&bytes).filter(|at| at + LENGTH <= bytes.len()).ok_or_else(|| damaged("it has no seal"))?;
    let text = |field: &Range<usize>| {
        std::str::from_utf8(&bytes[at + field.start..at + field.end])
            .map(str::to_owned)
            .map_err(|_| damaged("its seal is unreadable"))
    };
    let seal = Seal {
        rows: text(&ROWS)?.parse().map_err(|_| damaged("its seal is unreadable"))?,
        rows_hash: text(&ROWS_HASH)?,
        files_hash: text(&FILES_HASH)?,
    };
    let (footer_hash, file_hash) = (text(&FOOTER_HASH)?, text(&FILE_HASH)?);
    let mut zeroed = bytes.clone();
    for field in [FOOTER_HASH, FILE_HASH] {
        zeroed[at + field.start..at + field.end].fill(b'0');
    }
    if protocol::hash_hex(&zeroed) != footer_hash {
        return Err(damaged("its footer does not fit its seal"));
    }
    Ok(Footer { seal, bytes, offset, file_hash, file_hash_at: offset + (at + FILE_HASH.start) as u64 })
}

/// Reads the whole of a file and compares it with its seal.
pub(crate) fn verify(path: &Path, kind: FileKind) -> Result<Seal, IndexError> {
    let mut file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
    let footer = read_footer(&mut file, path, kind)?;
    verify_bytes(&mut file, &footer, path, kind)?;
    Ok(footer.seal)
}

/// Compares all bytes of `input` with a footer that was read from it.
pub(crate) fn verify_bytes(
    input: &mut (impl Read + Seek),
    footer: &Footer,
    path: &Path,
    kind: FileKind,
) -> Result<(), IndexError> {
    input.seek(SeekFrom::Start(0)).map_err(IndexError::io("read", path))?;
    let zeros = footer.file_hash_at..footer.file_hash_at + HASH as u64;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0u64;
    loop {
        let count = input.read(&mut buffer).map_err(IndexError::io("read", path))?;
        if count == 0 {
            break;
        }
        let here = offset..offset + count as u64;
        let (from, to) = (zeros.start.max(here.start), zeros.end.min(here.end));
        if from < to {
            buffer[(from - offset) as usize..(to - offset) as usize].fill(b'0');
        }
        hash.update(&buffer[..count]);
        offset = here.end;
    }
    if hex(&hash) == footer.file_hash { Ok(()) } else { Err(kind.damaged(path, "its bytes do not fit its seal")) }
}

fn find(bytes: &[u8]) -> Option<usize> {
    // The last one: a picture's name that looks like a seal can only stand before it, in the statistics.
    bytes.windows(MARK.len()).rposition(|w| w == MARK.as_bytes())
}

fn metadata_length(tail: &[u8]) -> usize {
    let at = tail.len() - TRAILER;
    u32::from_le_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]) as usize
}
