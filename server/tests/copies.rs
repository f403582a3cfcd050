//! Copies of vectors in one cache that several servers have: those of several versions, and of several machines.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use common::collection::Collection;
use common::{Home, Server, until};

/// A server beside the one that `query` would find.
fn another(home: &Home, program: &[&str]) -> Server {
    let socket = home.path("imagefleet/another.sock");
    let words = [program, &[env!("CARGO_BIN_EXE_server"), "--socket", socket.to_str().unwrap()]].concat();
    let mut command = home.command(words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::piped());
    let server = Server { child: command.spawn().unwrap(), socket };
    until("the server answers", || server.answers());
    server
}

/// The folders of copies: of all machines, all indexes, all segments.
fn copies(home: &Home) -> Vec<PathBuf> {
    let mut folders = vec![home.path("XDG_CACHE_HOME/imagefleet/copies")];
    for _ in 0..3 {
        folders = folders.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path()).collect();
    }
    folders
}

#[cfg(target_os = "linux")]
#[test]
fn no_server_takes_away_what_another_maps_and_the_last_cleans_up() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let first = home.serve(&[]);
    let name = first.open(pictures.prefix.dir());
    let mapped = || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", first.child.id())).unwrap();
        let copies = home.path("XDG_CACHE_HOME");
        let mapped = maps.lines().filter(|line| line.contains(copies.to_str().unwrap()) && line.contains(".faiss"));
        mapped.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mapped();
    assert!(!before.is_empty());
    let second = another(&home, &[]);
    pictures.add(&["a purple house"]);
    second.open(pictures.prefix.dir());
    assert_eq!(second.search("imagefleet", "x", 1).0, 404);
    assert_eq!(mapped(), before, "none is gone from the disk");
    assert_eq!(copies(&home).len(), 2);
    until("the first follows and its older copy goes", || {
        first.search(&name, "a purple house", 1);
        copies(&home).len() == 1
    });
}

#[cfg(target_os = "linux")]
#[test]
fn machines_that_share_a_home_have_copies_of_their_own() {
    if protocol::folders::own_uid().unwrap() != 0 {
        eprintln!("skipped: only root can give a machine another name");
        return;
    }
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let here = home.serve(&[]);
    here.open(pictures.prefix.dir());
    let there = another(
        &home,
        &["unshare", "--uts", "sh", "-c", "echo elsewhere > /proc/sys/kernel/hostname && exec \"$@\"", "sh"],
    );
    there.open(pictures.prefix.dir());
    let machines = fs::read_dir(home.path("XDG_CACHE_HOME/imagefleet/copies")).unwrap().count();
    assert_eq!((machines, copies(&home).len()), (2, 2));
}
