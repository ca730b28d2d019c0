"""A reward as verl calls it: one completion a call, the reference as `ground_truth`.

    reward_funcs: [rewards/python/verl_style.py:compute_score]
"""


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """1 for the right last word, 0.1 for any number there; what stands beside `score` becomes a column."""
    words = solution_str.split()
    last = words[-1].strip(".$") if words else ""
    is_number = last.lstrip("-").isdigit()
    return {"score": 1.0 if last == str(ground_truth) else 0.1 if is_number else 0.0, "last_word": last}
