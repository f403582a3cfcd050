//! A small collection of pictures and its index, made with the demo model but without encoding a picture: each
//! picture's vector is that of the words it is named after, so that what a question must find is known.

use std::fs;
use std::path::{Path, PathBuf};

use clip::Model;
use index::{MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::{Embedding, FileFacts, ImagePath, IndexPrefix, ModelIdentity, PartMeta};

use super::Home;

pub const WORDS: [&str; 5] = ["a yellow car", "a red bus", "a blue boat", "a green tree", "a black cat"];

/// A folder of pictures beside its index.
pub struct Collection {
    pub root: PathBuf,
    pub prefix: IndexPrefix,
    pub model: ModelIdentity,
}

impl Collection {
    /// Pictures for all [`WORDS`], in a folder of `home`, and their index.
    pub fn new(home: &Home, folder: &str) -> Self {
        let model = Model::open("demo").unwrap();
        let identity = ModelIdentity {
            model_name: "demo".to_owned(),
            fingerprint: model.fingerprint().to_owned(),
            embedding_dim: 0,
            precision: "fp32".to_owned(),
            provider: "cpu".to_owned(),
            deviation: None,
        };
        let collection = Self::of_model(home, folder, identity);
        collection.add(&WORDS);
        collection
    }

    /// An empty collection without an index, for vectors that a model of this identity could have made.
    pub fn of_model(home: &Home, folder: &str, model: ModelIdentity) -> Self {
        let root = home.path(folder).join("photos");
        fs::create_dir_all(&root).unwrap();
        Self { prefix: IndexPrefix::beside(&root), root, model }
    }

    /// The picture named after some words, as the index and this machine know it.
    pub fn picture(&self, words: &str) -> PathBuf {
        self.root.join(format!("{words}.jpg"))
    }

    /// Adds pictures and makes a new generation of the index.
    pub fn add(&self, words: &[&str]) {
        let vectors = Model::open("demo").unwrap().text_encoder(0).unwrap().encode(words).unwrap();
        let file = |(words, embedding): (&&str, _)| (format!("{words}.jpg"), jpeg(words), embedding);
        self.add_files(words.iter().zip(vectors).map(file).collect());
    }

    /// Adds files, sorted by name, with their vectors, and makes a new generation of the index.
    pub fn add_files(&self, files: Vec<(String, Vec<u8>, Embedding)>) {
        let dim = files[0].2.dim();
        let name =
            protocol::hash_hex(files.iter().flat_map(|(name, _, _)| name.bytes()).collect::<Vec<_>>().as_slice());
        let rows = files.into_iter().map(|(name, bytes, embedding)| {
            fs::write(self.root.join(&name), &bytes).unwrap();
            Row {
                path: ImagePath::new(name).unwrap(),
                embedding,
                file: FileFacts { size_bytes: bytes.len() as u64, mtime_ns: 1, ..FileFacts::default() },
                content_hash: protocol::hash_hex(&bytes),
            }
        });
        let meta = PartMeta {
            format_version: protocol::FORMAT_VERSION,
            name,
            root: self.root.to_str().unwrap().to_owned(),
            model: ModelIdentity { embedding_dim: dim, ..self.model.clone() },
            host: "localhost".to_owned(),
            rows: 0,
            checksum: String::new(),
            failures: Vec::new(),
        };
        let part = publish_part(&self.prefix, meta, &rows.collect::<Vec<_>>()).unwrap();
        merge(MergeRequest {
            prefix: &self.prefix,
            run: None,
            sources: Sources::Parts(vec![PartRef { name: part.name, rows: part.rows, checksum: part.checksum }]),
            fresh: false,
            wait_s: 0.0,
            progress: &mut |_| Ok(()),
        })
        .unwrap();
    }
}

/// A picture that is another for other words.
pub fn jpeg(words: &str) -> Vec<u8> {
    // What comes behind a JPEG's end is no part of it.
    [golden("grey.jpg"), words.as_bytes().to_vec()].concat()
}

/// A picture of those that the model's tests have.
pub fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/clip/tests/golden").join(name)).unwrap()
}

/// Copies a folder, as that of a model.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
