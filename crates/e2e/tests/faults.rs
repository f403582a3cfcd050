//! Kill it: what was finished stays, what was not is done again, and the index is as if nothing had happened.

use std::fs;
use std::process::Stdio;

use e2e::{Lab, finish, signal, wait_for};

fn parts(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.path("imageindex/parts")).into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.ends_with(".parquet") && !n.starts_with('.'))
        .collect()
}

/// A lab with pictures, and the rows that an undisturbed run gives.
fn undisturbed(count: usize) -> (Lab, Vec<(String, Vec<f32>)>) {
    let lab = Lab::new();
    lab.draw("", count, 3);
    assert_eq!(lab.index(&["--chunk-images", "10"]).code, 0);
    let rows = lab.rows();
    fs::remove_dir_all(lab.prefix()).unwrap();
    for file in ["imageindex.meta.json", "imageindex.parquet", "imageindex.faiss"] {
        fs::remove_file(lab.path(file)).unwrap();
    }
    (lab, rows)
}

fn same(lab: &Lab, rows: &[(String, Vec<f32>)]) {
    let now = lab.rows();
    assert_eq!(now.len(), rows.len());
    for ((p, x), (q, y)) in now.iter().zip(rows) {
        assert_eq!(p, q);
        let cosine: f32 = x.iter().zip(y).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{p}: {cosine}");
    }
}

#[test]
fn a_killed_controller_loses_no_finished_work() {
    let (lab, rows) = undisturbed(800);
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let mut child = controller.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("some parts", || parts(&lab).len() >= 5);
    signal(&child, "KILL");
    child.wait().unwrap();
    // Its worker ends by itself; the parts it finishes meanwhile count too.
    wait_for("the orphaned worker to end", || {
        let log = fs::read_to_string(lab.path("work/worker_0.log")).unwrap_or_default();
        log.contains("the controller closed the connection")
    });
    let finished = parts(&lab).len() as u64 * 10;
    assert!((50..800).contains(&finished), "{finished}");
    let said = lab.index(&["--chunk-images", "10"]);
    assert_eq!(said.code, 0, "{said:?}");
    let want = format!("Scanned 800 = embedded {} + failed 0 + already indexed {finished}", 800 - finished);
    assert!(said.out.contains(&want), "{want:?} is not in {said:?}");
    same(&lab, &rows);
    assert!(parts(&lab).is_empty(), "merged parts are removed");
}

#[test]
fn an_interrupted_run_stops_its_workers_and_goes_on_later() {
    let (lab, rows) = undisturbed(800);
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let child = controller.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("some parts", || parts(&lab).len() >= 5);
    signal(&child, "INT");
    let said = e2e::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.err.contains("run the same command to go on"), "{said:?}");
    let workers =
        finish(std::process::Command::new("pgrep").arg("-f").arg(format!("index-prefix={}", lab.prefix().display())));
    assert_eq!(workers.out, "", "no worker is left");
    assert_eq!(lab.index(&[]).code, 0);
    same(&lab, &rows);
}

#[test]
fn a_killed_worker_is_reported_and_loses_no_finished_work() {
    let (lab, rows) = undisturbed(800);
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let child = controller.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("some parts", || parts(&lab).len() >= 5);
    let killed = finish(
        std::process::Command::new("pkill")
            .arg("-KILL")
            .arg("-f")
            .arg(format!("index-prefix={}/worker_0", lab.prefix().display())),
    );
    assert_eq!(killed.code, 0);
    let said = e2e::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("localhost") && said.err.contains("probably out of memory: lower batch_size=1"),
        "{said:?}"
    );
    assert!(said.err.contains("run the same command to go on"), "{said:?}");
    assert_eq!(lab.index(&[]).code, 0);
    same(&lab, &rows);
}

#[test]
fn a_damaged_part_does_not_exist() {
    let (lab, rows) = undisturbed(60);
    assert_eq!(lab.index(&["--chunk-images", "10", "--no-merge"]).code, 0);
    let names = parts(&lab);
    let damage = |name: &str, how: &dyn Fn(&mut Vec<u8>)| {
        let path = lab.path("imageindex/parts").join(name);
        let mut bytes = fs::read(&path).unwrap();
        how(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    damage(&names[0], &|b| b.truncate(b.len() / 2));
    damage(&names[1], &|b| {
        let middle = b.len() / 3;
        b[middle] ^= 0x40;
    });
    damage(&names[2], &|b| b.clear());
    let said = lab.index(&["--chunk-images", "10"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("embedded 30") || said.out.contains("embedded 20"), "{said:?}");
    same(&lab, &rows);
}
