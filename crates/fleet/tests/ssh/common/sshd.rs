//! Real sshd on loopback ports, run by whoever runs the tests, with keys, configuration and logs of their own in a
//! folder that goes with them. The person's ~/.ssh is never written, and read by nobody but ssh itself where it always
//! does.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleet::HostSpec;
use tempfile::TempDir;

/// Some sshd, which ssh knows as w0, w1...
pub struct Lab {
    dir: TempDir,
    sshds: Vec<Sshd>,
}

struct Sshd {
    listener: Child,
    port: u16,
}

impl Lab {
    pub fn new(hosts: usize) -> Self {
        Self::with(hosts, "")
    }

    /// With more lines for sshd's configuration, which count before its own.
    pub fn with(hosts: usize, more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("fleet-lab").tempdir().unwrap();
        if is_root() {
            // Where root's sshd locks up its unprivileged half.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        keygen(&dir.path().join("id"));
        fs::write(dir.path().join("config"), "").unwrap();
        let sshds = (0..hosts).map(|i| Sshd::start(dir.path(), i, more)).collect();
        let lab = Self { dir, sshds };
        let ports: Vec<_> = lab.sshds.iter().enumerate().map(|(i, s)| (format!("w{i}"), s.port)).collect();
        for (i, (name, port)) in ports.iter().enumerate() {
            lab.know(*port, &fs::read_to_string(lab.path(&format!("host_{i}.pub"))).unwrap());
            lab.name(name, *port);
        }
        lab
    }

    /// A path in the lab's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn port(&self, i: usize) -> u16 {
        self.sshds[i].port
    }

    /// How to reach what has this name.
    pub fn spec(&self, name: &str) -> HostSpec {
        HostSpec { ssh_config: Some(self.path("config")), ..HostSpec::bare(name) }
    }

    /// Gives a loopback port a name, for ssh.
    pub fn name(&self, name: &str, port: u16) {
        let (known, id) = (self.text("known_hosts"), self.text("id"));
        let lines = format!(
            "Host {name}\n HostName 127.0.0.1\n Port {port}\n IdentityFile {id}\n IdentitiesOnly yes\n \
             UserKnownHostsFile {known}\n GlobalKnownHostsFile /dev/null\n"
        );
        append(&self.path("config"), &lines);
    }

    /// Adds lines to ssh's configuration of all hosts.
    pub fn for_all_hosts(&self, lines: &str) {
        append(&self.path("config"), &format!("Host *\n{lines}\n"));
    }

    /// Lets ssh know a host key.
    pub fn know(&self, port: u16, key: &str) {
        append(&self.path("known_hosts"), &format!("[127.0.0.1]:{port} {key}"));
    }

    /// Forgets all host keys.
    pub fn know_nobody(&self) {
        fs::write(self.path("known_hosts"), "").unwrap();
    }

    /// Kills a host's sshd: listener and connections. What runs there goes on.
    pub fn kill(&mut self, i: usize) {
        self.sshds[i].signal("-KILL");
        self.sshds[i].listener.wait().unwrap();
    }

    /// Kills a host's sshd, and starts it again on the same port.
    pub fn restart(&mut self, i: usize) {
        self.kill(i);
        let sshd = &mut self.sshds[i];
        *sshd = Sshd::listening(self.dir.path(), i, sshd.port).expect("its port is still free");
    }

    /// Stops them without closing anything, as a machine that hangs.
    pub fn freeze(&self, i: usize) {
        self.sshds[i].signal("-STOP");
    }
}

impl Sshd {
    fn start(dir: &Path, i: usize, more: &str) -> Self {
        let key = dir.join(format!("host_{i}"));
        keygen(&key);
        // Another test may take a free port before sshd does; then sshd ends, and the next one is tried.
        (0..20).find_map(|_| Self::try_start(dir, i, &key, more)).expect("sshd should start")
    }

    fn try_start(dir: &Path, i: usize, key: &Path, more: &str) -> Option<Self> {
        let port = free_port();
        let config = dir.join(format!("sshd_{i}.conf"));
        let text = format!(
            "{more}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxSessions 64\n",
            key.display(),
            dir.join("id.pub").display(),
        );
        fs::write(&config, text).unwrap();
        Self::listening(dir, i, port)
    }

    /// Starts sshd with its configuration of before.
    fn listening(dir: &Path, i: usize, port: u16) -> Option<Self> {
        let (config, log) = (dir.join(format!("sshd_{i}.conf")), dir.join(format!("sshd_{i}.log")));
        let _ = fs::remove_file(&log);
        let mut listener = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f"])
            .arg(&config)
            .arg("-E")
            .arg(&log)
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd should be installed (openssh-server)");
        let listens = format!("Server listening on 127.0.0.1 port {port}");
        let up = until(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains(&listens) {
                return Some(true);
            }
            listener.try_wait().unwrap().map(|_| false)
        });
        up.then_some(Self { listener, port })
    }

    fn signal(&self, signal: &str) {
        let mut all = vec![self.listener.id().to_string()];
        let mut at = 0;
        while at < all.len() {
            // Only sshd's own processes, not what people run there.
            let found = Command::new("pgrep").args(["-P", &all[at], "sshd"]).output().unwrap();
            all.extend(String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned));
            at += 1;
        }
        // One that has ended in between is what was wanted.
        let _ = Command::new("kill").arg(signal).args(&all).stderr(Stdio::null()).status();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.signal("-KILL");
        let _ = self.listener.wait();
    }
}

/// Asks again until there is an answer; half a minute is too long for anything here.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "it should have happened by now");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes a pair of keys.
pub fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    let made = command.args(["-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f"]).arg(path);
    assert!(made.status().expect("ssh-keygen should be installed").success());
}

fn is_root() -> bool {
    protocol::folders::own_uid().unwrap() == 0
}

fn append(path: &Path, text: &str) {
    let before = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, before + text).unwrap();
}
