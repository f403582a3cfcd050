"""Measures the demo model as it ships: ONNX files and tokenizer, on fresh pictures read back from disk.

    cargo build --release -p demo-pictures
    OMP_NUM_THREADS=1 venv/bin/python models/demo/evaluate.py --drawer target/release/draw-demo-pictures

A query's precision@1 is 1 if the picture that ranks first shows what it says.
"""
import argparse, io, json, pathlib, subprocess, tempfile, time
import numpy as np, onnxruntime, tokenizers
from PIL import Image
from words import COLOURS, KINDS, PLACES

HERE = pathlib.Path(__file__).parent


def session(name):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(HERE / "onnx" / name, options, providers=["CPUExecutionProvider"])


VISION, TEXT = session("vision_model.onnx"), session("text_model.onnx")
TOKENIZER = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
HOW = json.loads((HERE / "preprocessor_config.json").read_text())


def pixels(picture):
    """[3, 224, 224] f32, as CLIPImageProcessor: shortest edge to 224 (bicubic), centre crop, normalise."""
    picture, side = picture.convert("RGB"), HOW["size"]["shortest_edge"]
    short = min(picture.size)
    picture = picture.resize([side * edge // short for edge in picture.size], HOW["resample"])
    left, top = ((edge - side) // 2 for edge in picture.size)
    values = np.asarray(picture.crop((left, top, left + side, top + side)), "float32") * HOW["rescale_factor"]
    return ((values - HOW["image_mean"]) / HOW["image_std"]).transpose(2, 0, 1).astype("float32")


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def embed_pictures(pictures, batch=8):
    """[N, D] f32, normalised, and the encoder's milliseconds a picture."""
    out, seconds = [], 0.0
    for i in range(0, len(pictures), batch):
        x = np.stack([pixels(p) for p in pictures[i : i + batch]])
        begin = time.perf_counter()
        out += VISION.run(None, {"pixel_values": x})
        seconds += time.perf_counter() - begin
    return unit(np.concatenate(out)), 1000 * seconds / len(pictures)


def embed_texts(texts):
    tokens = TOKENIZER.encode_batch(texts)
    ids, mask = (np.array([getattr(t, name) for t in tokens], "int64") for name in ("ids", "attention_mask"))
    return unit(TEXT.run(None, {"input_ids": ids, "attention_mask": mask})[0])


def draw(drawer, folder, count, seed, two):
    """[(picture, things, background)] of freshly drawn files."""
    truth = folder / "truth.json"
    command = [drawer, folder / "pictures", "--count", count, "--seed", seed, "--two", two, "--plain-names", "--truth", truth]
    subprocess.run([str(c) for c in command], check=True)
    pictures = json.loads(truth.read_text())["pictures"]
    things = lambda p: [(t["kind"], t["colour"]) for t in p["things"]]
    return [(Image.open(folder / "pictures" / p["file"]), things(p), p["background"]) for p in pictures]


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def questions():
    """Sets of queries: name -> [(query, kind or None, colour or None, background or None)]."""
    pairs = [(kind, colour) for kind in KINDS for colour in COLOURS]
    asked = lambda form: [(form(f"{c} {k}"), k, c, None) for k, c in pairs]
    return {
        "a yellow car": asked(article),
        "yellow car": asked(str),
        "YELLOW CAR!": asked(lambda words: words.upper() + "!"),
        "a photo of a yellow car": asked(lambda words: "a photo of " + article(words)),
        "please find my shiny yellow car": asked(lambda words: f"please find my shiny {words}"),
        "a yellow car on the grass": [(f"{article(c + ' ' + k)} {PLACES[p][1]}", k, c, p) for k, c in pairs for p in PLACES],
        "a car": [(article(k), k, None, None) for k in KINDS],
        "yellow": [(c, None, c, None) for c in COLOURS],
        "a car at night": [(f"{article(k)} {PLACES[p][0]}", k, None, p) for k in KINDS for p in PLACES],
        "grass": [(p, None, None, p) for p in PLACES],
    }


def shows(scene, kind, colour, place):
    _, things, background = scene
    return place in (None, background) and any(kind in (None, k) and colour in (None, c) for k, c in things)


def precision(scenes, images, asked):
    """Mean precision@1 and @5 over the queries that some (five) pictures answer, and how many queries @1 counts."""
    scores = embed_texts([words for words, *_ in asked]) @ images.T
    first, five = [], []
    for row, (words, *facts) in zip(scores, asked):
        true = np.array([shows(scene, *facts) for scene in scenes])
        ranked = true[np.argsort(-row)]
        first += [ranked[0]] if true.any() else []
        five += [ranked[:5].mean()] if true.sum() >= 5 else []
    return np.mean(first), np.mean(five) if five else float("nan"), len(first)


def again(picture, **how):
    """The picture after being saved once more."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, **how)
    return Image.open(buffer)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--drawer", required=True, help="the program draw-demo-pictures")
    args.add_argument("--count", type=int, default=1000)
    args.add_argument("--seed", type=int, default=4242, help="of the fresh pictures; training used 11")
    a = args.parse_args()
    for i, (title, two) in enumerate([("42 % with two things", 0.42), ("one thing each", 0.0)]):
        with tempfile.TemporaryDirectory() as folder:
            scenes = draw(a.drawer, pathlib.Path(folder), a.count, a.seed + i, two)
            pictures = [scene[0] for scene in scenes]
            images, ms = embed_pictures(pictures)
            print(f"\n{a.count} pictures, {title}; image encoder {ms:.2f} ms a picture on one thread")
            print(f"{'queries such as':34} {'number':>6} {'P@1':>6} {'P@5':>6}")
            for name, asked in questions().items():
                first, five, number = precision(scenes, images, asked)
                print(f"{name:34} {number:6} {first:6.3f} {five:6.3f}")
            for kind in ("JPEG", "WEBP"):
                worse, _ = embed_pictures([again(p, format=kind, quality=50) for p in pictures[:200]])
                cosine = (worse * images[:200]).sum(1)
                print(f"saved again as {kind}, quality 50: cosine at least {cosine.min():.4f}, mean {cosine.mean():.4f}")


if __name__ == "__main__":
    main()
