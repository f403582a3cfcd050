//! Which index is meant.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fleet::HostSpec;
use protocol::{IndexPrefix, absolute, model_spec};

use crate::WrongUsage;

/// The index that was named, else the one last built or asked on this machine; one that is here must exist.
pub fn index(named: Option<&Path>, host: &HostSpec) -> Result<IndexPrefix> {
    let Some(prefix) = named.map(Path::to_owned).or_else(fleet::state::last_index) else {
        bail!(WrongUsage(
            "no index was built or asked on this machine yet. Build one with: controller --image-dir DIR, or name one \
             with --index-prefix P (its files are P.meta.json, P.parquet, P.faiss)"
                .to_owned()
        ));
    };
    let prefix = IndexPrefix::new(absolute(without_ending(prefix))?);
    if host.is_local() && !prefix.meta().exists() {
        let inside = IndexPrefix::new(prefix.dir().join("imageindex"));
        if inside.meta().exists() {
            bail!(
                "there is no index at {}, but in it; ask with: --index-prefix {}",
                prefix.dir().display(),
                inside.dir().display()
            );
        }
        bail!(
            "there is no index at {}: {} does not exist. Build it with: controller --image-dir DIR --index-prefix {0}",
            prefix.dir().display(),
            prefix.meta().display()
        );
    }
    Ok(prefix)
}

/// A model as the server on `host` understands it: a name stays one, a folder becomes the same folder there.
pub fn model(named: &Path, host: &HostSpec) -> Result<String> {
    let name = named.to_str().with_context(|| format!("the model's path {named:?} is not UTF-8"))?;
    Ok(host.path_there(&model_spec(name)?))
}

/// A prefix as a person may give it: one of the index's files stands for the index.
fn without_ending(prefix: PathBuf) -> PathBuf {
    if IndexPrefix::new(&prefix).meta().exists() {
        return prefix;
    }
    let Some(text) = prefix.to_str() else { return prefix };
    let text = text.trim_end_matches('/');
    let ending = [".meta.json", ".parquet", ".faiss"].into_iter().find_map(|e| text.strip_suffix(e));
    match ending {
        Some(rest) if !rest.is_empty() && !rest.ends_with('/') => PathBuf::from(rest),
        _ => prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_of_the_index_names_it() {
        for given in ["/no/imageindex", "/no/imageindex.meta.json", "/no/imageindex.parquet", "/no/imageindex.faiss"] {
            assert_eq!(without_ending(given.into()), Path::new("/no/imageindex"), "{given}");
        }
        assert_eq!(without_ending("/no/my.index".into()), Path::new("/no/my.index"));
        assert_eq!(without_ending("/no/.faiss".into()), Path::new("/no/.faiss"));
    }
}
