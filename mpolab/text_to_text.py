"""GLUE as T5 reads it: rows become a source and a target text, and generated texts become labels again, or count wrong.

The texts are those of T5 (Raffel et al., 2020, appendix D; its released preprocessors): the task's name, then each
field with its name before it, in the alphabetical order of the names, so that **MNLI's hypothesis comes before its
premise**:

    sst2 sentence: it 's a charming journey .                      -> positive
    mnli hypothesis: It rains. premise: The street is wet.         -> neutral
    stsb sentence1: A man sings. sentence2: A man is singing.      -> 4.8

A score of STS-B is rounded to the nearest fifth and written with one decimal (section 2.4), halves to the even fifth.
Hyperformer (Mahabadi et al., 2021), whose setting MPOE follows in multi-task learning, writes labels as numbers ("0",
"1") and MNLI's premise first; MPOE does not say which it took. A pre-trained T5 has seen T5's.

The splits are MPOE's (section 4.1, after Zhang et al., 2021): the test labels of GLUE are not public, so for the tasks
with fewer than 10,000 training rows half of the dev set chooses and the other half is reported.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import torch

from . import metrics
from .errors import DataError, DataNotFoundError, unknown
from .sampling import content, sample_reported, sample_train
from .tasks import Task, TaskData, task_named

FIELDS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "CoLA": ("cola", (("sentence", "text"),)),
    "SST-2": ("sst2", (("sentence", "text"),)),
    "MRPC": ("mrpc", (("sentence1", "text"), ("sentence2", "text_pair"))),
    "STS-B": ("stsb", (("sentence1", "text"), ("sentence2", "text_pair"))),
    "QQP": ("qqp", (("question1", "text"), ("question2", "text_pair"))),
    "MNLI": ("mnli", (("hypothesis", "text_pair"), ("premise", "text"))),
    "QNLI": ("qnli", (("question", "text"), ("sentence", "text_pair"))),
    "RTE": ("rte", (("sentence1", "text"), ("sentence2", "text_pair"))),
    "WNLI": ("wnli", (("sentence1", "text"), ("sentence2", "text_pair"))),
    "diagnostic": ("mnli", (("hypothesis", "text_pair"), ("premise", "text"))),
}
"""Each task's name in its source text and its fields: (name in the text, key of the row). The diagnostic set is read as
MNLI. T5 trained on WNLI only in the form of WSC, and MPOE leaves WNLI out; here it is written like the others."""

SMALL = ("RTE", "MRPC", "STS-B", "CoLA")
"""The tasks that MPOE names as having fewer than 10,000 samples."""

SELECT_OF_LARGE = 1000
"""Training rows that choose in the other tasks. MPOE does not say; Zhang et al. and Hyperformer set 1,000 aside."""

TOP = 5.0
_SCORE = re.compile(r"[0-9](\.[0-9]+)?")


# --------------------------------------------------------------------------------------------------- rows into texts


def source_text(task: str | Task, row: Mapping, words: int | None = None) -> str:
    """What the model reads of a row; words: at most so many of each field, the first ones (None: all).

    Raises UnknownNameError for a task that is not of GLUE, DataError for a row that lacks a field.
    """
    task = task_named(task)
    prefix, fields = _fields(task)
    try:
        texts = [(name, row[key]) for name, key in fields]
    except KeyError as missing:
        raise DataError(f"a row of {task.name} lacks {missing}; it has {', '.join(map(repr, row))}.") from None
    if words is not None:
        texts = [(name, " ".join(text.split()[:words])) for name, text in texts]
    return " ".join([prefix, *(f"{name}: {text}" for name, text in texts)])


def target_text(task: str | Task, row: Mapping) -> str:
    """What the model is to write: the label's name, or STS-B's score to the nearest fifth ("3.8").

    Raises DataError for a row without a label, a class that the task does not have, a score outside 0..5.
    """
    task = task_named(task)
    _fields(task)
    if "label" not in row:
        raise DataError(f"a row of {task.name} has no label, so no target (a test set whose labels are not public).")
    label = row["label"]
    if task.kind == "regression":
        if not 0 <= label <= TOP:
            raise DataError(f"{task.name}: the score {label!r} is outside 0 .. {TOP:g}.")
        return f"{round(float(label) * 5) / 5:.1f}"
    if label not in range(len(task.labels)):
        named = ", ".join(f"{number} {name}" for number, name in enumerate(task.labels))
        raise DataError(f"{task.name}: label {label!r}, expected a class number: {named}.")
    return task.labels[int(label)]


def label_words(task: str | Task) -> tuple[str, ...]:
    """Every text that is an answer: the classes in the order of their numbers, or the 26 scores of STS-B.

    Raises UnknownNameError for a task that is not of GLUE: nothing says in which words a model is to answer it.
    """
    task = task_named(task)
    _fields(task)
    return tuple(f"{k / 5:.1f}" for k in range(26)) if task.kind == "regression" else task.labels


def text_pairs(task: str | Task, rows: Sequence[Mapping]) -> list[tuple[str, str]]:
    """(source, target) of each row."""
    task = task_named(task)
    return [(source_text(task, row), target_text(task, row)) for row in rows]


def _fields(task: Task) -> tuple[str, tuple[tuple[str, str], ...]]:
    if task.base not in FIELDS:
        raise unknown("text-to-text task", task.name, FIELDS)
    return FIELDS[task.base]


# --------------------------------------------------------------------------------------------------- texts into scores


def read_label(task: str | Task, text: str) -> int | float | None:
    """The class number, or STS-B's score, that a generated text says; None where it says none.

    White space around it is taken off, and nothing else is forgiven, as in T5: a label in capitals, with a full stop or
    with more words is none. A score is a plain decimal number between 0 and 5.
    """
    task = task_named(task)
    _fields(task)
    if not isinstance(text, str):
        raise DataError(f"{task.name}: a generated answer is {text!r}, expected a text (decode token numbers first).")
    text = text.strip()
    if task.kind == "regression":
        return float(text) if _SCORE.fullmatch(text) and float(text) <= TOP else None
    return task.labels.index(text) if text in task.labels else None


def score_texts(task: str | Task, texts: Sequence[str], rows: Sequence[Mapping]) -> dict[str, float]:
    """`metrics.glue` of generated texts against the labels of their rows, and "unparsable": how many said no label.

    Such a text is wrong: it counts as a class other than its row's (as in T5's F1; so it costs in accuracy, F1 and
    Matthews alike), for STS-B as the end of the scale that is farther from its row's score (T5 takes -1 for all). STS-B
    is compared with the true scores, not with rounded ones.

    Raises DataError for rows without labels, and as `metrics.glue` does.
    """
    task = task_named(task)
    if len(texts) != len(rows):
        raise DataError(f"{task.name}: {len(texts):,} texts for {len(rows):,} rows; one per row is needed.")
    if any("label" not in row for row in rows):
        raise DataError(f"{task.name}: rows without labels cannot be scored.")
    labels = [row["label"] for row in rows]
    said = [read_label(task, text) for text in texts]
    taken = [_wrong(task, label) if found is None else found for found, label in zip(said, labels)]
    return metrics.glue(task, taken, labels) | {"unparsable": said.count(None)}


def _wrong(task: Task, label: float) -> float:
    if task.kind == "regression":
        return 0.0 if label > TOP / 2 else TOP
    return (int(label) + 1) % len(task.labels)


# ------------------------------------------------------------------------------------------------------------- splits


def half_of_dev(data: TaskData, seed: int = 0) -> TaskData:
    """The data with its dev set in two halves: "select" chooses, "dev" is reported (MPOE's validation and test sets).

    Drawn with `seed`, each half in the order of the dev set, an odd row to the reported one. Rows of equal content are
    not torn apart, so the halves share no content; where they come in twos and more, the chosen half may be smaller.
    The training set stays as it is but for rows that repeat one of dev, which are dropped and counted in `notes` (the
    paper does not say that it did). Test sets are left out.

    Raises DataNotFoundError without a dev set, DataError for one of fewer than two rows and where there is a "select"
    split already.
    """
    rows = data.splits.get("dev")
    if rows is None:
        raise DataNotFoundError(f"{data.name} has no split 'dev' to divide; there is {', '.join(data.splits)}.")
    if "select" in data.splits:
        raise DataError(f"{data.name} has a split 'select' already, so its dev set stays whole: load the task anew.")
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(content(row), []).append(number)
    if len(groups) < 2:
        raise DataError(f"{data.name}: a dev set with {len(groups)} different rows has no two halves.")
    keys, chosen = list(groups), set()
    for k in torch.randperm(len(keys), generator=torch.Generator().manual_seed(seed)).tolist():
        if len(chosen) + len(groups[keys[k]]) <= len(rows) // 2:
            chosen.update(groups[keys[k]])
    splits = {
        "select": [row for number, row in enumerate(rows) if number in chosen],
        "dev": [row for number, row in enumerate(rows) if number not in chosen],
    }
    notes = [f"dev divided with seed {seed}: select {len(splits['select']):,}, dev {len(splits['dev']):,}"]
    if "train" in data.splits:
        train = [row for row in data.splits["train"] if content(row) not in groups]
        splits = {"train": train} | splits
        dropped = len(data.splits["train"]) - len(train)
        notes += [f"train rows that repeat a dev row, dropped: {dropped:,}"] if dropped else []
    return dataclasses.replace(data, splits=splits, notes=(*data.notes, *notes))


def paper_splits(
    data: TaskData, seed: int = 0, train: int | None = None, select: int | None = None, dev: int | None = None
) -> TaskData:
    """Splits "train", "select" and "dev" as MPOE has them: `half_of_dev` for a task of SMALL; for the others
    SELECT_OF_LARGE training rows choose and all of dev is reported (of MNLI the matched and the mismatched set).

    train, select, dev: numbers of rows, drawn with `seed`, in place of all of them (for a large task's select, of
    SELECT_OF_LARGE). Raises DataError where there are fewer.
    """
    if data.task.base not in SMALL:
        return data.sample(train, SELECT_OF_LARGE if select is None else select, dev, seed)
    whole = half_of_dev(data, seed)
    splits = {split: sample_reported(whole.splits[split], count, seed, split)
              for split, count in (("select", select), ("dev", dev))}  # fmt: skip
    if "train" in whole.splits:
        rows = whole.splits["train"]
        kept = rows if train is None else sample_train(rows, list(splits.values()), train, 0, seed)[0]
        splits = {"train": kept} | splits
    asked = {"train": train, "select": select, "dev": dev}
    drawn = ", ".join(f"{split}={count}" for split, count in asked.items() if count is not None)
    notes = (f"drawn of these with seed {seed}: {drawn}",) if drawn else ()
    return dataclasses.replace(whole, splits=splits, notes=(*whole.notes, *notes))
