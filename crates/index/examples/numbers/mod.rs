//! Numbers in the place of pictures: parts and vectors that no model made.

use protocol::{Embedding, ModelIdentity, PartMeta};

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
