"""The parameters panel: what a GPT-2 or a T5 holds when its feed-forward blocks become experts, dense or with MPOs."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from transformers import GPT2Config, T5Config

from .. import viz
from ..errors import DataError
from ..expert_counts import (
    FAMILIES,
    ModelShape,
    copies,
    dense_counts,
    formula_ratio,
    gamma,
    moe_counts,
    mpoe_counts,
    plans,
    stored_ratio,
    total,
)
from ..writers import GPT2_MINI, OPTIONS
from .base import STYLE, Panel, slider

OWN = "your model"
FULL = "full"
MOST = 64  # experts
TENSORS = (3, 5, 7, 9)
BONDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
WIDTHS = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)  # d_ff over the hidden size
PRINTED_GAMMA = 12
T5 = {"vocab_size": 32128, "d_kv": 64}
PRESETS = {
    "GPT-2": lambda: GPT2Config(),
    "T5-base": lambda: T5Config(**T5, d_model=768, d_ff=3072, num_layers=12, num_heads=12),
    "T5-large": lambda: T5Config(**T5, d_model=1024, d_ff=4096, num_layers=24, num_heads=16),
    "gpt2-mini": lambda: GPT2Config(**GPT2_MINI, vocab_size=OPTIONS["vocabulary"], bos_token_id=0, eos_token_id=0),
}
"""name -> its config."""


class ParametersPanel(Panel):
    """#To of a dense model, of MoE and of MPOE, part by part and over the number of experts (MPOE section 3.1).

    source: a GPT2Config or a T5Config, or a model that has one, to stand beside the presets; or the name of a preset to
    start with. keep_dense: as in `to_moe`, the original block stays as one more expert. Nothing is made: the counts are
    formulas. Notebook 04, "From FFN to experts".
    """

    def look_at(self, source: object) -> None:
        self.configs: dict[str, Any] = {name: make() for name, make in PRESETS.items()}
        self.start = "GPT-2"
        if isinstance(source, str) and source in PRESETS:
            self.start = source
        elif source is not None:
            model = getattr(source, "model", source)
            config = getattr(model, "config", model)
            if getattr(config, "model_type", None) not in FAMILIES:
                raise DataError(
                    f"expected a GPT2Config, a T5Config, a model that has one or one of {', '.join(PRESETS)}, got "
                    f"{source if isinstance(source, str) else type(source).__name__}."
                )
            self.configs[OWN], self.start = config, OWN

    def make_controls(self) -> dict[str, Any]:
        menu = {"style": STYLE, "layout": widgets.Layout(width="12em")}
        wide = {"style": STYLE, "layout": widgets.Layout(width="24em")}
        return {
            "model": widgets.Dropdown(options=list(self.configs), value=self.start, description="model", **menu),
            "tensors": widgets.Dropdown(options=TENSORS, value=5, description="tensors m", **menu),
            "keep_dense": widgets.ToggleButtons(options=[False, True], description="keep_dense", style=STYLE),
            "experts": slider("experts n", 1, MOST, 8),
            "d_ff": widgets.SelectionSlider(options=[1], description="d_ff", **wide),  # options: see after_change
            "bond": widgets.SelectionSlider(options=[FULL], description="bond cap", **wide),
        }

    def rows(self) -> list[Any]:
        wrap = widgets.Layout(flex_flow="row wrap")
        model, tensors, keep_dense, *sliders = self.controls.values()
        return [widgets.HBox([model, tensors, keep_dense], layout=wrap), widgets.HBox(sliders, layout=wrap)]

    def after_change(self, name: str) -> None:
        if name == "model":
            own = ModelShape.of(self.configs[self.value("model")])
            sizes = sorted({own.inner, *(round(own.hidden * width) for width in WIDTHS)})
            _offer(self.controls["d_ff"], sizes, own.inner)
        if name in ("model", "tensors", "d_ff"):
            widest = max(max(plan.full_bonds) for plan in plans(self.shape(), self.value("tensors")))
            caps = [*(bond for bond in BONDS if bond < widest), FULL]
            _offer(self.controls["bond"], caps, self.value("bond") if self.value("bond") in caps else FULL)

    def shape(self) -> ModelShape:
        """The model as the menu and the slider of d_ff have it."""
        return ModelShape.of(self.configs[self.value("model")], self.value("d_ff"))

    def numbers(self) -> dict[str, Any]:
        shape, experts, keep = self.shape(), self.value("experts"), self.value("keep_dense")
        tensors, bond = self.value("tensors"), None if self.value("bond") == FULL else self.value("bond")

        def three(experts: int) -> dict[str, dict[str, int]]:
            return {
                "dense": dense_counts(shape),
                "MoE": moe_counts(shape, experts, keep),
                "MPOE": mpoe_counts(shape, experts, tensors, bond, keep),
            }

        ends = [three(count) for count in (1, MOST)]  # all three are straight lines: two points say it all
        count, ratio = copies(experts, keep), gamma(shape, tensors, bond)
        return {
            "counts": three(experts),
            "curves": {name: [total(end[name]) for end in ends] for name in ends[0]},
            "gamma": ratio,
            "stored": stored_ratio(shape, count, tensors, bond),
            "formula": formula_ratio(count, ratio),
            "printed": formula_ratio(count, PRINTED_GAMMA),
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        counts, experts = numbers["counts"], self.value("experts")
        figure, (bars, curves) = viz.figure(11.5, 4.1, [1.5, 1])
        bars.set_position((0.07, 0.03, 0.5, 0.74))
        curves.set_position((0.64, 0.15, 0.35, 0.62))
        viz.draw_parts(
            bars,
            {name: {part: count / 1e6 for part, count in found.items()} for name, found in counts.items()},
            title="#To, in millions",
            digits=1 if total(counts["dense"]) > 1e8 else 2,
        )
        lines = {name: [value / 1e6 for value in found] for name, found in numbers["curves"].items()}
        viz.draw_curves(
            curves,
            (1, MOST),
            lines,
            title="the same over the number of experts",
            xlabel="experts n",
            ylabel="million numbers",
            marker=None,
            legend="upper left",
        )
        chosen = {name: total(found) / 1e6 for name, found in counts.items()}
        curves.vlines(experts, 0, max(chosen.values()), color=viz.INK, linewidth=1.0, linestyle=":")
        for name, value in chosen.items():
            curves.plot(experts, value, "o", markersize=5, color=viz.COLOURS[name])
        curves.set_xlim(0, MOST + 1)
        curves.set_ylim(0, 1.1 * max(value for line in lines.values() for value in line))
        viz.head(figure, self.heading)
        figure.text(0.07, 0.895, self.ratios(numbers), fontsize=9, color=viz.INK)
        return figure

    @property
    def heading(self) -> str:
        experts, bond = self.value("experts"), self.value("bond")
        kept = " and the dense block" if self.value("keep_dense") else ""
        return (
            f"{self.value('model')}, d_ff {self.value('d_ff')}: {experts} expert{'s' * (experts > 1)}{kept}, "
            f"{self.value('tensors')} tensors, {'full bonds' if bond == FULL else f'no bond above {bond}'}"
        )

    @staticmethod
    def ratios(numbers: dict[str, Any]) -> str:
        return (
            f"gamma {numbers['gamma']:.2f}; the experts' tensors are {numbers['stored']:.4f} of MoE's matrices, and "
            f"{numbers['formula']:.4f} of MPOs that share nothing: the paper's formula ({numbers['printed']:.4f} with "
            f"its gamma of {PRINTED_GAMMA})"
        )

    def line(self, numbers: dict[str, Any]) -> str:
        sums = {name: total(found) for name, found in numbers["counts"].items()}
        steps = {name: (last - first) // (MOST - 1) for name, (first, last) in numbers["curves"].items()}
        parts = ", ".join(f"{part} {count:,}" for part, count in numbers["counts"]["MPOE"].items() if count)
        return (
            f"{self.heading}: dense {sums['dense']:,}, MoE {sums['MoE']:,}, MPOE {sums['MPOE']:,} ({parts}); one more "
            f"expert adds {steps['MoE']:,} to MoE, {steps['MPOE']:,} to MPOE; {self.ratios(numbers)}"
        )


def _offer(control: widgets.SelectionSlider, options: list[Any], value: Any) -> None:
    """Other options, and the one to stand at."""
    if list(control.options) != options:
        control.options = options
    control.value = value
