//! Makes the seal of a damaged part fit again: `imagefleet-seal:ROWS:ROWS_HASH:FILES_HASH:FOOTER_HASH:FILE_HASH`, ROWS in
//! 20 digits, each hash in 32, as `crates/index/src/seal.rs` describes it. No accident does this.

use protocol::hash_hex;

const MARK: &[u8] = b"imagefleet-seal:";
const HASH: usize = 32;

/// Seals `file` again if it has a seal in its footer.
pub fn reseal(file: &mut [u8]) {
    let Some(mark) = file.windows(MARK.len()).rposition(|window| window == MARK) else { return };
    let footer_hash = mark + MARK.len() + 20 + 2 * (1 + HASH) + 1;
    let file_hash = footer_hash + HASH + 1;
    let Some(trailer) = file.last_chunk::<8>() else { return };
    let length = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]) as usize + 8;
    if length > file.len() || file_hash + HASH > file.len() {
        return;
    }
    let footer = file.len() - length;
    if mark < footer {
        return;
    }
    file[footer_hash..footer_hash + HASH].fill(b'0');
    file[file_hash..file_hash + HASH].fill(b'0');
    let hash = hash_hex(&file[footer..]);
    file[footer_hash..footer_hash + HASH].copy_from_slice(hash.as_bytes());
    let hash = hash_hex(file);
    file[file_hash..file_hash + HASH].copy_from_slice(hash.as_bytes());
}
