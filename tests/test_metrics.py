"""Scores against hand-worked cases, another way of counting, and the papers' printed averages."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpolab import metrics
from mpolab.errors import DataError, UnknownNameError
from mpolab.tasks import TASKS

# ------------------------------------------------------------------------------------------------------------ GLUE


def test_hand_worked_scores():
    # Confusion of class 1: 3 true and 1 false positive, 2 false and 4 true negatives.
    predictions, labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    scores = metrics.glue("MRPC", predictions, labels)
    assert scores == pytest.approx({"accuracy": 70.0, "f1": 100 * 2 * 3 / (2 * 3 + 1 + 2)})
    scores = metrics.glue("CoLA", predictions, labels)
    assert scores["matthews"] == pytest.approx(100 * (3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6))
    assert metrics.glue("MNLI", [0, 1, 2, 2], [0, 1, 1, 2]) == {"accuracy": 75.0}
    # Ranks 1 2 3 4 against 1 3 2 4: rho = 1 - 6 * 2 / (4 * 15).
    scores = metrics.glue("STS-B", [0.1, 0.2, 0.3, 4.0], [1.0, 3.0, 2.0, 5.0])
    assert scores["spearman"] == pytest.approx(80.0)
    assert scores["pearson"] == pytest.approx(100 * np.corrcoef([0.1, 0.2, 0.3, 4.0], [1.0, 3.0, 2.0, 5.0])[0, 1])


numbers = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


@given(numbers)
def test_two_classes_by_their_formulas(pairs):
    predictions, labels = zip(*pairs)
    tp, tn = sum(p and y for p, y in pairs), sum(not p and not y for p, y in pairs)
    fp, fn = sum(p and not y for p, y in pairs), sum(not p and y for p, y in pairs)
    expected = {"accuracy": 100 * (tp + tn) / len(pairs), "f1": 100 * 2 * tp / max(1, 2 * tp + fp + fn)}
    assert metrics.glue("QQP", predictions, labels) == pytest.approx(expected)
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    matthews = 100 * (tp * tn - fp * fn) / root if root else 0.0
    assert metrics.glue("CoLA", predictions, labels)["matthews"] == pytest.approx(matthews)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 5)), min_size=1, max_size=20))
def test_correlations_are_never_nan(pairs):
    predictions, labels = zip(*pairs)
    for score in metrics.glue("STS-B", predictions, labels).values():
        assert -100.0001 <= score <= 100.0001


@pytest.mark.parametrize("name", ["CoLA", "STS-B"])
def test_what_is_constant_has_no_correlation(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.glue(name, [1, 1, 1], [0, 1, 1])[TASKS[name].main_metric] == 0.0
        assert metrics.glue(name, [0, 1, 1], [1, 1, 1])[TASKS[name].main_metric] == 0.0


def test_lists_arrays_tensors_and_names():
    for make in (list, np.array, torch.tensor, lambda values: [np.int64(value) for value in values]):
        assert metrics.glue("sst2", make([1, 0, 1]), make([1, 1, 1]))["accuracy"] == pytest.approx(200 / 3)
    assert metrics.glue("toy-RTE", [1], [1]) == metrics.glue("RTE-10k", [0], [0]) == {"accuracy": 100.0}
    assert all(set(task.metrics) <= {*metrics._METRICS, "exact_match"} for task in TASKS.values())


@pytest.mark.parametrize(
    ("task", "predictions", "labels", "message"),
    [
        ("RTE", [1, 0], [1], "2 predictions for 1 labels"),
        ("RTE", [], [], "nothing to score"),
        ("RTE", [2], [1], "prediction 0 is 2, expected a class number: 0 entailment, 1 not_entailment"),
        ("RTE", [0.5], [1], r"prediction 0 is 0\.5"),
        ("RTE", [1], [-1], "label 0 is -1"),
        ("RTE", [[0.2, 0.8]], [1], "two dimensions"),
        ("RTE", ["entailment"], [0], "'entailment', expected a number"),
        ("STS-B", [1.0, math.nan], [1.0, 2.0], r"predictions\[1\] is nan"),
        ("STS-B", [1.0, 2.0], [1.0, math.inf], r"labels\[1\] is inf"),
        ("SQuAD", [1], [1], r"scored by metrics\.squad"),
    ],
)
def test_bad_predictions(task, predictions, labels, message):
    with pytest.raises(DataError, match=message):
        metrics.glue(task, predictions, labels)


# -------------------------------------------------------------------------------------------------------- averages

MPOP = ("SST-2", "MNLI", "QNLI", "CoLA", "STS-B", "QQP", "MRPC", "RTE", "WNLI")
MPOBERT = ("MRPC", "SST-2", "CoLA", "RTE", "STS-B", "QQP", "MNLI", "QNLI", "SQuAD")
MULTITASK = ("MNLI", "QNLI", "SST-2", "RTE", "QQP", "CoLA", "MRPC", "STS-B")

# (average, columns, printed scores, printed average, what the scores give if that differs)
PRINTED = [
    # MPOP, Table 3
    ("mpop", MPOP, "90.6 84.5 89.4 53.4 88.2 89.1 88.5 71.1 54.9", "78.9", None),
    ("mpop", MPOP, "90.8 83.3 90.5 54.7 89.2 89.4 89.2 73.3 56.3", "79.7", 79.633),
    ("mpop", MPOP, "92.2 84.4 91.4 55.7 89.2 89.6 87.3 76.9 56.3", "80.3", None),
    ("mpop", MPOP, "93.0 84.3 91.3 56.0 89.2 89.0 88.0 78.3 56.3", "80.4", 80.6),
    ("mpop", MPOP, "86.6 79.2 81.9 15.0 82.5 87.0 74.3 54.2 56.3", "68.6", None),
    # MPOBERT, Table 1: dev, then test
    ("mpobert", MPOBERT, "89.0 90.6 53.4 71.1 88.2 89.1 84.5 89.4 89.3", "82.7", None),
    ("mpobert", MPOBERT, "84.6 93.6 52.5 79.8 90.1 88.1 85.0 91.7 90.6", "84.0", None),
    ("mpobert", MPOBERT, "90.3 92.3 55.2 71.8 90.5 90.1 84.7 91.2 90.1", "84.0", None),
    ("mpobert", MPOBERT, "90.3 94.4 58.1 75.5 91.1 90.2 87.0 92.6 92.3", "85.7", None),
    ("mpobert", MPOBERT, "90.8 94.7 58.3 77.3 91.4 89.5 86.3 92.0 92.3", "85.8", None),
    ("mpobert", MPOBERT, "91.4 93.8 56.3 79.1 89.9 90.8 86.4 92.4 91.6", "82.8", 85.744),
    ("mpobert", MPOBERT, "89.7 94.4 57.4 79.8 91.1 89.3 87.1 92.4 91.4", "86.0", 85.844),
    ("mpobert-test", MPOBERT, "88.7 94.0 51.7 73.7 86.9 69.1 84.9 91.8 90.6", "81.2", 81.267),
    ("mpobert-test", MPOBERT, "89.2 91.9 52.7 70.6 87.1 69.6 85.0 91.0 90.1", "80.8", None),
    ("mpobert-test", MPOBERT, "89.7 91.8 41.0 69.9 85.6 70.0 82.4 90.3 90.0", "78.7", 78.967),
    ("mpobert-test", MPOBERT, "88.9 93.5 52.1 66.4 85.8 71.2 84.6 90.5 88.5", "79.1", 80.167),
    ("mpobert-test", MPOBERT, "89.9 94.5 56.0 74.5 88.4 70.5 86.5 92.6 91.4", "82.7", None),
    # MPOBERT, Table 2
    ("mpobert-multitask", MULTITASK, "83.9 90.8 91.7 81.2 91.2 53.6 84.2 87.4", "83.0", None),
    ("mpobert-multitask", MULTITASK, "85.4 91.1 93.0 82.0 87.6 54.9 91.8 89.0", "84.4", None),
    ("mpobert-multitask", MULTITASK, "82.8 90.0 90.9 79.8 90.4 45.0 89.9 86.9", "82.0", None),
    ("mpobert-multitask", MULTITASK, "82.7 89.4 90.6 79.1 89.7 35.9 89.2 87.5", "80.5", None),
    # MPOE, Tables 1 and 2
    ("mpoe", MULTITASK, "87.16 94.12 96.80 88.60 90.63 67.63 93.65 91.97", "88.82", None),
    ("mpoe", MULTITASK, "87.78 93.82 94.72 71.74 91.11 53.49 89.16 91.16", "84.12", None),
    ("mpoe", MULTITASK, "87.60 93.30 94.81 77.13 90.81 65.53 93.14 91.17", "86.69", None),
    ("mpoe", MULTITASK, "87.78 93.93 94.83 77.42 91.61 65.90 91.14 91.65", "86.78", None),
    ("mpoe", MULTITASK, "87.73 93.51 92.50 75.41 91.12 54.93 89.21 90.75", "84.39", None),
    ("mpoe", MULTITASK, "87.83 93.89 94.73 75.51 91.17 65.85 90.10 90.92", "86.25", None),
]


@pytest.mark.parametrize(("paper", "columns", "scores", "printed", "recomputed"), PRINTED)
def test_the_papers_averages_from_their_own_scores(paper, columns, scores, printed, recomputed):
    assert set(metrics.AVERAGES[paper]) == set(columns)
    value = metrics.average(paper, dict(zip(columns, map(float, scores.split()))))
    unit = 10.0 ** -len(printed.partition(".")[2])
    if recomputed is None:
        assert abs(value - float(printed)) <= 0.5 * unit + 1e-6
    else:  # a slip in the print
        assert value == pytest.approx(recomputed, abs=1e-3) and abs(value - float(printed)) > 0.5 * unit
    as_scores = {task: {metrics.AVERAGES[paper][task]: float(score), "other": -1.0}
                 for task, score in zip(columns, scores.split())}  # fmt: skip
    assert metrics.average(paper, as_scores) == value


def test_the_papers_differ_in_what_they_average():
    assert {paper: table["STS-B"] for paper, table in metrics.AVERAGES.items()}["mpoe"] == "pearson"
    assert [metrics.AVERAGES[paper]["MRPC"] for paper in ("mpop", "mpobert", "mpoe")] == ["accuracy", "f1", "accuracy"]
    assert [len(metrics.AVERAGES[paper]) for paper in ("mpop", "mpobert", "mpoe")] == [9, 9, 8]
    assert metrics.AVERAGES["mpobert-test"]["QQP"] == metrics.AVERAGES["mpobert"]["SQuAD"] == "f1"
    assert all(table["CoLA"] == "matthews" and table["RTE"] == "accuracy" for table in metrics.AVERAGES.values())
    for table in metrics.AVERAGES.values():
        assert all(metric in TASKS[task].metrics for task, metric in table.items())


def test_averages_of_some_tasks_and_their_errors():
    scores = {"SST-2": 90.0, "toy-RTE": {"accuracy": 60.0}, "SQuAD": {"f1": 1.0}}
    assert metrics.average("mpop", scores, tasks=("sst2", "RTE")) == 75.0
    with pytest.raises(DataError, match="there is no score for MNLI, QNLI"):
        metrics.average("mpop", scores)
    with pytest.raises(DataError, match="no score for SQuAD"):
        metrics.average("mpop", scores, tasks=("SQuAD",))
    with pytest.raises(DataError, match="averages its matthews, and there is accuracy"):
        metrics.average("mpoe", {"CoLA": {"accuracy": 3.0}}, tasks=("CoLA",))
    with pytest.raises(DataError, match="two scores for RTE"):
        metrics.average("mpop", {"RTE": 1.0, "RTE-10k": 2.0})
    with pytest.raises(DataError, match="its score is nan"):
        metrics.average("mpop", {"RTE": math.nan}, tasks=("RTE",))
    with pytest.raises(UnknownNameError, match="Did you mean 'mpobert'"):
        metrics.average("mpobrt", scores)


# ----------------------------------------------------------------------------------------------------------- SQuAD

GOLD = [
    {"id": "1", "answers": {"text": ["the Old Mill", "Old Mill, Boll"], "answer_start": [0, 4]}},
    {"id": "2", "answers": {"text": ["12 km"], "answer_start": [3]}},
]
ARTICLES = [
    {
        "title": "Ax",
        "paragraphs": [
            {"context": "c", "qas": [{"id": "1", "question": "?", "answers": [
                {"text": "the Old Mill", "answer_start": 0}, {"text": "Old Mill, Boll", "answer_start": 4}]}]},
            {"context": "d", "qas": [{"id": "2", "question": "?", "answers": [{"text": "12 km", "answer_start": 3}]}]},
        ],
    }
]  # fmt: skip


def test_squad_by_hand():
    # "An old mill." is "old mill", as the first answer is. "12 km long" shares two words of 3 and 2: F1 = 4/5.
    given = {"1": "An old  mill.", "2": "12 km long"}
    expected = {"exact_match": 50.0, "f1": pytest.approx((100 + 80) / 2)}
    as_list = [{"id": key, "prediction_text": text} for key, text in given.items()]
    for predictions in (given, as_list):
        for references in (GOLD, ARTICLES, {"version": "1.1", "data": ARTICLES}):
            assert metrics.squad(predictions, references) == expected
    # The best of the gold answers counts: "old mill boll" against the second one, all three words.
    assert metrics.squad({"1": "Old Mill Boll", "2": "km"}, GOLD) == {
        "exact_match": 50.0,
        "f1": pytest.approx((100 + 100 * 2 / 3) / 2),
    }


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  The  Cat's\thut ", "cats hut"),
        ("A-b", "ab"),  # punctuation goes first, so that no article is left over
        ("an apple, a day", "apple day"),
        ("theatre Anna", "theatre anna"),
        ("the", ""),
        ("“quoted” — 1,000", "“quoted” — 1000"),  # only ASCII punctuation
    ],
)
def test_normalization(text, normal):
    assert metrics.normalize(text) == normal


pieces = st.lists(st.sampled_from(["the", "A", "cat", "Cat,", "dog's", "12", "é", "...", "  "]), max_size=7)


@given(pieces, pieces)
def test_squad_by_another_way_of_counting(prediction, answer):
    """Words that remain, and 2 common / (all of both)."""

    def left(words: list[str]) -> list[str]:
        plain = [word.lower().translate(str.maketrans("", "", ",.'")).strip() for word in words]
        return sorted(word for word in plain if word and word not in ("a", "the"))

    found, wanted = left(prediction), left(answer)
    rest = list(wanted)
    common = sum(rest.remove(word) is None for word in found if word in rest)
    expected = 2 * common / (len(found) + len(wanted)) if common else 0.0
    assert metrics.word_f1(" ".join(prediction), " ".join(answer)) == pytest.approx(expected)
    assert metrics.exact_match(" ".join(prediction), " ".join(prediction)) == 1.0
    if metrics.exact_match(" ".join(prediction), " ".join(answer)):
        assert found == wanted


def test_words_count_as_often_as_they_occur():
    assert metrics.word_f1("dog dog cat", "dog cat cat") == pytest.approx(2 / 3)


def test_missing_and_strange_predictions():
    with pytest.warns(UserWarning, match=r"1 of 2 questions have no prediction and count 0 \(2\)") as told:
        assert metrics.squad({"1": "the old mill"}, GOLD) == {"exact_match": 50.0, "f1": 50.0}
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match=r"1 of 3 predictions are for no question \(9\)"):
        assert metrics.squad({"1": "old mill", "2": "12 km", "9": "x"}, GOLD)["f1"] == 100.0
    with pytest.warns(UserWarning, match="2 of 2"):
        assert metrics.squad({}, GOLD) == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({"9": "x"}, GOLD, "no prediction is for one of the 2 questions"),
        ({"1": None}, GOLD, "None, expected a text"),
        ([{"id": "1", "text": "x"}], GOLD, "'prediction_text'"),
        ([{"id": "1", "prediction_text": "x"}] * 2, GOLD, "two predictions for the question '1'"),
        ({}, [], "no references"),
        ({}, [*GOLD, GOLD[0]], "occurs twice"),
        ({}, [{"id": "3", "answers": {"text": []}}], "no gold answer"),
        ({}, [{"id": "3"}], "cannot be read"),
        ({}, {"articles": []}, "references are a list"),
    ],
)
def test_bad_squad_input(predictions, references, message):
    with pytest.raises(DataError, match=message):
        metrics.squad(predictions, references)


# ------------------------------------------------------------------------------------------------------ perplexity


def test_perplexity():
    assert metrics.perplexity_of(10 * math.log(32), 10) == pytest.approx(32)
    assert metrics.perplexity_of(0.0, 1) == 1.0
    assert metrics.perplexity_of(1e6, 10) == math.inf
    for nll, tokens in ((1.0, 0), (math.nan, 3), (-1.0, 3)):
        with pytest.raises(DataError):
            metrics.perplexity_of(nll, tokens)
