#!/usr/bin/env python3
"""What preferences, demonstrations and teachers claim, at the size of a toy, by the command alone.

    python3 Tests/Miniatures/imitation.py PLUMBLINE FOLDER [name ...]

As miniatures.py, which it takes its models from. Names: traces demonstrations teacher.
"""
import json, random, statistics

from miniatures import ARITHMETIC, ROOT, find, main, metrics, picture, table

COUNTDOWN = ROOT / "prompts/countdown"
LARGER = ["--hidden-size", 128, "--layers", 4, "--heads", 4, "--intermediate-size", 256, "--context-length", 64]


def fresh(lab, name, texts, vocabulary, *flags):
    """The fresh model of the README of a prompt set."""
    out = lab.folder / name
    if not (out / "model.safetensors").exists():
        lab.run("tokenizer", "train", "--input", texts, "--output", out, "--vocabulary-size", vocabulary, *flags)
        lab.run("init-model", "--output", out, "--tokenizer", out, *LARGER)
    return out


def late(run, name, share=0.2):
    """Mean of a metric over the last fifth of a run."""
    rows = [row[name] for row in metrics(run) if name in row]
    return statistics.mean(rows[-max(1, int(len(rows) * share)):])


def traces(lab, seeds=(1, 2, 3)):
    """BVPO's weight of traces: loss and reward of three seeds, with working and behind an empty block."""
    start = lab.train("traces/sft", str(ARITHMETIC / "traces_sft.yaml"), model_name_or_path=fresh(
        lab, "traces/fresh", ARITHMETIC / "train.jsonl", 257, "--split-digits"))

    def pairs(model, output, seed, *flags):
        """What `pairs make` says of a model's answers in both forms; the file of its pairs is a by-product."""
        output.unlink(missing_ok=True)
        return json.loads(lab.run(
            "pairs", "make", "--model", model, "--prompts", ARITHMETIC, "--rewards", "exact_number", "--thinking",
            "--empty-block", "<think></think>", "--samples", 4, "--max-completion-length", 40, "--seed", seed, "--output", output,
            "--json", *flags))

    files = {seed: lab.folder / f"traces/pairs-{seed}.jsonl" for seed in seeds}
    for seed, file in files.items():
        if not file.exists(): pairs(start, file, seed)
    problems = [json.loads(line) for line in open(ARITHMETIC / "eval.jsonl")]
    forms = []
    for name, block in (("working", "<think>"), ("empty", "<think></think>")):
        forms.append(lab.folder / f"traces/{name}.jsonl")
        forms[-1].write_text("".join(json.dumps(row | {"prompt": row["prompt"] + block}) + "\n" for row in problems))

    def answers(model):
        """Right answers of either form, and the share of markers behind an empty block."""
        right = [find(json.loads(lab.run(
            "eval", "--model", model, "--prompts", form, "--rewards", "exact_number", "--samples", 4, "--seed", 1,
            "--max-completion-length", 40, "--json").strip().splitlines()[-1]), "mean") for form in forms]
        said = pairs(model, lab.folder / "traces/held.jsonl", 9, "--split", "eval")["forms"]["empty"]
        return *right, said["marked"] / said["completions"]

    kinds = {"1, traces alone": {"bvpo.alpha": 1}, "0.5": {"bvpo.alpha": 0.5}, "estimated": {"bvpo.alpha_mode": "estimated"},
             "0, empty blocks alone": {"bvpo.alpha": 0}, "union": {"algorithm": "dpo", "bvpo": None}}
    runs = lab.together([
        (f"traces/{kind.split(',')[0]}-{seed}", str(ARITHMETIC / "bvpo.yaml"),
         dict(model_name_or_path=start, dataset_name=files[seed], seed=seed, save_steps=1000,
              **{key: value if value is not None else "null" for key, value in keys.items()}))
        for kind, keys in kinds.items() for seed in seeds])
    rows = [["the start", "", "", *answers(start)]]
    for index, kind in enumerate(kinds):
        found = []
        for run in runs[index * len(seeds):(index + 1) * len(seeds)]:
            found.append((late(run, "loss"), late(run, "grad_norm"), *answers(run)))
        means, spreads = [[f(column) for column in zip(*found)] for f in (statistics.mean, statistics.stdev)]
        rows.append([kind, *(f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(means[:4], spreads)), means[4]])
        lab.note("traces", alpha=kind, loss=means[0], loss_spread=spreads[0], grad_norm=means[1], thinking=means[2],
                 thinking_spread=spreads[2], empty=means[3], empty_spread=spreads[3], marker=means[4], seeds=len(seeds),
                 alpha_end=late(runs[index * len(seeds)], "bvpo/alpha") if kind != "union" else None)
    table(["α", "loss", "gradient norm", "right with working", "right behind an empty block", "share of markers there"], rows)


def shifted(lab, rows=320):
    """Problems of larger numbers than the training set has, each solvable."""
    path = lab.folder / "demonstrations/shifted.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    dice, lines = random.Random(7), []
    while len(lines) < rows:
        a, b, c = (dice.randint(10, 25) for _ in range(3))
        text, value = dice.choice([(f"{a}+{b}+{c}", a + b + c), (f"{a}+{b}-{c}", a + b - c), (f"{a}-{b}+{c}", a - b + c)])
        if not 1 <= value <= 75: continue
        numbers = [a, b, c]
        dice.shuffle(numbers)
        lines.append(json.dumps({"prompt": f"numbers {' '.join(map(str, numbers))} target {value}: ", "numbers": numbers,
                                 "target": value, "completion": text}))
    path.write_text("\n".join(lines) + "\n")
    return path


def demonstrations(lab, seeds=(1, 2, 3), steps=300):
    """200 demonstrations beside 3,000 problems: AMFT, fixed mixes, SFT then RL, LUFFY and SRFT from one warm start."""
    base = fresh(lab, "demonstrations/fresh", COUNTDOWN / "thinking.jsonl", 270, "--split-digits")
    job = str(COUNTDOWN / "amft.yaml")
    warm = lab.train("demonstrations/warm", job, model_name_or_path=base, max_steps=300, save_steps=300)
    mixed = {"amft.warmup_steps": 0}
    plain = {"amft": "null"}
    # Their demonstrations stand in the groups of their own prompts, of which the 200 are a fifteenth.
    own = {"demonstrations.order": "prompts", "demonstrations.missing": "skip", "demonstrations.per_step": "null"}
    kinds = {
        "SFT alone": {**mixed, "amft.controller": "fixed", "amft.mu": 1},
        "SFT, then RL": {**mixed, "amft.controller": "fixed", "amft.mu": 0},
        "SFT, then RL, 5e-5": {**mixed, "amft.controller": "fixed", "amft.mu": 0, "learning_rate": 5e-5},
        **{f"fixed, μ {mu}": {**mixed, "amft.controller": "fixed", "amft.mu": mu} for mu in (0.25, 0.5, 0.75)},
        "LUFFY": {**plain, **own, "algorithm": "luffy"},
        "LUFFY, 5e-5": {**plain, **own, "algorithm": "luffy", "learning_rate": 5e-5}, "SRFT": {**plain, **own, "algorithm": "srft"},
        "AMFT": mixed, "AMFT, utility loss": {**mixed, "amft.utility": "loss"},
    }
    runs = lab.together([
        (f"demonstrations/{kind.replace(', ', '-').replace(' ', '-')}-{seed}", job,
         dict(model_name_or_path=warm, seed=seed, max_steps=steps, save_steps=steps, eval_steps=50, eval_limit=160,
              num_generations_eval=2, learning_rate=3e-4) | keys)
        for kind, keys in kinds.items() for seed in seeds])
    there = shifted(lab)

    def right(model, prompts):
        said = lab.run("eval", "--model", model, "--prompts", prompts, "--rewards", "countdown", "--samples", 8, "--seed", 1,
                       "--max-completion-length", 12, "--json")
        return find(json.loads(said.strip().splitlines()[-1]), "mean")

    rows, lines = [["the start", right(warm, COUNTDOWN), "", right(warm, there), "", ""]], []
    for index, kind in enumerate(kinds):
        own = runs[index * len(seeds):(index + 1) * len(seeds)]
        inside, outside = [right(run, COUNTDOWN) for run in own], [right(run, there) for run in own]
        if kind.startswith("AMFT"):
            lines.append((kind, "#8e44ad" if "loss" in kind else "#1f5f99",
                          [[(row["step"], row["amft/mu"]) for row in metrics(run) if "amft/mu" in row] for run in own]))
        mu = [row["amft/mu"] for row in metrics(own[0]) if "amft/mu" in row]
        course = " ".join(f"{value:.2f}" for value in mu[::max(1, len(mu) // 8)]) if kind.startswith("AMFT") else ""
        rows.append([kind, statistics.mean(inside), f"{min(inside):.3f}–{max(inside):.3f}", statistics.mean(outside),
                     f"{min(outside):.3f}–{max(outside):.3f}", course])
        lab.note("demonstrations", kind=kind, inside=inside, outside=outside, mu=mu[::max(1, len(mu) // 40)], seeds=len(seeds))
    picture("mixing", "μ, the share of imitation", lines)
    table(["method", "right, eval", "seeds", "right, larger numbers", "seeds", "μ, one seed"], rows)


def teacher(lab, seeds=(1, 2, 3), steps=800):
    """Completions until a half-right student is near its teacher, by distillation and by GRPO's rewards alone."""
    student = lab.half_solved()
    master = lab.train("teacher/teacher", str(ARITHMETIC / "grpo.yaml"), model_name_or_path=student, algorithm="reinforce",
                       num_generations=1, max_steps=600, save_steps=600)
    watched = dict(model_name_or_path=student, dataset_test_split="eval", eval_steps=10, eval_limit=200, num_generations_eval=4,
                   max_steps=steps, save_steps=steps)
    taught = {"teacher_model_name_or_path": master}
    kinds = {"distill, full": ("distill", taught),
             "distill, full, 1e-3": ("distill", taught | {"learning_rate": 1e-3}),
             "distill, sampled": ("distill", taught | {"distill.form": "sampled"}),
             "distill and rewards": ("distill", taught | {"distill.reward_weight": 0.5}),
             "grpo": ("grpo", {"learning_rate": 3e-4})}
    runs = lab.together([(f"teacher/{kind.replace(', ', '-').replace(' ', '-')}-{seed}", str(ARITHMETIC / f"{job}.yaml"),
                          dict(watched, seed=seed, **keys)) for kind, (job, keys) in kinds.items() for seed in seeds])

    def right(model):
        said = lab.run("eval", "--model", model, "--prompts", ARITHMETIC, "--rewards", "exact_number", "--samples", 8, "--seed", 1,
                       "--max-completion-length", 8, "--json")
        return find(json.loads(said.strip().splitlines()[-1]), "mean")

    best, rows, lines = right(master), [], []
    colors = iter("#1f5f99 #6fa8dc #8e44ad #2e8b57 #c0392b".split())
    print(f"student {right(student):.3f}, teacher {best:.3f}\n")
    for index, kind in enumerate(kinds):
        own = runs[index * len(seeds):(index + 1) * len(seeds)]
        courses = [[(row["step"], row["eval_rewards/exact_number/mean"]) for row in metrics(run)
                    if "eval_rewards/exact_number/mean" in row] for run in own]
        needed = {}
        for distance in (0.2, 0.1, 0.05):
            near = [next((256 * step for step, value in course if value >= best - distance), None) for course in courses]
            needed[distance] = ", ".join("never" if one is None else f"{one:,}" for one in near)
        lines.append((kind, next(colors), courses))
        ends = [right(run) for run in own]
        rows.append([kind, *needed.values(), statistics.mean(ends), f"{min(ends):.3f}–{max(ends):.3f}"])
        lab.note("teacher", kind=kind, completions=needed, right=ends, teacher=best,
                 course=[value for _, value in courses[0]], seeds=len(seeds))
    picture("teacher", "right answers, held out", lines)
    table(["method", *(f"completions to {distance} below the teacher" for distance in needed), "right at the end", "seeds"], rows)


STUDIES = [traces, demonstrations, teacher]

if __name__ == "__main__":
    main(STUDIES, __doc__)
