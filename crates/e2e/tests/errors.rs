//! Bad input ends in one clear error that names the thing, its exit code, and nothing lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Lab, Said, finish, signal, wait_for};

/// One error, told once, that names `words`; no panic.
fn refuses(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "{word:?} is not in {said:?}");
    }
    assert!(!said.err.contains("panicked"), "{said:?}");
    let told = said.err.matches("error: ").count() + said.err.matches("Error: ").count();
    assert_eq!(told, 1, "told {told} times: {said:?}");
}

fn lab_with_index(count: usize) -> Lab {
    let lab = Lab::new();
    lab.draw("", count, 1);
    let said = lab.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    lab
}

#[test]
fn no_images_and_missing_folder() {
    let lab = Lab::new();
    refuses(&lab.index(&[]), 1, &["no pictures", lab.images().to_str().unwrap()]);
    let said = lab.run("controller", ["--image-dir", "/nowhere/at/all", "--model", "demo"]);
    refuses(&said, 1, &["/nowhere/at/all", "is the share mounted?"]);
    refuses(&lab.run("controller", ["--model", "demo"]), 2, &["--image-dir"]);
}

#[test]
fn an_empty_share_loses_nothing() {
    let lab = lab_with_index(5);
    let before = lab.meta();
    fs::rename(lab.images(), lab.path("away")).unwrap();
    fs::create_dir(lab.images()).unwrap();
    refuses(&lab.index(&[]), 1, &["no pictures"]);
    assert_eq!(lab.meta(), before);
}

#[test]
fn an_index_of_an_older_format_is_refused_until_it_is_built_anew() {
    let lab = lab_with_index(5);
    let meta = lab.path("imageindex.meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("\"format_version\": 2", "\"format_version\": 1")).unwrap();
    let advice = ["imageindex.meta.json has format version 1", "build the index anew with controller --fresh"];
    refuses(&lab.index(&[]), 1, &advice);
    refuses(&lab.query(&["--text", "a red boat"]), 1, &advice);
    // Without a word of the model: the old index's is taken.
    let mut controller = lab.command("controller");
    let said = finish(controller.arg("--image-dir").arg(lab.images()).arg("--fresh"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((&lab.meta()["format_version"], &lab.meta()["generation"]), (&2.into(), &2.into()));
    assert_eq!(lab.ask("a red boat", 9).len(), 5);
}

#[test]
fn a_bad_hosts_line_is_named() {
    let lab = Lab::new();
    fs::write(lab.path("hosts"), "localhost\nduc17 wieght=0.4\n").unwrap();
    refuses(&lab.index(&[]), 1, &["hosts:2", "wieght=0.4"]);
}

#[test]
fn models_that_are_none() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    refuses(&lab.index(&["--model", "no-such-model"]), 1, &["no-such-model", "demo"]);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let model = lab.path("model");
    let copy = || {
        fs::create_dir_all(model.join("onnx")).unwrap();
        for file in [
            "config.json",
            "preprocessor_config.json",
            "tokenizer.json",
            "onnx/vision_model.onnx",
            "onnx/text_model.onnx",
        ] {
            fs::copy(demo.join(file), model.join(file)).unwrap();
        }
    };
    copy();
    assert_eq!(lab.index(&["--model", "model", "--no-merge"]).code, 0, "the folder is a sound model");
    let vision = model.join("onnx/vision_model.onnx");
    let whole = fs::read(&vision).unwrap();
    fs::write(&vision, &whole[..whole.len() / 2]).unwrap();
    refuses(&lab.index(&["--model", "model"]), 1, &["vision_model.onnx"]);
    fs::write(&vision, b"this is no model").unwrap();
    refuses(&lab.index(&["--model", "model"]), 1, &["vision_model.onnx"]);
    copy();
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    refuses(&lab.index(&["--model", "model"]), 1, &["tokenizer.json"]);
}

#[test]
fn partials_that_do_not_fit() {
    let lab = lab_with_index(6);
    let before = lab.meta();
    let prefix = lab.prefix();
    let merge = |more: &[&str]| lab.run("merger", ["--index-prefix", prefix.to_str().unwrap()].iter().chain(more));
    refuses(&merge(&["--num-workers", "2"]), 1, &["worker_1"]);
    // Rows that are not as many as the metadata says.
    let meta = prefix.join("worker_0.meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("\"num_images\": 6", "\"num_images\": 7")).unwrap();
    refuses(&merge(&[]), 1, &["worker_0"]);
    // A fingerprint that is another model's.
    let mut other: serde_json::Value = serde_json::from_str(&text).unwrap();
    other["fingerprint"] = "00000000000000000000000000000000".into();
    fs::write(&meta, other.to_string()).unwrap();
    refuses(&merge(&[]), 1, &["imageindex.meta.json", "00000000000000000000000000000000"]);
    // A partial of another run is named and left.
    fs::write(&meta, &text).unwrap();
    let mut stray: serde_json::Value = serde_json::from_str(&text).unwrap();
    stray["run_id"] = "20200101-000000".into();
    stray["worker_id"] = 7.into();
    fs::write(prefix.join("worker_7.meta.json"), stray.to_string()).unwrap();
    for extension in ["parquet", "faiss"] {
        fs::copy(prefix.join(format!("worker_0.{extension}")), prefix.join(format!("worker_7.{extension}"))).unwrap();
    }
    let said = merge(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("worker_7"), "{said:?}");
    assert!(prefix.join("worker_7.meta.json").exists());
    assert_eq!(lab.meta()["segments"], before["segments"]);
}

#[test]
fn another_root_is_refused_and_both_are_named() {
    let lab = lab_with_index(4);
    let before = lab.meta();
    fs::create_dir(lab.path("other")).unwrap();
    for entry in fs::read_dir(lab.images()).unwrap().flatten() {
        fs::copy(entry.path(), lab.path("other").join(entry.file_name())).unwrap();
    }
    let other = lab.path("other");
    let prefix = lab.prefix();
    let said = lab.run(
        "controller",
        [
            "--image-dir".as_ref(),
            other.as_os_str(),
            "--index-prefix".as_ref(),
            prefix.as_os_str(),
            "--model".as_ref(),
            "demo".as_ref(),
        ],
    );
    refuses(&said, 1, &[other.to_str().unwrap(), lab.images().to_str().unwrap()]);
    assert_eq!(lab.meta(), before);
}

#[test]
fn an_unwritable_index_folder_is_named() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    fs::create_dir(lab.prefix()).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(lab.prefix(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = lab.powerless("controller");
    let said = finish(
        command.arg("--image-dir").arg(lab.images()).arg("--hosts").arg(lab.path("hosts")).args(["--model", "demo"]),
    );
    refuses(&said, 1, &[lab.prefix().to_str().unwrap()]);
}

/// A disk of 700 KB that a ballast fills; the second run finds room.
const SMALL_DISK: &str = r#"
mount -t tmpfs -o size=700k tmpfs "$SMALL"
cp -r "$LAB"/imageindex* "$SMALL"/
rm -rf "$SMALL"/imageindex/worker_* "$SMALL"/imageindex.parquet "$SMALL"/imageindex.faiss
dd if=/dev/zero of="$SMALL"/ballast bs=1k 2>/dev/null
"$@" --index-prefix "$SMALL"/imageindex
[ $? = 1 ] || exit 99
rm "$SMALL"/ballast
mount -o remount,size=50m "$SMALL"
"$@" --index-prefix "$SMALL"/imageindex || exit 98
cp -r "$SMALL" "$LAB"/kept"#;

/// Who may not mount has files that cannot grow instead.
const SHORT_FILES: &str = r#"
trap '' XFSZ
cp -r "$LAB"/imageindex* "$SMALL"/
(ulimit -f 24; "$@" --index-prefix "$SMALL"/imageindex)
[ $? = 1 ] || exit 99
"$@" --index-prefix "$SMALL"/imageindex || exit 98
cp -r "$SMALL" "$LAB"/kept"#;

#[test]
fn a_full_disk_loses_nothing_and_the_run_goes_on_later() {
    let lab = lab_with_index(20);
    let before = lab.rows();
    let small = lab.path("small");
    fs::create_dir(&small).unwrap();
    lab.draw("more", 60, 2);
    let root = finish(Command::new("id").arg("-u")).out.trim() == "0";
    let mut command = Command::new(if root { "unshare" } else { "env" });
    command.args(if root { &["-m"][..] } else { &[] });
    command.args(["bash", "-c", if root { SMALL_DISK } else { SHORT_FILES }, "bash"]);
    let controller = lab.controller(&[]);
    command.arg(controller.get_program()).args(controller.get_args());
    for (name, value) in controller.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("SMALL", &small).env("LAB", lab.path("")).current_dir(lab.path("")).stdin(Stdio::null());
    let said = finish(&mut command);
    assert_eq!(said.code, 0, "{said:?}");
    let reason = if root { "No space left" } else { "File too large" };
    assert!(said.err.contains(reason) && !said.err.contains("panicked"), "{said:?}");
    fs::remove_dir_all(lab.prefix()).unwrap();
    for entry in fs::read_dir(lab.path("kept")).unwrap().flatten() {
        fs::rename(entry.path(), lab.path("").join(entry.file_name())).unwrap();
    }
    let after = lab.rows();
    assert_eq!(after.len(), 80);
    assert!(before.iter().all(|row| after.contains(row)), "no row of the old index is lost or changed");
}

#[test]
fn a_second_controller_is_refused_and_told_who_is_first() {
    let lab = Lab::new();
    lab.draw("", 400, 1);
    let mut first = lab.controller(&["--batch-size", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the first controller to own the index", || {
        fs::read_to_string(lab.path("imageindex/lock")).is_ok_and(|t| t.contains("controller"))
    });
    // It stands still while the others try, however fast this machine is.
    signal(&first, "STOP");
    let pid = first.id().to_string();
    let second = lab.index(&[]);
    let merger = lab.run("merger", ["--index-prefix", lab.prefix().to_str().unwrap()]);
    signal(&first, "CONT");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    refuses(&second, 1, &["controller", &pid]);
    refuses(&merger, 1, &["controller", &pid]);
    assert_eq!(lab.meta()["num_images"], 400);
}

#[test]
fn a_missing_index_or_question_is_said_with_what_to_do() {
    let lab = Lab::new();
    refuses(&lab.query(&["--text", "a car"]), 1, &["controller --image-dir"]);
    refuses(&lab.query(&["--text", "  "]), 2, &["--text"]);
}
