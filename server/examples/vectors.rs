//! An index of ROWS vectors that no pictures were encoded for, to measure searches with: `bench/ask.py` calls it.
//!
//!     vectors ROWS PREFIX MODEL clustered
//!     vectors ROWS PREFIX MODEL like INDEX
//!
//! Clustered vectors lie around 2,000 centres in one cone, as a model's do: usual cosines are 0.5, within a cluster 0.75.
//! Those like an INDEX, of the same model, are each a picture of it mixed with another one and some noise.

use std::path::Path;

use index::{Index, MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::{Embedding, FileFacts, ImagePath, IndexPrefix, ModelIdentity, PartMeta};

const ROWS_IN_A_PART: usize = 50_000;
const CLUSTERS: u64 = 2000;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let [rows, prefix, model, kind @ ..] = words.as_slice() else { return Err("usage: see the source".into()) };
    let (rows, prefix): (usize, _) = (rows.parse()?, IndexPrefix::new(*prefix));
    let opened = clip::Model::open(model)?;
    let identity = opened.text_encoder(0)?.identity().clone();
    let dim = identity.embedding_dim;
    let like = match kind {
        ["clustered"] => Vec::new(),
        ["like", index] => pictures(&IndexPrefix::new(*index), &prefix.dir().with_extension("cache"))?,
        _ => return Err("the vectors are `clustered` or `like INDEX`".into()),
    };
    let row = |i: usize| match like.as_slice() {
        [] => clustered(i as u64, dim),
        pictures => alike(i as u64, pictures),
    };
    let mut parts = Vec::new();
    for begin in (0..rows).step_by(ROWS_IN_A_PART) {
        let some = (begin..rows.min(begin + ROWS_IN_A_PART))
            .map(|i| {
                let path = ImagePath::new(format!("{:05}-holidays-by-the-sea/IMG_{i:09}.jpg", i / 1000))?;
                let embedding = Embedding::normalise(row(i))?;
                Ok(Row {
                    path,
                    embedding,
                    file: FileFacts { size_bytes: 3_000_000, mtime_ns: 1, ..FileFacts::default() },
                    content_hash: String::new(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let meta = publish_part(&prefix, part(&format!("{begin:09}"), identity.clone()), &some)?;
        parts.push(PartRef { name: meta.name, rows: meta.rows, checksum: meta.checksum });
    }
    let sources = Sources::Parts(parts);
    let begun = std::time::Instant::now();
    let report = merge(MergeRequest {
        prefix: &prefix,
        run: None,
        sources,
        fresh: true,
        wait_s: 0.0,
        progress: &mut |_| Ok(()),
    })?;
    println!("merged in {:.1} s: {:?}", begun.elapsed().as_secs_f64(), report.meta.segments[0].first_pass);
    Ok(())
}

fn part(name: &str, model: ModelIdentity) -> PartMeta {
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

/// All vectors of an index.
fn pictures(prefix: &IndexPrefix, cache: &Path) -> Result<Vec<Vec<f32>>> {
    let index = Index::open(prefix, cache)?;
    let mut all = vec![0.0; index.meta().model.embedding_dim];
    all[0] = 1.0;
    let paths = index.search(&Embedding::normalise(all)?, usize::MAX)?;
    let vector = |(_, path): (f32, String)| Ok(index.vector_of(&path)?.ok_or("it was just found")?.into_values());
    paths.into_iter().map(vector).collect()
}

fn clustered(i: u64, dim: usize) -> Vec<f32> {
    let cone = direction(u64::MAX, dim);
    let (centre, own) = (direction(1 + i.wrapping_mul(0x9e37_79b9) % CLUSTERS, dim), direction(1_000_000 + i, dim));
    (0..dim).map(|d| 0.7 * cone[d] + 0.5 * centre[d] + 0.5 * own[d]).collect()
}

fn alike(i: u64, pictures: &[Vec<f32>]) -> Vec<f32> {
    let mut random = Random(i);
    let mut picture = || &pictures[(random.next() % pictures.len() as u64) as usize];
    let (a, b) = (picture(), picture());
    let own = direction(i, a.len());
    (0..a.len()).map(|d| 0.7 * a[d] + 0.3 * b[d] + 0.2 * own[d]).collect()
}

/// Of length one, another one for each seed.
fn direction(seed: u64, dim: usize) -> Vec<f32> {
    let mut random = Random(seed);
    let values = (0..dim).map(|_| (0..4).map(|_| random.next() as i32 as f32 / 2e9).sum()).collect();
    Embedding::normalise(values).expect("numbers are no zeros").into_values()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
