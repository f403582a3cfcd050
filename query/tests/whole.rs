//! Lists of questions, and the collection as a whole, before a stand-in for the server.

mod person;

use std::fs;

use person::{Person, stand_in, text};
use serde_json::{Value, json};

#[test]
fn a_long_list_is_asked_in_batches_that_a_server_takes_and_printed_in_its_order() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg", "/nas/b.jpg"], 0);
    let index = person.index();
    let questions: Vec<String> = (0..1_234).map(|n| format!("question {n}")).collect();
    fs::write(person.path("q.txt"), questions.join("\n")).unwrap();
    for (top_k, most) in [("1", 1_000), ("30000", 3)] {
        let few = if top_k == "1" { &questions[..] } else { &questions[..7] };
        fs::write(person.path("q.txt"), few.join("\n")).unwrap();
        let output =
            person.query(&["--file", "q.txt", "--top-k", top_k, "--json", "--index-prefix", &index, "--under", "x"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let first = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|found| found["rank"] == 1);
        let found: Vec<Value> = text(&output.stdout).lines().filter_map(first).collect();
        let told: Vec<_> = found.iter().map(|found| found["question"].as_str().unwrap()).collect();
        assert_eq!(told, few);
        let batches: Vec<Value> = asked.try_iter().filter(|(p, _)| p.ends_with("/batch")).map(|(_, b)| b).collect();
        let requests: Vec<&Vec<Value>> = batches.iter().map(|batch| batch["requests"].as_array().unwrap()).collect();
        assert!(requests.len() > 1 && requests.iter().all(|batch| (1..=most).contains(&batch.len())));
        assert_eq!(requests.iter().map(|batch| batch.len()).sum::<usize>(), few.len());
        assert_eq!(requests[0][0]["filters"]["under"], json!(["/nas/x"]));
    }
}

#[test]
fn a_question_without_an_answer_is_named_by_its_line_and_keeps_no_other_from_being_asked() {
    let person = Person::new();
    let _asked = stand_in(person.listen(), &["/nas/a.jpg"], 0);
    let index = person.index();
    fs::write(person.path("notes.jpg"), "only words").unwrap();
    fs::write(person.path("q.txt"), "first\n\n\"no answer\"\n./notes.jpg\nlast\n").unwrap();
    let output = person.query(&["--file", "q.txt", "--index-prefix", &index]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "first\t1\t0.2500\t/nas/a.jpg\nlast\t1\t0.2500\t/nas/a.jpg\n");
    let notes = text(&output.stderr);
    assert!(notes.contains("query: q.txt:3: it has none\n"), "{notes}");
    assert!(notes.contains("query: q.txt:4: ./notes.jpg is no picture that can be read"), "{notes}");
    assert!(notes.ends_with("error: 2 of 4 questions have no answer\n"), "{notes}");

    // What is wrong with all of them is told once, and nothing is asked.
    let output = person.query(&["--file", "q.txt", "--index-prefix", &index, "--under", "/elsewhere"]);
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(2), 1));
}

#[test]
fn duplicates_are_told_to_people_and_programs_by_their_names_here() {
    let person = Person::new();
    let asked = stand_in(person.listen(), &["/nas/a.jpg", "/nas/b\n.jpg", "/nas/$(c).jpg"], 0);
    fs::write(person.path("hosts"), "* path_map=/Volumes/photos:/nas\nlocalhost\n").unwrap();
    let index = person.index();
    let ask = |more: &[&str]| {
        let output = person.query(&[&["--duplicates", "--index-prefix", &index], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let wanted = asked.try_iter().find(|(path, _)| path.ends_with("/duplicates")).unwrap().1;
        assert_eq!(wanted["max_pictures"], 100_000);
        (text(&output.stdout), text(&output.stderr), wanted["max_groups"].as_u64().unwrap())
    };
    let (out, notes, groups) = ask(&[]);
    assert_eq!((out.lines().count(), groups), (3, 10));
    assert!(out.starts_with("1\t0.2500\t/Volumes/photos/a.jpg\n1\t0.2500\t/Volumes/photos/b\\n.jpg\n"), "{out}");
    assert!(
        notes.starts_with("7 groups with 20 of 12,345 pictures whose cosine is 0.9800 or more, the largest 1 shown"),
        "{notes}"
    );
    let (out, _, groups) = ask(&["-0"]);
    assert_eq!((out.as_str(), groups), ("/Volumes/photos/b\n.jpg\0/Volumes/photos/$(c).jpg\0", 100_000));
    let (out, _, groups) = ask(&["--json", "--top-k", "3"]);
    let group: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (groups, &group["count"], &group["pictures"][0]["path"]),
        (3, &json!(3), &json!("/Volumes/photos/a.jpg"))
    );
    assert_eq!(
        ask(&["--csv"]).0.lines().next(),
        Some("group,rank,score,path,size_bytes,mtime,taken,width,height,superfluous")
    );
}

#[test]
fn statistics_are_a_table_or_json_and_say_what_the_asker_should_know() {
    let person = Person::new();
    let _asked = stand_in(person.listen(), &[], 0);
    fs::write(person.path("hosts"), "* path_map=/Volumes/photos:/nas\nlocalhost\n").unwrap();
    let index = person.index();
    let output = person.query(&["--stats", "--index-prefix", &index]);
    let (out, notes) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{notes}");
    for told in ["/Volumes/photos\n", "12,345 pictures", "recall@10 0.9970", "jpg  12,345  "] {
        assert!(out.contains(told), "{told:?}: {out}");
    }
    assert!(!out.contains('\x1b') && notes == "query: a newer generation cannot be opened\n", "{notes}");
    let output = person.query(&["--stats", "--json", "--index-prefix", &index]);
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&stats["root"], &stats["formats"]), (&json!("/Volumes/photos"), &json!({"jpg": 12345})));
}

#[test]
fn what_is_asked_of_the_whole_collection_is_no_question() {
    let person = Person::new();
    let index = person.index();
    for wrong in [
        &["--stats", "a car"][..],
        &["--stats", "--duplicates"],
        &["--stats", "--csv"],
        &["--duplicates", "--like", "1"],
        &["--duplicates", "--under", "x"],
        &["--duplicates", "--json", "--csv"],
    ] {
        let output = person.query(&[wrong, &["--index-prefix", &index]].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}
