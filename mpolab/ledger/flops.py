"""The floating-point operations of a recipe's training: of one step, counted on a model that has only shapes, and how
many steps there are.

The model of the recipe is made on the meta device, as its method makes it, and goes forward and backward once on rows
of full length, while torch's FlopCounterMode counts matrix products (two operations a multiply-add). Where a model
decides by its numbers which of its matrices a token meets (experts), 6 x the parameters that a token meets x tokens
stands for it: a matrix product and, backward, two more (Kaplan et al. 2020, section 2.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from ..jobs import FLOORS, Job, Recipe
from ..tasks import OFFICIAL_ROWS, task_named
from .counts import shapes_of

COUNTED, BY_PARAMETERS = "counted", "6 x parameters x tokens"


@dataclass(frozen=True)
class Training:
    """steps: updates. flops: of all of them. how: COUNTED, or BY_PARAMETERS."""

    steps: int
    flops: float
    how: str


def of_recipe(recipe: Recipe, scale: str) -> Training | None:
    """One training of a recipe at a scale; None where there is no way to count it: its model is not known by its
    shapes, or its set has rows that nobody has counted.
    """
    at = recipe.at(scale)
    if at.method in FLOORS:
        return Training(0, 0.0, COUNTED)
    steps, made = steps_of(at), _MADE.get(at.method)
    if steps is None or made is None:
        return None
    options = _frozen(at.options)
    found = _step(at.method, at.model, _outputs(at), options, at.settings.batch_size, at.settings.max_length)
    return None if found is None else Training(steps, float(steps) * found[0], found[1])


# -- steps -----------------------------------------------------------------------------------------------


def steps_of(recipe: Recipe) -> int | None:
    """Updates of one training of a recipe (at its scale); those that squeezing adds are not among them, and a passage
    that is longer than a row, and so is read in several windows, counts as one."""
    settings = recipe.settings
    if settings.max_steps is not None:
        return settings.max_steps
    if recipe.method == "few_shot":
        count = recipe.options["shots"] * task_named(recipe.task).num_labels
        return settings.steps(math.ceil(count / settings.batch_size))
    counts = [_rows(task, recipe) for task in recipe.tasks or (recipe.task,) if task]
    if not counts or None in counts:
        return None
    return settings.steps(sum(math.ceil(count / settings.batch_size) for count in counts))


def _rows(name: str, recipe: Recipe) -> int | None:
    """Of the training split as `TaskData.sample` makes it; None for a set of unknown size."""
    if recipe.source == "offline":  # the grammar makes as many as are asked for
        return recipe.train
    task = task_named(name)
    there = None if task.is_variant else OFFICIAL_ROWS.get(task.base, {}).get("train")
    if recipe.train is not None:
        return recipe.train if there is None else min(recipe.train, there)
    if there is None:
        return None
    return there - (min(there // 10, 1000) if recipe.select is None else recipe.select)


# -- a step ----------------------------------------------------------------------------------------------


@cache
def _step(method: str, model: str, outputs: int, options: tuple, batch: int, length: int) -> tuple[int, str] | None:
    """(operations of one update, how they were found), None for a model whose shapes are not known."""
    made = _MADE[method](method, model, outputs, dict(_thawed(options)))
    if made is None:
        return None
    if isinstance(made, float):  # parameters that a token meets
        return round(6 * made * batch * length), BY_PARAMETERS
    return forward_and_backward(made, batch, length), COUNTED


def forward_and_backward(model: nn.Module, rows: int, length: int) -> int:
    """Of a model on the meta device, on `rows` rows of `length` tokens: all its matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    model.train()
    model.config.pad_token_id = None  # or GPT-2 looks for it among the words, to warn; there are none
    ids = torch.zeros(rows, length, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        found = model(input_ids=ids)
        made = [found[key] for key in ("logits", "prediction_logits", "sop_logits") if found.get(key) is not None]
        sum(logits.sum() for logits in made).backward()
    return counter.get_total_flops()


def _outputs(recipe: Recipe) -> int:
    return task_named(recipe.task).num_labels if recipe.task else 2


def _classifier(model: str, outputs: int) -> nn.Module | None:
    return shapes_of(model, "AutoModelForSequenceClassification", num_labels=outputs)


def _as_it_is(method: str, model: str, outputs: int, options: dict[str, Any]) -> nn.Module | None:
    return _classifier(model, outputs)


def _prepared(method: str, model: str, outputs: int, options: dict[str, Any]) -> nn.Module | None:
    """By the method's own preparation: matrices into MPOs, all but the last layers frozen."""
    from ..mpop import METHODS

    made = _classifier(model, outputs)
    if made is not None:
        METHODS[method].prepare(Job(None, "", 0, made, None, None, None, None, None, False))
    return made


def _variant(method: str, model: str, outputs: int, options: dict[str, Any]) -> nn.Module | None:
    return _mpobert("MPOBertForSequenceClassification", model, {"num_labels": outputs}, options)


def _pretrained(method: str, model: str, outputs: int, options: dict[str, Any]) -> nn.Module | None:
    return _mpobert("MPOBertForPreTraining", model, {}, options)


def _continued(method: str, model: str, outputs: int, options: dict[str, Any]) -> nn.Module | None:
    return shapes_of(model, "AutoModelForPreTraining")


def _mpobert(kind: str, model: str, more: dict[str, Any], options: dict[str, Any]) -> nn.Module | None:
    from .. import mpobert
    from ..mpobert_init import config_from

    source = shapes_of(model, "AutoModelForPreTraining")
    if source is None:
        return None
    config = config_from(source, options.get("layers"), **options.get("changes", {}), **more)
    with torch.device("meta"):
        return getattr(mpobert, kind)(config)


def _experts(method: str, model: str, outputs: int, options: dict[str, Any]) -> nn.Module | float | None:
    """A decoder as it is or wider is counted. Of one with experts: what a token meets, its attention and k experts."""
    from ..widening import widen

    made = shapes_of(model, "AutoModelForCausalLM")
    kind = options.get("kind", "mpoe")
    if made is None or kind == "dense":
        return made
    return widen(made, options["neurons"]) if kind == "wide" else _met(made, options)


def _answering(method: str, model: str, outputs: int, options: dict[str, Any]) -> float | None:
    """Of a T5, with experts or without: as if each token of the source went through both of its halves."""
    made = shapes_of(model, "AutoModelForSeq2SeqLM")
    return None if made is None else _met(made, options)


def _met(made: nn.Module, options: dict[str, Any]) -> float:
    """The entries of all matrices that a token is multiplied with: the blocks', of k experts, and the head's."""
    from ..ffn import LAYOUTS, read_ffn

    asked = {"kind": "mpoe", "experts": 8, "top_k": 1, **options}
    blocks = [
        read_ffn(module)
        for module in made.modules()
        for children in LAYOUTS
        if all(isinstance(getattr(module, name, None), nn.Module) for name in children)
    ]
    ffn = sum(2 * block.hidden * block.inner for block in blocks)
    head = made.get_output_embeddings().weight.numel()
    matrices = sum(p.numel() for name, p in made.named_parameters() if p.ndim == 2 and _IN_A_BLOCK.search(name)) + head
    if asked["kind"] == "dense":
        return float(matrices)
    met = asked["top_k"] / asked["experts"] if asked["kind"] == "moefication" else asked["top_k"]
    return float(matrices + (met - 1) * ffn)


_IN_A_BLOCK = re.compile(r"\b(h|block)\.")
"""In the names of GPT-2's and T5's matrices, but not in those of their tables of words."""

_Made = Callable[[str, str, int, dict[str, Any]], nn.Module | float | None]
_MADE: dict[str, _Made] = {
    **dict.fromkeys(("full", "full_compared", "few_shot", "multitask"), _as_it_is),
    **dict.fromkeys(("mpop_full", "mpop_full_lfa", "mpop_full_central", "mpop", "mpop_dir"), _prepared),
    **{f"last_{k}{end}": _prepared for k in (1, 2, 3) for end in ("", "_embedding")},
    "mpobert_variant": _variant,
    "pretrain_mpobert": _pretrained,
    "continue_albert": _continued,
    "experts": _experts,
    **dict.fromkeys(("experts_glue", "experts_together"), _answering),
}
"""Method -> its model on the meta device, or the parameters that a token meets."""


def _frozen(value: Any) -> Any:
    """Options as a key of a cache."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return ("dict", *((key, _frozen(inner)) for key, inner in value.items()))
    if isinstance(value, list | tuple):
        return ("list", *(_frozen(inner) for inner in value))
    return value


def _thawed(value: Any) -> Any:
    if isinstance(value, tuple) and value[:1] == ("dict",):
        return {key: _thawed(inner) for key, inner in value[1:]}
    if isinstance(value, tuple) and value[:1] == ("list",):
        return [_thawed(inner) for inner in value[1:]]
    return value
