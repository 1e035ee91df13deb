"""The information panel: what share of everything each tensor holds."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from .. import viz
from .base import Panel, n_menu, resize, slider


class InformationPanel(Panel):
    """Share of parameters, entropy and Frobenius norm per tensor as bonds shrink. Notebook 02, section 3.

    A tensor's entropy share counts half of each of its bonds. Norms are those of the centre gauge; in another gauge
    they would sit elsewhere, which is why a norm says nothing about where the information is.
    """

    def make_controls(self) -> dict[str, Any]:
        return {"matrix": self.matrix_menu(), "n": n_menu(), "bond": slider("all bonds at most", 1, 2, 1)}

    def after_slow_change(self) -> None:
        largest = max(self.mpo().full_bonds)
        resize(self.controls["bond"], largest, largest)

    def numbers(self) -> dict[str, Any]:
        cut = self.mpo().truncate(bond=self.value("bond"))
        stored = [core.numel() / cut.parameters for core in cut.cores]
        s = [0.0, *cut.entropy(of="truncated"), 0.0]
        halves = [(s[k] + s[k + 1]) / 2 for k in range(cut.n)]
        total = sum(halves)
        return {
            "mpo": cut,
            "shares": {
                "parameters": stored,
                "entropy of the bonds": [half / total if total else 1 / cut.n for half in halves],
                "squared norm": cut.norm_shares(),
            },
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        mpo = numbers["mpo"]
        figure, (ax,) = viz.figure(9.0, 2.9, 1)
        ax.set_position((0.17, 0.2, 0.8, 0.62))
        viz.draw_shares(
            ax,
            numbers["shares"],
            mpo.plan.centre,
            title=f"{self.heading(mpo)}, bonds {self.inner(mpo)}, ratio {mpo.ratio:.3f}",
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo, c = numbers["mpo"], numbers["mpo"].plan.centre
        shares = ", ".join(f"{name} {values[c]:.1%}" for name, values in numbers["shares"].items())
        bonds = "-".join(map(str, mpo.bonds[1:-1]))
        return (
            f"{self.heading(mpo)}, n = {mpo.n}, bonds {bonds}, ratio {mpo.ratio:.3f}: the central tensor holds {shares}"
        )
