"""The models of this package as points of MPOBERT's Figure 1 and lines under its Table 6: size, depth, mean score.

Their scores are of fewer tasks and rows than the printed ones, so that a point of ours and a printed one cannot be
compared; those of ours with each other can.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import NamedTuple

from .. import runs
from ..errors import DataNotFoundError
from ..mpobert_recipes import ALL_TASKS, MODELS
from .compared import number_in
from .items import item_command

LAYERS = {"minilm": ("MiniLM", 6), "albert-mini": ("albert-mini", 12), "mpobert-mini": ("mpobert-mini", 24)}
"""Model -> (its name in pictures, layers)."""


class Points(NamedTuple):
    """models: {name: (million parameters, layers, mean score)}. tasks: whose main metric on dev is in the mean."""

    models: dict[str, tuple[float, int, float]]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]


def own_points(results: Path, scale: str = "laptop") -> Points:
    """Of the tasks of Table 1 for which each model has the same seeds, three or more, in the folder of records.

    Raises DataNotFoundError where there is no such task.
    """
    scores: dict[str, list[float]] = {model: [] for model in MODELS}
    sizes: dict[str, float] = {}
    tasks, seeds = [], set()
    for task in ALL_TASKS:
        found = {
            model: [r for r in runs.records(f"table1-{task.lower()}-{model}", results) if r.scale == scale]
            for model in MODELS
        }
        of_each = {tuple(sorted(record.seed for record in records)) for records in found.values()}
        if len(of_each) > 1 or len(min(of_each)) < 3:
            continue
        tasks.append(task)
        seeds.update(*of_each)
        for model, records in found.items():
            scores[model].append(mean(number_in(record) for record in records))
            sizes.setdefault(model, records[0].total / 1e6)
    if not tasks:
        raise DataNotFoundError(f"no task of Table 1 has records of all models; {item_command('mpobert-tab1', scale)}")
    models = {LAYERS[model][0]: (sizes[model], LAYERS[model][1], mean(scores[model])) for model in MODELS}
    return Points(models, tuple(tasks), tuple(sorted(seeds)))
