"""What the tests of the mathematics share: one thread, a repeatable hypothesis profile, and oracles.

The oracles know nothing of `mpolab`: indices are worked out digit by digit, and every decomposition is a dense SVD
in NumPy, float64.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on two busy cores are many times slower

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "mpolab",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("mpolab")
torch.set_num_threads(1)


def as_numpy(matrix) -> np.ndarray:
    if isinstance(matrix, torch.Tensor):
        matrix = matrix.detach().double().cpu().numpy()
    return np.asarray(matrix, dtype=np.float64)


def digits(size: int, factors: Sequence[int]) -> list[np.ndarray]:
    """Digits of 0 .. size-1 in the mixed radix `factors`, the first factor the slowest."""
    rest, found = np.arange(size), []
    for factor in reversed(factors):
        found.append(rest % factor)
        rest = rest // factor
    return found[::-1]


def unfolding_index(shape, rows, cols, k) -> tuple[np.ndarray, np.ndarray]:
    """Where entry (i, j) of a matrix sits in unfolding k: row and column numbers, each (I, J)."""
    r, c = digits(shape[0], rows), digits(shape[1], cols)
    numbers = []
    for legs in (range(k), range(k, len(rows))):
        number = np.zeros(shape, dtype=np.int64)
        for m in legs:
            number = (number * rows[m] + r[m][:, None]) * cols[m] + c[m][None, :]
        numbers.append(number)
    return numbers[0], numbers[1]


def unfolding(matrix, rows, cols, k) -> np.ndarray:
    """M[i_1 j_1 .. i_k j_k, i_{k+1} j_{k+1} .. i_n j_n], zero where the plan pads."""
    matrix = as_numpy(matrix)
    sizes = [i * j for i, j in zip(rows, cols)]
    out = np.zeros((math.prod(sizes[:k]), math.prod(sizes[k:])))
    out[unfolding_index(matrix.shape, rows, cols, k)] = matrix
    return out


def singular_values(matrix, rows, cols) -> list[np.ndarray]:
    """Of all n-1 unfoldings, descending."""
    return [np.linalg.svd(unfolding(matrix, rows, cols, k), compute_uv=False) for k in range(1, len(rows))]


def cut(matrix, rows, cols, inner: Sequence[int]) -> np.ndarray:
    """The matrix with its Schmidt bases cut: P_1 P_2 ... P_{n-1} M with P_k the projector on the leading left singular
    vectors of unfolding k of M itself (the last applied first). Where `inner` names all of a bond, P_k is 1.
    """
    matrix = as_numpy(matrix)
    n = len(rows)
    padded = np.zeros((math.prod(rows), math.prod(cols)))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    current = padded
    for k in range(n - 1, 0, -1):
        whole = unfolding(padded, rows, cols, k)
        if inner[k - 1] >= min(whole.shape):
            continue
        basis = np.linalg.svd(whole, full_matrices=False)[0][:, : inner[k - 1]]
        projected = basis @ (basis.T @ unfolding(current, rows, cols, k))
        current = projected[unfolding_index(padded.shape, rows, cols, k)]
    return current[: matrix.shape[0], : matrix.shape[1]]


def relative_error(approximation, matrix) -> float:
    matrix, approximation = as_numpy(matrix), as_numpy(approximation)
    scale = np.abs(matrix).max() or 1.0
    norm = np.linalg.norm(matrix / scale)
    return float(np.linalg.norm(approximation / scale - matrix / scale) / (norm or 1.0))


def bound(values: Sequence[np.ndarray], inner: Sequence[int]) -> float:
    """Root of all discarded squares over the norm, from singular values."""
    squares = sum(float((s[d:] ** 2).sum()) for s, d in zip(values, inner))
    return math.sqrt(squares / float((values[0] ** 2).sum()))


def product(cores) -> np.ndarray:
    """Cores (d_{k-1}, i_k, j_k, d_k) -> the padded matrix, one einsum per core."""
    chain = np.ones((1, 1, 1))  # (rows so far, columns so far, bond)
    for core in cores:
        core = as_numpy(core)
        chain = np.einsum("IJd,dije->IiJje", chain, core)
        chain = chain.reshape(chain.shape[0] * chain.shape[1], chain.shape[2] * chain.shape[3], -1)
    return chain[:, :, 0]


def stored(rows, cols, bonds) -> int:
    return sum(bonds[k] * rows[k] * cols[k] * bonds[k + 1] for k in range(len(rows)))


def kronecker(n: int, dtype=torch.float64, seed: int = 0, sizes=None):
    """A product of n small factors with its rows and columns."""
    g = torch.Generator().manual_seed(seed)
    sizes = sizes or [(2 + k % 2, 3 - k % 2) for k in range(n)]
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for height, width in sizes:
        matrix = torch.kron(matrix, torch.randn(height, width, dtype=torch.float64, generator=g))
    return matrix.to(dtype), tuple(s[0] for s in sizes), tuple(s[1] for s in sizes)


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    """Independent answers: see the functions of this file."""
    return SimpleNamespace(
        unfolding=unfolding,
        singular_values=singular_values,
        cut=cut,
        relative_error=relative_error,
        bound=bound,
        product=product,
        stored=stored,
        kronecker=kronecker,
        as_numpy=as_numpy,
    )


@pytest.fixture(scope="session")
def gaussian():
    """gaussian(I, J, seed=0, dtype=float64): the same matrix every time."""

    def make(height: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        g = torch.Generator().manual_seed(seed)
        return torch.randn(height, width, dtype=torch.float64, generator=g).to(dtype)

    return make
