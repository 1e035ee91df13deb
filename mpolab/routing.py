"""What every router answers, and the arithmetic they share: `mpolab.routers` has the routers.

A routing is a NamedTuple because transformers records the entries of a tuple: a model whose class has
`_can_record_outputs = {"router_logits": OutputRecorder(Router, index=0)}` returns the logits of all its routers for
`output_router_logits=True`, and with `index=4` their losses.
"""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import torch
from torch.nn.functional import one_hot

from .errors import RoutingError

NONE = -1  # the expert of a slot that is not used


class Routing(NamedTuple):
    """Where tokens go. (...) are the leading dimensions of the router's input, (batch, tokens) in a model.

    logits: (..., experts), as they are before noise, in float32 at least; None where nothing is computed (hashing).
    indices: (..., k) int64, the expert in each of a token's k slots, or -1: dropped, padding, or not chosen.
    gates: (..., k), what that expert's output is multiplied with; zero where the index is -1.
    losses: {name: scalar}, auxiliary losses without their weights. loss: their weighted sum, to be added to a model's.
    """

    logits: torch.Tensor | None
    indices: torch.Tensor
    gates: torch.Tensor
    losses: dict[str, torch.Tensor]
    loss: torch.Tensor

    def load(self, experts: int) -> torch.Tensor:
        """(experts,) int64: how many tokens each expert has received."""
        used = self.indices[self.indices != NONE]
        return torch.bincount(used, minlength=experts)


def whole_number(name: str, value: object, least: int = 1) -> int:
    """The value as an int, or the RoutingError that says what was expected."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise RoutingError(f"{name} = {value!r}: expected a whole number of at least {least}, e.g. {max(least, 8)}.")
    return int(value)


def top_k_of(k: object, experts: int) -> int:
    """How many experts a token may have, checked."""
    k = whole_number("top_k", k)
    if k > experts:
        raise RoutingError(
            f"top_k = {k}, but there are only {experts} experts; a token has at most {experts}, and 1 or 2 are usual."
        )
    return k


def positive(name: str, value: float | None) -> float | None:
    """A capacity factor, or None for no limit; zero and below would drop every token."""
    if value is not None and not value > 0:
        raise RoutingError(
            f"{name} = {value!r} leaves every expert without room, so all tokens would be dropped; 1.25 is usual, "
            "and None sets no limit."
        )
    return None if value is None else float(value)


# -- arithmetic ----------------------------------------------------------------------------------------


def masked_mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Over valid (tokens,) of values (tokens, ...); zero where there is none."""
    wide = valid.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(wide, values, 0).sum(0) / valid.sum().clamp(min=1)


def load_balancing_loss(probabilities: torch.Tensor, first: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """n sum_i f_i P_i, one when both are even; Fedus et al. 2021, eqs. 4 to 6.

    probabilities: (tokens, n). first: (tokens,) the most probable expert of each, before any capacity drops it.
    valid: (tokens,) bool, False for padding.
    """
    n = probabilities.shape[-1]
    f = masked_mean(one_hot(first, n).to(probabilities.dtype), valid)  # (n,): fraction of tokens, no gradient
    return n * (f * masked_mean(probabilities, valid)).sum()


def z_loss(logits: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The mean of (log sum exp logits)^2, logits (tokens, n); Zoph et al. 2022 (ST-MoE), eq. 5."""
    return masked_mean(logits.logsumexp(-1).square(), valid)


def squared_variation(values: torch.Tensor) -> torch.Tensor:
    """CV^2: variance over squared mean, of values (n,); zero for one value and where all are zero."""
    return values.var(unbiased=False) / values.mean().square().clamp(min=1e-10)


def one_with_gradient(p: torch.Tensor) -> torch.Tensor:
    """p / stop_gradient(p): exactly one, with the gradient of log p. So a gate changes nothing and yet learns."""
    return p / p.detach()


def rank_in(chosen: torch.Tensor) -> torch.Tensor:
    """(groups, tokens, n) bool -> int64: how many earlier tokens of the group have chosen the same expert."""
    return chosen.long().cumsum(1) - 1
