"""The compression panel: one budget for a whole model, and how it is spread over its matrices."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..allocation import ALLOCATIONS, merged_path
from ..cost import choose, measure
from ..mpo import MPO
from ..spectra import Tails, greedy_path
from .base import STYLE, Panel

RATIOS = tuple(k / 20 for k in range(1, 21))
TIMED = (0.05, 0.2, 0.5, 1.0)  # the ratios whose latency is measured
TOKENS = 64
ALL, LAYERS = "all matrices", "all but the word embedding"
SHOWN = ("numbers kept (%)", "relative error (%)", "central bond (% of full)")


class CompressionPanel(Panel):
    """One compression ratio for all matrices of a model, spread evenly or by spectra. Notebook 02, section 9.

    "uniform" gives every matrix the same ratio; "spectra" goes through the bonds of all matrices at once and widens the
    one that saves the most discarded weight per stored number (`allocation.merged_path`), each matrix's weight relative
    to its own norm; "spectra-absolute" takes the weights as they are. Errors are the bounds of the
    cuts, relative to each matrix. Latency was measured once, when the matrices were chosen, and is in the picture
    only: all matrices applied to 64 tokens, as dense matrices and by the cheaper way to apply the MPO.

    scores: {name: (stored numbers in the matrices, mean, lowest, highest)} of recorded runs, to draw beside it.
    """

    def __init__(self, source: object = None, scores: Mapping[str, tuple] | None = None,
                 **start: Any):  # fmt: skip
        self.scores = dict(scores or {})
        super().__init__(source, **start)

    def make_controls(self) -> dict[str, Any]:
        has_embedding = any("word embedding" in name for name in self.workbench.names) and len(self.workbench.names) > 1
        wide = widgets.Layout(width="24em")
        return {
            "matrices": widgets.Dropdown(
                options=[ALL, LAYERS] if has_embedding else [ALL], description="matrices", style=STYLE
            ),
            "allocation": widgets.Dropdown(options=ALLOCATIONS, description="allocation", style=STYLE),
            "show": widgets.Dropdown(options=SHOWN, description="show", style=STYLE),
            "ratio": widgets.SelectionSlider(
                options=RATIOS,
                value=0.5,
                description="ratio of the model",
                style=STYLE,
                layout=wide,
                continuous_update=False,  # a table of a whole model takes a little over 100 ms to draw
            ),
        }

    # -- once per choice of matrices ------------------------------------------------------------------

    def after_slow_change(self) -> None:
        self._plans = self.workbench.keep(("compression", self.value("matrices")), self._prepare)

    def _names(self) -> list[str]:
        everything = self.value("matrices") == ALL
        return [name for name in self.workbench.names if everything or "word embedding" not in name]

    def _prepare(self) -> dict[str, Any]:
        """Bonds of every matrix at every ratio, for every allocation, and what a few of them cost in time."""
        names, mpos = self._names(), []
        for k, name in enumerate(names):
            self.say(f"decomposing {name} ({k + 1} of {len(names)}) …")
            mpos.append(self.workbench.mpo(name))
        plans, tails = [mpo.plan for mpo in mpos], [Tails(mpo.spectra) for mpo in mpos]
        self.say("sharing out the budget …")
        bonds = {
            "uniform": _uniform(plans, tails),
            "spectra": _snapshots(plans, merged_path(plans, tails)),
            "spectra-absolute": _snapshots(plans, merged_path(plans, tails, weighing="absolute")),
        }
        milliseconds = {}
        for ratio in TIMED:
            self.say(f"measuring the latency at ratio {ratio:g} …")
            milliseconds[ratio] = _latency(mpos, bonds["uniform"][ratio])
        return {"names": names, "mpos": mpos, "tails": tails, "bonds": bonds, "milliseconds": milliseconds}

    # -- per redraw -----------------------------------------------------------------------------------

    def numbers(self) -> dict[str, Any]:
        kept, ratio = self._plans, self.value("ratio")
        bonds = kept["bonds"][self.value("allocation")][ratio]
        plans = [mpo.plan for mpo in kept["mpos"]]
        stored = [plan.parameters(d) for plan, d in zip(plans, bonds)]
        dense = [math.prod(plan.shape) for plan in plans]
        errors = [tails.bound(d) for tails, d in zip(kept["tails"], bonds)]
        weights = [tails.norm**2 for tails in kept["tails"]]
        total = math.sqrt(sum(e * e * w for e, w in zip(errors, weights)) / (sum(weights) or 1.0))
        central = [
            max(d[plan.centre], d[plan.centre + 1]) / max(plan.full_bonds[plan.centre : plan.centre + 2])
            for plan, d in zip(plans, bonds)
        ]
        return {
            "names": kept["names"],
            "bonds": bonds,
            "stored": sum(stored),
            "dense": sum(dense),
            "error": total,
            SHOWN[0]: [s / d for s, d in zip(stored, dense)],
            SHOWN[1]: errors,
            SHOWN[2]: central,
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        figure, (grid, latency, scores) = viz.figure(11.5, 3.7, [2.5, 1, 1])
        grid.set_position((0.11, 0.12, 0.4, 0.7))
        rows, cols, cells, _ = as_table(numbers["names"], numbers[self.value("show")])
        top = max(1.0, *(v for row in cells for v in row if v == v))
        viz.draw_grid(grid, cells, rows, cols, title=self.value("show"), top=top)
        ways = {"dense": [], "as MPO": []}
        for timed in self._plans["milliseconds"].values():
            ways["dense"].append(timed[0])
            ways["as MPO"].append(timed[1])
        viz.draw_curves(
            latency,
            TIMED,
            ways,
            title=f"measured, {TOKENS} tokens",
            xlabel="ratio (uniform)",
            ylabel="ms for all matrices",
            log="y",
            mark=self.value("ratio"),
        )
        high = max(max(values) for values in ways.values())
        latency.set_ylim(top=high * 4)
        viz.draw_scores(
            scores,
            {name: (x / 1e6, *rest) for name, (x, *rest) in self.scores.items()},
            title="recorded dev scores",
            xlabel="numbers in matrices (million)",
            mark=numbers["stored"] / 1e6,
        )
        viz.head(
            figure,
            f"{numbers['stored'] / 1e6:.2f} of {numbers['dense'] / 1e6:.2f} million numbers, "
            f"error at most {numbers['error']:.3f}",
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        errors, kept = numbers[SHOWN[1]], numbers[SHOWN[0]]
        worst, most = errors.index(max(errors)), kept.index(max(kept))
        return (
            f"{self.value('matrices')}, ratio {self.value('ratio'):.2f}, {self.value('allocation')}: "
            f"{numbers['stored']:,} of {numbers['dense']:,} numbers, error at most {numbers['error']:.3f}; the largest "
            f"{errors[worst]:.3f} at {numbers['names'][worst]}, the most numbers kept {kept[most]:.0%} at "
            f"{numbers['names'][most]}"
        )


# -- sharing out -------------------------------------------------------------------------------------


def _uniform(plans: Sequence, tails: Sequence[Tails]) -> dict[float, list[list[int]]]:
    """Every matrix at the same ratio: ratio -> n+1 bonds per matrix."""
    each = []
    for plan, tail in zip(plans, tails):
        path = ((0, k, None) for k in greedy_path(plan, tail, plan.full_bonds))
        each.append(_snapshots([plan], path))
    return {ratio: [one[ratio][0] for one in each] for ratio in RATIOS}


def _snapshots(plans: Sequence, path: Iterator[tuple[int, int, int | None]]) -> dict[float, list[list[int]]]:
    """One walk along a path, looked at whenever the next step would exceed one of `RATIOS`.

    A ratio that even bonds of 1 exceed gets bonds of 1; at 1.0 and beyond what the full bonds take, what is there.
    """
    bonds = [[1] * (plan.n + 1) for plan in plans]
    whole = sum(math.prod(plan.padded) for plan in plans)
    stored = sum(plan.parameters(d) for plan, d in zip(plans, bonds))
    found, waiting = {}, list(RATIOS)
    for m, k, cost in path:
        if cost is None:
            d, a = bonds[m], plans[m].sizes
            cost = d[k - 1] * a[k - 1] + a[k] * d[k + 1]
        while waiting and stored + cost > waiting[0] * whole:
            found[waiting.pop(0)] = [list(d) for d in bonds]
        if not waiting:
            break
        stored += cost
        bonds[m][k] += 1
    return found | {ratio: [list(d) for d in bonds] for ratio in waiting}


def _latency(mpos: Sequence[MPO], bonds: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Milliseconds for TOKENS vectors through all matrices: (dense, the cheaper way to apply the MPO).

    Matrices of one shape and cut are timed once. An embedding is looked up and not multiplied, so very tall matrices
    are left out.
    """
    dense = as_mpo = 0.0
    known: dict[tuple, tuple[float, float]] = {}
    for mpo, d in zip(mpos, bonds):
        if mpo.shape[0] > 16 * mpo.shape[1]:
            continue
        key = (mpo.plan, tuple(d))
        if key not in known:
            cut = mpo.truncate(bond=list(d)[1:-1])
            way = {"reconstruct": "rebuilt", "factorized": "chained"}[choose(mpo.plan, cut.bonds, TOKENS)]
            timed = measure(cut, TOKENS, ("dense", way), repeats=3, warmup=1)
            known[key] = timed["dense"].milliseconds, timed[way].milliseconds
        dense, as_mpo = dense + known[key][0], as_mpo + known[key][1]
    return dense, as_mpo


# -- as a table --------------------------------------------------------------------------------------


def as_table(names: Sequence[str], values: Sequence[float]) -> tuple[list[str], list[str], list[list[float]], list]:
    """Labels such as "L0 query" -> kinds as rows, layers as columns; whatever has no layer stands in a first column.

    Returns row names, column names, cells, and the (row, column) of each name.
    """
    places = [kind_and_layer(name) for name in names]
    rows = list(dict.fromkeys(row for row, _ in places))
    cols = list(dict.fromkeys(col for _, col in places))
    cells = [[math.nan] * len(cols) for _ in rows]
    where = [(rows.index(row), cols.index(col)) for row, col in places]
    for (row, col), value in zip(where, values):
        cells[row][col] = value
    return rows, cols, cells, where


def kind_and_layer(name: str) -> tuple[str, str]:
    """ "L0 query" -> ("query", "L0"), "enc L0 query" -> ("query", "enc L0"); a label without a layer -> (label, "")."""
    parts = name.split(" ")
    side = parts.pop(0) if parts[0] in ("enc", "dec") else ""
    layer = parts.pop(0) if len(parts) > 1 and re.fullmatch(r"[LG]\d+(\.\d+)?", parts[0]) else ""
    return (" ".join(parts), f"{side} {layer}".strip()) if layer else (name, "")
