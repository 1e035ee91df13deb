"""Running text as one long stream of tokens on disk, for models that write: GPT-2 (next token), T5 (hidden spans).

White space is evened out within a paragraph, which ends in a newline; a document ends in the end-of-text token. A row
is a window of the stream; in which windows of a text spans are hidden, and where, is a function of (seed, epoch, row).
GPT-2: Radford et al. (2019). T5: Raffel et al. (2020), section 3.1.4. Notebook 04, "The models".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from .errors import DataError, TrainingError
from .features import IGNORE, Feature, stream
from .metrics import perplexity_of
from .reading import parts_of
from .token_files import folder_name, found_or_made, is_whole, load_arrays, spread
from .whole import whole_folder

FORMAT = "mpolab.stream/1"
T5_SPANS = (0.15, 3.0)
"""Of a window's tokens T5 hides such a share, in spans of so many on average (section 3.3.4: its choice)."""

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
LONGEST = 1 << 17  # characters after which a paragraph without an end is cut at white space
BATCH = 512  # paragraphs that are tokenized at once


# -- tokens on disk ------------------------------------------------------------------------------------


def paragraphs(documents: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number of the document, a paragraph on one line), without holding a document as a whole."""
    here, text = -1, ""
    for number, part in parts_of(documents):
        if number != here:
            if line := " ".join(text.split()):
                yield here, line
            here, text = number, ""
        text += part
        *whole, text = _PARAGRAPH.split(text)
        if len(text) > LONGEST:
            end = "" if not text[-1].isspace() else " "  # a word that ends here goes on with no other
            pieces = text.rsplit(None, 1)
            whole, text = [*whole, pieces[0]], pieces[1] + end if len(pieces) > 1 else ""
        for paragraph in whole:
            if line := " ".join(paragraph.split()):
                yield here, line
    if line := " ".join(text.split()):
        yield here, line


def tokenize(documents: Iterable[str], tokenizer: Any, folder: Path, label: str | None = None) -> np.ndarray:
    """Tokenizes documents one after the other into `folder`, whole or not at all; ids (tokens,), mapped from there.

    label: of a progress bar on stderr; None = no bar. Raises DataError where nothing is left to learn from.
    """
    from tqdm import tqdm

    with whole_folder(folder, keep=partial(is_whole, load=load)) as stage:
        total, here, held = 0, -1, []
        bar = tqdm(desc=label, unit=" tokens", unit_scale=True, disable=label is None)
        with open(stage / "ids", "wb") as file, bar:

            def flush(ends: bool) -> int:
                found = tokenizer([text + "\n" for text in held], add_special_tokens=False, verbose=False)["input_ids"]
                ids = [token for row in found for token in row] if held else []
                ids += [tokenizer.eos_token_id] if ends else []
                np.asarray(ids, "<u4").tofile(file)
                held.clear()
                bar.update(len(ids))
                return len(ids)

            for number, text in paragraphs(documents):
                if number != here and here >= 0:
                    total += flush(ends=True)
                here = number
                held.append(text)
                if len(held) == BATCH:
                    total += flush(ends=False)
            if here >= 0:
                total += flush(ends=True)
        if total < 3:
            raise DataError("the text has no tokens to learn from: it is empty, or holds white space only.")
        (stage / "about.json").write_text(json.dumps({"format": FORMAT, "ids": total}))
    return load(folder)


def load(folder: Path) -> np.ndarray:
    """The array in a folder that `tokenize` wrote. Raises CheckpointError for one that is not whole."""
    return load_arrays(folder, FORMAT, {"ids": ("<u4", (-1,))})["ids"]


# -- rows ----------------------------------------------------------------------------------------------


class Windows(Dataset):
    """Windows of `length` tokens, one after the other, in which each token but the first is predicted.

    numbers: which windows, None = all (the last one may be shorter, but has at least two tokens).
    """

    def __init__(self, ids: np.ndarray, length: int, numbers: Sequence[int] | None = None):
        if length < 2:
            raise TrainingError(f"max_length={length} leaves no room for text; give at least 2.")
        self.ids, self.length = ids, length
        self.numbers = range(windows_in(ids, length)) if numbers is None else numbers
        self.score = _perplexity

    def __len__(self) -> int:
        return len(self.numbers)

    def span(self, number: int) -> slice:
        """Where in the stream a row lies."""
        begin = self.numbers[number] * self.length
        return slice(begin, min(begin + self.length, len(self.ids)))

    def __getitem__(self, key: int | tuple[int, int]) -> Feature:
        ids = self.ids[self.span(key[1] if isinstance(key, tuple) else key)].tolist()
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORE, *ids[1:]]}

    def predicted(self) -> np.ndarray:
        """(tokens of the stream,) of booleans: which tokens all rows together predict."""
        found = np.zeros(len(self.ids), bool)
        for number in range(len(self)):
            found[self.span(number)] = True
            found[self.span(number).start] = False
        return found


class Corrupted(Windows):
    """Windows in which spans are hidden: the source shows a sentinel in place of each, the target names them.

        source: Thank you <0> me to your party <1> .  </s>        target: <0> for inviting <1> last week </s>

    sentinels: the numbers of the special tokens that stand for the spans, the first first. spans: (share of the tokens
    that is hidden, mean length of a span).
    """

    def __init__(
        self,
        ids: np.ndarray,
        length: int,
        tokenizer: Any,
        seed: int,
        sentinels: Sequence[int],
        numbers: Sequence[int] | None = None,
        spans: tuple[float, float] = T5_SPANS,
    ):
        super().__init__(ids, length, numbers)
        count = spans_in(length, spans)[1]
        if count > len(sentinels):
            raise TrainingError(
                f"a window of {length} tokens has {count} hidden spans, and the vocabulary names {len(sentinels)}: "
                "shorter windows, or a vocabulary with more sentinels."
            )
        self.seed, self.sentinels, self.spans, self.end = seed, list(sentinels), spans, tokenizer.eos_token_id
        self.score = _hidden_perplexity

    def hidden(self, epoch: int, number: int) -> np.ndarray:
        """(tokens of the row,) of booleans."""
        span = self.span(number)
        return hidden_spans(span.stop - span.start, stream(self.seed, epoch, number), self.spans)

    def __getitem__(self, key: int | tuple[int, int]) -> Feature:
        epoch, number = key if isinstance(key, tuple) else (-1, key)
        source, target = corrupt(self.ids[self.span(number)], self.hidden(epoch, number), self.sentinels)
        source, target = [*source, self.end], [*target, self.end]
        return {"input_ids": source, "attention_mask": [1] * len(source), "labels": target}

    def predicted(self) -> np.ndarray:
        """Those of an evaluation that are hidden; ends of documents do not count, as an end closes each target too."""
        found = np.zeros(len(self.ids), bool)
        for number in range(len(self)):
            found[self.span(number)] = self.hidden(-1, number)
        return found & (self.ids != self.end)


def windows_in(ids: np.ndarray, length: int) -> int:
    """How many windows with at least two tokens a stream has."""
    whole, rest = divmod(len(ids), length)
    return whole + (rest > 1)


def spans_in(length: int, spans: tuple[float, float] = T5_SPANS) -> tuple[int, int]:
    """(hidden tokens, spans) of a window; at least one of each, and one token stays."""
    share, span = spans
    hidden = min(max(round(length * share), 1), length - 1)
    return hidden, min(max(round(hidden / span), 1), length - hidden)


def hidden_spans(length: int, generator: torch.Generator, spans: tuple[float, float] = T5_SPANS) -> np.ndarray:
    """(length,) of booleans: spans of random lengths, with tokens that stay before each of them, as in T5's own code.

    All ways to divide the hidden tokens into spans, and those that stay into gaps, are equally likely.
    """
    hidden, count = spans_in(length, spans)
    lengths = np.stack([_divided(length - hidden, count, generator), _divided(hidden, count, generator)], 1)
    return np.repeat(np.tile([False, True], count), lengths.ravel())  # gap, span, gap, span, ...


def _divided(total: int, parts: int, generator: torch.Generator) -> np.ndarray:
    """(parts,) whole numbers of at least 1 that add up to `total`, each such division as likely as any other."""
    cuts = torch.randperm(total - 1, generator=generator)[: parts - 1].sort().values.numpy() + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def corrupt(ids: np.ndarray, hidden: np.ndarray, sentinels: Sequence[int]) -> tuple[list[int], list[int]]:
    """(source, target) of one window: each hidden span becomes a sentinel; the target has it, then what it hides."""
    source, target, used = [], [], 0
    for place, token in enumerate(ids.tolist()):
        if not hidden[place]:
            source.append(token)
            continue
        if not place or not hidden[place - 1]:
            source.append(sentinels[used])
            target.append(sentinels[used])
            used += 1
        target.append(token)
    return source, target


def _perplexity(kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """From (rows, 2): the sum of negative log-likelihoods in nats, the number of tokens."""
    nll, tokens = kept.astype("float64").sum(0)
    return {"perplexity": perplexity_of(float(nll), float(tokens))}


def _hidden_perplexity(kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """From (rows, 4), as `objectives.of_spans` keeps them: of the hidden tokens, without sentinels and ends."""
    _, _, nll, tokens = kept.astype("float64").sum(0)
    return {"perplexity": perplexity_of(float(nll), float(tokens))}


# -- a corpus ------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class StreamData:
    """A text's splits as streams of tokens, ready for `training.pretrain`.

    splits: "train"; "valid", by which a step is chosen; "test", which is scored once: ids (tokens,) of each. length:
    tokens of a window. sentinels: None = the next token is predicted (causal); else spans are hidden. spans: share and
    mean length of those of "train"; the other splits hide what T5 hides. about: JSON for a record. most: windows of a
    split that are used, spread evenly over it; those that it does not name are used whole.
    """

    name: str
    splits: dict[str, np.ndarray]
    length: int
    sentinels: tuple[int, ...] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    spans: tuple[float, float] = T5_SPANS

    def rows(self, split: str, tokenizer: Any, seed: int) -> Windows:
        if split not in self.splits:
            raise DataError(f"the text {self.name} has no split {split!r}; there are {', '.join(self.splits)}.")
        ids, numbers = self.splits[split], self._numbers(split)
        if self.sentinels is None:
            return Windows(ids, self.length, numbers)
        spans = self.spans if split == "train" else T5_SPANS
        return Corrupted(ids, self.length, tokenizer, seed, self.sentinels, numbers, spans)

    def _numbers(self, split: str) -> Sequence[int]:
        return spread(windows_in(self.splits[split], self.length), self.most.get(split))

    def describe(self) -> dict[str, Any]:
        return {
            **self.about,
            "rows": {split: len(self._numbers(split)) for split in self.splits},
            "tokens": {split: len(ids) for split, ids in self.splits.items()},
            "window": self.length,
        }

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {len(ids):,} tokens" for split, ids in self.splits.items())
        return f"StreamData({self.name}: {counts})"


def prepare(
    name: str,
    splits: Mapping[str, Sequence[str]],
    tokenizer: Any,
    length: int,
    root: Path,
    sentinels: Sequence[int] | None = None,
    progress: bool = True,
    about: dict[str, Any] | None = None,
    most: dict[str, int] | None = None,
) -> StreamData:
    """Documents by split -> their tokens, from the cache in `root` where they are whole there, else made now."""
    found = found_or_made(
        name, splits, lambda split, texts: _folder(name, split, texts, tokenizer, root), load,
        lambda texts, folder, label: tokenize(texts, tokenizer, folder, label), progress,
    )  # fmt: skip
    return StreamData(name, found, length, None if sentinels is None else tuple(sentinels), about or {}, most or {})


def _folder(name: str, split: str, documents: Sequence[str], tokenizer: Any, root: Path) -> Path:
    """Where the tokens of a split lie: named after all that decides what they are."""
    digest = hashlib.sha256(f"{FORMAT}/".encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    for number, piece in parts_of(documents):
        digest.update(f"{number}/{piece}".encode())
    return root / folder_name(name, split, digest.hexdigest())
