"""The ledger itself: every claim, what decides it, and the row that comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from .. import runs
from ..errors import LedgerError, unknown
from ..papers import CLAIMS, Claim, check_item
from ..recipes import RECIPES
from . import tries
from .again import Again, found_of
from .arithmetic import Arithmetic
from .compared import Compared, Found
from .estimate import Seconds
from .evidence import EVIDENCE, Evidence
from .items import item_command
from .looks import LOOKS
from .remedies import REMEDIES, Remedy
from .row import NOT_RUN, VERDICTS, Row
from .studies import Studied

ASK_FOR = "laptop"
"""The scale that a row without a run asks for, where its recipes have it."""

AGAIN = "mpolab ledger"
"""What works arithmetic out again."""


def build(
    results: Path | None = None,
    claims: Mapping[str, Claim] = CLAIMS,
    evidence: Mapping[str, Evidence] = EVIDENCE,
    remedies: Mapping[str, Remedy] = REMEDIES,
    looks: Mapping[str, Sequence[Again]] = LOOKS,
) -> list[Row]:
    """Every row, in the order of the claims. results: the folder of records, None = the usual one. remedies, looks:
    those of claims that are not there are left alone.

    Raises LedgerError for a claim that nothing decides, or evidence of no claim, and for records that make no pair;
    CheckpointError for a record that another version of its recipe made.
    """
    results = runs.results_folder() if results is None else results
    odd = sorted(claims.keys() ^ evidence.keys())
    if odd:
        raise LedgerError(f"these have a claim without evidence, or evidence without a claim: {', '.join(odd)}.")
    seconds = Seconds(results)
    return [
        _row(claim, evidence[claim.id], remedies.get(claim.id), looks.get(claim.id, ()), results, seconds)
        for claim in claims.values()
    ]


def _row(
    claim: Claim, evidence: Evidence, remedy: Remedy | None, looks: Sequence[Again], results: Path, seconds: Seconds
) -> Row:
    about = {"id": claim.id, "paper": claim.paper, "item": claim.item, "claim": claim.claim, "printed": claim.printed}
    nothing = {"interval": None, "seeds": (), "scale": None, "record": ()}
    if isinstance(evidence, Arithmetic):
        verdict, ours = _worked_out(evidence)
        return Row(**about, **nothing, ours=ours, verdict=verdict, command=AGAIN)
    found = evidence.found(results)
    if found is None:
        ours, command = _still_to_run(claim.item, evidence, seconds, results)
        return Row(**about, **nothing, ours=ours, verdict=NOT_RUN, command=command)
    return _decided(claim, Again("the first settings", evidence), found, remedy, looks, results, about)


def _decided(
    claim: Claim, first: Again, found: Found, remedy: Remedy | None, looks: Sequence[Again], results: Path, about: dict
) -> Row:
    """A row on runs. The first result has other looks at it and what was tried after it beside it; a remedy that was
    chosen by other rows and another seed gives the verdict at the scale of these tries, if it ran there, and the first
    result stands behind it.
    """
    looked, tried_again = found_of(looks, results), remedy.found(results) if remedy else []
    again = [*looked, *tried_again]
    files = [file for _, each in again for file in each.files]
    chose = remedy.chose(results) if remedy else ()
    record = tuple(dict.fromkeys([*found.files, *files, *chose]))
    last, counts = first, found
    runs_there = tried_again and tried_again[-1][0] is remedy.again[-1] and tried_again[-1][1].scale == found.scale
    tried_there = isinstance(first.evidence, Studied) or found.scale == tries.SCALE
    if chose and remedy.chosen and runs_there and tried_there:
        last, counts = tried_again[-1]
        looked = [(replace(look, about=f"the first settings and {look.about}"), its) for look, its in looked]
        if first.evidence.about != last.evidence.about:  # such as of what cuts
            first = replace(first, about=f"{first.about} ({first.evidence.about})")
        others = [(first, found), *looked, *tried_again[:-1]]
        ours = f"with {last.about}, {last.evidence.ours(counts)}"
    else:
        others, ours = again, first.evidence.ours(found)
    low, high = counts.difference.interval
    tasks = last.tasks(counts)
    beside = [each.ours(its, () if each is first else found.missing, tasks, counts.scale) for each, its in others]
    for each in (*looks, *(remedy.again if remedy else ())):
        if isinstance(each.evidence, Compared) and all(each is not one for one, _ in again):  # it has found nothing
            beside += [f"with {each.about}: {lacking}" for lacking in [each.evidence.lacking(results)] if lacking]
    how = "also tried" if last is first else "chosen among these and the first settings"
    tried = [f"{how}, on rows that choose: {' / '.join(remedy.tried)}"] if chose else []
    if chose and not remedy.chosen:  # nothing was gained: the numbers that say so are nowhere else in the row
        came_to = tries.scores(chose, first.evidence.recipes_at(found.scale), results)
        tried = [f"{tried[0]} ({came_to})" if came_to else tried[0]]
    made_by = _commands(claim.item, [(first, found), *again])
    return Row(
        **about,
        ours="; ".join([ours, *beside, *tried]),
        interval=(float(f"{low:.4g}"), float(f"{high:.4g}")),
        seeds=counts.seeds,
        scale=counts.scale,
        verdict=last.evidence.verdict(counts),
        record=record,
        command="; ".join(dict.fromkeys([*made_by, *tries.commands(chose)])),
    )


def _commands(item: str, several: Iterable[tuple[Again, Found]]) -> Iterator[str]:
    """What makes the records of all of these, again where two need the same."""
    for each, its in several:
        yield each.evidence.command if isinstance(each.evidence, Studied) else item_command(item, its.scale)


@cache
def _worked_out(evidence: Arithmetic) -> tuple[str, str]:
    """Once in a process: counting models takes seconds, and nothing in results/ changes it."""
    return evidence.judge()


def _still_to_run(item: str, evidence: Compared | Studied, seconds: Seconds, results: Path) -> tuple[str, str]:
    """(what it costs, and which records lack a number; the command)."""
    if isinstance(evidence, Studied):
        return f"not yet: {evidence.cost}", evidence.command
    scales = evidence.scales()
    if not scales:
        return "no pair of its recipes has a scale in common", ""
    scale = ASK_FOR if ASK_FOR in scales else scales[-1]
    wanted = [(name, scale, seed) for name in evidence.recipes_at(scale) for seed in RECIPES[name].seeds]
    cost = f"not yet: {seconds.together(wanted)} at scale {scale}"
    return "; ".join(filter(None, [cost, evidence.lacking(results)])), item_command(item, scale)


# -- looking at it ---------------------------------------------------------------------------------------


def at(rows: Iterable[Row], item: str) -> list[Row]:
    """The rows about an item. Raises UnknownNameError for an id that is none."""
    check_item(item)
    return [row for row in rows if row.item == item]


def summary(rows: Sequence[Row]) -> dict[str, int]:
    """How many of each verdict, in the order of VERDICTS; those that do not occur are left out."""
    counts = Counter(row.verdict for row in rows)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def row_named(rows: Iterable[Row], id: str) -> Row:
    """Raises UnknownNameError, with the nearest ids, for one that no row has."""
    found = {row.id: row for row in rows}
    if id not in found:
        raise unknown("row of the ledger", id, found)
    return found[id]
