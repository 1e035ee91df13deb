"""`probe`: tasks x layers x kinds of probe for one model, each beside its control task.

The control task (Hewitt & Liang 2019) has the same rows and random labels, drawn from the label frequencies of train
and fixed for each *type*: for words and edges the (dependent's) word form, so that a probe which has learnt a word's
random label from train meets the word again in test. What it scores there is what it can do by remembering words.
The type of a sentence is the sentence. No sentence stands in two splits, so nothing that was remembered can be met
again: on sentences control accuracy is chance by construction, and selectivity is accuracy above chance. How much a
probe can remember shows on the training rows: `Score.memorised` beside `Score.train`.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from ..errors import DataError, TrainingError, UnknownNameError, unknown
from ..sampling import content
from ..tasks import TaskData
from . import classifiers
from .classifiers import KINDS, fit, standardise
from .results import ProbeResult, Score, TaskResult
from .states import MAX_LENGTH, Place, States
from .tasks import SPLITS, checked, load_probing, probe_named


def probe(
    model: nn.Module,
    tokenizer: Any,
    tasks: str | TaskData | Sequence[str | TaskData] | None = None,
    *,
    name: str = "",
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    pooling: str = "mean",
    kinds: Sequence[str] = KINDS,
    max_length: int = MAX_LENGTH,
    cache: str | os.PathLike | None = None,
    progress: bool = False,
) -> ProbeResult:
    """What the hidden states of every layer give away, by small probes on the frozen model. MPOBERT section 4, Fig. 4.

    model, tokenizer, pooling, max_length, cache: as `States` takes them; any model with hidden states, on any device.
    tasks: names of the ten (then the offline grammar's sets, of `sizes` and `seed`), or tasks of `load_probing`, or
    other `TaskData` with splits train, dev and test. None: the ten. name: of the model in the result; by default the
    name it was loaded by, or its class. kinds: of classifiers.KINDS.
    seed: also of the probes and of the control labels. The same call gives the same result on one machine.

    Every sentence goes through the model once, whatever number of tasks has it. On a GPU only that happens there.

    Raises UnknownNameError for a task, kind or pooling that does not exist (with the nearest names); DataError for a
    task that cannot be probed; TrainingError for a model without hidden states and for a tokenizer that does not serve.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of probe", kind, KINDS)
    if not kinds:
        raise TrainingError(f"kinds={kinds!r} asks for no probe; give one or both of {', '.join(KINDS)}.")
    found = [checked(task) for task in _resolved(tasks, sizes, seed)]
    repeated = [task for task, count in Counter(data.name for data in found).items() if count > 1]
    if repeated or not found:
        what = f"{repeated[0]!r} is given twice" if repeated else "tasks=[] names none"
        raise DataError(f"{what}: give different tasks, or None for the ten.")
    states = States(model, tokenizer, pooling, max_length, cache)
    for data in found:
        states.announce([place for split in SPLITS for row in data.splits[split] for place in _places(row)])
    results, reading = [], 0.0
    for data in _shown(found, progress):
        start = time.perf_counter()
        rows, features, notes = _features(data, states)
        reading += time.perf_counter() - start
        results.append(_probed(data, rows, features, notes, kinds, seed))
    return ProbeResult(
        name or _name(model),
        _about(model),
        pooling,
        seed,
        tuple(results),
        states.read,
        round(reading, 3),
        {
            "kinds": list(kinds),
            "strengths": {kind: list(classifiers.STRENGTHS[kind]) for kind in kinds},
            "hidden": classifiers.HIDDEN,
            "batch": classifiers.BATCH,
            "rate": classifiers.RATE,
            "steps": classifiers.STEPS,
            "epochs": classifiers.EPOCHS,
            "max_length": states.max_length,
            "sentences_that_fill_it": states.full,
        },
    )


# ------------------------------------------------------------------------------------------------ rows and features


def _resolved(
    tasks: str | TaskData | Sequence[str | TaskData] | None, sizes: Mapping[str, int] | None, seed: int
) -> list[TaskData]:
    """Names become the offline grammar's sets, all at once."""
    if tasks is None:
        return load_probing(sizes=sizes, seed=seed)
    tasks = [tasks] if isinstance(tasks, str | TaskData) else list(tasks)
    for task in tasks:
        if not isinstance(task, str | TaskData):
            raise DataError(f"{task!r} is no task: give names such as 'tense', or what load_probing returns.")
        if isinstance(task, str) and task.lower().startswith(("senteval-", "treebank-")):
            probe_named(task)
            source = task.partition("-")[0].lower()
            raise DataError(f"{task!r} is read from a folder: load_probing([...], source={source!r}, data_dir=...).")
    return [load_probing(task, sizes=sizes, seed=seed)[0] if isinstance(task, str) else task for task in tasks]


def _shown(found: list[TaskData], progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(found, desc="probing", unit="task", disable=not progress)


def _places(row: Mapping[str, Any]) -> list[Place]:
    """What a row's features are made of: the sentence, or the words at its spans."""
    return (
        [(row["text"], (int(span[0]), int(span[1]))) for span in row["spans"]]
        if "spans" in row
        else [(row["text"], None)]
    )


def _features(data: TaskData, states: States) -> tuple[dict[str, list[dict]], dict[str, torch.Tensor], list[str]]:
    """(rows by split, their states (rows, layers + 1, features), notes); of an edge the head's and the dependent's
    states side by side. Rows of words that have no state are left out.
    """
    places = [_places(row) for split in SPLITS for row in data.splits[split]]
    width = len(places[0])
    if {len(each) for each in places} != {width}:
        raise DataError(f"{data.name}: rows differ in their number of spans, so their states are of several widths.")
    found, there = states.take([place for each in places for place in each])
    sizes = [len(data.splits[split]) for split in SPLITS]
    found = found.unflatten(0, (-1, width)).transpose(1, 2).flatten(2).split(sizes)
    there = there.view(-1, width).all(1).split(sizes)
    rows = {split: [row for row, ok in zip(data.splits[split], kept) if ok] for split, kept in zip(SPLITS, there)}
    lost = sum(sizes) - sum(map(len, rows.values()))
    notes = [f"{lost:,} rows left out, whose words the tokenizer cuts off or drops"] if lost else []
    if not all(rows.values()):
        raise DataError(
            f"{data.name}: no word of a split has a state; all lie beyond the {states.max_length} tokens read."
        )
    return rows, {split: x[kept] for split, x, kept in zip(SPLITS, found, there)}, notes


# ------------------------------------------------------------------------------------------------------ one task


def _probed(
    data: TaskData,
    rows: Mapping[str, Sequence[dict]],
    states: Mapping[str, torch.Tensor],
    notes: Sequence[str],
    kinds: Sequence[str],
    seed: int,
) -> TaskResult:
    start = time.perf_counter()
    classes = len(data.task.labels)
    features = standardise(states)
    labels = {split: torch.tensor([row["label"] for row in of]) for split, of in rows.items()}
    random = control_labels(data.name, rows, classes, seed)
    scores = []
    for kind in kinds:
        real = fit(kind, features, labels, classes, seed)
        control = fit(kind, features, random, classes, seed, strengths=real.strengths)
        columns = (real.accuracy["train"], real.accuracy["dev"], real.accuracy["test"], control.accuracy["test"],
                   control.accuracy["train"])  # fmt: skip
        scores += [
            Score(layer, kind, strength, *(round(share, 5) for share in shares))
            for layer, (strength, *shares) in enumerate(zip(real.strengths, *columns))
        ]
    most = int(torch.bincount(labels["train"], minlength=classes).argmax())
    majority = float((labels["test"] == most).double().mean())
    try:
        about = probe_named(data.name)
        group, level = about.group, about.level
    except UnknownNameError:  # a task of the caller's own
        group, level = "other", ("sentence", "word", "edge")[min(len(rows["test"][0].get("spans", ())), 2)]
    return TaskResult(
        data.name,
        group,
        level,
        tuple(data.task.labels),
        {split: len(of) for split, of in rows.items()},
        dict(data.sha256),
        round(majority, 5),
        tuple(scores),
        data.origin,
        (*data.notes, *notes),
        round(time.perf_counter() - start, 3),
    )


def control_labels(task: str, rows: Mapping[str, Sequence[dict]], classes: int, seed: int) -> dict[str, torch.Tensor]:
    """{split: random labels (rows,)}: fixed for each type by a checksum, in the frequencies of train's true labels."""
    counts = Counter(row["label"] for row in rows["train"])
    up_to = list(accumulate(counts[label] / len(rows["train"]) for label in range(classes)))
    up_to[-1] = 1.0  # against rounding

    def draw(row: Mapping[str, Any]) -> int:
        kind = row["type"] if "type" in row else " ".join(content(row))
        digest = hashlib.blake2b(repr((seed, task, kind)).encode(), digest_size=7).digest()
        return bisect.bisect_right(up_to, int.from_bytes(digest, "big") / 2**56)

    return {split: torch.tensor([draw(row) for row in of]) for split, of in rows.items()}


# ----------------------------------------------------------------------------------------------------- one model


def _name(model: nn.Module) -> str:
    """The last part of the name that the model was loaded by; its class where it has none."""
    given = str(getattr(model, "name_or_path", "") or "").rstrip("/\\")
    return given.replace("\\", "/").split("/")[-1] or type(model).__name__


def _about(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    layers, hidden = (getattr(config, key, "?") for key in ("num_hidden_layers", "hidden_size"))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{type(model).__name__}, {layers} layers, hidden size {hidden}, {parameters:,} parameters"
