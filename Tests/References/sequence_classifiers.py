"""Writes tiny randomly initialised sequence classifiers as Hugging Face folders, with the scores transformers gives to
fixed texts.

    python sequence_classifiers.py classifiers      (transformers 5.23.0, tokenizers 0.22, torch 2.13.0, on a CPU)

Every weight is random, so that one left out or exchanged shows. `scores.json` holds, for each folder, texts and chats
with their scores per label: each text alone through the tokenizer's own call, and a batch of all of them padded on the
right, which must be the same. All folders share one byte-level tokenizer, kept once in the folder `tokenizer`.
"""
import json
import pathlib
import shutil
import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, processors
from transformers import (LlamaConfig, LlamaForSequenceClassification, MistralConfig, MistralForSequenceClassification,
                          PreTrainedTokenizerFast, Qwen2Config, Qwen2ForSequenceClassification, Qwen3Config,
                          Qwen3ForSequenceClassification)

COMMON = dict(vocab_size=264, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
              num_key_value_heads=1, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
CASES = {
    "llama": (LlamaConfig, LlamaForSequenceClassification, dict(num_labels=1)),
    "llama_two_labels": (LlamaConfig, LlamaForSequenceClassification, dict(
        num_labels=2, id2label={0: "bad", 1: "good"}, tie_word_embeddings=True)),
    "mistral": (MistralConfig, MistralForSequenceClassification, dict(num_labels=1, sliding_window=9)),
    "qwen2": (Qwen2Config, Qwen2ForSequenceClassification, dict(num_labels=1, pad_token_id=2)),
    "qwen3": (Qwen3Config, Qwen3ForSequenceClassification, dict(num_labels=1, head_dim=12)),
}
TEXTS = [["2 + 2 = ", ["4", "5 or so", "", "4</s>"]], ["Naïve? ", ["ünïcode 漢", "plain"]]]
CHATS = [[[{"role": "user", "content": "How many?"}], ["three", "none at all"]],
         [[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}], ["Hi!", ""]]]
TEMPLATE = ("{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}"
            "{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")


def tokenizer():
    specials = ["<pad>", "<s>", "</s>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(specials + letters)}
    fast = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(specials)
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE)


def scores(model, reader, texts, adds):
    def call(texts):
        with torch.no_grad():
            ids = reader(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=adds)
            return model(ids["input_ids"], attention_mask=ids["attention_mask"]).logits
    alone = torch.cat([call([text]) for text in texts])
    if model.config.pad_token_id == reader.pad_token_id:  # else the padding of a batch is not seen as such
        assert torch.allclose(alone, call(texts), atol=1e-5)
    return [[round(value, 7) for value in row] for row in alone.double().tolist()]


def main(output: str) -> None:
    root = pathlib.Path(output)
    shutil.rmtree(root, ignore_errors=True)
    reader = tokenizer()
    reader.save_pretrained(root / "tokenizer")
    expected = {}
    for index, (name, (config_class, model_class, settings)) in enumerate(CASES.items()):
        torch.manual_seed(2000 + index)
        config = config_class(**{**COMMON, **settings})
        config._attn_implementation = "eager"
        model = model_class(config).float().eval()
        for parameter_name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            scale = 1.0 if "embed" in parameter_name else 1.6 * parameter.shape[-1] ** -0.5
            parameter.data.copy_(1 + 0.3 * noise if parameter_name.endswith("norm.weight") else scale * noise)
        entry = {"texts": [], "chats": []}
        for prompt, completions in TEXTS:
            whole = [prompt + completion for completion in completions]
            entry["texts"].append({
                "prompt": prompt, "completions": completions, "scores": scores(model, reader, whole, True),
                "without_specials": scores(model, reader, whole, False)})
        for messages, completions in CHATS:
            chats = [messages + [{"role": "assistant", "content": completion}] for completion in completions]
            whole = [reader.apply_chat_template(chat, tokenize=False) for chat in chats]
            entry["chats"].append({
                "messages": messages, "completions": completions, "scores": scores(model, reader, whole, False)})
        expected[name] = entry
        model.save_pretrained(root / name)
        print(name, sorted((p.name, p.stat().st_size) for p in (root / name).iterdir()))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in expected.items())
    (root / "scores.json").write_text("{\n" + lines + "\n}\n")


main(sys.argv[1])
