//! The commands of the README and of docs/operations.md exist: every program and option that they name is one that the
//! programs know.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Lab, finish, program, python};

const PROGRAMS: [&str; 4] = ["controller", "worker", "merger", "query"];

/// The index of the README's examples for other programs.
const INDEX: &str = "/nas/joe/imageindex";

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

#[test]
fn the_readmes_questions_by_curl_and_python_get_the_answer_that_query_gets() {
    let lab = Lab::new();
    lab.draw("", 40, 5);
    assert_eq!(lab.index(&[]).code, 0);
    let best = lab.ask("a yellow car", 3);
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let here = |code: &str| code.replace(INDEX, lab.prefix().to_str().unwrap());
    let by_curl: Vec<&str> =
        text.lines().filter(|l| l.contains("server --ensure |") || l.contains("curl -s")).collect();
    assert_eq!(by_curl.len(), 3, "{by_curl:?}");
    let from_python = text.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut path = program("server").parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    // The sum may order yellow cars in another way than one text.
    for (shell, code, best) in
        [("bash".into(), by_curl.join("\n"), &best[..1]), (python(), from_python.to_owned(), &best)]
    {
        let said = finish(lab.in_world(Command::new(shell)).env("PATH", &path).arg("-c").arg(here(&code)));
        assert_eq!(said.code, 0, "{said:?}");
        let first = said.out.find(&format!("{}/", lab.images().display())).map(|at| &said.out[at..]);
        assert!(first.is_some_and(|first| best.iter().any(|path| first.starts_with(path))), "{best:?}: {}", said.out);
    }
}
