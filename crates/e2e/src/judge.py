"""Looks at an index as any program in Python would, and tells what is wrong with it. One question a line on standard
input, one answer a line on standard output, both JSON. The argument is a parquet file whose vectors are right."""

import json
import os
import sys
from pathlib import Path

import faiss
import numpy
import polars

REFERENCE = polars.read_parquet(sys.argv[1])
REFERENCE = {Path(path).name: vector for path, vector in zip(REFERENCE["path"], REFERENCE["embedding"].to_numpy())}


def generation(prefix):
    """The files of the current generation, as the metadata names them."""
    meta = Path(f"{prefix}.meta.json")
    if not meta.exists():
        return []
    segments = json.loads(meta.read_text())["segments"]
    return [(Path(prefix, f"{s['name']}.parquet"), Path(prefix, f"{s['name']}.faiss")) for s in segments]


def together(parquet, faiss_file):
    """The table, and what is wrong if row i of it is not id i of the faiss file."""
    table = polars.read_parquet(parquet)
    index = faiss.read_index(str(faiss_file))
    if index.ntotal != len(table):
        return table, [f"{parquet} has {len(table)} rows, {faiss_file} {index.ntotal}"]
    vectors = index.reconstruct_n(0, index.ntotal)
    apart = numpy.flatnonzero((vectors != table["embedding"].to_numpy()).any(axis=1))
    return table, [f"row {i} of {parquet} is not id {i} of {faiss_file}" for i in apart[:5]]


def stood(**where):
    """As stand, while a merge may be taking parts in."""
    while True:
        try:
            return stand(**where)
        except FileNotFoundError:
            continue


def stand(prefix, images, root):
    """How many pictures stand, in the index or in parts, as they are now; the generation, and what is wrong with it."""
    tables, current, wrong = [], [], []
    for files in generation(prefix):
        table, apart = together(*files)
        tables.append(table)
        current += [os.path.relpath(path, root) for path in table["path"]]
        wrong += apart
    tables += [polars.read_parquet(part) for part in Path(prefix, "parts").glob("[!.]*.parquet")]
    standing = set()
    for table in tables:
        for path, size, mtime in zip(table["path"], table["size"], table["mtime_ns"]):
            below = os.path.relpath(path, root)
            try:
                now = os.stat(os.path.join(images, below))
            except FileNotFoundError:
                continue
            if (now.st_size, now.st_mtime_ns) == (size, mtime):
                standing.add(below)
    return {"stood": len(standing), "generation": sorted(current), "wrong": wrong}


def judge(prefix, root, expected):
    """What is wrong with a finished index, which is to hold these paths, each with the vector of that picture."""
    table, wrong = together(f"{prefix}.parquet", f"{prefix}.faiss")
    for parquet, faiss_file in generation(prefix):
        _, apart = together(parquet, faiss_file)
        wrong += apart
        if not polars.read_parquet(parquet).equals(table):
            wrong.append(f"{prefix}.parquet is not {parquet}")
    paths = [os.path.relpath(path, root) for path in table["path"]]
    if len(set(paths)) < len(paths):
        wrong.append(f"{len(paths) - len(set(paths))} rows come twice")
    wrong += [f"{path} is lost" for path in sorted(expected.keys() - set(paths))[:5]]
    wrong += [f"{path} should not be there" for path in sorted(set(paths) - expected.keys())[:5]]
    for path, vector in zip(paths, table["embedding"].to_numpy()):
        if path in expected and not vector @ REFERENCE[expected[path]] > 0.9999:
            wrong.append(f"{path} has the vector of another picture, {vector @ REFERENCE[expected[path]]:.4f}")
    return {"wrong": wrong}


print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"stood": stood, "judge": judge}[question.pop("ask")](**question)), flush=True)
