"""A linear layer whose central tensor belongs to somebody else: MPOBERT shares one among all its layers.

The layer owns the auxiliary tensors of its W; the central one is handed to it in every call. So a shared tensor has
one owner, and nothing is aliased that saving, loading or copying could tear apart.
MPOBERT (Liu et al. 2023) section 3.2.2 and Figure 2; notebook 03, "Sharing".

Items: mpobert-eq1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from .layer_base import MPOLayer
from .mpo import MPO
from .plans import Plan


class SharedLinear(MPOLayer):
    """y = W x + b, with W (out, in) from own auxiliary tensors and a central tensor that is handed in.

    plan: factors of (out, in). bonds: d_0 .. d_n. mode, keep_weight: as in `mpolab.layers`. A1 .. A{n-1}: Parameters,
    the auxiliary tensors from left to right, (d_{k-1}, i_k, j_k, d_k) each; there is no bias and no central tensor
    among the parameters.
    """

    def __init__(
        self,
        plan: Plan,
        bonds: Sequence[int],
        mode: str = "auto",
        keep_weight: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(plan, bonds, mode, keep_weight, device, dtype)
        whole = self._modules.pop("cores")
        self.central_shape = plan.core_shape(plan.centre, list(bonds))  # (d_{c-1}, i_c, j_c, d_c)
        self._names = [f"A{number + 1}" for number in range(plan.n - 1)]
        for name, core in zip(self._names, (core for k, core in enumerate(whole) if k != plan.centre)):
            self.register_parameter(name, core)
        self._handed: tuple[torch.Tensor, ...] = ()  # in a tuple, where no module looks for parameters

    def forward(self, x: torch.Tensor, central: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x (..., in), central (d_{c-1}, i_c, j_c, d_c), bias (out,) -> (..., out)."""
        with self.handed(central):
            return self._multiply(x, bias)

    def handed(self, central: torch.Tensor) -> _Handing:
        """For as long as the block lasts, all that needs the whole chain (`weight`, `bonds`, `mpo()`) has it."""
        return _Handing(self, central)

    def _cores(self) -> tuple[torch.Tensor, ...]:
        if not self._handed:
            raise RuntimeError("a SharedLinear has no central tensor of its own: use `with layer.handed(central):`.")
        own, c = self.auxiliary, self.plan.centre
        return *own[:c], self._handed[0], *own[c:]

    def would_chain(self, x: torch.Tensor, central: torch.Tensor) -> bool:
        """Whether x (..., in) would be contracted with the cores one after the other, without any W."""
        with self.handed(central):
            return self._factorized(x)

    @property
    def central(self) -> torch.Tensor:
        return self._cores()[self.plan.centre]

    @property
    def auxiliary(self) -> list[nn.Parameter]:
        return [self._parameters[name] for name in self._names]

    @property
    def spread(self) -> list[float]:
        """The standard deviations that make each auxiliary tensor's columns (left of the centre) or rows (right of it)
        of unit length on average, as they are in the centre gauge."""
        plan, c = self.plan, self.plan.centre
        lengths = [core.shape[0 if k < c else 3] for k, core in enumerate(self.auxiliary)]
        sizes = [*plan.sizes[:c], *plan.sizes[c + 1 :]]
        return [1 / math.sqrt(size * length) for size, length in zip(sizes, lengths)]

    def take(self, mpo: MPO) -> None:
        """Copies the auxiliary tensors of an MPO of the same plan and bonds."""
        mine = [core for k, core in enumerate(mpo.cores) if k != self.plan.centre]
        with torch.no_grad():
            for parameter, core in zip(self.auxiliary, mine, strict=True):
                parameter.copy_(core)

    @torch.no_grad()
    def xavier(self, generator: torch.Generator | None = None) -> None:
        """Xavier's uniform on each core's matricisation (d_{k-1} i_k, j_k d_k)."""
        for core in self.auxiliary:
            before, i, j, after = core.shape
            limit = math.sqrt(6 / (before * i + j * after))
            core.uniform_(-limit, limit, generator=generator)

    def extra_repr(self) -> str:
        out_size, in_size = self.plan.shape
        return f"{in_size} -> {out_size}, {self.plan}, central tensor {self.central_shape} elsewhere"


class _Handing:
    """A context manager by hand: contextlib's takes longer than a small layer's product."""

    def __init__(self, layer: SharedLinear, central: torch.Tensor):
        self.layer, self.handed = layer, (central,)

    def __enter__(self) -> None:
        self.layer._handed = self.handed

    def __exit__(self, *_: object) -> None:
        self.layer._handed = ()
