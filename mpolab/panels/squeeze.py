"""The squeeze replay: a scrubber over the steps of a dimension squeezing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import runs, viz
from ..errors import DataError, DataNotFoundError
from ..matrices import short_label
from ..trace import STOPPED, Step, Trace
from .base import STYLE, Panel, resize, slider
from .compression import as_table


class SqueezePanel(Panel):
    """What MPOP Algorithm 2 did, step by step: bonds left, estimated and true error, metric. Notebook 02, section 10.

    source: a `Trace`, what `Trace.to_dict` gave, or a dictionary of either (name -> trace) to choose from; by default
    the traces in the committed records of runs.
    The grid shows each matrix's smallest bond next to its centre as a share of its size at the start; the matrix that
    the step cut is framed.
    """

    def look_at(self, source: object) -> None:
        if source is None:
            kept = runs.records()
            source = {f"{r.recipe}, {r.scale}, seed {r.seed}": r.extra["trace"] for r in kept if "trace" in r.extra}
            if not source:
                raise DataNotFoundError(
                    "there is no recorded squeezing to replay. Give a trace (mpolab.squeeze.squeeze returns one), or "
                    "run a recipe that squeezes: mpolab run --list."
                )
        if isinstance(source, Trace) or (isinstance(source, Mapping) and "steps" in source):
            source = {"this run": source}
        if not isinstance(source, Mapping) or not source:
            raise DataError(
                f"expected the trace of a squeezing or a dictionary of traces, got {type(source).__name__}; "
                "mpolab.squeeze.squeeze returns one."
            )
        self.traces = {
            str(name): trace if isinstance(trace, Trace) else Trace.from_dict(trace) for name, trace in source.items()
        }

    def make_controls(self) -> dict[str, Any]:
        record = widgets.Dropdown(options=list(self.traces), description="run", style=STYLE)
        return {"record": record, "step": slider("after step", 0, 1, 0)}

    @property
    def trace(self) -> Trace:
        return self.traces[self.value("record")]

    def after_slow_change(self) -> None:
        resize(self.controls["step"], len(self.trace.steps), len(self.trace.steps))

    def numbers(self) -> dict[str, Any]:
        trace, number = self.trace, self.value("step")
        bonds, left = trace.bonds_at(number), {}
        for path, matrix in trace.matrices.items():
            centre = [k for k in (matrix.plan.centre, matrix.plan.centre + 1) if 0 < k < matrix.plan.n]
            left[path] = min(bonds[path][k] / matrix.bonds[k] for k in centre)
        kept = [step for step in trace.steps[:number] if step.accepted]
        return {
            "left": left,
            "step": trace.steps[number - 1] if number else None,
            "parameters": kept[-1].parameters if kept else trace.parameters,
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        trace, step = self.trace, numbers["step"]
        figure, (grid, errors, metric) = viz.figure(11.5, 3.9, [2.2, 1.1, 1.1])
        grid.set_position((0.11, 0.12, 0.355, 0.7))
        paths = list(numbers["left"])
        names = [short_label(path) for path in paths]
        if len(set(names)) < len(names):  # two matrices of one label: the paths tell them apart
            names = paths
        rows, cols, cells, places = as_table(names, list(numbers["left"].values()))
        mark = places[paths.index(step.path)] if step is not None else None
        viz.draw_grid(grid, cells, rows, cols, title="bond next to the centre (% of the start)", mark=mark)
        steps = list(range(1, len(trace.steps) + 1))
        curves = {"estimated": [s.estimate for s in trace.steps], "measured": [s.error for s in trace.steps]}
        top = max([1e-12, *curves["estimated"], *curves["measured"]])
        viz.draw_curves(
            errors, steps, curves, "error of each cut", "step", "relative error", mark=self.value("step"), marker=None
        )
        errors.set_ylim(0, 1.3 * top)
        shown = [(s.number, s.metric) for s in trace.steps if s.metric is not None]
        start = [] if trace.baseline is None else [(0, trace.baseline)]
        points = start + shown
        viz.draw_curves(
            metric,
            [x for x, _ in points],
            {"metric": [y for _, y in points]},
            "metric after tuning",
            "step",
            "",
            mark=self.value("step"),
            legend="lower left",
        )
        if not points:
            metric.text(0.5, 0.5, "not measured", ha="center", color=viz.MUTED, fontsize=9, transform=metric.transAxes)
        if trace.baseline is not None and trace.max_drop is not None:
            limit = trace.baseline - trace.max_drop * (1 if trace.greater_is_better else -1)
            metric.axhline(limit, color=viz.PRINTED, linewidth=1.0, linestyle="--")
        viz.head(
            figure,
            f"step {self.value('step')} of {len(trace.steps)}: {_what(step)}; "
            f"{numbers['parameters'] / 1e6:.2f} of {trace.parameters / 1e6:.2f} million parameters",
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        trace, step = self.trace, numbers["step"]
        metric = trace.baseline if step is None else step.metric
        said = "" if metric is None else f", metric {metric:.4g}"
        cost = "" if step is None else f", estimated error {step.estimate:.3g}, true {step.error:.3g}"
        end = f"; {STOPPED[trace.stopped]}" if self.value("step") == len(trace.steps) else ""
        return (
            f"{self.value('record')}, step {self.value('step')} of {len(trace.steps)}: {_what(step)}{cost}{said}, "
            f"{numbers['parameters']:,} of {trace.parameters:,} parameters{end}"
        )


def _what(step: Step | None) -> str:
    if step is None:
        return "the start"
    taken_back = "" if step.accepted else " (taken back)"
    return f"{short_label(step.path)} bond {step.bond}: {step.before} → {step.after}{taken_back}"
