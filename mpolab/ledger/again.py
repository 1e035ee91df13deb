"""A claim once more: with other settings, on other data, or by other numbers of the same records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .compared import Compared, Found
from .evidence import EVIDENCE
from .row import OUTCOMES
from .studies import Studied, Values, weights_file


@dataclass(frozen=True)
class Again:
    """about: what was changed, in words that follow "with"."""

    about: str
    evidence: Compared | Studied

    def outcome(self, found: Found) -> str:
        """One of OUTCOMES, or a verdict without any."""
        verdict = self.evidence.verdict(found)
        return next((outcome for outcome in OUTCOMES if verdict.endswith(outcome)), verdict)

    def tasks(self, found: Found) -> str:
        """As `Compared.some_tasks`; "" of a study."""
        return self.evidence.some_tasks(found.scale, found.recipes) if isinstance(self.evidence, Compared) else ""

    def ours(self, found: Found, known: Collection[str] = (), tasks: str = "", scale: str = "") -> str:
        """known, tasks, scale: missing records, how many of the tasks, and the scale, that are named elsewhere."""
        missing = [record for record in found.missing if record not in known]
        without = f", without records of {', '.join(missing)}" if missing else ""
        single = f", {found.one_by_one.pairs} pairs one by one: {found.one_by_one.limits()}" if found.one_by_one else ""
        about = self.about if (mine := self.tasks(found)) in ("", tasks) else f"{self.about}, {mine}"
        if scale and isinstance(self.evidence, Compared) and found.scale != scale:
            about += f", at scale {found.scale}"
        return f"with {about}: {found.difference} ({self.outcome(found)}{single}{without})"


def _weights(case: str, cost: str) -> dict[str, str]:
    """Keyword arguments of `other` for a case of scripts/weights_study.py."""
    return {
        "file": weights_file(case),
        "command": f"python scripts/weights_study.py {case}",
        "cost": cost,
    }


GROWTH_ALBERT = _weights("growth-albert", "about two minutes")
PLANS_FFN = _weights("plans-ffn", "some seconds")


def found_of(several: Iterable[Again], results: Path) -> list[tuple[Again, Found]]:
    """Of those that have records. Raises as `Compared.found` and `Studied.found`."""
    return [(again, found) for again in several if (found := again.evidence.found(results)) is not None]


def other(id: str, about: str, values: Callable[[Path], Values], **made: str) -> Again:
    """Other numbers of the claim's own study. made: `file`, `command` and `cost` of another one like it."""
    study: Studied = EVIDENCE[id]  # type: ignore[assignment]
    return Again(about, replace(study, values=values, **made))
