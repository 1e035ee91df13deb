"""Running text for language modelling, from files: WikiText, EMNLP2017 News, and any plain text of the user's own.

A corpus of this table has its splits in files of its own (train, valid, test). Plain text that comes without splits is
divided here: by documents where there are enough of them, else every document into a beginning, a middle and an end.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import DataError, DataNotFoundError
from .folders import decode, find_file, folder_given, has_suffix, listing, plain, read_bytes, sha256, variant_names
from .reading import Documents
from .tasks import TextData

SEPARATOR = r"<\|endoftext\|>"
"""A line of its own that ends a document in plain text (a regular expression for the whole line)."""

TEXT_SPLITS = ("train", "valid", "test")
SHARES = (0.90, 0.05, 0.05)
"""Of train, valid and test, where plain text has no splits of its own."""

MANY_DOCUMENTS = 20
"""From so many documents on, whole documents are drawn for valid and test."""


def articles(text: str) -> list[str]:
    """WikiText's articles. Each begins with a heading ` = Title = ` between two blank lines; joined they are `text`."""
    lines = text.splitlines(keepends=True) if "\r" not in text else re.findall(r"[^\n]*\n|[^\n]+$", text)
    starts = [
        number
        for number in range(len(lines))
        if re.fullmatch(r" ?= (?!= ).+(?<! =) = ?\n?", lines[number])
        and (number == 0 or not lines[number - 1].strip())
        and (number + 1 == len(lines) or not lines[number + 1].strip())
    ]
    # The blank line before a heading belongs to its article.
    cuts = sorted({max(0, number - 1) for number in starts} | {0, len(lines)})
    return [piece for piece in ("".join(lines[a:b]) for a, b in itertools.pairwise(cuts)) if piece.strip()]


def sentences(text: str) -> list[str]:
    """One sentence a line (EMNLP2017 News); blank lines are left out."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def documents(text: str, separator: str = SEPARATOR) -> list[str]:
    """Plain text cut at the lines that match `separator`; without such lines it is one document."""
    pieces = re.split(rf"^[ \t]*(?:{separator})[ \t]*\r?$\n?", text, flags=re.MULTILINE)
    pieces = [piece.lstrip("\ufeff").strip("\n") for piece in pieces]
    return [piece for piece in pieces if piece.strip()]


@dataclass(frozen=True)
class Corpus:
    """A corpus with splits of its own: what its files are called and how they are cut.

    unit: "document" or "line", what `cut` makes of a file's text. folders: names of its folder. stems: names of the
    file of each split, without ending; "{name}" is the corpus' own name. base: of a part ("wikitext-103-head"), the
    name of the whole.
    """

    name: str
    unit: str
    folders: tuple[str, ...]
    stems: Mapping[str, tuple[str, ...]]
    endings: tuple[str, ...]
    cut: Callable[[str], list[str]]
    base: str = ""


def _wikitext(name: str, ending: str = ".tokens") -> Corpus:
    stems = {split: (f"{{name}}.{split}", f"wiki.{split}", split) for split in TEXT_SPLITS}
    return Corpus(name, "document", (name, f"{name}-v1", "wikitext"), stems, (ending, ".txt"), articles)


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        _wikitext("wikitext-2"),
        _wikitext("wikitext-2-raw", ".raw"),
        _wikitext("wikitext-103"),
        _wikitext("wikitext-103-raw", ".raw"),
        Corpus(
            "emnlp2017-news",
            "line",
            ("emnlp2017-news", "emnlp", "emnlp-news"),
            {"train": ("train", "emnlp_news"), "valid": ("valid", "dev"), "test": ("test", "test_emnlp")},
            (".txt",),
            sentences,
        ),
    )
}
"""One line per corpus. WikiText-2 and -103 share one folder where it is called "wikitext"."""


def corpus_named(name: str) -> Corpus | None:
    """The corpus called `name`, or a part of one ("wikitext-103-head", with `base` "wikitext-103"); None if unknown."""
    by_name = {plain(known): corpus for known, corpus in CORPORA.items()}
    if plain(name) in by_name:
        return by_name[plain(name)]
    for cut in reversed([found.start() for found in re.finditer("-", name)]):
        corpus = by_name.get(plain(name[:cut]))
        if corpus is not None and len(name) > cut + 1:
            return dataclasses.replace(corpus, name=corpus.name + name[cut:], base=corpus.name)
    return None


def read_corpus(
    corpus: Corpus, data_dir: str | os.PathLike, splits: Sequence[str] | None = None, seed: int = 0
) -> TextData:
    """A corpus of the table from its folder, or from the folder that holds it.

    splits: those wanted; by default all three must be there. A part that is called as a split is that split's file
    alone, divided here with the seed ("emnlp2017-news-valid"), for those who have no more. Raises DataNotFoundError
    (with what is there) and DataError for files that are empty, cut short or not UTF-8.
    """
    root = folder_given(data_dir)
    names = {plain(name) for name in corpus.folders}
    # The folder of the whole set, or of the part; else the one that was named.
    inside = [path for path in sorted(root.iterdir()) if path.is_dir()]
    own = [path for path in inside if plain(path.name) == plain(corpus.name)]
    folder = next(iter(own or [path for path in inside if plain(path.name) in names]), root)
    base = corpus.base or corpus.name
    suffix = "" if own or not corpus.base else corpus.name[len(base) + 1 :]
    shared = plain(folder.name) == "wikitext"  # of several corpora: only files with the corpus' name count there
    alone = suffix if suffix in TEXT_SPLITS else ""  # the whole's file of this split, of which all are made
    paths, missing = {}, []
    for split in (alone,) if alone else splits or TEXT_SPLITS:
        stems = [stem.format(name=base) for stem in corpus.stems[split] if "{" in stem or not shared]
        path = find_file(folder, stems, corpus.endings, "" if alone else suffix)
        if path is None:
            missing.append(f"{split} ({' or '.join(stem + corpus.endings[0] for stem in stems)}[.gz])")
        else:
            paths[split] = path
    if missing:
        have = f" splits={tuple(paths)!r} reads only what is there." if paths else ""
        near = [stem for stem in variant_names((p.name for p in folder.iterdir()), f"{base}.train") if not suffix]
        part = f" {near[0]} is a part of the set, with a name of its own ({base}-...)." if near else ""
        raise DataNotFoundError(
            f"{str(folder)!r} lacks of {corpus.name}: {', '.join(missing)}. It holds {listing(folder)}.{have}{part}"
        )
    if suffix and not alone and not any(has_suffix(path, suffix) for path in paths.values()):
        raise DataNotFoundError(f"no file in {str(folder)!r} is marked {suffix!r}; it holds {listing(folder)}.")
    texts, files = {}, {}
    for split, path in paths.items():
        texts[split], files[split] = _read(path, folder, corpus.cut)
    origin = f"folder {folder.resolve().name}: {', '.join(about['file'] for about in files.values())}"
    notes = recurring(texts)
    if alone:
        texts, notes = divide(texts[alone], seed)
        texts = {split: texts[split] for split in splits or TEXT_SPLITS}
    return TextData(corpus.name, texts, origin, corpus.unit, str(folder), files, notes)


def _read(path: Path, folder: Path, cut: Callable[[str], list[str]]) -> tuple[list[str], dict[str, str]]:
    data = read_bytes(path)
    pieces = cut(decode(data, path))
    if not pieces:
        raise DataError(f"{path} has no text: the file is empty or cut short.")
    return pieces, {"file": path.relative_to(folder).as_posix(), "sha256": sha256(data)}


def recurring(texts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A note if pieces of train stand in valid or test too: published splits are left as they are, and said so."""
    held = {" ".join(piece.split()) for split, pieces in texts.items() if split != "train" for piece in pieces}
    return _recurring(sum(" ".join(piece.split()) in held for piece in texts.get("train", ())))


def _recurring(count: int) -> tuple[str, ...]:
    return (f"{count:,} of train's pieces stand in valid or test too (left as published)",) if count else ()


# ------------------------------------------------------------------------------------------------------ plain text

_SPLIT_WORD = re.compile(r"(?:^|[._-])(train|valid|validation|dev|test)(?=[._-]|$)", re.IGNORECASE)
_TEXT_FILE = re.compile(r"\.(txt|md|text|tokens|raw)(\.gz)?$", re.IGNORECASE)


def find_plain(name: str | os.PathLike, data_dir: str | os.PathLike | None) -> tuple[str, list[Path]]:
    """(name of the corpus, its files): of a path to a file or folder, or of a name inside `data_dir`.

    In `data_dir`, "novels" is the folder `novels/`, the file `novels.txt`, or `novels.train.txt` with
    `novels.valid.txt` and `novels.test.txt`, each plain or .gz. Raises DataNotFoundError with what is there.
    """
    text = os.fspath(name)
    path = Path(text).expanduser() if data_dir is None else folder_given(data_dir) / text
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _TEXT_FILE.search(file.name)]
        if not files:
            raise DataNotFoundError(f"the folder {str(path)!r} has no text files (.txt, .txt.gz): {listing(path)}.")
        return path.resolve().name, files
    if path.is_file():
        return _SPLIT_WORD.sub("", _TEXT_FILE.sub("", path.name)) or path.name, [path]
    folder = path.parent
    if not folder.is_dir():
        raise DataNotFoundError(f"no text at {str(path)!r}: {str(folder)!r} does not exist.")
    split = r"([._-](train|valid|validation|dev|test))?"
    pattern = re.compile(re.escape(path.name) + split + _TEXT_FILE.pattern, re.IGNORECASE)
    files = [file for file in sorted(folder.iterdir()) if pattern.fullmatch(file.name)]
    if not files:
        raise DataNotFoundError(
            f"no text called {path.name!r} in {str(folder)!r} (a folder, {path.name}.txt or {path.name}.train.txt, "
            f"plain or .gz); it holds {listing(folder)}."
        )
    return path.name, files


def read_plain(
    name: str,
    paths: Sequence[Path],
    splits: Sequence[str] | None = None,
    seed: int = 0,
    separator: str = SEPARATOR,
    streamed: bool = False,
) -> TextData:
    """Plain text files -> documents by split: those that the files' names say, or else a division made here.

    separator: a regular expression; lines that match it as a whole end a document. streamed: the documents stay in
    their files (`StreamedText`) and are the same. Raises DataError for files that are empty, cut short or not UTF-8,
    and for files of which some are marked train, valid or test and others not.
    """
    marks = [(_SPLIT_WORD.findall(_TEXT_FILE.sub("", path.name)) or [""])[-1].lower() for path in paths]
    marks = [{"validation": "valid", "dev": "valid"}.get(mark, mark) for mark in marks]
    if len(set(marks)) > 1 and "" in marks:
        unmarked = ", ".join(path.name for path, mark in zip(paths, marks) if not mark)
        raise DataError(
            f"some files of {name!r} are marked train, valid or test and others are not ({unmarked}): name one, or "
            "put the others elsewhere."
        )
    folder = paths[0].parent
    texts: dict[str, Any] = {}
    files: dict[str, dict[str, str]] = {}
    if streamed:
        for mark in dict.fromkeys(marks):
            of_mark = [path for path, other in zip(paths, marks) if other == mark]
            texts[mark] = Documents.of(of_mark, separator, digests=len(set(marks)) == 1)
            for path, checksum in zip(of_mark, texts[mark].scan.sha256):
                files[path.name] = {"file": path.relative_to(folder).as_posix(), "sha256": checksum}
        files = {path.name: files[path.name] for path in paths}
    else:
        for path, mark in zip(paths, marks):
            pieces, about = _read(path, folder, lambda text: documents(text, separator))
            texts.setdefault(mark, []).extend(pieces)
            files[path.name] = about
    origin = f"plain text: {', '.join(files)}"
    if len(files) > 6:
        origin = f"plain text: {len(files)} files of the folder {folder.resolve().name}"
    notes: tuple[str, ...]
    if len(texts) == 1:
        texts, notes = (_divide_streamed if streamed else divide)(next(iter(texts.values())), seed)
    else:
        texts = {split: texts[split] for split in TEXT_SPLITS if split in texts}
        notes = _recurring_streamed(texts) if streamed else recurring(texts)
    missing = [split for split in splits or ("train", "valid") if split not in texts]
    if missing:
        raise DataNotFoundError(f"{name}: no file of {', '.join(missing)} among {', '.join(files)}.")
    if splits is not None:
        texts = {split: texts[split] for split in splits}
    made = StreamedText if streamed else TextData
    return made(name, texts, origin, "document", str(folder), files, notes)


def divide(pieces: Sequence[str], seed: int) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Documents -> ({"train", "valid", "test"}, notes), about 90, 5 and 5 per cent, none of them twice.

    From MANY_DOCUMENTS on, whole documents are drawn with `seed`; a document that occurs several times stays in one
    split only. Otherwise every document is cut, between lines, into its first 90 per cent, the next 5 and the last 5.
    """
    pieces = list(dict.fromkeys(pieces))
    if len(pieces) >= MANY_DOCUMENTS:
        order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(seed)).tolist()
        held = max(1, round(SHARES[1] * len(pieces)))
        chosen = {"train": order[2 * held :], "valid": order[:held], "test": order[held : 2 * held]}
        texts = {split: [pieces[k] for k in sorted(numbers)] for split, numbers in chosen.items()}
        return texts, (_BY_DOCUMENTS.format(seed=seed),)
    texts = {split: [] for split in TEXT_SPLITS}
    for piece in pieces:
        lines = piece.splitlines(keepends=True)
        ends = [0.0]
        for line in lines:
            ends.append(ends[-1] + len(line))
        first, second = (
            min(range(len(ends)), key=lambda k, share=share: abs(ends[k] - share * ends[-1]))
            for share in (SHARES[0], SHARES[0] + SHARES[1])
        )
        for split, part in zip(TEXT_SPLITS, (lines[:first], lines[first:second], lines[second:])):
            if part:
                texts[split].append("".join(part))
    _refuse_short(texts, len(pieces), sum(map(len, pieces)))
    return texts, (_BY_LINES,)


_BY_DOCUMENTS = "divided here, by documents drawn with seed {seed}: 90, 5 and 5 per cent"
_BY_LINES = "divided here: the first 90 per cent of every document, the next 5 and the last 5"


def _refuse_short(texts: Mapping[str, Sequence[Any]], documents: int, characters: int) -> None:
    short = [split for split, found in texts.items() if not found]
    if short:
        raise DataError(
            f"{documents} documents with {characters:,} characters are too little to divide: nothing is left for "
            f"{', '.join(short)}. Give more text, or files marked train, valid and test."
        )


# ------------------------------------------------------------------------------------ plain text that stays in files


class StreamedText(TextData):
    """As TextData, with `reading.Documents` for splits: nothing of the text is kept, and it may exceed the memory."""

    @cached_property
    def words(self) -> dict[str, int]:
        return {split: found.words for split, found in self.splits.items()}

    @cached_property
    def sha256(self) -> dict[str, str]:
        return {split: found.sha256 for split, found in self.splits.items()}


def _recurring_streamed(texts: Mapping[str, Documents]) -> tuple[str, ...]:
    held = {digest for split, found in texts.items() if split != "train" for digest in found.normalised()}
    return _recurring(sum(digest in held for digest in texts["train"].normalised()) if "train" in texts else 0)


def _divide_streamed(found: Documents, seed: int) -> tuple[dict[str, Documents], tuple[str, ...]]:
    """As `divide`, which says how."""
    _, first = np.unique(found.scan.digests.view("V16").ravel(), return_index=True)
    found = found.choose(np.sort(first))
    count = len(found)
    if count >= MANY_DOCUMENTS:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
        held = max(1, round(SHARES[1] * count))
        chosen = {"train": order[2 * held :], "valid": order[:held], "test": order[held : 2 * held]}
        drawn = {split: found.choose(found.numbers[np.sort(places)]) for split, places in chosen.items()}
        return drawn, (_BY_DOCUMENTS.format(seed=seed),)
    targets = [[share * float(size) for share in (SHARES[0], SHARES[0] + SHARES[1])] for size in found.characters]
    nearest = [[0, 0] for _ in range(count)]
    for place, end in found.line_ends():
        for k, target in enumerate(targets[place]):
            if abs(end - target) < abs(nearest[place][k] - target):
                nearest[place][k] = end
    spans: dict[str, dict[int, tuple[int, int]]] = {split: {} for split in TEXT_SPLITS}
    for number, size, (first_end, second_end) in zip(found.numbers.tolist(), found.characters.tolist(), nearest):
        ends = (0, first_end, second_end, size)
        for split, begin, end in zip(TEXT_SPLITS, ends, ends[1:]):
            if end > begin:
                spans[split][number] = (begin, end)
    _refuse_short(spans, count, int(found.characters.sum()))
    return {split: found.choose(sorted(cuts), cuts) for split, cuts in spans.items()}, (_BY_LINES,)
