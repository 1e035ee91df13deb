"""The decomposed matrix, kept beside its cores so that a cut's exact error costs a few small products.

In the centre gauge a matrix is U C V^T with orthogonal U and V, so an error may be measured on the central core: cut
cores reproduce it up to what the cuts of the outer bonds leave of U and V. Nothing is decomposed here and W is
never rebuilt. Taught in notebook 02, section 6 (error budgets).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

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


class OuterCut(NamedTuple):
    """A cut of one of a half's outer bonds: what it keeps and drops, as orthonormal rows over the half's inner bond."""

    kept_rows: torch.Tensor  # (k, d)
    dropped_rows: torch.Tensor  # (d - k, d)
    bond: int
    kept: int  # of the bond's own basis vectors
    left: bool  # whether it lies left of the centre
    tail: float  # the bond's discarded squares, relative

    @property
    def keeps_less(self) -> bool:
        return len(self.kept_rows) <= len(self.dropped_rows)

    @property
    def fewer(self) -> int:
        return min(len(self.kept_rows), len(self.dropped_rows))


class Way(NamedTuple):
    """How to find an error: with the rows that `first` keeps, or those that it drops, then with those of `second`."""

    first: OuterCut
    second: OuterCut | None
    keep: bool
    multiplications: float  # multiply-adds per slice of the centre


def _pair(one: OuterCut, other: OuterCut) -> tuple[int, ...]:
    """A key for two cuts, in bond order."""
    first, second = (one, other) if one.left else (other, one)
    return first.bond, first.kept, second.bond, second.kept


def _seen(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """rows (k, d) times every slice of x (a, d, e) -> (a, k, e). x may be sliced or transposed: nothing is copied."""
    return torch.bmm(rows.expand(len(x), -1, -1), x)


def _square(x: torch.Tensor) -> float:
    """Squared norm, in float64 over the norms along the last axis: short sums, so that float32 keeps its digits."""
    return float(torch.linalg.vector_norm(x, dim=-1).double().square().sum())


def _square_kept(cut: OuterCut, x: torch.Tensor) -> float:
    """Squared norm of x (a, d, e) projected on what a cut keeps of d; by what it drops, if that is less."""
    if cut.keeps_less:
        return _square(_seen(cut.kept_rows, x))
    return _square(x) - _square(_seen(cut.dropped_rows, x))


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
        self._errors: dict[tuple[int, ...], float] = {}  # squared, by bonds
        self._apart: dict[tuple[int, ...], float] = {}  # the same of two outer cuts alone, by bonds and what they keep

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

    def _padded_error(self, bonds: tuple[int, ...]) -> float:
        """||M - M'||^2 / ||M||^2 over all entries, those of the zero padding included."""
        plan, c = self.plan, self.plan.centre
        if not Halves.fits(plan):  # the outer bases do not span their halves: compare the matrices themselves
            return norm(contract(self.cores()) - contract(self._cut(bonds))) ** 2
        inner = bonds[c], bonds[c + 1]
        left = [k for k in range(1, c) if bonds[k] < plan.full_bonds[k]]
        right = [k for k in range(c + 2, plan.n) if bonds[k] < plan.full_bonds[k]]
        if not left and not right:
            return float(self._discarded[inner])
        if len(left) < 2 and len(right) < 2:
            ways = self._ways([self._outer_cut(k, bonds[k]) for k in (*left, *right)], inner)
            way = min(ways, key=lambda way: way.multiplications)
            if way.multiplications < min(self._overlap_multiplications(inner, bool(left), bool(right))):
                return self._in_parts(way, inner)
        return self._by_overlaps(bonds, bool(left), bool(right))

    # At most one outer bond cut in a half (there is no more for n = 4 and 5). Let P cut the inner bonds, D = C - PCP be
    # what that discards of the centre, and Q = 1 - N the projector of an outer cut, to the left of the centre for the
    # left half, to the right of it for the right one. The error splits into parts at right angles,
    #     ||C - Q PCP Q||^2 = ||N C||^2 + ||Q C N||^2 + ||Q D Q||^2,
    # and the first of them is the outer bond's own tail. Wherever it is cheaper, ||Q X||^2 is ||X||^2 - ||N X||^2 here:
    # nothing large cancels, since no such X is larger than the tails of two bonds, and the error is at least the larger
    # of them (Eckart and Young).

    def _outer_cut(self, bond: int, kept: int) -> OuterCut:
        c = self.plan.centre
        if bond < c:
            basis = contract(self.left[bond:])  # (d_bond, a_{bond+1} .. a_c, d_c)
        else:
            basis = contract(self.right[: bond - c - 1]).permute(2, 1, 0)  # (d_bond, a_{c+2} .. a_bond, d_{c+1})
        kept_rows, dropped_rows = (part.reshape(-1, basis.shape[2]) for part in (basis[:kept], basis[kept:]))
        return OuterCut(kept_rows, dropped_rows, bond, kept, bond < c, float(self.tails.squares[bond - 1][kept]))

    def _ways(self, cuts: Sequence[OuterCut], inner: tuple[int, int]) -> list[Way]:
        """All ways to find the error of one outer cut, or of one in each half."""
        (d, _, e), known = self.centre.shape, len(cuts) == 2 and _pair(*cuts) in self._apart
        share = 1 - math.prod(inner) / (d * e)  # of D that is not zero
        if len(cuts) == 1:
            return [Way(cuts[0], None, cuts[0].keeps_less, cuts[0].fewer * d * e * share)]
        ways = []
        for (first, second), keep in itertools.product(itertools.permutations(cuts), (True, False)):
            rows, wide = len(first.kept_rows if keep else first.dropped_rows), second.kept_rows.shape[1]
            apart, rest = len(second.dropped_rows) if keep else second.fewer, second.fewer * (share > 0)
            count = rows * d * e * (share if known else 1) + rows * wide * (rest + (0 if known else apart))
            ways.append(Way(first, second, keep, count + (0 if keep else second.fewer * d * e * share)))
        return ways

    def _in_parts(self, way: Way, inner: tuple[int, int]) -> float:
        """The three parts added up: all that is multiplied are the rows of one cut, then of the other."""
        first, second, keep, _ = way
        whole = inner == (self.centre.shape[0], self.centre.shape[2])  # then D is zero
        if second is None:
            return first.tail + (0.0 if whole else self._discarded_within(first, inner))
        rows = first.kept_rows if keep else first.dropped_rows
        discarded = None if whole else self._seen_discarded(rows, first, inner)  # Q D or N D
        pair = _pair(first, second)
        if pair not in self._apart:
            slices, d, e = self._facing(first, inner)
            seen = _seen(rows, slices) if whole else discarded.clone()  # Q C or N C
            if not whole:
                seen[:, :, :e] += _seen(rows[:, :d], slices[:, :d, :e])
            if keep:  # ||N C||^2 + ||Q C N||^2
                self._apart[pair] = first.tail + _square(_seen(second.dropped_rows, seen.mT))
            else:  # the other way round, ||C N||^2 + ||N C Q||^2
                self._apart[pair] = second.tail + _square_kept(second, seen.mT)
        if whole:
            return self._apart[pair]
        rest = _square_kept(second, discarded.mT)  # ||Q D Q||^2 or ||N D Q||^2
        return self._apart[pair] + (rest if keep else self._discarded_within(second, inner) - rest)

    def _facing(self, cut: OuterCut, inner: tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        """The centre's slices (a_c, d, e) with the cut's own side first, and what the inner cuts keep of d and e."""
        slices = self.centre.permute(1, 0, 2)
        return (slices, *inner) if cut.left else (slices.mT, *inner[::-1])

    def _discarded_within(self, cut: OuterCut, inner: tuple[int, int]) -> float:
        """||Q D||^2 for one outer cut."""
        if cut.keeps_less:
            return _square(self._seen_discarded(cut.kept_rows, cut, inner))
        return float(self._discarded[inner]) - _square(self._seen_discarded(cut.dropped_rows, cut, inner))

    def _seen_discarded(self, rows: torch.Tensor, cut: OuterCut, inner: tuple[int, int]) -> torch.Tensor:
        """rows (k, d) times D -> (a_c, k, e); nothing is multiplied by the zeros that D has where PCP is."""
        slices, d, e = self._facing(cut, inner)
        seen = _seen(rows[:, d:], slices[:, d:])
        seen[:, :, e:] += _seen(rows[:, :d], slices[:, :d, e:])
        return seen

    # Any cuts: what is left of the centre is small, or several outer bonds of a half are cut.

    def _by_overlaps(self, bonds: tuple[int, ...], left: bool, right: bool) -> float:
        """The cut centre seen from the full bases, by overlaps of full and cut ones, less the centre itself.

        left, right: whether outer bonds of that half are cut; else its bases are the same.
        """
        c = self.plan.centre
        inner, slices = (bonds[c], bonds[c + 1]), self.centre.permute(1, 0, 2)  # (a_c, d_left, d_right)
        left_first, right_first = self._overlap_multiplications(inner, left, right)
        seen = slices[:, : inner[0], : inner[1]]
        for is_left in (True, False) if left_first <= right_first else (False, True):
            if is_left and left:
                seen = _seen(self._overlap(self.left, bonds[: c + 1]), seen)  # (a_c, d_left, ..)
            elif not is_left and right:
                mirrored = [core.permute(2, 1, 0) for core in reversed(self.right)]
                overlap = self._overlap(mirrored, bonds[:c:-1])  # (d_right, d'_right)
                seen = torch.bmm(seen, overlap.T.expand(len(seen), -1, -1))
        rows, cols = seen.shape[1:]
        seen -= slices[:, :rows, :cols]  # it is no view of the centre any more
        return _square(seen) + float(self._discarded[rows, cols])

    def _overlap_multiplications(self, inner: tuple[int, int], left: bool, right: bool) -> tuple[int, int]:
        """Multiply-adds of `_by_overlaps` per slice of the centre, with the left half first and with the right one."""
        (d, e), (full_d, _, full_e) = inner, self.centre.shape
        left_first = left * full_d * d * e + right * (full_d if left else d) * e * full_e
        return left_first, right * d * e * full_e + left * full_d * d * (full_e if right else e)

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
        current, stages = list(self.plan.full_bonds), []
        for k in outermost_first(self.plan.n):
            if bonds[k] < current[k]:
                current[k] = bonds[k]
                stages.append((k, tuple(current)))
        for _, reached in reversed(stages):  # the last one first: it finds what the others need, too
            self.squared_error(reached)
        increments, before = [0.0] * (self.plan.n - 1), 0.0
        for k, reached in stages:
            after = self.squared_error(reached)
            increments[k - 1], before = after - before, after
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
