"""Adapters of peft: their folders, log-probs under them, and training steps of them.

Made with peft 0.21.2, trl 1.16.0, transformers 5.24.0, torch 2.13.0 on the CPU, Python 3.11. Run from the repository's
root, behind trl_full_step.py, whose small Llama is the base:

    python Tests/References/peft_lora.py Tests/References/peft_lora

The folder gets an adapter folder a case as `save_pretrained` writes it, with A and B of random numbers;
`log_probs.json` with the log-prob of every token but the first under each; and `steps.json` with
`<method>.safetensors`: A and B behind each of two optimizer steps, named `1/…` and `2/…`. `grpo` is GRPOTrainer's on a
trained adapter, whose reference is that adapter as it was; `dpo` and `sft` are plain loops over peft's model, the
reference of `dpo` being the base (`disable_adapter`).
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

sys.argv, arguments = [sys.argv[0], tempfile.mkdtemp()], sys.argv
import trl_full_step as trl  # writes its files once more, into a folder that nobody keeps

BASE = Path("Tests/References/trl_full_step")
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "plain": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "stabilized": dict(r=2, lora_alpha=3, target_modules="all-linear", use_rslora=True),
    "pattern": dict(r=3, lora_alpha=6, target_modules=r".*\.1\.(self_attn\.o_proj|mlp\.(up|down)_proj)"),
}
BETA = 0.1


def base():
    return LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32)


def adapted(settings, seed):
    model = get_peft_model(base(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def tensors(model):
    return {name.removeprefix("base_model.model.").replace(".default", ""): value.detach().clone().contiguous()
            for name, value in model.named_parameters() if "lora_" in name and ".ref." not in name}


def log_probs(model, ids):
    logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def texts():
    return [prompt + ids for prompt, completions in trl.GROUPS for ids, _ in completions]


def pairs():
    for prompt, completions in trl.GROUPS:
        ordered = sorted(completions, key=lambda pair: -pair[1])
        yield prompt, ordered[0][0], ordered[-1][0]


def dpo_loss(model):
    def sums(prompt, ids):
        return log_probs(model, prompt + ids)[-len(ids):].sum()

    losses = []
    for prompt, chosen, rejected in pairs():
        own = sums(prompt, chosen) - sums(prompt, rejected)
        with torch.no_grad(), model.disable_adapter():
            reference = sums(prompt, chosen) - sums(prompt, rejected)
        losses.append(-torch.nn.functional.logsigmoid(BETA * (own - reference)))
    return torch.stack(losses).mean()


def sft_loss(model):
    found = [log_probs(model, prompt + chosen)[-len(chosen):] for prompt, chosen, _ in pairs()]
    return -torch.cat(found).mean()


def steps(loss_of, after):
    model = adapted(CASES["plain"], 1)
    trained = [p for n, p in model.named_parameters() if "lora_" in n]
    optimizer = torch.optim.AdamW(trained, lr=trl.SHARED["learning_rate"], weight_decay=trl.SHARED["weight_decay"])
    found = {"loss": [], "gradNorm": []}
    for step in (1, 2):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        found["loss"].append(loss.item())
        found["gradNorm"].append(torch.nn.utils.clip_grad_norm_(trained, trl.SHARED["max_grad_norm"]).item())
        optimizer.step()
        after.update({f"{step}/{name}": value for name, value in tensors(model).items()})
    return found


def grpo(after):
    found = {"loss": [], "gradNorm": []}

    class Given(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *rest):
            taken, completions = {}, []
            for ids in prompt_ids:
                key = tuple(ids)
                group = next(c for prompt, c in trl.GROUPS if tuple(prompt) == key)
                completions.append(list(group[taken.get(key, 0)][0]))
                taken[key] = taken.get(key, 0) + 1
            return completions, None

        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            found["loss"].append(loss.item())
            return loss

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            after.update({f"{state.global_step}/{name}": value for name, value in tensors(model).items()})

    def rewards(prompts, completion_ids, **kwargs):
        return [next(r for i, r in next(c for p, c in trl.GROUPS if trl.text(p) == prompt) if i == list(ids))
                for prompt, ids in zip(prompts, completion_ids)]

    with tempfile.TemporaryDirectory() as output:
        adapted(CASES["plain"], 1).save_pretrained(output)
        policy = PeftModel.from_pretrained(base(), output, is_trainable=True)
        config = GRPOConfig(
            output_dir=output, max_steps=2, num_iterations=2, num_generations=4, beta=0.04,
            per_device_train_batch_size=sum(len(c) for _, c in trl.GROUPS), **trl.SHARED)
        trainer = Given(
            model=policy, reward_funcs=rewards, args=config, processing_class=trl.tokenizer(),
            train_dataset=Dataset.from_list([{"prompt": trl.text(p)} for p, _ in trl.GROUPS]), callbacks=[Watch()])
        trainer.train()
        found["gradNorm"] = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    return found


def main():
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found = {}
    for seed, (name, settings) in enumerate(CASES.items(), 1):
        model = adapted(settings, seed).eval()
        shutil.rmtree(folder / name, ignore_errors=True)
        model.save_pretrained(folder / name)
        (folder / name / "README.md").unlink()
        file = folder / name / "adapter_config.json"
        members = json.loads(file.read_text())
        members["base_model_name_or_path"] = "../../trl_full_step"  # relative to the adapter's folder
        if isinstance(members["target_modules"], list):
            members["target_modules"].sort()
        file.write_text(json.dumps(members, indent=2, sort_keys=True) + "\n")
        with torch.no_grad():
            found[name] = [log_probs(model, ids).tolist() for ids in texts()]
            with model.disable_adapter():
                found.setdefault("base", [log_probs(model, ids).tolist() for ids in texts()])
    (folder / "log_probs.json").write_text(json.dumps({"texts": texts(), "cases": found}, indent=1) + "\n")
    cases = {}
    for name, make in {"grpo": grpo, "dpo": lambda a: steps(dpo_loss, a), "sft": lambda a: steps(sft_loss, a)}.items():
        after = {}
        cases[name] = make(after)
        save_file(after, folder / f"{name}.safetensors", metadata={"format": "pt"})
    (folder / "steps.json").write_text(json.dumps(cases, indent=1, allow_nan=False) + "\n")


main()
