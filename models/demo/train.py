"""Trains the demo model, a tiny CLIP, from scratch and writes it as ONNX into this folder.

    cargo build --release -p demo-pictures
    python -m venv venv && venv/bin/pip install torch==2.15.0 onnx onnxruntime tokenizers pillow numpy
    OMP_NUM_THREADS=1 venv/bin/python models/demo/train.py --drawer target/release/draw-demo-pictures --work /somewhere

One thread takes about 15 minutes and is as fast as many on a busy machine. `--work` keeps the drawn pictures and a
checkpoint of each epoch; the same command continues after a crash. Ship what it wrote: another processor may not
reproduce the bytes.
"""
import argparse, hashlib, json, math, pathlib, random, subprocess, time
import numpy as np, onnx, tokenizers, torch
from torch import nn
from torch.nn import functional as F
import words

HERE = pathlib.Path(__file__).parent
DIM, WIDTH, LENGTH, POOL, SIZE = 128, 64, 16, 4, 224
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # OpenAI's CLIP
KINDS, COLOURS, PLACES = list(words.KINDS), list(words.COLOURS), list(words.PLACES)


class Vision(nn.Module):
    """Pictures [N, 3, 224, 224] f32 -> [N, 128] f32. Its first layer only makes them smaller, so training skips it."""

    def __init__(self):
        super().__init__()
        layers, last = [], 3
        for channels, stride in [(32, 2), (48, 1), (96, 2), (128, 2), (128, 1)]:
            layers += [nn.Conv2d(last, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            last = channels
        self.features = nn.Sequential(*layers, nn.Conv2d(last, 256, 1), nn.ReLU())
        self.project = nn.Linear(512, DIM)

    def small(self, x):
        x = self.features(x)
        return self.project(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    def forward(self, pixel_values):
        return self.small(F.avg_pool2d(pixel_values, POOL))


class Block(nn.Module):
    """A transformer layer with 4 heads, norms first, written out so that it exports for any length."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x, bias):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 4, WIDTH // 4)).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // 4) + bias).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class Text(nn.Module):
    """Word ids [N, S] i64 and mask [N, S] i64 (1: a word, 0: padding) -> [N, 128] f32."""

    def __init__(self, vocabulary):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm, self.project = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, DIM)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.float()
        x = self.words(input_ids) + self.places((attention_mask.cumsum(1) - 1).clamp(0, LENGTH - 1))
        bias = (1 - mask)[:, None, None, :] * -1e4
        for block in self.blocks:
            x = block(x, bias)
        return self.project((self.norm(x) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


def make_tokenizer():
    """Whole words in lower case; punctuation is dropped, a strange word is [UNK]."""
    ids = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words.vocabulary()])}
    t = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, "[UNK]"))
    t.add_special_tokens(["[PAD]", "[UNK]"])
    t.normalizer = tokenizers.normalizers.Lowercase()
    t.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Punctuation("removed"), tokenizers.pre_tokenizers.WhitespaceSplit()])
    t.enable_padding(pad_id=0, pad_token="[PAD]", length=LENGTH)  # Never empty, not even for an empty query.
    t.enable_truncation(LENGTH)
    return t


def drawn(drawer, count, seed, work):
    """Small pictures [count, 56, 56, 3] u8 and what they show, kept in `work`."""
    pixels, truth = work / f"pictures-{seed}-{count}.npy", work / f"pictures-{seed}-{count}.json"
    if not truth.exists():
        command = [drawer, "--raw", SIZE, "--count", count, "--seed", seed, "--two", 0.5, "--truth", truth]
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE)
        small = np.lib.format.open_memmap(pixels, "w+", np.uint8, (count, SIZE // POOL, SIZE // POOL, 3))
        for i in range(count):
            frame = np.frombuffer(process.stdout.read(SIZE * SIZE * 3), np.uint8)
            small[i] = frame.reshape(SIZE // POOL, POOL, SIZE // POOL, POOL, 3).mean((1, 3))
        if process.wait():
            raise SystemExit(f"{drawer} failed")
    pictures = json.loads(truth.read_text())["pictures"]
    scenes = [([(t["kind"], t["colour"]) for t in p["things"]], p["background"]) for p in pictures]
    return np.load(pixels, mmap_mode="r"), scenes


def index(kind, colour):
    """A fact's number; its last row and column mean that the kind or colour is not said."""
    return (KINDS.index(kind) if kind else len(KINDS)) * (len(COLOURS) + 1) + (COLOURS.index(colour) if colour else len(COLOURS))


def table(scenes):
    """Which facts hold of each picture [N, 187] and which backgrounds, the last meaning any, [N, 7]; bool."""
    facts = torch.zeros(len(scenes), (len(KINDS) + 1) * (len(COLOURS) + 1), dtype=torch.bool)
    places = torch.zeros(len(scenes), len(PLACES) + 1, dtype=torch.bool)
    for i, (things, place) in enumerate(scenes):
        places[i, [PLACES.index(place), -1]] = True
        for kind, colour in [(None, None), *things]:
            facts[i, [index(kind, colour), index(kind, None), index(None, colour)]] = True
    return facts, places


def truth(claims, facts, places):
    """Which caption is true of which picture: [captions, pictures] bool."""
    unsaid, anywhere = (None, None), len(PLACES)
    one, two = ([index(*(claim + [unsaid] * 2)[k]) for claim, _ in claims] for k in (0, 1))
    where = [PLACES.index(place) if place else anywhere for _, place in claims]
    return (facts[:, one] & facts[:, two] & places[:, where]).T


def claims_about(scenes, rng):
    """Two captions a picture and, for each picture of two things, one that swaps their colours: mostly false."""
    claims = [words.caption(*scene, rng) for scene in scenes for _ in range(2)]
    for things, _ in scenes:
        if len(things) == 2:
            (kind, colour), (other_kind, other_colour) = rng.sample(things, 2)
            swapped = [(kind, other_colour), (other_kind, colour)]
            claims.append((swapped[: rng.choice([1, 1, 2])], None))
    return claims


def loss(images, texts, true, scale):
    """InfoNCE in both directions where several captions are true of a picture: its target is their mean."""
    logits = F.normalize(texts, dim=1) @ F.normalize(images, dim=1).T * scale.exp().clamp(max=100)
    both = [(logits[true.any(1)], true[true.any(1)]), (logits.T, true.T)]
    return sum(-(l.log_softmax(1) * t).sum(1).div(t.sum(1)).mean() for l, t in both) / 2


def train(vision, text, tokenizer, pixels, scenes, epochs, work, batch=256, peak=2e-3):
    torch.manual_seed(0)
    scale = nn.Parameter(torch.tensor(math.log(14.0)))
    params = [*vision.parameters(), *text.parameters(), scale]
    steps = len(scenes) // batch
    optimizer = torch.optim.AdamW(params, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, epochs * steps, pct_start=0.06)
    parts = {"vision": vision, "text": text, "optimizer": optimizer, "schedule": schedule}
    checkpoint, first = work / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        first, scale.data = saved["epoch"], saved["scale"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    facts, places = table(scenes)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    for epoch in range(first, epochs):
        rng, total, begin = random.Random(epoch), 0.0, time.time()
        order = rng.sample(range(len(scenes)), len(scenes))
        for step in range(steps):
            rows = sorted(order[step * batch : (step + 1) * batch])
            x = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255
            claims = claims_about([scenes[i] for i in rows], rng)
            tokens = tokenizer.encode_batch([words.say(*claim, rng) for claim in claims])
            ids, mask = torch.tensor([t.ids for t in tokens]), torch.tensor([t.attention_mask for t in tokens])
            with torch.autocast("cpu", torch.bfloat16):
                images, texts = vision.small((x - mean) / std), text(ids, mask)
            value = loss(images.float(), texts.float(), truth(claims, facts[rows], places[rows]), scale)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            schedule.step()
            total += value.item()
            if step % 50 == 0:
                print(f"epoch {epoch + 1}/{epochs}  step {step}/{steps}  loss {total / (step + 1):.3f}  {time.time() - begin:.0f} s", flush=True)
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "epoch": epoch + 1, "scale": scale.data}, checkpoint)


def export(model, inputs, names, output, sizes, path):
    """One ONNX file without external data and without the exporter's notes, which name files of this machine."""
    path.parent.mkdir(exist_ok=True)
    shapes = {name: {i: size for i, size in enumerate(sizes)} for name in names}
    torch.onnx.export(model.eval(), inputs, path, input_names=names, output_names=[output], opset_version=17,
                      dynamic_axes={**shapes, output: {0: "batch"}}, dynamo=False)
    proto = onnx.load(path)
    proto.doc_string = ""
    del proto.metadata_props[:]
    for item in [proto.graph, *proto.graph.node, *proto.graph.initializer, *proto.graph.value_info, *proto.graph.input, *proto.graph.output]:
        item.doc_string = ""
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def write_configs(vocabulary):
    """The two files that say how to use the model, laid out as Hugging Face's CLIP."""
    config = {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": DIM,
        "text_config": {"model_type": "clip_text_model", "vocab_size": vocabulary, "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH,
                        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": LENGTH, "pad_token_id": 0,
                        "projection_dim": DIM},
        "vision_config": {"model_type": "clip_vision_model", "image_size": SIZE, "num_channels": 3, "projection_dim": DIM},
    }
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor", "feature_extractor_type": "CLIPFeatureExtractor",
        "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": SIZE}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": SIZE, "width": SIZE},
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD,
    }
    (HERE / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (HERE / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--drawer", required=True, help="the program draw-demo-pictures")
    args.add_argument("--work", required=True, type=pathlib.Path, help="a folder for pictures and checkpoints")
    args.add_argument("--count", type=int, default=40_000)
    args.add_argument("--epochs", type=int, default=16)
    args.add_argument("--seed", type=int, default=11, help="of the pictures")
    a = args.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    vision, text = Vision().to(memory_format=torch.channels_last), Text(tokenizer.get_vocab_size())
    train(vision, text, tokenizer, *drawn(a.drawer, a.count, a.seed, a.work), a.epochs, a.work)
    vision.to(memory_format=torch.contiguous_format)
    export(vision, (torch.zeros(2, 3, SIZE, SIZE),), ["pixel_values"], "image_embeds", ["batch"], HERE / "onnx/vision_model.onnx")
    ids = torch.ones(2, 5, dtype=torch.int64)
    export(text, (ids, ids), ["input_ids", "attention_mask"], "text_embeds", ["batch", "sequence"], HERE / "onnx/text_model.onnx")
    write_configs(tokenizer.get_vocab_size())
    tokenizer.save(str(HERE / "tokenizer.json"))
    files = ["config.json", "preprocessor_config.json", "tokenizer.json", "onnx/vision_model.onnx", "onnx/text_model.onnx"]
    sums = [f"{hashlib.sha256((HERE / name).read_bytes()).hexdigest()}  {name}\n" for name in files]
    (HERE / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main()
