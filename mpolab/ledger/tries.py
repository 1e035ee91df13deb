"""The files of tries, what the settings of recipes, and remedies, were chosen by: their commands, and their scores.

Each tries settings with a seed that is not reported, on rows that choose. The scripts are part of the checkout alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from ..recipes import recipe_named

_CHOSEN_BY: Mapping[str, str] = {
    # MPOP
    "learning_rates.json": "mpop",
    "mpop_rows.json": "mpop-rows",
    "mpop_rte_rows.json": "rte-rows",
    "squeezing_remedies.json": "squeezing",
    # MPOBERT
    "mpobert_learning_rates.json": "mpobert",
    "mpobert_remedies.json": "mpobert-bert",
    "mpobert_rows.json": "mpobert-rows",
    "mpobert_variants.json": "mpobert-variants",
    "mpobert_together.json": "mpobert-together",
    "mpobert_few_shots.json": "mpobert-few",
    "mpobert_figure_3.json": "figure-3",
    # MPOE
    "experts_learning_rates.json": "experts",
    "experts_rivals.json": "experts-rivals",
    "experts_remedies.json": "experts-longer",
    "experts_tensors.json": "experts-tensors",
    "experts_reviews.json": "experts-reviews",
    "experts_without_sharing.json": "experts-without-sharing",
    "experts_glue_learning_rates.json": "experts-glue",
    "experts_glue_rivals.json": "experts-glue-rivals",
    "experts_glue_remedies.json": "experts-glue-longer",
    "experts_together_remedies.json": "experts-together-longer",
}
"""File of results/ -> the study of scripts/choose_settings.py that makes it."""

SCALE = "laptop"
"""Of all of them: what they choose is chosen there, and for no other scale."""

TRIES: Mapping[str, str] = {
    **{file: f"python scripts/choose_settings.py {study} --data-dir DIR" for file, study in _CHOSEN_BY.items()},
    "probing_trend_tries.json": "python scripts/trend_study.py --data-dir DIR --choose",
}
"""File of results/ -> the command that makes it, as it is typed in the checkout."""


def commands(files: Iterable[str]) -> list[str]:
    """Of those among these files ("results/learning_rates.json") that hold tries, in their order."""
    names = [PurePosixPath(file).name for file in files]
    return [TRIES[name] for name in names if name in TRIES]


def scores(files: Iterable[str], recipes: Iterable[str], results: Path) -> str:
    """What came of them, of the ways that recipes are of: "lfa: as before 83.2 / 1,000 rows 84.6; full: ...", with the
    settings of these recipes first where the file has them under that name.

    files: as `commands` has them, all of them there. A way is the end of a recipe's name or its model, as the scripts
    have it.
    """
    of_recipes = {name for recipe in recipes for name in _ways(recipe)}
    found = []
    for file in files:
        for way, by_setting in json.loads((results / PurePosixPath(file).name).read_text()).get("scores", {}).items():
            if way in of_recipes:
                in_order = sorted(by_setting.items(), key=lambda each: each[0] != "as before")
                found.append(f"{way}: {' / '.join(f'{setting} {score:#.3g}' for setting, score in in_order)}")
    return "; ".join(found)


def _ways(recipe: str) -> set[str]:
    """ "mpop-rte-full-albert-mini" -> what its name ends with, with and without the model, and the model."""
    model = recipe_named(recipe).model
    parts = recipe.removesuffix(f"-{model}").split("-")
    return {model, *("-".join(parts[k:]) for k in range(1, len(parts)))}
