"""The error panel: eq. 3 as printed, the tight bound and the measured error."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..mpo import METHODS, MPO
from .base import STYLE, Panel, n_menu, resize, slider


class ErrorPanel(Panel):
    """Eq. 3 as printed, the tight bound and the measured error against one bond dimension for all. Notebook 01, 6."""

    POINTS = 28

    def make_controls(self) -> dict[str, Any]:
        return {
            "matrix": self.matrix_menu(),
            "n": n_menu(),
            "method": widgets.Dropdown(options=list(METHODS), description="method", style=STYLE),
            "bond": slider("all bonds at most", 1, 2, 1),
        }

    def after_slow_change(self) -> None:
        mpo = self.mpo()
        largest = max(mpo.full_bonds)
        resize(self.controls["bond"], largest, min(64, largest))
        key = ("error", self.value("matrix"), self.value("n"), self.value("method"))
        self._curves = self.workbench.keep(key, lambda: _error_curves(mpo, self.POINTS))

    def numbers(self) -> dict[str, Any]:
        cut = self.mpo().truncate(bond=self.value("bond"))
        return {
            "mpo": cut,
            "measured": cut.error(),
            "tight": cut.bound(),
            "printed": cut.printed_bound(),
            "sum": cut.printed_bound("discarded"),
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        grid, curves = self._curves
        figure, (left, right) = viz.figure(10.2, 3.4, 2)
        bond = self.value("bond")
        viz.draw_curves(
            left,
            grid,
            {name: curves[name] for name in ("measured", "tight bound")},
            title=f"{self.heading(numbers['mpo'])}: measured {numbers['measured']:.3f} ≤ bound {numbers['tight']:.3f}",
            xlabel="bond dimension d' (cap on every bond)",
            ylabel="relative Frobenius error",
            log="x",
            mark=bond,
            legend="lower left",
        )
        viz.draw_curves(
            right,
            grid,
            curves,
            title=f"eq. 3 as printed {numbers['printed']:.2f}, plain sum {numbers['sum']:.2f}",
            xlabel="bond dimension d' (cap on every bond)",
            ylabel="relative to the norm",
            log="x",
            mark=bond,
            legend="center left",
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo = numbers["mpo"]
        return (
            f"{self.heading(mpo)}, n = {mpo.n}, {mpo.method}, bonds at most {self.value('bond')}: measured "
            f"{numbers['measured']:.3f}, tight bound {numbers['tight']:.3f}, eq. 3 as printed "
            f"{numbers['printed']:.2f}, plain sum {numbers['sum']:.2f}"
        )


def _error_curves(mpo: MPO, points: int) -> tuple[list[int], dict[str, list[float]]]:
    """The four curves of the error panel over about `points` caps, spaced evenly on a logarithmic axis."""
    largest = max(mpo.full_bonds)
    grid = sorted({round(largest ** (k / (points - 1))) for k in range(points)})
    cuts = [mpo.truncate(bond=d) for d in grid]
    return grid, {
        "measured": [cut.error() for cut in cuts],
        "tight bound": [cut.bound() for cut in cuts],
        "printed": [cut.printed_bound() for cut in cuts],
        "plain sum": [cut.printed_bound("discarded") for cut in cuts],
    }
