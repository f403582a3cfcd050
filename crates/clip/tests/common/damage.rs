//! Damaged pictures.

use clip::{DecodeLimits, DecodeMode, decode};
use damage::{COPIES, Numbers, bytes};

/// Decodes 1,000 damaged copies of these files, none of which may panic or give what is no picture; how many were
/// pictures, and how many errors.
pub fn survives(names: &[&str], files: &[Vec<u8>], seed: u64) -> (usize, usize) {
    let limits = DecodeLimits { max_pixels: 1 << 20 };
    let mut numbers = Numbers::new(seed);
    let (mut pictures, mut errors) = (0, 0);
    for i in 0..COPIES.max(200 * files.len()) {
        let mode = if i % 2 == 0 { DecodeMode::Exact } else { DecodeMode::Fast };
        match decode(&bytes(&files[i % files.len()], &mut numbers), mode, 32, &limits) {
            Ok(picture) => {
                pictures += 1;
                assert!(picture.width > 0 && picture.height > 0);
                assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
            }
            Err(error) => {
                errors += 1;
                assert!(!error.detail.is_empty());
                assert_ne!(error.detail, "its decoder panicked", "{names:?} input {i}");
            }
        }
    }
    eprintln!("{names:?}: {pictures} pictures, {errors} errors");
    (pictures, errors)
}
