//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clip::{DecodeMode, EncoderOptions, Model};
use protocol::layout::is_file_name;

use crate::{encode, facts, memory};

/// Embed pictures with CLIP into a partial index.
///
/// Reads a list of pictures, embeds each with the model's image encoder, and writes PREFIX.parquet, PREFIX.faiss and
/// PREFIX.meta.json. What was finished before an interruption is kept and not embedded again, so a worker can be
/// stopped and run again at any time. The controller starts workers by itself; run one by hand to repeat its part:
///
///   worker --image-list worker_0_images.txt --index-prefix /mnt/nas/imageindex/worker_0 --worker-id 0
///
/// then put the partial indexes together:
///
///   merger --index-prefix /mnt/nas/imageindex
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do instead of embedding a list.
    #[command(subcommand)]
    pub command: Option<Job>,

    /// The arguments of embedding.
    #[command(flatten)]
    pub encode: Encode,
}

/// Other jobs of a worker.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// List a folder's pictures, subtract what already stands in the index, and write the rest as a run's manifest.
    Scan(Scan),
    /// Report as JSON whether this host is ready. The controller's --setup asks for it.
    Check(Check),
    /// Copy the programs of this installation and their libraries into a folder that runs on other hosts.
    Bundle {
        /// The folder: new, empty, or an older bundle, which is replaced.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Arguments of `worker check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Folder of pictures, as this host sees it.
    #[arg(long, value_name = "DIR")]
    pub image_dir: Option<PathBuf>,

    /// The name of something that is in the folder of pictures where the controller is.
    #[arg(long, value_name = "NAME", requires = "image_dir")]
    pub image_name: Option<String>,

    /// Folder of the index, as this host sees it.
    #[arg(long, value_name = "DIR")]
    pub index_dir: Option<PathBuf>,

    /// A file in the index folder, and what must be in it.
    #[arg(long, value_names = ["NAME", "CONTENT"], num_args = 2, requires = "index_dir")]
    pub token: Option<Vec<String>>,

    /// The index folder was made for this question: it goes if its asker is gone, who else removes it.
    #[arg(long, requires = "token")]
    pub new_index_dir: bool,

    /// Folder for logs, lists and programs.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,

    /// How pictures would be encoded. A model that is named must be here.
    #[command(flatten)]
    pub encoding: Encoding,

    /// End when standard input does: whoever started this is gone.
    #[arg(long)]
    pub granted: bool,

    /// Look only at the folders of pictures and index, as the controller does before each run.
    #[arg(long)]
    pub share_only: bool,

    /// What is tried with hosts that log in as other users.
    #[command(flatten)]
    pub users: Users,

    /// Measure the share and, for some seconds, the model: that of --model, else the index's, else clip-vit-b-32.
    /// Fetches nothing, and leaves nothing behind. The controller's --doctor asks for it.
    #[arg(long, conflicts_with = "share_only")]
    pub measure: bool,
}

/// Files that hosts of different users leave for each other in the folders that they share.
#[derive(Debug, Default, clap::Args)]
#[group(requires = "index_dir")]
pub struct Users {
    /// Leave files of this name for another user.
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub leave: Vec<String>,

    /// Read and replace the files of this name that another user left.
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub take: Vec<String>,

    /// Remove what is left of the files of this name.
    #[arg(long, value_name = "NAME", value_parser = file_name)]
    pub take_back: Vec<String>,
}

/// Arguments of embedding.
#[derive(Debug, clap::Args)]
pub struct Encode {
    /// Pictures to embed: one path a line, or NUL-separated (find -print0).
    #[arg(long, value_name = "FILE", required_unless_present = "granted")]
    pub image_list: Option<PathBuf>,

    /// The partial index to write, as /mnt/nas/imageindex/worker_0; the index is the folder that holds it.
    #[arg(long, value_name = "P/worker_N", required = true)]
    pub index_prefix: Option<PathBuf>,

    /// Number of this worker.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub worker_id: u32,

    /// How they are encoded.
    #[command(flatten)]
    pub encoding: Encoding,

    /// Where the collection is on this host, and its name in the index if that differs.
    #[arg(long, value_name = "HERE[:CANONICAL]")]
    pub root: Option<String>,

    /// Folder for this worker's log, list and lock. Default: your state folder.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,

    /// Folder of this run's log and list in the work folder, whose own names lead to them. Default: the work folder.
    #[arg(long, value_name = "DIR", requires = "granted")]
    pub run_dir: Option<PathBuf>,

    /// The run that this work belongs to. Default: the newest one of the index.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,

    /// Pictures in a chunk, the unit in which work is finished. Default: grows with the list, 32 to 1,024.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub chunk_images: Option<u64>,

    /// Report as JSON lines on standard output.
    #[arg(long)]
    pub events: bool,

    /// Take grants from a controller on standard input instead of a list.
    #[arg(long, requires = "run", conflicts_with = "image_list")]
    pub granted: bool,
}

/// How pictures are encoded.
#[derive(Debug, clap::Args)]
pub struct Encoding {
    /// Model: demo, clip-vit-b-32, clip-vit-b-16, clip-vit-l-14, or a folder in Hugging Face layout. Default: the
    /// run's, else the index's, else clip-vit-b-32.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Pictures to encode at once; fewer if they do not fit into memory. Default: what is quickest: in bf16
    /// up to 64, fewer for larger models, else 8.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: Option<u32>,

    /// What computes the model: auto, cpu (ONNX Runtime's own kernels), openvino; cuda and coreml, not yet tried by
    /// the authors.
    #[arg(long, value_name = "P", default_value = "auto")]
    pub provider: clip::Provider,

    /// Arithmetic of the model: auto, fp32, bf16, int8 (where the model has onnx/vision_model_int8.onnx), fp16.
    #[arg(long, value_name = "P", default_value = "auto")]
    pub precision: clip::Precision,

    /// How far vectors may be from those of fp32, as a share of the median distance between pictures. A worker
    /// whose self-check is beyond it writes nothing.
    #[arg(long, value_name = "SHARE", default_value_t = clip::EncoderOptions::MAX_DEVIATION)]
    pub max_deviation: f64,

    /// How JPEGs are decoded: fast (scaled while decoding to at least twice what the model sees), or exact (whole).
    #[arg(long, value_enum, default_value_t = Decode::Fast)]
    pub decode: Decode,

    /// Threads for decoding and for the model. Default: all processors.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Memory that it may use. Default: 60 % of what this machine or its control group has.
    #[arg(long, value_name = "GB", value_parser = gigabytes)]
    pub ram_gb: Option<f64>,
}

impl Encoding {
    /// Threads for decoding and for the model.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or(facts::host().cpus as usize).max(1)
    }

    /// How to open the encoder of `model`.
    pub fn options(&self, model: &Model) -> EncoderOptions {
        let threads = self.threads();
        EncoderOptions {
            threads,
            provider: self.provider,
            precision: self.precision,
            batch: self.batch_size.map_or(0, |n| n as usize),
            memory: memory::limit(self.ram_gb).map(|bytes| encode::budget(bytes, model, threads)),
            max_deviation: self.max_deviation,
        }
    }

    /// How JPEGs are decoded.
    pub fn decode_mode(&self) -> DecodeMode {
        match self.decode {
            Decode::Fast => DecodeMode::Fast,
            Decode::Exact => DecodeMode::Exact,
        }
    }
}

/// Arguments of `worker scan`.
#[derive(Debug, clap::Args)]
pub struct Scan {
    /// Folder of pictures.
    #[arg(long, value_name = "DIR")]
    pub image_dir: PathBuf,

    /// The index.
    #[arg(long, value_name = "P")]
    pub index_prefix: PathBuf,

    /// Name of the image folder in the index, if it is not its path on this host.
    #[arg(long, value_name = "PATH")]
    pub canonical: Option<String>,

    /// Name of the run. Default: the time.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,

    /// Model whose vectors are wanted.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Only the pictures of this list.
    #[arg(long, value_name = "FILE")]
    pub image_list: Option<PathBuf>,

    /// Leave out files and folders that match, relative to the image folder, as '**/thumbs' or '*.gif'.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,

    /// Pictures in a chunk.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub chunk_images: Option<u64>,

    /// Accept that more than 5 % of the index (and more than 100 pictures) are gone.
    #[arg(long)]
    pub allow_deletions: bool,

    /// Build anew: take nothing of the present index as done.
    #[arg(long)]
    pub fresh: bool,

    /// Try pictures again that failed before and have not changed since.
    #[arg(long)]
    pub retry_failed: bool,

    /// Folder for logs, lists and programs.
    #[arg(long, value_name = "DIR", requires = "granted")]
    pub work_dir: Option<PathBuf>,

    /// This run's own folder in it.
    #[arg(long, value_name = "DIR", requires = "work_dir")]
    pub run_dir: Option<PathBuf>,

    /// Run under a controller: end when standard input does, and make the run only once it says there that it has taken
    /// what was found.
    #[arg(long, requires = "events")]
    pub granted: bool,

    /// Count only; write nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Report as JSON lines on standard output.
    #[arg(long)]
    pub events: bool,
}

fn file_name(word: &str) -> Result<String, String> {
    Some(word.to_owned()).filter(|name| is_file_name(name)).ok_or_else(|| "it must be a plain name".into())
}

fn gigabytes(word: &str) -> Result<f64, String> {
    word.parse().ok().filter(|gb: &f64| *gb > 0.0).ok_or_else(|| "it must be a number above 0".into())
}

/// How JPEGs are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decode {
    /// Scaled while decoding.
    Fast,
    /// Whole, then resized, as Pillow does.
    Exact,
}
