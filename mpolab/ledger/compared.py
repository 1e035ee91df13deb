"""Claims about runs: which records are compared, which number of them, and what the paper says of it.

A claim is a small frozen value. Its verdict comes from the records in results/ alone: differences are taken pair by
pair (one task or model, one seed), a seed's is their mean over tasks, as the papers' averages are, and the 95 %
interval over seeds (Student's t) is set beside the printed direction. The interval of all pairs one by one, which takes
what sets tasks apart for noise as well, stands behind it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from .coverage import tasks_here
from .row import AT_PAPER_SCALE, LEAST_SEEDS, OUTCOMES, REPRODUCED, SMALLER
from .statistics import DIRECTIONS, Difference, difference

EACH = "*"
"""In the way to a number: the mean over all that stand there."""

MAIN = "main"
"""The main metric of the recipe's task on the split dev; of several tasks together, their mean."""


def number_in(record: Record, where: str = MAIN) -> float:
    """One number of a record. where: MAIN, or the way to it: "scores | test | mlm_loss", with EACH for a mean.

    Raises LedgerError where the record has no such number.
    """
    value = _value_in(record, where)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise LedgerError(f"the record of {record.recipe!r} has {value!r} at {where!r}, which is no number.")
    return float(value)


def _value_in(record: Record, where: str) -> Any:
    value: Any = record.__dict__
    way = where.split(" | ")
    if where == MAIN:
        task = record.fields.get("task")
        way = ["scores", "dev", task_named(task).main_metric if task else "mean"]
    for k, step in enumerate(way):
        if step == EACH and isinstance(value, dict) and value:
            return mean(number_in(record, " | ".join([*way[:k], key, *way[k + 1 :]])) for key in value)
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise LedgerError(f"the record of {record.recipe!r} has no {where!r}: {step!r} is missing.") from error
    return value


def _lacks(record: Record, where: str) -> bool:
    """Whether a number is not there, or null: such as one that was not noted yet when the record was made."""
    try:
        return _value_in(record, where) is None
    except LedgerError:
        return True


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


def _wheres(pairs: Sequence[Pair], name: str) -> tuple[str, ...]:
    """All that is asked of a recipe's records, each once, in order."""
    measured = [part for pair in pairs for part in pair if isinstance(part, Measured) and name in part.recipes]
    return tuple(dict.fromkeys(where for part in measured for where in part.wheres))


@dataclass(frozen=True)
class Compared:
    """pairs: (first, second) per task; second may be a number. direction: what the claim says of the first, one of
    DIRECTIONS. margin: for "equal", how far apart two may be and still count as alike. about: what stands before the
    difference, "centres frozen - all trained". among: the scales that count, from the smallest. A pair belongs to those
    of them that all of its recipes have, so that a small scale can have some of the tasks.

    Raises UnknownNameError for a recipe or direction that does not exist; LedgerError for no pair, or for a margin
    where none is meant.
    """

    pairs: tuple[Pair, ...]
    direction: str
    about: str
    margin: float = 0.0
    among: tuple[str, ...] = SCALES

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

    def at(self, *wheres: str, direction: str, margin: float = 0.0) -> Compared:
        """The same pairs by other numbers of their records, or the mean of several. Raises as the class does."""
        pairs = tuple(
            tuple(replace(part, wheres=wheres) if isinstance(part, Measured) else part for part in pair)
            for pair in self.pairs
        )
        return replace(self, pairs=pairs, direction=direction, margin=margin)

    def pairs_at(self, scale: str) -> tuple[Pair, ...]:
        """Those that are run there."""
        if scale not in self.among:
            return ()
        return tuple(pair for pair in self.pairs if all(scale in recipe_named(n).scales for n in _recipes([pair])))

    def recipes_at(self, scale: str) -> tuple[str, ...]:
        """Of these pairs, each once, in order."""
        return _recipes(self.pairs_at(scale))

    def scales(self) -> tuple[str, ...]:
        """Those of `among` that a pair has, from the smallest."""
        return tuple(scale for scale in self.among if self.pairs_at(scale))

    def some_tasks(self, scale: str, recipes: Sequence[str] = ()) -> str:
        """How many of the tasks there are at that scale, where these are not all: "4 of 9 tasks"; else "".

        recipes: those with records, of which alone it is said; by default all that the scale has.
        """
        here = tasks_here(recipes or self.recipes_at(scale), scale)
        all_of_them = set().union(*(tasks_here(self.recipes_at(each), each) for each in SCALES))
        return f"{len(here)} of {len(all_of_them)} tasks" if len(here) < len(all_of_them) else ""

    def said(self, scale: str, recipes: Sequence[str] = ()) -> str:
        """`about`, with `some_tasks`."""
        return ", ".join(filter(None, (self.about, self.some_tasks(scale, recipes))))

    def found(self, results: Path) -> Found | None:
        """What the records of the largest scale say at which all pairs have three seeds or more, or as many pairs as at
        a smaller one; the smallest, by which one sees that things run, keeps none from counting. Of this scale's pairs
        those that have not, or not of three seeds that those before them have, are left out, and named. None without
        any.

        Raises CheckpointError for a record that another version of its recipe made, LedgerError where two that are
        compared had other rows.
        """
        best, of_scale = {}, ""
        for scale in self.scales():
            whole = self._whole(scale, results)
            if whole and (of_scale == SCALES[0] or len(whole) >= min(len(best), len(self.pairs_at(scale)))):
                best, of_scale = whole, scale
        return self._at(best, of_scale, results) if best else None

    def _whole(self, scale: str, results: Path) -> dict[Pair, Sequence[int]]:
        """Of the pairs at a scale those with three seeds that all of them have -> their seeds."""
        whole: dict[Pair, Sequence[int]] = {}
        for pair in self.pairs_at(scale):
            seeds = _seeds(pair, scale, results)
            if len(set(seeds).intersection(*whole.values())) >= LEAST_SEEDS:
                whole[pair] = seeds
        return whole

    def _at(self, whole: Mapping[Pair, Sequence[int]], scale: str, results: Path) -> Found:
        """whole: pair -> its seeds."""
        scores: dict[int, list[tuple[float, float]]] = {}  # seed -> (first, second) of each pair
        files = []
        for (a, b), seeds in whole.items():
            for seed in seeds:
                mine = [record_of(recipe_named(name), scale, seed, results) for name in a.recipes]
                second = b
                if isinstance(b, Measured):
                    others = [record_of(recipe_named(name), scale, seed, results) for name in b.recipes]
                    _check_rows(mine, others)
                    second = b.of(others)
                scores.setdefault(seed, []).append((a.of(mine), float(second)))
            files += [f"results/{name}/{scale}-seed{seed}.json" for name in _recipes([(a, b)]) for seed in seeds]
        common = sorted(seed for seed, of_pairs in scores.items() if len(of_pairs) == len(whole))
        means = [[mean(pair[side] for pair in scores[seed]) for seed in common] for side in (0, 1)]
        every = [[pair[side] for of_pairs in scores.values() for pair in of_pairs] for side in (0, 1)]
        missing = [_missing(self.pairs_at(scale), name, scale, results) for name in self.recipes_at(scale)]
        return Found(
            difference(*means),
            scale,
            tuple(common),
            tuple(dict.fromkeys(files)),
            tuple(filter(None, missing)),
            one_by_one=difference(*every) if len(whole) > 1 else None,
            recipes=_recipes(tuple(whole)),
        )

    def lacking(self, results: Path) -> str:
        """Which records lack a number that is asked for, as `Found.missing` has them, by scale; "" if none does."""
        said = []
        for scale in self.scales():
            pairs = self.pairs_at(scale)
            names = [name for name in self.recipes_at(scale) if _lacking(pairs, name, scale, results)]
            if names:
                said.append(f"{scale}, {', '.join(_missing(pairs, name, scale, results) for name in names)}")
        return f"to be made again: {'; '.join(said)}" if said else ""

    def verdict(self, found: Found) -> str:
        """One of `row.VERDICTS`: *reproduced*, or what else came out, where all records have the paper's model and
        data, and none is missing.
        """
        outcome = found.difference.outcome(self.direction, self.margin)
        printed = all(found.scale in recipe_named(name).as_printed for name in found.recipes)
        if found.missing or not printed or not found.recipes:
            return f"{SMALLER}: {outcome}"
        return REPRODUCED if outcome == OUTCOMES[0] else f"{AT_PAPER_SCALE}: {outcome}"

    def ours(self, found: Found) -> str:
        wanted = f" (alike would be within {self.margin:g})" if self.margin else ""
        without = f"; without records of {', '.join(found.missing)}" if found.missing else ""
        among = f"{found.difference.pairs} pairs"
        if (single := found.one_by_one) is not None:
            among = f"{found.difference.pairs} seeds ({single.pairs} pairs one by one: {single.limits()})"
        return f"{self.said(found.scale, found.recipes)}: {found.difference}, {among}{wanted}{without}"


@dataclass(frozen=True)
class Found:
    """What the records say: the difference, at which scale, by which seeds, in which files. missing: the records for
    want of which pairs, or seeds of them, are left out. means: of the first and of the second, where they are kept.
    one_by_one: of several pairs a seed (tasks, or models), what all of them come to. recipes: whose records they are.
    """

    difference: Difference
    scale: str
    seeds: tuple[int, ...]
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()
    means: tuple[float, float] | None = None
    one_by_one: Difference | None = None
    recipes: tuple[str, ...] = ()


def seeds_there(name: str, scale: str, results: Path) -> list[int]:
    """The reported seeds of which a recipe has a record at that scale."""
    return [seed for seed in recipe_named(name).seeds if runs.record_path(name, scale, seed, results).is_file()]


def _seeds(pair: Pair, scale: str, results: Path) -> list[int]:
    """Those of which all recipes of a pair have a record with what the pair asks for."""
    whole = []
    for name in _recipes([pair]):
        lacking = _lacking([pair], name, scale, results)
        whole.append({seed for seed in seeds_there(name, scale, results) if seed not in lacking})
    return sorted(set.intersection(*whole))


def _lacking(pairs: Sequence[Pair], name: str, scale: str, results: Path) -> dict[int, str]:
    """seed -> the first number that its record lacks (see `_lacks`), of those in `extra` that a pair asks for."""
    wheres = [where for where in _wheres(pairs, name) if where.startswith("extra | ")]
    lacking = {}
    for seed in seeds_there(name, scale, results) if wheres else ():
        record = runs.load(runs.record_path(name, scale, seed, results))
        without = [where for where in wheres if _lacks(record, where)]
        if without:
            lacking[seed] = without[0]
    return lacking


def _missing(pairs: Sequence[Pair], name: str, scale: str, results: Path) -> str:
    """The recipe, with the seeds if it has others, and those whose record lacks a number; "" if it has all."""
    there, lacking = seeds_there(name, scale, results), _lacking(pairs, name, scale, results)
    if not there:
        return name
    parts = [("", [seed for seed in recipe_named(name).seeds if seed not in there])]
    for where in dict.fromkeys(lacking.values()):
        parts.append((f", without {where}", [seed for seed in lacking if lacking[seed] == where]))
    said = [f"seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}{what}" for what, seeds in parts if seeds]
    return f"{name} ({'; '.join(said)})" if said else ""


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


def record_of(recipe: Recipe, scale: str, seed: int, results: Path) -> Record:
    """Raises DataNotFoundError where there is none, CheckpointError where another version of the recipe made it."""
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
