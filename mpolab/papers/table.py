"""A printed table as a value, and how it is read from its rows as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class PrintedTable:
    """id: "mpobert-tab1-dev". title: what it shows. columns: as printed. rows: {name: {column: number}}, NaN = a dash.
    averaged: the columns whose mean the table prints. notes: {row or "": what is doubtful about it}. texts: as rows,
    but each number with the digits that are printed, "-" = a dash.
    """

    id: str
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]
    averaged: tuple[str, ...] = ()
    notes: Mapping[str, str] | None = None
    texts: Mapping[str, Mapping[str, str]] | None = None

    def __repr__(self) -> str:
        return f"PrintedTable({self.id}: {len(self.rows)} rows of {', '.join(self.columns)})"


def read(
    id: str,
    title: str,
    columns: str,
    rows: str,
    averaged: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
) -> PrintedTable:
    """columns: names separated by white space. rows: a line each, the name and then a number or "-" a column."""
    names = tuple(columns.split())
    found, texts = {}, {}
    for line in rows.strip().splitlines():
        cells = line.split()
        name, numbers = " ".join(cells[: -len(names)]), cells[-len(names) :]
        if not name or name in found:
            raise ValueError(f"{id}: the line {line!r} has no name of its own.")
        texts[name] = dict(zip(names, numbers))
        found[name] = {column: math.nan if cell == "-" else float(cell) for column, cell in zip(names, numbers)}
    return PrintedTable(id, title, names, found, tuple(averaged), notes or {}, texts)
