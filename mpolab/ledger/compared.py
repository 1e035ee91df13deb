"""Claims about runs: which records are compared, which number of them, and what the paper says of it.

A claim is a small frozen value. Its verdict comes from the records in results/ alone: the differences are taken pair by
pair (one task, one seed), and their 95 % interval (Student's t) is set beside the printed direction.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from .. import runs
from ..errors import CheckpointError, LedgerError, unknown
from ..jobs import Recipe
from ..recipes import recipe_named
from ..runs import SCALES, Record
from ..tasks import task_named
from .row import AT_PAPER_SCALE, LEAST_SEEDS, OUTCOMES, REPRODUCED, SMALLER
from .statistics import DIRECTIONS, Difference, difference

MAIN = "main"
"""The main metric of the recipe's task on the split dev; of several tasks together, their mean."""


def number_in(record: Record, where: str = MAIN) -> float:
    """One number of a record. where: MAIN, or the way to it: "scores | test | mlm_loss".

    Raises LedgerError where the record has no such number.
    """
    value: Any = record.__dict__
    way = where.split(" | ")
    if where == MAIN:
        task = record.fields.get("task")
        way = ["scores", "dev", task_named(task).main_metric if task else "mean"]
    for step in way:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise LedgerError(f"the record of {record.recipe!r} has no {where!r}: {step!r} is missing.") from error
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise LedgerError(f"the record of {record.recipe!r} has {value!r} at {where!r}, which is no number.")
    return float(value)


@dataclass(frozen=True)
class Measured:
    """What one side of a pair is: a number of the records of a recipe, or the mean of several such numbers.

    recipes, wheres: every recipe at every place (see `number_in`). What is not independent, such as several numbers of
    one run or draws that are part of each other, belongs into one mean, so that a pair stays one task and one seed.
    """

    recipes: tuple[str, ...]
    wheres: tuple[str, ...] = (MAIN,)

    def of(self, records: Sequence[Record]) -> float:
        """The mean over its recipes' records of one seed. Raises LedgerError as `number_in`."""
        return mean(number_in(record, where) for record in records for where in self.wheres)


def one(recipe: str, where: str = MAIN) -> Measured:
    return Measured((recipe,), (where,))


Second = Measured | float
Pair = tuple[Measured, Second]


def _recipes(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Every recipe once, in order."""
    measured = [part for pair in pairs for part in pair if isinstance(part, Measured)]
    return tuple(dict.fromkeys(name for part in measured for name in part.recipes))


@dataclass(frozen=True)
class Compared:
    """pairs: (first, second) per task; second may be a number. direction: what the claim says of the first, one of
    DIRECTIONS. margin: for "equal", how far apart two may be and still count as alike. about: what stands before the
    difference, "centres frozen - all trained".

    Raises UnknownNameError for a recipe or direction that does not exist; LedgerError for no pair, or for a margin
    where none is meant.
    """

    pairs: tuple[Pair, ...]
    direction: str
    about: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)
        if not self.pairs:
            raise LedgerError(f"{self.about!r} compares nothing.")
        if (self.direction == "equal") != (self.margin > 0):
            raise LedgerError(f"{self.about!r}: a margin belongs to the direction 'equal' and to no other.")
        for name in self.recipes:
            recipe_named(name)

    @cached_property
    def recipes(self) -> tuple[str, ...]:
        """Every recipe once, in order."""
        return _recipes(self.pairs)

    def scales(self) -> tuple[str, ...]:
        """Those that all of its recipes have, from the smallest."""
        return tuple(scale for scale in SCALES if all(scale in recipe_named(name).scales for name in self.recipes))

    def found(self, results: Path) -> Found | None:
        """The largest scale with records of three seeds or more for every pair; where there is none, what the pairs say
        that have them, at the scale that has most such pairs. None without any.

        Raises CheckpointError for a record that another version of its recipe made, LedgerError where two that are
        compared had other rows.
        """
        best: tuple[Pair, ...] = ()
        at = None
        for scale in reversed(self.scales()):
            whole = tuple(pair for pair in self.pairs if len(_seeds((pair,), scale, results)) >= LEAST_SEEDS)
            if len(whole) > len(best) and len(_seeds(whole, scale, results)) >= LEAST_SEEDS:
                best, at = whole, scale
        return None if at is None else self._at(best, at, _seeds(best, at, results), results)

    def _at(self, pairs: Sequence[Pair], scale: str, seeds: Sequence[int], results: Path) -> Found:
        names = _recipes(pairs)
        records = {(name, seed): _record(recipe_named(name), scale, seed, results)
                   for name in names for seed in seeds}  # fmt: skip
        first, second = [], []
        for a, b in pairs:
            for seed in seeds:
                mine = [records[name, seed] for name in a.recipes]
                first.append(a.of(mine))
                if not isinstance(b, Measured):
                    second.append(float(b))
                    continue
                others = [records[name, seed] for name in b.recipes]
                _check_rows(mine, others)
                second.append(b.of(others))
        files = tuple(f"results/{name}/{scale}-seed{seed}.json" for name in names for seed in seeds)
        left_out = tuple(pair[0].recipes[0] for pair in self.pairs if pair not in pairs)
        return Found(difference(first, second), scale, tuple(seeds), files, left_out)

    def verdict(self, found: Found) -> str:
        outcome = found.difference.outcome(self.direction, self.margin)
        if found.scale != "paper":
            return f"{SMALLER}: {outcome}"
        return REPRODUCED if outcome == OUTCOMES[0] else f"{AT_PAPER_SCALE}: {outcome}"

    def ours(self, found: Found) -> str:
        wanted = f" (alike would be within {self.margin:g})" if self.margin else ""
        without = f"; not run: {', '.join(found.left_out)}" if found.left_out else ""
        return f"{self.about}: {found.difference}, {found.difference.pairs} pairs{wanted}{without}"


@dataclass(frozen=True)
class Found:
    """What the records say: the difference, at which scale, by which seeds, in which files. left_out: of each pair that
    has no records of three seeds there, its first recipe.
    """

    difference: Difference
    scale: str
    seeds: tuple[int, ...]
    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def _seeds(pairs: Sequence[Pair], scale: str, results: Path) -> tuple[int, ...]:
    """The reported seeds of which every recipe of the pairs has a record at that scale."""
    names = _recipes(pairs)
    reported = set.intersection(*(set(recipe_named(name).seeds) for name in names))
    return tuple(
        seed
        for seed in sorted(reported)
        if all(runs.record_path(name, scale, seed, results).is_file() for name in names)
    )


def _check_rows(first: Sequence[Record], second: Sequence[Record]) -> None:
    """Raises LedgerError where two that are compared had other rows: one by one, or where a mean of several recipes is
    compared with a mean of another number of them, each with each.
    """
    alike = len(first) == len(second)
    for one, other in zip(first, second) if alike else itertools.product(first, second):
        if one.data.get("sha256") != other.data.get("sha256"):
            raise LedgerError(
                f"{one.recipe!r} and {other.recipe!r} (scale {one.scale}, seed {one.seed}) had other rows: they make "
                "no pair."
            )


def _record(recipe: Recipe, scale: str, seed: int, results: Path) -> Record:
    record = runs.load(runs.record_path(recipe.name, scale, seed, results))
    changed = runs.stale(record, recipe)
    if changed:
        raise CheckpointError(
            f"the record of {recipe.name!r} ({scale}, seed {seed}) was made by another version of the recipe: "
            f"{changed}. Run it again before the ledger is made."
        )
    return record


def ways(first: str, second: str, tasks: Sequence[str], direction: str, about: str, margin: float = 0.0) -> Compared:
    """Two ways on several tasks. first, second: names of recipes with "{task}" in them; tasks: what stands there."""
    pairs = tuple((one(first.format(task=task)), one(second.format(task=task))) for task in tasks)
    return Compared(pairs, direction, about, margin)
