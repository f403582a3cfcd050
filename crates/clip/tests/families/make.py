#!/usr/bin/env python3
"""Makes small models of several families, and what the family's own program makes of pictures and texts with them.

    python make.py [FAMILY...]

Each gets a folder here in Hugging Face layout: random weights, a tokenizer of the family's own class trained on a few
captions, the text graph with an open length (onnx/text_model.onnx) and with a fixed one (onnx/text_model_fixed.onnx), and
reference.json with the L2-normalised vectors. processors.json is what transformers' processors make of other settings. The reference is PyTorch with transformers or open_clip, never ONNX
Runtime: text is padded and masked as that program's own processor does. All is seeded.

    pip install "transformers<5" torch torchvision open-clip-torch timm onnx sentencepiece protobuf pillow
"""
import argparse, collections, gzip, io, itertools, json, pathlib, re, shutil, tempfile

import numpy as np
import onnx
import torch
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
PICTURES = ["alpha.png", "landscape.jpg", "lossless.webp", "palette.png", "portrait.jpg", "rgb.bmp", "turned_6.jpg"]
TEXTS = [
    "a yellow car", "A Yellow CAR!", "car", "two dogs, and a cat", "it's a dog, isn't it?", "A photo of: one RED (old) house.",
    "café", "42 blue fish", "a small boat on a lake under a grey sky", "tree-house", "a photo of a " + "very " * 30 + "old car",
]
CAPTIONS = [
    f"{a} {c} {n} {w}" for a, c, n, w in itertools.product(
        ["a", "one", "two", "the", "a photo of a"], ["yellow", "red", "blue", "old", "small", "grey", "very old"],
        ["car", "dog", "cat", "house", "boat", "fish", "tree"], ["on a lake", "under a grey sky", "in the rain", "and a cat", "it's his", "isn't it", "42"])
]
SIDE, WIDTH, DIM = 32, 16, 16


def randomise(model, seed):
    """Weights large enough that different inputs give different vectors. Of each only the upper half of the bits, which compress."""
    torch.manual_seed(seed)
    model.eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                # Rows of an embedding are as large as what a layer gives; a matrix keeps the size of what it is given.
                rows = "embed" in name or "positional" in name
                p.normal_(0, 1.0 if rows and "patch" not in name else 1.3 / np.prod(p.shape[1:]) ** 0.5)
            elif "norm" in name or "ln_" in name or "bn" in name:
                p.normal_(1 if name.endswith("weight") else 0, 0.1)
            elif p.dim() == 1:
                p.normal_(0, 0.1)
            p.copy_(p.bfloat16().float())
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.normal_(0, 0.1).copy_(b.bfloat16().float())
    return model


class Call(torch.nn.Module):
    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *inputs):
        return self.call(self.model, *inputs)


def export(model, call, inputs, names, output, path, dynamic):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        Call(model, call).eval(), inputs, str(path), input_names=names, output_names=[output], opset_version=17, dynamo=False,
        dynamic_axes={**{n: dynamic for n in names}, output: {0: "batch"}})
    graph = onnx.load(path)
    for node in graph.graph.node:
        # Where in the Python sources it comes from, which is most of the file.
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    onnx.save(graph, path)


def unit(x):
    return torch.nn.functional.normalize(x.detach().double(), dim=-1).numpy()


def short(vector):
    return [float(f"{v:.7g}") for v in vector]


def load(name):
    im = ImageOps.exif_transpose(Image.open(HERE.parent / "golden" / name)).convert("RGB")
    im.info.pop("transparency", None)
    return im


def write(folder, model, image, text, inputs, names, processor, config):
    """The graphs and the reference. `inputs` gives for texts what the family's processor makes of them, [N, S] each."""
    pixels = torch.cat([processor(images=[load(name)], return_tensors="pt")["pixel_values"] for name in PICTURES])
    one = inputs(TEXTS[:2])
    export(model, image, (pixels[:2],), ["pixel_values"], "image_embeds", folder / "onnx/vision_model.onnx", {0: "batch"})
    export(model, text, one, names, "text_embeds", folder / "onnx/text_model.onnx", {0: "batch", 1: "length"})
    export(model, text, one, names, "text_embeds", folder / "onnx/text_model_fixed.onnx", {0: "batch"})
    with torch.no_grad():
        pictures = unit(image(model, pixels))
        texts = unit(text(model, *inputs(TEXTS)))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    lines = lambda items: "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"
    (folder / "reference.json").write_text(
        '{"pictures": ' + lines([n, short(v)] for n, v in zip(PICTURES, pictures))
        + ',\n"texts": ' + lines([t, short(v)] for t, v in zip(TEXTS, texts)) + "}\n")
    scores = texts @ pictures.T
    print(folder.name, "scores from", scores.min().round(3), "to", scores.max().round(3), "spread", scores.std().round(3))


def keep(folder, tokenizer, **more):
    """tokenizer.json and tokenizer_config.json of a tokenizer; the first without what an earlier call asked for."""
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str())
    keys = ["tokenizer_class", "model_max_length", "pad_token", "unk_token", "do_lower_case", "padding_side"]
    config = {**tokenizer.init_kwargs, **more}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: str(v) if k.endswith("_token") else v for k, v in config.items() if k in keys}, indent=1) + "\n")


def preprocessor(folder, **config):
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=1) + "\n")


def learn(words, count):
    """The first merges of byte pair encoding. Ties are broken by spelling, which tokenizers' own trainer leaves to chance."""
    words, merges = collections.Counter(map(tuple, words)), []
    for _ in range(count):
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged = collections.Counter()
        for word, times in words.items():
            out = []
            for symbol in word:
                if out and (out[-1], symbol) == best:
                    out[-1] += symbol
                else:
                    out.append(symbol)
            merged[tuple(out)] += times
        words = merged
    return merges


def bpe(folder):
    """vocab.json, merges.txt and open_clip's form of them, in OpenAI's order: bytes, bytes that end a word, merges, special tokens."""
    from open_clip.tokenizer import bytes_to_unicode
    words = [word for caption in CAPTIONS for word in re.findall(r"'s|'t|[a-z]+|[0-9]", caption)]
    merges = learn([[*word[:-1], word[-1] + "</w>"] for word in words], 70)
    letters = list(bytes_to_unicode().values())
    vocab = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(vocab)) == len(vocab)
    lines = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (folder / "merges.txt").write_text(lines)
    (folder / "bpe.txt.gz").write_bytes(gzip.compress(lines.strip().encode()))
    return len(vocab)


def spm(path, **options):
    import sentencepiece
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS + [c.upper() for c in CAPTIONS[:40]]), model_writer=model, model_type="unigram", hard_vocab_limit=False,
        vocab_size=140, minloglevel=2, **options)
    path.write_bytes(model.getvalue())
    return path


CLIP_MEAN = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
CLIP_STEPS = dict(
    image_processor_type="CLIPImageProcessor", do_resize=True, size={"shortest_edge": SIDE}, resample=3, do_center_crop=True,
    crop_size={"height": SIDE, "width": SIDE}, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, **CLIP_MEAN)
SMALL = dict(hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=2)
PATCHES = dict(image_size=SIDE, patch_size=8)


def clip_tokenizer(folder, tmp, length, **more):
    from transformers import CLIPTokenizerFast
    size = bpe(tmp)
    tokenizer = CLIPTokenizerFast(str(tmp / "vocab.json"), str(tmp / "merges.txt"), model_max_length=length)
    keep(folder, tokenizer, tokenizer_class="CLIPTokenizer", do_lower_case=True, **more)
    return tokenizer, size


def clip(folder, tmp):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel
    length = 24
    tokenizer, size = clip_tokenizer(folder, tmp, length)
    special = dict(bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1)
    config = CLIPConfig(
        text_config=dict(SMALL, vocab_size=size, max_position_embeddings=length, **special), vision_config=dict(SMALL, **PATCHES), projection_dim=DIM)
    config._attn_implementation = "eager"
    model = randomise(CLIPModel(config), 1)
    inputs = lambda texts: tuple(tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")[k] for k in ["input_ids", "attention_mask"])
    preprocessor(folder, **CLIP_STEPS)
    write(
        folder, model, lambda m, p: m.get_image_features(p), lambda m, i, a: m.get_text_features(i, a), inputs, ["input_ids", "attention_mask"],
        CLIPImageProcessor.from_pretrained(folder),
        {"model_type": "clip", "text_config": {"model_type": "clip_text_model", "max_position_embeddings": length, "pad_token_id": size - 1}, "vision_config": PATCHES})


def open_clip_model(vision, text, custom=False):
    import open_clip
    kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
    return kind(embed_dim=DIM, vision_cfg=vision, text_cfg=text)


def openclip(folder, tmp):
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPImageProcessor
    length = 20
    # open_clip pads with 0, which is "!" within a word.
    _, size = clip_tokenizer(folder, tmp, length, pad_token="!")
    tokenizer = SimpleTokenizer(str(tmp / "bpe.txt.gz"), context_length=length)
    model = open_clip_model(
        dict(image_size=SIDE, patch_size=8, width=WIDTH, head_width=8, layers=2),
        dict(context_length=length, vocab_size=size, width=WIDTH, heads=2, layers=2))
    randomise(model, 2)
    preprocessor(folder, **CLIP_STEPS)
    # Neither a text_config nor the text length: both come from the tokenizer.
    write(
        folder, model, lambda m, p: m.encode_image(p), lambda m, i: m.encode_text(i), lambda texts: (tokenizer(texts),), ["input_ids"],
        CLIPImageProcessor.from_pretrained(folder), {"model_type": "clip", "vision_config": PATCHES})


def mobileclip_s(folder, tmp):
    import timm
    from open_clip.tokenizer import SimpleTokenizer
    from timm.models import register_model
    from timm.models.fastvit import _create_fastvit
    from transformers import CLIPImageProcessor

    @register_model
    def fastvit_mci_small(pretrained=False, **kwargs):
        args = dict(
            layers=(1, 1, 1, 1), embed_dims=(8, 8, 16, 32), mlp_ratios=(2, 2, 2, 2), se_downsamples=(False, False, True, True),
            downsamples=(False, True, True, True), pos_embs=(None, None, None, None), token_mixers=("repmixer",) * 3 + ("attention",),
            lkc_use_act=True)
        return _create_fastvit("fastvit_mci0", pretrained=pretrained, **dict(args, **kwargs))

    length = 22
    _, size = clip_tokenizer(folder, tmp, length, pad_token="!")
    tokenizer = SimpleTokenizer(str(tmp / "bpe.txt.gz"), context_length=length)
    # As MobileCLIP-S1 in open_clip: no causal mask, so that a text attends to its padding.
    model = open_clip_model(
        dict(timm_model_name="fastvit_mci_small", timm_model_pretrained=False, timm_pool="avg", timm_proj=None, timm_drop=0.0, timm_drop_path=0.0, image_size=64),
        dict(context_length=length, vocab_size=size, width=WIDTH, heads=2, layers=2, no_causal_mask=True), custom=True)
    randomise(model, 3)
    preprocessor(
        folder, image_processor_type="CLIPImageProcessor", size={"shortest_edge": 64}, resample=2, do_center_crop=True,
        crop_size={"height": 64, "width": 64}, do_normalize=False)
    write(
        folder, model, lambda m, p: m.encode_image(p), lambda m, i: m.encode_text(i), lambda texts: (tokenizer(texts),), ["input_ids"],
        CLIPImageProcessor.from_pretrained(folder), {"model_type": "clip", "text_config": {"max_position_embeddings": length}})


def siglip_model(size, length, seed):
    from transformers import SiglipConfig, SiglipModel
    text = dict(SMALL, vocab_size=size, max_position_embeddings=length, projection_size=DIM)
    config = SiglipConfig(text_config=text, vision_config=dict(SMALL, **PATCHES))
    config._attn_implementation = "eager"
    for part in [config.text_config, config.vision_config]:
        part._attn_implementation = "eager"
    return randomise(SiglipModel(config), seed)


SIGLIP = (lambda m, p: m.get_image_features(pixel_values=p), lambda m, i: m.get_text_features(input_ids=i))
SIGLIP_STEPS = dict(
    image_processor_type="SiglipImageProcessor", do_resize=True, size={"height": SIDE, "width": SIDE}, do_rescale=True, rescale_factor=1 / 255,
    do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def siglip(folder, tmp):
    from tokenizers import processors
    from transformers import SiglipImageProcessor, SiglipTokenizer
    from transformers.convert_slow_tokenizer import SpmConverter

    class Converter(SpmConverter):
        def post_processor(self):
            return processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", self.original_tokenizer.eos_token_id)])

    length = 24
    path = spm(tmp / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc")
    tokenizer = SiglipTokenizer(str(path), model_max_length=length)
    # What the class does to words before the pieces (small letters, no punctuation) is nowhere but in its code.
    (folder / "tokenizer.json").write_text(Converter(tokenizer).converted().to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"do_lower_case": True, "model_max_length": length, "pad_token": "</s>", "tokenizer_class": "SiglipTokenizer", "unk_token": "<unk>"}, indent=1) + "\n")
    model = siglip_model(len(tokenizer), length, 4)
    preprocessor(folder, resample=3, **SIGLIP_STEPS)
    write(
        folder, model, *SIGLIP, lambda texts: (tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"],), ["input_ids"],
        SiglipImageProcessor.from_pretrained(folder), {"model_type": "siglip", "text_config": {"model_type": "siglip_text_model", "max_position_embeddings": length}})


def siglip2(folder, tmp):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import GemmaTokenizerFast, SiglipImageProcessor
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    spaced = [caption.replace(" ", "▁") for caption in CAPTIONS + [c.title() for c in CAPTIONS[:60]]]
    merges = learn([word for caption in spaced for word in re.findall("[^▁]+▁?", caption)], 70)
    letters = sorted({letter for caption in spaced for letter in caption})
    vocab = special + [f"<0x{byte:02X}>" for byte in range(256)] + letters + ["".join(m) for m in merges]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(vocab)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.add_special_tokens(special)
    backend.save(str(tmp / "tokenizer.json"))
    length = 64
    tokenizer = GemmaTokenizerFast(tokenizer_file=str(tmp / "tokenizer.json"), add_bos_token=False, add_eos_token=True, padding_side="right")
    keep(folder, tokenizer, tokenizer_class="GemmaTokenizer", do_lower_case=True, model_max_length=10**30)
    model = siglip_model(len(tokenizer), length, 5)
    preprocessor(folder, resample=2, **SIGLIP_STEPS)
    # The words in small letters, as transformers 5's Siglip2Tokenizer does; 4 leaves it to the caller.
    inputs = lambda texts: (tokenizer([t.lower() for t in texts], padding="max_length", max_length=length, truncation=True, return_tensors="pt")["input_ids"],)
    # As the hub's: what is as the class has it, the 64 tokens above all, is not written.
    write(folder, model, *SIGLIP, inputs, ["input_ids"], SiglipImageProcessor.from_pretrained(folder), {"model_type": "siglip", "text_config": {"model_type": "siglip_text_model"}})


def xlmr_tokenizer(folder, tmp, length, rule="nmt_nfkc"):
    from transformers import XLMRobertaTokenizer, XLMRobertaTokenizerFast
    path = spm(tmp / "sentencepiece.bpe.model", normalization_rule_name=rule)
    XLMRobertaTokenizer(str(path), model_max_length=length).save_pretrained(tmp)
    tokenizer = XLMRobertaTokenizerFast.from_pretrained(tmp, model_max_length=length)
    tokenizer.save_pretrained(tmp / "fast")
    keep(folder, tokenizer, tokenizer_class="XLMRobertaTokenizer", model_max_length=length)
    return tokenizer


def xlm_r(folder, tmp):
    """AltCLIP: XLM-R with a mask, its positions two more than its tokens."""
    from transformers import AltCLIPConfig, AltCLIPModel, CLIPImageProcessor
    length = 26
    tokenizer = xlmr_tokenizer(folder, tmp, length)
    text = dict(SMALL, vocab_size=len(tokenizer), max_position_embeddings=length + 2, project_dim=WIDTH, type_vocab_size=1)
    config = AltCLIPConfig(text_config=text, vision_config=dict(SMALL, **PATCHES), projection_dim=DIM)
    for part in [config, config.text_config, config.vision_config]:
        part._attn_implementation = "eager"
    model = randomise(AltCLIPModel(config), 6)
    inputs = lambda texts: tuple(tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")[k] for k in ["input_ids", "attention_mask"])
    preprocessor(folder, **CLIP_STEPS)
    write(
        folder, model, lambda m, p: m.get_image_features(p), lambda m, i, a: m.get_text_features(i, a), inputs, ["input_ids", "attention_mask"],
        CLIPImageProcessor.from_pretrained(folder),
        {"model_type": "altclip", "text_config": {"model_type": "altclip_text_model", "max_position_embeddings": length + 2, "pad_token_id": 1}, "vision_config": PATCHES})


def xlm_r_openclip(folder, tmp):
    """open_clip's XLM-R, which makes the mask of the padding itself and pools by the mean of the words."""
    from transformers import CLIPImageProcessor, XLMRobertaConfig
    length = 18
    # Without XLM-R's table of characters, which is 300 kB and in the other model.
    tokenizer = xlmr_tokenizer(folder, tmp, length, "identity")
    XLMRobertaConfig(**SMALL, vocab_size=len(tokenizer), max_position_embeddings=length + 2, type_vocab_size=1, pad_token_id=1, attn_implementation="eager").save_pretrained(tmp / "xlmr")
    model = open_clip_model(
        dict(image_size=SIDE, patch_size=8, width=WIDTH, head_width=8, layers=2),
        dict(hf_model_name=str(tmp / "xlmr"), hf_tokenizer_name=str(tmp / "fast"), hf_model_pretrained=False, hf_proj_type="mlp", hf_pooler_type="mean_pooler"), custom=True)
    randomise(model, 7)
    from open_clip.tokenizer import HFTokenizer
    words = HFTokenizer(str(tmp / "fast"), context_length=length)
    preprocessor(folder, **CLIP_STEPS)
    write(
        folder, model, lambda m, p: m.encode_image(p), lambda m, i: m.encode_text(i), lambda texts: (words(texts),), ["input_ids"],
        CLIPImageProcessor.from_pretrained(folder), {"model_type": "xlm-roberta", "max_position_embeddings": length + 2})


def processors():
    """processors.json: what transformers' processors make of one picture by settings of many forms; of the values some."""
    from transformers import AutoImageProcessor
    slow, fast = {"image_processor_type": "CLIPImageProcessor"}, {"image_processor_type": "CLIPImageProcessorFast"}
    settings = [
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 40, "crop_size": 32, "resample": 2},
        {**slow, "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 24}, "resample": 1},
        {**slow, "size": [32, 48], "do_center_crop": False, "resample": 5},
        {**slow, "size": {"height": 40, "width": 40}, "crop_size": 32, "do_normalize": False, "resample": 4},
        {**slow, "size": 32, "crop_size": 32, "do_rescale": False},
        {**slow, "size": 32, "crop_size": 32, "rescale_factor": 0.01, "image_mean": 0.25, "image_std": 2},
        {**slow, "do_resize": False, "crop_size": 32},
        {**slow, "image_mean": None, "image_std": None, "size": None, "crop_size": None},
        {**fast, "do_center_crop": None, "size": {"height": 40, "width": 32}, "crop_size": 32, "do_normalize": None},
        {**fast, "size": {"shortest_edge": 40, "longest_edge": 44}, "crop_size": 32, "do_pad": None, "data_format": "channels_first"},
        {**fast, "size": {"shortest_edge": 30, "longest_edge": 90}, "crop_size": 24},
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 48, "width": 48}},
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 48}, "resample": 2, "image_std": [0.5, 0.25, 1]},
        {"image_processor_type": "SiglipImageProcessorFast", "size": {"height": 48, "width": 48}, "do_center_crop": None, "crop_size": None, "default_to_square": True},
        {"image_processor_type": "SiglipImageProcessor"},
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 40},
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 40}},
        {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
        {"image_processor_type": "BlipImageProcessor", "size": {"height": 40, "width": 40}},
        {"image_processor_type": "DeiTImageProcessor", "size": 40, "crop_size": 32},
        {"image_processor_type": "ChineseCLIPImageProcessor", "size": {"height": 40, "width": 36}, "crop_size": {"height": 32, "width": 32}},
        {"image_processor_type": "ConvNextImageProcessor", "size": 32},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8, "image_mean": None},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    ]
    lines = []
    for setting in settings:
        with tempfile.TemporaryDirectory() as tmp:
            (pathlib.Path(tmp) / "preprocessor_config.json").write_text(json.dumps(setting))
            processor = AutoImageProcessor.from_pretrained(tmp, use_fast="Fast" in str(setting))
        pixels = np.asarray(processor(images=[load("lossless.webp")], return_tensors="pt")["pixel_values"][0])
        lines.append(json.dumps([setting, list(pixels.shape), [float(f"{v:.5g}") for v in pixels.ravel()[::41 if pixels.size < 20000 else 2003]]]))
    (HERE / "processors.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


FAMILIES = [processors, clip, openclip, mobileclip_s, siglip, siglip2, xlm_r, xlm_r_openclip]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("family", nargs="*", choices=[[], *(f.__name__ for f in FAMILIES)])
    wanted = args.parse_args().family
    for family in FAMILIES:
        if wanted and family.__name__ not in wanted:
            continue
        if family is processors:
            processors()
            continue
        folder = HERE / family.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as tmp:
            family(folder, pathlib.Path(tmp))


if __name__ == "__main__":
    main()
