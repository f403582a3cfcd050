//! The programs that machines are given: a bundle made here, or one that was made on a machine of their kind.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet::{Content, HostSpec};
use protocol::layout::is_file_name;
use protocol::setup::{Bundle, MANIFEST};
use protocol::{ImagePath, VERSION, hash_hex, joined, note};
use tempfile::TempDir;

use crate::job::Arguments;
use crate::kind::Kind;
use crate::site::{SHORT, Site};

/// Making a bundle copies and hashes some hundred megabytes.
const MAKING: Duration = Duration::from_secs(300);

/// A manifest is a few kilobytes.
const MOST_MANIFEST_BYTES: usize = 1 << 20;

/// Makes `$1` a link to `$2`, in the place of a link of ours if there is one: a person may keep something under the same name.
const LINK: &str = r#"if [ -L "$1" ]; then
  case $(readlink -- "$1") in
    versions/*|current/bin/*) ;;
    *) echo "it is a link that setup did not make: move it away" >&2; exit 1;;
  esac
elif [ -e "$1" ]; then
  echo "something else has that name: move it away, or choose another work_dir in hosts" >&2; exit 1
fi
ln -sfn -- "$2" "$1""#;

/// A bundle and where it is.
pub struct Programs {
    bundle: Bundle,
    folder: PathBuf,
    /// Holds the folder if it is for this run only.
    _scratch: Option<TempDir>,
}

impl Programs {
    /// Has the worker beside this program make the bundle, in a folder where the next setup finds it.
    pub async fn made(mut folder: PathBuf) -> Result<Self> {
        let mut scratch = None;
        let parent = folder.parent().unwrap_or(&folder);
        if let Err(error) = fs::create_dir_all(parent).and_then(|()| tempfile::tempfile_in(parent)) {
            note!("Warning: cannot write in {}: {error}; the next setup makes the bundle again", parent.display());
            let made = tempfile::tempdir().context("cannot make a temporary folder for the bundle")?;
            folder = scratch.insert(made).path().join("bundle");
        }
        let here = Site::connect(&HostSpec::bare("localhost")).await?;
        let arguments = Arguments::default().word("bundle").set("out", &folder);
        let elsewhere = "make one on a Linux machine (worker bundle --out FOLDER) and name it with --bundle FOLDER";
        let worker = here.program("worker").context(elsewhere)?;
        let output = here.host.run(&worker, &arguments.0, b"", MAKING).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot make a bundle of the programs: {}; {elsewhere}", joined(&said));
        let bundle = serde_json::from_slice(&output.stdout);
        let bundle = bundle.context("the worker beside this program is of another version")?;
        Ok(Self { bundle, folder, _scratch: scratch })
    }

    /// A bundle that was made before, perhaps elsewhere.
    pub fn given(folder: &Path) -> Result<Self> {
        let manifest = folder.join(MANIFEST);
        let no_bundle = || format!("{} holds no bundle; worker bundle --out FOLDER makes one", folder.display());
        let bundle: Bundle = serde_json::from_slice(&fs::read(&manifest).with_context(no_bundle)?)
            .with_context(|| format!("{} is damaged", manifest.display()))?;
        ensure!(
            bundle.version == VERSION,
            "{} has version {} of the programs, this is {VERSION}; make it anew",
            folder.display(),
            bundle.version
        );
        // These names become files' names in the machines' work folders.
        let sound = is_file_name(&bundle.name) && bundle.files.iter().all(|file| ImagePath::new(&file.path).is_ok());
        ensure!(sound, "{} is damaged: it names files outside of the bundle", manifest.display());
        for file in &bundle.files {
            let path = folder.join(&file.path);
            let bytes = fs::read(&path).with_context(|| format!("{} is gone", path.display()))?;
            ensure!(hash_hex(&bytes) == file.checksum, "{} is damaged; make the bundle anew", path.display());
        }
        Ok(Self { bundle, folder: folder.to_owned(), _scratch: None })
    }

    /// The bundle's name.
    pub fn name(&self) -> &str {
        &self.bundle.name
    }
}

/// Copies the first of the bundles that runs on a machine unless it is there, and makes it the current one; `only_check`
/// changes nothing. True if it was copied.
pub async fn install(bundles: &[Programs], site: &Site, only_check: bool) -> Result<bool> {
    let kind = Kind::of(site).await?;
    let suits = |programs: &&Programs| kind.suits(&programs.bundle).is_ok();
    let Some(Programs { bundle, folder: here, .. }) = bundles.iter().find(suits) else {
        return bundles.iter().try_for_each(|programs| kind.suits(&programs.bundle)).map(|()| false);
    };
    let folder = format!("versions/{}", bundle.name);
    let manifest = site.work(&format!("{folder}/{MANIFEST}"));
    let wanted = fs::read(here.join(MANIFEST)).context("the bundle's manifest is gone")?;
    let there = site.host.get(&manifest, MOST_MANIFEST_BYTES).await.unwrap_or_default();
    let missing = there != wanted;
    ensure!(!(missing && only_check), "it does not have these programs ({}): run setup_workers.sh", bundle.name);
    if missing {
        for file in &bundle.files {
            let to = site.work(&format!("{folder}/{}", file.path));
            let mode = if file.program { 0o755 } else { 0o644 };
            site.host.put(Content::File(&here.join(&file.path)), &to, mode).await?;
        }
        site.host.put(Content::Bytes(&wanted), &manifest, 0o644).await?;
    }
    if !only_check {
        // The current version, and the programs where a person looks for them.
        let links = [
            ("current", folder.clone()),
            ("worker", "current/bin/worker".into()),
            ("merger", "current/bin/merger".into()),
            ("query", "current/bin/query".into()),
        ];
        for (name, to) in links {
            let args = ["-c".into(), LINK.into(), "sh".into(), site.work(name), to].map(OsString::from);
            let output = site.host.run("sh", &args, b"", SHORT).await?;
            ensure!(
                output.status.success(),
                "cannot link {}: {}",
                site.work(name),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use damage::{COPIES, Numbers, contained};

    use super::*;

    #[test]
    fn damaged_manifests_of_bundles_are_named() {
        contained(damaged_manifests_of_bundles_are_named, || {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("the-bundle");
            fs::create_dir_all(folder.join("bin")).unwrap();
            fs::write(folder.join("bin/worker"), "program").unwrap();
            fs::write(dir.path().join("x"), "no part of the bundle").unwrap();
            let whole = serde_json::json!({
                "name": "1-abc", "version": VERSION, "target": "x86_64-linux", "glibc": "2.36", "files": [
                    {"path": "bin/worker", "bytes": 7, "checksum": hash_hex(b"program"), "program": true}]
            });
            let whole = whole.to_string();
            fs::write(folder.join(MANIFEST), &whole).unwrap();
            assert_eq!(Programs::given(&folder).unwrap().name(), "1-abc");
            let mut numbers = Numbers::new(1);
            let mut refused = 0;
            for _ in 0..COPIES {
                fs::write(folder.join(MANIFEST), damage::json(whole.as_bytes(), &mut numbers)).unwrap();
                match Programs::given(&folder) {
                    Ok(programs) => assert!(is_file_name(programs.name())),
                    Err(error) => {
                        refused += 1;
                        assert!(error.to_string().contains("the-bundle"), "{error:#}");
                    }
                }
            }
            assert!(refused > COPIES / 4, "{refused}");
        });
    }
}
