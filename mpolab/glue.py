"""Rows of sentence tasks (GLUE's nine, its diagnostic set, SNLI, IMDB) from files in the layout of their releases.

Tab-separated, a header with the column names (CoLA's train and dev files have none), **no quoting**: quotation marks
are text, so a reader that honours them joins rows (the trap of pandas' defaults on MRPC and QNLI). Columns are found by
name; the names of plain two-column tables (`text_a`, `text_b`, `label`) are understood for every task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import DataError
from .folders import BadRows, decode, lines_of, read_bytes, sha256
from .tasks import Task


@dataclass(frozen=True)
class Layout:
    """How a task's files name their columns; several names where releases differ.

    headerless: the columns of files without a header. digits: whether labels are written 0, 1 rather than as words.
    left_out: a label that marks rows without an answer, which the authors leave out (SNLI's "-").
    """

    text: tuple[str, ...]
    pair: tuple[str, ...] = ()
    label: tuple[str, ...] = ("label",)
    headerless: tuple[str, ...] = ()
    digits: bool = False
    left_out: str | None = None


_TWO = (("sentence1", "text_a"), ("sentence2", "text_b"))

LAYOUTS: dict[str, Layout] = {
    "CoLA": Layout(("sentence", "text"), headerless=("source", "label", "mark", "sentence"), digits=True),
    "SST-2": Layout(("sentence", "text"), digits=True),
    "MRPC": Layout(("#1 string", "text_a"), ("#2 string", "text_b"), ("quality", "label"), digits=True),
    "STS-B": Layout(*_TWO, ("score", "label")),
    "QQP": Layout(("question1", "text_a"), ("question2", "text_b"), ("is_duplicate", "label"), digits=True),
    "MNLI": Layout(*_TWO, ("gold_label", "label")),
    "QNLI": Layout(("question", "text_a"), ("sentence", "text_b")),
    "RTE": Layout(*_TWO),
    "WNLI": Layout(*_TWO, digits=True),
    "diagnostic": Layout(("sentence1", "premise", "text_a"), ("sentence2", "hypothesis", "text_b")),
    "SNLI": Layout(*_TWO, ("gold_label", "label"), left_out="-"),
    "IMDB": Layout(("text", "sentence"), digits=True),
}
"""One line per task. Labels written as words are those of `Task.labels`."""


def read_table(path: Path, task: Task, split: str, bad_rows: str = "error") -> tuple[list[dict], str, list[str]]:
    """Rows of one tab-separated file: (rows, sha256 of the unpacked bytes, notes).

    A row's id is its split and line number. Only test splits may be without labels. Raises DataError with file and line
    for rows with too many or too few columns, an empty text, an unknown label or a score outside 0..5 (all collected;
    `bad_rows="drop"` leaves them out with a note), and for a header without the columns or a file without rows.
    """
    data = read_bytes(path)
    lines = lines_of(decode(data, path))
    layout = LAYOUTS[task.base]
    if not lines:
        raise DataError(f"{path} is empty: expected rows of {task.name}.")
    names = lines[0].lower().split("\t")
    has_header = _position(names, layout.text) is not None
    if not has_header and layout.headerless and len(names) == len(layout.headerless):
        names = list(layout.headerless)
    elif not has_header:
        raise DataError(
            f"{path}, line 1: the header names the columns {', '.join(map(repr, names[:12]))}, and none is "
            f"{' or '.join(map(repr, layout.text))}, where {task.name} has its text. Is it the file of another task?"
        )
    text, pair, label = (_position(names, wanted) for wanted in (layout.text, layout.pair, layout.label))
    if layout.pair and pair is None:
        raise DataError(f"{path}, line 1: no column {' or '.join(map(repr, layout.pair))} for the second sentence.")
    if label is None and not split.startswith("test"):
        raise DataError(
            f"{path}, line 1: no column {' or '.join(map(repr, layout.label))}; only a test split may be unlabelled."
        )

    bad = BadRows(path, bad_rows)
    rows: list[dict] = []
    unanswered = 0
    for number, line in enumerate(lines[int(has_header) :], start=1 + int(has_header)):
        cells = line.split("\t")
        if len(cells) != len(names):
            bad.add(f"line {number}", f"{len(cells)} columns, expected {len(names)} ({', '.join(names[:6])} ...)")
            continue
        if label is not None and layout.left_out is not None and cells[label] == layout.left_out:
            unanswered += 1
            continue
        row: dict = {"id": f"{split}:{number}", "text": cells[text]}
        if pair is not None:
            row["text_pair"] = cells[pair]
        if not all(row[key].strip() for key in row):
            bad.add(f"line {number}", "an empty text")
            continue
        if label is not None:
            try:
                row["label"] = label_of(cells[label], task, layout.digits)
            except ValueError as problem:
                bad.add(f"line {number}", str(problem))
                continue
        rows.append(row)
    notes = bad.close(len(rows))
    if unanswered:
        notes.append(f"{path.name}: {unanswered:,} rows labelled {layout.left_out!r} (no agreement) left out, as usual")
    return rows, sha256(data), notes


def _position(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where the first of the wanted columns stands; None where there is none."""
    return next((names.index(name) for name in wanted if name in names), None)


def label_of(written: str, task: Task, digits: bool) -> int | float:
    """A label as it is written in a file -> its number (or, for a regression, the score). ValueError if it is none."""
    written = written.strip()
    if task.kind == "regression":
        try:
            score = float(written)
        except ValueError:
            score = math.nan
        if not 0.0 <= score <= 5.0:
            raise ValueError(f"score {written!r}, expected a number from 0 to 5")
        return score
    if written in task.labels:
        return task.labels.index(written)
    if digits and written in map(str, range(len(task.labels))):
        return int(written)
    expected = " or ".join([*map(repr, task.labels)] + ([f"0..{len(task.labels) - 1}"] if digits else []))
    raise ValueError(f"unknown label {written!r}, expected {expected}")


def read_reviews(folder: Path, task: Task, split: str) -> tuple[list[dict], str]:
    """IMDB as released: `pos/` and `neg/` with a review a file, named by its number and rating (`123_9.txt`).

    Returns (rows, sha256 over all names and texts); rows in the order of the numbers, negative ones first. Raises
    DataError for an empty review or folder.
    """
    rows, digest = [], b""
    for number, name in enumerate(("neg", "pos")):
        files = [path for path in (folder / name).iterdir() if path.name.endswith((".txt", ".txt.gz"))]
        if not files:
            raise DataError(f"{folder / name} has no reviews (.txt): the {split} split of {task.name} is short.")
        for path in sorted(files, key=lambda path: (len(path.name.split("_")[0]), path.name)):
            data = read_bytes(path)
            text = decode(data, path)
            if not text.strip():
                raise DataError(f"{path} is empty: expected a review.")
            rows.append({"id": f"{split}:{name}/{path.name.split('.')[0]}", "text": text, "label": number})
            digest += f"{rows[-1]['id']} {sha256(data)}\n".encode()
    return rows, sha256(digest)
