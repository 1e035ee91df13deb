"""GLUE as text against rows written out by hand, and the halves of a dev set."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpolab import metrics
from mpolab.errors import DataError, DataNotFoundError, UnknownNameError
from mpolab.sampling import content
from mpolab.tasks import TASKS, TaskData
from mpolab.text_to_text import (
    FIELDS,
    SMALL,
    half_of_dev,
    paper_splits,
    read_label,
    score_texts,
    source_text,
    target_text,
    text_pairs,
)

PAIR = {"text": "One.", "text_pair": "Two."}

# What T5's own preprocessors make of such rows (fields in alphabetical order), for every class.
BY_HAND = [
    ("CoLA", {"text": "He ran.", "label": 1}, "cola sentence: He ran.", "acceptable"),
    ("CoLA", {"text": "Ran he.", "label": 0}, "cola sentence: Ran he.", "unacceptable"),
    ("SST-2", {"text": "so dull", "label": 0}, "sst2 sentence: so dull", "negative"),
    ("SST-2", {"text": "a joy", "label": 1}, "sst2 sentence: a joy", "positive"),
    ("MRPC", {**PAIR, "label": 1}, "mrpc sentence1: One. sentence2: Two.", "equivalent"),
    ("MRPC", {**PAIR, "label": 0}, "mrpc sentence1: One. sentence2: Two.", "not_equivalent"),
    ("QQP", {**PAIR, "label": 0}, "qqp question1: One. question2: Two.", "not_duplicate"),
    ("QQP", {**PAIR, "label": 1}, "qqp question1: One. question2: Two.", "duplicate"),
    ("STS-B", {**PAIR, "label": 3.75}, "stsb sentence1: One. sentence2: Two.", "3.8"),
    ("MNLI", {**PAIR, "label": 0}, "mnli hypothesis: Two. premise: One.", "entailment"),
    ("MNLI", {**PAIR, "label": 1}, "mnli hypothesis: Two. premise: One.", "neutral"),
    ("MNLI", {**PAIR, "label": 2}, "mnli hypothesis: Two. premise: One.", "contradiction"),
    ("QNLI", {**PAIR, "label": 0}, "qnli question: One. sentence: Two.", "entailment"),
    ("QNLI", {**PAIR, "label": 1}, "qnli question: One. sentence: Two.", "not_entailment"),
    ("RTE", {**PAIR, "label": 0}, "rte sentence1: One. sentence2: Two.", "entailment"),
    ("RTE", {**PAIR, "label": 1}, "rte sentence1: One. sentence2: Two.", "not_entailment"),
    ("WNLI", {**PAIR, "label": 0}, "wnli sentence1: One. sentence2: Two.", "not_entailment"),
    ("WNLI", {**PAIR, "label": 1}, "wnli sentence1: One. sentence2: Two.", "entailment"),
    ("diagnostic", {**PAIR, "label": 2}, "mnli hypothesis: Two. premise: One.", "contradiction"),
    ("toy-RTE", {**PAIR, "label": 0}, "rte sentence1: One. sentence2: Two.", "entailment"),
    ("MNLI-10k", {**PAIR, "label": 1}, "mnli hypothesis: Two. premise: One.", "neutral"),
]


@pytest.mark.parametrize(("task", "row", "source", "target"), BY_HAND)
def test_rows_by_hand_and_back(task, row, source, target):
    assert text_pairs(task, [row]) == [(source, target)]
    assert source_text(task, {key: value for key, value in row.items() if key != "label"}) == source
    assert read_label(task, f" {target}\n") == (3.8 if task == "STS-B" else row["label"])


def test_every_task_of_glue_and_every_class_is_there():
    classes = {(name, row["label"]) for name, row, *_ in BY_HAND if TASKS.get(name) and name != "STS-B"}
    assert {name for name, *_ in BY_HAND} >= FIELDS.keys() >= metrics.AVERAGES["mpop"].keys()
    assert classes >= {(name, k) for name in FIELDS if name != "diagnostic" for k in range(len(TASKS[name].labels))}


@pytest.mark.parametrize(
    ("score", "text"), [(0, "0.0"), (0.09, "0.0"), (0.11, "0.2"), (2.5, "2.4"), (3.1, "3.2"), (4.95, "5.0"), (5, "5.0")]
)
def test_scores_to_the_nearest_fifth(score, text):
    """2.5 is halfway between 2.4 and 2.6, 12.5 fifths: to the even one, as TensorFlow's round does."""
    assert target_text("STS-B", {**PAIR, "label": score}) == text


@given(st.floats(0, 5))
def test_every_score_comes_back(score):
    assert abs(read_label("STS-B", target_text("STS-B", {**PAIR, "label": score})) - score) <= 0.1 + 1e-9


@pytest.mark.parametrize("text", ["", "Positive", "positive.", "positive positive", "1", "neutral"])
def test_what_says_no_class(text):
    assert read_label("SST-2", text) is None


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1.0", "5.2", "1e0", "1_0", "four", "3,8", "0x1", "٣", "3.8 3.8"])
def test_what_says_no_score(text):
    assert read_label("STS-B", text) is None


# ------------------------------------------------------------------------------------------------------------- scoring


def test_unparsable_answers_are_wrong_and_counted():
    rows = [{**PAIR, "label": label} for label in (1, 1, 0, 0)]
    right = ["equivalent", "equivalent", "not_equivalent", "not_equivalent"]
    assert score_texts("MRPC", right, rows) == {"accuracy": 100.0, "f1": 100.0, "unparsable": 0}
    # One true positive is lost; and a label-0 row that cannot be read is a false positive: 1 TP, 1 FN, 1 FP.
    found = score_texts("MRPC", ["equivalent", "?", "", "not_equivalent"], rows)
    assert found == pytest.approx({"accuracy": 50.0, "f1": 50.0, "unparsable": 2})
    assert score_texts("MNLI", ["", "", "neutral"], [{"label": k} for k in (0, 2, 1)]) == pytest.approx(
        {"accuracy": 100 / 3, "unparsable": 2}
    )
    assert score_texts("CoLA", ["x"] * 4, rows)["matthews"] == pytest.approx(-100)


def test_scores_are_compared_with_the_true_ones():
    labels = [0.0, 1.3, 2.2, 3.75, 5.0]
    rows = [{**PAIR, "label": label} for label in labels]
    found = score_texts("STS-B", ["0.0", "1.2", "2.2", "3.8", "4.8"], rows)
    assert found == {**metrics.glue("STS-B", [0, 1.2, 2.2, 3.8, 4.8], labels), "unparsable": 0}
    worse = score_texts("STS-B", ["-", "1.2", "2.2", "3.8", "-"], rows)
    assert worse == {**metrics.glue("STS-B", [5, 1.2, 2.2, 3.8, 0], labels), "unparsable": 2}
    assert worse["pearson"] < 0 < found["pearson"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: source_text("SQuAD", {}), UnknownNameError, "text-to-text task 'SQuAD'"),
        (lambda: source_text("RTE", {"text": "a"}), DataError, "a row of RTE lacks 'text_pair'; it has 'text'"),
        (lambda: target_text("RTE", PAIR), DataError, "no label"),
        (lambda: target_text("RTE", {**PAIR, "label": 2}), DataError, "label 2, expected a class number: 0 entail"),
        (lambda: target_text("STS-B", {**PAIR, "label": 5.1}), DataError, r"outside 0 \.\. 5"),
        (lambda: target_text("STS-B", {**PAIR, "label": float("nan")}), DataError, "outside"),
        (lambda: read_label("RTE", 1), DataError, "a generated answer is 1"),
        (lambda: score_texts("RTE", ["entailment"], []), DataError, "1 texts for 0 rows"),
        (lambda: score_texts("RTE", ["entailment"], [PAIR]), DataError, "without labels"),
        (lambda: score_texts("RTE", [], []), DataError, "nothing to score"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------------------- splits


def data(name: str, train: list[str], dev: list[str], **more: list[str]) -> TaskData:
    splits = {"train": train, "dev": dev, **more}
    rows = {
        split: [{"id": f"{split}-{k}", "text": text, "label": k % 2} for k, text in enumerate(texts)]
        for split, texts in splits.items()
    }
    return TaskData(TASKS[name], rows, "made up")


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.integers(0, 5))
def test_halves_share_nothing_and_lose_nothing(numbers, seed):
    dev = [f"text {number}" for number in numbers]
    if len(set(dev)) < 2:
        with pytest.raises(DataError, match="no two halves"):
            half_of_dev(data("CoLA", [], dev), seed)
        return
    whole = data("CoLA", ["other", *dev[:1]], dev, test=["hidden"])
    found = half_of_dev(whole, seed)
    assert list(found.splits) == ["train", "select", "dev"]
    halves = {split: [row["id"] for row in found.splits[split]] for split in ("select", "dev")}
    assert collections.Counter(halves["select"] + halves["dev"]) == collections.Counter(
        f"dev-{k}" for k in range(len(dev))
    )
    for ids in halves.values():
        assert ids == sorted(ids, key=lambda name: int(name.split("-")[1]))
    texts = {split: {content(row) for row in rows} for split, rows in found.splits.items()}
    assert not texts["select"] & texts["dev"] and not texts["train"] & (texts["select"] | texts["dev"])
    assert [row["text"] for row in found.splits["train"]] == ["other"]
    assert len(halves["select"]) <= len(dev) // 2
    if len(set(dev)) == len(dev):
        assert len(halves["select"]) == len(dev) // 2
    assert half_of_dev(whole, seed).splits == found.splits


def test_seeds_and_notes():
    whole = data("CoLA", ["a", "text 3"], [f"text {k}" for k in range(277)])
    first, other = half_of_dev(whole, 0), half_of_dev(whole, 1)
    assert (len(first.splits["select"]), len(first.splits["dev"])) == (138, 139)
    both = {row["id"] for row in first.splits["dev"]} & {row["id"] for row in other.splits["dev"]}
    assert 40 < len(both) < 100  # about half of 139
    assert first.notes == (
        "dev divided with seed 0: select 138, dev 139",
        "train rows that repeat a dev row, dropped: 1",
    )
    assert first.origin == whole.origin and whole.splits["dev"][0]["id"] == "dev-0"


def test_the_papers_splits():
    assert set(SMALL) == {"RTE", "MRPC", "STS-B", "CoLA"}
    texts = [f"text {k}" for k in range(10)]
    small = paper_splits(data("CoLA", ["a"], texts), 3)
    assert small.splits == half_of_dev(data("CoLA", ["a"], texts), 3).splits
    large = paper_splits(data("SST-2", [f"train {k}" for k in range(1200)], texts), 3)
    assert large.rows == {"train": 200, "select": 1000, "dev": 10}


def test_splits_that_cannot_be():
    with pytest.raises(DataNotFoundError, match="no split 'dev'"):
        half_of_dev(TaskData(TASKS["RTE"], {"train": []}, "made up"))
    with pytest.raises(DataError, match="'select' already"):
        half_of_dev(half_of_dev(data("CoLA", [], ["a", "b"])))


@pytest.mark.parametrize("name", ["RTE", "SST-2"])
def test_fewer_rows_of_the_papers_splits_share_nothing(name):
    dev, train = [f"text {k}" for k in range(40)], [f"text {k}" for k in range(30, 90)]
    whole = data(name, [*train, *train[:5]], [*dev, "text 3"])
    for seed in range(3):
        found = paper_splits(whole, seed, train=20, select=7, dev=11)
        assert found.rows == {"train": 20, "select": 7, "dev": 11}
        texts = {split: {content(row) for row in rows} for split, rows in found.splits.items()}
        held_back = {content(row) for row in whole.splits["dev"]}
        assert not texts["train"] & held_back and not texts["select"] & texts["dev"] and texts["dev"] <= held_back
        assert (texts["select"] <= held_back) == (name == "RTE") and not texts["select"] & texts["train"]
        assert found.splits == paper_splits(whole, seed, train=20, select=7, dev=11).splits
        assert "train=20, select=7, dev=11" in found.notes[-1 if name == "RTE" else 0]
        halves = paper_splits(whole, seed, select=7)
        if name == "RTE":
            assert len(halves.splits["select"]) == 7 and halves.splits["dev"] == half_of_dev(whole, seed).splits["dev"]
    most = {"RTE": 30, "SST-2": 50}[name]
    with pytest.raises(DataError, match=f"dev={most} rows were asked for"):
        paper_splits(whole, 0, train=5, select=3, dev=most)


def test_fields_are_cut_to_words():
    row = {"text": " a  b c ", "text_pair": "d"}
    assert source_text("RTE", row, 2) == "rte sentence1: a b sentence2: d"
    assert source_text("RTE", row, 9) == "rte sentence1: a b c sentence2: d"
    assert source_text("RTE", row) == "rte sentence1:  a  b c  sentence2: d"
