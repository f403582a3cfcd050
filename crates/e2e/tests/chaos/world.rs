//! Where rounds happen: three hosts, pictures whose vectors are known from an undisturbed run, and a judge.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{CANONICAL, Judge, Lab, Machines, SHARE_HERE, Said, Stood, finish, said, send};
use fastrand::Rng;
use serde_json::Value;

use crate::plan::{HOSTS, Plan};

/// Pictures in all, and those of them that an index holds where one stands.
const POOL: usize = 200;
const STANDING: usize = 50;

/// More than any round has.
const ALL: &str = "1000";

pub struct World {
    pub machines: Machines,
    /// Pictures by name, and their index.
    pool: Lab,
    names: Vec<String>,
    hosts: String,
    judge: RefCell<Judge>,
}

/// What a round is to come to: which picture of the pool lies under each path, now and when the index was made that stands.
pub struct Pictures {
    pub now: BTreeMap<String, String>,
    pub before: BTreeMap<String, String>,
}

/// How the index names the image folder.
fn root() -> PathBuf {
    Path::new(CANONICAL).join("images")
}

impl World {
    /// `None` where hosts cannot be made, which is said.
    pub fn new() -> Option<Self> {
        let machines = Machines::ready(&["threads=1 batch_size=1"; HOSTS])?;
        let pool = Lab::new();
        pool.draw("", POOL, 9);
        let made = pool.index(&[]);
        assert_eq!(made.code, 0, "{made:?}");
        let names = pool.paths();
        let hosts = fs::read_to_string(machines.lab.path("hosts")).unwrap();
        let judge = RefCell::new(Judge::new(&pool.path("imageindex.parquet")));
        let world = Self { machines, pool, names, hosts, judge };
        for name in &world.names[..STANDING] {
            world.put(name, name);
        }
        let made = finish(&mut world.controller(&[]));
        assert_eq!(made.code, 0, "{made:?}");
        fs::create_dir(world.machines.lab.path("base")).unwrap();
        world.copy_index("", "base");
        Some(world)
    }

    /// Makes all as a round begins with it.
    pub fn prepare(&self, plan: &Plan) -> Pictures {
        let lab = &self.machines.lab;
        self.end_all();
        for i in 0..HOSTS {
            self.machines.inside(i, "rm -f /var/lib/imagefleet/worker_*");
        }
        fs::remove_dir_all(lab.images()).unwrap();
        lab.remove_index();
        let lines = self.hosts.lines().filter(|line| (plan.hosts..HOSTS).all(|i| !line.starts_with(&format!("h{i} "))));
        fs::write(lab.path("hosts"), lines.collect::<Vec<_>>().join("\n")).unwrap();

        let rng = &mut Rng::with_seed(plan.seed.wrapping_mul(3).wrapping_add(1));
        let (old, new) = self.names.split_at(STANDING);
        let mut pictures = Pictures { now: BTreeMap::new(), before: BTreeMap::new() };
        if let Some((gone, changed)) = plan.standing {
            self.copy_index("base", "");
            pictures.before = old.iter().map(|name| (name.clone(), name.clone())).collect();
            pictures.now = pictures.before.clone();
            for name in rng.choose_multiple(old, gone) {
                pictures.now.remove(name);
            }
            for name in rng.choose_multiple(old, changed) {
                if let Some(picture) = pictures.now.get_mut(name) {
                    *picture = rng.choice(new).unwrap().clone();
                }
            }
        }
        for name in rng.choose_multiple(new, plan.new) {
            let folder = rng.choice(["", "a/", "b/c/"]).unwrap();
            pictures.now.insert(format!("{folder}{name}"), name.clone());
        }
        for (path, picture) in &pictures.now {
            self.put(path, picture);
        }
        pictures
    }

    /// The command of every run.
    pub fn controller(&self, more: &[&str]) -> Command {
        self.machines.controller(more)
    }

    /// Asks on a host; the answer comes while other things happen.
    pub fn ask(&self, host: usize) -> Child {
        let mut query = self.machines.command("query");
        query.arg("--index-prefix").arg(format!("{SHARE_HERE}/imageindex"));
        query.arg("--hosts").arg(self.machines.lab.path("hosts")).args(["--worker", &format!("h{host}")]);
        query.args(["--text", "a yellow car", "--json", "--no-collapse", "--no-copy-results", "--top-k", ALL]);
        query.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Which of these generations has answered, all of it; an empty one says that there is no index yet. Else what was said.
    pub fn answered(&self, asked: Child, may_be: &[&BTreeMap<String, String>]) -> Result<usize, String> {
        let answer = said(asked.wait_with_output().unwrap());
        let path = |line: &str| -> Option<String> {
            let found: Value = serde_json::from_str(line).ok()?;
            Some(found["path"].as_str()?.strip_prefix(SHARE_HERE)?.strip_prefix("/images/")?.to_owned())
        };
        let paths: Option<BTreeSet<String>> = answer.out.lines().map(path).collect();
        let none = answer.err.contains("there is no index at");
        let (true, Some(paths)) = (none || answer.code == 0, paths) else { return Err(format!("{answer:?}")) };
        let whole = may_be.iter().position(|index| paths.iter().eq(index.keys()));
        whole.ok_or_else(|| format!("a question was answered by no generation: {answer:?}"))
    }

    /// What stands in the index.
    pub fn stood(&self) -> Stood {
        self.judge.borrow_mut().stood(&self.machines.lab, &root())
    }

    /// What is wrong with the finished index.
    pub fn judge(&self, expected: &BTreeMap<String, String>) -> Vec<String> {
        self.judge.borrow_mut().judge(&self.machines.lab, &root(), expected)
    }

    /// Processes of a program wherever it runs.
    pub fn everywhere(&self, program: &str) -> Vec<u32> {
        let places = (0..HOSTS).map(Some).chain([None]);
        places.flat_map(|place| self.machines.processes(place, program)).collect()
    }

    /// Ends what a failed round may have left, and servers that hold what was asked in the last one.
    fn end_all(&self) {
        for program in ["controller", "worker", "merger", "server", "query"] {
            send("KILL", &self.everywhere(program));
        }
    }

    fn put(&self, path: &str, picture: &str) {
        let target = self.machines.lab.images().join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::hard_link(self.pool.images().join(picture), target).unwrap();
    }

    fn copy_index(&self, from: &str, to: &str) {
        let lab = &self.machines.lab;
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(lab.path(from).join("imageindex"));
        for extension in ["meta.json", "parquet", "faiss"] {
            copy.arg(lab.path(from).join(format!("imageindex.{extension}")));
        }
        let copied: Said = finish(copy.arg(lab.path(to)));
        assert_eq!(copied.code, 0, "{copied:?}");
    }
}
