"""The bond panel: the chain itself, one slider a bond."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from .. import viz
from ..mpo import MPO
from .base import Panel, resize, slider


class BondPanel(Panel):
    """The chain itself: a bond is as thick as its entropy and coloured by its share of the squared error.

    One slider caps all bonds, one more per bond cuts it alone. Notebook 01, section 5.
    """

    def __init__(self, source: object = None, n: int = 5, **start: Any):
        self.n = n
        super().__init__(source, **start)

    def make_controls(self) -> dict[str, Any]:
        controls = {"matrix": self.matrix_menu(), "all": slider("all bonds at most", 1, 2, 1)}
        return controls | {f"bond_{k}": slider(f"bond {k}", 1, 2, 1) for k in range(1, self.n)}

    def mpo(self) -> MPO:
        return self.workbench.mpo(self.value("matrix"), n=self.n)

    def after_slow_change(self) -> None:
        mpo = self.mpo()
        mpo.truncate(bond=1).error()  # the tables behind the error budget are made here, not under a slider
        resize(self.controls["all"], max(mpo.full_bonds), max(mpo.full_bonds))
        for k in range(1, self.n):
            resize(self.controls[f"bond_{k}"], mpo.full_bonds[k], mpo.full_bonds[k])

    def after_change(self, name: str) -> None:
        if name == "all":
            for k in range(1, self.n):
                self.controls[f"bond_{k}"].value = min(self.value("all"), self.controls[f"bond_{k}"].max)

    def numbers(self) -> dict[str, Any]:
        cut = self.mpo().truncate(bond=[self.value(f"bond_{k}") for k in range(1, self.n)])
        budget = cut.budget()
        squared = sum(budget)
        return {
            "mpo": cut,
            "budget": budget,
            "error": max(squared, 0.0) ** 0.5,
            "shares": [max(step, 0.0) / squared if squared > 0 else 0.0 for step in budget],
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        mpo = numbers["mpo"]
        figure, (chain, bars) = viz.figure(10.2, 3.3, [3, 1])
        viz.draw_chain(
            chain,
            mpo.rows,
            mpo.cols,
            mpo.bonds,
            mpo.full_bonds,
            mpo.entropy(),
            mpo.plan.centre,
            numbers["shares"],
            title=f"{self.heading(mpo)}: ratio {mpo.ratio:.3f}, {mpo.parameters:,} numbers",
        )
        viz.draw_budget(
            bars, numbers["budget"], mpo.bound(), title=f"error {numbers['error']:.3f}, bound {mpo.bound():.3f}"
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo = numbers["mpo"]
        return (
            f"{self.heading(mpo)}: bonds {self.inner(mpo)}, ratio {mpo.ratio:.3f}, error "
            f"{numbers['error']:.3f}, bound {mpo.bound():.3f}, entropy {' '.join(f'{s:.2f}' for s in mpo.entropy())}, "
            f"budget {' '.join(f'{share:.0%}' for share in numbers['shares'])}"
        )
