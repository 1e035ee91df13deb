"""Device-hours: what the runs of an item cost at the largest scale, by their floating-point operations.

An estimate, with its assumptions beside it: operations of the training steps alone (`flops`), divided by a rate
(`rates`). Small models reach less than that; a run's record tells what it really took.

What an item would cost with the paper's models is counted, too, on its own recipes with each model that is printed
there in place of the small one. That is for the cost alone and no scale to run at, where a record would count as the
paper's own run: one recipe serves tables of different models (MPOP's Table 3 has ALBERT, Table 5 BERT), variants of
MPOBERT are not pre-trained here as the paper's are, and nobody has chosen learning rates for the large models.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from ..jobs import Recipe
from ..recipes import RECIPES, recipe_named
from ..runs import SCALES
from . import flops
from .items import recipes_of
from .pre_trainings import pre_trainings
from .rates import rate

PRE_TRAINS = ("pretrain_", "continue_")
"""How the names of methods begin that train a checkpoint; what these take in the papers stands in `pre_trainings`."""

PRINTED: dict[str, tuple[str, ...]] = {
    "minilm": ("bert-base-uncased",),
    "albert-mini": ("albert-base-v2",),
    "mpobert-mini": ("mpobert-24",),
}
"""A recipe's model -> those that the papers have; other recipes have theirs at scale gpu."""

OF_ITEM: dict[tuple[str, ...], tuple[str, ...]] = {
    ("mpop-tab3", "minilm"): ("albert-base-v2",),
    ("mpop-tab4", "minilm"): ("bert-base-uncased", "distilbert-base-uncased"),
    ("mpop-tab4", "albert-mini"): ("google/mobilebert-uncased",),
    ("mpobert-tab1", "mpobert-mini"): ("mpobert-12", "mpobert-24", "mpobert-48", "mpobert-48plus"),
    ("mpobert-tab1", "albert-mini"): ("albert-base-v2", "albert-large-v2"),
    ("mpobert-tab1", "minilm"): ("bert-base-uncased", "roberta-base"),
    ("mpobert-tab2", "mpobert-mini"): ("mpobert-12", "mpobert-48"),
    ("mpobert-tab3", "mpobert-mini"): ("mpobert-12",),
    ("mpoe-tab1", "t5-base"): ("t5-base", "t5-large"),
    ("mpoe-tab1", "t5-base", "switch"): ("t5-base",),
    ("mpoe-tab1", "t5-base", "moe"): ("t5-base",),
    ("mpoe-tab1", "t5-base", "moefication"): ("t5-large",),
}
"""(item, a recipe's model, where the rows differ the kind of its experts) -> the same, where a table has others than
most: the models of the rows that its authors trained."""

UNCOUNTED: dict[str, tuple[str, ...]] = {"mpobert-tab1": ("T5_12", "XLNet_12", "BART_12")}
"""Item -> the rest of these rows: as classifiers, these models cannot be run by their shapes alone."""

NOT_PRINTED: dict[str, str] = {"mpobert-fig3": "ALBERT's own, of which no number of steps is printed"}
"""Item -> what else it rests on that nothing in print lets one count."""

ASSUMED = (
    "matrix products of the training steps alone, all rows at full length, MPOs at full bonds; not scoring, reading or "
    "saving, nor what squeezing adds, nor the rebuilding of experts; a T5 as if its answers were as long as its "
    "sources, a passage of SQuAD as one window. Small models keep a GPU waiting and take longer"
)


@dataclass(frozen=True)
class Cost:
    """Of trainings at one scale. trainings: how many. flops, hours: of those that can be counted. missing: recipes that
    cannot. rates, hows: as they were used, in words.
    """

    scale: str
    trainings: int
    flops: float
    hours: float
    missing: tuple[str, ...]
    rates: tuple[str, ...]
    hows: tuple[str, ...]

    def __str__(self) -> str:
        what = f"cost at scale {self.scale}, an estimate: "
        if not self.rates:
            return what + ("no recipe can be counted" if self.missing else "nothing is trained: 0 device-hours")
        text = f"{what}{counted_in_words(self.flops)} FLOPs ({', '.join(self.hows)}), {hours_in_words(self.hours)} at "
        text += "; ".join(self.rates)
        return text + (f"; not counted: {', '.join(self.missing)}" if self.missing else "")


def counted_in_words(flops: float) -> str:
    return f"{flops:.1e}".replace("e+", "e")


def hours_in_words(hours: float) -> str:
    return f"{hours:.2g} device-hours" if hours < 100 else f"{hours:,.0f} device-hours"


def cost_of(names: Sequence[str | Recipe], scale: str, progress: bool = False) -> Cost:
    """Of all reported seeds of these recipes at a scale that they have."""
    total, hours, missing, rates, hows, trainings = 0.0, 0.0, [], [], [], 0
    bar = tqdm(names, "counting operations", unit="recipe", delay=2, leave=False, file=sys.stderr, disable=not progress)
    for name in bar:
        recipe = recipe_named(name)
        seeds = len(recipe.seeds)
        trainings += seeds
        found = flops.of_recipe(recipe, scale)
        if found is None:
            missing.append(recipe.name)
        elif found.flops:
            device = rate(scale, recipe.at(scale).settings.precision)
            total += seeds * found.flops
            hours += seeds * found.flops / device.flops / 3600
            rates.append(device.about)
            hows.append(found.how)
    each = (tuple(dict.fromkeys(words)) for words in (missing, rates, hows))
    return Cost(scale, trainings, total, hours, *each)


def costs_of(names: Sequence[str], progress: bool = False) -> list[Cost]:
    """Of recipes, each at its largest scale: one entry a scale, the largest first."""
    largest = {name: max(RECIPES[name].scales, key=SCALES.index) for name in names}
    return [
        cost_of([name for name in names if largest[name] == scale], scale, progress)
        for scale in reversed(SCALES)
        if scale in largest.values()
    ]


def at_printed_sizes(name: str, item: str = "") -> tuple[Recipe, ...]:
    """A recipe as it is at scale gpu, all rows, as one of scale paper with each of the models printed for an item."""
    recipe = RECIPES[name]
    large = recipe.at("gpu")
    options = dict(large.options)
    if "changes" in options:  # the factors there are those of the small model's matrices
        options["changes"] = {key: value for key, value in options["changes"].items() if key != "mpo_factors"}
    models = next(
        (OF_ITEM[key] for key in ((item, large.model, options.get("kind")), (item, large.model)) if key in OF_ITEM),
        PRINTED.get(large.model, (large.model,)),
    )
    return tuple(
        replace(recipe, scales={"paper": {**recipe.scales["gpu"], "model": model, "options": options}})
        for model in models
    )


def _has_printed_size(recipe: Recipe) -> bool:
    return "gpu" in recipe.scales and not recipe.method.startswith(PRE_TRAINS)


def item_costs(item: str, progress: bool = False) -> list[tuple[str, Cost]]:
    """[(of what, what it costs)]: an item's recipes, those of its first settings with the paper's models, and the
    paper's own pre-trainings where it rests on them.
    """
    found = [("all its recipes, each at its largest scale", cost) for cost in costs_of(recipes_of(item), progress)]
    first = [RECIPES[name] for name in recipes_of(item, remedies=False)]
    large = [sized for each in first if _has_printed_size(each) for sized in at_printed_sizes(each.name, item)]
    if large:
        label = "its recipes with the paper's models, without remedies"
        label += f"; without {', '.join(UNCOUNTED[item])}" if item in UNCOUNTED else ""
        found.append((label, cost_of(large, "paper", progress)))
    if own := pre_trainings(item):
        label = "the paper's pre-training"
        label += f"; without {NOT_PRINTED[item]}" if item in NOT_PRINTED else ""
        found.append((label, cost_of(own, "paper", progress)))
    return found
