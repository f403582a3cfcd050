//! Rules of the house that no compiler knows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::finish;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Files that git knows, with their text; binary ones are left out.
fn sources(extensions: &[&str]) -> Vec<(String, String)> {
    let root = repository();
    let listed =
        finish(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&root));
    assert_eq!(listed.code, 0, "{}", listed.err);
    let wanted = |name: &&str| extensions.is_empty() || extensions.iter().any(|e| name.ends_with(e));
    let files: Vec<(String, String)> = listed
        .out
        .lines()
        .filter(wanted)
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root.join(name)).ok()?)))
        .collect();
    assert!(!files.is_empty(), "git lists no files {extensions:?}");
    files
}

fn cargo(args: &[&str]) -> String {
    let said = finish(Command::new(env!("CARGO")).args(args).current_dir(repository()));
    assert_eq!(said.code, 0, "{}", said.err);
    said.out
}

/// A feature that only a test needs has everything above its package compiled twice, which takes many minutes.
#[test]
fn programs_and_tests_are_built_from_the_same_packages() {
    let packages = |edges: &str| -> BTreeMap<String, BTreeSet<String>> {
        let tree = ["tree", "--offline", "--workspace", "--edges", edges, "--prefix=none", "--format={p} {f}"];
        let mut packages = BTreeMap::<_, BTreeSet<_>>::new();
        for line in cargo(&tree).lines() {
            let words: Vec<&str> = line.trim_end_matches(" (*)").splitn(3, ' ').collect();
            if let [name, version, features] = words[..] {
                packages.entry(format!("{name} {version}")).or_default().insert(features.to_owned());
            }
        }
        packages
    };
    let (programs, tests) = (packages("no-dev"), packages("all"));
    assert!(programs.len() > 100, "the tree was not understood: {programs:?}");
    for (package, features) in programs {
        assert!(tests[&package].is_subset(&features), "{package}: {features:?}, but {:?} in tests", tests[&package]);
    }
}

#[test]
fn controller_and_query_build_without_native_code() {
    let metadata = cargo(&["metadata", "--offline", "--format-version=1"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    for program in ["controller", "query"] {
        for target in ["x86_64-unknown-linux-gnu", "aarch64-apple-darwin"] {
            let edges = ["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
            let tree = cargo(&[&edges[..], &["--package", program, "--target", target]].concat());
            let closure: HashSet<(&str, &str)> = tree
                .lines()
                .filter_map(|l| l.split_once(' '))
                .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default().trim_start_matches('v')))
                .collect();
            assert!(closure.len() > 30, "{program}: the tree was not understood: {tree}");
            for package in metadata["packages"].as_array().unwrap() {
                let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
                let links = closure.contains(&(name, version)) && !package["links"].is_null();
                assert!(!links, "{program} on {target} links native code through {name}");
            }
            for builder in ["cc", "cmake", "pkg-config", "bindgen", "nasm-rs"] {
                assert!(
                    !closure.iter().any(|(name, _)| *name == builder),
                    "{program} on {target} builds C with {builder}"
                );
            }
        }
    }
}

#[test]
fn only_clip_names_the_runtime_and_only_index_names_faiss_and_polars() {
    let home = [
        ("ort", "crates/clip/"),
        ("faiss", "crates/index/"),
        ("faiss-sys", "crates/index/"),
        ("polars", "crates/index/"),
        ("polars-parquet", "crates/index/"),
    ];
    for (name, text) in sources(&["Cargo.toml"]) {
        for (dependency, place) in home {
            let named = text.lines().any(|l| l.split(['.', ' ', '=']).next() == Some(dependency));
            assert!(!named || name.starts_with(place) || name == "Cargo.toml", "{name} names {dependency}");
        }
    }
}

#[test]
fn nothing_that_only_linux_has_in_what_runs_on_a_mac() {
    for (name, text) in sources(&[".rs"]) {
        let portable =
            ["controller/src/", "query/src/", "crates/disk/src/", "crates/fleet/src/", "crates/protocol/src/"];
        if portable.iter().any(|p| name.starts_with(p)) {
            for word in ["/proc", "std::os::linux", "target_os = \"linux\""] {
                assert!(!text.contains(word), "{name} holds {word}");
            }
        }
    }
}

/// So that no name and no host steers a terminal, and nobody who stops reading ends a run.
#[test]
fn what_programs_say_goes_out_by_one_door() {
    let doors = ["controller/src/", "worker/src/", "merger/src/", "server/src/", "query/src/"];
    let crates = ["protocol", "disk", "fleet", "clip", "index"].map(|name| format!("crates/{name}/src/"));
    for (name, text) in sources(&[".rs"]) {
        let ours = doors.into_iter().chain(crates.iter().map(String::as_str)).any(|place| name.starts_with(place));
        if !ours || name == "crates/protocol/src/say.rs" {
            continue;
        }
        for word in ["print!(", "println!(", "stdout().lock", "stderr().lock", "stdout().write", "stderr().write"] {
            assert!(!text.contains(word), "{name} holds {word}: see crates/protocol/src/say.rs");
        }
        // Their `io::Write` would be the way around it.
        for stream in ["std::io::stdout", "std::io::stderr", "io::stdout", "io::stderr"] {
            assert!(!text.contains(&format!("use {stream}")), "{name} uses {stream}: see crates/protocol/src/say.rs");
        }
    }
}

/// `..` in a stored path would make one folder two.
#[test]
fn paths_become_absolute_by_one_function() {
    for (name, text) in sources(&[".rs"]) {
        let inside = name.contains("/src/") && name != "crates/protocol/src/path.rs";
        assert!(!inside || !text.contains("path::absolute("), "{name}: see crates/protocol/src/path.rs");
    }
}

#[test]
fn arrows_point_one_way() {
    let allowed: [(&str, &[&str]); 6] = [
        ("crates/protocol/Cargo.toml", &[]),
        ("crates/disk/Cargo.toml", &["protocol"]),
        ("crates/fleet/Cargo.toml", &["protocol", "disk"]),
        ("crates/clip/Cargo.toml", &["protocol"]),
        ("crates/index/Cargo.toml", &["protocol", "disk"]),
        ("controller/Cargo.toml", &["protocol", "disk", "fleet"]),
    ];
    let ours = ["protocol", "disk", "fleet", "clip", "index", "controller", "worker", "merger", "query", "server"];
    let files = sources(&["Cargo.toml"]);
    for (file, may) in allowed {
        let (_, text) = files.iter().find(|(name, _)| name == file).unwrap();
        let text = text.split("[dev-dependencies]").next().unwrap();
        for other in ours {
            let named = text.lines().any(|l| l.starts_with(&format!("{other}.workspace")));
            assert!(!named || may.contains(&other), "{file} depends on {other}");
        }
    }
}

#[test]
fn mains_are_thin_and_files_are_one_idea() {
    for (name, text) in sources(&[".rs"]) {
        let lines = text.lines().count();
        let most = if name.ends_with("src/main.rs") && !name.starts_with("crates/demo-pictures") { 30 } else { 500 };
        assert!(lines <= most, "{name} has {lines} lines");
    }
}

#[test]
fn nothing_unfinished_and_no_test_that_never_runs() {
    for (name, text) in sources(&[".rs"]) {
        if name == "crates/e2e/tests/tidy.rs" {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "#[ignore", "dbg!("] {
            assert!(!text.contains(word), "{name} holds {word}");
        }
    }
}
