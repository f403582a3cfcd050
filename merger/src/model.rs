//! What a model is, and how it sees some pictures: asked of the worker beside this program, which itself loads none.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use protocol::{Embedding, Exit, ImagePath, IndexPrefix, ModelIdentity, Root, WorkerMeta};

/// A model, as the worker here has it.
pub struct Seen {
    /// Its identity, fingerprint included.
    pub identity: ModelIdentity,
    /// The cosines of the pictures' vectors with those that it gives, ascending.
    pub cosines: Vec<(f32, ImagePath)>,
}

/// A picture of one pixel, for when there is no other: a bitmap, 24 bits a pixel.
const PIXEL: [u8; 58] = [
    b'B', b'M', 58, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, // of 58 bytes, pixels at 54
    40, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 24, 0, // 1 x 1
    0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // not compressed
    0, 0, 255, 0, // red
];

/// Has a worker embed the pictures, into a folder of its own, as the reference does: in fp32, whole pictures.
pub fn see(model: &str, root: &Root, pictures: &[(ImagePath, Embedding)]) -> anyhow::Result<Seen> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (list, pixel, prefix) =
        (folder.path().join("list"), folder.path().join("pixel.bmp"), IndexPrefix::new(folder.path().join("index")));
    let mut paths: Vec<_> = pictures.iter().map(|(path, _)| root.open_path(path)).collect();
    let mut named = OsString::from(root.here());
    named.push(":/");
    named.push(root.canonical().trim_start_matches('/'));
    if paths.is_empty() {
        fs::write(&pixel, PIXEL)?;
        (paths, named) = (vec![pixel], folder.path().into());
    }
    let lines = paths.iter().map(|path| [path.as_os_str().as_encoded_bytes(), b"\0"].concat());
    fs::write(&list, lines.collect::<Vec<_>>().concat())?;
    let flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut flag = OsString::from(name);
        flag.push("=");
        flag.push(value);
        flag
    };
    let worker = std::env::current_exe().context("this program does not know where it is")?.with_file_name("worker");
    let output = Command::new(&worker)
        .arg(flag("--image-list", &list))
        .arg(flag("--index-prefix", &prefix.worker(0).path()))
        .arg(flag("--work-dir", &folder.path()))
        .arg(flag("--root", &named))
        .arg(flag("--model", &model))
        .args(["--provider=cpu", "--precision=fp32", "--decode=exact"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}, which is to embed some pictures", worker.display()))?;
    let ended = output.status.code();
    let done = [Exit::Done, Exit::SomeUnreadable].iter().any(|exit| ended == Some(exit.code().into()));
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(done, "the worker that was to embed some pictures failed: {}", said.trim());
    let meta = prefix.worker(0).meta();
    let meta: WorkerMeta = serde_json::from_slice(&fs::read(&meta).with_context(|| meta.display().to_string())?)?;
    let mut cosines = Vec::new();
    for part in fs::read_dir(prefix.parts()).into_iter().flatten() {
        for row in index::read_part(&part?.path(), root.canonical()).into_iter().flat_map(|part| part.rows) {
            let imported = pictures.iter().find(|(path, _)| *path == row.path).map(|(_, imported)| imported);
            let imported = imported.filter(|imported| imported.dim() == row.embedding.dim());
            cosines.extend(imported.map(|imported| (imported.cosine(&row.embedding), row.path)));
        }
    }
    cosines.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Seen { identity: meta.model, cosines })
}
