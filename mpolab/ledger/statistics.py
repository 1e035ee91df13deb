"""Differences of runs that are paired, their 95 % interval, and what it says about a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LedgerError, unknown
from .row import OUTCOMES

CONFIDENCE = 0.95

DIRECTIONS = ("higher", "lower", "equal")
"""What a claim says of the first of two: it is higher, it is lower, they do not differ."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, first minus second, its interval, and how many pairs."""

    mean: float
    interval: tuple[float, float]
    pairs: int

    def outcome(self, direction: str, margin: float = 0.0) -> str:
        """One of OUTCOMES. "higher", "lower": an interval that leaves out zero is a difference. "equal": the claim is
        that the two are alike, and is met if the whole interval lies within -+ margin; it is "opposite" if all of it
        lies outside on one side, and else "no difference" (neither shown). Raises UnknownNameError otherwise.
        """
        if direction not in DIRECTIONS:
            raise unknown("direction", direction, DIRECTIONS)
        low, high = self.interval
        same, none, opposite = OUTCOMES
        if direction == "equal":
            return same if max(-low, high) < margin else opposite if low > margin or high < -margin else none
        if low <= 0 <= high:
            return none
        return same if (low > 0) == (direction == "higher") else opposite

    def __str__(self) -> str:
        return f"{self.mean:+.{self._digits}f}, 95 % {self.limits()}"

    def limits(self) -> str:
        low, high = self.interval
        return f"[{low:+.{self._digits}f}, {high:+.{self._digits}f}]"

    @property
    def _digits(self) -> int:
        low, high = self.interval
        digits = 1 if max(abs(low), abs(high)) >= 1 else 3
        while digits < 6 and low != high and f"{low:.{digits}f}" == f"{high:.{digits}f}":  # a narrow one
            digits += 1
        return digits


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Student's t on first - second, pair by pair: mean -+ t(0.975, n - 1) s / sqrt(n), s with n - 1.

    Raises LedgerError for unequal lengths, fewer than two pairs, a number that is none, or want of scipy.
    """
    if len(first) != len(second) or len(first) < 2:
        raise LedgerError(f"{len(first)} and {len(second)} numbers: an interval takes two pairs or more.")
    gaps = [a - b for a, b in zip(first, second)]
    if not all(map(math.isfinite, gaps)):
        raise LedgerError("a score that is no number has no difference; run its recipe again.")
    try:
        from scipy.stats import t
    except ImportError:
        raise LedgerError("an interval needs scipy, which is not installed: pip install 'mpolab[train]'.") from None
    n, mean = len(gaps), sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (n - 1))
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread / math.sqrt(n)
    return Difference(mean, (mean - half, mean + half), n)
