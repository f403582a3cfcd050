//! `worker check`: is this host ready, and how fast is it? Everything that can be wrong is looked at, and each problem
//! comes with its remedy.

mod sample;
mod speed;
mod trial;
mod users;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use clip::{DecodeLimits, DecodeMode, EncoderOptions, Model};
use protocol::setup::{HostReport, Measured, Owners};
use protocol::{IndexPrefix, VERSION};

use crate::args::{Encoding, Users};
use crate::{facts, memory, model_spec};
use sample::sample;

/// Less free space than this is a problem.
const FREE_BYTES: u64 = 1 << 30;

/// A token is a host's name and some numbers.
const MOST_TOKEN_BYTES: u64 = 4 << 10;

/// What to check against.
pub struct Check<'a> {
    pub image_dir: Option<&'a Path>,
    /// Something that the controller sees in the folder of pictures.
    pub image_name: Option<&'a str>,
    pub index_dir: Option<&'a Path>,
    /// Name and content of a file that the controller put into the index folder.
    pub token: Option<(&'a str, &'a str)>,
    pub work_dir: &'a Path,
    pub encoding: &'a Encoding,
    pub users: &'a Users,
    pub extent: Extent,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The folders of pictures and index alone.
    Share,
    /// Also whether the programs run here, and the model if one is named.
    Programs,
    /// Instead, how fast share and model are.
    Measure,
}

/// Looks at everything; never fails, since what fails is what it reports.
pub fn check(check: &Check) -> HostReport {
    let mut problems = Vec::new();
    let mut note = |result: Result<()>| result.map_err(|e| problems.push(format!("{e:#}"))).is_ok();
    let begun = Instant::now();
    // What cannot be used is not measured.
    let image_dir = check.image_dir.filter(|dir| note(readable(dir, check.image_name)));
    let mut owners = None;
    let index_dir = check.index_dir.filter(|dir| note(same_share(dir, check.token).map(|found| owners = found)));
    let share_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let free_bytes = free(check.work_dir).unwrap_or(0);
    let mut images_per_second = None;
    let mut measured = None;
    if check.extent != Extent::Share {
        note(room(check.work_dir, free_bytes));
        users::alone(index_dir, check.work_dir).into_iter().for_each(|problem| _ = note(Err(anyhow!(problem))));
    }
    users::together(check.users, index_dir, check.work_dir).into_iter().for_each(|p| _ = note(Err(anyhow!(p))));
    match check.extent {
        Extent::Share => {}
        Extent::Programs => {
            if let Some(spec) = check.encoding.model.as_deref() {
                note(installed(spec, check.encoding));
            }
            note(embed().map(|speed| images_per_second = Some(speed)));
        }
        Extent::Measure => measured = Some(measure(check.encoding, image_dir, index_dir, &mut note)),
    }
    HostReport {
        version: VERSION.into(),
        host: facts::host(),
        unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        cpu_level: facts::cpu_level(),
        share_ms,
        free_bytes,
        problems,
        images_per_second,
        machine: facts::machine(),
        owners,
        measured,
    }
}

/// Measures the share first, then the model, on pictures of the folder if there are any.
fn measure(
    encoding: &Encoding,
    image_dir: Option<&Path>,
    index_dir: Option<&Path>,
    note: &mut impl FnMut(Result<()>) -> bool,
) -> Measured {
    let mut measured = Measured {
        cpu_model: facts::cpu_model(),
        cpu_features: facts::cpu_features(),
        machine_bytes: memory::machine(),
        // Without a limit, a group may name more than there is.
        group_bytes: memory::group().filter(|group| memory::machine().is_some_and(|machine| *group < machine)),
        worker_bytes: memory::limit(encoding.ram_gb),
        ..Default::default()
    };
    let prefix = index_dir.map(IndexPrefix::new);
    let skip = prefix.iter().flat_map(|prefix| [prefix.dir().into(), prefix.results()]).collect();
    let sample = image_dir.map(|dir| sample(dir, skip)).unwrap_or_default();
    if let Some(dir) = image_dir {
        measured.pictures = Some(sample.pictures);
        if sample.entries.is_empty() {
            measured.notes.push(format!("no pictures were found in {}", dir.display()));
        } else {
            note(speed::pictures(dir, &sample.entries).map(|speed| measured.images = Some(speed)));
        }
    }
    if let Some(dir) = index_dir {
        note(speed::folder(dir).map(|speed| measured.index = Some(speed)));
        note(free(dir).and_then(|bytes| {
            measured.index_free_bytes = Some(bytes);
            room(dir, bytes)
        }));
    }
    let spec = match &prefix {
        Some(prefix) => model_spec(encoding.model.as_deref(), None, prefix),
        None => Ok(encoding.model.clone().unwrap_or_else(|| crate::DEFAULT_MODEL.into())),
    };
    let sample = image_dir.filter(|_| !sample.entries.is_empty()).map(|dir| (dir, &sample.entries[..]));
    note(spec.and_then(|spec| trial::trial(encoding, &spec, sample)).map(|(trial, notes)| {
        measured.trial = Some(trial);
        measured.notes.extend(notes);
    }));
    measured
}

fn readable(dir: &Path, name: Option<&str>) -> Result<()> {
    let mut entries = fs::read_dir(dir).with_context(|| {
        format!("the image folder {} cannot be read here: mount the share, or mend path_map in hosts", dir.display())
    })?;
    ensure!(entries.next().is_some(), "the image folder {} is empty here: is the share mounted?", dir.display());
    ensure!(name.is_none_or(|name| dir.join(name).symlink_metadata().is_ok()), "{}", another(dir));
    Ok(())
}

fn another(dir: &Path) -> String {
    let dir = dir.display();
    format!("{dir} is not the same folder here as on the controller: mount the right share, or mend path_map in hosts")
}

/// Looks for the token, and writes. Tells whose files are whose if there is a token.
fn same_share(dir: &Path, token: Option<(&str, &str)>) -> Result<Option<Owners>> {
    let mut controllers = None;
    if let Some((name, content)) = token {
        let file = protocol::open_file(&dir.join(name)).with_context(|| another(dir))?;
        controllers = Some(file.metadata().with_context(|| another(dir))?.uid());
        let found = protocol::read_all(file, MOST_TOKEN_BYTES).with_context(|| another(dir))?;
        ensure!(found.trim_ascii() == content.as_bytes(), "{}", another(dir));
    }
    let unwritable = || {
        format!(
            "the index folder {} cannot be written here: mount the share writable, or mend its permissions",
            dir.display()
        )
    };
    // Hosts share the folder, and their numbers of processes may be the same: the name is one that nobody else has.
    let probe = tempfile::Builder::new().prefix(".writable-").tempfile_in(dir).with_context(unwritable)?;
    let own = probe.as_file().metadata().with_context(unwritable)?.uid();
    probe.close().with_context(unwritable)?;
    let prefix = IndexPrefix::new(dir);
    disk::probe(&prefix.lock())?;
    disk::probe(&prefix.meta())?;
    Ok(controllers.map(|controllers| Owners { user: facts::user(), own, controllers }))
}

/// Opens a model as an encoding worker does, self-check and all; the vectors that it must give from now on are made if
/// they are not there yet.
fn installed(spec: &str, encoding: &Encoding) -> Result<()> {
    let model = Model::open(spec)?;
    model.image_encoder(&encoding.options(&model))?;
    Ok(())
}

/// Opens the built-in model, whose self-check holds this machine against the reference, and measures pictures a second.
fn embed() -> Result<f64> {
    let model = Model::open("demo")?;
    let mut encoder = model.image_encoder(&EncoderOptions::default())?;
    let (begun, mut pictures) = (Instant::now(), 0);
    for bytes in clip::golden_pictures().cycle().take(24) {
        let picture = clip::decode(bytes, DecodeMode::Exact, model.preprocess().side(), &DecodeLimits::default())
            .map_err(|e| anyhow!("the self-check's picture cannot be decoded: {}", e.detail))?;
        encoder.encode(&model.preprocess().apply(&picture))?;
        pictures += 1;
    }
    Ok(f64::from(pictures) / begun.elapsed().as_secs_f64())
}

fn room(dir: &Path, free_bytes: u64) -> Result<()> {
    ensure!(free_bytes >= FREE_BYTES, "only {} MB are free in {}: make room", free_bytes >> 20, dir.display());
    Ok(())
}

/// Free bytes where a folder is, or will be.
fn free(dir: &Path) -> Result<u64> {
    let standing = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(standing).with_context(|| format!("cannot look at {}", standing.display()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}
