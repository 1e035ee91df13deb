"""How often experts are updated while a model trains: MPOE says, less often than the centre that they share.

Notebook 04, "Who gets what, and who drifts where". Item: mpoe-eq4.
"""

from __future__ import annotations

from typing import Any

from transformers.trainer_callback import TrainerCallback

from .gradient_mask import mpo_experts


class RoutedCount(TrainerCallback):
    """Give it to a training: `train_lm(..., callbacks=[RoutedCount()])`. Counts, over all updates and all experts that
    share a centre, those without a token since the update before, which `gradient_mask.RoutedUpdates` holds still.

    updates: of one expert in one layer each. without_token: how many of them. Of this process, since it began; a run
    that goes on from a checkpoint counts from there.
    """

    def __init__(self) -> None:
        self.updates = self.without_token = 0

    @property
    def share(self) -> float:
        """Of the updates of experts that fall out for want of a token; 0 without any update."""
        return self.without_token / self.updates if self.updates else 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        for experts in mpo_experts(given["model"]):  # experts.routed: (experts,) bool, cleared behind the update
            self.updates += experts.routed.numel()
            self.without_token += int((~experts.routed).sum())

    def to_dict(self) -> dict[str, Any]:
        """For `Record.extra["updates"]`."""
        return {"of_experts": self.updates, "without_token": self.without_token, "share": self.share}
