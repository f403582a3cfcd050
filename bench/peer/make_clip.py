#!/usr/bin/env python3
"""Build a CLIP ViT-B/32 of the true shape, with random weights, for speed and parity tests.

Nothing is downloaded but Python packages, and speed does not depend on
the values of weights. The tokenizer is CLIP's real one (the vocabulary ships inside open_clip_torch).

    python -m venv peer && peer/bin/pip install torch transformers open_clip_torch onnx onnxscript onnxruntime pillow
    peer/bin/python make_clip.py OUT [--size tiny|b32|l14]

OUT gets the Hugging Face layout that common ONNX exports of CLIP use:
    config.json preprocessor_config.json tokenizer.json model.safetensors
    onnx/vision_model.onnx  pixel_values f32 [N,3,H,W]          -> image_embeds f32 [N,D], not normalised
    onnx/text_model.onnx    input_ids, attention_mask i64 [N,S] -> text_embeds  f32 [N,D], not normalised
"""
import argparse, gzip, pathlib, json
import open_clip, torch
from tokenizers import Tokenizer, Regex, models, normalizers, pre_tokenizers, decoders, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

SIZES = {  # vision hidden, layers, heads, patch; text hidden, layers, heads; projection
    "tiny": (128, 2, 2, 32, 128, 2, 2, 64),
    "b32": (768, 12, 12, 32, 512, 12, 8, 512),
    "l14": (1024, 24, 16, 14, 768, 12, 12, 768),
}


def clip_tokenizer() -> Tokenizer:
    """CLIP's byte-level BPE as a `tokenizers` tokenizer (49,408 tokens, lower case, </w> word ends)."""
    path = pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.open(path, "rt", encoding="utf-8").read().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {w: i for i, w in enumerate(words)}
    assert len(vocab) == 49408
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", 49407), ("<|startoftext|>", 49406), trim_offsets=False, add_prefix_space=False)
    t.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    t.enable_truncation(77)
    return t


class Vision(torch.nn.Module):
    def __init__(self, clip): super().__init__(); self.clip = clip
    def forward(self, pixel_values):
        return self.clip.visual_projection(self.clip.vision_model(pixel_values=pixel_values).pooler_output)


class Text(torch.nn.Module):
    def __init__(self, clip): super().__init__(); self.clip = clip
    def forward(self, input_ids, attention_mask):
        out = self.clip.text_model(input_ids=input_ids, attention_mask=attention_mask)
        return self.clip.text_projection(out.pooler_output)


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--size", choices=SIZES, default="b32")
    a = args.parse_args()
    vh, vl, va, patch, th, tl, ta, d = SIZES[a.size]
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(
        text_config=dict(hidden_size=th, intermediate_size=4 * th, num_hidden_layers=tl, num_attention_heads=ta,
                         projection_dim=d, bos_token_id=49406, eos_token_id=49407),
        vision_config=dict(hidden_size=vh, intermediate_size=4 * vh, num_hidden_layers=vl, num_attention_heads=va,
                           patch_size=patch, projection_dim=d),
        projection_dim=d)).eval()
    (a.out / "onnx").mkdir(parents=True, exist_ok=True)
    clip.save_pretrained(a.out)
    CLIPImageProcessor().save_pretrained(a.out)
    tok = clip_tokenizer()
    tok.save(str(a.out / "tokenizer.json"))
    for text in ["a yellow car", "It's  a DOG, isn't it? 42!", "café Zürich 日本 🚗", ""]:
        ours = tok.encode(text).ids
        theirs = [i for i in open_clip.get_tokenizer("ViT-B-32")(text)[0].tolist()]
        assert ours == theirs[: len(ours)] and not any(theirs[len(ours):]), (text, ours, theirs[:20])
    clip.set_attn_implementation("eager")
    n = {0: "batch"}
    torch.onnx.export(Vision(clip), (torch.randn(2, 3, 224, 224),), a.out / "onnx/vision_model.onnx", dynamo=False,
                      opset_version=17, input_names=["pixel_values"], output_names=["image_embeds"],
                      dynamic_axes={"pixel_values": n, "image_embeds": n})
    ids = torch.tensor([tok.encode("a yellow car").ids] * 2)
    ns = {0: "batch", 1: "sequence"}
    torch.onnx.export(Text(clip), (ids, torch.ones_like(ids)), a.out / "onnx/text_model.onnx", dynamo=False,
                      opset_version=17, input_names=["input_ids", "attention_mask"], output_names=["text_embeds"],
                      dynamic_axes={"input_ids": ns, "attention_mask": ns, "text_embeds": n})


if __name__ == "__main__":
    main()
