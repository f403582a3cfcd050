//! A disk that is full, whichever file is being written, or that may only be read: a clear error, the old index still
//! answers, and the same command completes once there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use e2e::{CANONICAL, Judge, Machines, Said, finish};

/// Pictures that the index has, and new ones.
const OLD: usize = 26;
const NEW: usize = 22;

/// A small disk for the index alone, in a place without hosts. Pictures, programs and caches are elsewhere.
struct Disk {
    machines: Machines,
    judge: Judge,
    /// What the index is to hold, and what it held.
    now: BTreeMap<String, String>,
    before: BTreeSet<String>,
}

impl Disk {
    fn new() -> Option<Self> {
        let machines = Machines::fresh(&[])?;
        let lab = &machines.lab;
        fs::write(lab.path("hosts"), format!("localhost work_dir={}\n", lab.path("work").display())).unwrap();
        lab.draw("", OLD + NEW, 1);
        let now = lab.drawn();
        let index = |prefix: &str| {
            let said = finish(lab.controller(&["--index-prefix"]).arg(lab.path(prefix)));
            assert_eq!(said.code, 0, "{said:?}");
        };
        // What an undisturbed run makes of all of them.
        index("all/imageindex");
        let judge = Judge::new(&lab.path("all/imageindex.parquet"));
        let (later, back) = (lab.path("later"), lab.images());
        for folder in [&later, &lab.path("small")] {
            fs::create_dir(folder).unwrap();
        }
        let new: Vec<&String> = now.keys().step_by(2).take(NEW).collect();
        new.iter().for_each(|name| fs::rename(back.join(name), later.join(name)).unwrap());
        let before = lab.drawn().into_keys().collect();
        index("base/imageindex");
        new.iter().for_each(|name| fs::rename(later.join(name), back.join(name)).unwrap());
        Some(Self { machines, judge, now, before })
    }

    /// Mounts the disk, with the old index on it; `limit` is an option of tmpfs that counts what `df` calls `used`.
    fn insert(&self, limit: &str, used: &str, more: u64, unit: &str) {
        self.machines.here(&format!(
            "cd {} && mount -t tmpfs -o size=50m tmpfs small && cp -a base/. small && rm small/imageindex/worker_* && \
             used=$(df --block-size=4k --output={used} small | tail -n 1) && \
             mount -o remount,{limit}=$(((used + {more}) * {unit})) small",
            self.machines.lab.path("").display()
        ));
    }

    fn mount(&self, what: &str) {
        self.machines.here(&format!("cd {} && {what}", self.machines.lab.path("").display()));
    }

    fn prefix(&self) -> PathBuf {
        self.machines.lab.path("small/imageindex")
    }

    fn index(&self) -> Said {
        let controller = self.machines.lab.controller(&["--chunk-images", "8", "--index-prefix"]);
        let mut there = self.machines.command("controller");
        finish(there.args(controller.get_args()).arg(self.prefix()))
    }

    /// The index answers with all of one generation.
    fn answers(&self) {
        let mut query = self.machines.command("query");
        query.arg("--index-prefix").arg(self.prefix()).arg("--hosts").arg(self.machines.lab.path("hosts"));
        let said =
            finish(query.args(["--text", "a car", "--top-k", "1000", "--no-copy-results", "--no-collapse", "--json"]));
        let path = |line: &str| {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            Path::new(found["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned()
        };
        let found: BTreeSet<String> = said.out.lines().map(path).collect();
        let whole = found == self.before || found.iter().eq(self.now.keys());
        assert!(said.code == 0 && whole, "{} pictures: {said:?}", found.len());
    }

    /// With room again, the same command completes.
    fn completes(&mut self) {
        let said = self.index();
        assert_eq!(said.code, 0, "{said:?}");
        // Outside, the disk is not seen.
        self.mount("cp -a small/. . && umount -l small");
        let lab = &self.machines.lab;
        assert_eq!(self.judge.judge(lab, &lab.images(), &self.now), [""; 0]);
        lab.remove_index();
    }

    /// Runs with ever more room until there is enough; gives back what was told of each failure.
    fn fill(&mut self, limit: &str, used: &str, step: u64, unit: &str) -> Vec<String> {
        let mut told = Vec::new();
        for more in (0..200).step_by(step as usize) {
            self.insert(limit, used, more, unit);
            let said = self.index();
            if said.code == 0 {
                self.mount("umount -l small");
                return told;
            }
            let clear = said.err.contains("No space left on device") && said.err.contains("small/imageindex");
            let once = said.err.lines().filter(|line| line.starts_with("error: ")).count() == 1;
            assert!(said.code == 1 && clear && once && !said.err.contains("panicked"), "{more} more: {said:?}");
            told.push(said.err);
            self.answers();
            self.mount("mount -o remount,size=50m,nr_inodes=1000 small");
            self.completes();
        }
        panic!("it is never enough: {told:?}");
    }
}

#[test]
fn a_disk_without_room_for_the_next_file_costs_no_row_whichever_file_it_is() {
    let Some(mut disk) = Disk::new() else { return };
    let told = disk.fill("nr_inodes", "iused", 1, "1");
    let files = [".token", "/parts/", "parts.jsonl", "worker_0.parquet", "worker_0.faiss", "worker_0.meta.json"];
    for file in files.iter().chain(&["seg-0.parquet", "seg-0.faiss", ".imageindex.meta.json"]) {
        assert!(told.iter().any(|told| told.contains(file)), "{file} was always written: {told:#?}");
    }
}

#[test]
fn a_disk_that_becomes_full_within_a_file_costs_no_row() {
    let Some(mut disk) = Disk::new() else { return };
    let told = disk.fill("size", "used", 4, "4096");
    assert!(told.len() > 5, "{told:#?}");
}

#[test]
fn an_index_that_may_only_be_read_answers_and_says_why_it_does_not_grow() {
    let Some(mut disk) = Disk::new() else { return };
    disk.insert("size", "used", 1000, "4096");
    disk.mount("mount -o remount,ro small");
    let said = disk.index();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("Read-only file system") && said.err.contains("small/imageindex"), "{said:?}");
    disk.answers();
    disk.mount("mount -o remount,rw small");
    disk.completes();
}

#[test]
fn a_host_that_may_only_read_the_share_is_left_out_and_the_others_do_the_work() {
    // The first would scan.
    let Some(machines) = Machines::ready(&["ram_gb=2", "ram_gb=1"]) else { return };
    machines.lab.draw("", 40, 1);
    machines.inside(0, &format!("mount -o remount,ro,bind {}", machines.share(0)));
    let said = machines.index(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    let named = |line: &str| line.starts_with("h0 is left out: ") && line.contains("cannot be written here");
    assert!(said.err.lines().any(named), "{said:?}");
    assert_eq!(machines.lab.rows_below(&Path::new(CANONICAL).join("images")).len(), 40);
}
