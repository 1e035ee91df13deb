"""How many of a printed table's tasks an item's recipes have: a cost or an average of some is not that of all."""

from __future__ import annotations

from ..papers import TABLES
from ..recipes import RECIPES
from ..tasks import TASKS
from .items import recipes_of

GRADED = set(TASKS) - {"IMDB"}
"""What a table may have a score for; of IMDB the papers print what a model writes in its manner."""


def tasks_printed(item: str) -> set[str]:
    """Tasks that are columns of the item's printed tables, such as "MNLI" of "MNLI/10"; none where it prints none."""
    columns = [c for id, table in TABLES.items() if id == item or id.startswith(f"{item}-") for c in table.columns]
    return {column.partition("/")[0] for column in columns} & GRADED


def tasks_here(item: str) -> set[str]:
    """Tasks of the item's recipes; a part of a set ("MNLI-10k") is the set."""
    asked = [task for name in recipes_of(item) for task in (RECIPES[name].task, *RECIPES[name].tasks)]
    return {known for task in asked for known in GRADED if task == known or task.startswith(f"{known}-")}


def in_words(item: str) -> str:
    """ "4 of the print's 9 tasks", or "" where none is missing."""
    printed = tasks_printed(item)
    missing = printed - tasks_here(item)
    return f"{len(printed) - len(missing)} of the print's {len(printed)} tasks" if missing else ""
