"""The matrices that panels and notebooks look at, each decomposed once per setting and kept.

A slider never decomposes because it asks here: the first request for (matrix, n, method) decomposes, all later
ones are a look-up. Not interactive itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .decomposition import norm
from .errors import MatrixError, MatrixTypeError, unknown
from .halves import bond_spectra
from .models import Pretrained, load_pretrained, matrices
from .mpo import MPO
from .plans import make_plan

KEPT = 128  # decompositions kept at a time; a full one is about as large as its matrix, or twice that


class Workbench:
    """Named matrices (out, in), their MPOs, and random matrices of the same shape to compare with."""

    def __init__(self, weights: Mapping[str, torch.Tensor | np.ndarray], about: str = "own matrices"):
        if not weights:
            raise MatrixError("no matrix was given; pass a tensor, a dictionary of them, or a model.")
        self._weights = {name: _matrix(name, weight) for name, weight in weights.items()}
        self.about = about
        self._kept: dict[Hashable, Any] = {}
        self._mpos = lru_cache(maxsize=KEPT)(self._decomposed)

    @classmethod
    def of(cls, source: object = None) -> Workbench:
        """From whatever is at hand: a matrix, a dictionary of them, a model, a model's name; by default the real model.

        A model is looked up as `load_pretrained` does (MPOLAB_MODEL, the hub's cache or hub, the offline package).
        """
        if isinstance(source, Workbench):
            return source
        if source is None or isinstance(source, str | os.PathLike):
            return _of_name(source, os.environ.get("MPOLAB_MODEL"))
        if isinstance(source, torch.Tensor | np.ndarray):
            return cls({"matrix": source})
        if isinstance(source, Mapping):
            return cls({str(name): getattr(weight, "weight", weight) for name, weight in source.items()})
        if not isinstance(source, torch.nn.Module | Pretrained):
            raise MatrixTypeError(
                f"expected a matrix, a dictionary of matrices, a model or a model's name, got {type(source).__name__}."
            )
        found = matrices(source)
        about = source.describe() if isinstance(source, Pretrained) else type(source).__name__
        return cls({matrix.label or "weight": matrix.weight for matrix in found.values()}, about)

    @property
    def names(self) -> list[str]:
        return list(self._weights)

    def first(self, *wanted: str) -> str:
        """The first name that contains one of the wanted words, else the first of all."""
        for word in wanted:
            for name in self._weights:
                if word in name:
                    return name
        return self.names[0]

    def matrix(self, name: str) -> torch.Tensor:
        """(out, in) by name; UnknownNameError lists the names there are."""
        if name not in self._weights:
            raise unknown("matrix", name, self._weights)
        return self._weights[name]

    def keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """`make()` the first time, its result ever after: for what panels compute once per setting."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def mpo(self, name: str, n: int = 5, method: str = "centre") -> MPO:
        """The matrix at full bonds."""
        return self._mpos(name, n, method)

    def _decomposed(self, name: str, n: int, method: str) -> MPO:
        return MPO.decompose(self.matrix(name), n=n, method=method)

    def random_spectra(self, name: str, n: int = 5) -> list[torch.Tensor]:
        """Singular values at all bonds of a Gaussian matrix with this one's shape and norm (seed 0)."""
        return self.keep(("random", name, n), lambda: self._random(name, n))

    def _random(self, name: str, n: int) -> list[torch.Tensor]:
        shape = tuple(self.matrix(name).shape)
        gaussian = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        scale = norm(self.matrix(name).float()) / (norm(gaussian) or 1.0)
        return [s * scale for s in bond_spectra(gaussian, make_plan(shape, n))]


def _matrix(name: str, weight: object) -> torch.Tensor:
    """(out, in), detached; or the error that names the matrix."""
    if not isinstance(weight, torch.Tensor | np.ndarray):
        raise MatrixTypeError(f"{name}: expected a tensor or a NumPy array (out, in), got {type(weight).__name__}.")
    weight = torch.as_tensor(weight).detach()
    if weight.dim() != 2:
        raise MatrixError(f"{name}: expected a matrix (out, in), got shape {tuple(weight.shape)}.")
    return weight


@lru_cache(maxsize=2)
def _of_name(name: str | os.PathLike | None, setting: str | None) -> Workbench:
    """`setting` is what MPOLAB_MODEL says; it only tells cached answers apart."""
    return Workbench.of(load_pretrained(name, tokenizer=False))
