//! The indexes that are loaded, each following the generations of its files. An index is loaded once however many
//! ask, one that is being loaded keeps nobody from asking another, and a generation that cannot be opened leaves the
//! one before it answering, which every answer then says.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};

use disk::atomic::folder_of;
use disk::trust::{Owners, Stranger};
use index::{Duplicates, Found, Index, Keep, Wanted};
use protocol::search::{DuplicatesRequest, Filters, Match, OpenIndex, OpenedIndex, SearchRequest};
use protocol::stats::Stats;
use protocol::{IndexMeta, IndexPrefix, Root};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;

use crate::cache::Cache;
use crate::encoders::{Encoders, SharedEncoder};
use crate::log::Log;
use crate::map::Map;
use crate::owners;
use crate::pictures::Gallery;
use crate::question;
use crate::refusal::Refusal;
use crate::stats::{self, Survey};
use crate::thumbnails::Thumbnails;

/// Between two looks for a newer generation.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the first askers have the disk and the processors for themselves.
const CHECK_AFTER: Duration = Duration::from_secs(3);

/// All indexes that were asked for.
pub struct Indexes {
    cache: Cache,
    log: Arc<Log>,
    encoders: Encoders,
    /// Searches at once; each uses several threads, and more at once only makes all of them late.
    turns: Arc<Semaphore>,
    /// One map is made at a time.
    map_turn: Arc<Semaphore>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_prefix: HashMap<PathBuf, Arc<Slot>>,
    /// Only indexes that were loaded have a name.
    by_name: HashMap<String, Arc<Slot>>,
}

/// One index, whichever generation answers.
struct Slot {
    prefix: IndexPrefix,
    name: OnceLock<String>,
    standing: RwLock<Option<Standing>>,
    /// Held by who looks for a newer generation; when the next look is due.
    look: Arc<tokio::sync::Mutex<Instant>>,
    /// Where its model is, if somebody said so.
    model: Mutex<Option<String>>,
    /// Where this host sees the root, if somebody said so.
    root_here: Mutex<Option<String>>,
    /// Thumbnails beside the index, if they can be written there.
    shared: OnceCell<Option<Arc<Thumbnails>>>,
    /// Thumbnails that only this person sees.
    own: OnceLock<Arc<Thumbnails>>,
}

/// What answers now, and what its askers should know.
pub type Standing = (Arc<Loaded>, Option<String>);

/// One generation of an index and the encoder for its questions.
pub struct Loaded {
    index: Arc<Index>,
    encoder: Arc<SharedEncoder>,
    turns: Arc<Semaphore>,
    map_turn: Arc<Semaphore>,
    survey: OnceCell<Survey>,
    /// Whose its files were when they were read.
    owners: Owners,
    /// Somebody who is neither this person nor root, and owns one of them.
    stranger: OnceCell<Option<Stranger>>,
    /// The map that was made last, and of how many pictures at most.
    map: tokio::sync::Mutex<Option<(u64, Arc<Map>)>>,
}

impl Indexes {
    /// No index yet.
    pub fn new(cache: Cache, log: Arc<Log>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let turns = Arc::new(Semaphore::new(cores.div_ceil(4).max(2)));
        let map_turn = Arc::new(Semaphore::new(1));
        Self { cache, log, encoders: Encoders::default(), turns, map_turn, slots: Mutex::default() }
    }

    /// Loads an index, or finds it loaded.
    pub async fn open(self: &Arc<Self>, request: OpenIndex) -> Result<OpenedIndex, Refusal> {
        let (model, root_here) = (request.model, request.root_here);
        let prefix =
            spawn_blocking(move || resolve(&request.index_prefix)).await.map_err(|e| Refusal::failed(&e))??;
        let slot = self.slots().by_prefix.entry(prefix.clone()).or_insert_with(|| Arc::new(Slot::new(prefix))).clone();
        if model.is_some() {
            *slot.model.lock().expect("nothing panics in it") = model;
        }
        if root_here.is_some() {
            *slot.root_here.lock().expect("nothing panics in it") = root_here;
        }
        let (loaded, _) = self.follow(slot.clone()).await?;
        Ok(slot.describe(&loaded))
    }

    /// What is to answer for the index of this name: the newest generation, if it can be opened.
    pub async fn current(self: &Arc<Self>, name: &str) -> Result<Standing, Refusal> {
        let slot = self.slot(name)?;
        let (loaded, warning) = self.follow(slot).await?;
        let warning = warning.or_else(|| loaded.index.warning().map(str::to_owned));
        Ok((loaded, warning))
    }

    /// What answers now for the index of this name, without a look for a newer generation.
    pub fn get(&self, name: &str) -> Result<Arc<Loaded>, Refusal> {
        self.slot(name)?.standing().map(|(loaded, _)| loaded).ok_or_else(|| not_loaded(name))
    }

    /// Where the pictures of the index of this name are.
    pub async fn gallery(&self, name: &str) -> Result<Gallery, Refusal> {
        let (slot, loaded) = (self.slot(name)?, self.get(name)?);
        let own = slot.own.get_or_init(|| Arc::new(Thumbnails::own(&slot.prefix, &self.cache.thumbnails))).clone();
        // Nothing is written beside a stranger's index: what it shows of this person's pictures is not the stranger's.
        let shared = match loaded.stranger().await? {
            Some(_) => None,
            None => {
                let (prefix, log) = (slot.prefix.clone(), self.log.clone());
                let find = move || match Thumbnails::beside(&prefix) {
                    Ok(thumbnails) => Some(Arc::new(thumbnails)),
                    Err(why) => {
                        log.line(&format!("thumbnails are kept on this host: {why}: {}", why.source));
                        None
                    }
                };
                let finding = async || spawn_blocking(find).await;
                slot.shared.get_or_try_init(finding).await.map_err(|e| Refusal::failed(&e))?.clone()
            }
        };
        let root = Arc::new(slot.root(&loaded));
        Ok(Gallery { loaded, root, shared, own })
    }

    /// Where the pictures of the index of this name lie on this host.
    pub fn root(&self, name: &str, loaded: &Loaded) -> Result<Root, Refusal> {
        Ok(self.slot(name)?.root(loaded))
    }

    /// All that are loaded, by name.
    pub fn all(&self) -> Vec<OpenedIndex> {
        let slots: Vec<_> = self.slots().by_name.values().cloned().collect();
        let mut all: Vec<_> =
            slots.iter().filter_map(|s| s.standing().map(|(loaded, _)| s.describe(&loaded))).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>, Refusal> {
        self.slots().by_name.get(name).cloned().ok_or_else(|| not_loaded(name))
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().expect("nothing panics in it")
    }

    /// The newest generation. Works in a task of its own, so that an asker who gives up does not throw away a load
    /// that is half done.
    async fn follow(self: &Arc<Self>, slot: Arc<Slot>) -> Result<Standing, Refusal> {
        let look = match slot.look.clone().try_lock_owned() {
            Ok(look) => look,
            Err(_) => match slot.standing() {
                Some(standing) => return Ok(standing),
                None => slot.look.clone().lock_owned().await,
            },
        };
        let all = self.clone();
        let following = tokio::spawn(async move {
            let mut look = look;
            if let Some(standing) = slot.standing().filter(|_| Instant::now() < *look) {
                return Ok(standing);
            }
            let began = Instant::now();
            let result = all.look(&slot).await;
            // What fails after minutes, as a copy onto a full disk, is not tried again at every question.
            let troubled = !matches!(result, Ok((_, None)));
            let pause = if troubled { LOOK_EVERY.max(began.elapsed() * 10) } else { LOOK_EVERY };
            *look = Instant::now() + pause;
            result
        });
        following.await.map_err(|e| Refusal::failed(&e))?
    }

    async fn look(&self, slot: &Arc<Slot>) -> Result<Standing, Refusal> {
        let Some((old, warned)) = slot.standing() else {
            let loaded = self.load(slot).await?;
            self.name(slot);
            return Ok(self.switch(slot, loaded));
        };
        let asked = old.clone();
        let current = spawn_blocking(move || asked.index.is_current()).await.map_err(|e| Refusal::failed(&e))?;
        if matches!(current, Ok(true)) {
            return Ok(slot.stand(old, None));
        }
        match self.load(slot).await {
            Ok(loaded) => Ok(self.switch(slot, loaded)),
            Err(refusal) if refusal.is_absent() => {
                self.log.line(&format!("{:?}: the index is gone: {}", slot.prefix.dir(), refusal.error()));
                *slot.standing.write().expect("nothing panics in it") = None;
                Err(refusal)
            }
            Err(refusal) => {
                let generation = old.meta().generation;
                let warning = format!(
                    "a newer generation of the index cannot be opened, generation {generation} answers: {}",
                    refusal.error()
                );
                if warned.as_ref() != Some(&warning) {
                    self.log.line(&format!("{:?}: {warning}", slot.prefix.dir()));
                }
                Ok(slot.stand(old, Some(warning)))
            }
        }
    }

    async fn load(&self, slot: &Slot) -> Result<Loaded, Refusal> {
        let prefix = &slot.prefix;
        let model = slot.model.lock().expect("nothing panics in it").clone();
        let (asked, cache_dir) = (prefix.clone(), self.cache.copies.clone());
        let meta = spawn_blocking(move || index::read_meta(&asked)).await.map_err(|e| Refusal::failed(&e))?;
        let meta = meta.map_err(|e| Refusal::failed(&e))?.ok_or_else(|| absent(prefix))?;
        let asked = prefix.clone();
        let opening = spawn_blocking(move || Index::open(&asked, &cache_dir).map(|index| (owners::of(&index), index)));
        let (index, encoder) = tokio::join!(opening, self.encoders.of(&meta, model.clone()));
        let (owners, index) = index.map_err(|e| Refusal::failed(&e))?.map_err(|e| Refusal::failed(&e))?;
        let owners = owners.map_err(|e| Refusal::failed(&e))?;
        let mut encoder = encoder?;
        if index.meta().model.fingerprint != encoder.fingerprint() {
            // A generation of another model came between the two looks.
            encoder = self.encoders.of(index.meta(), model).await?;
        }
        let (index, turns, map_turn) = (Arc::new(index), self.turns.clone(), self.map_turn.clone());
        let (survey, stranger) = (OnceCell::new(), OnceCell::new());
        Ok(Loaded { index, encoder, turns, map_turn, survey, owners, stranger, map: Default::default() })
    }

    fn switch(&self, slot: &Slot, loaded: Loaded) -> Standing {
        let meta = loaded.meta();
        self.log.line(&format!(
            "{:?}: generation {} with {} pictures answers, model {}",
            slot.prefix.dir(),
            meta.generation,
            meta.num_images,
            meta.model.model_name
        ));
        self.check_later(slot, loaded.index.clone());
        slot.stand(Arc::new(loaded), None)
    }

    /// Opening believed an earlier one that the vectors are whole; once the first askers have their answers, every byte is
    /// looked at again. An index that fails that answers no more, and the next question opens it anew.
    fn check_later(&self, slot: &Slot, index: Arc<Index>) {
        let (log, prefix) = (self.log.clone(), slot.prefix.dir().to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(CHECK_AFTER).await;
            if let Ok(Err(error)) = spawn_blocking(move || index.check()).await {
                log.line(&format!("{prefix:?}: {error}"));
            }
        });
    }

    /// Names an index after its prefix, in letters that need no escape in an address.
    fn name(&self, slot: &Arc<Slot>) {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let wanted: String = slot.prefix.name().chars().map(plain).collect();
        let wanted = if wanted.trim_matches('.').is_empty() { "index".to_owned() } else { wanted };
        let mut slots = self.slots();
        if slot.name.get().is_some() {
            return;
        }
        let numbered = (2..).map(|n| format!("{wanted}-{n}"));
        let name = std::iter::once(wanted.clone()).chain(numbered).find(|n| !slots.by_name.contains_key(n));
        let name = name.expect("there are more numbers than indexes");
        slots.by_name.insert(name.clone(), slot.clone());
        slot.name.set(name).expect("only one task loads it");
    }
}

impl Slot {
    /// Where the pictures lie on this host.
    fn root(&self, loaded: &Loaded) -> Root {
        let canonical = loaded.meta().root.clone();
        let here = self.root_here.lock().expect("nothing panics in it").clone();
        Root::new(here.unwrap_or_else(|| canonical.clone()), canonical)
    }

    fn new(prefix: PathBuf) -> Self {
        Self {
            prefix: IndexPrefix::new(prefix),
            name: OnceLock::new(),
            standing: RwLock::new(None),
            look: Arc::new(tokio::sync::Mutex::new(Instant::now())),
            model: Mutex::new(None),
            root_here: Mutex::new(None),
            shared: OnceCell::new(),
            own: OnceLock::new(),
        }
    }

    fn standing(&self) -> Option<Standing> {
        self.standing.read().expect("nothing panics in it").clone()
    }

    fn stand(&self, loaded: Arc<Loaded>, warning: Option<String>) -> Standing {
        let standing = (loaded, warning);
        *self.standing.write().expect("nothing panics in it") = Some(standing.clone());
        standing
    }

    fn describe(&self, loaded: &Loaded) -> OpenedIndex {
        let meta = loaded.meta();
        OpenedIndex {
            name: self.name.get().cloned().unwrap_or_default(),
            index_prefix: self.prefix.dir().to_string_lossy().into_owned(),
            generation: meta.generation,
            num_images: meta.num_images,
            model_name: meta.model.model_name.clone(),
            root: meta.root.clone(),
        }
    }
}

impl Loaded {
    /// What the generation says of itself.
    pub fn meta(&self) -> &IndexMeta {
        self.index.meta()
    }

    /// Somebody who may have made it, and is neither this person nor root. What it names is not copied for the asking, and
    /// nothing is written beside it.
    pub async fn stranger(self: &Arc<Self>) -> Result<Option<Stranger>, Refusal> {
        let all = self.clone();
        let looking = async || spawn_blocking(move || all.owners.stranger(folder_of(all.index.prefix().dir()))).await;
        Ok(self.stranger.get_or_try_init(looking).await.map_err(|e| Refusal::failed(&e))?.clone())
    }

    /// Whether a picture of this canonical path stands in it.
    pub fn holds(&self, path: &str) -> Result<bool, Refusal> {
        Ok(self.index.vector_of(path).map_err(|e| Refusal::failed(&e))?.is_some())
    }

    /// What it holds. All rows are looked at once.
    pub async fn stats(self: Arc<Self>) -> Result<Stats, Refusal> {
        let all = self.clone();
        let surveying = async || {
            let survey = spawn_blocking(move || Survey::of(&all.index, &all.encoder)).await;
            survey.map_err(|e| Refusal::failed(&e))?
        };
        let survey = self.survey.get_or_try_init(surveying).await?.clone();
        let telling = spawn_blocking(move || stats::tell(&self.index, survey));
        telling.await.map_err(|e| Refusal::failed(&e))?
    }

    /// The matches of a question.
    pub async fn answer(self: Arc<Self>, request: SearchRequest) -> Result<Vec<Match>, Refusal> {
        let all = self.clone();
        // Without a turn: a model that is being loaded for one question keeps nobody else's from being searched.
        let embedding = spawn_blocking(move || (question::embed(&request, &all.encoder, &all.index), request));
        let (question, request) = embedding.await.map_err(|e| Refusal::failed(&e))?;
        let question = question?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|e| Refusal::failed(&e))?;
        let searching = spawn_blocking(move || {
            let _turn = turn;
            let SearchRequest { top_k, exact, collapse, min_percentile, filters, .. } = request;
            let kept = if filters == Filters::default() { None } else { Some(self.index.matching(&filters)?) };
            let keep = |row| kept.as_ref().is_none_or(|rows| rows.contains(row));
            let keep = kept.is_some().then_some(&keep as Keep<'_>);
            let wanted = Wanted { k: top_k, exact, collapse, min_percentile, keep };
            let found = self.index.find(&question, &wanted)?;
            let to_match = |(found, rank): (Found, usize)| {
                Ok(Match {
                    rank,
                    score: found.score,
                    percentile: found.percentile,
                    path: found.path,
                    file: self.index.facts(found.row)?,
                    alike: found.alike,
                })
            };
            found.into_iter().zip(1..).map(to_match).collect()
        });
        searching.await.map_err(|e| Refusal::failed(&e))?
    }

    /// Groups of nearly the same pictures. Takes seconds for a million, and a turn as a search does.
    ///
    /// The pictures' files are looked at below `root`, to tell two files from two names of one.
    pub async fn duplicates(self: Arc<Self>, request: DuplicatesRequest, root: Root) -> Result<Duplicates, Refusal> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|e| Refusal::failed(&e))?;
        let grouping = spawn_blocking(move || {
            let _turn = turn;
            let file_of = |path: &str| {
                let found = fs::metadata(root.open_path(&root.relative(path)?)).ok()?;
                Some((found.dev(), found.ino()))
            };
            self.index.duplicates(&request, file_of).map_err(|e| Refusal::failed(&e))
        });
        grouping.await.map_err(|e| Refusal::failed(&e))?
    }

    /// A map of at most `most` pictures. It takes minutes for many, on one thread, without a turn, so that no question
    /// waits for it; and in a task of its own, so that an asker who gives up does not throw away what is half done.
    pub async fn map(self: Arc<Self>, most: usize) -> Result<Arc<Map>, Refusal> {
        let most = self.meta().num_images.min(most as u64);
        let making = tokio::spawn(async move {
            let mut last = self.map.lock().await;
            if let Some((_, map)) = last.as_ref().filter(|(of, _)| *of == most) {
                return Ok(map.clone());
            }
            let turn = self.map_turn.clone().acquire_owned().await.map_err(|e| Refusal::failed(&e))?;
            let all = self.clone();
            let drawing = spawn_blocking(move || {
                let _turn = turn;
                Map::of(&all.index, &all.encoder, most)
            });
            let map = Arc::new(drawing.await.map_err(|e| Refusal::failed(&e))??);
            *last = Some((most, map.clone()));
            Ok(map)
        });
        making.await.map_err(|e| Refusal::failed(&e))?
    }
}

/// One path for one index, whatever links lead to its folder.
fn resolve(index_prefix: &str) -> Result<PathBuf, Refusal> {
    let prefix = Path::new(index_prefix);
    let (true, Some(parent), Some(name)) = (prefix.is_absolute(), prefix.parent(), prefix.file_name()) else {
        return Err(Refusal::bad(format!("the index prefix {index_prefix:?} is not an absolute path to an index")));
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(parent.join(name)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(absent(&IndexPrefix::new(prefix))),
        Err(e) => Err(Refusal::failed(&e)),
    }
}

fn absent(prefix: &IndexPrefix) -> Refusal {
    Refusal::absent(format!(
        "there is no index at {}: {} does not exist. Build one with: controller --image-dir DIR --index-prefix {0}",
        prefix.dir().display(),
        prefix.meta().display()
    ))
}

fn not_loaded(name: &str) -> Refusal {
    Refusal::absent(format!("no index named {name:?} is loaded; POST /v1/indexes with its index_prefix loads it"))
}
