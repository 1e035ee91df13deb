"""`offline_task`: rows for every task type from the grammar, any number from a seed.

One line of OFFLINE per task. Labels come in the proportions of the original set, block by block, so that a longer set
begins with a shorter one. Splits never share a row, nor, since each split's speaker owns its facts, what a row is
about (`dice.pool_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import DataError, unknown
from . import acceptability, answers, inference, meanings, opinions, probes, pronouns
from .dice import Dice, pool_of_split
from .facts import Speaker

DEFAULT_SIZES = {"train": 1000, "dev": 500, "test": 500}
PATIENCE = 3000  # repeated rows in a row before a set counts as exhausted


@dataclass(frozen=True)
class Offline:
    """How rows of a task are made.

    make: (speaker, label, mismatched) -> a row without id and label, or several of them (questions about one
    paragraph). block: the labels of so many successive rows, shuffled each time.
    """

    make: Callable[[Speaker, float, bool], dict | list[dict]]
    block: tuple[float, ...]
    sizes: Mapping[str, int] | None = None


def _single(make: Callable[[Speaker, bool], str]) -> Callable:
    return lambda speaker, label, mismatched: {"text": make(speaker, bool(label))}


def _pair(make: Callable[[Speaker, bool], tuple[str, str]], true: int = 1) -> Callable:
    """true: the label that stands for "yes" (QNLI and RTE count the other way)."""
    return lambda speaker, label, mismatched: _two(make(speaker, label == true))


def _two(texts: tuple[str, str]) -> dict:
    return {"text": texts[0], "text_pair": texts[1]}


def _mnli(speaker: Speaker, label: float, mismatched: bool) -> dict:
    genre = inference.ANIMALS if mismatched else inference.PEOPLE
    return _two(inference.pair(speaker, inference.LABELS[int(label)], genre))


def _snli(speaker: Speaker, label: float, mismatched: bool) -> dict:
    name = inference.LABELS[int(label)]
    return _two(inference.pair(speaker, name, quantifiers=inference.SNLI_QUANTIFIERS, tense="present"))


def _diagnostic(speaker: Speaker, label: float, mismatched: bool) -> dict:
    genre = (*inference.PEOPLE, *inference.ANIMALS)
    return _two(inference.pair(speaker, inference.LABELS[int(label)], genre))


def _probe(name: str) -> Callable:
    return lambda speaker, label, mismatched: {"text": probes.probe(speaker, name, int(label))}


_MNLI_SIZES = {"train": 1000, "dev": 500, "dev_mismatched": 500, "test": 500, "test_mismatched": 500}
_TWO = (0, 1)
_THREE = (0, 1, 2)

OFFLINE: dict[str, Offline] = {
    "CoLA": Offline(_single(acceptability.sentence), (0,) * 3 + (1,) * 7),
    "SST-2": Offline(_single(opinions.sentence), _TWO),
    "MRPC": Offline(_pair(meanings.paraphrase), (0, 1, 1)),
    "STS-B": Offline(lambda s, label, _: _two(meanings.similar(s, label)), tuple(k / 2 for k in range(11))),
    "QQP": Offline(_pair(meanings.duplicate), (0,) * 5 + (1,) * 3),
    "MNLI": Offline(_mnli, _THREE, _MNLI_SIZES),
    "QNLI": Offline(_pair(answers.answerable, true=0), _TWO),
    "RTE": Offline(_pair(inference.passage, true=0), _TWO),
    "WNLI": Offline(_pair(pronouns.resolved), _TWO),
    "diagnostic": Offline(_diagnostic, _THREE, {"test": 500}),
    "SNLI": Offline(_snli, _THREE),
    "SQuAD": Offline(lambda s, label, _: answers.span_questions(s), (None,), {"train": 1000, "dev": 500}),
    "IMDB": Offline(_single(opinions.review), _TWO, {"train": 1000, "dev": 500}),
    "probing": Offline(lambda s, label, _: probes.features(s), (None,)),
} | {f"probing-{name}": Offline(_probe(name), tuple(range(len(labels)))) for name, labels in probes.PROBES.items()}
"""Every task of the grammar. Labels are numbered as in `mpolab.tasks`; of the probing tasks as in PROBES."""


def offline_task(name: str, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, list[dict]]:
    """{split: rows} of a task of OFFLINE; rows are laid out as in `mpolab.tasks`, and test rows have their labels.

    sizes: {split: rows}, by default 1,000 for training and 500 for each of the others. Any split names may be used:
    those that begin with "train" draw on the training pool, "dev", "valid" and "select" on the dev pool, all others on
    the test pool; "..._mismatched" of MNLI speaks of animals instead of people. A split's rows depend on the name, the
    seed and the split only, so a longer split begins with a shorter one. Ten thousand rows take one to three seconds.

    "probing" gives sentences with a bracketed tree and all features that an undamaged sentence has; "probing-tense" and
    so on are classification tasks.

    Raises UnknownNameError for a task that is not in OFFLINE; DataError for sizes below 1 or that are no whole numbers,
    for a seed that is none, and for more rows than the grammar can make.
    """
    if name not in OFFLINE:
        raise unknown("offline task", name, OFFLINE)
    task = OFFLINE[name]
    sizes = dict(sizes if sizes is not None else task.sizes or DEFAULT_SIZES)
    if not sizes:
        raise DataError("sizes={} asks for no split at all; for example {'train': 1000, 'dev': 500}.")
    for split, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DataError(
                f"sizes[{split!r}] is {size!r}; a split has at least one row (a whole number). Leave a split out to "
                "have none of it."
            )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise DataError(f"seed {seed!r} is no whole number; seed=0 is the default.")
    seen: set[tuple[str, ...]] = set()
    return {split: _rows(name, task, str(split), size, seed, seen) for split, size in sizes.items()}


def _rows(name: str, task: Offline, split: str, size: int, seed: int, seen: set[tuple[str, ...]]) -> list[dict]:
    dice = Dice("mpolab.grammar", name, split, seed)
    speaker = Speaker(dice, pool_of_split(split))
    rows: list[dict] = []
    labels: list[float] = []
    repeated = 0
    while len(rows) < size:
        if not labels:
            labels = dice.shuffled(task.block)
        label = labels[-1]
        made = task.make(speaker, label, split.endswith("mismatched"))
        made = [made] if isinstance(made, dict) else made
        # Questions share their paragraph; everything else must differ in its texts, in either order.
        key = (made[0]["context"],) if "context" in made[0] else tuple(sorted(_texts(made[0])))
        if key in seen:
            repeated += 1
            if repeated > PATIENCE:
                raise DataError(
                    f"the grammar makes no more than about {len(rows):,} different rows of {name} for the split "
                    f"{split!r}; {size:,} were asked for."
                )
            continue
        repeated = 0
        seen.add(key)
        labels.pop()
        for row in made[: size - len(rows)]:
            identified = {"id": f"{name}-{split}-{len(rows)}", **row}
            if label is not None:
                identified["label"] = label
            rows.append(identified)
    return rows


def _texts(row: dict) -> list[str]:
    return [row[key].casefold() for key in ("text", "text_pair") if key in row]
