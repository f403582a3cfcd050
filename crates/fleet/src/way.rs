//! The way to a machine as the person's own ssh configuration tells it, and the configuration for one connection: our lines,
//! which come first and so count, and then the person's.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use protocol::folders::expand_home;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::HostSpec;

/// ssh reads its configuration within this.
const READING: Duration = Duration::from_secs(5);

/// QUIET would hide a changed host key, and a forward that cannot be opened would stop a connection.
const OURS: &str = "LogLevel INFO\nClearAllForwardings yes\n";

/// What is read unless a file is named, behind the person's own. The path is that of nearly all builds of ssh.
const SYSTEM: &str = "/etc/ssh/ssh_config";

/// ssh reads these in the name of a file as its own.
const ODD: &str = "\"'\\*?[]{}%$";

/// Begins the command of a proxy. A terminal sends Ctrl-C to all that was started from it; who holds a connection must not
/// end of that.
const DEAF: &str = r#"/bin/sh -c 'trap "" INT QUIT; exec "$@"' sh"#;

/// What `ssh -G` tells of a machine.
#[derive(Debug, PartialEq)]
pub(crate) struct Way {
    /// Where ssh knocks first: at the jump host if there is one, else at the machine itself.
    pub door: String,
    jump: Option<String>,
    proxy: Option<String>,
    /// The person's name here.
    user: Option<String>,
}

impl Way {
    /// What ssh cannot tell is taken by its name.
    pub async fn ask(spec: &HostSpec) -> Self {
        let mut ssh = Command::new("ssh");
        // The path of a socket that is never made carries the name.
        ssh.args(["-G", "-S", "%u"]);
        if let Some(user) = &spec.user {
            ssh.args(["-l", user]);
        }
        if let Some(port) = spec.port {
            ssh.args(["-p", &port.to_string()]);
        }
        if let Some(file) = &spec.ssh_config {
            ssh.arg("-F").arg(expand_home(file));
        }
        ssh.args(["--", &spec.name]).stdin(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut ssh = tokio::process::Command::from(ssh);
        match timeout(READING, ssh.kill_on_drop(true).output()).await {
            Ok(Ok(output)) if output.status.success() => {
                Self::told(&String::from_utf8_lossy(&output.stdout), &spec.name)
            }
            _ => Self::told("", &spec.name),
        }
    }

    fn told(text: &str, name: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
            Some(line.trim().to_owned()).filter(|value| !value.is_empty() && value != "none")
        };
        let (jump, proxy) = (value("proxyjump"), value("proxycommand"));
        let door = match (&jump, &proxy) {
            (Some(hosts), _) => hosts.split(',').next().unwrap_or(hosts).to_owned(),
            (_, Some(command)) => command.clone(),
            _ => {
                format!("{}:{}", value("hostname").as_deref().unwrap_or(name), value("port").as_deref().unwrap_or("22"))
            }
        };
        Self { door, jump, proxy, user: value("controlpath") }
    }

    /// Writes the file `config` in a new folder below `below`, which is closed to others.
    ///
    /// A file that the person's configuration includes by a relative name is looked for in `~/.ssh`, also where the system's
    /// configuration names it.
    pub fn config(&self, spec: &HostSpec, below: &Path) -> io::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix(crate::master::PREFIX).tempdir_in(below)?;
        let mut text = OURS.to_owned();
        let named = spec.ssh_config.as_deref().map(|file| includable(file, folder.path())).transpose()?;
        if let Some(command) = self.proxy(named.as_deref()) {
            text += &format!("ProxyCommand {DEAF} {command}\n");
        }
        match named {
            Some(file) => text += &format!("Include \"{file}\"\n"),
            None => {
                // ssh takes the home folder of the password database, and `~` alone for $HOME.
                let plain = |user: &&String| user.chars().all(|c| c.is_ascii_alphanumeric() || "._-@+".contains(c));
                let user = self.user.as_ref().filter(plain).map_or("", |user| user);
                text += &format!("Include ~{user}/.ssh/config\nInclude {SYSTEM}\n");
            }
        }
        fs::write(folder.path().join("config"), text)?;
        Ok(folder)
    }

    /// The command whose input and output are the connection, if the person's configuration asks for one; `named` is the file
    /// that it is in.
    fn proxy(&self, named: Option<&str>) -> Option<String> {
        let Some(hosts) = &self.jump else { return self.proxy.clone() };
        // As ssh makes one of ProxyJump.
        let (before, last) = hosts.rsplit_once(',').map_or((None, &hosts[..]), |(before, last)| (Some(before), last));
        let (user, place) = last.rsplit_once('@').map_or((None, last), |(user, place)| (Some(user), place));
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let options = [("-F", named.map(|file| format!("'{file}'"))), ("-l", user.map(str::to_owned))];
        let more = [("-p", port.map(str::to_owned)), ("-J", before.map(str::to_owned))];
        let mut command = "ssh -o BatchMode=yes".to_owned();
        for (option, value) in options.into_iter().chain(more) {
            command += &value.map(|value| format!(" {option} {value}")).unwrap_or_default();
        }
        Some(format!("{command} -W '[%h]:%p' {host}"))
    }
}

/// A path to `file` that can stand between quotes in ssh's configuration: a link in `folder` if its own cannot.
fn includable(file: &Path, folder: &Path) -> io::Result<String> {
    let plain = |path: &Path| {
        path.to_str().filter(|p| !p.contains(|c: char| c.is_control() || ODD.contains(c))).map(str::to_owned)
    };
    let file = std::env::current_dir()?.join(expand_home(file));
    if let Some(path) = plain(&file) {
        return Ok(path);
    }
    let link = folder.join("named");
    symlink(&file, &link)?;
    plain(&link)
        .ok_or_else(|| io::Error::other(format!("ssh can read no file in a folder of this name, with any of {ODD}")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_first_door_is_the_jump_host_if_there_is_one() {
        let told = "user joe\nhostname 10.0.0.7\nport 2222\nproxyjump none\n";
        let door = |told, name| Way::told(told, name).door;
        assert_eq!(door(told, "a"), "10.0.0.7:2222");
        assert_eq!(door("hostname b\nproxyjump gate:2200,inner\n", "b"), "gate:2200");
        assert_eq!(door("hostname b\nproxycommand nc -X 5 %h %p\n", "b"), "nc -X 5 %h %p");
        assert_eq!(door("", "b"), "b:22");
    }

    #[test]
    fn a_proxy_is_the_command_that_ssh_would_start() {
        let proxy = |told, named| Way::told(told, "b").proxy(named);
        assert_eq!(proxy("hostname b\n", None), None);
        assert_eq!(proxy("proxycommand nc %h %p\n", Some("/f")).unwrap(), "nc %h %p");
        let ssh = |more: &str| format!("ssh -o BatchMode=yes{more}");
        assert_eq!(proxy("proxyjump gate\n", None).unwrap(), ssh(" -W '[%h]:%p' gate"));
        assert_eq!(
            proxy("proxyjump out:2200,joe@[fe80::1]:22\n", Some("/my file")).unwrap(),
            ssh(" -F '/my file' -l joe -p 22 -J out:2200 -W '[%h]:%p' fe80::1")
        );
    }

    #[test]
    fn our_lines_come_before_the_persons_whatever_its_file_is_called() {
        let below = tempfile::tempdir().unwrap();
        let written = |way: &str, file: Option<&str>| {
            let spec = HostSpec { ssh_config: file.map(PathBuf::from), ..HostSpec::bare("b") };
            let folder = Way::told(way, "b").config(&spec, below.path()).unwrap();
            let text = fs::read_to_string(folder.path().join("config")).unwrap();
            text.strip_prefix(OURS).unwrap().replace(folder.path().to_str().unwrap(), "HERE")
        };
        let usual = |home: &str| format!("Include {home}/.ssh/config\nInclude /etc/ssh/ssh_config\n");
        assert_eq!(written("controlpath joe\n", None), usual("~joe"));
        assert_eq!(written("controlpath DOMAIN\\joe\n", None), usual("~"));
        assert_eq!(written("", None), usual("~"));
        assert_eq!(written("", Some("/my files/c")), "Include \"/my files/c\"\n");
        assert_eq!(written("", Some("/100%/*\n\"")), "Include \"HERE/named\"\n");
        assert!(written("proxycommand nc %h %p\n", Some("/c")).starts_with(&format!("ProxyCommand {DEAF} nc %h %p\n")));
    }
}
