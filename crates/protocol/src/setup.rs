//! What making a host ready needs: a bundle of programs, and a host's report on itself.

use serde::{Deserialize, Serialize};

use crate::HostFacts;

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
    /// Processor level that the programs need, as `x86-64-v3`; empty if it is not known.
    pub cpu_level: String,
    /// The files, sorted by path.
    pub files: Vec<BundleFile>,
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
    /// Free space in its work folder, bytes.
    pub free_bytes: u64,
    /// What is wrong, each with its remedy. Empty: ready.
    pub problems: Vec<String>,
    /// How fast the built-in model embeds a picture there, pictures a second; absent if it could not.
    pub images_per_second: Option<f64>,
}
