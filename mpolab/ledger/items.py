"""An item of a paper as a whole: which recipes and studies decide its claims, what is still to run, and running it.

Single runs can be interrupted and go on, so an item can: asked for again, it skips what has a record. One that
arithmetic decides has nothing to run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .. import recipes, runs
from ..errors import BusyError, CheckpointError, TrainingError, UnknownNameError
from ..papers import CLAIMS, check_item
from ..recipes import RECIPES
from ..texts import OFFLINE_TEXTS
from . import coverage
from .arithmetic import Arithmetic
from .compared import Compared
from .estimate import Estimate, Seconds, in_words
from .evidence import EVIDENCE
from .looks import LOOKS
from .pre_trainings import PRE_TRAININGS
from .remedies import REMEDIES
from .studies import Studied
from .study_runs import Study, make_all, words


def _evidence_of(item: str, remedies: bool = True) -> list[Arithmetic | Compared | Studied]:
    """Of all claims about it, other looks and remedies behind the first settings. Raises UnknownNameError for an id
    that is none.
    """
    check_item(item)
    mine = [claim.id for claim in CLAIMS.values() if claim.item == item]
    found = [EVIDENCE[id] for id in mine]
    if remedies:
        again = [look for id in mine for look in LOOKS.get(id, ())]
        again += [tried for id in mine if id in REMEDIES for tried in REMEDIES[id].again]
        found += [each.evidence for each in again]
    return found


def recipes_of(item: str, remedies: bool = True, scale: str | None = None) -> tuple[str, ...]:
    """The recipes that decide the claims about an item, each once, remedies behind the first settings or left out;
    empty where it needs none or none is written. scale: those that are run there, None = of all scales.

    Raises UnknownNameError for an id that is none.
    """
    found = [each for each in _evidence_of(item, remedies) if isinstance(each, Compared)]
    names = [each.recipes if scale is None else each.recipes_at(scale) for each in found]
    return tuple(dict.fromkeys(name for mine in names for name in mine))


def studies_of(item: str, results: Path | None = None, force: bool = False) -> tuple[Study, ...]:
    """The studies that decide claims about an item, each once. force: as if none had its file. Raises as
    `recipes_of`.
    """
    folder = results or runs.results_folder()
    found = {each.command: each for each in _evidence_of(item) if isinstance(each, Studied)}
    return tuple(
        Study(each.command, each.cost, folder / each.file, (folder / each.file).is_file() and not force)
        for each in found.values()
    )


def runnable() -> tuple[str, ...]:
    """The ids of the items that have recipes."""
    return tuple(dict.fromkeys(claim.item for claim in CLAIMS.values() if recipes_of(claim.item)))


def item_command(item: str, scale: str) -> str:
    """What runs all of an item's recipes of that scale, remedies and all seeds included; with --data-dir where one of
    its recipes reads a real set.
    """
    mine = [RECIPES[name] for name in recipes_of(item)]
    reads = any(recipe.source != "offline" and recipe.text not in OFFLINE_TEXTS for recipe in mine)
    return f"mpolab run {item} --scale {scale}" + (" --data-dir DIR" if reads else "")


@dataclass(frozen=True)
class Run:
    """One run of an item. path: of its record. there: whether there is one. seconds: that it took, if so."""

    recipe: str
    scale: str
    seed: int
    path: Path
    there: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """All runs of an item at a scale, what those without a record are expected to take, and its studies, which have no
    scales.
    """

    item: str
    scale: str
    runs: tuple[Run, ...]
    estimate: Estimate
    studies: tuple[Study, ...] = ()

    @property
    def left(self) -> list[Run]:
        return [run for run in self.runs if not run.there]

    @property
    def studies_left(self) -> list[Study]:
        return [study for study in self.studies if not study.there]

    @property
    def size(self) -> int:
        """Runs and studies."""
        return len(self.runs) + len(self.studies)

    @property
    def done(self) -> int:
        """Of `size`."""
        return self.size - len(self.left) - len(self.studies_left)

    def __str__(self) -> str:
        if not self.runs:
            said = [f"{self.item} has no recipe to run" + (", and studies have no scales" if self.studies else "")]
            return "\n".join([*said, *(f"study: {study}" for study in self.studies)])
        names = len({run.recipe for run in self.runs})
        there = len(self.runs) - len(self.left)
        took = f", {in_words(sum(run.seconds for run in self.runs))} in all" if there else ""
        to_go = self.estimate.said(" one after the other" if len(self.left) > 1 else "") if self.left else "nothing"
        some = coverage.in_words(self.item, {run.recipe for run in self.runs}, self.scale)
        of = f"{names} recipes, {some}" if some else f"{names} recipes"
        said = f"{self.item} at scale {self.scale}: {of}, {len(self.runs)} runs, {there} with a record{took}; "
        return "\n".join([f"{said}to go: {to_go}", *(f"study: {study}" for study in self.studies)])


def work(
    item: str, scale: str | None = None, source: str | None = None, results: Path | None = None, force: bool = False
) -> Work:
    """What an item asks for. scale: None = MPOLAB_SCALE, else "smoke". source: as `recipes.run` has it. force: as if
    nothing had a record.

    Remedies and other looks are run at the scales that they have. Raises UnknownNameError for an id or scale that is
    none, or at which one of the item's claims has nothing to run; CheckpointError for a record that another version of
    its recipe made.
    """
    check_item(item)
    scale = runs.asked_scale(scale) or "smoke"
    check_scale(item, scale)
    found = []
    for name in recipes_of(item, scale=scale):
        recipe = RECIPES[name]
        made_here = source == "offline" and recipe.at(scale).source != "offline"
        for seed in recipe.seeds:
            path = runs.record_path(name, scale, seed, results, stands_in=made_here)
            there = path.is_file() and not force
            record = runs.load(path) if there else None
            changed = runs.stale(record, recipe) if record else ""
            if changed:
                raise CheckpointError(
                    f"the record of {name!r} ({scale}, seed {seed}) was made by another version of the recipe: "
                    f"{changed}. --force runs all of {item} again."
                )
            found.append(Run(name, scale, seed, path, there, record.seconds if record else 0.0))
    wanted = [(run.recipe, run.scale, run.seed) for run in found if not run.there]
    return Work(item, scale, tuple(found), Seconds(results).expected(wanted), studies_of(item, results, force))


def check_scale(item: str, scale: str) -> None:
    """Raises UnknownNameError where one of the item's claims has nothing to run there, with the commands that work."""
    decided = [each for each in _evidence_of(item, remedies=False) if isinstance(each, Compared)]
    common = [
        here for here in runs.SCALES if all(each.pairs_at(here) for each in decided if here in each.among)
    ]  # numbers that are there at some scales alone keep no other from being run
    if scale in common:
        return
    said = f"not every claim about {item} has recipes of scale {scale!r}; all have: {', '.join(common) or 'no scale'}."
    if common:
        said += f" The largest of these: {item_command(item, common[-1])}"
        costs = ", and what the paper's sizes would cost" if scale == "paper" else ""
        said += f" (--dry-run says what that takes{costs})."
    if scale == "paper" and item in PRE_TRAININGS:
        each = [f"mpolab run {name} --scale paper --data-dir DIR" for name in PRE_TRAININGS[item]]
        said += f" The paper's own pre-training, apart from it: {'; '.join(each)}."
    raise UnknownNameError(said)


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
    width = max((len(name) for name, _ in lines), default=0)
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
    """Runs what has no record, one after the other with one bar over all, makes the studies that have no file, and
    returns all records of the item.

    A run that fails in training (its loss is no number, say), or that another process has under way, is left out and
    named at the end; the others go on. run: in place of `recipes.run`. Several at once: `parallel.run_side_by_side`.

    Raises what a single run raises, and DataNotFoundError for a study that cannot be made, before anything runs;
    TrainingError at the end, if some failed.
    """
    run = run or recipes.run
    check_studies(asked, data_dir)
    failed = []
    with bar_over(asked, progress) as bar:
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
        failed += make_all(asked.studies_left, bar, data_dir, resume)
    check_failed(asked, failed)
    if int(os.environ.get("RANK", "0")) > 0:
        return []  # the first process writes the last record, perhaps after this one is here
    return [runs.load(each.path) for each in asked.runs]


def check_studies(asked: Work, data_dir: str | os.PathLike | None) -> None:
    """Raises DataNotFoundError for a study that is to be made and cannot be."""
    for study in asked.studies_left:
        words(study, data_dir)


def bar_over(asked: Work, progress: bool = True) -> tqdm:
    """One for all runs and studies of an item."""
    return tqdm(total=asked.size, initial=asked.done, unit="run", disable=not progress, desc=asked.item)


def check_failed(asked: Work, failed: list[str]) -> None:
    """Raises TrainingError with what failed, in words, if anything did."""
    if failed:
        raise TrainingError(
            f"{len(failed)} of {asked.size - asked.done} runs of {asked.item} failed, the others have their records. "
            + " ".join(failed)
        )
