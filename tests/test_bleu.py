"""BLEU and Self-BLEU against a worked example, nltk, and the published formula written out."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, closest_ref_length, corpus_bleu, sentence_bleu

from mpolab import metrics
from mpolab.bleu import References
from mpolab.errors import DataError, UnknownNameError

METHODS = {"epsilon": SmoothingFunction().method1, "add-one": SmoothingFunction().method2}

texts = st.lists(st.sampled_from("a b c d e".split()), max_size=9).map(" ".join)
several = st.lists(texts, min_size=2, max_size=6)


def weights(n: int) -> tuple[float, ...]:
    return (1 / n,) * n


# ------------------------------------------------------------------------------------------------- the worked example


def test_worked_by_hand():
    # 6 words: "the" counts twice (the first reference has it twice), "cat", "sat", "on" once, "sofa" not: 5 of 6.
    # 5 pairs: "the cat", "cat sat", "sat on", "on the" of the first, "the sofa" of none: 4 of 5.
    # References of 6 and 3 words: the closest has 6, no penalty.
    references = ["the cat sat on the mat", "a sofa-bed stood"]
    found = metrics.bleu(["the cat sat on the sofa"], references, n=2)
    assert found == pytest.approx(100 * math.sqrt(5 / 6 * 4 / 5))
    # The classic: "the" seven times counts twice; no pair "the the", so 0.1 of 6; 7 words against 6 or 3: no penalty.
    assert metrics.bleu(["the the the the the the the"], references, 1) == pytest.approx(100 * 2 / 7)
    assert metrics.bleu(["the the the the the the the"], references, 2) == pytest.approx(100 * (2 / 7 * 0.1 / 6) ** 0.5)
    # Shorter than the closest reference: exp(1 - 3 / 2).
    assert metrics.bleu(["a sofa-bed"], references, 2) == pytest.approx(100 * math.exp(-0.5))


def test_self_bleu_worked_by_hand():
    # "a b" and "a b" are each other's double, 1. "a c": "a" of two, no pair of one, (1/2 * 0.1)^(1/2).
    assert metrics.self_bleu(["a b", "a b", "a c"], 2) == pytest.approx(100 * (2 + math.sqrt(0.05)) / 3)
    assert metrics.self_bleu(["x y z"] * 4, 3) == pytest.approx(100)
    assert metrics.self_bleu(["a b", "c d", "e"], 1) == 0
    # "a a" is in one text only; left out, "a" is left at most once.
    assert metrics.self_bleu(["a a", "a b"], 1) == pytest.approx(50)


# ---------------------------------------------------------------------------------------------------------- the oracle


@given(several, several, st.integers(1, 5), st.sampled_from(sorted(METHODS)))
def test_as_nltk_on_shared_references(generated, references, n, smoothing):
    split = [text.split() for text in references]
    cut = [text.split() for text in generated]
    expected = [sentence_bleu(split, words, weights(n), METHODS[smoothing]) for words in cut]
    found = metrics.bleu(generated, references, n, smoothing=smoothing)
    assert found == pytest.approx(100 * sum(expected) / len(expected))
    expected = corpus_bleu([split] * len(cut), cut, weights(n), METHODS[smoothing])
    assert metrics.bleu(generated, references, n, level="corpus", smoothing=smoothing) == pytest.approx(100 * expected)


@given(st.lists(st.tuples(texts, several), min_size=1, max_size=4), st.integers(1, 4))
def test_as_nltk_on_references_of_each_text(rows, n):
    generated, references = [text for text, _ in rows], [these for _, these in rows]
    split = [[one.split() for one in these] for these in references]
    cut = [text.split() for text in generated]
    expected = corpus_bleu(split, cut, weights(n), METHODS["epsilon"])
    assert metrics.bleu(generated, references, n, level="corpus") == pytest.approx(100 * expected)
    expected = sum(sentence_bleu(r, h, weights(n), METHODS["epsilon"]) for r, h in zip(split, cut)) / len(cut)
    assert metrics.bleu(generated, references, n) == pytest.approx(100 * expected)


@given(several, st.integers(1, 5), st.sampled_from(sorted(METHODS)))
def test_self_bleu_as_nltk_on_all_others(generated, n, smoothing):
    cut = [text.split() for text in generated]
    expected = [
        sentence_bleu(cut[:k] + cut[k + 1 :], words, weights(n), METHODS[smoothing]) for k, words in enumerate(cut)
    ]
    assert metrics.self_bleu(generated, n, smoothing=smoothing) == pytest.approx(100 * sum(expected) / len(expected))


@given(several, several)
def test_without_smoothing_by_the_formula(generated, references):
    total = Fraction(0)
    cut = [text.split() for text in references]
    for words in (text.split() for text in generated):
        if not words:
            continue
        grams = [tuple(words[k : k + 2]) for k in range(len(words) - 1)]
        share = []
        for mine, order in ((list(zip(words)), 1), (grams, 2)):
            theirs = [[tuple(r[k : k + order]) for k in range(len(r) - order + 1)] for r in cut]
            clipped = sum(min(mine.count(g), max(one.count(g) for one in theirs)) for g in set(mine))
            share.append(clipped / max(1, len(mine)))
        closest = min((len(r) for r in cut), key=lambda length: (abs(length - len(words)), length))
        total += Fraction(min(1, math.exp(1 - closest / len(words))) * math.sqrt(share[0] * share[1]))
    found = metrics.bleu(generated, references, 2, smoothing="none")
    assert found == pytest.approx(100 * float(total) / len(generated))


@given(st.lists(st.integers(0, 12), min_size=2, max_size=8), st.integers(0, 12))
def test_closest_length(lengths, wanted):
    known = References([["x"] * length for length in lengths], 1)
    assert known.closest(wanted) == closest_ref_length([["x"] * length for length in lengths], wanted)
    for k, length in enumerate(lengths):
        others = [["x"] * one for one in lengths[:k] + lengths[k + 1 :]]
        assert known.closest(length, without=length) == closest_ref_length(others, length)


@settings(max_examples=20)
@given(several, st.randoms(use_true_random=False))
def test_order_does_not_matter(generated, shuffled: random.Random):
    other = list(generated)
    shuffled.shuffle(other)
    assert metrics.self_bleu(other, 3) == pytest.approx(metrics.self_bleu(generated, 3))


# ----------------------------------------------------------------------------------------------------------- the edges


def test_texts_shorter_than_n():
    assert metrics.bleu(["a"], ["a"], 2) == pytest.approx(100 * math.sqrt(0.1))
    assert metrics.bleu(["a"], ["a"], 2, smoothing="none") == 0
    assert metrics.bleu(["", "a"], ["a"], 1) == pytest.approx(50)  # a model that wrote nothing


def test_words():
    assert metrics.words_and_marks("He said: \"don't, it's 3.5\"") == [
        "He", "said", ":", '"', "don't", ",", "it's", "3", ".", "5", '"',
    ]  # fmt: skip
    assert metrics.bleu(["The end."], ["The end ."], 1) < 60
    assert metrics.bleu(["The end."], ["The end ."], 1, tokenize=metrics.words_and_marks) == pytest.approx(100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.bleu([], ["a"]), "texts is empty"),
        (lambda: metrics.bleu(["a"], []), "without references"),
        (lambda: metrics.bleu(["a"], [["a"], ["b"]]), "1 texts and 2 lists"),
        (lambda: metrics.bleu(["a"], [[]]), r"references\[0\] is empty"),
        (lambda: metrics.bleu(["a"], ["a"], 0), "BLEU-0"),
        (lambda: metrics.bleu(["a"], ["a"], 1.5), r"BLEU-1\.5"),
        (lambda: metrics.bleu("a b", ["a"]), "one text, 'a b'"),
        (lambda: metrics.bleu(["a"], "a b"), "one text, 'a b'"),
        (lambda: metrics.bleu(["a", 3], ["a"]), r"texts\[1\] is 3"),
        (lambda: metrics.bleu(None, ["a"]), "a NoneType: give a list"),
        (lambda: metrics.self_bleu([]), "texts is empty"),
        (lambda: metrics.self_bleu(["a"]), "at least two"),
        (lambda: metrics.self_bleu(["a", "b"], -1), "BLEU--1"),
        (lambda: metrics.self_bleu([["a"], ["b"]]), r"texts\[0\] is \['a'\], expected a text"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="'epsilon'"):
        metrics.self_bleu(["a", "b"], smoothing="epsilom")
    with pytest.raises(UnknownNameError, match="level"):
        metrics.bleu(["a"], ["a"], level="sentence")
