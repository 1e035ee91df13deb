"""`mpolab run`: the experiments of this package, by name; each run leaves a record."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .heads import score_line
from .shared import as_json, choose_recipe, command, positive, say, show

if TYPE_CHECKING:
    from ..jobs import Recipe
    from ..runs import Record

DESCRIPTION = """\
Run an experiment and write its record, results/RECIPE/SCALE-seedSEED.json: what was run on which
data and device, how long it took, and what came out. Notebooks read these records. Where there is
a record of that scale and seed already it is shown, and nothing runs; --force runs it again.

With the id of a table or figure, such as mpop-tab5, all runs that its claims need at that scale are
made, every recipe with every reported seed, what was tried later where a claim did not come out
included, except those that have a record; what they are expected to take, and what its recipes
would cost, each at its largest scale, and with the paper's models, is said before, and the verdicts
after it (`mpolab ledger` has all). --dry-run says what would be run, and runs nothing. As many runs
go on at once as cores and memory allow, each in a process of its own, memory by the peaks in the
recipes' own records; --jobs N takes up to N. One that fails does not stop the others. --processes N
gives each training N processes, as `torchrun --nproc-per-node N -m mpolab run` does.
Studies, which some items have beside recipes or in place of them, come after the runs, one by one;
an item that arithmetic decides has nothing to run, and its claims are worked out.

A run that was interrupted goes on from its last checkpoint when it is asked for again, on the same
rows; --force starts anew. A recipe of a real task needs that task's rows. With --source offline it
gets sentences of a small grammar instead, and its record goes to results/RECIPE/offline/.
"""

EPILOG = """\
scales, of which a recipe may have some:
  smoke   does it work at all: about a minute
  laptop  two cores, at most 1,000 rows: minutes
  gpu     one GPU, all rows
  paper   the sizes of the paper: of its pre-trainings alone, such as mpobert-12

examples:
  mpolab run --list
  mpolab run demo --scale smoke
  mpolab run demo --scale laptop --seed 2 --force
  mpolab run mpop-tab5 --scale laptop --data-dir ~/glue
  mpolab run mpop-tab5 --scale gpu --data-dir ~/glue --jobs 4
  mpolab run mpobert-tab1 --scale gpu --dry-run
  mpolab run demo --scale smoke --source offline --json
  mpolab run demo --scale laptop --processes 2
  torchrun --nproc-per-node 2 -m mpolab run demo --scale gpu --data-dir ~/glue

The variables MPOLAB_RESULTS and MPOLAB_WORK name other folders for records and for checkpoints,
MPOLAB_SCALE another scale than smoke where --scale is left out.
"""


def add(commands: Any) -> None:
    about = "run one of the experiments of this package, or list them"
    parser = command(commands, "run", run, about, DESCRIPTION, EPILOG)
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="a name from --list, or an item such as mpop-tab5")
    parser.add_argument("--list", action="store_true", help="the recipes: scales, seeds, records, what they are about")
    choose_recipe(parser)  # the scales are explained below
    parser.add_argument("--force", action="store_true", help="run anew, and replace the record if there is one")
    parser.add_argument("--dry-run", action="store_true", help="of an item: say what would be run, and run nothing")
    parser.add_argument("--jobs", metavar="N", type=_jobs, help="of an item: runs at once (default: auto, as fit)")
    parser.add_argument("--processes", metavar="N", type=positive(int), default=1, help="of each training (default: 1)")
    parser.add_argument("--json", action="store_true", help="with --list a list of objects, else the record")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and nothing else on stderr")


def _jobs(text: str) -> int | str:
    return text if text == "auto" else positive(int)(text)


_jobs.__name__ = "whole number"


def run(arguments: argparse.Namespace) -> int:
    if arguments.list == (arguments.recipe is not None):
        arguments.parser.error("give either the name of a recipe or --list")
    if arguments.list:
        return _list(arguments.json)
    from .. import papers, recipes, runs

    if arguments.processes > 1 and "WORLD_SIZE" in os.environ:
        arguments.parser.error("torchrun has started these processes already: leave out --processes")
    if arguments.recipe in papers.ITEMS and arguments.recipe not in recipes.RECIPES:
        return _plan(arguments) if arguments.dry_run else _item(arguments)
    if arguments.dry_run or arguments.jobs is not None:
        arguments.parser.error("--dry-run and --jobs are for an item, such as mpop-tab5; this is the name of a recipe")
    recipe = recipes.recipe_named(arguments.recipe)
    scale = runs.asked_scale(arguments.scale) or "smoke"
    recipe.at(scale)  # complains about a scale that it does not have
    leader = int(os.environ.get("RANK", "0")) == 0  # of several processes under torchrun
    quiet = arguments.quiet or not leader
    made_here = arguments.source == "offline" and recipe.at(scale).source != "offline"
    path = runs.record_path(recipe.name, scale, arguments.seed, stands_in=made_here)
    if path.is_file() and not arguments.force:
        record = _recorded(recipe, path, arguments, quiet)
    elif arguments.processes > 1:
        return _again_under_torchrun(arguments)
    else:
        show_bar, resume = not arguments.quiet, not arguments.force
        record = recipes.run(
            recipe, scale, arguments.seed, arguments.data_dir, arguments.source, progress=show_bar, resume=resume
        )
        say(f"record: {path}", quiet)
    if leader and arguments.json:
        show(as_json(dataclasses.asdict(record)))
    elif leader:
        show("\n".join(_lines(record)))
    return 0


def _again_under_torchrun(arguments: argparse.Namespace) -> int:
    """This process becomes torchrun with this same run, so that signals and exit status are its own."""
    from ..ledger.parallel import launcher, threads_each

    given = {"--scale": arguments.scale, "--seed": arguments.seed, "--data-dir": arguments.data_dir,
             "--source": arguments.source}  # fmt: skip
    options = [part for key, value in given.items() if value is not None for part in (key, str(value))]
    options += [f"--{name}" for name in ("force", "json", "quiet") if getattr(arguments, name)]
    processes = arguments.processes
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads_each(1, processes))}
    sys.stdout.flush()
    call = [sys.executable, *launcher(processes), "-m", "mpolab", "run", arguments.recipe, *options]
    return os.execve(sys.executable, call, environment)


def _item(arguments: argparse.Namespace) -> int:
    """All runs of an item, and what its claims come to."""
    _check_item(arguments)
    from .. import ledger
    from ..ledger import pages
    from ..papers import CLAIMS

    leader = int(os.environ.get("RANK", "0")) == 0
    quiet = arguments.quiet or not leader
    asked = ledger.work(arguments.recipe, arguments.scale, arguments.source, force=arguments.force)
    if not quiet:
        say(str(asked))
        if costs := _cost_lines(arguments.recipe):
            say("\n".join(costs))
    given = {"data_dir": arguments.data_dir, "source": arguments.source, "progress": not quiet,
             "resume": not arguments.force}  # fmt: skip
    jobs = arguments.jobs or ledger.default_jobs(arguments.processes)
    if jobs == 1 and arguments.processes == 1:
        records = ledger.run_item(asked, **given)
    else:
        records = ledger.run_side_by_side(asked, jobs, arguments.processes, **given)
    if not leader:
        return 0
    if arguments.json:
        show(as_json([dataclasses.asdict(record) for record in records]))
        return 0
    claims = {id: claim for id, claim in CLAIMS.items() if claim.item == arguments.recipe}
    if claims:
        show(pages.plain(ledger.build(claims=claims, evidence={id: ledger.EVIDENCE[id] for id in claims})))
    else:
        show("\n".join(ledger.decided_without_recipes(arguments.recipe)))
    return 0


def _check_item(arguments: argparse.Namespace) -> None:
    if arguments.seed != 0:
        arguments.parser.error(f"{arguments.recipe} is run with the seeds that its recipes report: leave out --seed")
    if arguments.jobs is not None and "WORLD_SIZE" in os.environ:
        arguments.parser.error("torchrun has started these processes already: leave out --jobs")


def _plan(arguments: argparse.Namespace) -> int:
    """What an item's runs would be, what they would take and cost, and what decides the rest of its claims."""
    _check_item(arguments)
    from .. import ledger

    item = arguments.recipe
    without = ledger.decided_without_recipes(item)
    asked = ledger.work(item, arguments.scale, arguments.source, force=arguments.force)
    if arguments.json:
        runs = [{"recipe": run.recipe, "seed": run.seed, "record": run.there} for run in asked.runs]
        studies = [{"command": study.command, "cost": study.cost, "file": study.there} for study in asked.studies]
        counted = ledger.item_costs(item, not arguments.quiet)
        costs = [{"of": of, **dataclasses.asdict(cost)} for of, cost in counted]
        time = {key: getattr(asked.estimate, key) for key in ("seconds", "by", "least")}
        show(as_json({"item": item, "scale": asked.scale, "runs": runs, "studies": studies, **time, "costs": costs,
                      "without": without}))  # fmt: skip
        return 0
    show("\n".join([str(asked), *ledger.plan_lines(asked)]))
    if rest := [*_cost_lines(item, not arguments.quiet), *without]:
        show("\n".join(rest))
    return 0


def _cost_lines(item: str, progress: bool = True) -> list[str]:
    from .. import ledger
    from ..ledger.hours import ASSUMED

    costs = ledger.item_costs(item, progress)
    lines = [f"{cost} [{of}]" for of, cost in costs]
    return [*lines, f"assumed: {ASSUMED}"] if any(cost.flops for _, cost in costs) else lines


def _recorded(recipe: Recipe, path: Path, arguments: argparse.Namespace, quiet: bool) -> Record:
    """The record that is there. Raises CheckpointError if it is another recipe's by now, or of other rows than those
    that --data-dir or --source name (the same rows from another place are the same).
    """
    from .. import recipes, runs
    from ..errors import CheckpointError

    record = runs.load(path)
    changed = runs.stale(record, recipe)
    if changed:
        raise CheckpointError(
            f"{str(path)!r} was made by another version of the recipe {recipe.name!r}: {changed}. --force runs it "
            "again and replaces that record."
        )
    if arguments.data_dir is not None or arguments.source is not None or record.stands_in:
        rows = recipes.rows(recipe.at(record.scale), record.seed, arguments.data_dir, arguments.source)
        if rows.describe()["sha256"] != record.data["sha256"]:
            raise CheckpointError(
                f"{str(path)!r} is of other rows ({record.data['task']}; {record.data['origin']}) than those asked for "
                f"({rows.name}; {rows.origin}). --force runs it again on these and replaces that record."
            )
    say(f"nothing was run: this is the record {path} of {record.date[:10]}; --force runs it again", quiet)
    return record


def _lines(record: Record) -> list[str]:
    lines = [f"{record.recipe}, scale {record.scale}, seed {record.seed}: {record.model}", f"data: {_data(record)}"]
    rows = record.data["rows"]
    for split, scores in record.scores.items():
        if split != "select":
            lines.append(score_line(record.data["task"], split, rows[split], scores))
    lines.append(f"#Pr: {record.trainable:,}; #To: {record.total:,}")
    lines.append(
        f"{record.steps:,} steps in {record.seconds:.1f} s on {record.device}, {record.peak_bytes / 2**20:,.0f} MiB "
        f"({record.memory}), {record.date}"
    )
    return lines


def _data(record: Record) -> str:
    rows = ", ".join(f"{split} {count:,}" for split, count in record.data["rows"].items())
    return f"{rows}; {record.data['origin']}"


def _list(as_json: bool) -> int:
    from .. import recipes, runs

    entries = recipes.listing()
    for entry in entries:
        there = [
            {"scale": scale, "seed": seed}
            for scale in entry["scales"]
            for seed in entry["seeds"]
            if runs.record_path(entry["name"], scale, seed).is_file()
        ]
        entry["records"] = there
    if as_json:
        print("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]")
        return 0
    lines = [("recipe", "scales", "seeds", "records", "about")]
    for entry in entries:
        seeds = {scale: [r["seed"] for r in entry["records"] if r["scale"] == scale] for scale in entry["scales"]}
        recorded = "; ".join(f"{scale} {' '.join(map(str, found))}" for scale, found in seeds.items() if found)
        numbers = " ".join(map(str, entry["seeds"]))
        lines.append((entry["name"], " ".join(entry["scales"]), numbers, recorded or "-", entry["about"]))
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return 0
