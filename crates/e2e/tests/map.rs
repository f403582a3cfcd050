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

/// The colour and the kind of what a drawn picture shows, by its name: `yellow_car_102.jpg`.
fn shows(path: &str) -> Vec<&str> {
    path.rsplit('/').next().unwrap().split('_').take(2).collect()
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
    let away = |a: usize, b: usize| (points[a].1 - points[b].1).hypot(points[a].2 - points[b].2);
    let alike = (0..240).filter(|&i| {
        let nearest = (0..240).filter(|j| *j != i).min_by(|a, b| away(i, *a).total_cmp(&away(i, *b))).unwrap();
        let beside = shows(&points[nearest].0);
        shows(&points[i].0).iter().any(|word| beside.contains(word))
    });
    let alike = alike.count();
    assert!(alike > 150, "beside {alike} of 240 pictures lies one of the same colour or kind; by chance it were 37");

    let clusters = data["clusters"].as_array().unwrap();
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster["words"][0].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    let mut fitting = 0;
    for (i, name) in names.iter().enumerate() {
        let share = |some: &[&(String, f64, f64, usize)]| {
            some.iter().filter(|point| shows(&point.0).contains(name)).count() as f64 / some.len() as f64
        };
        let own: Vec<_> = points.iter().filter(|point| point.3 == i).collect();
        let (here, everywhere) = (share(&own), share(&points.iter().collect::<Vec<_>>()));
        fitting += usize::from(here > 0.0);
        assert!(here == 0.0 || here > 2.0 * everywhere, "the cluster {name:?} of {names:?} is not of it: {here}");
    }
    assert!(
        2 * fitting > names.len(),
        "backgrounds have names too, but most clusters are of a colour or kind: {names:?}"
    );
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
