#!/usr/bin/env python3
"""Makes train.jsonl, eval.jsonl, demonstrations.jsonl and thinking.jsonl of prompts/arithmetic.

    python3 prompts/arithmetic/make.py

Python 3.9 or newer, standard library only. The same seed writes the same bytes.
"""
import json
import random
from pathlib import Path

SEED = 20240607
LARGEST = 59
TRAIN_ROWS = 4000
EVAL_ROWS = 400
DEMONSTRATIONS = 4800
WRONG_SHARE = 0.4


def problems():
    """Every addition and subtraction of numbers up to LARGEST whose answer is not negative."""
    for left in range(LARGEST + 1):
        for right in range(LARGEST + 1):
            yield left, "+", right
            if left >= right:
                yield left, "-", right


def answer(problem):
    left, sign, right = problem
    return left + right if sign == "+" else left - right


def prompt(problem):
    return "%d%s%d=" % problem


def wrong_answer(problem, rng):
    """A slip a person could make: a forgotten carry or borrow, one too many, two digits swapped."""
    right = answer(problem)
    slips = [right - 10, right + 10, right - 1, right + 1]
    if right >= 10:
        slips.append(int(str(right)[::-1]))
    return rng.choice([slip for slip in slips if slip >= 0 and slip != right])


def row(problem):
    text = str(answer(problem))
    return {"prompt": prompt(problem), "answer": text, "completion": text}


def demonstrations(train, rng):
    """DEMONSTRATIONS rows over the training problems in turn; exactly WRONG_SHARE of them are wrong."""
    wrong = set(rng.sample(range(DEMONSTRATIONS), round(WRONG_SHARE * DEMONSTRATIONS)))
    rows = []
    for index in range(DEMONSTRATIONS):
        problem = train[index % len(train)]
        shown = wrong_answer(problem, rng) if index in wrong else answer(problem)
        rows.append(
            {
                "prompt": prompt(problem),
                "completion": str(shown),
                "answer": str(answer(problem)),
                "correct": index not in wrong,
            }
        )
    rng.shuffle(rows)
    return rows


def with_thinking(row):
    """The demonstration with its result drafted first: 12+7= goes on as 19=19."""
    return {**row, "completion": row["completion"] + "=" + row["completion"]}


def write(name, rows):
    lines = [json.dumps(row) for row in rows]
    Path(__file__).with_name(name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def main():
    rng = random.Random(SEED)
    # Drawn evenly, four problems in five would have two two-digit numbers; short ones get a share of their own.
    short, long = [], []
    for problem in problems():
        (short if min(problem[0], problem[2]) < 10 else long).append(problem)
    rng.shuffle(short)
    rng.shuffle(long)
    short_rows = (TRAIN_ROWS + EVAL_ROWS) // 4
    chosen = short[:short_rows] + long[: TRAIN_ROWS + EVAL_ROWS - short_rows]
    rng.shuffle(chosen)
    held_out, train = chosen[:EVAL_ROWS], chosen[EVAL_ROWS:]
    write("train.jsonl", [row(problem) for problem in train])
    write("eval.jsonl", [row(problem) for problem in held_out])
    shown = demonstrations(train, rng)
    write("demonstrations.jsonl", shown)
    write("thinking.jsonl", [with_thinking(row) for row in shown])


if __name__ == "__main__":
    main()
