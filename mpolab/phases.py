"""A training in phases, one after the other on the same model: other rows, another rate, in the end one curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .jobs import Job
from .training import Outcome, pretrain


@dataclass(frozen=True)
class Phase:
    """share: of all steps. lr: its rate, constant but in the last phase, which follows the schedule. data: what it
    trains on, instead of the job's data. begin: called before it, to change the model.
    """

    share: float
    lr: float
    data: Any
    begin: Callable[[], None] = lambda: None


def run_phases(job: Job, phases: Sequence[Phase]) -> tuple[Outcome, list[int | None]]:
    """The whole training, and the steps of each phase. Checkpoints of several phases have a folder each."""
    steps = steps_of(job.settings.max_steps, [phase.share for phase in phases])
    outcomes = []
    for number, (phase, count) in enumerate(zip(phases, steps)):
        phase.begin()
        last = number == len(phases) - 1
        schedule = job.settings.schedule if last else "constant"
        settings = dataclasses.replace(job.settings, max_steps=count, schedule=schedule, lr=phase.lr)
        out = job.out / f"phase-{number}" if len(phases) > 1 else job.out
        data = phase.data if last else _without_test(phase.data)
        outcomes.append(
            pretrain(job.model, job.tokenizer, data, settings, job.seed + number, out, progress=job.progress)
        )
    return joined(outcomes), steps


def _without_test(corpus: Any) -> Any:
    return dataclasses.replace(corpus, splits={k: tokens for k, tokens in corpus.splits.items() if k != "test"})


def steps_of(total: int | None, shares: Sequence[float]) -> list[int | None]:
    if total is None:
        return [None]
    ends = [round(total * sum(shares[: k + 1])) for k in range(len(shares))]
    return [max(1, end - begin) for begin, end in zip([0, *ends], ends)]


def joined(outcomes: list[Outcome]) -> Outcome:
    """Several phases as one training: the scores of the last, all curves one after the other."""
    last, before = outcomes[-1], 0
    curve, evaluations = [], []
    for outcome in outcomes:
        curve += [{**entry, "step": entry["step"] + before} for entry in outcome.curve]
        evaluations += [{**entry, "step": entry["step"] + before} for entry in outcome.evaluations]
        before += outcome.steps
    return dataclasses.replace(
        last,
        curve=curve,
        evaluations=evaluations,
        steps=before,
        best_step=None if last.best_step is None else before - last.steps + last.best_step,
        seconds=sum(outcome.seconds for outcome in outcomes),
        peak_bytes=max(outcome.peak_bytes for outcome in outcomes),
    )
