"""Losses, gradients and metrics of TRL's preference trainers on fixed per-token log-probs.

Versions: trl 1.16.0, torch 2.13.0, Python 3.11. Run from the repository's root:

    python Tests/References/trl_preferences.py > Tests/AlgorithmsTests/trl_preferences.json

Calls `DPOTrainer._compute_loss` and `CPOTrainer.cpo_loss` on stand-in objects, so that no model, tokenizer or
accelerator is needed. All in float64. Three pairs, chosen sides of 5, 1 and 4 tokens, rejected ones of 3, 6 and 2.
SimPO and conservative labels are CPO's: the DPO trainer has neither. CPO takes no reference, so that its sigmoid loss
is the one that is called reference-free here.
"""

import json
import sys
import warnings
from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace

import torch

warnings.filterwarnings("ignore")
from trl import DPOTrainer  # noqa: E402
from trl.experimental.cpo import CPOTrainer  # noqa: E402

CHOSEN, REJECTED = [5, 1, 4], [3, 6, 2]
PROMPT = 2
torch.manual_seed(4)
LENGTHS = CHOSEN + REJECTED
WIDTH = max(LENGTHS)


def draw(low, high):
    """Numbers with four decimals, so that the file holds them exactly as they were used."""
    return (torch.rand(len(LENGTHS), WIDTH, dtype=torch.float64) * (high - low) + low).round(decimals=4)


MASK = torch.tensor([[1.0] * n + [0.0] * (WIDTH - n) for n in LENGTHS], dtype=torch.float64)
LOGPS = draw(-3, -0.2)
REFERENCE = (LOGPS + draw(-0.8, 0.8)).round(decimals=4)


class Accelerator:
    device = "cpu"

    def gather(self, tensor):
        return tensor

    gather_for_metrics = gather
    unwrap_model = gather


def outputs(logps):
    """What a model's fused head gives: nothing at the prompt's positions but the last, which predicts the first."""
    shown = torch.cat([torch.zeros(len(LENGTHS), PROMPT - 1, dtype=torch.float64), logps * MASK], dim=1)
    zeros = torch.zeros_like(shown)
    return SimpleNamespace(
        log_probs=shown, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), log_sum_sq_probs=zeros)


class Model(torch.nn.Module):
    def __init__(self, logps):
        super().__init__()
        self.logps = logps

    def forward(self, **_):
        return outputs(self.logps)


def dpo(settings):
    logps = LOGPS.clone().requires_grad_(True)
    trainer = SimpleNamespace(
        model=torch.nn.Identity(), accelerator=Accelerator(), aux_loss_enabled=False, ld_alpha=None,
        precompute_ref_logps=False, ref_model=Model(REFERENCE), f_divergence_type="reverse_kl",
        loss_types=[settings["loss_type"]], loss_weights=[1.0], beta=settings["beta"],
        label_smoothing=settings.get("label_smoothing", 0.0), use_weighting=False, _tp_size=1,
        _total_train_tokens=0, args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        _metrics={"train": defaultdict(list)})
    completion = torch.cat([torch.zeros(len(LENGTHS), PROMPT), MASK], dim=1).long()
    inputs = {"input_ids": completion + 1, "attention_mask": torch.ones_like(completion), "completion_mask": completion}
    trainer.model.is_gradient_checkpointing = False
    loss = DPOTrainer._compute_loss(trainer, Model(logps), inputs, False)
    loss.backward()
    names = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"]
    return result(settings, loss, logps, {name: trainer._metrics["train"][name][0] for name in names})


def cpo(settings):
    logps = LOGPS.clone().requires_grad_(True)
    sums = (logps * MASK).sum(1)
    per_token = settings["loss_type"] == "simpo"
    scores = sums / MASK.sum(1) if per_token else sums
    trainer = SimpleNamespace(
        accelerator=Accelerator(), alpha=0.0, loss_type=settings["loss_type"], beta=settings["beta"],
        simpo_gamma=settings.get("simpo_gamma", 0.5), label_smoothing=settings.get("label_smoothing", 0.0))
    chosen, rejected = scores.chunk(2)
    losses, chosen_rewards, rejected_rewards = CPOTrainer.cpo_loss(trainer, chosen, rejected)
    loss = losses.mean()
    loss.backward()
    metrics = {
        "rewards/chosen": chosen_rewards.mean().item(), "rewards/rejected": rejected_rewards.mean().item(),
        "rewards/accuracies": (chosen_rewards > rejected_rewards).double().mean().item(),
        "rewards/margins": (chosen_rewards - rejected_rewards).mean().item(),
    }
    return result({**settings, "reference_free": True}, loss, logps, metrics)


def paired(rows):
    """Rows of all chosen, then all rejected sides, as pairs: chosen, rejected, chosen …"""
    order = [index for pair in range(len(CHOSEN)) for index in (pair, pair + len(CHOSEN))]
    return [value for index in order for value in rows[index][: LENGTHS[index]].tolist()]


def result(settings, loss, logps, metrics):
    return {"settings": settings, "loss": loss.item(), "gradient": paired(logps.grad), "metrics": metrics}


def main():
    cases = [
        dpo({"loss_type": "sigmoid", "beta": 0.1}), dpo({"loss_type": "sigmoid", "beta": 0.7}),
        dpo({"loss_type": "robust", "beta": 0.1, "label_smoothing": 0.1}),
        dpo({"loss_type": "robust", "beta": 0.5, "label_smoothing": 0.3}),
        dpo({"loss_type": "ipo", "beta": 0.1}), dpo({"loss_type": "ipo", "beta": 0.6}),
        cpo({"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0}),
        cpo({"loss_type": "simpo", "beta": 0.1, "simpo_gamma": 0.5}),
        cpo({"loss_type": "sigmoid", "beta": 0.1, "label_smoothing": 0.2}),
        cpo({"loss_type": "sigmoid", "beta": 0.3}),
    ]
    lengths = [n for pair in zip(CHOSEN, REJECTED) for n in pair]
    json.dump(
        {"lengths": lengths, "logProbabilities": paired(LOGPS), "referenceLogProbabilities": paired(REFERENCE),
         "cases": cases}, sys.stdout, indent=1, allow_nan=False)
    print()


main()
