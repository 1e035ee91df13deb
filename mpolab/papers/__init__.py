"""Every number that a paper prints in a table, as it is printed, by table, row and column.

>>> printed("mpobert-tab2", "MPOBERT48", "Avg.")
84.4

A note says where the print is doubtful; whether an average is the mean of its row can be asked (`recomputed`). Every
equation, algorithm, table and figure has an id (`ITEMS`); `CLAIMS` are the statements that the ledger judges.
"""

from __future__ import annotations

import math

from ..errors import unknown
from .claim import Claim
from .claims import CLAIMS
from .ids import ITEMS, PAPERS, check_item, item_of, label, paper_of
from .mpobert import TABLES as _MPOBERT
from .mpoe import TABLES as _MPOE
from .mpop import TABLES as _MPOP
from .table import PrintedTable

__all__ = [
    "CLAIMS",
    "ITEMS",
    "PAPERS",
    "TABLES",
    "Claim",
    "PrintedTable",
    "check_item",
    "item_of",
    "label",
    "paper_of",
    "printed",
    "recomputed",
    "table",
]

TABLES: dict[str, PrintedTable] = {table.id: table for table in (*_MPOP, *_MPOBERT, *_MPOE)}
"""By id, such as "mpobert-tab1-dev"."""


def table(id: str) -> PrintedTable:
    """Raises UnknownNameError with the nearest ids."""
    if id not in TABLES:
        raise unknown("printed table", id, TABLES)
    return TABLES[id]


def printed(id: str, row: str, column: str) -> float:
    """One number, NaN where the paper has a dash. Raises UnknownNameError for a table, row or column that is none."""
    found = table(id)
    if row not in found.rows:
        raise unknown(f"row of {id}", row, found.rows)
    if column not in found.columns:
        raise unknown(f"column of {id}", column, found.columns)
    return found.rows[row][column]


def recomputed(id: str, column: str = "Avg.") -> dict[str, tuple[float, float]]:
    """{row: (printed, the mean of the scores in its row)}, for a table with a column of averages; rows without one, or
    with a dash among their scores, are left out.
    """
    found = table(id)
    if column not in found.columns:
        raise unknown(f"column of {id}", column, found.columns)
    pairs = {}
    for name, row in found.rows.items():
        scores = [row[task] for task in found.averaged]
        if not any(map(math.isnan, [row[column], *scores])):
            pairs[name] = (row[column], sum(scores) / len(scores))
    return pairs
