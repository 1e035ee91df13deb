"""The squeezing that `mpolab compress --squeeze` does: how far, with what training in between, and how it went."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BondError

if TYPE_CHECKING:
    from torch import nn

    from ..tasks import TaskData
    from ..trace import Trace
    from ..training import Settings

STEP, TUNE_STEPS = 0.25, 5  # of a bond's full size; batches


@dataclass(frozen=True)
class Aim:
    """target: parameters of the whole model at the end, None where only the metric ends it. steps: cuts until then."""

    target: int | None
    step: int | float
    steps: int | None


def aim(model: nn.Module, ratio: float | None, step: int | float) -> Aim:
    """What --ratio means for a model at full bonds: that share of the (padded) matrices' entries, in all MPOs together.

    Raises BondError for a ratio that cannot be reached by cutting only the bonds next to the centres.
    """
    if ratio is None:
        return Aim(None, step, None)
    from ..spectra import Tails
    from ..squeeze import Queue
    from ..surgery import mpo_layers

    layers = mpo_layers(model)
    plans = {path: layer.plan for path, layer in layers.items()}
    tails = {path: Tails(layer.spectra) for path, layer in layers.items()}
    queue = Queue(plans, tails, {path: layer.bonds for path, layer in layers.items()}, step)
    whole = sum(math.prod(plan.padded) for plan in plans.values())
    if not ratio * whole >= queue.least:
        least = math.ceil(1000 * queue.least / whole) / 1000
        raise BondError(
            f"ratio = {ratio:g} is out of reach by squeezing, which cuts only the bonds next to the central tensors: "
            f"with all of those at 1 the MPOs still hold {queue.least:,} numbers, a ratio of {least:g}. Ask for at "
            "least that, or leave out --squeeze, which cuts every bond."
        )
    outside = sum(parameter.numel() for parameter in model.parameters()) - queue.parameters
    steps = 0
    while queue.parameters > ratio * whole:
        queue.take()
        steps += 1
    return Aim(outside + math.floor(ratio * whole), step, steps)


def run(
    model: nn.Module,
    tokenizer: Any,
    data: TaskData,
    settings: Settings,
    aim: Aim,
    arguments: argparse.Namespace,
) -> tuple[Trace, dict[str, dict[str, float]]]:
    """MPOP Algorithm 2 on a fine-tuned model, in place: (trace, scores of all splits but train at the end).

    The rows that chose the best epoch also say how far the metric has fallen; dev is scored once, at the end.
    An interrupt leaves the model as after the last whole step and ends the trace there; then nothing is scored.
    """
    from tqdm import tqdm

    from ..session import Session
    from ..squeeze import squeeze

    metric, batches = data.task.main_metric, arguments.tune_steps or TUNE_STEPS
    so_far: list[Trace] = []
    bar = tqdm(desc="squeeze", total=aim.steps, unit="cut", disable=arguments.quiet, file=sys.stderr)
    with bar, Session(model, tokenizer, data, settings, arguments.seed) as session:

        def show(trace: Trace) -> None:
            so_far[:] = [trace]
            last = trace.steps[-1]
            shown = {f"select {metric}": f"{last.metric:.2f}", "#To": f"{last.parameters:,}"}
            bar.set_postfix(shown, refresh=False)
            bar.update(len(trace.steps) - bar.n)

        try:
            trace = squeeze(
                model,
                tune=lambda _: session.train(batches),
                evaluate=lambda _: session.evaluate("select")[metric],
                optimizer=session.optimizer,
                step=aim.step,
                max_drop=arguments.max_drop,
                target=aim.target,
                seed=arguments.seed,
                on_step=show,
            )
        except KeyboardInterrupt:
            if not so_far:
                raise
            so_far[0].stopped = "interrupted"
            return so_far[0], {}
        scores = {split: session.evaluate(split) for split in session.splits if split != "train"}
    return trace, scores


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


def line(trace: Trace, data: TaskData) -> str:
    from ..trace import STOPPED

    about = summary(trace)
    return (
        f"squeezed in {about['steps']} steps; {STOPPED[trace.stopped]}. {data.task.main_metric} on the rows that "
        f"choose: {about['metric before']:.2f} before, {about['metric after']:.2f} after"
    )
