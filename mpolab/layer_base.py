"""What all MPO layers share: cores as parameters, W from them, and when a rebuilt W may be used again.

A layer owns n cores (d_{k-1}, i_k, j_k, d_k); W is no parameter. `mpolab.layers` has the layers themselves and says
what the modes do. Notebook 02, "Lightweight fine-tuning".
"""

from __future__ import annotations

import bisect
import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import nn
from torch.nn.functional import linear as dense_linear

from . import cost
from .decomposition import chain, full_precision
from .errors import BondError, MatrixError, MatrixTypeError, unknown
from .mpo import MPO
from .plans import Plan
from .rebuild import FixedRow, contract, rebuild, rebuild_flops, recomputed_linear

MODES = ("reconstruct", "factorized", "auto")
FLOPS_PER_WRITE = 200  # to write one number of a chain's activations, there and back, takes the time of so many FLOPs
FLOPS_PER_REORDER = 700  # to put one entry of W and of its gradient in place
MOST_TOKENS = 1 << 20


# -- a rebuilt W, and for how long -----------------------------------------------------------------


class _Kept:
    """The W that an evaluated layer has rebuilt (one for each dtype asked for), for as long as its cores last.

    A core counts as changed when the Parameter, its memory, its version or its requires_grad has changed, or, on a
    CPU, its first number: writing through `core.data`, or with torch's fused optimizers, does not raise a version.
    Everything is dropped, too, in every forward pass for training and whenever the layer is switched between train and
    eval.
    """

    def __init__(self):
        self.drop()

    def __reduce__(self):  # a copy, or a pickle, starts without
        return _Kept, ()

    def drop(self) -> None:
        self._weights: dict[torch.dtype, torch.Tensor] = {}
        self._seen: list[tuple] = []  # of each core: itself, its version, address, and its first number, twice

    def get(self, cores: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor | None:
        if not self._weights:
            return None
        for core, (known, version, address, alias, first) in zip(cores, self._seen, strict=True):
            if core is not known or core._version != version or core.data_ptr() != address:
                self.drop()
                return None
            if first is not None and alias.item() != first:
                self.drop()
                return None
        return self._weights.get(dtype)

    def put(self, cores: Sequence[torch.Tensor], W: torch.Tensor) -> None:
        if not self._weights:
            for core in cores:
                # the alias keeps the memory, so that no other core can come to lie at the same address
                alias = core.detach().view(-1)[0] if core.is_contiguous() else core.detach().reshape(-1)[0]
                first = alias.item() if core.is_cpu else None
                self._seen.append((core, core._version, core.data_ptr(), alias, first))
        self._weights[W.dtype] = W


class _Scopes(threading.local):
    """The open `rebuild_once` of this thread: how many are nested, and the W's made in it."""

    def __init__(self):
        self.depth, self.weights = 0, {}


_scopes = _Scopes()


@contextlib.contextmanager
def rebuild_once() -> Iterator[None]:
    """Inside it a layer that keeps its W (`keep_weight`) rebuilds it once for training, however often it is called.

    For models that call one layer many times in a forward pass (ALBERT calls each twelve times): put it around the
    forward pass, and the optimizer's step outside. The gradients are added up on W and taken back to the cores once.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter(*_: object) -> None:
    if not torch.compiler.is_compiling():  # a compiled graph finds the repeated work by itself
        _scopes.depth += 1


def _leave(*_: object) -> None:
    if not torch.compiler.is_compiling():
        _scopes.depth = max(0, _scopes.depth - 1)
        if _scopes.depth == 0:
            _scopes.weights = {}


def rebuild_once_in(model: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
    """Puts `rebuild_once` around every forward pass of a model, by two hooks; returns their handles."""
    return [model.register_forward_pre_hook(_enter), model.register_forward_hook(_leave, always_call=True)]


# -- the layer -------------------------------------------------------------------------------------


class MPOLayer(nn.Module):
    """What the layers share: a plan, cores, and W from them."""

    def __init__(self, plan: Plan, bonds: Sequence[int], mode: str, keep_weight: bool, device, dtype):
        super().__init__()
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        bonds = checked_bonds(plan, bonds)
        self.plan, self.mode, self.keep_weight = plan, mode, bool(keep_weight)
        self.cores = nn.ParameterList(
            nn.Parameter(torch.empty(plan.core_shape(k, bonds), device=device, dtype=dtype)) for k in range(plan.n)
        )
        self._spectra: list[torch.Tensor] | None = None
        self._kept = _Kept()
        self._turns = tuple(bonds[:-1]), _turning_points(plan, tuple(bonds[:-1]))

    # -- what it is -------------------------------------------------------------------------------

    @property
    def bonds(self) -> list[int]:
        """d_0 .. d_n, n+1 integers with the outer ones, which are 1."""
        return [core.shape[0] for core in self._cores()] + [1]

    def _cores(self) -> tuple[torch.Tensor, ...]:
        """All cores at once, many times faster than through the ParameterList."""
        return tuple(self.cores._parameters.values())

    @property
    def central(self) -> nn.Parameter:
        """The middle core, which holds most of the numbers; frozen in lightweight fine-tuning."""
        return self.cores[self.plan.centre]

    @property
    def auxiliary(self) -> list[nn.Parameter]:
        """All cores but the central one, from left to right."""
        return [core for k, core in enumerate(self.cores) if k != self.plan.centre]

    @property
    def parameters_count(self) -> int:
        """Numbers in all cores (the bias is not counted)."""
        return sum(core.numel() for core in self._cores())

    @property
    def ratio(self) -> float:
        """Compression ratio, MPOP eq. 5: numbers in the cores over entries of the (padded) matrix."""
        return self.plan.ratio(self.bonds)

    @property
    def spectra(self) -> list[torch.Tensor]:
        """n-1 float64 vectors: all singular values of the unfoldings of the matrix that was decomposed.

        They stay as they were when the cores are trained or cut (as `MPO.spectra` does), and are not in the
        state_dict: a layer that was loaded computes them from its cores when first asked.
        """
        if self._spectra is None:
            self._spectra = [spectrum.cpu() for spectrum in self.mpo().spectra]
        return self._spectra

    def mpo(self) -> MPO:
        """The cores as they are now, as an MPO (which cuts, bounds and measures). Rebuilds and decomposes W."""
        return MPO.from_cores([core.detach() for core in self._cores()], shape=self.plan.shape)

    def set_cores(self, cores: Sequence[torch.Tensor], spectra: Sequence[torch.Tensor] | None = None) -> None:
        """Puts other cores of the same plan, with any bonds, in place of these, e.g. after a cut.

        The Parameters stay the same objects (an optimizer that holds them goes on holding them) and so do their
        requires_grad, dtype and device; values are copied, gradients dropped. spectra: those of another matrix, if it
        is one; without them the ones at hand stay.

        Raises BondError where the cores do not fit the plan or do not join.
        """
        cores = list(cores)
        shapes = [tuple(core.shape) for core in cores]
        bonds = [*(shape[0] for shape in shapes), 1]
        if len(cores) != self.plan.n or shapes != [self.plan.core_shape(k, bonds) for k in range(len(cores))]:
            raise BondError(
                f"cores of shapes {shapes} do not fit the plan {self.plan}: core k is (d_k-1, i_k, j_k, d_k) with "
                f"equal bonds where two meet, e.g. {[self.plan.core_shape(k, self.bonds) for k in range(self.plan.n)]}."
            )
        checked_bonds(self.plan, bonds)
        self._kept.drop()
        for parameter, core in zip(self._cores(), cores):
            parameter.data = core.detach().to(parameter.device, parameter.dtype, copy=True).contiguous()
            parameter.grad = None
        if spectra is not None:
            self._spectra = [spectrum.detach().double().cpu() for spectrum in spectra]

    def _draw_cores(self, variance: float, generator: torch.Generator | None) -> None:
        """Random cores, normal, in the centre gauge's proportions: the central one carries W's norm.

        variance: of the entries of W.
        """
        plan, bonds, c = self.plan, self.bonds, self.plan.centre
        # var W = product of the inner bonds and of the cores' variances; outer cores: columns (left) and rows (right)
        # of unit length on average
        variances = [1 / (size * bonds[k if k < c else k + 1]) for k, size in enumerate(plan.sizes)]
        variances[c] = variance / math.prod(v for k, v in enumerate(variances) if k != c) / math.prod(bonds)
        with torch.no_grad():
            for core, squared in zip(self._cores(), variances):
                core.normal_(0, math.sqrt(squared), generator=generator)
        self._kept.drop()

    def _take(self, mpo: MPO, requires_grad: bool = True, dtype: torch.dtype | None = None) -> None:
        """The cores of a decomposition as own Parameters, and its spectra."""
        self.cores = nn.ParameterList(
            nn.Parameter(core.detach().to(dtype or core.dtype, copy=True).contiguous(), requires_grad)
            for core in mpo.cores
        )
        self._spectra = [spectrum.cpu() for spectrum in mpo.spectra]

    # -- W ----------------------------------------------------------------------------------------

    @property
    def weight(self) -> torch.Tensor:
        """W (out, in), differentiable where gradients are on; without gradients in eval mode it is the kept one."""
        return self._weight(self._cores()[0].dtype)

    def _weight(self, dtype: torch.dtype) -> torch.Tensor:
        if torch.compiler.is_compiling():
            if torch.is_grad_enabled():
                return contract(self.plan, self._cores(), dtype, self._fixed())
            # a graph would rebuild W in every call, so it asks for the kept one instead (as a decorator, `disable`
            # would make importing this module twice as slow)
            return torch.compiler.disable(self._weight_now)(dtype)
        return self._weight_now(dtype)

    def _weight_now(self, dtype: torch.dtype) -> torch.Tensor:
        cores = self._cores()
        differentiable = torch.is_grad_enabled() and any(core.requires_grad for core in cores)
        if differentiable:
            self._kept.drop()  # training: what was kept for evaluation will soon be wrong
        elif self._keeps(cores):
            W = self._kept.get(cores, dtype)
            if W is None:
                W = self._make(cores, False, dtype)
                self._kept.put(cores, W)
            return W
        if not _scopes.depth or not self.keep_weight:
            return self._make(cores, differentiable, dtype)
        key = self._kept, differentiable, dtype
        if key not in _scopes.weights:
            _scopes.weights[key] = self._make(cores, differentiable, dtype)
        return _scopes.weights[key]

    def _keeps(self, cores: Sequence[torch.Tensor]) -> bool:
        """Whether a W without gradients outlives the call."""
        if not all(isinstance(core, nn.Parameter) and not core.is_inference() for core in cores):
            return False  # stand-ins (torch.func), or tensors that do not count their versions
        return not self.training or (self.keep_weight and not any(core.requires_grad for core in cores))

    def _make(self, cores: Sequence[torch.Tensor], differentiable: bool, dtype: torch.dtype) -> torch.Tensor:
        if differentiable:
            return rebuild(self.plan, cores, dtype, self._fixed())
        with torch.inference_mode(False), torch.no_grad():  # kept beyond inference mode
            return contract(self.plan, cores, dtype, self._fixed())

    def _fixed(self) -> FixedRow | None:
        """A row of W that does not come from the cores."""
        return None

    # -- y = W x + b ------------------------------------------------------------------------------

    def _multiply(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if x.shape[-1] != self.plan.shape[1]:
            raise MatrixError(
                f"an input of shape {tuple(x.shape)} was given to a layer that takes {self.plan.shape[1]} features in "
                "the last dimension."
            )
        dtype = self._cores()[0].dtype
        device = x.device.type
        if device != "meta" and torch.is_autocast_enabled(device) and dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
            x = x.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        if x.dtype != dtype:
            raise MatrixTypeError(f"an input of dtype {x.dtype} was given to a layer of dtype {dtype}; convert either.")
        if self._factorized(x):
            return self._chained(x, bias)
        if torch.is_grad_enabled() and not self.keep_weight and not torch.compiler.is_compiling():
            if self.training or any(core.requires_grad for core in self._cores()):
                self._kept.drop()
                return recomputed_linear(self.plan, self._cores(), x, bias, self._fixed())
        return dense_linear(x, self._weight(dtype), bias)

    def _factorized(self, x: torch.Tensor) -> bool:
        tokens = x.numel() // x.shape[-1] if x.shape[-1] else 0
        if self.mode == "reconstruct" or tokens == 0:
            return False
        if self.mode == "factorized":
            return True
        cores = self._cores()
        bonds = tuple(core.shape[0] for core in cores)
        if bonds != self._turns[0]:
            self._turns = bonds, _turning_points(self.plan, bonds)
        if torch.is_grad_enabled() and any(core.requires_grad for core in cores):
            return tokens <= self._turns[1]["training"]
        return tokens <= self._turns[1]["rebuilt" if self.training else "kept"]

    def _chained(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if torch.is_grad_enabled():
            self._kept.drop()  # this may be a step of training
        y = _chain(self.plan, [core.to(x.dtype) for core in self._cores()], x)
        if self._fixed() is not None:
            number, row = self._fixed()
            y[..., number] = x @ row.to(x.dtype)
        return y if bias is None else y + bias

    # -- housekeeping -----------------------------------------------------------------------------

    def train(self, mode: bool = True):
        self._kept.drop()
        return super().train(mode)

    def _apply(self, fn, recurse=True):
        self._kept.drop()
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        bonds = "-".join(map(str, self.bonds))
        return f"{self.plan}, bonds {bonds}, ratio {self.ratio:.3g}, mode={self.mode}"


@lru_cache(maxsize=4096)
def _turning_points(plan: Plan, bonds: tuple[int, ...]) -> dict[str, int]:
    """The most tokens for which the chain is chosen, for "auto"; bonds d_0 .. d_{n-1}.

    Looked up instead of asking the rule each time: it takes longer to think than a small layer to compute.
    """
    bonds = (*bonds, 1)
    rules = {
        "kept": lambda tokens: cost.choose(plan, bonds, tokens, cached=True),
        "rebuilt": lambda tokens: cost.choose(plan, bonds, tokens, cached=False),
        "training": lambda tokens: choose_for_training(plan, bonds, tokens),
    }
    every = range(1, MOST_TOKENS + 1)
    return {name: bisect.bisect(every, False, key=lambda t: rule(t) != "factorized") for name, rule in rules.items()}


def choose_for_training(plan: Plan, bonds: Sequence[int], tokens: int) -> str:
    """`cost.choose` for a forward and a backward pass: "reconstruct" or "factorized", whichever should take less time.

    A chain's backward pass takes twice its FLOPs again and writes more than it; a rebuild's takes 2.5 times its FLOPs
    and puts W's gradient in order as well. The numbers were fitted to steps of 768x3072 and 3072x768 at ratios from
    0.05 to 1 on an x86-64 core, as those of `cost` were.
    """
    order = cost.best_order(plan, bonds)
    rows, cols, met = plan.rows, plan.cols, bonds
    if order == "right_to_left":
        rows, cols, met = rows[::-1], cols[::-1], met[::-1]
    written = sum(math.prod(rows[: k + 1]) * math.prod(cols[k:]) * met[k + 1] for k in range(plan.n))  # per token
    chained = 3 * cost.chained_flops(plan, bonds, tokens, order) + FLOPS_PER_WRITE * tokens * written
    rebuilt = 3.5 * rebuild_flops(plan, bonds) + FLOPS_PER_REORDER * math.prod(plan.padded)
    return "factorized" if chained < rebuilt + 3 * cost.dense_flops(plan, tokens) else "reconstruct"


@full_precision
def _chain(plan: Plan, cores: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """W x by contracting the cores with x (..., J), a slice of the tokens at a time where that saves memory."""
    bonds = [core.shape[0] for core in cores] + [1]
    order = cost.best_order(plan, bonds)
    step = cost._chunk(plan, bonds, order, x.element_size(), cost.CHUNK_BYTES)
    chunks = [chain(cores, plan, part, order == "right_to_left") for part in x.reshape(-1, x.shape[-1]).split(step)]
    y = chunks[0] if len(chunks) == 1 else torch.cat(chunks)
    return y.reshape(*x.shape[:-1], plan.shape[0])


def checked_bonds(plan: Plan, bonds: Sequence[int]) -> list[int]:
    """n+1 bonds, or the error that says what is wrong with them."""
    bonds = [int(d) for d in bonds]
    cost.rebuild_flops(plan, bonds)  # checks them
    return bonds
