"""Shape plans: how many rows and columns each core of a matrix product operator carries.

A plan writes I as i_1 x ... x i_n and J as j_1 x ... x j_n (MPOP section 3, eq. 1). Which factors one takes is a
choice: the table below holds the choices of the three papers' authors, `factors` finds a balanced one for any other
size, padding with zeros where a size has no usable factors. Taught in notebook 01, section 3.

Items: mpop-eq1, mpop-eq2, mpop-eq5.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Integral

from .errors import PlanError, unknown

MAX_PADDING = 1 / 8  # a plan that adds more rows or columns than this is taken for a slip, not for padding
MAX_SPREAD = 4  # factors whose largest is more than this times the smallest do not count as balanced

# The sizes that the authors factorized, (size, n) -> factors. `MPOBERT`'s choice for 768 is also the best fit to MPOE's
# counts on GPT-2; 30522 is BERT's vocabulary, padded to 30720 rows.
FACTORS: dict[tuple[int, int], tuple[int, ...]] = {
    (768, 3): (8, 12, 8),
    (768, 5): (4, 4, 4, 4, 3),
    (768, 7): (2, 2, 4, 4, 3, 2, 2),
    (768, 9): (2, 2, 2, 2, 3, 2, 2, 2, 2),
    (3072, 3): (12, 16, 16),
    (3072, 5): (4, 4, 8, 6, 4),
    (3072, 7): (2, 4, 4, 4, 4, 3, 2),
    (3072, 9): (2, 2, 2, 4, 4, 3, 2, 2, 2),
    (1024, 3): (8, 16, 8),
    (1024, 5): (4, 4, 4, 4, 4),
    (1024, 7): (2, 2, 4, 4, 4, 2, 2),
    (1024, 9): (2, 2, 2, 2, 4, 2, 2, 2, 2),
    (4096, 3): (16, 16, 16),
    (4096, 5): (4, 4, 8, 8, 4),
    (4096, 7): (2, 4, 4, 4, 4, 4, 2),
    (4096, 9): (2, 2, 2, 4, 4, 4, 2, 2, 2),
    (30000, 5): (5, 10, 10, 10, 6),
    (128, 5): (2, 2, 4, 4, 2),
    (30522, 5): (6, 8, 10, 8, 8),
}

# Whole matrices that an author factorized otherwise than the table above, style -> shape -> (rows, cols), n = 5.
STYLES: dict[str, dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "mpobert": {},
    "mpop": {  # the "balanced" plan of MPOP's appendix; its FFN is also MPOE's on T5
        (768, 768): ((3, 4, 4, 4, 4), (4, 4, 4, 4, 3)),
        (3072, 768): ((4, 4, 8, 6, 4), (3, 4, 4, 4, 4)),
        (768, 3072): ((3, 4, 4, 4, 4), (4, 4, 8, 6, 4)),
    },
}


@dataclass(frozen=True)
class Plan:
    """The shape of a matrix product operator before any bond is cut.

    rows, cols: the n factors of the (padded) row and column counts.
    shape: (I, J) of the matrix itself, (out, in) for a layer's weight.
    """

    rows: tuple[int, ...]
    cols: tuple[int, ...]
    shape: tuple[int, int]

    @property
    def n(self) -> int:
        return len(self.rows)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """a_k = i_k * j_k, the size of core k's two open legs together."""
        return tuple(i * j for i, j in zip(self.rows, self.cols))

    @cached_property
    def padded(self) -> tuple[int, int]:
        """The shape with its zero rows and columns."""
        return math.prod(self.rows), math.prod(self.cols)

    @property
    def is_padded(self) -> bool:
        return self.padded != self.shape

    @property
    def centre(self) -> int:
        """Index of the central core, from 0; for even n the core right of the middle bond."""
        return self.n // 2

    @cached_property
    def full_bonds(self) -> tuple[int, ...]:
        """d_0 .. d_n of eq. 2: min of what lies left and what lies right of each bond."""
        left = [1, *itertools.accumulate(self.sizes, lambda x, y: x * y)]  # left[k] = a_1 ... a_k
        return tuple(min(size, left[-1] // size) for size in left)

    def core_shape(self, k: int, bonds: Sequence[int]) -> tuple[int, int, int, int]:
        """(d_{k-1}, i_k, j_k, d_k) of core k, counted from 0."""
        return bonds[k], self.rows[k], self.cols[k], bonds[k + 1]

    def parameters(self, bonds: Sequence[int]) -> int:
        """Stored numbers at the given n+1 bonds: the numerator of eq. 5."""
        return sum(bonds[k] * size * bonds[k + 1] for k, size in enumerate(self.sizes))

    def ratio(self, bonds: Sequence[int]) -> float:
        """Compression ratio, eq. 5: stored numbers over i_1 j_1 ... i_n j_n (padding included)."""
        return self.parameters(bonds) / math.prod(self.padded)

    def __str__(self) -> str:
        return f"{'·'.join(map(str, self.rows))} × {'·'.join(map(str, self.cols))}"


def make_plan(
    shape: Sequence[int],
    n: int = 5,
    rows: Sequence[int] | None = None,
    cols: Sequence[int] | None = None,
    style: str = "mpobert",
) -> Plan:
    """The plan for a matrix of `shape` with n cores.

    Factors given as `rows` or `cols` are taken as they are; n then follows from their number. The others come from the
    authors' tables (`style="mpobert"` or `"mpop"`, which differ for attention and FFN matrices) or from `factors`.

    Raises PlanError where given factors do not multiply out to the matrix's size (or to a little more, which pads).
    """
    if style not in STYLES:
        raise unknown("plan style", style, STYLES)
    height, width = (int(size) for size in shape)
    if height < 1 or width < 1:
        raise PlanError(f"a matrix of shape {height}x{width} has nothing to decompose; both sizes must be at least 1.")
    for name, given in (("rows", rows), ("cols", cols)):
        if given is not None and (isinstance(given, str | bytes) or not isinstance(given, Sequence)):
            raise PlanError(f"{name} = {given!r}: expected a list of factors, e.g. {name}={factors(height, 5)}.")
        n = n if given is None else len(given)
    if rows is not None and cols is not None and len(rows) != len(cols):
        raise PlanError(
            f"rows has {len(rows)} factors {tuple(rows)} and cols {len(cols)} {tuple(cols)}; every core carries one "
            "of each, so give lists of equal length (fill up with 1)."
        )
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 2:
        raise PlanError(f"n = {n!r} cores: an MPO has at least 2; the papers use 5.")
    n = int(n)
    from_table = STYLES[style].get((height, width)) if n == 5 else None
    row_factors = _checked(rows, height, n, "rows") or (from_table and from_table[0]) or factors(height, n)
    col_factors = _checked(cols, width, n, "cols") or (from_table and from_table[1]) or factors(width, n)
    return Plan(tuple(row_factors), tuple(col_factors), (height, width))


def _checked(given: Sequence[int] | None, size: int, n: int, name: str) -> tuple[int, ...] | None:
    """Factors from a caller, as integers, or the error that says what would fit."""
    if given is None:
        return None
    if any(not isinstance(factor, Integral) or isinstance(factor, bool) or factor < 1 for factor in given):
        raise PlanError(f"{name} = {tuple(given)}: factors are whole numbers of at least 1, e.g. {factors(size, n)}.")
    given = tuple(int(factor) for factor in given)
    product = math.prod(given)
    if product < size or product > size * (1 + MAX_PADDING):
        raise PlanError(
            f"{name} = {given} multiply out to {product}, but the matrix has {size} {name}. Give factors of {size} "
            f"(or of a size at most {MAX_PADDING:.1%} larger, which is padded with zeros), e.g. {factors(size, n)}."
        )
    return given


@lru_cache(maxsize=4096)
def factors(size: int, n: int) -> tuple[int, ...]:
    """n factors for one side of a matrix: the authors' if they have one, else balanced, the largest in the middle.

    Factors of the size itself are preferred as long as the largest is at most four times the smallest; else the
    smallest padded size with factors within a factor of two is taken. A size too small for n factors above one is
    filled up with ones.
    """
    if (size, n) in FACTORS:
        return FACTORS[size, n]
    exact = _most_balanced(size, n)
    if _spread(exact) <= MAX_SPREAD or size < 2**n:
        return _largest_in_the_middle(exact)
    for spread in (2, MAX_SPREAD):
        for padded in range(size + 1, int(size * (1 + MAX_PADDING)) + 1):
            candidate = _most_balanced(padded, n)
            if _spread(candidate) <= spread:
                return _largest_in_the_middle(candidate)
    return _largest_in_the_middle(exact)


def _spread(parts: Sequence[int]) -> float:
    return max(parts) / min(parts)


@lru_cache(maxsize=65536)
def _most_balanced(size: int, n: int) -> tuple[int, ...]:
    """The n factors of `size` whose largest is smallest (then whose smallest is largest), ascending."""
    if n == 1:
        return (size,)
    best: tuple[int, ...] | None = None
    # The smallest factor is at most the n-th root, so only divisors up to there can start the list.
    for first in range(round(size ** (1 / n)) + 1, 0, -1):
        if size % first or first**n > size:
            continue
        candidate = tuple(sorted((first, *_most_balanced(size // first, n - 1))))
        if best is None or (max(candidate), -min(candidate)) < (max(best), -min(best)):
            best = candidate
    assert best is not None  # first = 1 always divides
    return best


def _largest_in_the_middle(parts: Sequence[int]) -> tuple[int, ...]:
    """Orders factors as the authors do: bonds then grow towards the centre and the central core holds the most."""
    n = len(parts)
    by_distance = sorted(range(n), key=lambda k: (abs(k - n // 2), k))
    placed = [0] * n
    for position, factor in zip(by_distance, sorted(parts, reverse=True)):
        placed[position] = factor
    return tuple(placed)
