"""Routers: which experts see which token, and how much each counts. One class each, one interface, one table.

A router is called with x (..., hidden) and answers with a `Routing`: logits, expert indices, gates, losses. It computes
in float32 at least, whatever autocast or the weights' dtype say (Fedus et al. 2021, section 2.4). Tokens whose mask is
zero (padding) get no expert, take no room and count for no load. Noise comes from torch's global stream, which a
checkpoint of a training holds and activation checkpointing replays; fresh weights come from `generator`.

MPOE (Gao et al. 2022), sections 2.1 and 3.1; notebook 04.

Items: mpoe-eq2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import linear, softplus
from torch.nn.functional import one_hot as one_hot_of

from .decomposition import full_precision
from .errors import RoutingError, check_options, unknown
from .routing import (
    NONE,
    Routing,
    load_balancing_loss,
    one_with_gradient,
    positive,
    rank_in,
    squared_variation,
    top_k_of,
    whole_number,
    z_loss,
)

SPREAD = 0.1  # of fresh weights: a truncated normal of variance SPREAD / hidden (Fedus et al. 2021, section 2.4)
GROUPS = ("batch", "sequence")


class Router(nn.Module, ABC):
    """What all routers share. hidden: size of a token's vector. experts: how many there are.

    weights: {name of a loss: its weight in `Routing.loss`}, on top of the class' `WEIGHTS`; 0 turns one off.
    """

    WEIGHTS: ClassVar[Mapping[str, float]] = {}

    def __init__(self, hidden: int, experts: int, weights: Mapping[str, float] | None = None):
        super().__init__()
        self.hidden, self.experts = whole_number("hidden", hidden), whole_number("experts", experts)
        strange = [name for name in weights or {} if name not in self.WEIGHTS]
        if strange:
            raise unknown(f"loss of a {type(self).__name__}", strange[0], self.WEIGHTS)
        self.weights = {**self.WEIGHTS, **(weights or {})}

    @full_precision
    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, ids: torch.Tensor | None = None) -> Routing:
        """x (..., hidden), the last leading dimension being the sequence -> Routing.

        mask: (..., tokens) zero at padding; it may be longer to the left, as with a cache of earlier tokens. ids:
        (..., tokens) the tokens' ids, which only hashing reads.

        Raises RoutingError for a mask or ids of another shape.
        """
        if x.shape[-1] != self.hidden or x.dim() < 2:
            raise RoutingError(f"an input of shape {tuple(x.shape)} was given to a router of (..., {self.hidden}).")
        leading = x.shape[:-1]
        offset = 0 if mask is None else mask.shape[-1] - leading[-1]
        mask, ids = _last("mask", mask, leading), _last("ids", ids, leading)
        groups = math.prod(leading[:-1]) if len(leading) > 1 else 1
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        wide = wide.reshape(groups, leading[-1], self.hidden)
        valid = wide.new_ones(wide.shape[:2], dtype=torch.bool) if mask is None else mask.reshape(wide.shape[:2]) != 0
        places = torch.arange(offset, offset + leading[-1], device=x.device).expand(groups, -1)
        ids = None if ids is None else ids.reshape(wide.shape[:2])
        logits, indices, gates, losses = self._route(wide, valid, ids, places)
        loss = wide.new_zeros(()) + sum(self.weights[name] * value for name, value in losses.items())
        logits = None if logits is None else logits.view(*leading, self.experts)
        return Routing(logits, *(t.view(*leading, t.shape[-1]) for t in (indices, gates)), losses, loss)

    @abstractmethod
    def _route(self, x: torch.Tensor, valid: torch.Tensor, ids: torch.Tensor | None, places: torch.Tensor) -> tuple:
        """x (groups, tokens, hidden), the rest (groups, tokens) -> logits (groups, tokens, experts) or None, indices
        and gates (groups, tokens, k), losses."""

    def _linear(self, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        """(..., experts), in x's dtype, which is float32 at least."""
        return linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))

    def extra_repr(self) -> str:
        return f"{self.hidden} -> {self.experts} experts"


def _last(name: str, given: torch.Tensor | None, leading: torch.Size) -> torch.Tensor | None:
    """The columns of a mask or of ids (..., at least tokens) that belong to the tokens at hand."""
    if given is None:
        return None
    if given.shape[:-1] != leading[:-1] or given.shape[-1] < leading[-1]:
        raise RoutingError(f"{name} of shape {tuple(given.shape)} does not fit tokens of shape {tuple(leading)}.")
    return given[..., given.shape[-1] - leading[-1] :]


def _classifier(
    hidden: int, experts: int, bias: bool, generator: torch.Generator | None, device, dtype, spread: float = SPREAD
) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, hidden, experts, bias=bias, device=device or "cpu", dtype=dtype)
    deviation = math.sqrt(spread / hidden)
    with torch.no_grad():
        if deviation:
            nn.init.trunc_normal_(layer.weight, 0, deviation, -2 * deviation, 2 * deviation, generator=generator)
        else:
            layer.weight.zero_()
        if bias:
            layer.bias.zero_()
    return layer


def _checked_group(group: str) -> str:
    if group not in GROUPS:
        raise unknown("group", group, GROUPS)
    return group


def _balance(logits: torch.Tensor, probabilities: torch.Tensor, first: torch.Tensor, valid: torch.Tensor) -> dict:
    n, flat = logits.shape[-1], valid.reshape(-1)
    return {
        "load_balancing": load_balancing_loss(probabilities.reshape(-1, n), first.reshape(-1), flat),
        "z": z_loss(logits.reshape(-1, n), flat),
    }


# -- one expert per token ------------------------------------------------------------------------------


class SwitchRouter(Router):
    """Top-1 with a capacity (Fedus et al. 2021): the gate is the probability of the chosen expert.

    capacity_factor: an expert takes ceil(factor * tokens / experts) tokens, the first ones, and later ones are dropped
    (their output is zero, so they pass by the residual); None: no limit. eval_capacity_factor: the same outside
    training. group: "batch", as in the paper, or "sequence", where each sequence has its own room, so that one
    sequence's output does not depend on the others. jitter: in training the router (not the experts) sees its input
    times uniform noise in 1 +- jitter. scale: False makes the gate one, with gradient (`one_with_gradient`).

    Losses: "load_balancing" (eqs. 4 to 6) and "z" (ST-MoE, eq. 5). Raises RoutingError for factors that drop all.
    """

    WEIGHTS: ClassVar = {"load_balancing": 0.01, "z": 0.001}

    def __init__(
        self,
        hidden: int,
        experts: int,
        capacity_factor: float | None = 1.25,
        eval_capacity_factor: float | None = 2.0,
        jitter: float = 0.01,
        group: str = "batch",
        scale: bool = True,
        bias: bool = False,
        weights: Mapping[str, float] | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(hidden, experts, weights)
        self.capacity_factor = positive("capacity_factor", capacity_factor)
        self.eval_capacity_factor = positive("eval_capacity_factor", eval_capacity_factor)
        if not 0 <= jitter < 1:
            raise RoutingError(f"jitter = {jitter}: expected a number from 0 (none) to below 1, e.g. 0.01.")
        self.jitter, self.group, self.scale = float(jitter), _checked_group(group), bool(scale)
        self.classifier = _classifier(hidden, experts, bias, generator, device, dtype)

    def _route(self, x, valid, ids, places):
        seen = x
        if self.training and self.jitter:
            seen = x * torch.empty_like(x).uniform_(1 - self.jitter, 1 + self.jitter)
        logits = self._linear(self.classifier, seen)  # (groups, tokens, experts)
        probabilities = logits.softmax(-1)
        gates, indices = probabilities.max(-1, keepdim=True)  # (groups, tokens, 1)
        losses = _balance(logits, probabilities, indices, valid)
        kept = valid & self._has_room(indices[..., 0], valid)
        gates = gates if self.scale else one_with_gradient(gates)
        return logits, indices.masked_fill(~kept[..., None], NONE), gates * kept[..., None], losses

    def _has_room(self, indices: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(groups, tokens) -> bool: whether the token is among the first of its expert."""
        factor = self.capacity_factor if self.training else self.eval_capacity_factor
        if factor is None:
            return valid
        shape = valid.shape
        if self.group == "batch":
            indices, valid = indices.reshape(1, -1), valid.reshape(1, -1)
        chosen = one_hot_of(indices, self.experts).bool() & valid[..., None]  # (groups, tokens, experts)
        room = (factor * valid.sum(1, keepdim=True) / self.experts).ceil()  # (groups, 1)
        place = rank_in(chosen).gather(-1, indices[..., None])[..., 0]  # (groups, tokens)
        return (place < room).view(shape)


class MPOERouter(SwitchRouter):
    """MPOE's own as it must have been to start from a pre-trained model: top-1 with a bias, no capacity, a gate of one.

    The gate is p / stop_gradient(p), so that equal experts compute what the dense FFN did, and the router learns all
    the same. Losses as in `SwitchRouter`; weights={"load_balancing": 0} trains without.
    """

    def __init__(
        self,
        hidden: int,
        experts: int,
        jitter: float = 0.0,
        bias: bool = True,
        weights: Mapping[str, float] | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            hidden, experts, None, None, jitter, "batch", False, bias, weights, generator, device, dtype
        )  # fmt: skip


class HashRouter(Router):
    """A fixed expert for each token id (Roller et al. 2021, "random hash"); nothing to learn, all gates one.

    by: "id" reads the tokens' ids, and says so where none are given, rather than to route by something else. "position"
    reads the place in the sequence, counted from the left of the mask where that is longer than the tokens at hand
    (a cache). The hash is arithmetic on integers, the same on every machine, so no table is stored; seed: another one.

    Raises RoutingError where ids are missing, UnknownNameError for another `by`.
    """

    BY = ("id", "position")

    def __init__(self, hidden: int, experts: int, by: str = "id", seed: int = 0):
        super().__init__(hidden, experts)
        if by not in self.BY:
            raise unknown("hash key", by, self.BY)
        self.by, self.seed = by, whole_number("seed", seed, 0)

    def _route(self, x, valid, ids, places):
        key = ids if self.by == "id" else places
        if key is None:
            raise RoutingError(
                "hash routing by token id was given no ids; call with ids=input_ids (`TokenInputs.watch(model)` hands "
                "them to all layers of a model), or route by='position'."
            )
        indices = self._hash(key).masked_fill(~valid, NONE)[..., None]  # (groups, tokens, 1)
        return None, indices, valid[..., None].to(x.dtype), {}

    def _hash(self, key: torch.Tensor) -> torch.Tensor:
        """int64 in [0, experts): three rounds of multiplying and folding in 31 bits, whose products fit in 63."""
        bits = (1 << 31) - 1
        h = (key.long() + 0x9E3779B + 0x85EBCA7 * self.seed) & bits
        for factor in (0x45D9F3B, 0x119DE1F, 0x2C1B3C6D):
            h = ((h ^ (h >> 15)) * factor) & bits
        return (h ^ (h >> 15)) % self.experts


# -- several -------------------------------------------------------------------------------------------


class NoisyTopKRouter(Router):
    """Noisy top-k gating (Shazeer et al. 2017, section 2.1 and appendix A).

    H(x)_i = (x W_g)_i + N(0, 1) softplus((x W_noise)_i), the noise in training only; gates: softmax over the k largest
    (eqs. 3 to 5). Both matrices start at zero, so that the noise alone spreads the first tokens. noise: False leaves it
    out. With k = 1 the gate is one whatever the logits are: W_g then learns from the two losses only.

    Losses: "importance" (eqs. 6 and 7) and "load" (eqs. 8 to 11), both CV^2; without noise "load" counts tokens, and
    has no gradient.
    """

    WEIGHTS: ClassVar = {"importance": 0.1, "load": 0.1}
    FLOOR = 1e-2  # added to the noise's deviation, as the authors' code does: the load divides by it

    def __init__(
        self,
        hidden: int,
        experts: int,
        top_k: int = 2,
        noise: bool = True,
        weights: Mapping[str, float] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__(hidden, experts, weights)
        self.top_k, self.noise = top_k_of(top_k, self.experts), bool(noise)
        self.classifier = _classifier(hidden, experts, False, generator, device, dtype, spread=0.0)
        self.spread = _classifier(hidden, experts, False, generator, device, dtype, spread=0.0)

    def _route(self, x, valid, ids, places):
        logits = self._linear(self.classifier, x)  # (groups, tokens, experts)
        noisy, deviation = logits, None
        if self.training and self.noise:
            deviation = softplus(self._linear(self.spread, x)) + self.FLOOR
            noisy = logits + torch.randn_like(logits) * deviation
        top, indices = noisy.topk(min(self.top_k + 1, self.experts), dim=-1)  # (groups, tokens, k + 1)
        indices = indices[..., : self.top_k]
        gates = top[..., : self.top_k].softmax(-1) * valid[..., None]
        importance = x.new_zeros(self.experts).index_add(0, indices.reshape(-1), gates.reshape(-1))
        losses = {
            "importance": squared_variation(importance),
            "load": squared_variation(self._load(logits, noisy, deviation, top, indices, valid)),
        }
        return logits, indices.masked_fill(~valid[..., None], NONE), gates, losses

    def _load(self, logits, noisy, deviation, top, indices, valid) -> torch.Tensor:
        """(experts,): the expected number of tokens of each expert if its noise alone were drawn again (eqs. 8, 9)."""
        chosen = one_hot_of(indices, self.experts).sum(-2)  # (groups, tokens, experts)
        if deviation is None or self.top_k == self.experts:
            return (chosen * valid[..., None]).to(logits.dtype).sum((0, 1))
        # the k-th largest of the others: for a chosen expert the (k+1)-th of all, else the k-th
        threshold = torch.where(chosen.bool(), top[..., self.top_k :], top[..., self.top_k - 1 : self.top_k])
        probability = torch.special.ndtr((logits - threshold) / deviation)
        return (probability * valid[..., None]).sum((0, 1))


class ExpertChoiceRouter(Router):
    """Experts choose tokens (Zhou et al. 2022, section 3.2): each takes its c * tokens / experts most probable ones.

    The load is even by construction and there is no loss; a token may have any number of experts, slot e being expert
    e's. A choice among all tokens of a group looks at later ones, so a causal model that trains with it cheats:
    it is meant for encoders. capacity_factor: c, the mean number of experts a token gets. group: as in SwitchRouter.
    """

    def __init__(
        self,
        hidden: int,
        experts: int,
        capacity_factor: float = 2.0,
        group: str = "batch",
        bias: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(hidden, experts)
        if capacity_factor is None:
            raise RoutingError("expert choice needs a capacity_factor (2.0 is usual): without, all take all tokens.")
        self.capacity_factor, self.group = positive("capacity_factor", capacity_factor), _checked_group(group)
        self.classifier = _classifier(hidden, experts, bias, generator, device, dtype)

    def _route(self, x, valid, ids, places):
        logits = self._linear(self.classifier, x)  # (groups, tokens, experts)
        probabilities = logits.softmax(-1)
        shape, inside = probabilities.shape, valid
        scores = probabilities.detach()
        if self.group == "batch":
            scores, inside = scores.reshape(1, -1, self.experts), valid.reshape(1, -1)
        scores = scores.masked_fill(~inside[..., None], -1.0)  # below every probability
        order = scores.argsort(dim=1, descending=True, stable=True)  # (groups, tokens, experts), over tokens
        place = order.argsort(dim=1)  # a token's place in each expert's list
        room = (self.capacity_factor * inside.sum(1) / self.experts).ceil()[:, None, None]
        taken = ((place < room) & inside[..., None]).view(shape)
        numbers = torch.arange(self.experts, device=x.device).expand(shape)
        return logits, numbers.masked_fill(~taken, NONE), probabilities * taken, {}


# -- the table -----------------------------------------------------------------------------------------

ROUTERS: dict[str, type[Router]] = {
    "mpoe": MPOERouter,
    "switch": SwitchRouter,
    "noisy_top_k": NoisyTopKRouter,
    "hash": HashRouter,
    "expert_choice": ExpertChoiceRouter,
}


def make_router(name: str, hidden: int, experts: int, **options: object) -> Router:
    """A router by its name in `ROUTERS`; options as its class takes them.

    Raises UnknownNameError for another name of a router or of an option, RoutingError for options that route nothing.
    """
    if name not in ROUTERS:
        raise unknown("router", name, ROUTERS)
    check_options(f"the router {name!r}", options, ROUTERS[name], ("hidden", "experts"))
    return ROUTERS[name](hidden, experts, **options)
