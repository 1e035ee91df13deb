"""What auxiliary tensors can say: the part of a change of W that they reach while the central tensor stays.

To first order W + dW with dW = sum_k T_1 .. dT_k .. T_n over the auxiliary tensors k. Which part of a given change D
is of this form is a least-squares problem, solved with conjugate gradients on the normal equations; nothing of the
size of a Jacobian is stored. MPOE (Gao et al. 2022, section 3.1) lets experts differ in nothing but auxiliary tensors;
notebook 04, "What experts learn apart".
"""

from __future__ import annotations

import math

import torch

from .errors import MatrixError
from .mpo import MPO
from .rebuild import left_products

STEPS = 200
"""Conjugate gradients at most; they stop earlier where nothing is left to gain."""
TOLERANCE = 1e-3  # of the gradient, relative to the first one


def auxiliary_share(mpo: MPO, change: torch.Tensor) -> float:
    """The share of ||change||_F^2, (out, in), that the auxiliary tensors reach to first order; from 0 to 1.

    0 for a change of nothing. Raises MatrixError for another shape, NaN or Inf.
    """
    if tuple(change.shape) != tuple(mpo.shape):
        raise MatrixError(f"a change of shape {tuple(change.shape)} was given for a matrix of {tuple(mpo.shape)}.")
    if not torch.isfinite(change).all():
        raise MatrixError("the change holds NaN or Inf; it has to be finite.")
    change = change.detach().double()
    total = float(change.square().sum())
    if not total:
        return 0.0
    cores = [core.detach().double() for core in mpo.cores]
    places = [k for k in range(len(cores)) if k != mpo.plan.centre]
    own = tuple(cores[k] for k in places)

    def matrix(*auxiliary: torch.Tensor) -> torch.Tensor:
        given = dict(zip(places, auxiliary))
        W = left_products([given.get(k, core) for k, core in enumerate(cores)])[-1][..., 0]  # (padded out, padded in)
        return W[: change.shape[0], : change.shape[1]]

    _, back = torch.func.vjp(matrix, *own)

    def forth(step: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return torch.func.jvp(matrix, own, step)[1]

    # CGLS: x -> minimises ||D - J x||; rest is D - J x, whose norm falls with every step
    rest = change.clone()
    gradient = back(rest)
    direction, size = gradient, _square(gradient)
    first = size
    for _ in range(STEPS):
        if size <= first * TOLERANCE**2:
            break
        image = forth(direction)
        length = size / float(image.square().sum())
        rest = rest - length * image
        gradient = back(rest)
        before, size = size, _square(gradient)
        direction = tuple(g + size / before * d for g, d in zip(gradient, direction))
    return min(1.0, max(0.0, 1.0 - float(rest.square().sum()) / total))


def _square(tensors: tuple[torch.Tensor, ...]) -> float:
    return math.fsum(float(tensor.square().sum()) for tensor in tensors)
