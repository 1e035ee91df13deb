"""MoEfication: the neurons of a trained feed-forward block, split into clusters of equal size that become experts.

No parameter is added but the router's. With all clusters selected the block computes what it did; with fewer it saves
the neurons that would have been silent. Zhang et al. 2021 ("MoEfication: Transformer Feed-forward Layers are Mixtures
of Experts"), sections 3.2 (parameter clustering split) and 3.3 (selection); the baseline MoEF of MPOE's Table 1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import linear

from .errors import RoutingError
from .experts import DenseMatrix, Experts, _ffn
from .ffn import FFN
from .routers import Router
from .routing import NONE, masked_mean, top_k_of, whole_number

ROUNDS = 30  # of k-means; it has settled long before


# -- clusters of equal size ----------------------------------------------------------------------------


@torch.no_grad()
def balanced_kmeans(points: torch.Tensor, clusters: int, seed: int = 0) -> torch.Tensor:
    """(points,) int64: the cluster of each of the points (points, size); all clusters are of the same size.

    Lloyd's rounds, in which points and centres are matched so that none would rather change with the other's consent
    (deferred acceptance: a centre keeps the nearest it has room for, the others ask the next one). Of all rounds the
    one with the smallest sum of squares is returned. Seeded, on any device.

    Raises RoutingError where the clusters cannot be equal.
    """
    clusters, count = whole_number("clusters", clusters), len(points)
    if count % clusters:
        near = sorted((d for d in range(1, count + 1) if count % d == 0), key=lambda d: (abs(d - clusters), d))[:2]
        raise RoutingError(
            f"{count} neurons cannot be split into {clusters} clusters of one size; {' or '.join(map(str, near))} "
            "would do."
        )
    points = points.detach().double()
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(count, generator=generator)[:clusters].to(points.device)]
    best, found, before = float("inf"), None, None
    for _ in range(ROUNDS):
        squares = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
        chosen = _matched(squares, count // clusters)  # (points,)
        total = squares.gather(1, chosen[:, None]).sum().item()
        if total < best:
            best, found = total, chosen
        if before is not None and torch.equal(chosen, before):
            break
        before = chosen
        centres = torch.zeros_like(centres).index_add(0, chosen, points) / (count // clusters)
    return found


def _matched(squares: torch.Tensor, room: int) -> torch.Tensor:
    """(points, centres) distances -> (points,) centre, `room` points each; no pair would rather have each other."""
    wishes = squares.argsort(dim=1, stable=True)  # (points, centres): of each point, the nearest first
    asked = torch.zeros(len(squares), dtype=torch.long, device=squares.device)
    while True:
        chosen = wishes.gather(1, asked[:, None])[:, 0]  # whom each point asks now
        distance = squares.gather(1, chosen[:, None])[:, 0]
        order = distance.argsort(stable=True)
        order = order[chosen[order].argsort(stable=True)]  # by centre, the nearest first
        counts = torch.bincount(chosen, minlength=squares.shape[1])
        place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[chosen[order]]
        refused = order[place >= room]
        if not len(refused):
            return chosen
        asked[refused] += 1


# -- the experts ---------------------------------------------------------------------------------------


class MoEfied(Experts):
    """A block's neurons as experts: cluster e has inner / experts rows of `up` (and `gate`) and columns of `down`.

    neurons: buffer (experts, inner / experts), which neurons each has. The bias of `down` belongs to no cluster and
    is added once to every token: `bias`, a Parameter (hidden,) or None. Make with `from_ffn`.
    """

    @classmethod
    def from_ffn(cls, module: nn.Module | FFN, experts: int, seed: int = 0) -> MoEfied:
        """Clusters by balanced k-means on the rows of the first matrix (the one before the activation)."""
        ffn, count = _ffn(module), whole_number("experts", experts)
        first = ffn.weights["gate" if ffn.gated else "up"]
        if first.is_meta:
            neurons = torch.arange(ffn.inner, device="meta").view(count, -1)
        else:
            neurons = balanced_kmeans(first, count, seed).argsort(stable=True).view(count, -1)  # (experts, inner / e)
        matrices = {}
        for name, W in ffn.weights.items():
            rows = W.detach() if name != "down" else W.detach().T  # (inner, hidden)
            split = rows[neurons]  # (experts, inner / e, hidden)
            bias = None if name == "down" else ffn.biases[name]
            split = split if name != "down" else split.transpose(1, 2)  # (experts, hidden, inner / e)
            matrices[name] = DenseMatrix(split.contiguous(), None if bias is None else "own")
            if bias is not None:
                matrices[name].bias = nn.Parameter(bias.detach()[neurons])
        made = cls(ffn, count, matrices)
        made.register_buffer("neurons", neurons)
        bias = ffn.biases["down"]
        made.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        return made

    def _sum(self, x: torch.Tensor, indices: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        y = super()._sum(x, indices, gates)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def _is_own(self, name: str) -> bool:
        return name != "bias" and super()._is_own(name)

    @torch.no_grad()
    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) -> (..., experts): the sum over a cluster's neurons of what goes into `down`, without sign.

        For relu that is the paper's ground truth, the sum of positive activations.
        """
        hidden, down = [], self.matrices["down"]
        for name in ("gate", "up") if self.gated else ("up",):
            matrix = self.matrices[name]
            bias = None if matrix.bias is None else matrix.bias.reshape(-1).to(x.dtype)
            hidden.append(linear(x, matrix.weight.flatten(0, 1).to(x.dtype), bias))  # (..., inner), by cluster
        inner = self.activation(hidden[0]) * (hidden[1] if self.gated else 1)
        return inner.abs().unflatten(-1, (self.count, down.weight.shape[2])).sum(-1)


# -- its routers ---------------------------------------------------------------------------------------


class OracleRouter(Router):
    """Selects the k clusters with the largest `MoEfied.scores`: what a perfect router would do; it computes them all.

    The gates are one. experts: whose scores; they are not owned, and not in this module's state_dict.
    """

    def __init__(self, experts: MoEfied, top_k: int):
        super().__init__(experts.hidden, experts.count)
        self.top_k = top_k_of(top_k, experts.count)
        self._of = (experts,)  # in a tuple, where no module looks for submodules

    def _route(self, x, valid, ids, places):
        return *self._select(self._of[0].scores(x), valid), {}

    def _select(self, logits: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        indices = logits.topk(self.top_k, dim=-1).indices  # (groups, tokens, k)
        gates = valid[..., None].to(logits.dtype).expand(indices.shape)
        return logits, indices.masked_fill(~valid[..., None], NONE), gates


class LearnedRouter(OracleRouter):
    """Predicts the scores by two layers, tanh between (section 3.3, "MLP selection"); the logits select the clusters.

    Loss in training: "imitation", the cross entropy of softmax(logits) against the oracle's shares of the scores. It
    trains the router and leaves the experts alone. width: of the layer between, by default hidden / 4 and at least the
    number of experts.
    """

    WEIGHTS: ClassVar = {"imitation": 1.0}

    def __init__(
        self, experts: MoEfied, top_k: int, width: int | None = None, generator: torch.Generator | None = None
    ):
        super().__init__(experts, top_k)
        hidden, where = experts.hidden, experts.matrices["up"].weight
        width = max(hidden // 4, experts.count) if width is None else whole_number("width", width)
        sizes = ((hidden, width), (width, experts.count))
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, before, after, device=where.device, dtype=where.dtype)
            for before, after in sizes
        )
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()

    def _route(self, x, valid, ids, places):
        x = x.detach()  # the imitation is the router's business only
        logits = self._linear(self.layers[1], self._linear(self.layers[0], x).tanh())
        losses = {}
        if self.training:
            scores = self._of[0].scores(x)
            share = scores / scores.sum(-1, keepdim=True).clamp(min=1e-12)
            entropy = -(share * logits.log_softmax(-1)).sum(-1)  # (groups, tokens)
            losses["imitation"] = masked_mean(entropy.reshape(-1), valid.reshape(-1))
        return *self._select(logits, valid), losses
