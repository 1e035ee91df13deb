"""Files and folders that are written whole or not at all: under a temporary name beside their place, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file; what was there before stays until it is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path, keep: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of `folder` at the end of the block.

    keep: whether a folder that is there by then stays, and what was written is dropped. Files get the rights that the
    user's others have (safetensors makes its own private).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield stage
        for file in stage.rglob("*"):
            if file.is_file():
                file.chmod(0o666 & ~_umask())
        stage.chmod(0o777 & ~_umask())
        if not (folder.exists() and keep(folder)):
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _umask() -> int:
    """What the user's other files get; a temporary file is private at first."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
