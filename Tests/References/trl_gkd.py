"""The generalized Jensen-Shannon divergence of TRL's GKD trainer, and its gradient by the student's logits.

Versions: trl 1.16.0, torch 2.13.0, Python 3.11. Run from the repository's root:

    python Tests/References/trl_gkd.py > Tests/AlgorithmsTests/trl_gkd.json

Calls `GKDTrainer.generalized_jsd_loss` itself in float64. Logits are products of hidden states with a head, as ours
are.
"""

import json
import sys

import torch
from trl.experimental.gkd import GKDTrainer

TOKENS, WORDS = 4, 6
torch.manual_seed(5)


def draw(*shape):
    return (torch.rand(*shape, dtype=torch.float64) * 4 - 2).round(decimals=4)


student, head = draw(TOKENS, 3), draw(WORDS, 3)
teacher, teacher_head = draw(TOKENS, 5), draw(WORDS, 5)
cases = []
for beta in [0.0, 0.1, 0.5, 0.9, 1.0]:
    for temperature in [1.0, 0.7]:
        states = student.clone().requires_grad_()
        loss = GKDTrainer.generalized_jsd_loss(
            (states @ head.T)[None],
            (teacher @ teacher_head.T)[None],
            labels=torch.zeros(1, TOKENS, dtype=torch.long),
            beta=beta,
            temperature=temperature,
        )
        loss.backward()
        cases.append(
            {
                "beta": beta,
                "temperature": temperature,
                "loss": loss.item(),
                "gradient": states.grad.flatten().tolist(),
            }
        )
json.dump(
    {
        "student": student.flatten().tolist(),
        "head": head.flatten().tolist(),
        "teacher": teacher.flatten().tolist(),
        "teacherHead": teacher_head.flatten().tolist(),
        "cases": cases,
    },
    sys.stdout,
    indent=1,
)
print()
