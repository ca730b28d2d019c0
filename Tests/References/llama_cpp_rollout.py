"""llama.cpp sampling completions of one prompt, timed for `plumbline bench suite`.

cyllama 0.2.18, a wheel with llama.cpp b9190 built for AVX2:

    python llama_cpp_rollout.py MODEL.gguf --rows 1 8 32 --prompt-tokens 256 --completion-tokens 64 --steps 2 --threads 2

The work is that of `plumbline bench rollout --prompts 1 --completions ROWS`, one rollout before the measured ones: the
prompt is read once and its keys and values are shared by all rows (one cell of the unified cache for all their
sequences), then every row is decoded to its full length in one batch, each token drawn from the whole distribution. Keys
and values are llama.cpp's usual float16. The last line of output is a JSON object with, for each number of rows, median
tokens a second of the whole, and of the decoding alone: no prompt, no drawing.
"""
import argparse
import json
import random
import statistics
import time

from cyllama.llama.llama_cpp import (
    LlamaBatch, LlamaContext, LlamaContextParams, LlamaModel, LlamaModelParams, LlamaSampler, LlamaSamplerChainParams,
    disable_logging, ggml_backend_load_all)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    for flag in ("prompt-tokens", "completion-tokens", "steps", "threads"):
        parser.add_argument("--" + flag, type=int, required=True)
    return parser.parse_args()


def rollout(context, sampler, prompt, rows, length):
    """Seconds of the whole and of the decoding alone."""
    context.kv_cache_clear()
    batch = LlamaBatch(n_tokens=max(len(prompt), rows), embd=0, n_seq_max=rows)
    began = time.perf_counter()
    for position, token in enumerate(prompt):
        batch.add(token, position, [0], position == len(prompt) - 1)
    context.decode(batch)
    for row in range(1, rows):
        context.memory_seq_cp(0, row, -1, -1)
    tokens = [sampler.sample(context, -1) for _ in range(rows)]
    decoding = 0.0
    for step in range(length - 1):
        batch.clear()
        for row, token in enumerate(tokens):
            batch.add(token, len(prompt) + step, [row], True)
        before = time.perf_counter()
        context.decode(batch)
        context.synchronize()
        decoding += time.perf_counter() - before
        tokens = [sampler.sample(context, row) for row in range(rows)]
    return time.perf_counter() - began, decoding


def measure(model, a, rows):
    settings = LlamaContextParams()
    settings.n_ctx = a.prompt_tokens + rows * a.completion_tokens
    settings.n_seq_max = rows
    settings.n_batch = max(a.prompt_tokens, rows)
    settings.n_threads = settings.n_threads_batch = a.threads
    settings.kv_unified = True
    context = LlamaContext(model, settings)
    sampler = LlamaSampler(LlamaSamplerChainParams())
    sampler.add_dist(0)
    vocabulary, times = model.get_vocab().n_vocab, []
    for step in range(a.steps + 1):
        draw = random.Random(step)
        prompt = [draw.randrange(vocabulary) for _ in range(a.prompt_tokens)]
        times.append(rollout(context, sampler, prompt, rows, a.completion_tokens))
    whole, decoding = (statistics.median(column) for column in zip(*times[1:]))
    return {
        "rows": rows, "tokens_per_s": rows * a.completion_tokens / whole,
        "decoded_tokens_per_s": rows * max(1, a.completion_tokens - 1) / decoding if decoding else None}


def main():
    a = arguments()
    disable_logging()
    ggml_backend_load_all()
    settings = LlamaModelParams()
    settings.n_gpu_layers = 0
    model = LlamaModel(a.model, settings)
    print(json.dumps({"trainer": "llama.cpp", "rollouts": [measure(model, a, rows) for rows in a.rows]}))


main()
