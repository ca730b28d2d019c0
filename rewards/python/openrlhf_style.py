"""A reward as OpenRLHF calls it: queries are prompt and completion in one text, with special tokens.

    reward_funcs: [rewards/python/openrlhf_style.py:reward_func]
"""


def reward_func(queries, prompts, labels):
    answers = [query[len(prompt):] for query, prompt in zip(queries, prompts)]
    rewards = [float(str(label) in answer) for answer, label in zip(answers, labels)]
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"share": sum(rewards) / len(rewards)}}
