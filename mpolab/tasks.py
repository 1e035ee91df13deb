"""Which tasks there are, and the objects that hold their rows: `Task`, `TASKS`, `TaskData` and, for text, `TextData`.

A `Task` says what a row is and how it is scored; it is one line of the table `TASKS`, so that a new task is one new
line. A `TaskData` holds the rows of its splits with the place they came from. Reading files is the business of
`mpolab.data`; this file reads nothing.

Rows are plain dictionaries:

    {"id": str, "text": str, "label": int}                                  one sentence (CoLA, SST-2, IMDB)
    {"id": str, "text": str, "text_pair": str, "label": int}                two sentences (MRPC, QQP, MNLI, ...)
    {"id": str, "text": str, "text_pair": str, "label": float}              a score between 0 and 5 (STS-B)
    {"id": str, "context": str, "question": str,
     "answers": {"text": [str, ...], "answer_start": [int, ...]}}           a span of the context (SQuAD)

A test set whose labels are not public has rows without "label". Labels are the numbers of `Task.labels`, in the order
of the Hugging Face hub (so that a classifier trained elsewhere has its outputs in this order).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .errors import DataNotFoundError, unknown
from .folders import plain
from .sampling import sample_reported, sample_train

KINDS = ("single", "pair", "regression", "span", "lm", "tokens")


@dataclass(frozen=True)
class Task:
    """What a row of this task is and how it is scored.

    name: as it stands in records. "MNLI-10k" (part of MNLI) and "toy-MNLI" (the offline grammar's) are names of their
    own; `base` is then "MNLI", whose table line they share.
    kind: one of KINDS. "regression" is a pair with a score; "tokens" has a label per word.
    pair: whether rows have "text_pair".
    labels: the classes in the order of their numbers; empty for regression and spans.
    metrics: all that are reported (names of `mpolab.metrics`); main_metric chooses checkpoints. It is the one of
    MPOP's Table 3; the averages of the three papers differ (`mpolab.metrics.AVERAGES`).
    splits: those of the original release.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    main_metric: str = "accuracy"
    splits: tuple[str, ...] = ("train", "dev", "test")
    pair: bool = False
    base: str = ""

    def __post_init__(self) -> None:
        if not self.base:
            object.__setattr__(self, "base", self.name)

    @property
    def num_labels(self) -> int:
        """Outputs of a classification head: the number of classes, 1 for a score, 2 (start, end) for a span."""
        return {"regression": 1, "span": 2}.get(self.kind, len(self.labels))

    @property
    def is_variant(self) -> bool:
        """Whether this is not the original set: a part of it, or the offline grammar's."""
        return self.name != self.base


_TWO_WAY = ("entailment", "not_entailment")
_THREE_WAY = ("entailment", "neutral", "contradiction")
_MNLI_SPLITS = ("train", "dev", "dev_mismatched", "test", "test_mismatched")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("CoLA", "single", ("unacceptable", "acceptable"), ("matthews", "accuracy"), "matthews"),
        Task("SST-2", "single", ("negative", "positive")),
        Task("MRPC", "pair", ("not_equivalent", "equivalent"), ("accuracy", "f1"), pair=True),
        Task("STS-B", "regression", (), ("spearman", "pearson"), "spearman", pair=True),
        Task("QQP", "pair", ("not_duplicate", "duplicate"), ("accuracy", "f1"), pair=True),
        Task("MNLI", "pair", _THREE_WAY, splits=_MNLI_SPLITS, pair=True),
        Task("QNLI", "pair", _TWO_WAY, pair=True),
        Task("RTE", "pair", _TWO_WAY, pair=True),
        Task("WNLI", "pair", ("not_entailment", "entailment"), pair=True),
        Task("diagnostic", "pair", _THREE_WAY, ("matthews", "accuracy"), "matthews", ("test",), pair=True),
        Task("SNLI", "pair", _THREE_WAY, pair=True),
        Task("SQuAD", "span", (), ("f1", "exact_match"), "f1", ("train", "dev")),
        Task("IMDB", "single", ("negative", "positive"), splits=("train", "dev")),
    )
}
"""Every task by its name. IMDB has no dev set: its labelled test set stands under "dev", which is what is reported."""

OFFICIAL_ROWS: dict[str, dict[str, int]] = {
    "CoLA": {"train": 8551, "dev": 1043, "test": 1063},
    "SST-2": {"train": 67349, "dev": 872, "test": 1821},
    "MRPC": {"train": 3668, "dev": 408, "test": 1725},
    "STS-B": {"train": 5749, "dev": 1500, "test": 1379},
    "QQP": {"train": 363846, "dev": 40430, "test": 390965},
    "MNLI": {"train": 392702, "dev": 9815, "dev_mismatched": 9832, "test": 9796, "test_mismatched": 9847},
    "QNLI": {"train": 104743, "dev": 5463, "test": 5463},
    "RTE": {"train": 2490, "dev": 277, "test": 3000},
    "WNLI": {"train": 635, "dev": 71, "test": 146},
    "diagnostic": {"test": 1104},
    "SNLI": {"train": 549367, "dev": 9842, "test": 9824},
    "SQuAD": {"train": 87599, "dev": 10570},
    "IMDB": {"train": 25000, "dev": 25000},
}
"""Rows of the original releases: a set with fewer is short, and `TaskData.describe()` says so."""


def short_notes(task: Task, rows: Mapping[str, list]) -> list[str]:
    """Notes on splits that have more or fewer rows than the original's, under the original's name."""
    official = {} if task.is_variant else OFFICIAL_ROWS.get(task.base, {})
    return [
        f"{split}: {len(found):,} rows, where the original release has {official[split]:,}"
        for split, found in rows.items()
        if split in official and len(found) != official[split]
    ]


def task_named(name: str | Task) -> Task:
    """The task called `name`; spelling of case and hyphens is free ("sst2" is SST-2).

    A part of a set has a name of its own made of the task's and a suffix, and shares its table line: "MNLI-10k",
    "toy-MNLI". The offline grammar's probing tasks ("probing-tense") are known too. Raises UnknownNameError with the
    nearest known names.
    """
    if isinstance(name, Task):
        return name
    text = str(name).strip()
    if text.lower() == "probing" or text.lower().startswith("probing-"):
        return _probing(text.lower())
    prefix, rest = ("toy-", text[4:]) if text.lower().startswith("toy-") else ("", text)
    by_name = {plain(known): task for known, task in TASKS.items()} | {"ax": TASKS["diagnostic"]}
    task, suffix = by_name.get(plain(rest)), ""
    if task is None:
        for cut in (found.start() for found in re.finditer("-", rest)):
            head, tail = rest[:cut], rest[cut:]
            if plain(head) in by_name and len(tail) > 1:
                task, suffix = by_name[plain(head)], tail
    if task is None:
        raise unknown("task", name, TASKS)
    return task if not prefix and not suffix else dataclasses.replace(task, name=prefix + task.name + suffix)


def _probing(name: str) -> Task:
    """The offline grammar's probing tasks: a property of a sentence (SentEval's ten), or all that it has at once."""
    from .grammar import PROBES

    if name == "probing":  # rows with "tree" and "features", from which `mpolab.grammar` makes the ten tasks
        return Task(name, "tokens")
    if name.removeprefix("probing-") not in PROBES:
        raise unknown("probing task", name, [f"probing-{probe}" for probe in PROBES])
    return Task(name, "single", tuple(PROBES[name.removeprefix("probing-")]))


# ------------------------------------------------------------------------------------------------------- task data


@dataclass(frozen=True, eq=False, repr=False)
class TaskData:
    """The rows of a task, by split, and where they came from.

    origin: one line without any path of this machine: the folder's name and its files, the hub's name and revision, or
    the offline grammar; and, where no source was named, why the earlier places did not serve.
    place: exactly what was read, for people at this machine; never in a record.
    files: {split: {"file": its name, "sha256": of its unpacked bytes}} where a file was read.
    notes: what a reader of the results must know (rows dropped and why, a split shorter than the original).
    """

    task: Task
    splits: dict[str, list[dict]]
    origin: str
    place: str = ""
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def rows(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self.splits.items()}

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Of each split's rows (texts and labels, in order; not the ids): the same for every way of reading them."""
        return {split: rows_sha256(rows) for split, rows in self.splits.items()}

    def describe(self) -> dict:
        """What a run record says of the data: JSON, the same on every machine."""
        return {
            "task": self.task.name,
            "base": self.task.base,
            "origin": self.origin,
            "rows": self.rows,
            "sha256": dict(self.sha256),
            "files": {split: dict(about) for split, about in self.files.items()},
            "notes": list(self.notes),
        }

    def sample(
        self, train: int | None = None, select: int | None = None, dev: int | None = None, seed: int = 0
    ) -> TaskData:
        """Splits "train", "select" (carved from train: early stopping, choosing checkpoints) and "dev" (reported).

        train, select, dev: numbers of rows. None is all of train that is left, a tenth of it for select (at most
        1,000), all of dev; select=0 sets none aside. MNLI's mismatched dev set is cut to `dev` rows as well; test sets
        are left out. Nested, seeded and disjoint by content: `mpolab.sampling` says how; what was dropped is in
        `notes`. Raises DataNotFoundError without a train or dev split, DataError where more is asked for than there is.
        """
        for split in ("train", "dev"):
            if split not in self.splits:
                raise DataNotFoundError(
                    f"{self.task.name} has no split {split!r} here (there are: {', '.join(self.splits)}), so nothing "
                    f"can be sampled. Add the file of that split to its folder ({self.origin})."
                )
        reported = {split: rows for split, rows in self.splits.items() if split.startswith("dev")}
        every = [rows for split, rows in self.splits.items() if split != "train"]
        trained, selected, counts = sample_train(self.splits["train"], every, train, select, seed)
        splits = {"train": trained} | ({"select": selected} if selected else {})
        splits |= {split: sample_reported(rows, dev, seed, split) for split, rows in reported.items()}
        asked = f"sampled with seed {seed}: train={train}, select={select}, dev={dev}"
        notes = [asked] + [f"{what}: {count:,}" for what, count in counts.items() if count]
        return dataclasses.replace(self, splits=splits, notes=(*self.notes, *notes))

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {count:,}" for split, count in self.rows.items())
        return f"TaskData({self.task.name}: {counts}; {self.origin})"


def rows_sha256(rows: Iterable[Mapping]) -> str:
    """Checksum of rows: their content as JSON, a line each, without the ids."""
    digest = hashlib.sha256()
    for row in rows:
        content = {key: value for key, value in row.items() if key != "id"}
        digest.update(json.dumps(content, sort_keys=True, ensure_ascii=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------- text data


@dataclass(frozen=True, eq=False, repr=False)
class TextData:
    """Running text for language modelling: {"train", "valid", "test"} -> documents or lines, in reading order.

    name: of the corpus, as it stands in records. origin, place, files and notes as in TaskData. unit: "document" or
    "line", what one string is.
    """

    name: str
    splits: dict[str, list[str]]
    origin: str
    unit: str = "document"
    place: str = ""
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def pieces(self) -> dict[str, int]:
        """Documents or lines by split."""
        return {split: len(texts) for split, texts in self.splits.items()}

    @cached_property
    def words(self) -> dict[str, int]:
        """Words (between white space) by split."""
        return {split: sum(len(text.split()) for text in texts) for split, texts in self.splits.items()}

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Of each split: its strings as JSON, a line each."""
        return {split: text_sha256(texts) for split, texts in self.splits.items()}

    def describe(self) -> dict:
        """What a run record says of the text: JSON, no text of it, no path."""
        return {
            "corpus": self.name,
            "origin": self.origin,
            "unit": self.unit,
            "pieces": self.pieces,
            "words": dict(self.words),
            "sha256": dict(self.sha256),
            "files": {split: dict(about) for split, about in self.files.items()},
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {count:,} words" for split, count in self.words.items())
        return f"TextData({self.name}: {counts}; {self.origin})"


def text_sha256(texts: Iterable[str]) -> str:
    """Checksum of a list of strings: as JSON, a line each."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(json.dumps(text, ensure_ascii=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()
