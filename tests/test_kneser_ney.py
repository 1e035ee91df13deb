"""Kneser-Ney against the formula written out with dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpolab.errors import DataError
from mpolab.kneser_ney import KneserNey


class Written:
    """The formula of the module, term by term."""

    def __init__(self, ids, size, order):
        self.size, self.order = size, order
        grams = {n: Counter(tuple(ids[k : k + n]) for k in range(len(ids) - n + 1)) for n in range(1, order + 1)}
        self.c = {order: grams[order]}
        for n in range(1, order):
            before = defaultdict(set)
            for gram in grams[n + 1]:
                before[gram[1:]].add(gram[0])
            self.c[n] = {gram: len(found) for gram, found in before.items()}
        self.discount = {}
        for n, counts in self.c.items():
            once, twice = (sum(value == k for value in counts.values()) for k in (1, 2))
            self.discount[n] = once / (once + 2 * twice) if once else 0.5

    def p(self, word, history, n=None):
        n = self.order if n is None else n
        if n == 0:
            return 1 / self.size
        h = tuple(history[len(history) - n + 1 :])
        shorter = self.p(word, history, n - 1)
        if len(h) < n - 1:
            return shorter
        after = {gram[-1]: value for gram, value in self.c[n].items() if gram[:-1] == h and value}
        if not after:
            return shorter
        total, D = sum(after.values()), self.discount[n]
        return max(after.get(word, 0) - D, 0) / total + D * len(after) / total * shorter


texts = st.lists(st.integers(0, 4), min_size=5, max_size=40)


@given(texts, st.lists(st.integers(0, 4), max_size=12), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_probabilities_are_the_formulas(train, test, order):
    written = Written(train, 5, order)
    want = [written.p(word, test[:k]) for k, word in enumerate(test)]
    assert KneserNey(np.array(train), 5, order).probabilities(np.array(test, int)) == pytest.approx(want, rel=1e-12)


@given(texts, st.lists(st.integers(0, 4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_they_add_up_to_one(train, history):
    model = KneserNey(np.array(train), 5, 5)
    assert sum(model.probabilities(np.array([*history, word]))[-1] for word in range(5)) == pytest.approx(1)


def test_by_hand():
    """a b a c: bigrams ab, ba, ac; after a two kinds, c = 2, D = 3 / 3 = 1, so that all goes to the unigram below:
    a after {b}, b after {a}, c after {a}: 1 of 3 each, discounted by 1 as well, which leaves 1 / V.
    """
    model = KneserNey(np.array([0, 1, 0, 2]), 4, 2)
    assert model.probabilities(np.array([0, 1])) == pytest.approx([1 / 4, 1 / 4])
    more = KneserNey(np.array([0, 1, 0, 1, 0, 2]), 4, 2)  # ab 2, ba 2, ac 1: D = 1 / 5, below it D = 1 (a 1, b 1, c 1)
    assert more.probabilities(np.array([0, 1]))[1] == pytest.approx((2 - 0.2) / 3 + 0.2 * 2 / 3 / 4)


def test_nll_of_chosen_tokens():
    model, test = KneserNey(np.array([0, 1, 2, 0, 1, 1]), 3, 3), np.array([0, 1, 2, 2])
    found = model.probabilities(test)
    nll, tokens = model.nll(test, np.array([False, True, False, True]))
    assert (nll, tokens) == (pytest.approx(-math.log(found[1]) - math.log(found[3])), 2)


def test_bad_input():
    with pytest.raises(DataError, match="5"):
        KneserNey(np.arange(3), 3)
    with pytest.raises(DataError, match="vocabulary"):
        KneserNey(np.arange(6), 6).probabilities(np.array([6]))
    assert len(KneserNey(np.arange(6), 6).probabilities(np.zeros(0, int))) == 0
