//! Whether a machine sees the share that this one sees. A mount that is missing looks like an empty folder, and one that
//! is wrong like a collection of which all is gone: a machine that has either must not work.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use disk::{Folder, ours};
use protocol::IndexPrefix;

use crate::job::Arguments;
use crate::site::Site;

/// What every machine must find.
#[derive(Default)]
pub struct Share {
    pub image_dir: Option<PathBuf>,
    index: Option<(IndexPrefix, Token)>,
}

/// A file in the index folder, and what is in it.
struct Token {
    folder: Folder,
    name: String,
    content: String,
    /// The index folder was made for it.
    alone: bool,
}

impl Share {
    /// This folder of pictures, and this index's folder, into which a token is written until this is dropped: who reads
    /// it there sees the same folder.
    pub fn new(image_dir: Option<PathBuf>, prefix: Option<IndexPrefix>) -> Result<Self> {
        let index = prefix.map(|prefix| Ok::<_, anyhow::Error>((prefix.clone(), Token::put(&prefix)?))).transpose()?;
        Ok(Self { image_dir, index })
    }

    /// The arguments of `worker check` at `site`.
    pub fn arguments(&self, site: &Site) -> Result<Arguments> {
        let mut arguments = Arguments::default().word("check").set("work-dir", site.work(""));
        if let Some(dir) = &self.image_dir {
            arguments = arguments.set("image-dir", site.path(dir)?).set_some("image-name", name_in(dir));
        }
        if let Some((prefix, Token { name, content, alone, .. })) = &self.index {
            arguments = arguments.set("index-dir", site.path(prefix.dir())?).word("--token").word(name).word(content);
            if *alone {
                arguments = arguments.word("--new-index-dir");
            }
        }
        Ok(arguments)
    }
}

/// The name of something in a folder; `None` if there is nothing whose name is the same on every kind of share.
pub fn name_in(dir: &Path) -> Option<String> {
    let plain = |name: &String| {
        !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    fs::read_dir(dir).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).find(plain)
}

impl Token {
    fn put(prefix: &IndexPrefix) -> Result<Self> {
        let dir = prefix.dir();
        let alone = !dir.exists();
        ours::look(prefix)?;
        let folder = Folder::make(dir)?;
        // A name that nobody has looked for before, so that no cache can hide the file; and one of those that a merge
        // removes in the end, if we are killed.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!(".token.tmp-{}-{}", since.as_nanos(), std::process::id());
        let content = format!("{}-{name}", fleet::hostname());
        let written = folder.create_new(&name)?.write_all(content.as_bytes());
        written.with_context(|| format!("cannot write to the index folder {}", dir.display()))?;
        Ok(Self { folder, name, content, alone })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some((prefix, token)) = &self.index {
            // A share that is gone by now takes it along.
            let _ = token.folder.remove_file(&token.name);
            if token.alone {
                // What somebody has put there meanwhile keeps it.
                let _ = fs::remove_dir(prefix.dir());
            }
        }
    }
}
