#!/usr/bin/env python3
"""The Python way to ask, as a peer to measure against: transformers' text model and faiss's flat index.

    python_query.py MODEL_DIR INDEX.faiss

Prints one JSON line: from the program's start to its first answer, then p50 and p99 of 50 more, and its memory.
"""
import json, pathlib, resource, sys, time

# Before the imports: a person who starts it waits for them.
START = time.perf_counter()
import faiss, torch
from transformers import CLIPModel, PreTrainedTokenizerFast

model = CLIPModel.from_pretrained(sys.argv[1]).eval()
tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(sys.argv[1]) / "tokenizer.json"))
index = faiss.read_index(sys.argv[2])


def ask(text):
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        out = model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids))
    out = getattr(out, "pooler_output", out)
    return index.search(torch.nn.functional.normalize(out, dim=-1).numpy(), 10)


ask("a yellow car")
cold = 1000 * (time.perf_counter() - START)
times = []
for number in range(50):
    began = time.perf_counter()
    ask(f"a red boat number {number}")
    times.append(1000 * (time.perf_counter() - began))
times.sort()
print(json.dumps({"cold_ms": cold, "warm_ms": [times[25], times[49]],
                  "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
