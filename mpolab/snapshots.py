"""Snapshots of a training under way: folders that are there whole or not at all.

    OUT/run.json                which run the folder belongs to; another run does not go on from its snapshots
    OUT/checkpoint-40/
        model.safetensors       the weights, a tensor that is shared once
        optimizer.pt, ...       the Trainer's own files, read back with `weights_only`
        trainer_state.json, watch.json
        whole.json              every other file with its size in bytes, written last

A snapshot is written under another name, flushed to the disk and renamed; only then are older ones deleted. So a
process that is killed, or a disk that fills up, leaves the last whole one. A folder whose files are missing or shorter
than `whole.json` says is passed over.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from .errors import CheckpointError, TrainingError
from .whole import write_whole

WEIGHTS = "model.safetensors"
WHOLE = "whole.json"
RUN = "run.json"
_PREFIX = "checkpoint-"
_UNDER_WAY = ".saving-"


@contextmanager
def writing(folder: Path, leader: bool = True, meet: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """The folder to write into; it takes the name `folder` when the block ends well and is deleted when it does not.

    With several processes all enter: the leader makes, lists and renames it; `meet` waits for the others.
    """
    under_way = folder.with_name(f"{_UNDER_WAY}{folder.name}")
    try:
        if leader:
            shutil.rmtree(under_way, ignore_errors=True)
            under_way.mkdir(parents=True)
        meet()
        yield under_way
        meet()
        if leader:
            sizes = {file.name: file.stat().st_size for file in sorted(under_way.iterdir())}
            (under_way / WHOLE).write_text(json.dumps(sizes, indent=1))
            mode = (under_way / WHOLE).stat().st_mode
            for file in (*under_way.iterdir(), under_way):
                if file.is_file():
                    file.chmod(mode)  # safetensors makes its files private
                _flush(file)
            shutil.rmtree(folder, ignore_errors=True)  # the same step of an earlier try
            os.replace(under_way, folder)
            _flush(folder.parent)
        meet()
    except BaseException:
        if leader:
            shutil.rmtree(under_way, ignore_errors=True)
        raise


def _flush(path: Path) -> None:
    """To the disk: a file's contents, or the entries of a folder."""
    if os.name == "nt" and path.is_dir():  # Windows cannot
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_whole(folder: Path) -> bool:
    """Whether every file of a snapshot is there with its full length."""
    try:
        sizes = json.loads((folder / WHOLE).read_text())
        return WEIGHTS in sizes and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(_PREFIX))


def at_step(out: Path, step: int) -> Path:
    """Where the snapshot of a step stands."""
    return out / f"{_PREFIX}{step}"


def all_snapshots(out: Path) -> list[Path]:
    """Every snapshot in `out`, whole or not, the latest first."""
    found = (path for path in out.glob(f"{_PREFIX}*") if re.fullmatch(rf"{_PREFIX}\d+", path.name) and path.is_dir())
    return sorted(found, key=step_of, reverse=True)


def last_whole(out: Path) -> Path | None:
    """The latest snapshot that is whole; None if there is none."""
    return next((folder for folder in all_snapshots(out) if is_whole(folder)), None)


def prune(out: Path, keep: set[int]) -> None:
    """Deletes the snapshots of all other steps, and what a killed process left half written."""
    for folder in all_snapshots(out):
        if step_of(folder) not in keep:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in out.glob(f"{_UNDER_WAY}*"):
        shutil.rmtree(folder, ignore_errors=True)


def claim(out: Path, about: dict[str, Any], fresh: bool = False) -> None:
    """Notes in `out` which run it belongs to. fresh: forget what an earlier run left there.

    Raises TrainingError if `out` has snapshots of another run: `about` says in what it differs.
    """
    out.mkdir(parents=True, exist_ok=True)
    about = json.loads(json.dumps(about))  # as it reads back
    if fresh:
        prune(out, keep=set())
    elif all_snapshots(out):
        try:
            earlier = json.loads((out / RUN).read_text())
        except (OSError, ValueError):
            earlier = {}
        differing = [key for key in {**earlier, **about} if earlier.get(key) != about.get(key)]
        if differing:
            pairs = ((key, _short(earlier.get(key)), _short(about.get(key))) for key in differing)
            shown = "; ".join(f"{key}: {there} there, {now} now" for key, there, now in pairs)
            raise TrainingError(
                f"the folder {str(out)!r} holds checkpoints of another run ({shown}), and going on from them would mix "
                "the two. Give another folder, or resume=False (mpolab run: --force) to start anew, which deletes them."
            )
    write_whole(out / RUN, json.dumps(about, indent=1).encode())


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def save_weights(model: nn.Module, path: Path) -> None:
    """The state dict as safetensors; a tensor that is shared is stored once."""
    from safetensors.torch import save_model

    save_model(model, str(path))


def load_weights(model: nn.Module, path: Path) -> None:
    """Strictly: raises CheckpointError unless the file is whole and has every tensor of the model, and no other."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, str(path), strict=True)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{str(path)!r} does not fit this {type(model).__name__}: {reason}") from error
