#!/usr/bin/env python3
"""Images/s beside the Python pipeline, in turn, on the same pictures, and how far the vectors deviate from its own.

    compare.py DATA [--rounds 3] [--quick]

DATA is what setup.sh made. A ratio is the median over rounds of ours / Python's, each pair measured one after the
other. Deviation is the distance to the reference vector divided by the median distance between two different
pictures (0 = the same; 1 = as far as another picture).
"""
import argparse, json, pathlib, statistics, subprocess, sys, tempfile, time

import numpy as np
import polars as pl
import psutil

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parent / "target" / "debug"


def python_worker(model, listing, out):
    """One run of the peer: its own figures, its vectors by path."""
    said = subprocess.run([sys.executable, HERE / "peer" / "python_worker.py", model, listing, out],
                          check=True, capture_output=True, text=True)
    figures = json.loads(said.stdout.splitlines()[-1])
    return figures["images_per_second"], figures["peak_rss_mib"], vectors(out)


def our_worker(model, listing, root, out, *more):
    """One run of our worker: images/s without model loading, peak memory in MiB, vectors by path."""
    index = out.parent
    subprocess.run(["rm", "-rf", index / "parts"], check=True)
    process = subprocess.Popen([BIN / "worker", "--image-list", listing, "--index-prefix", out, "--model", model,
                                "--root", root, "--work-dir", index, *more], stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    if process.returncode != 0:
        sys.exit(f"worker failed:\n{said}")
    meta = json.loads(out.with_name(out.name + ".meta.json").read_text())
    return meta["num_images"] / meta["processing_time_seconds"], None, vectors(out)


def vectors(prefix):
    table = pl.read_parquet(f"{prefix}.parquet")
    return dict(zip(table["path"], np.array(table["embedding"].to_list(), dtype="float32")))


def deviation(ours, reference):
    """Mean and worst deviation over pictures that both have, and how many that is."""
    paths = sorted(set(ours) & set(reference))
    a, b = np.stack([ours[p] for p in paths]), np.stack([reference[p] for p in paths])
    between = np.linalg.norm(b[:, None] - b[None], axis=2)[np.triu_indices(len(b), 1)]
    off = np.linalg.norm(a - b, axis=1) / np.median(between)
    return off.mean(), off.max(), len(paths)


def listing(folder, out):
    names = sorted(str(p) for p in folder.iterdir())
    out.write_text("\n".join(names) + "\n")
    return names


def compare(data, work, rounds):
    model = data / "b32"
    print(f"{'pictures':<10} {'Python/s':>9} {'ours/s':>9} {'ratio':>7} {'deviation mean':>15} {'worst':>8}")
    for name in ["S", "M", "L", "mixed"]:
        folder, images = data / name, work / f"{name}.txt"
        listing(folder, images)
        ratios, theirs, ours = [], [], []
        for _ in range(rounds if name != "mixed" else 1):
            peer, _, reference = python_worker(model, images, work / f"peer_{name}")
            mine, _, got = our_worker(model, images, folder, work / name / "worker_0")
            theirs.append(peer), ours.append(mine), ratios.append(mine / peer)
        mean, worst, _ = deviation(got, reference)
        median = statistics.median
        print(f"{name:<10} {median(theirs):>9.1f} {median(ours):>9.1f} {median(ratios):>6.2f}x {mean:>15.5f} {worst:>8.5f}", flush=True)


def memory(data, work, count):
    """Peak memory of the worker over many small pictures, sampled: flat after the warm-up."""
    folder = work / "many"
    subprocess.run([BIN / "draw-demo-pictures", folder, "--count", str(count), "--seed", "5"], check=True)
    images = work / "many.txt"
    listing(folder, images)
    process = psutil.Popen([BIN / "worker", "--image-list", images, "--index-prefix", work / "m" / "worker_0", "--model", "demo",
                            "--root", folder, "--work-dir", work], stderr=subprocess.DEVNULL)
    samples = []
    while process.poll() is None:
        try:
            samples.append(process.memory_info().rss / 2**20)
        except psutil.Error:
            break
        time.sleep(0.1)
    quarter = len(samples) // 4
    print(f"memory over {count:,} small pictures (demo model), MiB: "
          f"max of quarters {', '.join(f'{max(samples[i * quarter:(i + 1) * quarter]):.0f}' for i in range(4))}")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("data", type=pathlib.Path)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--many", type=int, default=10_000)
    a = args.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        compare(a.data, work, a.rounds)
        memory(a.data, work, a.many)
        golden, pictures = BIN / "examples" / "golden", HERE.parent / "crates/clip/tests/golden"
        print("golden pictures and tokens, ViT-B/32:", flush=True)
        subprocess.run([golden, a.data / "b32", a.data / "golden-b32" / "golden.json", pictures], check=True)


if __name__ == "__main__":
    main()
