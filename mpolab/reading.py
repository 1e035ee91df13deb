"""Documents that stay in their files: read in pieces whenever they are needed, so that a text may exceed the memory.

>>> documents = Documents.of(["books.txt.gz"], separator="=== .* ===")  # doctest: +SKIP
>>> for number, piece in documents.parts(): ...  # doctest: +SKIP

One reading counts (`Scan`), every later one yields the same pieces. What remains in memory is a number for each
document (its characters; with `digests`, 16 bytes more) and one piece, never a file and never a document.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from .errors import DataError
from .folders import not_utf8, short_archive

BLOCK = 1 << 15
"""Bytes that are read at once, and about the characters of a piece."""
LONGEST_LINE = 1 << 20
"""Characters after which a line is cut at white space, and is then taken for no separator."""


def blocks(path: Path, digest: hashlib._Hash | None = None) -> Iterator[str]:
    """A file's text, unpacked, in blocks; `digest` gets its bytes. DataError as `folders.read_bytes` and `decode`."""
    left, lines, first = b"", 0, True
    for data in _unpacked(path):
        if digest is not None:
            digest.update(data)
        last = not data
        data = left + data
        if first and data.startswith(codecs.BOM_UTF8):
            data = data[len(codecs.BOM_UTF8) :]
        first = False
        try:
            text, used = codecs.utf_8_decode(data, "strict", last)
        except UnicodeDecodeError as problem:
            line = lines + data.count(b"\n", 0, problem.start) + 1
            raise not_utf8(path, line, data[problem.start]) from None
        lines += data.count(b"\n", 0, used)
        left = data[used:]
        if text:
            yield text


def _unpacked(path: Path) -> Iterator[bytes]:
    """Bytes, at last empty ones."""
    data = b"\n"
    with open(path, "rb") as file:
        source = gzip.GzipFile(fileobj=file) if path.suffix.lower() == ".gz" else file
        while data:
            try:
                data = source.read(BLOCK)
            except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
                raise short_archive(path, problem) from None
            yield data


def _whole_lines(texts: Iterable[str]) -> Iterator[tuple[str, bool, bool]]:
    """(a piece of whole lines, True, True); of a line that is too long (pieces of it up to white space, whether they
    begin at its beginning, whether they end at its end).
    """
    left: list[str] = []
    begins = True
    for text in texts:
        end = text.rfind("\n") + 1
        if not end and sum(map(len, left)) + len(text) > LONGEST_LINE:
            end = max((found.end() for found in re.finditer(r"\s", text)), default=0)
        if end:
            piece = "".join([*left, text[:end]])
            ends = piece.endswith("\n")
            yield piece, begins, ends
            begins, left, text = ends, [], text[end:]
        left.append(text)
    if any(left):
        yield "".join(left), begins, True


def cut(texts: Iterable[str], separator: str) -> Iterator[tuple[int, str]]:
    """(number, piece) of the documents in a text that comes in blocks; joined, `corpora.documents` of the whole text.

    separator: a regular expression; a line that it matches as a whole ends a document. A document's pieces end, or the
    next begins, with white space, so that no word is torn.
    """
    line = re.compile(rf"^[ \t]*(?:{separator})[ \t]*\r?$\n?", re.MULTILINE)
    number, begun, held = 0, False, ""  # held: at first all there is, then the newlines that may be the last

    def grown(text: str) -> str:
        nonlocal begun, held
        text = held + text
        if not begun:
            bare = text.lstrip("\ufeff").lstrip("\n")
            if not bare.strip():
                held = text
                return ""
            text, begun = bare, True
        shown = text.rstrip("\n")
        held = text[len(shown) :]
        return shown

    for text, begins, ends in _whole_lines(texts):
        at, first = 0, 0 if begins else text.find("\n") + 1 or len(text)
        for found in line.finditer(text):
            torn = found.start() < first or (found.end() == len(text) and not ends)  # a part of a long line
            if torn or found.start() == len(text):  # the second: an empty match behind the last line
                continue
            if piece := grown(text[at : found.start()]):
                yield number, piece
            at, number, begun, held = found.end(), number + begun, False, ""
        if piece := grown(text[at:]):
            yield number, piece


@dataclass
class Scan:
    """What one reading of files finds. characters (documents,): of each. documents: in each file; sha256: of each
    file's bytes, unpacked. digests: (documents, 16 bytes) of their texts, where they were asked for.
    """

    characters: np.ndarray
    documents: list[int]
    sha256: list[str]
    digests: np.ndarray | None = None


def scan(paths: Sequence[Path], separator: str, digests: bool = False) -> Scan:
    """Reads all files once. Raises DataError for one that is empty, cut short or not UTF-8."""
    characters, counts, sums = [np.zeros(0, np.int64)], [], []
    found = bytearray()
    for path in paths:
        digest, lengths, content = hashlib.sha256(), np.zeros(64, np.int64), None
        count = 0
        for number, piece in cut(blocks(path, digest), separator):
            if number == count:  # a new one
                if content is not None:
                    found += content.digest()
                content = hashlib.blake2b(digest_size=16) if digests else None
                count += 1
                if count > len(lengths):
                    lengths = np.concatenate([lengths, np.zeros_like(lengths)])
            lengths[number] += len(piece)
            if content is not None:
                content.update(piece.encode())
        if content is not None:
            found += content.digest()
        if not count:
            raise DataError(f"{path} has no text: the file is empty or cut short.")
        characters.append(lengths[:count].copy())
        counts.append(count)
        sums.append(digest.hexdigest())
    kept = np.frombuffer(bytes(found), np.uint8).reshape(-1, 16) if digests else None
    return Scan(np.concatenate(characters), counts, sums, kept)


@dataclass(frozen=True, eq=False)
class Documents:
    """A choice among the documents of some files, in their order: iterate over it for whole documents, or over
    `parts()` for pieces. `len` and slices are as a list's.

    numbers (documents,): which, counted over all files. spans: {number: (first character, the one after the last)} of
    those that are not whole.
    """

    paths: tuple[Path, ...]
    separator: str
    scan: Scan
    numbers: np.ndarray
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[Path | str], separator: str, digests: bool = False) -> Documents:
        """All documents of these files, which are read once. Raises DataError as `scan`."""
        paths = tuple(map(Path, paths))
        found = scan(paths, separator, digests)
        return cls(paths, separator, found, np.arange(len(found.characters)))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: slice) -> Documents:
        return self.choose(self.numbers[which])

    def choose(self, numbers: Iterable[int], spans: dict[int, tuple[int, int]] | None = None) -> Documents:
        """Those with these numbers (in rising order); spans: in place of this choice's own."""
        numbers = np.asarray(numbers, np.int64)
        return Documents(self.paths, self.separator, self.scan, numbers, self.spans if spans is None else spans)

    @cached_property
    def characters(self) -> np.ndarray:
        """(documents,): of each."""
        found = self.scan.characters[self.numbers]
        if self.spans:
            for k in np.flatnonzero(np.isin(self.numbers, list(self.spans))):
                begin, end = self.spans[int(self.numbers[k])]
                found[k] = end - begin
        return found

    def parts(self) -> Iterator[tuple[int, str]]:
        """(number of the document in this choice, piece of it), in order. Files without a chosen document are passed
        over, and nothing is read behind the last one.
        """
        before = place = 0
        for path, count in zip(self.paths, self.scan.documents):
            end = int(np.searchsorted(self.numbers, before + count))
            if place < end:
                yield from self._of_file(path, before, place, end)
            place, before = end, before + count

    def _of_file(self, path: Path, before: int, place: int, end: int) -> Iterator[tuple[int, str]]:
        number, position = -1, 0
        for inside, piece in cut(blocks(path), self.separator):
            if inside != number:
                if number >= 0 and before + number == self.numbers[place]:
                    place += 1
                    if place == end:
                        return
                number, position = inside, 0
            if before + number == self.numbers[place]:
                begin, last = self.spans.get(before + number, (0, position + len(piece)))
                if shown := piece[max(0, begin - position) : max(0, last - position)]:
                    yield place, shown
            position += len(piece)

    def __iter__(self) -> Iterator[str]:
        """Whole documents, one after the other."""
        here, pieces = 0, []
        for number, piece in self.parts():
            if number != here and pieces:
                yield "".join(pieces)
                pieces = []
            here = number
            pieces.append(piece)
        if pieces:
            yield "".join(pieces)

    @cached_property
    def _counted(self) -> tuple[int, str]:
        digest, words, here = hashlib.sha256(), 0, None
        for number, piece in self.parts():
            if number != here:
                digest.update(b'"' if here is None else b'"\n"')
                here = number
            digest.update(json.dumps(piece, ensure_ascii=True)[1:-1].encode())
            words += len(piece.split())
        if here is not None:
            digest.update(b'"\n')
        return words, digest.hexdigest()

    @property
    def words(self) -> int:
        """Between white space."""
        return self._counted[0]

    @property
    def sha256(self) -> str:
        """As `tasks.text_sha256` of a list of the documents."""
        return self._counted[1]

    def cut_last(self, position: int) -> tuple[Documents, Documents]:
        """All before character `position` of the last document, and the rest of it."""
        last = int(self.numbers[-1])
        begin, end = self.spans.get(last, (0, int(self.scan.characters[last])))
        head = self.choose(self.numbers, {**self.spans, last: (begin, begin + position)}) if position else self[:-1]
        return head, self.choose([last], {last: (begin + position, end)})

    def line_before(self, limit: int) -> int:
        """Where in the last document the last line begins of those whose newline is among its first `limit`
        characters; 0 if there is none.
        """
        begin = position = 0
        for _, piece in self[-1:].parts():
            if position >= limit:
                break
            found = piece.rfind("\n", 0, limit - position)
            begin = position + found + 1 if found >= 0 else begin
            position += len(piece)
        return begin

    def line_ends(self) -> Iterator[tuple[int, int]]:
        """(number of the document in this choice, characters up to the end of one of its lines), in order; as
        `str.splitlines` ends them, the document's own end included.
        """
        here, position, last = 0, 0, "\n"  # last: the character that was read last
        for number, piece in self.parts():
            if number != here:
                if last.splitlines() != [""] or last == "\r":
                    yield here, position
                here, position, last = number, 0, "\n"
            elif last == "\r" and not piece.startswith("\n"):
                yield here, position
            lines = piece.splitlines(keepends=True)
            for k, line in enumerate(lines, 1):
                position, last = position + len(line), line[-1]
                # "\r" at the end of a piece may be the half of an end
                if last.splitlines() == [""] and (last != "\r" or k < len(lines)):
                    yield here, position
        if last.splitlines() != [""] or last == "\r":
            yield here, position

    def normalised(self) -> Iterator[bytes]:
        """A digest of each document that is the same for any white space between its words."""
        here, content = None, None
        for number, piece in self.parts():
            if number != here:
                if content is not None:
                    yield content.digest()
                here, content = number, hashlib.blake2b(digest_size=16)
            content.update("".join(f"{word} " for word in piece.split()).encode())
        if content is not None:
            yield content.digest()


def parts_of(documents: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number, piece) of `Documents`; (number, document) of any others."""
    return documents.parts() if isinstance(documents, Documents) else enumerate(documents)
