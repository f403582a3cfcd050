//! What a server answers about real indexes, with the real model.

mod common;

use std::fs;
use std::path::Path;

use common::collection::{Collection, WORDS, copy_folder};
use common::{Home, until};
use protocol::ModelIdentity;
use serde_json::{Value, json};

fn paths(answer: &Value) -> Vec<&str> {
    answer["matches"].as_array().unwrap().iter().map(|m| m["path"].as_str().unwrap()).collect()
}

#[test]
fn a_text_finds_the_pictures_it_describes_best_first() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    assert_eq!(name, "imageindex");
    for words in WORDS {
        let (status, answer) = server.search(&name, words, 3);
        assert_eq!(status, 200, "{answer}");
        let matches = answer["matches"].as_array().unwrap();
        let scores: Vec<f64> = matches.iter().map(|m| m["score"].as_f64().unwrap()).collect();
        assert_eq!(paths(&answer)[0], pictures.picture(words).to_str().unwrap());
        assert!((scores[0] - 1.0).abs() < 1e-3 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert_eq!(matches.iter().map(|m| m["rank"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((&answer["generation"], &answer["num_images"]), (&json!(1), &json!(5)));
        assert!(answer.get("warning").is_none());
    }
    let (_, all) = server.search(&name, "a black cat", 1_000);
    assert_eq!(paths(&all).len(), WORDS.len());
    let (_, status) = server.get("/v1/status");
    assert_eq!(status["indexes"][0]["root"], pictures.root.to_str().unwrap());
    assert_eq!(status["indexes"][0]["model_name"], "demo");
}

#[test]
fn a_hostile_text_is_only_a_text() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    let long = "yellow car ".repeat(10_000);
    for text in [
        "$(reboot) `x` '\" %s%n \\",
        "\0\u{1b}[2J\r\n",
        "🚗\u{202e}\u{fffd}\u{10ffff}",
        "<|endoftext|><|startoftext|>",
        "a",
        &long,
    ] {
        let (status, answer) = server.search(&name, text, 2);
        assert_eq!(status, 200, "{text:.40}: {answer}");
        assert_eq!(paths(&answer).len(), 2);
    }
    assert!(!server.log().contains("reboot"), "what people ask for is not logged");
}

#[test]
fn many_who_ask_at_once_load_an_index_once() {
    let home = Home::new();
    let (a, b) = (Collection::new(&home, "a"), Collection::new(&home, "b"));
    let server = home.serve(&[]);
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (server, pictures) = (&server, if number % 2 == 0 { &a } else { &b });
            scope.spawn(move || {
                let name = server.open(pictures.prefix.dir());
                let (_, answer) = server.search(&name, "a black cat", 1);
                assert_eq!(paths(&answer), [pictures.picture("a black cat").to_str().unwrap()]);
            });
        }
    });
    assert_eq!(server.log().matches("generation 1 with").count(), 2, "{}", server.log());
    let (_, status) = server.get("/v1/status");
    let names: Vec<_> = status["indexes"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["imageindex", "imageindex-2"]);
}

#[test]
fn a_new_generation_answers_soon_and_a_broken_one_leaves_the_old() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    pictures.add(&["a purple house"]);
    until("the new generation answers", || server.search(&name, "a purple house", 1).1["generation"] == 2);
    let house = pictures.picture("a purple house");
    assert_eq!(paths(&server.search(&name, "a purple house", 1).1), [house.to_str().unwrap()]);

    let sound = fs::read_to_string(pictures.prefix.meta()).unwrap();
    let mut broken: Value = serde_json::from_str(&sound).unwrap();
    broken["generation"] = json!(3);
    broken["segments"][0]["name"] = json!("gen-3/seg-0");
    fs::write(pictures.prefix.meta(), broken.to_string()).unwrap();
    let mut answer = Value::Null;
    until("the old generation says that it is old", || {
        answer = server.search(&name, "a purple house", 1).1;
        answer["warning"].is_string()
    });
    assert_eq!((&answer["generation"], paths(&answer)), (&json!(2), vec![house.to_str().unwrap()]));

    fs::remove_file(pictures.prefix.meta()).unwrap();
    until("a deleted index is not answered from memory", || server.search(&name, "a black cat", 1).0 == 404);
    fs::write(pictures.prefix.meta(), sound).unwrap();
    until("an index that is back answers", || server.search(&name, "a black cat", 1).0 == 200);
}

#[test]
fn an_index_of_other_weights_is_refused_by_both_fingerprints() {
    let home = Home::new();
    let ours = Collection::new(&home, "a").model;
    let other = ModelIdentity { fingerprint: "0123456789abcdef0123456789abcdef".to_owned(), ..ours.clone() };
    let pictures = Collection::of_model(&home, "b", other.clone());
    pictures.add(&WORDS);
    let server = home.serve(&[]);
    let (status, answer) = server.post("/v1/indexes", &json!({ "index_prefix": pictures.prefix.dir() }));
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 409, "{error}");
    assert!(
        error.contains(&other.fingerprint) && error.contains(&ours.fingerprint) && error.contains("--fresh"),
        "{error}"
    );
}

#[test]
fn a_model_in_a_folder_is_found_when_its_folder_is_named() {
    let home = Home::new();
    let folder = home.path("models/my model");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo"), &folder);
    let model = clip::Model::open(folder.to_str().unwrap()).unwrap();
    let named = Collection::new(&home, "a").model;
    let identity =
        ModelIdentity { model_name: "my model".to_owned(), fingerprint: model.fingerprint().to_owned(), ..named };
    let pictures = Collection::of_model(&home, "b", identity);
    pictures.add(&WORDS);
    let server = home.serve(&[]);
    let (status, answer) = server.post("/v1/indexes", &json!({ "index_prefix": pictures.prefix.dir() }));
    assert_eq!(status, 500, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("query --model FOLDER"), "{answer}");
    let (status, answer) =
        server.post("/v1/indexes", &json!({ "index_prefix": pictures.prefix.dir(), "model": folder }));
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn found_pictures_are_copied_and_a_vanished_one_is_told() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    fs::remove_file(pictures.picture("a red bus")).unwrap();
    let results = home.path("results/deep");
    let request = json!({"paths": [pictures.picture("a yellow car"), pictures.picture("a red bus"), "/etc/passwd", pictures.picture("a black cat")],
        "folder": results, "stamp": "20250102_030405", "root_here": null});
    let (status, answer) = server.post(&format!("/v1/indexes/{name}/copy"), &request);
    assert_eq!(status, 200, "{answer}");
    let copies = answer["copies"].as_array().unwrap();
    let first = results.join("match_20250102_030405_rank001.jpg");
    assert_eq!(copies[0]["to"], first.to_str().unwrap());
    assert!(copies[1]["failed"].as_str().unwrap().contains("No such file"), "{answer}");
    assert!(copies[2]["failed"].as_str().unwrap().contains("not in the collection"), "{answer}");
    assert_eq!(copies[3]["to"], results.join("match_20250102_030405_rank004.jpg").to_str().unwrap());
    assert_eq!(fs::read(first).unwrap(), fs::read(pictures.picture("a yellow car")).unwrap());
    assert_eq!(
        server
            .post(
                &format!("/v1/indexes/{name}/copy"),
                &json!({"paths": [], "folder": "here", "stamp": "20250102_030405"})
            )
            .0,
        400
    );
}

#[test]
fn matches_have_percentiles_near_duplicates_are_shown_once_and_thresholds_are_checked() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    // Its vector is that of the same words: a copy of the picture.
    pictures.add(&["a yellow car "]);
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    let route = format!("/v1/indexes/{name}/search");
    let ask = |more: Value| {
        let mut question = json!({"text": "a yellow car", "top_k": 10});
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post(&route, &question)
    };
    let (_, all) = ask(json!({"collapse": false}));
    assert_eq!(paths(&all).len(), 6);
    let matches = all["matches"].as_array().unwrap();
    for (place, found) in matches.iter().enumerate().skip(2) {
        let percentile = found["percentile"].as_f64().unwrap();
        assert!((percentile - 100.0 * (5 - place) as f64 / 6.0).abs() < 1e-9, "{all}");
    }
    let (_, collapsed) = ask(json!({}));
    assert_eq!((paths(&collapsed).len(), &collapsed["matches"][0]["alike"]), (5, &json!(1)), "{collapsed}");
    assert_eq!(collapsed["matches"][1]["alike"], 0);
    let (_, exact) = ask(json!({"exact": true, "collapse": false}));
    assert_eq!(exact["matches"], all["matches"]);
    let (_, best) = ask(json!({"min_percentile": 60}));
    assert_eq!(paths(&best), paths(&collapsed)[..1]);
    for bad in [json!(-1), json!(100.5), json!("x")] {
        let (status, answer) = ask(json!({"min_percentile": bad}));
        assert!((400..500).contains(&status), "{bad}: {answer}");
    }

    let duplicates = format!("/v1/indexes/{name}/duplicates");
    let (status, answer) = server.post(&duplicates, &json!({}));
    assert_eq!((status, &answer["num_groups"], &answer["num_pictures"]), (200, &json!(1), &json!(2)), "{answer}");
    let group = answer["groups"][0]["pictures"].as_array().unwrap();
    let sizes: Vec<_> = group.iter().map(|picture| picture["size_bytes"].as_u64().unwrap()).collect();
    let of = |words: &str| fs::metadata(pictures.picture(words)).unwrap().len();
    assert_eq!(sizes, [of("a yellow car "), of("a yellow car")]);
    assert!(sizes[0] > sizes[1], "the larger is the first");
    assert_eq!(server.post(&duplicates, &json!({"max_groups": 0})).0, 400);
    assert_eq!(server.post("/v1/indexes/other/duplicates", &json!({})).0, 404);
}
