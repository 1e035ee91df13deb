"""How often experts are updated while a model trains: MPOE says, less often than the centre that they share.

Notebook 04, "What the gradient mask does to Adam", at the row mpoe-eq4-frequent. Item: mpoe-eq4.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback, TrainerState

from . import snapshots
from .gradient_mask import mpo_experts, routed_anywhere

KEPT = "mpolab.updates"  # in the trainer's state, which is part of every checkpoint


class RoutedCount(TrainerCallback):
    """Give it to a training: `train_lm(..., out="work", callbacks=[RoutedCount("work")])`. Counts, over all updates and
    all experts that share a centre, those without a token since the update before, in any process, which
    `gradient_mask.RoutedUpdates` holds still.

    out: the run's folder, from whose last checkpoint a run that was at its end already has its counts; None = there is
    no such run. counts: {"of_experts": updates of one expert in one layer each, "without_token": how many of them}, of
    the whole run, those before it was killed with them; None for both where a checkpoint does not say.
    """

    def __init__(self, out: str | os.PathLike | None = None) -> None:
        self.out = None if out is None else Path(out)
        self.counts: dict[str, int | None] = {"of_experts": 0, "without_token": 0}
        self._trained = False  # by this process

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.counts, self._trained = _kept(state), True

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if None in self.counts.values():
            return
        for routed in routed_anywhere(mpo_experts(given["model"])):  # (experts,) bool, cleared behind the update
            self.counts["of_experts"] += routed.numel()
            self.counts["without_token"] += int((~routed).sum())

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        state.stateful_callbacks[KEPT] = dict(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """For `Record.extra["updates"]`: the counts, and as share how many fall out; 0 without any update."""
        counts = self.counts
        if not self._trained and self.out is not None and (last := snapshots.last_whole(self.out)) is not None:
            counts = _kept(TrainerState.load_from_json(str(last / "trainer_state.json")))
        updates, without = counts["of_experts"], counts["without_token"]
        return {**counts, "share": None if updates is None else without / updates if updates else 0.0}


def _kept(state: Any) -> dict[str, int | None]:
    """The counts of all steps until then: unknown after a step of a training that did not count."""
    nothing = None if state.global_step else 0
    return dict(state.stateful_callbacks.get(KEPT) or {"of_experts": nothing, "without_token": nothing})
