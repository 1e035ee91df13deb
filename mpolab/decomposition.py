"""From a matrix to the cores of a matrix product operator by SVDs, and what can be done with cores.

Shapes: the matrix is (I, J); its tensor is (a_1, ..., a_n) with a_k = i_k j_k, row and column legs side by side
(MPOP eq. 1); a core is (d_{k-1}, a_k, d_k) here and split to (d_{k-1}, i_k, j_k, d_k) by `mpolab.mpo`. Each
decomposition returns cores at full bonds in the *Schmidt bases* of the matrix: bond k's index runs over the singular
vectors of unfolding k, largest first. That is what makes cutting a bond a slice. The default method
needs no SVD and is in `mpolab.halves`. Taught in notebook 01, section 4.

Items: mpop-alg1.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from .errors import MatrixError, MatrixTypeError
from .plans import Plan

Cores = list[torch.Tensor]

SAFE_RANGE = 1e-10, 1e10  # entries outside are scaled first, so that their squares neither vanish nor overflow
FLOAT32_RANGE = 1e-30, 1e30


# -- what comes in ---------------------------------------------------------------------------------


def full_precision(function: Callable) -> Callable:
    """Runs a function without autocast, which would multiply in half precision whatever the tensors are."""

    @functools.wraps(function)
    def without_autocast(*args, **kwargs):
        active = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        if not active:
            return function(*args, **kwargs)
        with contextlib.ExitStack() as stack:
            for kind in active:
                stack.enter_context(torch.autocast(kind, enabled=False))
            return function(*args, **kwargs)

    return without_autocast


def checked_matrix(W: object) -> torch.Tensor:
    """A finite (I, J) float32 or float64 tensor, detached; or the error that says why not."""
    if isinstance(W, np.ndarray):
        if W.dtype.kind == "f":  # torch knows neither foreign byte orders nor long doubles
            W = W.astype(np.float64 if W.dtype.itemsize > 8 else W.dtype.newbyteorder("="))
        W = torch.tensor(W)
    if not isinstance(W, torch.Tensor):
        raise MatrixTypeError(f"expected a torch tensor or a NumPy array of shape (out, in), got {type(W).__name__}.")
    if W.dim() != 2:
        raise MatrixError(
            f"expected a matrix of shape (out, in), got {W.dim()} dimensions {tuple(W.shape)}; reshape it first, e.g. "
            "W.flatten(1)."
        )
    if not W.is_floating_point():
        raise MatrixTypeError(f"expected real floating-point entries, got {W.dtype}; convert first, e.g. W.float().")
    if W.layout != torch.strided:
        raise MatrixTypeError(f"expected a dense tensor, got layout {W.layout}; convert first with W.to_dense().")
    if W.device.type in ("meta", "mps"):
        raise MatrixTypeError(f"a matrix on {W.device.type!r} cannot be decomposed there; move it: W.cpu().")
    W = W.detach()
    matrix = W if W.dtype in (torch.float32, torch.float64) else W.float()
    if matrix.numel() and not all(math.isfinite(float(extreme)) for extreme in torch.aminmax(matrix)):
        bad = int((~torch.isfinite(matrix)).sum())
        row, col = (~torch.isfinite(matrix)).nonzero()[0].tolist()
        raise MatrixError(
            f"{bad} of {matrix.numel()} entries are NaN or infinite, the first at row {row}, column {col}; a "
            "decomposition needs finite ones (torch.nan_to_num replaces them, if that is what you want)."
        )
    return matrix


def in_safe_range(matrix: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(matrix over scale, scale), with a scale other than 1 where squares of the entries would vanish or overflow.

    A float32 matrix so near the ends of its range that its norm might leave it comes back in float64.
    """
    largest = max(abs(float(extreme)) for extreme in torch.aminmax(matrix))
    if largest == 0 or SAFE_RANGE[0] <= largest <= SAFE_RANGE[1]:
        return matrix, 1.0
    if matrix.dtype == torch.float32 and not FLOAT32_RANGE[0] <= largest <= FLOAT32_RANGE[1]:
        matrix = matrix.double()
    return matrix / largest, largest


# -- the matrix as a tensor ----------------------------------------------------------------------


def pad(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I, J) -> the padded (I', J') with zero rows and columns at the end."""
    if not plan.is_padded:
        return matrix
    height, width = plan.padded
    return torch.nn.functional.pad(matrix, (0, width - plan.shape[1], 0, height - plan.shape[0]))


def to_tensor(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I, J) -> (a_1, ..., a_n), a_k = i_k j_k."""
    legs = pad(matrix, plan).reshape(*plan.rows, *plan.cols)  # (i_1 .. i_n, j_1 .. j_n)
    paired = [axis for k in range(plan.n) for axis in (k, plan.n + k)]
    return legs.permute(paired).reshape(plan.sizes)  # (i_1 j_1, ..., i_n j_n)


def to_matrix(tensor: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(a_1, ..., a_n), in any shape with the same order -> (I, J), padding removed."""
    legs = tensor.reshape([size for pair in zip(plan.rows, plan.cols) for size in pair])  # (i_1, j_1, ..., i_n, j_n)
    unpaired = [2 * k for k in range(plan.n)] + [2 * k + 1 for k in range(plan.n)]
    return legs.permute(unpaired).reshape(plan.padded)[: plan.shape[0], : plan.shape[1]]


def contract(cores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cores (d_{k-1}, ..., d_k) -> their product (d_first, a, d_last), the two halves first, then both together."""
    if len(cores) == 1:
        return cores[0].reshape(cores[0].shape[0], -1, cores[0].shape[-1])
    middle = len(cores) // 2
    left, right = contract(cores[:middle]), contract(cores[middle:])  # (d, a, e), (e, b, f)
    product = left.reshape(-1, left.shape[-1]) @ right.reshape(right.shape[0], -1)  # (d a, b f)
    return product.reshape(left.shape[0], -1, right.shape[-1])


def chain(cores: Sequence[torch.Tensor], plan: Plan, x: torch.Tensor, mirrored: bool = False) -> torch.Tensor:
    """x (tokens, J) -> W x (tokens, I) from cores (d_{k-1}, i_k, j_k, d_k), one after another; W never exists.

    The state before core k is (j_k, j_{k+1} .. j_n, tokens, i_1 .. i_{k-1}, d_{k-1}): the leg to be contracted stands
    first and the bond last, so a core is j_k matrix products that add up, and no activation is copied to reorder it.
    mirrored: start with the last core.
    """
    n, tokens, rows, cols = plan.n, x.shape[0], plan.rows, plan.cols
    if tokens == 0:
        return x.new_zeros(0, plan.shape[0])
    if plan.padded[1] > x.shape[1]:
        x = torch.nn.functional.pad(x, (0, plan.padded[1] - x.shape[1]))
    if mirrored:  # legs, cores and bonds in reverse
        cores = [core.permute(3, 1, 2, 0) for core in reversed(cores)]
        rows, cols = rows[::-1], cols[::-1]
        state = x.reshape(tokens, *plan.cols).permute(*range(n, 0, -1), 0).reshape(-1)
    else:
        state = x.T.reshape(-1)  # (j_1 .. j_n, tokens)
    del x
    for core, i, j in zip(cores, rows, cols):
        d, e = core.shape[0], core.shape[3]
        legs = state.reshape(j, -1, d)  # (j_k, the rest, d_{k-1})
        state = legs[0] @ core[:, :, 0].reshape(d, i * e)  # (the rest, i_k d_k)
        for value in range(1, j):
            state.addmm_(legs[value], core[:, :, value].reshape(d, i * e))  # in place: half the memory
        del legs
    y = state.reshape(tokens, *rows)  # (tokens, i_1 .. i_n), or i_n .. i_1
    del state
    if mirrored:
        y = y.permute(0, *range(n, 0, -1))
    return y.reshape(tokens, -1)[:, : plan.shape[0]]


def norm(tensor: torch.Tensor) -> float:
    """Frobenius norm in float64, whatever the dtype and the size of the entries (nothing overflows on squaring)."""
    if tensor.numel() == 0:
        return 0.0
    largest = max(abs(float(extreme)) for extreme in torch.aminmax(tensor))
    if largest == 0 or not math.isfinite(largest):
        return largest
    if 1e-100 < largest < 1e100 and (tensor.dtype == torch.float64 or largest > 1e-30):
        return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    return largest * float(torch.linalg.vector_norm(tensor.double() / largest))


# -- Algorithm 1, and its mirror image -----------------------------------------------------------


def left_to_right(tensor: torch.Tensor, plan: Plan) -> tuple[Cores, list[torch.Tensor]]:
    """Algorithm 1 of MPOP without its normalization: an SVD per bond, the remainder passed on to the right.

    tensor (a_1, ..., a_n) -> left-orthogonal cores with the centre at the end, and the n-1 spectra.
    """
    cores, spectra, rest = _from_the_left(tensor, plan.sizes[:-1])
    return [*cores, rest.reshape(rest.shape[0], plan.sizes[-1], 1)], spectra


def _from_the_left(tensor: torch.Tensor, sizes: Sequence[int]) -> tuple[Cores, list[torch.Tensor], torch.Tensor]:
    cores, spectra, rest = [], [], tensor.reshape(1, -1)
    for size in sizes:
        bond = rest.shape[0]
        unfolding = rest.reshape(bond * size, -1)  # (d_{k-1} a_k, a_{k+1} ... a_n)
        u, s, vh = torch.linalg.svd(unfolding, full_matrices=False)
        cores.append(u.reshape(bond, size, -1))  # (d_{k-1}, a_k, d_k)
        spectra.append(s.double())
        rest = s[:, None] * vh  # (d_k, a_{k+1} ... a_n)
    return cores, spectra, rest


def normalize(cores: Cores, spectra: Sequence[torch.Tensor]) -> Cores:
    """The "normalization" of Algorithm 1: each bond's singular values as square roots on both neighbours.

    Left-orthogonal cores A_k = lambda_{k-1} Gamma_k become lambda_{k-1}^(1/2) Gamma_k lambda_k^(1/2). Zero (and
    rounding-sized) singular values are raised to a floor, so that nothing is divided by zero: the product of the cores
    does not depend on it.
    """
    roots = []
    for spectrum, core in zip(spectra, cores):
        largest = float(spectrum[0]) if float(spectrum[0]) > 0 else 1.0
        floor = torch.finfo(core.dtype).eps * largest
        roots.append(spectrum.clamp(min=floor).sqrt().to(core))
    scaled = list(cores)
    for k, root in enumerate(roots):
        scaled[k] = scaled[k] * root  # (d_{k-1}, a_k, d_k) * (d_k)
        scaled[k + 1] = scaled[k + 1] / root[:, None, None]  # (d_k, a_{k+1}, d_{k+1}) / (d_k)
    return scaled


def _from_the_right(tensor: torch.Tensor, sizes: Sequence[int]) -> tuple[Cores, list[torch.Tensor], torch.Tensor]:
    """The mirror image: right-orthogonal cores for the last `sizes`, their spectra, and what remains on the left."""
    cores, spectra, rest = [], [], tensor.reshape(-1, 1)
    for size in reversed(sizes):
        bond = rest.shape[1]
        u, s, vh = torch.linalg.svd(rest.reshape(-1, size * bond), full_matrices=False)
        cores.insert(0, vh.reshape(-1, size, bond))  # (d_{k-1}, a_k, d_k)
        spectra.insert(0, s.double())
        rest = u * s
    return cores, spectra, rest


def both_ends(tensor: torch.Tensor, plan: Plan) -> tuple[Cores, list[torch.Tensor]]:
    """SVDs from both ends to the middle: what "centre" does where a half is longer than the rest of its matrix.

    tensor (a_1, ..., a_n) -> left-orthogonal cores, the centre, right-orthogonal cores, and the n-1 spectra.
    """
    c = plan.centre
    left, left_spectra, rest = _from_the_left(tensor, plan.sizes[:c])
    bond = rest.shape[0]
    right, right_spectra, rest = _from_the_right(rest, plan.sizes[c + 1 :])
    return [*left, rest.reshape(bond, plan.sizes[c], -1), *right], left_spectra + right_spectra


# -- moving the centre, and the sequential sweep -------------------------------------------------


def move_centre(cores: Sequence[torch.Tensor], centre: int) -> Cores:
    """The same matrix with every core left of `centre` left-orthogonal and every core right of it right-orthogonal.

    QR from both ends inwards; signs are chosen so that cores that are canonical already come back unchanged.
    """
    cores = list(cores)
    for k in range(centre):
        d, a, _ = cores[k].shape
        q, r = _positive_qr(cores[k].reshape(d * a, -1))
        cores[k] = q.reshape(d, a, -1)
        cores[k + 1] = torch.tensordot(r, cores[k + 1], dims=1)  # (d_k, d_k)(d_k, a_{k+1}, d_{k+1})
    for k in range(len(cores) - 1, centre, -1):
        _, a, d = cores[k].shape
        q, r = _positive_qr(cores[k].reshape(-1, a * d).T)
        cores[k] = q.T.reshape(-1, a, d)
        cores[k - 1] = torch.tensordot(cores[k - 1], r.T, dims=1)
    return cores


def _positive_qr(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q, r = torch.linalg.qr(matrix)
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0).to(r)
    return q * signs, signs[:, None] * r


def sweep(cores: Sequence[torch.Tensor], bonds: Sequence[int]) -> tuple[Cores, list[float]]:
    """Cuts to n+1 `bonds` one after another, each by a new small SVD of what the cuts before it left over.

    Returns left-orthogonal cores and the squares discarded at each of the n-1 steps; those add up to the squared error
    exactly (Oseledets 2011, TT rounding). Made for cores whose product has norm 1, so that squares stay in range.
    """
    cores, discarded = move_centre(cores, 0), []
    for k in range(len(cores) - 1):
        d, a, _ = cores[k].shape
        u, s, vh = torch.linalg.svd(cores[k].reshape(d * a, -1), full_matrices=False)
        keep = min(bonds[k + 1], len(s))
        discarded.append(float((s[keep:].double() ** 2).sum()))
        cores[k] = u[:, :keep].reshape(d, a, keep)
        cores[k + 1] = torch.tensordot(s[:keep, None] * vh[:keep], cores[k + 1], dims=1)
    return cores, discarded
