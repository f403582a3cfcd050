#!/usr/bin/env python3
"""Images/s beside the Python pipeline, in turn, on the same pictures, and how far the vectors deviate from its own.

    compare.py DATA [--rounds 3] [--precision auto] [--decode fast] [--save FILE] [--full]

DATA is what setup.sh made. A ratio is the median over rounds of ours / Python's, each pair measured one after the
other. Deviation is the distance to the reference vector divided by the median distance between two different
pictures (0 = the same; 1 = as far as another picture). The bound is what the same model and decoder reach alone on the
same processors, if they shared them without loss. --full adds fp32 (decoded exactly), ViT-L/14, and memory over 50,000
pictures with ViT-B/32: an hour.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile, time

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
    """One run of our worker: images/s without model loading, what it used, vectors by path."""
    index = out.parent
    subprocess.run(["rm", "-rf", index / "parts"], check=True)
    with open(index.with_suffix(".log"), "w+") as log:
        process = subprocess.Popen([BIN / "worker", "--image-list", listing, "--index-prefix", out, "--model", model,
                                    "--root", root, "--work-dir", index, *more], stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            log.seek(0)
            sys.exit(f"worker failed:\n{log.read()}")
    meta = json.loads(out.with_name(out.name + ".meta.json").read_text())
    # Linux counts the peak in KiB. Loading the model is in the core-seconds, as it is in a person's bill.
    used = {"peak_mib": usage.ru_maxrss / 1024, "core_seconds": usage.ru_utime + usage.ru_stime, "batch": meta["batch_size"]}
    return meta["num_images"] / meta["processing_time_seconds"], used, vectors(out)


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


def listing(folder, out, most=None):
    names = sorted(str(p) for p in folder.iterdir())[:most]
    out.write_text("\n".join(names) + "\n")
    return names


def overlap(ours, reference, k=10):
    """Part of each picture's k nearest neighbours that ours shares with the reference."""
    paths = sorted(set(ours) & set(reference))
    k = min(k, len(paths) - 1)
    near = []
    for vectors in (ours, reference):
        a = np.stack([vectors[p] for p in paths])
        near.append(np.argsort(-(a @ a.T), axis=1)[:, 1:k + 1])
    return np.mean([len(set(x) & set(y)) / k for x, y in zip(*near)])


def bound(model, folder, decode, precision, batch):
    """Images/s if nothing were lost between the stages: the model alone and decoding alone, sharing the processors."""
    # With large pages, as the worker.
    pages = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    run = lambda *command: subprocess.run(command, check=True, capture_output=True, text=True, env=pages).stdout
    encode = float(run(BIN / "examples" / "bare_loop", model, "auto", precision, str(batch), "4").split("threads: ")[1].split()[0])
    decoded = float(run(BIN / "examples" / "decode_loop", model, folder, decode, "3"))
    return encode, decoded, 1 / (1 / encode + 1 / decoded)


def compare(data, work, rounds, precision, decode, shape="b32", names=("S", "M", "L", "mixed"), most=None):
    model = data / shape
    rows = []
    print(f"{shape}, precision {precision}, decoded {decode}:")
    print(f"{'pictures':<9} {'Python/s':>8} {'ours/s':>7} {'ratio':>6} {'bound/s':>8} {'of it':>6} {'deviation mean':>14} {'worst':>7} "
          f"{'top-10':>7} {'peak MiB':>9} {'core-s/1000':>11}")
    for name in names:
        folder, images = data / name, work / f"{name}.txt"
        listing(folder, images, most)
        ratios, theirs, ours = [], [], []
        for _ in range(rounds if name != "mixed" else 1):
            peer, their_peak, reference = python_worker(model, images, work / f"peer_{name}")
            mine, used, got = our_worker(model, images, folder, work / name / "worker_0", "--precision", precision,
                                         "--decode", decode)
            theirs.append(peer), ours.append(mine), ratios.append(mine / peer)
        mean, worst, _ = deviation(got, reference)
        median = statistics.median
        row = {"model": shape, "precision": precision, "pictures": name, "python": median(theirs), "ours": median(ours), "ratio": median(ratios),
               "deviation_mean": float(mean), "deviation_worst": float(worst), "top_10": float(overlap(got, reference)),
               "peak_mib": used["peak_mib"], "python_peak_mib": their_peak,
               "core_seconds_per_1000": 1000 * used["core_seconds"] / len(got)}
        row["encode"], row["decode"], row["bound"] = bound(model, folder, decode, precision, used["batch"])
        rows.append(row)
        print(f"{name:<9} {row['python']:>8.1f} {row['ours']:>7.1f} {row['ratio']:>5.2f}x {row['bound']:>8.1f} "
              f"{row['ours'] / row['bound']:>6.0%} {mean:>14.5f} {worst:>7.4f} {row['top_10']:>7.1%} {row['peak_mib']:>9.0f} "
              f"{row['core_seconds_per_1000']:>11.1f}", flush=True)
    return rows


def memory(work, model, count):
    """Peak memory of the worker over many small pictures, sampled: flat after the warm-up. Each is there ten times."""
    folder = work / f"many-{count}"
    subprocess.run([BIN / "draw-demo-pictures", folder, "--count", str(count // 10), "--seed", "5"], check=True)
    for picture in list(folder.iterdir()):
        for copy in range(1, 10):
            os.link(picture, folder / f"{copy}-{picture.name}")
    images = work / "many.txt"
    listing(folder, images)
    process = psutil.Popen([BIN / "worker", "--image-list", images, "--index-prefix", work / "m" / "worker_0", "--model", model,
                            "--root", folder, "--work-dir", work], stderr=subprocess.DEVNULL)
    samples = []
    while process.poll() is None:
        try:
            samples.append(process.memory_info().rss / 2**20)
        except psutil.Error:
            break
        time.sleep(0.1)
    quarter = len(samples) // 4
    print(f"memory over {count:,} small pictures ({pathlib.Path(model).name}), MiB: "
          f"max of quarters {', '.join(f'{max(samples[i * quarter:(i + 1) * quarter]):.0f}' for i in range(4))}")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("data", type=pathlib.Path)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--many", type=int, default=10_000)
    args.add_argument("--precision", default="auto")
    args.add_argument("--decode", default="fast")
    args.add_argument("--full", action="store_true")
    args.add_argument("--shape", default="b32", help="b32 or l14, with 48 pictures of S and L")
    args.add_argument("--save", type=pathlib.Path, help="write the rows to this file, for chart.py")
    a = args.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        large = {"names": ("S", "L"), "most": 48} if a.shape == "l14" else {}
        rows = compare(a.data, work, a.rounds, a.precision, a.decode, a.shape, **large)
        if a.save:
            cpu = next((l.split(": ")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "")
            a.save.write_text(json.dumps({"machine": f"{os.cpu_count()} cores, {cpu}", "precision": a.precision,
                                          "decode": a.decode, "rows": rows}, indent=1) + "\n")
        memory(work, "demo", a.many)
        if a.full:
            compare(a.data, work, a.rounds, "fp32", "exact", names=("S", "L"))
            compare(a.data, work, a.rounds, a.precision, a.decode, "l14", ("S", "L"), 48)
            memory(work, a.data / "b32", 50_000)
        golden, pictures = BIN / "examples" / "golden", HERE.parent / "crates/clip/tests/golden"
        print("golden pictures and tokens, ViT-B/32:", flush=True)
        subprocess.run([golden, a.data / "b32", a.data / "golden-b32" / "golden.json", pictures, a.precision], check=True)


if __name__ == "__main__":
    main()
