"""Where a claim came out the other way round: what else was tried, and what it came to.

A remedy that is to change a verdict is chosen on a seed and on rows that are not reported, with as many tries for what
it is compared with (scripts/choose_settings.py), and then runs on all reported seeds. The first result stays beside it.
A remedy that nobody would choose, but that shows the reason, stands beside the first result and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import LedgerError
from .compared import Compared, Found
from .row import OUTCOMES
from .studies import Studied, errors_of

LEAST_TRIED = 2


@dataclass(frozen=True)
class Again:
    """The claim once more. about: what was changed, in words that follow "with"."""

    about: str
    evidence: Compared | Studied

    def outcome(self, found: Found) -> str:
        """One of OUTCOMES, or a verdict without any."""
        verdict = self.evidence.verdict(found)
        return next((outcome for outcome in OUTCOMES if verdict.endswith(outcome)), verdict)

    def ours(self, found: Found) -> str:
        return f"with {self.about}: {found.difference} ({self.outcome(found)})"


@dataclass(frozen=True)
class Remedy:
    """tried: each in a few words, two or more. again: what was run on the reported seeds. chosen_by: the file of
    results/ by which the last of `again` was chosen, which then gives the verdict; None = the first result gives it.

    Raises LedgerError for fewer tries, or for a choice of nothing.
    """

    tried: tuple[str, ...]
    again: tuple[Again, ...]
    chosen_by: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.tried)) < LEAST_TRIED:
            raise LedgerError(f"{LEAST_TRIED} remedies are to be tried at least, and these are {len(set(self.tried))}.")
        if self.chosen_by is not None and not self.again:
            raise LedgerError(f"{self.chosen_by!r} chose a remedy, and none is there.")

    def found(self, results: Path) -> list[tuple[Again, Found]]:
        """Of those that have records. Raises as `Compared.found` and `Studied.found`."""
        return [(again, found) for again in self.again if (found := again.evidence.found(results)) is not None]


def _low_rank(case: str, n: int, about: str) -> Again:
    study = Studied(
        f"low_rank_{case.replace('-', '_')}.json",
        errors_of(("MPO", n), ("CPD", n)),
        f"python scripts/low_rank_study.py {case}",
        "a few minutes",
        "lower",
        f"error of MPO - of CPD (n = {n}, mean over four ratios)",
    )
    return Again(about, study)


REMEDIES: Mapping[str, Remedy] = {
    "mpop-fig2-cpd": Remedy(
        ("other matrices", "more legs", "a CPD that has hardly begun"),
        (
            _low_rank("query", 3, "the query matrices of five layers"),
            _low_rank("query-five", 5, "these and five legs"),
            _low_rank("one-step", 3, "a CPD stopped after its first step"),
        ),
    ),
}
"""Id of a claim -> what was tried."""
