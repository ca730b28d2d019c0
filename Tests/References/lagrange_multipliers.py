"""Trajectories of omnisafe's Lagrange multiplier on fixed sequences of mean costs.

Source: PKU-Alignment/omnisafe 15603dd7 (omnisafe/common/lagrange.py), torch 2.13.0. Run with the file's path:

    python Tests/References/lagrange_multipliers.py LAGRANGE.PY > Tests/CreditTests/lagrange_multipliers.json

Costs are to stay at most at the limit. SGD is its optimizer here; the multiplier is float32 there, so the numbers hold
to 1e-6.
"""

import importlib.util
import json
import sys

spec = importlib.util.spec_from_file_location("lagrange", sys.argv[1])
lagrange = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lagrange)

CASES = [
    {"limit": 0.5, "rate": 0.1, "initial": 0.0, "bound": None,
     "costs": [0.9, 0.8, 0.75, 0.6, 0.4, 0.3, 0.1, 0.05, 0.2, 0.7, 0.9, 0.9]},
    {"limit": 0.25, "rate": 1.0, "initial": 0.7, "bound": 1.5,
     "costs": [0.5, 0.9, 0.95, 1.0, 0.9, 0.1, 0.0, 0.0, 0.05, 0.3]},
    {"limit": 0.8, "rate": 0.035, "initial": 0.001, "bound": None,
     "costs": [0.5, 0.6, 0.9, 1.0, 1.0, 1.0, 0.85, 0.8]},
]

for case in CASES:
    multiplier = lagrange.Lagrange(case["limit"], case["initial"], case["rate"], "SGD", case["bound"])
    case["multipliers"] = []
    for cost in case["costs"]:
        multiplier.update_lagrange_multiplier(cost)
        case["multipliers"].append(float(multiplier.lagrangian_multiplier))

print(json.dumps(CASES, indent=1))
