"""The papers' own pre-trainings, at their printed sizes: recipes of their own, which no claim asks for."""

from __future__ import annotations

PRE_TRAININGS: dict[str, tuple[str, ...]] = {
    "mpobert-tab1": ("mpobert-12", "mpobert-24", "mpobert-48", "mpobert-48plus"),
    "mpobert-tab2": ("mpobert-12",),
    "mpobert-tab3": ("mpobert-12",),
    "mpobert-tab4": ("mpobert-12",),
    "mpobert-tab5": ("mpobert-12",),
    "mpobert-tab6": ("mpobert-48plus",),
    "mpobert-fig3": ("mpobert-12",),
}
"""Item -> the pre-trainings of the paper that it rests on; an item's own recipes start from small models."""
