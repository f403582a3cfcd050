#!/usr/bin/env python3
"""Makes the golden pictures and what the reference makes of them, and of words.

    python make.py MODEL_DIR OUT [--pictures]

OUT/golden.json gets, for each picture of this folder, the SHA-256 of its upright RGB pixels and its reference vector;
for each text its ids and its vector. The reference: Pillow, transformers' CLIPImageProcessor and tokenizer, and the
model's ONNX files run by onnxruntime in fp32, L2-normalised. --pictures makes the pictures anew (all synthetic, seeded).

    pip install numpy pillow tifffile torch torchvision transformers onnxruntime
"""
import argparse, hashlib, json, pathlib, struct, zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

HERE = pathlib.Path(__file__).parent
Image.MAX_IMAGE_PIXELS = None

TEXTS = [
    "a yellow car", "A Yellow CAR", "a  yellow\tcar\n", "", " ", "car", "cars", "two dogs and a cat", "it's a dog, isn't it?",
    "don't we'll they've I'd you're I'm", "42", "1234567890", "3.14 + 2,72 = ?", "100%!!!", "café", "cafe\u0301", "Zürich",
    "naïve façade", "Straße", "ÀÉÎÕÜ", "İstanbul", "ﬁne ligatures", "日本", "日本 の 車", "東京タワー", "한국어", "Привет, мир", "γειά σου",
    "שלום", "مرحبا", "हिन्दी", "ไทย", "🚗", "a 🚗 in the rain ☔️", "👨‍👩‍👧‍👦 family", "🇨🇭", "e\u0301\u0323", "\u200bzero\u200bwidth",
    "a\u00a0no-break space", "under_score", "hyphen-ated-word", "back\\slash/slash", "\"quoted\" 'text' “curly”", "<|endoftext|> inside",
    "<b>html</b> &amp; entities", "[PAD] [UNK] [CLS]", "http://example.org/a?b=c#d", "a photo of a " + "very " * 90 + "old car",
    "word " * 200, "x" * 500, "red blue green yellow orange purple pink brown white black car bus truck house tree flower fish",
    "!?.,;:()[]{}", "AaBbCc123", "tree\0tree",
]
# Of these the vectors are compared too.
SPOKEN = ["a yellow car", "café 日本 🚗", "a photo of a " + "very " * 90 + "old car", "blue fish"]


def scene(seed, width, height, shapes=9, grain=None):
    """A picture of soft colours, shapes and grain, as different as photos are, f64 [H, W, 3] in 0..255."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (3, 4, 3)).astype("uint8")
    im = Image.fromarray(base).resize((width, height), Image.BICUBIC)
    draw = ImageDraw.Draw(im)
    for _ in range(shapes):
        x, y = rng.uniform(-0.2, 1, 2) * (width, height)
        w, h = rng.uniform(0.1, 0.6, 2) * (width, height)
        box, colour = (x, y, x + max(w, 1), y + max(h, 1)), tuple(int(c) for c in rng.integers(0, 256, 3))
        getattr(draw, rng.choice(["ellipse", "rectangle"]))(box, fill=colour)
        draw.line([tuple(rng.uniform(0, 1, 2) * (width, height)) for _ in range(3)], fill=colour, width=max(1, width // 60))
    noise = rng.normal(0, rng.uniform(2, 10) if grain is None else grain, (height, width, 1))
    return np.clip(np.asarray(im).astype(float) + noise, 0, 255)


def rgb(seed, width, height, **k):
    return Image.fromarray(scene(seed, width, height, **k).round().astype("uint8"))


def png16(path, values, colour_type):
    """A 16-bit PNG, which Pillow cannot write in colour. values: u16 [H, W] or [H, W, C]."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def gif_with_small_frame(path):
    """A GIF whose first frame does not fill its screen and has a transparent colour."""
    frame = rgb(40, 60, 50).quantize(16)
    palette = bytes(frame.getpalette()[:48])
    frame.save(HERE / "tmp.gif")
    data = (HERE / "tmp.gif").read_bytes()
    (HERE / "tmp.gif").unlink()
    pixels = data[data.index(b"\x2c") + 10 + (3 * 2 ** ((data[data.index(b"\x2c") + 9] & 7) + 1) if data[data.index(b"\x2c") + 9] & 0x80 else 0):]
    path.write_bytes(
        b"GIF89a" + struct.pack("<HHBBB", 100, 80, 0x83, 0, 0) + palette
        + b"\x21\xf9\x04\x01\0\0\x05\0" + b"\x2c" + struct.pack("<HHHHB", 20, 10, 60, 50, 0) + pixels)


def make_pictures():
    import tifffile

    def exif(orientation):
        e = Image.Exif()
        e[0x0112] = orientation
        return e

    save = lambda im, name, **k: im.save(HERE / name, **k)
    save(rgb(1, 640, 480), "landscape.jpg", quality=85)
    save(rgb(41, 1600, 1200, shapes=40, grain=1.5), "large.jpg", quality=70)
    save(rgb(2, 300, 451), "portrait.jpg", quality=90, subsampling=0)
    save(rgb(3, 3, 2, shapes=2), "tiny.png")
    save(huge(), "huge.png", bits=2, optimize=True)
    save(rgb(5, 1, 600), "thin.png")
    save(rgb(6, 700, 1), "flat.png")
    save(rgb(7, 320, 240).convert("L"), "grey.jpg")
    save(rgb(8, 120, 150).convert("LA"), "grey_alpha.png")
    save(rgb(9, 160, 120).quantize(64), "palette.png", optimize=True)
    palette = rgb(10, 150, 170).quantize(40)
    save(palette, "palette_transparent.png", transparency=bytes([0, 128, 255, 7]), optimize=True)
    alpha = rgb(11, 140, 110)
    alpha.putalpha(Image.fromarray(scene(12, 140, 110)[:, :, 0].astype("uint8")))
    save(alpha, "alpha.png")
    save(rgb(13, 260, 200).convert("CMYK"), "cmyk.jpg", quality=85)
    save(rgb(14, 400, 300), "progressive.jpg", progressive=True, quality=80)
    png16(HERE / "grey16.png", (scene(15, 100, 90)[:, :, 1] * 257).astype("uint16"), 0)
    png16(HERE / "rgb16.png", (scene(16, 90, 70) * 257).astype("uint16"), 2)
    for seed, orientation, name in [(17, 6, "turned_6.jpg"), (18, 8, "turned_8.jpg"), (19, 3, "turned_3.jpg"), (20, 5, "turned_5.jpg"),
                                    (21, 7, "turned_7.png"), (22, 2, "turned_2.webp"), (23, 4, "turned_4.tiff")]:
        save(rgb(seed, 200, 130), name, exif=exif(orientation), **({"quality": 80} if name.endswith(("jpg", "webp")) else {}),
             **({"compression": "tiff_lzw"} if name.endswith("tiff") else {}))
    save(rgb(24, 130, 90), "animated.gif", save_all=True, append_images=[rgb(25, 130, 90), rgb(26, 130, 90)], duration=100)
    gif_with_small_frame(HERE / "small_frame.gif")
    save(rgb(27, 260, 180), "lossy.webp", quality=80)
    translucent = rgb(28, 90, 70)
    translucent.putalpha(Image.fromarray(scene(29, 90, 70)[:, :, 2].astype("uint8")))
    save(translucent, "lossless.webp", lossless=True, exact=True)
    save(rgb(30, 120, 100), "lzw.tiff", compression="tiff_lzw")
    save(rgb(31, 110, 90).quantize(32), "palette.tiff", compression="tiff_adobe_deflate")
    save(rgb(32, 200, 150).convert("1"), "bilevel.tiff", compression="group4")
    save(rgb(33, 80, 60).convert("CMYK"), "cmyk.tiff", compression="tiff_lzw")
    save(rgb(34, 200, 150), "jpeg.tiff", compression="jpeg", quality=85)
    tifffile.imwrite(HERE / "grey16.tiff", (scene(35, 90, 80)[:, :, 0] * 257).astype("uint16"), photometric="minisblack", compression="zlib")
    tifffile.imwrite(HERE / "float.tiff", scene(36, 60, 50)[:, :, 0].astype("float32"), photometric="minisblack")
    tifffile.imwrite(HERE / "white_is_zero.tiff", scene(37, 60, 50)[:, :, 0].astype("uint8"), photometric="miniswhite", compression="zlib")
    save(rgb(38, 70, 50), "rgb.bmp")
    save(rgb(39, 90, 60).quantize(200), "palette.bmp")


def huge():
    """48 million pixels of few colours, in a small file."""
    small = rgb(4, 800, 600, shapes=14).filter(ImageFilter.MedianFilter(9)).quantize(4, dither=0)
    return small.resize((8000, 6000), Image.NEAREST)


def load(path):
    """RGB as a person sees it: EXIF orientation applied, 16-bit grey scaled (not clipped), alpha dropped, CMYK as Pillow converts."""
    im = ImageOps.exif_transpose(Image.open(path))
    if im.mode.startswith("I"):
        im = Image.fromarray((np.asarray(im).astype("uint32") // 257).clip(0, 255).astype("uint8"))
    im = im.convert("RGB")
    # A colour that was transparent is remembered here, and the processor would paint it white after all.
    im.info.pop("transparency", None)
    return im


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype("float32")


def short(vector):
    return [float(f"{v:.7g}") for v in vector]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", type=pathlib.Path)
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--pictures", action="store_true")
    a = args.parse_args()
    if a.pictures:
        make_pictures()
    import onnxruntime
    from transformers import CLIPImageProcessor, PreTrainedTokenizerFast

    session = lambda name: onnxruntime.InferenceSession(str(a.model / "onnx" / name), providers=["CPUExecutionProvider"])
    processor, vision, text = CLIPImageProcessor.from_pretrained(a.model), session("vision_model.onnx"), session("text_model.onnx")
    pictures = {}
    for path in sorted(p for p in HERE.iterdir() if p.suffix in {".jpg", ".png", ".gif", ".webp", ".tiff", ".bmp"}):
        im = load(path)
        pixels = processor(images=[im], return_tensors="np")["pixel_values"]
        vector = unit(vision.run(["image_embeds"], {"pixel_values": pixels})[0])[0]
        pictures[path.name] = {"size": im.size, "rgb_sha256": hashlib.sha256(im.tobytes()).hexdigest(), "vector": short(vector)}
    config = json.loads((a.model / "config.json").read_text())
    context = config["text_config"].get("max_position_embeddings", 77)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(a.model / "tokenizer.json"), model_max_length=context)
    ids = {t: tokenizer(t, truncation=True, padding=False)["input_ids"] for t in TEXTS}
    texts = {}
    for t in SPOKEN:
        one = np.array([tokenizer(t, truncation=True, padding=False)["input_ids"]], dtype="int64")
        inputs = {"input_ids": one, "attention_mask": np.ones_like(one)}
        wanted = {i.name for i in text.get_inputs()}
        texts[t] = short(unit(text.run(["text_embeds"], {k: v for k, v in inputs.items() if k in wanted})[0])[0])
    a.out.mkdir(parents=True, exist_ok=True)
    golden = {"model": a.model.resolve().name, "pictures": pictures, "tokens": [[t, i] for t, i in ids.items()], "texts": [[t, v] for t, v in texts.items()]}
    dump = lambda v: json.dumps(v, ensure_ascii=True)
    lines = ['{"model": ' + dump(golden["model"]) + ',\n"pictures": {']
    lines.append(",\n".join(dump(k) + ": " + dump(v) for k, v in pictures.items()))
    lines.append('},\n"tokens": [\n' + ",\n".join(dump(v) for v in golden["tokens"]) + '\n],\n"texts": [\n' + ",\n".join(dump(v) for v in golden["texts"]) + "\n]}")
    (a.out / "golden.json").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
