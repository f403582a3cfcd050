//! Where a person's folders are without HOME: by the password database, else in a folder of their own in `/var/tmp`, never in
//! one that a stranger has prepared.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{http, until};

/// A user whom no system has, and what they may leave in shared places.
struct Someone {
    uid: u32,
    program: PathBuf,
    place: tempfile::TempDir,
}

impl Someone {
    /// `None` where files cannot be given away, which is said.
    fn new(number: u32) -> Option<Self> {
        if protocol::folders::own_uid().unwrap() != 0 {
            eprintln!("skipped: only root can be another user");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        // Where the tests are built others may not enter. Copied by another process: a file that is open for writing cannot
        // be run, and what another test starts at this moment would hold it open.
        let program = place.path().join("server");
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_server")).arg(&program).status().unwrap().success());
        let someone = Self { uid: 40_000 + std::process::id() % 5_000 * 4 + number, program, place };
        assert!(someone.shared().iter().all(|folder| folder.symlink_metadata().is_err()), "the user is new");
        Some(someone)
    }

    fn shared(&self) -> [PathBuf; 2] {
        ["/var/tmp", "/tmp"].map(|folder| Path::new(folder).join(format!("imagefleet-{}", self.uid)))
    }

    /// Runs the server's program for them without a word about where their folders are.
    fn ensure(&self) -> Output {
        let mut command = Command::new(&self.program);
        command.arg("--ensure").env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
        command.uid(self.uid).gid(self.uid).output().unwrap()
    }

    fn stop(&self, output: &Output) -> PathBuf {
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let socket = PathBuf::from(told.trim_end().split_once(' ').expect("it tells its socket").1);
        assert!(http(&socket, "POST", "/v1/stop", "", b"").is_some_and(|(status, _)| status == 200));
        until("the server ends", || !socket.exists());
        socket
    }
}

impl Drop for Someone {
    fn drop(&mut self) {
        for folder in self.shared() {
            let _ = fs::remove_file(&folder).or_else(|_| fs::remove_dir_all(&folder));
        }
    }
}

#[test]
fn without_a_home_there_is_a_closed_folder_in_var_tmp() {
    let Some(someone) = Someone::new(0) else { return };
    let output = someone.ensure();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let socket = someone.stop(&output);
    let [folder, in_tmp] = someone.shared();
    assert_eq!(socket.parent(), Some(&*folder));
    let found = folder.symlink_metadata().unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (someone.uid, 0o700));
    assert!(folder.join("cache").is_dir(), "copies of vectors are beside");
    assert!(!in_tmp.exists());
}

#[test]
fn a_folder_that_a_stranger_prepared_is_never_used_and_it_is_said_what_to_set() {
    let Some(someone) = Someone::new(1) else { return };
    let [folder, in_tmp] = someone.shared();
    let victim = someone.place.path().join("victim");
    fs::create_dir(&victim).unwrap();
    chown(&victim, Some(someone.uid), Some(someone.uid)).unwrap();
    fs::set_permissions(&victim, Permissions::from_mode(0o700)).unwrap();
    symlink(&victim, &in_tmp).unwrap();
    let refused = |why: &str| {
        let output = someone.ensure();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(why) && told.contains(folder.to_str().unwrap()), "{why}: {told}");
        assert!(told.contains("set XDG_RUNTIME_DIR"), "{told}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    };
    symlink(&victim, &folder).unwrap();
    refused("is not a folder");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    refused("belongs to user 0");
    chown(&folder, Some(someone.uid), Some(someone.uid)).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    refused("is open to others");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn without_the_variable_the_home_is_that_of_the_password_database() {
    let Some(someone) = Someone::new(2) else { return };
    let home = someone.place.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(someone.uid), Some(someone.uid)).unwrap();
    let passwd = someone.place.path().join("passwd");
    let line = format!("someone:x:{0}:{0}::{1}:/bin/sh\n", someone.uid, home.display());
    fs::write(&passwd, fs::read_to_string("/etc/passwd").unwrap() + &line).unwrap();
    let script =
        "mount --bind \"$1\" /etc/passwd && exec setpriv --reuid=\"$2\" --regid=\"$2\" --clear-groups \"$3\" --ensure";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&passwd).arg(someone.uid.to_string()).arg(&someone.program);
    let output = command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/").output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        eprintln!("skipped: no namespace can be made here");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let socket = someone.stop(&output);
    assert!(home.join(".cache/imagefleet").is_dir());
    assert_eq!(socket.parent(), Some(&*someone.shared()[0]), "sockets alone are elsewhere");
    assert!(!someone.shared()[0].join("cache").exists());
}
