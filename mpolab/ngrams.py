"""What a count of neighbours knows of a hidden token: the floors that a masked language model has to pass.

unigram: how often each token occurs. trigram: which token stands between these two neighbours, with bigrams (the token
after the left one, before the right one) and the unigram behind it where such a pair is rare. Smoothed after Witten and
Bell (1991): a context that was seen n times, before u different tokens, gives u / (n + u) to the shorter contexts.
Notebook 03, "Pre-training".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .features import IGNORE

PIECE = 1 << 20  # tokens that are counted at once
_SIDES = ("both", "left", "right")


class Counts:
    """Counts of tokens and of their neighbours in a training text, ids (tokens,) of a vocabulary of `size`.

    contexts: {"both", "left", "right"} -> the only keys that will be asked for (see `contexts`); what is kept depends
    on them and not on the length of the text, which may lie on disk. None = all.
    """

    def __init__(self, ids: np.ndarray, size: int, contexts: Mapping[str, np.ndarray] | None = None):
        self.size = size
        once = np.zeros(size)
        found = {side: (np.zeros(0, np.int64), np.zeros(0, np.int64)) for side in _SIDES}
        for begin in range(0, len(ids), PIECE):
            piece = np.asarray(ids[begin : begin + PIECE + 2], dtype=np.int64)  # two more: the neighbours
            once += np.bincount(piece[:PIECE], minlength=size)
            left, middle, right = piece[:-2], piece[1:-1], piece[2:]
            pairs = piece[: PIECE + 1]
            keys = {
                "both": (left * size + right) * size + middle,
                "left": pairs[:-1] * size + pairs[1:],
                "right": pairs[1:] * size + pairs[:-1],
            }
            for side in _SIDES:
                new = keys[side] if contexts is None else keys[side][np.isin(keys[side] // size, contexts[side])]
                found[side] = _together(*found[side], new)
        self.unigram = (once + 1) / (once.sum() + size)  # a token that never occurs is possible
        self._found = found
        self._known: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}

    def _seen(self, context: str, key: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, counts) that occur in a context; of one token they are kept, as frequent ones are long to count."""
        if (context, key) in self._known:
            return self._known[context, key]
        keys, counts = self._found[context]
        begin, end = np.searchsorted(keys, (key * self.size, (key + 1) * self.size))
        found = keys[begin:end] % self.size, counts[begin:end]
        if context != "both":
            self._known[context, key] = found
        return found

    def _backed(self, context: str, key: int, shorter: np.ndarray) -> np.ndarray:
        tokens, counts = self._seen(context, key)
        total = counts.sum() + len(tokens)
        if not total:
            return shorter
        found = shorter * (len(tokens) / total)
        found[tokens] += counts / total
        return found

    def between(self, left: int | None, right: int | None) -> np.ndarray:
        """The probability of every token, (size,), between two neighbours; None: hidden too, or a special token."""
        sides = [(side, key) for side, key in (("left", left), ("right", right)) if key is not None]
        if not sides:
            return self.unigram
        beside = sum(self._backed(side, key, self.unigram) for side, key in sides) / len(sides)
        return beside if len(sides) < 2 else self._backed("both", left * self.size + right, beside)


def _together(keys: np.ndarray, counts: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys in rising order with their counts, and further keys that may occur often."""
    new, number = np.unique(more, return_counts=True)
    merged, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, place, np.concatenate([counts, number]))
    return merged, total


def _hidden(rows: Iterable[dict[str, Any]], special: set[int]) -> Iterator[tuple[int, int | None, int | None]]:
    """(token, its left neighbour, its right one) of each hidden token; a neighbour is what the row shows."""
    for row in rows:
        ids, labels = row["input_ids"], row["labels"]
        for k in range(1, len(ids)):
            if labels[k] != IGNORE:
                yield labels[k], *(None if ids[m] in special else ids[m] for m in (k - 1, k + 1))


def contexts(rows: Iterable[dict[str, Any]], special: set[int], size: int) -> dict[str, np.ndarray]:
    """The contexts that `floors` asks for on these rows, for `Counts`."""
    found: dict[str, set[int]] = {side: set() for side in _SIDES}
    for _, left, right in _hidden(rows, special):
        if left is not None:
            found["left"].add(left)
        if right is not None:
            found["right"].add(right)
        if left is not None and right is not None:
            found["both"].add(left * size + right)
    return {side: np.array(sorted(keys), np.int64) for side, keys in found.items()}


def floors(counts: Counts, rows: Iterable[dict[str, Any]], special: set[int]) -> dict[str, dict[str, float]]:
    """{"unigram", "trigram"} -> accuracy (per cent) and perplexity on the hidden tokens of pre-training rows.

    rows: features with "input_ids" and "labels" as `segments.Segments` makes them.
    """
    hits, nll, number = {"unigram": 0, "trigram": 0}, {"unigram": 0.0, "trigram": 0.0}, 0
    commonest = int(counts.unigram.argmax())
    for token, left, right in _hidden(rows, special):
        found = counts.between(left, right)
        number += 1
        hits["unigram"] += token == commonest
        hits["trigram"] += token == int(found.argmax())
        nll["unigram"] -= math.log(counts.unigram[token])
        nll["trigram"] -= math.log(found[token])
    return {
        name: {"mlm_accuracy": 100 * hits[name] / number, "perplexity": math.exp(nll[name] / number)} for name in hits
    }
