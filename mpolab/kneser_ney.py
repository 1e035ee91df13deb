"""The n-gram model that a language model has to beat: interpolated Kneser-Ney, counted with sorted arrays.

    P(w | h) = max(c(h w) - D, 0) / c(h .) + D N(h .) / c(h .) * P(w | h')          h' = h without its oldest token

c: in the highest order how often h w occurs, below it after how many different tokens it does; N(h .): how many
different tokens follow h; D = n1 / (n1 + 2 n2), from the number of n-grams with c = 1 and c = 2. Below the unigram
stands 1 / V. Kneser and Ney (1995); Chen and Goodman (1999), section 2.7. Notebook 04, "The models".
"""

from __future__ import annotations

import math

import numpy as np

from .errors import DataError


class KneserNey:
    """Counts of a text, ids (tokens,) of a vocabulary of `size`, up to n-grams of `order` tokens.

    An n-gram's number is its place among all n-grams that occur, sorted by (number of the first n - 1 tokens, last
    token), so that keys stay small however large the vocabulary is. Raises DataError for fewer tokens than the order.
    """

    def __init__(self, ids: np.ndarray, size: int, order: int = 5):
        ids = np.asarray(ids, np.int64)
        if order < 1 or len(ids) < order:
            raise DataError(f"{len(ids)} tokens hold no n-gram of {order}: give more text, or an order of at least 1.")
        self.size, self.order = size, order
        self._keys: list[np.ndarray] = []  # of each order: (n-grams,) in rising order
        counts: list[np.ndarray] = []
        before, shorter = np.zeros(len(ids) + 1, np.int64), np.zeros(0, np.int64)  # number of the (n - 1)-gram before
        for n in range(1, order + 1):
            keys, first, number, count = np.unique(
                before[:-1] * size + ids[n - 1 :], return_index=True, return_inverse=True, return_counts=True
            )
            if n > 1:  # how many different tokens stand before an (n - 1)-gram: each n-gram has it as its end
                counts[-1] = np.bincount(shorter[first + 1], minlength=len(self._keys[-1]))
            self._keys.append(keys)
            counts.append(count)
            before = shorter = number  # of the n-grams that begin at token 0, 1, ...
        self._levels = [self._level(n, count) for n, count in enumerate(counts, 1)]

    def _level(self, n: int, count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """(c of each n-gram, c(h .) of each context, N(h .) of each context, D)"""
        contexts = 1 if n == 1 else len(self._keys[n - 2])
        context = self._keys[n - 1] // self.size
        total = np.bincount(context, count, minlength=contexts)
        kinds = np.bincount(context, count > 0, minlength=contexts)
        once, twice = int((count == 1).sum()), int((count == 2).sum())
        discount = once / (once + 2 * twice) if once else 0.5  # in a text without any n-gram that occurs once
        return count, total, kinds, discount

    def _numbers(self, n: int, before: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Those of the n-grams (number of the first n - 1 tokens, last token), -1 where they never occur."""
        keys = before * self.size + ids
        place = np.minimum(np.searchsorted(self._keys[n - 1], keys), len(self._keys[n - 1]) - 1)
        return np.where((before >= 0) & (self._keys[n - 1][place] == keys), place, -1)

    def probabilities(self, ids: np.ndarray) -> np.ndarray:
        """(tokens,): of each token of another text, after all tokens before it, of which order - 1 count."""
        ids = np.asarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.size:
            raise DataError(f"tokens from {ids.min()} to {ids.max()}, and the vocabulary has 0 to {self.size - 1}.")
        found = np.full(len(ids), 1 / self.size)
        context = np.zeros(len(ids), np.int64)  # number of the n - 1 tokens before each token; -1 = they never occur
        for n, (count, total, kinds, discount) in enumerate(self._levels, 1):
            number = self._numbers(n, context, ids)
            seen = context >= 0
            whole = np.where(seen, total[context], 0)
            known = whole > 0  # else nothing ever followed, and the shorter context says all there is to say
            own = np.maximum(np.where(number >= 0, count[number], 0) - discount, 0)
            rest = discount * kinds[context] * found
            found = np.where(known, (own + rest) / np.where(known, whole, 1), found)
            context = np.concatenate([[-1], number[:-1]])
        return found

    def nll(self, ids: np.ndarray, chosen: np.ndarray | None = None) -> tuple[float, int]:
        """(summed negative log-likelihood in nats, tokens) of a text; chosen: (tokens,) of booleans, which count."""
        found = self.probabilities(ids)
        if chosen is not None:
            found = found[chosen]
        return -math.fsum(np.log(found)), len(found)
