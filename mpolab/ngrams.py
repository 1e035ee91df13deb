"""What a count of neighbours knows of a hidden token: the floors that a masked language model has to pass.

unigram: how often each token occurs. trigram: which token stands between these two neighbours, with bigrams (the token
after the left one, before the right one) and the unigram behind it where such a pair is rare. Smoothed after Witten and
Bell (1991): a context that was seen n times, before u different tokens, gives u / (n + u) to the shorter contexts.
Notebook 03, "Pre-training".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .features import IGNORE


class Counts:
    """Counts of tokens and of their neighbours in a training text, ids (tokens,) of a vocabulary of `size`."""

    def __init__(self, ids: np.ndarray, size: int):
        ids = np.asarray(ids, dtype=np.int64)
        self.size = size
        once = np.bincount(ids, minlength=size).astype(np.float64)
        self.unigram = (once + 1) / (once.sum() + size)  # a token that never occurs is possible
        left, middle, right = ids[:-2], ids[1:-1], ids[2:]
        self._keys = {
            "both": np.sort((left * size + right) * size + middle),
            "left": np.sort(ids[:-1] * size + ids[1:]),
            "right": np.sort(ids[1:] * size + ids[:-1]),
        }
        self._known: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}

    def _seen(self, context: str, key: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, counts) that occur in a context; of one token they are kept, as frequent ones are long to count."""
        if (context, key) in self._known:
            return self._known[context, key]
        keys = self._keys[context]
        begin, end = np.searchsorted(keys, (key * self.size, (key + 1) * self.size))
        found = np.unique(keys[begin:end] % self.size, return_counts=True)
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


def floors(counts: Counts, rows: Iterable[dict[str, Any]], special: set[int]) -> dict[str, dict[str, float]]:
    """{"unigram", "trigram"} -> accuracy (per cent) and perplexity on the hidden tokens of pre-training rows.

    rows: features with "input_ids" and "labels" as `segments.Segments` makes them; a neighbour is what the row shows.
    """
    hits, nll, number = {"unigram": 0, "trigram": 0}, {"unigram": 0.0, "trigram": 0.0}, 0
    commonest = int(counts.unigram.argmax())
    for row in rows:
        ids, labels = row["input_ids"], row["labels"]
        for k in range(1, len(ids)):
            if labels[k] == IGNORE:
                continue
            before, after = (None if ids[m] in special else ids[m] for m in (k - 1, k + 1))
            found = counts.between(before, after)
            number += 1
            hits["unigram"] += labels[k] == commonest
            hits["trigram"] += labels[k] == int(found.argmax())
            nll["unigram"] -= math.log(counts.unigram[labels[k]])
            nll["trigram"] -= math.log(found[labels[k]])
    return {
        name: {"mlm_accuracy": 100 * hits[name] / number, "perplexity": math.exp(nll[name] / number)} for name in hits
    }
