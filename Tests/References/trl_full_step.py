"""Whole training steps of TRL: given completions and rewards, advantages, loss, gradient norm and weights after AdamW.

Made with trl 1.16.0, transformers 5.24.0, torch 2.13.0 on the CPU, Python 3.11. Run from the repository's root:

    python Tests/References/trl_full_step.py Tests/References/trl_full_step

Runs GRPOTrainer and RLOOTrainer as they are, `train()` included; only sampling is replaced, by completions that stand
in this file, and the reference model, by other weights than the policy's: the KL of the first step would be 0
otherwise. The folder gets a small Llama (`config.json`, `model.safetensors`, `reference.safetensors`, float32),
`steps.json`, and for each case `<case>.safetensors` with the weights after each optimizer step, named `1/…` and `2/…`.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

VOCABULARY = 23
POLICY, REFERENCE = 3, 2  # seeds of the weights
# AdamW's first step divides each gradient by its own size: one that is nearly 0 would make a step of its rounding
# error. No gradient of these weights is both smaller and not 0 exactly.
LEAST_GRADIENT = 5e-7

# Prompts with their completions and the rewards of these. One group whose rewards are all equal, lengths from 1 to 6.
GROUPS = [
    ([3, 7, 11], [([5, 9, 2, 14], 1.0), ([6, 1], 0.0), ([17, 4, 8, 8, 20, 3], 0.25), ([12], 0.0)]),
    ([19], [([2, 2, 16], 0.5), ([10, 13, 1, 7, 21], -1.0), ([4, 15], 2.0), ([22, 6, 18, 9], 0.75)]),
    ([8, 8, 1, 14, 5], [([11, 3], 1.0), ([7, 7, 19, 2, 1], 1.0), ([20], 1.0), ([13, 5, 6], 1.0)]),
]
SHARED = dict(
    learning_rate=5e-3, weight_decay=0.01, max_grad_norm=1.0, lr_scheduler_type="constant", optim="adamw_torch",
    max_completion_length=8, gradient_accumulation_steps=1, logging_steps=1, report_to=[], save_strategy="no",
    disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False, seed=1,
)
# What is not named here is TRL's default.
CASES = {
    "grpo": (GRPOTrainer, GRPOConfig, dict(num_generations=4), 1),
    "grpo_kl": (GRPOTrainer, GRPOConfig, dict(num_generations=4, beta=0.04, loss_type="grpo"), 2),
    "rloo": (RLOOTrainer, RLOOConfig, dict(num_generations=4), 2),
}


def model(seed, base=None):
    """Seeded weights that are far from uniform; with `base`, weights near it."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, rms_norm_eps=1e-6, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=1, pad_token_id=0)  # token 0 is in no prompt and no completion
    generator = torch.Generator().manual_seed(seed)
    made = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, parameter in sorted(made.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if base is not None:
                parameter.copy_(dict(base.named_parameters())[name] + 0.05 * noise)
            else:
                parameter.copy_(1 + 0.1 * noise if parameter.dim() == 1 else 0.3 * noise)
    return made


def tokenizer():
    """Token i is the word `<i>`."""
    words = Tokenizer(models.WordLevel({f"<{i}>": i for i in range(VOCABULARY)}, unk_token="<0>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<0>", eos_token="<1>", padding_side="left")


def text(ids):
    return " ".join(f"<{i}>" for i in ids)


def weights(model):
    return {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}


def run(trainer_class, config_class, settings, steps):
    reference = model(REFERENCE, model(POLICY))
    address = {(tuple(prompt), tuple(ids)): (group, index) for group, (prompt, completions) in enumerate(GROUPS)
               for index, (ids, _) in enumerate(completions)}
    found = {"advantages": [[None] * len(c) for _, c in GROUPS], "loss": [], "gradNorm": []}
    after = {}

    class Given(trainer_class):
        """The trainer with given completions, listening to what it works out."""

        def _generate_single_turn(self, prompt_ids, *arguments):
            taken, completions = {}, []
            for ids in prompt_ids:
                key = tuple(ids)
                group = next(c for prompt, c in GROUPS if tuple(prompt) == key)
                completions.append(list(group[taken.get(key, 0)][0]))
                taken[key] = taken.get(key, 0) + 1
            return completions if trainer_class is RLOOTrainer else (completions, None)

        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            self.scored = getattr(self, "scored", 0) + 1
            for row in range(len(inputs)):
                ids = tuple(output["completion_ids"][row][output["completion_mask"][row] == 1].tolist())
                prompt = tuple(output["prompt_ids"][row][output["prompt_mask"][row] == 1].tolist())
                group, index = address[(prompt, ids)]
                found["advantages"][group][index] = output["advantages"][row].item()
                for name in ("old_per_token_logps", "ref_per_token_logps"):
                    if output.get(name) is not None:
                        rows = found.setdefault(name, [[None] * len(c) for _, c in GROUPS])
                        rows[group][index] = output[name][row][: len(ids)].tolist()
                if "old_logps" in output:
                    rows = found.setdefault("old_logps", [[None] * len(c) for _, c in GROUPS])
                    rows[group][index] = output["old_logps"][row].item()
            return output

        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            found["loss"].append(loss.item())
            return loss

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
            if state.global_step == 1:
                gradients = torch.cat([one["exp_avg"].flatten() for one in optimizer.state.values()]) / (1 - args.adam_beta1)
                least = gradients[gradients != 0].abs().min().item()
                assert least > LEAST_GRADIENT, f"a gradient of {least}; take another seed"
            for name, value in weights(model).items():
                after[f"{state.global_step}/{name}"] = value

    def given_rewards(prompts, completion_ids, **kwargs):
        return [next(r for i, r in next(c for p, c in GROUPS if text(p) == prompt) if i == list(ids))
                for prompt, ids in zip(prompts, completion_ids)]

    with tempfile.TemporaryDirectory() as output:
        model(POLICY).save_pretrained(output)  # the trainer reads its reference model from where the policy came from
        policy = LlamaForCausalLM.from_pretrained(output, dtype=torch.float32)
        config = config_class(
            output_dir=output, max_steps=steps, num_iterations=steps,
            per_device_train_batch_size=sum(len(c) for _, c in GROUPS), **SHARED, **settings)
        trainer = Given(
            model=policy, reward_funcs=given_rewards, args=config, processing_class=tokenizer(),
            train_dataset=Dataset.from_list([{"prompt": text(prompt)} for prompt, _ in GROUPS]), callbacks=[Watch()])
        if config.beta != 0:
            assert trainer.ref_model is not None
            trainer.ref_model.load_state_dict(reference.state_dict())
        trainer.train()
        assert trainer.scored == 1  # all steps are on the same completions
        found["gradNorm"] = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert len(found["loss"]) == len(found["gradNorm"]) == steps
    return found, after


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    base = model(POLICY)
    base.config.architectures = ["LlamaForCausalLM"]
    save_file(weights(base), folder / "model.safetensors", metadata={"format": "pt"})
    save_file(weights(model(REFERENCE, base)), folder / "reference.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(base.config.to_json_string(use_diff=False))
    cases = {}
    for name, (trainer_class, config_class, settings, steps) in CASES.items():
        found, after = run(trainer_class, config_class, settings, steps)
        save_file(after, folder / f"{name}.safetensors", metadata={"format": "pt"})
        cases[name] = found
    groups = [{"prompt": prompt, "completions": [ids for ids, _ in completions], "rewards": [r for _, r in completions]}
              for prompt, completions in GROUPS]
    shared = {"learningRate": SHARED["learning_rate"], "weightDecay": SHARED["weight_decay"],
              "maxGradientNorm": SHARED["max_grad_norm"], "maxCompletionLength": SHARED["max_completion_length"]}
    (folder / "steps.json").write_text(
        json.dumps({**shared, "groups": groups, "cases": cases}, indent=1, allow_nan=False) + "\n")


main()
