"""One GRPO step of TRL in float32 on the CPU, timed for `plumbline bench suite`.

torch 2.13, transformers 5.23, trl 1.16:

    python trl_step.py MODEL --prompts 8 --completions 8 --prompt-tokens 32 --completion-tokens 64 --steps 2 --threads 2

The work is that of `plumbline bench step`: completions of full length, one optimizer step per rollout, no reference model,
one step before the measured ones. The last line of output is a JSON object with median seconds.
"""
import argparse
import json
import resource
import statistics
import tempfile
import time

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    for flag in ("prompts", "completions", "prompt-tokens", "completion-tokens", "steps", "threads"):
        parser.add_argument("--" + flag, type=int, required=True)
    return parser.parse_args()


def prompts(tokenizer, count, length):
    """Different texts of exactly `length` tokens."""
    rows = []
    for number in range(count):
        ids = tokenizer(f"{number} plus {number + 1} is {2 * number + 1}. " * length)["input_ids"][:length]
        rows.append({"prompt": tokenizer.decode(ids)})
    return Dataset.from_list(rows)


class Stopwatch(TrainerCallback):
    def __init__(self):
        self.steps, self.generations = [], []

    def on_step_begin(self, *args, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        self.steps.append(time.perf_counter() - self.began)

    def around(self, generate):
        def timed(*args, **kwargs):
            began = time.perf_counter()
            try:
                return generate(*args, **kwargs)
            finally:
                self.generations.append(time.perf_counter() - began)
        return timed


def spread_of_ids(completion_ids, **_):
    return [sum(ids) % 97 / 97 for ids in completion_ids]


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output, max_steps=a.steps + 1, per_device_train_batch_size=a.prompts * a.completions,
            num_generations=a.completions, max_completion_length=a.completion_tokens,
            generation_kwargs={"min_new_tokens": a.completion_tokens}, beta=0.0, temperature=1.0, use_cpu=True,
            bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no", disable_tqdm=True)
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32), reward_funcs=spread_of_ids,
            args=config, train_dataset=prompts(tokenizer, a.prompts * (a.steps + 1), a.prompt_tokens),
            processing_class=tokenizer, callbacks=[stopwatch])
        trainer._generate = stopwatch.around(trainer._generate)
        trainer.train()
    print(json.dumps({
        "trainer": "trl", "step_s": statistics.median(stopwatch.steps[1:]),
        "generation_s": statistics.median(stopwatch.generations[1:]),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


main()
