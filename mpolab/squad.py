"""SQuAD v1.1 from its JSON file: articles -> paragraphs -> questions, each answer with its place in the paragraph.

Rajpurkar et al., 2016. The scores (exact match, F1) are in `mpolab.metrics.squad`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .errors import DataError
from .folders import BadRows, decode, read_bytes, sha256


def read_squad(path: Path, bad_rows: str = "error") -> tuple[list[dict], str, list[str]]:
    """(rows, sha256 of the unpacked bytes, notes); a row is {"id", "question", "context", "answers"}.

    Every answer is checked: `context[start : start + len(text)] == text`, in characters. Raises DataError for a file
    that is no whole JSON or has another structure, and, with article, paragraph and question, for answers that do not
    stand where they say, questions without an answer (SQuAD v2 has them) and ids that occur twice;
    `bad_rows="drop"` leaves those questions out with a note.
    """
    data = read_bytes(path)
    try:
        articles = json.loads(decode(data, path))["data"]
    except (json.JSONDecodeError, KeyError, TypeError) as problem:
        raise DataError(
            f"{path} is no SQuAD file ({type(problem).__name__}: {problem}): expected one JSON object with 'data', a "
            "list of articles. The file is another one, or short."
        ) from None
    bad = BadRows(path, bad_rows)
    rows: list[dict] = []
    seen: set[str] = set()
    for where, context, question in _questions(path, articles):
        problem = _problem(context, question, seen)
        if problem:
            key = question.get("id") if isinstance(question, dict) else question
            bad.add(f"{where}, question {key!r}", problem)
            continue
        seen.add(question["id"])
        answers = question["answers"]
        rows.append(
            {
                "id": question["id"],
                "question": question["question"],
                "context": context,
                "answers": {
                    "text": [answer["text"] for answer in answers],
                    "answer_start": [answer["answer_start"] for answer in answers],
                },
            }
        )
    return rows, sha256(data), bad.close(len(rows))


def _questions(path: Path, articles: object) -> Iterator[tuple[str, str, dict]]:
    """(where it stands, the paragraph's text, the question) for every question; DataError for another structure."""
    try:
        for a, article in enumerate(articles, start=1):
            for p, paragraph in enumerate(article["paragraphs"], start=1):
                where = f"article {a} ({article.get('title', 'no title')}), paragraph {p}"
                context = paragraph["context"]
                if not isinstance(context, str):
                    raise TypeError("a context that is no text")
                for question in paragraph["qas"]:
                    yield where, context, question
    except (KeyError, TypeError, AttributeError) as problem:
        raise DataError(
            f"{path} has not the structure of SQuAD v1.1 ({type(problem).__name__}: {problem}): expected articles with "
            "'paragraphs', each with 'context' and 'qas'."
        ) from None


def _problem(context: str, question: dict, seen: set[str]) -> str:
    """What is wrong with a question, in a few words; empty where nothing is."""
    if not isinstance(question, dict) or not isinstance(question.get("id"), str):
        return "no id"
    if question["id"] in seen:
        return "this id occurs twice"
    if not isinstance(question.get("question"), str) or not question["question"].strip():
        return "no text"
    answers = question.get("answers")
    if not answers:
        return "no answer (SQuAD v2 has such questions; this reader is for v1.1)"
    for answer in answers:
        try:
            text, start = answer["text"], answer["answer_start"]
            found = context[start : start + len(text)] if start >= 0 else ""
        except (KeyError, TypeError):
            return f"an answer without 'text' and 'answer_start': {answer!r}"
        if not text or found != text:
            return f"at character {start} stands {found!r}, not the answer {text!r}"
    return ""
