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
    lab.remove_index();
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
fn a_killed_worker_is_named_and_started_again_with_smaller_batches() {
    let (lab, rows) = undisturbed(800);
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "2"]);
    let child = controller.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("some parts", || parts(&lab).len() >= 5);
    let pattern = format!("index-prefix={}/worker_0", lab.prefix().display());
    let killed = finish(std::process::Command::new("pkill").args(["-KILL", "-f", &pattern]));
    assert_eq!(killed.code, 0);
    let said = e2e::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    for words in
        ["Worker 0 on localhost failed: ", "probably out of memory: lower batch_size=2", "of 1 pictures from now on"]
    {
        assert!(said.err.contains(words), "{words:?} is not in {said:?}");
    }
    same(&lab, &rows);
}

#[test]
fn of_controllers_that_start_at_once_one_works_and_the_others_name_it() {
    let lab = Lab::new();
    lab.draw("", 60, 1);
    let start = |_| lab.controller(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started: Vec<_> = (0..4).map(start).collect();
    let said: Vec<_> = started.into_iter().map(|child| e2e::said(child.wait_with_output().unwrap())).collect();
    // Who comes when the first has ended finds nothing to do.
    let worked = said.iter().filter(|said| said.out.contains("Scanned 60 = embedded 60 + failed 0")).count();
    let idle = said.iter().filter(|said| said.out.contains("Scanned 60 = embedded 0 + failed 0")).count();
    let refused = |said: &&e2e::Said| said.code == 1 && said.err.contains("is working on this index; wait for it");
    assert_eq!((worked, worked + idle + said.iter().filter(refused).count()), (1, 4), "{said:?}");
    assert_eq!(lab.rows().len(), 60);
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

#[test]
fn a_part_that_cannot_be_written_ends_the_run_even_if_it_is_the_last() {
    let lab = Lab::new();
    lab.draw("", 20, 1);
    assert_eq!(lab.index(&["--no-merge"]).code, 0);
    // The same pictures become a part of the same name, and a folder stands where it belongs.
    let part = lab.path("imageindex/parts").join(&parts(&lab)[0]);
    fs::remove_file(&part).unwrap();
    fs::create_dir(&part).unwrap();
    let said = ends(&mut lab.controller(&[]));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("Worker 0 on localhost failed: ") && said.err.contains(part.to_str().unwrap()),
        "{said:?}"
    );
}

#[test]
fn a_worker_that_cannot_write_ends_however_many_pictures_are_under_way() {
    let lab = Lab::new();
    lab.draw("", 400, 1);
    let paths = fs::read_dir(lab.images()).unwrap().map(|entry| entry.unwrap().path());
    let list: String = paths.map(|path| format!("{}\n", path.display())).collect();
    fs::write(lab.path("list"), list).unwrap();
    // More threads that decode than pictures that may wait for the model.
    let cut = ["--chunk-images", "10", "--batch-size", "1", "--threads", "16", "--model", "demo"];
    let worker = || {
        let mut worker = lab.command("worker");
        worker.arg("--image-list").arg(lab.path("list")).arg("--root").arg(lab.images());
        worker.arg("--index-prefix").arg(lab.path("imageindex/worker_0")).args(["--worker-id", "0"]).args(cut);
        worker
    };
    assert_eq!(finish(&mut worker()).code, 0);
    for part in parts(&lab) {
        let part = lab.path("imageindex/parts").join(part);
        fs::remove_file(&part).unwrap();
        fs::create_dir(&part).unwrap();
    }
    let said = ends(&mut worker());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("it is a folder, not a file: move it away"), "{said:?}");
}

/// Runs a program that might hang, for a minute at most.
fn ends(command: &mut std::process::Command) -> e2e::Said {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = child.kill();
    e2e::said(child.wait_with_output().unwrap())
}
