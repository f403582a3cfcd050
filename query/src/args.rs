//! The command line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use protocol::search::MAX_TOP_K;

use crate::WrongUsage;
use crate::filters::FilterArgs;
use crate::question::{self, Listed, Of, Summand};

/// Finds pictures by what they show.
///
/// Prints rank, score (the cosine of question and picture) and path, best first, and copies the found pictures into the
/// folder image_results beside the index. The first question starts a server that keeps the index loaded and leaves
/// after ten idle minutes; the next questions take milliseconds. Without a question, on a terminal, it asks for them one
/// after the other.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Words and pictures, with + and - between them: see the examples
    ///
    /// Each term may have a weight before it, as 2:cat. A term is a picture if it is the name of one, or begins with / or
    /// ./ or ../ or file://. Words without a sign between them are one text. Whatever else a text holds: --text.
    #[arg(value_name = "QUESTION", conflicts_with = "text", help_heading = ASKING)]
    pub words: Vec<String>,

    /// What the pictures should show, in words that are taken as they are
    #[arg(long, value_name = "WORDS", value_parser = words, help_heading = ASKING)]
    pub text: Option<String>,

    /// A picture that the found ones should be like: a file of this machine, or one of the collection (repeatable)
    #[arg(long, value_name = "FILE", help_heading = ASKING)]
    pub image: Vec<PathBuf>,

    /// The picture with this rank in the last answer
    #[arg(long, value_name = "RANK", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_TOP_K as u64), help_heading = ASKING)]
    pub like: Option<usize>,

    /// Questions, one a line, as they would stand on the command line; - is standard input. Nothing is copied
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "text", "image", "like", "open", "html", "results_dir"], help_heading = ASKING)]
    pub file: Option<PathBuf>,

    /// How many pictures to find [default: 10], or groups of --duplicates [default: 10, for programs all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_TOP_K as u64), help_heading = ASKING)]
    pub top_k: Option<usize>,

    /// Take short words as they are, not averaged over phrases as "a photo of WORDS"
    #[arg(long, help_heading = ASKING)]
    pub no_templates: bool,

    /// Compare with every picture, without a first pass that may miss one
    #[arg(long, help_heading = ASKING)]
    pub exact: bool,

    /// Show pictures that are nearly the same one by one
    #[arg(long, help_heading = ASKING)]
    pub no_collapse: bool,

    #[command(flatten)]
    pub filters: FilterArgs,

    /// Tell what the index holds, what its scores mean and how it is searched
    #[arg(long, conflicts_with_all = ASKS, conflicts_with_all = ["duplicates", "open", "top_k", "csv", "paths_only", "print0"], help_heading = WHOLE)]
    pub stats: bool,

    /// List groups of pictures that are nearly the same, the largest group first. Nothing is deleted
    ///
    /// The first picture of a group is that with the most pixels, of as many that with the most bytes, and all others are
    /// nearly the same as it. --paths-only and -0 print the others and leave the first out, so that what they name can go
    /// and one of each group stays. Links and further names of one file count as one picture, and neither they nor a RAW
    /// file and the JPEG of its shot are printed so. --json prints an object a group, --csv a line a picture. Nearly the
    /// same is not the same: look before you delete.
    #[arg(long, conflicts_with_all = ASKS, conflicts_with = "open", help_heading = WHOLE)]
    pub duplicates: bool,

    /// How alike pictures of a group of --duplicates are: their cosine, above 0 and up to 1, where 1 is the same picture
    ///
    /// By default a fifth of the usual distance between two pictures of the collection, which copies in another size or
    /// quality reach: about 0.98 for CLIP. The lower it is, the more pictures are groups that only show the same thing.
    #[arg(long, value_name = "COSINE", requires = "duplicates", value_parser = similarity, help_heading = WHOLE)]
    pub similarity: Option<f32>,

    /// Write a page with a map of the whole collection into this file: like pictures lie together, clusters have names
    #[arg(long, value_name = "FILE", conflicts_with_all = ASKS, conflicts_with_all = ["stats", "duplicates", "top_k", "format", "print0", "no_copy_results"], help_heading = WHOLE)]
    pub map: Option<PathBuf>,

    /// Print one JSON object a line, with all that is known of each match, each group or the index
    #[arg(long, group = "format", help_heading = ANSWER)]
    pub json: bool,

    /// Print comma-separated values, the first line with names; a question that a spreadsheet would compute gets a '
    #[arg(long, group = "format", help_heading = ANSWER)]
    pub csv: bool,

    /// Print paths alone, one a line; of --duplicates those that may go
    #[arg(long, group = "format", help_heading = ANSWER)]
    pub paths_only: bool,

    /// Print paths alone, each with a NUL behind it, for xargs -0
    #[arg(short = '0', long = "print0", conflicts_with_all = ["json", "csv"], help_heading = ANSWER)]
    pub print0: bool,

    /// Show the pictures in the table [default: where the terminal surely can; none: never]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "auto", conflicts_with_all = ["format", "print0"], help_heading = ANSWER)]
    pub pictures: Option<Pictures>,

    /// Open the first N matches with this machine's viewer [N: 1], or the map
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100), help_heading = ANSWER)]
    pub open: Option<usize>,

    /// Write a page with the found pictures into this file, small, all in one, to be opened in any browser
    #[arg(long, value_name = "FILE", help_heading = ANSWER)]
    pub html: Option<PathBuf>,

    /// Serve a gallery to the browser of this machine, print its link and open it
    #[arg(long, conflicts_with_all = ["image", "like", "file", "format", "print0", "open", "html", "no_copy_results", "results_dir"], help_heading = ANSWER)]
    pub web: bool,

    /// The gallery's port [default: one that is free]
    #[arg(long, value_name = "N", requires = "web", default_value_t = 0, hide_default_value = true, help_heading = ANSWER)]
    pub port: u16,

    /// Only print the gallery's link
    #[arg(long, requires = "web", help_heading = ANSWER)]
    pub no_open: bool,

    /// Do not copy the found pictures
    #[arg(long, conflicts_with = "results_dir", help_heading = ANSWER)]
    pub no_copy_results: bool,

    /// Where to copy the found pictures [default: image_results beside the index]
    #[arg(long, value_name = "D", help_heading = ANSWER)]
    pub results_dir: Option<PathBuf>,

    /// The index to ask: the path of its files without their endings [default: the index last built or asked here]
    #[arg(long, value_name = "P", help_heading = ASKED)]
    pub index_prefix: Option<PathBuf>,

    /// Copy from this index although a stranger made it. Remembered: once is enough, with a question or without
    #[arg(long, value_name = "P", help_heading = ASKED)]
    pub trust: Option<PathBuf>,

    /// The host to ask, and no other [default: the one with query=yes in hosts, else the one with the most memory; if it
    /// is down, the next]
    #[arg(long, value_name = "HOST", help_heading = ASKED)]
    pub worker: Option<String>,

    /// The machines [default: hosts in this folder, else in your configuration folder, else this machine alone]
    #[arg(long, value_name = "FILE", help_heading = ASKED)]
    pub hosts: Option<PathBuf>,

    /// The folder of the index's model, if it is not one of those known by name
    #[arg(long, value_name = "FOLDER", help_heading = ASKED)]
    pub model: Option<PathBuf>,
}

/// What makes no sense where nothing is looked for.
const ASKS: [&str; 13] = [
    "words",
    "text",
    "image",
    "like",
    "file",
    "no_templates",
    "exact",
    "no_collapse",
    "FilterArgs",
    "pictures",
    "html",
    "web",
    "results_dir",
];

const ASKING: &str = "What to look for";
const WHOLE: &str = "The collection as a whole";
const ANSWER: &str = "The answer";
const ASKED: &str = "Which index, and where";

const EXAMPLES: &str = "\
Examples:
  query a yellow car
  query horse + stripes - grass                     # sums: what a zebra is
  query \"2:golden retriever\" + ./pool.jpg - 0.5:grass
  query ./me.jpg                                    # pictures like this one
  query --like 3 + \"at night\"                       # like the third of the last answer, but at night
  query --text \"-40 C\"                              # words as they are, whatever they hold
  query a dog --under 2019 --after 2019-06 --before 2019-09 --min-size 1920x1080
  query a receipt --min-percentile 99.9 --top-k 1000 --html receipts.html
  query sunset --paths-only -0 --no-copy-results | xargs -0 ls -l
  query --file questions.txt --json | jq -r '[.question, .path] | @tsv'
  query                                             # a prompt; :help there says more
  query --web                                       # a gallery in the browser
  query --stats
  query --duplicates --paths-only > superfluous.txt
  query --map map.html --open                       # the whole collection as a map
  query --trust /nas/joe/imageindex                 # copy from it from now on, though joe made it

When the output is no terminal, columns are separated by tabs and paths are whole.
Exit codes: 0 found, 1 failed, 2 wrong usage, 130 interrupted.";

/// How pictures are shown in a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pictures {
    /// As the terminal can, told by its environment
    Auto,
    /// As kitty, Ghostty and Konsole take them
    Kitty,
    /// As iTerm2, WezTerm and mintty take them
    Iterm,
    /// As foot, mlterm, Windows Terminal and many others take them
    Sixel,
    /// Never
    None,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: a table on a terminal, else tab-separated lines.
    People,
    Json,
    Csv,
    Paths {
        nul: bool,
    },
}

/// What is asked.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// A sum, and the rank in the last answer of one more summand.
    One(Vec<Summand>, Option<usize>),
    Many(Vec<Listed>),
    Stats,
    Duplicates,
    /// Whatever the person says at the prompt.
    Prompt,
}

impl Args {
    /// How many pictures to find.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(10)
    }

    /// How many groups to find: people look at the first, programs at all.
    pub fn groups(&self) -> usize {
        self.top_k.unwrap_or(if self.format() == Format::People { 10 } else { MAX_TOP_K })
    }

    /// How the answer is printed.
    pub fn format(&self) -> Format {
        match (self.json, self.csv, self.paths_only || self.print0) {
            (true, ..) => Format::Json,
            (_, true, _) => Format::Csv,
            (.., true) => Format::Paths { nul: self.print0 },
            _ => Format::People,
        }
    }

    /// Whether the command line asks for anything but to trust an index.
    pub fn asks(&self) -> bool {
        let whole = self.stats || self.duplicates || self.web || self.map.is_some();
        let question = !self.words.is_empty() || self.text.is_some() || self.like.is_some() || self.file.is_some();
        whole || question || !self.image.is_empty()
    }

    /// The index that is asked, if one is named.
    pub fn named_index(&self) -> Option<&Path> {
        self.index_prefix.as_deref().or(self.trust.as_deref())
    }

    /// What is asked, all of it read and understood.
    pub fn asked(&self) -> anyhow::Result<Asked> {
        if self.stats {
            return Ok(Asked::Stats);
        }
        if self.duplicates {
            return Ok(Asked::Duplicates);
        }
        if let Some(file) = &self.file {
            return list(file).map(Asked::Many);
        }
        let pictures = self.image.iter().cloned().map(Of::Picture);
        let text = self.text.clone().map(Of::Words);
        let mut summands: Vec<_> = pictures.chain(text).map(Summand::plain).collect();
        summands.extend(question::parse(&self.words)?);
        if !summands.is_empty() || self.like.is_some() {
            return Ok(Asked::One(summands, self.like));
        }
        let for_programs = self.format() != Format::People || self.open.is_some() || self.html.is_some();
        if for_programs || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Err(WrongUsage(
                "nothing is asked; say what the pictures should show, as: query a yellow car (query --help says more)"
                    .to_owned(),
            )
            .into());
        }
        Ok(Asked::Prompt)
    }
}

fn similarity(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(cosine) if cosine > 0.0 && cosine <= 1.0 => Ok(cosine),
        _ => Err("a cosine is wanted, above 0 and up to 1, as 0.95".to_owned()),
    }
}

fn list(file: &Path) -> anyhow::Result<Vec<Listed>> {
    if file.as_os_str() == "-" {
        return question::list("standard input", std::io::stdin().lock());
    }
    let name = file.display().to_string();
    let wrong = |e| WrongUsage(format!("cannot read the questions {name}: {e}"));
    question::list(&name, std::io::BufReader::new(std::fs::File::open(file).map_err(wrong)?))
}

fn words(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("the text is empty: say what the pictures should show".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn asked(words: &[&str]) -> Asked {
        Args::try_parse_from(["query"].iter().chain(words)).unwrap().asked().unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_way_to_ask_is_a_term() {
        let words = |words: &str| Summand::plain(Of::Words(words.to_owned()));
        let picture = |path: &str| Summand::plain(Of::Picture(path.into()));
        assert_eq!(asked(&["--text", "2:a + b"]), Asked::One(vec![words("2:a + b")], None));
        assert_eq!(asked(&["--text=-x"]), Asked::One(vec![words("-x")], None));
        assert_eq!(asked(&["--", "-x"]), Asked::One(vec![words("-x")], None));
        assert_eq!(asked(&["a", "--top-k", "3", "car"]), Asked::One(vec![words("a car")], None));
        assert_eq!(
            asked(&["--image", "a b.jpg", "--image", "2:c.jpg", "--text", "x"]),
            Asked::One(vec![picture("a b.jpg"), picture("2:c.jpg"), words("x")], None)
        );
        assert_eq!(
            asked(&["--like", "3", "-", "grass"]),
            Asked::One(vec![Summand { weight: -1.0, of: Of::Words("grass".to_owned()) }], Some(3))
        );
    }

    #[test]
    fn programs_get_all_groups_and_people_the_first() {
        let groups =
            |more: &[&str]| Args::try_parse_from(["query", "--duplicates"].iter().chain(more)).unwrap().groups();
        assert_eq!((groups(&[]), groups(&["--top-k", "3"]), groups(&["--json", "--top-k", "3"])), (10, 3, 3));
        for format in ["--json", "--csv", "--paths-only", "-0"] {
            assert_eq!(groups(&[format]), MAX_TOP_K, "{format}");
        }
        assert_eq!(asked(&["--duplicates", "--no-copy-results"]), Asked::Duplicates);
        assert_eq!(asked(&["--stats", "--json"]), Asked::Stats);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for words in [
            &["--text", "x", "y"][..],
            &["--file", "q", "x"],
            &["--file", "q", "--like", "1"],
            &["x", "--json", "--csv"],
            &["x", "--json", "-0"],
            &["x", "--like", "0"],
            &["x", "--pictures", "--json"],
            &["x", "--pictures=often"],
            &["x", "--open=0"],
            &["x", "--orientation", "round"],
            &["x", "--after", "noon"],
            &["x", "--min-percentile", "100"],
            &["x", "--map", "m.html"],
            &["--map", "m.html", "--under", "2019"],
            &["--map", "m.html", "--json"],
            &["x", "-q"],
            &["--stats", "x"],
            &["--stats", "--duplicates"],
            &["--stats", "--top-k", "3"],
            &["--stats", "--csv"],
            &["--stats", "-0"],
            &["--stats", "--web"],
            &["--stats", "--under", "2019"],
            &["--duplicates", "--text", "x"],
            &["--duplicates", "--image", "x"],
            &["--duplicates", "--like", "1"],
            &["--duplicates", "--file", "q"],
            &["--duplicates", "--after", "2019"],
            &["--duplicates", "--min-percentile", "99"],
            &["--duplicates", "--html", "a.html"],
            &["--duplicates", "--open"],
            &["--duplicates", "--exact"],
            &["--duplicates", "--top-k", "0"],
        ] {
            assert_eq!(Args::try_parse_from(["query"].iter().chain(words)).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
