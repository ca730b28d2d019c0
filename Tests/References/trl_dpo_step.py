"""Whole training steps of TRL's DPOTrainer: given pairs, loss, gradient norm and weights after AdamW.

Made with trl 1.16.0, transformers 5.24.0, torch 2.13.0 on the CPU, Python 3.11. Run from the repository's root, after
`trl_full_step.py`:

    python Tests/References/trl_dpo_step.py Tests/References/trl_full_step

Runs DPOTrainer as it is, `train()` included, from `model.safetensors` of that folder against `reference.safetensors`:
with the policy itself for its reference, the first step would not tell β. Adds `dpo_steps.json`, and for each case
`<case>.safetensors` with the weights after each optimizer step, named `1/…` and `2/…`.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer

VOCABULARY = 23
LEAST_GRADIENT = 5e-7  # as in trl_full_step.py

# Prompt, chosen, rejected; every side ends with the end-of-text token, 1. Lengths from 2 to 6.
PAIRS = [
    ([3, 7, 11], [5, 9, 2, 14, 1], [6, 1]),
    ([19], [10, 1], [2, 2, 16, 4, 12, 1]),
    ([8, 8, 13, 14, 5], [11, 3, 1], [11, 20, 1]),
    ([21, 4], [17, 18, 22, 1], [13, 5, 6, 1]),
]
SHARED = dict(
    learning_rate=5e-3, weight_decay=0.01, max_grad_norm=1.0, lr_scheduler_type="constant", optim="adamw_torch",
    gradient_accumulation_steps=1, logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    bf16=False, gradient_checkpointing=False, seed=1, max_steps=2, per_device_train_batch_size=len(PAIRS),
)
CASES = {"dpo": dict(beta=0.1), "dpo_robust": dict(beta=0.5, loss_type=["robust"], label_smoothing=0.2),
         "dpo_ipo": dict(beta=0.1, loss_type=["ipo"])}


def tokenizer():
    words = Tokenizer(models.WordLevel({f"<{i}>": i for i in range(VOCABULARY)}, unk_token="<0>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<0>", eos_token="<1>")


def text(ids):
    return " ".join(f"<{i}>" for i in ids)


def model(folder, name):
    made = LlamaForCausalLM(LlamaConfig.from_json_file(folder / "config.json")).float()
    made.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return made


def run(folder, settings):
    found, after = {"loss": [], "gradNorm": []}, {}

    class Listening(DPOTrainer):
        def _compute_loss(self, model, inputs, return_outputs):
            ids = [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
            expected = sorted([p + c for p, c, _ in PAIRS] + [p + r for p, _, r in PAIRS])
            assert sorted(ids) == expected, ids
            loss = super()._compute_loss(model, inputs, return_outputs)
            found["loss"].append(loss.item())
            return loss

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
            if state.global_step == 1:
                moments = torch.cat([one["exp_avg"].flatten() for one in optimizer.state.values()])
                gradients = moments / (1 - args.adam_beta1)
                least = gradients[gradients != 0].abs().min().item()
                assert least > LEAST_GRADIENT, f"a gradient of {least}; take other pairs"
            for name, value in model.state_dict().items():
                after[f"{state.global_step}/{name}"] = value.detach().clone().contiguous()

    with tempfile.TemporaryDirectory() as output:
        rows = [{"prompt": text(p), "chosen": " " + text(c), "rejected": " " + text(r)} for p, c, r in PAIRS]
        trainer = Listening(
            model=model(folder, "model"), ref_model=model(folder, "reference"),
            args=DPOConfig(output_dir=output, **SHARED, **settings), processing_class=tokenizer(),
            train_dataset=Dataset.from_list(rows), callbacks=[Watch()])
        trainer.train()
        history = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
        found["gradNorm"] = [entry["grad_norm"] for entry in history]
        for name in ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
                     "logps/rejected", "entropy"]:
            found[name] = [entry[name] for entry in history]
    return found, after


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    cases = {}
    for name, settings in CASES.items():
        cases[name], after = run(folder, settings)
        save_file(after, folder / f"{name}.safetensors", metadata={"format": "pt"})
    pairs = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in PAIRS]
    (folder / "dpo_steps.json").write_text(
        json.dumps({"pairs": pairs, "cases": cases}, indent=1, allow_nan=False) + "\n")


main()
