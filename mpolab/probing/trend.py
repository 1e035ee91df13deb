"""Does meaning stand in higher layers than syntax? One number for what MPOBERT's Fig. 4 shows as heat maps.

The paper prints no such number. Here a task has a *depth*: where in the stack its property is read best, 0 at the first
Transformer layer and 1 at the last, so that models of 6, 12 and 24 layers compare. The *trend* is the mean depth of the
semantic tasks less that of the syntactic ones, between -1 and 1: positive where meaning stands above syntax.

The depth is the centre of a column of the heat map: the mean layer, each weighted by its accuracy less that of the
worst layer, which is its shade where every column is shaded by itself. It is the centre of gravity of Tenney et al.
(2019) with the shades of separate probes in place of the weights of one probe's mix of layers. The accuracy above the
majority would not serve as a weight: what words alone give away is the same in every layer, and would pull each
centre to the middle. Nor would the best layer, the figure's red box, serve alone: where several layers are about
equally good, chance picks it; `peak` has it, for what it is worth, chosen on dev. Tasks that a model reads equally
well in all layers, or in none, lie about the middle and so pull the trend to 0. Layers are the figure's rows, so the
embeddings' output is left out.

scripts/trend_study.py probes several models with several draws of rows; results/probing_trend.json is what came out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from ..errors import CheckpointError, DataError, unknown

FORMAT = "mpolab.probing_trend/1"
LOWER, HIGHER = "syntactic", "semantic"
"""The groups of tasks that a trend compares."""


def centre(values: Sequence[float]) -> float:
    """The depth of one task, in [0, 1]; 0.5 where all layers are equal. values: accuracies from the embeddings up.

    Raises DataError for fewer than two Transformer layers.
    """
    layers = _layers(values)
    weights = [value - min(layers) for value in layers]
    if not any(weights):
        return 0.5
    return sum(k * weight for k, weight in enumerate(weights)) / sum(weights) / (len(layers) - 1)


def peak(values: Sequence[float]) -> float:
    """The same of the best layer alone, of equals the lowest."""
    layers = _layers(values)
    return layers.index(max(layers)) / (len(layers) - 1)


def _layers(values: Sequence[float]) -> Sequence[float]:
    """Without the embeddings' output."""
    if len(values) < 3:
        raise DataError(f"a depth needs two Transformer layers or more, and there are {len(values)} values with the "
                        "embeddings' output.")  # fmt: skip
    return values[1:]


def levels(depths: Sequence[tuple[str, float]]) -> tuple[float, float]:
    """(group, depth) of tasks -> the mean depths of the syntactic and of the semantic ones.

    Raises DataError where a group has none.
    """
    found = []
    for wanted in (LOWER, HIGHER):
        mine = [depth for group, depth in depths if group == wanted]
        if not mine:
            raise DataError(f"a trend over layers needs {LOWER} and {HIGHER} tasks, and there is no {wanted} one.")
        found.append(mean(mine))
    return found[0], found[1]


def load_trends(path: Path) -> dict[str, Any]:
    """What scripts/trend_study.py wrote. Raises CheckpointError for another file, and for a study not yet done."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        there = {(run["model"], run["seed"]) for run in content["runs"]}
        missing = [f"{model}, seed {seed}" for seed in content["seeds"] for model in content["models"]
                   if (model, seed) not in there]  # fmt: skip
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        for run in content["runs"]:
            for depth in DEPTHS:
                _levels_of(run, depth)
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path.name!r} is no whole study of trends over layers ({' '.join(str(error).split())[:200]}); run "
            "scripts/trend_study.py again, which goes on where it stopped."
        ) from error


DEPTHS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "centre": lambda task: centre(task["test"]),
    "centre on dev": lambda task: centre(task["dev"]),
    "peak": lambda task: peak(task["dev"]),
}
"""Which depth of a task -> from the task's entry in a study."""


def _levels_of(run: Mapping[str, Any], depth: str = "centre") -> tuple[float, float]:
    return levels([(task["group"], DEPTHS[depth](task)) for task in run["tasks"]])


def levels_by_seed(content: Mapping[str, Any], model: str, depth: str = "centre") -> list[tuple[float, float]]:
    """`levels` of a model, in the order of the study's seeds. depth: one of DEPTHS.

    Raises UnknownNameError for another depth, CheckpointError for a model that is not in the study.
    """
    return [_levels_of(run, depth) for run in _runs_of(content, model, depth)]


def depths_by_seed(content: Mapping[str, Any], model: str, task: str, depth: str = "centre") -> list[float]:
    """The depth of one task in a model, in the order of the study's seeds. Raises as `levels_by_seed`, and
    UnknownNameError for a task that a run has not.
    """
    found = []
    for run in _runs_of(content, model, depth):
        tasks = {each["name"]: each for each in run["tasks"]}
        if task not in tasks:
            raise unknown("task of the study", task, tasks)
        found.append(DEPTHS[depth](tasks[task]))
    return found


def _runs_of(content: Mapping[str, Any], model: str, depth: str) -> list[Mapping[str, Any]]:
    """One a seed, in the order of the study's. Raises as `levels_by_seed`."""
    if depth not in DEPTHS:
        raise unknown("depth of a task", depth, DEPTHS)
    found = {run["seed"]: run for run in content["runs"] if run["model"] == model}
    if set(content["seeds"]) - set(found):
        raise CheckpointError(f"the study of trends over layers has {', '.join(content['models'])}, and no {model!r}.")
    return [found[seed] for seed in content["seeds"]]
