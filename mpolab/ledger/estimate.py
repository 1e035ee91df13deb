"""How long runs take, by the seconds in records of this scale.

The median of the nearest that there are counts: the recipe's own records, else those of its model and method, of its
method, of its model, of any; of these only such as learn from a text, as it does, or from a task, as it does. It is an
estimate of one process on the machines of these records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .. import runs
from ..recipes import recipe_named
from ..runs import Record


@dataclass(frozen=True)
class Estimate:
    """runs: how many. seconds: of all together, None where no record tells."""

    runs: int
    seconds: float | None

    def __str__(self) -> str:
        count = f"{self.runs} run" + ("" if self.runs == 1 else "s")
        if self.seconds is None:
            return f"{count}, no record to estimate the time from"
        return f"{count}, about {in_words(self.seconds)}"


def in_words(seconds: float) -> str:
    """To two digits: "40 s", "12 min", "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Seconds:
    """The seconds of all records in a folder, read once."""

    def __init__(self, results: Path | None = None):
        self.records: list[Record] = runs.records(results=results)

    def of(self, name: str, scale: str) -> float | None:
        """Of one run, None where no record of that scale is there."""
        recipe = recipe_named(name).at(scale)
        text = bool(recipe.text)
        here = [record for record in self.records if record.scale == scale and bool(record.fields.get("text")) == text]

        def like(record: Record, *keys: str) -> bool:
            return all(record.fields.get(key) == getattr(recipe, key) for key in keys)

        for mine in (
            [record for record in here if record.recipe == name],
            [record for record in here if like(record, "model", "method")],
            [record for record in here if like(record, "method")],
            [record for record in here if like(record, "model")],
            here,
        ):
            if mine:
                return median(record.seconds for record in mine)
        return None

    def together(self, wanted: Iterable[tuple[str, str, int]]) -> Estimate:
        """Of runs (recipe, scale, seed); the seed makes no difference."""
        found = [self.of(name, scale) for name, scale, _ in wanted]
        known = [seconds for seconds in found if seconds is not None]
        return Estimate(len(found), sum(known) if len(known) == len(found) else None)
