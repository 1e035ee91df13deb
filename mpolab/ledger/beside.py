"""A printed table beside ours: what an entry of `tables` is made of, and the numbers that fill it.

Scores are means over the seeds of records in results/; #Pr, #To and depth are counted on the paper's own models, which
have only shapes here. Nothing is typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean, stdev

from ..jobs import Recipe
from ..papers import printed, table
from ..papers.table import PrintedTable
from ..recipes import RECIPES, recipe_named
from ..runs import SCALES, Record
from .arithmetic import Line, number
from .compared import number_in, record_of, seeds_there
from .row import LEAST_SEEDS

# -- what an entry is ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a column's number stands in our records. where: as `number_in` has it; "{part}" is the row's. fills: what
    the braces in a recipe's name stand for in this column.
    """

    where: str
    fills: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Count:
    """A size, counted. of: what is counted, in words. value: does it, parameters in millions. decimals, cut: of the
    print, as `number` has them; decimals None = of whole things, which are equal or not. aside: another number and what
    it is of, shown under it.
    """

    of: str
    value: Callable[[], float]
    decimals: int | None = 0
    cut: bool = True
    aside: Callable[[], str] | None = None

    def beside(self, print_says: float) -> Line:
        """What the line says is the aside."""
        what, ours = self.aside() if self.aside else "", _value(self)
        if self.decimals is None:
            return Line(what, f"{ours:g}", ours == print_says)
        return number(what, print_says, ours, self.decimals, self.cut)


@dataclass(frozen=True)
class Beside:
    """What stands beside a printed row. model: ours, in words. recipe: its name, with "{task}" in it; "" = none of ours
    is like it. again: (name, in words) of the recipe that was tried later and chosen, "" = none. counted: column ->
    size. part: see `Place`.
    """

    model: str = ""
    recipe: str = ""
    again: tuple[str, str] = ("", "")
    counted: Mapping[str, Count] = field(default_factory=dict)
    part: str = ""

    def recipe_for(self, place: Place, again: bool = False) -> str:
        """ "" where there is none. What was tried later was not tried on every task."""
        name = (self.again[0] if again else self.recipe).format(**place.fills)
        return "" if again and name not in RECIPES else name


@dataclass(frozen=True)
class Grid:
    """table: the printed table's id. rows: what stands beside each printed row; rows left out have nothing. columns:
    printed column -> place. more: columns of ours that the print lacks. average: the column of the means of rows, ""
    = none; average_digits: as it is printed. about: which model stands for which, in sentences. digits: of our scores.

    Raises UnknownNameError for a table, row, column or recipe that does not exist.
    """

    table: str
    rows: Mapping[str, Beside]
    columns: Mapping[str, Place] = field(default_factory=dict)
    more: Mapping[str, Place] = field(default_factory=dict)
    average: str = ""
    average_digits: int = 1
    about: str = ""
    digits: int = 1

    def __post_init__(self) -> None:
        for row, beside in self.rows.items():
            for column in (*self.columns, *beside.counted, *filter(None, [self.average])):
                printed(self.table, row, column)
            if beside.recipe:
                for place in self.places.values():
                    recipe_named(beside.recipe_for(place))
            if beside.again[0] and not any(beside.recipe_for(place, True) for place in self.places.values()):
                recipe_named(beside.again[0])  # no column has it: this says which names are near

    @property
    def printed(self) -> PrintedTable:
        return table(self.table)

    @property
    def places(self) -> dict[str, Place]:
        """Of all our columns, printed ones first."""
        return {**self.columns, **self.more}


# -- what the records say --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """mean, spread: over the seeds, the spread with n - 1. tasks: of how many scores an average is, 0 = it is none."""

    mean: float
    spread: float
    tasks: int = 0


@dataclass(frozen=True)
class OurRow:
    """printed: the row it stands beside. model: in words, as it was tried. again: whether later. scores, counted: by
    column. trained, total: of the small model, as its record has them; 0 without any.
    """

    printed: str
    model: str
    again: bool
    scores: Mapping[str, Score]
    counted: Mapping[str, Line]
    trained: int = 0
    total: int = 0


@dataclass(frozen=True)
class Filled:
    """A grid with its numbers. scale, seeds: of the records; None and empty without any. data: column -> its rows in
    words, "400 + 500" = to learn from and reported. least: the fewest seeds of a cell.
    """

    rows: tuple[OurRow, ...]
    scale: str | None
    seeds: tuple[int, ...]
    data: Mapping[str, str]
    least: int = 0


def fill(grid: Grid, results: Path) -> Filled:
    """From the scale that fills most cells, of equals the largest; a cell takes three seeds, as a verdict does.

    Raises CheckpointError for a record that another version of its recipe made.
    """
    found = {scale: dict(_cells(grid, scale, results)) for scale in SCALES}
    scale = max(reversed(SCALES), key=lambda each: len(found[each]))
    cells = found[scale]
    rows = []
    for name in grid.printed.rows:
        first, later = (
            {column: cells[name, again, column] for column in grid.places if (name, again, column) in cells}
            for again in (False, True)
        )
        averaged = [column for column in grid.printed.averaged if column in first]
        rows.append(_row(grid, name, False, first, averaged))
        if later:
            rows.append(_row(grid, name, True, later, averaged))
    records = [record for cell in cells.values() for record in cell]
    data = {}
    for (_, again, column), cell in cells.items():
        if not again:
            data.setdefault(column, _rows_of(cell[0], column, grid.places[column]))
    seeds = tuple(sorted({record.seed for record in records}))
    return Filled(tuple(rows), scale if cells else None, seeds, data, min(map(len, cells.values()), default=0))


def _cells(grid: Grid, scale: str, results: Path) -> Iterator[tuple[tuple[str, bool, str], list[Record]]]:
    """(printed row, again, column) -> the records of all its seeds."""
    for row, beside in grid.rows.items():
        for again in (False, True):
            for column, place in grid.places.items():
                name = beside.recipe_for(place, again)
                if not name or not _has(recipe_named(name), scale, column):
                    continue
                seeds = seeds_there(name, scale, results)
                if len(seeds) >= LEAST_SEEDS:
                    yield (row, again, column), [record_of(recipe_named(name), scale, seed, results) for seed in seeds]


def _has(recipe: Recipe, scale: str, column: str) -> bool:
    """Whether there is a scale like that, and, where the recipe is of several tasks, the column's is one of them."""
    if scale not in recipe.scales:
        return False
    tasks = recipe.at(scale).tasks
    return not tasks or column in tasks


def _row(grid: Grid, name: str, again: bool, cells: Mapping[str, list[Record]], averaged: Sequence[str]) -> OurRow:
    """averaged: the columns of an average, which needs them all, and two or more."""
    beside = grid.rows.get(name, Beside())
    values = {column: _values(cell, grid.places[column], beside) for column, cell in cells.items()}
    scores = {column: _score(list(by_seed.values())) for column, by_seed in values.items()}
    if grid.average and len(averaged) > 1 and set(averaged) <= set(values):
        seeds = sorted(set.intersection(*(set(values[column]) for column in averaged)))
        if len(seeds) >= LEAST_SEEDS:
            means = [mean(values[column][seed] for column in averaged) for seed in seeds]
            scores[grid.average] = _score(means, len(averaged))
    counted = {
        column: count.beside(grid.printed.rows[name][column]) for column, count in beside.counted.items() if not again
    }
    record = next((records[0] for records in cells.values()), None)
    sizes = (record.trainable, record.total) if record else (0, 0)
    return OurRow(name, beside.again[1] if again else beside.model, again, scores, counted, *sizes)


def _values(records: Sequence[Record], place: Place, beside: Beside) -> dict[int, float]:
    """Seed -> number."""
    return {record.seed: number_in(record, place.where.format(part=beside.part)) for record in records}


def _score(values: Sequence[float], tasks: int = 0) -> Score:
    return Score(mean(values), stdev(values), tasks)


@cache
def _value(count: Count) -> float:
    """Once in a process."""
    return count.value()


def _rows_of(record: Record, column: str, place: Place) -> str:
    """Of the column's task, where the run was on several at once."""
    data = record.data.get("tasks", {}).get(column, record.data)
    kind, split, *_ = place.where.split(" | ")
    splits = ("train", split) if kind == "scores" else ("train",)
    said = " + ".join(f"{data['rows'][each]:,}" for each in splits)
    return said + (f" of {data['window']} tokens" if "window" in data else "")
