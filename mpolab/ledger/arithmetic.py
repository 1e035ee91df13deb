"""Claims that need no run: a number that can be counted, a mean, an inequality between printed numbers, a formula.

Evidence of this kind is a list of lines, each one a thing that is printed beside what it comes to; the verdict is
"exact" if all agree and "print contradicts itself" if one does not. Nothing here says in advance which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..papers import printed, recomputed
from .row import CONTRADICTS, EXACT


@dataclass(frozen=True)
class Line:
    """what: of what. ours: the number as text, to one digit more than is printed. agrees: with the print."""

    what: str
    ours: str
    agrees: bool

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.ours) if part)


def number(what: str, print_says: float, ours: float, decimals: int = 1, cut: bool = True) -> Line:
    """Agrees if ours, rounded or cut off to so many decimals, is what is printed: the papers do both. cut: False where
    its neighbours show that it is rounded; a half may then go either way.

    decimals below 0 leave out digits before the point: -1 for a printed 110 that is meant to two digits.
    """
    unit = 10.0**-decimals
    lower, upper = print_says - unit / 2, print_says + (unit if cut else unit / 2)
    slack = 1e-9 * max(1.0, abs(print_says))
    agrees = lower - slack <= ours < upper - slack if cut else lower - slack <= ours <= upper + slack
    return Line(what, f"{ours:.{max(decimals + 1, 1)}f}", bool(agrees))


def holds(what: str, agrees: bool) -> Line:
    """A statement that is true or not."""
    return Line(what, "holds" if agrees else "does not hold", bool(agrees))


@dataclass(frozen=True)
class Arithmetic:
    """lines: what is worked out, when it is asked for. why: where they disagree, in one clause; shown only there."""

    lines: Callable[[], Sequence[Line]]
    why: str = ""

    def judge(self) -> tuple[str, str]:
        """(verdict, ours)."""
        lines = list(self.lines())
        agree = all(line.agrees for line in lines)
        wrong = [line for line in lines if not line.agrees]
        said = "; ".join(map(str, lines if len(lines) <= 4 or agree else wrong))
        if not agree and self.why:
            said = f"{said}: {self.why}"
        return (EXACT if agree else CONTRADICTS), said


# -- pieces that several claims use ----------------------------------------------------------------------


def averages(table: str, column: str = "Avg.", decimals: int = 1) -> Callable[[], list[Line]]:
    """Every printed average beside the mean of its row; only those that disagree are named, or how many agree."""

    def lines() -> list[Line]:
        found = recomputed(table, column)
        all_lines = [
            number(f"{row} ({value:g} printed)", value, mean, decimals, cut=False)
            for row, (value, mean) in found.items()
        ]
        wrong = [line for line in all_lines if not line.agrees]
        right = len(all_lines) - len(wrong)
        return [Line(f"{right} of {len(all_lines)} means", "agree", True), *wrong]

    return lines


def above(table: str, first: str, second: str, columns: Sequence[str], lower: Sequence[str] = ()) -> list[Line]:
    """That the row `first` is above `second` in each of the columns, and below it in those of `lower`."""
    found = []
    for column in (*columns, *lower):
        a, b = printed(table, first, column), printed(table, second, column)
        if math.isnan(a) or math.isnan(b):
            continue
        found.append(Line(f"{first} on {column}", f"{a:g} against {b:g}", a < b if column in lower else a > b))
    return found


def shares_of(rows: int, value: float) -> Line:
    """Whether a score in per cent, to one decimal, can be a share of so many rows."""
    near = [round(value / 100 * rows) + k for k in (-1, 0, 1)]
    fits = any(number("", value, 100 * right / rows).agrees for right in near)
    closest = min(near, key=lambda right: abs(100 * right / rows - value))
    return Line(f"{value:g}", f"nearest {closest} of {rows} = {100 * closest / rows:.2f}", fits)
