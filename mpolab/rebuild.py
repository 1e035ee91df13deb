"""W from the cores, and the gradients of the cores from W's gradient, with as little work and memory as it takes.

The chain is seen as three tensors: the left half L (i_L, j_L, d), the central core C (d, i_c, j_c, e) and the right
half R (e, i_R, j_R); a half has all cores on its side contracted and is small. Then W = L C R, two matrix products and
one reordering of the legs (which product comes first: `left_first`). With N entries in W the products cost 2 N d
and 2 N e FLOPs at full bonds, so rebuilding 768 x 3072 costs as much as 577 tokens of a dense layer, however many
tokens there are.

Autograd would keep L C for the backward pass, which is as large as W at full bonds. Written by hand nothing is kept
but the cores: `_Rebuild` makes W (whoever multiplies with it keeps it), `_Linear` does not even keep that. Both leave
out what nobody asks for, such as the gradient of a frozen central tensor, and can be differentiated again.

MPOP eqs. 1 and 2; what the FLOPs are is worked out in notebook 01, section 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import linear, pad

from .decomposition import full_precision
from .plans import Plan

Cores = Sequence[torch.Tensor]
FixedRow = tuple[int, torch.Tensor]  # (number, (J,)): a row of W that no core makes, such as an embedding's padding


# -- halves ----------------------------------------------------------------------------------------


def left_products(cores: Cores) -> list[torch.Tensor]:
    """The first core, the first two contracted, ...: a list of (i_1 .. i_k, j_1 .. j_k, d_k)."""
    products = [cores[0][0]]  # (i_1, j_1, d_1)
    for core in cores[1:]:
        height, width, bond = products[-1].shape
        _, i, j, after = core.shape
        product = products[-1].reshape(-1, bond) @ core.reshape(bond, -1)  # (I J, i j d)
        legs = product.reshape(height, width, i, j, after).transpose(1, 2)
        products.append(legs.reshape(height * i, width * j, after))
    return products


def right_products(cores: Cores) -> list[torch.Tensor]:
    """The last core, the last two contracted, ...: a list of (d_k, i_{k+1} .. i_n, j_{k+1} .. j_n)."""
    products = [cores[-1][..., 0]]  # (d_{n-1}, i_n, j_n)
    for core in reversed(cores[:-1]):
        bond, height, width = products[-1].shape
        before, i, j, _ = core.shape
        product = core.reshape(-1, bond) @ products[-1].reshape(bond, -1)  # (d i j, I J)
        legs = product.reshape(before, i, j, height, width).transpose(2, 3)
        products.append(legs.reshape(before, i * height, j * width))
    return products


def left_gradients(cores: Cores, products: Cores, grad: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of the cores of a left half from that of the half itself, (i_L, j_L, d)."""
    grads = []
    for core, before in zip(reversed(cores[1:]), reversed(products[:-1])):
        height, width, bond = before.shape
        _, i, j, after = core.shape
        grad = grad.reshape(height, i, width, j, after).transpose(1, 2).reshape(height * width, -1)  # (I J, i j d)
        grads.append((before.reshape(-1, bond).T @ grad).view_as(core))
        grad = (grad @ core.reshape(bond, -1).T).reshape(height, width, bond)
    return [grad[None], *reversed(grads)]


def right_gradients(cores: Cores, products: Cores, grad: torch.Tensor) -> list[torch.Tensor]:
    """Gradients of the cores of a right half from that of the half itself, (e, i_R, j_R)."""
    grads = []
    for core, after in zip(cores[:-1], reversed(products[:-1])):
        bond, height, width = after.shape
        before, i, j, _ = core.shape
        grad = grad.reshape(before, i, height, j, width).transpose(2, 3).reshape(-1, height * width)  # (d i j, I J)
        grads.append((grad @ after.reshape(bond, -1).T).view_as(core))
        grad = (core.reshape(-1, bond).T @ grad).reshape(bond, height, width)
    return [*grads, grad[..., None]]


class Thirds:
    """The chain as left half, central core and right half, in at least float32."""

    def __init__(self, plan: Plan, cores: Cores):
        self.plan, c = plan, plan.centre
        self.cores = [core.float() if core.dtype in (torch.float16, torch.bfloat16) else core for core in cores]
        self.centre = self.cores[c]  # (d, i_c, j_c, e)
        self._lefts = left_products(self.cores[:c])
        # two cores have nothing right of the centre: a half of size one stands in
        self._rights = right_products(self.cores[c + 1 :]) if c + 1 < plan.n else [self.centre.new_ones(1, 1, 1)]
        self.left, self.right = self._lefts[-1], self._rights[-1]  # (i_L, j_L, d), (e, i_R, j_R)
        self.sizes = _sizes(plan, [core.shape[0] for core in self.cores])
        self.left_first = left_first(*self.sizes)

    def first_product(self) -> torch.Tensor:
        """L C, (i_L j_L i_c j_c, e), or C R, (d, i_c j_c i_R j_R)."""
        left, d, middle, e, right = self.sizes
        if self.left_first:
            return (self.left.reshape(left, d) @ self.centre.reshape(d, middle * e)).view(left * middle, e)
        return (self.centre.reshape(d * middle, e) @ self.right.reshape(e, right)).view(d, middle * right)

    def matrix(self, first: torch.Tensor) -> torch.Tensor:
        """W (I, J), contiguous, from the first product."""
        left, d, _, e, right = self.sizes
        product = first @ self.right.reshape(e, right) if self.left_first else self.left.reshape(left, d) @ first
        legs = product.view(*self.left.shape[:2], *self.centre.shape[1:3], *self.right.shape[1:])
        W = legs.permute(0, 2, 4, 1, 3, 5).reshape(self.plan.padded)
        return W[: self.plan.shape[0], : self.plan.shape[1]].contiguous() if self.plan.is_padded else W

    def in_core_order(self, grad: torch.Tensor, fixed: FixedRow | None) -> torch.Tensor:
        """W's gradient (I, J) -> (i_L j_L, i_c j_c, i_R j_R), that of the padding and of a fixed row being zero."""
        plan = self.plan
        grad = grad.to(self.centre.dtype)
        if plan.is_padded:
            grad = pad(grad, (0, plan.padded[1] - plan.shape[1], 0, plan.padded[0] - plan.shape[0]))
        sizes = [tensor.shape[axis : axis + 2] for tensor, axis in ((self.left, 0), (self.centre, 1), (self.right, 1))]
        legs = grad.reshape(*(i for i, _ in sizes), *(j for _, j in sizes))
        legs = legs.permute(0, 3, 1, 4, 2, 5).clone(memory_format=torch.contiguous_format)
        if fixed is not None:
            (_, _), (centres, _), (rights, _) = sizes
            number = fixed[0]
            legs[number // (centres * rights), :, number // rights % centres, :, number % rights] = 0
        return legs.view(*(i * j for i, j in sizes))

    def gradients(
        self, grad: torch.Tensor, needed: Sequence[bool], first: torch.Tensor | None
    ) -> list[torch.Tensor | None]:
        """Gradients of the cores from W's (`in_core_order`), None where not needed. first: `first_product`, if at hand.

        Five products of the size of a rebuild's two if all cores need one, two to four otherwise.
        """
        c, (size_l, d, _, e, size_r) = self.plan.centre, self.sizes
        L, C, R = self.left.reshape(size_l, d), self.centre, self.right.reshape(e, size_r)
        lefts, centres, rights = any(needed[:c]), needed[c], any(needed[c + 1 :])
        left = centre = right = None
        if first is None and (rights if self.left_first else lefts):
            first = self.first_product()
        if self.left_first:
            if rights:
                right = first.T @ grad.view(-1, size_r)
            del first
            if lefts or centres:
                seen = (grad.view(-1, size_r) @ R.T).view(size_l, -1)  # (i_L j_L, i_c j_c e)
                centre = L.T @ seen if centres else None
                left = seen @ C.reshape(d, -1).T if lefts else None
        else:
            if lefts:
                left = grad.view(size_l, -1) @ first.T
            del first
            if rights or centres:
                seen = (L.T @ grad.view(size_l, -1)).view(-1, size_r)  # (d i_c j_c, i_R j_R)
                centre = seen @ R.T if centres else None
                right = C.reshape(-1, e).T @ seen if rights else None
        return self.core_gradients(left, centre, right, needed)

    def core_gradients(
        self, left: torch.Tensor | None, centre: torch.Tensor | None, right: torch.Tensor | None, needed: Sequence[bool]
    ) -> list[torch.Tensor | None]:
        """Gradients of all cores from those of L, C and R (None where no core in it needs one)."""
        c, n = self.plan.centre, self.plan.n
        lefts, rights = [None] * c, [None] * (n - c - 1)
        if left is not None:
            lefts = left_gradients(self.cores[:c], self._lefts, left.view_as(self.left))
        if right is not None and c + 1 < n:
            rights = right_gradients(self.cores[c + 1 :], self._rights, right.view_as(self.right))
        centre = None if centre is None else centre.view_as(self.centre)
        return [grad if wanted else None for grad, wanted in zip([*lefts, centre, *rights], needed)]


def _sizes(plan: Plan, bonds: Sequence[int]) -> tuple[int, int, int, int, int]:
    """i_L j_L, d, i_c j_c, e, i_R j_R."""
    c = plan.centre
    after = bonds[c + 1] if c + 1 < plan.n else 1
    return math.prod(plan.sizes[:c]), bonds[c], plan.sizes[c], after, math.prod(plan.sizes[c + 1 :])


def _flops_left_first(left: int, d: int, centre: int, e: int, right: int) -> int:
    return 2 * left * centre * e * (d + right)


def _flops_right_first(left: int, d: int, centre: int, e: int, right: int) -> int:
    return 2 * d * centre * right * (e + left)


def left_first(left: int, d: int, centre: int, e: int, right: int) -> bool:
    """Whether L C is formed first, and not C R: the order of fewer FLOPs; at full bonds both cost the same, and the
    cheaper first product wins, as the backward pass makes it again and needs two more of its size.
    """
    forms_left, forms_right = 2 * left * d * centre * e, 2 * d * centre * e * right
    orders = (left, d, centre, e, right)
    return (_flops_left_first(*orders), forms_left) <= (_flops_right_first(*orders), forms_right)


def rebuild_flops(plan: Plan, bonds: Sequence[int]) -> int:
    """Of the two large products in a rebuild, in the better order."""
    sizes = _sizes(plan, bonds)
    return min(_flops_left_first(*sizes), _flops_right_first(*sizes))


# -- W ---------------------------------------------------------------------------------------------


@full_precision
def contract(plan: Plan, cores: Cores, dtype: torch.dtype | None = None, fixed: FixedRow | None = None) -> torch.Tensor:
    """W (I, J) by plain operations that autograd, torch.compile and torch.func can follow.

    Computed in at least float32 and without autocast, then rounded once to `dtype`, by default the cores'.
    """
    thirds = Thirds(plan, cores)
    return _with_row(thirds.matrix(thirds.first_product()).to(dtype or cores[0].dtype), fixed)


def _with_row(W: torch.Tensor, fixed: FixedRow | None) -> torch.Tensor:
    if fixed is not None:
        W[fixed[0]] = fixed[1].to(W.dtype)  # in place: a copy would be a second table
    return W


def rebuild(plan: Plan, cores: Cores, dtype: torch.dtype | None = None, fixed: FixedRow | None = None) -> torch.Tensor:
    """The same, keeping nothing for the backward pass but the cores themselves."""
    return _Rebuild.apply(plan, dtype, fixed, *cores)


class _Cores:
    """Cores for a backward pass, checked for changes as autograd does.

    Autograd's own list is not used: activation checkpointing counts it, and a W that `rebuild_once` shares between
    checkpointed calls is not made in each of them again.
    """

    def __init__(self, cores: Cores):
        self._cores, self._versions = cores, [core._version for core in cores]

    def checked(self) -> Cores:
        for k, (core, version) in enumerate(zip(self._cores, self._versions)):
            if core._version != version:
                raise RuntimeError(
                    f"core {k} was modified in place (version {core._version}, expected {version}) between the forward "
                    "pass and its backward pass; step the optimizer after backward()."
                )
        return self._cores


class _Rebuild(torch.autograd.Function):
    @staticmethod
    def forward(ctx, plan, dtype, fixed, *cores):
        ctx.plan, ctx.fixed, ctx.cores = plan, fixed, _Cores(cores)
        return contract(plan, cores, dtype, fixed)

    @staticmethod
    @full_precision
    def backward(ctx, grad):
        cores = ctx.cores.checked()
        thirds = Thirds(ctx.plan, cores)
        grads = thirds.gradients(thirds.in_core_order(grad, ctx.fixed), ctx.needs_input_grad[3:], None)
        return None, None, None, *_as(grads, cores)


# -- y = W x + b without W -------------------------------------------------------------------------


def recomputed_linear(
    plan: Plan, cores: Cores, x: torch.Tensor, bias: torch.Tensor | None, fixed: FixedRow | None = None
) -> torch.Tensor:
    """y = W x + b, x (..., J) -> (..., I), in x's dtype; W is forgotten and made again for the backward pass.

    Keeps x and the cores.
    """
    return _Linear.apply(plan, fixed, x, bias, *cores)


class _Linear(torch.autograd.Function):
    @staticmethod
    @full_precision
    def forward(ctx, plan, fixed, x, bias, *cores):
        ctx.plan, ctx.fixed = plan, fixed
        ctx.save_for_backward(x, *cores)
        return linear(x, contract(plan, cores, x.dtype, fixed), bias)

    @staticmethod
    @full_precision
    def backward(ctx, grad):
        x, *cores = ctx.saved_tensors
        _, _, needs_x, needs_bias, *needed = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])  # (tokens, I)
        thirds, grad_x, first = Thirds(ctx.plan, cores), None, None
        if needs_x:
            first = thirds.first_product()
            grad_x = (flat @ _with_row(thirds.matrix(first).to(x.dtype), ctx.fixed)).view_as(x)
        grads = [None] * len(cores)
        if any(needed):
            grad_W = thirds.in_core_order(flat.T @ x.reshape(-1, x.shape[-1]), ctx.fixed)
            grads = _as(thirds.gradients(grad_W, needed, first), cores)
        return None, None, grad_x, flat.sum(0) if needs_bias else None, *grads


def _as(grads: Sequence[torch.Tensor | None], cores: Cores) -> list[torch.Tensor | None]:
    return [None if grad is None else grad.to(core.dtype) for grad, core in zip(grads, cores)]
