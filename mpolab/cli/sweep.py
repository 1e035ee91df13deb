"""`mpolab sweep`: a recipe at every point of a grid of learning rates and batch sizes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import TrainingError
from .shared import as_json, choose_recipe, command, positive, show

if TYPE_CHECKING:
    from ..sweep import Sweep

DESCRIPTION = """\
Train a recipe once at each learning rate and batch size of a grid, and say which is best on the
select split: rows of the training file that are held out, with a seed that is not reported. Nothing
goes to results/. A sweep that was interrupted goes on where it was; with --storage URL several
workers, each started with the same command, divide the grid among themselves. The id of a table or
figure, such as mpobert-tab1, stands for its recipes, one after the other, in one database.
"""

EPILOG = """\
examples:
  mpolab sweep mpop-sst-2-full --scale laptop --data-dir ~/glue
  mpolab sweep demo --lr 1e-4 3e-4 --batch-size 8 16
  mpolab sweep demo --storage sqlite:////shared/sweeps.db        (in several shells)
  mpolab sweep mpobert-tab1 --scale laptop --data-dir ~/glue --storage sqlite:////shared/sweeps.db
"""


def add(commands: Any) -> None:
    about = "try a recipe at every learning rate and batch size of a grid"
    parser = command(commands, "sweep", sweep, about, DESCRIPTION, EPILOG)
    parser.add_argument("recipe", metavar="RECIPE", help="a name from `mpolab run --list`, or an item")
    choose_recipe(parser, seed=100)
    parser.add_argument("--lr", metavar="X", type=positive(float), nargs="+", help="default: 2e-6 to 2e-4, six of them")
    parser.add_argument("--batch-size", metavar="N", type=positive(int), nargs="+", help="default: 8 16 32")
    parser.add_argument("--storage", metavar="URL", help="a database that several workers share (default: a file)")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of a table")
    parser.add_argument("--quiet", action="store_true", help="no progress bars and nothing else on stderr")


def sweep(arguments: argparse.Namespace) -> int:
    from ..papers import ITEMS
    from ..recipes import RECIPES
    from ..sweep import GRID, sweep, sweep_all

    grid = {key: getattr(arguments, key) or values for key, values in GRID.items()}
    given = {"scale": arguments.scale, "grid": grid, "seed": arguments.seed, "data_dir": arguments.data_dir,
             "source": arguments.source, "storage": arguments.storage, "progress": not arguments.quiet}  # fmt: skip
    if arguments.recipe in ITEMS and arguments.recipe not in RECIPES:
        from .. import ledger, runs

        scale = runs.asked_scale(arguments.scale) or "smoke"
        ledger.check_scale(arguments.recipe, scale)
        names = ledger.recipes_of(arguments.recipe, scale=scale)
        if not names:
            instead = ledger.decided_without_recipes(arguments.recipe)
            raise TrainingError(f"{arguments.recipe} has no recipe to sweep: {'; '.join(instead)}.")
        found = []
        for each in sweep_all(names, file=arguments.recipe, **given):
            found.append(each)
            if not arguments.json:
                show(f"{each.recipe}\n{_table(each)}")
        if arguments.json:
            show(as_json([each.to_dict() for each in found]))
        return 0
    found = sweep(arguments.recipe, **given)
    show(as_json(found.to_dict()) if arguments.json else _table(found))
    return 0


def _table(found: Sweep) -> str:
    lines = [("learning rate", "batch size", f"select {found.metric}")]
    for trial in found.trials:
        score = "failed" if trial["score"] is None else f"{trial['score']:.2f}"
        lines.append((f"{trial['lr']:g}", str(trial["batch_size"]), score))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)
