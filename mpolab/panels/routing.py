"""The routing panel: a text coloured by the experts that compute it, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import runs, viz
from ..errors import DataError, DataNotFoundError
from ..expert_views import RoutingTrace, trace_routing
from ..routing import NONE
from .base import STYLE, Panel, resize, slider

EXPERT, PROBABILITY = "expert", "router's probability"
TRACE = "routing_trace"  # where a record keeps one


class RoutingPanel(Panel):
    """Who computes which token (MPOE section 2.1), how even that is, and how sure the router. Notebook 04.

    source: a `RoutingTrace`, what its `to_dict` gave, or (model, tokenizer, text), which is traced at once, or
    (model, tokenizer, text, target); a dictionary of these to choose from; by default the committed records that have a
    trace. Left the text, each token in its expert's colour or as dark as the probability that the router gave that
    expert; right the load of all experts in this layer, and both entropies of all layers.
    """

    def look_at(self, source: object) -> None:
        if source is None:
            kept = [record for record in runs.records() if TRACE in record.extra]
            source = {f"{r.recipe}, {r.scale}, seed {r.seed}": r.extra[TRACE] for r in kept}
            if not source:
                raise DataNotFoundError(
                    "there is no recorded routing to show. Give a trace, mpolab.expert_views.trace_routing(model, "
                    "tokenizer, text), or these three."
                )
        if not isinstance(source, Mapping) or "paths" in source:
            source = {"this text": source}
        if not source:
            raise _expected(source)
        self.traces = {str(name): _trace(given) for name, given in source.items()}
        self._layers = {name: _layers(trace) for name, trace in self.traces.items()}

    def make_controls(self) -> dict[str, Any]:
        record = widgets.Dropdown(options=list(self.traces), description="text", style=STYLE)
        colour = widgets.ToggleButtons(options=[EXPERT, PROBABILITY], description="colour", style=STYLE)
        return {"record": record, "layer": slider("layer", 0, 1, 0), "colour": colour}

    def after_slow_change(self) -> None:
        layers = self._layers[self.value("record")]
        resize(self.controls["layer"], len(layers) - 1, self.value("layer"))
        known = all(part.probabilities is not None for part, _ in layers)
        options = (EXPERT, PROBABILITY) if known else (EXPERT,)
        if self.controls["colour"].options != options:
            self.controls["colour"].options = options

    def numbers(self) -> dict[str, Any]:
        part, number = self._layers[self.value("record")][self.value("layer")]
        known = None if part.probabilities is None else part.probabilities[number].tolist()
        experts = [[e for e in own if e != NONE] for own in part.experts[number].tolist()]
        if known is not None:  # the one that counts most comes first
            experts = [sorted(own, key=lambda e, p=p: (-p[e], e)) for own, p in zip(experts, known)]
        entropies = {"load": part.load_entropy.tolist()}
        if known is not None:
            entropies["router"] = part.router_entropy.tolist()
        return {
            "part": part,
            "number": number,
            "experts": experts,
            "weights": [p[own[0]] if own else math.nan for own, p in zip(experts, known or ())],
            "load": part.load[number].tolist(),
            "entropies": entropies,
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        part, number, count = numbers["part"], numbers["number"], numbers["part"].count
        figure, (text, load, entropies) = viz.figure(11.5, 4.4, [2.6, 1, 1])
        text.set_position((0.025, 0.03, 0.655, 0.82))
        load.set_position((0.725, 0.62, 0.265, 0.23))
        entropies.set_position((0.74, 0.12, 0.25, 0.31))
        several = "; strips: further experts of the token" * (max(map(len, numbers["experts"])) > 1)
        if self.value("colour") == EXPERT:
            viz.draw_routed_text(text, part.tokens, numbers["experts"], count, f"by expert{several}")
        else:
            title = f"by the probability that the router gave the expert (1/{count} to 1)"
            viz.draw_shaded_text(text, part.tokens, numbers["weights"], 1 / count, title, "probability")
        each = "assignments" if several else "tokens"
        viz.draw_load(load, numbers["load"], f"load: % of the {each} (dashed: even)")
        layers = range(len(part.paths))
        stack = part.layers[number].rpartition(" ")[0]
        viz.draw_curves(
            entropies,
            layers,
            numbers["entropies"],
            "entropies by layer",
            stack,
            "nats",
            mark=number,
            legend="upper left",
        )
        top = math.log(count)
        entropies.axhline(top, color=viz.MUTED, linewidth=1.0, linestyle="--")
        entropies.set_ylim(-0.04 * top, 1.5 * max(top, 0.1))
        where = {"ha": "right", "va": "bottom", "fontsize": 8, "color": viz.MUTED}
        entropies.text(layers[-1], 1.03 * top, f"ln {count}", **where)
        viz.head(figure, self.heading_of(numbers), 0.025)
        return figure

    def heading_of(self, numbers: dict[str, Any]) -> str:
        part = numbers["part"]
        return f"{part.layers[numbers['number']]}: {len(part.tokens)} tokens, {part.count} experts"

    def line(self, numbers: dict[str, Any]) -> str:
        part, number = numbers["part"], numbers["number"]
        shares = " ".join(f"{100 * share:.0f}" for share in numbers["load"])
        said = (
            f"entropy of the load {part.load_entropy[number]:.2f} of ln {part.count} = {math.log(part.count):.2f} nats"
        )
        if part.probabilities is not None:
            said += f", of the router {part.router_entropy[number]:.2f}"
        if part.dropped[number]:
            said += f", {part.dropped[number]:.0%} of the tokens without an expert"
        which = "" if self.value("colour") == EXPERT else _sure(numbers["weights"])
        return f"{self.value('record')}, {self.heading_of(numbers)}, load {shares} %; {said}{which}"


def _sure(weights: list[float]) -> str:
    known = [weight for weight in weights if not math.isnan(weight)]
    return f"; probability of the token's expert {min(known):.2f} to {max(known):.2f}" if known else ""


def _layers(trace: RoutingTrace) -> list[tuple[RoutingTrace, int]]:
    """(the stack's trace, number in it) of every layer, the decoder's after the encoder's."""
    parts = [trace] if trace.decoder is None else [trace, trace.decoder]
    return [(part, number) for part in parts for number in range(len(part.paths))]


def _trace(given: object) -> RoutingTrace:
    if isinstance(given, RoutingTrace):
        return given
    if isinstance(given, Mapping):
        return RoutingTrace.from_dict(given)
    if isinstance(given, tuple | list) and len(given) in (3, 4):
        return trace_routing(*given)
    raise _expected(given)


def _expected(given: object) -> DataError:
    what = "an empty dictionary" if given == {} else type(given).__name__
    return DataError(
        f"expected the trace of a routing, (model, tokenizer, text) or a dictionary of such, got {what}; "
        "mpolab.expert_views.trace_routing makes one."
    )
