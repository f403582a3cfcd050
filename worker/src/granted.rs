//! A worker under a controller: grants arrive on standard input while the pipeline runs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clip::ImageEncoder;
use protocol::{Chunk, Event, ManifestReader, Root};

use crate::encode::{Finished, Setup, encode};
use crate::report::Report;
use crate::work::{Ending, Work};

/// Embeds what is granted until the controller ends it or is lost.
pub fn follow(setup: &Setup, encoder: ImageEncoder, report: &Arc<Report>, list: PathBuf) -> Result<(Finished, Ending)> {
    let work = Arc::new(Work::default());
    let (reader, said) = (work.clone(), report.clone());
    let (manifest, root) = (setup.manifest.to_owned(), setup.root.clone());
    // Reading standard input cannot be interrupted, so nobody waits for this thread: it ends with the stream, which
    // the controller closes, or with the process.
    std::thread::spawn(move || {
        reader.follow(std::io::stdin().lock(), &said, |chunks| {
            if let Err(e) = write_list(&manifest, &root, chunks, &list) {
                let message = format!("cannot keep this worker's list in {}: {e:#}", list.display());
                said.event(&Event::Warning { message });
            }
        });
    });
    let finished = encode(setup, encoder, &work, report)?;
    Ok((finished, work.ending().unwrap_or(Ending::Finished)))
}

/// Writes a worker's list as a person would give it to `--image-list`: canonical paths, one a line, or NUL-separated
/// if any name holds a newline.
fn write_list(manifest: &Path, root: &Root, chunks: &[Chunk], list: &Path) -> Result<()> {
    let mut manifest = ManifestReader::open(manifest)?;
    let mut separator = b'\n';
    for chunk in chunks {
        if manifest.chunk(chunk)?.iter().any(|e| e.path.as_str().contains('\n')) {
            separator = 0;
            break;
        }
    }
    let mut output = BufWriter::new(File::create(list)?);
    for chunk in chunks {
        for entry in manifest.chunk(chunk)? {
            output.write_all(root.canonical_path(&entry.path).as_bytes())?;
            output.write_all(&[separator])?;
        }
    }
    Ok(output.flush()?)
}
