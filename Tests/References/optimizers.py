"""Reference numbers for the optimizers beside AdamW.

Made with torch 2.13.0+cpu, transformers 5.23.0, bitsandbytes 0.50.2, lion-pytorch 0.2.5, galore-torch 1.0, fira 1.0.2:
    python Tests/References/optimizers.py > Tests/References/optimizers.json

`adamw_8bit` and `lion` are those packages' own steps. bitsandbytes rounds to the nearest byte on a GPU, and on a CPU
in single precision by a table of 65536 equal parts of -1 ... 1, which is too coarse for its smallest numbers; its exact
path is taken here, which it has for other types.

`low_rank` and `stable_spam` are plain numpy, written from the papers. `checks` then compares them with the packages as
far as these go: GaLore and Fira up to the second choice of a subspace, where a package takes LAPACK's signs as they
come. By hand they were compared with the releases of FRUGAL (all steps) and Stable-SPAM (all steps without a reset, and
those before the first; behind it the release corrects its means by the moments' counter).

Gradients are not in the file: both sides make them from `numbers`.
"""

import json
import math

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as bnb_cpu
import numpy as np
import torch
from fira import FiraAdamW
from galore_torch import GaLoreAdamW
from lion_pytorch import Lion

SHAPES = {
    "model.embed_tokens.weight": [7, 4],
    "model.layers.0.mlp.down_proj.weight": [6, 4],
    "model.layers.0.mlp.up_proj.weight": [4, 7],
    "model.layers.0.self_attn.q_proj.weight": [5, 5],
    "model.layers.0.self_attn.k_proj.weight": [2, 5],
    "model.norm.weight": [4],
}
PROJECTED = [name for name, shape in SHAPES.items() if len(shape) == 2 and min(shape) > 2 and "embed" not in name]
RATE, BETA1, BETA2, EPSILON, DECAY = 0.01, 0.9, 0.99, 1e-8, 0.1
RANK, EVERY, STEPS = 2, 3, 8
BYTES = [64, 70]


def numbers(count, seed):
    """Numbers between -1 and 1, by a linear congruence that every language can follow to the bit."""
    state, found = seed * 7919 + 12345, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2147483648
        found.append(state / 1073741824 - 1)
    return np.array(found)


def start(name):
    return numbers(math.prod(SHAPES[name]), list(SHAPES).index(name)).reshape(SHAPES[name])


def gradient(name, step, spike=False):
    scale = 50 if spike and step == 2 else 1
    return scale * numbers(math.prod(SHAPES[name]), 100 * (step + 1) + list(SHAPES).index(name)).reshape(SHAPES[name])


def decay_of(name):
    return 0 if "norm" in name else DECAY


class Adam:
    """The direction of Adam, with moments that can be forgotten."""

    def __init__(self):
        self.m = self.v = 0.0
        self.t = 0

    def direction(self, g):
        self.t += 1
        self.m = BETA1 * self.m + (1 - BETA1) * g
        self.v = BETA2 * self.v + (1 - BETA2) * g * g
        return (self.m / (1 - BETA1**self.t)) / (np.sqrt(self.v / (1 - BETA2**self.t)) + EPSILON)


class LowRank:
    """One matrix, columns no more than rows."""

    def __init__(self, projector, remainder, scale, remainder_scale):
        self.projector, self.remainder = projector, remainder
        self.scale, self.remainder_scale = scale, remainder_scale
        self.adam, self.basis, self.chosen, self.norm = Adam(), None, None, None

    def choose(self, g):
        if self.projector == "svd":
            basis = np.linalg.svd(g, full_matrices=False)[2][:RANK]
            if self.basis is not None:
                basis = basis * np.where((basis * self.basis).sum(1) < 0, -1, 1)[:, None]
        else:
            n = g.shape[1]
            cosines = np.array([
                [math.sqrt((1 if k == 0 else 2) / n) * math.cos(math.pi * k * (2 * j + 1) / (2 * n)) for j in range(n)]
                for k in range(n)])
            order = np.argsort(-(g @ cosines.T).__pow__(2).sum(0), kind="stable")
            chosen = sorted(order[:RANK])
            basis = cosines[chosen]
            if self.basis is not None and self.remainder != "sign_sgd":
                move = self.basis @ basis.T  # zeros and ones
                self.adam.m, self.adam.v = self.adam.m @ move, np.abs(self.adam.v @ move)
        self.basis = basis
        if self.remainder == "sign_sgd":
            self.adam = Adam()

    def update(self, g, step):
        if step % EVERY == 0:
            self.choose(g)
        low = g @ self.basis.T
        direction = self.adam.direction(low)
        update = self.scale * direction @ self.basis
        rest = g - low @ self.basis
        if self.remainder == "sign_sgd":
            update = update + self.remainder_scale * np.sign(rest)
        if self.remainder == "fira":
            # As released: sizes without the bias correction, which the step then has.
            correction = math.sqrt(1 - BETA2**self.adam.t) / (1 - BETA1**self.adam.t)
            plain = direction / correction
            rest = rest * (np.linalg.norm(plain, axis=1) / (np.linalg.norm(low, axis=1) + 1e-8))[:, None]
            norm = np.linalg.norm(rest)
            if self.norm is not None:
                limiter = max(norm / (self.norm + 1e-8), 1.01) / 1.01
                rest, norm = rest / limiter, norm / limiter
            self.norm = norm
            update = update + self.remainder_scale * correction * rest
        return update


class StableSPAM:
    """What a gradient becomes; t counts all steps, while Adam's own begins anew."""

    def __init__(self, gamma1, gamma2, gamma3):
        self.gammas = gamma1, gamma2, gamma3
        self.largest = self.norm = self.square = 0.0
        self.t = 0

    def stabilized(self, g):
        gamma1, gamma2, gamma3 = self.gammas
        self.t += 1
        most = np.abs(g).max()
        self.largest = gamma3 * self.largest + (1 - gamma3) * most
        limit = self.largest / (1 - gamma3**self.t)
        g = np.where(np.abs(g) > limit, g / most * limit, g)
        norm = np.linalg.norm(g)
        self.norm = gamma1 * self.norm + (1 - gamma1) * norm
        self.square = gamma2 * self.square + (1 - gamma2) * norm**2
        target = (self.norm / (1 - gamma1**self.t)) / (math.sqrt(self.square / (1 - gamma2**self.t)) + EPSILON)
        return g / norm * target


def low_rank(projector, remainder, scale, remainder_scale, decays=True):
    """The weights behind each step."""
    weights = {name: start(name) for name in SHAPES}
    rules = {
        name: LowRank(projector, remainder, scale, remainder_scale) if name in PROJECTED else Adam() for name in SHAPES}
    steps = []
    for step in range(STEPS):
        for name, rule in rules.items():
            g = gradient(name, step)
            if name in PROJECTED:
                wide = g.shape[0] < g.shape[1]
                update = rule.update(g.T if wide else g, step)
                update = update.T if wide else update
            else:
                update = rule.direction(g)
            kept = 1 - RATE * decay_of(name) if decays else 1
            weights[name] = weights[name] * kept - RATE * update
        steps.append({name: value.copy() for name, value in weights.items()})
    return steps


def stable_spam(gammas, resets, decays=True):
    weights = {name: start(name) for name in SHAPES}
    spams, adams = {name: StableSPAM(*gammas) for name in SHAPES}, {name: Adam() for name in SHAPES}
    steps = []
    for step in range(STEPS):
        for name in SHAPES:
            g = spams[name].stabilized(gradient(name, step, spike=True))
            if resets and (step + 1) % resets == 0:
                adams[name] = Adam()
            kept = 1 - RATE * decay_of(name) if decays else 1
            weights[name] = weights[name] * kept - RATE * adams[name].direction(g)
        steps.append({name: value.copy() for name, value in weights.items()})
    return steps


def lion():
    parameters = {name: torch.tensor(start(name), requires_grad=True) for name in SHAPES}
    optimizer = Lion(
        [{"params": [p], "weight_decay": decay_of(name)} for name, p in parameters.items()], lr=RATE,
        betas=(BETA1, BETA2))
    steps = []
    for step in range(STEPS):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(gradient(name, step))
        optimizer.step()
        steps.append({name: p.detach().numpy().copy() for name, p in parameters.items()})
    return steps


def byte_gradient(step):
    """Of very different sizes within a block."""
    count = math.prod(BYTES)
    return numbers(count, 100 * (step + 1)) * 0.1 ** (np.arange(count) % 3)


def adamw_8bit():
    def exact(values, code, absmax, out, block):
        bytes, scales = torch.ops.bitsandbytes.quantize_blockwise(values.double(), code, block)
        out.copy_(bytes)
        absmax.copy_(scales)

    bnb_cpu._quant_blockwise_fp32_direct = exact
    parameter = torch.nn.Parameter(torch.tensor(numbers(math.prod(BYTES), 0), dtype=torch.float32))
    optimizer = bnb.optim.AdamW8bit([parameter], lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=DECAY)
    steps = []
    for step in range(STEPS):
        parameter.grad = torch.tensor(byte_gradient(step), dtype=torch.float32)
        optimizer.step()
        steps.append(parameter.detach().double().numpy().copy())
    state = optimizer.state[parameter]
    kept = slice(0, None, 23)
    return {
        "shape": BYTES, "every": 23,
        "steps": [[round(x, 9) for x in steps[k][kept].tolist()] for k in (3, 7)],
        "first_bytes": state["state1"][kept].tolist(), "second_bytes": state["state2"][kept].tolist(),
        "first_scales": state["absmax1"].tolist(), "second_scales": state["absmax2"].tolist(),
        "signed_map": bnb.functional.create_dynamic_map(True).tolist(),
        "unsigned_map": bnb.functional.create_dynamic_map(False).tolist(),
    }


def checks():
    def run(optimizer_of, steps, spike=False, names=PROJECTED):
        parameters = {name: torch.tensor(start(name), requires_grad=True) for name in names}
        optimizer = optimizer_of(list(parameters.values()))
        for step in range(steps):
            for name, parameter in parameters.items():
                parameter.grad = torch.tensor(gradient(name, step, spike))
            optimizer.step()
        return {name: p.detach().numpy() for name, p in parameters.items()}

    def near(found, expected, what):
        for name, value in found.items():
            worst = np.abs(value - expected[name]).max()
            assert worst < 2e-7, f"{what}, {name}: {worst}"  # the packages decompose in single precision

    common = {"lr": RATE, "betas": (BETA1, BETA2), "eps": EPSILON, "weight_decay": 0}
    group = {"rank": RANK, "update_proj_gap": EVERY, "proj_type": "std"}
    near(
        run(lambda p: GaLoreAdamW([{"params": p, "scale": 0.25, **group}], **common), EVERY),
        low_rank("svd", "none", 0.25, 1, decays=False)[EVERY - 1], "GaLore")
    near(
        run(lambda p: FiraAdamW([{"params": p, "alpha": 1.0, **group}], **common), EVERY),
        low_rank("svd", "fira", 1, 1, decays=False)[EVERY - 1], "Fira")


def lists(steps):
    """The step behind the second choice of a subspace and the last one, to twelve decimals."""
    return [
        {"step": k, "parameters": {n: [round(x, 12) for x in v.flatten().tolist()] for n, v in steps[k].items()}}
        for k in (3, 7)]


if __name__ == "__main__":
    checks()
    print(json.dumps({
        "versions": {"torch": torch.__version__, "bitsandbytes": bnb.__version__},
        "shapes": SHAPES,
        "lion": lists(lion()),
        "low_rank": [
            {"projector": p, "remainder": r, "scale": s, "remainder_scale": w, "steps": lists(low_rank(p, r, s, w))}
            for p in ("svd", "dct") for r, s, w in (("none", 0.25, 1), ("sign_sgd", 1, 0.1), ("fira", 1, 1))],
        "stable_spam": [
            {"resets": resets, "steps": lists(stable_spam((0.7, 0.9, 0.999), resets))} for resets in (0, 3)],
        "adamw_8bit": adamw_8bit(),
    }))
