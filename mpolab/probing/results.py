"""What probing gives: frozen values that are JSON, one `Score` for every task, layer and kind of probe."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, DataNotFoundError, unknown
from .classifiers import KINDS

FORMAT = "mpolab.probing/1"
CHOSEN = "chosen on dev"
PROBES = (CHOSEN, *KINDS)
"""Which probe a number is of: one kind, or for each layer the kind that is better on dev (of equals the linear one)."""

QUANTITIES = ("accuracy", "selectivity", "control", "memorised", "above majority")


@dataclass(frozen=True)
class Score:
    """One probe on the states of one layer; shares of rows (0..1).

    kind: of classifiers.KINDS. strength: of its regularisation, chosen on dev. train, dev, accuracy: rows of train, of
    dev and of test that it gets right. control: on test, of a probe of the same kind and strength trained on random
    labels; memorised: of those random labels on the training rows themselves.
    """

    layer: int
    kind: str
    strength: float
    train: float
    dev: float
    accuracy: float
    control: float
    memorised: float

    @property
    def selectivity(self) -> float:
        """Accuracy less that of the control task (Hewitt & Liang 2019)."""
        return self.accuracy - self.control


@dataclass(frozen=True)
class TaskResult:
    """One task: what it is, its rows, and the scores of every layer.

    name: of the task, with where it comes from ("probing-tense" is the offline grammar's); group: "surface",
    "syntactic" or "semantic"; level: whether its rows are sentences, words or edges. labels: its classes. rows, sha256:
    of each split as probed. majority: accuracy on test of always naming the most frequent class of train.
    origin, notes: as in `TaskData`. seconds: of fitting its probes.
    """

    name: str
    group: str
    level: str
    labels: tuple[str, ...]
    rows: dict[str, int]
    sha256: dict[str, str]
    majority: float
    scores: tuple[Score, ...]
    origin: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def layers(self) -> int:
        """Rows of the heatmap: the embeddings' output and every layer."""
        return max(score.layer for score in self.scores) + 1

    def score(self, layer: int, probe: str = CHOSEN) -> Score:
        """Of one layer. Raises UnknownNameError for a probe that is none of PROBES or was not made."""
        found = [score for score in self.scores if score.layer == layer and probe in (CHOSEN, score.kind)]
        if not found:
            raise unknown("layer and kind of probe", f"{layer} {probe}", [f"{s.layer} {s.kind}" for s in self.scores])
        return max(found, key=lambda score: (score.dev, -KINDS.index(score.kind)))

    def values(self, quantity: str = "accuracy", probe: str = CHOSEN) -> list[float]:
        """One of QUANTITIES by layer, from the embeddings up."""
        if quantity not in QUANTITIES:
            raise unknown("quantity", quantity, QUANTITIES)
        scores = [self.score(layer, probe) for layer in range(self.layers)]
        if quantity == "above majority":
            return [score.accuracy - self.majority for score in scores]
        return [getattr(score, quantity) for score in scores]

    def best(self, quantity: str = "accuracy", probe: str = CHOSEN) -> int:
        """The layer with the largest value; of equal ones the lowest."""
        values = self.values(quantity, probe)
        return values.index(max(values))


@dataclass(frozen=True, repr=False)
class ProbeResult:
    """One model probed. Everything in it is JSON.

    model: its name; about: one line on it. pooling: how a sentence or word was made of its tokens. sentences: how many
    went through the model, seconds: for how long; each task has its own. settings: of the probes.
    """

    model: str
    about: str
    pooling: str
    seed: int
    tasks: tuple[TaskResult, ...]
    sentences: int = 0
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        return self.tasks[0].layers

    def task(self, name: str) -> TaskResult:
        """Raises UnknownNameError with the nearest names."""
        found = next((task for task in self.tasks if task.name == name), None)
        if found is None:
            raise unknown("probed task", name, [task.name for task in self.tasks])
        return found

    def table(self, quantity: str = "accuracy", probe: str = CHOSEN) -> dict[str, list[float]]:
        """{task: values from the embeddings up}: the columns of MPOBERT's Fig. 4."""
        return {task.name: task.values(quantity, probe) for task in self.tasks}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return json.loads(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, allow_nan=False))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ProbeResult:
        """What `to_dict` gave; entries that a record adds beside it (command, device, ...) are passed over.

        Raises CheckpointError for anything else.
        """
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, expected {FORMAT!r}")
            tasks = tuple(
                TaskResult(
                    **{
                        **task,
                        "labels": tuple(task["labels"]),
                        "notes": tuple(task["notes"]),
                        "scores": tuple(Score(**score) for score in task["scores"]),
                    }
                )
                for task in content["tasks"]
            )
            own = {entry.name: content[entry.name] for entry in dataclasses.fields(cls)}
            if not tasks or not all(task.scores for task in tasks):
                raise ValueError("it has no scores")
            return cls(**{**own, "tasks": tasks})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"this is no result of mpolab.probing.probe ({reason}).") from error

    def __repr__(self) -> str:
        shown = "; ".join(f"{t.name} {max(t.values()):.1%} at layer {t.best()}" for t in self.tasks)
        return f"ProbeResult({self.model}, {self.pooling}, seed {self.seed}: {shown})"


def load_results(folder: str | os.PathLike) -> dict[str, ProbeResult]:
    """{model: its result} of the records in a folder, by file name. Raises DataNotFoundError where there is none."""
    folder = Path(folder)
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataNotFoundError(
            f"{str(folder)!r} has no record of probing; scripts/probe_models.py writes them, and mpolab.probing.probe "
            "gives the result of one model."
        )
    found = {}
    for file in files:
        try:
            result = ProbeResult.from_dict(json.loads(file.read_text("utf-8")))
        except (ValueError, CheckpointError) as error:
            raise CheckpointError(f"{str(file)!r} cannot be read: {error} Run its command again.") from error
        found[result.model] = result
    return found
