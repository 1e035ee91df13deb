"""What is minimised, by kind of task: sums over items, from the logits of any model with the right head.

An item is a row, a begin or end of a span, or a predicted token. The engine divides by the number of items: those of
all micro-batches and all processes of a step. Pre-training has two kinds of items, and so two sums and two numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from .errors import TrainingError
from .features import IGNORE


def _items(labels: torch.Tensor) -> torch.Tensor:
    return (labels != IGNORE).sum()


@dataclass(frozen=True)
class Objective:
    """loss: (outputs of the model, labels) -> the sum over all items, or one for each kind of items (kinds,).
    keep: -> what an evaluation collects, rows first. mean: (all that was collected, all labels) -> the mean loss of a
    split. count: labels -> the number of items, or of each kind. around: (model, labels) -> a context in which the
    model is called.
    """

    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    keep: Callable[[Any, torch.Tensor], torch.Tensor]
    mean: Callable[[np.ndarray, np.ndarray], float]
    count: Callable[[torch.Tensor], torch.Tensor] = _items
    around: Callable[[nn.Module, torch.Tensor], AbstractContextManager] = lambda model, labels: nullcontext()


# ------------------------------------------------------------------------------------------- classes, scores and spans


def _logits(outputs: Any, dimensions: int, wanted: str) -> torch.Tensor:
    logits = outputs.get("logits")
    if logits is None or logits.ndim != dimensions:
        raise TrainingError(
            f"the model gives {', '.join(outputs)}, but no logits as {wanted} needs them. Load it with the right head: "
            "load_pretrained(name, head=...)."
        )
    return logits.float()


def _class_logits(outputs: Any, labels: torch.Tensor | None = None) -> torch.Tensor:
    """(rows, classes)"""
    return _logits(outputs, 2, "a classification")


def _score_logits(outputs: Any, labels: torch.Tensor | None = None) -> torch.Tensor:
    """(rows,)"""
    return _logits(outputs, 2, "a regression").squeeze(-1)


def _span_logits(outputs: Any, labels: torch.Tensor | None = None) -> torch.Tensor:
    """(rows, tokens, 2): begin and end."""
    if "start_logits" not in outputs:
        raise TrainingError(
            f"the model gives {', '.join(outputs)}, but no start_logits and end_logits: load it with "
            "head='question-answering'."
        )
    return torch.stack([outputs["start_logits"], outputs["end_logits"]], dim=-1).float()


def _class_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, labels, reduction="sum")


def _score_sum(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return mse_loss(scores, labels.float(), reduction="sum")


def _span_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """labels (rows, 2); each begin and each end is an item."""
    return cross_entropy(logits[..., 0], labels[:, 0], reduction="sum") + cross_entropy(
        logits[..., 1], labels[:, 1], reduction="sum"
    )


def _of_rows(keep: Callable, total: Callable) -> Objective:
    """An objective whose evaluation collects the logits themselves."""
    return Objective(
        loss=lambda outputs, labels: total(keep(outputs), labels),
        keep=keep,
        mean=lambda kept, labels: total(torch.from_numpy(kept), torch.from_numpy(labels)).item() / labels.size,
    )


# ---------------------------------------------------------------------------------------------------------------- text


def _token_nll(outputs: Any, labels: torch.Tensor, shift: bool) -> torch.Tensor:
    """(rows, tokens): the negative log-likelihood of each label, zero where it is IGNORE."""
    logits = _logits(outputs, 3, "language modelling")
    if shift:  # the logits at a token are about the next one
        labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORE)], dim=1)
    # As (rows * tokens, vocabulary): with the vocabulary in the middle it takes more than twice as long on a CPU.
    nll = cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none", ignore_index=IGNORE)
    return nll.view(labels.shape)


def _of_tokens(shift: bool) -> Objective:
    """An objective whose evaluation collects (rows, 2): the sum over a row's tokens, and how many there are."""

    def keep(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        nll = _token_nll(outputs, labels, shift)
        return torch.stack([nll.sum(1), (labels != IGNORE).sum(1).to(nll.dtype)], dim=1)

    def mean(kept: np.ndarray, labels: np.ndarray) -> float:
        nll, tokens = kept.astype("float64").sum(0)
        return float(nll / max(tokens, 1.0))

    return Objective(lambda outputs, labels: _token_nll(outputs, labels, shift).sum(), keep, mean)


def of_spans(special: Sequence[int]) -> Objective:
    """T5's hidden spans: the loss is the mean over all tokens of the targets, as T5 has it. An evaluation collects
    (rows, 4): sum and number of all, and of those that are none of `special`, the sentinels and the end, which a model
    soon knows for certain.
    """
    marks = torch.tensor(sorted(special))

    def keep(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        nll = _token_nll(outputs, labels, shift=False)
        words = (labels != IGNORE) & ~torch.isin(labels, marks.to(labels.device))
        counts = [_items_of_rows(labels != IGNORE, nll), _items_of_rows(words, nll)]
        return torch.stack([nll.sum(1), counts[0], (nll * words).sum(1), counts[1]], dim=1)

    def mean(kept: np.ndarray, labels: np.ndarray) -> float:
        nll, tokens = kept.astype("float64").sum(0)[:2]
        return float(nll / max(tokens, 1.0))

    return Objective(lambda outputs, labels: _token_nll(outputs, labels, shift=False).sum(), keep, mean)


def _items_of_rows(chosen: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return chosen.sum(1).to(like.dtype)


# -------------------------------------------------------------------------------------------------------- pre-training


@contextlib.contextmanager
def masked_only(model: nn.Module, labels: torch.Tensor) -> Iterator[None]:
    """The LM head sees only the masked positions, 15 % of them: prediction_logits (masked, vocabulary), in their order.

    Its product with the vocabulary is as dear as several layers, and all other positions' logits have no part in the
    loss. labels: see `_pretraining_parts`.
    """
    masked = labels[:, 1:] != IGNORE  # column 0 is the sentence order's

    def chosen(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0][:, 1:][masked], *args[1:])  # (rows, tokens, hidden) -> (masked, hidden)

    hook = model.predictions.register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        hook.remove()


def _pretraining_parts(outputs: Any, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(nll, hit) of each masked token, in the order of `labels[:, 1:] != IGNORE`, and (nll, hit) of each row's order.

    labels (rows, tokens): the hidden tokens where they stand, and in column 0, the one of [CLS], which is never hidden,
    0 for a row in its order and 1 for a swapped one.
    """
    if "prediction_logits" not in outputs or "sop_logits" not in outputs:
        raise TrainingError(
            f"the model gives {', '.join(outputs)}; pre-training needs prediction_logits and sop_logits, as "
            "MPOBertForPreTraining and transformers' AlbertForPreTraining give them."
        )
    masked, logits, order = labels[:, 1:] != IGNORE, outputs["prediction_logits"].float(), outputs["sop_logits"].float()
    if logits.ndim == 3:  # a model that was called without `masked_only`
        logits = logits[:, 1:][masked]
    tokens, swapped = labels[:, 1:][masked], labels[:, 0]
    return (
        cross_entropy(logits, tokens, reduction="none"),
        (logits.argmax(-1) == tokens).float(),
        cross_entropy(order, swapped, reduction="none"),
        (order.argmax(-1) == swapped).float(),
    )


def _pretraining_sums(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    tokens, _, order, _ = _pretraining_parts(outputs, labels)
    return torch.stack([tokens.sum(), order.sum()])


def _pretraining_count(labels: torch.Tensor) -> torch.Tensor:
    """(masked tokens, rows)"""
    return torch.stack([_items(labels[:, 1:]), torch.tensor(len(labels), device=labels.device)])


def _pretraining_keep(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    """(rows, 5): sum of nll, hits and number of the masked tokens; nll and hit of the order."""
    nll, hit, order_nll, order_hit = _pretraining_parts(outputs, labels)
    masked = labels[:, 1:] != IGNORE
    row = masked.nonzero()[:, 0]
    kept = nll.new_zeros(len(labels), 5)
    kept[:, 0] = kept[:, 0].index_add(0, row, nll)
    kept[:, 1] = kept[:, 1].index_add(0, row, hit)
    kept[:, 2], kept[:, 3], kept[:, 4] = masked.sum(1), order_nll, order_hit
    return kept


def _pretraining_mean(kept: np.ndarray, labels: np.ndarray) -> float:
    """The mean over tokens plus the mean over rows, as in ALBERT."""
    nll, _, tokens, order, _ = kept.astype("float64").sum(0)
    return float(nll / max(tokens, 1.0) + order / len(kept))


# One line per kind of task.
KINDS: dict[str, Objective] = {
    "class": _of_rows(_class_logits, _class_sum),
    "score": _of_rows(_score_logits, _score_sum),
    "span": _of_rows(_span_logits, _span_sum),
    "masked": _of_tokens(shift=False),
    "causal": _of_tokens(shift=True),
    "answer": _of_tokens(shift=False),  # of a text-to-text model: the decoder's inputs are the labels, one later
    "pretraining": Objective(_pretraining_sums, _pretraining_keep, _pretraining_mean, _pretraining_count, masked_only),
}
