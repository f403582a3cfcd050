//! `controller --doctor` over real sshd: what it says of machines that are ready and of those that are not, and that it
//! leaves nothing behind.

use std::fs;
use std::process::Stdio;

use e2e::{Fleet, Said, finish, said, signal, wait_for};
use serde_json::Value;

/// Two machines with the programs, and a controller that diagnoses them with the demo model.
fn fleet() -> Fleet {
    let fleet = Fleet::new(&[0.9, 0.1]);
    let said = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(said.code, 0, "{said:?}");
    fleet
}

fn doctor(fleet: &Fleet, more: &[&str]) -> std::process::Command {
    let mut command = fleet.lab.command("controller");
    command.args(["--doctor", "--hosts", "hosts"]).args(more);
    command
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

/// Everything on the share and in the machines' work folders.
fn tree(fleet: &Fleet) -> String {
    let folders = ["images", "imageindex", "work0", "work1"].map(|name| fleet.lab.path(name));
    finish(std::process::Command::new("find").args(folders.iter().filter(|folder| folder.exists()))).out
}

#[test]
fn machines_that_are_ready_are_measured_and_nothing_is_left_behind() {
    let fleet = fleet();
    fleet.lab.draw("", 60, 1);
    let before = tree(&fleet);
    let said = finish(&mut doctor(&fleet, &["--image-dir", "images", "--model", "demo", "--json"]));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(tree(&fleet), before);
    let found = parsed(&said);
    let hosts = found["hosts"].as_array().unwrap();
    for (i, host) in hosts.iter().enumerate() {
        assert_eq!((&host["host"], &host["ready"]), (&Value::from(format!("h{i}")), &Value::from(true)));
        let measured = &host["report"]["measured"];
        let positive = [
            &host["weight"],
            &host["report"]["free_bytes"],
            &measured["index_free_bytes"],
            &measured["images"]["read_bytes_per_second"],
            &measured["index"]["write_bytes_per_second"],
            &measured["index"]["operation_ms"],
            &measured["trial"]["images_per_second"],
            &measured["worker_bytes"],
        ];
        assert!(positive.iter().all(|number| number.as_f64().is_some_and(|n| n > 0.0)), "{positive:?}: {host}");
        assert_eq!(measured["trial"]["own_pictures"], true, "{host}");
        assert_eq!(measured["trial"]["model_name"], "demo", "{host}");
        assert!(measured["trial"]["deviation"].as_f64().is_some_and(|d| d < 0.05), "{host}");
        assert_eq!((&measured["pictures"]["count"], &measured["pictures"]["complete"]), (&60.into(), &true.into()));
    }
    let weights: f64 = hosts.iter().filter_map(|host| host["weight"].as_f64()).sum();
    assert!((weights - 1.0).abs() < 1e-9 && hosts.len() == 2, "{found}");
    assert_eq!((&found["to_do"]["images"], &found["to_do"]["at_least"]), (&60.into(), &false.into()), "{found}");
    assert!(found["forecast"]["seconds"].as_f64().is_some_and(|s| s > 0.0) && found["end"].is_string(), "{found}");

    // The lines stand in the place of those they were made of.
    let text = fs::read_to_string(fleet.lab.path("hosts")).unwrap();
    let lines = found["suggested_lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let hosts: Vec<&str> = text.lines().take(1).chain(lines).collect();
    fs::write(fleet.lab.path("hosts"), hosts.join("\n")).unwrap();
    let said = fleet.lab.index(&[]);
    assert!(said.code == 0 && !said.err.contains("scaled") && !said.err.contains("left out"), "{said:?}");
    assert_eq!(fleet.lab.meta()["num_images"], 60);
}

#[test]
fn a_machine_that_is_wrong_is_named_with_its_remedy_and_the_other_is_measured() {
    let mut fleet = fleet();
    fleet.lab.draw("", 10, 2);
    fs::remove_file(fleet.share(1)).unwrap();
    let before = tree(&fleet);
    let mut command = doctor(&fleet, &["--image-dir", "images", "--model", "demo"]);
    let said = finish(command.env("COLUMNS", "80"));
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(tree(&fleet), before);
    let (table, lines) = said.out.split_once("For the hosts file").unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("1 of 2 hosts are ready") && table.contains("demo on "), "{table}");
    let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("cannot be read here: mount the share, or mend path_map in hosts"), "{table}");
    assert!(lines.contains("\nh0 weight=1.00 ") && lines.contains("\n# h1 weight=0.10 "), "{lines}");

    // Without a folder, what needs no share is measured; one that is away does not hold up the other.
    fleet.cut(1);
    let said = finish(&mut doctor(&fleet, &["--model", "demo", "--json"]));
    assert_eq!(said.code, 1, "{said:?}");
    let found = parsed(&said);
    let [h0, h1] = [&found["hosts"][0], &found["hosts"][1]];
    assert!(h0["ready"] == true && h0["report"]["measured"]["trial"]["own_pictures"] == false, "{h0}");
    assert!(h1["report"].is_null() && h1["weight"].is_null(), "{h1}");
    assert!(h1["problems"][0].as_str().is_some_and(|told| told.contains("refuses the connection")), "{h1}");
    assert!(found["forecast"].is_null(), "{found}");
}

#[test]
fn a_model_that_is_not_there_is_a_problem_and_is_not_fetched() {
    let fleet = fleet();
    let said = finish(&mut doctor(&fleet, &["--index-prefix", "imageindex"]));
    assert_eq!(said.code, 1, "{said:?}");
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the model clip-vit-b-32 is not there yet: the first run fetches it, or now:"), "{said:?}");
    assert!(words.contains("index folder: writes") && words.contains("0 of 2 hosts are ready"), "{said:?}");
    assert!(!fleet.lab.path("m0/home/huggingface").exists() && !fleet.lab.prefix().exists());
}

#[test]
fn one_that_is_interrupted_leaves_nothing_behind() {
    let fleet = fleet();
    fleet.lab.draw("", 10, 3);
    let before = tree(&fleet);
    let mut command = doctor(&fleet, &["--image-dir", "images", "--model", "demo"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let token = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".token.");
    let index = fleet.lab.prefix();
    wait_for("the token", || fs::read_dir(&index).is_ok_and(|d| d.flatten().any(|e| token(&e.file_name()))));
    let worker = fleet.work(0).join("current/bin/worker");
    let asked = || finish(std::process::Command::new("pgrep").arg("-f").arg(&worker)).code == 0;
    wait_for("a machine to be asked", asked);
    signal(&child, "INT");
    let said = said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    let told = std::time::Instant::now();
    while tree(&fleet) != before && told.elapsed() < std::time::Duration::from_secs(60) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(tree(&fleet), before, "what the machines had begun is undone");
}
