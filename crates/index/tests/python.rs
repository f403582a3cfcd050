//! Python's own polars and faiss read what we write, and answer the same.

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::*;
use index::{Index, Row, gather};

const READ: &str = r#"
import json, sys
import faiss, numpy as np, polars as pl
prefix, query = sys.argv[1], np.array(json.loads(sys.argv[2]), dtype="float32")
table = pl.read_parquet(prefix + ".parquet")
index = faiss.read_index(prefix + ".faiss")
assert table.columns == ["path", "embedding", "size", "mtime_ns", "content_hash", "width", "height", "taken_s"], table.columns
assert table.schema["embedding"] == pl.Array(pl.Float32, index.d), table.schema
assert [table.schema[c] for c in ("width", "height", "taken_s")] == [pl.UInt32, pl.UInt32, pl.Int64], table.schema
assert type(index).__name__ == "IndexFlatIP" and index.ntotal == len(table)
vectors = table["embedding"].to_numpy()
assert vectors.shape == (index.ntotal, index.d) and vectors.dtype == np.float32
if index.ntotal:
    assert (vectors == index.reconstruct_n(0, index.ntotal)).all(), "row i is not id i"
    assert abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-3
scores, ids = index.search(query[None, :], 10)
found = [(float(s), table["path"][int(i)]) for s, i in zip(scores[0], ids[0]) if i >= 0]
print(json.dumps({"found": found, "rows": len(table), "size": table["size"].to_list()[:1], "facts": table.select("path", "width", "height", "taken_s").rows(),
    "nulls": sum(table.drop("taken_s").null_count().row(0))}))
"#;

fn python() -> PathBuf {
    let python = std::env::var_os("IMAGEFLEET_PYTHON").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
        cache.join("imagefleet/python/bin/python")
    });
    assert!(python.exists(), "there is no Python with polars and faiss at {}: run make setup", python.display());
    python
}

fn ask_python(prefix: &std::path::Path, query: &[f32]) -> serde_json::Value {
    let output = Command::new(python())
        .args(["-c", READ])
        .arg(prefix)
        .arg(serde_json::to_string(query).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn python_reads_an_index_and_a_partial_with_equal_ids_and_scores() {
    for (count, dim) in [(10_000, 33), (0, 5)] {
        let place = Place::new();
        let rows: Vec<Row> = (0..count).map(|i| row(&format!("{}/é {i}.jpg", i % 7), 1, dim)).collect();
        let mut parts = vec![place.part("p0", &[], dim)];
        parts.extend(rows.chunks(999).enumerate().map(|(i, chunk)| place.part(&format!("p{}", i + 1), chunk, dim)));
        let names: Vec<String> = parts.iter().map(|p| p.name.clone()).collect();
        gather(&place.prefix.worker(0), &names, worker_meta(0, "r", dim)).unwrap();
        place.merge_parts(None, parts).unwrap();
        let query = Random(9).embedding(dim);
        let ours = Index::open(&place.prefix, &place.cache()).unwrap().search(&query, 10).unwrap();
        assert_eq!(ours.len(), 10.min(count as usize));
        for prefix in [place.prefix.dir(), place.prefix.worker(0).path()] {
            let theirs = ask_python(prefix, query.values());
            assert_eq!((&theirs["rows"], &theirs["nulls"]), (&count.into(), &0.into()));
            let found: Vec<(f64, String)> = serde_json::from_value(theirs["found"].clone()).unwrap();
            assert_eq!(found.len(), ours.len());
            let facts: Vec<(String, u32, u32, Option<i64>)> = serde_json::from_value(theirs["facts"].clone()).unwrap();
            let mut expected: Vec<&Row> = rows.iter().collect();
            expected.sort_by(|a, b| a.path.cmp(&b.path));
            let expected =
                expected.iter().map(|r| (format!("{ROOT}/{}", r.path), r.file.width, r.file.height, r.file.taken_s));
            assert!(facts.into_iter().eq(expected));
            for ((score, path), (our_score, our_path)) in found.iter().zip(&ours) {
                assert_eq!(path, our_path);
                assert!((score - f64::from(*our_score)).abs() < 1e-5, "{path}: {score} and {our_score}");
            }
        }
    }
}
