"""The methods panel: SVD, CPD, Tucker and MPO with the same number of stored parameters."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..baselines import METHODS, Approximation, compare
from .base import STYLE, Panel, n_menu

RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LARGE = 1_000_000
CPD_FLOPS = 2e11  # what CPD may cost at one ratio; where its curve ends, the next rank would cost more


class MethodsPanel(Panel):
    """Error against compression ratio at equal parameters (MPOP Fig. 2a). Notebook 01, section 7.

    CPD gets one seed and ten iterations, up to the rank that is affordable; where its curve ends, the text says so. On
    a matrix of more than `LARGE` entries Tucker and CPD take a minute or more, and wait until their box is ticked.
    """

    def make_controls(self) -> dict[str, Any]:
        menu = self.matrix_menu("query", "attention")
        slow = widgets.Checkbox(value=False, description="Tucker and CPD of large matrices (slow)", indent=False)
        ratio = widgets.SelectionSlider(options=RATIOS, value=0.5, description="ratio", style=STYLE)
        return {"matrix": menu, "n": n_menu(3), "slow": slow, "ratio": ratio}

    def after_slow_change(self) -> None:
        self._found = []
        small = self.workbench.matrix(self.value("matrix")).numel() <= LARGE
        for name in METHODS if small or self.value("slow") else ("SVD", "MPO"):
            key = ("methods", self.value("matrix"), self.value("n"), name)
            self._found += self.workbench.keep(key, lambda name=name: self._fitted(name))

    def _fitted(self, name: str) -> list[Approximation]:
        matrix = self.workbench.matrix(self.value("matrix"))
        options = {"seeds": (0,), "iterations": 10, "flops": CPD_FLOPS, "hooi": 1}
        tell = lambda step: self.say(f"{self.value('matrix')}: {step} …")  # noqa: E731
        return compare(matrix, RATIOS, (name,), n=self.value("n"), progress=tell, **options)

    def numbers(self) -> dict[str, Any]:
        curves = {name: [a for a in self._found if a.method == name and not a.limited] for name in METHODS}
        here = {name: self._at(name) for name in METHODS}
        return {"curves": {name: found for name, found in curves.items() if found}, "here": here}

    def _at(self, name: str) -> Approximation | None:
        """This method's answer at the chosen ratio; None where it was not computed."""
        found = [a for a in self._found if a.method == name]
        chosen = found[RATIOS.index(self.value("ratio"))] if found else None
        return None if chosen is None or chosen.limited else chosen

    def draw(self, numbers: dict[str, Any]) -> Figure:
        figure, (left, right) = viz.figure(10.2, 3.5, [1.4, 1])
        curves = {
            name: ([a.ratio for a in found], [a.error for a in found]) for name, found in numbers["curves"].items()
        }
        rows, cols = self.workbench.matrix(self.value("matrix")).shape
        viz.draw_methods(left, curves, title=f"{self.value('matrix')} ({rows} × {cols})", mark=self.value("ratio"))
        errors = {name: a.error if a else None for name, a in numbers["here"].items()}
        viz.draw_bars(right, errors, title=f"at ratio {self.value('ratio')}", ylabel="relative Frobenius error")
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        said = [
            f"{name} {a.error:.{2 if name == 'CPD' else 3}f} (rank {a.rank if isinstance(a.rank, int) else '-'.join(map(str, a.rank))})"
            if a
            else f"{name} not computed here"
            for name, a in numbers["here"].items()
        ]
        return f"{self.value('matrix')}, ratio {self.value('ratio')}: " + ", ".join(said)
