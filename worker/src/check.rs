//! `worker check`: is this host ready? Everything that can be wrong is looked at, and each problem comes with its remedy.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clip::{DecodeLimits, DecodeMode, EncoderOptions, Model};
use protocol::VERSION;
use protocol::setup::HostReport;

use crate::facts;

/// A picture whose vector from the built-in model is known, and that vector as little-endian f32.
const PICTURE: &[u8] = include_bytes!("../check/yellow_car.jpg");
const VECTOR: &[u8] = include_bytes!("../check/yellow_car.f32");

/// Less free space than this in the work folder is a problem.
const FREE_BYTES: u64 = 1 << 30;

/// What to check against.
pub struct Check<'a> {
    pub image_dir: Option<&'a Path>,
    pub index_dir: Option<&'a Path>,
    /// Name and content of a file that the controller put into the index folder.
    pub token: Option<(&'a str, &'a str)>,
    pub work_dir: &'a Path,
    pub model: Option<&'a str>,
}

/// Looks at everything; never fails, since what fails is what it reports.
pub fn check(check: &Check) -> HostReport {
    let mut problems = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(e) = result {
            problems.push(format!("{e:#}"));
        }
    };
    if let Some(dir) = check.image_dir {
        note(readable(dir));
    }
    if let Some(dir) = check.index_dir {
        note(same_share(dir, check.token));
    }
    if let Some(spec) = check.model {
        note(Model::open(spec).map(drop).map_err(Into::into));
    }
    let free_bytes = free(check.work_dir).unwrap_or(0);
    if free_bytes < FREE_BYTES {
        note(Err(anyhow::anyhow!("only {} MB are free in {}: make room", free_bytes >> 20, check.work_dir.display())));
    }
    let speed = embed();
    let images_per_second = speed.as_ref().ok().copied();
    note(speed.map(drop));
    HostReport {
        version: VERSION.into(),
        host: facts::host(),
        unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        cpu_level: facts::cpu_level(),
        free_bytes,
        problems,
        images_per_second,
    }
}

fn readable(dir: &Path) -> Result<()> {
    let mut entries = fs::read_dir(dir).with_context(|| {
        format!("the image folder {} cannot be read here: mount the share, or mend path_map in hosts", dir.display())
    })?;
    ensure!(entries.next().is_some(), "the image folder {} is empty here: is the share mounted?", dir.display());
    Ok(())
}

fn same_share(dir: &Path, token: Option<(&str, &str)>) -> Result<()> {
    if let Some((name, content)) = token {
        let path = dir.join(name);
        let other = || {
            format!(
                "{} is not the same folder here as on the controller: mount the right share, or mend path_map in hosts",
                dir.display()
            )
        };
        let found = fs::read_to_string(&path).with_context(other)?;
        ensure!(found.trim() == content, "{}", other());
    }
    let probe = dir.join(format!(".writable-{}", std::process::id()));
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).with_context(|| {
        format!(
            "the index folder {} cannot be written here: mount the share writable, or mend its permissions",
            dir.display()
        )
    })
}

/// Embeds the known picture, compares its vector, and measures pictures a second.
fn embed() -> Result<f64> {
    let model = Model::open("demo")?;
    let mut encoder = model.image_encoder(&EncoderOptions::default())?;
    let once = |encoder: &mut clip::ImageEncoder| -> Result<protocol::Embedding> {
        let picture = clip::decode(PICTURE, DecodeMode::Exact, model.preprocess().side(), &DecodeLimits::default())
            .map_err(|e| anyhow::anyhow!("the self-check's picture cannot be decoded: {}", e.detail))?;
        let vectors = encoder.encode(&model.preprocess().apply(&picture))?;
        Ok(vectors.into_iter().next().context("the model gave no vector")??)
    };
    let got = once(&mut encoder)?;
    let known = VECTOR.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let cosine = got.cosine(&protocol::Embedding::normalise(known)?);
    ensure!(
        cosine > 0.999,
        "the self-check failed: a known picture's vector has cosine {cosine:.4} with what it must be"
    );
    let (begun, mut pictures) = (Instant::now(), 0);
    while pictures < 20 {
        once(&mut encoder)?;
        pictures += 1;
    }
    Ok(f64::from(pictures) / begun.elapsed().as_secs_f64())
}

fn free(dir: &Path) -> Result<u64> {
    fs::create_dir_all(dir)?;
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}
