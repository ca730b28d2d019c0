"""What `transformers` makes of the tokens that tokenizer_config.json and special_tokens_map.json state.

Writes Tests/References/Tokenization/stated_tokens.json: one small tokenizer.json, and cases that differ in its added
tokens and in the two files, each with the ids of all texts, what they decode to without special tokens, and the roles.

Made with Python 3.11, transformers 5.24.0, tokenizers 0.23.3.
Run from the repository root: python Tests/References/stated_tokens.py
"""

import copy
import json
import tempfile
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

TARGET = Path("Tests/References/Tokenization/stated_tokens.json")
TEXTS = ["ab", "a</s>b", "a </s> b", "a <x> b", "<pad>a <pad> b", "</s><x><pad>"]
END, OTHER, PADDING = "</s>", "<x>", "<pad>"
# Names that are null in each tokenizer.json.
NULL = dict.fromkeys(["truncation", "padding", "normalizer", "post_processor"])


def tokenizer():
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for token in ["ab", END, OTHER, PADDING]:
        vocabulary[token] = len(vocabulary)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": vocabulary, "merges": [["a", "b"]]}
    return {"version": "1.0", **NULL, "added_tokens": [], "pre_tokenizer": level, "decoder": level, "model": model}


def flags(content, **changed):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **changed}


def added(content, **changed):
    return {"id": tokenizer()["model"]["vocab"][content], **flags(content, **changed)}


# name, added tokens of tokenizer.json, tokenizer_config.json, special_tokens_map.json
CASES = [
    ("nothing stated", [], {}, None),
    ("a role makes a token special", [], {"eos_token": END}, None),
    ("a role with flags", [], {"eos_token": {"__type": "AddedToken", **flags(END, rstrip=True)}}, None),
    ("a role of the model's own", [], {"image_token": OTHER}, None),
    ("extra special tokens", [], {"extra_special_tokens": ["ab"]}, None),
    ("extra special tokens with roles", [], {"extra_special_tokens": {"image_token": OTHER}}, None),
    ("additional special tokens", [], {"additional_special_tokens": ["ab", OTHER]}, None),
    ("extra before additional", [], {"additional_special_tokens": ["ab"], "extra_special_tokens": [OTHER]}, None),
    ("flags over those of the file", [added(END)], {"added_tokens_decoder": {"257": flags(END, rstrip=True)}}, None),
    ("flags that the file lacks", [], {"added_tokens_decoder": {"258": {"content": OTHER, "lstrip": True}}}, None),
    ("an id beside the vocabulary's", [], {"added_tokens_decoder": {"7": flags(END)}}, None),
    ("a new token", [], {"added_tokens_decoder": {"260": flags("b<")}, "eos_token": "b<"}, None),
    ("special no longer", [added(OTHER)], {"added_tokens_decoder": {"258": flags(OTHER, special=False)}}, None),
    ("a role of a token that is added", [added(OTHER, special=False)], {"pad_token": OTHER}, None),
    ("a role beside stated flags", [added(OTHER, special=False)],
     {"pad_token": OTHER, "added_tokens_decoder": {}}, None),
    ("the map over the configuration", [added(END), added(PADDING)], {"eos_token": END}, {"eos_token": PADDING}),
    ("the map beside stated flags", [added(END), added(PADDING)],
     {"eos_token": END, "added_tokens_decoder": {}}, {"eos_token": PADDING, "pad_token": PADDING}),
    ("the map's flags", [], {"eos_token": END},
     {"eos_token": flags(PADDING, lstrip=True), "additional_special_tokens": [OTHER]}),
    ("a role the map takes away", [], {"eos_token": END}, {"eos_token": None}),
]


def main():
    base = tokenizer()
    rows = []
    for name, tokens, configuration, older in CASES:
        with tempfile.TemporaryDirectory() as folder:
            own = copy.deepcopy(base) | {"added_tokens": tokens}
            files = {"tokenizer.json": own, "tokenizer_config.json": configuration, "special_tokens_map.json": older}
            for file, value in files.items():
                if value is not None:
                    (Path(folder) / file).write_text(json.dumps(value))
            made = AutoTokenizer.from_pretrained(folder)
        ids = [made.encode(text, add_special_tokens=False) for text in TEXTS]
        skipped = [made.decode(row, skip_special_tokens=True) for row in ids]
        rows.append({"name": name, "added": tokens, "configuration": configuration, "map": older, "ids": ids,
                     "skipped": skipped, "roles": made.special_tokens_map, "size": len(made)})
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    base_line = json.dumps(base, ensure_ascii=False)
    TARGET.write_text(f'{{"tokenizer": {base_line},\n"texts": {json.dumps(TEXTS)},\n"cases": [\n{lines}\n]}}\n')


main()
