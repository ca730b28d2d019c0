"""Every point that scipy's Nelder-Mead evaluates on three functions, in order.

Made with scipy (version in the file), Python 3.11. Run from the repository's root:

    python Tests/References/nelder_mead.py > Tests/CreditTests/nelder_mead.json

The rules are the same: reflect 1, expand 2, contract 1/2 outside and inside, shrink 1/2; sequences agree point for
point.
"""

import json

import numpy as np
import scipy
from scipy.optimize import minimize


def quadratic(x):
    return 3 * (x[0] - 0.3) ** 2 + (x[1] + 0.2) ** 2 + 0.5 * (x[0] - 0.3) * (x[1] + 0.2)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def valley(x):
    return abs(x[0] - 1) + 2 * abs(x[1] - x[0]) + 4 * abs(x[2] + x[1])


CASES = [
    ("quadratic", quadratic, [[0.0, 0.0], [1.0, 0.1], [0.2, 0.9]], None),
    ("rosenbrock", rosenbrock, [[-1.2, 1.0], [-1.0, 1.3], [-0.7, 0.8]], None),
    ("valley", valley, [[0.0, 0.0, 0.0], [0.5, 0.1, -0.1], [0.1, 0.6, 0.2], [-0.1, 0.2, 0.7]], None),
    ("bounded", quadratic, [[0.6, 0.0], [0.9, 0.1], [0.7, 0.5]], [(0.5, 1.0), (-0.1, 0.6)]),
]

found = {"scipy": scipy.__version__, "cases": []}
for name, function, simplex, bounds in CASES:
    points = []

    def noted(x):
        points.append([float(v) for v in x])
        return function(x)

    minimize(noted, simplex[0], method="Nelder-Mead", bounds=bounds,
             options={"initial_simplex": np.array(simplex), "xatol": 1e-9, "fatol": 1e-9, "maxfev": 160})
    found["cases"].append({"name": name, "simplex": simplex, "bounds": bounds, "points": points[:150]})
print(json.dumps(found))
