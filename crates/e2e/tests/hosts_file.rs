//! Which hosts file is obeyed: one that is named always; one that was only found if nobody else can have written it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use e2e::{Lab, Said, finish};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root(lab: &Lab) -> bool {
    let root = lab.images().metadata().unwrap().uid() == 0;
    if !root {
        eprintln!("NOT RUN: files of others need root; run the tests as root to run this one");
    }
    root
}

/// A world whose hosts file makes a file, `ran`, wherever it is obeyed.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    let ran = lab.path("ran");
    fs::write(lab.path("evil"), format!("ProxyCommand touch {}\n", ran.display())).unwrap();
    fs::write(lab.path("hosts"), "stranger ssh_config=evil\n").unwrap();
    mode(&lab.path("hosts"), 0o600);
    lab
}

/// The programs that look for a hosts file.
fn all(lab: &Lab, more: &[&str]) -> Vec<Said> {
    let images = lab.images();
    let images = images.to_str().unwrap();
    let controller = [vec!["--image-dir", images, "--model", "demo"], vec!["--doctor"], vec!["--setup", "--check"]];
    let mut said: Vec<Said> =
        controller.iter().map(|args| finish(lab.command("controller").args(args).args(more))).collect();
    said.push(finish(lab.command("query").args(["--index-prefix", "imageindex", "a car"]).args(more)));
    said
}

fn refused(lab: &Lab, words: &[&str]) {
    for said in all(lab, &[]) {
        assert_eq!(said.code, 2, "{said:?}");
        for word in ["not obeyed", "--hosts "].iter().chain(words) {
            assert!(said.err.contains(word), "{word:?} is not in {said:?}");
        }
        assert_eq!(said.err.matches("error: ").count(), 1, "{said:?}");
    }
    assert!(!lab.path("ran").exists(), "a stranger's command has run");
}

#[test]
fn a_hosts_file_that_others_can_write_is_not_obeyed_unless_it_is_named() {
    let lab = lab();
    mode(&lab.path("hosts"), 0o666);
    refused(&lab, &["hosts can be written by anybody (mode 666)", "in the current folder", "--hosts ./hosts"]);
    mode(&lab.path("hosts"), 0o600);
    for folder in [0o777, 0o1777] {
        mode(&lab.path(""), folder);
        refused(&lab, &["can be written by anybody", "--hosts ./hosts"]);
    }
    // A link is as good as what it leads to.
    fs::create_dir(lab.path("safe")).unwrap();
    fs::rename(lab.path("hosts"), lab.path("open")).unwrap();
    symlink("../open", lab.path("safe/hosts")).unwrap();
    let said = finish(lab.command("controller").args(["--doctor"]).current_dir(lab.path("safe")));
    assert!(said.code == 2 && said.err.contains("--hosts ./hosts"), "{said:?}");
    // What is named is obeyed.
    let said = finish(lab.command("controller").args(["--doctor", "--hosts", "../open"]).current_dir(lab.path("safe")));
    assert!(said.code == 1 && lab.path("ran").exists(), "{said:?}");
}

#[test]
fn a_hosts_file_of_another_is_not_obeyed_and_one_of_who_called_sudo_is() {
    let lab = lab();
    if !is_root(&lab) {
        return;
    }
    for owned in ["hosts", ""] {
        chown(lab.path(owned), Some(4242), None).unwrap();
        refused(&lab, &["belongs to user 4242", "--hosts ./hosts"]);
        chown(lab.path(owned), Some(0), None).unwrap();
    }
    // A group has members, or nobody knows whom it has.
    chown(lab.path("hosts"), None, Some(4242)).unwrap();
    mode(&lab.path("hosts"), 0o660);
    refused(&lab, &["hosts can be written by the group 4242 (mode 660)"]);
    // That of root has none but root.
    chown(lab.path("hosts"), None, Some(0)).unwrap();
    let doctor = |sudo: &str| finish(lab.command("controller").arg("--doctor").env("SUDO_UID", sudo));
    let obeyed = |said: Said| {
        assert_eq!(said.code, 1, "{said:?}");
        assert!(lab.path("ran").exists(), "{said:?}");
        fs::remove_file(lab.path("ran")).unwrap();
    };
    obeyed(doctor(""));
    for path in ["", "hosts"] {
        chown(lab.path(path), Some(4242), None).unwrap();
    }
    obeyed(doctor("4242"));
    assert_eq!(doctor("4243").code, 2);
    // Whoever is not root has got nothing from sudo.
    let mut other = Command::new("setpriv");
    other.args(["--reuid=4243", "--regid=4243", "--clear-groups"]).arg(e2e::program("controller")).arg("--doctor");
    let said = finish(lab.in_world(other).env("SUDO_UID", "4242"));
    assert_ne!(said.code, 0, "{said:?}");
    assert!(!lab.path("ran").exists());
}

#[test]
fn the_hosts_file_of_the_configuration_folder_counts_as_little_if_others_can_write_it() {
    let lab = lab();
    let folder = lab.path("home/config/imagefleet");
    fs::create_dir_all(&folder).unwrap();
    // Relative paths in it lead nowhere into the current folder.
    fs::rename(lab.path("hosts"), folder.join("hosts")).unwrap();
    let said = finish(lab.command("controller").arg("--doctor"));
    assert!(said.code == 1 && said.out.contains("imagefleet/evil: No such file"), "{said:?}");
    mode(&folder.join("hosts"), 0o622);
    refused(&lab, &["in your configuration folder", &format!("--hosts {}", folder.join("hosts").display())]);
}

#[test]
fn the_hosts_files_of_ansible_and_of_the_system_are_told_as_what_they_are() {
    let lab = lab();
    for (text, whose) in [
        (
            "127.0.0.1 localhost\n10.0.0.7 duc17 nas\n",
            "./hosts:1: this is a system's table of addresses, as /etc/hosts",
        ),
        ("[web]\nduc17 ansible_host=10.0.0.7\n", "./hosts:1: this is an inventory of Ansible"),
        ("duc17 wieght=0.4\n", "./hosts:1: \"wieght=0.4\""),
    ] {
        fs::write(lab.path("hosts"), text).unwrap();
        for said in all(&lab, &[]) {
            assert_eq!(said.code, 1, "{said:?}");
            assert!(said.err.contains(whose) && said.err.contains("found in the current folder"), "{said:?}");
        }
        for said in all(&lab, &["--hosts", "hosts"]) {
            assert!(said.code == 1 && said.err.contains("it was named with --hosts"), "{said:?}");
        }
    }
}
