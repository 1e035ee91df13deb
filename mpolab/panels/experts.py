"""The expert panel: how far the experts of a layer have moved apart, and what the gradient mask changes about that."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from .. import runs, viz
from ..errors import DataError, DataNotFoundError
from ..routing_watch import History
from ..runs import Record
from .base import STYLE, Panel, resize, slider

ROUTING = "routing"  # where a record keeps `RoutingWatch.snapshots`
MASK = "mask_probability"  # how recipes name p_b
ALONGSIDE = ("entropy of the load", "entropy of the router", "largest load")

Runs = dict[float, dict[int, History]]  # p_b -> seed -> what was seen


class ExpertsPanel(Panel):
    """Pairwise distances of experts beside their growth over training, for every probability p_b of the gradient mask.

    source: {p_b: [for each seed the snapshots of its run (`RoutingWatch.snapshots`)]}; or run records that have them as
    extra["routing"]; by default the committed ones, to choose from those that differ in p_b and seed only. A dictionary
    of names to any of these is chosen from, too. Left one seed's distances at one step (MPOE section 3.3), in the
    middle their mean for all p_b, on the right how the tokens are spread; bands are from the least to the largest seed.
    """

    def look_at(self, source: object) -> None:
        if source is None:
            kept = [record for record in runs.records() if ROUTING in record.extra and mask_of(record) is not None]
            source = _studies(kept)
            if not source:
                raise DataNotFoundError(
                    "there is no record of how experts drift apart. Give {p_b: [snapshots of each seed]}, which "
                    "mpolab.routing_watch.RoutingWatch takes, or run a recipe that trains experts: mpolab run --list."
                )
        if isinstance(source, Record):
            source = [source]
        named = isinstance(source, Mapping) and source and all(isinstance(name, str) for name in source)
        self.studies = {name: _runs(given) for name, given in (source if named else {"these runs": source}).items()}

    def make_controls(self) -> dict[str, Any]:
        record = widgets.Dropdown(options=list(self.studies), description="runs", style=STYLE)
        study = self.studies[record.value]

        def choice(name: str, options: Iterable[Any], last: bool = False) -> widgets.SelectionSlider:
            options = list(options)
            value = options[-1 if last else 0]
            return widgets.SelectionSlider(options=options, value=value, description=name, style=STYLE)

        return {
            "record": record,
            "p_b": choice("p_b", study),
            "step": choice("step", _steps(study), last=True),
            "layer": slider("layer", 0, 1, 0),
            "seed": widgets.Dropdown(options=_seeds(study), description="seed of the distances", style=STYLE),
            "beside": widgets.Dropdown(options=ALONGSIDE, description="beside", style=STYLE),
        }

    @property
    def study(self) -> Runs:
        return self.studies[self.value("record")]

    def after_slow_change(self) -> None:
        study = self.study
        for name, options, first in (
            ("p_b", list(study), 0),
            ("step", _steps(study), -1),
            ("seed", _seeds(study), 0),
        ):
            control = self.controls[name]
            if list(control.options) != options:
                before = control.value
                control.options = options
                control.value = before if before in options else options[first]
        first = next(iter(next(iter(study.values())).values()))
        resize(self.controls["layer"], len(first.names) - 1, self.value("layer"))
        self._tops = [
            max(float(h.distances[:, layer].nan_to_num(0.0).max()) for own in study.values() for h in own.values())
            for layer in range(len(first.names))
        ]

    def numbers(self) -> dict[str, Any]:
        study, layer = self.study, self.value("layer")
        distances, beside, level = {}, {}, None
        for p_b, own in study.items():
            steps = _common(own)
            rows = [[h.steps.index(step) for step in steps] for h in own.values()]
            apart = [h.mean_distance[at, layer].tolist() for h, at in zip(own.values(), rows)]
            other = [_alongside(h, self.value("beside"))[at, layer].tolist() for h, at in zip(own.values(), rows)]
            distances[_name(p_b)] = (steps, list(zip(*apart)))
            beside[_name(p_b)] = (steps, list(zip(*other)))
        chosen = study[self.value("p_b")]
        seed = self.value("seed") if self.value("seed") in chosen else next(iter(chosen))
        history = chosen[seed]
        # a run that stopped earlier is shown as it was at its end
        at = max((k for k, step in enumerate(history.steps) if step <= self.value("step")), default=0)
        count = history.load.shape[-1]
        if self.value("beside") == ALONGSIDE[2]:
            level = (1 / count, "even")
        else:
            level = (math.log(count), f"ln {count}")
        return {
            "distances": distances, "beside": beside, "level": level, "history": history, "seed": seed, "at": at,
            "count": count,
        }  # fmt: skip

    def draw(self, numbers: dict[str, Any]) -> Figure:
        history, at, layer = numbers["history"], numbers["at"], self.value("layer")
        figure, (heat, apart, beside) = viz.figure(11.5, 4.1, [1, 1.15, 1.15])
        heat.set_position((0.055, 0.14, 0.27, 0.68))
        apart.set_position((0.4, 0.14, 0.255, 0.68))
        beside.set_position((0.73, 0.14, 0.255, 0.68))
        title = f"distances, seed {numbers['seed']}, step {history.steps[at]}"
        viz.draw_distances(heat, history.distances[at, layer].tolist(), title, self._tops[layer])
        front, mark = _name(self.value("p_b")), self.value("step")
        viz.draw_runs(apart, numbers["distances"], "mean distance of experts", "‖ΔW‖ / ‖W‖", front, mark)
        shown = {name: run for name, run in numbers["beside"].items() if not any(map(_unknown, run[1]))}
        unit = "share" if self.value("beside") == ALONGSIDE[2] else "nats"
        viz.draw_runs(beside, shown, self.value("beside"), unit, front, mark, numbers["level"])
        viz.head(figure, self.heading_of(numbers), 0.055)
        return figure

    def heading_of(self, numbers: dict[str, Any]) -> str:
        own = len(self.study[self.value("p_b")])
        return (
            f"{numbers['history'].names[self.value('layer')]}, {numbers['count']} experts, p_b = "
            f"{self.value('p_b'):g}, step {self.value('step')} ({own} seed{'s' * (own > 1)})"
        )

    def line(self, numbers: dict[str, Any]) -> str:
        def at_step(table: dict[str, tuple], name: str) -> str:
            steps, rows = table[name]
            row = rows[max((k for k, step in enumerate(steps) if step <= self.value("step")), default=0)]
            if _unknown(row):
                return "none"
            mean = f"{sum(row) / len(row):.3g}"
            return mean if len(row) == 1 else f"{mean} ({min(row):.3g} to {max(row):.3g})"

        chosen = _name(self.value("p_b"))
        others = ", ".join(f"{n} {at_step(numbers['distances'], n)}" for n in numbers["distances"] if n != chosen)
        return (
            f"{self.value('record')}, {self.heading_of(numbers)}: mean distance "
            f"{at_step(numbers['distances'], chosen)}, {self.value('beside')} {at_step(numbers['beside'], chosen)}; "
            f"distances of the others: {others or 'none'}"
        )


def _alongside(history: History, name: str) -> Any:
    """(S, L)"""
    if name == ALONGSIDE[2]:
        return history.load.max(-1).values
    return history.load_entropy if name == ALONGSIDE[0] else history.router_entropy


def _unknown(row: Sequence[float]) -> bool:
    return any(map(math.isnan, row))


def _name(p_b: float) -> str:
    return f"p_b = {p_b:g}"


def _seeds(study: Runs) -> list[int]:
    return sorted({seed for own in study.values() for seed in own})


def _steps(study: Runs) -> list[int]:
    return sorted({step for own in study.values() for step in _common(own)})


def _common(own: Mapping[int, History]) -> list[int]:
    """The steps at which all seeds were looked at."""
    return sorted(set.intersection(*(set(history.steps) for history in own.values())))


# -- from what was given ---------------------------------------------------------------------------------


def mask_of(record: Record) -> float | None:
    """p_b of a record: in its extra, or anywhere in its recipe's fields; None where it is not told."""

    def search(fields: Mapping[str, Any]) -> Any:
        found = fields.get(MASK)
        inner = (search(value) for value in fields.values() if isinstance(value, Mapping))
        return found if found is not None else next((value for value in inner if value is not None), None)

    return search({MASK: record.extra.get(MASK), "fields": record.fields})


def _studies(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records that differ in p_b and seed only, together, by what their names have in common and their scale."""

    def without(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: without(inner) for key, inner in value.items() if key != MASK}

    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(json.dumps([record.scale, without(record.fields)], sort_keys=True), []).append(record)
    found: dict[str, list[Record]] = {}
    for own in groups.values():
        recipes = list(dict.fromkeys(record.recipe for record in own))
        same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*recipes))
        stem = "".join(letters[0] for letters in same).rstrip("-_.") if len(recipes) > 1 else ""
        name = f"{stem or recipes[0]}, {own[0].scale}"
        found[name if name not in found else f"{name} ({len(found) + 1})"] = own
    return found


def _runs(source: object) -> Runs:
    """p_b rising; raises DataError for what cannot be compared."""
    if isinstance(source, Mapping) and source:
        if not all(isinstance(p_b, Real) and not isinstance(p_b, bool) and 0 <= p_b <= 1 for p_b in source):
            raise _expected(source)
        if not all(isinstance(own, Sequence) and own and not isinstance(own, str) for own in source.values()):
            raise _expected(source)
        study = {
            float(p_b): {seed: History.of(snapshots) for seed, snapshots in enumerate(source[p_b])}
            for p_b in sorted(source)
        }
    elif isinstance(source, Sequence) and source and all(isinstance(record, Record) for record in source):
        study = {}
        for record in source:
            p_b, seen = mask_of(record), record.extra.get(ROUTING)
            if seen is None or p_b is None:
                lacks = f"extra[{ROUTING!r}], the snapshots" if seen is None else f"{MASK} in its fields or its extra"
                raise DataError(f"the record of {record.recipe!r} (seed {record.seed}) has no {lacks}.")
            if record.seed in study.setdefault(float(p_b), {}):
                raise DataError(
                    f"two records have p_b = {p_b:g} and seed {record.seed}; give those of one experiment at one scale."
                )
            study[float(p_b)][record.seed] = History.of(seen)
        study = {p_b: dict(sorted(study[p_b].items())) for p_b in sorted(study)}
    else:
        raise _expected(source)
    shapes = {(history.names, history.load.shape[-1]) for own in study.values() for history in own.values()}
    if len(shapes) > 1:
        told = " and ".join(sorted(f"{len(names)} layers of {count} experts" for names, count in shapes))
        raise DataError(f"the runs are of different models ({told}); give those of one.")
    for p_b, own in study.items():
        if not _common(own):
            raise DataError(f"the runs with p_b = {p_b:g} have no step in common; take snapshots at the same steps.")
    return study


def _expected(given: object) -> DataError:
    what = f"keys {', '.join(map(repr, list(given)[:4]))}" if isinstance(given, Mapping) and given else "nothing of it"
    return DataError(
        "expected {p_b: [the snapshots of each seed]}, p_b from 0 to 1, or run records, got a "
        f"{type(given).__name__} ({what}); mpolab.routing_watch.RoutingWatch takes snapshots."
    )
