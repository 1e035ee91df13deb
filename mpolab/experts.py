"""Sets of experts: many feed-forward blocks of one shape, each for the tokens that are routed to it.

    DenseExperts  every expert has matrices of its own, stacked: (experts, out, in).
    MPOExperts    each matrix has one central tensor for all experts, and auxiliary tensors stacked over them (MPOE).

Both are called alike, `experts(x, indices, gates)`, with what a router answers; so is `moefication.MoEfied`. Everything
an expert owns lies in slices of stacked parameters, (experts, ...), as in transformers v5: a layer has the same few
parameters whatever the routing, which is what DDP needs. That an optimizer with momentum moves slices whose gradient
is zero is the price; `gradient_mask.RoutedUpdates` takes it back.

MPOE (Gao et al. 2022), section 3.1; notebook 04.

Items: mpoe-eq3, mpoe-fig2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import linear

from . import shared_rebuild
from .blocked import Order, blocked_linear, orders
from .errors import BondError, PlanError, RoutingError, unknown
from .ffn import FFN, feed_forward, read_ffn
from .layer_base import _Kept, checked_bonds
from .layers import _meta_bonds
from .mpo import MPO
from .plans import Plan, make_plan
from .rebuild import rebuild, recomputed_linear
from .routing import NONE, whole_number

BIASES = ("own", "shared")
REBUILDS = ("auto", "blocks", "batch", "loop")


# -- tokens by expert ----------------------------------------------------------------------------------


def grouped(indices: torch.Tensor, experts: int) -> tuple[torch.Tensor, list[int]]:
    """The slots that are used, sorted by expert (a token's slots: number * k ..), and how many each expert has.

    indices: (tokens, k), -1 for a slot that is not used. Raises RoutingError for an expert that is not there.
    """
    flat = indices.reshape(-1)
    order = flat.argsort(stable=True)
    unused, *counts = torch.bincount(flat - NONE, minlength=experts + 1).tolist()  # one wait for the device
    if len(counts) > experts:
        raise RoutingError(f"expert {len(counts) - 1} was routed to, but the layer has {experts}, numbered from 0.")
    return order[unused:], counts


class Experts(nn.Module):
    """What all sets of experts share. matrices: ModuleDict of "up", "down" and, if gated, "gate".

    count: the experts. routed: (count,) bool on the CPU, who has received a token with gradients on since it
    was last cleared; a plain attribute, as DDP would overwrite a buffer by the first process's.
    """

    def __init__(self, ffn: FFN, count: int, matrices: dict[str, nn.Module]):
        super().__init__()
        self.count = whole_number("experts", count)
        self.hidden, self.gated, self.inside = ffn.hidden, ffn.gated, ffn.inside
        self.matrices = nn.ModuleDict(matrices)
        self.activation = copy.deepcopy(ffn.activation)
        self.before, self.after = nn.Identity(), nn.Identity()  # of the activation: see gradient_mask.GradientDropout
        self.dropout = nn.Dropout(ffn.dropout)
        self.routed = torch.zeros(self.count, dtype=torch.bool, device="cpu")
        self.train(ffn.training)

    def forward(self, x: torch.Tensor, indices: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """x (..., hidden), indices and gates (..., k) -> (..., hidden): sum over k of gate * expert(x).

        A token all of whose indices are -1 gets zero.
        """
        if indices.shape != gates.shape or indices.shape[:-1] != x.shape[:-1]:
            raise RoutingError(
                f"indices {tuple(indices.shape)} and gates {tuple(gates.shape)} do not fit an input of shape "
                f"{tuple(x.shape)}: both are (..., k) with the leading dimensions of the input."
            )
        y = self._sum(x, indices, gates)
        return y if self.inside else self.dropout(y)

    def _sum(self, x: torch.Tensor, indices: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        flat, k = x.reshape(-1, x.shape[-1]), indices.shape[-1]  # (tokens, hidden)
        order, counts = grouped(indices, self.count)
        used = [e for e, tokens in enumerate(counts) if tokens]
        if torch.is_grad_enabled():
            self.routed[used] = True
        if not used:
            return torch.zeros_like(x)
        tokens = order if k == 1 else order // k
        parts = list(flat[tokens].split([counts[e] for e in used]))  # (tokens of the expert, hidden) each
        dropout = self.dropout if self.inside else nn.Identity()
        products = self._products(used, sum(counts))
        parts = feed_forward(
            products,
            parts, self.gated, self.before, self.activation, self.after, dropout,
        )  # fmt: skip
        y = torch.cat(parts)
        y = y * gates.reshape(-1, 1)[order].to(y.dtype)
        return y.new_zeros(len(flat), y.shape[-1]).index_add(0, tokens, y).view(*x.shape[:-1], -1)

    def _products(self, used: Sequence[int], tokens: int) -> Callable[[str, list[torch.Tensor]], list[torch.Tensor]]:
        """(name of a matrix, an input per used expert) -> W_e x + b_e of each; tokens: of all inputs."""
        return lambda name, parts: self.matrices[name](used, parts)

    def own(self) -> dict[str, nn.Parameter]:
        """{name: Parameter (experts, ...)}, whose slices belong to one expert each."""
        return {name: p for name, p in self.named_parameters() if self._is_own(name)}

    def _is_own(self, name: str) -> bool:
        matrix, last = self.matrices[name.split(".")[1]], name.rsplit(".", 1)[-1]
        return last in matrix.stacked

    @torch.no_grad()
    def weight(self, name: str) -> torch.Tensor:
        """(experts, out, in): W of every expert for a matrix, "up", "down" or "gate"."""
        if name not in self.matrices:
            raise unknown("matrix", name, self.matrices)
        return self.matrices[name].weights()

    def extra_repr(self) -> str:
        return f"{self.count} experts, hidden {self.hidden}, {'gated' if self.gated else 'plain'}"


class _Matrix(nn.Module):
    """One matrix of all experts. Its bias: (experts, out), or (out,) if shared. stacked: names of what experts own."""

    def __init__(self, out: int, count: int, bias: str | None, device=None, dtype=None):
        super().__init__()
        if bias is not None and bias not in BIASES:
            raise unknown("kind of biases", bias, BIASES)
        shape = (count, out) if bias == "own" else (out,)
        self.bias = None if bias is None else nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))
        self.count, self.stacked = count, {"bias"} if bias == "own" else set()

    def _biases(self, used: Sequence[int]) -> list[torch.Tensor | None]:
        if self.bias is None or self.bias.dim() == 1:
            return [self.bias] * len(used)
        biases = self.bias.unbind()  # one backward for all, where indexing would make a full gradient each time
        return [biases[e] for e in used]

    @torch.no_grad()
    def take_bias(self, bias: torch.Tensor | None) -> None:
        """Copies (out,), to every expert."""
        if bias is not None:
            self.bias.copy_(bias.detach().expand_as(self.bias))


# -- dense experts -------------------------------------------------------------------------------------


class DenseMatrix(_Matrix):
    """weight: Parameter (experts, out, in)."""

    def __init__(self, weight: torch.Tensor, bias: str | None):
        count, out, _ = weight.shape
        super().__init__(out, count, bias, weight.device, weight.dtype)
        self.weight = nn.Parameter(weight)
        self.stacked = {*self.stacked, "weight"}

    def forward(self, used: Sequence[int], parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """(tokens, in) for each used expert -> (tokens, out) each."""
        W = self.weight.unbind()
        return [linear(x, W[e], b) for e, x, b in zip(used, parts, self._biases(used))]

    def weights(self) -> torch.Tensor:
        return self.weight.detach()


class DenseExperts(Experts):
    """Copies of a feed-forward block: the experts of MoE and Switch. Make them with `from_ffn`."""

    @classmethod
    def from_ffn(cls, module: nn.Module | FFN, experts: int, biases: str = "own") -> DenseExperts:
        """Every expert a copy of the block. biases: "own" or "shared". Works on the meta device."""
        ffn, count = _ffn(module), whole_number("experts", experts)
        matrices = {}
        for name, W in ffn.weights.items():
            bias = ffn.biases[name]
            stacked = W.detach().expand(count, *W.shape).clone(memory_format=torch.contiguous_format)
            matrices[name] = DenseMatrix(stacked, None if bias is None else biases)
            matrices[name].take_bias(bias)
        return cls(ffn, count, matrices)


def _ffn(module: nn.Module | FFN) -> FFN:
    return module if isinstance(module, FFN) else read_ffn(module)


# -- experts with one centre ---------------------------------------------------------------------------

BATCH_ENTRIES = 200_000
"""Of one W: above it blocks, which put no legs in order, are expected to be faster than one batch for all experts."""


class MPOMatrix(_Matrix):
    """One matrix of all experts as MPOs that share their central tensor.

    plan: factors of (out, in). bonds: d_0 .. d_n. central: Parameter (d_{c-1}, i_c, j_c, d_c), of which this module is
    the only owner. A1 .. A{n-1}: Parameters (experts, d_{k-1}, i_k, j_k, d_k), from left to right. rebuild: "batch"
    makes W of all used experts in one contraction, "loop" one after the other, "blocks" as `mpolab.blocked` does, where
    the other matrices do, too; "auto" is "batch" up to `BATCH_ENTRIES`, else "blocks", and "loop" where there are
    none or too many tokens (`in_blocks`). keep_weight: as in `mpolab.layers`; False makes W again for the backward pass
    (never as a "batch" then).

    In eval mode, without gradients, W of all experts is kept until a core changes.
    """

    def __init__(
        self,
        plan: Plan,
        bonds: Sequence[int],
        count: int,
        bias: str | None = "own",
        rebuild: str = "auto",
        keep_weight: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(plan.shape[0], count, bias, device, dtype)
        if rebuild not in REBUILDS:
            raise unknown("rebuild", rebuild, REBUILDS)
        if plan.n < 2:
            raise BondError("experts share one core and own the others, so a plan needs at least two cores (n = 5).")
        bonds = checked_bonds(plan, bonds)
        self.plan, self.rebuild, self.keep_weight = plan, rebuild, bool(keep_weight)
        make = lambda *shape: nn.Parameter(torch.empty(shape, device=device, dtype=dtype))  # noqa: E731
        self.central = make(*plan.core_shape(plan.centre, bonds))
        others = [k for k in range(plan.n) if k != plan.centre]
        self._names = [f"A{number + 1}" for number in range(plan.n - 1)]
        for name, k in zip(self._names, others):
            self.register_parameter(name, make(count, *plan.core_shape(k, bonds)))
        self.stacked = {*self.stacked, *self._names}
        self._kept = _Kept()

    @property
    def auxiliary(self) -> list[nn.Parameter]:
        """From left to right, (experts, d_{k-1}, i_k, j_k, d_k) each."""
        return [self._parameters[name] for name in self._names]

    @property
    def bonds(self) -> list[int]:
        """d_0 .. d_n, n+1 integers."""
        c, shapes = self.plan.centre, [core.shape[1:] for core in self.auxiliary]
        return [shape[0] for shape in (*shapes[:c], self.central.shape, *shapes[c:])] + [1]

    def mpo_tensors(self) -> list[nn.Parameter]:
        """All that the matrices are made of, as `engine.parameter_groups` asks for."""
        return [self.central, *self.auxiliary]

    def cores(self, expert: int) -> list[torch.Tensor]:
        """The n cores of one expert, (d_{k-1}, i_k, j_k, d_k) each, differentiable."""
        return self._chain([core[expert] for core in self.auxiliary])

    def _chain(self, own: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        c = self.plan.centre
        return [*own[:c], self.central, *own[c:]]

    @torch.no_grad()
    def take(self, mpo: MPO) -> None:
        """The cores of an MPO of the same plan and bonds: the centre once, the others to every expert."""
        c = self.plan.centre
        self.central.copy_(mpo.cores[c])
        for mine, core in zip(self.auxiliary, [*mpo.cores[:c], *mpo.cores[c + 1 :]], strict=True):
            mine.copy_(core.expand_as(mine))

    def forward(self, used: Sequence[int], parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """(tokens, in) for each used expert -> (tokens, out) each."""
        dtype, biases = _compute_dtype(parts[0]), self._biases(used)
        parameters = (self.central, *self.auxiliary)
        if self._differentiable():
            self._kept.drop()
            if not self.keep_weight:
                own = list(zip(*(core.unbind() for core in self.auxiliary)))  # per expert
                biases = [None if b is None else b.to(dtype) for b in biases]
                return [
                    recomputed_linear(self.plan, self._chain(own[e]), x.to(dtype), b)
                    for e, x, b in zip(used, parts, biases)
                ]
        elif self._keeps():
            kept = self._kept.get(parameters, dtype)
            if kept is None:
                with torch.inference_mode(False), torch.no_grad():  # kept beyond inference mode
                    kept = torch.stack(list(self._make(range(self.count), dtype)))
                self._kept.put(parameters, kept)
            return [linear(x, kept[e], b) for e, x, b in zip(used, parts, biases)]
        return [linear(x, W, b) for x, W, b in zip(parts, self._make(used, dtype), biases)]

    def _differentiable(self) -> bool:
        return torch.is_grad_enabled() and any(core.requires_grad for core in (self.central, *self.auxiliary))

    def _keeps(self) -> bool:
        """Whether W of all experts is kept from one call to the next."""
        cores = (self.central, *self.auxiliary)
        return not (self.training or self._differentiable() or any(core.is_inference() for core in cores))

    def in_blocks(self, used: Sequence[int], tokens: int) -> bool:
        """Whether these experts' W are to be made in blocks now, for so many tokens in all.

        Blocks put hidden vectors in order instead of W's legs: with more tokens than rows of W's long side that is
        more work, and "auto" goes back to one W after the other.
        """
        if self._keeps():
            return False
        batch = self.keep_weight and self._batch_pays(used)
        fewer = tokens <= len(used) * max(self.plan.shape)
        return self.rebuild == "blocks" or (self.rebuild == "auto" and fewer and not batch)

    def _batch_pays(self, used: Sequence[int]) -> bool:
        return shared_rebuild.pays(self.plan, len(used), BATCH_ENTRIES)

    def blocked(self, order: Order, used: Sequence[int], parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """As forward, but inner vectors have the order of `mpolab.blocked`."""
        if self._differentiable():
            self._kept.drop()
        thirds = shared_rebuild.stacked_thirds(self.plan, self.central, self.auxiliary)
        dtype = _compute_dtype(parts[0])
        return blocked_linear(order, *thirds, self.bias, used, [x.to(dtype) for x in parts], self.keep_weight)

    def _make(self, used: Sequence[int], dtype: torch.dtype):
        """W (out, in) of each of these experts; in a loop each is made when it is asked for."""
        if self.rebuild == "batch" or (self.rebuild == "auto" and self._batch_pays(used)):
            stacked = self.auxiliary
            if len(used) < self.count:
                chosen = torch.tensor(used, device=self.central.device)
                stacked = [core.index_select(0, chosen) for core in stacked]
            return shared_rebuild.rebuild_stacked(self.plan, self.central, stacked, dtype)
        own = list(zip(*(core.unbind() for core in self.auxiliary)))  # per expert
        return (rebuild(self.plan, self._chain(own[e]), dtype) for e in used)

    @torch.no_grad()
    def weights(self) -> torch.Tensor:
        return torch.stack(list(self._make(range(self.count), self.central.dtype)))

    def train(self, mode: bool = True):
        self._kept.drop()
        return super().train(mode)

    def _apply(self, fn: Callable, recurse: bool = True):
        self._kept.drop()
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return f"{self.count} x {self.plan}, bonds {'-'.join(map(str, self.bonds))}, one centre"


class MPOExperts(Experts):
    """Experts that share the central tensor of each matrix and own their auxiliary tensors. Make with `from_ffn`."""

    def __init__(self, ffn: FFN, count: int, matrices: dict[str, nn.Module]):
        super().__init__(ffn, count, matrices)
        plans = {name: matrix.plan for name, matrix in matrices.items()}
        self._orders = orders(plans, {name: matrix.bonds for name, matrix in matrices.items()})
        if self._orders is None and any(matrix.rebuild == "blocks" for matrix in matrices.values()):
            raise PlanError(
                f"the plans {', '.join(map(str, plans.values()))} do not cut the inner side alike, or are padded, and "
                'rebuild="blocks" needs one order for all; "loop" and "batch" do not.'
            )

    @classmethod
    def from_ffn(
        cls,
        module: nn.Module | FFN,
        experts: int,
        n: int = 5,
        bond: int | Sequence[int] | None = None,
        style: str = "mpobert",
        biases: str = "own",
        rebuild: str = "auto",
        keep_weight: bool = True,
    ) -> MPOExperts:
        """Every expert starts as the block itself, decomposed at full bonds, or at `bond` (a cap, or n-1 inner ones).

        n, style: which plan, as in `MPO.decompose`. biases: "own" or "shared". rebuild, keep_weight: see `MPOMatrix`.
        A block on the meta device gives experts on the meta device. MPOE section 3.3, Algorithm 1's initialisation.
        """
        ffn, count = _ffn(module), whole_number("experts", experts)
        matrices = {}
        for name, W in ffn.weights.items():
            bias = ffn.biases[name]
            own, where = None if bias is None else biases, (W.device, W.dtype)
            if W.is_meta:
                plan = make_plan(W.shape, n=n, style=style)
                bonds = _meta_bonds(plan, bond, None, None, "weight")
                matrices[name] = MPOMatrix(plan, bonds, count, own, rebuild, keep_weight, *where)
                continue
            mpo = MPO.decompose(W.detach(), n=n, bond=bond, style=style, keep_source=False)
            matrices[name] = MPOMatrix(mpo.plan, mpo.bonds, count, own, rebuild, keep_weight, *where)
            matrices[name].take(mpo)
            matrices[name].take_bias(bias)
        return cls(ffn, count, matrices)

    def _products(self, used: Sequence[int], tokens: int) -> Callable[[str, list[torch.Tensor]], list[torch.Tensor]]:
        if self._orders is None or not all(matrix.in_blocks(used, tokens) for matrix in self.matrices.values()):
            return super()._products(used, tokens)
        return lambda name, parts: self.matrices[name].blocked(self._orders[name], used, parts)

    @property
    def centres(self) -> dict[str, nn.Parameter]:
        """{matrix: its central tensor}."""
        return {name: matrix.central for name, matrix in self.matrices.items()}


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    """In which a linear layer multiplies x here."""
    kind = x.device.type
    autocast = kind != "meta" and torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if autocast else x.dtype
