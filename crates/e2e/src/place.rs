//! One machine of its own on this one: network, mounts, processes, name, and for a host an sshd and a root file system
//! over this machine's. Its namespaces have no names and end when the pipe to their first process is closed, in whatever
//! way the test ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Lab, finish};

/// Namespaces with a first process that waits for its standard input to be closed.
pub(crate) struct Place {
    unshare: Child,
    /// That process, as it is called outside.
    pub pid: u32,
}

impl Place {
    /// Makes a place that sees the laboratory's folder as `share`; `more` is what place.sh takes for a host.
    pub fn boot(name: &str, lab: &Lab, share: &str, more: [Option<&Path>; 2]) -> Self {
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "sh", "-c"])
            .args([include_str!("place.sh"), "place.sh", name])
            .arg(lab.path(""))
            .arg(share)
            .args(more.into_iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be started; run: make setup");
        let mut said = String::new();
        let output = unshare.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut said).expect("a pipe can be read");
        let child = finish(Command::new("pgrep").arg("-P").arg(unshare.id().to_string())).out;
        let place = Self { pid: child.trim().parse().unwrap_or_default(), unshare };
        assert_eq!(said, "ready\n", "{name} should start");
        place
    }

    /// What runs the words that are added to it in this place.
    pub fn nsenter(&self) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--target={}", self.pid)).args(["--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
        // Nothing here needs minutes; what hangs is to fail.
        nsenter.args(["timeout", "--kill-after=5", "180"]);
        nsenter.stdin(Stdio::null());
        nsenter
    }

    /// A command with its environment, in this place.
    pub fn enter(&self, command: &Command) -> Command {
        let mut there = self.nsenter();
        there.arg(command.get_program()).args(command.get_args());
        there.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        there
    }

    /// Runs `ip` on this place's network.
    pub fn ip(&self, words: &str) {
        let mut ip = Command::new("nsenter");
        ip.arg(format!("--target={}", self.pid)).args(["--net", "ip"]).args(words.split(' '));
        let said = finish(&mut ip);
        assert_eq!(said.code, 0, "ip {words}: {said:?}");
    }

    /// What runs in this place, by its numbers outside: this program's processes, or all but the place's first.
    pub fn processes(&self, program: Option<&str>) -> Vec<u32> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(here) = namespace(self.pid) else { return Vec::new() };
        let entries = fs::read_dir("/proc").expect("it is Linux").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            // `PID (NAME) STATE ...`; one that has ended and that nobody asked for is no process any more.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let told = stat.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") "));
            told.is_some_and(|(name, state)| !state.starts_with('Z') && program.is_none_or(|wanted| wanted == name))
                && *pid != self.pid
                && namespace(*pid).as_ref() == Some(&here)
        })
        .collect()
    }
}

/// Whether a process has gone to sleep many times, as one does that looks for something again and again.
pub fn looks_again(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let times = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    times.and_then(|times| times.trim().parse::<u32>().ok()).is_some_and(|times| times > 15)
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        // It ends when all processes of the place have.
        let _ = self.unshare.wait();
    }
}
