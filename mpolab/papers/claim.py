"""A claim of a paper as a value.

A claim says what is claimed and where the numbers stand; whether it holds is asked elsewhere (`mpolab.ledger`). Claims
in prose belong to the item that they are about.
"""

from __future__ import annotations

from dataclasses import dataclass

from .ids import check_item, paper_of
from .mpobert import TABLES as _MPOBERT
from .mpoe import TABLES as _MPOE
from .mpop import TABLES as _MPOP

_TABLES = {table.id: table for table in (*_MPOP, *_MPOBERT, *_MPOE)}


@dataclass(frozen=True)
class Claim:
    """id: the item's, and a word or two. claim: one sentence. cells: "table | row | column" of the printed numbers, in
    the order in which they are compared. unit: of these numbers, where they are no scores. says: what is printed where
    it stands in no table. note: what is doubtful.

    Raises UnknownNameError for an id that begins with no item; KeyError for a cell that no table has.
    """

    id: str
    claim: str
    cells: tuple[str, ...] = ()
    unit: str = ""
    says: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        check_item(self.item)
        self.values()

    @property
    def item(self) -> str:
        """ "mpop-tab3-average" -> "mpop-tab3"."""
        return "-".join(self.id.split("-")[:2])

    @property
    def paper(self) -> str:
        return paper_of(self.item)

    def values(self) -> list[float]:
        """The printed numbers of its cells."""
        found = []
        for cell in self.cells:
            table, row, column = cell.split(" | ")
            found.append(_TABLES[table].rows[row][column])
        return found

    @property
    def printed(self) -> str:
        """As the paper has it: "80.4 against 80.3", "7.7, 70.4 M", "20.72, 20.73, 20.78"."""
        numbers = [f"{value:g}" for value in self.values()]
        joined = " against ".join(numbers) if len(numbers) == 2 and not self.unit else ", ".join(numbers)
        joined = f"{joined} {self.unit}".strip()
        return "; ".join(part for part in (joined, self.says) if part)


def in_column(table: str, column: str, *rows: str) -> tuple[str, ...]:
    """Cells of one column, row by row."""
    return tuple(f"{table} | {row} | {column}" for row in rows)
