//! Indexes of earlier releases open, answer and take updates: an upgrade never asks anyone to embed again.
//!
//! `old/` holds one archive for each format, made by the release that wrote it (see `examples/old_index.rs`).

mod common;
#[path = "../examples/numbers/mod.rs"]
mod numbers;

use std::path::Path;
use std::process::Command;

use common::{Place, Random};
use index::{Index, PartRef, Row, Sources, Wanted, publish_part};
use numbers::{part, plain_row};
use protocol::Embedding;

const ROWS: usize = 20_000;
const DIM: usize = 16;

fn unpacked(archive: &str) -> Place {
    let place = Place::new();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old").join(archive);
    let done = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(place.dir.path()).status().unwrap();
    assert!(done.success());
    place
}

fn rows() -> Vec<Row> {
    (0..ROWS).map(|i| plain_row(i, DIM).unwrap()).collect()
}

/// The best ten of these rows by the definition of a score.
fn best(rows: &[Row], question: &Embedding) -> Vec<(u32, String)> {
    let score = |row: &Row| (question.cosine(&row.embedding), format!("/numbers/{}", row.path));
    let mut all: Vec<(f32, String)> = rows.iter().map(score).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    all.into_iter().take(10).map(|(score, path)| (score.to_bits(), path)).collect()
}

fn answers_as_its_rows_do(place: &Place, rows: &[Row]) {
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    assert_eq!((index.meta().num_images, index.warning()), (rows.len() as u64, None));
    let pass = index.first_pass().expect("it has a first pass");
    assert!(pass.recall_at_10 >= 0.99, "{pass:?}");
    let (mut found, mut wanted) = (0, 0);
    for question in (0..20).map(|i| Random(i).embedding(DIM)) {
        let best = best(rows, &question);
        let exact = index.find(&question, &Wanted { k: 10, exact: true, ..Wanted::default() }).unwrap();
        let paths = |found: Vec<index::Found>| found.into_iter().map(|f| f.path).collect::<Vec<_>>();
        let exact = paths(exact);
        assert_eq!(exact, best.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>());
        let first = paths(index.find(&question, &Wanted { k: 10, ..Wanted::default() }).unwrap());
        found += first.iter().filter(|path| exact.contains(path)).count();
        wanted += exact.len();
    }
    assert!(found as f64 >= 0.98 * wanted as f64, "{found} of {wanted}");
}

#[test]
fn an_index_of_format_2_opens_answers_and_takes_an_update() {
    let place = unpacked("format-2.tar.gz");
    let mut rows = rows();
    answers_as_its_rows_do(&place, &rows);
    // Some rows change, and some are new.
    let mut update: Vec<Row> = (0..ROWS).step_by(1000).map(|i| plain_row(i, DIM).unwrap()).collect();
    for row in &mut update {
        row.file.mtime_ns += 1;
        row.embedding = Random(row.file.mtime_ns as u64).embedding(DIM);
    }
    let changed = update.len();
    update.extend((ROWS..ROWS + 10).map(|i| plain_row(i, DIM).unwrap()));
    let published = publish_part(&place.prefix, part("update", DIM), &update).unwrap();
    let parts = vec![PartRef { name: published.name, rows: published.rows, checksum: published.checksum }];
    let report = place.merge(None, Sources::Parts(parts), false).unwrap();
    assert_eq!((report.added, report.replaced, report.meta.num_images), (10, changed as u64, ROWS as u64 + 10));
    for row in update {
        match rows.iter_mut().find(|old| old.path == row.path) {
            Some(old) => *old = row,
            None => rows.push(row),
        }
    }
    answers_as_its_rows_do(&place, &rows);
}
