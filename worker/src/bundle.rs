//! Makes a bundle of this installation: programs, every library that is not the C library's own, ONNX Runtime, and a
//! manifest. A host needs nothing else, and any processor of the same kind will do: what needs a newer one's instructions
//! looks for them when it runs.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use disk::atomic::{Temp, create_dir, folder_of};
use disk::{Ability, Folder, Kind};
use protocol::setup::{Bundle, BundleFile, MANIFEST};
use protocol::{ImagePath, MOST_METADATA, VERSION, hash_hex};

use crate::glibc;

/// The folders of a bundle.
const PARTS: [&str; 2] = ["bin", "lib"];

/// Programs that a host may have to run.
const PROGRAMS: [&str; 5] = ["worker", "merger", "server", "query", "controller"];

/// Libraries that belong to the system's C library and must come from it.
const SYSTEM: [&str; 8] =
    ["libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libresolv.so", "libutil.so", "ld-linux"];

/// What ONNX Runtime opens by itself when OpenVINO is to compute; it stands beside it, where it is there at all.
const PROVIDER: [&str; 3] =
    ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_openvino.so", "libopenvino_intel_cpu_plugin.so"];

/// Writes the bundle into `out`, which it makes anew, and describes it.
pub fn bundle(out: &Path) -> Result<Bundle> {
    let exe = std::env::current_exe().context("this program does not know where it is")?;
    let folder = exe.parent().context("this program is in no folder")?;
    let old = older(out)?;
    create_dir(folder_of(out))?;
    let temp = Temp::beside(out)?;
    temp.create_folder()?;
    let (target, out) = (out, &temp.path());
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let program = folder.join(name);
        ensure!(program.is_file(), "{} is not built; run: make build", program.display());
        libraries.extend(needed(&program)?);
        let target = out.join("bin").join(name);
        copy(&program, &target)?;
        strip(&target);
        let executable = fs::set_permissions(&target, fs::Permissions::from_mode(0o755));
        // Where there are no modes, all files have the same.
        Ability::Mode.is_wanted(executable).with_context(|| format!("cannot make {} executable", target.display()))?;
    }
    let runtime = fs::canonicalize(clip::runtime_path()?)?;
    libraries.extend(needed(&runtime)?);
    for library in PROVIDER.map(|name| runtime.with_file_name(name)).into_iter().filter(|l| l.is_file()) {
        libraries.extend(needed(&library)?);
        libraries.insert(library);
    }
    for library in &libraries {
        let name = library.file_name().context("a library without a name")?;
        copy(library, &out.join("lib").join(name))?;
    }
    copy(&runtime, &out.join("lib/libonnxruntime.so"))?;
    let (mut files, mut oldest_glibc) = (Vec::new(), None);
    for part in PARTS {
        let mut names: Vec<PathBuf> = fs::read_dir(out.join(part))?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        names.sort();
        for path in names {
            let bytes = fs::read(&path)?;
            let needed = glibc::needed(&bytes).with_context(|| format!("{} cannot be understood", path.display()))?;
            oldest_glibc = oldest_glibc.max(needed);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push(BundleFile {
                path: format!("{part}/{name}"),
                bytes: bytes.len() as u64,
                checksum: hash_hex(&bytes),
                program: part == "bin",
            });
        }
    }
    let all: String = files.iter().map(|f| format!("{} {}\n", f.checksum, f.path)).collect();
    let bundle = Bundle {
        name: format!("{VERSION}-{}", &hash_hex(all.as_bytes())[..8]),
        version: VERSION.into(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        glibc: oldest_glibc,
        files,
    };
    disk::atomic::write_json(&out.join(MANIFEST), &bundle)?;
    if let Some(old) = old {
        clear(target, &old)?;
    }
    temp.publish()?;
    Ok(bundle)
}

/// What an older bundle in its place lists. Never anything that is not a bundle is replaced: the folder may be on
/// somebody's share.
fn older(out: &Path) -> Result<Option<Bundle>> {
    let free = fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    let bundle = protocol::read_file(&out.join(MANIFEST), MOST_METADATA).ok();
    let bundle: Option<Bundle> = bundle.and_then(|text| serde_json::from_slice(&text).ok());
    ensure!(
        free || bundle.is_some(),
        "{} is there and is no bundle; name a folder that is new, empty or an older bundle",
        out.display()
    );
    Ok(bundle)
}

/// Removes an older bundle's files, so that its folder is empty.
fn clear(out: &Path, old: &Bundle) -> Result<()> {
    let folder = Folder::open(out)?;
    let files = old.files.iter().map(|file| file.path.as_str()).chain([MANIFEST]);
    for file in files.filter(|file| ImagePath::new(*file).is_ok()) {
        if let Some((within, name)) = folder.place(&out.join(file))? {
            within.remove_file(name)?;
        }
    }
    for part in PARTS.iter().filter(|part| matches!(folder.kind(part), Ok(Some(Kind::Folder)))) {
        folder.remove_empty(part)?;
    }
    let left = folder.names()?;
    ensure!(
        left.is_empty(),
        "{} holds {:?}, which the bundle there does not list: move it away",
        out.display(),
        left[0]
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = fs::metadata(from).map_or(0o644, |found| found.mode() & 0o777);
    // The standard library's copy fails where a share refuses chmod.
    let copied = File::open(from).and_then(|mut from| {
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(to)?;
        io::copy(&mut from, &mut to)
    });
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Debug information is of no use on a worker. Without `strip` the bundle is only larger.
fn strip(program: &Path) {
    let _ = Command::new("strip").arg(program).status();
}

/// The libraries that a program or library needs from outside the C library, as the dynamic linker finds them.
fn needed(file: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(file).output().context("cannot run ldd; bundles are made on Linux")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut libraries = Vec::new();
    for line in text.lines() {
        let Some((name, place)) = line.trim().split_once(" => ") else { continue };
        let path = place.split(" (").next().unwrap_or_default().trim();
        ensure!(path != "not found", "{} needs {name}, which is not on this machine", file.display());
        if !SYSTEM.iter().any(|s| name.starts_with(s)) {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}
