#[path = "../tests/common/mod.rs"]
mod common;
use common::*;
use std::time::Instant;
fn hwm() -> String {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("RssAnon")).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let dim = 512;
    let place = Place::new();
    let t = Instant::now();
    let mut names = vec![];
    for c in 0..n / 1000 {
        let rows: Vec<_> = (0..1000).map(|i| row(&format!("folder{:04}/some picture name {:08}.jpg", c, i), 1, dim)).collect();
        names.push(place.part(&format!("p{c:06}"), &rows, dim));
    }
    println!("parts {:?} {}", t.elapsed(), hwm());
    let t = Instant::now();
    for (w, chunk) in names.chunks(names.len().div_ceil(4)).enumerate() {
        let chunk: Vec<String> = chunk.iter().map(|p| p.name.clone()).collect();
        index::gather(&place.prefix.worker(w as u32), &chunk, worker_meta(w as u32, "r", dim)).unwrap();
    }
    println!("gather {:?} {}", t.elapsed(), hwm());
    let t = Instant::now();
    let s = index::standing(&place.prefix, ROOT, "f1").unwrap().count();
    println!("standing of parts {s} {:?} {}", t.elapsed(), hwm());
    let t = Instant::now();
    place.merge_parts(None, names).unwrap();
    println!("merge parts {:?} {}", t.elapsed(), hwm());
    let t = Instant::now();
    let r = place.merge_partials(Some(4)).unwrap();
    println!("merge partials (no change: {}) {:?} {}", !r.written, t.elapsed(), hwm());
    let t = Instant::now();
    let s = index::standing(&place.prefix, ROOT, "f1").unwrap().count();
    println!("standing of generation {s} {:?} {}", t.elapsed(), hwm());
    let t = Instant::now();
    let part = place.part("zz", &[row("zz.jpg", 1, dim)], dim);
    place.merge_parts(None, vec![part]).unwrap();
    println!("merge one {:?} {}", t.elapsed(), hwm());
    for _ in 0..2 {
        let t = Instant::now();
        let index = index::Index::open(&place.prefix, &place.cache()).unwrap();
        println!("open {:?} {}", t.elapsed(), hwm());
        for k in [10, 10, 10, 1000] {
            let t = Instant::now();
            let found = index.search(&Random(7).embedding(dim), k).unwrap();
            println!("search k={k} {:?} {:?}", t.elapsed(), found[0]);
        }
    }
    println!("{}", hwm());
}
