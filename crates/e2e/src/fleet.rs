//! Real machines on one: several sshd on loopback with throwaway keys, as any user. Each sees the share under a name of
//! its own, through a symbolic link, and has its own work folder and environment.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::{Lab, Said, finish, send, wait_for};

/// A laboratory with machines h0, h1, ... whose hosts file names them.
pub struct Fleet {
    /// The world of the controller.
    pub lab: Lab,
    machines: Vec<Machine>,
}

struct Machine {
    sshd: Child,
    port: u16,
}

impl Fleet {
    /// A fleet of machines with these weights.
    pub fn new(weights: &[f64]) -> Self {
        let lab = Lab::new();
        fs::create_dir(lab.path("ssh")).expect("the laboratory is new");
        key(&lab, "id");
        let mut fleet = Self { lab, machines: Vec::new() };
        let mut hosts = format!(
            "* ssh_config={} path_map={}:{}\n",
            fleet.lab.path("ssh/config").display(),
            fleet.lab.path("").display(),
            fleet.canonical().display()
        );
        for (i, weight) in weights.iter().enumerate() {
            fleet.boot(i);
            hosts += &format!(
                "h{i} weight={weight} work_dir={} path_map={}:{}\n",
                fleet.work(i).display(),
                fleet.lab.path("").display(),
                fleet.share(i).display()
            );
        }
        fs::write(fleet.lab.path("hosts"), hosts).expect("it is ours");
        fleet
    }

    /// How the index names the share: a path that no machine has.
    pub fn canonical(&self) -> PathBuf {
        PathBuf::from("/canonical/share")
    }

    /// How machine `i` names the share.
    pub fn share(&self, i: usize) -> PathBuf {
        self.lab.path(format!("share{i}"))
    }

    /// The work folder of machine `i`.
    pub fn work(&self, i: usize) -> PathBuf {
        self.lab.path(format!("work{i}"))
    }

    /// Puts a script before the system's programs of that name on machine `i`.
    pub fn disguise(&self, i: usize, program: &str, script: &str) {
        let path = self.lab.path(format!("m{i}/bin/{program}"));
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it is ours");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it is ours");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn boot(&mut self, i: usize) {
        let lab = &self.lab;
        let name = format!("h{i}");
        std::os::unix::fs::symlink(lab.path(""), self.share(i)).expect("the laboratory is new");
        for folder in ["run", "home"] {
            fs::create_dir_all(lab.path(format!("m{i}/{folder}"))).expect("the laboratory is new");
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(lab.path(format!("m{i}/run")), fs::Permissions::from_mode(0o700)).expect("it is ours");
        key(lab, &name);
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("loopback has a free port").port();
        let ssh = lab.path("ssh");
        let ssh = ssh.display();
        let m = lab.path(format!("m{i}"));
        let m = m.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {ssh}/{name}\nPidFile none\nAuthorizedKeysFile {ssh}/id.pub\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxSessions 64\nMaxStartups 64:30:100\nUseDNS no\nSubsystem sftp internal-sftp\n\
             SetEnv HOME={m}/home XDG_RUNTIME_DIR={m}/run XDG_CACHE_HOME={m}/home XDG_STATE_HOME={m}/home XDG_CONFIG_HOME={m}/home \
             PATH={m}/bin:/usr/bin:/bin\n"
        );
        fs::write(lab.path(format!("ssh/{name}.conf")), config).expect("it is ours");
        let public = fs::read_to_string(lab.path(format!("ssh/{name}.pub"))).expect("the key was made");
        let mut known = fs::read_to_string(lab.path("ssh/known_hosts")).unwrap_or_default();
        known += &format!("[127.0.0.1]:{port} {public}");
        fs::write(lab.path("ssh/known_hosts"), known).expect("it is ours");
        let mut client = fs::read_to_string(lab.path("ssh/config")).unwrap_or_default();
        client += &format!(
            "Host {name}\n HostName 127.0.0.1\n Port {port}\n IdentityFile {ssh}/id\n IdentitiesOnly yes\n IdentityAgent none\n\
             \x20UserKnownHostsFile {ssh}/known_hosts\n GlobalKnownHostsFile /dev/null\n"
        );
        fs::write(lab.path("ssh/config"), client).expect("it is ours");
        let sshd = self.sshd(i);
        self.machines.push(Machine { sshd, port });
        self.wait_up(i);
    }

    fn sshd(&self, i: usize) -> Child {
        if finish(Command::new("id").arg("-u")).out.trim() == "0" {
            fs::create_dir_all("/run/sshd").expect("root may make the folder that sshd asks for");
        }
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-e").arg("-f").arg(self.lab.path(format!("ssh/h{i}.conf")));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.spawn().expect("sshd can be started; run: make setup")
    }

    fn wait_up(&self, i: usize) {
        let port = self.machines[i].port;
        wait_for("sshd to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Starts a machine's sshd again with one more line in its configuration.
    pub fn configure(&mut self, i: usize, line: &str) {
        self.cut(i);
        let file = self.lab.path(format!("ssh/h{i}.conf"));
        let config = fs::read_to_string(&file).expect("it was written");
        fs::write(&file, format!("{config}{line}\n")).expect("it is ours");
        self.machines[i].sshd = self.sshd(i);
        self.wait_up(i);
    }

    /// Ends a machine's sshd and the connections that it carries, as if the network were cut.
    pub fn cut(&mut self, i: usize) {
        let carrying = self.connections(i);
        let _ = (self.machines[i].sshd.kill(), self.machines[i].sshd.wait());
        send("KILL", &carrying);
    }

    /// Ends the connections that a machine has, which takes new ones.
    pub fn drop_connections(&self, i: usize) {
        send("KILL", &self.connections(i));
    }

    /// The processes of sshd that carry a machine's connections.
    fn connections(&self, i: usize) -> Vec<u32> {
        let children = |pid: &u32| -> Vec<u32> {
            let said = finish(Command::new("pgrep").args(["-P", &pid.to_string(), "sshd"])).out;
            said.lines().filter_map(|pid| pid.parse().ok()).collect()
        };
        // One is a child of the listener and, for root, a grandchild; what it started stays, as an orphan.
        let first = children(&self.machines[i].sshd.id());
        let second: Vec<u32> = first.iter().flat_map(children).collect();
        [second, first].concat()
    }

    /// How many connections a machine has.
    pub fn logged_in(&self, i: usize) -> usize {
        self.connections(i).len()
    }

    /// Ends the server that a query started on a machine.
    pub fn stop_server(&self, i: usize) {
        crate::stop_servers(&self.lab.path(format!("m{i}/run/imagefleet")));
    }

    /// Runs ssh to a machine as a person would.
    pub fn ssh(&self, i: usize, command: &str) -> Said {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.lab.path("ssh/config")).args([
            "-o",
            "BatchMode=yes",
            "-o",
            "ControlMaster=no",
            "-o",
            "ControlPath=none",
        ]);
        finish(ssh.arg(format!("h{i}")).arg(command).stdin(Stdio::null()))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for i in 0..self.machines.len() {
            self.stop_server(i);
            let _ = (self.machines[i].sshd.kill(), self.machines[i].sshd.wait());
        }
    }
}

/// Makes a pair of keys that nobody else uses.
pub(crate) fn key(lab: &Lab, name: &str) {
    let said = finish(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f"])
            .arg(lab.path(format!("ssh/{name}"))),
    );
    assert_eq!(said.code, 0, "{said:?}");
}
