use std::fs;
use std::sync::mpsc::channel;
use std::thread::spawn;

use super::*;

const SOON: Duration = Duration::from_millis(20);

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    (dir, path)
}

fn put(path: &Path, owner: &Owner, age_s: u64) {
    fs::write(path, serde_json::to_string(owner).unwrap()).unwrap();
    open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
}

/// Of a process that is not there.
fn dead(host: &str) -> Owner {
    Owner { pid: i32::MAX as u32, ..Owner::here("controller", host) }
}

#[test]
fn a_second_owner_is_refused_and_told_who_is_first() {
    let (_dir, path) = place();
    let first = RunLock::take(&path, "controller", "mac").unwrap();
    let refused = RunLock::take(&path, "merger", "duc17").unwrap_err().to_string();
    assert!(refused.contains("controller") && refused.contains("mac"), "{refused}");
    drop(first);
    drop(RunLock::take(&path, "merger", "duc17").unwrap());
}

#[test]
fn who_waits_gets_the_lock_as_soon_as_it_is_free() {
    let (_dir, path) = place();
    let first = RunLock::take(&path, "merger", "duc17").unwrap().beating();
    assert!(RunLock::take_within(Duration::ZERO, &path, "merger", "duc18").is_err());
    let waiting = path.clone();
    let second = spawn(move || RunLock::take_within(Duration::from_secs(60), &waiting, "merger", "duc18"));
    drop(first);
    assert!(second.join().unwrap().is_ok());
}

#[test]
fn a_heartbeat_from_another_host_counts_where_locks_do_not_travel_whatever_the_time_is_there() {
    let (_dir, path) = place();
    for hours_apart in [-3, 0, 3] {
        let heartbeat_unix_s = now_s().saturating_add_signed(hours_apart * 3600);
        let owner = Owner { heartbeat_unix_s, ..dead("mac") };
        for (age_s, held) in [(5, true), (SILENT.as_secs() + 5, false)] {
            put(&path, &owner, age_s);
            assert_eq!(RunLock::take(&path, "merger", "duc17").is_err(), held, "{hours_apart} h, {age_s} s");
        }
    }
}

#[test]
fn two_machines_of_one_name_are_told_apart_and_a_dead_owner_on_this_one_is_known() {
    let (_dir, path) = place();
    let here = dead("duc17");
    let twin = Owner { machine: "another".into(), ..here.clone() };
    let older = Owner { machine: String::new(), id: String::new(), ..here.clone() };
    for (owner, age_s, held) in
        [(&here, 5, false), (&older, 5, false), (&twin, 5, true), (&twin, SILENT.as_secs() + 5, false)]
    {
        put(&path, owner, age_s);
        assert_eq!(RunLock::take(&path, "merger", "duc17").is_err(), held, "{owner:?}, {age_s} s");
    }
}

#[test]
fn where_the_system_has_no_locks_the_heartbeat_decides() {
    let (_dir, path) = place();
    let us = Owner::here("merger", "duc17");
    let alive = |owner: &Owner, age_s: u64| {
        put(&path, owner, age_s);
        System::Silent.says_alive(owner, &us, &path, &open(&path).unwrap()).unwrap()
    };
    // A process of this machine, which is there; another that is not; and one of another machine.
    assert!(alive(&Owner::here("controller", "duc17"), 5));
    assert!(!alive(&dead("duc17"), 5));
    assert!(alive(&dead("mac"), 5));
    for owner in [Owner::here("controller", "duc17"), dead("mac")] {
        assert!(!alive(&owner, SILENT.as_secs() + 5));
    }
    // One that is not of this machine after all, since it beats.
    let seems_dead = dead("duc17");
    put(&path, &seems_dead, 5);
    let (beating, later) = (path.clone(), Owner { heartbeat_unix_s: now_s() + 10, ..seems_dead.clone() });
    let beat = spawn(move || {
        sleep(LOOK);
        put(&beating, &later, 0);
    });
    assert!(System::Silent.says_alive(&seems_dead, &us, &path, &open(&path).unwrap()).unwrap());
    beat.join().unwrap();
}

#[expect(clippy::type_complexity, reason = "a table of cases")]
#[test]
fn a_lock_that_was_lost_is_noticed_at_the_next_beat_and_left_to_its_owner() {
    let other = serde_json::to_string(&Owner::here("merger", "duc18")).unwrap();
    let ways: [(&str, &dyn Fn(&Path)); 4] = [
        ("merger", &|path| fs::write(path, &other).unwrap()),
        ("merger", &|path| {
            fs::write(path.with_extension("new"), &other).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("removed", &|path| fs::remove_file(path).unwrap()),
        ("removed", &|path| fs::write(path, "").unwrap()),
    ];
    for (told, lose) in ways {
        let (_dir, path) = place();
        let (sender, lost) = channel();
        let beating = RunLock::take(&path, "controller", "mac").unwrap().beating_every(SOON, move |lost| {
            sender.send(lost.to_string()).unwrap();
        });
        beating.check().unwrap();
        lose(&path);
        let after = fs::read(&path).ok();
        let lost = lost.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(lost.contains(told), "{lost}");
        assert!(beating.check().unwrap_err().to_string().contains(told));
        drop(beating);
        assert_eq!(fs::read(&path).ok(), after, "the lock is another's by now");
    }
}

#[test]
fn a_share_that_is_away_for_a_moment_loses_no_lock() {
    let (dir, _) = place();
    let (folder, away) = (dir.path().join("index"), dir.path().join("away"));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("lock");
    let beating = RunLock::take(&path, "controller", "mac").unwrap().beating_every(SOON, |lost| panic!("{lost}"));
    fs::rename(&folder, &away).unwrap();
    assert!(matches!(beating.check(), Err(Lost::Unseen { .. })));
    sleep(SOON * 3);
    fs::rename(&away, &folder).unwrap();
    let written = || fs::metadata(&path).unwrap().modified().unwrap();
    let before = written();
    let begun = Instant::now();
    while written() == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "it beats no more");
        sleep(SOON);
    }
    beating.check().unwrap();
}

#[test]
fn older_programs_read_the_lock_and_theirs_is_read() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Older {
        program: String,
        host: String,
        pid: u32,
        heartbeat_unix_s: u64,
    }
    let (_dir, path) = place();
    let lock = RunLock::take(&path, "controller", "mac").unwrap();
    let older: Older = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((older.program.as_str(), older.host.as_str(), older.pid), ("controller", "mac", std::process::id()));
    drop(lock);
    fs::write(&path, serde_json::to_string(&older).unwrap()).unwrap();
    let (owner, _) = RunLock::last_owner(&path).unwrap();
    assert_eq!((owner.host.as_str(), owner.id.as_str()), ("mac", ""));
}

#[test]
fn a_pipe_in_the_locks_place_is_named() {
    let (_dir, path) = place();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let Held::Io { source, .. } = RunLock::take(&path, "controller", "mac").unwrap_err() else { panic!() };
    assert!(source.to_string().contains("pipe"), "{source}");
    assert!(RunLock::last_owner(&path).is_none());
}
