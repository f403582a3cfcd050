//! Older software wrote a root as it was given, with `..` in it. Nothing of it is embedded again.

mod common;

use common::*;
use index::{read_meta, read_part, standing, would_fail_again};

const OLD: &str = "/nas/x/../photos/";
const NEW: &str = "/nas/photos";
const DIM: usize = 8;

#[test]
fn an_index_whose_root_has_dots_in_it_stands_under_its_plain_name() {
    let place = Place::new();
    let names = ["a.jpg", "d/b.jpg", "d/c.jpg"];
    let rows = names.map(|name| row(name, 1, DIM));
    let part = place.part_of(OLD, "p", &rows, DIM);
    let bytes = std::fs::read(place.prefix.part("p")).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("x/../photos"), "the test writes as older software did");
    assert_eq!(read_part(&place.prefix.part("p"), NEW).unwrap().rows.len(), 3);
    let stands = || {
        let mut all = standing(&place.prefix, NEW, "f1").unwrap();
        let found: Vec<String> = all.by_ref().map(|row| row.unwrap().path.to_string()).collect();
        assert_eq!(all.skipped(), [""; 0]);
        found
    };
    assert_eq!(stands(), names);

    place.merge_parts(None, vec![part]).unwrap();
    let text = std::fs::read_to_string(place.prefix.meta()).unwrap();
    assert!(text.contains("\"root\": \"/nas/photos\""), "{text}");
    std::fs::write(place.prefix.meta(), text.replace("\"/nas/photos\"", "\"/nas/x/../photos\"")).unwrap();
    assert_eq!(read_meta(&place.prefix).unwrap().unwrap().root, NEW);
    assert_eq!(stands(), names);
    let more = place.part_of(NEW, "q", &[row("e.jpg", 1, DIM)], DIM);
    assert_eq!(place.merge_parts(None, vec![more]).unwrap().meta.root, NEW);
    assert_eq!(place.paths(), ["a.jpg", "d/b.jpg", "d/c.jpg", "e.jpg"].map(|name| format!("{NEW}/{name}")));
    let opened = index::Index::open(&place.prefix, &place.cache()).unwrap();
    assert!(opened.vector_of("/nas/x/../photos/d/b.jpg").unwrap().is_some(), "an answer of before is known");
}

#[test]
fn failures_of_a_root_with_dots_in_it_are_not_tried_again() {
    let place = Place::new();
    std::fs::create_dir_all(place.prefix.dir()).unwrap();
    let line = serde_json::json!({
        "path": "/nas/x/../photos/bad.jpg", "kind": "undecodable", "detail": "d", "host": "h", "size": 5, "mtime_ns": 7,
        "version": protocol::VERSION, "attempts": 1, "first_time": "t", "last_time": "t"
    });
    std::fs::write(place.prefix.failures(), format!("{line}\n")).unwrap();
    let known: Vec<_> = would_fail_again(&place.prefix, NEW).unwrap().map(|entry| entry.unwrap().path).collect();
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0].as_str(), "bad.jpg");
}
