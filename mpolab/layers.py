"""Layers whose weight is an MPO: drop-in replacements for `nn.Linear`, `nn.Embedding` and GPT-2's `Conv1D`.

A layer owns n cores (d_{k-1}, i_k, j_k, d_k), the parameters; W is never stored. Three modes say how y = W x is found:

    "reconstruct"  W is rebuilt from the cores, then one matrix product.
    "factorized"   the cores are contracted with the activations one after another; W never exists.
    "auto"         whichever `mpolab.cost.choose` expects to be faster for the number of tokens at hand.

In eval mode (no gradients wanted) W is rebuilt once and dropped as soon as a core changes (whoever writes through
`core.data`, which torch does not count, calls `layer.train(layer.training)` afterwards). In training it is rebuilt
in every call; `keep_weight=True` keeps that one W for the backward pass, `keep_weight=False` keeps nothing and rebuilds
it once more, for some 6 % more time at 4,096 tokens. `rebuild_once` is for models that call one layer many times.

W is contracted in at least float32 whatever autocast or the cores' dtype say, then rounded once. MPOP (Liu et al. 2021)
section 4.1; taught in notebook 02, "Lightweight fine-tuning" and "Compression".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import embedding as dense_lookup

from .adapters import LowRankAdapter
from .errors import BondError, MatrixTypeError
from .layer_base import MODES, MPOLayer, rebuild_once, rebuild_once_in
from .lookup import rows_of
from .mpo import MPO, _requested_bonds
from .plans import Plan, make_plan
from .rebuild import FixedRow

__all__ = [
    "MODES",
    "LowRankAdapter",
    "MPOEmbedding",
    "MPOLayer",
    "MPOLinear",
    "MPOTiedHead",
    "rebuild_once",
    "rebuild_once_in",
]


def _meta_bonds(plan: Plan, bond, ratio, error, what: str) -> list[int]:
    """The bonds that a weight without values can be given: full ones, or capped ones."""
    if ratio is not None or error is not None:
        asked = f"ratio={ratio}" if ratio is not None else f"error={error}"
        raise BondError(
            f"{asked} picks bonds by the singular values, and a {what} on the meta device has none; give bond= (a cap "
            f"or {plan.n - 1} inner bonds, at most {list(plan.full_bonds[1:-1])}), or load the weights first."
        )
    asked = plan.full_bonds if bond is None else _requested_bonds(bond, plan)
    return [min(d, full) for d, full in zip(asked, plan.full_bonds)]


def _dense_weight(W: torch.Tensor, like: nn.Module) -> nn.Parameter:
    requires_grad = any(core.requires_grad for core in like.cores)
    return nn.Parameter(W.detach().clone(), requires_grad)


# -- linear ----------------------------------------------------------------------------------------


class MPOLinear(MPOLayer):
    """y = W x + b with W (out, in) as an MPO; takes the place of `nn.Linear` and of transformers' `Conv1D`.

    plan: factors of (out, in). bonds: d_0 .. d_n. mode, keep_weight: see the module's first lines. transposed: made
    from a Conv1D, which stores (in, out) and computes x W; only `to_linear` asks. Cores made here are random, W with
    the variance of nn.Linear's; `from_linear` and `from_mpo` take given ones.

    Raises BondError for bonds that do not fit, UnknownNameError for another mode.
    """

    def __init__(
        self,
        plan: Plan,
        bonds: Sequence[int],
        bias: bool = True,
        mode: str = "auto",
        keep_weight: bool = True,
        transposed: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(plan, bonds, mode, keep_weight, device, dtype)
        self.transposed = bool(transposed)
        self.bias = nn.Parameter(torch.empty(plan.shape[0], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    @property
    def in_features(self) -> int:
        return self.plan.shape[1]

    @property
    def out_features(self) -> int:
        return self.plan.shape[0]

    @classmethod
    def from_linear(
        cls,
        linear: nn.Module,
        rows: Sequence[int] | None = None,
        cols: Sequence[int] | None = None,
        n: int = 5,
        bond: int | Sequence[int] | None = None,
        ratio: float | None = None,
        error: float | None = None,
        method: str = "centre",
        style: str = "mpobert",
        mode: str = "auto",
        keep_weight: bool = True,
    ) -> MPOLinear:
        """Decomposes a linear layer's weight (bias, dtype, device, requires_grad and train/eval are kept).

        linear: `nn.Linear`, or transformers' `Conv1D`, whose (in, out) weight is decomposed as (out, in). rows .. style
        as in `MPO.decompose`. A layer on the meta device gives cores on the meta device, at full bonds or `bond`.

        Raises MatrixTypeError for other modules, and for subclasses with a forward of their own.
        """
        transposed = _is_conv1d(linear)
        if not transposed and (not isinstance(linear, nn.Linear) or type(linear).forward is not nn.Linear.forward):
            raise MatrixTypeError(
                f"expected an nn.Linear or transformers' Conv1D, got {type(linear).__name__}; a layer that computes "
                "something else cannot be replaced by an MPOLinear."
            )
        weight, bias = linear.weight.T if transposed else linear.weight, linear.bias
        if weight.is_meta:
            plan = make_plan(weight.shape, n=n, rows=rows, cols=cols, style=style)
            bonds = _meta_bonds(plan, bond, ratio, error, "weight")
            layer = cls(plan, bonds, bias is not None, mode, keep_weight, transposed, "meta", weight.dtype)
            for core in layer.cores:
                core.requires_grad_(weight.requires_grad)
        else:
            mpo = MPO.decompose(weight.detach(), rows, cols, n, bond, ratio, error, method, style, keep_source=False)
            layer = cls.from_mpo(mpo, bias, mode, keep_weight, transposed, weight.dtype)
            for core in layer.cores:
                core.requires_grad_(weight.requires_grad)
        if bias is not None:
            layer.bias.requires_grad_(bias.requires_grad)
        return layer.train(linear.training)

    @classmethod
    def from_mpo(
        cls,
        mpo: MPO,
        bias: torch.Tensor | None,
        mode: str = "auto",
        keep_weight: bool = True,
        transposed: bool = False,
        dtype: torch.dtype | None = None,
    ) -> MPOLinear:
        """A layer with the cores of an MPO and a copy of a bias (out,), if there is one; dtype: of both."""
        layer = cls(mpo.plan, mpo.bonds, bias is not None, mode, keep_weight, transposed, "meta")
        layer._take(mpo, dtype=dtype)
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach().to(layer.cores[0], copy=True))
        return layer

    def to_linear(self) -> nn.Module:
        """A dense layer with the same W and bias: nn.Linear, or Conv1D where it came from one."""
        with torch.no_grad():
            W = self.weight
        dense = _conv1d(self.out_features, self.in_features) if self.transposed else None
        if dense is None:
            dense = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        dense.weight = _dense_weight(W.T.contiguous() if self.transposed else W, self)
        if self.bias is not None:
            dense.bias = nn.Parameter(self.bias.detach().clone(), self.bias.requires_grad)
        elif self.transposed:  # a Conv1D has always one
            dense.bias = nn.Parameter(W.new_zeros(self.out_features), requires_grad=False)
        return dense.train(self.training)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Random cores, and a bias as nn.Linear's."""
        self._draw_cores(1 / (3 * self.in_features), generator)  # nn.Linear's: uniform within 1 / sqrt(in_features)
        if self.bias is not None:
            limit = 1 / math.sqrt(self.in_features)
            with torch.no_grad():
                self.bias.uniform_(-limit, limit, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., in_features) -> (..., out_features)."""
        return self._multiply(x, self.bias)

    def extra_repr(self) -> str:
        kind = ", from Conv1D" if self.transposed else ""
        bias = self.bias is not None
        return f"{self.in_features} -> {self.out_features}, {super().extra_repr()}, bias={bias}{kind}"


def _is_conv1d(module: nn.Module) -> bool:
    """transformers' Conv1D, recognised without importing transformers."""
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.") and hasattr(module, "nf")


def _conv1d(out_features: int, in_features: int) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    with torch.device("meta"):
        return Conv1D(out_features, in_features)


# -- embedding -------------------------------------------------------------------------------------


class MPOEmbedding(MPOLayer):
    """A table of embeddings W (num_embeddings, embedding_dim) as an MPO; takes the place of `nn.Embedding`.

    A look-up contracts only the rows asked for, each once, in pieces that need little memory beside the output; the
    table is made for `weight` and for a tied head only. The vocabulary may be padded (30522 to 30720 rows).

    padding_idx: as in nn.Embedding its row has no gradient and stays what it was. All rows of an MPO share the cores,
    so that row is kept apart, as the buffer `padding_row` (embedding_dim,), and `weight` has it in its place.

    Raises BondError, UnknownNameError; IndexError for a padding_idx out of range.
    """

    def __init__(
        self,
        plan: Plan,
        bonds: Sequence[int],
        padding_idx: int | None = None,
        mode: str = "auto",
        keep_weight: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(plan, bonds, mode, keep_weight, device, dtype)
        size = plan.shape[0]
        if padding_idx is not None and not -size <= padding_idx < size:
            raise IndexError(f"padding_idx = {padding_idx} is out of range for {size} embeddings.")
        self.padding_idx = None if padding_idx is None else int(padding_idx) % size
        row = None if padding_idx is None else torch.zeros(plan.shape[1], device=device, dtype=dtype)
        self.register_buffer("padding_row", row)
        self.reset_parameters()

    @property
    def num_embeddings(self) -> int:
        return self.plan.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.plan.shape[1]

    @classmethod
    def from_embedding(
        cls,
        embedding: nn.Embedding,
        rows: Sequence[int] | None = None,
        cols: Sequence[int] | None = None,
        n: int = 5,
        bond: int | Sequence[int] | None = None,
        ratio: float | None = None,
        error: float | None = None,
        method: str = "centre",
        style: str = "mpobert",
        mode: str = "auto",
        keep_weight: bool = True,
    ) -> MPOEmbedding:
        """Decomposes an embedding's table; arguments and what is kept as in `MPOLinear.from_linear`.

        Raises MatrixTypeError for other modules, subclasses with a forward of their own, and tables with max_norm,
        scale_grad_by_freq or sparse, which rewrite or weight single rows and cannot be carried over.
        """
        if not isinstance(embedding, nn.Embedding) or type(embedding).forward is not nn.Embedding.forward:
            raise MatrixTypeError(
                f"expected an nn.Embedding, got {type(embedding).__name__}; one that computes something else cannot be "
                "replaced by an MPOEmbedding."
            )
        if embedding.max_norm is not None or embedding.scale_grad_by_freq or embedding.sparse:
            raise MatrixTypeError(
                "an embedding with max_norm, scale_grad_by_freq or sparse=True treats its rows one by one, and the "
                "rows of an MPO share their cores; make one without these options first."
            )
        weight, padding_idx = embedding.weight, embedding.padding_idx
        if weight.is_meta:
            plan = make_plan(weight.shape, n=n, rows=rows, cols=cols, style=style)
            bonds = _meta_bonds(plan, bond, ratio, error, "table")
            layer = cls(plan, bonds, padding_idx, mode, keep_weight, "meta", weight.dtype)
        else:
            mpo = MPO.decompose(weight.detach(), rows, cols, n, bond, ratio, error, method, style, keep_source=False)
            row = None if padding_idx is None else weight[padding_idx]
            layer = cls.from_mpo(mpo, padding_idx, row, mode, keep_weight, weight.dtype)
        for core in layer.cores:
            core.requires_grad_(weight.requires_grad)
        return layer.train(embedding.training)

    @classmethod
    def from_mpo(
        cls,
        mpo: MPO,
        padding_idx: int | None = None,
        padding_row: torch.Tensor | None = None,
        mode: str = "auto",
        keep_weight: bool = True,
        dtype: torch.dtype | None = None,
    ) -> MPOEmbedding:
        """An embedding with the cores of an MPO. padding_row (embedding_dim,): by default the MPO's own row."""
        layer = cls(mpo.plan, mpo.bonds, padding_idx, mode, keep_weight, "meta")
        layer._take(mpo, dtype=dtype)
        if padding_idx is not None:
            if padding_row is None:
                number = torch.tensor([layer.padding_idx], device=layer.cores[0].device)
                with torch.no_grad():
                    padding_row = rows_of(layer.plan, list(layer.cores), number)[0]
            layer.padding_row = padding_row.detach().to(layer.cores[0], copy=True)
        return layer

    def to_embedding(self) -> nn.Embedding:
        """A dense embedding with the same table."""
        with torch.no_grad():
            W = self.weight
        dense = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, device="meta")
        dense.weight = _dense_weight(W, self)
        return dense.train(self.training)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Random cores, and a padding row of zeros, as nn.Embedding's."""
        self._draw_cores(1.0, generator)  # nn.Embedding's
        if self.padding_row is not None:
            self.padding_row.zero_()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids (...), int32 or int64 -> (..., embedding_dim). Raises IndexError for an id out of range."""
        if ids.dtype not in (torch.int64, torch.int32):
            raise MatrixTypeError(f"ids of dtype {ids.dtype} were given; expected torch.int64 or torch.int32.")
        if self.central.is_meta:
            return dense_lookup(ids, self.weight, self.padding_idx)
        if torch.compiler.is_compiling():  # which rows there are depends on the ids, so no graph can hold it
            return torch.compiler.disable(self._lookup)(ids)
        return self._lookup(ids)

    def _lookup(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel():
            low, high = (int(extreme) for extreme in torch.aminmax(ids))
            if low < 0 or high >= self.num_embeddings:
                raise IndexError(
                    f"id {low if low < 0 else high} is out of range for an embedding of {self.num_embeddings} rows "
                    f"(0 to {self.num_embeddings - 1})."
                )
        if torch.is_grad_enabled():
            self._kept.drop()  # this may be a step of training
        return rows_of(self.plan, list(self.cores), ids.long(), self.padding_idx, self.padding_row)

    def _fixed(self) -> FixedRow | None:
        return None if self.padding_idx is None else (self.padding_idx, self.padding_row)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings} x {self.embedding_dim}, {super().extra_repr()}{padding}"


# -- tied head -------------------------------------------------------------------------------------


class MPOTiedHead(nn.Module):
    """A linear layer hidden -> vocabulary whose weight is an MPOEmbedding's, as in models with tied embeddings.

    The cores have one owner, the embedding; this holds a reference that is no submodule, so nothing is stored or
    counted twice and nothing un-ties on saving, loading or copying the model. bias: True (zeros), False, or a tensor
    (vocabulary,): a Parameter is shared as it is.
    """

    def __init__(self, embedding: MPOEmbedding, bias: bool | torch.Tensor | None = False):
        super().__init__()
        self._owner = (embedding,)  # in a tuple, where nn.Module does not see it
        if isinstance(bias, torch.Tensor):
            self.bias = bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias.detach().clone())
        else:
            central = embedding.central
            zeros = torch.zeros(embedding.num_embeddings, device=central.device, dtype=central.dtype) if bias else None
            self.bias = None if zeros is None else nn.Parameter(zeros)

    @property
    def embedding(self) -> MPOEmbedding:
        """The owner of the cores."""
        return self._owner[0]

    @property
    def in_features(self) -> int:
        return self.embedding.embedding_dim

    @property
    def out_features(self) -> int:
        return self.embedding.num_embeddings

    @property
    def weight(self) -> torch.Tensor:
        """W (vocabulary, hidden), the embedding's."""
        return self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., hidden) -> logits (..., vocabulary)."""
        return self.embedding._multiply(x, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, tied, bias={self.bias is not None}"
