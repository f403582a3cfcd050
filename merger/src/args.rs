//! The command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use index::Float;
use protocol::{IndexPrefix, absolute};

/// Merge the workers' partial indexes into the index; or import vectors that were made elsewhere, or export the index's.
///
/// Takes in P/worker_0, P/worker_1, ... of the newest run and makes the next generation: what the index has, without
/// pictures that the run found gone or changed, and with the new rows, one for each picture. The old generation stays
/// as it is until the new one is complete and has been read back; a merge that is killed has changed nothing.
///
/// With --import the new rows are vectors that another program made with a model that is known here: they become an
/// index, or add the pictures that an index lacks. With --export the index's vectors are written for other programs.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// The index: P.meta.json and its siblings stand beside the folder P
    #[arg(long, value_name = "P")]
    pub index_prefix: PathBuf,

    /// There must be this many partial indexes, worker_0 to worker_N-1; a missing one is an error that names it
    #[arg(long, value_name = "N", conflicts_with = "parts")]
    pub num_workers: Option<usize>,

    /// Build the index anew from the partial indexes (named parts, imported vectors) and drop what it has now
    #[arg(long)]
    pub fresh: bool,

    /// The run to merge, a folder in P/runs [default: the newest that has partial indexes]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,

    /// Take in parts instead of partial indexes; their names come on standard input, as the controller sends them:
    /// one JSON object a line, {"name", "rows", "checksum"}
    #[arg(long, value_name = "-", requires = "run", value_parser = ["-"])]
    pub parts: Option<String>,

    /// With --parts: their names end with an empty line, and whoever started this stays: end when standard input does
    #[arg(long, requires = "parts")]
    pub granted: bool,

    /// How long to wait for a merger that is still at work, and for files that other hosts have just written and this host
    /// does not see yet
    #[arg(long, value_name = "SECONDS", default_value_t = 90.0, value_parser = seconds)]
    pub wait: f64,

    /// Import these vectors: a .npy file, [N, D] of f16 or f32, with --paths; or a folder of clip-retrieval, with
    /// img_emb/img_emb_K.npy and metadata/metadata_K.parquet (column image_path). They need not be of length 1, or
    /// sorted. What the index has stays: only pictures that it lacks are added
    #[arg(long, value_name = "VECTORS", conflicts_with_all = ["num_workers", "parts", "run", "export"])]
    pub import: Option<PathBuf>,

    /// The pictures of the rows, in their order: one path a line, or NUL-separated; below --root, or relative to it
    #[arg(long, value_name = "LIST", requires = "import")]
    pub paths: Option<PathBuf>,

    /// The folder of the pictures on this host, and its name in the index if that differs [default: the index's]
    #[arg(long, value_name = "HERE[:CANONICAL]", requires = "import")]
    pub root: Option<String>,

    /// The model that made the vectors: demo, clip-vit-b-32, clip-vit-b-16, clip-vit-l-14, or a folder [default: the
    /// index's]. Some of the pictures are embedded with it and compared
    #[arg(long, value_name = "MODEL", requires = "import")]
    pub model: Option<String>,

    /// Import vectors though those of the model for the same pictures are others
    #[arg(long, requires = "import")]
    pub unchecked: bool,

    /// Export the index into this folder, as clip-retrieval writes: img_emb/img_emb_K.npy and
    /// metadata/metadata_K.parquet
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["num_workers", "parts", "run", "fresh"])]
    pub export: Option<PathBuf>,

    /// Numbers of exported vectors: f32, or f16, which are half as long and not quite the same
    #[arg(long, value_name = "TYPE", requires = "export", default_value = "f32", value_parser = float)]
    pub dtype: Float,

    /// Pictures in each exported pair of files, at most
    #[arg(long, value_name = "N", requires = "export", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_per_file: u64,
}

impl Args {
    /// The index, by its absolute prefix.
    pub(crate) fn index(&self) -> anyhow::Result<IndexPrefix> {
        let prefix = absolute(&self.index_prefix);
        Ok(IndexPrefix::new(prefix.with_context(|| format!("bad path {}", self.index_prefix.display()))?))
    }
}

const EXAMPLES: &str = "\
Examples:
  merger --index-prefix /nas/joe/imageindex
      Merge all partial indexes of the newest run.
  merger --index-prefix /nas/joe/imageindex --num-workers 4
      The same, but only if worker_0 to worker_3 are all there.
  merger --index-prefix /nas/joe/imageindex --fresh
      Build the index from the partial indexes alone.
  merger --import vectors.npy --paths paths.txt --root /nas/joe/images --model clip-vit-b-32 \
         --index-prefix /nas/joe/imageindex
      Make an index of vectors that another program made, row i of vectors.npy for line i of paths.txt.
  merger --import embeddings --root /nas/joe/images --model clip-vit-b-32 --index-prefix /nas/joe/imageindex
      The same for what clip-retrieval's clip inference has written into the folder embeddings.
  merger --export embeddings --index-prefix /nas/joe/imageindex
      Write the index for clip-retrieval's clip index, or for numpy and pandas.

Exit codes: 0 all done, 1 failed or pictures unaccounted for, 2 wrong usage, 3 merged but some pictures could not be
read, or have no vector: P/failures.jsonl names each, 130 interrupted.";

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if (0.0..=86400.0).contains(&value) { Ok(value) } else { Err("it must be between 0 and 86400".into()) }
}

fn float(text: &str) -> Result<Float, String> {
    match text {
        "f16" => Ok(Float::F16),
        "f32" => Ok(Float::F32),
        _ => Err("it must be f16 or f32".into()),
    }
}
