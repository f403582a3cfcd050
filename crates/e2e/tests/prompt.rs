//! `query` at a terminal, typed into by a person: a pseudo-terminal of Python's, and a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::{Lab, finish, program, python};

/// Types each line when the program asks for one, and waits for the words that must follow. `stop` ends the server.
const TYPE: &str = r#"
import glob, os, pty, select, socket, sys
program, index, hosts, *talk = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(program, [program, "--index-prefix", index, "--hosts", hosts])
seen = ""
def wait(words, start):
    global seen
    while words not in seen[start:]:
        ready = select.select([terminal], [], [], 120)[0]
        piece = os.read(terminal, 65536).decode(errors="replace") if ready else ""
        if not piece:
            sys.exit(f"{words!r} did not come: {seen[start:]!r}")
        seen += piece
    return seen.index(words, start)
wait("> ", 0)
for line, words in zip(talk[::2], talk[1::2]):
    if line == "stop":
        for path in glob.glob(os.environ["XDG_RUNTIME_DIR"] + "/imagefleet/*.sock"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(path)
            server.sendall(b"POST /v1/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            while server.recv(65536): pass
        continue
    start = len(seen)
    os.write(terminal, line.encode().decode("unicode_escape").encode())
    at = wait(words, start)
    if line.endswith("\\r"):
        wait("> ", at)
os.write(terminal, b"\x04")
try:
    while os.read(terminal, 65536): pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Talks with `query` about the index of `lab`: pairs of what is typed and what must be seen then.
fn talk(lab: &Lab, lines: &[(&str, &str)]) {
    let query = lab.command("query");
    let environment = query.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut command = Command::new(python());
    command.envs(environment).env("TERM", "xterm").current_dir(lab.path("")).args(["-c", TYPE]);
    command.arg(program("query")).arg(lab.prefix()).arg(lab.path("hosts"));
    let said = finish(command.args(lines.iter().flat_map(|(typed, seen)| [typed, seen])));
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn a_person_asks_one_question_after_the_other_and_the_server_may_leave_between_them() {
    let lab = Lab::new();
    lab.draw("", 12, 1);
    assert_eq!(lab.index(&[]).code, 0);
    talk(
        &lab,
        &[
            ("a yellow car\\r", "10 matches of 12 pictures in"),
            (":more\\r", "12 matches of 12 pictures in"),
            (":more\\r", "there are no more matches"),
            ("a red boat +\\r", "error: nothing stands behind +"),
            (":top 3\\r", "3 matches of 12 pictures in"),
            ("half a line", "half a line"),
            ("\\x03", "> "),
            ("stop", ""),
            ("a red boat\\r", "3 matches of 12 pictures in"),
            (":copy\\r", "copied to "),
            (":nothing\\r", ":help tells them"),
        ],
    );
    let state = lab.path("home/state/imagefleet");
    for file in ["questions", "last-answer.json"] {
        assert_eq!(fs::metadata(state.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let history = fs::read_to_string(state.join("questions")).unwrap();
    assert!(history.contains("a yellow car") && !history.contains("half a line"), "{history}");
    assert_eq!(fs::read_dir(lab.path("image_results")).unwrap().count(), 3);
}
