#!/usr/bin/env python3
"""Makes train.jsonl and eval.jsonl of prompts/following out of requests.txt.

    python3 prompts/following/make.py

Python 3.9 or newer, standard library only. The same seed writes the same bytes.
"""
import json
import random
from pathlib import Path

SEED = 20250917
TRAIN_SINGLE, TRAIN_PAIR, EVAL_PAIR, EVAL_KIND = 780, 720, 240, 160

# What a kind asks of, by the headings of requests.txt, and the ways to ask. {n} is a number with its noun, the other
# fields are what the kind needs.
PROSE, WRITING = ["prose"], ["prose", "message"]
KINDS = {
    "word_count": (PROSE, [
        "Use {n}.", "Answer in {n}.", "Your answer must have {n}.", "Write {n}.", "Keep to {n}.",
        "The answer should be {n} long.",
    ]),
    "sentence_count": (WRITING, [
        "Use {n}.", "Write {n}.", "Your answer must have {n}.", "Keep to {n}.", "The whole answer should be {n}.",
    ]),
    "include": (WRITING, [
        "Use {words}.", "Your answer must contain {words}.", "Make sure to use {words} in your answer.",
        "Include {words}.", "Do not forget to use {words}.", "Somewhere in your answer, use {words}.",
    ]),
    "exclude": (WRITING, [
        "Do not use {words}.", "Avoid {words}.", "Never use {words} in your answer.",
        "Your answer must not contain {words}.", "Write it without {words}.", "Leave out {words}.",
    ]),
    "lower_case": (WRITING, [
        "Write everything in lower case.", "Use only lowercase letters.", "Do not use any capital letters.",
        "Your whole answer must be in lowercase.", "Write in small letters only, with no capitals.",
        "No capital letters are allowed.",
    ]),
    "upper_case": (WRITING, [
        "Write everything in capital letters.", "Use only uppercase letters.", "ANSWER IN CAPITAL LETTERS ONLY.",
        "Your whole answer must be in uppercase.", "Write in capitals only, with no small letters.",
        "Do not use any small letters, only CAPITALS.",
    ]),
    "list": (["list"], [
        "Answer with {n} in this form:\n{example}", "Write {n}, each on a line that begins with {marker}:\n{example}",
        "I want {n}, one on a line, like this:\n{example}",
        "Make a list of {n} and put {marker} before each one:\n{example}",
        "Give {n}, each on a line that begins with {marker}.",
    ]),
    "numbered_list": (["list"], [
        "Write a numbered list with {n}.", "Give {n}, numbered 1., 2. and so on, one on a line.",
        "Answer with {n} in a numbered list.", "I want {n}. Number them and put each on a line of its own.",
        "Make a numbered list of {n}.",
    ]),
    "json": (["json"], [
        "Answer only with a JSON object that has the keys {keys}.", "Answer only with JSON of the form {form}.",
        "Write nothing but a JSON object like {form}.", "Give your answer as JSON with exactly the keys {keys}.",
        "Use this form and write nothing else: {form}", "Return one JSON object, {form}, and no other text.",
    ]),
    "starts_with": (WRITING, [
        "Begin your answer with {text}.", "Start with {text}.", "Your answer must begin with {text}.",
        "The first words of your answer must be {text}.", "Begin with {text}.",
    ]),
    "ends_with": (WRITING, [
        "End your answer with {text}.", "End with {text}.", "Your answer must end with {text}.",
        "Finish with the exact words {text}.", "Finish with {text} and write nothing after it.",
    ]),
    "without": (PROSE, [
        "Do not use {character}.", "Write it without {character}.", "Avoid {character} in your whole answer.",
        "Your answer must not contain {character}.",
    ]),
    "line_count": (PROSE, [
        "Write {n}.", "Put your answer on {n}.", "Your answer must have {n}.", "Break your answer into {n}.",
    ]),
    "frequency": (PROSE, [
        "Use the word {word} {times}.", "The word {word} must appear {times}.", "Write the word {word} {times}.",
        "Your answer must have the word {word} {times} in it.",
    ]),
    "character_count": (PROSE, [
        "Use {n}, spaces included.", "Your answer must have {n}.", "Keep to {n}, with the spaces.",
        "The whole answer may have {n}.",
    ]),
}

# The evaluation's combinations of kinds are none of training's: pairs of kinds that training has in other company, and
# kinds that it does not have.
TRAIN_SINGLES = [
    "word_count", "sentence_count", "include", "exclude", "lower_case", "upper_case", "list", "numbered_list", "json",
    "starts_with", "ends_with",
]
TRAIN_PAIRS = [
    ("word_count", "include"), ("word_count", "lower_case"), ("word_count", "starts_with"),
    ("sentence_count", "exclude"), ("sentence_count", "lower_case"), ("sentence_count", "include"),
    ("sentence_count", "starts_with"), ("include", "upper_case"), ("include", "ends_with"), ("exclude", "lower_case"),
    ("exclude", "starts_with"), ("lower_case", "ends_with"), ("starts_with", "ends_with"), ("list", "lower_case"),
    ("list", "include"), ("numbered_list", "exclude"), ("numbered_list", "upper_case"), ("json", "lower_case"),
]
EVAL_PAIRS = [
    ("word_count", "exclude"), ("word_count", "upper_case"), ("word_count", "ends_with"),
    ("word_count", "sentence_count"), ("sentence_count", "upper_case"), ("sentence_count", "ends_with"),
    ("include", "exclude"), ("include", "lower_case"), ("include", "starts_with"), ("exclude", "upper_case"),
    ("exclude", "ends_with"), ("upper_case", "ends_with"), ("list", "exclude"), ("list", "upper_case"),
    ("numbered_list", "lower_case"), ("numbered_list", "include"), ("json", "include"),
]
EVAL_KINDS = ["without", "line_count", "frequency", "character_count"]

ORDER = ["first", "second", "third", "fourth", "fifth"]
NUMBERS = "no one two three four five six seven eight nine ten".split()
STARTS = {
    "prose": ["In short,", "I think", "Well,", "To begin with,", "Let me see.", "Good question!", "Imagine this:"],
    "message": ["Dear", "Hello", "Good morning", "I hope you are well.", "Hi there!"],
}
ENDS = {
    "prose": ["The end.", "The end.", "That is all.", "I hope this helps.", "Thank you!", "What do you think?"],
    "message": ["Thank you!", "Best wishes", "See you soon!", "Love, Anna", "Take care!"],
}
SMALL_ENDS = ["the end.", "the end.", "that is all.", "what do you think?", "thank you!"]
LETTERS = "bkpvwxyzj"
VALUE_WORDS = ["blue", "golden", "little", "river", "north", "green", "happy", "silver", "old", "rose"]


def requests():
    """Lines of requests.txt by kind and split: the request, and the columns behind it."""
    found, heading = {}, None
    for line in Path(__file__).with_name("requests.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = tuple(line[3:].split(", "))
        elif heading and line:
            text, *columns = [part.strip() for part in line.split("|")]
            found.setdefault(heading, []).append((text, [column.split(", ") for column in columns]))
    return found


class Cycle:
    """Hands out the requests of each kind and split in turn, in a new order each time round."""

    def __init__(self, found, rng):
        self.found, self.rng, self.rest = found, rng, {}

    def next(self, heading):
        if not self.rest.get(heading):
            self.rest[heading] = self.rng.sample(self.found[heading], len(self.found[heading]))
        return self.rest[heading].pop()


def spelled(number, rng):
    return NUMBERS[number] if number < len(NUMBERS) and rng.random() < 0.7 else str(number)


def quoted(texts, joined="and"):
    return (" %s " % joined).join('"%s"' % text for text in texts)


def bounded(rng, exact, at_most, at_least, shares=(0.35, 0.45, 0.2)):
    """A bound, and how it is said: exactly, at most or at least so many."""
    bound = rng.choices(["count", "at_most", "at_least"], shares)[0]
    number = rng.choice({"count": exact, "at_most": at_most, "at_least": at_least}[bound])
    says = {"count": ["exactly %s"], "at_most": ["at most %s", "no more than %s"], "at_least": ["at least %s"]}[bound]
    return {bound: number}, rng.choice(says) % spelled(number, rng), number


def noun(number, one):
    return one if number == 1 else one + "s"


def counted(kind, others, rng):
    """A number of words, sentences, lines or characters. Counts of words leave room for what must stand there too."""
    if kind == "sentence_count":
        bound, said, number = bounded(rng, [1, 1, 2, 2, 3], [2, 3], [2, 3], (0.6, 0.25, 0.15))
    elif kind == "line_count":
        bound, said, number = bounded(rng, [2, 3, 4], [3, 4], [2, 3], (0.7, 0.15, 0.15))
    elif kind == "character_count":
        bound, said, number = bounded(rng, [], [100, 120, 150, 180], [], (0, 1, 0))
    elif "sentence_count" in others:
        sentences = max(others["sentence_count"].get(bound, 1) for bound in ("count", "at_most", "at_least"))
        bound, said, number = bounded(rng, [], [10 * sentences, 15 * sentences], [], (0, 1, 0))
    elif others:
        text = next((each["text"] for each in others.values() if "text" in each), "")
        least = len(text.split())
        bound, said, number = bounded(
            rng, [least + 5, least + 8], [20, 25, 30, 40], [10, 15, 20], (0.2, 0.6, 0.2))
    else:
        bound, said, number = bounded(rng, [3, 4, 5, 6, 8, 10], [10, 15, 20, 25, 30, 40], [10, 15, 20, 25])
    return bound, {"n": "%s %s" % (said, noun(number, kind.split("_")[0]))}


def listed(kind, rng):
    number = rng.choice([2, 3, 3, 4, 5])
    made, fields = {"count": number}, {"n": "exactly %s %s" % (spelled(number, rng), noun(number, "item"))}
    if kind == "list":
        made["marker"] = rng.choice(["-", "-", "*"])
        names = {"-": "a dash (-)", "*": "a star (*)"}
        fields["marker"] = rng.choice([names[made["marker"]], quoted([made["marker"]])])
        fields["example"] = "\n".join("%s %s" % (made["marker"], word) for word in ORDER[:number])
    return made, fields


def worded(kind, others, form, columns, rng):
    """Words that fit the request, or such as an answer is likely to use; none that the row's other instruction has."""
    taken = [word for each in others.values() for word in each.get("words", [])]
    own = VALUE_WORDS if form == "json" else columns[0 if kind == "include" else 1]
    own = [word for word in own if word not in taken]
    several = kind == "include" and len(own) > 1 and not others and rng.random() < 0.2
    words = rng.sample(own, 2 if several else 1)
    return {"words": words}, {"words": "the %s %s" % (noun(len(words), "word"), quoted(words))}


def ending(others, form, rng):
    is_cased = "lower_case" in others or "upper_case" in others
    text = rng.choice(SMALL_ENDS if is_cased else ENDS[form])
    return text.upper() if "upper_case" in others else text


def instruction(kind, others, form, columns, rng):
    """What an instruction for a request of a form holds beside its kind, and the fields of its wording.

    `others` are the row's other kinds with what they hold.
    """
    if kind in ("lower_case", "upper_case"):
        return {}, {}
    if kind.endswith("_count"):
        return counted(kind, others, rng)
    if kind in ("list", "numbered_list"):
        return listed(kind, rng)
    if kind in ("include", "exclude"):
        return worded(kind, others, form, columns, rng)
    if kind == "frequency":
        word, count = rng.choice(columns[0] + columns[1]), rng.choice([2, 2, 3])
        times = "exactly %s" % {2: "twice", 3: "three times"}[count]
        return {"word": word, "count": count}, {"word": quoted([word]), "times": times}
    if kind == "json":
        keys = columns[0]
        return {"keys": keys}, {
            "keys": quoted(keys), "form": "{%s}" % ", ".join('"%s": "..."' % key for key in keys),
        }
    if kind == "without":
        character = rng.choice([",", ","] + list(LETTERS))
        return {"character": character}, {
            "character": "commas" if character == "," else 'the letter "%s"' % character,
        }
    text = rng.choice(STARTS[form]) if kind == "starts_with" else ending(others, form, rng)
    return {"text": text}, {"text": quoted([text])}


# Kinds that look at what the others hold come behind them.
LATE = ["ends_with", "word_count"]


def row(combination, split, cycle, rng, name):
    """A row for a combination of kinds: its request, and the instructions before or behind it."""
    forms = set.intersection(*(set(KINDS[kind][0]) for kind in combination if not adapts(kind, combination)))
    form = rng.choices(sorted(forms), [3 if form == "prose" else 1 for form in sorted(forms)])[0]
    text, columns = cycle.next((form, split))
    held, phrases = {kind: {} for kind in combination}, []
    for kind in [each for each in combination if each not in LATE] + [each for each in LATE if each in combination]:
        others = {other: each for other, each in held.items() if other != kind}
        held[kind], fields = instruction(kind, others, form, columns, rng)
        wording = rng.choice(KINDS[kind][1]).format(**fields)
        # A quoted text's own mark ends the sentence.
        phrases.append(wording[:-1] if wording[-3:] in ('!".', '?".', '.".') else wording)
    # What shows a form comes last, and what speaks of "it" behind the request.
    phrases = sorted(rng.sample(phrases, len(phrases)), key=lambda phrase: "\n" in phrase)
    before = rng.random() < 0.25 and "\n" not in phrases[0] and not phrases[0].startswith("Write it")
    message = " ".join([phrases[0], text] + phrases[1:] if before else [text] + phrases)
    # Most who ask for small letters or capitals write so themselves.
    cases = {"lower_case": str.lower, "upper_case": str.upper}
    for kind in set(combination) & set(cases):
        message = cases[kind](message) if rng.random() < 0.75 else message
    return {
        "data_source": name,
        "prompt": [{"role": "user", "content": message}],
        "instructions": [{"kind": kind, **held[kind]} for kind in combination],
    }


def adapts(kind, combination):
    """Whether a kind takes the form of its company: case and words go with lists and JSON, too."""
    special = {"list", "numbered_list", "json"} & set(combination)
    return bool(special) and kind not in special


def shares(total, combinations):
    """How many rows each has, as even as can be."""
    return [total // len(combinations) + (index < total % len(combinations)) for index in range(len(combinations))]


def split(name, groups, cycle, rng, taken):
    """Rows of a split, no two with the same message, in whatever case."""
    rows = []
    for total, source, combinations in groups:
        for combination, count in zip(combinations, shares(total, combinations)):
            while count:
                made = row(combination, name, cycle, rng, source)
                message = made["prompt"][0]["content"].lower()
                if message not in taken:
                    taken.add(message)
                    rows.append(made)
                    count -= 1
    rng.shuffle(rows)
    lines = [json.dumps(each) for each in rows]
    Path(__file__).with_name(name + ".jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def main():
    rng = random.Random(SEED)
    cycle, taken = Cycle(requests(), rng), set()
    split("train", [
        (TRAIN_SINGLE, "one", [(kind,) for kind in TRAIN_SINGLES]), (TRAIN_PAIR, "two", TRAIN_PAIRS),
    ], cycle, rng, taken)
    split("eval", [
        (EVAL_PAIR, "new pair", EVAL_PAIRS), (EVAL_KIND, "new kind", [(kind,) for kind in EVAL_KINDS]),
    ], cycle, rng, taken)


if __name__ == "__main__":
    main()
