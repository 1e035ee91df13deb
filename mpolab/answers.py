"""Tasks for a model that reads a text and writes one (T5): rows as tokens, answers by greedy generation, their scores.

`fine_tune`, `evaluate` and `Session` take such a model as they take a classifier. It is trained on the label's words
(`text_to_text`), and scored by what it writes: one token after the other, always the likeliest, until it ends the text,
as T5 is (Raffel et al. 2020, section 3.1.2). What is none of the label words is wrong, and counted as "unparsable": a
comparison of the label words' likelihoods could not show it. MPOE (Gao et al. 2022) section 4.1; notebook 04, "The
models".

Several tasks at once (`TaskMixture`) need no heads: the source names the task. "mean" is that of MPOE's Table 2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from . import metrics
from .data import Task, TaskData
from .errors import DataError, TrainingError
from .features import Feature, Rows, target_collator
from .mixture import MixedRows, TaskMixture
from .multitask import MEAN
from .perplexity import evaluating
from .settings import Settings
from .text_to_text import label_words, score_texts, source_text, target_text

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def writes(model: nn.Module) -> bool:
    """Whether the model has an encoder that reads, and a decoder with a language-modelling head."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    return getattr(model, "lm_head", None) is not None


def metric_of(task: Task) -> str:
    """The metric that chooses: MPOE's (Pearson for STS-B), or the task's own where MPOE leaves the task out."""
    return metrics.AVERAGES["mpoe"].get(task.base, task.main_metric)


def kind_of(model: nn.Module, data: TaskData | TaskMixture) -> tuple[str, str, bool]:
    """(kind of objective, the metric that chooses, whether lower is better).

    Raises UnknownNameError for a task without label words, TrainingError for a decoder that nothing starts.
    """
    for task in _tasks(data):
        label_words(task)
    if model.config.decoder_start_token_id is None:
        raise TrainingError(
            f"the config of this {type(model).__name__} has no decoder_start_token_id, so its decoder has no first "
            "token: set it (T5 has its padding token there)."
        )
    return "answer", MEAN if isinstance(data, TaskMixture) else metric_of(data.task), False


def _tasks(data: TaskData | TaskMixture) -> tuple[Task, ...]:
    return data.tasks if isinstance(data, TaskMixture) else (data.task,)


# -------------------------------------------------------------------------------------------------- rows as tokens


def encode(tokenizer: Any, task: Task, rows: Sequence[Mapping], max_length: int) -> list[Feature]:
    """{"input_ids", "attention_mask", "labels"} of each row: the source's tokens and the target's, each with its end.

    A source of more than max_length tokens loses words at the ends of its longest fields: cut as a whole it would lose
    the hypothesis to a long premise. Raises TrainingError where there is no room for words at all.
    """
    sources = _ids(tokenizer, [source_text(task, row) for row in rows])
    targets = _ids(tokenizer, [target_text(task, row) for row in rows])
    frame = len(_ids(tokenizer, source_text(task, rows[0], 0))) if rows else 0
    if frame >= max_length:
        raise TrainingError(
            f"max_length={max_length}: of {task.name} the task's name and those of its fields alone take {frame} "
            f"tokens, so no word fits in; give at least {2 * frame}."
        )
    features = []
    for row, source, target in zip(rows, sources, targets):
        ids = source if len(source) <= max_length else _shortened(tokenizer, task, row, max_length)
        features.append({"input_ids": list(ids), "attention_mask": [1] * len(ids), "labels": _ended(tokenizer, target)})
    return features


def _ids(tokenizer: Any, text: str | list[str]) -> list:
    """Without a warning that a text is longer than the model takes: it is cut later."""
    return tokenizer(text, verbose=False)["input_ids"]


def _shortened(tokenizer: Any, task: Task, row: Mapping, room: int) -> list[int]:
    """The tokens of the row's source with as many words of each field as `room` tokens hold."""

    def tokens(words: int) -> list[int]:
        return _ids(tokenizer, source_text(task, row, words))

    fits, most = 0, room  # a word has a token at least
    while fits < most:
        words = (fits + most + 1) // 2
        fits, most = (words, most) if len(tokens(words)) <= room else (fits, words - 1)
    if fits:
        return tokens(fits)
    return tokenizer(source_text(task, row), truncation=True, max_length=room)["input_ids"]  # one endless word


def _ended(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    end = tokenizer.eos_token_id
    if end is None:
        raise TrainingError(f"the tokenizer {type(tokenizer).__name__} has no end-of-text token to end an answer with.")
    return [*ids] if ids and ids[-1] == end else [*ids, end]


def room_for_answers(tokenizer: Any, task: Task) -> int:
    """Tokens of the longest label word, its end included.

    Raises TrainingError for a tokenizer in which a label word does not come back as it was: it could never be right.
    """
    longest = 0
    for word in label_words(task):
        ids = _ended(tokenizer, _ids(tokenizer, word))
        if _text(tokenizer, ids).strip() != word:
            raise TrainingError(
                f"the tokenizer {type(tokenizer).__name__} writes {_text(tokenizer, ids)!r} for {word!r}, an answer to "
                f"{task.name}. Expected one that gives texts back and adds an end alone, as T5's."
            )
        longest = max(longest, len(ids))
    return longest


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    """What was written before the end. Special tokens are part of it: "<extra_id_0> positive" is no label."""
    ids = list(ids)
    before = ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else ids
    return tokenizer.decode(before, skip_special_tokens=False, clean_up_tokenization_spaces=False)


# ---------------------------------------------------------------------------------------------------- what it writes


def written(
    model: nn.Module, tokenizer: Any, features: Sequence[Feature], longest: int, size: int = 64, precision: str = "fp32"
) -> list[str]:
    """What the model writes to each source, greedily: up to its end, or `longest` tokens and one more.

    size: rows at once. The model's modes and the caller's random streams stay as they are.
    """
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    start, end = model.config.decoder_start_token_id, tokenizer.eos_token_id
    collate = target_collator(tokenizer, start)
    how = GenerationConfig(
        max_new_tokens=longest + 1, do_sample=False, num_beams=1, use_cache=True, decoder_start_token_id=start,
        eos_token_id=end, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    texts: list[str] = []
    cast = torch.autocast(device.type, AUTOCAST[precision]) if precision in AUTOCAST else contextlib.nullcontext()
    with evaluating(model), torch.no_grad(), cast:
        for first in range(0, len(features), size):
            batch = collate(list(features[first : first + size]))
            inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
            found = model.generate(**inputs, generation_config=how)
            texts += [_text(tokenizer, row[1:]) for row in found.tolist()]  # without the start
    return texts


# ------------------------------------------------------------------------------------------------------ for training


def tokenized(
    model: nn.Module, tokenizer: Any, data: TaskData | TaskMixture, split: str, settings: Settings
) -> Rows | MixedRows:
    """A split for the engine, with the function that lets the model answer and scores it.

    Raises DataError for a split without rows, TrainingError where the model is divided among processes and for a
    tokenizer that cannot write the answers.
    """
    if settings.parallel == "fsdp":
        raise TrainingError(
            "parallel='fsdp' divides the model among processes, and one that writes its answers is needed whole in "
            "each: take parallel='ddp'."
        )
    if isinstance(data, TaskData):
        return _rows(model, tokenizer, data, split, settings)
    parts = [_rows(model, tokenizer, part, split, settings) if part.splits.get(split) else None for part in data.parts]
    if not any(parts):
        raise DataError(f"no task has rows in split {split!r}; there are {', '.join(data.splits) or 'none'}.")
    return MixedRows(parts, data.temperature, _score_of(data.tasks, parts), numbered=False)


def _rows(model: nn.Module, tokenizer: Any, data: TaskData, split: str, settings: Settings) -> Rows:
    """Rows that are only scored stand longest first, so that a batch has little padding."""
    rows = data.splits.get(split)
    if not rows:
        raise DataError(f"the data has no rows in split {split!r}; there are {', '.join(data.splits) or 'none'}.")
    features = encode(tokenizer, data.task, rows, settings.max_length)
    longest = room_for_answers(tokenizer, data.task)
    if split != "train":
        order = sorted(range(len(features)), key=lambda k: -len(features[k]["input_ids"]))
        features, rows = [features[k] for k in order], [rows[k] for k in order]

    def score(kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        size, precision = settings.eval_batch_size, settings.precision
        return score_texts(data.task, written(model, tokenizer, features, longest, size, precision), rows)

    return Rows(features, score)


def _score_of(tasks: Sequence[Task], parts: Sequence[Rows | None]) -> Any:
    """As `multitask.score_of`: kept (rows, 2), the sum over a row's tokens in nats and how many there are."""

    def score(kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        found, main, losses, begin = {}, [], [], 0
        for task, part in zip(tasks, parts):
            if part is None:
                continue
            nll, tokens = kept[begin : begin + len(part)].astype("float64").sum(0)
            begin += len(part)
            values = {"loss": float(nll / tokens), **part.score(kept, labels)}
            losses.append(values["loss"])
            main.append(values[metric_of(task)])
            found |= {f"{task.name}/{metric}": value for metric, value in values.items()}
        return {**found, "loss": sum(losses) / len(losses), MEAN: sum(main) / len(main)}

    return score
