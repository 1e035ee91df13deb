"""How long runs take, by the seconds in records of this scale; where there are none, by operations.

The median of the nearest that there are counts: the recipe's own records, else those of its model and method, of its
method, of its model, of any; of these only such as learn from a text, as it does, or from a task, as it does, and times
the ratio of operations where these are counted, as sets have from hundreds to hundreds of thousands of rows. It is
an estimate of one process on the machines of these records.

Without a record of the scale, the floating-point operations of the training (`flops`) stand for it: times the seconds
of an operation in records of the other scale of the same kind of machine, be they the recipe's own or those of its
model and method; else divided by a rate (`rates`), which is the least that it can take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .. import runs
from ..recipes import RECIPES, recipe_named
from ..runs import SCALES, Record
from . import flops
from .rates import HERE, rate

WITHOUT_TRAINING = "without training"
UNKNOWN = "without an estimate, as nothing counts its operations"


@dataclass(frozen=True)
class Estimate:
    """runs: how many. seconds: of all together, or of those that something tells, None where nothing does. by: what it
    rests on, in words; empty where it is records of the scale and nothing else can be meant. least: whether it takes so
    long at least, and not about so long.
    """

    runs: int
    seconds: float | None
    by: str = ""
    least: bool = False

    def __str__(self) -> str:
        return self.said()

    def said(self, more: str = "") -> str:
        """more: words behind the time, " one after the other"."""
        count = f"{self.runs} run" + ("" if self.runs == 1 else "s")
        if self.seconds is None:
            return f"{count}, {self.by or 'no record to estimate the time from'}"
        about = f"{count}, {'at least' if self.least else 'about'} {in_words(self.seconds)}{more}"
        return f"{about}, {self.by}" if self.by else about


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

        own = [record.seconds for record in here if record.recipe == name]
        if own or not here:
            return median(own) if own else None
        counted = flops.of_recipe(recipe_named(name), scale)
        for mine in (
            [record for record in here if like(record, "model", "method")],
            [record for record in here if like(record, "method")],
            [record for record in here if like(record, "model")],
            here,
        ):
            if mine:
                return median(record.seconds * _times(counted, record) for record in mine)
        return None

    def together(self, wanted: Iterable[tuple[str, str, int]]) -> Estimate:
        """Of runs (recipe, scale, seed), by records of their scale alone, so that it says the same on every machine;
        the seed makes no difference.
        """
        found = [self.of(name, scale) for name, scale, _ in wanted]
        known = [seconds for seconds in found if seconds is not None]
        return Estimate(len(found), sum(known) if len(known) == len(found) else None)

    def expected(self, wanted: Iterable[tuple[str, str, int]]) -> Estimate:
        """Of runs as in `together`, those without a record of their scale by operations; with what it rests on."""
        counts = Counter((name, scale) for name, scale, _ in wanted)
        each = {key: self._of_one(*key) for key in counts}
        known = [counts[key] * one.seconds for key, one in each.items() if one.seconds is not None]
        ways = Counter()
        for key, one in each.items():
            ways[one.by] += counts[key]
        by = next(iter(ways), "") if len(ways) < 2 else "; ".join(f"{count} {by}" for by, count in ways.items())
        seconds = sum(known) if known or not counts else None
        return Estimate(counts.total(), seconds, by, any(one.least for one in each.values()))

    def _of_one(self, name: str, scale: str) -> Estimate:
        seconds = self.of(name, scale)
        if seconds is not None:
            return Estimate(1, seconds, f"by records of scale {scale}")
        recipe = recipe_named(name)
        counted = flops.of_recipe(recipe, scale)
        if counted is None:
            return Estimate(1, None, UNKNOWN, least=True)
        if not counted.flops:
            return Estimate(1, 0.0, WITHOUT_TRAINING)
        for other in SCALES:
            if other != scale and (other in HERE) == (scale in HERE):
                each = self._of_an_operation(name, scale, other)
                if each is not None:
                    return Estimate(1, counted.flops * each, f"by records of scale {other} and the ratio of FLOPs")
        device = rate(scale, recipe.at(scale).settings.precision)
        by = f"by FLOPs at {device.about}, and small models take longer"
        by += ", as does squeezing, whose updates are left out" if recipe.method == "mpop" else ""
        return Estimate(1, counted.flops / device.flops, by, least=True)

    def _of_an_operation(self, name: str, scale: str, other: str) -> float | None:
        """Seconds of one, in records of another scale: the recipe's own, else those of the model and method that it has
        at its scale. None where there are none of recipes as they stand.
        """
        recipe = recipe_named(name).at(scale)
        there = [record for record in self.records if record.scale == other]
        own = [record for record in there if record.recipe == name]
        alike = [
            record
            for record in there
            if (record.fields.get("model"), record.fields.get("method")) == (recipe.model, recipe.method)
        ]
        for mine in (own, alike):
            found = [record.seconds / made for record in mine if (made := _operations(record))]
            if found:
                return median(found)
        return None


def _times(counted: flops.Training | None, record: Record) -> float:
    """The operations of a training by those of another's; 1 where one of them is not counted."""
    theirs = _operations(record) if counted and counted.flops else None
    return counted.flops / theirs if theirs else 1.0


def _operations(record: Record) -> float | None:
    """Of the training that a record is of; None where its recipe is another by now, or is not counted."""
    recipe = RECIPES.get(record.recipe)
    if recipe is None or record.scale not in recipe.scales or runs.stale(record, recipe):
        return None
    counted = flops.of_recipe(recipe, record.scale)
    return counted.flops if counted else None
