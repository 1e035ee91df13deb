"""The depth panel: how the size of one update grows with the number of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import depth, viz
from ..depth import PARTS, READINGS, Curve, Study
from ..errors import DataError
from ..mpobert_init import INITS
from .base import STYLE, Panel

CENTRE = {"free": "together", "frozen": "auxiliary"}  # what moves
ABOUT = {
    "corollary": "scalar model as Corollary A.2 counts (∂F/∂θ = θ_N)",
    "theorem": "scalar model with its own eq. 8",
    "two matrices": "scalar model, eq. 8, two matrices a sub-layer",
    "chain": "scalar model, eq. 5 as it stands",
    "encoder": "encoder",
}


class DepthPanel(Panel):
    """||dF|| / eta of one step against the number of layers, and its slopes. Notebook 03, "Depth".

    source: a `depth.Study` or what its `to_dict` gave; by default the committed one.
    Left all initialisations, the chosen one in front; in the middle their slopes, of the auxiliary tensors' part (blue)
    and of the shared centre's (orange), which Corollary A.2 leaves out; right these parts for the chosen one.
    """

    def look_at(self, source: object) -> None:
        if isinstance(source, Mapping) and "curves" in source:
            source = Study.from_dict(source)
        self.study = depth.load() if source is None else source
        if not isinstance(self.study, Study) or not self.study.curves:
            raise DataError(
                f"expected a study of depth with at least one curve, got {type(source).__name__}; mpolab.depth.study "
                "makes one."
            )
        self._slopes = {id(c): {part: c.slope(part) for part in PARTS} for c in self.study.curves}

    def make_controls(self) -> dict[str, Any]:
        curves = self.study.curves
        inits = [init for init in INITS if init in {c.init for c in curves}]

        def menu(options: Any, name: str, value: Any = None, width: str = "auto") -> widgets.Dropdown:
            options = list(dict.fromkeys(options))
            value = value if value in options else options[0]
            layout = widgets.Layout(width=width)
            return widgets.Dropdown(options=options, value=value, description=name, style=STYLE, layout=layout)

        return {
            "model": menu((c.model for c in curves), "model", "encoder"),
            "n": menu((c.n for c in curves), "n", 5, "6em"),
            "init": widgets.SelectionSlider(
                options=inits,
                value="theory" if "theory" in inits else inits[0],
                description="initialisation",
                style=STYLE,
            ),
            "scaled": menu((c.scaled for c in curves), "scaled"),
            "optimiser": menu((c.optimiser for c in curves), "optimiser"),
            "centre": menu(CENTRE, "centre"),
        }

    def rows(self) -> list[Any]:
        return [widgets.HBox(list(self.controls.values()), layout=widgets.Layout(flex_flow="row wrap"))]

    def curve(self, init: str) -> Curve:
        asked = {name: self.value(name) for name in ("model", "n", "scaled", "optimiser")}
        return self.study.curve(init=init, **asked)

    def numbers(self) -> dict[str, Any]:
        curves = {}
        for init in self.controls["init"].options:
            curve = self.curve(init)
            curves[curve.init] = curve  # in the scalar model two names are one
        return {"chosen": self.curve(self.value("init")), "curves": curves}

    def draw(self, numbers: dict[str, Any]) -> Figure:
        chosen, curves, part = numbers["chosen"], numbers["curves"], CENTRE[self.value("centre")]
        depths, slopes = chosen.depths, {init: self._slopes[id(c)] for init, c in curves.items()}
        figure, (left, middle, right) = viz.figure(11.5, 4.1, [1.15, 1, 1.15])
        xlabel, ylabel = "layers L", "‖ΔF‖ / η"
        viz.draw_growth(
            left,
            depths,
            {init: c.updates[part] for init, c in curves.items()},
            f"one step, centre {self.value('centre')}",
            xlabel,
            ylabel,
            front=chosen.init,
        )
        viz.draw_slopes(
            middle,
            {
                init: {name: (found[name].value, found[name].error) for name in ("auxiliary", "centre")}
                for init, found in slopes.items()
            },
            "0 is what the paper promises",
            "slope p in ‖ΔF‖ ~ L^p (± 2 standard errors)",
            front=chosen.init,
        )
        found = slopes[chosen.init]
        viz.draw_growth(
            right,
            depths,
            {name: chosen.updates[name] for name in ("auxiliary", "centre")},
            f"{chosen.init}: what the corollary leaves out",
            xlabel,
            ylabel,
            fits={name: (found[name].value, found[name].at_one) for name in ("auxiliary", "centre")},
            room=0.3,
        )
        names = {"auxiliary": "auxiliary tensors", "centre": "shared centre"}
        viz.key(
            right,
            [
                ("●", f"{say}: p = {_power(found[name])}".replace("-", "−"), viz.COLOURS[name])
                for name, say in names.items()
            ],
            "upper left",
        )
        viz.head(figure, self.heading_of(chosen))
        return figure

    def heading_of(self, chosen: Curve) -> str:
        return f"{ABOUT[chosen.model]}, n = {chosen.n}, {chosen.optimiser}, scaled: {chosen.scaled}"

    def line(self, numbers: dict[str, Any]) -> str:
        chosen, part = numbers["chosen"], CENTRE[self.value("centre")]
        found = self._slopes[id(chosen)]
        same = [init for init, other in depth.AS_SCALAR.items() if other == chosen.init and init != chosen.init]
        also = f" (as {', '.join(same)})" if same and chosen.model in READINGS else ""
        others = ", ".join(
            f"{init} {self._slopes[id(c)][part].value:.2f}" for init, c in numbers["curves"].items() if c is not chosen
        )
        parts = ", ".join(
            f"{name} {_power(found[name])} ({chosen.mean(name)[-1]:.3g} at L = {chosen.depths[-1]})"
            for name in ("auxiliary", "centre")
        )
        return (
            f"{self.heading_of(chosen)}, centre {self.value('centre')}, {chosen.init}{also}: ‖ΔF‖ ~ L^p with p = "
            f"{_power(found[part])}: it {_verb(found[part].says)}; parts: {parts}; others: {others or 'none'}"
        )


def _power(slope: depth.Slope) -> str:
    return f"{slope.value:.2f} ± {slope.error:.2f}"


def _verb(says: str) -> str:
    return {"level": "stays level", "unclear": "has no clear trend"}.get(says, says)
