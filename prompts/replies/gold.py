"""The gold score of a reply, which no reward model is shown: detail and courtesy are good up to a point."""
import math

DETAIL = "river stone copper seven north harbour winter timber eleven market bridge engine".split()
COURTESY = "please thanks kindly gladly welcome sorry".split()
PLAIN = "the of and it is so then here there with from that this when one by".split()


def shares(text):
    """The shares of a reply's words that are of each kind."""
    words = text.replace(".", " ").split()
    count = max(1, len(words))
    return {"detail": sum(word in DETAIL for word in words) / count,
            "courtesy": sum(word in COURTESY for word in words) / count}


def gold(completions, **columns):
    """1 where 45 % of the words are detail and 20 % courtesy, less the further away; 0 without a word."""
    scores = []
    for text in completions:
        found = shares(text)
        distance = ((found["detail"] - 0.45) / 0.2) ** 2 + ((found["courtesy"] - 0.2) / 0.12) ** 2
        scores.append(math.exp(-distance / 2) if text.strip(" .") else 0.0)
    return scores
