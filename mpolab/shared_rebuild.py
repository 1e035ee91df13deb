"""The matrices of all layers that share one central tensor, rebuilt in one batch: W_l = L_l C R_l for l = 1 .. n.

Layer by layer this is 2 n products; here the first is one long product (n i_L j_L, d) (d, i_c j_c e) for all layers,
and the second one batched product. The gradient of C, which adds up over the layers, is one product too. As in
`mpolab.rebuild` nothing is kept for the backward pass but the cores. What it saves is the start of many small products;
what it costs is that all W's exist at once and leave the processor's caches in between: see `pays`.
MPOBERT (Liu et al. 2023) section 3.3.3 ("parallel matrix multiplication"); notebook 03, "What sharing costs".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .decomposition import full_precision
from .plans import Plan

LAYERS = 4  # fewer are not worth a batch
ENTRIES = 200_000  # of one W: above it, W's that leave the caches cost more than starting products does


def pays(plan: Plan, layers: int) -> bool:
    """Whether one batch is expected to be faster than layer by layer, for a step of training.

    The two numbers were read off `benchmarks/bench_mpobert.py --only rebuild` on two x86-64 cores. Not measured on a
    GPU, where starting products costs more: mpo_rebuild="batch" is worth a try there.
    """
    return layers >= LAYERS and math.prod(plan.shape) <= ENTRIES


@full_precision
def rebuild_all(
    plan: Plan,
    central: torch.Tensor,
    auxiliary: Sequence[Sequence[torch.Tensor]],
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """(n, out, in): the W of each layer, in `dtype` (by default the central tensor's), differentiable.

    central: (d, i_c, j_c, e). auxiliary: of each layer the other cores from left to right, (d_{k-1}, i_k, j_k, d_k).
    Computed in at least float32 and without autocast.
    """
    return rebuild_stacked(
        plan, central, [torch.stack([own[k] for own in auxiliary]) for k in range(plan.n - 1)], dtype
    )


@full_precision
def rebuild_stacked(
    plan: Plan, central: torch.Tensor, stacked: Sequence[torch.Tensor], dtype: torch.dtype | None = None
) -> torch.Tensor:
    """The same where auxiliary tensors are stacked already: (n, d_{k-1}, i_k, j_k, d_k) each, n layers or experts."""
    c, central_dtype = plan.centre, central.dtype
    central, left, right = stacked_thirds(plan, central, stacked)
    n, i_left, j_left, d = left.shape
    _, e, i_right, j_right = right.shape
    i_c, j_c = plan.rows[c], plan.cols[c]
    L, C, R = left.reshape(n, -1, d), central.reshape(d, -1, e), right.reshape(n, e, -1)
    rows, cols = L.shape[1], R.shape[2]
    if rows * e * (d + cols) <= d * cols * (e + rows):  # the cheaper order; where both cost the same, no mirroring
        product = _Products.apply(L, C, R)  # (n, l, m, r)
    else:
        mirrored = _Products.apply(R.transpose(1, 2), C.permute(2, 1, 0), L.transpose(1, 2))
        product = mirrored.permute(0, 3, 2, 1)
    legs = product.reshape(n, i_left, j_left, i_c, j_c, i_right, j_right)
    W = legs.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, *plan.padded)
    if plan.is_padded:
        W = W[:, : plan.shape[0], : plan.shape[1]]
    return W.to(dtype or central_dtype)


@full_precision
def stacked_thirds(
    plan: Plan, central: torch.Tensor, stacked: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """C (d, i_c, j_c, e), and of each layer the halves of its chain, L (n, i_L, j_L, d) and R (n, e, i_R, j_R), in at
    least float32."""
    c = plan.centre
    wide = torch.float32 if central.dtype in (torch.float16, torch.bfloat16) else central.dtype
    stacked = [core.to(wide) for core in stacked]
    left = stacked[0][:, 0]  # (n, i_1, j_1, d_1)
    for core in stacked[1:c]:
        left = _joined(left, core)
    right = central.new_ones(len(left), 1, 1, 1, dtype=wide)  # n = 2 has nothing there
    if len(stacked) > c:
        right = stacked[-1][..., 0]
        for core in reversed(stacked[c:-1]):
            right = _joined_right(core, right)
    return central.to(wide), left, right


def _joined(left: torch.Tensor, core: torch.Tensor) -> torch.Tensor:
    """(n, I, J, d) and (n, d, i, j, e) -> (n, I i, J j, e)."""
    n, height, width, bond = left.shape
    _, _, i, j, after = core.shape
    product = left.reshape(n, -1, bond) @ core.reshape(n, bond, -1)  # (n, I J, i j e)
    legs = product.reshape(n, height, width, i, j, after).transpose(2, 3)
    return legs.reshape(n, height * i, width * j, after)


def _joined_right(core: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(n, d, i, j, e) and (n, e, I, J) -> (n, d, i I, j J)."""
    n, bond, height, width = right.shape
    _, before, i, j, _ = core.shape
    product = core.reshape(n, -1, bond) @ right.reshape(n, bond, -1)  # (n, d i j, I J)
    legs = product.reshape(n, before, i, j, height, width).transpose(3, 4)
    return legs.reshape(n, before, i * height, j * width)


class _Products(torch.autograd.Function):
    """L (n, l, d), C (d, m, e), R (n, e, r) -> L C R, (n, l, m, r); L C is made again for the backward pass."""

    @staticmethod
    def forward(ctx, L, C, R):
        ctx.save_for_backward(L, C, R)
        first = _Products._first(L, C)
        return (first @ R).view(len(L), L.shape[1], C.shape[1], R.shape[2])

    @staticmethod
    def _first(L: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
        (n, rows, d), (_, m, e) = L.shape, C.shape
        return (L.reshape(n * rows, d) @ C.reshape(d, m * e)).view(n, rows * m, e)

    @staticmethod
    @full_precision
    def backward(ctx, grad):
        L, C, R = ctx.saved_tensors
        (n, rows, d), (_, m, e), cols = L.shape, C.shape, R.shape[2]
        needs_left, needs_centre, needs_right = ctx.needs_input_grad
        grad = grad.reshape(n, rows * m, cols)
        left = centre = right = None
        if needs_right:
            right = _Products._first(L, C).transpose(1, 2) @ grad  # (n, e, r)
        if needs_left or needs_centre:
            seen = (grad @ R.transpose(1, 2)).view(n * rows, m * e)
            centre = (L.reshape(n * rows, d).T @ seen).view_as(C) if needs_centre else None
            left = (seen @ C.reshape(d, m * e).T).view_as(L) if needs_left else None
        return left, centre, right
