"""The probing panel: what each layer gives away, task by task, for several models side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import runs, viz
from ..errors import DataError
from ..probing.results import PROBES, QUANTITIES, ProbeResult, load_results
from ..probing.tasks import GROUPS
from .base import STYLE, Panel, resize, slider

TOGETHER = "side by side"
WRITTEN = 16  # layers, at most, whose numbers are written: those of more cannot be read
SPAN = 0.1
NARROW = {"surface": "surf.", "syntactic": "synt.", "semantic": "sem."}


class ProbingPanel(Panel):
    """Layer-wise probes as in MPOBERT's Fig. 4: tasks as columns, layers as rows.

    source: what `mpolab.probing.probe` returned, its `to_dict`, or a dictionary of either (name -> result); by default
    the records in results/probing. Shades run from the lowest to the highest value of a task in all models shown (over
    ten points at least); the best layer of each task is in a dashed box. On the right is one task's accuracy by layer,
    dotted its control task.
    """

    def look_at(self, source: object) -> None:
        if source is None:
            source = load_results(runs.results_folder() / "probing")
        if isinstance(source, ProbeResult):
            source = {source.model: source}
        elif isinstance(source, Mapping) and "format" in source:
            source = {str(source.get("model")): source}
        if not isinstance(source, Mapping) or not source:
            raise DataError(
                f"expected the result of mpolab.probing.probe or a dictionary of results, got {type(source).__name__}."
            )
        self.results = {
            str(name): result if isinstance(result, ProbeResult) else ProbeResult.from_dict(result)
            for name, result in source.items()
        }

    def make_controls(self) -> dict[str, Any]:
        names = list(self.results)
        sets = list(dict.fromkeys(_origin(task.name) for result in self.results.values() for task in result.tasks))
        return {
            "record": _menu("model", [*([TOGETHER] if len(names) > 1 else []), *names]),
            "show": _menu("show", QUANTITIES),
            "probe": _menu("probe", PROBES),
            "tasks": _menu("tasks of", sets),
            "task": _menu("curve of", self._names(sets[0], names)),
            "layer": slider("layer", 0, 1, 0),
        }

    def rows(self) -> list[Any]:
        layer = self.controls["layer"]
        wrap = widgets.Layout(flex_flow="row wrap")
        return [widgets.HBox([c for c in self.controls.values() if c is not layer], layout=wrap), layer]

    def _names(self, origin: str, models: list[str]) -> list[str]:
        """The tasks of one origin that any of these models has, in the order in which they come."""
        tasks = (task.name for model in models for task in self.results[model].tasks)
        return [name for name in dict.fromkeys(tasks) if _origin(name) == origin]

    @property
    def models(self) -> list[str]:
        chosen = self.value("record")
        return list(self.results) if chosen == TOGETHER else [chosen]

    def after_slow_change(self) -> None:
        highest = max(self.results[model].layers for model in self.models) - 1
        resize(self.controls["layer"], highest, highest)

    def after_change(self, name: str) -> None:
        if name == "tasks":
            self.controls["task"].options = self._names(self.value("tasks"), list(self.results))

    def numbers(self) -> dict[str, Any]:
        probe, shown, chosen = self.value("probe"), self.value("show"), self.value("task")
        groups = {task.name: task.group for model in self.models for task in self.results[model].tasks}
        names = sorted(self._names(self.value("tasks"), self.models), key=lambda name: _place(groups[name]))
        tables, curves = {}, {}
        for model in self.models:
            known = {task.name: task for task in self.results[model].tasks}
            empty = [math.nan] * self.results[model].layers
            tables[model] = {name: known[name].values(shown, probe) if name in known else empty for name in names}
            if chosen in known:
                task = known[chosen]
                curves[model] = (task.values("accuracy", probe), task.values("control", probe), task.majority)
        return {"names": names, "groups": groups, "tables": tables, "curves": curves}

    def draw(self, numbers: dict[str, Any]) -> Figure:
        names, tables = numbers["names"], numbers["tables"]
        figure, axes = viz.figure(11.5, 4.4, [*[2.6] * len(tables), 1.9])
        groups = [numbers["groups"][name] for name in names]
        groups = [NARROW.get(group, group) for group in groups] if len(tables) > 2 else groups
        limits = [_limits([table[name] for table in tables.values()]) for name in names]
        for number, (ax, (model, table)) in enumerate(zip(axes, tables.items())):
            left, right = 0.065 + 0.66 * number / len(tables), 0.02 + 0.66 * (number + 1) / len(tables)
            ax.set_position((left, 0.3, right - left, 0.52))
            viz.draw_layers(
                ax,
                [table[name] for name in names],
                [_short(name) for name in names],
                title=_short_model(model),
                limits=limits,
                groups=groups,
                mark=self.value("layer"),
                written=max(result.layers for result in self.results.values()) <= WRITTEN,
                ylabel="layer (0: embeddings)" if not number else "",
            )
        axes[-1].set_position((0.762, 0.3, 0.225, 0.52))
        viz.draw_probe(
            axes[-1],
            {_short_model(model): curve for model, curve in numbers["curves"].items()},
            title=_short(self.value("task")),
            mark=self.value("layer"),
        )
        viz.head(figure, f"{self.value('show')} on test (%), probe: {self.value('probe')}")
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        chosen, layer, said = self.value("task"), self.value("layer"), []
        for model in self.models:
            known = {task.name: task for task in self.results[model].tasks}
            if chosen not in known or layer >= known[chosen].layers:
                said.append(f"{model} has no layer {layer} for it")
                continue
            task, probe = known[chosen], self.value("probe")
            value, score = task.values(self.value("show"), probe)[layer], task.score(layer, probe)
            best = task.best(self.value("show"), probe)
            said.append(
                f"{model} {value:.1%} (accuracy {score.accuracy:.1%}, control {score.control:.1%}, {score.kind}), best "
                f"{task.values(self.value('show'), probe)[best]:.1%} at layer {best}"
            )
        return f"{chosen}, {self.value('show')}, probe {self.value('probe')}, layer {layer}: {'; '.join(said)}"


def _menu(name: str, options: Any) -> widgets.Dropdown:
    layout = widgets.Layout(width="auto")
    return widgets.Dropdown(options=list(options), description=name, style=STYLE, layout=layout)


def _origin(name: str) -> str:
    """Where a task comes from, by the first part of its name."""
    return {"probing": "the offline grammar", "treebank": "a treebank", "senteval": "SentEval"}.get(
        name.partition("-")[0], "others"
    )


def _short(name: str) -> str:
    return name if _origin(name) == "others" else name.partition("-")[2]


def _place(group: str) -> int:
    """Groups stand side by side: surface, syntactic, semantic, others."""
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _short_model(name: str) -> str:
    return name.rpartition("/")[2]


def _limits(columns: list[list[float]]) -> tuple[float, float]:
    """The values of palest and darkest, SPAN apart at least, lest noise be painted as a pattern."""
    values = [value for column in columns for value in column if value == value]
    return (min(min(values), max(values) - SPAN), max(values)) if values else (0.0, 1.0)
