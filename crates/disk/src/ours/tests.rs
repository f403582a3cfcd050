use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;

struct Place {
    dir: tempfile::TempDir,
    prefix: IndexPrefix,
}

impl Place {
    /// A prefix whose folder holds these files.
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { prefix: IndexPrefix::new(dir.path().join("proj")), dir };
        for (name, text) in files {
            let file = place.dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        place
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.prefix.dir()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn words(error: Error) -> String {
    format!("{error}: {}", error.source)
}

fn sealed() -> String {
    format!("PAR1rows{SEAL}000footerPAR1")
}

#[test]
fn a_new_and_an_empty_folder_become_ours_and_stay_so() {
    let place = Place::with(&[]);
    assert!(standing(&place.prefix).unwrap().is_none());
    look(&place.prefix).unwrap();
    assert!(!place.prefix.dir().exists());
    make(&place.prefix).unwrap();
    assert_eq!(place.names(), [MARKER]);
    fs::write(place.prefix.dir().join("notes.txt"), "a person's").unwrap();
    make(&place.prefix).unwrap();
    let marker = fs::read_to_string(place.prefix.dir().join(MARKER)).unwrap();
    assert!(!marker.contains('/'), "a path would be wrong once the folder is moved: {marker}");

    let droppings = [".DS_Store", "._x", "Thumbs.db", ".nfs0001", "@eaDir/x"].map(|name| format!("proj/{name}"));
    let place = Place::with(&droppings.each_ref().map(|name| (name.as_str(), "x")));
    make(&place.prefix).unwrap();
    assert_eq!(place.names().len(), 6);
}

#[test]
fn somebodys_folder_is_refused_and_told_what_is_in_it() {
    let record = r#"{"run_id": "train1", "loss": 0.3}"#;
    let strangers: [&[(&str, &str)]; 14] = [
        &[("proj/notes.txt", "x")],
        &[("proj/runs/train1/weights.bin", "x"), ("proj/gen-7/art.png", "x")],
        &[("proj/runs/train1/run.json", record)],
        &[("proj/gen-7/art.png", "x")],
        &[("proj/gen-7/seg-0.parquet", "PAR1 of pandas PAR1"), ("proj/gen-7/readme", "x")],
        &[("proj/lock", "a document")],
        &[("proj/failures.jsonl", "{\"test\": \"failed\"}\n")],
        &[("proj/parts/wheel.parquet", "PAR1 of pandas PAR1")],
        &[("proj/thumbnails/holiday.jpg", "x")],
        &[("proj/worker_0.meta.json", "{\"worker_id\": 0}")],
        &[("proj/.imagefleet.json", "another's")],
        &[("proj.meta.json", "{\"title\": \"my project\"}")],
        &[("proj.parquet", "PAR1 of pandas PAR1")],
        &[("proj/.DS_Store", ""), ("proj.faiss", "IxFI")],
    ];
    for files in strangers {
        let place = Place::with(files);
        for refused in [make(&place.prefix).map(drop), standing(&place.prefix).map(drop), look(&place.prefix)] {
            // Where there is no folder, nothing of ours stands there.
            if let Err(error) = refused {
                let words = words(error);
                assert!(words.contains("proj") && words.contains("choose an --index-prefix"), "{words}");
                let name = files.last().unwrap().0.trim_start_matches("proj/").split('/').next().unwrap();
                assert!(words.contains(name) || files.len() > 1, "{words} does not name {name}");
            } else {
                assert!(!place.prefix.dir().exists(), "{files:?} were taken for ours");
            }
        }
        assert!(make(&place.prefix).is_err(), "{files:?} were taken for ours");
        files
            .iter()
            .for_each(|(name, text)| assert_eq!(fs::read_to_string(place.dir.path().join(name)).unwrap(), *text));
    }
}

#[test]
fn an_index_from_before_there_were_markers_gets_one() {
    let meta = json!({"model_name": "m", "embedding_dim": 4, "num_images": 5, "num_workers": 1, "worker_metadata": []});
    let partial = json!({"worker_id": 3, "model_name": "m", "embedding_dim": 4, "num_images": 5});
    let record = json!({"format_version": 1, "run_id": "r1", "root": "/p", "model": "m", "fingerprint": "f"});
    let owner = json!({"program": "controller", "host": "h", "pid": 7, "heartbeat_unix_s": 1});
    let (meta, partial, record, owner) = (meta.to_string(), partial.to_string(), record.to_string(), owner.to_string());
    let (part, mine) = (sealed(), ("proj/notes.txt", "a person's"));
    let jpeg = format!("proj/thumbnails/ab/{}.jpg", "ab".repeat(16));
    let ours: [&[(&str, &str)]; 10] = [
        &[("proj.meta.json", &meta), mine],
        &[("proj/parts/p.parquet", &part), mine],
        &[("proj/gen-1/seg-0.parquet", &part), mine],
        &[("proj/runs/r1/run.json", &record), mine],
        &[("proj/worker_3.meta.json", &partial), ("proj/worker_3.faiss", "IxFI"), mine],
        &[("proj.parquet", &part), ("proj.faiss", "IxFI")],
        // Runs that were killed before there was anything to tell.
        &[("proj/lock", &owner), ("proj/.token.tmp-123456-77", "h"), ("proj/.lock.tmp-77-123", "")],
        &[("proj/lock", ""), ("proj/runs/r1/manifest", "[\"a.jpg\",1,2]\n[\"b"), ("proj/runs/r2/manifest", "")],
        &[("proj/gen-1.tmp-99/seg-0.parquet", "PAR1"), ("proj/parts/.DS_Store", "")],
        &[(&jpeg, "x")],
    ];
    for files in ours {
        let place = Place::with(files);
        let found = if place.prefix.dir().exists() { standing(&place.prefix) } else { make(&place.prefix).map(Some) };
        assert!(found.unwrap().is_some(), "{files:?}");
        assert!(place.names().contains(&MARKER.into()), "{files:?}");
    }
}

#[test]
fn a_planted_link_is_named_and_not_followed() {
    for name in [MARKER, "runs", "parts", "gen-1", "lock", "thumbnails"] {
        let place = Place::with(&[("victim/runs/r1/x", "x"), ("document", "x"), ("proj/.DS_Store", "")]);
        let to = if matches!(name, MARKER | "lock") { "document" } else { "victim" };
        symlink(place.dir.path().join(to), place.prefix.dir().join(name)).unwrap();
        let words = words(make(&place.prefix).unwrap_err());
        assert!(words.contains(name), "{words}");
        assert_eq!(fs::read_to_string(place.dir.path().join("document")).unwrap(), "x");
    }
}
