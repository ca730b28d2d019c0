#!/usr/bin/env python3
"""Makes train.jsonl, eval.jsonl, demonstrations.jsonl, thinking.jsonl and traces.jsonl of prompts/arithmetic.

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
TRACED_PROBLEMS = 1800


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


def working(problem, slip=None):
    """A sum column by column, and what comes of it: 48+19= is 8+9=17,4+1+1=6, so 67. A slip goes on to the end."""
    left, sign, right = problem
    (tens, ones), (other_tens, other_ones) = divmod(left, 10), divmod(right, 10)
    if sign == "+":
        low = ones + other_ones + (1 if slip == "ones" else 0)
        carry = low // 10 if slip != "carry" else 0
        high = tens + other_tens + carry + (1 if slip == "tens" else 0)
        return f"{ones}+{other_ones}={low},{tens}+{other_tens}+{carry}={high}", 10 * high + low % 10
    borrow = 1 if ones < other_ones else 0
    low = ones + 10 * borrow - other_ones + (1 if slip == "ones" else 0)
    kept = tens - (borrow if slip != "carry" else 0)
    high = kept - other_tens + (1 if slip == "tens" else 0)
    return f"{ones + 10 * borrow}-{other_ones}={low},{kept}-{other_tens}={high}", 10 * high + low


def traces(train, rng):
    """Each problem with its working between <think> and </think>, and behind an empty block; WRONG_SHARE of either kind are wrong."""
    chosen = train[:TRACED_PROBLEMS]
    rows = []
    for thinks in (True, False):
        wrong = set(rng.sample(range(len(chosen)), round(WRONG_SHARE * len(chosen))))
        for index, problem in enumerate(chosen):
            right = answer(problem)
            if thinks:
                slips = [None] if index not in wrong else [
                    slip for slip in ("ones", "carry", "tens") if working(problem, slip)[1] != right]
                text, shown = working(problem, rng.choice(slips))
                asked, completion = prompt(problem), f"<think>{text}</think>{shown}"
            else:
                shown = wrong_answer(problem, rng) if index in wrong else right
                asked, completion = prompt(problem) + "<think></think>", str(shown)
            rows.append({"prompt": asked, "completion": completion, "answer": str(right), "correct": shown == right})
    rng.shuffle(rows)
    return rows


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
    write("traces.jsonl", traces(train, rng))


if __name__ == "__main__":
    main()
