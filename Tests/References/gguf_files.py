"""Blocks, two small models and what other libraries read of them, for the tests of GGUF files.

    python gguf_files.py      (gguf 0.19.0, transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3, torch 2.13.0, numpy 2.4.6)

Writes
- ../GGUFTests/gguf_blocks.json: for every type raw blocks and gguf's values of them; for Q8_0, Q4_0, F16 and BF16
  values and gguf's bytes of them.
- gguf/llama.gguf, gguf/qwen2.gguf: models of one layer with random weights in several types, written by gguf's
  GGUFWriter, with a SentencePiece vocabulary and a byte-level one.
- gguf/expected.json: configuration, token ids and log-probs as transformers reads them from these files.
"""
import base64
import io
import json
import os

import gguf
import numpy as np
import sentencepiece
import torch
from gguf import GGMLQuantizationType as T
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "gguf")
rng = np.random.default_rng(7)


def text_of(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


# Where the float16 scales of a block lie, which random bytes would often make NaN or infinite.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}


def blocks():
    reading = {}
    for kind, offsets in HALVES.items():
        _, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (2 if size > 40 else 4, size), dtype=np.uint8)
        for offset in offsets:
            raw[:, offset:offset + 2] = rng.normal(0, 0.02, (len(raw), 1)).astype(np.float16).view(np.uint8)
        reading[kind.name] = {"blocks": text_of(raw), "values": text_of(gguf.dequantize(raw, kind).ravel())}
    plain = np.concatenate([rng.normal(0, 1, 24), [0, -0.0, 1e-7, 65504, -6e-8, 3e-5, 1 / 3, 1]]).astype(np.float32)
    for kind, raw in ((T.F32, plain.view(np.uint8)), (T.F16, plain.astype(np.float16).view(np.uint8)),
                      (T.BF16, gguf.quantize(plain.reshape(1, -1), T.BF16))):
        raw = raw.reshape(1, -1)
        reading[kind.name] = {"blocks": text_of(raw), "values": text_of(gguf.dequantize(raw, kind).astype(np.float32).ravel())}
    rows = rng.normal(0, 0.05, (8, 32)).astype(np.float32)
    rows[1] = 0
    rows[2] *= 1e-6                         # the scale is below the smallest normal float16
    rows[3] = np.abs(rows[3])               # the value farthest from 0 is positive
    rows[4] = np.arange(32) - 15.5          # halves between two levels
    rows[5] = np.linspace(-127, 127, 32) / 2
    rows[6, 5], rows[6, 20] = 0.25, -0.25   # two values equally far from 0
    writing = {kind.name: text_of(gguf.quantize(rows, kind)) for kind in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0)}
    return {"reading": reading, "writing": {"values": text_of(rows), "bytes": writing}}


CORPUS = (
    "the quick brown fox jumps over the lazy dog. she sells sea shells by the sea shore. how much wood would a woodchuck chuck? "
    "plumbline keeps a wall straight; the answer is 42, not 41. naïve café, über, 日本語の文. don't we'll they're. "
) * 30
TEXTS = [
    "the quick brown fox", "She sells 1234 shells.", "don't stop: we'll see", "naïve café über", "日本語 text", "a  b   c\n\nd\te",
    "emoji 🦊 and control \u0007", "x", "the answer is 42", "ünï wörds, mixed日本", "(brackets) [and] {braces}", "e\u0301 decomposed",
]
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"

HIDDEN, HEADS, KV, HEAD, WIDE = 32, 4, 2, 8, 64


def permuted(weights, heads):
    """As llama.cpp orders the rows of queries and keys of its Llama architecture: the two halves of a head interleaved."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def write(path, architecture, rows, vocabulary, biases):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("reference")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HEAD)
    vocabulary(writer)

    def add(name, shape, kind, change=lambda w: w, mean=0.0):
        weights = change(rng.normal(mean, 0.3, shape).astype(np.float32))
        if kind == T.F32:
            writer.add_tensor(name, weights)
        else:
            writer.add_tensor(name, gguf.quantize(weights, kind), raw_dtype=kind)

    turn = permuted if architecture == "llama" else lambda w, _: w
    add("token_embd.weight", (rows, HIDDEN), T.Q8_0)
    add("blk.0.attn_norm.weight", (HIDDEN,), T.F32, mean=1)
    add("blk.0.attn_q.weight", (HEADS * HEAD, HIDDEN), T.Q8_0, lambda w: turn(w, HEADS))
    add("blk.0.attn_k.weight", (KV * HEAD, HIDDEN), T.F16, lambda w: turn(w, KV))
    add("blk.0.attn_v.weight", (KV * HEAD, HIDDEN), T.Q5_1)
    add("blk.0.attn_output.weight", (HIDDEN, HEADS * HEAD), T.Q5_0)
    if biases:
        for part, size in (("q", HEADS * HEAD), ("k", KV * HEAD), ("v", KV * HEAD)):
            add(f"blk.0.attn_{part}.bias", (size,), T.F32)
    add("blk.0.ffn_norm.weight", (HIDDEN,), T.F32, mean=1)
    add("blk.0.ffn_gate.weight", (WIDE, HIDDEN), T.Q4_1)
    add("blk.0.ffn_up.weight", (WIDE, HIDDEN), T.Q4_0)
    add("blk.0.ffn_down.weight", (HIDDEN, WIDE), T.BF16)
    add("output_norm.weight", (HIDDEN,), T.F32, mean=1)
    if biases:
        add("output.weight", (rows, HIDDEN), T.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sentence_pieces():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split(". ")), model_writer=model, model_type="bpe", vocab_size=400, byte_fallback=True,
        character_coverage=0.99, normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<|end|>"],
        num_threads=1, minloglevel=2)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    def kind(index):
        if pieces.IsUnknown(index):
            return gguf.TokenType.UNKNOWN
        if pieces.IsControl(index):
            return gguf.TokenType.CONTROL
        if pieces.IsByte(index):
            return gguf.TokenType.BYTE
        return gguf.TokenType.USER_DEFINED if pieces.IdToPiece(index) == "<|end|>" else gguf.TokenType.NORMAL

    def vocabulary(writer):
        count = pieces.vocab_size()
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([pieces.IdToPiece(i) for i in range(count)])
        writer.add_token_scores([pieces.GetScore(i) for i in range(count)])
        writer.add_token_types([kind(i) for i in range(count)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)

    return pieces, vocabulary


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        CORPUS.split(". "),
        trainers.BpeTrainer(vocab_size=380, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(["<think>"])
    saved = json.loads(tokenizer.to_str())
    count = tokenizer.get_vocab_size()
    rows = count // 32 * 32 + 32

    def vocabulary(writer):
        names = [tokenizer.id_to_token(i) if i < count else f"[PAD{i}]" for i in range(rows)]
        kinds = [gguf.TokenType.NORMAL if i < count else gguf.TokenType.UNUSED for i in range(rows)]
        for token in saved["added_tokens"]:
            kinds[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(names)
        writer.add_token_types(kinds)
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in saved["model"]["merges"]])
        writer.add_bos_token_id(tokenizer.token_to_id("<|endoftext|>"))
        writer.add_eos_token_id(tokenizer.token_to_id("<|im_end|>"))
        writer.add_pad_token_id(tokenizer.token_to_id("<|endoftext|>"))
        writer.add_add_bos_token(False)
        writer.add_chat_template(CHAT)

    return tokenizer, rows, vocabulary


def read_by_transformers(name, own_ids):
    file = f"{name}.gguf"
    tokenizer = AutoTokenizer.from_pretrained(OUT, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(OUT, gguf_file=file, dtype=torch.float32).eval()
    config = AutoConfig.from_pretrained(OUT, gguf_file=file).to_dict()
    keys = ["model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "max_position_embeddings", "rms_norm_eps", "vocab_size", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"]
    tokens = [(11 + 37 * i) % config["vocab_size"] for i in range(24)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0].double()
    scores = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    texts = [{"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"], "own": own_ids(text)} for text in TEXTS]
    for entry in texts:
        if entry["ids"] != entry["own"]:
            print(name, "transformers reads", repr(entry["text"]), "as", entry["ids"], "and the original as", entry["own"])
    return {
        "config": {key: config[key] for key in keys}, "texts": texts, "tokens": tokens, "log_probs": scores.tolist(),
        "with_special_tokens": tokenizer("the answer")["input_ids"], "chat_template": tokenizer.chat_template,
    }


def main():
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(HERE, "../GGUFTests/gguf_blocks.json"), "w") as file:
        json.dump(blocks(), file, indent=1)
    pieces, vocabulary = sentence_pieces()
    write(os.path.join(OUT, "llama.gguf"), "llama", pieces.vocab_size(), vocabulary, biases=False)
    tokenizer, rows, vocabulary = byte_level()
    write(os.path.join(OUT, "qwen2.gguf"), "qwen2", rows, vocabulary, biases=True)
    expected = {
        "versions": {"gguf": "0.19.0", "transformers": "5.24.0"},
        "llama": read_by_transformers("llama", lambda text: pieces.EncodeAsIds(text)),
        "qwen2": read_by_transformers("qwen2", lambda text: tokenizer.encode(text).ids),
    }
    with open(os.path.join(OUT, "expected.json"), "w") as file:
        json.dump(expected, file, indent=1, ensure_ascii=False)


main()
