//! The main job over real sshd: three machines, each with its own name for the share.

use std::collections::BTreeMap;
use std::fs;

use e2e::{Fleet, HOSTILE, Lab, finish, run_python, wait_for};

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Rows of the index by path below the canonical root.
fn rows(fleet: &Fleet) -> BTreeMap<String, Vec<f32>> {
    let script = "import sys, json, polars\nt = polars.read_parquet(sys.argv[1])\nprint(json.dumps(dict(zip(t['path'].to_list(), t['embedding'].to_list()))))";
    let out = run_python(script, &[fleet.lab.path("imageindex.parquet").as_os_str()]);
    let rows: BTreeMap<String, Vec<f32>> = serde_json::from_str(&out).unwrap();
    let root = format!("{}/images/", fleet.canonical().display());
    rows.into_iter()
        .map(|(p, v)| (p.strip_prefix(&root).unwrap_or_else(|| panic!("{p} is not below {root}")).to_owned(), v))
        .collect()
}

fn ready(weights: &[f64]) -> Fleet {
    let fleet = Fleet::new(weights);
    let said = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(said.code, 0, "{said:?}");
    fleet
}

/// The same pictures indexed on one machine.
fn alone(fleet: &Fleet) -> BTreeMap<String, Vec<f32>> {
    let lab = Lab::new();
    fs::remove_dir(lab.images()).unwrap();
    let copied = finish(std::process::Command::new("cp").arg("-r").arg(fleet.lab.images()).arg(lab.images()));
    assert_eq!(copied.code, 0);
    let said = lab.index(&[]);
    assert!([0, 3].contains(&said.code), "{said:?}");
    lab.rows().into_iter().collect()
}

fn same(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, vector) in a {
        assert!(cosine(vector, &b[path]) > 0.9999, "{path}");
    }
}

#[test]
fn three_machines_make_the_index_that_one_makes() {
    let fleet = ready(&[0.2, 0.2, 0.6]);
    let lab = &fleet.lab;
    lab.draw("", 100, 3);
    let said = lab.index(&["--chunk-images", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
    for i in 0..3 {
        assert!(said.err.contains(&format!("Worker {i} started on h{i} (PID ")), "{}", said.err);
        let list = fs::read_to_string(fleet.work(i).join(format!("worker_{i}_images.txt"))).unwrap();
        assert_eq!(list.lines().count(), [20, 20, 60][i]);
        assert!(list.lines().all(|l| l.starts_with("/canonical/share/images/")), "{list}");
        assert!(fs::read_to_string(fleet.work(i).join(format!("worker_{i}.log"))).unwrap().contains("[Worker"));
    }
    same(&rows(&fleet), &alone(&fleet));

    // Asked over SSH: paths as the asker sees them, copies where the asker expects them.
    let said = lab.query(&["--worker", "h1", "--json", "--text", "a yellow car", "--top-k", "3"]);
    assert_eq!(said.code, 0, "{said:?}");
    for line in said.out.lines() {
        let found: serde_json::Value = serde_json::from_str(line).unwrap();
        for name in ["path", "copy"] {
            let path = found[name].as_str().unwrap();
            assert!(path.starts_with(lab.path("").to_str().unwrap()) && fs::metadata(path).is_ok(), "{line}");
        }
    }

    // The connection is kept; a server or a connection that is gone since the last question is not noticed.
    let again = |why: &str| {
        let next =
            lab.query(&["--worker", "h1", "--json", "--no-copy-results", "--text", "a yellow car", "--top-k", "3"]);
        assert_eq!((next.code, next.out.lines().count()), (0, 3), "{why}: {next:?}");
    };
    again("warm");
    fleet.stop_server(1);
    again("the server has left");
    fleet.drop_connections(1);
    again("the connection is lost");

    // The documented rerun of one worker by hand, then a merge by hand: the same index.
    let before = rows(&fleet);
    let share = fleet.share(2).display().to_string();
    let rerun = format!(
        "cd {} && ./worker --image-list worker_2_images.txt --index-prefix {share}/imageindex/worker_2 --worker-id 2 --batch-size 8",
        fleet.work(2).display()
    );
    let said = fleet.ssh(2, &rerun);
    assert_eq!(said.code, 0, "{said:?}");
    let said = fleet.ssh(2, &format!("cd {} && ./merger --index-prefix {share}/imageindex", fleet.work(2).display()));
    assert_eq!(said.code, 0, "{said:?}");
    same(&rows(&fleet), &before);
}

#[test]
fn setup_again_changes_nothing_and_a_missing_mount_is_named() {
    let fleet = ready(&[1.0, 1.0, 1.0]);
    let lab = &fleet.lab;
    lab.draw("", 5, 1);
    let setup = |more: &[&str]| {
        finish(
            lab.command("controller").args(["--setup", "--hosts", "hosts", "--image-dir"]).arg(lab.images()).args(more),
        )
    };
    let said = setup(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("3 of 3 hosts are ready") && !said.out.contains("copied"), "{said:?}");
    fs::remove_file(fleet.share(1)).unwrap();
    let said = setup(&["--check"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("2 of 3 hosts are ready"), "{said:?}");
    assert!(
        said.err.contains("h1: ") && said.err.contains("mount the share") && !said.err.contains("h2: "),
        "{said:?}"
    );
    // Another folder under the same name is not the same share.
    fs::create_dir_all(fleet.share(1).join("images")).unwrap();
    fs::create_dir_all(fleet.share(1).join("imageindex")).unwrap();
    fs::write(fleet.share(1).join("images/x.jpg"), b"x").unwrap();
    let said = setup(&["--check"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("h1: ") && said.err.contains("not the same folder"), "{said:?}");
}

#[test]
fn a_machine_that_cannot_run_the_programs_is_told_so_before_anything_is_copied() {
    let fleet = Fleet::new(&[1.0, 1.0, 1.0]);
    fleet.disguise(0, "getconf", "echo glibc 2.12");
    fleet.disguise(1, "uname", "echo Linux riscv64");
    let said = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("1 of 3 hosts are ready"), "{said:?}");
    assert!(said.err.contains("h0: it has glibc 2.12, but the programs here need glibc 2."), "{said:?}");
    assert!(said.err.contains("h1: it is riscv64-linux, but the programs here are for "), "{said:?}");
    assert!(said.err.lines().all(|l| !l.starts_with('h') || l.contains("--bundle")), "{said:?}");
    assert!([0, 1].iter().all(|i| !fleet.work(*i).join("versions").exists()), "{said:?}");

    // A bundle that was made elsewhere does as well, if it is whole.
    let bundle = fleet.lab.path("bundle");
    let made = finish(fleet.lab.command("worker").arg("bundle").arg("--out").arg(&bundle));
    let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    let setup =
        || finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts", "--bundle"]).arg(&bundle));
    let said = setup();
    let ready = format!("1 of 3 hosts are ready with programs {}\n", made["name"].as_str().unwrap());
    assert!(said.code == 1 && said.out.contains(&ready), "{said:?}");
    // Nothing else is ever taken for one, and replaced.
    fleet.lab.draw("", 1, 1);
    let said = finish(fleet.lab.command("worker").arg("bundle").arg("--out").arg(fleet.lab.images()));
    assert!(said.code == 1 && said.err.contains("is no bundle") && fleet.lab.images().exists(), "{said:?}");
    fs::write(bundle.join("bin/server"), b"x").unwrap();
    let said = setup();
    assert!(said.code == 1 && said.err.contains("bin/server is damaged; make the bundle anew"), "{said:?}");
}

#[test]
fn a_machine_that_is_away_or_strange_is_named_and_the_others_finish_the_work() {
    let mut fleet = ready(&[1.0, 1.0, 1.0]);
    fleet.lab.draw("", 40, 2);
    // One refuses the connection, one answers with another key.
    fleet.cut(0);
    let known = fleet.lab.path("ssh/known_hosts");
    let text = fs::read_to_string(&known).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let strange: Vec<&str> = lines[1].splitn(3, ' ').collect();
    let wrong = fs::read_to_string(fleet.lab.path("ssh/h2.pub")).unwrap();
    fs::write(&known, format!("{}\n{} {}\n{}\n", lines[0], strange[0], wrong.trim(), lines[2])).unwrap();
    // Who is asked for by name is not replaced.
    for (name, why) in [("h0", "refuses the connection"), ("h9", "no such machine; it can be here, h0, h1, h2")] {
        let said = fleet.lab.index(&["--merge-on", name]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(&format!("--merge-on {name}: ")) && said.err.contains(why), "{said:?}");
    }
    let said = fleet.lab.index(&["--merge-on", "here"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("h0 is left out: ") && said.err.contains("refuses the connection"), "{said:?}");
    assert!(said.err.contains("h1 is left out: ") && said.err.contains("host key is NOT the one known"), "{said:?}");
    assert_eq!(rows(&fleet).len(), 40);
}

#[test]
fn a_machine_that_is_lost_on_the_way_is_named_and_the_others_finish_the_work() {
    let mut fleet = ready(&[1.0, 1.0]);
    fleet.lab.draw("", 800, 4);
    let expected = alone(&fleet);
    let child = fleet
        .lab
        .controller(&["--chunk-images", "10", "--batch-size", "1"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let parts = fleet.lab.path("imageindex/parts");
    wait_for("some parts", || fs::read_dir(&parts).is_ok_and(|d| d.count() >= 4));
    fleet.cut(1);
    let said = e2e::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("Worker 1 on h1 failed: "), "{said:?}");
    same(&rows(&fleet), &expected);
}

#[test]
fn hostile_names_and_questions_pass_through_ssh_untouched() {
    let fleet = ready(&[1.0]);
    let lab = &fleet.lab;
    let names = lab.draw_hostile();
    let said = lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(rows(&fleet).into_keys().collect::<Vec<_>>(), names);
    for question in HOSTILE {
        let said = lab.query(&["--worker", "h0", "--no-copy-results", "--top-k", "1", &format!("--text=a {question}")]);
        assert_eq!(said.code, 0, "{question:?}: {said:?}");
    }
    assert!(!lab.pwned(), "a shell has run a name or a question");
}

#[test]
fn a_host_that_forwards_no_sockets_is_asked_all_the_same() {
    let mut fleet = ready(&[1.0]);
    fleet.lab.draw("", 10, 1);
    let said = fleet.lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    for line in ["AllowStreamLocalForwarding no", "DisableForwarding yes"] {
        fleet.configure(0, line);
        let asked = ["--worker", "h0", "--json", "--text", "a yellow car", "--top-k", "3"];
        for times in ["first", "again"] {
            let said = fleet.lab.query(&asked);
            assert_eq!((said.code, said.out.lines().count()), (0, 3), "{line}, {times}: {said:?}");
            assert!(said.err.contains("h0") && said.err.contains("AllowStreamLocalForwarding"), "{said:?}");
        }
        fleet.stop_server(0);
    }
}
