"""One step of TRL in float32 on the CPU, timed for `plumbline bench suite`.

torch 2.13, transformers 5.23, trl 1.16, and peft 0.21 for adapters:

    python trl_step.py MODEL --prompts 8 --completions 8 --prompt-tokens 32 --completion-tokens 64 --steps 2 --threads 2
    python trl_step.py MODEL --algorithm dpo --prompts 32 --completions 2 --prompt-tokens 32 --completion-tokens 64 --steps 2 --threads 2

The work is that of `plumbline bench step`, one step before the measured ones. With grpo: completions of full length,
one optimizer step per rollout, no reference model. With dpo: the same pairs of the same random tokens, the reference's
log-probs known before (`--reference-in-step` computes them in every step, which is TRL's default). `--compare FOLDER`
compares the weights after the first step with those that `plumbline bench step --save-first-step FOLDER` wrote, both
with `--learning-rate 0.1 --adam-epsilon 1`: Adam's first step is else the sign of each gradient, and where one is 0
that of rounding. `--compared-step 3` compares those after the third step with what `--save-last-step` wrote.

`--passes-of 8` has grpo take 8 completions a forward and backward pass in place of all at once: fewer are faster where
the scores of a whole batch are large, and need less memory. The rest stays: `generation_batch_size`, which follows from
the passes of an optimizer step, is the whole batch, so all completions are sampled together, once, and learned in one step.

`--lora-rank 16` trains adapters of that rank on every projection, with α twice the rank. MODEL may also be an adapter,
which is trained on, its reference being what it was; `--make-adapter FOLDER` writes one whose A and B are both random,
and ends. The last line of output is a JSON object with seconds: medians, and for steps p10 and p90.
"""
import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--algorithm", choices=["grpo", "dpo"], default="grpo")
    for flag in ("prompts", "completions", "prompt-tokens", "completion-tokens", "steps", "threads"):
        parser.add_argument("--" + flag, type=int, required=True)
    parser.add_argument("--learning-rate", type=float, default=1e-6)
    parser.add_argument("--adam-epsilon", type=float, default=1e-8)
    parser.add_argument("--reference-in-step", action="store_true")
    parser.add_argument("--compare")
    parser.add_argument("--compared-step", type=int, default=1)
    parser.add_argument("--lora-rank", type=int)
    parser.add_argument("--make-adapter")
    parser.add_argument("--passes-of", type=int)
    a = parser.parse_args()
    if a.passes_of is not None:
        if a.algorithm != "grpo":
            parser.error("--passes-of is about grpo")
        if a.passes_of < 1 or a.prompts * a.completions % a.passes_of:
            parser.error(f"--passes-of {a.passes_of} does not divide {a.prompts * a.completions} completions")
    return a


def spread(seconds):
    """As `plumbline bench` says it: linear between the two nearest."""
    at = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    values = torch.tensor(seconds, dtype=torch.float64).quantile(at).tolist()
    return dict(zip(("median", "p10", "p90"), values))


def prompts(tokenizer, count, length):
    """Different texts of exactly `length` tokens."""
    rows = []
    for number in range(count):
        ids = tokenizer(f"{number} plus {number + 1} is {2 * number + 1}. " * length)["input_ids"][:length]
        rows.append({"prompt": tokenizer.decode(ids)})
    return Dataset.from_list(rows)


def token(row, position, limit):
    """The random ids of `plumbline bench`: the finaliser of splitmix64 over row and position."""
    mask = (1 << 64) - 1
    bits = ((row << 32) ^ position) + 0x9E3779B97F4A7C15 & mask
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & mask
    return (bits ^ bits >> 31) % limit


def pairs(tokenizer, a):
    def row(number):
        start, length = a.prompt_tokens, a.completion_tokens
        ids = [token(number, position, len(tokenizer)) for position in range(start + 2 * length)]
        return {"prompt_ids": ids[:start], "chosen_ids": ids[start:start + length], "rejected_ids": ids[start + length:]}

    return Dataset.from_list([row(number) for number in range(a.prompts * (a.steps + 1))])


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


def trained(model):
    """What is trained by its name in a file: peft's names of adapters have the one that is active among them."""
    return [(name.replace(".default.", "."), value) for name, value in model.named_parameters() if value.requires_grad]


def adapters(a, **settings):
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM", r=a.lora_rank, lora_alpha=2 * a.lora_rank, lora_dropout=0.0, target_modules="all-linear",
        **settings)


def load(a):
    """The model; of an adapter its base with the adapter in it."""
    file = Path(a.model) / "adapter_config.json"
    base = json.loads(file.read_text())["base_model_name_or_path"] if file.exists() else a.model
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    # The embedding of the padding's id has no gradient there, not even where a text has that token.
    model.get_input_embeddings().padding_idx = None
    if not file.exists():
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, a.model, is_trainable=True)


def make_adapter(a, tokenizer):
    from peft import get_peft_model

    torch.manual_seed(0)
    get_peft_model(load(a), adapters(a, init_lora_weights=False)).save_pretrained(a.make_adapter)
    tokenizer.save_pretrained(a.make_adapter)


class Comparison(TrainerCallback):
    """How far the weights behind a step are from others: of single weights the most, beside the most that one moved, and
    of the moves as vectors the share."""

    def __init__(self, folder, model, step):
        files = sorted(Path(folder).glob("*.safetensors"))
        self.theirs = {name: tensor for file in files for name, tensor in load_file(file).items()}
        self.before = {name: value.detach().clone() for name, value in trained(model)}
        self.step = step
        assert set(self.before) == set(self.theirs), set(self.before) ^ set(self.theirs)
        self.result = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step != self.step:
            return
        most = farthest = apart = moved = 0.0
        for name, value in trained(model):
            difference = (value.detach() - self.theirs[name]).double()
            most = max(most, difference.abs().max().item())
            apart += difference.square().sum().item()
            step = (value.detach() - self.before[name]).double()
            farthest = max(farthest, step.abs().max().item())
            moved += step.square().sum().item()
        self.result = {"weight_difference": most, "weight_move": farthest, "step_difference": (apart / moved) ** 0.5}


class GivenPairs(DPOTrainer):
    """Token ids as they are, in their order."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(self.train_dataset)


def spread_of_ids(completion_ids, **_):
    return [sum(ids) % 97 / 97 for ids in completion_ids]


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if a.make_adapter:
        make_adapter(a, tokenizer)
        return print(json.dumps({"adapter": a.make_adapter}))
    model = load(a)
    fresh = adapters(a) if a.lora_rank and not hasattr(model, "peft_config") else None
    stopwatch = Stopwatch()
    callbacks = [stopwatch] + ([Comparison(a.compare, model, a.compared_step)] if a.compare else [])
    with tempfile.TemporaryDirectory() as output:
        shared = dict(
            output_dir=output, max_steps=a.steps + 1, learning_rate=a.learning_rate, adam_epsilon=a.adam_epsilon,
            lr_scheduler_type="constant", use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
            save_strategy="no", disable_tqdm=True)
        if a.algorithm == "dpo":
            trainer = GivenPairs(
                model=model, train_dataset=pairs(tokenizer, a), processing_class=tokenizer, callbacks=callbacks,
                peft_config=fresh,
                args=DPOConfig(
                    per_device_train_batch_size=a.prompts, beta=0.1, max_length=None,
                    precompute_ref_log_probs=not a.reference_in_step, **shared))
        else:
            tokenizer.padding_side = "left"
            batch = a.prompts * a.completions
            a_pass = a.passes_of or batch
            trainer = GRPOTrainer(
                model=model, reward_funcs=spread_of_ids, processing_class=tokenizer, callbacks=callbacks,
                peft_config=fresh,
                train_dataset=prompts(tokenizer, a.prompts * (a.steps + 1), a.prompt_tokens),
                args=GRPOConfig(
                    per_device_train_batch_size=a_pass, gradient_accumulation_steps=batch // a_pass,
                    num_generations=a.completions,
                    max_completion_length=a.completion_tokens,
                    generation_kwargs={"min_new_tokens": a.completion_tokens}, beta=0.0, temperature=1.0, **shared))
            trainer._generate = stopwatch.around(trainer._generate)
        trainer.train()
    result = {
        "trainer": "trl", "step_s": spread(stopwatch.steps[1:]),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if stopwatch.generations:
        assert len(stopwatch.generations) == len(stopwatch.steps) == a.steps + 1, "one rollout of all for each step"
        result["generation_s"] = statistics.median(stopwatch.generations[1:])
    if a.passes_of:
        result["passes_of"] = a.passes_of
    if a.compare:
        result.update(callbacks[-1].result)
    print(json.dumps(result))


main()
