"""Several tasks as one set to train on: their rows together, and which task each step is of.

    p_i = n_i^(1/T) / sum_j n_j^(1/T)           n_i rows of task i, T the temperature

T = 1 draws tasks by their size, a large T all alike. MPOBERT (Liu et al. 2023) section 4.2, "Multitask Fine-tuning
Setting", does not say how it draws them; proportional draws are those of MT-DNN (Liu et al. 2019), and the temperature
is that of multilingual BERT and T5 (Raffel et al. 2020, section 3.5.2).

A step, with all of its micro-batches and in all processes, is of one task. Which one, and which of its rows, is a
function of (seed, epoch, step) alone, so that a run that was killed goes on with the rows of an unbroken one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import torch
from torch.utils.data import Sampler

from .data import Task, TaskData
from .errors import DataError, TrainingError
from .features import Batches, Rows, stream

KINDS = ("single", "pair", "regression")
"""Kinds of tasks that one encoder can have heads for at once."""

_ALL_OR_NONE = ("train", "select", "dev")
_DRAWS = -1  # the stream of (seed, epoch, -1) draws the tasks; those of rows are (seed, epoch) and (seed, epoch, row)


def check_tasks(tasks: Sequence[Task]) -> None:
    """Raises TrainingError for tasks that cannot be trained together: none, one twice, or one with spans or tokens."""
    if not tasks:
        raise TrainingError("no task was given; at least one is needed, e.g. 'SST-2'.")
    names = [task.name for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TrainingError(
            f"the task {twice!r} is there twice: {', '.join(names)}. Name each once; to draw small tasks more often "
            "than by their size raise the temperature."
        )
    for task in tasks:
        if task.kind not in KINDS:
            raise TrainingError(
                f"{task.name} is of kind {task.kind!r}, and the heads of several tasks read one vector for each text: "
                f"they can be of kind {', '.join(KINDS)}. Train {task.name} by itself (fine_tune)."
            )


def shares(sizes: Sequence[int], temperature: float = 1.0) -> list[float]:
    """The probability of each task, from its number of rows. Raises TrainingError for a temperature that is none."""
    if not isinstance(temperature, Real) or isinstance(temperature, bool) or not 0 < temperature < math.inf:
        raise TrainingError(
            f"temperature={temperature!r}: a number above 0 was expected: 1 draws tasks by size, 100 nearly alike."
        )
    most = max(sizes)
    weights = [(size / most) ** (1 / temperature) for size in sizes]
    return [weight / sum(weights) for weight in weights]


# ------------------------------------------------------------------------------------------------------------ data


@dataclass(frozen=True, eq=False, repr=False)
class TaskMixture:
    """The data of several tasks, to train one encoder on all of them.

    parts: a TaskData for each, with splits train, select and dev (`TaskData.sample`); a split stands in all of them or
    in none (MNLI's second dev set may stand alone). temperature: see the file.
    Raises what `check_tasks` and `shares` raise, and DataError for a split that only some have.
    """

    parts: tuple[TaskData, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        check_tasks(self.tasks)
        for split in _ALL_OR_NONE:
            without = [part.name for part in self.parts if not part.splits.get(split)]
            if without and len(without) < len(self.parts):
                raise DataError(
                    f"{', '.join(without)} has no split {split!r}, and {self.having(split)[0].name} has: a mean over "
                    f"tasks needs it of each. Draw it of all with TaskData.sample({split}=...), or of none."
                )
        shares([1], self.temperature)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(part.task for part in self.parts)

    @property
    def name(self) -> str:
        """ "SST-2, MRPC" """
        return ", ".join(part.name for part in self.parts)

    @property
    def origin(self) -> str:
        return "; ".join(dict.fromkeys(part.origin for part in self.parts))

    def having(self, split: str) -> list[TaskData]:
        """The tasks that have rows in that split."""
        return [part for part in self.parts if part.splits.get(split)]

    @cached_property
    def splits(self) -> dict[str, list[dict]]:
        """{split: the rows of all tasks, one task after the other}"""
        names = dict.fromkeys(split for part in self.parts for split in part.splits)
        return {split: [row for part in self.having(split) for row in part.splits[split]] for split in names}

    @property
    def shares(self) -> dict[str, float]:
        """{task: the probability that a step is of it}"""
        sizes = [len(part.splits.get("train", ())) for part in self.parts]
        return dict(zip((part.name for part in self.parts), shares(sizes, self.temperature)))

    def steps(self, batch_size: int, seed: int, steps: int) -> dict[str, int]:
        """{task: how many of the first `steps` steps of a run are of it}"""
        sizes = [len(part.splits["train"]) for part in self.parts]
        counts = MixedBatches(sizes, batch_size, 1, seed, self.temperature).counts(steps)
        return dict(zip((part.name for part in self.parts), counts))

    @property
    def rows(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self.splits.items()}

    @property
    def sha256(self) -> dict[str, str]:
        """Of each split: of the checksums of its tasks, with their names and in their order."""
        return {
            split: hashlib.sha256(
                json.dumps([[part.name, part.sha256[split]] for part in self.having(split)]).encode()
            ).hexdigest()
            for split in self.splits
        }

    def describe(self) -> dict[str, Any]:
        """As `TaskData.describe`, of all rows together; "tasks" has that of each task."""
        return {
            "task": self.name,
            "origin": self.origin,
            "rows": self.rows,
            "sha256": self.sha256,
            "temperature": self.temperature,
            "shares": self.shares,
            "tasks": {part.name: part.describe() for part in self.parts},
        }

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {count:,}" for split, count in self.rows.items())
        return f"TaskMixture({self.name}: {counts}; {self.origin})"


# ------------------------------------------------------------------------------------------------- tokenized, in steps


class MixedRows(Rows):
    """The tokenized rows of several tasks; "labels" is [number of the task, label], both as floats, if `numbered`; a
    text-to-text model is told the task by its source, so that labels stay as they are.

    parts: those of each task, None for one without this split. longest_first: for rows that are only scored, which may
    stand in any order; those of a training stay together by task. score: (outputs of all heads (rows, all outputs),
    labels (rows, 2)) -> {metric: value}.
    """

    def __init__(
        self,
        parts: Sequence[Rows | None],
        temperature: float,
        score: Callable[[Any, Any], dict[str, float]],
        longest_first: bool = False,
        numbered: bool = True,
    ):
        found = [
            {**feature, "labels": [float(number), float(feature["labels"])]} if numbered else feature
            for number, part in enumerate(parts)
            for feature in (part.features if part is not None else ())
        ]
        if longest_first:
            found.sort(key=lambda feature: -len(feature["input_ids"]))
        super().__init__(found, score)
        self.sizes, self.temperature = [0 if part is None else len(part) for part in parts], temperature

    def batches(self, size: int, parts: int, seed: int, processes: int = 1, process: int = 0) -> MixedBatches:
        return MixedBatches(self.sizes, size, parts, seed, self.temperature, processes, process)


class MixedBatches(Sampler):
    """The micro-batches of one process, as `features.Batches`: lists of (pass, number), each step of one task.

    sizes: rows of each task, which stand one after the other. size: rows of a micro-batch; parts: micro-batches of a
    step, all of one task. An epoch has as many steps as all tasks together have batches; each draws its task by
    `shares`. A task's batches come in the order of `Batches`, pass after pass, and go on where the epoch before
    stopped: with one task this is `Batches`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        size: int,
        parts: int,
        seed: int,
        temperature: float = 1.0,
        processes: int = 1,
        process: int = 0,
    ):
        self.parts, self.seed, self.epoch = parts, seed, 0
        self.shares = torch.tensor(shares(sizes, temperature), dtype=torch.float64)
        self.of = [Batches(rows, size * parts, seed, processes, process) for rows in sizes]
        self.first = [sum(sizes[:k]) for k in range(len(sizes))]
        self.steps = sum(map(len, self.of))

    def __len__(self) -> int:
        return self.steps * self.parts

    def draws(self, epoch: int) -> list[int]:
        """The number of the task of each step of an epoch."""
        generator = stream(self.seed, epoch, _DRAWS)
        return torch.multinomial(self.shares, self.steps, replacement=True, generator=generator).tolist()

    def counts(self, steps: int) -> list[int]:
        """How many of the first `steps` steps of a run are of each task."""
        found = [0] * len(self.of)
        for epoch in range(-(-steps // self.steps)):
            for task in self.draws(epoch)[: steps - epoch * self.steps]:
                found[task] += 1
        return found

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        done = self.counts(self.epoch * self.steps)
        under_way: dict[int, tuple[int, list[list[tuple[int, int]]]]] = {}  # task -> (pass, its batches)
        for task in self.draws(self.epoch):
            turn, place = divmod(done[task], len(self.of[task]))
            done[task] += 1
            if under_way.get(task, (-1,))[0] != turn:
                self.of[task].epoch = turn
                under_way[task] = turn, list(self.of[task])
            rows = [(turn, self.first[task] + number) for _, number in under_way[task][1][place]]
            share = -(-len(rows) // self.parts)
            for part in range(self.parts):  # of a short batch some may be empty: they repeat one row
                yield rows[part * share : (part + 1) * share] or rows[:1]
