//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgGroup, Parser};
use fleet::state;
use protocol::IndexPrefix;

/// Make a folder of pictures searchable by words, with all the machines in the hosts file.
///
/// Scans the folder, embeds what is new or changed, and merges it into the index. Run it again at any time: what is
/// done is not done again, and an interrupted run goes on where it was.
///
///   controller --image-dir /Volumes/home/joe/images
///   query --text "a yellow car"
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, group = ArgGroup::new("told").args(["status", "doctor"]))]
pub struct Args {
    /// Folder of pictures, with all folders below it.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["merge_only", "setup", "doctor", "status"])]
    pub image_dir: Option<PathBuf>,

    /// The index. Default: imageindex beside the image folder.
    #[arg(long, value_name = "P")]
    pub index_prefix: Option<PathBuf>,

    /// The machines. Default: ./hosts, else hosts in your configuration folder, else this machine alone. One that is not
    /// named counts only if nobody but you and root can have written it.
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

    /// Pictures to encode at once, for hosts whose line does not say. Default: what is quickest there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch_size: Option<u32>,

    /// What computes the model: auto, cpu, openvino, cuda, coreml.
    #[arg(long, value_name = "PROVIDER", default_value = "auto")]
    pub provider: String,

    /// Arithmetic of the model: auto, fp32, bf16, int8, fp16.
    #[arg(long, value_name = "PRECISION", default_value = "auto")]
    pub precision: String,

    /// How far vectors may be from those of fp32, as a share of the median distance between pictures: workers beyond it
    /// write nothing. Default: 0.05.
    #[arg(long, value_name = "SHARE")]
    pub max_deviation: Option<f64>,

    /// How JPEGs are decoded: fast (scaled while decoding to at least twice what the model sees), or exact (whole).
    #[arg(long, value_name = "HOW", default_value = "fast", value_parser = ["fast", "exact"])]
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

    /// Where to merge: a machine of the hosts file, or here for this one. Default: the one that scans.
    #[arg(long, value_name = "HOST", conflicts_with = "no_merge")]
    pub merge_on: Option<String>,

    /// Scan and show the plan; change nothing.
    #[arg(long, conflicts_with = "merge_only")]
    pub dry_run: bool,

    /// Make every machine in the hosts file ready: copy the programs, check mounts, disk and processor. What
    /// setup_workers.sh runs.
    #[arg(long, conflicts_with_all = ["merge_only", "no_merge", "dry_run"])]
    pub setup: bool,

    /// With --setup: programs for the machines, which `worker bundle --out FOLDER` made on a machine of their kind, as
    /// from a Mac. Repeatable: each machine gets the first that runs there. Default: made of the programs beside this one.
    #[arg(long, value_name = "FOLDER", requires = "setup")]
    pub bundle: Vec<PathBuf>,

    /// With --setup: only look, change nothing.
    #[arg(long, requires = "setup")]
    pub check: bool,

    /// Measure every machine in the hosts file: share, clock, disk, memory, processor, and pictures a second with the
    /// index's model or --model; suggest weights, and with --image-dir foretell the end of a run. Changes nothing.
    #[arg(long, conflicts_with_all = ["merge_only", "no_merge", "dry_run", "setup", "status"])]
    pub doctor: bool,

    /// Tell what is in the index, who works on it, what failed, and how old it all is. Changes nothing.
    #[arg(long, conflicts_with_all = ["merge_only", "no_merge", "dry_run", "setup", "fresh"])]
    pub status: bool,

    /// With --status or --doctor: print one JSON object.
    #[arg(long, requires = "told")]
    pub json: bool,

    /// Build the index anew: embed everything with --model, whatever stands.
    #[arg(long)]
    pub fresh: bool,

    /// Try pictures again that failed before and have not changed since. Those whose fault may heal by itself are tried
    /// in every run.
    #[arg(long, conflicts_with = "merge_only")]
    pub retry_failed: bool,

    #[command(flatten)]
    pub limits: Limits,

    /// Accept that more than 5 % of the index (and more than 100 pictures) are gone from the folder.
    #[arg(long)]
    pub allow_deletions: bool,
}

/// How long machines are waited for, and how often they are tried.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// A worker that says nothing for so many seconds while working has frozen.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..))]
    pub silence: u64,

    /// A worker that gets no further for so many seconds, as on a share that hangs, is given up.
    #[arg(long, value_name = "S", default_value_t = 180, value_parser = clap::value_parser!(u64).range(5..))]
    pub stall: u64,

    /// A worker may take so many seconds to load its model, or to fetch it.
    #[arg(long, value_name = "S", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(5..))]
    pub loading: u64,

    /// How often a worker is started that finishes no chunk in between.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub starts: u32,

    /// Wait so many seconds for lost machines to come back when none is left to work.
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub patience: u64,
}

impl Args {
    /// The folder of pictures as an absolute path.
    pub(crate) fn images(&self) -> Result<Option<PathBuf>> {
        self.image_dir.as_deref().map(absolute).transpose()
    }

    /// The index that was named, else the one beside the pictures.
    pub(crate) fn named_index(&self) -> Result<Option<IndexPrefix>> {
        Ok(match &self.index_prefix {
            Some(prefix) => Some(IndexPrefix::new(absolute(prefix)?)),
            None => self.images()?.as_deref().map(IndexPrefix::beside),
        })
    }

    /// The index: as [`Args::named_index`], else the one last built or asked.
    pub(crate) fn index(&self) -> Result<IndexPrefix> {
        let which = "which index? Say --index-prefix P, or --image-dir DIR for the index beside it";
        let last = || state::last_index().map(IndexPrefix::new);
        self.named_index()?.or_else(last).context(which)
    }
}

/// A path that stays the same in another folder.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    protocol::absolute(path).with_context(|| format!("bad path {}", path.display()))
}
