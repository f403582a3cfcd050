//! Files for a browser that need nothing else: their names, how they come whole or not at all, and texts in them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use disk::atomic::{create_new, temp_name};
use protocol::plain;

use crate::WrongUsage;

/// Refuses a name that no page has, before anything is asked: what stands there would be lost.
pub fn check(option: &str, file: &Path) -> Result<(), WrongUsage> {
    let page = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"));
    if page {
        Ok(())
    } else {
        Err(WrongUsage(format!("{option} {}: the page's name must end with .html", file.display())))
    }
}

/// A page that is being written, beside where it will stand. One that is not finished leaves nothing.
pub struct Draft {
    file: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
}

impl Draft {
    pub fn begin(file: &Path) -> Result<Self> {
        // It must not be there yet: in a folder that others may write it could be a link of theirs.
        let temporary = file.with_file_name(temp_name(file.file_name().unwrap_or_default()));
        let out = create_new(&temporary).with_context(|| cannot(file))?;
        Ok(Self { file: file.to_owned(), temporary, out: BufWriter::new(out) })
    }

    /// Puts the page where it belongs.
    pub fn finish(mut self) -> Result<()> {
        let written = self.out.flush().and_then(|()| disk::sync(self.out.get_ref()));
        written.and_then(|()| fs::rename(&self.temporary, &self.file)).with_context(|| cannot(&self.file))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it is finished there is none.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// What failed, if writing did.
pub fn cannot(file: &Path) -> String {
    format!("cannot write the page {}", file.display())
}

/// A text as it may stand in a page, also in quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_is_overwritten() {
        let check = |name: &str| check("--html", Path::new(name));
        assert!(check("a/b.html").is_ok() && check("B.HTM").is_ok());
        for other in ["photo.jpg", "html", ".html", ""] {
            assert!(check(other).unwrap_err().0.contains(".html"), "{other}");
        }
    }

    #[test]
    fn a_page_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.html");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let mut draft = Draft::begin(&file).unwrap();
        draft.write_all(b"half").unwrap();
        assert!(!file.exists());
        drop(draft);
        assert_eq!(names(), 0);
        let mut draft = Draft::begin(&file).unwrap();
        draft.write_all(b"whole").unwrap();
        draft.finish().unwrap();
        assert_eq!((fs::read(&file).unwrap().as_slice(), names()), (&b"whole"[..], 1));
        let nowhere = folder.path().join("no/a.html");
        assert!(Draft::begin(&nowhere).err().unwrap().to_string().contains("cannot write the page"));
    }
}
