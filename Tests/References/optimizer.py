"""Reference numbers for the optimizer and the learning-rate schedules.

Made with torch 2.13.0 and transformers 5.24.0:
    python Tests/References/optimizer.py > Tests/References/optimizer.json

`trajectory`: torch.optim.AdamW behind torch.nn.utils.clip_grad_norm_, two parameter groups split by the Hugging Face
trainer's rule (no decay on biases and norms), in float64 and float32. `schedules`: transformers' get_scheduler.
"""

import json
import math

import torch
from torch import nn
from transformers import get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

PATTERNS = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
SHAPES = {
    "model.layers.0.self_attn.q_proj.weight": [2, 3],
    "model.layers.0.self_attn.q_proj.bias": [2],
    "model.layers.0.self_attn.q_norm.weight": [2],
    "model.layers.0.input_layernorm.weight": [3],
    "model.norm.weight": [3],
    "model.embed_tokens.weight": [4, 3],
}


class Holder(nn.Module):
    """Parameters under dotted names, so that the trainer's own name rule can be asked."""

    def __init__(self, shapes):
        super().__init__()
        for name in shapes:
            *parents, last = name.split(".")
            module = self
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, nn.Module())
                module = getattr(module, parent)
            module.register_parameter(last, nn.Parameter(torch.zeros(shapes[name])))


def values(count, phase, scale=1.0):
    """Some numbers of both signs."""
    return [scale * math.sin(0.7 * index + phase) for index in range(count)]


def trajectory(dtype):
    parameters, gradients = {}, []
    for number, (name, shape) in enumerate(SHAPES.items()):
        parameters[name] = torch.tensor(values(math.prod(shape), number), dtype=dtype).reshape(shape).requires_grad_()
    start = {name: tensor.detach().flatten().tolist() for name, tensor in parameters.items()}
    decayed = get_parameter_names(Holder(SHAPES), [nn.LayerNorm], PATTERNS)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in parameters.items() if n in decayed], "weight_decay": 0.1},
            {"params": [p for n, p in parameters.items() if n not in decayed], "weight_decay": 0.0},
        ],
        lr=0.01, betas=(0.9, 0.99), eps=1e-8,
    )
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=2, num_training_steps=8)
    steps = []
    for step in range(8):
        scale = [0.05, 2.0, 1.0, 0.3, 0.0, 5.0, 0.1, 1.0][step]  # below and above the clipping norm, and zero
        given = {}
        for number, (name, shape) in enumerate(SHAPES.items()):
            given[name] = values(math.prod(shape), 10 * step + number, scale)
            parameters[name].grad = torch.tensor(given[name], dtype=dtype).reshape(shape)
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0).item()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        steps.append({
            "gradients": given, "norm": norm, "learning_rate": rate,
            "parameters": {name: tensor.detach().flatten().tolist() for name, tensor in parameters.items()},
        })
    return {"shapes": SHAPES, "decayed": decayed, "start": start, "steps": steps}


def schedule(name, warmup, total, **special):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=special)
    factors = []
    for _ in range(total + 3):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"name": name, "warmup": warmup, "total": total, **special, "factors": factors}


print(json.dumps({
    "versions": {"torch": torch.__version__},
    "float64": trajectory(torch.float64),
    "float32": trajectory(torch.float32),
    "schedules": [
        schedule("constant", 0, 10),
        schedule("constant", 3, 10),
        schedule("constant_with_warmup", 4, 10),
        schedule("constant_with_warmup", 0, 10),
        schedule("linear", 0, 10),
        schedule("linear", 3, 17),
        schedule("linear", 10, 10),
        schedule("cosine", 0, 10),
        schedule("cosine", 5, 23),
        schedule("cosine_with_min_lr", 0, 10, min_lr_rate=0.1),
        schedule("cosine_with_min_lr", 5, 23, min_lr_rate=0.25),
        schedule("warmup_stable_decay", 3, 20, num_decay_steps=6),
        schedule("warmup_stable_decay", 3, 20, num_decay_steps=6, min_lr_ratio=0.1),
        schedule("warmup_stable_decay", 0, 12, num_decay_steps=12),
        schedule("warmup_stable_decay", 2, 12, num_decay_steps=0),
    ],
}))
