"""A reward as TRL's trainers call it: all completions of a prompt at once, every column of the row by name.

    reward_funcs: [rewards/python/trl_style.py:short_and_right]
"""


def short_and_right(prompts, completions, answer, log_extra=None, log_metric=None, **columns):
    """1 for the right last word, less a little for every word; None where the row has no answer."""
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    scores = []
    for text, wanted in zip(texts, answer):
        words = text.split()
        is_right = bool(words) and words[-1].strip(".") == str(wanted)
        scores.append(None if wanted is None else float(is_right) - 0.001 * len(words))
    if log_extra:
        log_extra("words", [len(text.split()) for text in texts])
    if log_metric:
        log_metric("mean_words", sum(len(text.split()) for text in texts) / len(texts))
    return scores
