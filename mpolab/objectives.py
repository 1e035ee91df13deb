"""What is minimised, by kind of task: sums over items, from the logits of any model with the right head.

An item is a row, a begin or end of a span, or a predicted token. The engine divides by the number of items: those of
all micro-batches and all processes of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, mse_loss

from .errors import TrainingError
from .features import IGNORE


@dataclass(frozen=True)
class Objective:
    """loss: (outputs of the model, labels) -> the sum over all items. keep: -> what an evaluation collects, rows first.
    mean: (all that was collected, all labels) -> the mean loss of a split.
    """

    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    keep: Callable[[Any, torch.Tensor], torch.Tensor]
    mean: Callable[[np.ndarray, np.ndarray], float]


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
        logits, labels = logits[:, :-1], labels[:, 1:]
    return cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=IGNORE)


def _of_tokens(shift: bool) -> Objective:
    """An objective whose evaluation collects (rows, 2): the sum over a row's tokens, and how many there are."""

    def keep(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        nll = _token_nll(outputs, labels, shift)
        return torch.stack([nll.sum(1), (labels != IGNORE).sum(1).to(nll.dtype)], dim=1)

    def mean(kept: np.ndarray, labels: np.ndarray) -> float:
        nll, tokens = kept.astype("float64").sum(0)
        return float(nll / max(tokens, 1.0))

    return Objective(lambda outputs, labels: _token_nll(outputs, labels, shift).sum(), keep, mean)


# One line per kind of task.
KINDS: dict[str, Objective] = {
    "class": _of_rows(_class_logits, _class_sum),
    "score": _of_rows(_score_logits, _score_sum),
    "span": _of_rows(_span_logits, _span_sum),
    "masked": _of_tokens(shift=False),
    "causal": _of_tokens(shift=True),
}
