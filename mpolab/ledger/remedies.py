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
from ..mpop import TASKS
from ..tasks import task_named
from .compared import Compared, Found, one, ways
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
    """tried: each in a few words, two or more. again: those of them that were run on the reported seeds. file: of
    results/, what the tries came to on rows that choose; "" = there was nothing to choose. chosen: the last of `again`
    is what the file chose, and gives the verdict; else the first result does.

    Raises LedgerError for fewer tries, for a choice of nothing or by nothing, and where nothing says what they came to.
    """

    tried: tuple[str, ...]
    again: tuple[Again, ...] = ()
    file: str = ""
    chosen: bool = False

    def __post_init__(self) -> None:
        if len(set(self.tried)) < LEAST_TRIED:
            raise LedgerError(f"{LEAST_TRIED} remedies are to be tried at least, and these are {len(set(self.tried))}.")
        if not self.again and not self.file:
            raise LedgerError(f"{', '.join(self.tried)}: neither a file nor runs say what they came to.")
        if self.chosen and not (self.again and self.file):
            raise LedgerError("a remedy that was chosen needs its runs, and the file by which it was chosen.")

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


_PERPLEXITY = "scores | test | perplexity"
_LONGER = Compared(
    ((one("experts-mpoe-longer", _PERPLEXITY), one("experts-dense-longer", _PERPLEXITY)),),
    "lower",
    "perplexity: MPOE - dense",
)

_AT_DENSE_SIZE = 23
"""The first step of a recorded squeezing, from 0, after which there are no more parameters than in the dense model."""


def _on_the_way() -> Compared:
    """Squeezed no further than to the dense model's size, on the rows of `select` that every step was measured on."""
    pairs = []
    for task in TASKS:
        dense = one(f"mpop-{task.lower()}-full", f"scores | select | {task_named(task).main_metric}")
        squeezed = one(f"mpop-{task.lower()}-squeezed", f"extra | trace | steps | {_AT_DENSE_SIZE} | metric")
        pairs.append((squeezed, dense))
    return Compared(tuple(pairs), "higher", "squeezed - dense")


_BESIDE_BERT = Remedy(("twice the epochs", "three times the learning rate"), file="mpobert_remedies.json")
_ELSEWHERE = Remedy(
    ("twice the epochs on 1,000 rows of SST-2", "three times the learning rate there"), file="mpobert_remedies.json"
)

REMEDIES: Mapping[str, Remedy] = {
    "mpop-tab3-squeezed-dense": Remedy(
        ("a stop at the dense model's size", "all updates after the last cut"),
        (
            Again("a stop at the dense model's size, on the rows of every step", _on_the_way()),
            Again(
                "all cuts at once and as many updates after them",
                ways(
                    "mpop-{task}-straight",
                    "mpop-{task}-full",
                    [task.lower() for task in TASKS],
                    "higher",
                    "cut - dense",
                ),
            ),
        ),
    ),
    "mpop-fig2-cpd": Remedy(
        ("other matrices", "more legs", "a CPD that has hardly begun"),
        (
            _low_rank("query", 3, "the query matrices of five layers"),
            _low_rank("query-five", 5, "these and five legs"),
            _low_rank("one-step", 3, "a CPD stopped after its first step"),
        ),
    ),
    "mpobert-tab1-bert": _BESIDE_BERT,
    "mpobert-tab2-bert": _ELSEWHERE,
    "mpobert-tab3-bert": _ELSEWHERE,
    "mpoe-tab1-gpt2-dense": Remedy(
        ("four times the updates", "four times the updates without the gradient mask"),
        (Again("four times the updates for both, and no gradient mask", _LONGER),),
        "experts_remedies.json",
        chosen=True,
    ),
}
"""Id of a claim -> what was tried."""
