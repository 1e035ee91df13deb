"""Dimension squeezing, MPOP (Liu et al. 2021) Algorithm 2: bond by bond, tuning in between, until it hurts.

    trace = squeeze(model, tune, evaluate, optimizer, step=4, max_drop=1.0, target=9_000_000)

A step lowers one bond next to the centre of one matrix, lets `tune(model)` train (in the paper: the auxiliary tensors,
see `surgery.freeze_central`) and asks `evaluate(model)`. Which bond is next, the *stored* spectra say: the one whose
cut adds least to the error estimate (section 4.2, "fast reconstruction error estimation"). How to cut it, the *current*
cores say (`mpolab.cut`), and what that did to the current matrix is recorded beside the estimate. The optimizer goes on
across the cut (`mpolab.carry`).

The paper contradicts itself on when to stop: section 4.2 when the gap to the first metric is smaller than Delta,
Algorithm 2 when it is larger. The algorithm is meant. Its last step, which lost too much, is taken back.

`straight` is the comparison MPOP_dir: the same bonds in one go, without tuning. Notebook 02, "Squeezing".

Items: mpop-alg2.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real

import torch
from torch import nn

from . import carry
from .cut import find_cut
from .errors import BondError, TrainingError, UnknownNameError, unknown
from .layers import MPOEmbedding, MPOLinear
from .plans import Plan
from .spectra import Tails
from .surgery import mpo_layers
from .trace import Matrix, Step, Trace

ORDERS = ("estimate", "random")


# -- which bond is next ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A cut that could be made. increase: what it adds to the squared relative error, by the stored spectrum."""

    path: str
    bond: int
    before: int
    after: int
    increase: float


def bonds_at_centre(plan: Plan) -> list[int]:
    """The bonds left and right of the central core (only the one at n = 2), which alone are squeezed."""
    return [k for k in (plan.centre, plan.centre + 1) if 1 <= k < plan.n]


class Queue:
    """Candidates in the order in which they are to be cut; pure numbers, nothing is cut here.

    A candidate's increase depends on its own bond only, so no entry of the queue is ever out of date: whoever is taken
    is put back with the price of its next cut. Ties go to the matrix, then the bond, that comes first in the model.
    No bond is cut below `floor`.
    """

    def __init__(
        self,
        plans: dict[str, Plan],
        tails: dict[str, Tails],
        bonds: dict[str, Sequence[int]],
        step: int | float = 1,
        order: str = "estimate",
        seed: int = 0,
        floor: int = 1,
    ):
        self.plans, self.tails, self.order, self.floor = plans, tails, order, floor
        self.bonds = {path: list(sizes) for path, sizes in bonds.items()}
        self.generator = torch.Generator().manual_seed(seed)
        self._steps: dict[tuple[str, int], int] = {}
        self._waiting: list[tuple[float, int, int, Choice]] = []
        for path, plan in plans.items():
            for bond in bonds_at_centre(plan):
                size = self.bonds[path][bond]
                self._steps[path, bond] = step if isinstance(step, Integral) else max(1, math.ceil(step * size))
                self._offer(path, bond)

    def _offer(self, path: str, bond: int) -> None:
        before = self.bonds[path][bond]
        if before > self.floor:
            after = max(self.floor, before - self._steps[path, bond])
            choice = Choice(path, bond, before, after, increase(self.tails[path], bond, before, after))
            position = list(self.plans).index(path)
            entry = (choice.increase if self.order == "estimate" else 0.0, position, bond, choice)
            heapq.heappush(self._waiting, entry)

    def take(self) -> Choice | None:
        """The next cut, taken as made; None when every bond next to a centre is at the floor."""
        if not self._waiting:
            return None
        if self.order == "estimate":
            choice = heapq.heappop(self._waiting)[-1]
        else:
            drawn = int(torch.randint(len(self._waiting), (), generator=self.generator))
            choice = sorted(self._waiting, key=lambda entry: entry[:3])[drawn][-1]
            self._waiting = [entry for entry in self._waiting if entry[-1] is not choice]
            heapq.heapify(self._waiting)
        self.bonds[choice.path][choice.bond] = choice.after
        self._offer(choice.path, choice.bond)
        return choice

    def down_to(self, parameters: float) -> int:
        """Takes cuts until at most so many numbers are stored, or none is left; returns how many it took."""
        count = 0
        while self.parameters > parameters and self.take() is not None:
            count += 1
        return count

    @property
    def parameters(self) -> int:
        """Stored numbers of all matrices at the present bonds."""
        return sum(plan.parameters(self.bonds[path]) for path, plan in self.plans.items())

    @property
    def least(self) -> int:
        """The same with every bond next to a centre at the floor."""
        total = 0
        for path, plan in self.plans.items():
            at_centre = bonds_at_centre(plan)
            sizes = [min(d, self.floor) if k in at_centre else d for k, d in enumerate(self.bonds[path])]
            total += plan.parameters(sizes)
        return total


def queue_of(model: nn.Module, step: int | float = 1, floor: int = 1) -> Queue:
    """The queue, by estimates, that `squeeze` would go through on this model; nothing is cut."""
    layers = mpo_layers(model)
    plans = {path: layer.plan for path, layer in layers.items()}
    tails = {path: Tails(layer.spectra) for path, layer in layers.items()}
    return Queue(plans, tails, {path: layer.bonds for path, layer in layers.items()}, step, floor=floor)


def increase(tails: Tails, bond: int, before: int, after: int) -> float:
    """Squared relative weight of a bond's stored singular values `after` + 1 to `before`."""
    squares = tails.squares[bond - 1]
    last = len(squares) - 1  # a bond may be wider than its matrix is full
    return max(0.0, float(squares[min(after, last)] - squares[min(before, last)]))


# -- the model --------------------------------------------------------------------------------------


class _Squeezed:
    """A model with its MPO layers and their stored spectra; makes cuts."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None):
        if isinstance(model, nn.parallel.DistributedDataParallel):
            raise TrainingError(
                "DistributedDataParallel fixes the shape of every tensor when it wraps a model, so bonds cannot be cut "
                "inside it; squeeze model.module, and wrap it again for every `tune`."
            )
        self.model, self.optimizer, self.layers = model, optimizer, mpo_layers(model)
        if not self.layers:
            raise UnknownNameError(
                f"this {type(model).__name__} has no MPO layers to squeeze; put some in first: "
                "mpolab.to_mpo(model, plan)."
            )
        self.plans = {path: layer.plan for path, layer in self.layers.items()}
        self.tails = {path: Tails(layer.spectra) for path, layer in self.layers.items()}

    @property
    def bonds(self) -> dict[str, list[int]]:
        return {path: layer.bonds for path, layer in self.layers.items()}

    @property
    def parameters(self) -> int:
        """Of the whole model, a shared tensor once: #To of MPOP's tables."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def trace(self, **settings) -> Trace:
        matrices = {
            path: Matrix(plan.rows, plan.cols, plan.shape, tuple(self.layers[path].bonds))
            for path, plan in self.plans.items()
        }
        return Trace(parameters=self.parameters, matrices=matrices, **settings)

    def cut(self, choice: Choice, number: int) -> Step:
        """Cuts the current cores, takes the optimizer along, and says what happened; nothing is tuned or evaluated."""
        layer = self.layers[choice.path]
        error = cut_layer(layer, choice.bond, choice.after, self.optimizer)
        filled = [min(d, full) for d, full in zip(layer.bonds, layer.plan.full_bonds)]
        return Step(
            number,
            choice.path,
            choice.bond,
            choice.before,
            choice.after,
            estimate=math.sqrt(choice.increase),
            bound=self.tails[choice.path].bound(filled),
            error=error,
            metric=None,
            parameters=self.parameters,
        )


def cut_layer(
    layer: MPOLinear | MPOEmbedding, bond: int, keep: int, optimizer: torch.optim.Optimizer | None = None
) -> float:
    """Cuts one bond of a layer to `keep` values by the current cores; returns ||W' - W|| / ||W||.

    The two cores on the bond change, and with them what the optimizer remembers about them; each goes on training, or
    stays frozen, as before, in the same Parameter and parameter group. Raises what `cut.find_cut` and `carry.check`
    raise, before anything has changed.
    """
    touched = {bond - 1: 3, bond: 0}  # core -> axis of the cut bond
    for k in touched if optimizer is not None else ():
        carry.check(optimizer, layer.cores[k])
    cut = find_cut(list(layer.cores), bond, keep, layer.plan, getattr(layer, "padding_idx", None))
    layer.set_cores(cut.on_cores(list(layer.cores)))
    for k, axis in touched.items() if optimizer is not None else ():
        carry.carry(optimizer, layer.cores[k], lambda gradient, k=k: cut.on_gradient(k, gradient), axis)
    return cut.error


# -- Algorithm 2 ------------------------------------------------------------------------------------


def squeeze(
    model: nn.Module,
    tune: Callable[[nn.Module], object] | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    step: int | float = 1,
    max_drop: float | None = None,
    target: int | None = None,
    max_steps: int | None = None,
    floor: int = 1,
    order: str = "estimate",
    seed: int = 0,
    greater_is_better: bool = True,
    on_step: Callable[[Trace], object] | None = None,
) -> Trace:
    """Squeezes a model in place, MPOP Algorithm 2; returns the trace of all steps.

    tune: trains the model a little after every cut (line 6); None leaves it as cut. evaluate: the metric (line 7),
        asked once before the first cut and after every tuning.
    optimizer: the one that `tune` goes on with. Its state follows every cut. None: `tune` makes its own.
    step: how much one cut takes from a bond: a whole number, or a share of its first size between 0 and 1.
    max_drop, target, max_steps: when to stop; at least one. max_drop (Delta): when the metric has fallen by more than
        this below the first one; that step is taken back: weights, bonds and optimizer are then as before it, bit for
        bit (not schedulers, data loaders or random generators, which are the caller's). target: when the model has at
        most so many parameters (each counted once, as `trainable_report(model).total`); one step less would miss it.
    floor: no bond is cut below this; where all have come down to it, that is the end ("exhausted"). Above 1 it needs no
        other end.
    order: "estimate" as above, "random" (by `seed`) for comparison.
    greater_is_better: False for a metric that shall be small, such as the loss.
    on_step: called with the trace after every step, for progress and records.

    Whatever `tune`, `evaluate` or `on_step` raise (an interrupt, too) leaves the model as after the last whole step,
    and so does a metric that is no number: TrainingError. Raises BondError for a target out of reach, UnknownNameError
    for a model without MPO layers or an unknown order.
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    _check_settings(step, max_drop, target, max_steps, evaluate, floor)
    squeezed = _Squeezed(model, optimizer)
    queue = Queue(squeezed.plans, squeezed.tails, squeezed.bonds, step, order, seed, floor)
    _check_target(squeezed, queue, target)
    baseline = None if evaluate is None else _number(evaluate(model), "before the first step")
    about = {"max_drop": max_drop, "target": target, "baseline": baseline, "greater_is_better": greater_is_better}
    trace = squeezed.trace(order=order, step=step, seed=seed, **about)
    while True:
        if target is not None and trace.final_parameters <= target:
            return _stopped(trace, "target")
        if max_steps is not None and len(trace.steps) >= max_steps:
            return _stopped(trace, "steps")
        choice = queue.take()
        if choice is None:
            return _stopped(trace, "exhausted")
        before = carry.Snapshot(model, optimizer)
        try:
            done = squeezed.cut(choice, len(trace.steps) + 1)
            if tune is not None:
                tune(model)
            if evaluate is not None:
                where = f"after step {done.number} ({done.path} bond {done.bond}: {done.before} -> {done.after})"
                done = replace(done, metric=_number(evaluate(model), where))
        except BaseException:
            before.restore()
            raise
        if max_drop is not None:
            fallen = baseline - done.metric if greater_is_better else done.metric - baseline
            if fallen > max_drop:
                before.restore()
                trace.steps.append(replace(done, accepted=False))
                return _stopped(trace, "drop", on_step)
        trace.steps.append(done)
        if on_step is not None:
            on_step(trace)


def _stopped(trace: Trace, why: str, on_step: Callable[[Trace], object] | None = None) -> Trace:
    trace.stopped = why
    if on_step is not None:
        on_step(trace)
    return trace


def _number(metric: object, when: str) -> float:
    try:
        value = float(metric)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TrainingError(f"evaluate returned {metric!r} {when}; expected one number, e.g. the accuracy.") from None
    if math.isnan(value):
        raise TrainingError(
            f"evaluate returned NaN {when}; the model is as it was before that. Has the training diverged (try a "
            "smaller learning rate in tune), or is the metric undefined on this data?"
        )
    return value


def _check_settings(step, max_drop, target, max_steps, evaluate, floor=1) -> None:
    whole = isinstance(step, Integral) and not isinstance(step, bool) and step >= 1
    share = isinstance(step, Real) and not isinstance(step, Integral) and 0 < step < 1
    if not whole and not share:
        raise BondError(
            f"step = {step!r}: expected a whole number of at least 1, or a share between 0 and 1, e.g. 0.05."
        )
    if not isinstance(floor, Integral) or isinstance(floor, bool) or floor < 1:
        raise BondError(f"floor = {floor!r}: a bond dimension is a whole number of at least 1.")
    if max_drop is None and target is None and max_steps is None and floor == 1:
        raise TrainingError("squeeze would go on until nothing is left; give max_drop=, target=, max_steps= or floor=.")
    if max_drop is not None and evaluate is None:
        raise TrainingError(
            f"max_drop = {max_drop!r} needs evaluate=, a function of the model that returns the metric."
        )
    if max_drop is not None and (not isinstance(max_drop, Real) or not max_drop >= 0):
        raise TrainingError(f"max_drop = {max_drop!r}: expected how far the metric may fall, at least 0, e.g. 1.0.")
    if max_steps is not None and (not isinstance(max_steps, Integral) or max_steps < 0):
        raise TrainingError(f"max_steps = {max_steps!r}: expected a whole number of at least 0.")
    if target is not None and (not isinstance(target, Real) or not target >= 1):
        raise BondError(f"target = {target!r}: expected a number of parameters, e.g. 9_000_000.")


def _check_target(squeezed: _Squeezed, queue: Queue, target: int | None) -> None:
    least = squeezed.parameters - queue.parameters + queue.least
    if target is not None and target < least:
        raise BondError(
            f"target = {target:,} parameters is out of reach: with every bond next to a centre at {queue.floor} the "
            f"model still has {least:,} of its {squeezed.parameters:,} (the rest lies in outer cores and outside MPOs)."
        )


# -- MPOP_dir ---------------------------------------------------------------------------------------


def straight(model: nn.Module, target: int | None = None, like: Trace | None = None, step: int | float = 1) -> Trace:
    """Straight truncation to the same size, without tuning: MPOP_dir of the paper's Table 3. In place.

    target: the bonds that `squeeze` with this target and step would reach in the order of estimates. like: the bonds
    that a squeezing ended with. Each bond is cut once, all at once. Returns a trace with one step per bond.

    Raises BondError for a target out of reach or bonds that are already smaller, UnknownNameError for a trace of
    another model.
    """
    if (target is None) == (like is None):
        raise BondError("straight needs either target= (parameters) or like= (the trace of a squeezing).")
    _check_settings(step, None, target, 0, None)
    squeezed = _Squeezed(model)
    queue = Queue(squeezed.plans, squeezed.tails, squeezed.bonds, step)
    start = squeezed.bonds
    if like is None:
        _check_target(squeezed, queue, target)
        outside = squeezed.parameters - queue.parameters
        queue.down_to(target - outside)
        final = queue.bonds
    else:
        final = _bonds_like(squeezed, like)
    trace = squeezed.trace(order="straight", step=step, max_drop=None, target=target, seed=None, baseline=None)
    for path, tails in squeezed.tails.items():
        for bond in range(1, squeezed.plans[path].n):
            before, after = start[path][bond], final[path][bond]
            if after < before:
                choice = Choice(path, bond, before, after, increase(tails, bond, before, after))
                trace.steps.append(squeezed.cut(choice, len(trace.steps) + 1))
    return _stopped(trace, "target")


def _bonds_like(squeezed: _Squeezed, like: Trace) -> dict[str, list[int]]:
    final = like.bonds
    for path, plan in squeezed.plans.items():
        if path not in final:
            raise unknown("matrix (the trace has others)", path, final)
        if like.matrices[path].plan != plan:
            raise BondError(f"{path} has the plan {plan} here, and {like.matrices[path].plan} in the trace.")
        if any(d < wanted for d, wanted in zip(squeezed.layers[path].bonds, final[path])):
            raise BondError(
                f"{path} has the bonds {squeezed.layers[path].bonds}, smaller than the trace's {final[path]}; cut the "
                "model that the squeezing started from."
            )
    return final
