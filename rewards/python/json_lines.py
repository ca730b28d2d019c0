"""A reward as a program: one JSON line in per prompt, one JSON line out. Any language will do.

    reward_funcs: [{command: python3 rewards/python/json_lines.py}]
"""
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    texts = [one if isinstance(one, str) else one[0]["content"] for one in request["completions"]]
    scores = [1 / (1 + len(text.split())) if text else None for text in texts]
    print(json.dumps({"id": request["id"], "scores": scores}), flush=True)
