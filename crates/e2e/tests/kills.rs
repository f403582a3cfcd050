//! kill -9 at any point: of the merger, by strace, before each call to the system that changes a file; of the server
//! between two questions; and of a controller whose merger stays at work.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::{CANONICAL, Judge, Lab, Machines, WORK, finish, looks_again, send, strangers, wait_for};

/// Every way in which the merger changes what others may see.
const CALLS: &str =
    "write,rename,renameat,renameat2,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,fsync,fdatasync";

/// Copies an index, its folder and the files beside it, to another folder of the laboratory.
fn copy_index(lab: &Lab, from: &str, to: &str) {
    for name in ["imageindex", "imageindex.meta.json", "imageindex.parquet", "imageindex.faiss"] {
        let copied = finish(Command::new("cp").arg("-a").arg(lab.path(from).join(name)).arg(lab.path(to)));
        assert_eq!(copied.code, 0, "{copied:?}");
    }
}

/// False where strace cannot follow programs, which is said.
fn can_strace() -> bool {
    let can = finish(Command::new("strace").args(["-o", "/dev/null", "true"])).code == 0;
    if !can {
        eprintln!("NOT RUN: strace may not follow programs here");
    }
    can
}

/// An index that a merger is to change, over and over.
struct Merging {
    lab: Lab,
    judge: Judge,
    before: Vec<String>,
    after: BTreeMap<String, String>,
}

impl Merging {
    /// Rows that come, that go and that stay, in parts of two runs. `None` where strace cannot follow programs.
    fn new() -> Option<Self> {
        if !can_strace() {
            return None;
        }
        // The vectors of all pictures, from a run of their own.
        let all = Lab::new();
        all.draw("", 60, 1);
        assert_eq!(all.index(&[]).code, 0);
        let judge = Judge::new(&all.path("imageindex.parquet"));
        let lab = Lab::new();
        let names: Vec<String> = all.drawn().into_keys().collect();
        let put = |name: &String| fs::hard_link(all.images().join(name), lab.images().join(name)).unwrap();
        names[..30].iter().for_each(put);
        assert_eq!(lab.index(&[]).code, 0);
        let before: Vec<String> = lab.drawn().into_keys().collect();
        names[..5].iter().for_each(|name| fs::remove_file(lab.images().join(name)).unwrap());
        for new in [&names[30..45], &names[45..]] {
            new.iter().for_each(put);
            assert_eq!(lab.index(&["--no-merge", "--chunk-images", "8"]).code, 0);
        }
        let after = lab.drawn();
        fs::create_dir(lab.path("kept")).unwrap();
        copy_index(&lab, "", "kept");
        Some(Self { lab, judge, before, after })
    }

    fn merger(&self) -> Command {
        let mut merger = self.lab.command("merger");
        merger.arg("--index-prefix").arg(self.lab.prefix()).args(["--wait", "0"]);
        merger
    }

    /// Lets a merger suffer `what` at each of its calls that change a file, and the next one complete its work. `ended`
    /// looks at how it ended. The number of calls, and how many of them came after the switch.
    fn at_every_call(&mut self, calls: &str, what: &str, ended: impl Fn(&Output) -> bool) -> (u32, u32) {
        let (mut points, mut switched) = (0, 0);
        for call in calls.split(',') {
            for nth in 1.. {
                self.lab.remove_index();
                copy_index(&self.lab, "kept", "");
                let mut strace = self.lab.in_world(Command::new("strace"));
                let log = self.lab.path("strace");
                strace.args(["-f", "-o"]).arg(&log).args(["-e", &format!("trace={call}"), "-e"]);
                strace.arg(format!("inject={call}:{what}:when={nth}"));
                let merger = self.merger();
                let output = strace.arg(merger.get_program()).args(merger.get_args()).output().unwrap();
                let suffered = fs::read_to_string(log).unwrap();
                if !suffered.contains("killed by SIGKILL") && !suffered.contains("(INJECTED)") {
                    break;
                }
                let at = format!("{call} {nth}: {output:?}");
                assert!(ended(&output), "{at}");
                points += 1;
                let stood = self.judge.stood(&self.lab, &self.lab.images());
                assert_eq!((stood.wrong, stood.pictures), (vec![], 55), "{at}");
                let is_after = stood.generation.iter().eq(self.after.keys());
                assert!(is_after || stood.generation == self.before, "{at}: {:?}", stood.generation);
                switched += u32::from(is_after);
                let said = finish(&mut self.merger());
                assert_eq!(said.code, 0, "{at}: {said:?}");
                assert_eq!(self.judge.judge(&self.lab, &self.lab.images(), &self.after), [""; 0], "{at}");
                assert_eq!(strangers(&self.lab), [""; 0], "{at}");
            }
        }
        println!("{what} at {points} calls, {switched} of them after the switch");
        (points, switched)
    }
}

#[test]
fn a_merger_killed_before_any_change_to_a_file_leaves_one_generation_whole_and_the_next_completes_it() {
    let Some(mut merging) = Merging::new() else { return };
    let killed = |output: &Output| output.status.signal() == Some(9);
    let (points, switched) = merging.at_every_call(CALLS, "signal=KILL", killed);
    assert!(points > 30 && switched > 5 && switched < points, "{points} points, {switched} after the switch");
}

#[test]
fn a_merger_for_which_any_change_to_a_file_fails_says_so_and_the_next_completes_it() {
    let Some(mut merging) = Merging::new() else { return };
    // What cannot be linked is copied, and what is in the way of nothing may stay.
    let told = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr);
        let once = said.matches("error: ").count() == usize::from(!output.status.success());
        once && !said.contains("panicked") && output.status.code().is_some()
    };
    let calls = CALLS.replace("write,", "");
    let (points, switched) = merging.at_every_call(&calls, "error=ENOSPC", told);
    assert!(points > 20 && switched > 5 && switched < points, "{points} points, {switched} after the switch");
}

#[test]
fn a_server_killed_between_two_questions_is_not_missed() {
    let lab = Lab::new();
    lab.draw("", 20, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let first = lab.ask("a yellow car", 20);
    let socket = format!("socket {}", lab.path("run").display());
    let killed = finish(Command::new("pkill").args(["-KILL", "-f", &socket]));
    assert_eq!(killed.code, 0, "{killed:?}");
    assert_eq!(lab.ask("a yellow car", 20), first);
}

/// In a merger's place: the first stands still while it writes a generation.
/// The first sync is that of the lock, the second that of the first file.
const FIRST_STANDS_STILL: &str = r#"#!/bin/sh
[ -e /run/first ] && exec /run/real/bin/merger "$@"
touch /run/first
exec strace -f -o /dev/null -e trace=fsync -e inject=fsync:signal=STOP:when=2 /run/real/bin/merger "$@"
"#;

#[test]
fn a_merger_that_lost_its_controller_and_the_next_one_harm_nothing() {
    let Some(machines) = can_strace().then(|| Machines::ready(&[""])).flatten() else { return };
    let lab = &machines.lab;
    lab.draw("", 30, 1);
    assert_eq!(machines.index(&[]).code, 0);
    lab.draw("more", 30, 2);
    fs::write(lab.path("merger"), FIRST_STANDS_STILL).unwrap();
    let real = format!("{WORK}/versions/built");
    machines.inside(
        0,
        &format!(
            "mkdir /run/real && mount --bind {real} /run/real && cp {}/merger /run/merger && chmod 755 /run/merger && \
             mount --bind /run/merger {real}/bin/merger",
            machines.share(0)
        ),
    );
    let start = || machines.controller(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mergers = || machines.processes(Some(0), "merger");
    let first = start();
    let writes =
        |name: String| name.starts_with("gen-2.tmp-") && lab.prefix().join(name).join("seg-0.parquet").exists();
    let inside = || fs::read_dir(lab.prefix()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    wait_for("the first merger to write", || inside().any(writes));
    let stopped = mergers();
    send("KILL", &machines.processes(None, "controller"));
    e2e::said(first.wait_with_output().unwrap());
    let second = start();
    wait_for("the second merger to wait", || {
        mergers().into_iter().any(|pid| !stopped.contains(&pid) && looks_again(pid))
    });
    send("CONT", &stopped);
    let said = e2e::said(second.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("Scanned 60 = embedded 0 + failed 0 + already indexed 60"), "{said:?}");
    assert_eq!(lab.rows_below(&Path::new(CANONICAL).join("images")).len(), 60);
    assert_eq!(strangers(lab), [""; 0]);
}
