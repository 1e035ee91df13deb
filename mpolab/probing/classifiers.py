"""Probes: small classifiers that read a label off frozen states, one for every layer.

Features are standardised by the training rows alone. There are two kinds of probe. "linear" is ridge regression on the
classes (+1 for a row's own class, -1 for the others: scikit-learn's RidgeClassifier), which has a closed form, so that
a thousand classes cost little more than two. "hidden" has one hidden layer (HIDDEN units, ReLU), trained with Adam on
the cross-entropy with an L2 penalty, for all layers and strengths in one batch of matrices. The strength of the
regularisation is chosen on dev, by accuracy; among equals the strongest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

KINDS = ("linear", "hidden")

STRENGTHS: dict[str, tuple[float, ...]] = {
    "linear": (1.0, 10.0, 100.0, 1000.0, 10000.0),  # alpha of RidgeClassifier: beside sums over the training rows
    "hidden": (0.01, 0.1, 0.3),  # half of it times the squared weights: beside the mean cross-entropy
}
HIDDEN, BATCH, RATE = 64, 128, 5e-3
STEPS, EPOCHS = 300, 5  # of Adam, at least; the rate falls to zero in a straight line
SCORES = 2**24  # that are held at once

Features = Mapping[str, torch.Tensor]  # split -> (layers, rows, features), standardised
Labels = Mapping[str, torch.Tensor]  # split -> (rows,) whole numbers


@dataclass(frozen=True)
class Fitted:
    """Per layer: the strength that was taken, and the share of rows got right in every split."""

    strengths: tuple[float, ...]
    accuracy: dict[str, tuple[float, ...]]


def standardise(states: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """{split: (rows, layers, features)} -> {split: (layers, rows, features)}, each feature with mean 0 and deviation 1
    over the training rows. One that does not vary there is 0.
    """
    train = states["train"].double()
    mean, spread = train.mean(0), train.std(0, correction=0)
    spread = torch.where(spread > 1e-6 * train.abs().amax(0), spread, math.inf)
    return {split: ((x.double() - mean) / spread).float().transpose(0, 1).contiguous() for split, x in states.items()}


def fit(
    kind: str,
    features: Features,
    labels: Labels,
    classes: int,
    seed: int = 0,
    strengths: Sequence[float] | None = None,
) -> Fitted:
    """Probes of one kind, one per layer, fitted on "train".

    strengths: one per layer, or None: those of STRENGTHS are tried and the best on "dev" is taken. seed: of what is
    random in the training of "hidden"; every layer and strength starts from the same numbers and sees the same batches.
    """
    layers = len(features["train"])
    tried = [list(STRENGTHS[kind]) if strengths is None else [strengths[k]] for k in range(layers)]
    right = {"linear": _linear, "hidden": _hidden}[kind](features, labels, classes, tried, seed)
    chosen = [max(range(len(each)), key=lambda s, k=k, each=each: (right["dev"][k][s], each[s]))
              for k, each in enumerate(tried)]  # fmt: skip
    return Fitted(
        tuple(each[s] for each, s in zip(tried, chosen)),
        {split: tuple(float(of[k][s]) for k, s in enumerate(chosen)) for split, of in right.items()},
    )


def _linear(
    features: Features, labels: Labels, classes: int, tried: Sequence[Sequence[float]], seed: int
) -> dict[str, list[list[float]]]:
    """{split: [layer][strength] accuracy}. Nothing is random here."""
    right: dict[str, list[list[float]]] = {split: [] for split in features}
    for k, strengths in enumerate(tried):
        x = features["train"][k].double()
        share = torch.bincount(labels["train"], minlength=classes).double() / len(x)
        own = torch.zeros(classes, x.shape[1], dtype=x.dtype).index_add_(0, labels["train"], x)  # sums by class
        target = 2 * (own - share[:, None] * x.sum(0)).mT  # X^T (Y - mean Y) without the matrix Y of +1 and -1
        gram = x.mT @ x
        eye = torch.eye(len(gram), dtype=gram.dtype)
        weights = [torch.cholesky_solve(target, torch.linalg.cholesky(gram + alpha * eye)) for alpha in strengths]
        for split, of in features.items():
            right[split].append([_accuracy(of[k], w, 2 * share - 1, labels[split]) for w in weights])
    return right


def _accuracy(x: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor) -> float:
    """x (rows, features), weights (features, classes): the share of rows whose largest score is at their label."""
    rows = max(1, SCORES // len(bias))
    pieces = zip(x.split(rows), labels.split(rows))
    return sum(int(((piece.double() @ weights + bias).argmax(-1) == y).sum()) for piece, y in pieces) / len(x)


def _hidden(
    features: Features, labels: Labels, classes: int, tried: Sequence[Sequence[float]], seed: int
) -> dict[str, list[list[float]]]:
    """{split: [layer][strength] accuracy}; every layer tries the same number of strengths.

    One set of tensors holds the probes of all layers and strengths. They share nothing: the loss is the sum of their
    losses, and Adam works number by number.
    """
    x, y = features["train"], labels["train"]
    layers, rows, size = x.shape
    count = len(tried[0])
    generator = torch.Generator().manual_seed(seed)

    def start(*shape: int) -> torch.Tensor:  # as nn.Linear starts
        limit = 1 / math.sqrt(shape[0])
        return (2 * torch.rand(shape, generator=generator) - 1) * limit

    first, second = start(size, HIDDEN), start(HIDDEN, classes)
    parameters = [
        first.repeat(layers, 1, count),  # (layers, size, strengths * hidden)
        torch.zeros(layers, 1, count * HIDDEN),
        second.repeat(layers, count, 1, 1),  # (layers, strengths, hidden, classes)
        torch.zeros(layers, count, 1, classes),
    ]
    for parameter in parameters:
        parameter.requires_grad_()
    strengths = torch.tensor(tried)  # (layers, strengths)
    wide = strengths.repeat_interleave(HIDDEN, 1)[:, None, :]

    def scores(batch: torch.Tensor) -> torch.Tensor:
        """(layers, rows, size) -> (layers, strengths, rows, classes)"""
        inner = torch.relu(torch.baddbmm(parameters[1], batch, parameters[0]))
        inner = inner.view(layers, -1, count, HIDDEN).transpose(1, 2)
        return inner @ parameters[2] + parameters[3]

    epochs = max(EPOCHS, math.ceil(STEPS * BATCH / rows))
    steps = epochs * math.ceil(rows / BATCH)
    optimizer = torch.optim.Adam(parameters, lr=RATE, foreach=True)
    done = 0
    for _ in range(epochs):
        for batch in torch.randperm(rows, generator=generator).split(BATCH):
            optimizer.param_groups[0]["lr"] = RATE * (1 - done / steps)
            given = scores(x[:, batch])
            wanted = y[batch].expand(layers, count, -1)
            loss = F.cross_entropy(given.flatten(0, 2), wanted.flatten(), reduction="sum") / len(batch)
            loss = loss + (wide * parameters[0].square()).sum() / 2
            loss = loss + (strengths[:, :, None, None] * parameters[2].square()).sum() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    right = {}
    with torch.no_grad():
        for split, of in features.items():
            piece = max(1, SCORES // (layers * count * classes))
            pieces = zip(of.split(piece, dim=1), labels[split].split(piece))
            hits = sum((scores(some).argmax(-1) == wanted).sum(-1) for some, wanted in pieces)
            right[split] = (hits.double() / of.shape[1]).tolist()
    return right
