"""Losses, advantages and KL penalties of verl on fixed numbers: its own functions from
`verl/trainer/ppo/core_algos.py`.

Versions: verl 0.9.1, torch 2.13.0, transformers 5.23.0, Python 3.11. Unpack verl's wheel (`pip download --no-deps
verl==0.9.1`) into a folder and run from the repository's root:

    python Tests/References/verl_core.py FOLDER losses     > Tests/AlgorithmsTests/verl_losses.json
    python Tests/References/verl_core.py FOLDER advantages > Tests/CreditTests/verl_advantages.json

verl's packages load ray, tensordict and much else that the mathematics never touches. The packages are therefore opened
without their `__init__`, and what is missing is replaced by empty modules. All numbers are float64; inputs are
multiples of 1/64, so that they are the same in float32.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types

import numpy as np
import torch

FOLDER, WHAT = sys.argv[1:]
torch.set_default_dtype(torch.float64)  # `torch.tensor(0.0)` inside verl; its inputs are float64 too


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules whose every attribute is an empty class: enough for annotations and decorators."""

    names = ("ray", "omegaconf", "tensordict", "hydra")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)

        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = attribute
        return module

    def exec_module(self, module):
        pass


class ActorConfig:
    """The fields of verl's configuration that its losses read."""

    def __init__(self, **fields):
        self.clip_ratio = self.clip_ratio_low = self.clip_ratio_high = 0.2
        self.clip_ratio_c = 3.0
        self.global_batch_info = {}
        self.__dict__.update(fields)

    def get(self, name, default=None):
        return getattr(self, name, default)


class DataProto:
    """Holds tensors by name, as verl's own does."""

    def __init__(self, batch):
        self.batch = batch

    @classmethod
    def from_dict(cls, tensors, **_):
        return cls(tensors)


def open_package(name, **attributes):
    package = types.ModuleType(name)
    package.__path__ = [f"{FOLDER}/{name.replace('.', '/')}"]
    package.__dict__.update(attributes)
    sys.modules[name] = package
    return package


sys.meta_path.append(Absent())
for name in ("verl", "verl.trainer", "verl.trainer.ppo", "verl.utils"):
    open_package(name)
open_package("verl.trainer.config", AlgoConfig=type("AlgoConfig", (), {}))
open_package("verl.trainer.config.algorithm", RolloutCorrectionConfig=type("RolloutCorrectionConfig", (), {}))
open_package("verl.workers")
open_package("verl.workers.config", ActorConfig=ActorConfig)
open_package("verl.workers.config.actor", PolicyLossConfig=type("PolicyLossConfig", (), {}))
open_package("verl.protocol", DataProto=DataProto)
from verl.utils import groupwise  # noqa: E402

sys.modules["verl.utils"].as_torch_index = groupwise.as_torch_index
sys.modules["verl.utils"].group_mean_std = groupwise.group_mean_std
from verl.trainer.ppo import core_algos as verl  # noqa: E402
from verl.trainer.ppo import rollout_corr_helper  # noqa: E402

torch.manual_seed(21)


def draw(low, high, *shape):
    return ((torch.rand(*shape) * (high - low) + low) * 64).round() / 64


class Rows:
    """Completions of several lengths as verl has them: padded on the right, with a mask."""

    def __init__(self, lengths):
        self.lengths = lengths
        self.shape = (len(lengths), max(lengths))
        self.mask = torch.tensor([[1.0] * n + [0.0] * (self.shape[1] - n) for n in lengths])

    def flat(self, rows):
        return [value for row, n in zip(rows.tolist(), self.lengths) for value in row[:n]]

    def nested(self, rows):
        return [row[:n] for row, n in zip(rows.tolist(), self.lengths)]


def gradient_of(leaf, loss):
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient


# Losses


def losses():
    rows = Rows([5, 3, 1, 4, 0, 5])
    limit = 8
    logps = draw(-3, -0.2, *rows.shape)
    old = logps + draw(-0.6, 0.6, *rows.shape)
    old[0, 1] = logps[0, 1] - 2.0  # ratio 7.4, advantage above 0
    old[1, 1] = logps[1, 1] - 1.5  # ratio 4.5, advantage below 0: beyond the dual clip
    rollout = old + draw(-0.25, 0.25, *rows.shape)
    advantages = torch.tensor([0.90625, -1.125, 0.40625, -0.59375, 0.6875, 0.25])
    spread = advantages.unsqueeze(-1) * rows.mask
    whole = {"dp_size": 1, "batch_num_tokens": 18, "global_batch_size": 6, "loss_scale_factor": limit}

    def policy_case(name, mode, function, config=None, weights=None, old=old, info=whole):
        leaf = logps.clone().requires_grad_()
        config = ActorConfig(global_batch_info=info, **(config or {}))
        loss, metrics = function(old, leaf, spread, rows.mask, mode, config, weights)
        return {
            "name": name, "mode": mode, "loss": loss.item(), "gradient": rows.flat(gradient_of(leaf, loss)),
            "clipFraction": metrics.get("actor/pg_clipfrac"), "dualFraction": metrics.get("actor/pg_clipfrac_lower"),
        }

    def weights(level, threshold):
        return rollout_corr_helper.compute_rollout_correction_weights(
            old - rollout, rows.mask, rollout_is=level, rollout_is_threshold=threshold)[0]

    modes = ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
    policy = [policy_case("vanilla", mode, verl.compute_policy_loss_vanilla) for mode in modes]
    # Without the batch's own count verl leaves the empty completion out of the five.
    policy += [policy_case("uncounted", modes[2], verl.compute_policy_loss_vanilla, info={})]
    higher = {"clip_ratio_high": 0.28, "clip_ratio_c": 10.0}
    policy += [policy_case("clip higher", modes[0], verl.compute_policy_loss_vanilla, higher)]
    small = {"clip_ratio_low": 0.03, "clip_ratio_high": 0.04}
    policy += [policy_case("gspo", modes[2], verl.compute_policy_loss_gspo, small)]
    bounded = {"clip_ratio_low": 1.0, "clip_ratio_high": 4.0}
    policy += [policy_case("cispo", modes[0], verl.compute_policy_loss_cispo, bounded)]
    policy += [policy_case("reinforce", mode, verl.compute_policy_loss_reinforce) for mode in modes[:2]]
    for level, threshold in [("token", 1.125), ("sequence", 1.125), ("token", "0.875_1.125"), ("sequence", "0.75_1.5")]:
        name = f"weighted {level} {threshold}"
        policy += [policy_case(name, modes[0], verl.compute_policy_loss_vanilla, weights=weights(level, threshold))]
    bypass = {"rollout_correction": {"loss_type": "ppo_clip", "rollout_is": "token", "rollout_is_threshold": 1.125}}
    policy += [
        policy_case(
            "bypass", modes[0], verl.compute_policy_loss_bypass_mode,
            {"policy_loss": types.SimpleNamespace(get=bypass.get)}, old=rollout)
    ]

    values = draw(-1, 1, *rows.shape)
    old_values = values + draw(-0.6, 0.6, *rows.shape)
    returns = values + draw(-1, 1, *rows.shape)

    def value_case(clip):
        leaf = values.clone().requires_grad_()
        loss, fraction = verl.compute_value_loss(leaf, returns, old_values, rows.mask, clip)
        return {
            "clip": clip, "loss": loss.item(), "gradient": rows.flat(gradient_of(leaf, loss)),
            "clipFraction": fraction.item(),
        }

    differences = torch.tensor([-4.0, -2.5, -1.0, -0.5, 0.0, 0.25, 0.5, 3.0, 12.0])

    def kl_case(kind):
        leaf = differences.clone().requires_grad_()
        estimate = verl.kl_penalty(leaf, torch.zeros_like(leaf), kind)
        return {"kind": kind, "values": estimate.tolist(), "slopes": gradient_of(leaf, estimate.sum()).tolist()}

    return {
        "lengths": rows.lengths, "maxCompletionLength": limit, "logProbabilities": rows.flat(logps),
        "oldLogProbabilities": rows.flat(old), "rolloutLogProbabilities": rows.flat(rollout),
        "advantages": advantages.tolist(), "policy": policy,
        "values": rows.flat(values), "oldValues": rows.flat(old_values), "returns": rows.flat(returns),
        "value": [value_case(0.2), value_case(0.5)],
        "differences": differences.tolist(), "kl": [kl_case(kind) for kind in ("k1", "k2", "k3", "abs")],
    }


# Advantages


def advantages():
    rows = Rows([3, 1, 4, 2, 5, 2, 3])
    groups = np.array([0, 0, 0, 1, 1, 2, 1])  # one prompt has a single completion
    coefficient = 0.25
    scores = torch.tensor([1.0, 0.0, 0.25, -0.5, 2.0, 0.75, 0.125])
    greedy = torch.tensor([0.5, 0.5, 0.5, 0.25, 0.25, 1.0, 0.25])
    old, reference = draw(-3, -0.2, *rows.shape), draw(-3, -0.2, *rows.shape)
    values = draw(-1, 1, *rows.shape)
    ends = torch.zeros(rows.shape)
    for row, n in enumerate(rows.lengths):
        ends[row, n - 1] = scores[row]
    penalized = verl.compute_rewards(ends, old, reference, coefficient) * rows.mask

    def gae(gamma, lam):
        found, returns = verl.compute_gae_advantage_return(penalized, values, rows.mask, gamma, lam)
        return {
            "gamma": gamma, "lambda": lam, "advantages": rows.nested(found), "returns": rows.nested(returns)}

    def outcome(function, rewards=ends, **arguments):
        return rows.nested(function(rewards.clone(), response_mask=rows.mask, **arguments)[0])

    second = torch.tensor([0.0, 1.0, 3.0, 0.5, 0.25, 0.75, 2.0])
    even = Rows([2] * 7)
    pairs = np.array([0, 0, 0, 1, 1, 1, 1])
    gdpo = verl.compute_gdpo_outcome_advantage(
        torch.zeros(even.shape), even.mask, pairs,
        config={"gdpo_reward_keys": ["a", "b"], "gdpo_reward_weights": [1.0, 0.5]},
        non_tensor_batch={"a": scores.numpy(), "b": second.numpy()},
        batch={"prompts": torch.ones(7, 1), "attention_mask": torch.ones(7, 3).long()})[0]

    controller = verl.AdaptiveKLController(0.05, 0.1, 1000)
    coefficients = []
    for kl in (0.15, 0.105, 0.02, 0.1, 0.093):
        controller.update(kl, 64)
        coefficients.append({"kl": kl, "after": float(controller.value)})

    gamma_one = types.SimpleNamespace(gamma=1.0)
    return {
        "lengths": rows.lengths, "groups": groups.tolist(), "coefficient": coefficient, "scores": scores.tolist(),
        "secondScores": second.tolist(), "greedyScores": greedy.tolist(), "oldLogProbabilities": rows.nested(old),
        "referenceLogProbabilities": rows.nested(reference), "values": rows.nested(values),
        "gae": [gae(1.0, 0.95), gae(0.97, 0.9), gae(1.0, 1.0), gae(0.5, 0.0)],
        "reinforcePlusPlus": outcome(
            verl.compute_reinforce_plus_plus_outcome_advantage, penalized, config=gamma_one),
        "reinforcePlusPlusBaseline": outcome(
            verl.compute_reinforce_plus_plus_baseline_outcome_advantage, index=groups),
        "rloo": outcome(verl.compute_rloo_outcome_advantage, index=groups),
        "rlooWithPenalty": outcome(verl.compute_rloo_outcome_advantage, penalized, index=groups),
        "remax": outcome(verl.compute_remax_outcome_advantage, penalized, reward_baselines=greedy),
        "grpo": outcome(verl.compute_grpo_outcome_advantage, index=groups),
        "drGRPO": outcome(verl.compute_grpo_outcome_advantage, index=groups, norm_adv_by_std_in_grpo=False),
        "gdpo": even.nested(gdpo), "adaptiveKL": coefficients,
    }


def main():
    found = {"losses": losses, "advantages": advantages}[WHAT]()
    lines = [f'"{name}": {json.dumps(value, allow_nan=False)}' for name, value in found.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


main()
