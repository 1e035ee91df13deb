"""Rows of an MPO by their numbers: an embedding's look-up that never makes the table.

Row r of W has the digits (i_1 .. i_n) in the mixed radix of the plan's rows, first digit slowest. With L, C and R as in
`mpolab.rebuild` it is L[i_L] C[i_c] R[i_R]: (j_L, d) (d, j_c e) (e, j_R). Rows that share (i_L, i_c) share the first
product, and rows asked for twice are made once. Everything is done in pieces so small that little is needed beside the
output; the backward pass goes through the same pieces. Notebook 02, "Compression".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from .decomposition import full_precision
from .plans import Plan
from .rebuild import left_gradients, left_products, right_gradients, right_products

PIECES = 24  # a piece's products, and the factors gathered for it, each take one part in so many of the output
CUDA_PIECE_BYTES = 64 << 20  # a GPU's launches cost more than its memory, so its pieces are at least this large


def rows_of(
    plan: Plan,
    cores: Sequence[torch.Tensor],
    ids: torch.Tensor,
    padding_idx: int | None = None,
    padding_row: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rows `ids` (...) of the matrix that the cores make -> (..., J), differentiable (once) in the cores.

    Computed in at least float32, rounded once to the cores' dtype. padding_idx: the number whose row is `padding_row`
    (J,) instead, and has no gradient. Ids are taken to be in range.
    """
    flat = _Rows.apply(plan, ids.reshape(-1), padding_idx, padding_row, *cores)
    return flat.view(*ids.shape, plan.shape[1])


class _Asked:
    """Which rows a list of ids asks for, each once, in the order in which they are made: by (i_c, i_L, i_R)."""

    def __init__(self, plan: Plan, ids: torch.Tensor, padding_idx: int | None):
        c, self.ids = plan.centre, ids
        rights, centres, lefts = math.prod(plan.rows[c + 1 :]), plan.rows[c], math.prod(plan.rows[:c])
        self.wanted = None  # positions in ids that are no padding, if any are
        if padding_idx is not None:
            self.wanted = (ids != padding_idx).nonzero()[:, 0]
            ids = ids[self.wanted]
        before = ids.div(rights, rounding_mode="floor")
        key = (before % centres * lefts + before.div(centres, rounding_mode="floor")) * rights + ids % rights
        del before
        key, inverse, counts = torch.unique(key, return_inverse=True, return_counts=True)
        order = torch.argsort(inverse, stable=True)
        self.row_of = inverse[order]  # for every token, sorted by row: which row
        self.position = order if self.wanted is None else self.wanted[order]  # and where it stands in ids
        self.end = counts.cumsum(0)  # of each row's tokens in those two lists
        self.right = key % rights  # i_R of each row
        prefix = key.div(rights, rounding_mode="floor")  # i_c and i_L of each row
        prefix, self.prefix_of, rows = torch.unique_consecutive(prefix, return_inverse=True, return_counts=True)
        self.left = prefix % lefts  # i_L of each prefix
        self._centre = prefix.div(lefts, rounding_mode="floor").tolist()  # i_c of each prefix
        self._row_end = [0, *rows.cumsum(0).tolist()]

    def pieces(self, prefixes: int) -> Iterator[tuple[int, slice, slice]]:
        """(i_c, which prefixes, which rows), at most so many prefixes at a time, all with one i_c."""
        start, total = 0, len(self._centre)
        while start < total:
            stop = start + 1
            while stop < min(start + prefixes, total) and self._centre[stop] == self._centre[start]:
                stop += 1
            yield self._centre[start], slice(start, stop), slice(self._row_end[start], self._row_end[stop])
            start = stop

    def first(self) -> torch.Tensor:
        """For each row a position that asks for it."""
        return self.position[torch.cat([self.end.new_zeros(1), self.end[:-1]])] if len(self.end) else self.position

    def repeated(self) -> torch.Tensor:
        """Which entries of `position` ask for a row that an earlier one has asked for already."""
        return (self.row_of[1:] == self.row_of[:-1]).nonzero()[:, 0] + 1


class _Rows(torch.autograd.Function):
    @staticmethod
    @full_precision
    def forward(ctx, plan, ids, padding_idx, padding_row, *cores):
        ctx.plan, ctx.padding_idx = plan, padding_idx
        ctx.save_for_backward(ids, *cores)
        tables = _Tables(plan, cores)
        asked = _Asked(plan, ids, padding_idx)
        out = cores[0].new_empty(len(ids), plan.shape[1])
        if padding_idx is not None:
            out[ids == padding_idx] = padding_row.to(out.dtype)
        first = asked.first()
        prefixes, rows_at_once, copies = tables.sizes(out)
        for digit, which, rows in asked.pieces(prefixes):
            made = tables.left_centre(digit, asked.left[which])  # (prefixes, j_L j_c, e)
            for some in _parts(rows, rows_at_once):
                factors = tables.right_of(asked.right[some])  # (rows, e, j_R)
                row = torch.bmm(made[asked.prefix_of[some] - which.start], factors).flatten(1)
                out[first[some]] = row[:, : out.shape[1]].to(out.dtype)
                del factors, row
            del made
        again = asked.repeated()
        for some in _parts(slice(0, len(again)), copies):
            entries = again[some]
            out[asked.position[entries]] = out[first[asked.row_of[entries]]]
        return out

    @staticmethod
    @once_differentiable
    @full_precision
    def backward(ctx, grad):
        ids, *cores = ctx.saved_tensors
        plan, needed, c = ctx.plan, ctx.needs_input_grad[4:], ctx.plan.centre
        tables = _Tables(plan, cores)
        asked = _Asked(plan, ids, ctx.padding_idx)
        sums = tables.zeros(any(needed[:c]), needed[c], any(needed[c + 1 :]))
        ends = [0, *asked.end.tolist()]
        prefixes, rows_at_once, copies = tables.sizes(grad)
        for digit, which, rows in asked.pieces(prefixes):
            made = tables.left_centre(digit, asked.left[which])  # (prefixes, j_L j_c, e)
            grad_made = torch.zeros_like(made)
            for some in _parts(rows, rows_at_once):
                of_rows = made.new_zeros(some.stop - some.start, plan.shape[1])
                for tokens in _parts(slice(ends[some.start], ends[some.stop]), copies):
                    seen = grad[asked.position[tokens]].to(made.dtype)
                    of_rows.index_add_(0, asked.row_of[tokens] - some.start, seen)
                    del seen
                of_rows = pad(of_rows, (0, plan.padded[1] - plan.shape[1]))
                of_rows = of_rows.view(len(of_rows), made.shape[1], -1)  # (rows, j_L j_c, j_R)
                prefix = asked.prefix_of[some] - which.start
                if sums.right is not None:
                    sums.right.index_add_(0, asked.right[some], torch.bmm(made[prefix].transpose(1, 2), of_rows))
                if sums.left is not None or sums.centre is not None:
                    factors = tables.right_of(asked.right[some]).transpose(1, 2)
                    grad_made.index_add_(0, prefix, torch.bmm(of_rows, factors))
                    del factors
                del of_rows
            tables.add(sums, digit, asked.left[which], grad_made)
            del made, grad_made
        grads = [
            None if grad is None or not wanted else grad.to(core.dtype)
            for grad, wanted, core in zip(tables.grads(sums), needed, cores)
        ]
        return None, None, None, None, *grads


class _Sums:
    """Gradients of L (i_L, j_L, d), C (d, i_c, j_c, e) and R (i_R, e, j_R); None where nobody asks."""

    def __init__(self, left, centre, right):
        self.left, self.centre, self.right = left, centre, right


class _Tables:
    """L and R, computed once per look-up, and C, of which only slices are used."""

    def __init__(self, plan: Plan, cores: Sequence[torch.Tensor]):
        c = plan.centre
        dtype = torch.promote_types(cores[0].dtype, torch.float32)
        self.plan, self.centre, self.dtype = plan, cores[c], dtype
        self.left_cores, self.right_cores = [k.to(dtype) for k in cores[:c]], [k.to(dtype) for k in cores[c + 1 :]]
        self.left = left_products(self.left_cores)[-1]  # (i_L, j_L, d)
        if self.right_cores:
            self.right = right_products(self.right_cores)[-1]  # (e, i_R, j_R)
        else:  # two cores have nothing right of the centre
            self.right = self.left.new_ones(1, 1, 1)

    def sizes(self, out: torch.Tensor) -> tuple[int, int, int]:
        """How many prefixes, how many rows, and how many copies of rows fit into a piece; at least one."""
        budget = out.numel() * self.left.element_size() / PIECES
        if out.is_cuda:
            budget = max(budget, CUDA_PIECE_BYTES)
        budget /= self.left.element_size()
        wide = self.left.shape[1] * self.centre.shape[2]
        product, factor = wide * self.centre.shape[3], self.right.shape[0] * self.right.shape[2]
        row = self.plan.padded[1]
        prefixes, rows, copies = budget // product, budget // (product + factor + row), budget // row
        return max(1, int(prefixes)), max(1, int(rows)), max(1, int(copies))

    def slice(self, digit: int) -> torch.Tensor:
        """C[i_c]: (d, j_c e)."""
        return self.centre[:, digit].reshape(self.centre.shape[0], -1).to(self.dtype)

    def left_centre(self, digit: int, lefts: torch.Tensor) -> torch.Tensor:
        """L[i_L] C[i_c] for some i_L and one i_c: (prefixes, j_L j_c, e)."""
        rows = self.left[lefts].reshape(-1, self.left.shape[2])
        return (rows @ self.slice(digit)).reshape(len(lefts), -1, self.centre.shape[3])

    def right_of(self, rights: torch.Tensor) -> torch.Tensor:
        """R[i_R]: (rows, e, j_R)."""
        return self.right.index_select(1, rights).transpose(0, 1)

    def zeros(self, left: bool, centre: bool, right: bool) -> _Sums:
        e, i, j = self.right.shape
        return _Sums(
            torch.zeros_like(self.left) if left else None,
            torch.zeros_like(self.centre, dtype=self.dtype) if centre else None,
            self.right.new_zeros(i, e, j) if right else None,
        )

    def add(self, sums: _Sums, digit: int, lefts: torch.Tensor, grad: torch.Tensor) -> None:
        """Adds what the gradient of `left_centre` says about L and C."""
        flat = grad.reshape(len(lefts) * self.left.shape[1], -1)  # (prefixes j_L, j_c e)
        if sums.left is not None:
            sums.left.index_add_(0, lefts, (flat @ self.slice(digit).T).view(len(lefts), *self.left.shape[1:]))
        if sums.centre is not None:
            target = sums.centre[:, digit].view(self.centre.shape[0], -1)
            target.addmm_(self.left[lefts].reshape(-1, self.left.shape[2]).T, flat)

    def grads(self, sums: _Sums) -> list[torch.Tensor | None]:
        """Of all cores."""
        left, right = [None] * len(self.left_cores), [None] * len(self.right_cores)
        if sums.left is not None:
            left = left_gradients(self.left_cores, left_products(self.left_cores), sums.left)
        if sums.right is not None and self.right_cores:
            right = right_gradients(self.right_cores, right_products(self.right_cores), sums.right.transpose(0, 1))
        return [*left, sums.centre, *right]


def _parts(whole: slice, size: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, size):
        yield slice(start, min(start + size, whole.stop))
