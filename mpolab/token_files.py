"""Tokens on disk: arrays in a folder that is whole or not there, and found again by the checksum in its name.

What `segments` (rows for encoders) and `token_streams` (windows for models that write) have in common.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .errors import CheckpointError

Tokens = TypeVar("Tokens")


def load_arrays(folder: Path, form: str, kinds: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """The arrays in a folder, mapped from disk, beside its about.json with the format and their lengths.

    kinds: {name of the file: (dtype, shape with -1 for the length)}. Raises CheckpointError for a folder that is not
    whole.
    """
    problem = ""
    try:
        about = json.loads((folder / "about.json").read_text())
        arrays = {name: np.memmap(folder / name, kind, "r").reshape(shape) for name, (kind, shape) in kinds.items()}
        if about["format"] == form and all(len(array) == about[name] for name, array in arrays.items()):
            return arrays
    except (OSError, ValueError, KeyError) as error:
        problem = f" ({error})"
    raise CheckpointError(f"the tokens in {str(folder)!r} are not whole{problem}; delete the folder.")


def is_whole(folder: Path, load: Callable[[Path], Any]) -> bool:
    """Whether `load` finds all of it."""
    try:
        load(folder)
    except CheckpointError:
        return False
    return True


def found_or_made(
    name: str,
    splits: Mapping[str, Sequence[str]],
    folder: Callable[[str, Sequence[str]], Path],
    load: Callable[[Path], Tokens],
    make: Callable[[Sequence[str], Path, str | None], Tokens],
    progress: bool,
) -> dict[str, Tokens]:
    """Documents by split -> their tokens, by `load` where they are whole, else by `make(documents, folder, label)`.

    folder: (split, documents) -> where they lie. label: of a progress bar, which names the text; None without progress.
    """
    found = {}
    for split, documents in splits.items():
        place = folder(split, documents)
        try:
            found[split] = load(place)
        except CheckpointError:
            found[split] = make(documents, place, f"tokens of {name}, {split}" if progress else None)
    return found


def folder_name(name: str, split: str, digest: str) -> str:
    """Readable, and different for whatever has another checksum."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}-{split}-{digest[:16]}"


def spread(count: int, most: int | None) -> Sequence[int]:
    """Numbers of at most `most` of `count` rows, evenly over all; None = all."""
    used = count if most is None else min(count, most)
    return range(count) if used == count else [k * count // used for k in range(used)]
