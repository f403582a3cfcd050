//! The map of a collection, as a server gives it.

mod common;

use common::Home;
use common::collection::Collection;
use serde_json::{Value, json};

const COLOURS: [&str; 6] = ["red", "yellow", "green", "blue", "white", "black"];
const KINDS: [&str; 4] = ["car", "house", "fish", "tree"];

/// What is at a place in all points.
fn all<'a>(map: &'a Value, field: &str) -> Vec<&'a Value> {
    map["points"].as_array().unwrap().iter().map(|point| &point[field]).collect()
}

#[test]
fn a_map_has_all_pictures_or_says_of_how_many_it_is_a_sample_and_is_the_same_each_time() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let words: Vec<String> = KINDS
        .iter()
        .flat_map(|kind| {
            COLOURS.map(|colour| [format!("a {colour} {kind} by the sea"), format!("one {colour} {kind}")])
        })
        .flatten()
        .collect();
    pictures.add(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    let route = format!("/v1/indexes/{name}/map");
    let (status, map) = server.post(&route, &json!({}));
    assert_eq!((status, &map["num_images"], &map["generation"]), (200, &json!(53), &json!(2)), "{map}");
    let points = map["points"].as_array().unwrap();
    let mut paths: Vec<String> = words
        .iter()
        .map(|w| w.as_str())
        .chain(common::collection::WORDS)
        .map(|words| pictures.picture(words).to_str().unwrap().to_owned())
        .collect();
    paths.sort_unstable();
    assert_eq!(all(&map, "path"), paths.iter().collect::<Vec<_>>());
    let clusters = map["clusters"].as_array().unwrap();
    for (i, cluster) in clusters.iter().enumerate() {
        let own = points.iter().filter(|point| point["cluster"] == i).count();
        assert_eq!(cluster["count"], own, "{cluster}");
        let name = cluster["words"][0].as_str().expect("the model knows words for it");
        assert!(clusters[..i].iter().all(|other| other["words"][0] != name), "{clusters:?}");
    }

    let (_, again) = server.post(&route, &json!({}));
    assert_eq!(again["points"], map["points"]);
    let (_, sample) = server.post(&route, &json!({"max_points": 12}));
    assert_eq!((all(&sample, "path").len(), &sample["num_images"]), (12, &json!(53)));
    assert!(all(&sample, "path").iter().all(|path| all(&map, "path").contains(path)));
    let (_, anew) = server.post(&route, &json!({"max_points": 50_000}));
    assert_eq!((&anew["points"], &anew["clusters"]), (&map["points"], &map["clusters"]), "made once more");
    for bad in [json!({"max_points": 0}), json!({"max_points": 50_001}), json!({"max_point": 7})] {
        let (status, answer) = server.post(&route, &bad);
        assert!((400..500).contains(&status) && answer["error"].is_string(), "{bad}: {status} {answer}");
    }
    assert_eq!(server.post("/v1/indexes/other/map", &json!({})).0, 404);
}

#[test]
fn many_ask_for_maps_and_all_get_them_while_questions_are_answered() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    let name = server.open(pictures.prefix.dir());
    let route = format!("/v1/indexes/{name}/map");
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..12)
            .map(|n| {
                scope.spawn({
                    let (server, route) = (&server, &route);
                    move || server.post(route, &json!({"max_points": 1 + n % 5}))
                })
            })
            .collect();
        assert_eq!(server.search(&name, "a yellow car", 1).0, 200);
        for (n, asked) in asked.into_iter().enumerate() {
            let (status, map) = asked.join().unwrap();
            assert_eq!((status, all(&map, "path").len()), (200, 1 + n % 5));
        }
    });
}
