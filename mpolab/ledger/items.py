"""An item of a paper as a whole: which recipes decide its claims, what is still to run, and running it.

Single runs can be interrupted and go on, so an item can: asked for again, it skips what has a record.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .. import recipes, runs
from ..errors import BusyError, CheckpointError, LedgerError, TrainingError, UnknownNameError
from ..papers import CLAIMS, check_item
from ..recipes import RECIPES
from ..texts import OFFLINE_TEXTS
from .arithmetic import Arithmetic
from .compared import Compared
from .estimate import Estimate, Seconds
from .evidence import EVIDENCE
from .remedies import REMEDIES
from .studies import Studied


def recipes_of(item: str) -> tuple[str, ...]:
    """The recipes that decide the claims about an item, each once, remedies behind the first settings; empty where it
    needs none or none is written.

    Raises UnknownNameError for an id that is none.
    """
    check_item(item)
    mine = [claim.id for claim in CLAIMS.values() if claim.item == item]
    found = [EVIDENCE[id] for id in mine]
    found += [again.evidence for id in mine if id in REMEDIES for again in REMEDIES[id].again]
    return tuple(dict.fromkeys(name for each in found if isinstance(each, Compared) for name in each.recipes))


def runnable() -> tuple[str, ...]:
    """The ids of the items that have recipes."""
    return tuple(dict.fromkeys(claim.item for claim in CLAIMS.values() if recipes_of(claim.item)))


def item_command(item: str, scale: str) -> str:
    """What runs all of an item's recipes and seeds; with --data-dir where one of them reads a real set."""
    mine = [RECIPES[name] for name in recipes_of(item)]
    reads = any(recipe.source != "offline" and recipe.text not in OFFLINE_TEXTS for recipe in mine)
    return f"mpolab run {item} --scale {scale}" + (" --data-dir DIR" if reads else "")


@dataclass(frozen=True)
class Run:
    """One run of an item. path: of its record. there: whether there is one."""

    recipe: str
    scale: str
    seed: int
    path: Path
    there: bool


@dataclass(frozen=True)
class Work:
    """All runs of an item at a scale, and what those without a record are expected to take."""

    item: str
    scale: str
    runs: tuple[Run, ...]
    estimate: Estimate

    @property
    def left(self) -> list[Run]:
        return [run for run in self.runs if not run.there]

    def __str__(self) -> str:
        names = len({run.recipe for run in self.runs})
        there = len(self.runs) - len(self.left)
        return (
            f"{self.item} at scale {self.scale}: {names} recipes, {len(self.runs)} runs, {there} with a record; "
            f"to go: {self.estimate}"
        )


def work(
    item: str, scale: str | None = None, source: str | None = None, results: Path | None = None, force: bool = False
) -> Work:
    """What an item asks for. scale: None = MPOLAB_SCALE, else "smoke". source: as `recipes.run` has it. force: as if
    nothing had a record.

    Raises UnknownNameError for an id or scale that is none, or that one of the item's recipes does not have;
    LedgerError for an item without recipes; CheckpointError for a record that another version of its recipe made.
    """
    names = recipes_of(item)
    if not names:
        raise LedgerError(_without_recipes(item))
    scale = runs.asked_scale(scale) or "smoke"
    common = [each for each in runs.SCALES if all(each in RECIPES[name].scales for name in names)]
    if scale not in common:
        raise UnknownNameError(
            f"not every recipe of {item} has the scale {scale!r}; all have: {', '.join(common) or 'none in common'}."
        )
    found = []
    for name in names:
        recipe = RECIPES[name]
        made_here = source == "offline" and recipe.at(scale).source != "offline"
        for seed in recipe.seeds:
            path = runs.record_path(name, scale, seed, results, stands_in=made_here)
            there = path.is_file() and not force
            changed = runs.stale(runs.load(path), recipe) if there else ""
            if changed:
                raise CheckpointError(
                    f"the record of {name!r} ({scale}, seed {seed}) was made by another version of the recipe: "
                    f"{changed}. --force runs all of {item} again."
                )
            found.append(Run(name, scale, seed, path, there))
    wanted = [(run.recipe, run.scale, run.seed) for run in found if not run.there]
    return Work(item, scale, tuple(found), Seconds(results).together(wanted))


def _without_recipes(item: str) -> str:
    studies = [
        each.command
        for claim in CLAIMS.values()
        if claim.item == item and isinstance(each := EVIDENCE[claim.id], Studied)
    ]
    how = f"{studies[0]} makes what its claims need" if studies else "no recipe decides a claim about it"
    return f"{item} has nothing to run: {how}. Items with recipes: {', '.join(runnable())}."


def decided_without_recipes(item: str) -> list[str]:
    """Of the claims about an item that no recipe decides: what does, one line for each way; none if all have recipes.

    Raises UnknownNameError for an id that is none.
    """
    check_item(item)
    claims = [claim for claim in CLAIMS.values() if claim.item == item]
    if not claims:
        return ["no claim of the ledger is about it"]
    found: dict[str, int] = {}
    for claim in claims:
        each = EVIDENCE[claim.id]
        if isinstance(each, Arithmetic):
            how = f"by arithmetic: mpolab ledger {item}"
        elif isinstance(each, Studied):
            how = f"by a study, {each.cost}: {each.command}"
        else:
            continue
        found[how] = found.get(how, 0) + 1
    return [f"{count} claim{'' if count == 1 else 's'} decided {how}" for how, count in found.items()]


def plan_lines(asked: Work) -> list[str]:
    """The runs of an item, a line a recipe: "mpop-rte-lfa  seeds 0 1 2, with a record: 0 1"."""
    lines = []
    for name in dict.fromkeys(run.recipe for run in asked.runs):
        mine = [run for run in asked.runs if run.recipe == name]
        there = " ".join(str(run.seed) for run in mine if run.there) or "none"
        lines.append((name, f"seeds {' '.join(str(run.seed) for run in mine)}, with a record: {there}"))
    width = max(len(name) for name, _ in lines)
    return [f"{name.ljust(width)}  {rest}" for name, rest in lines]


def run_item(
    asked: Work,
    data_dir: str | os.PathLike | None = None,
    source: str | None = None,
    progress: bool = True,
    results: Path | None = None,
    resume: bool = True,
    run: Callable[..., runs.Record] | None = None,
) -> list[runs.Record]:
    """Runs what has no record, one after the other with one bar over all, and returns all records of the item.

    A run that fails in training (its loss is no number, say), or that another process has under way, is left out and
    named at the end; the others go on. run: in place of `recipes.run`. Several at once: `parallel.run_side_by_side`.

    Raises what a single run raises; TrainingError at the end, if some failed in training.
    """
    run = run or recipes.run
    failed = []
    with tqdm(total=len(asked.runs), initial=len(asked.runs) - len(asked.left), unit="run",
              disable=not progress, desc=asked.item) as bar:  # fmt: skip
        for each in asked.left:
            bar.set_postfix_str(f"{each.recipe}, seed {each.seed}")
            try:
                run(each.recipe, each.scale, each.seed, data_dir, source, progress=False, results=results,
                    resume=resume)  # fmt: skip
            except (TrainingError, BusyError) as error:
                if isinstance(error, BusyError) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
                    raise  # only the first process asks for the lock: the others are in that run, and would stay
                failed.append(f"{each.recipe}, seed {each.seed}: {error}")
            bar.update()
    if failed:
        raise TrainingError(
            f"{len(failed)} of {len(asked.left)} runs of {asked.item} failed, the others have their records. "
            + " ".join(failed)
        )
    return [runs.load(each.path) for each in asked.runs]
