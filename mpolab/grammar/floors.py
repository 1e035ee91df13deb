"""What a task gives away: the scores of the most frequent answer and of a bag of words.

Works on rows of any task, the grammar's or real ones. scikit-learn is imported when a bag of words is asked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import DataError

Rows = Sequence[Mapping]


def majority_answers(train: Rows, dev: Rows) -> list:
    """What always giving the most frequent label answers to the rows of dev: class numbers; of a score the mean; to a
    question the first answer-like words of the paragraph's first sentence."""
    _check(train, dev)
    if "answers" in dev[0]:
        return [" ".join(row["context"].split()[:2]) for row in dev]
    labels = [row["label"] for row in train]
    if _is_score(train):
        return [float(np.mean(labels))] * len(dev)
    return [Counter(labels).most_common(1)[0][0]] * len(dev)


def bag_of_words_answers(train: Rows, dev: Rows) -> list:
    """The same of a linear model of which words stand where (in the first or the second text).

    Classification: logistic regression; a score: ridge regression; a question: the sentence that shares most words with
    it, without the words that stand in the question.
    """
    _check(train, dev)
    if "answers" in dev[0]:
        return [_overlapping(row) for row in dev]
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    labels = [row["label"] for row in train]
    if len(set(labels)) == 1:
        return majority_answers(train, dev)
    count = CountVectorizer(token_pattern=r"\S+", lowercase=False)
    known, new = count.fit_transform(map(_marked, train)), count.transform(map(_marked, dev))
    model = Ridge(alpha=1.0) if _is_score(train) else LogisticRegression(max_iter=2000)
    return model.fit(known, labels).predict(new).tolist()


def majority(train: Rows, dev: Rows) -> dict[str, float]:
    """Scores of `majority_answers` in per cent."""
    return _scores(train, dev, majority_answers)


def bag_of_words(train: Rows, dev: Rows) -> dict[str, float]:
    """Scores of `bag_of_words_answers` in per cent."""
    return _scores(train, dev, bag_of_words_answers)


def _scores(train: Rows, dev: Rows, answers: Callable[[Rows, Rows], list]) -> dict[str, float]:
    given = answers(train, dev)
    if "answers" in dev[0]:
        return _span_scores(dev, given)
    return _regression(np.asarray(given), dev) if _is_score(train) else _classification(given, dev)


def floors(splits: Mapping[str, Rows], train: str = "train", dev: str = "dev") -> dict[str, dict[str, float]]:
    """{"majority": scores, "bag of words": scores} of a task's splits."""
    for split in (train, dev):
        if not splits.get(split):
            raise DataError(f"the splits {', '.join(splits) or '(none)'} have no rows of {split!r}; name another.")
    return {
        "majority": majority(splits[train], splits[dev]),
        "bag of words": bag_of_words(splits[train], splits[dev]),
    }


def _check(train: Rows, dev: Rows) -> None:
    if not len(train) or not len(dev):
        raise DataError("a baseline needs at least one row to learn from and one to be scored on.")


def _is_score(rows: Rows) -> bool:
    return any(isinstance(row["label"], float) for row in rows)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _marked(row: Mapping) -> str:
    """The words, each with a mark of the text it stands in."""
    first = [f"1:{word}" for word in _words(row["text"])]
    return " ".join(first + [f"2:{word}" for word in _words(row.get("text_pair", ""))])


def _classification(predictions: Sequence[int], rows: Rows) -> dict[str, float]:
    """Accuracy and Matthews' correlation."""
    given, gold = np.asarray(predictions), np.asarray([row["label"] for row in rows])
    classes = np.unique(np.concatenate([given, gold]))
    table = np.array([[np.sum((gold == a) & (given == b)) for b in classes] for a in classes], dtype=float)
    n, right = table.sum(), np.trace(table)
    rows_, columns = table.sum(1), table.sum(0)
    spread = np.sqrt((n**2 - (columns**2).sum()) * (n**2 - (rows_**2).sum()))
    matthews = float((right * n - (rows_ * columns).sum()) / spread) if spread else 0.0
    return {"accuracy": 100 * float(right / n), "matthews": 100 * matthews}


def _regression(predictions: np.ndarray, rows: Rows) -> dict[str, float]:
    """Pearson's correlation, 0 for a constant."""
    gold = np.asarray([row["label"] for row in rows], dtype=float)
    if np.ptp(predictions) == 0 or np.ptp(gold) == 0:
        return {"pearson": 0.0}
    return {"pearson": 100 * float(np.corrcoef(predictions, gold)[0, 1])}


def _overlapping(row: Mapping) -> str:
    asked = set(_words(row["question"]))
    best = max(re.split(r"(?<=\.) ", row["context"]), key=lambda sentence: len(asked & set(_words(sentence))))
    return " ".join(word for word in _words(best) if word not in asked)


def _span_scores(rows: Rows, predictions: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 over words as SQuAD counts them: without case, punctuation and articles."""
    exact, overlap = [], []
    for row, predicted in zip(rows, predictions):
        given = _content(predicted)
        gold = [_content(text) for text in row["answers"]["text"]]
        exact.append(any(given == text for text in gold))
        overlap.append(max(_f1(given, text) for text in gold))
    return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(overlap))}


def _content(text: str) -> list[str]:
    return [word for word in _words(text) if word not in ("a", "an", "the")]


def _f1(given: list[str], gold: list[str]) -> float:
    shared = sum((Counter(given) & Counter(gold)).values())
    return 2 * shared / (len(given) + len(gold)) if shared else 0.0
