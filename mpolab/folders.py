"""Finding and reading the files of a data set in a folder that the user names; nothing here knows a task.

Files may be plain or compressed with gzip (`train.tsv`, `train.tsv.gz`). A part of a set (a *variant*: "MNLI-10k") is
recognised by the name of its folder or by its files ("train-5k.tsv"); it is never taken for the whole set.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import DataError, DataNotFoundError

BAD_ROWS = ("error", "drop")


def plain(name: str) -> str:
    """A name for comparing: letters and digits only, in lower case ("SST-2" and "sst2" are the same)."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def folder_given(data_dir: str | os.PathLike) -> Path:
    """`data_dir` as a path; DataNotFoundError if it is no folder."""
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        near = folder.parent
        there = f" {str(near)!r} holds {listing(near)}." if near.is_dir() else ""
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataNotFoundError(f"the data folder {str(folder)!r} {what}.{there}")
    return folder


def listing(folder: Path, most: int = 20) -> str:
    """The names in a folder, folders with a slash; "nothing" where there are none."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return (", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")) or "nothing"


def variant_names(names: Iterable[str], base: str) -> list[str]:
    """Of `names`, those that belong to parts of `base`: its name and a suffix ("MNLI-10k" for MNLI)."""
    return [name for name in names if re.match(rf"{re.escape(base)}[-._]\w", name, re.IGNORECASE)]


def find_file(folder: Path, stems: Sequence[str], endings: Sequence[str], suffix: str = "") -> Path | None:
    """The file of one split: the first stem that is there, with one of the endings, plain or .gz.

    suffix: a variant's ("10k"); `train-10k.tsv` is then looked for before `train.tsv`. Of a variant that is made of
    files ("train-5k.tsv" beside "dev-2k.tsv") a single other file of the split serves as well.
    """
    names = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    ends = [ending + packed for ending in endings for packed in ("", ".gz")]
    marked = [f"{stem}{mark}{suffix}" for stem in stems for mark in "-._"] if suffix else []
    for stem in (*marked, *stems):
        for end in ends:
            if (stem + end).lower() in names:
                return names[(stem + end).lower()]
    if suffix:
        others = [
            path
            for name, path in names.items()
            for stem in stems
            if re.fullmatch(rf"{re.escape(stem.lower())}[-._].+?({'|'.join(map(re.escape, ends))})", name)
        ]
        if len(others) == 1:
            return others[0]
    return None


def has_suffix(path: Path, suffix: str) -> bool:
    """Whether a file's name carries a variant's suffix: `train-5k.tsv.gz` has "5k"."""
    return bool(re.search(rf"[-._]{re.escape(suffix)}(\.|$)", path.name, re.IGNORECASE))


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked. DataError for an archive that is truncated or none."""
    data = path.read_bytes()
    if path.suffix.lower() != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as problem:
        raise short_archive(path, problem) from None


def short_archive(path: Path, problem: Exception) -> DataError:
    return DataError(f"{path} cannot be unpacked ({problem}): the file is short or no gzip file. Copy it once more.")


def decode(data: bytes, path: Path) -> str:
    """Text of a file in UTF-8, without the mark that some begin with. DataError with the line of a bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise not_utf8(path, line, data[problem.start]) from None


def not_utf8(path: Path, line: int, byte: int) -> DataError:
    return DataError(
        f"{path}, line {line}: byte {byte:#04x} is no UTF-8 text. Convert the file to UTF-8 (iconv -f latin1 -t utf8)."
    )


def lines_of(text: str) -> list[str]:
    """Lines without their ends. Only a newline ends one: str.splitlines also cuts at characters that occur in text."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class BadRows:
    """Collects the rows of one file that cannot be read: an error that names them, or a note that counts them.

    mode "error": `close` raises a DataError with file and line of the first few and the number of all. mode "drop":
    they are left out, and `close` returns a note that says so, for the run record.
    """

    path: Path
    mode: str = "error"
    found: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.found.append(f"{where}: {what}")

    def close(self, rows: int) -> list[str]:
        """The notes; `rows` is the number of good ones, without which the file is of no use in either mode."""
        shown = "; ".join(self.found[:5]) + ("; ..." if len(self.found) > 5 else "")
        count = f"{len(self.found):,} bad row{'s' if len(self.found) != 1 else ''}"
        if self.found and self.mode == "error":
            raise DataError(
                f"{self.path}: {count} beside {rows:,} good ones. {shown}. Mend the file, or leave such rows out and "
                "have them counted in the record with bad_rows='drop'."
            )
        if not rows:
            raise DataError(f"{self.path} has no rows{f' ({shown})' if shown else ''}: the file is empty or cut short.")
        return [f"{self.path.name}: {count} left out ({shown})"] if self.found else []
