"""Which probing tasks there are, and their rows from two of the three sources: SentEval's files and the grammar.

The ten sentence tasks are those of SentEval's probing suite (Conneau et al. 2018), in its three groups. MPOBERT's
Fig. 4 names five tasks 0 to 4 and cites edge probing (Tenney et al. 2019), but surface, syntactic and semantic tasks on
sentences are SentEval's. Two tasks on words and pairs of words stand beside them, which only a treebank has: part of
speech, and the relation of a word to its head.

Rows are those of `mpolab.tasks`: {"id", "text", "label"} of a sentence; of a word also "spans", a list of one (begin,
end) into the text, and "type", the word in lower case; of an edge "spans" are the head's and the dependent's, and
"type" is the dependent's. All splits are named train (fitting), dev (choosing) and test (reported), and no text stands
in two of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data import load_task
from ..errors import DataError, DataNotFoundError, unknown
from ..folders import BadRows, decode, find_file, folder_given, lines_of, listing, plain, read_bytes, sha256
from ..sampling import content
from ..tasks import Task, TaskData

SPLITS = ("train", "dev", "test")
GROUPS = ("surface", "syntactic", "semantic")
LEVELS = ("sentence", "word", "edge")
SOURCES = ("offline", "senteval", "treebank")
PREFIX = {"offline": "probing-", "senteval": "senteval-", "treebank": "treebank-"}
"""What a task's name begins with, by source: they are different tasks, and no result of one stands for another's."""

SIZES = {"train": 1200, "dev": 400, "test": 400}
"""Rows of a split at most, unless the caller says otherwise."""


@dataclass(frozen=True)
class Probe:
    """name: ours. group: one of GROUPS. official: its name in SentEval, and its file there. level: one of LEVELS."""

    name: str
    group: str
    official: str = ""
    file: str = ""
    level: str = "sentence"


PROBES: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe("sentence-length", "surface", "Length", "sentence_length"),
        Probe("word-content", "surface", "WordContent", "word_content"),
        Probe("tree-depth", "syntactic", "Depth", "tree_depth"),
        Probe("top-constituents", "syntactic", "TopConstituents", "top_constituents"),
        Probe("bigram-shift", "syntactic", "BigramShift", "bigram_shift"),
        Probe("tense", "semantic", "Tense", "past_present"),
        Probe("subject-number", "semantic", "SubjNumber", "subj_number"),
        Probe("object-number", "semantic", "ObjNumber", "obj_number"),
        Probe("odd-man-out", "semantic", "OddManOut", "odd_man_out"),
        Probe("coordination-inversion", "semantic", "CoordinationInversion", "coordination_inversion"),
        Probe("pos", "syntactic", level="word"),
        Probe("dependency", "syntactic", level="edge"),
    )
}
"""Every task, in the order of the heatmap."""

TEN = tuple(name for name, probe in PROBES.items() if probe.file)
"""SentEval's."""


def probe_named(name: str) -> Probe:
    """The task called `name`: ours, SentEval's or its file's, with or without the prefix of a source; spelling free.

    Raises UnknownNameError with the nearest names.
    """
    bare = next((name[len(p) :] for p in PREFIX.values() if name.lower().startswith(p)), name)
    for probe in PROBES.values():
        if plain(bare) in {plain(known) for known in (probe.name, probe.official, probe.file) if known}:
            return probe
    raise unknown("probing task", name, PROBES)


def load_probing(
    names: str | Sequence[str] | None = None,
    source: str = "offline",
    data_dir: str | os.PathLike | None = None,
    sizes: Mapping[str, int | None] | None = None,
    seed: int = 0,
) -> list[TaskData]:
    """Probing tasks by name; None: all that the source has.

    source: "offline", the sets of `mpolab.grammar` (the ten); "senteval", the official files in the folder `data_dir`
    (the ten); "treebank", built from the CoNLL-U files in the folder `data_dir` (`mpolab.probing.treebank` says which
    and how). sizes: {split: rows at most}, None for all there are; by default SIZES. seed: of the offline sets, and of
    what is drawn where there are more.

    Raises UnknownNameError for a task or source; DataNotFoundError for a folder or file that is not there; DataError
    for a file that cannot be read (with its line), and for a task that the source cannot have.
    """
    if source not in SOURCES:
        raise unknown("source of probing tasks", source, SOURCES)
    names = [names] if isinstance(names, str) else names
    probes = None if names is None else [probe_named(name) for name in names]
    for split in sizes or ():
        if split not in SPLITS:
            raise unknown("split of a probing task", split, SPLITS)
    sizes = {**SIZES, **(sizes or {})}
    if source == "treebank":
        from .treebank import from_treebank

        return from_treebank(probes, _folder(source, data_dir), sizes, seed)
    for probe in probes or ():
        if not probe.file:
            raise DataError(
                f"{probe.name!r} is a task on {probe.level}s, which only a treebank has: give source='treebank' and "
                "data_dir, a folder with CoNLL-U files."
            )
    probes = probes or [PROBES[name] for name in TEN]
    if source == "senteval":
        folder = _folder(source, data_dir)
        return [from_senteval(probe, folder, sizes, seed) for probe in probes]
    if data_dir is not None:
        raise DataError(f"source='offline' reads no folder, but data_dir={os.fspath(data_dir)!r} was given.")
    if None in sizes.values():
        raise DataError("the offline sets have as many rows as are asked for: give a number for every split in sizes.")
    return [load_task(f"probing-{probe.name}", sizes=sizes, seed=seed) for probe in probes]


def _folder(source: str, data_dir: str | os.PathLike | None) -> Path:
    if data_dir is None:
        raise DataError(f"source={source!r} needs data_dir, the folder with its files.")
    return folder_given(data_dir)


# ------------------------------------------------------------------------------------------------------ SentEval

PARTITIONS = {"tr": "train", "va": "dev", "te": "test"}


def from_senteval(probe: Probe, folder: Path, sizes: Mapping[str, int | None], seed: int) -> TaskData:
    """One of the ten from its official file: on each line partition, TAB, label, TAB, text. The file may be gzipped."""
    places = [folder / below for below in ("", "probing", "data/probing") if (folder / below).is_dir()]
    path = next(filter(None, (find_file(place, (probe.file,), (".txt",)) for place in places)), None)
    if path is None:
        raise DataNotFoundError(
            f"{str(folder)!r} has no {probe.file}.txt (or .txt.gz), the file of SentEval's {probe.official}; it holds "
            f"{listing(folder)}."
        )
    data = read_bytes(path)
    rows: dict[str, list[dict]] = {split: [] for split in SPLITS}
    bad = BadRows(path)
    for number, line in enumerate(lines_of(decode(data, path)), start=1):
        fields = line.split("\t")
        if len(fields) != 3:
            bad.add(f"line {number}", f"{len(fields)} fields between tabs, expected 3 (partition, label, text)")
        elif fields[0] not in PARTITIONS:
            bad.add(f"line {number}", f"partition {fields[0]!r}, expected one of {', '.join(PARTITIONS)}")
        elif not fields[1].strip() or not fields[2].strip():
            bad.add(f"line {number}", f"no {'label' if not fields[1].strip() else 'text'}")
        else:
            split = PARTITIONS[fields[0]]
            row = {"id": f"{probe.file}-{number}", "text": fields[2].strip(), "label": fields[1].strip()}
            rows[split].append(row)
    notes = bad.close(sum(map(len, rows.values())))
    labels = {row["label"] for row in rows["train"]}
    order = sorted(labels, key=int) if all(label.isdecimal() for label in labels) else sorted(labels)
    origin = f"folder {folder.resolve().name}: {path.name}"
    files = {"all": {"file": path.name, "sha256": sha256(data)}}
    task = Task(PREFIX["senteval"] + probe.name, "single", tuple(order), splits=SPLITS)
    return made(TaskData(task, rows, origin, str(path), files, tuple(notes)), sizes, seed)


# ------------------------------------------------------------------------------------------------- what all share


def made(draft: TaskData, sizes: Mapping[str, int | None], seed: int) -> TaskData:
    """The task of a draft whose rows have their labels as text: numbered, `checked` and cut to `sizes`."""
    numbers = {label: k for k, label in enumerate(draft.task.labels)}
    splits = {}
    for split, rows in draft.splits.items():
        strange = next((row for row in rows if row["label"] not in numbers), None)
        if strange is not None:
            raise DataError(
                f"{draft.name}: row {strange['id']!r} of {split} has the label {strange['label']!r}, which no row of "
                f"train has; it has {', '.join(draft.task.labels[:20]) or 'none'}."
            )
        splits[split] = [{**row, "label": numbers[row["label"]]} for row in rows]
    data = checked(replace(draft, splits=splits))
    return replace(data, splits={split: _some(rows, sizes[split], seed) for split, rows in data.splits.items()})


def _some(rows: list[dict], most: int | None, seed: int) -> list[dict]:
    """At most so many rows, drawn at random."""
    if most is None or len(rows) <= most:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return [rows[k] for k in sorted(order[:most].tolist())]


def checked(data: TaskData) -> TaskData:
    """The task with splits train, dev and test that share no text; what was dropped is in its notes.

    A text of test is left out of dev and train, one of dev out of train. Raises DataError for a task that cannot be
    probed: a split or the labels are missing, or there is one class only.
    """
    if not data.task.labels:
        raise DataError(f"{data.name} has no labels: `Task.labels` names the classes that rows' labels are numbers of.")
    for split in SPLITS:
        if not data.splits.get(split):
            there = ", ".join(f"{name} {count:,}" for name, count in data.rows.items())
            raise DataError(
                f"{data.name} has no rows in its split {split!r} (there are: {there or 'none'}): a probe is fitted on "
                "train, chosen on dev and reported on test."
            )
    for split in SPLITS:
        for row in data.splits[split]:
            if "text" not in row or "text_pair" in row:
                raise DataError(
                    f"{data.name} is no probing task: a row has one text, and {row.get('id')!r} of {split} has "
                    f"{', '.join(map(repr, row))}."
                )
            label = row.get("label")
            if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(data.task.labels):
                raise DataError(
                    f"{data.name}: row {row.get('id')!r} of {split} has the label {label!r}; expected a number below "
                    f"{len(data.task.labels)}, the number of its classes."
                )
    classes = {row["label"] for row in data.splits["train"]}
    if len(classes) < 2:
        only = f"the only label of train is {data.task.labels[next(iter(classes))]!r}"
        raise DataError(f"{data.name}: {only}; a probe needs at least two classes to tell apart.")
    contents: dict[str, tuple[str, ...]] = {}
    for row in (row for split in SPLITS for row in data.splits[split]):
        if row["text"] not in contents:  # many words of one sentence
            contents[row["text"]] = content(row)
    seen: set[tuple[str, ...]] = set()
    kept, notes = {}, list(data.notes)
    for split in reversed(SPLITS):
        rows = data.splits[split]
        kept[split] = [row for row in rows if contents[row["text"]] not in seen]
        if len(kept[split]) < len(rows):
            notes.append(f"{split}: {len(rows) - len(kept[split]):,} rows left out, whose text stands in a later split")
        if not kept[split]:
            raise DataError(f"{data.name}: every text of {split} stands in a later split as well; nothing is left.")
        seen |= {contents[row["text"]] for row in rows}
    return replace(data, splits={split: kept[split] for split in SPLITS}, notes=tuple(notes))
