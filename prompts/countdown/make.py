#!/usr/bin/env python3
"""Makes train.jsonl, eval.jsonl, validation.jsonl, few.jsonl, demonstrations.jsonl and thinking.jsonl of prompts/countdown.

    python3 prompts/countdown/make.py

Python 3.9 or newer, standard library only. The same seed writes the same bytes.
"""
import itertools
import json
import random
from pathlib import Path

SEED = 20240608
LARGEST_NUMBER = 15
LARGEST_TARGET = 60
TRAIN_ROWS = 3000
EVAL_ROWS = 320
VALIDATION_ROWS = 160
FEW = 200
DEMONSTRATIONS = 3300
WRONG_SHARE = 0.4


def value(numbers, signs):
    """The value of an expression without brackets: products first, then sums from left to right."""
    terms = [numbers[0]]
    for sign, number in zip(signs, numbers[1:]):
        if sign == "*":
            terms[-1] *= number
        else:
            terms.append(number if sign == "+" else -number)
    return sum(terms)


def text(numbers, signs):
    return str(numbers[0]) + "".join(sign + str(number) for sign, number in zip(signs, numbers[1:]))


def expressions(numbers):
    """Every order of the numbers with every choice of signs, plain sums first."""
    for signs in itertools.product("+-*", repeat=len(numbers) - 1):
        for order in sorted(set(itertools.permutations(numbers))):
            yield order, signs


def problems():
    """(numbers in rising order, target) with the first expression that hits the target."""
    for numbers in itertools.combinations_with_replacement(range(1, LARGEST_NUMBER + 1), 3):
        solved = {}
        for order, signs in expressions(numbers):
            target = value(order, signs)
            if 1 <= target <= LARGEST_TARGET:
                solved.setdefault(target, text(order, signs))
        for target, solution in solved.items():
            yield numbers, target, solution


def prompt(numbers, target):
    return "numbers %s target %d: " % (" ".join(map(str, numbers)), target)


def row(problem, rng):
    numbers, target, solution = problem
    shuffled = list(numbers)
    rng.shuffle(shuffled)
    return {"prompt": prompt(shuffled, target), "numbers": shuffled, "target": target, "completion": solution}


def wrong_expression(numbers, target, rng):
    """The right numbers, each once, with a value that is not negative and misses."""
    misses = []
    for order, signs in expressions(numbers):
        reached = value(order, signs)
        if reached >= 0 and reached != target:
            misses.append(text(order, signs))
    return rng.choice(misses)


def demonstrations(train, rng):
    """DEMONSTRATIONS rows over the training rows in turn; exactly WRONG_SHARE of them are wrong."""
    wrong = set(rng.sample(range(DEMONSTRATIONS), round(WRONG_SHARE * DEMONSTRATIONS)))
    rows = []
    for place in range(DEMONSTRATIONS):
        shown = dict(train[place % len(train)])
        if place in wrong:
            shown["completion"] = wrong_expression(shown["numbers"], shown["target"], rng)
        shown["correct"] = place not in wrong
        rows.append(shown)
    rng.shuffle(rows)
    return rows


def with_thinking(row):
    """The demonstration with its expression drafted first: 3*2+7<answer>3*2+7."""
    draft = row["completion"]
    return {"prompt": row["prompt"], "completion": draft + "<answer>" + draft, "correct": row["correct"]}


def write(name, rows):
    lines = [json.dumps(row) for row in rows]
    Path(__file__).with_name(name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def main():
    rng = random.Random(SEED)
    chosen = list(problems())
    rng.shuffle(chosen)
    held_out, chosen, rest = (
        chosen[:EVAL_ROWS],
        chosen[EVAL_ROWS : EVAL_ROWS + TRAIN_ROWS],
        chosen[EVAL_ROWS + TRAIN_ROWS :],
    )
    train = [row(problem, rng) for problem in chosen]
    write("train.jsonl", train)
    write("eval.jsonl", [row(problem, rng) for problem in held_out])
    shown = demonstrations(train, rng)
    write("demonstrations.jsonl", shown)
    write("thinking.jsonl", [with_thinking(row) for row in shown])
    write("few.jsonl", train[:FEW])
    rng = random.Random(SEED + 1)
    write("validation.jsonl", [row(problem, rng) for problem in rest[:VALIDATION_ROWS]])


if __name__ == "__main__":
    main()
