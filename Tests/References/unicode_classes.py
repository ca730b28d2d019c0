"""Writes Tests/References/Tokenization/unicode.json: a SHA-256 of each Unicode class and normalization form.

The `tokenizers` library itself is asked, code point by code point, since its regular expressions, its Rust standard
library and its normalization forms are of three different Unicode versions. A class shows in what merges: `a` and what
follows become one token only where the split pattern leaves them in one piece.

Made with Python 3.11, tokenizers 0.23.3. Run from the repository root: python Tests/References/unicode_classes.py
"""

import hashlib
import json
from pathlib import Path

from tokenizers import Tokenizer

TARGET = Path("Tests/References/Tokenization/unicode.json")
POINTS = [*range(0x80, 0xD800), *range(0xE000, 0x33500), *range(0xE0000, 0xE0200)]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_letters():
    """GPT-2's letter for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, others = {b: chr(b) for b in printable}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + others)
            others += 1
    return [letters[b] for b in range(256)]


def tokenizer(splits, normalizer=None):
    """Bytes are tokens 0 to 255; behind `a`, `1` and `!` each byte merges with the one before it."""
    letters = byte_letters()
    merges = [[first, letter] for first in "a1!" for letter in letters]
    vocab = {letter: i for i, letter in enumerate(letters)}
    for left, right in merges:
        vocab[left + right] = len(vocab)
    levels = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": normalizer} if normalizer else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits + [levels]},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                                            "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges},
    }


def main():
    split = {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False}
    digits = {"type": "Digits", "individual_digits": True}
    cases = {
        "letters": ("a", tokenizer([split])),
        "numbers": ("1", tokenizer([split])),
        "others": ("!", tokenizer([split])),
        "digits": ("a", tokenizer([digits])),
        **{form: ("e\u0323", tokenizer([], form)) for form in ["NFC", "NFD", "NFKC", "NFKD"]},
    }
    # A tokenizer of each case is the shared one with two members set.
    shared = tokenizer([])
    result = {"tokenizer": shared, "cases": {}}
    for name, (before, data) in cases.items():
        built, digest = Tokenizer.from_str(json.dumps(data)), hashlib.sha256()
        for start in range(0, len(POINTS), 50_000):
            texts = [before + chr(p) + "\u0301\u1161\u11a8" for p in POINTS[start : start + 50_000]]
            for encoding in built.encode_batch(texts):
                digest.update((" ".join(map(str, encoding.ids)) + "\n").encode())
        members = {name: data[name] for name in ["normalizer", "pre_tokenizer"]}
        result["cases"][name] = {"before": before, "members": json.dumps(members), "sha256": digest.hexdigest()}
    TARGET.write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")) + "\n")
    print({name: row["sha256"][:12] for name, row in result["cases"].items()}, TARGET.stat().st_size)


main()
