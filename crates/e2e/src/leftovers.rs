//! Files that docs/format.md does not know.

use std::fs;
use std::path::Path;

use crate::Lab;

/// What is wrong with the names of an index's files, after everybody has ended.
pub fn strangers(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    let beside = names(&lab.path("")).into_iter().filter(|name| name.trim_start_matches('.').starts_with("imageindex"));
    for name in beside {
        match name.as_str() {
            "imageindex" | "imageindex.meta.json" | "imageindex.parquet" | "imageindex.faiss" => {}
            _ => found.push(name),
        }
    }
    inside(&lab.prefix(), "", &mut found);
    found.into_iter().map(|name| format!("{name} is left over")).collect()
}

fn inside(prefix: &Path, folder: &str, found: &mut Vec<String>) {
    for name in names(&prefix.join(folder)) {
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if prefix.join(&path).is_dir() {
            if is_folder(&path) { inside(prefix, &path, found) } else { found.push(path) }
        } else if !is_file(folder, &name) {
            found.push(path);
        }
    }
}

fn is_folder(path: &str) -> bool {
    let run = path.strip_prefix("runs/").is_some_and(|run| !run.contains(['/', '.']));
    run || matches!(path, "parts" | "runs") || numbered(path, "gen-")
}

fn is_file(folder: &str, name: &str) -> bool {
    // Of a program that was killed; a merge removes it when it is a day old.
    if name.starts_with('.') && name.contains(".tmp-") {
        return true;
    }
    match folder {
        "" => {
            let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
            let partial = numbered(stem, "worker_") && matches!(extension, "parquet" | "faiss" | "meta.json");
            partial || matches!(name, ".imagefleet.json" | "lock" | "merge.lock" | "failures.jsonl")
        }
        "parts" => name.ends_with(".parquet"),
        "runs" => false,
        run if run.starts_with("runs/") => {
            matches!(name, "manifest" | "gone" | "scan_failures.jsonl" | "run.json" | "parts.jsonl")
        }
        _ => matches!(name, "seg-0.parquet" | "seg-0.faiss"),
    }
}

fn numbered(name: &str, before: &str) -> bool {
    name.strip_prefix(before).is_some_and(|number| number.parse::<u64>().is_ok())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
