"""The cost panel: what dense, rebuilt and chained application cost, counted and measured."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..cost import WAYS, choose, costs, measure
from ..mpo import MPO
from .base import STYLE, Panel

TOKENS = (1, 8, 64, 512)
CAPS = (2, 8, 32, 128, "full")
RULES = {"reconstruct": "rebuilt", "factorized": "chained"}  # what `choose` calls the bars of the picture
TIMED_FLOPS = 1e9  # a way that needs more is counted and not timed: it would take seconds


class CostPanel(Panel):
    """Parameters, FLOPs, time and memory of each way to apply an MPO (MPOP Table 2). Notebook 01, section 8.

    Times and memory were measured once, when the matrix was chosen; they are in the picture and not in the text.
    """

    def make_controls(self) -> dict[str, Any]:
        wide = widgets.Layout(width="24em")
        tokens = widgets.SelectionSlider(options=TOKENS, value=64, description="tokens", style=STYLE, layout=wide)
        cap = widgets.SelectionSlider(options=CAPS, value=32, description="all bonds at most", style=STYLE, layout=wide)
        return {"matrix": self.matrix_menu(), "tokens": tokens, "bond": cap}

    def after_slow_change(self) -> None:
        self._measured = self.workbench.keep(("cost", self.value("matrix")), self._measure_all)

    def _measure_all(self) -> dict[tuple, dict]:
        found = {}
        for cap in CAPS:
            cut = self._cut(cap)
            for tokens in TOKENS:
                self.say(f"timing {self.value('matrix')}: bonds at most {cap}, {tokens} tokens …")
                counted = costs(cut.plan, cut.bonds, tokens)
                ways = [way for way in WAYS if counted[way].flops <= TIMED_FLOPS]
                found[cap, tokens] = measure(cut, tokens, ways, repeats=3, warmup=1) if ways else {}
        return found

    def _cut(self, cap: int | str) -> MPO:
        mpo = self.mpo()
        return mpo if cap == "full" else mpo.truncate(bond=cap)

    def numbers(self) -> dict[str, Any]:
        cut, tokens = self._cut(self.value("bond")), self.value("tokens")
        return {
            "mpo": cut,
            "costs": costs(cut.plan, cut.bonds, tokens),
            "measured": self._measured[self.value("bond"), tokens],
            "rule": choose(cut.plan, cut.bonds, tokens),
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        counted, timed, tokens = numbers["costs"], numbers["measured"], self.value("tokens")
        figure, axes = viz.figure(11.0, 3.5, 4)
        bars = (
            ("stored numbers", {way: cost.parameters for way, cost in counted.items()}, "count"),
            (f"counted, {tokens} tokens", {way: cost.flops / 1e6 for way, cost in counted.items()}, "million FLOPs"),
            ("measured time", {way: timed[way].milliseconds if way in timed else None for way in WAYS}, "ms"),
            ("measured memory", {way: timed[way].peak_bytes / 2**20 if way in timed else None for way in WAYS}, "MiB"),
        )
        for ax, (title, values, label) in zip(axes, bars):
            viz.draw_bars(ax, values, title=title, ylabel=label, log=True)
        viz.head(figure, f"{self.heading(numbers['mpo'])}, bonds {self.inner(numbers['mpo'])}")
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo, counted = numbers["mpo"], numbers["costs"]
        flops = ", ".join(f"{way} {cost.flops / 1e6:.3g}" for way, cost in counted.items())
        return (
            f"{self.heading(mpo)}, bonds {self.inner(mpo)}, {self.value('tokens')} tokens: stored "
            f"{counted['dense'].parameters:,} dense, {mpo.parameters:,} as MPO; million FLOPs {flops}; "
            f"the rule says {RULES[numbers['rule']]}"
        )
