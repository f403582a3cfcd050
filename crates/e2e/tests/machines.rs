//! The main job over hosts that are as real as one machine can make them: each with its own network, mounts, memory and
//! processes. As root; elsewhere each test says that it is not run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{CANONICAL, Lab, Machines, SHARE_HERE, Said, WORK, finish, said, wait_for};

type Rows = Vec<(String, Vec<f32>)>;

fn rows(machines: &Machines) -> Rows {
    machines.lab.rows_below(&Path::new(CANONICAL).join("images"))
}

/// The same pictures indexed on one machine.
fn alone(machines: &Machines) -> Rows {
    let lab = Lab::new();
    fs::remove_dir(lab.images()).unwrap();
    let copied = finish(Command::new("cp").arg("-a").arg(machines.lab.images()).arg(lab.images()));
    assert_eq!(copied.code, 0);
    assert_eq!(lab.index(&[]).code, 0);
    lab.rows()
}

fn same(a: &Rows, b: &Rows) {
    assert_eq!(a.iter().map(|(path, _)| path).collect::<Vec<_>>(), b.iter().map(|(path, _)| path).collect::<Vec<_>>());
    for ((path, x), (_, y)) in a.iter().zip(b) {
        let cosine: f32 = x.iter().zip(y).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{path}: {cosine}");
    }
}

/// Draws a few pictures and copies them until there are `count`, for runs that must last.
fn draw_many(lab: &Lab, count: usize) {
    lab.draw("0", 50, 5);
    for copy in 1..count / 50 {
        let copied =
            finish(Command::new("cp").arg("-rl").arg(lab.images().join("0")).arg(lab.images().join(copy.to_string())));
        assert_eq!(copied.code, 0);
    }
}

/// Starts a run in small steps, does something when some of them are done, and waits for its end.
fn index_while(machines: &mut Machines, hosts: usize, happens: impl FnOnce(&mut Machines)) -> Said {
    let mut controller = machines.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let child = controller.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for i in 0..hosts {
        let list = format!("cat {WORK}/worker_{i}_images.txt 2>/dev/null || true");
        wait_for("each worker to have its list", || !machines.inside(i, &list).is_empty());
    }
    let parts = machines.lab.path("imageindex/parts");
    wait_for("some parts", || fs::read_dir(&parts).is_ok_and(|d| d.count() >= 8));
    happens(machines);
    said(child.wait_with_output().unwrap())
}

/// What was said about a host.
fn told(said: &Said, host: &str, words: &[&str]) {
    let about: Vec<&str> = said.err.lines().filter(|line| line.contains(host)).collect();
    for word in words {
        assert!(about.iter().any(|line| line.contains(word)), "{word:?} is not said of {host}: {said:?}");
    }
}

#[test]
fn hosts_with_three_names_for_the_share_make_the_index_that_one_machine_makes() {
    let Some(machines) = Machines::ready(&["weight=0.2", "weight=0.2", "weight=0.6"]) else { return };
    let lab = &machines.lab;
    lab.draw("", 100, 3);
    let said = machines.index(&["--chunk-images", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
    for (i, count) in [20, 20, 60].into_iter().enumerate() {
        assert!(said.err.contains(&format!("Worker {i} started on h{i} (PID ")), "{said:?}");
        let list = machines.inside(i, &format!("cat {WORK}/worker_{i}_images.txt"));
        assert_eq!(list.lines().count(), count);
        assert!(list.lines().all(|line| line.starts_with(&format!("{CANONICAL}/images/"))), "{list}");
    }
    let made = rows(&machines);
    same(&made, &alone(&machines));

    // Every tenth picture once more, each by itself: its path stands beside its own vector.
    for (path, vector) in made.iter().step_by(10) {
        let again = Lab::new();
        fs::copy(lab.images().join(path), again.images().join(path)).unwrap();
        assert_eq!(again.index(&[]).code, 0);
        same(&vec![(path.clone(), vector.clone())], &again.rows());
    }

    // Whoever asks sees paths as they are where they ask.
    let ask = ["--text", "a yellow car", "--top-k", "3", "--json", "--no-copy-results"];
    for host in ["h0", "h1", "h2"] {
        let mut query = machines.command("query");
        query.arg("--index-prefix").arg(format!("{SHARE_HERE}/imageindex")).arg("--hosts").arg(lab.path("hosts"));
        let said = finish(query.args(["--worker", host]).args(ask));
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.out.lines().count(), 3, "{said:?}");
        for line in said.out.lines() {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = Path::new(found["path"].as_str().unwrap()).strip_prefix(SHARE_HERE);
            assert!(path.is_ok_and(|below| lab.path(below).is_file()), "{line}");
        }
    }
}

#[test]
fn a_model_in_a_folder_of_the_share_is_found_under_each_hosts_own_name() {
    let Some(machines) = Machines::ready(&["", ""]) else { return };
    let lab = &machines.lab;
    lab.draw("", 20, 6);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    assert_eq!(finish(Command::new("cp").arg("-r").arg(demo).arg(lab.path("model"))).code, 0);
    let folder = format!("{SHARE_HERE}/model");
    let said = machines.index(&["--model", &folder, "--merge-on", "h1", "--chunk-images", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("Worker 0 started") && said.err.contains("Worker 1 started"), "{said:?}");
    assert_eq!(rows(&machines).len(), 20);
    for host in ["h0", "h1"] {
        let mut query = machines.command("query");
        query.arg("--index-prefix").arg(format!("{SHARE_HERE}/imageindex")).arg("--hosts").arg(lab.path("hosts"));
        query.args(["--worker", host, "--model", &folder, "--text", "a yellow car", "--no-copy-results"]);
        let said = finish(&mut query);
        assert_eq!((said.code, said.out.lines().count()), (0, 10), "{said:?}");
    }
}

#[test]
fn hosts_that_are_cut_off_switched_off_or_lose_their_sshd_are_named_and_the_others_finish_the_work() {
    let Some(mut machines) = Machines::ready(&[""; 4]) else { return };
    draw_many(&machines.lab, 2000);
    let expected = alone(&machines);
    let said = index_while(&mut machines, 4, |machines| {
        machines.cut(0);
        machines.power_off(1);
        machines.inside(2, "pkill -KILL sshd");
    });
    assert_eq!(said.code, 0, "{said:?}");
    for i in 0..3 {
        told(&said, &format!("h{i}"), &[&format!("Worker {i} on h{i} failed: "), "the connection was lost"]);
    }
    assert!(!said.err.contains("on h3 failed"), "{said:?}");
    same(&rows(&machines), &expected);
}

#[test]
fn hosts_that_are_all_cut_off_frozen_or_without_their_share_for_a_minute_go_on_by_themselves() {
    let Some(mut machines) = Machines::ready(&[""; 3]) else { return };
    draw_many(&machines.lab, 2000);
    let expected = alone(&machines);
    let said = index_while(&mut machines, 3, |machines| {
        machines.cut(0);
        machines.freeze(1);
        machines.unmount(2);
        std::thread::sleep(Duration::from_secs(60));
        machines.uncut(0);
        machines.thaw(1);
        machines.remount(2);
    });
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("No host works; waiting 300 s for one to come back"), "{said:?}");
    assert!(said.out.contains("Scanned 2,000 = embedded 2,000 + failed 0"), "{said:?}");
    same(&rows(&machines), &expected);
}

#[test]
fn a_worker_that_the_kernel_kills_for_its_memory_is_told_so_and_the_others_finish_the_work() {
    let Some(mut machines) = Machines::ready(&["weight=0.9 batch_size=4096", "weight=0.1 batch_size=8"]) else {
        return;
    };
    // Hosts do not see control groups here; what sees its limit keeps it.
    if !machines.limit_memory(0, 200 << 20) {
        return;
    }
    draw_many(&machines.lab, 800);
    let said = machines.index(&["--chunk-images", "100"]);
    assert_eq!(said.code, 0, "{said:?}");
    told(&said, "h0", &["Worker 0 on h0 failed: ", "killed, probably out of memory: lower batch_size=4096 in hosts"]);
    assert!(!said.err.contains("on h1 failed"), "{said:?}");
    assert_eq!(rows(&machines).len(), 800);

    // The advice is good.
    let hosts = fs::read_to_string(machines.lab.path("hosts")).unwrap();
    fs::write(machines.lab.path("hosts"), hosts.replace("batch_size=4096", "batch_size=8")).unwrap();
    let said = machines.index(&["--chunk-images", "100", "--fresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.err.contains("failed") && !said.out.contains("failed:"), "{said:?}");
}

#[test]
fn a_host_without_the_share_or_with_another_is_left_out_and_the_others_finish_the_work() {
    // The first would scan, as the one with the most memory.
    let Some(machines) = Machines::ready(&["ram_gb=9", "ram_gb=8", "ram_gb=7", "ram_gb=1"]) else { return };
    let lab = &machines.lab;
    lab.draw("", 40, 1);
    assert_eq!(machines.index(&[]).code, 0);
    lab.draw("new", 40, 2);
    let share = |i| machines.share(i);
    machines.inside(0, &format!("umount -l {}", share(0)));
    // The share as it was some time ago.
    machines.inside(1, &format!("cp -r {0}/images {0}/imageindex* /run && mount --bind /run {0}", share(1)));
    // The same index, but another collection.
    machines
        .inside(2, &format!("mkdir /run/x && cp {0}/images/*_00* /run/x && mount --bind /run {0}/images", share(2)));
    let said = machines.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    told(&said, "h0 is left out: ", &["/Volumes/home/images cannot be read here: mount the share"]);
    told(&said, "h1 is left out: ", &["/data/nas/imageindex is not the same folder", "mount the right share"]);
    told(&said, "h2 is left out: ", &["/mnt/music/images is not the same folder", "mount the right share"]);
    assert!(said.out.contains("Scanned 80 = embedded 40 + failed 0 + already indexed 40"), "{said:?}");
    same(&rows(&machines), &alone(&machines));
}

#[test]
fn a_worker_that_sees_other_pictures_under_the_same_names_is_stopped_and_the_others_finish_the_work() {
    let Some(machines) = Machines::ready(&["weight=0.9 ram_gb=1", "weight=0.1 ram_gb=2"]) else { return };
    let lab = &machines.lab;
    lab.draw("", 400, 1);
    let expected = alone(&machines);
    // Each name stands for its neighbour.
    let other = "cd /run && cp -r $share/images . && cd images && first=$(ls | head -n 1) && mv $first /run/first && \
        ls | while read -r name; do mv $name $first; first=$name; done && \
        mv /run/first $(ls $share/images | tail -n 1) && mount --bind /run/images $share/images";
    machines.inside(0, &format!("share={}; {other}", machines.share(0)));
    let said = machines.index(&["--chunk-images", "10", "--batch-size", "1"]);
    assert_eq!(said.code, 0, "{said:?}");
    told(
        &said,
        "h0",
        &["Worker 0 on h0 failed: no picture in /Volumes/home/images is as it was scanned: mount the right"],
    );
    same(&rows(&machines), &expected);
}

#[test]
fn a_share_that_goes_away_under_a_worker_makes_no_picture_gone() {
    let Some(mut machines) = Machines::ready(&[""; 3]) else { return };
    draw_many(&machines.lab, 2000);
    let expected = alone(&machines);
    let said = index_while(&mut machines, 3, |machines| {
        let [first, second] = [0, 1].map(|i| machines.share(i));
        // One is unmounted; where the other was, there is another folder with the same names.
        machines.inside(0, &format!("umount -l {first}"));
        machines.inside(1, &format!("mkdir -p /tmp/o/images /tmp/o/imageindex/parts && mount --bind /tmp/o {second}"));
    });
    assert_eq!(said.code, 0, "{said:?}");
    for i in [0, 1] {
        told(&said, &format!("h{i}"), &[&format!("Worker {i} on h{i} failed: "), "mount"]);
    }
    assert!(said.out.contains("Scanned 2,000 = embedded 2,000 + failed 0"), "{said:?}");
    same(&rows(&machines), &expected);
}

#[test]
fn a_host_whose_disk_is_full_is_named_and_the_work_is_done() {
    let Some(machines) = Machines::ready(&["", ""]) else { return };
    machines.lab.draw("", 80, 1);
    let fill = format!(
        "mkdir /tmp/tiny && mount -t tmpfs -o size=64k tmpfs /tmp/tiny && ln -s {WORK}/current /tmp/tiny/current && \
         ! cat /dev/zero 2>/dev/null >/tmp/tiny/full"
    );
    machines.inside(0, &fill);
    let hosts = fs::read_to_string(machines.lab.path("hosts")).unwrap();
    fs::write(machines.lab.path("hosts"), hosts.replace("\nh0 ", "\nh0 work_dir=/tmp/tiny ")).unwrap();
    let said = machines.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    told(&said, "h0", &["No space left on device"]);
    assert_eq!(rows(&machines).len(), 80);
}

#[test]
fn a_host_with_an_old_bundle_or_none_is_left_out_with_its_remedy_and_the_others_do_the_work() {
    let Some(machines) = Machines::ready(&["ram_gb=9", "ram_gb=8", "ram_gb=1"]) else { return };
    machines.lab.draw("", 40, 1);
    let old = format!(
        "cd {WORK} && mkdir -p versions/old/bin && ln -sfn versions/old current && cd current/bin && \
         printf '#!/bin/sh\\necho worker 0.0.9\\n' >worker && chmod 755 worker"
    );
    machines.inside(0, &old);
    machines.inside(1, &format!("rm {WORK}/current"));
    let said = machines.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    told(&said, "h0 is left out: ", &["version 0.0.9", "run setup_workers.sh"]);
    told(&said, "h1 is left out: ", &["there is no such program", "run setup_workers.sh"]);
    assert_eq!(rows(&machines).len(), 40);
}

#[test]
fn setup_makes_fresh_hosts_ready_and_names_the_one_that_cannot_be() {
    let Some(machines) = Machines::fresh(&[""; 3]) else { return };
    machines.lab.draw("", 40, 1);
    let said = machines.setup();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("3 of 3 hosts are ready") && said.out.matches("copied").count() == 3, "{said:?}");
    let begun = std::time::Instant::now();
    let said = machines.setup();
    eprintln!("setup_workers.sh on three hosts that are ready took {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("3 of 3 hosts are ready") && !said.out.contains("copied"), "{said:?}");

    machines.inside(1, &format!("umount -l {}", machines.share(1)));
    // A disk without room for the programs.
    machines.inside(2, &format!("rm -r {WORK} && mkdir {WORK} && mount -t tmpfs -o size=8m tmpfs {WORK}"));
    let said = machines.setup();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("1 of 3 hosts are ready"), "{said:?}");
    told(&said, "h1: ", &["/data/nas", "mount the share"]);
    told(&said, "h2: ", &["No space left on device"]);
    assert!(!said.err.contains("h0"), "{said:?}");

    let said = machines.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(rows(&machines).len(), 40);
}
