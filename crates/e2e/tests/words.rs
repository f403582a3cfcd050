//! What the programs say: nothing that a name or a host holds steers a terminal or forges a line, and nothing is lost
//! with words that nobody can take.

use std::fs::{self, File};
use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Fleet, Lab, Said, finish, program, python};

/// A name that clears the screen, sets the window's title, turns the text around and forges a line.
const NAME: &str = "a\x1b[2J\x1b]0;mine\x07\u{9b}31m\u{202e}\r\nerror: all is lost\n  because of b.jpg";

/// How it is shown.
const SHOWN: &str = r"a\u{1b}[2J\u{1b}]0;mine\u{7}\u{9b}31m\u{202e}\r\nerror: all is lost\n  because of b.jpg";

fn plain(what: &str, text: &str) {
    let steers =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(steers), "{what}: {text:?}");
    for forged in ["error: all is lost", "  because of b"] {
        assert!(!text.lines().any(|line| line.starts_with(forged)), "{what}: {text}");
    }
}

fn all_plain(what: &str, said: &Said) {
    plain(what, &said.out);
    plain(what, &said.err);
}

fn no_panic(what: &str, said: &Said) {
    assert!(!said.err.contains("panicked") && said.code != 101, "{what}: {said:?}");
}

#[test]
fn hostile_names_of_pictures_and_folders_steer_no_terminal_and_no_log() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    fs::write(lab.images().join(NAME), b"no picture").unwrap();
    let folder = lab.images().join("f\x1b[31m\n  because of b");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("c.jpg"), b"no picture").unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o0)).unwrap();

    let mut controller = lab.powerless("controller");
    controller.args(["--image-dir", "images", "--model", "demo", "--hosts", "hosts"]);
    let said = finish(controller.arg("--exclude").arg(NAME.replace('[', "?")));
    all_plain("a run with an exclude", &said);
    let said =
        finish(lab.powerless("controller").args(["--image-dir", "images", "--model", "demo", "--hosts", "hosts"]));
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains(&format!("{SHOWN}: undecodable")), "{}", said.err);
    all_plain("a run", &said);
    for more in ["--status", "--dry-run"] {
        let said = lab.index(&[more]);
        all_plain(more, &said);
        no_panic(more, &said);
    }
    assert!(lab.index(&["--status"]).out.contains(SHOWN));

    // By hand: a list, a log, a merge; and names of folders that are not there.
    fs::write(lab.path("list"), format!("{}\0", lab.images().join(NAME).display())).unwrap();
    let prefix = lab.path("by-hand/worker_0");
    let mut worker = lab.command("worker");
    worker.args(["--image-list", "list", "--model", "demo", "--work-dir"]).arg(lab.path("work"));
    let said = finish(worker.arg("--index-prefix").arg(&prefix));
    assert!(said.err.contains(SHOWN), "{}", said.err);
    all_plain("worker", &said);
    let log = fs::read_to_string(lab.path("work/worker_0.log")).unwrap();
    assert!(log.contains(SHOWN), "{log}");
    plain("a worker's log", &log);
    for (name, flag) in [
        ("merger", "--index-prefix"),
        ("controller", "--image-dir"),
        ("query", "--index-prefix"),
        ("worker", "--image-list"),
    ] {
        let mut command = lab.command(name);
        let absent = Path::new("/absent").join(NAME);
        command.arg(format!("{flag}={}", absent.display())).args(match name {
            "query" => &["a boat"][..],
            "worker" => &["--index-prefix=x/worker_0", "--model=demo"],
            _ => &[],
        });
        let said = finish(&mut command);
        assert_eq!(said.code, 1, "{name}: {said:?}");
        assert!(said.err.contains(SHOWN), "{name}: {}", said.err);
        all_plain(name, &said);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_host_says_steers_no_terminal() {
    let fleet = Fleet::new(&[1.0]);
    let lab = &fleet.lab;
    lab.draw("", 3, 1);
    let bin = fleet.work(0).join("current/bin");
    fs::create_dir_all(&bin).unwrap();
    let script = |text: &str| {
        for name in ["worker", "merger"] {
            fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    };
    let noise = r"printf '\033[2J\033]0;mine\007noise\r\nerror: all is lost\n'";
    script(&format!("{noise}; {noise} >&2; exit 1"));
    for more in [&["--model", "demo"][..], &["--doctor"]] {
        let said = finish(lab.controller(more).env("COLUMNS", "200"));
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("h0") || said.out.contains("h0"), "{said:?}");
        all_plain(&format!("{more:?}"), &said);
    }
    // A worker that works, and whose libraries talk meanwhile; a merger that fails in many words.
    let worker = program("worker");
    script(&format!(
        "case $0 in *merger) {noise} >&2; exit 1;; esac\ncase $1 in --granted) {noise};; esac\nexec {} \"$@\"",
        worker.display()
    ));
    let ort = lab
        .command("worker")
        .get_envs()
        .find_map(|(name, value)| (name == "ORT_DYLIB_PATH").then(|| value.unwrap().to_owned()));
    fs::write(bin.join("env"), "").unwrap();
    let mut exports = fs::read_to_string(bin.join("worker")).unwrap();
    exports =
        exports.replace("#!/bin/sh\n", &format!("#!/bin/sh\nexport ORT_DYLIB_PATH='{}'\n", ort.unwrap().display()));
    fs::write(bin.join("worker"), exports).unwrap();
    let said = lab.index(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(r"h0: \u{1b}[2J\u{1b}]0;mine\u{7}noise"), "{}", said.err);
    assert!(said.err.contains("the merger on h0 failed"), "{}", said.err);
    all_plain("a run", &said);
}

/// A command whose standard output and standard error take nothing: nobody reads them, or the disk is full.
fn unheard(mut command: Command, full: bool) -> (i32, bool) {
    let deaf = || -> Stdio {
        if full {
            return File::options().write(true).open("/dev/full").unwrap().into();
        }
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        writer.into()
    };
    let status = command.stdin(Stdio::null()).stdout(deaf()).stderr(deaf()).status().unwrap();
    (status.code().unwrap_or(-1), full)
}

#[test]
fn output_that_goes_away_ends_no_run_and_panics_nowhere() {
    for full in [false, true] {
        let lab = Lab::new();
        lab.draw("", 3, 1);
        fs::write(lab.images().join("broken.jpg"), b"no picture").unwrap();
        // A sum of weights other than 1 is told at once, the rest as it comes.
        fs::write(lab.path("hosts"), format!("localhost weight=0.5 work_dir={}\n", lab.path("work").display()))
            .unwrap();
        assert_eq!(unheard(lab.controller(&[]), full).0, 3);
        assert_eq!(lab.meta()["num_images"], 3);
        let merge = || {
            let mut merger = lab.command("merger");
            merger.arg("--index-prefix").arg(lab.prefix());
            merger
        };
        assert_eq!(unheard(merge(), full).0, finish(&mut merge()).code, "merger");
        let worker = || {
            let mut worker = lab.command("worker");
            worker.args(["--image-list", "list", "--model", "demo", "--root"]).arg(lab.images());
            worker.arg("--index-prefix").arg(lab.path("other/worker_0"));
            worker
        };
        fs::write(lab.path("list"), format!("{}\n", lab.images().join("broken.jpg").display())).unwrap();
        assert_eq!(unheard(worker(), full).0, 3, "worker");
        fs::create_dir(lab.path("bundle")).unwrap();
        let bundle =
            serde_json::json!({"name": "b", "version": protocol::VERSION, "target": "", "glibc": null, "files": []});
        fs::write(lab.path("bundle/MANIFEST.json"), bundle.to_string()).unwrap();
        // What was asked for is the answer itself: lost on a full disk, not wanted by a closed pipe.
        let asked = i32::from(full);
        for more in ["--status", "--setup"] {
            let mut command = lab.command("controller");
            command.args(["--hosts", "hosts", more, "--index-prefix"]).arg(lab.prefix());
            if more == "--setup" {
                command.args(["--check", "--bundle", "bundle", "--image-dir"]).arg(lab.images());
            }
            let whole = finish(&mut command).code;
            assert_eq!(whole, 0, "{more}");
            assert_eq!(unheard(command, full).0, asked, "{more}, full: {full}");
        }
        assert_eq!(unheard(lab.controller(&["--dry-run"]), full).0, asked, "--dry-run, full: {full}");
        for name in ["controller", "merger", "worker", "query", "server"] {
            let mut command = lab.command(name);
            command.arg("--help");
            let code = unheard(command, full).0;
            assert!([0, 1].contains(&code), "{name} --help: {code}");
        }
    }
}

/// Runs a program on a terminal that is closed once the program has said something.
const CLOSED: &str = r#"
import os, pty, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
os.read(terminal, 1)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"#;

#[test]
fn a_terminal_that_is_closed_ends_no_run_of_nohup() {
    let lab = Lab::new();
    lab.draw("", 30, 1);
    let controller = lab.controller(&["--chunk-images", "3"]);
    let mut command = Command::new(python());
    command.envs(controller.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(lab.path("")).env("TERM", "xterm").args(["-c", CLOSED]).arg(program("controller"));
    let said = finish(command.args(controller.get_args()));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(lab.meta()["num_images"], 30);
}

#[test]
fn what_only_makes_the_next_command_shorter_costs_a_warning_and_no_more() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    // Files where folders are to be made, and folders where files are, stop root too.
    for file in ["home/state", "home/cache"] {
        fs::write(lab.path(file), "").unwrap();
    }
    let model = lab.path("model");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    assert_eq!(finish(Command::new("cp").arg("-r").arg(demo).arg(&model)).code, 0);
    for folder in ["work/scan.log", "work/worker_0.log", "work/worker_0_images.txt", "model/imagefleet.golden.json"] {
        fs::create_dir_all(lab.path(folder).join("full")).unwrap();
    }
    let said = lab.index(&["--model", "./model"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(lab.meta()["num_images"], 3);
    for told in ["Warning: ", "query has to be told which index is meant", "the next start takes longer"] {
        assert!(said.err.contains(told), "{told:?} is not in {}", said.err);
    }
    let mut setup = lab.command("controller");
    setup.args(["--setup", "--hosts", "hosts", "--image-dir"]).arg(lab.images());
    let said = finish(&mut setup);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("the next setup makes the bundle again"), "{}", said.err);
}

#[test]
fn a_server_without_a_log_answers_and_so_does_a_query_that_can_remember_nothing() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    assert_eq!(lab.index(&[]).code, 0);
    fs::remove_dir_all(lab.path("home/state")).unwrap();
    fs::write(lab.path("home/state"), "").unwrap();
    fs::create_dir_all(lab.path("run/imagefleet")).unwrap();
    fs::set_permissions(lab.path("run/imagefleet"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir_all(lab.path(format!("run/imagefleet/server-{}.log/full", protocol::VERSION))).unwrap();
    let said = lab.query(&["--no-copy-results", "a boat"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out.lines().count(), 3);
}
