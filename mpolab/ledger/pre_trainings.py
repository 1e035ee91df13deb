"""The papers' own pre-trainings, at their printed sizes: recipes of their own, which no claim asks for, and these with
something changed, which are counted alone and are no recipes to run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..jobs import Recipe
from ..recipes import RECIPES

_ALL_FOUR = ("mpobert-12", "mpobert-24", "mpobert-48", "mpobert-48plus")

PRE_TRAININGS: dict[str, tuple[str, ...]] = {
    "mpobert-tab1": _ALL_FOUR,
    "mpobert-tab2": ("mpobert-12", "mpobert-48"),
    "mpobert-tab3": ("mpobert-12",),
    "mpobert-tab4": ("mpobert-12",),
    "mpobert-tab5": ("mpobert-12",),
    "mpobert-tab6": ("mpobert-48plus",),
    "mpobert-fig1": _ALL_FOUR,
    "mpobert-fig3": ("mpobert-12",),
    "mpobert-fig4": ("mpobert-12",),
}
"""Item -> the pre-trainings of the paper that it rests on; an item's own recipes start from small models. Figure 1
draws Table 1. The depth in Figures 3 and 4 is not printed: it is taken to be that of BERT-base, which is beside it.
"""


def _twelve(end: str, max_steps: int | None = None, init: str | None = None, **changes: Any) -> Recipe:
    """MPOBERT12's with other steps, another start or other entries of the config."""
    recipe = RECIPES["mpobert-12"]
    options = {**recipe.options, "changes": {**recipe.options["changes"], **changes}}
    settings = recipe.settings if max_steps is None else replace(recipe.settings, max_steps=max_steps)
    return replace(recipe, name=f"mpobert-12-{end}", options=options | ({"init": init} if init else {}),
                   settings=settings)  # fmt: skip


CHANGED: dict[str, tuple[Recipe, ...]] = {
    "mpobert-tab4": (_twelve("without-adapter", adapter_rank=0), _twelve("without-sharing", num_central_groups=12)),
    "mpobert-tab5": (_twelve("rank-4", adapter_rank=4), _twelve("rank-64", adapter_rank=64)),
    "mpobert-fig3": (_twelve("scratch", max_steps=50_000, init="scratch"),),
}
"""Item -> further ones: of the ranks that were "trained" and, taken alike, of what was left out; from scratch, which
"requires around 50k steps". How long ALBERT itself was pre-trained further for Figure 3 is not printed.
"""


def pre_trainings(item: str) -> tuple[Recipe, ...]:
    """All that an item rests on; none for most items."""
    return (*(RECIPES[name] for name in PRE_TRAININGS.get(item, ())), *CHANGED.get(item, ()))
