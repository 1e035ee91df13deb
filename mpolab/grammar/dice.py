"""Chance that is the same on every machine and every version of Python.

Python promises the numbers of `random.Random(int).random()` for ever, but not what `choice`, `sample` or `shuffle` make
of them; and the order of a set changes from run to run. So everything the grammar draws is drawn here.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Of twenty buckets, which belong to whom. A key never changes its bucket, whatever the seed and the sizes are.
POOLS: dict[str, range] = {"train": range(0, 12), "dev": range(12, 16), "test": range(16, 20)}
_OWNERS = [pool for pool, buckets in POOLS.items() for _ in buckets]


class Dice:
    """A stream of choices from a seed. `seed` is any mix of numbers and strings: Dice(0, "MRPC", "train")."""

    def __init__(self, *seed: int | str):
        digest = hashlib.sha256(repr(seed).encode()).digest()
        self._next = random.Random(int.from_bytes(digest[:8], "big")).random

    def below(self, n: int) -> int:
        """A whole number 0 .. n-1."""
        return int(self._next() * n)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self._next() < p

    def one(self, items: Sequence[T]) -> T:
        return items[int(self._next() * len(items))]

    def pick(self, odds: dict[T, float]) -> T:
        """A key of `odds` with a probability proportional to its value."""
        left = self._next() * sum(odds.values())
        for key, weight in odds.items():
            if left < weight:
                return key
            left -= weight
        return next(reversed(odds))  # rounding took the last one's share

    def several(self, items: Sequence[T], k: int) -> list[T]:
        """k different ones, in random order."""
        pool = list(items)
        for place in range(k):
            other = place + self.below(len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.several(items, len(items))


def pool_of(key: str) -> str:
    """Which of POOLS a key (the bare words of a fact, say "doctor|help|lawyer") belongs to, for ever.

    Splits hold facts of their own pool only, so what is tested was never trained on, for any two seeds and sizes.
    """
    return _OWNERS[zlib.crc32(key.encode()) % 20]


def pool_of_split(split: str) -> str:
    """The pool that feeds a split: "dev_mismatched", "validation" and "select" draw from "dev", and so on."""
    if split.startswith("train"):
        return "train"
    return "dev" if split.startswith(("dev", "valid", "select")) else "test"
