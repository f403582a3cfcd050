//! The map of a collection, from pictures to the page; `web.rs` looks at the page in a browser.

use std::collections::HashSet;
use std::fs;

use e2e::Lab;
use serde_json::Value;

/// A page that `query --map` wrote, and the data in it.
fn map(lab: &Lab) -> (String, Value) {
    let page = lab.path("map.html");
    let said = lab.query(&["--map", page.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
    let text = fs::read_to_string(page).unwrap();
    let data = text.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data = serde_json::from_str(data).expect("the page's data are JSON");
    (text, data)
}

/// What a drawn picture shows, by its name: `yellow_car_102.jpg` is a car.
fn kind(path: &str) -> String {
    path.rsplit('/').next().unwrap().split('_').nth(1).unwrap().to_owned()
}

#[test]
fn like_pictures_lie_together_under_names_that_fit_them() {
    let lab = Lab::new();
    lab.draw("", 240, 5);
    assert_eq!(lab.index(&[]).code, 0);
    let (page, data) = map(&lab);
    assert!(page.contains("240 pictures in "), "the page tells how many");
    let points: Vec<(String, f64, f64, usize)> = serde_json::from_value(data["points"].clone()).unwrap();
    assert_eq!(points.len(), 240);
    let alike = points.iter().filter(|(path, x, y, _)| {
        let others = points.iter().filter(|other| other.0 != *path);
        let nearest = others.min_by(|a, b| (a.1 - x).hypot(a.2 - y).total_cmp(&(b.1 - x).hypot(b.2 - y))).unwrap();
        kind(path) == kind(&nearest.0)
    });
    let alike = alike.count();
    assert!(alike > 120, "beside {alike} of 240 pictures lies one of the same kind; by chance it were 15");

    let clusters = data["clusters"].as_array().unwrap();
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster["words"][0].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    let kinds: HashSet<String> = points.iter().map(|point| kind(&point.0)).collect();
    for (i, name) in names.iter().enumerate().filter(|(_, name)| kinds.contains(**name)) {
        let own = points.iter().filter(|point| point.3 == i);
        let fit = own.clone().filter(|point| kind(&point.0) == *name).count();
        assert!(2 * fit > own.count(), "cluster {name} of {names:?} has {fit}");
    }
    assert_eq!(page.matches("/9j/").count(), 240, "of so few pictures all are on the page");
}

#[test]
fn a_map_holds_every_name_as_it_is_and_none_as_markup() {
    let lab = Lab::new();
    let names = lab.draw_hostile();
    assert_eq!(lab.index(&[]).code, 0);
    let (page, data) = map(&lab);
    let told: Vec<&str> = data["points"].as_array().unwrap().iter().map(|point| point[0].as_str().unwrap()).collect();
    let expected: HashSet<String> =
        names.iter().map(|name| lab.images().join(name).to_str().unwrap().to_owned()).collect();
    assert_eq!(told.iter().map(|path| (*path).to_owned()).collect::<HashSet<_>>(), expected);
    assert!(!page.contains("<in>out"));
    assert!(!lab.pwned());
}

#[test]
fn a_map_that_cannot_be_written_or_is_asked_with_a_question_says_so() {
    let lab = Lab::new();
    lab.draw("", 2, 5);
    assert_eq!(lab.index(&[]).code, 0);
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let said = lab.query(arguments);
        assert!(said.code == code && said.err.contains(why), "{said:?}");
    };
    refused(&["--map", "map.jpg"], 2, "must end with .html");
    refused(&["--map", "no/map.html"], 1, "no/map.html");
    refused(&["a", "car", "--map", "map.html"], 2, "--map");
    refused(&["--map", "map.html", "--under", "2019"], 2, "--map");
    assert!(!lab.path("map.html").exists());
}
