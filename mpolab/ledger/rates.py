"""How many floating-point operations a second a device is taken to do, by the scale of the run and its precision.

For `smoke` and `laptop` that is the rate of a matrix product, measured here and now; for `gpu` and `paper` it is
assumed, a share of an A100's printed peak. Small models reach less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from ..cost import gemm_rate

HERE = ("smoke", "laptop")
"""Scales of the machine at hand; the others are of a GPU."""

PEAK = {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12}
"""FLOP/s of an A100 by precision, dense: NVIDIA A100 Tensor Core GPU, data sheet (2021). fp32 without TF32, as torch
multiplies by default."""

SHARE = 0.40
"""Of the peak that a training is assumed to reach."""


@dataclass(frozen=True)
class Rate:
    """flops: a second. about: where it comes from."""

    flops: float
    about: str


@cache
def rate(scale: str, precision: str) -> Rate:
    """Of a device at that scale."""
    if scale in HERE:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        found = gemm_rate(dtype) * 1e9
        return Rate(found, f"{found / 1e9:.0f} GFLOP/s, a {precision} matrix product measured on this machine now")
    found = SHARE * PEAK[precision]
    return Rate(found, f"{found / 1e12:.3g} TFLOP/s, {SHARE:.0%} of an A100's {precision} peak (assumed)")
