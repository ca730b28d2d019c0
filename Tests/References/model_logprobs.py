"""Writes tiny randomly initialised models as Hugging Face folders, with the log-probs transformers gives to fixed
texts.

    python model_logprobs.py models      (transformers 5.23.0, torch 2.13.0, on a CPU)

Every weight, norm and bias is random, so that one left out or exchanged shows. Log-probs are those of float32
arithmetic; where the weights are stored in 16 bits they are rounded first. `log_probs.json` holds, for each folder,
token ids and one value per token but the first. A folder may also hold `greedy`: the continuation of the first text by
`generate`, token by token.
"""
import copy
import json
import pathlib
import shutil
import sys

import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

COMMON = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA = (LlamaConfig, LlamaForCausalLM)
QWEN2 = (Qwen2Config, Qwen2ForCausalLM)
QWEN3 = (Qwen3Config, Qwen3ForCausalLM)
MISTRAL = (MistralConfig, MistralForCausalLM)


def rope(kind, theta=500.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


CASES = {
    "llama2": (LLAMA, dict(num_key_value_heads=4, rms_norm_eps=1e-5)),
    "llama3": (LLAMA, dict(rms_norm_eps=1e-5, head_dim=16, **rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64))),
    "llama_biases": (LLAMA, dict(attention_bias=True, mlp_bias=True)),
    "llama_head_dim": (LLAMA, dict(hidden_size=40, num_attention_heads=4, head_dim=6)),
    "llama_tied": (LLAMA, dict(tie_word_embeddings=True)),
    "llama_multi_query": (LLAMA, dict(num_key_value_heads=1)),
    "llama_sharded": (LLAMA, dict(num_hidden_layers=3)),
    "llama_linear": (LLAMA, rope("linear", factor=4.0)),
    "llama_dynamic": (LLAMA, dict(max_position_embeddings=24, **rope("dynamic", factor=3.0))),
    "llama_yarn": (LLAMA, dict(head_dim=16, **rope("yarn", factor=4.0, original_max_position_embeddings=64))),
    "llama_yarn_mscale": (LLAMA, dict(head_dim=16, **rope(
        "yarn", factor=4.0, original_max_position_embeddings=64, mscale=0.7, mscale_all_dim=1.3, beta_fast=16.0,
        beta_slow=2.0, truncate=False))),
    "qwen2": (QWEN2, dict()),
    "qwen2_tied_bfloat16": (QWEN2, dict(tie_word_embeddings=True)),
    "qwen2_sliding": (QWEN2, dict(use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "mistral": (MISTRAL, dict(sliding_window=None)),
    "mistral_sliding": (MISTRAL, dict(sliding_window=9, head_dim=10)),
    "qwen3": (QWEN3, dict(head_dim=12, tie_word_embeddings=True)),
    "qwen3_biases_float16": (QWEN3, dict(head_dim=12, attention_bias=True)),
}


def randomise(model, dtype):
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if name.endswith("norm.weight"):
            value = 1 + 0.3 * noise
        elif name.endswith(".bias"):
            value = 0.3 * noise
        else:
            value = noise * (1.0 if "embed" in name else 1.6 * parameter.shape[-1] ** -0.5)
        parameter.data.copy_(value.to(dtype).float())


def log_probs(model, tokens):
    model = copy.deepcopy(model)  # dynamic rope remembers the longest text it has seen
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0].double()
    chosen = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    return [round(value, 8) for value in chosen.tolist()]


def main(output: str) -> None:
    root = pathlib.Path(output)
    expected = {}
    for index, (name, (classes, settings)) in enumerate(CASES.items()):
        torch.manual_seed(1000 + index)
        config = classes[0](**{**COMMON, **settings})
        config._attn_implementation = "eager"  # written out, as the papers have it
        model = classes[1](config).float().eval()
        dtype = getattr(torch, name.rsplit("_", 1)[-1], torch.float32) if "float16" in name else torch.float32
        randomise(model, dtype)
        texts = [torch.randint(3, 96, (length,)).tolist() for length in (46, 17)]
        entry = dict(parameters=sum(p.numel() for p in model.parameters()))
        entry.update(texts=[dict(tokens=text, log_probs=log_probs(model, text)) for text in texts])
        if name in ("llama3", "qwen2", "qwen3", "mistral_sliding"):
            start = texts[0][:20]
            made = model.generate(torch.tensor([start]), max_new_tokens=16, do_sample=False, eos_token_id=None)
            entry["greedy"] = dict(prompt=start, completion=made[0, len(start):].tolist())
        expected[name] = entry
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        copy.deepcopy(model).to(dtype).save_pretrained(
            folder, max_shard_size="40KB" if name == "llama_sharded" else "5GB")
        print(name, entry["parameters"], sorted(p.name for p in folder.iterdir()))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in expected.items())
    (root / "log_probs.json").write_text("{\n" + lines + "\n}\n")


main(sys.argv[1])
