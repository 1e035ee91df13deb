"""The matrices of all layers that share one central tensor, rebuilt in one batch: W_l = L_l C R_l for l = 1 .. n.

Layer by layer this is 2 n products; here the first is one long product (n i_L j_L, d) (d, i_c j_c e) for all layers,
and the second one batched product. The gradient of C, which adds up over the layers, is one product too. Unlike
`mpolab.rebuild` the first product, as large as all W's, is kept for the backward pass, which then has four products
of a rebuild's size and not five. What it saves besides is the start of many small products; what it costs is that all
W's exist at once, as they do for a backward pass anyway, and leave the processor's caches in between: see `pays`.
MPOBERT (Liu et al. 2023) section 3.3.3 ("parallel matrix multiplication"); notebook 03, "What sharing costs".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .decomposition import full_precision
from .plans import Plan

LAYERS = 4  # fewer are not worth a batch
ENTRIES = 600_000  # of one W: above it, W's that leave the caches cost more than one batch saves


def pays(plan: Plan, layers: int, entries: int = ENTRIES) -> bool:
    """Whether one batch is expected to be faster than `layers` W's one by one, for a step of training.

    The two numbers were read off `benchmarks/bench_mpobert.py --only rebuild` on two x86-64 cores. Not measured on a
    GPU, where starting products costs more: mpo_rebuild="batch" is worth a try there.
    """
    return layers >= LAYERS and math.prod(plan.shape) <= entries


@full_precision
def rebuild_all(
    plan: Plan,
    central: torch.Tensor,
    auxiliary: Sequence[Sequence[torch.Tensor]],
    dtype: torch.dtype | None = None,
) -> list[torch.Tensor]:
    """The W (out, in) of each layer, in `dtype` (by default the central tensor's), differentiable.

    central: (d, i_c, j_c, e). auxiliary: of each layer the other cores from left to right, (d_{k-1}, i_k, j_k, d_k).
    Computed in at least float32 and without autocast.
    """
    return rebuild_stacked(
        plan, central, [torch.stack([own[k] for own in auxiliary]) for k in range(plan.n - 1)], dtype
    )


@full_precision
def rebuild_stacked(
    plan: Plan, central: torch.Tensor, stacked: Sequence[torch.Tensor], dtype: torch.dtype | None = None
) -> list[torch.Tensor]:
    """The same where auxiliary tensors are stacked already: (n, d_{k-1}, i_k, j_k, d_k) each, n layers or experts."""
    central_dtype = central.dtype
    central, left, right = stacked_thirds(plan, central, stacked)
    (n, i_left, j_left, d), (_, i_c, j_c, e), (_, _, i_right, j_right) = left.shape, central.shape, right.shape
    L, C, R = left.reshape(n, -1, d), central.reshape(d, -1, e), right.reshape(n, e, -1)
    rows, middle, cols = L.shape[1], C.shape[1], R.shape[2]
    if rows * e * (d + cols) <= d * cols * (e + rows):  # the cheaper order; where both cost the same, L C
        first = _product(L.reshape(n * rows, d), C.reshape(d, middle * e))  # (n i_L j_L, i_c j_c e)
        product = _product(first.view(n, rows * middle, e), R)  # (n, i_L j_L i_c j_c, i_R j_R)
    else:
        first = _product(C.reshape(d * middle, e), R.transpose(0, 1).reshape(e, n * cols))  # (d i_c j_c, n i_R j_R)
        first = first.view(d, middle, n, cols).permute(2, 0, 1, 3).reshape(n, d, middle * cols)
        product = _product(L, first)  # (n, i_L j_L, i_c j_c i_R j_R)
    found = []
    # layer by layer from here: then the gradients of all W's are put in the products' order as they are stacked, once
    for legs in product.view(n, i_left, j_left, i_c, j_c, i_right, j_right).unbind():
        W = legs.permute(0, 2, 4, 1, 3, 5).reshape(plan.padded)
        if plan.is_padded:
            W = W[: plan.shape[0], : plan.shape[1]]
        found.append(W.to(dtype or central_dtype))
    return found


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
    product = _product(left.reshape(n, -1, bond), core.reshape(n, bond, -1))  # (n, I J, i j e)
    legs = product.reshape(n, height, width, i, j, after).transpose(2, 3)
    return legs.reshape(n, height * i, width * j, after)


def _joined_right(core: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(n, d, i, j, e) and (n, e, I, J) -> (n, d, i I, j J)."""
    n, bond, height, width = right.shape
    _, before, i, j, _ = core.shape
    product = _product(core.reshape(n, -1, bond), right.reshape(n, bond, -1))  # (n, d i j, I J)
    legs = product.reshape(n, before, i, j, height, width).transpose(3, 4)
    return legs.reshape(n, before, i * height, j * width)


class _Product(torch.autograd.Function):
    """A B, of matrices or of batches of them, without autocast in the backward pass either."""

    @staticmethod
    def forward(ctx, A, B):
        ctx.save_for_backward(A, B)
        return A @ B

    @staticmethod
    @full_precision
    def backward(ctx, grad):
        A, B = ctx.saved_tensors
        needs_A, needs_B = ctx.needs_input_grad
        return grad @ B.transpose(-2, -1) if needs_A else None, A.transpose(-2, -1) @ grad if needs_B else None


_product = _Product.apply
