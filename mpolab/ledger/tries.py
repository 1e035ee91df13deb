"""The commands that make the files of tries: what the settings of recipes, and remedies, were chosen by.

Each tries settings with a seed that is not reported, on rows that choose. The scripts are part of the checkout alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

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
    "mpobert_together.json": "mpobert-together",
    "mpobert_few_shots.json": "mpobert-few",
    "mpobert_figure_3.json": "figure-3",
    # MPOE
    "experts_learning_rates.json": "experts",
    "experts_rivals.json": "experts-rivals",
    "experts_remedies.json": "experts-longer",
    "experts_reviews.json": "experts-reviews",
    "experts_without_sharing.json": "experts-without-sharing",
    "experts_glue_learning_rates.json": "experts-glue",
    "experts_glue_rivals.json": "experts-glue-rivals",
    "experts_glue_remedies.json": "experts-glue-longer",
    "experts_together_remedies.json": "experts-together-longer",
}
"""File of results/ -> the study of scripts/choose_settings.py that makes it."""

TRIES: Mapping[str, str] = {
    **{file: f"python scripts/choose_settings.py {study} --data-dir DIR" for file, study in _CHOSEN_BY.items()},
    "probing_trend_tries.json": "python scripts/trend_study.py --data-dir DIR --choose",
}
"""File of results/ -> the command that makes it, as it is typed in the checkout."""


def commands(files: Iterable[str]) -> list[str]:
    """Of those among these files ("results/learning_rates.json") that hold tries, in their order."""
    names = [PurePosixPath(file).name for file in files]
    return [TRIES[name] for name in names if name in TRIES]
