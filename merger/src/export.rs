//! `merger --export`.

use std::path::Path;

use anyhow::Context;
use index::Export;
use protocol::{Exit, note};
use stop::Stop;

use crate::{Args, progress};

/// Writes the index's vectors for other programs.
pub fn run(args: &Args, folder: &Path, stop: &Stop) -> anyhow::Result<Exit> {
    let prefix = args.index()?;
    let done = index::export(Export {
        prefix: &prefix,
        folder,
        float: args.dtype,
        rows_per_file: args.rows_per_file,
        progress: &mut progress("exporting", stop),
    });
    let done = done.with_context(|| format!("nothing was exported to {}", folder.display()))?;
    let times = if done.files == 1 { "" } else { "s" };
    note!("exported: {} images to {}, {} pair{times} of files", done.rows, folder.display(), done.files);
    Ok(Exit::Done)
}
