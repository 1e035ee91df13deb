"""The sharing panel: which layer owns what, and what that makes of the number of parameters."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import viz
from ..errors import DataError
from ..mpobert_config import PRESETS, MPOBertConfig
from ..sharing import albert_counts, bert_counts, mpobert_counts, total
from .base import STYLE, Panel, resize, slider

OWN = "your model"
DEEPEST = 96
HIDDEN = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
HIGHEST_RANK = 128
BERT_BASE = total(bert_counts(MPOBertConfig.preset("mpobert-12"), 30522))


class SharingPanel(Panel):
    """Fig. 2 of MPOBERT, drawn and counted: every group of layers owns one centre, every layer its auxiliary tensors.

    source: an `MPOBertConfig`, or a model that has one, to stand beside the presets; or the name of a preset to start
    with. Left the owners; in the middle the numbers of this model beside the BERT and the ALBERT of the same depth and
    width (4 times as wide inside, as always); right the same over depth. BERT has its own vocabulary of 30,522 beside
    ALBERT's of 30,000. Nothing is made: the counts are formulas. Notebook 03, "Sharing".
    """

    def look_at(self, source: object) -> None:
        self.configs: dict[str, MPOBertConfig] = {name: MPOBertConfig.preset(name) for name in PRESETS}
        self.start = "mpobert-12"
        if isinstance(source, str) and source in PRESETS:
            self.start = source
        elif source is not None:
            model = getattr(source, "model", source)
            config = getattr(model, "config", model)
            if not isinstance(config, MPOBertConfig):
                raise DataError(
                    f"expected an MPOBertConfig, a model that has one or one of {', '.join(PRESETS)}, got "
                    f"{source if isinstance(source, str) else type(source).__name__}."
                )
            config.check()
            self.configs[OWN], self.start = config, OWN

    def make_controls(self) -> dict[str, Any]:
        model = widgets.Dropdown(options=list(self.configs), value=self.start, description="model", style=STYLE)
        sizes = sorted({*HIDDEN, *(config.hidden_size for config in self.configs.values())})
        depth = max(DEEPEST, *(config.num_hidden_layers for config in self.configs.values()))
        self.highest_rank = max(HIGHEST_RANK, *(config.adapter_rank for config in self.configs.values()))
        return {
            "model": model,
            "layers": slider("layers", 1, depth, 1),
            "hidden": widgets.SelectionSlider(options=sizes, value=sizes[0], description="hidden size", style=STYLE),
            "groups": slider("groups", 1, 1, 1),
            "rank": slider("adapter rank", 0, self.highest_rank, 0),
        }

    def rows(self) -> list[Any]:
        model, *sliders = self.controls.values()
        return [model, widgets.HBox(sliders, layout=widgets.Layout(flex_flow="row wrap"))]

    def after_change(self, name: str) -> None:
        if name == "model":
            config = self.configs[self.value("model")]
            self.controls["layers"].value = config.num_hidden_layers
            self.controls["hidden"].value = config.hidden_size
            resize(self.controls["rank"], self.highest_rank, config.adapter_rank)
            resize(self.controls["groups"], config.num_hidden_layers, config.num_central_groups)
        elif name == "layers":
            resize(self.controls["groups"], self.value("layers"), self.value("groups"))
        if name in ("model", "hidden"):  # no adapter is wider than the matrix beside it
            resize(self.controls["rank"], min(self.highest_rank, self.value("hidden")), self.value("rank"))

    def config(self, **changes: Any) -> MPOBertConfig:
        """The model as the sliders have it; a hidden size that is not the model's own brings heads of 64 numbers."""
        given, hidden = self.configs[self.value("model")], self.value("hidden")
        asked = {
            "num_hidden_layers": self.value("layers"),
            "num_central_groups": self.value("groups"),
            "adapter_rank": self.value("rank"),
        }
        if hidden != given.hidden_size:
            asked |= {
                "hidden_size": hidden,
                "intermediate_size": 4 * hidden,
                "num_attention_heads": hidden // 64,
                "mpo_factors": None,
            }
        return MPOBertConfig(**{**given.to_dict(), **asked, **changes})

    def numbers(self) -> dict[str, Any]:
        config = self.config()
        words = 30522 if config.vocab_size == 30000 else None

        def three(config: MPOBertConfig) -> dict[str, dict[str, int]]:
            return {"BERT": bert_counts(config, words), "ALBERT": albert_counts(config), "this": mpobert_counts(config)}

        # all three grow in straight lines: two points say it all
        ends = (config.num_central_groups, max(self.controls["layers"].max, config.num_central_groups + 1))
        lines = [three(self.config(num_hidden_layers=depth)) for depth in ends]
        plan = config.plan("ffn")
        bonds = config.bonds("ffn")
        return {
            "config": config,
            "counts": three(config),
            "depths": ends,
            "curves": {name: [total(line[name]) for line in lines] for name in lines[0]},
            "cores": [plan.sizes[k] * bonds[k] * bonds[k + 1] for k in range(plan.n)],
            "centre": plan.centre,
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        config, counts = numbers["config"], numbers["counts"]
        depth, groups = config.num_hidden_layers, config.num_central_groups
        figure, (owners, bars, curves) = viz.figure(11.5, 3.9, [1.25, 1, 1])
        owners.set_position((0.07, 0.03, 0.3, 0.78))
        bars.set_position((0.45, 0.03, 0.24, 0.78))
        curves.set_position((0.755, 0.17, 0.235, 0.64))
        mine = counts["this"]
        viz.draw_owners(
            owners,
            [config.group(layer) for layer in range(depth)],
            numbers["cores"],
            numbers["centre"],
            config.adapter_rank,
            title=f"{_short(mine['central'] / groups)} a centre, {_short(mine['auxiliary'] / depth)} auxiliary a layer",
        )
        names = {"BERT": "BERT", "ALBERT": "ALBERT", "this": "MPOBERT"}
        viz.draw_parts(
            bars,
            {names[name]: {part: count / 1e6 for part, count in found.items()} for name, found in counts.items()},
            title="#To, in millions",
        )
        lines = {names[name]: [value / 1e6 for value in found] for name, found in numbers["curves"].items()}
        viz.draw_curves(
            curves,
            numbers["depths"],
            lines,
            title="the same over depth",
            xlabel="layers L",
            ylabel="million numbers",
            mark=depth,
            marker=None,
            legend="upper right",
        )
        last = numbers["depths"][1]
        high = 1.6 * max(lines["MPOBERT"][1], min(BERT_BASE, total(counts["BERT"])) / 1e6)
        curves.set_xlim(0, last)
        curves.set_ylim(0, high)
        if BERT_BASE / 1e6 < 0.75 * high:
            curves.axhline(BERT_BASE / 1e6, color=viz.MUTED, linewidth=1.0, linestyle="--")
            curves.text(0.99 * last, BERT_BASE / 1e6, "BERT-base", ha="right", va="bottom", fontsize=8, color=viz.MUTED)
        viz.head(figure, self.heading_of(config))
        return figure

    def heading_of(self, config: MPOBertConfig) -> str:
        layers, groups = config.num_hidden_layers, config.num_central_groups
        adapters = f"adapters of rank {config.adapter_rank}" if config.adapter_rank else "no adapters"
        return (
            f"{layers} layer{'s' * (layers > 1)} in {groups} group{'s' * (groups > 1)}, hidden size "
            f"{config.hidden_size}, {adapters}"
        )

    def line(self, numbers: dict[str, Any]) -> str:
        config, counts = numbers["config"], numbers["counts"]
        sums = {name: total(found) for name, found in counts.items()}
        (first, last), (low, high) = numbers["depths"], zip(*numbers["curves"].values())
        steps = dict(zip(numbers["curves"], ((b - a) // (last - first) for a, b in zip(low, high))))
        parts = ", ".join(f"{part} {count:,}" for part, count in counts["this"].items() if count)
        return (
            f"{self.heading_of(config)}: MPOBERT {sums['this']:,} ({parts}); BERT "
            f"{sums['BERT']:,}, ALBERT {sums['ALBERT']:,}; one more layer adds {steps['this']:,}, to BERT "
            f"{steps['BERT']:,}, to ALBERT {steps['ALBERT']:,}"
        )


def _short(count: float) -> str:
    """Thousands or millions."""
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"
