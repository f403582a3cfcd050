//! Every way to ask, from the asker's side, with a real server.

use std::fs;

use e2e::{Lab, Said};
use serde_json::Value;

/// An index of twelve drawn pictures.
fn indexed() -> Lab {
    let lab = Lab::new();
    lab.draw("", 12, 5);
    assert_eq!(lab.index(&[]).code, 0);
    lab
}

fn ask(lab: &Lab, question: &[&str]) -> Said {
    let said = lab.query(&[question, &["--no-copy-results"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said
}

fn matches(lab: &Lab, question: &[&str]) -> Vec<Value> {
    let said = ask(lab, &[question, &["--json"]].concat());
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn first(lab: &Lab, question: &[&str]) -> String {
    matches(lab, question)[0]["path"].as_str().unwrap().to_owned()
}

#[test]
fn a_picture_finds_its_own_source_first_whether_it_is_sent_or_named() {
    let lab = indexed();
    for (name, _) in lab.drawn() {
        let source = lab.images().join(&name);
        let elsewhere = lab.path(format!("elsewhere-{name}"));
        fs::copy(&source, &elsewhere).unwrap();
        assert_eq!(first(&lab, &[elsewhere.to_str().unwrap()]), source.to_str().unwrap());
        assert_eq!(first(&lab, &["--like", "1"]), source.to_str().unwrap());
        // What is no longer there is still in the index.
        fs::remove_file(&source).unwrap();
        assert_eq!(first(&lab, &["--image", source.to_str().unwrap()]), source.to_str().unwrap());
    }
}

#[test]
fn a_sum_takes_away_what_is_subtracted() {
    let lab = indexed();
    let source = lab.images().join(lab.drawn().into_keys().next().unwrap());
    let source = source.to_str().unwrap();
    let found = matches(&lab, &["a yellow car", "-", &format!("3:{source}"), "--top-k", "12", "--no-collapse"]);
    assert_eq!(found.len(), 12);
    assert_eq!(found[11]["path"], source, "what is taken away comes last");
    assert_eq!(first(&lab, &[&format!("4:{source}"), "+", "a yellow car"]), source);
}

#[test]
fn a_file_that_is_no_picture_is_refused_in_clear_words() {
    let lab = indexed();
    let broken = lab.path("broken.jpg");
    fs::write(&broken, b"\xff\xd8\xff\xe0 and no more").unwrap();
    let said = lab.query(&[broken.to_str().unwrap()]);
    assert!(said.code == 1 && said.err.starts_with("error: ") && said.err.contains("picture"), "{said:?}");
}

#[test]
fn a_page_holds_the_pictures_and_a_list_is_answered_like_its_questions() {
    let lab = indexed();
    let page = lab.path("found.html");
    ask(&lab, &["a yellow car", "--top-k", "3", "--html", page.to_str().unwrap()]);
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,/9j/").count(), 3);

    let list = lab.path("questions.txt");
    fs::write(&list, "a yellow car\na red boat - a tree\n").unwrap();
    let listed = matches(&lab, &["--file", list.to_str().unwrap(), "--top-k", "4"]);
    let alone = [
        matches(&lab, &["a yellow car", "--top-k", "4"]),
        matches(&lab, &["a red boat", "-", "a tree", "--top-k", "4"]),
    ];
    let told = |found: &[Value]| -> Vec<_> { found.iter().map(|m| (m["path"].clone(), m["score"].clone())).collect() };
    assert_eq!(told(&listed), told(&alone.concat()));
}
