"""Scores a text with a model folder, or a GGUF file in one, as transformers reads it; prints one JSON list of
log-probs, one per token but the first.

    python score_saved_model.py FOLDER "[5, 6, 7]" [FILE.gguf]      (transformers 5.23.0, torch 2.13.0)
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

file = {"gguf_file": sys.argv[3]} if len(sys.argv) > 3 else {}
model, report = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, output_loading_info=True, **file)
assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
tokens = json.loads(sys.argv[2])
with torch.no_grad():
    logits = model.eval()(torch.tensor([tokens]), use_cache=False).logits[0].double()
chosen = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
print(json.dumps(chosen.tolist()))
