//! What moved keeps its vector, what failed is not tried in vain, and what did not change is not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use e2e::{Lab, Said};

/// Rows by path, with the bits of their vectors.
fn rows(lab: &Lab) -> Vec<(String, Vec<u32>)> {
    lab.rows().into_iter().map(|(path, v)| (path, v.into_iter().map(f32::to_bits).collect())).collect()
}

fn says(said: &Said, code: i32, words: &str) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.out.contains(words), "{words:?} is not in {said:?}");
}

#[test]
fn a_moved_album_keeps_its_vectors_and_looks_not_lost() {
    let lab = Lab::new();
    lab.draw("a", 120, 1);
    lab.draw("b", 10, 2);
    assert_eq!(lab.index(&[]).code, 0);
    let before = rows(&lab);
    fs::create_dir(lab.images().join("z")).unwrap();
    fs::rename(lab.images().join("a"), lab.images().join("z/y")).unwrap();
    let said = lab.index(&["--dry-run"]);
    says(&said, 0, "130 pictures, 0 to embed, 130 already indexed (120 of them moved)");
    assert_eq!(fs::read_dir(lab.prefix().join("parts")).unwrap().count(), 0, "a dry run makes nothing");
    // Interrupted before the merge, and gone on with: 120 of 130 would be too many to be lost.
    says(&lab.index(&["--no-merge"]), 0, "embedded 0 + failed 0 + already indexed 130 (120 of them moved)");
    says(&lab.index(&[]), 0, "Scanned 130 = embedded 0 + failed 0 + already indexed 130");
    let now = |(path, vector): (String, Vec<u32>)| {
        (path.strip_prefix("a/").map_or(path.clone(), |name| format!("z/y/{name}")), vector)
    };
    let mut wanted: Vec<_> = before.into_iter().map(now).collect();
    wanted.sort();
    let mut found = rows(&lab);
    found.sort();
    assert_eq!(found, wanted, "each vector is where its picture is, bit by bit");
}

#[test]
fn names_that_are_exchanged_and_times_that_change_cost_no_embedding() {
    let lab = Lab::new();
    lab.draw("", 20, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let before = rows(&lab);
    let picture = |i: usize| lab.images().join(&before[i].0);
    fs::rename(picture(0), lab.path("aside")).unwrap();
    fs::rename(picture(1), picture(0)).unwrap();
    fs::rename(lab.path("aside"), picture(1)).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600);
    fs::File::options().append(true).open(picture(2)).unwrap().set_modified(later).unwrap();
    says(&lab.index(&[]), 0, "embedded 0 + failed 0 + already indexed 20 (3 of them moved)");
    let after = rows(&lab);
    assert_eq!((&after[0].1, &after[1].1), (&before[1].1, &before[0].1));
    assert_eq!(after[2..], before[2..]);
}

/// Two pictures of the same length: what follows a JPEG's end is none of it.
fn of_one_length(lab: &Lab) -> (Vec<u8>, Vec<u8>) {
    lab.draw("", 30, 1);
    let all = fs::read_dir(lab.images()).unwrap().flatten().map(|e| e.path());
    let mut jpegs = all.filter(|p| p.extension().is_some_and(|e| e == "jpg"));
    let mut take = || fs::read(jpegs.next().unwrap()).unwrap();
    let (mut one, mut two) = (take(), take());
    let longest = one.len().max(two.len());
    one.resize(longest, 0);
    two.resize(longest, 0);
    assert_ne!(one, two);
    fs::remove_dir_all(lab.images()).unwrap();
    fs::create_dir(lab.images()).unwrap();
    (one, two)
}

#[test]
fn another_picture_of_the_same_length_never_gets_the_vector_of_one_that_is_gone() {
    let lab = Lab::new();
    let (one, two) = of_one_length(&lab);
    fs::write(lab.images().join("one.jpg"), &one).unwrap();
    assert_eq!(lab.index(&[]).code, 0);
    let before = rows(&lab);
    fs::remove_file(lab.images().join("one.jpg")).unwrap();
    fs::write(lab.images().join("two.jpg"), &two).unwrap();
    fs::write(lab.images().join("three.jpg"), &one).unwrap();
    says(&lab.index(&[]), 0, "Scanned 2 = embedded 1 + failed 0 + already indexed 1 (1 of them moved)");
    let after = rows(&lab);
    assert_eq!(after.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["three.jpg", "two.jpg"]);
    assert_eq!(after[0].1, before[0].1);
    assert_ne!(after[1].1, before[0].1);
}

#[test]
fn what_cannot_be_decoded_is_tried_again_when_that_may_help_and_not_before() {
    let lab = Lab::new();
    lab.draw("", 6, 1);
    let bad = lab.images().join("bad.jpg");
    fs::write(&bad, b"this is no picture").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(lab.images().join("pipe.jpg")).status().unwrap().success());
    let ledger = lab.prefix().join("failures.jsonl");
    let attempts = || {
        let lines = fs::read_to_string(&ledger).unwrap();
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let name = Path::new(line["path"].as_str().unwrap()).file_name().unwrap().to_owned();
            (name.into_string().unwrap(), line["attempts"].as_u64().unwrap())
        };
        lines.lines().map(line).collect::<Vec<_>>()
    };
    let ledgers = |bad: u64, pipe: u64| vec![("bad.jpg".to_owned(), bad), ("pipe.jpg".to_owned(), pipe)];
    says(&lab.index(&[]), 3, "Scanned 8 = embedded 6 + failed 2");
    assert_eq!(attempts(), ledgers(1, 1));
    // The pipe may have become a picture meanwhile; the other is as it was.
    let said = lab.index(&[]);
    says(&said, 3, "Scanned 8 = embedded 0 + failed 2 + already indexed 6");
    says(&said, 3, "1 failed before and unchanged; controller --retry-failed tries them again");
    assert!(said.err.contains("8 pictures, 0 to embed"), "{said:?}");
    assert_eq!(attempts(), ledgers(1, 2));
    says(&lab.index(&["--retry-failed"]), 3, "embedded 0 + failed 2");
    assert_eq!(attempts(), ledgers(2, 3));
    // Another version may read more.
    let text = fs::read_to_string(&ledger).unwrap();
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{text}");
    fs::write(&ledger, text.replace(&version, "\"version\":\"0.0.1\"")).unwrap();
    assert!(lab.index(&[]).err.contains("8 pictures, 1 to embed"));
    assert_eq!(attempts(), ledgers(3, 4));
    // A picture that changes is tried again, and one that is embedded leaves the ledger.
    let good = fs::read_dir(lab.images()).unwrap().flatten().map(|e| e.path());
    let good =
        good.filter(|p| p.extension().is_some_and(|e| e == "jpg")).find(|p| *p != bad && !p.ends_with("pipe.jpg"));
    fs::copy(good.unwrap(), &bad).unwrap();
    fs::remove_file(lab.images().join("pipe.jpg")).unwrap();
    says(&lab.index(&[]), 0, "Scanned 7 = embedded 1 + failed 0 + already indexed 6");
    assert_eq!(attempts(), []);
}

/// Inode and time of every file of the index that a run could write again.
fn files(lab: &Lab) -> Vec<(PathBuf, u64, SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    let mut found: Vec<PathBuf> =
        ["meta.json", "parquet", "faiss"].map(|end| lab.path(format!("imageindex.{end}"))).into();
    let mut folders = vec![lab.prefix()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() != "runs" => folders.push(entry.path()),
                true => {}
                // Whose work it is, and what this run saw, is new each time.
                false if !entry.file_name().to_string_lossy().ends_with("lock") => found.push(entry.path()),
                false => {}
            }
        }
    }
    found.sort();
    let state = |file: PathBuf| {
        let seen = fs::metadata(&file).unwrap();
        (file, seen.ino(), seen.modified().unwrap())
    };
    found.into_iter().map(state).collect()
}

#[test]
fn a_run_that_finds_nothing_changed_writes_no_file_of_the_index_again() {
    let lab = Lab::new();
    lab.draw("a", 60, 1);
    lab.draw("b", 40, 2);
    fs::write(lab.images().join("bad.jpg"), b"no picture").unwrap();
    assert_eq!(lab.index(&[]).code, 3);
    let before = files(&lab);
    assert!(before.len() >= 8, "{before:?}");
    says(&lab.index(&[]), 3, "Scanned 101 = embedded 0 + failed 1 + already indexed 100");
    assert_eq!(files(&lab), before);
    // Of a hundred pictures one changes: one is embedded.
    let paths = lab.paths();
    fs::copy(lab.images().join(&paths[0]), lab.images().join(&paths[99])).unwrap();
    says(&lab.index(&[]), 3, "Scanned 101 = embedded 1 + failed 1 + already indexed 99");
}

#[test]
fn a_wrong_folder_a_list_of_ten_and_a_new_exclude_lose_no_row() {
    let lab = Lab::new();
    lab.draw("a", 120, 1);
    lab.draw("b", 10, 2);
    assert_eq!(lab.index(&[]).code, 0);
    let before = rows(&lab);
    let list: String = before.iter().take(10).map(|(path, _)| format!("{}/{path}\n", lab.images().display())).collect();
    fs::write(lab.path("list.txt"), list).unwrap();
    says(&lab.index(&["--image-list", "list.txt"]), 0, "Scanned 10 = embedded 0 + failed 0 + already indexed 10");
    says(&lab.index(&["--exclude", "a"]), 0, "Scanned 10 = embedded 0 + failed 0 + already indexed 10");
    assert_eq!(rows(&lab), before);
    // Another share is mounted where the pictures were.
    fs::rename(lab.images(), lab.path("away")).unwrap();
    fs::create_dir(lab.images()).unwrap();
    lab.draw("other", 20, 3);
    let said = lab.index(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("130 of 130 indexed pictures are no longer in"), "{said:?}");
    assert!(said.err.contains("--allow-deletions"), "{said:?}");
    assert_eq!(rows(&lab), before);
}
