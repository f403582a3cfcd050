//! `merger --import`.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use disk::ours;
use index::{Brought, Import, Sources, model_name, read_meta};
use protocol::{Exit, IndexPrefix, ModelIdentity, Root, note};
use stop::Stop;

use crate::model::{Seen, see};
use crate::{Args, exit, merge, progress, tell};

/// The median cosine of the same pictures' vectors, imported and made here. Other decoders and precisions give more; a
/// model's vectors of other pictures, or another model's, less.
const LEAST_COSINE: f32 = 0.95;

/// Makes an index of vectors that were made elsewhere, or adds them to one.
pub fn run(args: &Args, vectors: &Path, stop: &Stop) -> anyhow::Result<Exit> {
    let prefix = args.index()?;
    let nothing = || format!("nothing was imported, the index at {} is as it was", prefix.dir().display());
    let (import, model) = judged(args, vectors, &prefix, stop).with_context(nothing)?;
    let rows = import.rows();
    let report = merge(args, &prefix, Sources::Imported { import: Box::new(import), model }, stop)?;
    tell(&prefix, &report);
    if report.added < rows {
        note!("{} imported pictures were in the index before: their vectors stay", rows - report.added);
    }
    Ok(exit(&report))
}

/// The vectors, read and found to be a model's that is here.
fn judged(args: &Args, vectors: &Path, prefix: &IndexPrefix, stop: &Stop) -> anyhow::Result<(Import, ModelIdentity)> {
    ours::look(prefix)?;
    let (brought, root) = (brought(args, vectors)?, root(args, prefix)?);
    let model = match &args.model {
        Some(model) => model.clone(),
        None => model_name(prefix)?.context("say --model: which model made the vectors?")?,
    };
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let import = Import::read(&brought, &root, &host, &mut progress("reading", stop))?;
    let seen = see(&model, &root, import.sample())?;
    let (dim, wanted) = (import.dim(), seen.identity.embedding_dim);
    ensure!(
        dim == wanted,
        "the vectors have {dim} values, those of the model {} have {wanted}: say which model made them",
        seen.identity.model_name
    );
    compare(args, &seen, &import)?;
    let (rows, absent) = (import.rows(), import.rows() - import.present());
    if absent > 0 {
        note!(
            "warning: {absent} of {rows} pictures are not below {}: a run that finds them there embeds them anew, one \
             that finds their folders without them drops them",
            root.here().display()
        );
    }
    ours::make(prefix)?;
    Ok((import, seen.identity))
}

fn brought(args: &Args, vectors: &Path) -> anyhow::Result<Brought> {
    match (&args.paths, vectors.is_dir()) {
        (Some(paths), false) => Ok(Brought::Matrix { vectors: vectors.into(), paths: paths.clone() }),
        (None, true) => Ok(Brought::Folder(vectors.into())),
        (None, false) => bail!("say --paths LIST: which pictures the rows of {} are", vectors.display()),
        (Some(_), true) => bail!("{} is a folder, which brings its own paths: leave --paths out", vectors.display()),
    }
}

fn root(args: &Args, prefix: &IndexPrefix) -> anyhow::Result<Root> {
    match &args.root {
        Some(given) => Root::parse(given).with_context(|| format!("--root {given:?} is not HERE[:CANONICAL]")),
        None => {
            let meta = read_meta(prefix)?.context("say --root: which folder are the pictures below?")?;
            Ok(Root::new(&meta.root, meta.root.clone()))
        }
    }
}

/// Whether the vectors are the model's, as far as a few pictures tell.
fn compare(args: &Args, seen: &Seen, import: &Import) -> anyhow::Result<()> {
    let name = &seen.identity.model_name;
    let Some((least, _)) = seen.cosines.first() else {
        note!(
            "warning: {}, so that nobody has seen that the vectors are those of the model {name}",
            if import.present() == 0 { "none of the pictures is here" } else { "none of the pictures could be read" }
        );
        return Ok(());
    };
    let median = seen.cosines[seen.cosines.len() / 2].0;
    let told = format!(
        "the vectors of {} pictures and those of {name} for the same pictures have cosines of {median:.4} in the middle, \
         {least:.4} at least",
        seen.cosines.len()
    );
    if median >= LEAST_COSINE {
        note!("{told}");
    } else if args.unchecked {
        note!("warning: {told}: what is found by words may be anything");
    } else {
        bail!(
            "{told} ({}): say which model made them, or see whether the paths are in the order of the rows; --unchecked \
             imports them all the same",
            seen.cosines[0].1
        );
    }
    Ok(())
}
