//! Vectors that another program made become an index that answers, and those of an index are read by others: numpy,
//! polars, and who reads clip-retrieval's folders.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use e2e::{Lab, Said, finish, run_python};

/// Writes the index's vectors as others would: shuffled, not of length one, as a matrix with its list (relative paths) and
/// as folders with more columns.
const WRITE: &str = r#"
import os, sys
import numpy as np, polars as pl
index, images, out = sys.argv[1:]
table = pl.read_parquet(index + ".parquet").sample(fraction=1, shuffle=True, seed=5)
vectors, paths = table["embedding"].to_numpy() * np.float32(3), table["path"].to_list()
np.save(out + "/vectors.npy", vectors)
np.save(out + "/halves.npy", vectors.astype("f2"))
np.save(out + "/shuffled.npy", np.roll(vectors, 1, axis=0))
np.save(out + "/random.npy", np.random.default_rng(1).normal(size=vectors.shape).astype("f4"))
np.save(out + "/wide.npy", np.hstack([vectors, vectors]))
open(out + "/paths.txt", "w").write("".join(os.path.relpath(path, images) + "\n" for path in paths))
for folder in ("img_emb", "metadata"):
    os.makedirs(f"{out}/folder/{folder}")
for k, rows in enumerate(np.array_split(np.arange(len(paths)), 3)):
    np.save(f"{out}/folder/img_emb/img_emb_{k}.npy", vectors[rows].astype("f2"))
    frame = pl.DataFrame({"caption": ["é"] * len(rows), "image_path": [paths[i] for i in rows], "width": rows, "tags": [["a"]] * len(rows)})
    frame.write_parquet(f"{out}/folder/metadata/metadata_{k}.parquet", compression="snappy")
"#;

/// Reads an exported folder as clip-retrieval's index does, and compares it with the index; prints how many files it has.
const READ: &str = r#"
import glob, sys
import faiss, numpy as np, polars as pl
index, folder, dtype = sys.argv[1:]
table = pl.read_parquet(index + ".parquet")
matrices = [np.load(name) for name in sorted(glob.glob(folder + "/img_emb/*.npy"))]
vectors = np.concatenate(matrices)
paths = pl.concat(pl.read_parquet(name) for name in sorted(glob.glob(folder + "/metadata/*.parquet")))
assert vectors.dtype == dtype and vectors.flags["C_CONTIGUOUS"], vectors.dtype
assert paths.columns == ["image_path"] and paths["image_path"].to_list() == table["path"].to_list()
assert (vectors == table["embedding"].to_numpy().astype(dtype)).all()
flat = faiss.IndexFlatIP(vectors.shape[1])
flat.add(vectors.astype("f4"))
scores, ids = flat.search(vectors[:5].astype("f4"), 1)
assert abs(scores - 1).max() < 2e-3, scores
print(len(matrices))
"#;

const COUNT: usize = 60;

/// An index of drawn pictures, and its vectors as another program would have them.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.draw("a", COUNT / 2, 3);
    lab.draw("b c", COUNT / 2, 4);
    assert_eq!(lab.index(&[]).code, 0);
    fs::create_dir(lab.path("out")).unwrap();
    run_python(WRITE, &[lab.prefix().as_os_str(), lab.images().as_os_str(), lab.path("out").as_os_str()]);
    lab
}

fn merger(lab: &Lab, args: &[&OsStr]) -> Said {
    finish(lab.command("merger").arg("--index-prefix").arg(lab.prefix()).args(args))
}

fn import(lab: &Lab, vectors: &str, more: &[&str]) -> Said {
    let (vectors, images) = (lab.path("out").join(vectors), lab.images());
    let mut args: Vec<&OsStr> = vec!["--import".as_ref(), vectors.as_ref(), "--root".as_ref(), images.as_ref()];
    let list = lab.path("out/paths.txt");
    if vectors.is_file() {
        args.extend([OsStr::new("--paths"), list.as_ref()]);
    }
    args.extend(more.iter().map(OsStr::new));
    merger(lab, &args)
}

/// The greatest difference between two sets of rows, which must be of the same pictures.
fn difference(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)]) -> f32 {
    assert!(a.iter().map(|row| &row.0).eq(b.iter().map(|row| &row.0)));
    let values = |rows: &[(String, Vec<f32>)]| rows.iter().flat_map(|row| row.1.clone()).collect::<Vec<_>>();
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn vectors_of_numpy_and_of_clip_retrieval_become_an_index_that_answers() {
    let lab = lab();
    let (rows, best) = (lab.rows(), lab.ask("a yellow car", 5));
    for (vectors, near) in [("vectors.npy", 1e-6), ("halves.npy", 1e-3), ("folder", 1e-3)] {
        lab.remove_index();
        let said = import(&lab, vectors, &["--model", "demo"]);
        assert_eq!(said.code, 0, "{vectors}: {said:?}");
        assert!(said.err.contains(&format!("{COUNT} images ({COUNT} added")), "{said:?}");
        assert!(said.err.contains("pictures and those of demo") && !said.err.contains("warning"), "{said:?}");
        assert!(difference(&lab.rows(), &rows) < near, "{vectors}");
        assert_eq!(lab.ask("a yellow car", 5), best, "{vectors}");
        let again = lab.index(&[]);
        assert!(again.out.contains(&format!("embedded 0 + failed 0 + already indexed {COUNT}")), "{again:?}");
    }
}

#[test]
fn an_import_adds_to_an_index_and_overwrites_nothing_of_it() {
    let lab = lab();
    let rows = lab.rows();
    let list = lab.path("half.txt");
    let half = rows.iter().step_by(2).map(|(path, _)| format!("{}\n", lab.images().join(path).display()));
    fs::write(&list, half.collect::<String>()).unwrap();
    lab.remove_index();
    assert_eq!(lab.index(&["--image-list", list.to_str().unwrap()]).code, 0);
    let own = lab.rows();
    assert_eq!(own.len(), COUNT / 2);
    // Root and model are the index's.
    let (vectors, paths) = (lab.path("out/halves.npy"), lab.path("out/paths.txt"));
    let said = merger(&lab, &["--import".as_ref(), vectors.as_ref(), "--paths".as_ref(), paths.as_ref()]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("30 added") && said.err.contains("30 imported pictures were in the index"), "{said:?}");
    let now = lab.rows();
    assert!(difference(&now, &rows) < 1e-3);
    assert!(own.iter().all(|row| now.contains(row)), "what was there has its very bits");
}

#[test]
fn vectors_of_another_model_or_of_other_pictures_are_noticed() {
    let lab = lab();
    let before = lab.rows();
    for (vectors, said) in [("random.npy", "cosines"), ("shuffled.npy", "cosines"), ("wide.npy", "values, those of")] {
        let refused = import(&lab, vectors, &["--model", "demo", "--fresh"]);
        assert_eq!(refused.code, 1, "{vectors}: {refused:?}");
        assert!(refused.err.contains(said) && refused.err.contains("nothing was imported"), "{refused:?}");
        assert_eq!(lab.rows(), before);
    }
    let forced = import(&lab, "random.npy", &["--model", "demo", "--fresh", "--unchecked"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(forced.err.contains("warning: the vectors of"), "{forced:?}");
    assert_ne!(lab.rows(), before);
    let refused = import(&lab, "vectors.npy", &["--model", "nobody"]);
    assert!(refused.code == 1 && refused.err.contains("nobody"), "{refused:?}");
}

#[test]
fn pictures_that_are_not_here_are_found_all_the_same_and_the_import_says_so() {
    let lab = lab();
    let best = lab.ask("a yellow car", 5);
    lab.remove_index();
    fs::rename(lab.images(), lab.path("away")).unwrap();
    fs::create_dir(lab.images()).unwrap();
    let said = import(&lab, "vectors.npy", &["--model", "demo"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("60 of 60 pictures are not below"), "{said:?}");
    assert!(said.err.contains("nobody has seen that the vectors are those of the model demo"), "{said:?}");
    assert_eq!(lab.ask("a yellow car", 5), best);
    fs::remove_dir(lab.images()).unwrap();
    fs::rename(lab.path("away"), lab.images()).unwrap();
    let said = lab.index(&[]);
    assert!(said.out.contains(&format!("embedded {COUNT} + failed 0 + already indexed 0")), "{said:?}");
}

#[test]
fn an_exported_index_is_what_numpy_and_polars_read_and_what_is_imported_again() {
    let lab = lab();
    let before = lab.rows();
    let export = |folder: &Path, more: &[&str]| {
        let mut args: Vec<&OsStr> = vec!["--export".as_ref(), folder.as_ref()];
        args.extend(more.iter().map(OsStr::new));
        merger(&lab, &args)
    };
    let read = |folder: &Path, dtype: &str| {
        run_python(READ, &[lab.prefix().as_os_str(), folder.as_os_str(), dtype.as_ref()]).trim().to_owned()
    };
    let (one, many, halves) = (lab.path("one"), lab.path("many"), lab.path("halves"));
    for (folder, more, dtype, files) in [
        (&one, &[][..], "float32", "1"),
        (&many, &["--rows-per-file", "5"], "float32", "12"),
        (&halves, &["--dtype", "f16", "--rows-per-file=59"], "float16", "2"),
    ] {
        let said = export(folder, more);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.err.contains("exported: 60 images"), "{said:?}");
        assert_eq!(read(folder, dtype), files);
    }
    let said = export(&one, &[]);
    assert!(said.code == 1 && said.err.contains("not empty"), "{said:?}");
    lab.remove_index();
    let said = import(&lab, many.to_str().unwrap(), &["--model", "demo"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(lab.rows(), before, "bit by bit");
}
