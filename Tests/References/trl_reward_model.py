"""Losses, gradients and metrics of TRL's RewardTrainer on given scores: Tests/AlgorithmsTests/trl_reward_model.json.

python trl_reward_model.py > ../AlgorithmsTests/trl_reward_model.json      (trl 1.16.0, torch 2.13.0)
"""
import json
from collections import defaultdict
from types import SimpleNamespace

import torch
from trl import RewardTrainer

scores = [[1.25, 0.5], [-0.75, 0.25], [2.0, -3.5], [0.1, 0.1], [-4.0, 6.0]]
margins = [0.3, 0.0, 1.5, -0.2, 0.7]


def case(centering, with_margins):
    chosen, rejected = (torch.tensor([pair[side] for pair in scores], dtype=torch.float64) for side in (0, 1))
    logits = torch.cat([chosen, rejected]).unsqueeze(-1).requires_grad_()

    class Model:
        training = True

        def __call__(self, **inputs):
            return SimpleNamespace(logits=logits)

    same = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=Model(),
        args=SimpleNamespace(center_rewards_coefficient=centering), accelerator=same, _tp_size=1,
        _total_train_tokens=0, _metrics={"train": defaultdict(list)})
    inputs = {"attention_mask": torch.ones(2)}
    if with_margins:
        inputs["margin"] = torch.tensor(margins, dtype=torch.float64)
    loss = RewardTrainer.compute_loss(trainer, Model(), inputs)
    loss.backward()
    gradient = logits.grad.squeeze(-1).reshape(2, -1).T.reshape(-1)
    metrics = {name: values[0] for name, values in trainer._metrics["train"].items() if name != "num_tokens"}
    return {
        "centering": centering or 0, "margins": margins if with_margins else [0.0] * len(margins),
        "loss": loss.item(), "gradient": gradient.tolist(), "metrics": metrics}


print(json.dumps({"scores": scores, "cases": [case(None, False), case(None, True), case(0.01, True)]}, indent=1))
