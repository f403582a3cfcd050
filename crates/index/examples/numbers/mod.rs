//! Numbers in the place of pictures: parts and vectors that no model made.
#![allow(dead_code)]

use index::Row;
use protocol::{Embedding, FileFacts, ImagePath, ModelIdentity, PartMeta};

/// A part's metadata.
pub fn part(name: &str, dim: usize) -> PartMeta {
    let model = ModelIdentity {
        model_name: "numbers".into(),
        fingerprint: "numbers".into(),
        embedding_dim: dim,
        precision: "fp32".into(),
        provider: "none".into(),
        deviation: None,
    };
    PartMeta {
        format_version: protocol::FORMAT_VERSION,
        name: name.into(),
        root: "/numbers".into(),
        model,
        host: "here".into(),
        rows: 0,
        checksum: String::new(),
        failures: Vec::new(),
    }
}

/// A vector that looks random (the generator is xorshift64), another one for each seed.
pub fn numbers(dim: usize, seed: u64) -> Embedding {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as i32 as f32
    };
    Embedding::normalise((0..dim).map(|_| next()).collect()).expect("numbers are no zeros")
}

/// Row `i` of a made-up collection. Its vector holds seven values, so that many rows compress well.
pub fn plain_row(i: usize, dim: usize) -> Result<Row, Box<dyn std::error::Error>> {
    let mut state = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let values = (0..dim).map(|_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) % 7) as f32 - 3.0
    });
    let mut values: Vec<f32> = values.collect();
    values[i % dim] += 4.0;
    Ok(Row {
        path: ImagePath::new(format!("{:02}/{i:05}.jpg", i / 1000))?,
        embedding: Embedding::normalise(values)?,
        file: FileFacts {
            size_bytes: 1000 + i as u64,
            mtime_ns: 1_700_000_000_000_000_000 + i as i64,
            taken_s: i.is_multiple_of(3).then_some(1_600_000_000 + i as i64),
            width: 640,
            height: 480,
        },
        content_hash: protocol::hash_hex(&i.to_le_bytes()),
    })
}
