"""Experts' linear layers from cores, in an order of legs that needs none of them put in its place.

A rebuilt W comes out of its two products with the legs of rows and columns mixed, (i_L j_L i_c j_c i_R j_R), and has to
be put in order, number by number: once for W and once for its gradient, for every expert. But rows and columns may
stand in any order, if the vectors they meet do too. Let p be the legs on the side of the vectors (hidden), q
those on the inner side of a feed-forward block, 1 and 2 the halves of the chain as they come to the centre one by one:

    F (p_c, p_1 q_1, q_c b_2)       = H_1 (p_1 q_1, b_1)  C (p_c, b_1, q_c b_2)
    W (p_c p_1, p_2 q_2, q_1 q_c)   = H_2 (p_2 q_2, b_2)  F (p_c p_1, q_1 q_c, b_2)^T

Both are batches of plain products, and W lies in memory as a matrix (p_c p_1 p_2, q_2 q_1 q_c). The inner vectors then
are in the order q_2 q_1 q_c between "up" and "down", where nobody asks for another one; only the short hidden ones are
put in order. Gradients run through the same products backwards, expert after expert, in memory that is used again;
that of C is added up where it lies.

The numbers are those of `mpolab.rebuild`, up to rounding. MPOE (Gao et al. 2022) section 3.1; notebook 04.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .decomposition import full_precision
from .plans import Plan
from .rebuild import left_first


class Order(NamedTuple):
    """How the legs of one matrix stand. hidden, inner: factors of both sides by third, (left, centre, right).

    left_first: the left half is multiplied to the centre first. inner_rows: the inner side is W's rows ("up"), else its
    columns ("down").
    """

    hidden: tuple[int, int, int]
    inner: tuple[int, int, int]
    left_first: bool
    inner_rows: bool

    def hidden_in_blocks(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) in its own order -> in the order p_c p_1 p_2."""
        legs = x.reshape(*x.shape[:-1], *self.hidden)
        return (legs.movedim(-2, -3) if self.left_first else legs.movedim(-3, -1)).reshape(x.shape)

    def hidden_in_order(self, y: torch.Tensor) -> torch.Tensor:
        """The way back."""
        left, centre, right = self.hidden
        if self.left_first:
            return y.reshape(*y.shape[:-1], centre, left, right).movedim(-3, -2).reshape(y.shape)
        return y.reshape(*y.shape[:-1], centre, right, left).movedim(-1, -3).reshape(y.shape)

    def inner_in_blocks(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inner) in its own order -> in the order q_2 q_1 q_c: what a bias of "up" needs."""
        legs = x.reshape(*x.shape[:-1], *self.inner)
        swapped = legs.movedim(-2, -1)  # left, right, centre
        return (swapped.movedim(-3, -2) if self.left_first else swapped).reshape(x.shape)


def orders(plans: dict[str, Plan], bonds: dict[str, Sequence[int]]) -> dict[str, Order] | None:
    """The order of each matrix of a feed-forward block, "down" with the inner side in its columns; None where the
    matrices cannot have one in common: other factors on the inner side, or padding."""
    thirds = {}
    for name, plan in plans.items():
        if plan.is_padded:
            return None
        parts = [_thirds(plan, legs) for legs in (plan.rows, plan.cols)]
        thirds[name] = parts[::-1] if name != "down" else parts  # hidden, inner
    if len({inner for _, inner in thirds.values()}) > 1:
        return None
    plan, d = plans["up"], bonds["up"]
    c = plan.centre
    sizes = [i * j for i, j in zip(*thirds["up"])]
    after = d[c + 1] if c + 1 < plan.n else 1
    first = left_first(sizes[0], d[c], sizes[1], after, sizes[2])
    return {name: Order(hidden, inner, first, name != "down") for name, (hidden, inner) in thirds.items()}


def _thirds(plan: Plan, legs: Sequence[int]) -> tuple[int, int, int]:
    c = plan.centre
    return math.prod(legs[:c]), legs[c], math.prod(legs[c + 1 :])


@full_precision
def blocked_linear(
    order: Order,
    central: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    biases: torch.Tensor | None,
    used: Sequence[int],
    parts: Sequence[torch.Tensor],
    keep_weight: bool = True,
) -> list[torch.Tensor]:
    """y = W_e x + b_e for the tokens of each expert in `used`; differentiable in everything.

    central: (d, i_c, j_c, e). left, right: (experts, i_L, j_L, d) and (experts, e, i_R, j_R), the halves of all chains
    (`shared_rebuild.stacked_thirds`), of central's dtype. biases: (experts, out), or (out,) for all. parts: (tokens,
    in) of each used expert, in the dtype to multiply in; inner vectors in their blocks' order, going in and coming out.
    keep_weight: False makes W once more for the backward pass.
    """
    if not order.inner_rows:  # rows are the hidden side
        L, C, R = left, central, right
    else:
        L, C, R = left.transpose(1, 2), central.transpose(1, 2), right.transpose(2, 3)
    count = len(left)
    R = R.movedim(1, 3)  # now (experts, p, q, bond) both, and C (d, p_c, q_c, e)
    if order.left_first:
        first, second, C = L, R, C.permute(1, 0, 2, 3)
    else:
        first, second, C = R, L, C.permute(1, 3, 2, 0)
    p_c, b_1, q_c, b_2 = C.shape
    sizes = first.shape[1], first.shape[2], second.shape[1], q_c
    if biases is not None:
        biases = biases.expand(count, -1).to(parts[0].dtype)
        biases = order.inner_in_blocks(biases) if order.inner_rows else order.hidden_in_blocks(biases)
    if order.inner_rows:
        parts = [order.hidden_in_blocks(x) for x in parts]
    out = _Blocked.apply(
        sizes,
        order.inner_rows,
        keep_weight,
        tuple(used),
        first.reshape(count, -1, b_1),
        C.reshape(p_c, b_1, q_c * b_2),
        second.reshape(count, -1, b_2),
        biases,
        *parts,
    )
    return list(out) if order.inner_rows else [order.hidden_in_order(y) for y in out]


class _Blocked(torch.autograd.Function):
    """H1 (experts, p_1 q_1, b_1), C (p_c, b_1, q_c b_2), H2 (experts, p_2 q_2, b_2), b (experts, out); x (tokens, in).

    sizes: p_1, q_1, p_2, q_c.
    """

    @staticmethod
    def forward(ctx, sizes, inner_rows, keep_weight, used, H1, C, H2, biases, *parts):
        ctx.sizes, ctx.inner_rows, ctx.used, ctx.has_biases = sizes, inner_rows, used, biases is not None
        dtype, first, W = parts[0].dtype, None, None
        kept = keep_weight and any(ctx.needs_input_grad[8:])
        out, weights = [], []
        for e, x in zip(used, parts):
            first = _first(H1[e], C, first)
            W = _matrix(sizes, H2[e], first, None if kept and dtype == C.dtype else W)
            seen = W.to(dtype)
            if kept:
                weights.append(seen)
            seen = seen if inner_rows else seen.T
            out.append(x @ seen if biases is None else torch.addmm(biases[e], x, seen))
        ctx.kept = len(weights)
        ctx.save_for_backward(H1, C, H2, *weights, *parts)
        return tuple(out)

    @staticmethod
    @full_precision
    def backward(ctx, *grads):
        H1, C, H2, *rest = ctx.saved_tensors
        weights, parts = rest[: ctx.kept], rest[ctx.kept :]
        needs_1, needs_c, needs_2, needs_b, *needs_x = ctx.needs_input_grad[4:]
        twice = torch.is_grad_enabled()
        if twice:
            weights = []  # autograd has not seen how they were made
        p_1, q_1, _, q_c = ctx.sizes
        by_core = len(C), p_1 * q_1, -1  # (p_c, p_1 q_1, q_c b_2)
        by_block = len(C) * p_1, q_1 * q_c, H2.shape[2]  # the same numbers as (p_c p_1, q_1 q_c, b_2)
        found_1, found_2, found_b = {}, {}, {}
        grad_C = torch.zeros_like(C) if needs_c else None
        grads_x = [None] * len(parts)
        large = W = grad_W = None  # used again for every expert, where nobody wants to differentiate twice
        for number, (e, x, grad) in enumerate(zip(ctx.used, parts, grads)):
            if needs_b:
                found_b[e] = grad.sum(0)
            if needs_2 or (needs_x[number] and not weights):
                large = _first(H1[e], C, None if twice else large)
            if needs_x[number]:
                W = weights[number] if weights else _matrix(ctx.sizes, H2[e], large, None if twice else W)
                grads_x[number] = grad @ (W.T if ctx.inner_rows else W).to(x.dtype)
            if not (needs_1 or needs_c or needs_2):
                continue
            hidden, inner = (x, grad) if ctx.inner_rows else (grad, x)
            grad_W = _times(hidden.T, inner, None if twice else grad_W)  # (p_c p_1 p_2, q_2 q_1 q_c)
            blocks = grad_W.to(C.dtype).view(len(C) * p_1, -1, q_1 * q_c)  # (p_c p_1, p_2 q_2, q_1 q_c)
            if needs_2:
                found_2[e] = _summed(blocks, large.view(by_block))
            if needs_1 or needs_c:  # the first product's gradient, in its place
                large = None if large is None or twice else large.view(by_block)
                large = _times(blocks.transpose(1, 2), H2[e].expand(len(blocks), -1, -1), large).view(by_core)
                if needs_1:
                    found_1[e] = _summed(large, C.transpose(1, 2))
                if needs_c:
                    grad_C.baddbmm_(H1[e].T.expand(len(C), -1, -1), large)
        stacked = (_stacked(len(H1), found) for found in (found_1, found_2, found_b))
        grad_1, grad_2, grad_b = stacked
        return None, None, None, None, grad_1, grad_C, grad_2, grad_b, *grads_x


def _times(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """a b, into `out` if there is one: fresh memory costs up to a quarter of a product of this size."""
    multiply = torch.mm if a.dim() == 2 else torch.bmm
    return multiply(a, b) if out is None else multiply(a, b, out=out)


def _first(H1: torch.Tensor, C: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """F (p_c, p_1 q_1, q_c b_2)."""
    return _times(H1.expand(len(C), -1, -1), C, out)


def _matrix(sizes: tuple[int, ...], H2: torch.Tensor, first: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """W (p_c p_1 p_2, q_2 q_1 q_c)."""
    p_1, q_1, p_2, q_c = sizes
    blocks = first.view(len(first) * p_1, q_1 * q_c, H2.shape[1])
    H2 = H2.expand(len(blocks), -1, -1)
    out = None if out is None else out.view(len(blocks), H2.shape[1], q_1 * q_c)
    product = _times(H2, blocks.transpose(1, 2), out)  # (p_c p_1, p_2 q_2, q_1 q_c)
    return product.view(len(blocks) * p_2, -1)


def _summed(one: torch.Tensor, other: torch.Tensor, added_up: bool | None = None) -> torch.Tensor:
    """sum_b one_b other_b, (batch, m, k) and (batch, k, n) -> (m, n).

    added_up: one product after the other into the same memory, faster on a CPU; elsewhere all at once, as every product
    has to be started there.
    """
    if not (one.is_cpu if added_up is None else added_up):
        return torch.bmm(one, other).sum(0)
    total = one[0] @ other[0]
    for a, b in zip(one[1:], other[1:]):
        total.addmm_(a, b)
    return total


def _stacked(count: int, found: dict[int, torch.Tensor]) -> torch.Tensor | None:
    """(experts, ...), zero for experts without tokens."""
    if not found:
        return None
    zero = torch.zeros_like(next(iter(found.values())))
    return torch.stack([found.get(e, zero) for e in range(count)])
