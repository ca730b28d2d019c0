"""Reference ids for the tokenizer tests, made with Hugging Face's `tokenizers` library.

Writes Tests/References/Tokenization/: per tokenizer a small `tokenizer.json` trained here on made-up text, the hard
strings once (`strings-<n>.json`), the ids per tokenizer, and hashes of the ids of GSM8K when its folder is given.

Made with Python 3.11, tokenizers 0.23.3.
Run from the repository root: python Tests/References/tokenizer_reference.py [GSM8K folder]
"""

import hashlib
import json
import random
import sys
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TARGET = Path("Tests/References/Tokenization")
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTION + r"\p{N}{1,3}" + REST
QWEN2 = CONTRACTION + r"\p{N}" + REST
# As the tokenizers of Mistral Nemo (tekken) and of GPT-4o and Llama 4 have it.
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|"
         r"%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = CASED % ("", "", r"\p{N}")
GPT4O = CASED % (2 * (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",) + (r"\p{N}{1,3}",))

SCRIPTS = {
    "latin": "the quick brown fox don't we'll they've I'm he'd she's you're jumps over lazy dog naive",
    "accents": "élève über ångström naïve façade Żółć İstanbul straße ſharp Ǆ ǆ ﬁne ﬂow",
    "greek": "καλημέρα κόσμε ΑΒΓ αβγ ὅτι ἀρχή",
    "cyrillic": "привет мир съешь ещё этих мягких булок Йй",
    "hebrew": "שלום עולם בְּרֵאשִׁית",
    "arabic": "مرحبا بالعالم ١٢٣٤ ۴۵۶ لا إله",
    "devanagari": "नमस्ते दुनिया क्षत्रिय १२३ ड़",
    "thai": "สวัสดีชาวโลก น้ำ ๑๒๓",
    "han": "你好世界 中文分词测试 漢字 一二三 ㊀㊁ 〇",
    "kana": "こんにちは カタカナ ﾊﾝｶｸ がぎぐ パ",
    "hangul": "안녕하세요 세계 한국어",
    "math": "∑ ∫ √ ½ ¼ ² ³ ₁ Ⅷ ⅻ ① ⒈ x² ≠ ≠ Å Å Ω",
    "rare": "𐍈 𝔘𝔫𝔦 𝟘𝟙𝟚 𠀀𠀁 𞤀𞤁 ꟲ 𑤸 \U0001E900 \U00016A40",
    "emoji": "😀 👨‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☺ ☺️ 👩🏿‍🚀 1️⃣ #️⃣",
}
MARKS = "\u0300\u0301\u0308\u0323\u0327\u0338\u0345\u0591\u093c\u0e31\u20dd\u3099\u309a\u0f71\u0f72"
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c",
          " \n", "\n ", "  \n  ", "\t\t\n", " \r\n \r\n", "\u1680", "\u200b", "\ufeff", "\u180e"]
CONTROLS = ["\x00", "\x01", "\x07", "\x1b", "\x7f", "\u0080", "\u009f", "\u200d", "\u200e", "\ufffd", "\ufffe", "\U0010ffff", "\U000e0041"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "'ſ", "’s", "'x", "''", "'l", "'r"]
PUNCTUATION = list("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "—", "«", "»", "„", "€", "£", "°", "§", "==", "://", "!?", "\\n", "<|", "|>", "</"]
ADDED = ["<|end|>", "<|im_start|>", "<|im_end|>", "<pad>", "<mask>", "<sep>", "word", "<n>Ünïcode", "ca\u0301fe", "[X]", "  ", "<|end|><|end|>"]


def added_tokens():
    return [
        AddedToken("<|end|>", special=True, normalized=False),
        AddedToken("<|im_start|>", special=True, normalized=False),
        AddedToken("<|im_end|>", special=True, normalized=False, rstrip=True),
        AddedToken("<pad>", special=True, normalized=True),
        AddedToken("<mask>", special=True, lstrip=True, normalized=False),
        AddedToken("<sep>", special=False, lstrip=True, rstrip=True, normalized=False),
        AddedToken("word", special=False, single_word=True, normalized=False),
        AddedToken("<n>Ünïcode", special=False, normalized=True),
        AddedToken("ca\u0301fe", special=False, normalized=True, single_word=True),
        AddedToken("[X]", special=False, normalized=True, lstrip=True),
        AddedToken("<|end|>x", special=False, normalized=False),
        AddedToken("    ", special=False, normalized=False),
    ]


def hard_strings(random_source, count):
    words = {name: text.split(" ") for name, text in SCRIPTS.items()}
    everything = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cs", "Cn", "Co")]

    def digits():
        return "".join(random_source.choice("0123456789") for _ in range(random_source.choice([1, 2, 3, 4, 5, 7, 12])))

    def piece():
        kind = random_source.random()
        if kind < 0.28:
            word = random_source.choice(words[random_source.choice(list(words))])
            return random_source.choice([word, word.upper(), word.capitalize(), unicodedata.normalize("NFD", word)])
        if kind < 0.48:
            return random_source.choice(SPACES)
        if kind < 0.56:
            return digits()
        if kind < 0.64:
            return random_source.choice(CONTRACTIONS)
        if kind < 0.72:
            return random_source.choice(PUNCTUATION) * random_source.choice([1, 1, 1, 2, 5])
        if kind < 0.79:
            return random_source.choice(ADDED)
        if kind < 0.83:
            return random_source.choice(CONTROLS)
        if kind < 0.88:
            base = random_source.choice("aeouAEOYςΩאがक")
            return base + "".join(random_source.choice(MARKS) for _ in range(random_source.randint(1, 4)))
        if kind < 0.92:
            return random_source.choice(words["emoji"])
        if kind < 0.96:
            return random_source.choice(everything)
        if kind < 0.98:
            return random_source.choice("aα字 \n9-") * random_source.randint(2, 60)
        return chr(random_source.randint(0xAC00, 0xD7A3)) + "".join(map(chr, random_source.choices(range(0x1100, 0x1200), k=2)))

    strings = ["", " ", "\n", "'", "a", "é", "e\u0301", "\ufeff", "   a", "a   ", " 's", "''s", "1234567", "word", "words", "sword word"]
    while len(strings) < count:
        strings.append("".join(piece() for _ in range(random_source.randint(1, 9))))
    return strings


def corpus(random_source):
    words = [word for text in SCRIPTS.values() for word in text.split(" ")]
    words += ["answer", "question", "how", "many", "total", "there", "which", "number", "and", "each", "price", "hours"] * 3
    lines = []
    for _ in range(3000):
        line = " ".join(random_source.choice(words) for _ in range(12))
        lines.append(line + random_source.choice([".", "!\n", "?\n\n", " = 12", ", 345 + 6789", "\r\n", "'s 10%"]))
    return lines


def byte_level(random_source, normalizer, pre_tokenizer, size, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=["<|end|>"])
    tokenizer.train_from_iterator(corpus(random_source), trainer)
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])


def sentencepiece(random_source, metaspace):
    """Llama 2's form: by normalizers, or by the Metaspace pre-tokenizer; both with byte fallback."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    scheme = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    tokenizer.pre_tokenizer = scheme
    trainer = trainers.BpeTrainer(
        vocab_size=1200, show_progress=False, limit_alphabet=150,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    tokenizer.train_from_iterator(corpus(random_source), trainer)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in ("<unk>", "<s>", "</s>")]
    spec["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    if metaspace == "normalizers":
        tokenizer.pre_tokenizer = None
        spec = json.loads(tokenizer.to_str())
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif metaspace == "kc":
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.decoder = (
        decoders.Metaspace(replacement="▁", prepend_scheme="always") if metaspace == "kc" else decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))
    if metaspace == "unknown":
        spec = json.loads(tokenizer.to_str())
        spec["model"]["byte_fallback"] = False
        tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def make_tokenizers():
    source = random.Random(20)
    gpt2 = byte_level(source, None, pre_tokenizers.ByteLevel(add_prefix_space=False), 1200)
    gpt2.post_processor = processors.ByteLevel(trim_offsets=False)
    prefixed = byte_level(source, normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=True), 900)
    llama3 = byte_level(source, None, split(LLAMA3), 1400, ignore_merges=True)
    # Tokens that no merge reaches, which ignore_merges takes whole.
    spec = json.loads(llama3.to_str())
    for text in ("Ġquickfox", "zzz", "ĠæĹ¥æľ¬", "ĊĊĊ"):
        spec["model"]["vocab"].setdefault(text, len(spec["model"]["vocab"]))
    llama3 = Tokenizer.from_str(json.dumps(spec))
    end = llama3.token_to_id("<|end|>")
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|end|> $A <|end|>", pair="$A $B", special_tokens=[("<|end|>", end)])])
    qwen2 = byte_level(source, normalizers.NFC(), split(QWEN2), 1400)
    digits = byte_level(
        source, None, pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), 900)
    grouped = byte_level(
        source, normalizers.NFD(), pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), 700)
    made = {"gpt2": gpt2, "prefixed": prefixed, "llama3": llama3, "qwen2": qwen2, "digits": digits, "grouped": grouped}
    for tokenizer in made.values():
        tokenizer.add_tokens(added_tokens())
        tokenizer.add_special_tokens([t for t in added_tokens() if t.special])
    for kind in ("metaspace", "normalizers", "kc", "unknown"):
        tokenizer = sentencepiece(source, kind)
        tokenizer.add_tokens([t for t in added_tokens() if not t.special])
        tokenizer.add_special_tokens([t for t in added_tokens() if t.special])
        made[kind] = tokenizer
    for kind, pattern in (("tekken", TEKKEN), ("gpt4o", GPT4O)):
        tokenizer = byte_level(source, None, split(pattern), 900, ignore_merges=kind == "tekken")
        tokenizer.add_tokens(added_tokens())
        tokenizer.add_special_tokens([t for t in added_tokens() if t.special])
        made[kind] = tokenizer
    return made


def write_compact(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (TARGET / name).write_text(text + "\n")


def packed(rows):
    """Ids as text: rows by lines, ids in base 36."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"

    def number(n):
        return (number(n // 36) if n >= 36 else "") + digits[n % 36]

    return [" ".join(map(number, row)) for row in rows]


def gsm8k_hashes(folder, tokenizers):
    rows = [json.loads(line) for name in ("train.jsonl", "test.jsonl") for line in open(folder / name)]
    texts = [row["question"] + "\n" + row["answer"] for row in rows]
    hashes = {}
    for name, tokenizer in tokenizers.items():
        text = "".join(",".join(map(str, e.ids)) + "\n" for e in tokenizer.encode_batch(texts, add_special_tokens=False))
        hashes[name] = hashlib.sha256(text.encode()).hexdigest()
    return hashes


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    tokenizers = make_tokenizers()
    strings = hard_strings(random.Random(7), 2100)
    write_compact("strings.json", strings)
    source = random.Random(11)
    for name, tokenizer in tokenizers.items():
        tokenizer.save(str(TARGET / f"{name}.tokenizer.json"), pretty=False)
        few = name not in ("gpt2", "llama3", "qwen2")
        texts = strings[:700] if few else strings
        ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        # By id: the library itself keeps a special token whose text normalization changes.
        special_ids = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
        size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        scattered = [[source.randrange(size) for _ in range(source.randint(1, 12))] for _ in range(200)]
        if name in ("metaspace", "normalizers", "kc"):
            byte_ids = [tokenizer.token_to_id(f"<0x{b:02X}>") for b in range(256)]
            for row in scattered:
                for i in range(len(row)):
                    if source.random() < 0.5:
                        row[i] = source.choice(byte_ids[0x60:])
        decoded = [tokenizer.decode(row, skip_special_tokens=False) for row in ids]
        write_compact(f"{name}.expected.json", {
            "ids": packed(ids),
            "withSpecials": packed(e.ids for e in tokenizer.encode_batch(texts[:20], add_special_tokens=True)),
            # Only where it is not the text itself: [index, text].
            "decoded": [[i, d] for i, (t, d) in enumerate(zip(texts, decoded)) if t != d],
            "skipped": [tokenizer.decode([i for i in row if i not in special_ids], skip_special_tokens=False) for row in ids[:200]],
            "scattered": packed(scattered),
            "scatteredText": [tokenizer.decode(row, skip_special_tokens=False) for row in scattered],
        })
    if len(sys.argv) > 1:
        write_compact("gsm8k.json", gsm8k_hashes(Path(sys.argv[1]), tokenizers))


main()
