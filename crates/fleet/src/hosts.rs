//! The `hosts` file: one machine a line, `key=value` words behind its name, `*` for defaults.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::hosts_file::Chosen;
use crate::hosts_words::{check_name, others, split_words};
use crate::{HostSpec, PathMap};

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
    #[error("cannot read the hosts file {file}: {why}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Nobody named the file, and another than this person could have written it.
    #[error(
        "the hosts file {file} is not obeyed: {why}, and who can change it decides what runs as you. If it is meant, say \
         so: --hosts {file}"
    )]
    Untrusted {
        /// The file.
        file: PathBuf,
        /// Whose it could be.
        why: String,
    },
    /// It is the hosts file of another program.
    #[error("{file}:{line}: this is {whose}, not a list of machines for Imagefleet; name yours: --hosts FILE")]
    NotOurs {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What it is.
        whose: &'static str,
    },
    /// Something is wrong with a file that was chosen for this reason.
    #[error("{error} ({why})")]
    Chosen {
        /// What is wrong.
        error: Box<Self>,
        /// Why this file was read.
        why: Chosen,
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

impl HostsError {
    /// Whether the command line is to be changed, not the file.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Untrusted { .. } => true,
            Self::Chosen { error, .. } => error.is_usage(),
            _ => false,
        }
    }
}

const KEYS: &str =
    "user, port, identity_file, ssh_config, weight, batch_size, ram_gb, threads, work_dir, path_map, query";

/// The settings of one line: values with the key's own text, for error messages; path map; and the words as they are.
#[derive(Default)]
struct Settings(HashMap<&'static str, String>, PathMap, Vec<String>);

impl Hosts {
    /// Reads the text of a hosts file; `file` is named in errors, and relative paths in it are below its folder.
    pub fn parse(text: &str, file: &Path) -> Result<Self, HostsError> {
        // Editors of other systems put it there.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::lines(text, file).map_err(|error| match (&error, others(text)) {
            (HostsError::Line { .. }, Some((line, whose))) => HostsError::NotOurs { file: file.into(), line, whose },
            _ => error,
        })
    }

    fn lines(text: &str, file: &Path) -> Result<Self, HostsError> {
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
            check_name(name).map_err(|what| fault(number, name, &what))?;
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
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut hosts = Vec::new();
        for (number, name, settings) in &lines {
            if weighted > 0 && settings.get("weight", &defaults).is_none() {
                return Err(fault(*number, name, "other hosts have a weight, this one has none; give it one too"));
            }
            hosts.push(settings.host(name, &defaults, folder));
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

    fn host(&self, name: &str, defaults: &Self, folder: &Path) -> HostSpec {
        // The current folder may be a stranger's. ssh itself reads ~ and %.
        let path = |text: String| if text.starts_with(['~', '%']) { text.into() } else { folder.join(text) };
        let text = |key: &str| self.get(key, defaults).map(str::to_owned);
        fn number<T: std::str::FromStr>(value: Option<String>) -> Option<T> {
            value.and_then(|v| v.parse().ok())
        }
        HostSpec {
            name: name.to_owned(),
            user: text("user"),
            port: number(text("port")),
            identity_file: text("identity_file").map(path),
            ssh_config: text("ssh_config").map(path),
            weight: number(text("weight")).unwrap_or(1.0),
            batch_size: number(text("batch_size")),
            ram_gb: number(text("ram_gb")),
            threads: number(text("threads")),
            work_dir: text("work_dir"),
            path_map: self.1.clone().or(&defaults.1),
            query: text("query").as_deref() == Some("yes"),
            words: self.2.clone(),
        }
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
            ("a\nb:2222", "b port=2222"),
            ("a\njoe@b:22 weight=1", "joe@b port=22"),
            ("a\n[fe80::1]:2222", "fe80::1 port=2222"),
            ("a\nssh://b:2222", "port="),
            ("a\nb:c", "\"b:c\""),
        ] {
            let text = if text == "x\na" { "a\na" } else { text };
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("hosts:2: ") && error.contains(word), "{text:?}: {error}");
        }
        assert!(parse("# nothing\n").unwrap_err().contains("no host"));
    }

    #[test]
    fn a_byte_order_mark_and_addresses_are_taken() {
        let hosts = parse("\u{feff}a port=22\r\n10.0.0.7\r\nfe80::1%eth0\r\njoe@::1\r\n").unwrap().hosts;
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["a", "10.0.0.7", "fe80::1%eth0", "joe@::1"]);
    }

    #[test]
    fn files_of_a_config_are_beside_the_hosts_file_and_never_in_the_current_folder() {
        let hosts =
            Hosts::parse("a ssh_config=ssh/c identity_file=~/id\nb ssh_config=/c", Path::new("/h/hosts")).unwrap();
        let [a, b] = &hosts.hosts[..] else { panic!("{hosts:?}") };
        assert_eq!(
            (a.ssh_config.as_deref(), b.ssh_config.as_deref()),
            (Some("/h/ssh/c".as_ref()), Some("/c".as_ref()))
        );
        assert_eq!(
            (a.identity_file.as_deref(), a.line("1")),
            (Some("~/id".as_ref()), "a weight=1 ssh_config=ssh/c identity_file=~/id".into())
        );
    }

    #[test]
    fn the_hosts_files_of_others_are_told() {
        for (text, line, whose) in [
            ("127.0.0.1 localhost\n::1 localhost\n", 1, "/etc/hosts"),
            ("# made by the system\n\n::1\tlocalhost ip6-localhost\n", 3, "/etc/hosts"),
            ("mail.example.com\n\n[web]\nfoo.example.com\n", 3, "Ansible"),
            ("[db:children]\nweb\n", 1, "Ansible"),
            ("jumper ansible_port=5555 ansible_host=192.0.2.50\n", 1, "Ansible"),
            ("www[01:50].example.com\n", 1, "Ansible"),
            ("---\nall:\n  hosts:\n", 1, "Ansible"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("hosts:{line}: this is ")) && error.contains(whose),
                "{text:?}: {error}"
            );
        }
    }
}
