"""A GRPO step written straight in PyTorch, float32 on the CPU, timed for `plumbline bench suite`.

torch 2.13, safetensors 0.8 (transformers 5.24 for --check):

    python pytorch_step.py MODEL --prompts 4 --completions 8 --prompt-tokens 256 --completion-tokens 64 --steps 2 --threads 2

What PyTorch comes to without a trainer around it, for models of the Llama and Qwen2 families. The work is that of
`plumbline bench step`, one step before the measured ones: a prompt is read once for all its completions, in sampling and
in training; nothing is padded; the keys and values of a prompt lie in memory once; logits are worked out only where a
token is learned; AdamW is the fused one. Completions have their full length, rewards are drawn, there is no reference
model. The last line of output is a JSON object with median seconds, and of steps p10 and p90; `sampling_gap` is the most
that a log-prob of the sampler differs from the update's. `--check` compares the update's with those of transformers, and
ends.
"""
import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    for flag in ("prompts", "completions", "prompt-tokens", "completion-tokens", "steps", "threads"):
        parser.add_argument("--" + flag, type=int, required=True)
    parser.add_argument("--algorithm", choices=["grpo"], default="grpo")
    parser.add_argument("--learning-rate", type=float, default=1e-6)
    parser.add_argument("--max-tokens-per-micro-batch", type=int, default=2048)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def spread(seconds):
    """As `plumbline bench` says it: linear between the two nearest."""
    at = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    values = torch.tensor(seconds, dtype=torch.float64).quantile(at).tolist()
    return dict(zip(("median", "p10", "p90"), values))


class Block:
    """Weights of one layer. What reads the same input is one matrix: queries, keys and values, gate and up."""

    def __init__(self, take, index):
        name = f"layers.{index}."

        def stacked(part, kinds, suffix):
            found = [take(f"{name}{part}.{kind}_proj.{suffix}") for kind in kinds]
            return torch.cat(found).requires_grad_() if all(one is not None for one in found) else None

        self.qkv = stacked("self_attn", "qkv", "weight")
        self.qkv_bias = stacked("self_attn", "qkv", "bias")
        self.out = stacked("self_attn", "o", "weight")
        self.gate_up = stacked("mlp", ("gate", "up"), "weight")
        self.down = stacked("mlp", ("down",), "weight")
        self.first_norm = take(name + "input_layernorm.weight").requires_grad_()
        self.second_norm = take(name + "post_attention_layernorm.weight").requires_grad_()


class Model:
    def __init__(self, folder, positions):
        config = json.loads((Path(folder) / "config.json").read_text())
        rope = config.get("rope_parameters") or config
        kind = rope.get("rope_type", "default") if not config.get("rope_scaling") else "scaled"
        assert config["model_type"] in ("llama", "qwen2") and kind == "default", (config["model_type"], kind)
        tensors = {}
        for file in Path(folder).glob("*.safetensors"):
            tensors |= {name.removeprefix("model."): tensor.float() for name, tensor in load_file(file).items()}
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads") or self.heads
        self.size = config.get("head_dim") or config["hidden_size"] // self.heads
        self.epsilon = config["rms_norm_eps"]
        self.vocabulary = config["vocab_size"]
        self.embedding = tensors["embed_tokens.weight"].requires_grad_()
        self.head = tensors["lm_head.weight"].requires_grad_() if "lm_head.weight" in tensors else self.embedding
        self.last_norm = tensors["norm.weight"].requires_grad_()
        self.blocks = [Block(tensors.get, index) for index in range(config["num_hidden_layers"])]
        angles = torch.outer(
            torch.arange(positions).float(),
            rope.get("rope_theta", 1e4) ** (-torch.arange(0, self.size, 2).float() / self.size))
        self.cos, self.sin = angles.cos(), angles.sin()

    def parameters(self):
        own = {id(self.embedding): self.embedding, id(self.head): self.head, id(self.last_norm): self.last_norm}
        for block in self.blocks:
            own |= {id(value): value for value in vars(block).values() if value is not None}
        return list(own.values())

    def norm(self, x, weight):
        return F.rms_norm(x, weight.shape, weight, self.epsilon)

    def project(self, block, x, positions):
        """Rotated queries and keys, and values: each [tokens, its heads, size]."""
        all_heads = F.linear(self.norm(x, block.first_norm), block.qkv, block.qkv_bias).view(len(x), -1, self.size)
        turned, values = all_heads.split([self.heads + self.kv_heads, self.kv_heads], 1)
        low, high = turned.chunk(2, -1)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        turned = torch.cat([low * cos - high * sin, high * cos + low * sin], -1)
        return *turned.split([self.heads, self.kv_heads], 1), values

    def finish(self, block, x, attended):
        x = x + F.linear(attended, block.out)
        gate, up = F.linear(self.norm(x, block.second_norm), block.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, block.down)


def by_row(x, rows):
    """[rows × length, heads, size] as [rows, heads, length, size]."""
    return x.view(rows, -1, *x.shape[1:]).transpose(1, 2)


def flat(x):
    """[rows, heads, length, size] as [rows × length, heads × size]."""
    return x.transpose(1, 2).reshape(x.shape[0] * x.shape[2], -1)


def folded(q, kv_heads):
    """Queries that share a key head as more rows of that head: no key is repeated."""
    rows, heads, length, size = q.shape
    return q.reshape(rows, kv_heads, heads // kv_heads * length, size)


def prompt_attention(model, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=model.heads != model.kv_heads)


@torch.inference_mode()
def sample(model, prompts, completions, length):
    """[prompts, start] -> tokens and their log-probs, each [prompts × completions, length]."""
    count, start = prompts.shape
    rows, group = count * completions, model.heads // model.kv_heads
    scale = model.size ** -0.5
    positions = torch.arange(start).repeat(count)
    x = model.embedding[prompts.flatten()]
    caches = []
    for block in model.blocks:
        q, k, v = (by_row(part, count) for part in model.project(block, x, positions))
        x = model.finish(block, x, flat(prompt_attention(model, q, k, v)))
        own = torch.empty(2, rows, model.kv_heads, length, model.size)
        caches.append((k.transpose(-1, -2).contiguous(), v.contiguous(), own[0], own[1]))
    x = x.view(count, start, -1)[:, -1].repeat_interleave(completions, 0)
    tokens, found = torch.empty(rows, length, dtype=torch.long), torch.empty(rows, length)
    for step in range(length):
        log_probs = F.linear(model.norm(x, model.last_norm), model.head).log_softmax(-1)
        drawn = torch.multinomial(log_probs.exp(), 1)
        tokens[:, step], found[:, step] = drawn[:, 0], log_probs.gather(1, drawn)[:, 0]
        if step == length - 1:
            break
        x = model.embedding[drawn[:, 0]]
        positions = torch.full((rows,), start + step)
        for block, (prompt_k, prompt_v, own_k, own_v) in zip(model.blocks, caches):
            q, k, v = model.project(block, x, positions)
            own_k[:, :, step], own_v[:, :, step] = k, v
            # The rows of a prompt are more queries against the one copy of its keys.
            q = (q * scale).view(count, completions, model.kv_heads, group, model.size)
            q = q.transpose(1, 2).reshape(count, model.kv_heads, completions * group, model.size)
            shared = (q @ prompt_k).view(count, model.kv_heads, completions, group, start)
            alone = q.view(count, model.kv_heads, completions, group, model.size).transpose(1, 2)
            alone = alone.reshape(rows, model.kv_heads, group, model.size)
            apart = alone @ own_k[:, :, :step + 1].transpose(-1, -2)
            apart = apart.view(count, completions, model.kv_heads, group, step + 1).transpose(1, 2)
            weights = torch.cat([shared, apart], -1).softmax(-1)
            of_prompt = weights[..., :start].reshape(count, model.kv_heads, completions * group, start) @ prompt_v
            of_own = weights[..., start:].transpose(1, 2).reshape(rows, model.kv_heads, group, -1) @ own_v[:, :, :step + 1]
            of_prompt = of_prompt.view(count, model.kv_heads, completions, group * model.size).transpose(1, 2)
            attended = of_prompt.reshape(rows, -1) + of_own.reshape(rows, -1)
            x = model.finish(block, x, attended)
    return tokens, found


def log_probs(model, prompts, tokens):
    """[groups, start] prompts and [groups, completions, length] tokens behind them -> [groups, completions, length]."""
    (groups, start), (_, completions, length) = prompts.shape, tokens.shape
    rows, group = groups * completions, model.heads // model.kv_heads
    read = groups * start
    x = F.embedding(torch.cat([prompts.flatten(), tokens.flatten()]), model.embedding)
    positions = torch.cat([torch.arange(start).repeat(groups), torch.arange(start, start + length).repeat(rows)])
    mask = torch.cat([torch.ones(length, start), torch.ones(length, length).tril()], 1).bool().repeat(group, 1)
    for block in model.blocks:
        projected = model.project(block, x, positions)
        q, k, v = (by_row(part[:read], groups) for part in projected)
        own_q, own_k, own_v = (by_row(part[read:], rows) for part in projected)
        k_all, v_all = (
            torch.cat([prompt.repeat_interleave(completions, 0), own], 2) for prompt, own in ((k, own_k), (v, own_v)))
        attended = F.scaled_dot_product_attention(folded(own_q, model.kv_heads), k_all, v_all, attn_mask=mask)
        attended = attended.view(rows, model.heads, length, model.size)
        x = model.finish(block, x, torch.cat([flat(prompt_attention(model, q, k, v)), flat(attended)]))
    last = x[:read].view(groups, start, -1)[:, -1:]
    before = torch.cat([last[:, None].expand(-1, completions, -1, -1), x[read:].view(groups, completions, length, -1)], 2)
    logits = F.linear(model.norm(before[:, :, :-1].flatten(0, 2), model.last_norm), model.head)
    return -F.cross_entropy(logits, tokens.flatten(), reduction="none").view(groups, completions, length)


def check(model, folder):
    from transformers import AutoModelForCausalLM

    prompts, tokens = torch.randint(model.vocabulary, (2, 5)), torch.randint(model.vocabulary, (2, 3, 4))
    with torch.no_grad():
        own = log_probs(model, prompts, tokens)
        texts = torch.cat([prompts[:, None].expand(-1, 3, -1), tokens], -1).flatten(0, 1)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(texts).logits.log_softmax(-1)
    theirs = theirs[:, 4:-1].gather(-1, texts[:, 5:, None]).view(2, 3, 4)
    print(json.dumps({"difference": (own - theirs).abs().max().item()}))


def main():
    a = arguments()
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    model = Model(a.model, a.prompt_tokens + a.completion_tokens)
    if a.check:
        return check(model, a.model)
    parameters = model.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=a.learning_rate, weight_decay=0.0, fused=True)
    per_pass = max(1, a.max_tokens_per_micro_batch // (a.prompt_tokens + a.completions * a.completion_tokens))
    times, gap = [], 0.0
    for _ in range(a.steps + 1):
        prompts = torch.randint(model.vocabulary, (a.prompts, a.prompt_tokens))
        began = time.perf_counter()
        tokens, sampled = (part.clone() for part in sample(model, prompts, a.completions, a.completion_tokens))
        tokens, sampled = (part.view(a.prompts, a.completions, -1) for part in (tokens, sampled))
        drawn = time.perf_counter()
        rewards = torch.rand(a.prompts, a.completions)
        advantages = (rewards - rewards.mean(1, True)) / (rewards.std(1, keepdim=True) + 1e-4)
        for at in range(0, a.prompts, per_pass):
            part = slice(at, at + per_pass)
            found = log_probs(model, prompts[part], tokens[part])
            gap = max(gap, (found.detach() - sampled[part]).abs().max().item()) if not times else gap
            ratio = (found - sampled[part]).exp()
            gain = torch.minimum(ratio * advantages[part, :, None], ratio.clamp(0.8, 1.2) * advantages[part, :, None])
            (-gain.sum() / tokens.numel()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ended = time.perf_counter()
        times.append((ended - began, drawn - began, ended - drawn))
    steps, *parts = zip(*times[1:])
    generation, update = (statistics.median(part) for part in parts)
    print(json.dumps({
        "trainer": "pytorch", "step_s": spread(steps), "generation_s": generation, "update_s": update,
        "sampling_gap": gap, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


main()
