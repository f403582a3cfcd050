//! What earlier releases left goes on where it was: nothing is embedded again. `old/make.sh` made the archives.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use e2e::{Lab, finish};

const DRAWN: u64 = 1_700_000_000;

/// The index of an earlier release, with the pictures that it was made of.
fn unpacked(archive: &str) -> Lab {
    let lab = Lab::new();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old").join(archive);
    assert_eq!(finish(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(lab.path(""))).code, 0);
    let hosts =
        format!("* path_map={}:/photos\nlocalhost work_dir={}\n", lab.path("").display(), lab.path("work").display());
    fs::write(lab.path("hosts"), hosts).unwrap();
    lab.draw("first", 200, 1);
    lab.draw("second", 40, 2);
    fs::write(lab.path("images/broken.jpg"), "no picture").unwrap();
    fs::write(lab.path("images/new_broken.jpg"), "nor is this").unwrap();
    for folder in ["images", "images/first", "images/second"] {
        for file in fs::read_dir(lab.path(folder)).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_file()) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(DRAWN);
            File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
        }
    }
    lab
}

/// Only one was drawn.
fn finds_the_yellow_car(lab: &Lab) {
    let found = lab.ask("a yellow car", 1);
    assert!(found[0].ends_with("first/yellow_car_035.jpg"), "{found:?}");
}

#[test]
fn an_index_of_format_2_with_unmerged_parts_goes_on_without_embedding_again() {
    let lab = unpacked("format-2.tar.gz");
    finds_the_yellow_car(&lab);
    let before = lab.rows_below(Path::new("/photos/images"));
    assert_eq!(before.len(), 200);
    let said = lab.index(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("242 pictures, 1 to embed, 240 already indexed, 1 failed"), "{said:?}");
    let after = lab.rows_below(Path::new("/photos/images"));
    assert_eq!(after.len(), 240);
    assert!(before.iter().all(|row| after.contains(row)));
    finds_the_yellow_car(&lab);
    let ledger = fs::read_to_string(lab.path("imageindex/failures.jsonl")).unwrap();
    assert!(ledger.contains("broken.jpg") && ledger.contains("new_broken.jpg"), "{ledger}");
}

#[test]
fn parts_of_format_2_are_merged_alone() {
    let lab = unpacked("format-2.tar.gz");
    let said = lab.index(&["--merge-only"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert_eq!(lab.meta()["num_images"], 240);
    finds_the_yellow_car(&lab);
}
