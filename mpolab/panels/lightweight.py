"""The lightweight panel: what trains and what is frozen, as plan and bonds change."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..plans import STYLES, Plan, make_plan
from .base import STYLE, Panel, n_menu, resize, slider
from .compression import ALL, LAYERS, kind_and_layer


class LightweightPanel(Panel):
    """#Pr and #To of lightweight fine-tuning (MPOP section 4.1, Table 3), counted. Notebook 02, section 8.

    The matrices' auxiliary tensors train, their central tensors are frozen; biases, norms and heads are not counted.
    Nothing is decomposed: counts need the shapes alone. The bond cap is one number for all matrices.
    """

    def make_controls(self) -> dict[str, Any]:
        has_embedding = any("word embedding" in name for name in self.workbench.names) and len(self.workbench.names) > 1
        options = [ALL, LAYERS] if has_embedding else [ALL]
        style = widgets.Dropdown(options=list(STYLES), value="mpop", description="factors", style=STYLE)
        return {
            "matrices": widgets.Dropdown(options=options, description="matrices", style=STYLE),
            "factors": style,
            "n": n_menu(),
            "cap": slider("all bonds at most", 1, 2, 1),
        }

    def _plans(self) -> dict[str, Plan]:
        names = [n for n in self.workbench.names if self.value("matrices") == ALL or "word embedding" not in n]
        shapes = {name: tuple(self.workbench.matrix(name).shape) for name in names}
        return {name: make_plan(shape, self.value("n"), style=self.value("factors")) for name, shape in shapes.items()}

    def after_slow_change(self) -> None:
        largest = max(max(plan.full_bonds) for plan in self._plans().values())
        resize(self.controls["cap"], largest, largest)

    def numbers(self) -> dict[str, Any]:
        kinds: dict[str, list[int]] = {}
        dense = 0
        for name, plan in self._plans().items():
            bonds = [min(self.value("cap"), full) for full in plan.full_bonds]
            total = plan.parameters(bonds)
            central = math.prod(plan.core_shape(plan.centre, bonds))
            entry = kinds.setdefault(kind_and_layer(name)[0], [0, 0])
            entry[0] += total - central
            entry[1] += central
            dense += math.prod(plan.shape)
        return {"kinds": {kind: tuple(entry) for kind, entry in kinds.items()}, "dense": dense}

    def draw(self, numbers: dict[str, Any]) -> Figure:
        figure, (ax,) = viz.figure(9.0, 3.2, 1)
        ax.set_position((0.17, 0.17, 0.8, 0.66))
        trained = sum(entry[0] for entry in numbers["kinds"].values())
        stored = sum(sum(entry) for entry in numbers["kinds"].values())
        viz.draw_trained(
            ax,
            numbers["kinds"],
            title=f"#Pr {trained / 1e6:.2f} of #To {stored / 1e6:.2f} million ({trained / stored:.0%} train); "
            f"dense {numbers['dense'] / 1e6:.2f}",
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        trained = sum(entry[0] for entry in numbers["kinds"].values())
        stored = sum(sum(entry) for entry in numbers["kinds"].values())
        most = max(numbers["kinds"], key=lambda kind: numbers["kinds"][kind][0])
        return (
            f"{self.value('matrices')}, {self.value('factors')} factors, n = {self.value('n')}, bonds at most "
            f"{self.value('cap')}: #Pr {trained:,} of #To {stored:,}, dense {numbers['dense']:,}; most of what trains "
            f"is in {most}"
        )
