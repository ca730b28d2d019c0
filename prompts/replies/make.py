#!/usr/bin/env python3
"""Makes the rows of prompts/replies: replies whose gold score is known, and preferences by two proxies of it.

    python3 prompts/replies/make.py

Python 3.9 or newer, standard library only. The same seed writes the same bytes.
"""
import json
import random
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from gold import COURTESY, DETAIL, PLAIN, shares

SEED = 20241105
TRAIN_ROWS, VALIDATION_ROWS, EVAL_ROWS, DEMONSTRATIONS, PAIRS, HELD_PAIRS = 400, 60, 60, 2000, 1500, 200
FLIPPED = 0.1  # of the preferences, the wrong way round
TOPICS = [first + last for first in "bcdfghjklmnprstvwz" for last in (
    "ale", "ane", "ark", "ell", "end", "ick", "ilk", "ine", "oat", "old", "one", "oor", "ope", "ull", "une", "ust",
    "ark", "ash", "ave", "est", "ill", "int", "ock", "ole", "ore", "ump", "ung", "ain", "eed", "ook")]


def reply(rng, detail, courtesy):
    """Eight to sixteen words, each of its kind with the given chance, and a full stop."""
    words = []
    for _ in range(rng.randint(8, 16)):
        draw = rng.random()
        kind = DETAIL if draw < detail else COURTESY if draw < detail + courtesy else PLAIN
        words.append(rng.choice(kind))
    return " " + " ".join(words) + "."


def some_reply(rng):
    """What people write: some detail, little courtesy."""
    return reply(rng, min(0.5, max(0.02, rng.gauss(0.2, 0.1))), min(0.3, max(0.0, rng.gauss(0.06, 0.06))))


def write(name, rows):
    path = Path(__file__).resolve().parent / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def pairs(rng, topics, count, proxy):
    """Two replies to a topic, of which the one with more of what the proxy counts is mostly preferred."""
    rows = []
    while len(rows) < count:
        first, second = some_reply(rng), some_reply(rng)
        mine, other = shares(first)[proxy], shares(second)[proxy]
        if mine == other:
            continue
        chosen, rejected = (first, second) if (mine > other) != (rng.random() < FLIPPED) else (second, first)
        rows.append({"prompt": f"{rng.choice(topics)}:", "chosen": chosen, "rejected": rejected})
    return rows


def main():
    rng = random.Random(SEED)
    topics = sorted(set(TOPICS))
    rng.shuffle(topics)
    sizes = [TRAIN_ROWS, VALIDATION_ROWS, EVAL_ROWS]
    assert len(topics) >= sum(sizes), len(topics)
    train, validation, test = (topics[sum(sizes[:i]):sum(sizes[:i + 1])] for i in range(3))
    for name, own in (("train", train), ("validation", validation), ("eval", test)):
        write(f"{name}.jsonl", [{"prompt": f"{topic}:"} for topic in own])
    write("demonstrations.jsonl", [
        {"prompt": f"{rng.choice(train)}:", "completion": some_reply(rng)} for _ in range(DEMONSTRATIONS)])
    for proxy in ("detail", "courtesy"):
        write(f"{proxy}.jsonl", pairs(rng, train, PAIRS, proxy))
        write(f"{proxy}_held.jsonl", pairs(rng, validation, HELD_PAIRS, proxy))


if __name__ == "__main__":
    main()
