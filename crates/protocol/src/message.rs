//! JSON lines between a controller and its workers: commands on a worker's standard input, events on its standard output.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Chunk, Failure, ModelIdentity, Stages};

/// What a controller tells a worker, one JSON object a line. Other jobs come through the same door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Command {
    /// The worker's list, so that it can be kept in `work_dir/worker_N_images.txt` for a person to run again. Grants
    /// nothing.
    List {
        /// The chunks of the list.
        chunks: Vec<Chunk>,
    },
    /// A grant: embed this chunk.
    Encode {
        /// The chunk.
        chunk: Chunk,
        /// Picture by picture, each told before it is begun ([`Event::Trying`]): a worker died over this chunk.
        #[serde(default, skip_serializing_if = "is_false")]
        careful: bool,
        /// Pictures, as rows of the chunk, that a worker died over when they were alone in its hands: they are failures.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blamed: Vec<usize>,
    },
    /// A granted chunk is finished by another worker: forget it, begun or not.
    Drop {
        /// [`Chunk::id`].
        chunk_id: u64,
    },
    /// A sign of life. A worker that hears nothing for its time limit finishes the part in hand and ends.
    Ping,
    /// No more grants come: finish what is granted, gather, end.
    Finish,
    /// End now. Parts that are finished stay.
    Stop,
}

/// What a worker tells, one JSON object a line. The last event says how it ended; a channel that closes without
/// [`Event::Done`] or [`Event::Error`] means that the process or the connection was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Hello {
        /// Version of the software, [`crate::VERSION`].
        version: String,
        /// The process, on its host.
        pid: u32,
        /// What the host is like.
        host: HostFacts,
    },
    /// The model is loaded and has passed the self-check.
    Ready {
        /// The model, and what computes it.
        model: ModelIdentity,
        /// Threads that compute it.
        threads: usize,
        /// Pictures that it encodes at once.
        batch_size: usize,
        /// How long loading took.
        load_seconds: f64,
    },
    /// While scanning.
    Scanning {
        /// Pictures seen so far.
        #[serde(deserialize_with = "crate::bounded::count")]
        scanned: u64,
    },
    /// The scan found a chunk of work.
    Chunk {
        /// The chunk.
        chunk: Chunk,
    },
    /// The scan is complete; the manifest is whole.
    Scanned {
        /// What was found.
        summary: ScanSummary,
        /// The model that the run embeds with: a name, or a folder as the scanning host sees it.
        model: String,
    },
    /// About once a second while encoding; also the worker's sign of life.
    Progress {
        /// Pictures embedded or failed since the start, of those granted and not dropped.
        #[serde(deserialize_with = "crate::bounded::count")]
        done: u64,
        /// Of these, failed.
        #[serde(deserialize_with = "crate::bounded::count")]
        failed: u64,
        /// Where the time went since the start.
        stages: Stages,
    },
    /// A chunk is finished and its part is published.
    Part {
        /// [`Chunk::id`].
        chunk_id: u64,
        /// The part's name, without extension.
        name: String,
        /// Rows in the part.
        #[serde(deserialize_with = "crate::bounded::count")]
        rows: u64,
        /// Pictures of the chunk that failed.
        #[serde(deserialize_with = "crate::bounded::count")]
        failed: u64,
        /// Checksum of the part's rows.
        checksum: String,
        /// The part was there already; nothing was embedded.
        found: bool,
    },
    /// The next picture of a chunk that is done with care. Nothing else is in hand.
    Trying {
        /// [`Chunk::id`].
        chunk_id: u64,
        /// Which of the chunk's pictures, from 0.
        row: usize,
    },
    /// A picture that could not be embedded.
    Failure {
        /// Which, and why.
        failure: Failure,
    },
    /// Something a person should know.
    Warning {
        /// What.
        message: String,
    },
    /// The last event of a worker that finished.
    Done {
        /// Rows in its partial index.
        #[serde(deserialize_with = "crate::bounded::count")]
        rows: u64,
        /// Pictures that failed.
        #[serde(deserialize_with = "crate::bounded::count")]
        failed: u64,
    },
    /// The last event of one that could not go on.
    Error {
        /// The error, cause by cause, and what to do.
        message: String,
    },
}

/// What a host is like, as it sees itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its name.
    pub hostname: String,
    /// Processors that a process may use.
    pub cpus: u32,
    /// Memory that a process may use, in bytes.
    pub memory_bytes: u64,
}

/// What a scan found. `scanned = new + standing + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSummary {
    /// Pictures seen.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub scanned: u64,
    /// Pictures in the manifest: new or changed.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub new: u64,
    /// Pictures whose vectors already stand in the index or in finished parts.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub standing: u64,
    /// Of these, pictures whose bytes stood under another path or time: moved, renamed or touched.
    #[serde(default, deserialize_with = "crate::bounded::count")]
    pub moved: u64,
    /// Pictures that failed in the scan itself, as by a name that is not UTF-8, or that failed before and are as they
    /// were then.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub failed: u64,
    /// Of these, pictures that failed before and are as they were then.
    #[serde(default, deserialize_with = "crate::bounded::count")]
    pub failed_before: u64,
    /// Rows of the index whose pictures are gone, without those that were moved.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub gone: u64,
    /// Rows of the index whose pictures have changed; they are among `new` too.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub changed: u64,
    /// Folders that could not be listed; nothing in them is dropped.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub unreadable_folders: u64,
}

/// The longest [`Command`] in bytes: a list of a million chunks.
pub const LONGEST_COMMAND: usize = 1 << 27;

/// The longest [`Event`] in bytes.
pub const LONGEST_EVENT: usize = 1 << 19;

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A message as one line with its line end.
pub fn encode_line<T: Serialize>(message: &T) -> String {
    let mut line = serde_json::to_string(message).expect("messages hold only texts, numbers and lists of them");
    line.push('\n');
    line
}

/// A message from its line.
pub fn decode_line<T: DeserializeOwned>(line: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_looks_as_documented() {
        let chunk = Chunk { id: 3, offset: 80, count: 32, bytes: 9 };
        let grant = Command::Encode { chunk, careful: false, blamed: Vec::new() };
        let line = encode_line(&grant);
        assert_eq!(line, "{\"job\":\"encode\",\"chunk\":{\"id\":3,\"offset\":80,\"count\":32,\"bytes\":9}}\n");
        assert_eq!(decode_line::<Command>(&line).unwrap(), grant);
        assert!(decode_line::<Command>("{\"job\":\"dance\"}").is_err());
    }
}
