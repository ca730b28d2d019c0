"""Scores of TRL's own reward functions, for Tests/ShippedRewardsTests/trl_rewards.json.

    python Tests/References/trl_rewards.py > Tests/ShippedRewardsTests/trl_rewards.json

Made with trl 1.16.0, Python 3.11. The cosine schedule is TRL's; whether an answer is right is given, not parsed, so
that math_verify is not needed.
"""
import json
import random

import trl.rewards.accuracy_rewards as accuracy
from trl.rewards import (
    get_cosine_scaled_reward, get_repetition_penalty_reward, get_soft_overlong_punishment, think_format_reward)

random.seed(5)
rows = []


def add(reward, settings, score, **case):
    rows.append({"reward": reward, "settings": settings, "score": score, **case})


texts = [
    "<think>a</think>b", "<think>\na\n</think>\nb", "<think></think>", "<think>a", "a<think>b</think>", "</think><think>",
    "<think>a<think>b</think>", "<think>a</think><think>", "<think>a</think>b</think>", " <think>a</think>", "",
    "<THINK>a</THINK>", "<think>a</think", "<think>a\n\n\nb</think>c\nd\ne", "<think>é</think>ü",
    "<think>a</think>\n<think>b</think>", "<think>a</think> no", "think>a</think>",
]
for text in texts:
    add("think_format_reward", {}, think_format_reward([[{"content": text}]])[0], text=text)
for size, penalty in [(1, -1.0), (2, -1.0), (3, -0.5), (4, -2.0), (3, 0.0)]:
    function = get_repetition_penalty_reward(ngram_size=size, max_penalty=penalty)
    for tokens in [[], [1], [1, 1], [5] * 5, [1, 2, 3, 4], [1, 2] * 6, *[
            [random.randrange(4) for _ in range(random.randrange(30))] for _ in range(6)]]:
        add("get_repetition_penalty_reward", {"ngram_size": size, "max_penalty": penalty}, function([tokens])[0],
            tokens=tokens)
for limit, cache in [(100, 20), (100, 100), (100, 0), (64, 1)]:
    function = get_soft_overlong_punishment(max_completion_len=limit, soft_punish_cache=cache)
    for length in [0, 1, limit - cache - 1, limit - cache, limit - cache + 1, limit - 1, limit, limit + 1, 3 * limit]:
        if length >= 0:
            add("get_soft_overlong_punishment", {"max_completion_len": limit, "soft_punish_cache": cache},
                function([[1] * length])[0], tokens=[1] * length)
for settings in [{"max_len": 100}, {"max_len": 60, "min_value_wrong": -3.0, "max_value_wrong": 0.0,
                                   "min_value_correct": 0.25, "max_value_correct": 4.0}]:
    function = get_cosine_scaled_reward(**settings)
    for correct in [True, False]:
        accuracy.accuracy_reward = lambda completions, solution, correct=correct: [float(correct)]
        for length in [0, 1, 30, 50, 60, 99, 100, 101, 250]:
            score = function([[{"content": ""}]], ["1"], [[1] * length])[0]
            add("get_cosine_scaled_reward", settings, score, tokens=[1] * length, correct=correct)
print(json.dumps({"rows": rows}))
