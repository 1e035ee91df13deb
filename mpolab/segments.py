"""Running text as rows for pre-training: two neighbouring segments, [CLS] A [SEP] B [SEP], in their order or swapped.

The text is tokenized once, a document at a time, into arrays on disk that later runs find by their checksum; a row is
cut out of them when it is asked for. Masked tokens and the order of a row's two segments are functions of (seed, epoch,
row). ALBERT (Lan et al. 2020) section 3.1; MPOBERT (Liu et al. 2023) section 3.3.3; notebook 03, "Pre-training".
"""

from __future__ import annotations

import contextlib
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
from .features import MASKED_SHARE, Feature, Masker, stream
from .reading import Documents, parts_of
from .token_files import folder_name, found_or_made, is_whole, load_arrays, spread
from .whole import whole_folder

FORMAT = "mpolab.tokens/1"
_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])")
_PARAGRAPH = re.compile(r"\n\s*\n")
BATCH = 512  # sentences that are tokenized at once


def sentences(document: str) -> list[str]:
    """A document cut after . ! ? before a capital letter, and between paragraphs; nothing is left out but white space.

    No model of abbreviations: "Mr. Smith" is cut too. A row holds several of these, so little depends on it.
    """
    pieces = (piece for paragraph in _PARAGRAPH.split(document) for piece in _END.split(paragraph))
    return [text for piece in pieces if (text := " ".join(piece.split()))]


# -- tokens on disk ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """A split of a corpus as token numbers, mapped from disk.

    ids (tokens,); starts (tokens,): whether a word begins there. sentences (s + 1,): where each begins and the last
    ends. blocks (b, 2): first sentence and the one after the last, of neighbouring sentences of one document that fit
    into a row together.
    """

    ids: np.ndarray
    starts: np.ndarray
    sentences: np.ndarray
    blocks: np.ndarray

    def __len__(self) -> int:
        return len(self.blocks)


_ARRAYS = {"ids": ("<u4", (-1,)), "starts": ("|u1", (-1,)), "sentences": ("<i8", (-1,)), "blocks": ("<i8", (-1, 2))}


def tokenize(
    documents: Iterable[str], tokenizer: Any, max_length: int, folder: Path, label: str | None = None
) -> Tokens:
    """Tokenizes documents one after the other into `folder`, whole or not at all; returns the arrays mapped from there.

    The documents may be `reading.Documents`, which are longer than the memory. A sentence longer than a row is cut into
    rows. label: of a progress bar on stderr; None = no bar.
    Raises DataError where nothing is left to learn from.
    """
    room = max_length - 3  # [CLS] A [SEP] B [SEP]
    if room < 2:
        raise TrainingError(f"max_length={max_length} leaves no room for two segments; give at least 5.")
    # another process may have been faster, with the same arrays
    with whole_folder(folder, keep=partial(is_whole, load=load)) as stage:
        counts = _write(documents, tokenizer, room, stage, label)
        if not counts["blocks"]:
            raise DataError("the text has no tokens to learn from: it is empty, or holds white space only.")
        (stage / "about.json").write_text(json.dumps({"format": FORMAT, **counts}))
    return load(folder)


PIECE = 1 << 16
"""Characters of a document after which its sentences are tokenized; one that holds no end of a sentence is kept on."""


def _in_pieces(documents: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the document, some of its sentences): those of `sentences`, without holding a document as a whole."""
    here, text, most = -1, "", PIECE
    for number, part in parts_of(documents):
        if number != here:
            yield here, sentences(text)
            here, text, most = number, "", PIECE
        text += part
        if len(text) > most:
            end = _last_end(text)
            if end:
                yield here, sentences(text[:end])
                text = text[end:]
            most = max(PIECE, 2 * len(text))
    yield here, sentences(text)


def _last_end(text: str) -> int:
    """The last place where a text may be cut so that its sentences stay the same whatever follows; 0 = nowhere.

    Between paragraphs, where white space may follow; else before a sentence whose first letter is there.
    """
    for pattern in (_PARAGRAPH, _END):
        ends = [found.end() for found in pattern.finditer(text)]
        if ends:
            return ends[-1]
    return 0


def _write(documents: Iterable[str], tokenizer: Any, room: int, stage: Path, label: str | None) -> dict[str, int]:
    from tqdm import tqdm

    total = count = made = 0  # tokens, sentences and blocks so far
    begin = begin_total = 0  # the first sentence of the block under way, and the tokens before it
    here = -1
    bar = tqdm(desc=label, unit=" tokens", unit_scale=True, disable=label is None)
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(open(stage / name, "wb")) for name in _ARRAYS}
        stack.enter_context(bar)

        def write(name: str, values: Any) -> None:
            np.asarray(values, _ARRAYS[name][0]).tofile(files[name])

        def end_block() -> None:
            nonlocal begin, begin_total, made
            if total - begin_total > 1:  # two segments need two tokens
                write("blocks", (begin, count))
                made += 1
            begin, begin_total = count, total

        write("sentences", [0])
        for document, pieces in _in_pieces(documents):
            if document != here:
                end_block()
                here = document
            for k in range(0, len(pieces), BATCH):
                found = tokenizer(pieces[k : k + BATCH], add_special_tokens=False, verbose=False)
                before, offsets, kept, starts = total, [], [], []
                for ids, words in zip(found["input_ids"], map(found.word_ids, range(len(found["input_ids"])))):
                    for cut in range(0, len(ids), room):
                        piece = ids[cut : cut + room]
                        kept += piece
                        starts += (n == 0 or words[cut + n] != words[cut + n - 1] for n in range(len(piece)))
                        if total + len(piece) - begin_total > room:  # it does not fit into the block any more
                            end_block()
                        total, count = total + len(piece), count + 1
                        offsets.append(total)
                write("ids", kept)
                write("starts", starts)
                write("sentences", offsets)
                bar.update(total - before)
        end_block()
    return {"ids": total, "starts": total, "sentences": count + 1, "blocks": made}


def load(folder: Path) -> Tokens:
    """The arrays in a folder that `tokenize` wrote. Raises CheckpointError for one that is not whole."""
    return Tokens(**load_arrays(folder, FORMAT, _ARRAYS))


# -- rows ----------------------------------------------------------------------------------------------


class Segments(Dataset):
    """The rows of one split, made when asked for as `rows[epoch, number]` (or `rows[number]`, of an evaluation).

    A row is one block of `Tokens`, divided at a sentence (where it has only one, at a word) into A and B; with
    probability 1/2 they are swapped. "labels" holds in column 0, that of [CLS], 0 for A before B and 1 for swapped, and
    elsewhere the tokens that were hidden. numbers: which blocks, None = all. whole_words: all pieces of a word are
    hidden together. masked: the share that is hidden in training; an evaluation always hides 15 %.
    """

    def __init__(
        self,
        tokens: Tokens,
        tokenizer: Any,
        seed: int,
        numbers: Sequence[int] | None = None,
        whole_words: bool = False,
        masked: float = MASKED_SHARE,
    ):
        if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id):
            raise TrainingError(
                f"the tokenizer {type(tokenizer).__name__} has no mask, cls and sep tokens, so it cannot serve "
                "pre-training by masked tokens and sentence order."
            )
        self.tokens, self.seed, self.whole_words = tokens, seed, whole_words
        self.numbers = range(len(tokens)) if numbers is None else numbers
        self.cls, self.sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.masker, self.evaluation_masker = Masker(tokenizer, seed, masked), Masker(tokenizer, seed)
        self.score = scores

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: int | tuple[int, int]) -> Feature:
        epoch, number = key if isinstance(key, tuple) else (-1, key)
        (a, a_starts), (b, b_starts), swapped = self.pair(epoch, number)
        ids = [self.cls, *a, self.sep, *b, self.sep]
        feature = {
            "input_ids": ids,
            "token_type_ids": [0] * (len(a) + 2) + [1] * (len(b) + 1),
            "attention_mask": [1] * len(ids),
        }
        starts = [1, *a_starts, 1, *b_starts, 1] if self.whole_words else None
        masker = self.evaluation_masker if epoch < 0 else self.masker
        feature = masker(feature, epoch, number, starts)
        return {**feature, "labels": [int(swapped), *feature["labels"][1:]]}

    def pair(self, epoch: int, number: int) -> tuple[tuple[list, list], tuple[list, list], bool]:
        """(tokens and word starts of the segment that is shown first, of the second, whether they are swapped)."""
        first, last = self.tokens.blocks[self.numbers[number]]
        begin, end = int(self.tokens.sentences[first]), int(self.tokens.sentences[last])
        generator = stream(self.seed, epoch, number, 1)  # not the masks' stream
        cuts = self.tokens.sentences[first + 1 : last]
        if not len(cuts):  # one long sentence
            cuts = begin + 1 + np.flatnonzero(self.tokens.starts[begin + 1 : end])
        if not len(cuts):  # one long word
            cuts = [(begin + end) // 2]
        cut = int(cuts[int(torch.randint(len(cuts), (), generator=generator))])
        swapped = bool(torch.randint(2, (), generator=generator))
        parts = [
            (self.tokens.ids[piece].tolist(), self.tokens.starts[piece].tolist())
            for piece in (slice(begin, cut), slice(cut, end))
        ]
        return (parts[1], parts[0], True) if swapped else (*parts, False)


def scores(kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """From what `objectives.KINDS["pretraining"]` keeps, (rows, 5); accuracies in per cent."""
    nll, hits, tokens, order, right = kept.astype("float64").sum(0)
    return {
        "mlm_loss": float(nll / tokens),
        "perplexity": float(np.exp(nll / tokens)),
        "mlm_accuracy": float(100 * hits / tokens),
        "sop_loss": float(order / len(kept)),
        "sop_accuracy": float(100 * right / len(kept)),
    }


# -- a corpus ------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class TokenData:
    """A text's splits as `Tokens`, ready for `pretraining.pretrain`.

    splits: "train"; "valid", by which a step is chosen; "test", which is scored once. about: JSON for a record.
    most: rows of a split that are used, spread evenly over it; those that it does not name are used whole. masked: see
    `Segments`.
    """

    name: str
    splits: dict[str, Tokens]
    about: dict[str, Any] = field(default_factory=dict)
    whole_words: bool = False
    most: dict[str, int] = field(default_factory=dict)
    masked: float = MASKED_SHARE

    def rows(self, split: str, tokenizer: Any, seed: int) -> Segments:
        return Segments(self.splits[split], tokenizer, seed, self._numbers(split), self.whole_words, self.masked)

    def _numbers(self, split: str) -> Sequence[int]:
        return spread(len(self.splits[split]), self.most.get(split))

    def describe(self) -> dict[str, Any]:
        return {
            **self.about,
            "rows": {split: len(self._numbers(split)) for split in self.splits},
            "tokens": {split: len(tokens.ids) for split, tokens in self.splits.items()},
            "whole_words": self.whole_words,
        }

    def __repr__(self) -> str:
        return f"TokenData({self.name}: " + ", ".join(f"{k} {len(v):,} rows" for k, v in self.splits.items()) + ")"


HELD_OUT = 0.01
"""The share of train's documents' ends that becomes "valid" where a text has no test split."""
MOST_HELD_OUT = 200_000  # characters


def held_out(splits: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Three splits of documents: those given; or of train and valid: valid becomes test, and train's end valid.

    So the split that is reported never chooses. Whole documents are taken from the end of train if it has 100 or more,
    else the end of its last document. Lists give lists; of `reading.Documents` only the last one is read, at most.
    """
    if "test" in splits or "valid" not in splits:
        return {split: _as_given(texts) for split, texts in splits.items()}
    train = _as_given(splits["train"])
    lengths = train.characters if isinstance(train, Documents) else [len(text) for text in train]
    room = min(MOST_HELD_OUT, max(1, int(HELD_OUT * int(np.sum(lengths)))))
    taken = characters = 0
    while len(train) - taken > 100 and characters + lengths[-1 - taken] <= room:
        taken, characters = taken + 1, characters + int(lengths[-1 - taken])
    if taken:
        train, valid = train[:-taken], train[-taken:]
    elif isinstance(train, Documents):
        train, valid = train.cut_last(train.line_before(max(0, int(lengths[-1]) - room)))
    else:
        last = train.pop()
        cut = last.rfind("\n", 0, max(0, len(last) - room)) + 1
        train, valid = [*train, last[:cut]] if cut else train, [last[cut:]]
    if not len(train):
        raise DataError("the text is too short to hold a part of it out; give more of it, or files marked test.")
    return {"train": train, "valid": valid, "test": _as_given(splits["valid"])}


def _as_given(texts: Sequence[str]) -> Sequence[str]:
    return texts if isinstance(texts, Documents) else list(texts)


def token_folder(name: str, split: str, documents: Sequence[str], tokenizer: Any, max_length: int, root: Path) -> Path:
    """Where the tokens of a split lie: named after all that decides what they are."""
    digest = hashlib.sha256(f"{FORMAT}/{max_length}/".encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    for _, piece in parts_of(documents):
        digest.update(piece.encode())
    return root / folder_name(name, split, digest.hexdigest())


def prepare(
    name: str,
    splits: dict[str, Sequence[str]],
    tokenizer: Any,
    max_length: int,
    root: Path,
    whole_words: bool = False,
    progress: bool = True,
    about: dict[str, Any] | None = None,
    most: dict[str, int] | None = None,
) -> TokenData:
    """Documents by split -> their tokens, from the cache in `root` where they are whole there, else made now."""
    found = found_or_made(
        name, splits, lambda split, texts: token_folder(name, split, texts, tokenizer, max_length, root), load,
        lambda texts, folder, label: tokenize(texts, tokenizer, max_length, folder, label), progress,
    )  # fmt: skip
    return TokenData(name, found, about or {}, whole_words, most or {})
