//! docs/operations.md tells which faults are tried by the names of the tests themselves.

use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- faults: UPDATE=1 cargo test --workspace --test operations writes what follows -->\n";
const END: &str = "<!-- end of faults -->\n";

/// Where tests of faults are: files, and folders of them.
const PLACES: [&str; 5] = [
    "crates/e2e/tests",
    "crates/fleet/tests/ssh",
    "crates/index/tests/damage.rs",
    "merger/tests/faults.rs",
    "server/tests/lifecycle.rs",
];

/// Files in these that are not about faults.
const OTHERS: [&str; 13] = [
    "asking.rs",
    "bring.rs",
    "chain.rs",
    "demo_model.rs",
    "map.rs",
    "oldest_cpu.rs",
    "operations.rs",
    "prompt.rs",
    "readme.rs",
    "spelling.rs",
    "tidy.rs",
    "web.rs",
    "whole.rs",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Rust files at or below a place, sorted.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut inside: Vec<PathBuf> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    inside.sort();
    let rust = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|e| e == "rs");
    inside.iter().filter(|path| rust(path)).flat_map(|path| files(path)).collect()
}

/// The names of a file's tests, in its order.
fn tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let marks = lines.iter().enumerate().filter(|(_, line)| matches!(**line, "#[test]" | "#[tokio::test]"));
    let name = |at: usize| lines[at..].iter().find_map(|line| line.split_once("fn ")?.1.split_once('(')).map(|f| f.0);
    marks.filter_map(|(at, _)| name(at)).collect()
}

fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    words[..1].to_uppercase() + &words[1..]
}

fn table() -> String {
    let root = repository();
    let mut lines = vec!["| fault | test |\n|---|---|\n".to_owned()];
    for file in PLACES.iter().flat_map(|place| files(&root.join(place))) {
        if OTHERS.iter().any(|other| file.file_name().is_some_and(|name| name == *other)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let shown = file.strip_prefix(&root).unwrap().display();
        lines.extend(tests(&text).into_iter().map(|name| format!("| {} | `{shown}` |\n", sentence(name))));
    }
    lines.concat()
}

#[test]
fn the_table_of_faults_is_that_of_the_tests() {
    let page = repository().join("docs/operations.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has its marker");
    let (told, after) = rest.split_once(END).expect("the page has its end marker");
    let tried = table();
    assert!(tried.lines().count() > 40, "tests were not found: {tried}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&page, [before, BEGIN, &tried, END, after].concat()).unwrap();
        return;
    }
    let missing: Vec<&str> = tried.lines().filter(|line| !told.lines().any(|l| l == *line)).collect();
    assert!(
        told == tried,
        "docs/operations.md does not tell what is tried, as {missing:?}; write it anew with:\n\
         UPDATE=1 cargo test --workspace --test operations"
    );
}
