"""Counts of neighbours against counting by hand."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from mpolab.features import IGNORE
from mpolab.ngrams import Counts, floors


def by_hand(ids, size, left, right):
    """Witten-Bell, read off dictionaries."""

    def backed(context, shorter):
        seen = Counter(w for c, w in context)
        if not seen:
            return shorter
        total = sum(seen.values()) + len(seen)
        return [(seen[w] + len(seen) * shorter[w]) / total for w in range(size)]

    once = Counter(ids)
    unigram = [(once[w] + 1) / (len(ids) + size) for w in range(size)]
    pairs = list(itertools.pairwise(ids))
    sides = []
    if left is not None:
        sides.append(backed([(a, b) for a, b in pairs if a == left], unigram))
    if right is not None:
        sides.append(backed([(b, a) for a, b in pairs if b == right], unigram))
    if not sides:
        return unigram
    beside = [sum(values) / len(sides) for values in zip(*sides)]
    if len(sides) < 2:
        return beside
    return backed([((a, c), b) for a, b, c in zip(ids, ids[1:], ids[2:]) if (a, c) == (left, right)], beside)


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(0, 6, 200).tolist()


@pytest.mark.parametrize("left", [None, 0, 3, 6])
@pytest.mark.parametrize("right", [None, 1, 5, 6])
def test_probabilities_are_those_counted_by_hand(ids, left, right):
    found = Counts(np.array(ids), 7).between(left, right)  # 6 never occurs
    np.testing.assert_allclose(found, by_hand(ids, 7, left, right), rtol=1e-12)
    assert found.sum() == pytest.approx(1) and (found > 0).all()


def test_floors_count_hidden_tokens_only(ids):
    counts = Counts(np.array([0, 1, 2] * 50 + [0]), 9)
    rows = [{"input_ids": [7, 0, 8, 2, 0, 7], "labels": [1, IGNORE, 1, IGNORE, 3, IGNORE]}]  # 7, 8 special
    found = floors(counts, rows, {7, 8})
    # token 1 between 0 and 2: the trigram knows; token 3 after 2 and before a special: 0 is likelier
    assert found["trigram"]["mlm_accuracy"] == 50 and found["unigram"]["mlm_accuracy"] == 0
    nll = -math.log(counts.unigram[1]) - math.log(counts.unigram[3])
    assert found["unigram"]["perplexity"] == pytest.approx(math.exp(nll / 2))
    nll = -math.log(counts.between(0, 2)[1]) - math.log(counts.between(2, None)[3])
    assert found["trigram"]["perplexity"] == pytest.approx(math.exp(nll / 2))
