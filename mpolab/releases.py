"""A task from a folder in the layout of its original release: which folder, which files, which rows.

The folder that a caller names may be the task's own (`.../SST-2`), the one that holds it (`.../glue`), or the one above
that. A part of a set keeps a name of its own, taken from the folder ("MNLI-10k") or from its files ("train-5k.tsv" is
IMDB-5k's): it never passes for the whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import glue, squad
from .errors import DataNotFoundError
from .folders import find_file, folder_given, has_suffix, listing, plain, variant_names
from .tasks import Task, TaskData, short_notes, task_named

# Folders between the one that is named and the tasks'.
_GLUE_FOLDERS = {"glue", "gluedata", "gluebenchmark"}
# What a task's folder is called besides its own name.
_FOLDERS = {"diagnostic": ("ax",), "IMDB": ("aclimdb",), "SQuAD": ("squad1", "squadv11", "squadv1", "squad11")}
# The names of the file of each split, in the order of preference, without ending.
_STEMS = {
    "train": ("train",),
    "dev": ("dev_matched", "dev", "validation"),
    "dev_mismatched": ("dev_mismatched",),
    "test": ("test_matched", "test"),
    "test_mismatched": ("test_mismatched",),
}
_STEMS_OF = {
    "diagnostic": {"test": ("diagnostic-full", "diagnostic", "test")},
    "SQuAD": {"train": ("train-v1.1", "train"), "dev": ("dev-v1.1", "dev")},
    "IMDB": {"train": ("train",), "dev": ("dev", "test")},
}


def from_folder(
    task: Task, data_dir: str | os.PathLike, splits: Sequence[str] | None = None, bad_rows: str = "error"
) -> TaskData:
    """The task's rows from its folder; `mpolab.data.load_task` says what the arguments mean and what is raised."""
    folder, task, suffix = _task_folder(task, folder_given(data_dir))
    ending = ".json" if task.kind == "span" else ".tsv"
    paths = {split: _split_file(task, folder, split, suffix) for split in splits or task.splits}
    found = {split: path for split, path in paths.items() if path is not None}
    for split in paths:
        if split not in found and (splits is not None or split in _needed(task)):
            raise _missing_file(task, split, folder, ending, found)
    if suffix and not any(has_suffix(path, suffix) for path in found.values()):
        raise DataNotFoundError(
            f"{folder} has no file of {task.name} (such as {_stems(task)[task.splits[0]][0]}-{suffix}{ending}); it "
            f"holds {listing(folder)}."
        )

    rows, files, notes = {}, {}, []
    for split, path in found.items():
        rows[split], digest, more = _read(path, task, split, bad_rows)
        files[split] = {"file": path.relative_to(folder).as_posix(), "sha256": digest}
        notes += more
    origin = f"folder {folder.resolve().name}: {', '.join(about['file'] for about in files.values())}"
    return TaskData(task, rows, origin, str(folder), files, (*notes, *short_notes(task, rows)))


def _read(path: Path, task: Task, split: str, bad_rows: str) -> tuple[list[dict], str, list[str]]:
    if path.is_dir():
        return *glue.read_reviews(path, task, split), []
    if task.kind == "span":
        return squad.read_squad(path, bad_rows)
    return glue.read_table(path, task, split, bad_rows)


def _needed(task: Task) -> tuple[str, ...]:
    """The splits without which a task is of little use."""
    return tuple(split for split in ("train", "dev") if split in task.splits) or task.splits


def _stems(task: Task) -> dict[str, tuple[str, ...]]:
    table = _STEMS_OF.get(task.base, _STEMS)
    return {split: table[split] for split in task.splits}


def _split_file(task: Task, folder: Path, split: str, suffix: str) -> Path | None:
    """The file of a split, or IMDB's `train/` or `test/` with its reviews in single files; None where there is none."""
    stems = _stems(task)[split]
    path = find_file(folder, stems, (".json",) if task.kind == "span" else (".tsv",), suffix)
    if path is None and task.base == "IMDB":
        reviews = (folder / stem for stem in stems if all((folder / stem / name).is_dir() for name in ("pos", "neg")))
        path = next(reviews, None)
    return path


def _task_folder(task: Task, root: Path) -> tuple[Path, Task, str]:
    """(the folder with the task's files, the task under its right name, the suffix that its files must carry).

    The suffix is empty where the folder's own name says which part of the set it is. DataNotFoundError where there is
    no such folder.
    """
    suffix = task.name[len(task.base) + 1 :] if task.is_variant else ""
    names = {plain(task.base), *_FOLDERS.get(task.base, ())}
    holders = [root, *(path for path in sorted(root.iterdir()) if path.is_dir() and plain(path.name) in _GLUE_FOLDERS)]
    inside = [path for holder in holders for path in sorted(holder.iterdir()) if path.is_dir()]
    for path in inside:
        if plain(path.name) == plain(task.name):
            return path, task, ""
    for path in inside:
        if plain(path.name) in names:
            return path, task, suffix
    if any(_split_file(task, root, split, "any") for split in task.splits):  # the folder itself
        own = _task_of(root.resolve().name)
        if own is None or plain(root.resolve().name) in names or own.name == task.base:
            return root, task, suffix
        if own.base == task.base and (not suffix or plain(own.name) == plain(task.name)):
            return root, own, ""
        raise DataNotFoundError(f"the folder {str(root)!r} is that of {own.name}, not of {task.name}.")
    near = [path.name for path in inside if (other := _task_of(path.name)) is not None and other.base == task.base]
    hint = f" There is {' and '.join(near)}: a part of {task.base} is loaded by its own name." if near else ""
    held = "; ".join(f"{str(holder)!r} holds {listing(holder)}" for holder in holders)
    raise DataNotFoundError(f"no folder {task.name!r} in {str(root)!r}.{hint} {held}.")


def _task_of(folder_name: str) -> Task | None:
    try:
        return task_named(folder_name)
    except ValueError:
        return None


def _missing_file(task: Task, split: str, folder: Path, ending: str, found: Mapping[str, Path]) -> DataNotFoundError:
    """The error for a split without a file: what there is, and the name of a part of the set that would fit."""
    stems = _stems(task)[split]
    hint = f" splits={tuple(found)!r} reads only what is there." if found else ""
    for stem in reversed(stems):  # the first stem has the last word
        for other in variant_names((path.name for path in folder.iterdir()), stem):
            part = other[len(stem) + 1 :].split(".")[0]
            if part not in (ending[1:], "matched", "mismatched", "v1"):
                hint = f" {other} is a part of the set: load it as {f'{task.base}-{part}'!r}."
    wanted = " or ".join(f"{stem}{ending}[.gz]" for stem in stems)
    return DataNotFoundError(
        f"{str(folder)!r} has no {split} file ({wanted}) of {task.name}; it holds {listing(folder)}.{hint}"
    )
