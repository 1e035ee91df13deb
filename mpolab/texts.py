"""English text that is always there: what the user's own Python says about itself.

`stdlib_text` reads the language reference's topics (`pydoc_data.topics`) and the docstrings of the standard library,
about 200,000 words; `package_text` reads the docstrings of the installed packages, several times as much. Real English
of a narrow domain, for small language models (notebook 02, "Squeezing"). Nothing is imported: files are parsed with
`ast`. Nothing is kept or passed on: the text depends on the versions installed, so a record holds its checksum, and
comparisons hold within one checksum only.

Cleaning keeps whole sentences of prose: no code, no doctests, no tables, signatures or lists of arguments. A sentence
that occurs twice is kept where it occurs first. Splits go by file (a topic of the language reference counts as one), so
no file and no sentence is in two of them.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import random
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import DataError, DataNotFoundError
from .tasks import TextData

OFFLINE_TEXTS = ("stdlib", "packages")
"""Documentation and docstrings of the user's own Python: of its standard library, or of all installed packages."""
SHARES = {"valid": 0.08, "test": 0.08}  # of the words; the rest is "train"
BAR_AFTER = 2.0  # seconds
ORIGIN_TASK = "package-origin"
ORIGIN_FILES = 250

# Parts of the standard library whose strings are tests, tables or foreign.
_SKIPPED = {"test", "tests", "testing", "site-packages", "dist-packages", "_vendor",
            "vendor", "_vendored", "ensurepip", "encodings", "__pycache__", "node_modules"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """The sentences of one file, in order; name: "asyncio/events.py", or "topics/lambda" of the language reference."""

    name: str
    sentences: tuple[str, ...]

    @property
    def words(self) -> int:
        return sum(sentence.count(" ") + 1 for sentence in self.sentences)


# ----------------------------------------------------------------------------------------------------------- corpora


def stdlib_text(seed: int = 0, progress: bool = True) -> TextData:
    """The standard library's documentation: {"train", "valid", "test"} -> documents, one sentence a line.

    seed: which files go where. progress: a bar on stderr if reading takes more than two seconds.

    Raises DataNotFoundError where the standard library has no source files (in a zip file, or stripped).
    """
    documents = _stdlib_documents(Path(sysconfig.get_paths()["stdlib"]), progress)
    _expect(documents, 10_000, f"the standard library of Python {_version()}", "as in a zip file or a stripped copy")
    return _text_data("stdlib", documents, seed, f"documentation of Python {_version()}'s standard library")


@cache
def _stdlib_documents(root: Path, progress: bool) -> list[Document]:
    """Read once in a process, a few seconds."""
    return _deduplicated([*_topics(root), *_documents(root, _python_files(root), progress, "standard library")])


def package_text(seed: int = 0, progress: bool = True, packages: Iterable[str] | None = None) -> TextData:
    """The same of the installed packages. packages: only these top-level names; None: all.

    Raises DataNotFoundError where none of them has a docstring to read.
    """
    found = _package_documents(progress, None if packages is None else set(packages))
    documents = _deduplicated(document for documents in found.values() for document in documents)
    _expect(documents, 200, "the installed packages", "or the packages named are not installed")
    return _text_data("packages", documents, seed, f"docstrings of {len(found)} packages installed here")


def package_origin(
    sizes: dict[str, int] | None = None, classes: int = 6, seed: int = 0, progress: bool = True
) -> tuple[dict[str, list[dict]], tuple[str, ...]]:
    """ "Which package wrote this sentence?": ({split: rows}, labels), a labelled task made of real English.

    The labels are the `classes` installed packages with most source text, by name; so many of each one's files are read
    as ORIGIN_FILES says. Rows are {"id", "text", "label"}, the
    classes balanced, the splits ("train", "dev", "test") by file. A sentence that names one of the packages is left
    out. sizes: 1,000, 500 and 500 rows by default.

    Raises DataError where the packages have fewer sentences than that.
    """
    sizes = dict(sizes or {"train": 1000, "dev": 500, "test": 500})
    unknown_splits = set(sizes) - {"train", "dev", "test"}
    if unknown_splits or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes.values()):
        raise DataError(
            f"sizes {sizes!r}: {ORIGIN_TASK} has the splits 'train', 'dev' and 'test', each of at least one row (a "
            "whole number), for example {'train': 1000, 'dev': 500}."
        )
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise DataError(f"classes={classes!r}; telling packages apart takes at least two of them.")
    weights = _package_bytes()
    labels = tuple(sorted(sorted(weights, key=lambda name: (-weights[name], name))[:classes]))
    if len(labels) < classes:
        raise DataError(f"{classes} packages were asked for and {len(labels)} are installed.")
    found = {label: [] for label in labels} | _package_documents(progress, set(labels), ORIGIN_FILES)
    found = {name: _deduplicated(documents) for name, documents in found.items()}
    named = re.compile(r"\b(" + "|".join(map(re.escape, labels)) + r")\b", re.IGNORECASE)
    seen: set[str] = set()
    by_label: list[dict[str, list[str]]] = []
    for name in labels:
        parts = _split(found[name], seed, {"dev": 0.2, "test": 0.2})
        kept: dict[str, list[str]] = {}
        for split in ("train", "dev", "test"):
            sentences = [s for document in parts[split] for s in document.sentences]
            fresh = [s for s in sentences if not named.search(s) and s not in seen]
            seen.update(fresh)
            _shuffle(fresh, f"{seed} {name} {split}")
            kept[split] = fresh
        by_label.append(kept)
    rows: dict[str, list[dict]] = {}
    for split, size in sizes.items():
        least = min(len(kept[split]) for kept in by_label)
        if size > least * len(labels):
            raise DataError(
                f"{ORIGIN_TASK}: {size:,} rows of {split!r} were asked for; the packages {', '.join(labels)} have "
                f"enough sentences for {least * len(labels):,}."
            )
        rows[split] = [
            {
                "id": f"{ORIGIN_TASK}-{split}-{i}",
                "text": by_label[i % len(labels)][split][i // len(labels)],
                "label": i % len(labels),
            }
            for i in range(size)
        ]
    return rows, labels


def text_sha256(data: TextData) -> str:
    """Checksum of the whole text in order (train, valid, test): which version of it a run has read."""
    digest = hashlib.sha256()
    for split in ("train", "valid", "test"):
        for text in data.splits[split]:
            digest.update(text.encode())
            digest.update(b"\n\n")
    return digest.hexdigest()


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _expect(documents: list[Document], least: int, what: str, why: str) -> None:
    words = sum(document.words for document in documents)
    if words < least:
        raise DataNotFoundError(
            f"{what} has {words:,} words of documentation to read, too few for a corpus: its source files are not "
            f"there ({why}). Name a folder or a file of text instead (data_dir=...)."
        )


def _text_data(name: str, documents: list[Document], seed: int, origin: str) -> TextData:
    parts = _split(documents, seed, SHARES)
    splits = {split: ["\n".join(document.sentences) for document in documents] for split, documents in parts.items()}
    data = TextData(name, splits, origin, unit="document", notes=(f"split by file, seed {seed}",))
    return data


# ------------------------------------------------------------------------------------------------------------- files


def _python_files(root: Path) -> list[Path]:
    """The .py files below a folder in an order that is the same everywhere, tests and foreign code left out."""
    found = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).parts
        if not _SKIPPED & set(parts) and not parts[-1].startswith("test_"):
            found.append((path.relative_to(root).as_posix(), path))
    return [path for _, path in sorted(found)]


def _documents(root: Path, files: list[Path], progress: bool, what: str) -> Iterator[Document]:
    from tqdm.auto import tqdm

    bar = tqdm(files, f"reading the {what}", unit="file", delay=BAR_AFTER, disable=not progress, file=sys.stderr)
    for path in bar:
        name = path.relative_to(root).as_posix()
        if name == "pydoc_data/topics.py":
            continue
        sentences = [sentence for text in docstrings(path) for sentence in prose(text)]
        if sentences:
            yield Document(name, tuple(sentences))


def docstrings(path: Path) -> list[str]:
    """The docstrings of a module, its classes and its functions, in the order of the file; [] if it cannot be read."""
    try:
        source = path.read_bytes()
        if b'"""' not in source and b"'''" not in source:
            return []  # parsing is what takes the time
        tree = ast.parse(source)
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):  # templates, Python 2, broken links
        return []
    found: list[str] = []
    _collect(tree, found)
    return found


def _collect(item: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, found: list[str]) -> None:
    text = ast.get_docstring(item, clean=True)
    if text:
        found.append(text)
    for part in item.body:
        if isinstance(part, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            _collect(part, found)


def _topics(root: Path) -> Iterator[Document]:
    """The language reference, as `help("lambda")` shows it: the dictionary in pydoc_data/topics.py, read with ast."""
    path = root / "pydoc_data" / "topics.py"
    if not path.is_file():
        return
    for item in ast.parse(path.read_bytes()).body:
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Dict):
            for key, value in zip(item.value.keys, item.value.values):
                sentences = tuple(prose(ast.literal_eval(value)))
                if sentences:
                    yield Document(f"topics/{ast.literal_eval(key)}", sentences)


def _roots() -> list[Path]:
    """This Python's folders for packages."""
    paths = sysconfig.get_paths()
    return [Path(path) for path in dict.fromkeys(paths[key] for key in ("purelib", "platlib"))]


def _package_documents(progress: bool, only: set[str] | None, most: int | None = None) -> dict[str, list[Document]]:
    """{package: documents} by top-level name, mpolab itself left out. most: files of each package, a seeded choice."""
    found: dict[str, list[Document]] = {}
    for root in _roots():
        files = _python_files(root)
        if only is not None:
            files = [path for path in files if _package(root, path) in only]
        if most is not None:
            _shuffle(files, "files")
            count: dict[str, int] = {}
            kept = []
            for path in files:
                count[_package(root, path)] = count.get(_package(root, path), 0) + 1
                if count[_package(root, path)] <= most:
                    kept.append(path)
            files = sorted(kept)
        for document in _documents(root, files, progress, "installed packages"):
            package = document.name.partition("/")[0].removesuffix(".py")
            if package != "mpolab":
                found.setdefault(package, []).append(document)
    return found


def _package_bytes() -> dict[str, int]:
    """Bytes of source text of each installed package."""
    weights: dict[str, int] = {}
    for root in _roots():
        for path in _python_files(root):
            name = _package(root, path)
            if name != "mpolab":
                weights[name] = weights.get(name, 0) + path.stat().st_size
    return weights


def _package(root: Path, path: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def _deduplicated(documents: Iterable[Document]) -> list[Document]:
    """Each sentence where it occurs first; documents of which nothing is left are dropped."""
    seen: set[str] = set()
    kept = []
    for document in documents:
        fresh = tuple(s for s in dict.fromkeys(document.sentences) if s not in seen)
        seen.update(fresh)
        if fresh:
            kept.append(Document(document.name, fresh))
    return kept


def _split(documents: list[Document], seed: int, shares: dict[str, float]) -> dict[str, list[Document]]:
    """{"train": ..., and one part for each share of the words}; whole documents, in a seeded order.

    A document of more than a fifth of a part goes to training, so that no single file makes a test set.
    """
    order = list(documents)
    _shuffle(order, f"split {seed}")
    total = sum(document.words for document in order)
    parts: dict[str, list[Document]] = {"train": [], **{split: [] for split in shares}}
    filled = dict.fromkeys(shares, 0)
    for document in order:
        open_parts = [split for split, share in shares.items() if filled[split] < share * total]
        part = open_parts[0] if open_parts else "train"
        if part != "train" and document.words > max(200, 0.2 * shares[part] * total):
            part = "train"
        parts[part].append(document)
        if part != "train":
            filled[part] += document.words
    return parts


def _shuffle(items: list, seed: str) -> None:
    """In place; the same on every version of Python (which promises `random()` but not `shuffle`)."""
    draw = random.Random(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")).random
    for place in range(len(items) - 1, 0, -1):
        other = int(draw() * (place + 1))
        items[place], items[other] = items[other], items[place]


# ------------------------------------------------------------------------------------------------------------- prose

_ROLE = re.compile(r":[a-zA-Z:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}")
_TICKS = re.compile(r"`{1,2}([^`]*)`{1,2}_{0,2}")
_STARS = re.compile(r"(?<!\w)\*{1,2}([^*\s][^*]*?)\*{1,2}(?!\w)")
_TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " "})
# What no sentence of prose holds, and what starts a block that is none.
_CODE = re.compile(r"[{}<>=|\\#$@^~]|::|--|\]\[|https?:|www\.|\.\.\.|%[a-z(]|\) *:|\w\(\w+,|\[\w*\] *$|;$")
_FIELD = re.compile(r"^\s*(:\w|\.\. |@\w|(Args?|Returns?|Raises|Examples?|Notes?|Parameters|Yields|See Also):?\s*$)")
_ITEM = re.compile(r"^\s*([-*+•]|\d+[.)])\s+")
_TERM = re.compile(r"^\s*[\w.]+ ?: (?=[A-Z])")  # "timeout: The seconds to wait." is a sentence after its term
_DOCTEST = re.compile(r"^\s*(>>>|\.\.\. |\$ |\||\+-|In \[)")
_RULE = re.compile(r"^\s*([-=~^*+_#.|]\s*){3,}$")
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
_ABBREVIATED = re.compile(r"(\b(e\.g|i\.e|etc|cf|vs|resp|approx|Dr|Mr|Fig|Eq|al|No)|\b[A-Z])\.$")
_WORD = re.compile(r"([A-Z]?[a-z]+(['-][A-Za-z]+)*|[AI])$")


def prose(text: str) -> list[str]:
    """The whole sentences of prose in a docstring or a page of documentation, in order.

    A block (lines between blank lines, of one indentation, or an item of a list) is read if it is no code announced by
    "::", doctest, table, list of fields or heading; a sentence is kept if it begins with a capital, ends with a stop,
    has 5 to 60 words, and almost all of its words are words.
    """
    found = []
    for block in _blocks(inspect.cleandoc(text)):
        joined = _unmarked(" ".join(line.strip() for line in block))
        found += [sentence for sentence in _sentences(joined) if is_prose(sentence)]
    return found


def _blocks(text: str) -> Iterator[list[str]]:
    """Lines that belong together, without what is not prose."""
    announced, margin = False, 0  # "::" announces code, which lasts as long as lines are indented deeper
    for paragraph in _paragraphs(text.expandtabs().split("\n")):
        indent = _indent(paragraph[0])
        if announced and indent > margin:
            continue
        margin, announced = indent, paragraph[-1].rstrip().endswith("::")
        if any(_DOCTEST.match(line) for line in paragraph) or _FIELD.match(paragraph[0]):
            continue
        yield from (block for block in _pieces(paragraph) if not any("   " in line.strip() for line in block))


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Lines between blank lines or rules; a single line above a rule is a heading (or a table's) and left out."""
    paragraph: list[str] = []
    for line in [*lines, ""]:
        rule = bool(_RULE.match(line))
        if line.strip() and not rule:
            paragraph.append(line)
            continue
        if len(paragraph) > 1 or (paragraph and not rule):
            yield paragraph
        paragraph = []


def _pieces(paragraph: list[str]) -> Iterator[list[str]]:
    """The items of a list one by one; elsewhere a new piece where the indentation changes."""
    piece: list[str] = []
    hanging = False  # in an item, whose later lines are indented deeper
    for line in paragraph:
        starts = _ITEM.match(line) or _TERM.match(line)
        if piece and (starts or (_indent(line) != _indent(piece[-1]) and not hanging)):
            yield piece
            piece = []
        if starts:
            line, hanging = " " * _indent(line) + line[starts.end() :], True
        elif piece or not hanging:
            hanging = hanging and len(piece) == 1
        piece.append(line)
    yield piece


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unmarked(text: str) -> str:
    """Without the marks of reStructuredText and Markdown: :func:`open` and ``open`` are both open."""
    for pattern in (_ROLE, _LINK, _TICKS, _STARS):
        text = pattern.sub(r"\1", text)
    return re.sub(r"\s+", " ", text.translate(_TYPOGRAPHY)).strip()


def _sentences(text: str) -> Iterator[str]:
    start = ""
    for part in _END.split(text):
        start = f"{start} {part}" if start else part
        if not _ABBREVIATED.search(start):
            yield start
            start = ""
    if start:
        yield start


def is_prose(sentence: str) -> bool:
    """Whether this is a whole sentence of English, in which names of functions and the like are rare."""
    words = sentence.split()
    if not 5 <= len(words) <= 60 or not (sentence[0].isupper() or sentence[0] in "\"'") or sentence[-1] not in ".!?":
        return False
    if _CODE.search(sentence) or not sentence.isascii():
        return False
    plain = sum(bool(_WORD.match(word.strip("(\"',;:.!?)"))) for word in words)
    return plain >= 0.75 * len(words)
