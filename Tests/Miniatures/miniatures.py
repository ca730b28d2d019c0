#!/usr/bin/env python3
"""The claims of the papers at the size of a toy, each as one number or a few, by the command alone.

    python3 Tests/Miniatures/miniatures.py PLUMBLINE FOLDER [name ...]

PLUMBLINE is the command; FOLDER keeps the models that are made once and shared. Names: variance memory clip_higher
dynamic_sampling wrong_length soft collapse. Each prints a Markdown table and appends its numbers to results.jsonl beside
this file. Needs numpy. Minutes each, on two cores; never part of the tests.
"""
import concurrent.futures, datetime, html, json, math, os, pathlib, shutil, statistics, struct, subprocess, sys, time

import numpy

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ARITHMETIC = ROOT / "prompts/arithmetic"
JOB = str(ARITHMETIC / "learning.yaml")
SHAPE = ["--family", "qwen2", "--hidden-size", "96", "--layers", "3", "--heads", "4", "--intermediate-size", "176",
         "--context-length", "64"]


class Lab:
    """Runs the command; keeps models by name."""

    def __init__(self, command, folder):
        self.command = str(pathlib.Path(command).resolve())
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        self.commit = found.stdout.strip() or "unknown"

    def run(self, *arguments):
        done = subprocess.run([self.command, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
        if done.returncode != 0:
            sys.exit(f"plumbline {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")
        return done.stdout

    def train(self, name, job, **keys):
        """The run folder of a job, made once for a name."""
        out = self.folder / name
        if not (out / "manifest.json").exists():
            shutil.rmtree(out, ignore_errors=True)
            self.run("train", job, f"output_dir={out}", *(f"{key}={value}" for key, value in keys.items() if value is not None))
        return out

    def together(self, runs):
        """The folders of runs (name, job, keys), as many at a time as there are cores, each on one thread."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda run: self.train(run[0], run[1], **run[2], threads=1), runs))

    def fresh(self):
        out = self.folder / "fresh"
        if not (out / "model.safetensors").exists():
            self.run("tokenizer", "train", "--input", ARITHMETIC / "train.jsonl", "--output", out,
                     "--vocabulary-size", 257, "--split-digits")
            self.run("init-model", "--output", out, "--tokenizer", out, *SHAPE)
        return out

    def half_solved(self):
        return self.train("sft", str(ARITHMETIC / "sft.yaml"), model_name_or_path=self.fresh(), max_steps=1000)

    def thinking(self):
        return self.train("thinking-sft", str(ARITHMETIC / "thinking_sft.yaml"), model_name_or_path=self.fresh(),
                          max_steps=1000)

    def note(self, miniature, **numbers):
        row = {"miniature": miniature, "commit": self.commit, "date": datetime.date.today().isoformat(), **numbers}
        with open(HERE / "results.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")


def metrics(run):
    return [json.loads(line) for line in open(run / "metrics.jsonl")]


def table(heading, rows):
    print("| " + " | ".join(heading) + " |\n|" + " --- |" * len(heading))
    for row in rows:
        print("| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print(flush=True)


def picture(name, title, series, across="optimizer steps"):
    """Lines over steps, as name.svg beside this file: series is [(label, color, [run, ...])], a run [(step, value), ...]."""
    points = [point for _, _, runs in series for run in runs for point in run]
    right, low, high = max(x for x, _ in points), min(y for _, y in points), max(y for _, y in points)
    unit = 10 ** math.floor(math.log10((high - low) / 3))
    unit *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (unit * factor) <= 5)
    low, high = math.floor(low / unit) * unit, math.ceil(high / unit) * unit
    at = lambda x, y: f"{60 + 560 * x / right:.1f},{40 + 260 * (high - y) / (high - low):.1f}"
    text = lambda x, y, what, style="": f'<text x="{x}" y="{y}" {style}>{html.escape(what)}</text>'
    out = [text(60, 22, title, 'font-weight="bold"'), text(340, 338, across, 'text-anchor="middle"')]
    for index in range(round((high - low) / unit) + 1):
        y = low + index * unit
        place = float(at(0, y).split(",")[1])
        out += [f'<path d="M60 {place}H620" stroke="#ddd"/>', text(52, place + 4, f"{y:.3g}", 'text-anchor="end"')]
    for x in range(0, 5):
        out.append(text(60 + 140 * x, 318, f"{right * x / 4:.0f}", 'text-anchor="middle"'))
    for index, (label, color, runs) in enumerate(series):
        for run in runs:
            line = " ".join(at(x, y) for x, y in run)
            out.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5" stroke-opacity="0.8"/>')
        out += [f'<path d="M636 {50 + 20 * index}h18" stroke="{color}" stroke-width="3"/>', text(660, 54 + 20 * index, label)]
    (HERE / f"{name}.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="860" height="350" font-family="sans-serif" font-size="12">\n'
        '<rect width="860" height="350" fill="#fff"/>\n' + "\n".join(out) + "\n</svg>\n")


def first_gradient(run):
    """Adam's first moment after one step is (1 − β1) times the gradient."""
    with open(run / "checkpoint-1/plumbline_state/policy_updater/moments.safetensors", "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    parts = [numpy.frombuffer(data[slice(*header[name]["data_offsets"])], dtype=numpy.float32)
             for name in sorted(header) if name.startswith("first_moment.")]
    return numpy.concatenate(parts).astype(numpy.float64) / 0.1


# exact_number, and a reward that every completion gets.
ONE_MORE = "[exact_number, {name: regular_expression, pattern: '^'}]"


def variance(lab, draws=24, stages=("early", "mid", "late")):
    """Trace of the covariance of the gradient, every baseline on the same prompts and samples (ReMax, Fig. 4)."""
    policies = {"early": lab.half_solved()}
    policies["mid"] = lab.train("mid", JOB, model_name_or_path=policies["early"], algorithm="reinforce", max_steps=150,
                                save_steps=150)
    policies["late"] = lab.train("late", JOB, model_name_or_path=policies["early"], algorithm="reinforce",
                                 max_steps=900, save_steps=900)
    rows = []
    for stage in stages:
        policy = policies[stage]
        found, reward = {}, []
        for name in ("reinforce", "reinforce, rewards + 1", "rloo", "remax"):
            method, gradients = name.split(",")[0], []
            for seed in range(1, draws + 1):
                run = lab.train("variance-run", JOB, model_name_or_path=policy, algorithm=method, seed=seed, max_steps=1,
                                save_steps=1, num_generations=4, shuffle_dataset="false", max_grad_norm=0, beta=0,
                                **({} if method == "rloo" else {"remax_reduction": "sequence_sum"}),
                                **({"reward_funcs": ONE_MORE} if "+ 1" in name else {}))
                gradients.append(first_gradient(run))
                reward.append(metrics(run)[0]["rewards/exact_number/mean"])
                shutil.rmtree(run)
            gradients = numpy.stack(gradients)
            mean = gradients.mean(axis=0)
            found[name] = (((gradients - mean) ** 2).sum() / (draws - 1), numpy.linalg.norm(mean), mean)
        base = found["reinforce"]
        cosine = {m: float(f[2] @ base[2] / f[1] / base[1]) for m, f in found.items()}
        for name, (trace, norm, _) in found.items():
            rows.append([stage, statistics.mean(reward), name, float(trace), float(norm), cosine[name],
                         float(trace / base[0])])
            lab.note("variance", stage=stage, reward=statistics.mean(reward), method=name, trace=float(trace),
                     mean_norm=float(norm), relative=float(trace / base[0]), draws=draws)
    table(["policy", "mean reward", "baseline", "trace of covariance", "norm of mean", "cosine with REINFORCE's mean",
           "variance over REINFORCE's"], rows)


def memory(lab):
    """Peak memory and time of a step, ReMax beside PPO, where weights and optimizer outweigh all else."""
    model = lab.folder / "wide"
    if not (model / "model.safetensors").exists():
        lab.run("init-model", "--output", model, "--tokenizer", lab.fresh(), "--family", "qwen2", "--hidden-size", 768,
                "--layers", 12, "--heads", 12, "--intermediate-size", 2048, "--context-length", 64)
    weights = (model / "model.safetensors").stat().st_size
    rows = []
    for method, keys in (("remax", {}), ("ppo", {"num_iterations": 1}), ("ppo", {"num_iterations": 4})):
        out = lab.folder / "memory-run"
        shutil.rmtree(out, ignore_errors=True)
        command = [lab.command, "train", JOB, f"output_dir={out}", f"model_name_or_path={model}", f"algorithm={method}",
                   "max_steps=4", "save_steps=1000", "per_device_train_batch_size=32", "num_generations=1", "beta=0.05",
                   "max_tokens_per_micro_batch=64", "threads=2", *(f"{k}={v}" for k, v in keys.items())]
        # A child of its own, so that its peak is not that of another.
        code = ("import resource,subprocess,sys; r=subprocess.run(sys.argv[1:],capture_output=True,cwd='%s');"
                "sys.stderr.write(r.stderr.decode()[-500:] if r.returncode else '');"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss*1024)" % ROOT)
        peak = int(subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True).stdout)
        steps = metrics(out)[1:] or metrics(out)
        seconds = statistics.mean(step["step_time"] for step in steps)
        rows.append([method + "".join(f", {k} {v}" for k, v in keys.items()), peak / 1e9, peak / weights * 4, seconds])
        lab.note("memory", method=method, **keys, peak_bytes=peak, bytes_per_weight=peak / weights * 4, seconds=seconds)
        shutil.rmtree(out)
    table(["method", "peak, GB", "bytes a weight", "seconds for 32 completions"], rows)


def clip_higher(lab, seeds=(1, 2, 3), steps=360):
    """Entropy after the same optimizer steps, with the upper clip at 0.2 and at 0.28 (DAPO, Fig. 2)."""
    rows = []
    for high in (0.2, 0.28):
        ends = []
        for seed in seeds:
            run = lab.train(f"clip-{high}-{seed}", JOB, model_name_or_path=lab.half_solved(), seed=seed, epsilon_high=high,
                            loss_type="dapo", num_iterations=2, steps_per_generation=4, max_steps=steps,
                            save_steps=steps)
            tail = metrics(run)[-10:]
            ends.append([statistics.mean(step[name] for step in tail)
                         for name in ("entropy", "reward", "clip_ratio/high_mean")])
        mean = [statistics.mean(column) for column in zip(*ends)]
        rows.append([high, *mean, ", ".join(f"{end[0]:.3f}" for end in ends)])
        lab.note("clip_higher", epsilon_high=high, entropy=mean[0], reward=mean[1], clipped_high=mean[2], seeds=len(seeds))
    table(["epsilon_high", "entropy", "reward", "clipped above", "entropy by seed"], rows)


def dynamic_sampling(lab, seeds=(1, 2, 3), steps=150):
    """Reward after the same optimizer steps from a policy that solves most prompts (DAPO, Fig. 6)."""
    start = lab.train("mid", JOB, model_name_or_path=lab.half_solved(), algorithm="reinforce", max_steps=150, save_steps=150)
    rows = []
    for dynamic in ("false", "true"):
        ends = []
        for seed in seeds:
            run = lab.train(f"dynamic-{dynamic}-{seed}", JOB, model_name_or_path=start, seed=seed, algorithm="dapo",
                            dynamic_sampling=dynamic, max_steps=steps, save_steps=steps)
            steps_of_run = metrics(run)
            waves = statistics.mean(step.get("dynamic_sampling/waves", 1) for step in steps_of_run)
            reward = statistics.mean(step.get("dynamic_sampling/reward", step["reward"]) for step in steps_of_run[-15:])
            ends.append((reward, waves, sum(step["step_time"] for step in steps_of_run)))
        mean = [statistics.mean(column) for column in zip(*ends)]
        rows.append([dynamic, *mean, ", ".join(f"{end[0]:.3f}" for end in ends)])
        lab.note("dynamic_sampling", dynamic=dynamic, reward=mean[0], waves=mean[1], seconds=mean[2], seeds=len(seeds))
    table(["dynamic_sampling", "reward of all samples at the end", "waves a step", "seconds", "reward by seed"], rows)


def wrong_length(lab, seeds=(1, 2, 3), steps=300):
    """Mean length of wrong completions, loss grpo beside dr_grpo (Dr. GRPO, Fig. 5)."""
    rows = []
    for method, keys in (("grpo", {"loss_type": "grpo"}), ("dr_grpo", {})):
        found = []
        for seed in seeds:
            run = lab.train(f"length-{method}-{seed}", str(ARITHMETIC / "soft_grpo.yaml"), model_name_or_path=lab.thinking(),
                            algorithm=method, seed=seed, max_steps=steps, save_steps=steps, max_completion_length=24, **keys)
            lengths = {"first": {0: [], 1: []}, "last": {0: [], 1: []}}
            for file in sorted((run / "completions").iterdir()):
                for line in open(file):
                    row = json.loads(line)
                    part = "first" if row["step"] <= 20 else "last" if row["step"] > steps - 20 else None
                    if part: lengths[part][int(row["exact_number"])].append(row["length"])
            found.append([statistics.mean(lengths[part][right]) for right in (0, 1) for part in ("first", "last")])
        mean = [statistics.mean(column) for column in zip(*found)]
        rows.append([method, *mean])
        lab.note("wrong_length", method=method, wrong_first=mean[0], wrong_last=mean[1], right_first=mean[2], right_last=mean[3],
                 seeds=len(seeds))
    table(["method", "wrong, first 20 steps", "wrong, last 20", "right, first 20", "right, last 20"], rows)


def evaluation(lab, model, *flags):
    text = lab.run("eval", "--model", model, "--prompts", ARITHMETIC, "--rewards", "exact_number", "--samples", 16,
                   "-k", "1,16", "--seed", 1, "--max-completion-length", 10, "--json", *flags)
    score = find(json.loads(text.strip().splitlines()[-1]), "pass@k")
    return score["1"], score["16"]


def find(value, key):
    if isinstance(value, dict):
        if key in value: return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            if (found := find(one, key)) is not None: return found
    return None


def soft(lab, seeds=(1, 2, 3), steps=350):
    """Soft thinking without noise beside greedy words; Gumbel at two temperatures; SofT-GRPO beside GRPO (Table 1, Fig. 7)."""
    start = lab.thinking()
    texts = []
    for flags in (["--temperature", 0], ["--temperature", 0, "--soft-thinking", "none", "--think-end", "="]):
        lines = lab.run("generate", "--model", start, "--prompts", ARITHMETIC / "eval.jsonl", "--max-completion-length", 10,
                        "--json", *flags).strip().splitlines()
        texts.append([json.loads(line)["completions"][0]["token_ids"] for line in lines])
    same = [a == b for one, other in zip(*texts) for a, b in zip(one, other)]
    whole = [one == other for one, other in zip(*texts)]
    print(f"vanilla soft thinking against greedy: {100 * statistics.mean(same):.1f} % of tokens, "
          f"{100 * statistics.mean(whole):.1f} % of completions are the same\n")
    lab.note("soft_overlap", tokens=statistics.mean(same), completions=statistics.mean(whole))
    rows = []
    think = ["--think-end", "="]
    modes = {"words": [], "gumbel, τ 0.1": ["--soft-thinking", "gumbel", *think],
             "gumbel, τ 0.5": ["--soft-thinking", "gumbel", "--gumbel-temperature", 0.5, *think]}
    for mode, flags in modes.items():
        one, many = evaluation(lab, start, *flags)
        rows.append(["SFT start", mode, one, many])
        lab.note("soft_start", mode=mode, pass_1=one, pass_16=many)
    for method, mode in (("grpo", "words"), ("soft_grpo", "gumbel, τ 0.1"), ("soft_grpo", "words")):
        found = []
        for seed in seeds:
            run = lab.train(f"soft-{method}-{seed}", str(ARITHMETIC / "soft_grpo.yaml"), model_name_or_path=start,
                            algorithm=method, seed=seed, max_steps=steps, save_steps=steps)
            found.append(evaluation(lab, run, *modes[mode]))
        mean = [statistics.mean(column) for column in zip(*found)]
        rows.append([method, mode, *mean])
        lab.note("soft_trained", method=method, mode=mode, pass_1=mean[0], pass_16=mean[1], seeds=len(seeds))
    table(["policy", "sampled in", "pass@1", "pass@16"], rows)


def collapse(lab, steps=350):
    """Whether thinking stays a mixture when nothing is cut from its support (SofT-GRPO, App. on top_p)."""
    rows = []
    for top_p in (0.95, 1.0):
        run = lab.train(f"collapse-{top_p}", str(ARITHMETIC / "soft_grpo.yaml"), model_name_or_path=lab.thinking(),
                        max_steps=steps, save_steps=steps, **{"soft_thinking.top_p": top_p})
        steps_of_run = metrics(run)
        for part, rows_of_part in (("first 20 steps", steps_of_run[:20]), ("last 20 steps", steps_of_run[-20:])):
            numbers = {name: statistics.mean(step[name] for step in rows_of_part)
                       for name in ("reward", "soft/multi_ratio", "soft/max_weight", "soft/entropy")}
            rows.append([top_p, part, *numbers.values()])
            lab.note("collapse", top_p=top_p, part=part, **numbers)
    table(["top_p", "", "reward", "steps with several words", "largest weight", "entropy"], rows)


MINIATURES = [variance, memory, clip_higher, dynamic_sampling, wrong_length, soft, collapse]


def main(studies, usage):
    if len(sys.argv) < 3: sys.exit(usage)
    lab = Lab(sys.argv[1], sys.argv[2])
    wanted = sys.argv[3:] or [one.__name__ for one in studies]
    known = {one.__name__: one for one in studies}
    for name in wanted:
        if name not in known: sys.exit(f"{name}: expected one of {', '.join(known)}")
    for name in wanted:
        began = time.time()
        print(f"## {name}\n\n{known[name].__doc__}\n")
        known[name](lab)
        print(f"({time.time() - began:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main(MINIATURES, __doc__)
