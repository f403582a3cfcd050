//! A folder has one name in an index, however the person spells it, and a model's name is never taken for a folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Lab, Said, finish};

/// `--name=value` with a path in this world, spelled anew.
fn flag(name: &str, spelled: &str) -> String {
    format!("--{name}={spelled}")
}

fn done(said: &Said) {
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_folder_has_one_name_however_it_is_spelled() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("a/b")).unwrap();
    lab.draw("cars", 4, 1);
    let from = |folder: &str, name: &str, args: &[&str]| {
        let mut command = lab.command(name);
        command.current_dir(lab.path(folder)).args(args);
        finish(&mut command)
    };
    let hosts = format!("--hosts={}", lab.path("hosts").display());
    let spelled = [hosts.as_str(), "--image-dir=../../a/.././images//", "--index-prefix=./../b/../../imageindex/"];
    done(&from("a/b", "controller", &[&spelled[..], &["--model=demo"]].concat()));
    let root = lab.images().to_str().unwrap().to_owned();
    assert_eq!(lab.meta()["root"], root.as_str());
    assert!(lab.paths().iter().all(|path| path.starts_with("cars/")), "{:?}", lab.paths());

    // Every other spelling means the same index and the same pictures.
    for (folder, dir, prefix) in
        [("", "images", "imageindex"), ("", "images/cars/..", "a/../imageindex"), ("images", ".", "../imageindex")]
    {
        let args = [hosts.as_str(), &flag("image-dir", dir), &flag("index-prefix", prefix)];
        let said = from(folder, "controller", &args);
        done(&said);
        assert!(said.err.contains("4 pictures, 0 to embed, 4 already indexed"), "{dir}: {}", said.err);
        // The default index is beside the pictures, also where their folder is `.`.
        let said = from(folder, "controller", &args[..2]);
        done(&said);
        assert!(said.err.contains("0 to embed, 4 already indexed"), "{dir}: {}", said.err);
        done(&from(folder, "merger", &[&flag("index-prefix", prefix)]));
        let said = from(
            folder,
            "query",
            &[hosts.as_str(), &flag("index-prefix", prefix), "--paths-only", "--no-copy-results", "a car"],
        );
        done(&said);
        assert_eq!(said.out.lines().filter(|line| line.starts_with(&root)).count(), said.out.lines().count());
        assert!(said.out.lines().count() > 0);
    }
    let said = from(
        "a",
        "query",
        &[
            hosts.as_str(),
            "--index-prefix=b/../../imageindex",
            "--under=../images/./cars/x/..",
            "--paths-only",
            "a car",
            "--results-dir=../a/b/../found",
        ],
    );
    done(&said);
    assert!(said.out.lines().count() > 0, "{said:?}");
    assert!(fs::read_dir(lab.path("a/found")).unwrap().next().is_some(), "{said:?}");

    // By hand: a list, a root and a worker's prefix.
    let list: String = lab.paths().iter().map(|p| format!("{root}/cars/../../images/./{p}\n")).collect();
    fs::write(lab.path("list"), list).unwrap();
    fs::create_dir(lab.path("hand")).unwrap();
    let worker = [
        "--image-list=../list",
        "--model=demo",
        "--index-prefix=../hand/x/../index/worker_0/",
        "--root=../images/cars/..",
    ];
    done(&from("a", "worker", &worker));
    done(&from("a", "merger", &["--index-prefix=../hand/./index"]));
    let meta: serde_json::Value = serde_json::from_slice(&fs::read(lab.path("hand/index.meta.json")).unwrap()).unwrap();
    assert_eq!((&meta["root"], &meta["num_images"]), (&root.as_str().into(), &4.into()));
    let scan = ["scan", "--image-dir=../a/../images", "--index-prefix=../hand/index", "--model=demo", "--run=r"];
    done(&from("a", "worker", &scan));
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(lab.path("hand/index/runs/r/run.json")).unwrap()).unwrap();
    assert_eq!((&record["root"], &record["summary"]["standing"]), (&root.as_str().into(), &4.into()));
}

#[test]
fn a_path_map_and_a_canonical_root_are_spelled_in_one_way_too() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    let base = lab.path("").display().to_string();
    fs::write(
        lab.path("hosts"),
        format!("* path_map={base}/x/../:/nas/./share/\nlocalhost work_dir={}\n", lab.path("work").display()),
    )
    .unwrap();
    done(&lab.index(&[]));
    assert_eq!(lab.meta()["root"], "/nas/share/images");
    assert_eq!(lab.query(&["--paths-only", "--no-copy-results", "a boat"]).out.lines().count(), 3);
}

#[test]
fn a_folder_that_is_called_as_a_model_shadows_no_model() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    fs::create_dir(lab.path("demo")).unwrap();
    fs::write(lab.path("demo/config.json"), "{}").unwrap();
    done(&lab.index(&[]));
    assert_eq!(lab.meta()["model_name"], "demo");
    done(&lab.query(&["--model", "demo", "--no-copy-results", "a boat"]));
    fs::write(lab.path("list"), lab.paths().iter().map(|p| format!("images/{p}\n")).collect::<String>()).unwrap();
    let worker = |model: &str| {
        lab.run("worker", ["--image-list=list", "--index-prefix=hand/worker_0", &format!("--model={model}")])
    };
    done(&worker("demo"));
    done(&worker("DEMO"));
    done(&lab.index(&["--doctor"]));
    // A folder is what is spelled as one, and lacks its files here.
    let missing = format!("{} lacks preprocessor_config.json", lab.path("demo").display());
    for folder in ["./demo", "demo/", lab.path("images/../demo").to_str().unwrap()] {
        for said in [lab.index(&["--fresh", "--model", folder]), worker(folder)] {
            assert_eq!(said.code, 1, "{folder}: {said:?}");
            assert!(said.err.contains(&missing), "{folder}: {}", said.err);
        }
    }
    // One that is whole is found under its whole path from any program.
    let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    fs::remove_dir_all(lab.path("demo")).unwrap();
    assert_eq!(finish(Command::new("cp").arg("-r").arg(&sound).arg(lab.path("demo"))).code, 0);
    done(&lab.index(&["--fresh", "--model", "./demo"]));
    assert_ne!(lab.meta()["model_name"], "demo");
}
