//! Makes a bundle of this installation: programs, every library that is not the C library's own, ONNX Runtime, and a
//! manifest. A host needs nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use protocol::setup::{Bundle, BundleFile, MANIFEST};
use protocol::{VERSION, hash_hex};

/// Programs that a host may have to run.
const PROGRAMS: [&str; 5] = ["worker", "merger", "server", "query", "controller"];

/// Libraries that belong to the system's C library and must come from it.
const SYSTEM: [&str; 8] =
    ["libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libresolv.so", "libutil.so", "ld-linux"];

/// The processor level that the native parts were compiled for, as the build was told.
const CFLAGS: Option<&str> = option_env!("CXXFLAGS_x86_64_unknown_linux_gnu");

/// Writes the bundle into `out`, which it makes anew, and describes it.
pub fn bundle(out: &Path) -> Result<Bundle> {
    let exe = std::env::current_exe().context("this program does not know where it is")?;
    let folder = exe.parent().context("this program is in no folder")?;
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let program = folder.join(name);
        ensure!(program.is_file(), "{} is not built; run: make build", program.display());
        libraries.extend(needed(&program)?);
        let target = out.join("bin").join(name);
        copy(&program, &target)?;
        strip(&target);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    }
    let runtime = fs::canonicalize(clip::runtime_path()?)?;
    libraries.extend(needed(&runtime)?);
    for library in &libraries {
        let name = library.file_name().context("a library without a name")?;
        copy(library, &out.join("lib").join(name))?;
    }
    copy(&runtime, &out.join("lib/libonnxruntime.so"))?;
    let mut files = Vec::new();
    for part in ["bin", "lib"] {
        let mut names: Vec<PathBuf> = fs::read_dir(out.join(part))?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        names.sort();
        for path in names {
            let bytes = fs::read(&path)?;
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
    let level = CFLAGS.unwrap_or_default().split("-march=").nth(1).unwrap_or_default();
    let bundle = Bundle {
        name: format!("{VERSION}-{}", &hash_hex(all.as_bytes())[..8]),
        version: VERSION.into(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cpu_level: level.split_whitespace().next().unwrap_or_default().into(),
        files,
    };
    index::atomic::write_json(&out.join(MANIFEST), &bundle)?;
    Ok(bundle)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
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
