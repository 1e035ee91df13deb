"""Data sets of the Hugging Face hub, through the library `datasets`: its cache first, then, if it answers, the hub.

Nothing here waits for a network that is not there: with HF_HUB_OFFLINE set no request is made, and otherwise one
request of at most HUB_SECONDS decides whether there is a hub at all (the library itself retries for a minute).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import online
from .errors import DataError
from .online import HUB_SECONDS
from .tasks import Task


@dataclass(frozen=True)
class HubSet:
    """Where a set lives on the hub: repository, configuration, its names for our splits and for our columns."""

    repository: str
    config: str | None
    splits: Mapping[str, str]
    columns: Mapping[str, str]


_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
_MNLI = {
    "train": "train",
    "dev": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "test": "test_matched",
    "test_mismatched": "test_mismatched",
}


def _glue(config: str, text: str, pair: str | None = None, splits: Mapping[str, str] = _SPLITS) -> HubSet:
    columns = {"text": text} | ({"text_pair": pair} if pair else {})
    return HubSet("nyu-mll/glue", config, splits, columns)


HUB: dict[str, HubSet] = {
    "CoLA": _glue("cola", "sentence"),
    "SST-2": _glue("sst2", "sentence"),
    "MRPC": _glue("mrpc", "sentence1", "sentence2"),
    "STS-B": _glue("stsb", "sentence1", "sentence2"),
    "QQP": _glue("qqp", "question1", "question2"),
    "MNLI": _glue("mnli", "premise", "hypothesis", _MNLI),
    "QNLI": _glue("qnli", "question", "sentence"),
    "RTE": _glue("rte", "sentence1", "sentence2"),
    "WNLI": _glue("wnli", "sentence1", "sentence2"),
    "diagnostic": _glue("ax", "premise", "hypothesis", {"test": "test"}),
    "SNLI": HubSet("stanfordnlp/snli", "plain_text", _SPLITS, {"text": "premise", "text_pair": "hypothesis"}),
    "SQuAD": HubSet("rajpurkar/squad", "plain_text", {"train": "train", "dev": "validation"}, {}),
    "IMDB": HubSet("stanfordnlp/imdb", "plain_text", {"train": "train", "dev": "test"}, {"text": "text"}),
}
"""One line per task."""

_TEXT = {"train": "train", "valid": "validation", "test": "test"}

HUB_TEXTS: dict[str, HubSet] = {
    "wikitext-2": HubSet("Salesforce/wikitext", "wikitext-2-v1", _TEXT, {"text": "text"}),
    "wikitext-2-raw": HubSet("Salesforce/wikitext", "wikitext-2-raw-v1", _TEXT, {"text": "text"}),
    "wikitext-103": HubSet("Salesforce/wikitext", "wikitext-103-v1", _TEXT, {"text": "text"}),
    "wikitext-103-raw": HubSet("Salesforce/wikitext", "wikitext-103-raw-v1", _TEXT, {"text": "text"}),
}
"""The corpora that the hub has under their owners' names; EMNLP2017 News is not among them."""


def fetch(where: HubSet) -> tuple[Any, str, str]:
    """(the library's DatasetDict or None, its origin, why there is none). Never raises for want of a network.

    The origin is "hub cache ..." or "hub ...", with the repository and its configuration.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        return None, "", "the library 'datasets' is not installed: pip install 'mpolab[train]'"
    label = where.repository + (f", {where.config}" if where.config else "")
    try:
        with _no_requests():
            return load_dataset(where.repository, where.config), f"hub cache {label}", ""
    except (OSError, ValueError):  # ConnectionError among them: that is how it says that it would have to ask the hub
        cache = "not in the cache"
    except Exception as error:  # whatever is broken in the cache may be whole on the hub
        cache = f"its copy in the cache cannot be read ({type(error).__name__})"
    reason = unreachable(where.repository)
    if reason:
        return None, "", f"{cache}; {reason}"
    try:  # no silence here: a download is slow and its bar is wanted
        return load_dataset(where.repository, where.config), f"hub {label}", ""
    except Exception as error:
        return None, "", f"the download of {label} failed: {type(error).__name__}: {error}".split("\n")[0]


@contextlib.contextmanager
def _no_requests() -> Iterator[None]:
    """`datasets` looks in its cache only, and does not warn that it did."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    logger = logging.getLogger("datasets")
    level = logger.level
    try:
        datasets.config.HF_HUB_OFFLINE = True
        logger.setLevel(logging.ERROR)
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        logger.setLevel(level)


def unreachable(repository: str) -> str:
    """Why the data set `repository` cannot be fetched now, in a few words; empty where it can."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    if online.switched_off():
        return "offline: HF_HUB_OFFLINE is set"
    seconds = online.patience(HUB_SECONDS)
    failure = online.problem(hf_hub_url(repository, "README.md", repo_type="dataset"), seconds)
    if failure is None or isinstance(failure, EntryNotFoundError):  # a repository without a README answers too
        return ""
    if isinstance(failure, GatedRepoError):
        return "that data set asks for an agreement and a token"
    if isinstance(failure, RepositoryNotFoundError):
        return "no public data set of that name there"
    return f"the hub is not reachable within {seconds:g} s: {type(failure).__name__}"


def hub_rows(
    task: Task, where: HubSet, found: Any, splits: list[str], origin: str
) -> tuple[dict[str, list[dict]], list[str]]:
    """(our rows of the library's columns by split, notes). Raises DataError for a missing split or column, labels in
    another order, or rows without a label outside the test sets (of SNLI, where annotators disagreed, they are left
    out with a note).
    """
    missing = [split for split in splits if where.splits[split] not in found]
    if missing:
        raise DataError(
            f"{origin} has the splits {', '.join(found)}; {task.name} needs {', '.join(missing)} "
            f"(there: {', '.join(where.splits[split] for split in missing)})."
        )
    rows, notes = {}, []
    for split in splits:
        got = _rows(task, where, found[where.splits[split]], split, origin)
        if task.kind != "span" and not split.startswith("test"):
            labelled = [row for row in got if "label" in row]
            without = len(got) - len(labelled)
            if without and task.base != "SNLI":
                raise DataError(f"{origin}: {without:,} rows of {split} are without a label; the set there changed.")
            if without:
                notes.append(f"{split}: {without:,} rows without a label (no agreement) left out, as usual")
            got = labelled
        if not got:
            raise DataError(f"{origin}: its split {where.splits[split]!r} has no rows.")
        rows[split] = got
    return rows, notes


def _rows(task: Task, where: HubSet, table: Any, split: str, origin: str) -> list[dict]:
    wanted = ["id", "question", "context", "answers"] if task.kind == "span" else [*where.columns.values(), "label"]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise DataError(
            f"{origin}, {where.splits[split]}: no column {', '.join(missing)}; there are "
            f"{', '.join(table.column_names)}. The set on the hub has changed."
        )
    if task.kind == "span":
        return [
            {
                "id": row["id"],
                "question": row["question"],
                "context": row["context"],
                "answers": {key: list(row["answers"][key]) for key in ("text", "answer_start")},
            }
            for row in table
        ]
    names = getattr(table.features["label"], "names", None)
    if names and task.labels and not _same_order(names, task.labels):
        raise DataError(f"{origin}: its labels are {names}, expected {list(task.labels)}: the set on the hub changed.")
    rows = []
    for number, row in enumerate(table):
        ours = {"id": f"{split}:{number}"} | {key: row[column] for key, column in where.columns.items()}
        if row["label"] >= 0:  # -1 marks an unlabelled row
            ours["label"] = (float if task.kind == "regression" else int)(row["label"])
        rows.append(ours)
    return rows


def _same_order(theirs: list[str], ours: tuple[str, ...]) -> bool:
    """Whether two lists of labels name the same classes: "neg" is negative, a bare number is its place."""
    pairs = list(zip(theirs, ours))
    return len(theirs) == len(ours) and all(
        name == str(place) or name == label or label.startswith(name) for place, (name, label) in enumerate(pairs)
    )
