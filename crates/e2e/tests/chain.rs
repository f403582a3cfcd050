//! The main job on one machine: folder -> scan -> encode -> merge -> query, with real processes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use e2e::{HOSTILE, Lab, finish, run_python, wait_for};

fn names_show(paths: &[String], what: &str) -> usize {
    paths.iter().filter(|p| Path::new(p).file_name().is_some_and(|n| n.to_string_lossy().starts_with(what))).count()
}

#[test]
fn a_folder_becomes_searchable_by_words() {
    let lab = Lab::new();
    lab.draw("", 160, 11);
    let said = lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("Scanned 160 = embedded 160 + failed 0 + already indexed 0"), "{}", said.out);
    for what in ["yellow car", "red house", "blue fish"] {
        let found = lab.ask(&format!("a {what}"), 1);
        assert_eq!(names_show(&found, &what.replace(' ', "_")), 1, "{what}: {found:?}");
    }
}

#[test]
fn matches_are_copied_with_their_extension_and_never_overwrite() {
    let lab = Lab::new();
    lab.draw("", 20, 1);
    fs::copy(fs::read_dir(lab.images()).unwrap().next().unwrap().unwrap().path(), lab.images().join("COPY.JPG"))
        .unwrap();
    assert_eq!(lab.index(&[]).code, 0);
    for _ in 0..3 {
        assert_eq!(lab.query(&["--text", "a car", "--top-k", "21", "--no-collapse"]).code, 0);
    }
    let copies: Vec<String> = fs::read_dir(lab.path("image_results"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(copies.len(), 63, "{copies:?}");
    assert!(copies.iter().all(|c| c.starts_with("match_20") && c.contains("_rank0")), "{copies:?}");
    assert_eq!(copies.iter().filter(|c| c.ends_with(".JPG")).count(), 3);
    assert_eq!(lab.index(&[]).out.matches("embedded 0").count(), 1, "the results' folder is not indexed");
}

#[test]
fn a_second_run_embeds_what_is_new_and_nothing_else() {
    let lab = Lab::new();
    lab.draw("a", 30, 1);
    lab.draw("b/c", 30, 2);
    assert_eq!(lab.index(&[]).code, 0);
    let first = lab.meta();
    let said = lab.index(&[]);
    assert!(said.out.contains("Scanned 60 = embedded 0 + failed 0 + already indexed 60"), "{said:?}");
    assert_eq!(lab.meta(), first, "nothing changed, so nothing was written");

    fs::copy(lab.images().join(&lab.paths()[0]), lab.images().join("new.jpg")).unwrap();
    assert!(lab.index(&[]).out.contains("Scanned 61 = embedded 1 + failed 0 + already indexed 60"));
    assert!(lab.paths().contains(&"new.jpg".to_owned()));

    fs::remove_file(lab.images().join("new.jpg")).unwrap();
    let said = lab.index(&[]);
    assert!(said.out.contains("1 removed"), "{said:?}");
    assert!(!lab.paths().contains(&"new.jpg".to_owned()));
    assert_eq!(lab.paths().len(), 60);
    assert_eq!(lab.meta()["generation"], 3);
}

#[test]
fn a_changed_picture_is_embedded_again_and_stands_once() {
    let lab = Lab::new();
    lab.draw("", 12, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let before = lab.rows();
    fs::copy(lab.images().join(&before[0].0), lab.images().join(&before[1].0)).unwrap();
    assert!(lab.index(&[]).out.contains("embedded 1"));
    let after = lab.rows();
    assert_eq!(after.len(), 12);
    assert_eq!(after[1].1, before[0].1, "the vector is that of the picture that is there now");
    assert_eq!(after[0], before[0]);
}

#[test]
fn a_folder_that_cannot_be_listed_deletes_nothing() {
    let lab = Lab::new();
    lab.draw("open", 10, 1);
    lab.draw("closed", 10, 2);
    assert_eq!(lab.index(&[]).code, 0);
    let before = lab.rows();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(lab.images().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::remove_file(lab.images().join(&before.last().unwrap().0)).unwrap();
    let mut command = lab.powerless("controller");
    let said = finish(
        command.arg("--image-dir").arg(lab.images()).arg("--hosts").arg(lab.path("hosts")).args(["--model", "demo"]),
    );
    fs::set_permissions(lab.images().join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("folder_unreadable") && said.err.contains("closed"), "{said:?}");
    assert_eq!(lab.rows(), before[..19], "only the deleted picture of the folder that was listed is gone");
}

#[test]
fn lists_and_excludes_never_delete() {
    let lab = Lab::new();
    lab.draw("a", 10, 1);
    lab.draw("b", 10, 2);
    assert_eq!(lab.index(&[]).code, 0);
    let list = lab.path("list.txt");
    fs::write(&list, format!("{}\n", lab.images().join(&lab.paths()[0]).display())).unwrap();
    assert_eq!(lab.index(&["--image-list", list.to_str().unwrap()]).code, 0);
    assert_eq!(lab.index(&["--exclude", "b"]).code, 0);
    assert_eq!(lab.paths().len(), 20);
}

#[test]
fn many_pictures_gone_at_once_stop_the_run() {
    let lab = Lab::new();
    lab.draw("a", 120, 1);
    lab.draw("b", 10, 2);
    assert_eq!(lab.index(&[]).code, 0);
    fs::remove_dir_all(lab.images().join("a")).unwrap();
    let said = lab.index(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("--allow-deletions"), "{said:?}");
    assert_eq!(lab.paths().len(), 130);
    assert_eq!(lab.index(&["--allow-deletions"]).code, 0);
    assert_eq!(lab.paths().len(), 10);
}

#[test]
fn hostile_names_are_indexed_and_found_and_run_by_no_shell() {
    let lab = Lab::new();
    let mut names = lab.draw_hostile();
    let deep = "$(touch pwned)/-deep 'er\"/in.jpg".to_owned();
    fs::create_dir_all(lab.images().join(&deep).parent().unwrap()).unwrap();
    let source = lab.images().join(&names[0]);
    fs::copy(&source, lab.images().join(&deep)).unwrap();
    names.push(deep);
    fs::write(lab.images().join(OsStr::from_bytes(b"not\xffutf8.jpg")), b"x").unwrap();
    let bad_folder = lab.images().join(OsStr::from_bytes(b"fold\xfeer"));
    fs::create_dir(&bad_folder).unwrap();
    fs::copy(&source, bad_folder.join("in.jpg")).unwrap();
    let said = lab.index(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert_eq!(said.err.matches("name_not_utf8").count(), 2, "{said:?}");
    let ledger = fs::read_to_string(lab.path("imageindex/failures.jsonl")).unwrap();
    assert_eq!(ledger.matches("name_not_utf8").count(), 2, "{ledger}");
    names.sort();
    let mut found = lab.paths();
    found.sort();
    assert_eq!(found, names);
    assert_eq!(lab.ask("anything", 100).len(), names.len());
    for question in HOSTILE.iter().chain(&["--help", "%s\n\"x\""]) {
        let said = lab.query(&["--no-copy-results", "--top-k", "3", &format!("--text={question}")]);
        assert_eq!(said.code, 0, "{question:?}: {said:?}");
    }
    assert!(!lab.pwned(), "a shell has run a name or a question");
}

#[test]
fn one_bad_picture_is_a_named_failure_and_stops_nothing() {
    let lab = Lab::new();
    lab.draw("", 10, 1);
    fs::write(lab.images().join("empty.jpg"), b"").unwrap();
    fs::write(lab.images().join("words.png"), b"this is no picture").unwrap();
    let whole = fs::read(
        lab.images().join(
            fs::read_dir(lab.images())
                .unwrap()
                .flatten()
                .map(|e| e.file_name())
                .find(|n| n.to_string_lossy().ends_with("jpg") && n != "empty.jpg")
                .unwrap(),
        ),
    )
    .unwrap();
    fs::write(lab.images().join("cut.jpg"), &whole[..whole.len() / 2]).unwrap();
    let pipe = finish(std::process::Command::new("mkfifo").arg(lab.images().join("pipe.jpg")));
    assert_eq!(pipe.code, 0);
    let said = lab.index(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("Scanned 14 = embedded 11 + failed 3"), "{said:?}");
    let ledger = fs::read_to_string(lab.path("imageindex/failures.jsonl")).unwrap();
    for name in ["empty.jpg", "words.png", "pipe.jpg"] {
        assert!(ledger.contains(name), "{name} is not in {ledger}");
    }
    // What is left of a picture that was cut off has a row, and a warning.
    assert!(!ledger.contains("cut.jpg") && lab.paths().iter().any(|p| p.contains("cut.jpg")), "{ledger}");
    assert!(said.err.contains("cut.jpg is embedded but damaged: the file ends too early"), "{said:?}");
}

#[test]
fn every_scanned_picture_is_embedded_or_failed_or_skipped() {
    let lab = Lab::new();
    lab.draw("a", 12, 1);
    assert_eq!(lab.index(&[]).code, 0);
    lab.draw("b", 9, 2);
    fs::write(lab.images().join("b/bad.jpg"), b"no picture").unwrap();
    fs::write(lab.images().join(OsStr::from_bytes(b"b/\xff.jpg")), b"x").unwrap();
    let said = lab.index(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("Scanned 23 = embedded 9 + failed 2 + already indexed 12"), "{said:?}");
    // The same numbers from the files alone: the run's record, the index, the ledger.
    let run = lab.meta()["run_id"].as_str().unwrap().to_owned();
    let record = fs::read(lab.prefix().join("runs").join(run).join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let proof = ["scanned", "embedded", "failed", "skipped"].map(|what| record["proof"][what].as_u64().unwrap());
    assert_eq!(proof, [23, 9, 2, 12]);
    assert_eq!(lab.paths().len(), 21);
    let ledger = fs::read_to_string(lab.prefix().join("failures.jsonl")).unwrap();
    for line in ledger.lines() {
        let failure: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            ["path", "kind", "detail", "host"].iter().all(|f| failure[f].as_str().is_some_and(|t| !t.is_empty())),
            "{line}"
        );
    }
    assert_eq!(ledger.lines().count(), 2);
}

/// Has the first JPEG of a folder say by EXIF that it was taken a billion seconds after 1970.
fn date(folder: &Path) -> PathBuf {
    let mut pictures: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    pictures.sort();
    let picture = pictures.into_iter().find(|p| p.extension().is_some_and(|e| e == "jpg")).unwrap();
    let directory = |tag: u16, kind: u16, count: u32, value: u32| {
        [&[0, 1][..], &tag.to_be_bytes(), &kind.to_be_bytes(), &count.to_be_bytes(), &value.to_be_bytes(), &[0; 4]]
            .concat()
    };
    // EXIF's own directory stands at 26, the date at 44.
    let (first, exif) = (directory(34_665, 4, 1, 26), directory(36_867, 2, 20, 44));
    let body = [&b"Exif\0\0MM\0*\0\0\0\x08"[..], &first, &exif, b"2001:09:09 01:46:40\0"].concat();
    let bytes = fs::read(&picture).unwrap();
    let segment = [&[0xFF, 0xE1][..], &(body.len() as u16 + 2).to_be_bytes(), &body].concat();
    fs::write(&picture, [&bytes[..2], &segment, &bytes[2..]].concat()).unwrap();
    picture
}

#[test]
fn python_opens_every_file_and_finds_the_same() {
    let lab = Lab::new();
    lab.draw("a", 40, 3);
    lab.draw("b", 40, 4);
    let dated = date(&lab.images().join("a"));
    assert_eq!(lab.index(&["--chunk-images", "7", "--no-merge"]).code, 0);
    assert_eq!(lab.index(&["--merge-only"]).code, 0);
    let check = r#"
import sys, json, pathlib, faiss, numpy, polars
prefix = pathlib.Path(sys.argv[1])
meta = json.loads(pathlib.Path(f"{prefix}.meta.json").read_text())
files = [prefix, *(prefix / s["name"] for s in meta["segments"]), prefix / "worker_0"]
for file in files:
    table, index = polars.read_parquet(f"{file}.parquet"), faiss.read_index(f"{file}.faiss")
    assert table.columns == ["path", "embedding", "size", "mtime_ns", "content_hash", "width", "height", "taken_s"], table.columns
    x = table["embedding"].to_numpy()
    assert x.dtype == numpy.float32 and x.shape == (80, meta["embedding_dim"]) == (index.ntotal, index.d), x.shape
    assert type(index) is faiss.IndexFlatIP
    assert numpy.array_equal(index.reconstruct_n(0, 80), x), "row i is id i"
    assert abs(numpy.linalg.norm(x, axis=1) - 1).max() < 1e-5
    assert all(pathlib.Path(p).stat().st_size == s for p, s in zip(table["path"], table["size"]))
    assert table.filter(polars.col("taken_s").is_not_null()).select("path", "taken_s").rows() == [(sys.argv[2], 1_000_000_000)]
    assert table["width"].min() > 10 and table["height"].min() > 10, "demo pictures are larger"
assert meta["num_images"] == 80 and meta["num_workers"] == 1 and len(meta["worker_metadata"]) == 1
table, index = polars.read_parquet(f"{prefix}.parquet"), faiss.read_index(f"{prefix}.faiss")
first = table["embedding"].to_numpy()[:1]
scores, ids = index.search(first, 10)
assert ids[0][0] == 0 and abs(scores[0][0] - 1) < 1e-5
"#;
    run_python(check, &[lab.prefix().as_os_str(), dated.as_os_str()]);
    // The same question, by us and by Python from our own text vector's best match: scores agree to 1e-5.
    let said = lab.query(&["--json", "--no-copy-results", "--text", "a red boat", "--top-k", "5", "--no-collapse"]);
    let ours: Vec<serde_json::Value> = said.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let script = r#"
import sys, json, faiss, numpy, polars
prefix, ours = sys.argv[1], json.loads(sys.argv[2])
table, index = polars.read_parquet(f"{prefix}.parquet"), faiss.read_index(f"{prefix}.faiss")
x, paths = table["embedding"].to_numpy(), table["path"].to_list()
# The text vector is not stored; solve for it from the scores of all pictures and ask faiss with it.
scores = {m["path"]: m["score"] for m in ours}
q = numpy.linalg.lstsq(x, numpy.array([scores[p] for p in paths], dtype="float64"), rcond=None)[0].astype("float32")
got, ids = index.search(q[None], 5)
want = sorted(ours, key=lambda m: m["rank"])[:5]
assert [paths[i] for i in ids[0]] == [m["path"] for m in want], (ids, want)
assert numpy.allclose(got[0], [m["score"] for m in want], atol=1e-5), (got, want)
"#;
    let all = lab.query(&["--json", "--no-copy-results", "--text", "a red boat", "--top-k", "80", "--no-collapse"]);
    let all: Vec<serde_json::Value> = all.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(ours[..], all[..5]);
    let all = OsString::from(serde_json::to_string(&all).unwrap());
    run_python(script, &[lab.prefix().as_os_str(), &all]);
}

#[test]
fn every_stage_by_hand_gives_the_same_index() {
    let lab = Lab::new();
    lab.draw("", 50, 5);
    assert_eq!(lab.index(&[]).code, 0);
    let by_controller = lab.rows();
    for file in ["imageindex.meta.json", "imageindex.parquet", "imageindex.faiss"] {
        fs::remove_file(lab.path(file)).unwrap();
    }
    fs::remove_dir_all(lab.prefix()).unwrap();
    let (one, two) = by_controller.split_at(20);
    for (id, part) in [(0, one), (1, two)] {
        let list = lab.path(format!("work/worker_{id}_images.txt"));
        let lines: String = part.iter().rev().map(|(p, _)| format!("{}/{p}\n", lab.images().display())).collect();
        fs::write(&list, lines).unwrap();
        let prefix = format!("{}/worker_{id}", lab.prefix().display());
        let id = id.to_string();
        let said = lab.run(
            "worker",
            [
                "--image-list",
                list.to_str().unwrap(),
                "--index-prefix",
                &prefix,
                "--worker-id",
                &id,
                "--batch-size",
                "8",
                "--model",
                "demo",
            ],
        );
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.err.contains(&format!("[Worker {id}] Progress: {}/{} images (100.0%)", part.len(), part.len())),
            "{}",
            said.err
        );
    }
    let said = lab.run("merger", ["--index-prefix", lab.prefix().to_str().unwrap(), "--num-workers", "2"]);
    assert_eq!(said.code, 0, "{said:?}");
    let by_hand = lab.rows();
    assert_eq!(by_hand.len(), by_controller.len());
    for ((p, x), (q, y)) in by_hand.iter().zip(&by_controller) {
        assert_eq!(p, q);
        let cosine: f32 = x.iter().zip(y).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{p}: {cosine}");
    }
    let script =
        "import sys, json; m = json.load(open(sys.argv[1])); assert m['num_workers'] == 2 and m['num_images'] == 50, m";
    run_python(script, &[lab.path("imageindex.meta.json").as_os_str()]);
}

#[test]
fn an_old_partial_index_brings_nothing_back() {
    let lab = Lab::new();
    lab.draw("", 20, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let rows = lab.rows();
    fs::remove_file(lab.images().join(&rows[0].0)).unwrap();
    fs::copy(lab.images().join(&rows[1].0), lab.images().join(&rows[2].0)).unwrap();
    fs::rename(lab.prefix().join("worker_0.meta.json"), lab.path("kept.json")).unwrap();
    let files = ["parquet", "faiss"].map(|e| lab.prefix().join(format!("worker_0.{e}")));
    let kept: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).unwrap()).collect();
    assert_eq!(lab.index(&[]).code, 0);
    let now = lab.rows();
    assert_eq!(now.len(), 19);
    // As if the second run had gone to another worker, and the first one's files were still there.
    fs::rename(lab.path("kept.json"), lab.prefix().join("worker_0.meta.json")).unwrap();
    files.iter().zip(kept).for_each(|(f, bytes)| fs::write(f, bytes).unwrap());
    let said = lab.run("merger", ["--index-prefix", lab.prefix().to_str().unwrap()]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("run the controller"), "{said:?}");
    assert_eq!(lab.rows(), now);
    let said = lab.index(&["--merge-only"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("nothing to merge"), "{said:?}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let lab = Lab::new();
    lab.draw("", 10, 1);
    let said = lab.index(&["--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("10 pictures") && said.out.contains("localhost"), "{said:?}");
    assert!(!lab.prefix().exists() && !lab.path("imageindex.meta.json").exists());
}

#[test]
fn the_status_tells_what_is_there_and_changes_nothing() {
    let lab = Lab::new();
    let prefix = lab.prefix();
    let ask =
        |more: &[&str]| finish(lab.command("controller").arg("--status").arg("--index-prefix").arg(&prefix).args(more));
    let said = ask(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("there is no index at"), "{said:?}");

    lab.draw("", 6, 1);
    fs::write(lab.images().join("bad.jpg"), b"no picture").unwrap();
    assert_eq!(lab.index(&[]).code, 3);
    let said = ask(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &told["index"]["num_images"]), (0, &6.into()), "{said:?}");
    assert_eq!(told["run"]["proof"]["scanned"], 7, "{said:?}");
    assert_eq!(told["failures"]["undecodable"]["count"], 1, "{said:?}");
    assert_eq!((&told["running"], &told["parts_waiting"]), (&serde_json::Value::Null, &0.into()), "{said:?}");
    let said = ask(&[]);
    assert!(said.out.contains("6 pictures, generation 1") && said.out.contains("Nobody"), "{said:?}");
    assert!(said.out.contains("bad.jpg"), "{said:?}");

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let owner = serde_json::json!({"program": "controller", "host": "elsewhere", "pid": 7, "heartbeat_unix_s": now});
    fs::write(prefix.join("lock"), owner.to_string()).unwrap();
    let said = ask(&[]);
    assert!(said.out.contains("Working on it: controller (process 7 on elsewhere)"), "{said:?}");
}

/// It must be told before a program begins, so the worker starts itself once more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_worker_asks_for_large_pages_unless_told_otherwise() {
    use std::process::{Command, Stdio};
    let lab = Lab::new();
    let list = lab.path("list");
    assert_eq!(finish(Command::new("mkfifo").arg(&list)).code, 0);
    for (told, expected) in [
        ("", &["glibc.malloc.hugetlb=1"][..]),
        ("glibc.malloc.arena_max=4", &["glibc.malloc.arena_max=4", "glibc.malloc.hugetlb=1"]),
        ("glibc.malloc.hugetlb=0", &["glibc.malloc.hugetlb=0"]),
    ] {
        let mut command = lab.command("worker");
        command
            .arg("--model=demo")
            .arg("--image-list")
            .arg(&list)
            .arg("--index-prefix")
            .arg(lab.prefix().join("worker_0"));
        // It waits for its list.
        let held = fs::File::options().read(true).write(true).open(&list).unwrap();
        let mut worker = command.env("GLIBC_TUNABLES", told).stderr(Stdio::null()).spawn().unwrap();
        let environment = format!("/proc/{}/environ", worker.id());
        wait_for(&format!("{expected:?}"), || {
            // The C library separates its settings by zeros once it has read them.
            let environment = fs::read_to_string(&environment).unwrap();
            expected.iter().all(|setting| environment.contains(setting))
        });
        worker.kill().unwrap();
        worker.wait().unwrap();
        drop(held);
    }
}
