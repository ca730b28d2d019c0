"""Reward functions of TRL, and one in verl's form, called directly.

    python Tests/References/reward_calls.py rows.jsonl scores.json

Writes rows of completions, and for each function how `plumbline reward check` names it and the scores it gives them.
"""
import json
import os
import random
import sys

from trl.rewards import get_repetition_penalty_reward, get_soft_overlong_punishment, think_format_reward

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(root, "rewards", "python"))
from verl_style import compute_score  # noqa: E402

random.seed(11)
rows = []
for index in range(60):
    answer = str(random.randrange(20))
    text = random.choice([
        "<think>\nlong\n</think>\nIt is {}", "<think>no end {}", "{}", "the answer is {}.", "none", "Ünï\n\"{}\"",
    ]).format(random.choice([answer, "7"]))
    ids = [random.randrange(6) for _ in range(random.randrange(1, 40))]
    rows.append({
        "prompt": [{"role": "user", "content": f"question {index}"}],
        "completion": [{"role": "assistant", "content": text}], "completion_ids": ids, "ground_truth": answer,
        "data_source": "set"})
with open(sys.argv[1], "w") as file:
    for row in rows:
        file.write(json.dumps(row) + "\n")

completions = [row["completion"] for row in rows]
ids = [row["completion_ids"] for row in rows]
calls = [
    ("trl.rewards.think_format_reward", [], think_format_reward(completions)),
    ("trl.rewards.get_soft_overlong_punishment", [
        "settings.max_completion_len=30", "settings.soft_punish_cache=10"],
     get_soft_overlong_punishment(max_completion_len=30, soft_punish_cache=10)(ids)),
    ("trl.rewards.get_repetition_penalty_reward", ["settings.ngram_size=2", "settings.max_penalty=-1.0"],
     get_repetition_penalty_reward(ngram_size=2, max_penalty=-1.0)(ids)),
    ("ROOT/rewards/python/verl_style.py:compute_score", [], [
        compute_score(row["data_source"], row["completion"][0]["content"], row["ground_truth"])["score"]
        for row in rows]),
]
with open(sys.argv[2], "w") as file:
    json.dump([{"reward": name, "settings": settings, "scores": scores} for name, settings, scores in calls], file)
