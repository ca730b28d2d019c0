"""Loss and gradient of LUFFY's released code on fixed log-probs, and its advantages.

Source: ElliottYan/LUFFY, luffy/verl/verl/mix_src/mix_core_alg.py and luffy/verl/verl/trainer/ppo/core_algos.py. torch
2.13.0, Python 3.11. Run from the repository's root, with a checkout of LUFFY:

    python Tests/References/luffy_losses.py LUFFY > Tests/AlgorithmsTests/luffy_losses.json

Two prompts with three completions of the policy and a demonstration each; the settings are those of the released run:
shaping p/(p + 0.1), no clip, token sums over the longest completion, advantages without a deviation. The code sums the
rows of a micro-batch; the numbers here are divided by the rows, so that a step is a mean over them.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path

import torch

ROOT = Path(sys.argv[1]) / "luffy" / "verl" / "verl"


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The two files import their package for a masked mean and the like; nothing of it decides the loss that is asked for
# here.
functional = types.ModuleType("verl.utils.torch_functional")
functional.masked_mean = lambda values, mask, axis=None: (values * mask).sum(axis=axis) / mask.sum(axis=axis)
verl, utils = types.ModuleType("verl"), types.ModuleType("verl.utils")
verl.DataProto, verl.utils, utils.torch_functional = object, utils, functional
sys.modules.update({"verl": verl, "verl.utils": utils, "verl.utils.torch_functional": functional})

mix = load(ROOT / "mix_src" / "mix_core_alg.py", "mix_core_alg")
core = load(ROOT / "trainer" / "ppo" / "core_algos.py", "core_algos")

LENGTHS = [5, 3, 1, 6, 2, 4, 7, 3]
IS_DEMONSTRATION = [False, False, False, True, False, False, False, True]
INDEX = ["a"] * 4 + ["b"] * 4
REWARDS = [0.0, 1.0, 0.0, 1.0, 0.25, 0.0, 0.0, 1.0]
WIDTH = 8
torch.manual_seed(11)


def draw(low, high):
    return (torch.rand(len(LENGTHS), WIDTH, dtype=torch.float64) * (high - low) + low).round(decimals=4)


mask = torch.tensor([[1.0] * n + [0.0] * (WIDTH - n) for n in LENGTHS], dtype=torch.float64)
demonstrated = torch.tensor(IS_DEMONSTRATION)[:, None].expand(-1, WIDTH)
logps = draw(-6, -0.05).requires_grad_()
old = (logps.detach() + draw(-0.7, 0.7)).round(decimals=4)

token_rewards = torch.zeros_like(mask)
for row, length in enumerate(LENGTHS):
    token_rewards[row, length - 1] = REWARDS[row]
advantages, _ = core.compute_grpo_outcome_advantage(
    token_level_rewards=token_rewards, eos_mask=mask, index=INDEX, use_std=False
)

sys.stdout, out = sys.stderr, sys.stdout  # the code prints
result = mix.compute_token_on_off_policy_loss(
    old_log_prob=old, log_prob=logps, advantages=advantages, eos_mask=mask, cliprange=0.2, clip_upper_bound=1.2,
    prefix_mask=demonstrated, off_cliprange=None, off_policy_reshape="p_div_p_0.1", loss_remove_token_mean=True,
    loss_remove_clip=True,
)
loss = result["pg_loss"] / len(LENGTHS)
loss.backward()


def flat(tensor):
    return [tensor[row, t].item() for row, n in enumerate(LENGTHS) for t in range(n)]


json.dump(
    {
        "lengths": LENGTHS,
        "isDemonstration": IS_DEMONSTRATION,
        "maxCompletionLength": WIDTH,
        "rewards": REWARDS,
        "advantages": [advantages[row, 0].item() for row in range(len(LENGTHS))],
        "logProbabilities": flat(logps.detach()),
        "oldLogProbabilities": flat(old),
        "loss": loss.item(),
        "gradient": flat(logps.grad),
        "demonstrationProbability": result["off_policy_prob"].item(),
        "demonstrationWeight": result["off_ratio_mean"].item(),
    },
    out,
    indent=1,
)
print(file=out)
