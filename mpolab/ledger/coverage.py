"""How many of a printed table's tasks an item's recipes have: what some of them cost is not what all of them do."""

from __future__ import annotations

from collections.abc import Iterable

from ..papers import TABLES
from ..recipes import RECIPES
from ..tasks import TASKS, task_named

GRADED = set(TASKS) - {"IMDB"}
"""What a table may have a score for; of IMDB the papers print what a model writes in its manner."""


def tasks_printed(item: str) -> set[str]:
    """Tasks that are columns of the item's printed tables, such as "MNLI" of "MNLI/10"; none where it prints none."""
    columns = [c for id, table in TABLES.items() if id == item or id.startswith(f"{item}-") for c in table.columns]
    return {column.partition("/")[0] for column in columns} & GRADED


def tasks_here(recipes: Iterable[str], scale: str) -> set[str]:
    """Tasks of recipes at a scale that they have; a part of a set ("MNLI-10k") is the set."""
    found = [RECIPES[name].at(scale) for name in recipes]
    return {task_named(task).base for recipe in found for task in (recipe.task, *recipe.tasks) if task}


def in_words(item: str, recipes: Iterable[str], scale: str) -> str:
    """ "4 of the print's 9 tasks", or "" where none is missing."""
    printed = tasks_printed(item)
    missing = printed - tasks_here(recipes, scale)
    return f"{len(printed) - len(missing)} of the print's {len(printed)} tasks" if missing else ""
