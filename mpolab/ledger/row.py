"""One row of the ledger: a claim as printed, what this project finds, and the verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import LedgerError, unknown

EXACT, CONTRADICTS, REPRODUCED, NOT_RUN = "exact", "print contradicts itself", "reproduced", "not run"
SMALLER = "smaller scale"
OUTCOMES = ("same direction", "no difference", "opposite")
"""What an interval of differences says about a claim."""

AT_PAPER_SCALE = "paper's scale"
"""Of runs with the paper's model and data that do not come out as printed."""

VERDICTS: tuple[str, ...] = (
    EXACT,
    CONTRADICTS,
    REPRODUCED,
    *(f"{SMALLER}: {outcome}" for outcome in OUTCOMES),
    *(f"{AT_PAPER_SCALE}: {outcome}" for outcome in OUTCOMES[1:]),
    NOT_RUN,
)
"""Every verdict, from arithmetic to runs to none."""

BY_ARITHMETIC = (EXACT, CONTRADICTS)
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Row:
    """id, item, claim, printed: of `mpolab.papers.Claim`. paper: its short name.

    ours: what was found, in words with numbers. interval: 95 % of the difference, None where nothing was run. seeds: of
    the runs. scale: theirs, or None. verdict: one of VERDICTS. record: files of results/ that say so. command: what
    makes them, those of tries last, or for arithmetic what works it out again.

    Raises LedgerError for a verdict on runs without a record, with fewer than three seeds, without an interval or
    without a scale; UnknownNameError for a verdict that is none.
    """

    id: str
    paper: str
    item: str
    claim: str
    printed: str
    ours: str
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]
    scale: str | None
    verdict: str
    record: tuple[str, ...]
    command: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise unknown("verdict", self.verdict, VERDICTS)
        if not self.on_runs:
            return
        missing = []
        if not self.record:
            missing.append("a record")
        if len(set(self.seeds)) < LEAST_SEEDS:
            missing.append(f"{LEAST_SEEDS} seeds (it has {len(set(self.seeds))})")
        if self.interval is None or not (
            all(map(math.isfinite, self.interval)) and self.interval[0] <= self.interval[1]
        ):
            missing.append(f"an interval (it has {self.interval})")
        if not self.scale:
            missing.append("a scale")
        if missing:
            raise LedgerError(
                f"the verdict {self.verdict!r} on {self.id} needs {', '.join(missing)}; without them a claim about "
                f"runs is {NOT_RUN!r}."
            )

    @property
    def on_runs(self) -> bool:
        """Whether its verdict is made of records."""
        return self.verdict not in (*BY_ARITHMETIC, NOT_RUN)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found = asdict(self)
        return {**found, **{key: list(found[key]) for key in ("seeds", "record")},
                "interval": None if self.interval is None else list(self.interval)}  # fmt: skip
