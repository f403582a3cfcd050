//! A laboratory for tests with real processes: a folder of its own that holds pictures, index and the person's
//! configuration, so that no test touches what belongs to the person who runs it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

mod fleet;
mod judge;
mod leftovers;
mod machines;
mod place;

pub use fleet::Fleet;
pub use judge::{Judge, Stood};
pub use leftovers::strangers;
pub use machines::{CANONICAL, Machines, SHARE_HERE, WORK, memory_group};
pub use place::looks_again;

/// One test's world.
pub struct Lab {
    dir: TempDir,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code, or -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Lab {
    /// A fresh world with an empty folder `images` and a hosts file that holds localhost.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("imagefleet-").tempdir().expect("a temporary folder can be made");
        let lab = Self { dir };
        for folder in ["images", "home", "run", "work"] {
            fs::create_dir(lab.path(folder)).expect("the laboratory is new");
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(lab.path("run"), fs::Permissions::from_mode(0o700)).expect("it is ours");
        fs::write(lab.path("hosts"), format!("localhost work_dir={}\n", lab.path("work").display()))
            .expect("it is ours");
        lab
    }

    /// A path in this world.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The folder of pictures.
    pub fn images(&self) -> PathBuf {
        self.path("images")
    }

    /// The index's prefix.
    pub fn prefix(&self) -> PathBuf {
        self.path("imageindex")
    }

    /// A program of the set, in this world.
    pub fn command(&self, name: &str) -> Command {
        self.in_world(Command::new(program(name)))
    }

    /// A program of the set that runs as root does without its power over file permissions.
    pub fn powerless(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]);
        if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) != 0) {
            command = Command::new("env"); // whoever is not root has no such power
        }
        command.arg(program(name));
        self.in_world(command)
    }

    /// Gives a command this world's folders.
    pub fn in_world(&self, mut command: Command) -> Command {
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env("NO_COLOR", "1");
        command.env("ORT_DYLIB_PATH", runtime()).env("XDG_RUNTIME_DIR", self.path("run"));
        for (variable, folder) in [
            ("HOME", "home"),
            ("XDG_CACHE_HOME", "home/cache"),
            ("XDG_STATE_HOME", "home/state"),
            ("XDG_CONFIG_HOME", "home/config"),
        ] {
            command.env(variable, self.path(folder));
        }
        command
    }

    /// Runs a program of the set to its end.
    pub fn run<S: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = S>) -> Said {
        finish(self.command(name).args(args))
    }

    /// `controller` over this world's pictures with the demo model.
    pub fn index(&self, more: &[&str]) -> Said {
        finish(self.controller(more).stdin(Stdio::null()))
    }

    /// The command of [`Lab::index`].
    pub fn controller(&self, more: &[&str]) -> Command {
        let mut command = self.command("controller");
        command.arg("--image-dir").arg(self.images()).arg("--hosts").arg(self.path("hosts"));
        if !more.contains(&"--model") {
            command.args(["--model", "demo"]);
        }
        command.args(more);
        command
    }

    /// `query --json --text`: the paths found, best first.
    pub fn ask(&self, text: &str, top_k: usize) -> Vec<String> {
        let top_k = top_k.to_string();
        let said = self.query(&["--json", "--no-copy-results", "--no-collapse", "--text", text, "--top-k", &top_k]);
        assert_eq!(said.code, 0, "{said:?}");
        said.out.lines().map(json_path).collect()
    }

    /// `query` on this world's index.
    pub fn query(&self, more: &[&str]) -> Said {
        let mut command = self.command("query");
        command.arg("--index-prefix").arg(self.prefix()).arg("--hosts").arg(self.path("hosts")).args(more);
        finish(&mut command)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        stop_servers(&self.path("run/imagefleet"));
    }
}

/// Ends servers that queries started, which would idle on for minutes.
pub(crate) fn stop_servers(folder: &Path) {
    use std::io::{Read, Write};
    let sockets = fs::read_dir(folder).into_iter().flatten().flatten();
    for socket in sockets.filter(|e| e.path().extension().is_some_and(|e| e == "sock")) {
        if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket.path()) {
            let _ = stream
                .write_all(b"POST /v1/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

fn json_path(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).expect("query --json prints one object a line");
    value["path"].as_str().expect("every match has a path").to_owned()
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Said {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    said(output)
}

/// What a finished process said.
pub fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A program of the set; tests of this crate stand one folder below the programs.
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let folder = exe.ancestors().nth(2).expect("tests are in target/PROFILE/deps").to_owned();
    let program = folder.join(name);
    assert!(program.is_file(), "{} is not built; run: cargo build --workspace --bins", program.display());
    program
}

/// The Python that `make setup` prepared with polars, faiss and numpy.
pub fn python() -> PathBuf {
    let python = std::env::var_os("IMAGEFLEET_PYTHON").map_or_else(|| cache().join("python/bin/python"), PathBuf::from);
    assert!(python.is_file(), "{} is missing; run: make setup", python.display());
    python
}

/// Runs a Python script with arguments; its standard output.
pub fn run_python(script: &str, args: &[&OsStr]) -> String {
    let said = finish(Command::new(python()).arg("-c").arg(script).args(args));
    assert_eq!(said.code, 0, "{}", said.err);
    said.out
}

fn runtime() -> PathBuf {
    let name = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| cache().join("onnxruntime").join(name), PathBuf::from)
}

fn cache() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let own = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(own), PathBuf::from).join("imagefleet")
}

/// Waits until a condition holds, at most a minute; panics with `what` if it never does.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process of ours by its number.
pub fn signal(child: &Child, name: &str) {
    let said = finish(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()));
    assert_eq!(said.code, 0, "{}", said.err);
}

/// Sends a signal to processes, of which some may just have ended.
pub fn send(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        finish(Command::new("kill").arg(format!("-{name}")).args(pids.iter().map(u32::to_string)));
    }
}

impl Lab {
    /// Draws `count` demo pictures below the image folder, names telling what they show.
    pub fn draw(&self, below: &str, count: usize, seed: u64) {
        let (folder, count, seed) = (self.images().join(below), count.to_string(), seed.to_string());
        let said = self.run(
            "draw-demo-pictures",
            [
                folder.as_os_str(),
                "--count".as_ref(),
                count.as_ref(),
                "--seed".as_ref(),
                seed.as_ref(),
                "--two".as_ref(),
                "0".as_ref(),
            ],
        );
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// The index's metadata.
    pub fn meta(&self) -> serde_json::Value {
        let text = fs::read(self.path("imageindex.meta.json")).expect("there is an index");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    /// All rows of the index as Python's polars sees them: path below the image folder, and vector.
    pub fn rows(&self) -> Vec<(String, Vec<f32>)> {
        self.rows_below(&self.images())
    }

    /// The same for an index that names the image folder so.
    pub fn rows_below(&self, images: &Path) -> Vec<(String, Vec<f32>)> {
        let script = "import sys, json, polars\n\
            t = polars.read_parquet(sys.argv[1])\n\
            print(json.dumps([t['path'].to_list(), t['embedding'].to_list()]))";
        let out = run_python(script, &[self.path("imageindex.parquet").as_os_str()]);
        let (paths, vectors): (Vec<String>, Vec<Vec<f32>>) =
            serde_json::from_str(&out).expect("the script prints JSON");
        let root = format!("{}/", images.display());
        let below = |path: String| path.strip_prefix(&root).expect("paths are below the root").to_owned();
        paths.into_iter().map(below).zip(vectors).collect()
    }

    /// The pictures right in the image folder, each under its own name, as [`Judge::judge`] wants them.
    pub fn drawn(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.images()).expect("the laboratory has it").flatten();
        let names = entries.map(|entry| entry.file_name().into_string().expect("names are UTF-8"));
        names.map(|name| (name.clone(), name)).collect()
    }

    /// Removes the index, its folder and the files beside it, whole or not.
    pub fn remove_index(&self) {
        fs::remove_dir_all(self.prefix()).expect("there is an index");
        for entry in fs::read_dir(self.path("")).expect("it is ours").flatten() {
            if entry.file_name().to_string_lossy().trim_start_matches('.').starts_with("imageindex.") {
                fs::remove_file(entry.path()).expect("it is ours");
            }
        }
    }

    /// Only the paths of [`Lab::rows`].
    pub fn paths(&self) -> Vec<String> {
        self.rows().into_iter().map(|(path, _)| path).collect()
    }
}

/// What file names and questions may hold: each would do harm, or be lost, if a shell or a format ever read it.
pub const HOSTILE: [&str; 41] = [
    "with space",
    " leading",
    "'single'",
    "\"double\"",
    "$(touch pwned)",
    "`touch pwned`",
    "-rf",
    "--model=x",
    "new\nline",
    "tab\there",
    "semi;colon",
    "pipe|amp&",
    "%s%n",
    "back\\slash",
    "café 日本 🚗",
    "star*?[a]",
    "a:b",
    "#hash",
    "~",
    "!bang",
    "$HOME",
    "${x}",
    "{a,b}",
    "<in>out",
    "(paren)",
    "trailing ",
    "\u{202e}rtl",
    "e\u{301}",
    "a'b\"c`d",
    "\\n",
    "$'x'",
    "&& touch pwned",
    "|| touch pwned",
    "; touch pwned;",
    "\n touch pwned \n",
    "''",
    "\"\"",
    "$((1+1))",
    "%0a%00",
    "bell\u{7}\r",
    "\u{1b}[2J",
];

impl Lab {
    /// Draws one picture and copies it under every [`HOSTILE`] name and one of 255 bytes; the names, sorted.
    pub fn draw_hostile(&self) -> Vec<String> {
        self.draw("", 1, 7);
        let drawn = fs::read_dir(self.images()).expect("it was drawn").flatten().next().expect("it was drawn").path();
        let extension = drawn.extension().unwrap_or_default().to_string_lossy().into_owned();
        let longest = "x".repeat(254 - extension.len());
        let stems = HOSTILE.iter().map(|s| (*s).to_owned()).chain([longest]);
        let mut names: Vec<String> = stems.map(|stem| format!("{stem}.{extension}")).collect();
        for name in &names {
            fs::copy(&drawn, self.images().join(name)).expect("the file system takes any name");
        }
        names.push(drawn.file_name().unwrap_or_default().to_string_lossy().into_owned());
        names.sort();
        names
    }

    /// Whether a shell has run what a name or a question says, in any folder where it could have been.
    pub fn pwned(&self) -> bool {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let places = ["", "images", "home", "work", "work0", "m0/home"].map(|below| self.path(below));
        places.into_iter().chain([home]).any(|folder| folder.join("pwned").exists())
    }
}
