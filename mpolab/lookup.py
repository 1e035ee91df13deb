"""Rows of an MPO by their numbers: an embedding's look-up that never makes the table.

Row r of W has the digits (i_1 .. i_n) in the mixed radix of the plan's rows, first digit slowest. With c the central
core it is a product of matrices, one of each core:

    A[i_1 .. i_{c-2}] T_{c-1}[i_{c-1}]  T_c[i_c]  T_{c+1}[i_{c+1}] B[i_{c+2} .. i_n]

A and B are the few outer cores contracted, small tables that are made at once. Rows asked for twice are made once; rows
that share their digits up to i_c (a prefix) share that part of the product; prefixes that share i_{c-1} and i_c are
made by one matrix product. So the rows are sorted by these digits and made a piece at a time, so small that all that
is needed beside the output is about a quarter of it. The backward pass goes through the same pieces. Where the bond
right of the centre is the larger one, the chain is taken in its mirror image: a prefix then ends at the smaller bond.

Taught in notebook 02, "Compression".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from .decomposition import full_precision
from .plans import Plan
from .rebuild import left_gradients, left_products, right_gradients, right_products

EXTRA = 1 / 4  # of the output's numbers: what a look-up may need beside it
INDEX_NUMBERS = 20  # of float32, for each id: the lists that say which row is wanted where
CUDA_NUMBERS = 16 << 20  # a GPU has the memory, and launches cost it more


def rows_of(
    plan: Plan,
    cores: Sequence[torch.Tensor],
    ids: torch.Tensor,
    padding_idx: int | None = None,
    padding_row: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rows `ids` (...), int64, of the matrix that the cores make -> (..., J), differentiable (once) in the cores.

    Computed in at least float32, rounded once to the cores' dtype. padding_idx: the number whose row is `padding_row`
    (J,) instead, and has no gradient. Ids are taken to be in range.
    """
    flat = _Rows.apply(plan, ids.reshape(-1), padding_idx, padding_row, *cores)
    return flat.view(*ids.shape, plan.shape[1])


class _Rows(torch.autograd.Function):
    @staticmethod
    @full_precision
    def forward(ctx, plan, ids, padding_idx, padding_row, *cores):
        ctx.plan, ctx.padding_idx = plan, padding_idx
        ctx.save_for_backward(ids, *cores)
        out = cores[0].new_empty(len(ids), plan.shape[1])
        if padding_idx is not None:
            out[ids == padding_idx] = padding_row.to(out.dtype)
        factors = _Factors(plan, cores)
        sizes = factors.sizes(out)
        asked = _Asked(factors, ids, padding_idx, sizes)
        for piece in asked.pieces(sizes.prefixes):
            prefixes = factors.prefixes(piece)  # (prefixes, j_1 .. j_c, d_c)
            for grid in asked.grids(piece, sizes.slots):
                made = torch.bmm(prefixes, factors.suffixes(piece, grid))
                made = factors.in_plan_order(made, grid.width)  # (prefixes width, J)
                out[asked.first[grid.rows]] = made[grid.slots].to(out.dtype)
                del made
            del prefixes
        again = asked.repeated()
        for start in range(0, len(again), sizes.copies):
            entries = again[start : start + sizes.copies]
            out[asked.position[entries]] = out[asked.first[asked.row_of[entries]]]
        return out

    @staticmethod
    @full_precision
    def backward(ctx, grad):
        if torch.is_grad_enabled():
            raise RuntimeError("a look-up in an MPOEmbedding cannot be differentiated twice (create_graph=True).")
        ids, *cores = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        factors = _Factors(ctx.plan, cores)
        sums = _Gradients(factors, needed)
        sizes = factors.sizes(grad)
        asked = _Asked(factors, ids, ctx.padding_idx, sizes)
        for piece in asked.pieces(sizes.prefixes):
            prefixes = factors.prefixes(piece)
            grad_prefixes = torch.zeros_like(prefixes)
            for grid in asked.grids(piece, sizes.slots):
                seen = prefixes.new_zeros(len(prefixes) * grid.width, ctx.plan.shape[1])
                for rows, tokens in asked.tokens(grid, sizes.copies):
                    seen.index_add_(0, grid.slots[rows], grad[asked.position[tokens]].to(seen.dtype))
                seen = factors.in_own_order(seen, grid.width)  # (prefixes, j_1 .. j_c, width j_{c+1} .. j_n)
                suffixes = factors.suffixes(piece, grid)  # (prefixes, d_c, width j_{c+1} .. j_n)
                grad_prefixes.baddbmm_(seen, suffixes.transpose(1, 2))
                del suffixes
                sums.add_suffixes(piece, grid, prefixes, seen)
                del seen
            sums.add_prefixes(piece, grad_prefixes)
            del prefixes, grad_prefixes
        return None, None, None, None, *sums.of_cores(cores, needed)


# -- which rows, and in which order --------------------------------------------------------------


@dataclass(frozen=True)
class _Sizes:
    """How much is done at a time."""

    blocks: int  # parts into which the values of digit i_{c+1} are divided, each with a suffix table of its own
    prefixes: int  # of one piece
    slots: int  # rows of a piece
    copies: int  # rows copied


@dataclass(frozen=True)
class _Piece:
    """Prefixes `which` that have the digits i_{c-1} = left and i_c = centre, with their rows in the sorted list."""

    block: int
    left: int
    centre: int
    outer: torch.Tensor  # the number (i_1 .. i_{c-2}) of each prefix
    which: slice
    rows: slice


@dataclass(frozen=True)
class _Grid:
    """Places for some rows of a piece, `width` for each prefix; not all need to be taken."""

    width: int
    rows: torch.Tensor  # which rows of the sorted list
    slots: torch.Tensor  # their places, counted through all prefixes
    suffix: torch.Tensor  # (prefixes width,): entry of the suffix table for each place, 0 where it is free


class _Asked:
    """Which rows a list of ids asks for, each once, sorted by block of i_{c+1}, i_c, i_{c-1}, i_1 .. i_{c-2}, rest."""

    def __init__(self, factors: _Factors, ids: torch.Tensor, padding_idx: int | None, sizes: _Sizes):
        wanted = None
        if padding_idx is not None:
            wanted = (ids != padding_idx).nonzero()[:, 0]
            ids = ids[wanted]
        if factors.mirrored:
            ids = _reversed_digits(ids, factors.plan.rows)
        outer_rights = factors.outer_right.shape[1]
        rights = factors.right.shape[1] * outer_rights
        self._lefts, self._centres, outers = factors.left.shape[1], factors.centre.shape[1], factors.outer_left.shape[0]
        before, suffix = _divided(ids, rights)
        before, centre = _divided(before, self._centres)
        outer, left = _divided(before, self._lefts)
        per_block = -(-factors.right.shape[1] // sizes.blocks)
        block = suffix.div(per_block * outer_rights, rounding_mode="floor")
        key = (((block * self._centres + centre) * self._lefts + left) * outers + outer) * rights + suffix
        del before, suffix, centre, outer, left, block, ids
        key, inverse, counts = torch.unique(key, return_inverse=True, return_counts=True)
        order = torch.argsort(inverse)
        self.row_of = inverse[order]  # for every token, sorted by row: its row
        self.position = order if wanted is None else wanted[order]  # and where it stands among the ids
        del inverse, order, wanted
        self.count, self.end = counts, counts.cumsum(0)  # of each row's tokens in those two lists
        self.first = self.position[self.end - counts]  # for each row, one place that asks for it
        prefix, suffix = _divided(key, rights)
        self.suffix = suffix % (per_block * outer_rights)  # entry in the block's suffix table
        prefix, self.prefix_of, rows = torch.unique_consecutive(prefix, return_inverse=True, return_counts=True)
        row_end = rows.cumsum(0)
        self.rank = torch.arange(len(key), device=key.device) - (row_end - rows)[self.prefix_of]
        group, self._outer = _divided(prefix, outers)
        self._group, self._row_end = group.tolist(), [0, *row_end.tolist()]

    def pieces(self, most: int) -> Iterator[_Piece]:
        """At most so many prefixes at a time, all of one block with the same i_{c-1} and i_c."""
        start, total = 0, len(self._group)
        while start < total:
            group, stop = self._group[start], start + 1
            while stop < min(start + most, total) and self._group[stop] == group:
                stop += 1
            rest, left = divmod(group, self._lefts)
            block, centre = divmod(rest, self._centres)
            rows = slice(self._row_end[start], self._row_end[stop])
            yield _Piece(block, left, centre, self._outer[start:stop], slice(start, stop), rows)
            start = stop

    def grids(self, piece: _Piece, slots: int) -> Iterator[_Grid]:
        """The rows of a piece in grids of at most so many places."""
        first, last = piece.which.start, piece.which.stop
        longest = max(self._row_end[k + 1] - self._row_end[k] for k in range(first, last))
        width = min(longest, max(1, slots // (last - first)))
        ranks = self.rank[piece.rows]
        for start in range(0, longest, width):
            rows = torch.arange(piece.rows.start, piece.rows.stop, device=ranks.device)
            if width < longest:
                rows = rows[(ranks >= start) & (ranks < start + width)]
            places = (self.prefix_of[rows] - first) * width + self.rank[rows] - start
            suffix = places.new_zeros((last - first) * width)
            suffix[places] = self.suffix[rows]
            yield _Grid(width, rows, places, suffix)

    def tokens(self, grid: _Grid, most: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All pairs of a row of a grid (its number there) and an entry of `position` that asks for it."""
        end, counts = self.end[grid.rows], self.count[grid.rows]
        rows = torch.repeat_interleave(counts)  # 0 0 1 2 2 2 ...: as often as each is asked for
        entries = torch.arange(len(rows), device=rows.device) + (end - counts.cumsum(0))[rows]
        yield from zip(rows.split(most), entries.split(most))

    def repeated(self) -> torch.Tensor:
        """Which entries of `position` ask for a row that another one stands for."""
        if not len(self.position):
            return self.position
        return (self.position != self.first[self.row_of]).nonzero()[:, 0]


def _reversed_digits(numbers: torch.Tensor, radix: Sequence[int]) -> torch.Tensor:
    """The numbers whose digits in the reversed radix are theirs from the last to the first."""
    result = torch.zeros_like(numbers)
    for size in reversed(radix):
        result, numbers = result * size + numbers % size, numbers.div(size, rounding_mode="floor")
    return result


def _divided(number: torch.Tensor, by: int) -> tuple[torch.Tensor, torch.Tensor]:
    return number.div(by, rounding_mode="floor"), number % by


# -- what rows are made from -----------------------------------------------------------------------


class _Factors:
    """The three cores in the middle, and what lies outside of them contracted, in at least float32.

    outer_left (i_1 .. i_{c-2}, j_1 .. j_{c-2}, d), left (d, i_{c-1}, j_{c-1}, d'), centre (d', i_c, j_c, e),
    right (e, i_{c+1}, j_{c+1}, e'), outer_right (e', i_{c+2} .. i_n, j_{c+2} .. j_n); a 1 where there is nothing.
    """

    def __init__(self, plan: Plan, cores: Sequence[torch.Tensor]):
        c, n = plan.centre, plan.n
        self.plan, self.mirrored = plan, cores[c].shape[3] > cores[c].shape[0]
        if self.mirrored:
            c, cores = n - 1 - c, [core.permute(3, 1, 2, 0) for core in reversed(cores)]
        self.dtype = torch.promote_types(cores[0].dtype, torch.float32)
        one = torch.ones((), dtype=self.dtype, device=cores[0].device)
        self.left_cores = [core.to(self.dtype) for core in cores[: max(c - 1, 0)]]
        self.right_cores = [core.to(self.dtype) for core in cores[c + 2 :]]
        self.left_products = left_products(self.left_cores) if self.left_cores else [one.view(1, 1, 1)]
        self.right_products = right_products(self.right_cores) if self.right_cores else [one.view(1, 1, 1)]
        self.outer_left, self.outer_right = self.left_products[-1], self.right_products[-1]
        self.left = cores[c - 1] if c > 0 else one.view(1, 1, 1, 1)
        self.centre = cores[c]
        self.right = cores[c + 1] if c + 1 < n else one.view(1, 1, 1, 1)
        self._slice: tuple[int, torch.Tensor] | None = None
        self._suffixes: tuple[int, torch.Tensor] | None = None
        self._blocks = 1

    def sizes(self, out: torch.Tensor) -> _Sizes:
        """What fits into `EXTRA` of the output's numbers, at least one of each."""
        limit = EXTRA * out.numel() - INDEX_NUMBERS * len(out)
        if out.is_cuda:
            limit = max(limit, CUDA_NUMBERS)
        values, e = self.right.shape[1], self.centre.shape[3]
        width = self._suffix_width()
        table = e * values * self.outer_right.shape[1] * width
        self._blocks = next((b for b in range(1, values) if table / b <= 0.8 * limit), values)
        kept = self.centre.shape[0] * self.centre.shape[2] * e if self.mirrored else 0  # the centre's slice
        rest = max(0.0, limit - table / self._blocks - kept)
        prefix = self.outer_left.shape[1] * self.left.shape[2] * (self.left.shape[3] + self.centre.shape[2] * e)
        slot = e * width + 2 * self.plan.padded[1]
        prefixes, slots, copies = rest / 3 // prefix, rest / 2 // slot, rest // self.plan.padded[1]
        return _Sizes(self._blocks, max(1, int(prefixes)), max(1, int(slots)), max(1, int(copies)))

    def left_rows(self, piece: _Piece) -> torch.Tensor:
        """A[outer] T_{c-1}[i_{c-1}]: (prefixes j_1 .. j_{c-1}, d_{c-1})."""
        outer = self.outer_left[piece.outer].reshape(-1, self.outer_left.shape[2])
        return (outer @ self.slice(self.left, piece.left)).view(-1, self.left.shape[3])

    def centre_slice(self, digit: int) -> torch.Tensor:
        """T_c[i_c]: (d_{c-1}, j_c d_c), kept for the pieces that follow; a copy where the chain is mirrored."""
        if self._slice is None or self._slice[0] != digit:
            self._slice = None
            self._slice = digit, self.slice(self.centre, digit)
        return self._slice[1]

    def prefixes(self, piece: _Piece) -> torch.Tensor:
        """(prefixes, j_1 .. j_c, d_c)."""
        made = self.left_rows(piece) @ self.centre_slice(piece.centre)
        return made.view(len(piece.outer), -1, self.centre.shape[3])

    def slice(self, core: torch.Tensor, digit: int) -> torch.Tensor:
        """Core (d, i, j, e) -> its part of one i, (d, j e)."""
        return core[:, digit].reshape(core.shape[0], -1).to(self.dtype)

    def suffixes(self, piece: _Piece, grid: _Grid) -> torch.Tensor:
        """T_{c+1}[i_{c+1}] B[rest] for every place of a grid: (prefixes, d_c, width j_{c+1} .. j_n)."""
        some = self.suffix_table(piece.block).index_select(1, grid.suffix)  # (d_c, prefixes width, j_{c+1} .. j_n)
        return some.view(len(some), len(piece.outer), -1).transpose(0, 1)

    def suffix_table(self, block: int) -> torch.Tensor:
        """T_{c+1}[i_{c+1}] B[rest] for all suffixes of a block: (d_c, suffixes, j_{c+1} .. j_n)."""
        if self._suffixes is None or self._suffixes[0] != block:
            self._suffixes = None  # the old table goes before the new one comes
            self._suffixes = block, self._filled_table(block)
        return self._suffixes[1]

    def block_values(self, block: int) -> range:
        """The values of i_{c+1} in a block."""
        per_block = -(-self.right.shape[1] // self._blocks)
        return range(block * per_block, min((block + 1) * per_block, self.right.shape[1]))

    def _filled_table(self, block: int) -> torch.Tensor:
        """One value of i_{c+1} at a time: reordering the whole table would take it twice."""
        values, (e, _, j, bond) = self.block_values(block), self.right.shape
        _, outer, width = self.outer_right.shape
        table = self.outer_right.new_empty(e, len(values), outer, j, width)
        for place, value in enumerate(values):
            right = self.slice(self.right, value).reshape(-1, bond)
            made = right @ self.outer_right.reshape(bond, -1)  # (e j, outer width)
            table[:, place] = made.view(e, j, outer, width).transpose(1, 2)
        return table.view(e, -1, j * width)

    def in_plan_order(self, made: torch.Tensor, width: int) -> torch.Tensor:
        """Rows as they were made, (prefixes, j_1 .. j_c, width j_{c+1} .. j_n) -> (prefixes width, J)."""
        legs = self._legs(made, width)
        return legs.reshape(-1, self.plan.padded[1])[:, : self.plan.shape[1]]

    def in_own_order(self, rows: torch.Tensor, width: int) -> torch.Tensor:
        """The way back, (prefixes width, J) -> (prefixes, j_1 .. j_c, width j_{c+1} .. j_n), padding with zeros."""
        made = rows.new_empty(len(rows) // width, self._prefix_width(), width * self._suffix_width())
        if self.plan.padded[1] > self.plan.shape[1]:
            rows = pad(rows, (0, self.plan.padded[1] - self.plan.shape[1]))
        legs = self._legs(made, width)
        legs.copy_(rows.view(legs.shape))
        return made

    def _legs(self, made: torch.Tensor, width: int) -> torch.Tensor:
        """A view (prefixes, width, the j's in the plan's order)."""
        if not self.mirrored:
            return made.view(len(made), -1, width, self._suffix_width()).transpose(1, 2)
        cols, c = self.plan.cols[::-1], self.plan.n - 1 - self.plan.centre
        legs = made.view(len(made), *cols[: c + 1], width, *cols[c + 1 :])
        return legs.permute(0, c + 2, *range(self.plan.n + 1, c + 2, -1), *range(c + 1, 0, -1))

    def _prefix_width(self) -> int:
        """j_1 .. j_c."""
        return self.outer_left.shape[1] * self.left.shape[2] * self.centre.shape[2]

    def _suffix_width(self) -> int:
        """j_{c+1} .. j_n."""
        return self.right.shape[2] * self.outer_right.shape[2]


class _Gradients:
    """Gradients of what `_Factors` holds, added up piece by piece; None where nobody asks for them."""

    def __init__(self, factors: _Factors, needed: Sequence[bool]):
        needed = list(needed)
        c = factors.plan.centre
        if factors.mirrored:
            c, needed = factors.plan.n - 1 - c, needed[::-1]
        self._factors = factors

        def zeros(tensor: torch.Tensor, wanted: bool) -> torch.Tensor | None:
            return torch.zeros(tensor.shape, dtype=factors.dtype, device=tensor.device) if wanted else None

        self.outer_left = zeros(factors.outer_left, any(needed[: max(c - 1, 0)]))
        self.left = zeros(factors.left, c > 0 and needed[c - 1])
        self.centre = zeros(factors.centre, needed[c])
        self.right = zeros(factors.right, any(needed[c + 1 : c + 2]))
        self.outer_right = zeros(factors.outer_right, any(needed[c + 2 :]))
        self._suffixes: tuple[int, torch.Tensor] | None = None  # of one block's table

    def add_prefixes(self, piece: _Piece, grad: torch.Tensor) -> None:
        """grad (prefixes, j_1 .. j_c, d_c)."""
        factors = self._factors
        flat = grad.view(-1, factors.centre.shape[2] * factors.centre.shape[3])  # (prefixes j_1 .. j_{c-1}, j_c d_c)
        if self.centre is not None:
            part = self.centre[:, piece.centre].view(len(self.centre), -1)
            part.addmm_(factors.left_rows(piece).T, flat)
        if self.left is None and self.outer_left is None:
            return
        flat = flat @ factors.centre_slice(piece.centre).T
        flat = flat.view(-1, factors.left.shape[2] * factors.left.shape[3])  # (prefixes j_1 .., j_{c-1} d_{c-1})
        if self.left is not None:
            outer = factors.outer_left[piece.outer].reshape(len(flat), -1)
            self.left[:, piece.left].view(len(self.left), -1).addmm_(outer.T, flat)
        if self.outer_left is not None:
            made = flat @ factors.slice(factors.left, piece.left).T
            self.outer_left.index_add_(0, piece.outer, made.view(len(piece.outer), *self.outer_left.shape[1:]))

    def add_suffixes(self, piece: _Piece, grid: _Grid, prefixes: torch.Tensor, grad: torch.Tensor) -> None:
        """grad (prefixes, j_1 .. j_c, width j_{c+1} .. j_n) of a grid of rows."""
        if self.right is None and self.outer_right is None:
            return
        if self._suffixes is None or self._suffixes[0] != piece.block:
            self._finish_block()
            self._suffixes = piece.block, torch.zeros_like(self._factors.suffix_table(piece.block))
        table = self._suffixes[1]
        made = torch.bmm(prefixes.transpose(1, 2), grad)  # (prefixes, d_c, width j_{c+1} .. j_n)
        table.index_add_(1, grid.suffix, made.transpose(0, 1).reshape(len(table), len(grid.suffix), -1))

    def _finish_block(self) -> None:
        """From the gradient of a block's suffix table to those of what it was made from."""
        if self._suffixes is None:
            return
        factors, (block, table), self._suffixes = self._factors, self._suffixes, None
        (e, _, j, bond), (_, outer, width) = factors.right.shape, factors.outer_right.shape
        values = factors.block_values(block)
        table = table.view(e, len(values), outer, j, width)
        for place, value in enumerate(values):
            seen = table[:, place].transpose(1, 2).reshape(e * j, outer * width)
            if self.right is not None:
                self.right[:, value] += (seen @ factors.outer_right.reshape(bond, -1).T).view(e, j, bond)
            if self.outer_right is not None:
                right = factors.slice(factors.right, value).reshape(-1, bond)
                self.outer_right.view(bond, -1).addmm_(right.T, seen)

    def of_cores(self, cores: Sequence[torch.Tensor], needed: Sequence[bool]) -> list[torch.Tensor | None]:
        """Gradients of the cores in the plan's order."""
        self._finish_block()
        factors = self._factors
        c = len(cores) - 1 - factors.plan.centre if factors.mirrored else factors.plan.centre
        lefts, rights = [None] * len(factors.left_cores), [None] * len(factors.right_cores)
        if lefts and self.outer_left is not None:
            lefts = left_gradients(factors.left_cores, factors.left_products, self.outer_left)
        if rights and self.outer_right is not None:
            rights = right_gradients(factors.right_cores, factors.right_products, self.outer_right)
        grads = [*lefts, *([self.left] if c > 0 else []), self.centre]
        grads += [*([self.right] if c + 1 < len(cores) else []), *rights]
        if factors.mirrored:
            grads = [None if grad is None else grad.permute(3, 1, 2, 0) for grad in reversed(grads)]
        return [grad.to(core.dtype) if wanted else None for grad, core, wanted in zip(grads, cores, needed)]
