"""Advantages of TRL's GRPOTrainer with several rewards: normalize_then_sum (GDPO) and sum_then_normalize, None among
the scores.

Made with trl 1.16.0, transformers 5.24.0, torch 2.13.0 on the CPU, Python 3.11. Run from the repository's root:

    python Tests/References/trl_gdpo.py Tests/CreditTests/trl_gdpo.json

The trainer is run as it is for one step of a tiny random model; completions and scores stand in this file.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

# Three prompts of four completions; three scores each: correctness, a length in words, a style that may abstain.
SCORES = [
    [(1.0, 120.0, 0.5), (0.0, 80.0, None), (1.0, 200.0, 0.25), (0.0, 80.0, 1.0)],
    [(0.0, 10.0, 0.0), (0.0, 35.5, 0.0), (0.0, 60.0, 0.75), (1.0, 10.0, None)],
    [(1.0, 50.0, None), (1.0, 50.0, None), (1.0, 50.0, None), (1.0, 50.0, None)],
]
WEIGHTS = [1.0, -0.01, 0.5]
CASES = {
    "normalize_then_sum": dict(multi_objective_aggregation="normalize_then_sum"),
    "sum_then_normalize": dict(multi_objective_aggregation="sum_then_normalize"),
    "sum_then_normalize_unscaled": dict(multi_objective_aggregation="sum_then_normalize", scale_rewards="none"),
}


def advantages(settings):
    words = Tokenizer(models.WordLevel({f"<{i}>": i for i in range(23)}, unk_token="<0>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<0>", eos_token="<1>", padding_side="left")
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    found = [[None] * len(group) for group in SCORES]

    class Given(GRPOTrainer):
        """Completion i of prompt g is the tokens g + 2 and i + 2."""

        def _generate_single_turn(self, prompt_ids, *arguments):
            taken, completions = {}, []
            for ids in prompt_ids:
                group = ids[0] - 10
                completions.append([group + 2, taken.get(group, 0) + 2])
                taken[group] = taken.get(group, 0) + 1
            return completions, None

        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            for row in range(len(inputs)):
                group, index = (token - 2 for token in output["completion_ids"][row].tolist())
                found[group][index] = output["advantages"][row].item()
            return output

    def reward(index):
        def score(completion_ids, **kwargs):
            return [SCORES[ids[0] - 2][ids[1] - 2][index] for ids in completion_ids]
        score.__name__ = f"reward{index}"
        return score

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, max_steps=1, num_generations=4, per_device_train_batch_size=12, max_completion_length=4,
            reward_weights=WEIGHTS, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False,
            gradient_checkpointing=False, **settings)
        Given(
            model=model, reward_funcs=[reward(index) for index in range(3)], args=config, processing_class=tokenizer,
            train_dataset=Dataset.from_list([{"prompt": f"<{10 + group}>"} for group in range(3)])).train()
    assert all(math.isfinite(value) for group in found for value in group)
    return found


torch.manual_seed(0)
cases = {name: advantages(case) for name, case in CASES.items()}
Path(sys.argv[1]).write_text(json.dumps({"weights": WEIGHTS, "scores": SCORES, "cases": cases}, indent=1) + "\n")
