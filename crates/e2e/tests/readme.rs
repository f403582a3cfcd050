//! The commands of the README and of docs/operations.md exist: every program and option that they name is one that the
//! programs know.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{finish, program};

const PROGRAMS: [&str; 4] = ["controller", "worker", "merger", "query"];

/// What `--help` says.
fn help(name: &str) -> String {
    let said = finish(Command::new(program(name)).arg("--help"));
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

/// A page's commands: in indented blocks, with their continued lines, and in code spans.
fn commands(text: &str) -> Vec<String> {
    let continued = text.replace("\\\n", " ");
    let blocks = continued.lines().filter(|l| l.starts_with("    ")).map(str::to_owned);
    let spans = continued.lines().filter(|l| !l.starts_with("    "));
    let spans = spans.flat_map(|l| l.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    blocks.chain(spans).collect()
}

#[test]
fn every_option_in_the_readme_and_the_operations_page_is_one_that_its_program_has() {
    let help: BTreeMap<_, _> = PROGRAMS.iter().map(|name| (*name, help(name))).collect();
    for (page, least) in [("README.md", 20), ("docs/operations.md", 4)] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page)).unwrap();
        let checked = check(page, &text, &help);
        assert!(checked > least, "only {checked} options were found in {page}");
    }
}

/// Holds the options of a page's commands against what the programs know; how many there are.
fn check(page: &str, text: &str, help: &BTreeMap<&str, String>) -> usize {
    let mut checked = 0;
    for command in commands(text) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let bare = |word: &str| word.trim_start_matches(['"', '$', '.', '/']).to_owned();
        let Some(at) = words.iter().position(|w| PROGRAMS.contains(&bare(w).as_str())) else { continue };
        let name = bare(words[at]);
        let options = words[at..].iter().filter(|w| w.starts_with("--"));
        for option in options.map(|w| w.trim_end_matches(|c: char| !c.is_alphanumeric()).split('=').next().unwrap()) {
            let known = help[name.as_str()].split(|c: char| !c.is_alphanumeric() && c != '-').any(|w| w == option);
            assert!(known, "{page}: {command:?}: {name} has no {option}");
            checked += 1;
        }
    }
    checked
}
