//! Pictures that a question is asked with: read here and sent, or named where they stand in the index.

use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::begins_as_picture;
use protocol::search::{Term, What};

use crate::WrongUsage;
use crate::paths::Paths;
use crate::question::{Of, Summand};

/// No picture that is sent has more bytes, and all of a question's together neither.
pub const MOST_BYTES: u64 = 64 << 20;

/// The terms of a question. Reads its pictures.
pub fn terms(summands: &[Summand], paths: &Paths<'_>) -> Result<Vec<Term>> {
    let mut left = MOST_BYTES;
    let term = |summand: &Summand| {
        let what = match &summand.of {
            Of::Words(words) => What::Text(words.clone()),
            Of::Found(path) => What::Path(path.clone()),
            Of::Picture(path) => picture(path, paths, &mut left)?,
        };
        Ok(Term { weight: summand.weight, what })
    };
    summands.iter().map(term).collect()
}

fn picture(path: &Path, paths: &Paths<'_>, left: &mut u64) -> Result<What> {
    let name = path.display();
    let file = match protocol::open_file(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            let told = || {
                WrongUsage(format!(
                    "cannot read the picture {name}: {e}; nor is it in the collection {}",
                    paths.here(paths.root)
                ))
            };
            return Ok(What::Path(paths.canonical(path).ok_or_else(told)?));
        }
        Err(e) if e.kind() == ErrorKind::InvalidInput => {
            return Err(WrongUsage(format!("{name} is not a file")).into());
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read the picture {name}")),
    };
    let mut bytes = Vec::new();
    file.take(*left + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read the picture {name}"))?;
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
        WrongUsage(format!(
            "{name} is too large: the pictures of a question may have {} MiB together; ask with a smaller copy",
            MOST_BYTES >> 20
        ))
    })?;
    if !begins_as_picture(&bytes) {
        let kinds = "JPEG, PNG, GIF, WebP, BMP, TIFF, JPEG XL, HEIC, AVIF or a camera's RAW";
        return Err(WrongUsage(format!("{name} is no picture that can be read: it is not {kinds}")).into());
    }
    Ok(What::Picture(STANDARD.encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use fleet::{HostSpec, PathMap};

    use super::*;

    fn asked(path: &Path, root: &Path) -> Result<Term> {
        let (shared, host) = (PathMap::default(), HostSpec::bare("localhost"));
        let paths = Paths { shared: &shared, host: &host, root: root.to_str().unwrap() };
        let summand = Summand { weight: -2.0, of: Of::Picture(path.to_owned()) };
        terms(&[summand], &paths).map(|mut terms| terms.remove(0))
    }

    #[test]
    fn a_file_here_is_sent_and_one_that_only_the_index_has_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let file = root.join("a.jpg");
        fs::write(&file, b"\xff\xd8\xff\xe0 and so on").unwrap();
        let term = asked(&file, &root).unwrap();
        assert_eq!(term, Term { weight: -2.0, what: What::Picture("/9j/4CBhbmQgc28gb24=".to_owned()) });
        let gone = root.join("below/gone.jpg");
        assert_eq!(asked(&gone, &root).unwrap().what, What::Path(gone.to_str().unwrap().to_owned()));
    }

    #[test]
    fn what_cannot_be_sent_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("notes.jpg"), "only words").unwrap();
        fs::write(path("empty.jpg"), "").unwrap();
        let large = fs::File::create(path("large.jpg")).unwrap();
        large.set_len(MOST_BYTES + 1).unwrap();
        let elsewhere = PathBuf::from("/nowhere");
        for (name, told) in [
            ("notes.jpg", "notes.jpg is no picture"),
            ("empty.jpg", "empty.jpg is no picture"),
            ("large.jpg", "large.jpg is too large"),
            ("absent.jpg", "absent.jpg: No such file"),
            ("", "is not a file"),
        ] {
            let error = asked(&path(name), &elsewhere).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
            assert!(error.is::<WrongUsage>());
        }
    }
}
