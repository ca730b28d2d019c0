"""Rewards that behave and rewards that do not, for RewardHostsTests. What a function does is chosen by the completion."""
import asyncio
import os
import subprocess
import sys
import time


# TRL's signature
def lengths(completions, **kwargs):
    return [float(len(completion)) for completion in completions]


def chat_lengths(prompts, completions, **kwargs):
    assert prompts[0][-1]["role"] == "user" and completions[0][0]["role"] == "assistant"
    return [float(len(completion[0]["content"])) for completion in completions]


async def waits(completions, **kwargs):
    await asyncio.sleep(0.01)
    return [1.0] * len(completions)


def everything(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, answer, scale, **kwargs):
    log_extra("seen", [f"{prompt}|{wanted}" for prompt, wanted in zip(prompts, answer)])
    log_metric("step", trainer_state.global_step)
    return [scale * len(ids) if ids else None for ids in completion_ids]


def counts(completions, log_extra, log_metric, **kwargs):
    log_extra("seen", [str(len(completions))] * len(completions))
    log_metric("seen_completions", len(completions))
    return [1.0] * len(completions)


def digits(completions, log_extra, number, **kwargs):
    log_extra("written", [f"{type(n).__name__} {n}" for n in number])
    log_extra("back", [n - 1 for n in number])
    return [1.0] * len(completions)


def only_completions(completions):
    return [0.5] * len(completions)


def partly(completions, **kwargs):
    return [float(completion) for completion in completions]


def singular(prompt, completions, **kwargs):
    return [0.5] * len(completions)


def get_scaled(factor):
    def scaled(completions, **kwargs):
        return [factor * len(completion) for completion in completions]
    return scaled


def misbehaves(completions, **kwargs):
    kind = completions[0]
    if kind == "hang":
        time.sleep(600)
    if kind == "busy":
        while True:
            pass
    if kind == "fork and hang":
        if os.fork() == 0:
            time.sleep(600)
        time.sleep(600)
    if kind == "fork and return":
        os.fork()  # both come back to the host
    if kind == "print":
        print('{"id": 1, "scores": [9]}', flush=True)
        os.write(1, b"\xff\xfe garbage\n")
        sys.stdin.read()
    if kind == "print without end":
        os.write(2, b"x" * 3_000_000)
    if kind == "nan":
        return [float("nan")] * len(completions)
    if kind == "inf":
        return [float("inf")] * len(completions)
    if kind == "str":
        return ["high"] * len(completions)
    if kind == "short":
        return [1.0]
    if kind == "float":
        return 1.0
    if kind == "raise":
        raise ValueError("no such thing as a good answer")
    if kind == "exit":
        sys.exit(3)
    if kind == "exit hard":
        print("about to leave", file=sys.stderr, flush=True)
        os._exit(3)
    if kind == "segfault":
        os.kill(os.getpid(), 11)
    if kind == "allocate":
        hoard = []
        while True:
            hoard.append(bytearray(1 << 24))
    if kind == "grandchild":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if kind == "close":
        os.closerange(3, 64)
    return [1.0] * len(completions)


def secrets(completions, **kwargs):
    return [float(any(name in os.environ for name in ("SECRET_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY")))] * len(
        completions)


def judge(completions, **kwargs):
    os.environ["PLUMBLINE_WRITTEN"] = "no note is made of what a reward sets"
    named = os.environ.get("PLUMBLINE_KEY"), os.getenv( 'PLUMBLINE_TOKEN'), os.getenv("PLUMBLINE_ABSENT")
    return [float(None not in named[:2])] * len(completions)


def environment(completions, log_extra, **kwargs):
    log_extra("names", [",".join(sorted(os.environ))] * len(completions))
    return [1.0] * len(completions)


def confined(completions, **kwargs):
    """1 where no file can be written beside this one and no network is there but the loopback."""
    if completions[0] == "hang":
        time.sleep(600)
    try:
        with open(os.path.join(os.path.dirname(__file__), "written"), "w"):
            pass
        os.remove(os.path.join(os.path.dirname(__file__), "written"))
        return [0.0] * len(completions)
    except OSError:
        with open("/proc/net/dev") as devices:
            return [float(len(devices.readlines()) == 3)] * len(completions)


# verl's signature
def compute_score(data_source, solution_str, ground_truth, extra_info):
    if solution_str == "hang":
        time.sleep(600)
    if solution_str == "raise":
        raise ValueError(f"cannot read {solution_str}")
    if solution_str == "none":
        return None
    if solution_str == "nan":
        return float("nan")
    return {"score": float(solution_str == ground_truth), "source": data_source, "index": extra_info.get("index")}


async def compute_score_async(data_source, solution_str, ground_truth, extra_info=None, bonus=0):
    await asyncio.sleep(0)
    return float(solution_str == ground_truth) + bonus


def compute_turns(data_source, solution_str, ground_truth, extra_info):
    assert extra_info["rollout_reward_scores"] == {}
    return float(extra_info["num_turns"])


def compute_turns_batched(data_sources, solution_strs, ground_truths, extra_infos):
    return [compute_turns(*row) for row in zip(data_sources, solution_strs, ground_truths, extra_infos)]


# OpenRLHF's signature
def reward_func(queries, prompts, labels):
    rewards = [float(label in query[len(prompt):]) for query, prompt, label in zip(queries, prompts, labels)]
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"mean": sum(rewards) / len(rewards)}}


def echo(queries, prompts, labels):
    return {"rewards": [1.0] * len(queries), "extra_logs": {"query": queries, "prompt": prompts, "few": [1]}}


# verifiers' signature
def talks(prompt, completion, answer, state, task, info):
    assert prompt[-1] == {"role": "user", "content": "How many?"} and completion[0]["role"] == "assistant"
    assert state["completion"] is completion and state["answer"] == answer
    return float(completion[-1]["content"] == answer) + (task == "default") * 2 + info.get("bonus", 0)


async def talks_little(completion, **kwargs):
    return float(len(completion[0]["content"]))


def parsed(parser, completion, answer):
    return 1.0


def changing(prompt, completion, answer, info):
    """Gives one point for each of its arguments that is as the row has it, and changes them."""
    points = float(len(prompt) == 1) + (answer == ["3"]) + (info == {})
    prompt.append(completion)
    answer.append("4")
    info["seen"] = True
    return points


# AReaL's and slime's
def of_areal(prompt, completions, prompt_ids, completion_ids, **columns):
    return 1.0


async def of_slime(args, sample, **kwargs):
    return 1.0


def unknown(text):
    return 1.0


def anything(**kwargs):
    return [2.0] * len(kwargs["completions"])
