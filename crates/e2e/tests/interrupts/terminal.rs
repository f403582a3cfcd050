//! What a terminal, a pipe and a file can do to a program: Ctrl-C, a reader that is away, a writer that never comes.

use std::fs;
use std::process::Command;

use e2e::{Lab, Said, finish, signal, wait_for};

use crate::ready;
use crate::running::{AT_ONCE, Running};

/// Runs a program whose standard output is a pipe that is full, and sends signals to it: its exit code, and seconds from the
/// second signal to the end.
const FULL_PIPE: &str = r#"
import os, signal, subprocess, sys, time
read, write = os.pipe()
os.set_blocking(write, False)
try:
    while os.write(write, b"x" * 65536): pass
except BlockingIOError:
    pass
os.set_blocking(write, True)
program = subprocess.Popen(sys.argv[1:], stdout=write, stderr=subprocess.PIPE, text=True)
stuck = lambda: "pipe_write" in open(f"/proc/{program.pid}/wchan").read() or any(
    "pipe_write" in open(f"/proc/{program.pid}/task/{task}/wchan").read() for task in os.listdir(f"/proc/{program.pid}/task"))
while not stuck(): time.sleep(0.01)
program.send_signal(signal.SIGINT)
assert "waiting for" in program.stderr.readline()
begun = time.time()
program.send_signal(signal.SIGINT)
print(program.wait(), time.time() - begun)
"#;

#[test]
fn a_write_that_nobody_reads_and_a_file_that_never_opens_hold_up_no_second_ctrl_c() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let status = lab.command("controller");
    let mut python = lab.in_world(Command::new("python3"));
    python.args(["-c", FULL_PIPE]).arg(status.get_program()).args(["--status", "--index-prefix"]).arg(lab.prefix());
    let said = finish(&mut python);
    let (code, seconds) = said.out.trim().split_once(' ').unwrap_or_else(|| panic!("{said:?}"));
    assert!(code == "130" && seconds.parse::<f64>().unwrap() < 2.0, "{said:?}");

    // A hosts file, and a list, that are pipes which nobody writes to.
    assert_eq!(finish(Command::new("mkfifo").arg(lab.path("fifo"))).code, 0);
    let fifo = lab.path("fifo");
    let mut controller = lab.command("controller");
    controller.arg("--image-dir").arg(lab.images()).arg("--hosts").arg(&fifo);
    let mut query = lab.command("query");
    query.args(["--text", "a car", "--index-prefix"]).arg(lab.prefix()).arg("--hosts").arg(&fifo);
    let mut worker = lab.command("worker");
    worker
        .args(["--model", "demo", "--image-list"])
        .arg(&fifo)
        .arg("--index-prefix")
        .arg(lab.prefix().join("worker_0"));
    for (name, command) in [("controller", controller), ("query", query), ("worker", worker)] {
        let running = Running::start(&lab, name, command);
        let waits = format!("/proc/{}/task", running.child.id());
        let opens = || {
            fs::read_dir(&waits).is_ok_and(|tasks| {
                tasks.flatten().any(|task| {
                    fs::read_to_string(task.path().join("wchan"))
                        .is_ok_and(|wchan| wchan.contains("fifo_open") || wchan.contains("wait_for_partner"))
                })
            })
        };
        wait_for("it to open the pipe", opens);
        if name == "controller" {
            // What blocks is left alone by the first.
            signal(&running.child, "INT");
            assert_eq!(running.ends(AT_ONCE).code, 130);
        } else {
            running.ends_when_told_twice("waiting for");
        }
    }
}

/// A controller at a terminal: Ctrl-C is typed, or the terminal is closed, when its words are seen. Prints its exit code.
const TERMINAL: &str = r#"
import os, pty, signal, sys, time
what, words, ignore, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    if ignore == "nohup":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(command[0], command)
seen = b""
def read():
    global seen
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        piece = b""
    seen += piece
    return piece
while words.encode() not in seen:
    if not read(): sys.exit(f"{words!r} did not come: {seen!r}")
if what == "type":
    os.write(terminal, b"\x03")
    while read(): pass
else:
    os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.stderr.buffer.write(seen)
"#;

fn at_a_terminal(lab: &Lab, what: &str, words: &str, ignore: &str, controller: &Command) -> Said {
    let mut python = lab.in_world(Command::new("python3"));
    python.args(["-c", TERMINAL, what, words, ignore]).arg(controller.get_program()).args(controller.get_args());
    finish(python.env("TERM", "xterm"))
}

#[test]
fn ctrl_c_at_a_terminal_reaches_no_ssh_and_a_closed_terminal_loses_no_work() {
    let fleet = ready(1);
    let lab = &fleet.lab;
    lab.draw("", 400, 1);
    let controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let embedded = "Worker 0 on h0: demo";
    let said = at_a_terminal(lab, "type", embedded, "", &controller);
    assert_eq!(said.out.trim(), "130", "{said:?}");
    assert!(said.err.contains("run the same command to go on") && !said.err.contains("lost"), "{said:?}");

    // Whoever closes a terminal ends what runs in it; what was started to outlive it comes to its end.
    let said = at_a_terminal(lab, "close", embedded, "", &controller);
    assert!(["130", "-1"].contains(&said.out.trim()), "{said:?}");
    let said = at_a_terminal(lab, "close", embedded, "nohup", &controller);
    assert_eq!(said.out.trim(), "0", "{said:?}");
    assert_eq!(lab.meta()["num_images"], 400);
}
