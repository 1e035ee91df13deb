"""How much one step of training changes what an MPOBERT of L layers computes, and how that grows with L.

MPOBERT (Liu et al. 2023) section 3.3.2 wants ||dF|| = O(1) in L, where dF = F(x; theta - eta dL/dtheta) - F(x; theta),
and Corollary A.2 finds it for auxiliary tensors scaled by (2L)^(-1/4). Here ||dF|| / eta is worked out in the scalar
model of that proof (`scalar_update`), measured in an encoder (`update_size`), and followed over L (`study`), always in
three parts: what the auxiliary tensors' step does alone, what the shared centre's does, both together. The corollary
leaves the centre's out: it assumes that "updates of c1 are well-bounded".

The committed study is results/depth.json, made by scripts/depth_study.py. Notebook 03, "Depth".

Items: mpobert-eq2 to mpobert-eq17.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel

from . import runs
from .errors import BondError, CheckpointError, DataError, DataNotFoundError, MatrixTypeError, unknown
from .mpobert import MPOBertModel
from .mpobert_config import MATRICES
from .mpobert_init import INITS, config_from, initialise, source_of

DEPTHS = (3, 6, 12, 24, 48, 96)
PARTS = ("auxiliary", "centre", "together")
SCALED = ("all layers", "above the source")
"""Which layers an initialisation is for: the paper's are those that ALBERT does not have."""

OPTIMISERS = ("SGD", "LAMB")
FORMAT = "mpolab.depth/1"


@dataclass(frozen=True)
class Update:
    """||dF|| / eta after one step in which only the auxiliary tensors move (the centre is frozen), only the centre
    does, or all of them together (the centre is free)."""

    auxiliary: float
    centre: float
    together: float


# -- the scalar model of the proof ---------------------------------------------------------------------

READINGS = ("corollary", "theorem", "two matrices", "chain")
"""How `scalar_update` reads the appendix: as printed, with its own equation 8, with a real sub-layer's two matrices,
and with its equation 5 as it stands."""

MODELS = (*READINGS, "encoder")

AS_SCALAR = {"copy": "copy", "xavier": "copy", "algorithm1": "algorithm1", "paper_text": "algorithm1",
             "theory": "theory"}  # fmt: skip
"""Every initialisation -> the one that it equals in the scalar model, where a random number is taken by its size."""

SOURCE_CENTRE = 0.5  # c1 of the theorem and of the chain: assumption 3 wants it positive and below 1


def scalar_update(
    depth: int,
    init: str = "theory",
    reading: str = "corollary",
    n: int = 3,
    start: int = 0,
    optimiser: str = "SGD",
    c: float = SOURCE_CENTRE,
) -> Update:
    """One step of the appendix's model: x_{l+1} = (1 + theta_l) / sqrt(1 + theta_l^2) x_l, theta_l = u_l c v_l.

    n: tensors per matrix; u_l and v_l are products of (n - 1) / 2 numbers each, and n = 3 is the paper's case. The
    layers before number `start` have u = v = 1, the others what `init` makes of that. dL/dF = 1 as the proof has it;
    eta -> 0, so all is first order and all terms have one sign. SGD moves a number by eta times its gradient, LAMB
    (without bounds on its trust ratio) by eta times itself.

    reading: what stands for the derivative D_l = dF/dtheta_l.
    "corollary": eq. 13-16 as printed: theta_N for every l, c dropped, and the sum of the bound (3) taken for ||dF||.
      The auxiliary terms are then 1 for every depth (n = 3, SGD) and the centre's are sqrt(L / 8).
    "theorem": D_l = (1 - theta_l) / (1 + theta_l^2)^(3/2), which is eq. 8 with x_l = 1, in the gradient and in eq. 10.
      It tends to 1 where the corollary has theta_N, which tends to 0.
    "two matrices": the same with theta_l = (u_l c v_l)(u'_l c' v'_l): a sub-layer multiplies by two matrices, attention
      by value and output, the FFN by its two, and the proof by one.
    "chain": eq. 5 itself with x_1 = 1, nothing dropped. Its F grows like exp(sqrt(L / 2)): a LayerNorm would keep x
      at unit size, and (5) does not, because it adds x and G(x) as if aligned and their variances as if independent.

    Raises BondError for a depth, n or c that cannot be, UnknownNameError for another name.
    """
    if depth < 1 or n < 3 or n % 2 == 0 or not 0 < c <= 1:
        raise BondError(
            f"depth = {depth}, n = {n}, c = {c}: expected at least one layer, an odd n of at least 3 and 0 < c <= 1."
        )
    _among("initialisation", init, INITS)
    _among("reading", reading, READINGS)
    _among("optimiser", optimiser, OPTIMISERS)
    side = (n - 1) // 2
    power = {"copy": 0.0, "algorithm1": 0.25, "theory": 0.25 / side}[AS_SCALAR[init]]
    scale = (2 * depth) ** -power
    c, matrices = 1.0 if reading == "corollary" else c, 2 if reading == "two matrices" else 1
    a = np.where(np.arange(depth) < start, 1.0, scale)  # each of a layer's auxiliary numbers
    theta = (c * a ** (2 * side)) ** matrices
    if reading == "corollary":
        gradient, weight = np.full(depth, theta[-1]), np.ones(depth)
    else:
        gradient = (1 - theta) / (1 + theta**2) ** 1.5
        if reading == "chain":
            F = np.prod((1 + theta) / np.sqrt(1 + theta**2))
            gradient = F * (1 - theta) / ((1 + theta) * (1 + theta**2))
        weight = gradient
    step_a = gradient * theta / a if optimiser == "SGD" else a
    step_c = (gradient * theta / c).sum() if optimiser == "SGD" else c
    auxiliary = matrices * 2 * side * float((weight * theta / a * step_a).sum())
    centre = matrices * float((weight * theta / c * step_c).sum())
    return Update(auxiliary, centre, auxiliary + centre)


# -- an encoder ----------------------------------------------------------------------------------------

LOSS_CHANGE = 1e-6  # small enough for first order, large enough for float64


def update_size(
    model: MPOBertModel, ids: torch.Tensor, readout: torch.Tensor, optimiser: str = "SGD", eta: float | None = None
) -> Update:
    """One step of an encoder: the root mean square over tokens of ||F(x; theta') - F(x; theta)||, divided by eta.

    model: float64, the same afterwards. ids: (batch, tokens). readout: (hidden,) the loss is the mean over tokens of
    readout . F, so that dL/dF is the same at every depth, as the proof assumes. theta are the auxiliary and the central
    tensors; embeddings, biases and LayerNorms stand still. optimiser: "SGD", or "LAMB" with the paper's bounds on the
    trust ratio (and an epsilon that no gradient is below). eta: None = so small that the loss changes by LOSS_CHANGE;
    ||dF|| / eta does not depend on it any more.

    Raises UnknownNameError for another optimiser, MatrixTypeError for a model that is not float64, TrainingError where
    pytorch-optimizer is missing for LAMB.
    """
    _among("optimiser", optimiser, OPTIMISERS)
    if model.dtype != torch.float64:
        raise MatrixTypeError(f"a model of {model.dtype}: so small a step is lost in rounding; give model.double().")
    parts = tensors(model)
    both = [*parts["auxiliary"], *parts["centre"]]
    training, needed = model.training, [parameter.requires_grad for parameter in both]
    sizes = {}
    try:
        model.eval()
        for parameter in both:
            parameter.requires_grad_(True)
        before = model(ids).last_hidden_state  # (batch, tokens, hidden)
        gradients = torch.autograd.grad((before @ readout).mean(), both)
        steps = _steps(both, gradients, optimiser)
        slope = sum(float((step * gradient).sum()) for step, gradient in zip(steps, gradients))
        if slope == 0:  # nothing that moves changes the loss
            return Update(0.0, 0.0, 0.0)
        eta = LOSS_CHANGE / abs(slope) if eta is None else eta
        step = dict(zip(both, steps))
        with torch.no_grad():
            for name, moving in {**parts, "together": both}.items():
                kept = [parameter.clone() for parameter in moving]
                for parameter in moving:
                    parameter.add_(step[parameter], alpha=eta)
                change = model(ids).last_hidden_state - before
                for parameter, old in zip(moving, kept):
                    parameter.copy_(old)
                sizes[name] = float(change.square().sum(-1).mean().sqrt()) / eta
    finally:
        for parameter, need in zip(both, needed):
            parameter.requires_grad_(need)
        model.train(training)
    return Update(**sizes)


def tensors(model: MPOBertModel) -> dict[str, list[nn.Parameter]]:
    """{"auxiliary": of all layers, "centre": of all groups}, each tensor once."""
    auxiliary = [
        core for layer in model.encoder.layers for name in MATRICES for core in layer.matrices[name].mpo.auxiliary
    ]
    return {"auxiliary": auxiliary, "centre": [p for group in model.encoder.groups for p in group.parameters()]}


def _steps(parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], optimiser: str) -> list[torch.Tensor]:
    """What the first step adds to every tensor, divided by eta: both optimisers are linear in it."""
    if optimiser == "SGD":
        return [-gradient for gradient in gradients]
    from .lamb import lamb

    moved = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    for parameter, gradient in zip(moved, gradients):
        parameter.grad = gradient.clone()
    lamb(moved, lr=1.0, epsilon=1e-30).step()
    return [after.detach() - parameter.detach() for after, parameter in zip(moved, parameters)]


def random_albert(seed: int, hidden: int = 64, depth: int = 3, gain: float = 1.0) -> AlbertModel:
    """An ALBERT with random numbers, float64: normal weights of gain / sqrt(hidden); zero biases, LayerNorms of one.

    gain: 0.55 is that of transformers' 0.02 at 768.
    """
    config = AlbertConfig(
        vocab_size=64, embedding_size=16, hidden_size=hidden, num_attention_heads=4, intermediate_size=4 * hidden,
        num_hidden_layers=depth, max_position_embeddings=32, initializer_range=gain / math.sqrt(hidden),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AlbertModel(config).double().eval()


# -- slopes ---------------------------------------------------------------------------------------------

NO_SLOPE = 0.05
"""From 3 layers to 96 it makes a factor of 1.19."""

CLEAR = 0.25
"""A slope that may be as large as this, within two errors, is not known to be level."""


@dataclass(frozen=True)
class Slope:
    """p of ||dF|| ~ L^p, least squares of logarithms.

    error: its standard error, about the means over seeds; it tells how well a power law fits. seed_error: that of the
    mean of the single seeds' slopes (0 for one seed). at_one: what the fitted line says for L = 1.
    """

    value: float
    error: float
    seed_error: float
    at_one: float

    @property
    def says(self) -> str:
        """Over the depths at hand: "grows" or "shrinks" if the slope is more than two errors (the larger ones) and more
        than NO_SLOPE from 0; else "level" if the two errors leave no room for CLEAR; else "unclear"."""
        margin = 2 * max(self.error, self.seed_error)
        if abs(self.value) > max(margin, NO_SLOPE):
            return "grows" if self.value > 0 else "shrinks"
        return "level" if abs(self.value) + margin < CLEAR else "unclear"


def fit(depths: Sequence[int], sizes: Sequence[Sequence[float]]) -> Slope:
    """sizes: for every depth those of all seeds. The line goes through the means of their logarithms.

    Raises DataError for fewer than three depths or for a size that is not above 0.
    """
    if len(depths) < 3 or len(set(depths)) < len(depths):
        raise DataError(f"depths {list(depths)}: a slope with an error takes three different ones or more.")
    y = np.array(sizes, dtype=float)  # (depths, seeds)
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise DataError("an update that is 0 or no number has no logarithm, so these have no slope.")
    x, y = np.log(np.array(depths, dtype=float)), np.log(y)
    off = x - x.mean()
    per_seed = off @ y / (off @ off)  # (seeds,)
    mean = y.mean(axis=1)
    value = float(per_seed.mean())
    at_one = float(mean.mean() - value * x.mean())
    left = mean - at_one - value * x
    error = math.sqrt(float(left @ left) / (len(x) - 2) / float(off @ off))
    seeds = len(per_seed)
    seed_error = float(per_seed.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
    return Slope(value, error, seed_error, math.exp(at_one))


# -- a study ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """||dF|| / eta over depth in one setting.

    model: one of READINGS, or "encoder". n: tensors per matrix. scaled: one of SCALED. updates: {part: one list per
    depth, of the sizes of all seeds}.
    """

    model: str
    n: int
    init: str
    scaled: str
    optimiser: str
    depths: tuple[int, ...]
    updates: dict[str, list[list[float]]]

    def slope(self, part: str) -> Slope:
        """Of one of PARTS."""
        return fit(self.depths, self.updates[_among("part", part, PARTS)])

    def mean(self, part: str) -> list[float]:
        """The geometric mean over seeds, per depth."""
        return [math.exp(sum(map(math.log, row)) / len(row)) for row in self.updates[_among("part", part, PARTS)]]


@dataclass(frozen=True)
class Study:
    """Many curves, and what is the same in all of them. As JSON: `to_dict`, `from_dict`."""

    curves: tuple[Curve, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def curve(self, model: str, n: int, init: str, scaled: str, optimiser: str) -> Curve:
        """Raises UnknownNameError for a setting that was not studied."""
        key = (model, n, AS_SCALAR.get(init, init) if model in READINGS else init, scaled, optimiser)
        if key not in self._index:
            raise unknown("setting", ", ".join(map(str, key)), (", ".join(map(str, known)) for known in self._index))
        return self._index[key]

    @functools.cached_property
    def _index(self) -> dict[tuple[str, int, str, str, str], Curve]:
        return {(c.model, c.n, c.init, c.scaled, c.optimiser): c for c in self.curves}

    @functools.cached_property
    def slopes(self) -> list[dict[str, Any]]:
        """One row per curve and part: its setting, "part", and the Slope's fields with "says"."""
        return [
            {"model": c.model, "n": c.n, "init": c.init, "scaled": c.scaled, "optimiser": c.optimiser, "part": part,
             **asdict(slope := c.slope(part)), "says": slope.says}
            for c in self.curves
            for part in PARTS
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {"settings": self.settings, "curves": [{**asdict(c), "depths": list(c.depths)} for c in self.curves]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Study:
        """Raises CheckpointError for what `to_dict` did not give."""
        try:
            curves = tuple(Curve(**{**c, "depths": tuple(c["depths"])}) for c in content["curves"])
            for curve in curves:
                lengths = {len(curve.updates[part]) for part in PARTS}
                if lengths != {len(curve.depths)}:
                    raise ValueError(f"{curve.model}, {curve.init}: {lengths} sizes for {len(curve.depths)} depths")
            return cls(curves, dict(content["settings"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"this is no study of depth ({' '.join(str(error).split())[:200]}).") from error


def study(
    depths: Sequence[int] = DEPTHS,
    inits: Sequence[str] = tuple(INITS),
    models: Sequence[str] = MODELS,
    n: Sequence[int] = (3, 5),
    scaled: Sequence[str] = SCALED,
    optimisers: Sequence[str] = OPTIMISERS,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    source: Any = None,
    hidden: int = 64,
    gain: float = 1.0,
    source_depth: int = 3,
    shape: tuple[int, int] = (2, 8),
) -> Study:
    """||dF|| / eta for every combination, at every depth.

    source: an ALBERT, as `mpobert_init.source_of` takes it; None: `random_albert` of `hidden`, `gain` and
    `source_depth`, another for every seed. A seed also draws the input ids of `shape` (batch, tokens), the readout and
    what an initialisation draws. `source_depth` is that of the scalar model, too, and of the source if one is given.

    Raises UnknownNameError for an unknown name, CheckpointError for a source that is no ALBERT.
    """
    for what, given, known in (
        ("initialisation", inits, INITS),
        ("model", models, MODELS),
        ("choice of layers", scaled, SCALED),
        ("optimiser", optimisers, OPTIMISERS),
    ):
        for name in given:
            _among(what, name, known)
    if source is None:
        source_of_seed, about = lambda seed: random_albert(seed, hidden, source_depth, gain), f"random, gain {gain}"
    else:
        given = copy.deepcopy(source_of(source)).double().eval()
        source_of_seed, about = lambda seed: given, type(given).__name__
        hidden, source_depth = given.config.hidden_size, given.config.num_hidden_layers
    curves = []
    for model, tensors_each in itertools.product(models, n):
        if model == "encoder":
            keys = list(itertools.product(inits, scaled, optimisers))
            found = _measure(keys, depths, tensors_each, source_of_seed, seeds, shape)
        else:
            keys = list(itertools.product(dict.fromkeys(AS_SCALAR[init] for init in inits), scaled, optimisers))
            found = {
                (init, where, optimiser): [
                    [scalar_update(L, init, model, tensors_each, _start(where, source_depth), optimiser)]
                    for L in depths
                ]
                for init, where, optimiser in keys
            }
        curves += [_curve((model, tensors_each, *key), depths, found[key]) for key in keys]
    return Study(
        tuple(curves),
        {"source": about, "hidden": hidden, "source_depth": source_depth, "seeds": list(seeds), "shape": list(shape),
         "loss_change": LOSS_CHANGE, "c": SOURCE_CENTRE},
    )  # fmt: skip


def _start(where: str, source_depth: int) -> int:
    """The first layer that an initialisation is for."""
    return 0 if where == "all layers" else source_depth


def _measure(
    keys: Sequence[tuple[str, str, str]],
    depths: Sequence[int],
    n: int,
    source_of_seed: Callable[[int], nn.Module],
    seeds: Sequence[int],
    shape: tuple[int, int],
) -> dict[tuple[str, str, str], list[list[Update]]]:
    """(init, scaled, optimiser) -> for every depth the updates of all seeds."""
    found: dict[tuple[str, str, str], list[list[Update]]] = {key: [[] for _ in depths] for key in keys}
    for seed in seeds:
        source = source_of_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(source.config.vocab_size, shape, generator=generator)
        readout = torch.randn(source.config.hidden_size, generator=generator, dtype=torch.float64)
        readout /= readout.norm()
        for place, depth in enumerate(depths):
            with torch.random.fork_rng(devices=[]):
                model = MPOBertModel(config_from(source, depth, mpo_n=n, mpo_mode="reconstruct")).double().eval()
            for (init, where), group in itertools.groupby(keys, key=lambda key: key[:2]):
                initialise(model, source, init, seed, _start(where, source.config.num_hidden_layers))
                for key in group:
                    found[key][place].append(update_size(model, ids, readout, key[2]))
    return found


def _curve(key: tuple[str, int, str, str, str], depths: Sequence[int], found: Sequence[Sequence[Update]]) -> Curve:
    updates = {part: [[float(f"{getattr(u, part):.6g}") for u in row] for row in found] for part in PARTS}
    return Curve(*key, tuple(depths), updates)


def load(path: str | os.PathLike | None = None) -> Study:
    """The study in a record that scripts/depth_study.py wrote; by default the committed one.

    Raises DataNotFoundError where there is none, CheckpointError for a file that is no whole record.
    """
    path = runs.results_folder() / "depth.json" if path is None else Path(path)
    if not path.is_file():
        raise DataNotFoundError(
            f"no record {path.name!r} in {path.parent.name!r}: scripts/depth_study.py makes it, and "
            "mpolab.depth.study(depths=(3, 6, 12), seeds=(0,)) measures a smaller one."
        )
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, expected {FORMAT!r}")
        return Study.from_dict(content["study"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path.name!r} is no whole record of a study of depth ({' '.join(str(error).split())[:200]}); run "
            "scripts/depth_study.py again."
        ) from error


def _among(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    if name not in known:
        raise unknown(what, name, known)
    return name
