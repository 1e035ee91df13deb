"""The methods panel: SVD, CPD, Tucker and MPO with the same number of stored parameters."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..baselines import METHODS, Approximation, compare
from ..plans import make_plan
from .base import STYLE, Panel, n_menu

RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LARGE = 1_000_000
SEEDS, ITERATIONS = (0, 1), 10  # of CPD
# What CPD may cost at one ratio; where its curve ends, the next rank would cost more. In seconds of one core, ratio 0.9
# of a 384x384 matrix took 2.4 over three legs, ratio 0.6 took 37 over five, where ratio 0.9 (8e11) would take minutes.
CPD_FLOPS = 4e11


class MethodsPanel(Panel):
    """Error against compression ratio at equal parameters (MPOP Fig. 2a). Notebook 01, section 7.

    CPD gets `ITERATIONS` from each of `SEEDS`, up to the rank that is affordable: all ratios of a 384x384 matrix over
    three legs; where its curve ends, picture and text say so. On a matrix of more than `LARGE` entries Tucker and CPD
    take a minute or more, and wait until their box is ticked.
    """

    def make_controls(self) -> dict[str, Any]:
        menu = self.matrix_menu("query", "attention")
        slow = widgets.Checkbox(value=False, description="Tucker and CPD of large matrices (slow)", indent=False)
        ratio = widgets.SelectionSlider(options=RATIOS, value=0.5, description="ratio", style=STYLE)
        return {"matrix": menu, "n": n_menu(3), "slow": slow, "ratio": ratio}

    def after_slow_change(self) -> None:
        small = self.workbench.matrix(self.value("matrix")).numel() <= LARGE
        self._found: dict[str, dict[float, Approximation]] = {}
        for name in METHODS if small or self.value("slow") else ("SVD", "MPO"):
            key = ("methods", self.value("matrix"), self.value("n"), name)
            self._found[name] = self.workbench.keep(key, lambda name=name: self._fitted(name))

    def _fitted(self, name: str) -> dict[float, Approximation]:
        """This method at every ratio that it can reach: on a small matrix rank 1 may already store more."""
        matrix = self.workbench.matrix(self.value("matrix"))
        plan, options = make_plan(matrix.shape, self.value("n")), {"seeds": SEEDS, "iterations": ITERATIONS, "hooi": 1}
        tell = lambda step: self.say(f"{self.value('matrix')}: {step} …")  # noqa: E731
        ratios = [ratio for ratio in RATIOS if int(ratio * math.prod(plan.padded)) >= METHODS[name].least(plan)]
        found = compare(matrix, ratios, (name,), plan=plan, progress=tell, flops=CPD_FLOPS, **options)
        return {ratio: a for ratio, a in zip(ratios, found) if not a.limited}

    def numbers(self) -> dict[str, Any]:
        curves = {name: list(found.values()) for name, found in self._found.items() if found}
        here = {name: self._found.get(name, {}).get(self.value("ratio")) for name in METHODS}
        return {"curves": curves, "here": here}

    def draw(self, numbers: dict[str, Any]) -> Figure:
        figure, (left, right) = viz.figure(10.2, 3.5, [1.4, 1])
        curves = {
            name: ([a.ratio for a in found], [a.error for a in found]) for name, found in numbers["curves"].items()
        }
        rows, cols = self.workbench.matrix(self.value("matrix")).shape
        viz.draw_methods(left, curves, title=f"{self.value('matrix')} ({rows} × {cols})", mark=self.value("ratio"))
        errors = {name: a.error if a else None for name, a in numbers["here"].items()}
        viz.draw_bars(right, errors, title=f"at ratio {self.value('ratio')}", ylabel="relative Frobenius error")
        left.text(0.02, 0.03, self._about_cpd(), transform=left.transAxes, fontsize=8, color=viz.INK)
        return figure

    def _about_cpd(self) -> str:
        """What CPD's curve cost, and where it was left out."""
        if "CPD" not in self._found:
            return "Tucker and CPD: tick the box"
        about = f"CPD: best of {len(SEEDS)} starts of {ITERATIONS} iterations"
        reached = max(self._found["CPD"], default=0)
        left_out = [ratio for ratio in RATIOS if ratio > reached]
        return about + (f",\nleft out from ratio {left_out[0]} on: too slow" if left_out else "")

    def line(self, numbers: dict[str, Any]) -> str:
        said = []
        for name, a in numbers["here"].items():
            if a is None:
                said.append(f"{name} not computed here")
                continue
            rank = a.rank if isinstance(a.rank, int) else "-".join(map(str, a.rank))
            digits = 2 if name == "CPD" else 3  # an iteration's third digit may differ between machines
            starts = f", best of {len(a.errors)} starts of {ITERATIONS} iterations" if name == "CPD" else ""
            said.append(f"{name} {a.error:.{digits}f} (rank {rank}{starts})")
        return f"{self.value('matrix')}, ratio {self.value('ratio')}: " + ", ".join(said)
