"""Writes Tests/TensorsTests/sampling_filters.json: distributions after transformers' logits processors.

Made with transformers 5.23.0 and torch 2.13; run: python Tests/References/sampling_filters.py
"""
import json
from pathlib import Path

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

torch.manual_seed(0)
cases = []
for penalty, temperature, top_k, top_p, min_p in [
    (1, 1, 0, 1, 0), (1, 0.7, 0, 1, 0), (1, 1, 5, 1, 0), (1, 1, 0, 0.8, 0), (1, 1, 0, 1, 0.1), (1.3, 1, 0, 1, 0),
    (1.3, 0.7, 20, 0.9, 0.02), (1, 1.5, 10, 0.5, 0), (1, 1, 1, 1, 0), (1, 1, 0, 1e-6, 0), (0.8, 2, 0, 0.95, 0.05),
    (1, 0.3, 40, 0.99, 0.3),
]:
    words = 61
    logits = torch.randn(1, words) * 2.5
    seen = torch.randperm(words)[:9].unsqueeze(0)
    scores = logits.clone()
    if penalty != 1:
        scores = RepetitionPenaltyLogitsProcessor(penalty)(seen, scores)
    if temperature != 1:
        scores = TemperatureLogitsWarper(float(temperature))(seen, scores)
    if top_k:
        scores = TopKLogitsWarper(top_k)(seen, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(float(top_p))(seen, scores)
    if min_p:
        scores = MinPLogitsWarper(min_p)(seen, scores)
    cases.append({
        "repetitionPenalty": penalty, "temperature": temperature, "topK": top_k, "topP": top_p, "minP": min_p,
        "logits": logits[0].tolist(), "seen": seen[0].tolist(),
        "probabilities": scores.double().softmax(-1)[0].tolist(),
        "policy": (logits.double() / temperature).log_softmax(-1)[0].tolist(),
    })
path = Path(__file__).parents[1] / "TensorsTests" / "sampling_filters.json"
path.write_text(json.dumps(cases))
