"""Scores: GLUE's by task, SQuAD's exact match and F1, the averages of the three papers; and those of generated text.

`bleu`, `self_bleu` and `perplexity` have files of their own and are found here too. The rest is thin over scikit-learn
and scipy. All scores but perplexity are **per cent**, as the papers print them. A score is a number or an error, never
NaN: where predictions or labels are all alike, a correlation is undefined and counts as 0 (scikit-learn's convention
for Matthews; here for Pearson and Spearman too), which is what a model that has learnt nothing deserves. F1 is that of
the class "equivalent" (MRPC) or "duplicate" (QQP), and 0 where that class is neither predicted nor there.
"""

from __future__ import annotations

import math
import re
import string
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .bleu import bleu, self_bleu, words_and_marks
from .errors import DataError, unknown
from .perplexity import perplexity, perplexity_of
from .tasks import Task, task_named

__all__ = [
    "AVERAGES",
    "accuracy",
    "average",
    "bleu",
    "exact_match",
    "f1",
    "glue",
    "matthews",
    "normalize",
    "pearson",
    "perplexity",
    "perplexity_of",
    "self_bleu",
    "spearman",
    "squad",
    "word_f1",
    "words_and_marks",
]

_GLUE_MPOP = {
    "SST-2": "accuracy",
    "MNLI": "accuracy",
    "QNLI": "accuracy",
    "CoLA": "matthews",
    "STS-B": "spearman",
    "QQP": "accuracy",
    "MRPC": "accuracy",
    "RTE": "accuracy",
    "WNLI": "accuracy",
}
_GLUE_MPOBERT = {task: metric for task, metric in _GLUE_MPOP.items() if task != "WNLI"} | {"MRPC": "f1"}

AVERAGES: dict[str, dict[str, str]] = {
    "mpop": _GLUE_MPOP,
    "mpobert": _GLUE_MPOBERT | {"SQuAD": "f1"},
    "mpobert-test": _GLUE_MPOBERT | {"QQP": "f1", "SQuAD": "f1"},
    "mpobert-multitask": _GLUE_MPOBERT,
    "mpoe": _GLUE_MPOBERT | {"MRPC": "accuracy", "STS-B": "pearson"},
}
"""Which tasks and which metric of each the papers average; the mean is over tasks, all alike.

"mpop": MPOP's Table 3 (all nine tasks, dev sets, MNLI matched, Spearman for STS-B; the text of section 5.1 says
accuracy for all other tasks, but CoLA is Matthews as its column says). "mpobert": MPOBERT's Table 1, dev set (no WNLI,
F1 for MRPC, accuracy for QQP, with SQuAD's F1); "mpobert-test": the same table's test set (F1 for QQP);
"mpobert-multitask": its Table 2 (without SQuAD). "mpoe": MPOE's Tables 1 and 2 (no WNLI, accuracy for MRPC, Pearson for
STS-B).

Recomputed from the printed scores, these give the printed averages except in: MPOP Table 3 MPOP 79.63 (79.7 printed)
and MPOP_full+LFA 80.6 (80.4); MPOBERT Table 1 dev BART12 85.74 (82.8) and MPOBERT48+ 85.84 (86.0), test ALBERT24 81.27
(81.2), T5_12 78.97 (78.7) and BERT12 80.17 (79.1, which is its average without SQuAD). All of MPOE's agree.
"""


# ------------------------------------------------------------------------------------------------------------ GLUE


def glue(task_name: str | Task, predictions: Any, labels: Any) -> dict[str, float]:
    """Scores of one task in per cent: every metric of its table line, by name.

    predictions, labels: one number per row (lists, NumPy arrays or tensors): class numbers, or scores for STS-B.
    Raises DataError for lengths that differ, nothing to score, NaN or infinite numbers, class numbers that the task
    does not have (two-dimensional predictions are logits: take their argmax first), and for SQuAD (see `squad`).
    """
    task = task_named(task_name)
    if task.kind == "span":
        raise DataError(f"{task.name} is scored by metrics.squad(predictions, references): its answers are texts.")
    given, wanted = _numbers("predictions", predictions), _numbers("labels", labels)
    if len(given) != len(wanted):
        raise DataError(f"{task.name}: {len(given):,} predictions for {len(wanted):,} labels; one per row is needed.")
    if not given:
        raise DataError(f"{task.name}: no predictions, so there is nothing to score.")
    if task.kind != "regression":
        _check_classes("prediction", given, task)
        _check_classes("label", wanted, task)
    return {name: 100.0 * _METRICS[name](given, wanted) for name in task.metrics}


def _numbers(what: str, values: Any) -> list[float]:
    """One finite number per row; DataError names the first that is none."""
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    for place, value in enumerate(values):
        if isinstance(value, list | tuple):
            raise DataError(f"{what} have two dimensions: give one number per row (of logits, their argmax).")
        if not isinstance(value, int | float) and not hasattr(value, "item"):
            raise DataError(f"{what}[{place}] is {value!r}, expected a number.")
        if not math.isfinite(float(value)):
            raise DataError(f"{what}[{place}] is {float(value)}: a score needs finite numbers.")
    return [float(value) for value in values]


def _check_classes(what: str, values: Sequence[float], task: Task) -> None:
    for place, value in enumerate(values):
        if value not in range(len(task.labels)):
            named = ", ".join(f"{number} {label}" for number, label in enumerate(task.labels))
            raise DataError(f"{task.name}: {what} {place} is {value:g}, expected a class number: {named}.")


def accuracy(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Share of rows where both agree, 0..1."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def f1(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """F1 of class 1, 0..1; 0 where it is neither predicted nor there."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, pos_label=1, zero_division=0.0))


def matthews(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Matthews' correlation, -1..1; 0 where one side is constant."""
    from sklearn.metrics import matthews_corrcoef

    if len(set(predictions)) < 2 or len(set(labels)) < 2:
        return 0.0
    return float(matthews_corrcoef(labels, predictions))


def pearson(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Pearson's correlation, -1..1; 0 where one side is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, predictions, labels)


def spearman(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Spearman's rank correlation (ties share their mean rank), -1..1; 0 where one side is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, predictions, labels)


def _correlation(function: Any, predictions: Sequence[float], labels: Sequence[float]) -> float:
    if len(set(predictions)) < 2 or len(set(labels)) < 2:
        return 0.0
    with warnings.catch_warnings():  # nearly constant predictions: scipy warns and may give NaN
        warnings.simplefilter("ignore")
        value = float(function(predictions, labels)[0])
    return value if math.isfinite(value) else 0.0


_METRICS = {"accuracy": accuracy, "f1": f1, "matthews": matthews, "pearson": pearson, "spearman": spearman}


def average(paper: str, scores: Mapping[str, float | Mapping[str, float]], tasks: Iterable[str] | None = None) -> float:
    """That paper's average (a key of AVERAGES) of scores by task, in the unit in which they are given.

    scores: {task: number, taken to be the paper's metric} or {task: {metric: number}} as `glue` and `squad` give them;
    MNLI counts by its matched dev set. tasks: the average over these only (a part of a table); by default all of the
    paper's must be there, and others are left out. Parts of sets ("MNLI-10k") count as their task: the name of the
    result should say so.

    Raises UnknownNameError for another paper, DataError for tasks without a score or without the paper's metric.
    """
    if paper not in AVERAGES:
        raise unknown("average", paper, AVERAGES)
    table = AVERAGES[paper]
    by_task: dict[str, float | Mapping[str, float]] = {}
    for name, score in scores.items():
        base = task_named(name).base
        if base in by_task:
            raise DataError(f"two scores for {base} ({', '.join(scores)}): an average takes one of each task.")
        by_task[base] = score
    wanted = list(table) if tasks is None else [task_named(name).base for name in tasks]
    missing = [name for name in wanted if name not in table or name not in by_task]
    if missing or not wanted:
        raise DataError(
            f"the average {paper!r} is over {', '.join(table)}; there is no score for {', '.join(missing) or 'any'}. "
            "tasks=(...) averages some of them."
        )
    total = 0.0
    for name in wanted:
        score = by_task[name]
        if isinstance(score, Mapping):
            if table[name] not in score:
                raise DataError(f"{name}: {paper!r} averages its {table[name]}, and there is {', '.join(score)}.")
            score = score[table[name]]
        if not math.isfinite(score):
            raise DataError(f"{name}: its score is {score}.")
        total += score
    return total / len(wanted)


# ----------------------------------------------------------------------------------------------------------- SQuAD


def squad(predictions: Any, references: Any) -> dict[str, float]:
    """{"exact_match", "f1"} of SQuAD v1.1 in per cent, as its official script computes them.

    predictions: {id: text}, the script's own format, or a list of {"id", "prediction_text"}. references: a list of
    {"id", "answers": {"text": [...]}} (rows of `mpolab.data`), or the official data set: its articles, or the whole
    object with "data". Texts are compared in lower case, without punctuation and the articles a, an, the, and with
    single blanks; each prediction counts by its best gold answer.

    A question without a prediction counts 0, and a prediction for an id that no question has counts nothing, each with
    a warning. Raises DataError for no references, ids that occur twice, questions without a gold answer, and
    predictions of which none fits a question.
    """
    gold = _gold_answers(references)
    given = _predicted(predictions)
    strange = [key for key in given if key not in gold]
    missing = [key for key in gold if key not in given]
    if strange and len(strange) == len(given):
        raise DataError(
            f"no prediction is for one of the {len(gold):,} questions: the predictions have ids such as "
            f"{strange[0]!r}, the questions such as {missing[0]!r}."
        )
    told = (
        (missing, f"of {len(gold):,} questions have no prediction and count 0"),
        (strange, f"of {len(given):,} predictions are for no question"),
    )
    for keys, what in told:
        if keys:
            shown = ", ".join(map(str, keys[:3])) + (", ..." if len(keys) > 3 else "")
            warnings.warn(f"{len(keys):,} {what} ({shown}).", stacklevel=2)
    exact = total = 0.0
    for key, answers in gold.items():
        if key in given:
            exact += max(exact_match(given[key], answer) for answer in answers)
            total += max(word_f1(given[key], answer) for answer in answers)
    return {"exact_match": 100.0 * exact / len(gold), "f1": 100.0 * total / len(gold)}


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, without the words a, an, the, with single blanks (the official order)."""
    text = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


_PUNCTUATION = frozenset(string.punctuation)


def exact_match(prediction: str, answer: str) -> float:
    """1.0 if both are the same after `normalize`, else 0.0."""
    return float(normalize(prediction) == normalize(answer))


def word_f1(prediction: str, answer: str) -> float:
    """F1 of the words that both have in common (with multiplicity) after `normalize`; 0.0 where there are none."""
    found, wanted = normalize(prediction).split(), normalize(answer).split()
    common = sum((Counter(found) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _gold_answers(references: Any) -> dict[str, list[str]]:
    """{id: gold answers} of either format."""
    if isinstance(references, Mapping):
        references = references.get("data", references)
    if isinstance(references, Mapping) or isinstance(references, str):
        raise DataError("references are a list of rows with 'id' and 'answers', or the articles of the SQuAD file.")
    gold: dict[str, list[str]] = {}
    for item in references:
        try:
            questions = (
                [question for paragraph in item["paragraphs"] for question in paragraph["qas"]]
                if "paragraphs" in item
                else [item]
            )
            for question in questions:
                key, answers = question["id"], question["answers"]
                texts = answers["text"] if isinstance(answers, Mapping) else [answer["text"] for answer in answers]
                if key in gold:
                    raise DataError(f"the question {key!r} occurs twice among the references.")
                gold[key] = list(texts)
        except (KeyError, TypeError) as problem:
            raise DataError(
                f"a reference cannot be read ({type(problem).__name__}: {problem}): expected rows with 'id' and "
                "'answers', or articles with 'paragraphs'."
            ) from None
    if not gold:
        raise DataError("no references, so there is nothing to score.")
    empty = [key for key, texts in gold.items() if not texts]
    if empty:
        raise DataError(f"the question {empty[0]!r} has no gold answer (SQuAD v2 has such; this is v1.1's score).")
    return gold


def _predicted(predictions: Any) -> dict[str, str]:
    """{id: predicted text} of either format."""
    if isinstance(predictions, Mapping):
        given = dict(predictions)
    else:
        given = {}
        for item in predictions:
            if not isinstance(item, Mapping) or "id" not in item or "prediction_text" not in item:
                raise DataError(f"a prediction is {item!r}, expected {{'id': ..., 'prediction_text': ...}}.")
            if item["id"] in given:
                raise DataError(f"two predictions for the question {item['id']!r}.")
            given[item["id"]] = item["prediction_text"]
    for key, text in given.items():
        if not isinstance(text, str):
            raise DataError(f"the prediction for {key!r} is {text!r}, expected a text.")
    return given
