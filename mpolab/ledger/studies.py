"""Claims about studies: measurements over seeds that are no recipes, kept as one file of results/ each."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from .. import depth
from ..errors import CheckpointError, LedgerError
from ..probing.trend import depths_by_seed, levels_by_seed, load_trends
from .compared import Found
from .row import SMALLER
from .statistics import difference

Values = tuple[Sequence[float], Sequence[float], Sequence[int], str]
"""Paired numbers of the first and of the second, the seeds, and the scale in words."""


@dataclass(frozen=True)
class Studied:
    """file: of results/. values: from that file to Values. command: what makes it; cost: of it, in words. direction,
    margin, about: as `Compared` has them. both: whether the means of the first and the second are told as well.
    """

    file: str
    values: Callable[[Path], Values]
    command: str
    cost: str
    direction: str
    about: str
    margin: float = 0.0
    both: bool = False

    def found(self, results: Path) -> Found | None:
        """None where the file is not there. Raises CheckpointError for one that is no whole study."""
        path = results / self.file
        if not path.is_file():
            return None
        first, second, seeds, scale = self.values(path)
        return Found(
            difference(first, second),
            scale,
            tuple(sorted(set(seeds))),
            (f"results/{self.file}",),
            means=(mean(first), mean(second)),
        )

    def said(self, scale: str, recipes: Sequence[str] = ()) -> str:
        """As `Compared.said`; a study is of one scale, and of all that it is about."""
        return self.about

    def verdict(self, found: Found) -> str:
        return f"{SMALLER}: {found.difference.outcome(self.direction, self.margin)}"

    def ours(self, found: Found) -> str:
        wanted = f" (alike would be within {self.margin:g})" if self.margin else ""
        means = " ({:.4f} and {:.4f})".format(*found.means) if self.both else ""
        return f"{self.about}: {found.difference}{means}, {found.difference.pairs} pairs{wanted}"


def exponents(n: int, first: str, second: str, optimiser: str, part: str = "together") -> Callable[[Path], Values]:
    """p of ||dF|| ~ L^p, seed by seed, of two initialisations of an encoder (all layers)."""

    def values(path: Path) -> Values:
        study = depth.load(path)
        seeds = study.settings["seeds"]
        found = []
        for init in (first, second):
            curve = study.curve("encoder", n, init, "all layers", optimiser)
            sizes = curve.updates[part]  # (depths, seeds)
            found.append([depth.fit(curve.depths, [[row[k]] for row in sizes]).value for k in range(len(seeds))])
        hidden, layers = study.settings["hidden"], study.curves[0].depths
        return *found, seeds, f"hidden size {hidden}, {layers[0]} to {layers[-1]} layers"

    return values


LOW_RANK_FORMAT = "mpolab.low_rank/1"


def low_rank(path: Path) -> dict[str, Any]:
    """The study that scripts/low_rank_study.py wrote. Raises CheckpointError for a file that is no whole one."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != LOW_RANK_FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        for row in content["rows"]:
            row["seed"], row["ratio"], row["method"], row["n"], row["error"]
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path.name!r} is no whole study of low-rank methods ({' '.join(str(error).split())[:200]}); run "
            "scripts/low_rank_study.py again."
        ) from error


def errors_of(first: tuple[str, int], second: tuple[str, int]) -> Callable[[Path], Values]:
    """Relative errors of two (method, n), seed by seed, each the mean over ratios."""

    def values(path: Path) -> Values:
        content = low_rank(path)
        found = []
        for method, n in (first, second):
            mine = {(row["seed"], row["ratio"]): row["error"] for row in content["rows"]
                    if (row["method"], row["n"]) == (method, n)}  # fmt: skip
            found.append(mine)
        if found[0].keys() != found[1].keys() or not found[0]:
            raise LedgerError(f"{path.name!r} has {first} and {second} at other ratios or seeds: they make no pairs.")
        seeds, ratios = (sorted({key[k] for key in found[0]}) for k in (0, 1))
        means = [[sum(mine[seed, ratio] for ratio in ratios) / len(ratios) for seed in seeds] for mine in found]
        return *means, seeds, content["scale"]

    return values


def errors_apart(method: str, *numbers: int) -> Callable[[Path], Values]:
    """How far the errors of a method with so many cores lie apart, largest - smallest, and 0; the mean over ratios."""

    def values(path: Path) -> Values:
        content = low_rank(path)
        found: dict[tuple[int, float], dict[int, float]] = {}
        for row in content["rows"]:
            if row["method"] == method and row["n"] in numbers:
                found.setdefault((row["seed"], row["ratio"]), {})[row["n"]] = row["error"]
        if not found or any(set(errors) != set(numbers) for errors in found.values()):
            raise LedgerError(f"{path.name!r} has not {method} with {', '.join(map(str, numbers))} cores everywhere.")
        seeds = sorted({seed for seed, _ in found})
        apart = [
            mean(max(errors.values()) - min(errors.values()) for (seed, _), errors in found.items() if seed == wanted)
            for wanted in seeds
        ]
        return apart, [0.0] * len(seeds), seeds, content["scale"]

    return values


def _of_checkpoints(content: Mapping[str, Any]) -> str:
    """The scale without the number of rows, which a remedy may change."""
    return content["scale"].partition(";")[0]


def levels_of(model: str, depth: str = "centre") -> Callable[[Path], Values]:
    """The mean depth at which a model's semantic tasks are read best, and that of its syntactic ones, seed by seed.

    depth: as `levels_by_seed` has it.
    """

    def values(path: Path) -> Values:
        content = load_trends(path)
        syntax, meaning = zip(*levels_by_seed(content, model, depth))
        return meaning, syntax, content["seeds"], _of_checkpoints(content)

    return values


def trends_of(first: str, second: str, depth: str = "centre") -> Callable[[Path], Values]:
    """How far meaning stands above syntax in each of two models, seed by seed. depth: as `levels_by_seed` has it."""

    def values(path: Path) -> Values:
        content = load_trends(path)
        found = [[high - low for low, high in levels_by_seed(content, model, depth)] for model in (first, second)]
        return *found, content["seeds"], _of_checkpoints(content)

    return values


MIDDLE = 0.5
"""The depth of a layer halfway between the first and the last."""


def depths_of(task: str, first: str, second: str | float = MIDDLE, depth: str = "centre") -> Callable[[Path], Values]:
    """Where in a model a task is read best, seed by seed, and where in another one, or a fixed depth. depth: as
    `levels_by_seed` has it.
    """

    def values(path: Path) -> Values:
        content = load_trends(path)
        mine = depths_by_seed(content, first, task, depth)
        other = depths_by_seed(content, second, task, depth) if isinstance(second, str) else [second] * len(mine)
        return mine, other, content["seeds"], _of_checkpoints(content)

    return values


WEIGHTS_FORMAT = "mpolab.weights/1"
EVERY_LAYER = "all"
"""In place of the number of the layer that was cut."""

_ROWS = {
    "plans": (("plan", "ratio"), ("error",)),
    "growth": (("level", "cut"), ("errors",)),
    "centres": (("kind", "measure", "rounds"), ("layer", "random")),
}
"""Case of scripts/weights_study.py, up to its hyphen -> what a row is about, and what was measured: numbers above 0, or
lists of them."""


def weights_file(case: str) -> str:
    """Of results/."""
    return f"weights_{case.replace('-', '_')}.json"


def weights(path: Path, case: str) -> dict[str, Any]:
    """One case of the study that scripts/weights_study.py wrote. Raises CheckpointError for a file that is not whole:
    every seed has its rows, about the same things as the others'.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if (content["format"], content["case"]) != (WEIGHTS_FORMAT, case):
            raise ValueError(f"its format is {content['format']!r}, of {content['case']!r}")
        content["scale"]
        about, measured = _ROWS[case.partition("-")[0]]
        found: dict[int, list] = {seed: [] for seed in content["seeds"]}
        for row in content["rows"]:
            numbers = [number for key in measured for number in (row[key] if key == "errors" else [row[key]])]
            if not all(0 < number < math.inf for number in numbers):
                raise ValueError(f"{numbers} are no numbers above 0")
            if "errors" in measured and len(numbers) < 2:
                raise ValueError(f"the errors {numbers} make no step")
            found[row["seed"]].append(([row[key] for key in about], len(numbers)))
        first, *others = found.values()
        if not first or any(other != first for other in others):
            raise ValueError("its seeds have not the same rows")
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path.name!r} is no whole study of weights ({' '.join(str(error).split())[:200]}); run "
            f"scripts/weights_study.py {case} again."
        ) from error


def _by_seed(
    case: str, wanted: dict[str, Any], number: Callable[[list[dict[str, Any]]], tuple[float, float]]
) -> Callable[[Path], Values]:
    """wanted: key -> what a row has there, one of several. number: of a seed's rows -> (first, second)."""

    def values(path: Path) -> Values:
        content = weights(path, case)
        rows = [row for row in content["rows"] if all(row[key] in among for key, among in wanted.items())]
        for key, among in wanted.items():
            missing = [each for each in among if each not in {row[key] for row in rows}]
            if missing:
                raise LedgerError(f"{path.name!r} has no {key} {missing[0]!r}: it makes no pairs.")
        found = [number([row for row in rows if row["seed"] == seed]) for seed in content["seeds"]]
        return *zip(*found), content["seeds"], content["scale"]

    return values


def spread_of(ratio: float, *plans: str, case: str = "plans") -> Callable[[Path], Values]:
    """How far the errors of plans lie apart, (largest - smallest) / mean, and 0. plans: by default all of the study."""

    def number(rows: list[dict[str, Any]]) -> tuple[float, float]:
        errors = [row["error"] for row in rows]
        return (max(errors) - min(errors)) / mean(errors), 0.0

    return _by_seed(case, {"ratio": [ratio]} | ({"plan": plans} if plans else {}), number)


def growth_of(level: str, *cut: int | str, case: str = "growth") -> Callable[[Path], Values]:
    """By how much an error grows a layer, and 1: the geometric mean of all steps behind the layer that was cut.

    cut: the layers, one at a time; EVERY_LAYER = all at once, and the steps behind the first.
    """

    def number(rows: list[dict[str, Any]]) -> tuple[float, float]:
        steps = []
        for row in rows:
            steps += [math.log(after / before) for before, after in itertools.pairwise(row["errors"])]
        return math.exp(mean(steps)), 1.0

    return _by_seed(case, {"level": [level], "cut": cut}, number)


def pace_of(level: str, case: str = "growth") -> Callable[[Path], Values]:
    """By how much an error grows a layer in the first half of the steps, and in the last half, with all layers cut:
    geometric means; of an odd number of steps the middle one counts for neither.
    """

    def number(rows: list[dict[str, Any]]) -> tuple[float, float]:
        ((*errors,),) = [row["errors"] for row in rows]
        steps = [math.log(after / before) for before, after in itertools.pairwise(errors)]
        half = len(steps) // 2
        return math.exp(mean(steps[:half])), math.exp(mean(steps[-half:]))

    return _by_seed(case, {"level": [level], "cut": [EVERY_LAYER]}, number)


def centres_of(measure: str, rounds: int) -> Callable[[Path], Values]:
    """A measure of a neighbouring layer's centre, and of a random one, each the mean over kinds of matrices."""

    def number(rows: list[dict[str, Any]]) -> tuple[float, float]:
        return mean(row["layer"] for row in rows), mean(row["random"] for row in rows)

    return _by_seed("centres", {"measure": [measure], "rounds": [rounds]}, number)


ACCELERATIONS_FILE, ACCELERATIONS_FORMAT = "accelerations.json", "mpolab.accelerations/1"
BASELINE, BOTH, TOGETHER = "baseline", "bf16 and fused GELU", "all together"
"""Of the ways to make a step that benchmarks/acceleration_study.py measures."""

MASK_FILE = "mask_speed.json"


def masked_with(probability: float) -> str:
    """Of the ways to make a step that benchmarks/mask_study.py measures; BASELINE is without a mask."""
    return f"p_b = {probability:g}"


COMPUTED = "p_b = 0.5, computed and discarded"
"""Another one: what a tensor's gradient costs is spent, and its update is left out."""


def accelerations(path: Path) -> dict[str, Any]:
    """A study of ways to make a step, by benchmarks/acceleration_study.py or mask_study.py.

    Raises CheckpointError for a file that is no whole one: every seed has every way, and every way as many rounds.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != ACCELERATIONS_FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        content["scale"]
        found: dict[int, dict[str, int]] = {seed: {} for seed in content["seeds"]}
        for row in content["rows"]:
            if not all(0 < seconds < math.inf for seconds in row["seconds"]):
                raise ValueError(f"{row['seconds']} are no seconds")
            if row["way"] in found[row["seed"]]:
                raise ValueError(f"seed {row['seed']} has {row['way']!r} twice")
            found[row["seed"]][row["way"]] = len(row["seconds"])
        first, *others = found.values()
        if len(set(first.values())) != 1 or 0 in first.values() or any(other != first for other in others):
            raise ValueError("its seeds have not the same ways and rounds")
        return content
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path.name!r} is no whole study of accelerations ({' '.join(str(error).split())[:200]}); run "
            f"benchmarks/{'mask' if path.name == MASK_FILE else 'acceleration'}_study.py again."
        ) from error


def times_as_fast(way: str) -> Callable[[Path], Values]:
    """How many times as fast a step is that way as the baseline's, and 1: the median over rounds."""

    def values(path: Path) -> Values:
        content = accelerations(path)
        seconds = {(row["seed"], row["way"]): row["seconds"] for row in content["rows"]}
        found = []
        for seed in content["seeds"]:
            try:
                pairs = zip(seconds[seed, BASELINE], seconds[seed, way])
            except KeyError as error:
                raise LedgerError(f"{path.name!r} has no way {error.args[0][1]!r}: it makes no pairs.") from error
            found.append(median(without / with_it for without, with_it in pairs))
        return found, [1.0] * len(found), content["seeds"], content["scale"]

    return values
