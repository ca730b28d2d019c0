"""Writes Sources/Tokenization/Unicode/UnicodeTables.swift.

The classes and normalization forms are asked of the `tokenizers` library itself, code point by code point, so that
the tables carry the Unicode versions that library uses (its regular expressions, its Rust standard library and its
normalization tables are of three different versions).

Made with Python 3.11, tokenizers 0.23.3. Run from the repository root: python Tests/References/unicode_tables.py
"""

import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

TARGET = Path("Sources/Tokenization/Unicode/UnicodeTables.swift")
EVERY = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NFC, NFD, NFKC, NFKD = normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD()


def regex_class(pattern):
    """Code points that the library's regular expression class `pattern` matches."""
    splitter = pre_tokenizers.Split(Regex(f"[^{pattern}]"), "removed")
    found = set()
    for i in range(0, len(EVERY), 8192):
        for piece, _ in splitter.pre_tokenize_str("".join(EVERY[i : i + 8192])):
            found.update(map(ord, piece))
    return found


def digits():
    splitter = pre_tokenizers.Digits(individual_digits=True)
    return {ord(c) for c in EVERY if len(splitter.pre_tokenize_str(f"#{c}#")) == 3}


def word_characters():
    """Code points that stop an added token with `single_word` from matching beside them."""
    tokenizer = Tokenizer(models.BPE(vocab={}, merges=[]))
    tokenizer.add_tokens([AddedToken("<w>", single_word=True, normalized=False)])
    found = set()
    for i in range(0, len(EVERY), 50_000):
        block = EVERY[i : i + 50_000]
        for c, encoding in zip(block, tokenizer.encode_batch([c + "<w>" for c in block])):
            if not encoding.ids:
                found.add(ord(c))
    return found


def ranges(points):
    """Runs as `gap length` pairs in hexadecimal: distance from the end of the run before, and code points in it."""
    words, end, points = [], 0, sorted(points)
    while points:
        start, length = points[0], 1
        while length < len(points) and points[length] == start + length:
            length += 1
        words += [f"{start - end:x}", f"{length:x}"]
        end, points = start + length, points[length:]
    return " ".join(words)


def combining_classes():
    classes = {}
    for c in EVERY:
        ccc = unicodedata.combining(c)
        if not ccc:
            continue
        # A mark the library does not know as one keeps its place after a mark of another class.
        before = "\u0315" if ccc < 232 else "\u0345"
        order = NFD.normalize_str("a" + before + c)
        known = order == unicodedata.normalize("NFD", "a" + before + c)
        if known:
            classes.setdefault(ccc, set()).add(ord(c))
    return ";".join(f"{ccc:x} {ranges(points)}" for ccc, points in sorted(classes.items()))


def is_hangul(c):
    return 0xAC00 <= ord(c) < 0xAC00 + 11172


def mapping(normalizer, other=None):
    words = []
    for c in EVERY:
        if is_hangul(c):
            continue
        text = normalizer.normalize_str(c)
        if text != c and (other is None or text != other.normalize_str(c)):
            words.append(f"{ord(c):x} " + " ".join(f"{ord(d):x}" for d in text))
    return ";".join(words)


def compositions():
    words = []
    for c in EVERY:
        parts = unicodedata.decomposition(c).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "".join(chr(int(p, 16)) for p in parts)
            if NFC.normalize_str(pair) == c:
                words.append(f"{ord(pair[0]):x} {ord(pair[1]):x} {ord(c):x}")
    return ";".join(words)


def not_inert(normalizer):
    """Code points that can change under the form, alone or beside others: every other one is its own boundary."""
    seconds = {int(word.split()[1], 16) for word in compositions().split(";")}
    marks = {ord(c) for c in EVERY if unicodedata.combining(c)}
    jamo = set(range(0x1161, 0x1176)) | set(range(0x11A7, 0x11C3))
    changed = {ord(c) for c in EVERY if normalizer.normalize_str(c) != c}
    return seconds | marks | jamo | changed


def literal(name, comment, text):
    lines = []
    while text:
        lines.append("        " + text[:110] + ("\\" if len(text) > 110 else ""))
        text = text[110:]
    body = "\n".join(lines)
    # A line that ends in a space keeps it: the backslash follows the space.
    return f'    /// {comment}\n    static let {name} = """\n{body}\n        """\n'


def main():
    parts = [
        literal("letters", "`\\p{L}`, as `gap length` runs.", ranges(regex_class(r"\p{L}"))),
        literal("numbers", "`\\p{N}`, as `gap length` runs.", ranges(regex_class(r"\p{N}"))),
        literal("whitespace", "`\\s`, as `gap length` runs.", ranges(regex_class(r"\s"))),
        literal("wordCharacters", "`\\w`, as `gap length` runs.", ranges(word_characters())),
        literal("digits", "What the `Digits` pre-tokenizer splits on, as `gap length` runs.", ranges(digits())),
        literal("notInertNFC", "What NFC may change, alone or beside another.", ranges(not_inert(NFC))),
        literal("combiningClasses", "`class runs` joined by `;`.", combining_classes()),
        literal("canonical", "Full canonical decompositions: `scalar parts` joined by `;`.", mapping(NFD)),
        literal("compatibility", "Full compatibility decompositions, where they differ.", mapping(NFKD, NFD)),
        literal("compositions", "`first second composed` joined by `;`.", compositions()),
    ]
    TARGET.write_text(
        "// Generated by Tests/References/unicode_tables.py; do not edit.\n\n"
        "/// Unicode classes and normalization tables as hexadecimal text, read once by ``UnicodeClasses`` and\n"
        "/// ``UnicodeForms``.\nenum UnicodeTables {\n" + "\n".join(parts) + "}\n"
    )


main()
