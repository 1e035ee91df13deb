"""The decomposed matrix, kept beside its cores so that a cut's exact error costs a few small products.

In the centre gauge a matrix is U C V^T with orthogonal U and V, so an error may be measured on the central core: cut
cores reproduce it up to what the cuts of the outer bonds leave of U and V. Nothing is decomposed here and W is
never rebuilt. Taught in notebook 02, section 6 (error budgets).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch

from .decomposition import contract, norm
from .halves import Halves
from .plans import Plan
from .spectra import Tails


def outermost_first(n: int) -> list[int]:
    """The order in which a budget applies the cuts: bonds 1, n-1, 2, n-2, ..."""
    order = []
    for k in range(1, n // 2 + 1):
        order += [k] if k == n - k else [k, n - k]
    return order


class Source:
    """Full-bond cores (d_{k-1}, a_k, d_k) of a matrix in the centre gauge and Schmidt bases; the centre on demand.

    The matrix is kept divided by its norm, so that squared errors are relative and neither vanish nor overflow.
    """

    def __init__(
        self,
        plan: Plan,
        tails: Tails,
        left: Sequence[torch.Tensor],
        right: Sequence[torch.Tensor],
        centre: Callable[[], torch.Tensor],
    ):
        self.plan, self.tails, self.left, self.right, self._make_centre = plan, tails, list(left), list(right), centre
        self._errors: dict[tuple[int, ...], float] = {}

    @classmethod
    def of(cls, plan: Plan, tails: Tails, cores: Sequence[torch.Tensor]) -> Source:
        """From full-bond cores with their centre in the middle."""
        c = plan.centre
        return cls(plan, tails, cores[:c], cores[c + 1 :], partial(torch.Tensor.detach, cores[c]))

    @cached_property
    def centre(self) -> torch.Tensor:
        """The central core at full bonds over the matrix's norm, (d_{c-1}, a_c, d_c)."""
        return self._make_centre() / (self.tails.norm or 1.0)

    def cores(self) -> list[torch.Tensor]:
        """All cores at full bonds; their product has norm 1."""
        return [*self.left, self.centre, *self.right]

    @cached_property
    def _discarded(self) -> torch.Tensor:
        """(d_left + 1, d_right + 1): squared norm of the centre outside its leading block, for every size of block."""
        squares = self.centre.new_zeros(self.centre.shape[0], self.centre.shape[2], dtype=torch.float64)
        for k in range(self.centre.shape[1]):
            squares.addcmul_(*[self.centre[:, k].double()] * 2)  # (d_left, d_right)
        below = torch.nn.functional.pad(squares.sum(1).flip(0).cumsum(0).flip(0), (0, 1))  # whole rows below the block
        beside = squares.flip(1).cumsum(1).flip(1).cumsum(0)  # in the block's rows, right of it
        return below[:, None] + torch.nn.functional.pad(beside, (0, 1, 1, 0))

    def squared_error(self, bonds: Sequence[int]) -> float:
        """Exact ||M - M'||^2 / ||M||^2 of the matrix with its Schmidt bases cut to n+1 `bonds`."""
        bonds = tuple(bonds)
        if bonds not in self._errors:
            squares = self._padded_error(bonds) if self.tails.norm > 0 else 0.0
            if self.plan.is_padded and squares > 0:
                squares -= padding_energy(self._cut(bonds), self.plan)  # what a cut writes into the padding is dropped
            self._errors[bonds] = max(squares, 0.0)
        return self._errors[bonds]

    def _cut(self, bonds: Sequence[int]) -> list[torch.Tensor]:
        return [core[: bonds[k], :, : bonds[k + 1]] for k, core in enumerate(self.cores())]

    def _padded_error(self, bonds: Sequence[int]) -> float:
        """||M - M'||^2 / ||M||^2 over all entries, those of the zero padding included."""
        plan, c = self.plan, self.plan.centre
        if not Halves.fits(plan):  # the outer bases do not span their halves: compare the matrices themselves
            return norm(contract(self.cores()) - contract(self._cut(bonds))) ** 2
        inner = bonds[c], bonds[c + 1]
        outer_left = any(bonds[k] < plan.full_bonds[k] for k in range(1, c))
        outer_right = any(bonds[k] < plan.full_bonds[k] for k in range(c + 2, plan.n))
        if not outer_left and not outer_right:
            return float(self._discarded[inner])
        approximation = self.centre[: inner[0], :, : inner[1]]  # (d'_left, a_c, d'_right)
        if outer_left:
            flat = approximation.reshape(inner[0], -1)  # (d'_left, a_c d'_right)
            flat = self._seen_from_full(self.left, bonds[: c + 1], flat, from_left=True)
            approximation = flat.reshape(-1, plan.sizes[c], inner[1])  # (d_left, a_c, d'_right)
        if outer_right:
            mirrored = [core.permute(2, 1, 0) for core in reversed(self.right)]
            flat = approximation.reshape(-1, inner[1])  # (.. a_c, d'_right)
            flat = self._seen_from_full(mirrored, bonds[:c:-1], flat, from_left=False)
            approximation = flat.reshape(approximation.shape[0], plan.sizes[c], -1)  # (.., a_c, d_right)
        left, _, right = approximation.shape
        difference = approximation.sub_(self.centre[:left, :, :right])  # in place: it is no view of the centre any more
        by_row = torch.linalg.vector_norm(difference, dim=(1, 2)).double()  # short sums, so that float32 keeps digits
        return float(by_row.square().sum()) + float(self._discarded[left, right])

    @classmethod
    def _seen_from_full(
        cls, cores: Sequence[torch.Tensor], bonds: Sequence[int], x: torch.Tensor, from_left: bool
    ) -> torch.Tensor:
        """x (d', m), or (m, d'), over a half's cut basis -> (d, m), or (m, d), over its full one: a new tensor.

        That is the overlap of the two bases times x. Where only the bond before the last is cut, and not by much, the
        overlap is 1 minus a product of few rows.
        """
        last, kept = cores[-1], bonds[len(cores) - 1]
        dropped = last[kept:].reshape(-1, last.shape[2])  # (rows, d)
        nothing_else = all(bonds[k] == core.shape[0] for k, core in enumerate(cores[:-1]))
        if not nothing_else or 2 * dropped.shape[0] > last.shape[2]:
            overlap = cls._overlap(cores, bonds)  # (d, d')
            return overlap @ x if from_left else x @ overlap.T
        there = dropped[:, : x.shape[0 if from_left else 1]]  # (rows, d')
        if from_left:
            whole = torch.cat([x, x.new_zeros(last.shape[2] - x.shape[0], x.shape[1])])  # (d, m)
            return whole.addmm_(dropped.T, there @ x, alpha=-1)
        whole = torch.cat([x, x.new_zeros(x.shape[0], last.shape[2] - x.shape[1])], dim=1)  # (m, d)
        return whole.addmm_(x @ there.T, dropped, alpha=-1)

    @staticmethod
    def _overlap(cores: Sequence[torch.Tensor], bonds: Sequence[int]) -> torch.Tensor:
        """Basis of a half at full bonds against the same with its bonds cut: (d, d'), columns of 1 if uncut."""
        overlap = cores[0].new_ones(1, 1)
        for k, core in enumerate(cores):
            cut = torch.tensordot(overlap, core[: bonds[k], :, : bonds[k + 1]], dims=1)  # (d_{k-1}, a_k, d'_k)
            overlap = core.reshape(-1, core.shape[2]).T @ cut.reshape(-1, cut.shape[2])  # (d_k, d'_k)
        return overlap

    def budget(self, bonds: Sequence[int]) -> list[float]:
        """Increments of the exact relative squared error as the cuts are made outermost first; in bond order."""
        increments, reached = [0.0] * (self.plan.n - 1), 0.0
        current = list(self.plan.full_bonds)
        for k in outermost_first(self.plan.n):
            if bonds[k] < current[k]:
                current[k] = bonds[k]
                after = self.squared_error(current)
                increments[k - 1], reached = after - reached, after
        return increments


def padding_energy(cores: Sequence[torch.Tensor], plan: Plan) -> float:
    """Squared norm of the entries that the cores (d_{k-1}, a_k, d_k) put into a plan's padding.

    Padded rows are the last ones, so only the few values of the first row legs i_1 .. i_{c-1} that reach into the
    padding are rebuilt; columns likewise.
    """
    c = plan.centre
    rows, cols = math.prod(plan.rows[:c]), math.prod(plan.cols[:c])
    legs = [size for pair in zip(plan.rows[:c], plan.cols[:c]) for size in pair]
    left = contract(cores[:c]).reshape(*legs, -1)  # (i_1, j_1, ..., i_{c-1}, j_{c-1}, d)
    left = left.permute(*range(0, 2 * c, 2), *range(1, 2 * c, 2), 2 * c).reshape(rows, cols, -1)
    outer = contract(cores[c + 1 :]) if plan.n > c + 1 else cores[c].new_ones(1, 1, 1)  # (d_c, a_{c+1} .. a_n, 1)
    legs = [size for pair in zip(plan.rows[c:], plan.cols[c:]) for size in pair]
    m = plan.n - c
    height, width = plan.padded[0] // rows, plan.padded[1] // cols  # rows and columns per value of the left legs
    first_row, first_col = plan.shape[0] // height, plan.shape[1] // width

    def rebuilt(part: torch.Tensor) -> torch.Tensor:
        """(some rows, some columns, d) of the left legs -> that part of the padded matrix."""
        r, s, d = part.shape
        state = part.reshape(r * s, d) @ cores[c].reshape(d, -1)  # (r s, a_c d_c)
        block = (state.reshape(-1, outer.shape[0]) @ outer.reshape(outer.shape[0], -1)).reshape(r, s, *legs)
        order = [0, *range(2, 2 + 2 * m, 2), 1, *range(3, 3 + 2 * m, 2)]
        return block.permute(order).reshape(r * height, s * width)

    energy = 0.0
    if plan.padded[0] > plan.shape[0]:
        energy += norm(rebuilt(left[first_row:])[plan.shape[0] - first_row * height :]) ** 2
    if plan.padded[1] > plan.shape[1]:
        beside = rebuilt(left[:, first_col:])[: plan.shape[0], plan.shape[1] - first_col * width :]
        energy += norm(beside) ** 2
    return energy
