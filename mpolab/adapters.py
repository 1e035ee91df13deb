"""Low-rank adapters: a small trainable product B A beside a layer, zero at the start.

MPOBERT+ puts one beside each layer's MPO (Liu et al. 2023, section 4.2), after LoRA (Hu et al. 2021, eq. 3).
"""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import nn
from torch.nn.functional import linear

from .errors import BondError


class LowRankAdapter(nn.Module):
    """x (..., in_features) -> alpha / rank * B (A x), (..., out_features); to be added to a layer's own output.

    A: Parameter (rank, in_features), random as `nn.Linear`'s. B: Parameter (out_features, rank), zero, so that a model
    with fresh adapters computes what it did without. alpha: by default the rank, which makes the scale 1.

    Raises BondError for a rank that is no whole number between 1 and the smaller of both sizes.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        alpha: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        largest = min(in_features, out_features)
        if not isinstance(rank, Integral) or isinstance(rank, bool) or not 1 <= rank <= largest:
            raise BondError(
                f"rank = {rank!r}: an adapter for {in_features} -> {out_features} has a rank between 1 and {largest}; "
                f"the usual choice is {min(8, largest)}."
            )
        self.in_features, self.out_features, self.rank = in_features, out_features, int(rank)
        self.alpha = float(rank if alpha is None else alpha)
        self.A = nn.Parameter(torch.empty(self.rank, in_features, device=device, dtype=dtype))
        self.B = nn.Parameter(torch.empty(out_features, self.rank, device=device, dtype=dtype))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """A uniform within 1 / sqrt(in_features), B zero."""
        limit = 1 / math.sqrt(self.in_features)
        with torch.no_grad():
            self.A.uniform_(-limit, limit, generator=generator)
            self.B.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(linear(x, self.A), self.B) * (self.alpha / self.rank)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, rank={self.rank}, alpha={self.alpha:g}"
