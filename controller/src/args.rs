//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Make a folder of pictures searchable by words, with all the machines in the hosts file.
///
/// Scans the folder, embeds what is new or changed, and merges it into the index. Run it again at any time: what is
/// done is not done again, and an interrupted run goes on where it was.
///
///   controller --image-dir /Volumes/home/joe/images
///   query --text "a yellow car"
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
pub struct Args {
    /// Folder of pictures, with all folders below it.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["merge_only", "setup"])]
    pub image_dir: Option<PathBuf>,

    /// The index. Default: imageindex beside the image folder.
    #[arg(long, value_name = "P")]
    pub index_prefix: Option<PathBuf>,

    /// The machines. Default: ./hosts, else hosts in your configuration folder, else this machine alone.
    #[arg(long, value_name = "FILE")]
    pub hosts: Option<PathBuf>,

    /// Only the pictures of this list: one path a line, or NUL-separated. Never removes anything from the index.
    #[arg(long, value_name = "FILE")]
    pub image_list: Option<PathBuf>,

    /// Leave out files and folders that match, relative to the image folder, as '**/thumbs' or '*.gif'. Repeatable.
    /// Never removes anything from the index.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,

    /// Model: demo, clip-vit-b-32, clip-vit-b-16, clip-vit-l-14, or a folder in Hugging Face layout. Default: the
    /// existing index's, else clip-vit-b-32.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Pictures to encode at once, for hosts whose line does not say.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: u32,

    /// Arithmetic of the model: auto, fp32, bf16, int8, fp16.
    #[arg(long, value_name = "PRECISION", default_value = "auto")]
    pub precision: String,

    /// How JPEGs are decoded: exact, or fast (scaled while decoding; nearly the same vectors).
    #[arg(long, value_name = "HOW", default_value = "exact", value_parser = ["fast", "exact"])]
    pub decode: String,

    /// Pictures in a chunk, the unit in which work is granted and kept. Default: grows with the collection, 32 to 1,024.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub chunk_images: Option<u64>,

    /// Embed, but leave merging to `merger` or to --merge-only.
    #[arg(long, conflicts_with = "merge_only")]
    pub no_merge: bool,

    /// Merge what the last run embedded with --no-merge.
    #[arg(long)]
    pub merge_only: bool,

    /// Scan and show the plan; change nothing.
    #[arg(long, conflicts_with = "merge_only")]
    pub dry_run: bool,

    /// Make every machine in the hosts file ready: copy the programs, check mounts, disk and processor. What
    /// setup_workers.sh runs.
    #[arg(long, conflicts_with_all = ["merge_only", "no_merge", "dry_run"])]
    pub setup: bool,

    /// With --setup: only look, change nothing.
    #[arg(long, requires = "setup")]
    pub check: bool,

    /// Build the index anew: embed everything with --model, whatever stands.
    #[arg(long)]
    pub fresh: bool,

    /// Accept that more than 5 % of the index (and more than 100 pictures) are gone from the folder.
    #[arg(long)]
    pub allow_deletions: bool,
}
