"""Callbacks of the engine: when to evaluate, save and stop; the progress bar; the TensorBoard logs."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import TrainerCallback

if TYPE_CHECKING:
    from .features import Batches
    from .mixture import MixedBatches
    from .settings import Settings

TIMES = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time"}
"""What the Trainer adds to every evaluation."""


class Watch(TrainerCallback):
    """Says when to evaluate, save and stop; remembers the best step. Its `state()` is part of every checkpoint.

    metric: on the select split, higher being better unless `lower`; None where there is no such split. saving: every
    evaluation is followed by a checkpoint; without, the best weights are kept in memory, as `kept`.
    """

    def __init__(
        self,
        settings: Settings,
        total: int,
        per_epoch: int,
        batches: Batches | MixedBatches,
        metric: str | None,
        lower: bool = False,
        saving: bool = False,
    ):
        self.total, self.metric, self.lower, self.batches, self.saving = total, metric, lower, batches, saving
        self.patience = settings.patience
        self.eval_every = settings.eval_every or per_epoch
        self.save_every = settings.save_every or self.eval_every
        self.best: float | None = None
        self.best_step: int | None = None
        self.waited = 0
        self.step = 0
        self.seconds = 0.0
        self.peak_bytes = 0
        self.kept: dict[str, Tensor] | None = None

    @property
    def stopped_early(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    @property
    def done(self) -> bool:
        return self.step >= self.total or self.stopped_early

    def state(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("best", "best_step", "waited", "step", "seconds", "peak_bytes")}

    def restore(self, state: Mapping[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.batches.epoch = int(state.epoch or 0)

    def on_step_end(self, args, state, control, **kwargs):
        self.step = state.global_step
        last = self.step >= self.total
        control.should_evaluate = self.metric is not None and (last or self.step % self.eval_every == 0)
        control.should_save = self.saving and (last or self.step % self.save_every == 0)
        return control

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        value = metrics.get(f"eval_{self.metric}")
        if value is None:  # not the evaluation that chooses
            return control
        worst = math.inf if self.lower else -math.inf
        value = worst if math.isnan(value) else value
        if self.best is None or (value < self.best if self.lower else value > self.best):
            self.best, self.best_step, self.waited = value, self.step, 0
            if not self.saving:
                self.kept = weights(kwargs["model"])
        else:
            self.waited += 1
        control.should_training_stop = control.should_training_stop or self.stopped_early
        control.should_save = self.saving
        return control


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all that training can change, on the CPU: trainable parameters and buffers."""
    parameters = ((name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad)
    return {name: tensor.detach().cpu().clone() for name, tensor in (*parameters, *model.named_buffers())}


class Bar(TrainerCallback):
    """One progress bar on stderr: steps, loss, score on the select split, speed and time left."""

    def __init__(self, watch: Watch, label: str):
        self.watch, self.label, self.bar, self.shown = watch, label, None, {}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            from tqdm import tqdm

            self.bar = tqdm(
                desc=self.label, total=self.watch.total, initial=state.global_step, unit="step", file=sys.stderr
            )

    def on_step_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs, **kwargs):
        if "loss" in logs:
            self.shown["loss"] = f"{logs['loss']:.4f}"
        score = logs.get(f"eval_{self.watch.metric}")
        if score is not None:
            self.shown[f"select {self.watch.metric}"] = f"{score:.2f}"
        if self.bar is not None:
            self.bar.set_postfix(self.shown, refresh=False)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Board(TrainerCallback):
    """TensorBoard logs in OUT/tensorboard: train/loss, train/lr ..., select/accuracy, dev/accuracy ..."""

    def __init__(self, folder: Path):
        self.folder, self.writer = folder, None

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run had logged after its last checkpoint is logged again.
            self.writer = SummaryWriter(str(self.folder), purge_step=state.global_step + 1)

    def on_log(self, args, state, control, logs, **kwargs):
        if self.writer is None or any(key.endswith("_runtime") and key.startswith("train") for key in logs):
            return
        for key, value in logs.items():
            split, _, name = key.partition("_") if key not in _TRAINING_LOGS else ("train", "", _TRAINING_LOGS[key])
            if key != "epoch" and name not in TIMES and isinstance(value, int | float):
                self.writer.add_scalar(f"{'select' if split == 'eval' else split}/{name}", value, state.global_step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


_TRAINING_LOGS = {"loss": "loss", "grad_norm": "gradient norm", "learning_rate": "lr"}
