"""The squeezing that `mpolab compress --squeeze` does: how far, with what training in between, and how it went."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import BondError

if TYPE_CHECKING:
    from torch import nn

    from ..tasks import TaskData
    from ..trace import Trace
    from ..training import Settings

STEP, TUNE_STEPS = 0.25, 5  # of a bond's full size; batches
KEEP_EVERY = 10  # accepted steps


@dataclass(frozen=True)
class Aim:
    """step: what one cut takes. steps: cuts until the end, None where only the metric ends it. target: parameters of
    the whole model at the end. floor: the bonds at the end.
    """

    step: int | float
    steps: int | None = None
    target: int | None = None
    floor: int = 1


@dataclass
class Squeezed:
    """How a squeezing went. problem: what ended it, or the scoring after it, before its time; the model is then as
    after the last whole step.
    """

    trace: Trace | None = None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    problem: BaseException | None = None


def aim(model: nn.Module, ratio: float | None, bond: int | None, step: int | float) -> Aim:
    """What --ratio and --bond mean for a model at full bonds.

    ratio: that share of the (padded) matrices' entries, in all MPOs together. bond: no bond next to a centre is larger.

    Raises BondError for a ratio that cannot be reached by cutting only the bonds next to the centres, and for a bond
    below 1.
    """
    if ratio is None and bond is None:
        return Aim(step)
    if bond is not None and bond < 1:
        raise BondError(f"bond = {bond}: a bond dimension is at least 1.")
    from ..squeeze import queue_of

    queue = queue_of(model, step, floor=bond or 1)
    if bond is not None:
        return Aim(step, queue.down_to(0), floor=bond)
    whole = sum(math.prod(plan.padded) for plan in queue.plans.values())
    if not ratio * whole >= queue.least:
        least = math.ceil(1000 * queue.least / whole) / 1000
        raise BondError(
            f"ratio = {ratio:g} is out of reach by squeezing, which cuts only the bonds next to the central tensors: "
            f"with all of those at 1 the MPOs still hold {queue.least:,} numbers, a ratio of {least:g}. Ask for at "
            "least that, or leave out --squeeze, which cuts every bond."
        )
    outside = sum(parameter.numel() for parameter in model.parameters()) - queue.parameters
    return Aim(step, queue.down_to(ratio * whole), target=outside + math.floor(ratio * whole))


def run(
    model: nn.Module,
    tokenizer: Any,
    data: TaskData | None,
    settings: Settings | None,
    aim: Aim,
    arguments: argparse.Namespace,
    keep: Callable[[Trace], object],
) -> Squeezed:
    """MPOP Algorithm 2, in place, on a model that was fine-tuned on `data`; without data the same without any tuning.

    The rows that chose the best epoch also say how far the metric has fallen; all splits but train are scored once, at
    the end. keep: called after every KEEP_EVERY accepted steps. What is raised once a step is done, an interrupt
    included, ends the squeezing there: it is handed back as `problem`, so that the model can be saved.
    """
    from tqdm import tqdm

    from ..session import Session
    from ..squeeze import squeeze

    done, kept = Squeezed(), 0
    bar = tqdm(desc="squeeze", total=aim.steps, unit="cut", disable=arguments.quiet, file=sys.stderr)
    tuning: Any = contextlib.nullcontext()
    if data is not None:
        tuning = Session(model, tokenizer, data, settings, arguments.seed)
    with bar, tuning as session:
        how: dict[str, Any] = {}
        if data is not None:
            metric, batches = data.task.main_metric, arguments.tune_steps or TUNE_STEPS
            how = {
                "tune": lambda _: session.train(batches),
                "evaluate": lambda _: session.evaluate("select")[metric],
                "optimizer": session.optimizer,
                "max_drop": arguments.max_drop,
            }

        def after_step(trace: Trace) -> None:
            nonlocal kept
            done.trace = trace
            last = trace.steps[-1]
            shown = {} if last.metric is None else {f"select {metric}": f"{last.metric:.2f}"}
            bar.set_postfix({**shown, "#To": f"{last.parameters:,}"}, refresh=False)
            bar.update(len(trace.steps) - bar.n)
            if len(trace.accepted) >= kept + KEEP_EVERY:
                keep(trace)
                kept = len(trace.accepted)

        try:
            done.trace = squeeze(
                model,
                step=aim.step,
                target=aim.target,
                floor=aim.floor,
                seed=arguments.seed,
                on_step=after_step,
                **how,
            )
            if data is not None:
                done.scores = {split: session.evaluate(split) for split in session.splits if split != "train"}
        except (KeyboardInterrupt, Exception) as problem:
            if done.trace is None:
                raise
            done.problem = problem
            if done.trace.stopped == "running":
                done.trace.stopped = "interrupted"
    return done


def summary(trace: Trace) -> dict[str, Any]:
    """For --json; the whole trace is in the folder."""
    kept = trace.accepted
    return {
        "steps": len(trace.steps),
        "taken back": len(trace.steps) - len(kept),
        "stopped": trace.stopped,
        "metric before": trace.baseline,
        "metric after": kept[-1].metric if kept else trace.baseline,
    }


def line(trace: Trace, data: TaskData | None) -> str:
    from ..trace import STOPPED

    about = summary(trace)
    told = f"squeezed in {about['steps']} steps; {STOPPED[trace.stopped]}"
    if data is None:
        return told
    return (
        f"{told}. {data.task.main_metric} on the rows that choose: {about['metric before']:.2f} before, "
        f"{about['metric after']:.2f} after"
    )
