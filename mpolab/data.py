"""Named tasks and corpora: `load_task("SST-2")`, `load_text("wikitext-2")`; from a folder, the hub, or offline.

Each name is looked for in one order (design: nothing falls back silently):

1. the folder that the caller names (`data_dir`), in the layout of the original release, plain or .gz;
2. the Hugging Face cache, then the hub;
3. offline: sets made by this package's own grammar (tasks), the documentation of the user's own Python (text).

A place that is named (`source=`, `data_dir=`) is the only one that is tried: what it lacks is an error. Only a caller
who names none gets whatever there is, and `.origin` then says which it was and why the others were passed over.
Offline sets have names of their own: `load_task("SST-2")` that ends offline is the task "toy-SST-2".

Nothing is read at import, nothing is written, no set is part of this package. Notebook 02 ("Lightweight fine-tuning")
loads its tasks here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .corpora import (
    CORPORA,
    SEPARATOR,
    TEXT_SPLITS,
    Corpus,
    corpus_named,
    find_plain,
    read_corpus,
    read_plain,
    recurring,
)
from .errors import DataError, DataNotFoundError, unknown
from .folders import BAD_ROWS
from .releases import from_folder
from .tasks import TASKS, Task, TaskData, TextData, short_notes, task_named
from .texts import OFFLINE_TEXTS

__all__ = ["TASKS", "Task", "TaskData", "TextData", "load_task", "load_text", "task_named"]

SOURCES = ("folder", "hub", "offline")

OFFLINE_TASKS = ("probing", "package-origin")
"""Tasks that exist offline only: parse features of the grammar's sentences ("probing", "probing-tense", ...), and which
installed package a sentence of documentation comes from."""


def load_task(
    name: str,
    source: str | None = None,
    data_dir: str | os.PathLike | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    splits: Sequence[str] | None = None,
    bad_rows: str = "error",
) -> TaskData:
    """The task called `name`: a key of TASKS, spelling free; a part of one ("MNLI-10k"); one of OFFLINE_TASKS.

    source: "folder", "hub", "offline", or None: the folder if data_dir is given, else the hub's cache, the hub, and at
    last the offline set; `.origin` says which and why.
    data_dir: a folder that holds the task's folder (`data_dir/SST-2`, `data_dir/glue/SST-2`), or that folder itself.
    A folder whose name is a variant's ("MNLI-10k") gives a task of that name.
    seed, sizes: of the offline set only, which has those splits of the task that `sizes` names (by default all: 1,000
    rows for train, 500 for each other).
    splits: those wanted. By default train and dev must be there (for the diagnostic set: test), others are read where
    they are. `splits=("dev",)` reads a folder that has no train file.
    bad_rows: "error", or "drop": rows that cannot be read are left out and counted in `.notes` (the QQP of the
    original release has some).

    Raises UnknownNameError, DataNotFoundError (a folder or file is missing: the message lists what is there; the hub
    was named and cannot be had) and DataError (a file is short, foreign, or has bad rows: with file and line).
    """
    if source is not None and source not in SOURCES:
        raise unknown("source", source, SOURCES)
    if name == "package-origin":
        _check_sizes(Task(name, "single"), sizes)
        return _package_origin(source, data_dir, seed, sizes, splits)
    task = task_named(name)
    _check_sizes(task, sizes)
    if bad_rows not in BAD_ROWS:
        raise unknown("way with bad rows", bad_rows, BAD_ROWS)
    made_here = task.name.startswith("toy-") or task.base.startswith("probing")
    if made_here:
        _only_offline(task.name, source, data_dir)
    elif data_dir is not None and source not in (None, "folder"):
        raise DataError(
            f"source={source!r} reads no folder, but data_dir={os.fspath(data_dir)!r} was given: leave one out."
        )
    for split in splits or ():
        if split not in task.splits and not (made_here or source == "offline"):
            raise unknown(f"split of {task.name}", split, task.splits)
    if source == "folder" and data_dir is None:
        raise DataError("source='folder' needs data_dir, the folder of the task or the one that holds it.")

    if data_dir is not None:
        return from_folder(task, data_dir, splits, bad_rows)
    if made_here or source == "offline":
        return _offline(task, seed, sizes, splits, "")
    found, reason = _from_hub(task, splits)
    if found is not None:
        return found
    if source == "hub":
        raise DataNotFoundError(
            f"{task.name} cannot be had from the hub: {reason}. Go online once, or give a folder with data_dir, or "
            "take the small offline set with source='offline'."
        )
    if task.is_variant:
        raise DataNotFoundError(
            f"{task.name} is a part of {task.base} that only a folder can hold: give data_dir. Or load {task.base!r}."
        )
    return _offline(task, seed, sizes, splits, f" (no source was named: no data_dir; hub: {reason})")


def _check_sizes(task: Task, sizes: Mapping[str, int] | None) -> None:
    """Raises for sizes that are no mapping and for splits that no task has; of the numbers the grammar says it."""
    if sizes is not None and not isinstance(sizes, Mapping):
        raise DataError(f"sizes={sizes!r}: the rows of each split were expected, e.g. {{'train': 1000, 'dev': 500}}.")
    for split in sizes or ():
        if split not in task.splits:
            raise unknown(f"split of {task.name} in sizes", split, task.splits)


def _from_hub(task: Task, splits: Sequence[str] | None) -> tuple[TaskData | None, str]:
    from .hub import HUB, fetch, hub_rows

    where = HUB.get(task.base)
    if task.is_variant or where is None:
        return None, f"no set called {task.name} there"
    found, origin, reason = fetch(where)
    if found is None:
        return None, reason
    wanted = list(splits or where.splits)
    rows, notes = hub_rows(task, where, found, wanted, origin)
    return TaskData(task, rows, origin, origin, notes=(*notes, *short_notes(task, rows))), ""


def _only_offline(name: str, source: str | None, data_dir: str | os.PathLike | None) -> None:
    if source not in (None, "offline") or data_dir is not None:
        place = f"data_dir={os.fspath(data_dir)!r}" if data_dir is not None else f"source={source!r}"
        hint = f" Or load {name[4:]!r} from there." if name.startswith("toy-") else ""
        raise DataError(f"{name!r} is made offline, and {place} was given: leave it out.{hint}")


def _offline(
    task: Task, seed: int, sizes: Mapping[str, int] | None, splits: Sequence[str] | None, reason: str
) -> TaskData:
    """The grammar's set. Of a task that has an original it is named "toy-..."."""
    from .grammar import offline_task

    rows = _only(offline_task(task.base, sizes, seed), splits, task.base)
    if task.base in TASKS:
        task = dataclasses.replace(task, name=f"toy-{task.base}")
    task = dataclasses.replace(task, splits=tuple(rows))
    return TaskData(task, rows, f"offline grammar, seed {seed}{reason}", "mpolab.grammar")


def _package_origin(
    source: str | None,
    data_dir: str | os.PathLike | None,
    seed: int,
    sizes: Mapping[str, int] | None,
    splits: Sequence[str] | None,
) -> TaskData:
    from .texts import package_origin

    _only_offline("package-origin", source, data_dir)
    rows, labels = package_origin(None if sizes is None else dict(sizes), seed=seed)
    rows = _only(rows, splits, "package-origin")
    task = Task("package-origin", "single", tuple(labels), splits=tuple(rows))
    return TaskData(task, rows, f"docstrings of the packages installed here, seed {seed}", "mpolab.texts")


def _only(rows: dict[str, list[dict]], splits: Sequence[str] | None, name: str) -> dict[str, list[dict]]:
    """The splits that are wanted of an offline set, or all."""
    missing = [split for split in splits or () if split not in rows]
    if missing:
        raise DataNotFoundError(
            f"the offline set of {name} was made with {', '.join(rows)}, without {', '.join(missing)}: give its "
            f"number of rows in sizes={{{missing[0]!r}: ...}}."
        )
    return {split: rows[split] for split in splits or rows}


# ------------------------------------------------------------------------------------------------------------ text


def load_text(
    name: str | os.PathLike,
    source: str | None = None,
    data_dir: str | os.PathLike | None = None,
    splits: Sequence[str] | None = None,
    seed: int = 0,
    separator: str = SEPARATOR,
    streamed: bool = False,
) -> TextData:
    """The corpus called `name`, for language modelling.

    name: "wikitext-2", "wikitext-2-raw", "wikitext-103", "emnlp2017-news", a part of one ("wikitext-103-head" from
    `wikitext-103.train-head.txt`; "emnlp2017-news-valid", that file alone, divided here), "imdb" (its reviews
    without labels), "stdlib", "packages"; or the path of a text file or of a folder of them; or, with data_dir, the
    name of one in there. A known name is never read as a path: write "./wikitext-2".
    source, data_dir: as in `load_task`. The last resort for a known corpus is "stdlib", under that name.
    splits: those wanted. A corpus of the table must have all three, plain text train and valid.
    seed: of the division of text that has no splits of its own. separator: the line that ends a document in plain text.
    streamed: plain text stays in its files, as `corpora.StreamedText`, and is read when it is needed; the corpora of
    the table, whose sizes are known, are kept in memory all the same.

    Raises UnknownNameError, DataNotFoundError and DataError as `load_task` does.
    """
    if source is not None and source not in SOURCES:
        raise unknown("source", source, SOURCES)
    if data_dir is not None and source not in (None, "folder"):
        raise DataError(f"source={source!r} reads no folder, but data_dir={os.fspath(data_dir)!r} was given.")
    for split in splits or ():
        if split not in TEXT_SPLITS:
            raise unknown("split of a text", split, TEXT_SPLITS)
    text = os.fspath(name)
    if not text.strip():
        raise unknown("corpus", text, [*CORPORA, "imdb", *OFFLINE_TEXTS])
    known = "" if isinstance(name, os.PathLike) else text.lower()
    if known in OFFLINE_TEXTS:
        if data_dir is not None or source not in (None, "offline"):
            raise DataError(f"{text!r} is read from this Python itself: leave out data_dir and source.")
        return _offline_text(known, splits, seed, "")
    corpus = corpus_named(text) if known else None
    if corpus is None and known != "imdb" and not known.startswith("imdb-"):
        return _plain_text(name, source, data_dir, splits, seed, separator, streamed)
    if source == "offline":
        return _offline_text("stdlib", splits, seed, f" (offline set for {text})")
    if corpus is None:
        return _reviews(text, source, data_dir, splits, seed)
    if data_dir is not None:
        return read_corpus(corpus, data_dir, splits, seed)
    if source == "folder":
        raise DataError("source='folder' needs data_dir, the folder of the corpus or the one that holds it.")
    found, reason = _text_from_hub(corpus, splits)
    if found is not None:
        return found
    if source == "hub" or corpus.base:
        raise DataNotFoundError(
            f"{corpus.name} cannot be had from the hub: {reason}. Give its folder with data_dir, or take 'stdlib', the "
            "documentation of this Python."
        )
    why = f" (instead of {corpus.name}: no source was named, no data_dir; {reason})"
    return _offline_text("stdlib", splits, seed, why)


def _text_from_hub(corpus: Corpus, splits: Sequence[str] | None) -> tuple[TextData | None, str]:
    from .hub import HUB_TEXTS, fetch

    where = HUB_TEXTS.get(corpus.name)
    if where is None:
        return None, f"{corpus.name} is not on the hub under its owners' name"
    found, origin, reason = fetch(where)
    if found is None:
        return None, f"hub: {reason}"
    texts = {}
    for split in splits or TEXT_SPLITS:
        if where.splits[split] not in found:
            raise DataError(f"{origin} has the splits {', '.join(found)}; expected {where.splits[split]!r}.")
        texts[split] = corpus.cut("".join(found[where.splits[split]][where.columns["text"]]))
        if not texts[split]:
            raise DataError(f"{origin}: its split {where.splits[split]!r} has no text.")
    return TextData(corpus.name, texts, origin, corpus.unit, origin, notes=recurring(texts)), ""


def _plain_text(
    name: str | os.PathLike,
    source: str | None,
    data_dir: str | os.PathLike | None,
    splits: Sequence[str] | None,
    seed: int,
    separator: str,
    streamed: bool,
) -> TextData:
    path = Path(name).expanduser()
    if data_dir is None and not path.exists() and not isinstance(name, os.PathLike) and len(path.parts) == 1:
        raise unknown("corpus (and no file or folder either)", name, [*CORPORA, "imdb", *OFFLINE_TEXTS])
    if source not in (None, "folder"):
        raise DataError(f"{os.fspath(name)!r} is no known corpus but a file or folder: source={source!r} has none.")
    found, files = find_plain(name, data_dir)
    return read_plain(found, files, splits, seed, separator, streamed)


def _reviews(
    name: str, source: str | None, data_dir: str | os.PathLike | None, splits: Sequence[str] | None, seed: int
) -> TextData:
    """IMDB's reviews as text: the labelled test set is "test", a tenth of train (at most 1,000 reviews) is "valid"."""
    data = load_task(name, source, data_dir)
    if data.task.name.startswith("toy-"):
        why = data.origin.partition("(")[2].rstrip(")")
        return _offline_text("stdlib", splits, seed, f" (instead of {name}: {why})")
    sampled = data.sample(seed=seed)
    rows = {"train": sampled.splits["train"], "valid": sampled.splits["select"], "test": sampled.splits["dev"]}
    texts = {split: [row["text"] for row in rows[split]] for split in splits or TEXT_SPLITS}
    files = {{"dev": "test"}.get(split, split): about for split, about in data.files.items()}
    return TextData(data.task.name.lower(), texts, data.origin, "document", data.place, files, sampled.notes)


def _offline_text(name: str, splits: Sequence[str] | None, seed: int, reason: str) -> TextData:
    from .texts import package_text, stdlib_text

    found = stdlib_text(seed) if name == "stdlib" else package_text(seed)
    texts = found.splits if splits is None else {split: found.splits[split] for split in splits}
    return dataclasses.replace(found, splits=texts, origin=found.origin + reason)
