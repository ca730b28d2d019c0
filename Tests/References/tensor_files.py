"""Writes Tests/TensorsTests/reference.safetensors with the reference implementation.

Made with safetensors 0.8.0 and torch 2.13; run: python Tests/References/tensor_files.py
"""
from pathlib import Path

import torch
from safetensors.torch import save_file

tensors = {
    "f32": torch.tensor([[0, 0.5, -1.5], [3e38, 1e-30, 2]], dtype=torch.float32),
    "f64": torch.tensor([0.1, -2], dtype=torch.float64),
    "bf16": torch.tensor([1, -0.15625, 256], dtype=torch.bfloat16),
    "f16": torch.tensor([1, -0.25, 65504], dtype=torch.float16),
    "i64": torch.tensor([-(2**63), -1, 2**63 - 1], dtype=torch.int64),
    "i32": torch.tensor([-5, 7], dtype=torch.int32),
    "i16": torch.tensor([3], dtype=torch.int16),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
}
folder = Path(__file__).parents[1] / "TensorsTests"
save_file(tensors, folder / "reference.safetensors", metadata={"format": "pt", "note": 'quotes " and ü'})
