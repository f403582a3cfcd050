//! A collection as a whole, and many questions at once, with a real server.

use std::fs;

use e2e::Lab;
use serde_json::Value;

fn json(lab: &Lab, arguments: &[&str]) -> Vec<Value> {
    let said = lab.query(&[arguments, &["--json"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn statistics_tell_what_was_indexed_and_what_was_not() {
    let lab = Lab::new();
    lab.draw("", 9, 5);
    fs::write(lab.images().join("broken.png"), "no picture").unwrap();
    assert_eq!(lab.index(&[]).code, 3);
    let stats = &json(&lab, &["--stats"])[0];
    let drawn = lab.drawn().into_keys().filter(|name| name != "broken.png");
    let bytes: u64 = drawn.map(|name| fs::metadata(lab.images().join(name)).unwrap().len()).sum();
    assert_eq!((stats["num_images"].as_u64(), stats["total_bytes"].as_u64()), (Some(9), Some(bytes)));
    assert_eq!((&stats["failures"], &stats["model"]), (&serde_json::json!({"undecodable": 1}), &model(&lab.meta())));
    let said = lab.query(&["--stats"]);
    assert_eq!(said.code, 0, "{said:?}");
    for told in ["9 pictures, ", "every vector is compared", "undecodable  1  ", "scores of words, by percentile"] {
        assert!(said.out.contains(told), "{told}: {}", said.out);
    }
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "{}", said.out);
}

/// What the metadata tells of the model.
fn model(meta: &Value) -> Value {
    let keys = ["model_name", "fingerprint", "embedding_dim", "precision", "provider", "deviation"];
    keys.iter().filter(|key| !meta[**key].is_null()).map(|key| ((*key).to_owned(), meta[*key].clone())).collect()
}

#[test]
fn of_copies_the_first_stays_and_what_is_named_can_go() {
    let lab = Lab::new();
    lab.draw("", 12, 5);
    let originals: Vec<String> = lab.drawn().into_keys().collect();
    let copies: Vec<String> = originals[..3].iter().map(|name| format!("z copy\nof {name}")).collect();
    for (original, copy) in originals.iter().zip(&copies) {
        fs::copy(lab.images().join(original), lab.images().join(copy)).unwrap();
    }
    assert_eq!(lab.index(&[]).code, 0);
    let said = lab.query(&["--duplicates", "-0"]);
    assert_eq!(said.code, 0, "{said:?}");
    let named: Vec<&str> = said.out.split_terminator('\0').collect();
    for copy in &copies {
        let copy = lab.images().join(copy);
        assert!(named.contains(&copy.to_str().unwrap()), "{named:?}");
    }
    let groups = json(&lab, &["--duplicates"]);
    let pictures = |group: &Value| group["pictures"].as_array().unwrap().clone();
    let path = |picture: &Value| picture["path"].as_str().unwrap().to_owned();
    let others: Vec<String> =
        groups.iter().flat_map(|group| pictures(group)[1..].iter().map(path).collect::<Vec<_>>()).collect();
    assert_eq!(others, named, "all but the first of each group");
    for group in &groups {
        let size = |picture: &Value| picture["size_bytes"].as_u64().unwrap();
        assert!(pictures(group).is_sorted_by_key(|picture| std::cmp::Reverse(size(picture))), "{group}");
    }
    for (original, copy) in originals.iter().zip(&copies) {
        let together = |group: &&Value| {
            let paths: Vec<String> = pictures(group).iter().map(path).collect();
            [original, copy].iter().all(|name| paths.contains(&lab.images().join(name).display().to_string()))
        };
        assert!(groups.iter().any(|group| together(&group)), "{original}: {groups:?}");
    }
    let said = lab.query(&["--duplicates", "--top-k", "1"]);
    assert!(said.code == 0 && said.out.lines().count() == pictures(&groups[0]).len(), "{said:?}");
    let told = format!("{} groups with ", groups.len());
    assert!(
        said.err.starts_with(&told)
            && said.err.contains(" of 15 pictures whose cosine is 0.9")
            && said.err.contains(" or more, the largest 1 shown"),
        "{}",
        said.err
    );
}

#[test]
fn of_one_file_with_several_names_none_is_superfluous() {
    let lab = Lab::new();
    lab.draw("", 6, 5);
    let names: Vec<String> = lab.drawn().into_keys().collect();
    let image = |name: &str| lab.images().join(name);
    // The name that sorts first is a link to the file; another file has two names; and one is there twice.
    std::os::unix::fs::symlink(image(&names[0]), image("a link.jpg")).unwrap();
    fs::hard_link(image(&names[1]), image("z name.jpg")).unwrap();
    fs::copy(image(&names[2]), image("z copy.jpg")).unwrap();
    assert_eq!(lab.index(&[]).code, 0);
    let said = lab.query(&["--duplicates", "--paths-only"]);
    assert_eq!(said.out, format!("{}\n", image("z copy.jpg").display()), "{said:?}");
}

#[test]
fn a_long_list_is_answered_as_each_of_its_questions_is_alone() {
    let lab = Lab::new();
    lab.draw("", 12, 5);
    assert_eq!(lab.index(&[]).code, 0);
    let source = lab.images().join(lab.drawn().into_keys().next().unwrap());
    let words = ["a yellow car", "a red boat - a tree", "2:house + night", "something blue"];
    let mut questions: Vec<String> = (0..250).map(|n| words[n % words.len()].to_owned()).collect();
    questions[120] = source.to_str().unwrap().to_owned();
    questions[121] = "a car - a car".to_owned();
    let list = lab.path("questions.txt");
    fs::write(&list, questions.join("\n")).unwrap();
    let ask = |arguments: &[&str]| lab.query(&[arguments, &["--json", "--top-k", "4", "--no-copy-results"]].concat());
    let said = ask(&["--file", list.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("questions.txt:122: the terms cancel each other out"), "{}", said.err);
    assert!(said.err.ends_with("error: 1 of 250 questions has no answer\n"), "{}", said.err);
    let mut lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).peekable();
    let bare = |mut found: Value| {
        found.as_object_mut().unwrap().remove("question");
        found
    };
    let mut alone = std::collections::BTreeMap::new();
    for question in questions.iter().filter(|question| *question != "a car - a car") {
        let expected = alone.entry(question.clone()).or_insert_with(|| {
            let terms: Vec<&str> =
                if question.starts_with('/') { vec![question] } else { question.split(' ').collect() };
            let said = ask(&terms);
            assert_eq!(said.code, 0, "{said:?}");
            said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
        });
        assert!(!expected.is_empty());
        for found in expected {
            let listed = lines.next().unwrap();
            assert_eq!(listed["question"], *question);
            assert_eq!(bare(listed), *found);
        }
    }
    assert!(lines.peek().is_none());
}
