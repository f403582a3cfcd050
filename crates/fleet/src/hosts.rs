//! The `hosts` file: one machine a line, `key=value` words behind its name, `*` for defaults.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::{NoProgram, PathMap, state};

/// Where lists, logs and programs are on a host whose line names no work_dir: below the home folder.
const WORK_DIR: &str = ".local/state/imagefleet";

/// One machine, with the defaults of the `*` line filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    /// Its name, as ssh knows it; `localhost` needs no ssh.
    pub name: String,
    /// User to log in as.
    pub user: Option<String>,
    /// Port of its sshd.
    pub port: Option<u16>,
    /// Private key.
    pub identity_file: Option<PathBuf>,
    /// A file for `ssh -F`.
    pub ssh_config: Option<PathBuf>,
    /// Its share of the work; the weights of all hosts sum to 1.
    pub weight: f64,
    /// Pictures to encode at once.
    pub batch_size: Option<usize>,
    /// Memory that its worker may use.
    pub ram_gb: Option<f64>,
    /// Threads that its worker may use.
    pub threads: Option<usize>,
    /// Folder there for lists, logs and programs.
    pub work_dir: Option<String>,
    /// Paths here to paths there.
    pub path_map: PathMap,
    /// Queries go to this host unless one is named.
    pub query: bool,
    /// The words of its own line behind its name, without those of the `*` line.
    pub words: Vec<String>,
}

impl HostSpec {
    /// A machine of which nothing but the name is known.
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            user: None,
            port: None,
            identity_file: None,
            ssh_config: None,
            weight: 1.0,
            batch_size: None,
            ram_gb: None,
            threads: None,
            work_dir: None,
            path_map: PathMap::default(),
            query: false,
            words: Vec::new(),
        }
    }

    /// Whether programs run on it directly, without ssh.
    pub fn is_local(&self) -> bool {
        self.name == "localhost"
    }
}

impl HostSpec {
    /// A path of this machine as the host sees it.
    pub fn path_there(&self, here: &str) -> String {
        if self.is_local() { here.to_owned() } else { self.path_map.to_remote(here) }
    }

    /// A path of the host as this machine sees it.
    pub fn path_here(&self, there: &str) -> String {
        if self.is_local() { there.to_owned() } else { self.path_map.to_local(there) }
    }

    /// A place in the host's work folder, or the folder itself if `below` is empty.
    pub fn work(&self, below: &str) -> String {
        let dir = match (&self.work_dir, self.is_local()) {
            (Some(dir), _) => dir.clone(),
            (None, true) => state::state_dir().to_string_lossy().into_owned(),
            (None, false) => WORK_DIR.to_owned(),
        };
        if below.is_empty() { dir } else { format!("{dir}/{below}") }
    }

    /// Its line for a hosts file, as it is there but for the weight.
    pub fn line(&self, weight: &str) -> String {
        let words = self.words.iter().filter(|word| !word.starts_with("weight=")).map(|word| quoted(word));
        [quoted(&self.name), format!("weight={weight}")].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    }

    /// A program of the set, as the host starts it: beside this one here, from the current bundle there.
    pub fn program(&self, name: &str) -> Result<String, NoProgram> {
        if self.is_local() {
            return Ok(crate::program(name)?.to_string_lossy().into_owned());
        }
        Ok(self.work(&format!("current/bin/{name}")))
    }
}

/// All machines, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Hosts {
    /// The machines; at least one.
    pub hosts: Vec<HostSpec>,
    /// What the weights summed to before they were scaled, if that was not 1.
    pub scaled_from: Option<f64>,
    /// The path map of the `*` line: its `there` is how the index names a path.
    pub shared: PathMap,
}

/// What is wrong with a `hosts` file, by file, line and word.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The file could not be read.
    #[error("cannot read the hosts file {file}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that cannot be understood.
    #[error("{file}:{line}: {word:?}: {what}")]
    Line {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// The word that is wrong.
        word: String,
        /// Why, and what would be right.
        what: String,
    },
    /// No machine in it.
    #[error("{file}: no host in it; write one a line, or just: localhost")]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// A host was asked for that is not in it.
    #[error("host {name:?} is not in the hosts file; it holds: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        known: String,
    },
}

const KEYS: &str =
    "user, port, identity_file, ssh_config, weight, batch_size, ram_gb, threads, work_dir, path_map, query";

/// The settings of one line: values with the key's own text, for error messages; path map; and the words as they are.
#[derive(Default)]
struct Settings(HashMap<&'static str, String>, PathMap, Vec<String>);

impl Hosts {
    /// The hosts file as given, else `hosts` in the current folder, else in the user's configuration folder.
    pub fn file(explicit: Option<&Path>) -> Option<PathBuf> {
        let places = [PathBuf::from("hosts"), state::config_dir().join("hosts")];
        explicit.map(Path::to_owned).or_else(|| places.into_iter().find(|p| p.is_file()))
    }

    /// What [`Hosts::file`] holds; where there is none, this machine alone.
    pub fn find(explicit: Option<&Path>) -> Result<Self, HostsError> {
        match Self::file(explicit) {
            Some(file) => {
                let text = std::fs::read_to_string(&file)
                    .map_err(|source| HostsError::Unreadable { file: file.clone(), source })?;
                Self::parse(&text, &file)
            }
            None => {
                Ok(Self { hosts: vec![HostSpec::bare("localhost")], scaled_from: None, shared: PathMap::default() })
            }
        }
    }

    /// Reads the text of a hosts file; `file` is named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, HostsError> {
        let fault = |line: usize, word: &str, what: &str| HostsError::Line {
            file: file.into(),
            line,
            word: word.into(),
            what: what.into(),
        };
        let mut defaults = Settings::default();
        let mut lines: Vec<(usize, String, Settings)> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(i, l)| (i + 1, l)) {
            let words = split_words(line).map_err(|what| fault(number, line.trim(), what))?;
            let Some((name, words)) = words.split_first() else { continue };
            if name.contains('=') {
                return Err(fault(number, name, "a line begins with the machine's name (or * for defaults)"));
            }
            if name.is_empty() || name.starts_with('-') {
                return Err(fault(number, name, "a machine's name cannot be empty or begin with a dash"));
            }
            let mut settings = Settings::default();
            for word in words {
                settings.take(word).map_err(|what| fault(number, word, &what))?;
            }
            settings.2 = words.to_vec();
            if name == "*" {
                defaults = settings;
            } else if lines.iter().any(|(_, n, _)| n == name) {
                return Err(fault(number, name, "this host stands in the file twice"));
            } else {
                lines.push((number, name.clone(), settings));
            }
        }
        if lines.is_empty() {
            return Err(HostsError::Empty { file: file.into() });
        }
        let weighted = lines.iter().filter(|(_, _, s)| s.get("weight", &defaults).is_some()).count();
        let mut hosts = Vec::new();
        for (number, name, settings) in &lines {
            if weighted > 0 && settings.get("weight", &defaults).is_none() {
                return Err(fault(*number, name, "other hosts have a weight, this one has none; give it one too"));
            }
            hosts.push(settings.host(name, &defaults).map_err(|(word, what)| fault(*number, &word, &what))?);
        }
        let sum: f64 = hosts.iter().map(|h| h.weight).sum();
        hosts.iter_mut().for_each(|h| h.weight /= sum);
        let scaled_from = (weighted > 0 && (sum - 1.0).abs() > 1e-3).then_some(sum);
        Ok(Self { hosts, scaled_from, shared: defaults.1 })
    }

    /// The host to ask: the first of [`Hosts::query_hosts`].
    pub fn query_host(&self, name: Option<&str>) -> Result<HostSpec, HostsError> {
        Ok(self.query_hosts(name)?.swap_remove(0))
    }

    /// The hosts that may be asked, the preferred first; at least one. A named one is asked alone; else those with
    /// `query=yes` come first, then those with the most memory. `localhost` can be named whether it stands in the file or
    /// not.
    pub fn query_hosts(&self, name: Option<&str>) -> Result<Vec<HostSpec>, HostsError> {
        if let Some(name) = name {
            let bare = || Some(HostSpec::bare(name)).filter(HostSpec::is_local);
            let host = self.hosts.iter().find(|h| h.name == name).cloned().or_else(bare);
            return host.map(|host| vec![host]).ok_or_else(|| HostsError::Unknown {
                name: name.into(),
                known: self.hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>().join(", "),
            });
        }
        let memory = |h: &HostSpec| h.ram_gb.unwrap_or(0.0);
        let mut hosts = self.hosts.clone();
        hosts.sort_by(|a, b| b.query.cmp(&a.query).then(memory(b).total_cmp(&memory(a))));
        Ok(hosts)
    }
}

impl Settings {
    fn take(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("expected key=value; keys are {KEYS}"))?;
        let key = KEYS.split(", ").find(|k| *k == key).ok_or_else(|| format!("unknown key; keys are {KEYS}"))?;
        if value.is_empty() {
            return Err("the value is empty".into());
        }
        if key == "path_map" {
            return self.1.add(value).map_err(|e| e.to_string());
        }
        check(key, value)?;
        match self.0.insert(key, value.to_owned()) {
            Some(_) => Err(format!("{key} stands in the line twice")),
            None => Ok(()),
        }
    }

    fn get<'a>(&'a self, key: &str, defaults: &'a Self) -> Option<&'a str> {
        self.0.get(key).or_else(|| defaults.0.get(key)).map(String::as_str)
    }

    fn host(&self, name: &str, defaults: &Self) -> Result<HostSpec, (String, String)> {
        let text = |key: &str| self.get(key, defaults).map(str::to_owned);
        fn number<T: std::str::FromStr>(value: Option<String>) -> Option<T> {
            value.and_then(|v| v.parse().ok())
        }
        Ok(HostSpec {
            name: name.to_owned(),
            user: text("user"),
            port: number(text("port")),
            identity_file: text("identity_file").map(PathBuf::from),
            ssh_config: text("ssh_config").map(PathBuf::from),
            weight: number(text("weight")).unwrap_or(1.0),
            batch_size: number(text("batch_size")),
            ram_gb: number(text("ram_gb")),
            threads: number(text("threads")),
            work_dir: text("work_dir"),
            path_map: self.1.clone().or(&defaults.1),
            query: text("query").as_deref() == Some("yes"),
            words: self.2.clone(),
        })
    }
}

/// Refuses a value that its key cannot have, so that [`Settings::host`] only meets good ones.
fn check(key: &str, value: &str) -> Result<(), String> {
    let positive = |what: &str| match value.parse::<f64>() {
        // So that sums and shares of them stay numbers.
        Ok(v) if (1e-6..=1e6).contains(&v) => Ok(()),
        _ => Err(format!("{key} must be {what}")),
    };
    let whole = |most: u64| match value.parse::<u64>() {
        Ok(v) if v > 0 && v <= most => Ok(()),
        _ => Err(format!("{key} must be a whole number from 1 to {most}")),
    };
    match key {
        "weight" => positive("a number above 0 and at most 1000000, the fraction of the work"),
        "ram_gb" => positive("a number above 0 and at most 1000000, in GB"),
        "port" => whole(65_535),
        "batch_size" => whole(4_096),
        "threads" => whole(4_096),
        "query" if !matches!(value, "yes" | "no") => Err("query must be yes or no".into()),
        "work_dir" if !value.starts_with('/') => Err("work_dir must be an absolute path".into()),
        _ => Ok(()),
    }
}

/// A word so that [`split_words`] reads it again as it is.
fn quoted(word: &str) -> String {
    let plain = !word.contains(|c: char| c.is_whitespace() || "'\"#".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\"'\"'")) }
}

/// Words of a line: separated by blanks; quotes keep blanks; `#` begins a comment outside quotes.
fn split_words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == '#' && word.is_none() => break,
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Hosts, String> {
        Hosts::parse(text, Path::new("hosts")).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_apply_and_weights_are_scaled() {
        let hosts = parse(
            "# fleet\n* user=root work_dir=/root/w path_map=/Volumes/home:/mnt/home\n\
             big weight=3 ram_gb=62 batch_size=32\nsmall weight=1 path_map='/Volumes/home:/data/my home' # slow\n\n",
        )
        .unwrap();
        assert_eq!(hosts.scaled_from, Some(4.0));
        assert_eq!(hosts.hosts[0].weight, 0.75);
        assert_eq!(hosts.hosts[0].user.as_deref(), Some("root"));
        assert_eq!(hosts.hosts[0].path_map.to_remote("/Volumes/home/x"), "/mnt/home/x");
        assert_eq!(hosts.hosts[1].path_map.to_remote("/Volumes/home/x"), "/data/my home/x");
        assert_eq!(hosts.query_host(None).unwrap().name, "big");
        assert_eq!(hosts.query_host(Some("small")).unwrap().name, "small");
        assert!(hosts.query_host(Some("localhost")).unwrap().is_local());
        assert!(hosts.query_host(Some("none")).unwrap_err().to_string().contains("big, small"));
    }

    #[test]
    fn a_line_is_written_as_it_can_be_read() {
        let text = "* user=root\na weight=2 path_map=\"/x y:/it's\" query=yes # fast\nb weight=6 batch_size=8";
        let hosts = parse(text).unwrap().hosts;
        assert_eq!(hosts[1].line("0.25"), "b weight=0.25 batch_size=8");
        let again = parse(&format!("{}\n{}", hosts[0].line("0.25"), hosts[1].line("0.75"))).unwrap().hosts;
        assert_eq!((again[0].weight, &again[0].path_map, again[0].query), (0.25, &hosts[0].path_map, true));
        assert_eq!(again[0].user, None, "what the * line says stays there");
        assert_eq!(HostSpec::bare("localhost").line("1.00"), "localhost weight=1.00");
    }

    #[test]
    fn no_weights_mean_equal_ones_and_query_yes_wins() {
        let hosts = parse("a\nb query=yes\nc ram_gb=99\nd").unwrap();
        assert_eq!(hosts.scaled_from, None);
        assert!(hosts.hosts.iter().all(|h| h.weight == 0.25));
        let order: Vec<_> = hosts.query_hosts(None).unwrap().into_iter().map(|h| h.name).collect();
        assert_eq!(order, ["b", "c", "a", "d"]);
        assert_eq!(hosts.query_hosts(Some("d")).unwrap().len(), 1);
    }

    #[test]
    fn every_bad_line_is_named_by_file_line_and_word() {
        for (text, word) in [
            ("a\nb wieght=1", "wieght=1"),
            ("a\nb weight=-1", "weight=-1"),
            ("a weight=1\nb weight=1e308", "weight=1e308"),
            ("a weight=1\nb", "\"b\""),
            ("x\na", "a"),
            ("a\nb batch_size=0", "batch_size=0"),
            ("a\nb port=99999", "port=99999"),
            ("a\nb path_map=/x", "path_map=/x"),
            ("a\nb query=maybe", "query=maybe"),
            ("a\nb 'open", "open"),
            ("a\n-oProxyCommand=x", "-oProxyCommand=x"),
            ("a\n\"\"", "\"\""),
            ("a\nb port=1 port=2", "port=2"),
            ("a\nb user=", "user="),
        ] {
            let text = if text == "x\na" { "a\na" } else { text };
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("hosts:2: ") && error.contains(word), "{text:?}: {error}");
        }
        assert!(parse("# nothing\n").unwrap_err().contains("no host"));
    }
}
