"""Losses, gradients and metrics of TRL's GRPOTrainer and RLOOTrainer on fixed per-token log-probs.

Versions: trl 1.16.0, torch 2.13.0, Python 3.11. Run from the repository's root:

    python Tests/References/trl_losses.py > Tests/AlgorithmsTests/trl_losses.json

Calls the trainers' own `_compute_loss` on a stand-in object, so that no model, tokenizer or accelerator is needed. All
in float64. The batch has six completions of 5, 3, 1, 4, 0 and 5 tokens; ratios lie on both sides of every clip.
"""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch
from trl import GRPOTrainer, RLOOTrainer

LENGTHS = [5, 3, 1, 4, 0, 5]
WIDTH = max(LENGTHS)
MAX_COMPLETION_LENGTH = 8
torch.manual_seed(9)


def draw(low, high):
    """Numbers with four decimals, so that the file holds them exactly as they were used."""
    return (torch.rand(len(LENGTHS), WIDTH, dtype=torch.float64) * (high - low) + low).round(decimals=4)


MASK = torch.tensor([[1.0] * n + [0.0] * (WIDTH - n) for n in LENGTHS], dtype=torch.float64)
LOGPS = draw(-3, -0.2)
OLD = (LOGPS + draw(-0.7, 0.7)).round(decimals=4)
OLD[0, 1] = LOGPS[0, 1] - 2.0  # ratio 7.4: beyond delta, the dual clip and CISPO's bound
OLD[3, 2] = LOGPS[3, 2] - 1.9
REFERENCE = (LOGPS + draw(-0.8, 0.8)).round(decimals=4)
ROLLOUT = (OLD + draw(-0.3, 0.3)).round(decimals=4)
ENTROPIES = draw(0.1, 2.0)
ADVANTAGES = torch.tensor([0.9, -1.1, 0.4, -0.6, 0.7, 0.0], dtype=torch.float64)


class Accelerator:
    num_processes = 1
    sync_gradients = True

    def gather(self, tensor):
        return tensor

    def reduce(self, tensor, reduction):
        return tensor


def trainer(logps, entropies, settings):
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logps, entropies, None),
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=settings.get("off_policy_mask_threshold"),
        importance_sampling_level=settings.get("importance_sampling_level", "token"),
        beta=settings.get("beta", 0.0),
        loss_type=settings.get("loss_type"),
        epsilon_low=settings.get("epsilon", 0.2),
        epsilon_high=settings.get("epsilon_high", settings.get("epsilon", 0.2)),
        use_vllm="importance_sampling" in settings,
        vllm_importance_sampling_correction=True,
        max_completion_length=MAX_COMPLETION_LENGTH,
        current_gradient_accumulation_steps=1,
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(
            use_bias_correction_kl=settings.get("use_bias_correction_kl", False),
            delta=settings.get("delta"),
            steps_per_generation=1,
        ),
        accelerator=Accelerator(),
        _entropy_bonus_enabled="entropy_coef" in settings,
        use_adaptive_entropy=False,
        entropy_coef=settings.get("entropy_coef", 0.0),
        _metrics=defaultdict(lambda: defaultdict(list)),
    )


def importance_ratio(mode, low, high):
    """The correction weights as TRL's generation step forms them before the loss sees them."""
    log_ratio = (OLD - ROLLOUT) * MASK
    if mode.startswith("sequence"):
        log_ratio = log_ratio.sum(-1, keepdim=True)
    ratio = log_ratio.exp()
    if mode.endswith("truncate"):
        return ratio.clamp(min=low, max=high)
    outside = (ratio < (low if low is not None else 0.0)) | (ratio > high)
    return ratio.masked_fill(outside, 0.0)


def inputs(settings):
    batch = {
        "prompt_ids": torch.ones(len(LENGTHS), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(LENGTHS), 1, dtype=torch.long),
        "completion_ids": torch.ones(len(LENGTHS), WIDTH, dtype=torch.long),
        "completion_mask": MASK,
        "advantages": ADVANTAGES,
        "old_per_token_logps": OLD,
        "ref_per_token_logps": REFERENCE,
        "old_logps": (OLD * MASK).sum(1),
        "num_items_in_batch": MASK.sum(),
    }
    if "off_policy_mask_threshold" in settings:
        batch["sampling_per_token_logps"] = ROLLOUT
    if "importance_sampling" in settings:
        batch["importance_sampling_ratio"] = importance_ratio(*settings["importance_sampling"])
    return batch


def flat(rows):
    return [value for row, n in zip(rows.tolist(), LENGTHS) for value in row[:n]]


def run(owner, settings):
    logps = LOGPS.clone().requires_grad_()
    entropies = ENTROPIES.clone().requires_grad_()
    stand_in = trainer(logps, entropies, settings)
    loss = owner._compute_loss(stand_in, None, inputs(settings))
    loss.backward()
    case = {
        "settings": settings,
        "loss": loss.item(),
        "gradient": flat(logps.grad),
        "metrics": {name: values[0] for name, values in stand_in._metrics["train"].items()},
    }
    if "entropy_coef" in settings:
        case["entropyGradient"] = flat(entropies.grad)
    return case


def grpo_cases():
    kinds = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
    for kind in kinds:
        bounds = {"epsilon_high": 5.0} if kind == "cispo" else {}
        yield {"loss_type": kind, **bounds}
        yield {"loss_type": kind, "beta": 0.3, **bounds}
        yield {"loss_type": kind, "beta": 0.3, "use_bias_correction_kl": True, **bounds}
        if kind != "cispo":
            yield {"loss_type": kind, "delta": 4.0, "epsilon_high": 0.28}
    sequence = {"loss_type": "grpo", "importance_sampling_level": "sequence"}
    yield {**sequence, "epsilon": 0.05}
    # Not with use_bias_correction_kl: TRL multiplies k3 by the sequence ratio there, which is the gradient of neither
    # KL (TRL's issue 6586 is open). Plumbline leaves the KL term as it is.
    yield {**sequence, "beta": 0.3}
    yield {"loss_type": "dapo", "entropy_coef": 0.01}
    yield {"loss_type": "grpo", "off_policy_mask_threshold": 0.02}
    for correction in [
        ["token_truncate", None, 1.1],
        ["token_mask", 0.85, 1.15],
        ["sequence_truncate", 0.9, 1.1],
        ["sequence_mask", None, 1.3],
    ]:
        yield {"loss_type": "dapo", "beta": 0.3, "importance_sampling": correction}


def main():
    json.dump(
        {
            "lengths": LENGTHS,
            "maxCompletionLength": MAX_COMPLETION_LENGTH,
            "logProbabilities": flat(LOGPS),
            "oldLogProbabilities": flat(OLD),
            "referenceLogProbabilities": flat(REFERENCE),
            "rolloutLogProbabilities": flat(ROLLOUT),
            "entropies": flat(ENTROPIES),
            "advantages": ADVANTAGES.tolist(),
            "grpo": [run(GRPOTrainer, settings) for settings in grpo_cases()],
            "rloo": [run(RLOOTrainer, {"epsilon": epsilon}) for epsilon in (0.2, 2.0)],
        },
        sys.stdout,
        indent=1,
        allow_nan=False,
    )
    print()


main()
