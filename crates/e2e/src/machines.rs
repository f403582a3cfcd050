//! Real hosts on one machine, for root, each in a place of its own, and what can happen to them. The controller has such
//! a place too, but for the root file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use crate::fleet::key;
use crate::place::Place;
use crate::{Lab, Said, finish, send, wait_for};

/// Where hosts have their programs, lists and logs.
pub const WORK: &str = "/var/lib/imagefleet";

/// The share, which is the laboratory's folder, as the controller sees it, and as the index names it.
pub const SHARE_HERE: &str = "/media/photos";
pub const CANONICAL: &str = "/Volumes/home";

/// The share as the hosts see it, in turn. The first needs no path map of its own.
const SHARES: [&str; 3] = [CANONICAL, "/data/nas", "/mnt/music"];

/// Hosts h0, h1, ... that the controller's place reaches over a bridge.
pub struct Machines {
    hosts: Vec<Option<Place>>,
    controller: Place,
    /// Its folder is the share.
    pub lab: Lab,
    groups: Vec<PathBuf>,
    programs: Option<Arc<TempDir>>,
}

impl Machines {
    /// A host for each of these words of its line in the hosts file, as `weight=0.2`, with the programs of this build.
    /// `None` where they cannot be made, which is said.
    pub fn ready(lines: &[&str]) -> Option<Self> {
        Self::new(lines, true)
    }

    /// Hosts that have never seen our programs.
    pub fn fresh(lines: &[&str]) -> Option<Self> {
        Self::new(lines, false)
    }

    fn new(lines: &[&str], with_programs: bool) -> Option<Self> {
        if finish(Command::new("id").arg("-u")).out.trim() != "0" {
            eprintln!("NOT RUN: hosts in namespaces need root; run the tests as root to run this one");
            return None;
        }
        let lab = Lab::new();
        fs::create_dir(lab.path("ssh")).expect("the laboratory is new");
        key(&lab, "id");
        fs::write(lab.path("ssh/sshd.conf"), SSHD).expect("it is ours");
        let controller = Place::boot("controller", &lab, SHARE_HERE, [None; 2]);
        let programs = with_programs.then(|| programs(&lab));
        let mut hosts = format!(
            "* ssh_config={} work_dir={WORK} path_map={SHARE_HERE}:{CANONICAL}\n",
            lab.path("ssh/config").display()
        );
        let mut machines = Self { hosts: Vec::new(), controller, lab, groups: Vec::new(), programs };
        for (i, words) in lines.iter().enumerate() {
            machines.announce(i);
            machines.hosts.push(None);
            machines.boot(i);
            hosts += &format!("h{i} {words} path_map={SHARE_HERE}:{}\n", machines.share(i));
        }
        fs::write(machines.lab.path("hosts"), hosts).expect("it is ours");
        (0..lines.len()).for_each(|i| machines.wait_up(i));
        Some(machines)
    }

    /// Makes a host's keys and tells the controller's ssh of it.
    fn announce(&self, i: usize) {
        let (lab, name, address) = (&self.lab, format!("h{i}"), address(i));
        key(lab, &name);
        fs::create_dir(lab.path(&name)).expect("the laboratory is new");
        let ssh = lab.path("ssh");
        let ssh = ssh.display();
        let public = fs::read_to_string(lab.path(format!("ssh/{name}.pub"))).expect("the key was made");
        append(&lab.path("ssh/known_hosts"), &format!("{address} {public}"));
        append(
            &lab.path("ssh/config"),
            &format!(
                "Host {name}\n HostName {address}\n User root\n IdentityFile {ssh}/id\n IdentitiesOnly yes\n IdentityAgent none\n\
                 \x20UserKnownHostsFile {ssh}/known_hosts\n GlobalKnownHostsFile /dev/null\n ServerAliveCountMax 1\n"
            ),
        );
    }

    fn boot(&mut self, i: usize) {
        let name = format!("h{i}");
        let programs = self.programs.as_deref().map(TempDir::path);
        let host = Place::boot(&name, &self.lab, self.share(i), [Some(Path::new(WORK)), programs]);
        let peer = format!("link add {name} type veth peer name eth0 netns {}", host.pid);
        for (place, command) in [
            (&self.controller, peer.as_str()),
            (&self.controller, &format!("link set {name} master br0 up")),
            // A machine keeps this when it is switched off and on; the others remember it.
            (&host, &format!("link set eth0 address 02:00:00:00:00:{:02x}", 11 + i)),
            (&host, &format!("addr add {}/24 dev eth0", address(i))),
            (&host, "link set eth0 up"),
        ] {
            place.ip(command);
        }
        self.hosts[i] = Some(host);
    }

    fn wait_up(&self, i: usize) {
        wait_for("a host's sshd to answer", || self.ssh(i, "true").code == 0);
    }

    fn host(&self, i: usize) -> &Place {
        self.hosts[i].as_ref().expect("the host is switched on")
    }

    /// The share as host `i` sees it.
    pub fn share(&self, i: usize) -> &'static str {
        SHARES[i % SHARES.len()]
    }

    /// A program of the set in the controller's place.
    pub fn command(&self, name: &str) -> Command {
        self.controller.enter(&self.lab.command(name))
    }

    /// `controller` over the share's pictures, with the demo model unless another is named.
    pub fn controller(&self, more: &[&str]) -> Command {
        let mut command = self.command("controller");
        command.arg(format!("--image-dir={SHARE_HERE}/images")).arg("--hosts").arg(self.lab.path("hosts"));
        if !more.contains(&"--model") {
            command.args(["--model", "demo"]);
        }
        command.args(more);
        command
    }

    /// The command of [`Machines::controller`] to its end.
    pub fn index(&self, more: &[&str]) -> Said {
        finish(&mut self.controller(more))
    }

    /// `setup_workers.sh` of this build, in the controller's place.
    pub fn setup(&self) -> Said {
        // It starts the controller that stands beside it.
        let here = self.lab.path("setup");
        fs::create_dir_all(&here).expect("it is ours");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../setup_workers.sh");
        fs::copy(script, here.join("setup_workers.sh")).expect("the repository has it");
        // A second call finds the link.
        let _ = std::os::unix::fs::symlink(crate::program("controller"), here.join("controller"));
        let command = self.lab.in_world(Command::new(here.join("setup_workers.sh")));
        finish(self.controller.enter(&command).arg(self.lab.path("hosts")))
    }

    /// Runs ssh to a host as a person would, from the controller's place.
    pub fn ssh(&self, i: usize, command: &str) -> Said {
        let mut ssh = self.controller.nsenter();
        ssh.args(["ssh", "-o", "BatchMode=yes", "-F"]).arg(self.lab.path("ssh/config"));
        finish(ssh.arg(format!("h{i}")).arg(command))
    }

    /// Runs a script in a host, as its owner at the console would; it must succeed.
    pub fn inside(&self, i: usize, script: &str) -> String {
        let said = finish(self.host(i).nsenter().args(["sh", "-c", script]));
        assert_eq!(said.code, 0, "{script}: {said:?}");
        said.out
    }

    /// The same where the controller is.
    pub fn here(&self, script: &str) -> String {
        let said = finish(self.controller.nsenter().args(["sh", "-c", script]));
        assert_eq!(said.code, 0, "{script}: {said:?}");
        said.out
    }

    /// Cuts a host's network cable.
    pub fn cut(&self, i: usize) {
        self.controller.ip(&format!("link set h{i} down"));
    }

    /// Plugs it in again.
    pub fn uncut(&self, i: usize) {
        self.controller.ip(&format!("link set h{i} up"));
    }

    /// Ends all that runs in a host at once.
    pub fn power_off(&mut self, i: usize) {
        if self.is_on(i) {
            // Both ends of the cable; else the kernel takes ours away some time later.
            self.controller.ip(&format!("link del h{i}"));
            self.hosts[i] = None;
        }
    }

    /// Switches a host on again, as it was when it was new. Its sshd answers when this returns.
    pub fn power_on(&mut self, i: usize) {
        self.boot(i);
        self.wait_up(i);
    }

    /// Whether a host is switched on.
    pub fn is_on(&self, i: usize) -> bool {
        self.hosts[i].is_some()
    }

    /// Stops all that runs in a host: the kernel there still takes connections, but nobody answers.
    pub fn freeze(&self, i: usize) {
        // What was forked meanwhile is found by the second look.
        (0..2).for_each(|_| send("STOP", &self.host(i).processes(None)));
    }

    /// Lets it go on.
    pub fn thaw(&self, i: usize) {
        send("CONT", &self.host(i).processes(None));
    }

    /// Takes the share away under what runs in a host.
    pub fn unmount(&self, i: usize) {
        let share = self.share(i);
        self.inside(i, &format!("mkdir -p /run/away && mount --move {share} /run/away"));
    }

    /// Brings it back.
    pub fn remount(&self, i: usize) {
        let share = self.share(i);
        self.inside(i, &format!("mount --move /run/away {share}"));
    }

    /// Processes of a program on a host, or where the controller is, by their numbers outside; none if it is off.
    pub fn processes(&self, host: Option<usize>, program: &str) -> Vec<u32> {
        let place = host.map_or(Some(&self.controller), |i| self.hosts[i].as_ref());
        place.map_or_else(Vec::new, |place| place.processes(Some(program)))
    }

    /// Gives a host so much memory and no swap; what needs more is killed by the kernel. False where nobody may make
    /// such a limit, which is said.
    pub fn limit_memory(&mut self, i: usize, bytes: u64) -> bool {
        let Some(group) = memory_group(&format!("imagefleet-{}-{i}", self.controller.pid), bytes) else {
            eprintln!("NOT RUN: there is no control group for memory here that may be written to");
            return false;
        };
        self.groups.push(group.clone());
        let host = self.host(i);
        let pids = host.processes(None).into_iter().chain([host.pid]);
        pids.for_each(|pid| fs::write(group.join("cgroup.procs"), pid.to_string()).expect("the process can be moved"));
        true
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.hosts.clear();
        for group in &self.groups {
            // One that stays is empty and has no effect.
            let _ = fs::remove_dir(group);
        }
    }
}

fn address(i: usize) -> String {
    format!("10.77.0.{}", 11 + i)
}

const SSHD: &str = "HostKey /run/host_key\nAuthorizedKeysFile /run/authorized_keys\nStrictModes no\nPidFile none\nUsePAM no\n\
    PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxSessions 64\n\
    MaxStartups 64:30:100\nUseDNS no\n";

/// A bundle of this build, made once for all tests that run at a time.
fn programs(lab: &Lab) -> Arc<TempDir> {
    static MADE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(standing) = made.upgrade() {
        return standing;
    }
    let folder = tempfile::Builder::new().prefix("imagefleet-").tempdir().expect("a temporary folder can be made");
    let folder = Arc::new(folder);
    let said = finish(lab.command("worker").arg("bundle").arg("--out").arg(folder.path()));
    assert_eq!(said.code, 0, "{said:?}");
    *made = Arc::downgrade(&folder);
    folder
}

/// A new control group with this limit, of whichever version this system has.
pub fn memory_group(name: &str, bytes: u64) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let v1 = own.lines().find_map(|line| line.split_once(":memory:")).map(|(_, own)| own.trim_start_matches('/'));
    let (group, limit, swap) = match v1 {
        Some(own) => (
            Path::new("/sys/fs/cgroup/memory").join(own).join(name),
            "memory.limit_in_bytes",
            ("memory.memsw.limit_in_bytes", bytes),
        ),
        None => {
            // It is there already where somebody else has limits.
            let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
            (Path::new("/sys/fs/cgroup").join(name), "memory.max", ("memory.swap.max", 0))
        }
    };
    fs::create_dir(&group).ok()?;
    if fs::write(group.join(limit), bytes.to_string()).is_err() {
        let _ = fs::remove_dir(&group);
        return None;
    }
    // A system without swap, or one that does not count it, has no such limit and needs none.
    let _ = fs::write(group.join(swap.0), swap.1.to_string());
    Some(group)
}

fn append(file: &Path, text: &str) {
    let before = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, before + text).expect("it is ours");
}
