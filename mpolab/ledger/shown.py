"""Rows of the ledger in a notebook: the last line of a section that teaches a claim."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import unknown
from ..papers import CLAIMS, ITEMS
from .build import build
from .evidence import EVIDENCE
from .pages import plain, table
from .row import Row

_STYLE = "<style>.mpolab-ledger td, .mpolab-ledger th { text-align: left !important; vertical-align: top }</style>"


@dataclass(frozen=True)
class Shown:
    """Rows that show themselves: a table in a notebook, blocks of text elsewhere."""

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return plain(self.rows)

    def _repr_html_(self) -> str:
        return f'{_STYLE}<div class="mpolab-ledger">{table(self.rows)}</div>'


def verdicts_on(*ids: str, results: Path | None = None) -> Shown:
    """What the ledger says about equations, algorithms, tables or figures, by their ids, such as "mpop-fig2"; or about
    single claims, such as "mpop-fig2-plans".

    results: the folder of records, None = the usual one. Only these claims are worked out. Raises UnknownNameError for
    an id that is none, and what `build` raises. In every notebook; `mpolab ledger` has all rows.
    """
    wanted = {}
    for id in ids:
        if id not in CLAIMS and id not in ITEMS:
            raise unknown("item or claim of the papers", id, [*ITEMS, *CLAIMS])
        wanted |= {claim.id: claim for claim in CLAIMS.values() if id in (claim.id, claim.item)}
    return Shown(tuple(build(results, wanted, {id: EVIDENCE[id] for id in wanted})))
