//! The merger as a process, killed and starved: the old index stays whole, and the next merge succeeds.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use disk::RunLock;
use index::{Index, PartRef, Row, publish_part};
use protocol::{
    Embedding, FORMAT_VERSION, Failure, FailureKind, FileFacts, ImagePath, IndexPrefix, ModelIdentity, PartMeta,
    RunRecord, ScanSummary, encode_line,
};
use tempfile::TempDir;

const DIM: usize = 64;
const ROOT: &str = "/photos";

struct Place {
    dir: TempDir,
    prefix: IndexPrefix,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let prefix = IndexPrefix::new(dir.path().join("index"));
    Place { dir, prefix }
}

fn model() -> ModelIdentity {
    ModelIdentity {
        model_name: "test".into(),
        fingerprint: "f1".into(),
        embedding_dim: DIM,
        precision: "fp32".into(),
        provider: "cpu".into(),
        deviation: None,
    }
}

fn rows(from: usize, count: usize) -> Vec<Row> {
    let row = |i: usize| {
        let mut values: Vec<f32> = (0..DIM).map(|d| ((i * 31 + d * 17) % 101) as f32 - 50.0).collect();
        values[i % DIM] += 1.0 + i as f32;
        Row {
            path: ImagePath::new(format!("{i:06}.jpg")).unwrap(),
            embedding: Embedding::normalise(values).unwrap(),
            file: FileFacts { size_bytes: 7, mtime_ns: 9, ..FileFacts::default() },
            content_hash: protocol::hash_hex(&i.to_le_bytes()),
        }
    };
    (from..from + count).map(row).collect()
}

fn part(place: &Place, name: &str, rows: &[Row], failures: Vec<Failure>) -> PartRef {
    let meta = PartMeta {
        format_version: FORMAT_VERSION,
        name: name.into(),
        root: ROOT.into(),
        model: model(),
        host: "h".into(),
        rows: 0,
        checksum: String::new(),
        failures,
    };
    let meta = publish_part(&place.prefix, meta, rows).unwrap();
    PartRef { name: meta.name, rows: meta.rows, checksum: meta.checksum }
}

fn run_record(place: &Place, run_id: &str, scanned: u64, new: u64, failed: u64) {
    let run = place.prefix.run(run_id);
    std::fs::create_dir_all(run.dir()).unwrap();
    let record = RunRecord {
        format_version: FORMAT_VERSION,
        run_id: run_id.into(),
        started: "2024-01-01T00:00:00Z".into(),
        root: ROOT.into(),
        model: "test".into(),
        fingerprint: "f1".into(),
        full_scan: true,
        summary: ScanSummary { scanned, new, standing: scanned - new - failed, failed, ..Default::default() },
        proof: None,
    };
    std::fs::write(run.record(), serde_json::to_vec(&record).unwrap()).unwrap();
}

/// A command line, through a shell that may set limits first.
fn merger(place: &Place, before: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$@\""), "sh", env!("CARGO_BIN_EXE_merger")]);
    command.arg("--index-prefix").arg(place.prefix.dir()).args(["--wait", "0"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with_parts(mut command: Command, parts: &[PartRef]) -> Output {
    let mut child = command.spawn().unwrap();
    let names: String = parts.iter().map(encode_line).collect();
    let _ = child.stdin.take().unwrap().write_all(names.as_bytes());
    child.wait_with_output().unwrap()
}

/// Opens the index and counts its rows; also opens the two files that are for Python.
fn rows_of(place: &Place) -> u64 {
    let index = Index::open(&place.prefix, &place.dir.path().join("cache")).unwrap();
    let all = index.search(&rows(3, 1)[0].embedding, usize::MAX).unwrap();
    assert_eq!(all[0].1, "/photos/000003.jpg");
    assert_eq!(all.len() as u64, index.meta().num_images);
    all.len() as u64
}

fn leftovers(place: &Place) -> Vec<String> {
    let names = std::fs::read_dir(place.prefix.dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".tmp-")).collect()
}

#[test]
fn a_killed_merge_leaves_the_old_index_whole() {
    let place = place();
    let first = part(&place, "first", &rows(0, 2000), vec![]);
    assert!(
        with_parts(merger(&place, "", &["--run", "r0", "--parts", "-"]), std::slice::from_ref(&first)).status.code()
            == Some(1)
    );
    run_record(&place, "r0", 2000, 2000, 0);
    assert!(with_parts(merger(&place, "", &["--run", "r0", "--parts", "-"]), &[first]).status.success());
    let mut standing = 2000;
    let mut killed = [0, 0];
    let mut whole = Duration::from_millis(40);
    for round in 0..60u32 {
        let run = format!("r{}", round + 1);
        let new = rows(standing as usize, 500);
        run_record(&place, &run, standing + 500, 500, 0);
        let parts = [
            part(&place, &format!("{run}a"), &new[..300], vec![]),
            part(&place, &format!("{run}b"), &new[300..], vec![]),
        ];
        let mut child = merger(&place, "", &["--run", &run, "--parts", "-"]).spawn().unwrap();
        let names: String = parts.iter().map(encode_line).collect();
        child.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
        // Anywhere between its start and its end, as the last merge took.
        std::thread::sleep(whole * (round % 20 + 1) / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        let now = rows_of(&place);
        assert!(now == standing || now == standing + 500, "{now} rows, neither {standing} nor 500 more");
        killed[usize::from(now > standing)] += 1;
        // The same merge again ends well, whatever the killed one left.
        let begun = Instant::now();
        let output = with_parts(merger(&place, "", &["--run", &run, "--parts", "-"]), &parts);
        whole = begun.elapsed();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let last = String::from_utf8(output.stdout).unwrap();
        let outcome: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
        assert_eq!(outcome["num_images"], standing + 500);
        assert_eq!(outcome["proof"]["embedded"], 500);
        standing += 500;
        assert_eq!(rows_of(&place), standing);
        assert_eq!(leftovers(&place), [""; 0]);
        assert_eq!(std::fs::read_dir(place.prefix.parts()).unwrap().count(), 0);
        if killed[0] > 5 && killed[1] > 1 && round >= 20 {
            return;
        }
    }
    assert!(killed[0] > 0, "no merge was killed before its switch: {killed:?}");
}

/// A limit on the size of files, which every user may set, makes writes fail in the middle as a full disk does.
fn starved(kilobytes: u64) -> String {
    format!("trap '' XFSZ; ulimit -f {};", kilobytes * 2)
}

#[test]
fn a_full_disk_leaves_the_old_index_whole_and_names_the_file() {
    let place = place();
    run_record(&place, "r0", 100, 100, 0);
    let first = part(&place, "first", &rows(0, 100), vec![]);
    assert!(with_parts(merger(&place, "", &["--run", "r0", "--parts", "-"]), &[first]).status.success());
    let before = std::fs::read(place.prefix.meta()).unwrap();
    run_record(&place, "r1", 2000, 1900, 0);
    let second = part(&place, "second", &rows(100, 1900), vec![]);
    for kilobytes in [0, 1, 30, 100, 300, 480, 500] {
        let command = merger(&place, &starved(kilobytes), &["--run", "r1", "--parts", "-"]);
        let output = with_parts(command, std::slice::from_ref(&second));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{kilobytes} kB: {said}");
        // Without room for anything it does not begin.
        let named =
            if kilobytes == 0 { ["error: cannot lock", "merge.lock"] } else { ["error: nothing was", "gen-2.tmp-"] };
        assert!(named.iter().all(|words| said.contains(words)) && said.contains("because"), "{said}");
        assert!(said.to_lowercase().contains("file too large"), "{said}");
        assert_eq!(said.matches("error:").count(), 1, "{said}");
        assert_eq!(std::fs::read(place.prefix.meta()).unwrap(), before);
        assert_eq!((rows_of(&place), leftovers(&place)), (100, vec![]));
    }
    assert!(with_parts(merger(&place, "", &["--run", "r1", "--parts", "-"]), &[second]).status.success());
    assert_eq!(rows_of(&place), 2000);
}

#[test]
fn a_merger_that_is_still_at_work_is_named_and_left_alone() {
    let place = place();
    run_record(&place, "r0", 100, 100, 0);
    let first = part(&place, "first", &rows(0, 100), vec![]);
    let other = RunLock::take(&place.prefix.merge_lock(), "merger", "elsewhere").unwrap();
    let merge = || with_parts(merger(&place, "", &["--run", "r0", "--parts", "-"]), std::slice::from_ref(&first));
    let output = merge();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let named = format!("merger (process {} on elsewhere) is working on this index", std::process::id());
    assert!(said.contains(&named), "{said}");
    assert!(!place.prefix.meta().exists());
    drop(other);
    assert!(merge().status.success());
    assert_eq!(rows_of(&place), 100);
}

#[test]
fn a_merger_whose_controller_another_has_replaced_switches_nothing() {
    let place = place();
    run_record(&place, "r0", 100, 100, 0);
    let first = part(&place, "first", &rows(0, 100), vec![]);
    let controller = RunLock::take(&place.prefix.lock(), "controller", "mac").unwrap();
    let working = RunLock::take(&place.prefix.merge_lock(), "merger", "elsewhere").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
    command.arg("--index-prefix").arg(place.prefix.dir()).args(["--run", "r0", "--parts", "-", "--wait", "60"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(encode_line(&first).as_bytes()).unwrap();
    // It has seen its controller before it waits for the other merger.
    wait_until_it_waits(child.id());
    drop(controller);
    let _next = RunLock::take(&place.prefix.lock(), "controller", "duc17").unwrap();
    drop(working);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("controller (process {} on duc17) has taken over", std::process::id())), "{said}");
    assert!(!place.prefix.meta().exists() && !place.prefix.generation(1).exists(), "{said}");
}

/// Waits until a merger has looked at a lock often.
fn wait_until_it_waits(pid: u32) {
    let begun = Instant::now();
    let looked = |status: String| {
        let times = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
        times.is_some_and(|times: u32| times > 15)
    };
    while !std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(looked) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the merger does not wait");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let place = place();
    std::fs::write(place.prefix.dir(), "a file where the folder should be").unwrap();
    for arguments in [&[][..], &["--run", "r", "--parts", "-"]] {
        let output = with_parts(merger(&place, "", arguments), &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(place.prefix.dir().to_str().unwrap()), "{said}");
    }
}

#[test]
fn failures_and_missing_pictures_show_in_the_exit_code() {
    let place = place();
    let bad = Failure::new("/photos/x".into(), FailureKind::Undecodable, "d".into(), "h");
    run_record(&place, "r0", 101, 101, 0);
    let first = part(&place, "first", &rows(0, 100), vec![bad]);
    let output = with_parts(merger(&place, "", &["--run", "r0", "--parts", "-"]), &[first]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("101 scanned = 100 embedded + 1 failed + 0 already there"), "{said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 1);
    let outcome: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&outcome["generation"], &outcome["added"], &outcome["failed"]), (&1.into(), &100.into(), &1.into()));

    run_record(&place, "r1", 500, 400, 0);
    let output = with_parts(merger(&place, "", &["--run", "r1", "--parts", "-"]), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("500 scanned is NOT 0 embedded"), "{said}");
}

#[test]
fn wrong_usage_is_told_with_code_2_and_help_teaches() {
    let place = place();
    for wrong in [
        &["--parts", "-"][..],
        &["--num-workers", "x"],
        &["--wait", "-1"],
        &["--num-workers", "1", "--parts", "-", "--run", "r"],
    ] {
        assert_eq!(merger(&place, "", wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    let help = String::from_utf8(merger(&place, "", &["--help"]).output().unwrap().stdout).unwrap();
    assert!(help.contains("merger --index-prefix /nas/joe/imageindex --num-workers 4") && help.contains("Exit codes"));
    assert!(!Path::new(place.prefix.dir()).exists());
}
