"""Ids that Hugging Face's `tokenizers` library gives with the tokenizers that TrainerTests trains.

The test writes its folders when PLUMBLINE_WRITE_TRAINED names one; this script reads them and writes
Tests/References/Tokenization/trained.json. Made with Python 3.11, tokenizers 0.23.3, transformers 5.23.0.
Run from the repository root: python Tests/References/trained_tokenizer.py FOLDER
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

TARGET = Path("Tests/References/Tokenization")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def number(n):
    return (number(n // 36) if n >= 36 else "") + DIGITS[n % 36]


def main():
    strings = json.loads((TARGET / "strings.json").read_text())[-300:]
    rows = {}
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        rows[folder.name] = [
            " ".join(map(number, tokenizer(text, add_special_tokens=False)["input_ids"])) for text in strings]
    (TARGET / "trained.json").write_text(json.dumps(rows, separators=(",", ":")) + "\n")


main()
