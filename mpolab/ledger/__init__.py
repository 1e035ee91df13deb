"""The claims ledger: what three papers claim, what this project finds, and the verdict on each claim.

>>> rows = build()  # doctest: +SKIP
>>> summary(rows)  # doctest: +SKIP
{'exact': 32, 'print contradicts itself': 21, ...}

Claims are in `mpolab.papers`, one entry each; `EVIDENCE` says what decides each one: arithmetic that is worked out
(`Arithmetic`), or records in results/ that are compared pair by pair (`Compared`, `Studied`). No verdict is typed
anywhere, and a `Row` cannot be made with one that nothing supports.
Where a claim on runs did not come out, `REMEDIES` says what was tried then, and `FINDINGS` what is to be thought of it;
`LOOKS` are other numbers of the same records.
"""

from __future__ import annotations

from .build import at, build, row_named, summary
from .evidence import EVIDENCE
from .findings import ALTHOUGH, FINDINGS
from .hours import item_costs
from .items import (
    check_scale,
    decided_without_recipes,
    item_command,
    plan_lines,
    recipes_of,
    run_item,
    runnable,
    studies_of,
    work,
)
from .looks import LOOKS
from .parallel import default_jobs, run_side_by_side
from .remedies import REMEDIES
from .row import VERDICTS, Row
from .shown import Shown, verdicts_on

__all__ = [
    "ALTHOUGH",
    "EVIDENCE",
    "FINDINGS",
    "LOOKS",
    "REMEDIES",
    "VERDICTS",
    "Row",
    "Shown",
    "at",
    "build",
    "check_scale",
    "decided_without_recipes",
    "default_jobs",
    "item_command",
    "item_costs",
    "plan_lines",
    "recipes_of",
    "row_named",
    "run_item",
    "run_side_by_side",
    "runnable",
    "studies_of",
    "summary",
    "verdicts_on",
    "work",
]
