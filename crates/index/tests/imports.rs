//! Vectors that were made elsewhere become an index, and an index becomes what others read.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use half::f16;
use index::{Brought, Export, Float, Import, IndexError, MergeReport, Sources, export, read_meta, standing};
use protocol::{FailureKind, FileFacts, Root};

const DIM: usize = 5;

/// A matrix as numpy writes it.
fn npy(path: &Path, descr: &str, rows: usize, dim: usize, data: &[u8]) {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    fs::write(path, [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()).unwrap();
}

fn f32s(path: &Path, vectors: &[Vec<f32>]) {
    let data: Vec<u8> = vectors.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    npy(path, "<f4", vectors.len(), vectors[0].len(), &data);
}

/// A place with a folder of pictures, and files that another program would have made.
struct Bring {
    place: Place,
    root: Root,
    matrix: PathBuf,
    list: PathBuf,
}

impl Bring {
    fn new() -> Self {
        let place = Place::new();
        let [photos, matrix, list] = ["photos", "v.npy", "paths.txt"].map(|name| place.dir.path().join(name));
        fs::create_dir(&photos).unwrap();
        Self { root: Root::new(photos, ROOT), place, matrix, list }
    }

    /// Vectors of these pictures, in this order.
    fn write(&self, pictures: &[(&str, Vec<f32>)]) {
        f32s(&self.matrix, &pictures.iter().map(|(_, vector)| vector.clone()).collect::<Vec<_>>());
        fs::write(&self.list, pictures.iter().map(|(path, _)| format!("{path}\n")).collect::<String>()).unwrap();
    }

    fn read(&self) -> Result<Import, IndexError> {
        self.read_this(&Brought::Matrix { vectors: self.matrix.clone(), paths: self.list.clone() })
    }

    fn read_this(&self, brought: &Brought) -> Result<Import, IndexError> {
        Import::read(brought, &self.root, "h", &mut |_| Ok(()))
    }

    fn merge(&self, import: Import, fresh: bool) -> Result<MergeReport, IndexError> {
        let sources = Sources::Imported { import: Box::new(import), model: model(DIM) };
        self.place.merge(None, sources, fresh)
    }

    fn import(&self) -> Result<MergeReport, IndexError> {
        self.merge(self.read()?, false)
    }

    fn folder(&self, name: &str, float: Float, rows_per_file: u64) -> PathBuf {
        let folder = self.place.dir.path().join(name);
        let prefix = &self.place.prefix;
        export(Export { prefix, folder: &folder, float, rows_per_file, progress: &mut |_| Ok(()) }).unwrap();
        folder
    }
}

/// What an index holds: paths, facts, vectors.
fn rows(place: &Place) -> Vec<(String, FileFacts, Vec<f32>)> {
    let dim = read_meta(&place.prefix).unwrap().unwrap().model.embedding_dim;
    let faiss = fs::read(place.prefix.faiss()).unwrap();
    let values: Vec<f32> = faiss[45..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let files = standing(&place.prefix, ROOT, "f1").unwrap().map(Result::unwrap);
    files.zip(values.chunks_exact(dim)).map(|(row, v)| (row.path.to_string(), row.file, v.to_vec())).collect()
}

fn vector(seed: u64) -> Vec<f32> {
    Random(seed).embedding(DIM).into_values()
}

#[test]
fn vectors_in_any_order_become_a_sorted_index_and_keep_their_bits() {
    let bring = Bring::new();
    fs::write(bring.root.here().join("b.jpg"), "12345").unwrap();
    let (a, b, c) = (vector(1), vector(2), vector(3));
    let long: Vec<f32> = c.iter().map(|v| v * 7.0).collect();
    let here = bring.root.here().join("b.jpg");
    bring.write(&[("z/c.jpg", long), (here.to_str().unwrap(), b.clone()), (&format!("{ROOT}/a b.jpg"), a.clone())]);
    let import = bring.read().unwrap();
    assert_eq!((import.rows(), import.present(), import.dim(), import.sample().len()), (3, 1, DIM, 1));
    assert_eq!(import.sample()[0].0.as_str(), "b.jpg");
    let report = bring.merge(import, false).unwrap();
    assert_eq!((report.added, report.written, report.failed), (3, true, 0));
    assert_eq!((&*report.meta.model.precision, &*report.meta.model.provider), ("fp32", "imported"));
    let rows = rows(&bring.place);
    let paths: Vec<&str> = rows.iter().map(|(path, ..)| &**path).collect();
    assert_eq!(paths, ["a b.jpg", "b.jpg", "z/c.jpg"]);
    assert_eq!((&rows[0].2, &rows[1].2), (&a, &b), "vectors of length one are as they were");
    assert!(rows[2].2.iter().zip(&c).all(|(a, b)| (a - b).abs() < 1e-6), "others are scaled to it");
    assert_eq!((rows[1].1.size_bytes, rows[1].1.mtime_ns > 0), (5, true));
    assert_eq!(rows[0].1, FileFacts::default(), "of a picture that is not here nothing is known");
}

#[test]
fn many_vectors_are_paired_with_their_paths_whatever_their_order() {
    let bring = Bring::new();
    let name = |i: usize| format!("{}/{i}.jpg", i % 7);
    let pictures: Vec<(String, Vec<f32>)> =
        (0..5000).map(|i| (i * 1777) % 5000).map(|i| (name(i), vector(i as u64))).collect();
    bring.write(&pictures.iter().map(|(path, v)| (&**path, v.clone())).collect::<Vec<_>>());
    assert_eq!(bring.import().unwrap().added, 5000);
    let mut expected = pictures;
    expected.sort_by(|a, b| protocol::path_order(&a.0, &b.0));
    assert!(rows(&bring.place).into_iter().map(|(path, _, v)| (path, v)).eq(expected));
}

#[test]
fn an_import_adds_what_an_index_lacks_and_replaces_only_when_it_is_built_anew() {
    let bring = Bring::new();
    bring.write(&[("a", vector(1)), ("b", vector(2))]);
    bring.import().unwrap();
    bring.write(&[("c", vector(3)), ("b", vector(9))]);
    let report = bring.import().unwrap();
    assert_eq!((report.added, report.replaced, report.dropped), (1, 0, 0));
    let vectors = |place: &Place| rows(place).into_iter().map(|(_, _, vector)| vector).collect::<Vec<_>>();
    assert_eq!(vectors(&bring.place), [vector(1), vector(2), vector(3)]);
    let again = bring.import().unwrap();
    assert!(!again.written && again.meta.generation == 2);
    bring.merge(bring.read().unwrap(), true).unwrap();
    assert_eq!(vectors(&bring.place), [vector(9), vector(3)]);

    let elsewhere = Bring { root: Root::new(bring.root.here(), "/other"), place: Place::new(), ..bring };
    let import = elsewhere.read().unwrap();
    let sources = Sources::Imported { import: Box::new(import), model: model(DIM) };
    assert!(matches!(bring.place.merge(None, sources, false), Err(IndexError::OtherRoot { .. })));
}

#[test]
fn a_vector_without_a_direction_is_a_failure_and_the_others_are_imported() {
    let bring = Bring::new();
    bring.write(&[("a", vector(1)), ("b", vec![0.0; DIM]), ("c", vec![f32::NAN; DIM])]);
    fs::write(&bring.list, b"a\nb\nc\n").unwrap();
    let report = bring.import().unwrap();
    assert_eq!((report.added, report.failed), (1, 2));
    let ledger = fs::read_to_string(bring.place.prefix.failures()).unwrap();
    let lines: Vec<protocol::Failure> = ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, FailureKind)> = lines.iter().map(|f| (&*f.path, f.kind)).collect();
    assert_eq!(told, [("/photos/b", FailureKind::NoVector), ("/photos/c", FailureKind::NoVector)]);
    assert!(lines[1].detail.contains("row 2"), "{ledger}");
}

#[test]
fn what_cannot_be_imported_is_named_with_its_row_and_changes_nothing() {
    let bring = Bring::new();
    bring.write(&[("a", vector(1)), ("b", vector(2))]);
    bring.import().unwrap();
    let before = fingerprint_of(bring.place.prefix.dir());
    let good = [("x", vector(1)), ("y", vector(2)), ("x", vector(3))];
    bring.write(&good);
    let lists: [(&str, &[&str]); 6] = [
        ("x\ny\nx\n", &["x has two vectors, row 0", "row 2"]),
        ("x\n\ny\n", &["paths.txt", "2 paths", "v.npy has 3 rows"]),
        ("x\ny\nz\na\nb\n", &["paths.txt", "5 paths", "v.npy has 3 rows"]),
        ("x\n/elsewhere/y\nz\n", &["paths.txt", "row 1", "/elsewhere/y", "--root"]),
        ("x\n../y\nz\n", &["paths.txt", "row 1", "../y"]),
        ("", &["paths.txt", "0 paths"]),
    ];
    let refused = |said: &[&str]| {
        let error = bring.import().unwrap_err().to_string();
        assert!(said.iter().all(|said| error.contains(said)), "{error} lacks one of {said:?}");
        assert_eq!(fingerprint_of(bring.place.prefix.dir()), before, "{error}");
    };
    for (list, said) in lists {
        fs::write(&bring.list, list).unwrap();
        refused(said);
    }
    fs::write(&bring.list, "x\ny\nz\n").unwrap();
    npy(&bring.matrix, "<f4", 3, DIM, &[0; 4 * DIM * 3]);
    refused(&["v.npy", "no vector"]);
    npy(&bring.matrix, "<f4", 0, DIM, &[]);
    fs::write(&bring.list, "").unwrap();
    refused(&["v.npy", "no vector"]);
    npy(&bring.matrix, "<f4", 3, DIM + 1, &[64; 4 * (DIM + 1) * 3]);
    fs::write(&bring.list, "x\ny\nz\n").unwrap();
    refused(&["v.npy", "6 values", "5"]);
    npy(&bring.matrix, "<f4", 3, DIM, &[64; 4 * DIM * 3 - 1]);
    refused(&["v.npy", "cut short"]);
}

#[test]
fn what_is_exported_is_imported_again_as_it_was() {
    for (float, per_file, files) in [(Float::F32, 1000, 1), (Float::F32, 7, 12), (Float::F16, 40, 2)] {
        let bring = Bring::new();
        let pictures: Vec<(String, Vec<f32>)> = (0..80).map(|i| (format!("d/é {i}\n.jpg"), vector(i))).collect();
        bring.write(&pictures.iter().map(|(path, v)| (&**path, v.clone())).collect::<Vec<_>>());
        fs::write(&bring.list, pictures.iter().map(|(path, _)| format!("{path}\0")).collect::<String>()).unwrap();
        bring.import().unwrap();
        let before = rows(&bring.place);
        let folder = bring.folder("out", float, per_file);
        let digits = if files > 10 { 2 } else { 1 };
        let expected: Vec<String> = (0..files).map(|k| format!("img_emb_{k:0digits$}.npy")).collect();
        assert_eq!(names(&folder.join("img_emb")), expected);
        assert_eq!(names(&folder.join("metadata")).len(), files);
        let again = Export {
            prefix: &bring.place.prefix,
            folder: &folder,
            float,
            rows_per_file: per_file,
            progress: &mut |_| Ok(()),
        };
        assert!(matches!(export(again), Err(IndexError::NotEmpty { .. })));

        let other = Bring { place: Place::new(), ..bring };
        other.merge(other.read_this(&Brought::Folder(folder)).unwrap(), false).unwrap();
        let after = rows(&other.place);
        assert!(after.iter().map(|row| &row.0).eq(before.iter().map(|row| &row.0)));
        for ((.., a), (.., b)) in before.iter().zip(&after) {
            match float {
                Float::F32 => assert_eq!(a, b),
                Float::F16 => {
                    let halves: Vec<f32> = a.iter().map(|v| f16::from_f32(*v).to_f32()).collect();
                    assert_eq!(b, protocol::Embedding::normalise(halves).unwrap().values());
                }
            }
        }
    }
}

#[test]
fn a_folder_whose_files_do_not_fit_together_is_refused() {
    let bring = Bring::new();
    bring.write(&[("a", vector(1)), ("b", vector(2)), ("c", vector(3))]);
    bring.import().unwrap();
    let folder = bring.folder("out", Float::F32, 2);
    let refused = |said: &[&str]| {
        let error = bring.read_this(&Brought::Folder(folder.clone())).unwrap_err().to_string();
        assert!(said.iter().all(|said| error.contains(said)), "{error} lacks one of {said:?}");
    };
    let away = |name: &str| fs::rename(folder.join(name), folder.join("away")).unwrap();
    let back = |name: &str| fs::rename(folder.join("away"), folder.join(name)).unwrap();
    for (name, other) in [
        ("img_emb/img_emb_1.npy", "metadata/metadata_1.parquet"),
        ("metadata/metadata_0.parquet", "img_emb/img_emb_0.npy"),
    ] {
        away(name);
        refused(&[name, other, "but not"]);
        back(name);
    }
    away("img_emb/img_emb_0.npy");
    f32s(&folder.join("img_emb/img_emb_0.npy"), &[vec![1.0; DIM], vec![1.0; DIM], vec![1.0; DIM]]);
    refused(&["metadata_0.parquet", "2 paths", "img_emb_0.npy has 3 rows"]);
    f32s(&folder.join("img_emb/img_emb_0.npy"), &[vec![1.0; 4], vec![1.0; 4]]);
    refused(&["img_emb_1.npy", "5 values", "4"]);
    back("img_emb/img_emb_0.npy");
    fs::copy(bring.place.prefix.parquet(), folder.join("metadata/metadata_0.parquet")).unwrap();
    refused(&["metadata_0.parquet", "image_path"]);
    fs::write(folder.join("metadata/metadata_0.parquet"), "no parquet").unwrap();
    refused(&["metadata_0.parquet", "parquet"]);
    fs::remove_dir_all(folder.join("img_emb")).unwrap();
    refused(&["img_emb"]);
}

#[test]
fn damaged_lists_of_paths_in_parquet_are_refused_or_read() {
    use damage::{COPIES, Numbers, contained};
    contained(damaged_lists_of_paths_in_parquet_are_refused_or_read, || {
        let bring = Bring::new();
        let pictures: Vec<(String, Vec<f32>)> = (0..20).map(|i| (format!("d/{i}.jpg"), vector(i))).collect();
        bring.write(&pictures.iter().map(|(path, v)| (&**path, v.clone())).collect::<Vec<_>>());
        bring.import().unwrap();
        let folder = bring.folder("out", Float::F32, 100);
        let file = folder.join("metadata/metadata_0.parquet");
        let mut refused = 0;
        // As polars writes it here, and as pyarrow does: with a dictionary, compressed.
        for (whole, seed) in [(fs::read(&file).unwrap(), 3), (PYARROW.to_vec(), 4)] {
            fs::write(&file, &whole).unwrap();
            assert_eq!(bring.read_this(&Brought::Folder(folder.clone())).unwrap().rows(), 20);
            let mut numbers = Numbers::new(seed);
            for _ in 0..COPIES {
                fs::write(&file, damage::bytes(&whole, &mut numbers)).unwrap();
                if let Err(error) = bring.read_this(&Brought::Folder(folder.clone())) {
                    refused += 1;
                    let error = error.to_string();
                    // Two paths that have become the same are noticed later.
                    assert!(error.contains("metadata_0.parquet") || error.contains("img_emb_0.npy"), "{error}");
                }
            }
        }
        assert!(refused > COPIES / 2, "{refused}");
    });
}

/// `pandas.DataFrame({"image_path": [f"d/{i}.jpg" for i in range(20)], "caption": ...}).to_parquet(...)`, by pyarrow.
const PYARROW: &[u8] = include_bytes!("pandas.parquet");
