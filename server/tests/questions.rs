//! Questions that are more than words.

mod common;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clip::{DecodeLimits, DecodeMode, Embedding, EncoderOptions, Model, decode};
use common::collection::{Collection, WORDS, golden};
use common::{Home, Server};
use serde_json::{Value, json};

fn ask(server: &Server, question: &Value) -> (u16, Value) {
    server.post("/v1/indexes/imageindex/search", question)
}

fn paths(answer: &Value) -> Vec<&str> {
    answer["matches"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .iter()
        .map(|m| m["path"].as_str().unwrap())
        .collect()
}

fn text_vectors(texts: &[&str]) -> Vec<Embedding> {
    Model::open("demo").unwrap().text_encoder(0).unwrap().encode(texts).unwrap()
}

/// The order of `pictures` for a question, as rclip's `compute_similarities_to_text` has it: features of length one times
/// their multipliers, the sum of the negative ones taken from that of the positive ones, not normalised.
fn as_rclip(pictures: &[Embedding], positive: &[(f64, &Embedding)], negative: &[(f64, &Embedding)]) -> Vec<usize> {
    let sum = |terms: &[(f64, &Embedding)], d: usize| -> f64 {
        terms.iter().map(|(multiplier, feature)| multiplier * f64::from(feature.values()[d])).sum()
    };
    let features: Vec<f64> = (0..pictures[0].dim()).map(|d| sum(positive, d) - sum(negative, d)).collect();
    let score =
        |picture: &Embedding| -> f64 { picture.values().iter().zip(&features).map(|(p, f)| f64::from(*p) * f).sum() };
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.sort_by(|a, b| score(&pictures[*b]).total_cmp(&score(&pictures[*a])));
    order
}

#[test]
fn sums_and_differences_give_the_ids_that_rclip_gives() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let of_pictures = text_vectors(&WORDS);
    let texts = ["a yellow car", "a bus at night", "something green", "the sea", "a cat and a house"];
    let vectors = text_vectors(&texts);
    for round in 0..40usize {
        let multiplier = |term: usize| ((round * 7 + term * 5) % 11 + 1) as f64 / 4.0;
        let chosen: Vec<usize> =
            (0..texts.len()).filter(|term| (round >> term) % 2 == 0 || *term == round % 5).collect();
        let is_negative = |term: &&usize| (round + **term).is_multiple_of(3);
        let side = |negative: bool| -> Vec<(f64, &Embedding)> {
            chosen.iter().filter(|t| is_negative(t) == negative).map(|&t| (multiplier(t), &vectors[t])).collect()
        };
        let expected = as_rclip(&of_pictures, &side(false), &side(true));
        let sign = |term: &usize| if is_negative(&term) { -1.0 } else { 1.0 };
        let terms: Vec<Value> =
            chosen.iter().map(|t| json!({"text": texts[*t], "weight": sign(t) * multiplier(*t)})).collect();
        let (status, answer) = ask(&server, &json!({"terms": terms, "top_k": 5, "templates": false}));
        assert_eq!(status, 200, "{answer}");
        let expected: Vec<_> = expected.iter().map(|&i| pictures.picture(WORDS[i])).collect();
        assert_eq!(paths(&answer), expected.iter().map(|p| p.to_str().unwrap()).collect::<Vec<_>>(), "{terms:?}");
    }
}

#[test]
fn a_picture_in_any_format_finds_itself_first_and_so_does_its_path() {
    const FILES: [&str; 7] =
        ["flat.png", "grey.jpg", "lossless.webp", "lzw.tiff", "palette.bmp", "small_frame.gif", "turned_3.jpg"];
    let home = Home::new();
    let pictures = Collection::of_model(&home, "a", Collection::new(&home, "b").model);
    let model = Model::open("demo").unwrap();
    let mut encoder = model.image_encoder(&EncoderOptions::default()).unwrap();
    let embedded = FILES.map(|name| {
        let picture =
            decode(&golden(name), DecodeMode::Fast, model.preprocess().side(), &DecodeLimits::default()).unwrap();
        let vector = encoder.encode(&model.preprocess().apply(&picture)).unwrap().remove(0).unwrap();
        (name.to_owned(), golden(name), vector)
    });
    pictures.add_files(embedded.to_vec());
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    for (name, bytes, _) in &embedded {
        let path = pictures.root.join(name);
        for term in [json!({"picture": BASE64_STANDARD.encode(bytes)}), json!({ "path": path })] {
            let (status, answer) = ask(&server, &json!({"terms": [term], "top_k": 3}));
            assert_eq!(status, 200, "{answer}");
            assert_eq!(paths(&answer)[0], path.to_str().unwrap(), "{answer}");
            assert!(answer["matches"][0]["score"].as_f64().unwrap() > 0.995, "{answer}");
        }
    }
    let cut = &golden("turned_3.jpg")[..golden("turned_3.jpg").len() * 2 / 3];
    let (status, answer) = ask(&server, &json!({"terms": [{"picture": BASE64_STANDARD.encode(cut)}], "top_k": 1}));
    assert_eq!((status, paths(&answer).len()), (200, 1), "a truncated picture asks as far as it goes");
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_to_do() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let picture = |bytes: &[u8]| json!({"picture": BASE64_STANDARD.encode(bytes)});
    let many = vec![json!({"text": "a"}); 65];
    let cases = [
        (json!([]), "say what the pictures should show"),
        (json!([{"text": " \n"}]), "the text is empty"),
        (json!([{"text": "a cat"}, {"text": ""}]), "the text is empty"),
        (json!([{"text": "a cat", "weight": 0}]), "cancel"),
        (json!([{"text": "a cat"}, {"text": "a cat", "weight": -1}]), "cancel"),
        (json!([{"text": "a cat", "weight": 1e39}]), "not finite"),
        (json!([{"picture": "***"}]), "base64"),
        (json!([{"picture": ""}]), "cannot be read"),
        (json!([picture(b"no picture")]), "cannot be read"),
        (json!([picture(&golden("grey.jpg")[..60])]), "cannot be read"),
        (json!([{"path": pictures.root.join("none.jpg")}]), "no picture of this index"),
        (json!([{"path": "/etc/passwd"}]), "no picture of this index"),
        (json!([{"path": pictures.root.join("../a/photos/a black cat.jpg")}]), "no picture of this index"),
        (json!(many), "65 terms"),
    ];
    for (terms, said) in cases {
        let (status, answer) = ask(&server, &json!({"terms": terms, "top_k": 3}));
        assert_eq!(status, 400, "{said}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{said}: {answer}");
    }
    for terms in [json!([{"weight": 1}]), json!([{"text": "a", "path": "b"}]), json!([{"txet": "a"}]), json!("a")] {
        let (status, answer) = ask(&server, &json!({"terms": terms, "top_k": 3}));
        assert_eq!(status, 422, "{terms}: {answer}");
    }
}

#[test]
fn short_words_are_averaged_over_phrases_unless_they_are_not_to_be() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let car = &text_vectors(&["a yellow car"])[0];
    let phrases =
        text_vectors(&["yellow car", "a photo of yellow car", "a picture of yellow car", "a photo of the yellow car"]);
    let mean: Vec<f32> = (0..car.dim()).map(|d| phrases.iter().map(|p| p.values()[d]).sum()).collect();
    let mean = Embedding::normalise(mean).unwrap();
    for (templates, vector) in [(true, &mean), (false, &phrases[0])] {
        for _ in 0..2 {
            let (_, answer) = ask(&server, &json!({"text": "yellow car", "top_k": 1, "templates": templates}));
            let score = answer["matches"][0]["score"].as_f64().unwrap();
            assert!((score - f64::from(vector.cosine(car))).abs() < 1e-4, "{templates}: {answer}");
        }
    }
}

#[test]
fn questions_of_a_batch_are_answered_in_order_each_for_itself() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let mut requests: Vec<Value> = WORDS.iter().map(|text| json!({"text": text, "top_k": 1})).collect();
    let cancelled = [1, -1].map(|weight| json!({"text": "a car", "weight": weight}));
    requests.insert(2, json!({"terms": cancelled, "top_k": 1}));
    let batch =
        |requests: &[Value]| server.post("/v1/indexes/imageindex/search/batch", &json!({ "requests": requests }));
    let (status, answer) = batch(&requests);
    assert_eq!(status, 200, "{answer}");
    let answers = answer["answers"].as_array().unwrap();
    for (request, answer) in requests.iter().zip(answers) {
        match request["text"].as_str() {
            None => assert!(answer["error"].as_str().unwrap().contains("cancel"), "{answer}"),
            Some(words) => assert_eq!(paths(&answer["answer"]), [pictures.picture(words).to_str().unwrap()]),
        }
    }
    for (wrong, why) in [(json!({"text": "", "top_k": 1}), "empty"), (json!({"text": "a", "top_k": 0}), "top_k is 0")] {
        let (status, answer) = batch(&[requests[0].clone(), wrong]);
        let said = answer["error"].as_str().unwrap();
        assert!(status == 400 && said.starts_with("question 2: ") && said.contains(why), "{answer}");
    }
    assert_eq!(batch(&[]), (200, json!({"answers": []})));
    assert_eq!(batch(&vec![json!({"text": "a", "top_k": 1}); 1001]).0, 400);
    assert_eq!(batch(&vec![json!({"text": "a", "top_k": 60_000}); 2]).0, 400);
}
