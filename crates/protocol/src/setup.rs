//! What making a host ready needs: a bundle of programs, and a host's report on itself and on what it can do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{HostFacts, ModelIdentity, Stages};

/// The name of a bundle's own description, in its folder.
pub const MANIFEST: &str = "MANIFEST.json";

/// A bundle: all that a host needs beside its C library, in one folder. Its last-written file is [`MANIFEST`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Version of the software and a hash of all files: two bundles of one name are the same.
    pub name: String,
    /// Version of the software.
    pub version: String,
    /// Processor and system, as `x86_64-linux`.
    pub target: String,
    /// The oldest GNU C library that the files run with; absent if they need none.
    pub glibc: Option<GlibcVersion>,
    /// The files, sorted by path.
    pub files: Vec<BundleFile>,
}

/// A version of the GNU C library, as `2.36`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GlibcVersion {
    major: u32,
    minor: u32,
}

impl FromStr for GlibcVersion {
    type Err = String;

    /// Reads `2.36`, and `2.2.5` as `2.2`: a third number only marks repairs.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.splitn(3, '.').map(|part| part.parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("{text:?} is no version of the C library")),
        }
    }
}

impl TryFrom<String> for GlibcVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GlibcVersion> for String {
    fn from(version: GlibcVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleFile {
    /// Path in the bundle's folder, as `bin/worker`.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub checksum: String,
    /// Whether it is a program.
    pub program: bool,
}

/// A host's report on itself, from `worker check`, on standard output as one JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Version of the software there.
    pub version: String,
    /// What the host is like.
    pub host: HostFacts,
    /// Its clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// Highest processor level that it has: `x86-64-v2`, `x86-64-v3`...; empty elsewhere than on x86-64.
    pub cpu_level: String,
    /// How long it took to look at the share's folders, milliseconds: less where the share is near.
    pub share_ms: f64,
    /// Free space in its work folder, bytes.
    pub free_bytes: u64,
    /// What is wrong, each with its remedy. Empty: ready.
    pub problems: Vec<String>,
    /// How fast the built-in model embeds a picture there, pictures a second; absent if it could not, or was not asked.
    pub images_per_second: Option<f64>,
    /// What tells the machine from others, whatever name it is reached by, until it starts anew; empty if nothing does.
    #[serde(default)]
    pub machine: String,
    /// Whose files are whose in the index folder; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<Owners>,
    /// What `--measure` finds out; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// Who owns what in the index folder, as a host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owners {
    /// The user that programs run as there.
    pub user: String,
    /// The number of the owner of what this host makes there. A share may make another user of root.
    pub own: u32,
    /// The same of what the controller made there.
    pub controllers: u32,
}

/// What a host can do, measured there by `worker check --measure`. What could not be measured is absent, and then a
/// problem in the [`HostReport`] says why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The processor as it calls itself; empty where that is unknown.
    pub cpu_model: String,
    /// Its instructions that models and searches gain from, as `avx512_bf16`.
    pub cpu_features: Vec<String>,
    /// Memory of the whole machine, bytes.
    pub machine_bytes: Option<u64>,
    /// Memory that its control group may have, bytes; absent without a limit.
    pub group_bytes: Option<u64>,
    /// Memory that a worker there would take at most, bytes.
    pub worker_bytes: Option<u64>,
    /// Free space in the index folder, bytes.
    pub index_free_bytes: Option<u64>,
    /// The pictures in their folder.
    pub pictures: Option<Pictures>,
    /// The share's speed with pictures.
    pub images: Option<ShareSpeed>,
    /// The share's speed with a file in the index folder.
    pub index: Option<ShareSpeed>,
    /// The model's speed.
    pub trial: Option<Trial>,
    /// What a person should know, but no problem.
    pub notes: Vec<String>,
}

/// Pictures of a folder and all below, as far as they could be counted in a short time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether all of the folder was looked at; if not, there are more.
    pub complete: bool,
}

/// How fast a share answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareSpeed {
    /// Median time of one operation (opening a picture; making or removing a file), milliseconds.
    pub operation_ms: f64,
    /// Bytes a second read, of as many files at once as a worker reads; of the index folder, of one file.
    pub read_bytes_per_second: f64,
    /// Bytes a second written and brought to the disk; absent for pictures, which are only ever read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bytes_per_second: Option<f64>,
}

/// What a model achieved in some seconds of a worker's usual work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The model, what computes it, and how far its vectors are off.
    #[serde(flatten)]
    pub model: ModelIdentity,
    /// Threads that compute it.
    pub threads: usize,
    /// Pictures that it encodes at once.
    pub batch_size: usize,
    /// How long loading took.
    pub load_seconds: f64,
    /// Pictures a second, once it was under way.
    pub images_per_second: f64,
    /// Whether they were pictures of the folder; if not, a few small ones from the program.
    pub own_pictures: bool,
    /// Where the time went.
    pub stages: Stages,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_c_library_are_compared_by_number() {
        let version = |text: &str| text.parse::<GlibcVersion>();
        assert!(
            version("2.4").unwrap() < version("2.17").unwrap() && version("2.99").unwrap() < version("3.0").unwrap()
        );
        assert_eq!(version("2.2.5"), version("2.2"));
        assert_eq!(serde_json::to_string(&version("2.36").unwrap()).unwrap(), "\"2.36\"");
        assert_eq!(serde_json::from_str::<GlibcVersion>("\"2.36\"").unwrap(), version("2.36").unwrap());
        for text in ["", "2", "2.", ".3", "PRIVATE", "2.x"] {
            assert!(version(text).is_err() && serde_json::from_str::<GlibcVersion>(&format!("{text:?}")).is_err());
        }
    }
}
