#!/usr/bin/env python3
"""What several rewards at once claim, at the size of a toy, by the command alone.

    python3 Tests/Miniatures/objectives.py PLUMBLINE FOLDER [name ...]

As miniatures.py, which it takes its models from. Names: limits fronts proxies.
"""
import itertools, json, re, statistics

from miniatures import ARITHMETIC, JOB, ROOT, SHAPE, find, main, metrics, picture, table


def tail(run, name, share=0.2):
    """Mean of a metric over the last fifth of a run: the last iterate of a saddle point oscillates."""
    rows = [row[name] for row in metrics(run) if name in row]
    return statistics.mean(rows[-max(1, int(len(rows) * share)):])


def limits(lab, seeds=(1, 2, 3), steps=300, limit=5, methods=("grpo", "rloo", "remax", "ppo", "soft_grpo")):
    """The mean length of answers held at most 5 tokens by a multiplier, under five methods."""
    rows, start = [], lab.thinking()
    for method in methods:
        # Soft thinking gives way slowly: at the job's own rate it overshoots, to empty answers in one seed of three.
        keys = ({"soft_thinking.think_end": "=", "multipliers.max": 1, "learning_rate": 1e-4} if method == "soft_grpo"
                else {})
        if method == "ppo": keys["critic_learning_rate"] = 1e-3
        if method in ("remax", "ppo"): keys["num_generations"] = 1
        found = []
        for run in lab.together([(f"limit-{method}-{seed}", str(ARITHMETIC / "constrained.yaml"), dict(
                algorithm=method, seed=seed, model_name_or_path=start, max_steps=steps, save_steps=steps, **keys))
                for seed in seeds]):
            first = metrics(run)[0]
            found.append([first["constraints/completion_length/value"], first["rewards/exact_number/mean"],
                          tail(run, "constraints/completion_length/value"), tail(run, "rewards/exact_number/mean"),
                          tail(run, "constraints/completion_length/lambda")])
        mean = [statistics.mean(column) for column in zip(*found)]
        rows.append([method, *mean, f"{min(one[2] for one in found):.2f}–{max(one[2] for one in found):.2f}"])
        lab.note("limits", method=method, limit=limit, tokens_first=mean[0], right_first=mean[1], tokens=mean[2],
                 right=mean[3], multiplier=mean[4], largest=max(one[2] for one in found), seeds=len(seeds))
    table(["method", "tokens at the start", "right", "tokens in the last fifth", "right", "λ", "tokens by seed"], rows)


# Right, short, and with its working shown: a draft is some three tokens, and right answers come of drafts.
CONFLICTING = "[exact_number, {name: length_reward, target_length: 3, tolerance: 6}, {name: regular_expression, pattern: '[0-9]='}]"
NAMES = ["exact_number", "length_reward", "regular_expression"]


def evaluations(run):
    """The means of an evaluation, a point for each."""
    return [tuple(row[f"eval_rewards/{name}/mean"] for name in NAMES) for row in metrics(run)
            if f"eval_rewards/{NAMES[0]}/mean" in row]


def hypervolume(points):
    """Of the unit cube, what the points dominate, by inclusion of the boxes along the first axis."""
    levels, total = sorted({point[0] for point in points}), 0.0
    for low, high in zip([0.0] + levels, levels):
        area, top = 0.0, 0.0
        for y, z in sorted(((p[1], p[2]) for p in points if p[0] >= high), reverse=True):
            if z > top: area, top = area + y * (z - top), z
        total += (high - low) * area
    return total


def fronts(lab, seeds=(1, 2, 3), steps=200, methods=("grpo", "reinforce", "rloo")):
    """Hypervolume of the evaluations of a run under three rewards: weights that adapt beside a grid of fixed ones."""
    grid = [(a, b, c) for a, b, c in itertools.product((1, 4), repeat=3) if (a, b, c) != (4, 4, 4)]
    kinds = [(f"fixed {a}:{b}:{c}", {"reward_weights": f"[{3 * a / (a + b + c):.6g}, {3 * b / (a + b + c):.6g}, {3 * c / (a + b + c):.6g}]"})
             for a, b, c in sorted(set(grid))]
    kinds += [("gradient", {"dynamic_weights": "{method: gradient}"}),
              ("hypervolume", {"dynamic_weights": "{method: hypervolume}"}),
              ("both", {"dynamic_weights": "{method: [gradient, hypervolume]}"})]
    for method in methods:
        shared = dict(
            algorithm=method, model_name_or_path=lab.thinking(), reward_funcs=CONFLICTING, max_steps=steps, save_steps=steps,
            learning_rate=2e-4, eval_steps=20, eval_limit=200, num_generations_eval=1)
        runs = lab.together([(f"front-{method}-{kind.replace(' ', '-').replace(':', '-')}-{seed}", JOB,
                              shared | keys | {"seed": seed}) for kind, keys in kinds for seed in seeds])
        rows = []
        for index, (kind, keys) in enumerate(kinds):
            points = [evaluations(run) for run in runs[index * len(seeds):(index + 1) * len(seeds)]]
            found, ends = [hypervolume(one) for one in points], [one[-1] for one in points]
            mean, spread = statistics.mean(found), statistics.stdev(found)
            half = 4.303 * spread / len(found) ** 0.5  # Student's t, two degrees of freedom
            rows.append([kind, mean, f"{mean - half:.3f}–{mean + half:.3f}", *(statistics.mean(c) for c in zip(*ends))])
            lab.note("fronts", method=method, weights=kind, hypervolume=mean, half_width=half, seeds=len(seeds),
                     ends=[statistics.mean(column) for column in zip(*ends)])
        print(f"### {method}\n")
        table(["weights", "hypervolume", "95 % interval", "right at the end", "short", "working shown"], rows)


REPLIES = ROOT / "prompts/replies"


def proxies(lab, seeds=(1, 2, 3), steps=400):
    """Two trained reward models that over-optimise a known gold score: summed, held at their joint proxy point, searched."""
    home = lab.folder / "replies"
    fresh = home / "fresh"
    if not (fresh / "model.safetensors").exists():
        lab.run("tokenizer", "train", "--input", REPLIES / "demonstrations.jsonl", "--output", fresh, "--vocabulary-size", 420)
        lab.run("init-model", "--output", fresh, "--tokenizer", fresh, *SHAPE)
    start = lab.train("replies/sft", str(REPLIES / "sft.yaml"), model_name_or_path=fresh)
    lab.together([(f"replies/{proxy}", str(REPLIES / "detail.yaml"), dict(
        model_name_or_path=start, dataset_train_split=proxy, dataset_test_split=f"{proxy}_held"))
        for proxy in ("detail", "courtesy")])
    rewards = f"[{{model: {home}/detail}}, {{model: {home}/courtesy}}, '{REPLIES}/gold.py:gold']"
    shared = dict(model_name_or_path=start, reward_funcs=rewards)
    whole = dict(max_steps=steps, save_steps=steps)

    def course(run):
        return [(row["step"], *(row[f"eval_rewards/{name}/mean"] for name in ("detail", "courtesy", "gold")))
                for row in metrics(run) if "eval_rewards/gold/mean" in row]

    def gold(model):
        text = lab.run("eval", "--model", model, "--prompts", REPLIES, "--rewards", f"{REPLIES}/gold.py:gold", "--samples", 8,
                       "--seed", 1, "--max-completion-length", 24, "--json")
        return find(json.loads(text.strip().splitlines()[-1]), "mean")

    # A sweep over weights, slow enough to be evaluated on the way, and the surface through its evaluations.
    sweep = lab.together([
        (f"replies/sweep-{a}-{b}", str(REPLIES / "weighted.yaml"), dict(
            reward_weights=f"[{a}, {b}, 0]", seed=9, learning_rate=1e-4, max_steps=200, save_steps=200, **shared))
        for a, b in ((1, 1), (1, 0.2), (0.2, 1), (0.5, -0.5), (-0.5, 0.5), (1, 0.5))])
    said = lab.run("report", *sweep, "--gold", "gold")
    print(said[said.index("gold by"):])
    limits = {reward: float(limit) for reward, limit in re.findall(r"reward: (\w+), limit: (-?[\d.e+-]+)", said)}
    held = ", ".join(f"{{reward: {reward}, limit: {limit}, kind: equal}}" for reward, limit in limits.items())
    searched = ", ".join(f"{{reward: {reward}, limit: {limit}, kind: equal, low: {limit - 1}, high: {limit + 0.5}}}"
                         for reward, limit in limits.items())
    # Multipliers that are slower than the policy; the defaults (0.1, and 1 for xi_ppo) overshoot here.
    textbook = {"constraints": f"[{held}]", "multipliers.learning_rate": 0.02}
    bounded = {"constraints": f"[{held}]", "multipliers.variant": "xi_ppo"}
    kinds = {
        "weighted sum": ("weighted", {}),
        "held, textbook, grpo": ("constrained", textbook),
        "held, textbook, default rate, grpo": ("constrained", textbook | {"multipliers.learning_rate": 0.1}),
        "held, textbook, ppo": ("constrained", textbook | {"algorithm": "ppo", "num_generations": 1, "critic_learning_rate": 1e-3}),
        "held, xi_ppo, grpo": ("constrained", bounded | {"multipliers.learning_rate": 0.05}),
        "held, xi_ppo, default rate, grpo": ("constrained", bounded | {"multipliers.learning_rate": 1}),
        "held, ppo_sat, grpo": ("constrained", {"constraints": f"[{held}]", "multipliers.variant": "ppo_sat",
                                                "multipliers.learning_rate": "null"}),
        "searched, textbook, grpo": ("constrained", textbook | {
            "constraints": f"[{searched}]", "threshold_search": f"{{gold: gold, max_rollouts: {steps}}}", "save_steps": 10}),
    }
    rows, lines = [], []
    colors = iter("#c0392b #1f5f99 #6fa8dc #2e8b57 #8e44ad #c39bd3 #b8860b #333333".split())
    for kind, (job, keys) in kinds.items():
        found, courses = [], []
        for run in lab.together([(f"replies/{kind.replace(', ', '-').replace(' ', '-')}-{seed}", str(REPLIES / f"{job}.yaml"),
                                  shared | whole | {"seed": seed} | keys) for seed in seeds]):
            points = course(run)
            courses.append([(p[0], p[3]) for p in points])
            late = points[-max(1, len(points) // 5):]
            found.append([max(p[3] for p in points), gold(run), *(statistics.mean(p[i] for p in late) for i in (1, 2))])
        mean, color = [statistics.mean(column) for column in zip(*found)], next(colors)
        if "default" not in kind: lines.append((kind, color, courses))
        rows.append([kind, *mean, ", ".join(f"{one[1]:.3f}" for one in found)])
        lab.note("proxies", kind=kind, highest_gold=mean[0], gold=mean[1], detail=mean[2], courtesy=mean[3],
                 gold_by_seed=[one[1] for one in found], limits=limits)
    picture("proxies", "gold score of replies, validation", lines)
    print(f"The start's gold score is {gold(start):.3f}; limits: {limits}.\n")
    table(["rewards", "highest gold, validation", "gold at the end, eval", "detail, late", "courtesy, late", "gold by seed"], rows)


STUDIES = [limits, fronts, proxies]

if __name__ == "__main__":
    main(STUDIES, __doc__)
