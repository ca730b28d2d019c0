#!/usr/bin/env python3
"""Makes train.jsonl, eval.jsonl and demonstrations.jsonl of prompts/instructions.

    python3 prompts/instructions/make.py

Python 3.9 or newer, standard library only. The same seed writes the same bytes.
"""
import json
import random
from pathlib import Path

SEED = 20240901
TRAIN_ROWS_PER_RULE = 200  # a rule with fewer tasks gives all it has
EVAL_ROWS_PER_RULE = 40
DEMONSTRATIONS = 2000
WRONG_SHARE = 0.5

WORDS = [
    "apple", "bird", "boat", "book", "bread", "cat", "chair", "cloud", "cup", "dog", "door", "fish", "flag", "frog",
    "garden", "hand", "hat", "hill", "horse", "house", "island", "jam", "king", "kite", "lake", "lamp", "leaf", "lion",
    "milk", "moon", "mouse", "night", "owl", "paper", "pear", "pen", "pond", "queen", "rain", "ring", "river", "road",
    "salt", "sand", "ship", "sky", "snow", "star", "stone", "sun", "table", "tiger", "train", "tree", "wall", "water",
    "wind", "wolf", "wood", "zebra",
]


def some(word, count, rng):
    """The word and others, `count` in all."""
    return [word] + [rng.choice(WORDS) for _ in range(count - 1)]


# Each rule: the two ways to ask for it, and an answer that follows it from a word, an argument and the generator.
RULES = {
    "upper_case": (["{w} in upper case", "write {w} in capitals"], lambda word, _, rng: word.upper()),
    "lower_case": (["{W} in lower case", "write {W} in small letters"], lambda word, _, rng: word),
    "word_count": (
        ["{n} words about {w}", "write {n} words: {w}"],
        lambda word, count, rng: " ".join(some(word, count, rng)),
    ),
    "ends_with": (["{w}, end with {mark}", "write {w} and end with {mark}"], lambda word, mark, rng: word + mark),
    "without_letter": (
        ["{w}, no letter {letter}", "about {w} without {letter}"],
        lambda word, letter, rng: rng.choice([other for other in WORDS if letter not in other]),
    ),
    "list_of": (
        ["list of {n}: {w}", "{n} things with commas: {w}"],
        lambda word, count, rng: ", ".join(some(word, count, rng)),
    ),
    "repeat": (["repeat {w} {n} times", "say {w} {n} times"], lambda word, count, rng: " ".join([word] * count)),
    "quoted": (["{w} in quotes", "put {w} in quotes"], lambda word, _, rng: '"' + word + '"'),
}

NUMBERS = {2: "two", 3: "three", 4: "four"}
MARKS = {".": "a full stop", "!": "an exclamation mark", "?": "a question mark"}


def arguments(rule):
    """Every argument of a rule, with the words that ask for it."""
    if rule in ("word_count", "list_of", "repeat"):
        counts = (2, 3) if rule == "repeat" else (2, 3, 4)
        return [(count, {"n": NUMBERS[count]}) for count in counts]
    if rule == "ends_with":
        return [(mark, {"mark": name}) for mark, name in MARKS.items()]
    if rule == "without_letter":
        return [(letter, {"letter": letter}) for letter in "aeo"]
    return [("", {})]


def subjects(rule):
    """Every argument and word of a rule, with the two messages that ask for it."""
    for word in WORDS:
        for argument, named in arguments(rule):
            yield [
                (rule, argument, word, phrase.format(w=word, W=word.upper(), **named)) for phrase in RULES[rule][0]
            ]


def checked_argument(task):
    """What the column `argument` holds: for `repeat` the word too."""
    rule, argument, word, _ = task
    return "%d %s" % (argument, word) if rule == "repeat" else str(argument)


def follows(rule, argument, text):
    """Whether a text keeps a rule; the reward format_rules says the same."""
    words = text.split(" ")
    if text != text.strip() or not any(letter.isalpha() for letter in text):
        return False
    if rule == "upper_case":
        return text == text.upper()
    if rule == "lower_case":
        return text == text.lower()
    if rule == "word_count":
        return len(text.split()) == int(argument)
    if rule == "ends_with":
        return text.endswith(argument)
    if rule == "without_letter":
        return argument not in text.lower()
    if rule == "list_of":
        items = text.split(",")
        return len(items) == int(argument) and all(any(c.isalpha() for c in item) for item in items)
    if rule == "repeat":
        count, word = argument.split(" ")
        return words == [word] * int(count)
    if rule == "quoted":
        return len(text) > 2 and text[0] == '"' and text[-1] == '"' and text.count('"') == 2
    raise ValueError(rule)


def right_answer(task, rng):
    rule, argument, word, _ = task
    text = RULES[rule][1](word, argument, rng)
    assert follows(rule, checked_argument(task), text), (task, text)
    return text


def wrong_answer(task, rng):
    """The bare word, or an answer that would be right for another rule."""
    rule, _, word, _ = task
    while True:
        other = rng.choice(list(RULES))
        argument = rng.choice(arguments(other))[0]
        text = rng.choice([word, right_answer((other, argument, word, ""), rng)])
        if not follows(rule, checked_argument(task), text):
            return text


def row(task):
    return {
        "prompt": [{"role": "user", "content": task[3]}],
        "rule": task[0],
        "argument": checked_argument(task),
    }


def demonstrations(train, rng):
    """DEMONSTRATIONS rows over the training tasks in turn; exactly WRONG_SHARE of them break the rule."""
    wrong = set(rng.sample(range(DEMONSTRATIONS), round(WRONG_SHARE * DEMONSTRATIONS)))
    rows = []
    for index in range(DEMONSTRATIONS):
        task = train[index % len(train)]
        text = wrong_answer(task, rng) if index in wrong else right_answer(task, rng)
        rows.append(
            {**row(task), "completion": [{"role": "assistant", "content": text}], "correct": index not in wrong}
        )
    rng.shuffle(rows)
    return rows


def write(name, rows):
    lines = [json.dumps(row) for row in rows]
    Path(__file__).with_name(name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def main():
    rng = random.Random(SEED)
    held_out, train = [], []
    for rule in RULES:
        # Both ways to ask for the same thing stand on the same side.
        of_rule = list(subjects(rule))
        rng.shuffle(of_rule)
        held_out += sum(of_rule[: EVAL_ROWS_PER_RULE // 2], [])
        train += sum(of_rule[EVAL_ROWS_PER_RULE // 2 :], [])[:TRAIN_ROWS_PER_RULE]
    rng.shuffle(held_out)
    rng.shuffle(train)
    write("train.jsonl", [row(task) for task in train])
    write("eval.jsonl", [row(task) for task in held_out])
    write("demonstrations.jsonl", demonstrations(train, rng))


if __name__ == "__main__":
    main()
