"""Questions about a passage: windows over long passages, and the best span of all windows of a question.

As in BERT (section 4.2): a passage that is too long is cut into overlapping windows; each window predicts where the
answer begins and where it ends, and an answer that it does not hold is its first token. The best span is the pair
(begin, end) with the largest sum of both logits over all windows of the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DataError, TrainingError
from .features import Feature

BEST = 20
"""Begins and ends that are tried in each window."""


@dataclass(frozen=True)
class Window:
    """Which part of a passage a feature shows: the row's number, and the characters of each token of the passage."""

    row: int
    characters: list[tuple[int, int] | None]


def encode_questions(
    tokenizer: Any, rows: Sequence[dict], max_length: int, stride: int, accepts: set[str]
) -> tuple[list[Feature], list[Window]]:
    """One feature for each window; "labels" is [first token, last token] of the first gold answer.

    stride: tokens by which neighbouring windows overlap. A question keeps at most a third of max_length. Raises
    TrainingError for a tokenizer that cannot tell where its tokens come from, DataError for an answer that is not in
    its passage at the place that it names.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise TrainingError(
            f"span questions need a fast tokenizer, which knows the characters of its tokens; "
            f"{type(tokenizer).__name__} is a slow one. Load it with AutoTokenizer from a folder with tokenizer.json."
        )
    longest = max(1, max_length // 3)
    # What is left for the passage must be more than the overlap.
    special = max(3, tokenizer.num_special_tokens_to_add(pair=True))
    room = max_length - longest - special
    if room < 2:
        least = next(n for n in range(max_length + 1, 3 * special + 9) if n - max(1, n // 3) - special >= 2)
        raise TrainingError(
            f"max_length={max_length} leaves no room for a passage beside a question and {special} special tokens: "
            f"give at least {least}, better 128 or more."
        )
    stride = min(stride, room // 2)
    features: list[Feature] = []
    windows: list[Window] = []
    for begin in range(0, len(rows), 500):
        part = rows[begin : begin + 500]
        tokens = tokenizer(
            _cut([row["question"].strip() for row in part], tokenizer, longest),
            [row["context"] for row in part],
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for k, inside in enumerate(tokens["overflow_to_sample_mapping"]):
            row = part[inside]
            parts = zip(tokens["offset_mapping"][k], tokens.sequence_ids(k))  # None, 0: the question, 1: the passage
            places = [tuple(place) if of == 1 else None for place, of in parts]
            feature = {key: list(values[k]) for key, values in tokens.items() if key in accepts}
            features.append({**feature, "labels": _label(row, places)})
            windows.append(Window(begin + inside, places))
    return features, windows


def _cut(questions: list[str], tokenizer: Any, longest: int) -> list[str]:
    """Questions of more than `longest` tokens lose their end, so that the passage keeps its room."""
    tokens = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    places = tokens["offset_mapping"]
    return [text[: place[longest - 1][1]] if len(place) > longest else text for text, place in zip(questions, places)]


def _label(row: dict, places: list[tuple[int, int] | None]) -> list[int]:
    """[first token, last token] of the first answer; [0, 0] if the window does not hold all of it."""
    answers = row.get("answers") or {"text": [], "answer_start": []}
    if not answers["text"]:
        raise DataError(f"question {row.get('id')!r} has no answer, so it can neither be trained on nor scored.")
    text, begin = answers["text"][0], answers["answer_start"][0]
    end = begin + len(text)
    if row["context"][begin:end] != text:
        raise DataError(
            f"question {row.get('id')!r}: the answer {text[:40]!r} is not at character {begin} of its passage, where "
            f"{row['context'][begin : begin + 40]!r} stands."
        )
    inside = [k for k, place in enumerate(places) if place is not None]
    if not inside or places[inside[0]][0] > begin or places[inside[-1]][1] < end:
        return [0, 0]
    first = next(k for k in inside if places[k][1] > begin)
    last = next(k for k in reversed(inside) if places[k][0] < end)
    return [first, max(first, last)]


def best_answers(
    rows: Sequence[dict], windows: Sequence[Window], logits: np.ndarray, max_tokens: int = 30
) -> list[dict[str, str]]:
    """The official predictions [{"id", "prediction_text"}] from logits (windows, tokens, 2), a begin and an end each.

    A span lies in the passage and has at most max_tokens tokens. A row none of whose windows allows a span (an empty
    passage) gets the empty answer.
    """
    best: list[tuple[float, str]] = [(-np.inf, "")] * len(rows)
    for window, scores in zip(windows, logits):
        inside = np.array([k for k, place in enumerate(window.characters) if place is not None and k < len(scores)])
        if not len(inside):
            continue
        begins = inside[np.argsort(-scores[inside, 0], kind="stable")[:BEST]]
        ends = inside[np.argsort(-scores[inside, 1], kind="stable")[:BEST]]
        length = ends[None, :] - begins[:, None] + 1
        total = scores[begins, 0][:, None] + scores[ends, 1][None, :]
        total = np.where((length >= 1) & (length <= max_tokens), total, -np.inf)
        k = int(total.argmax())
        score = float(total.flat[k])
        if score > best[window.row][0]:
            begin, end = begins[k // len(ends)], ends[k % len(ends)]
            context = rows[window.row]["context"]
            best[window.row] = (score, context[window.characters[begin][0] : window.characters[end][1]])
    return [{"id": row["id"], "prediction_text": text} for row, (_, text) in zip(rows, best)]
