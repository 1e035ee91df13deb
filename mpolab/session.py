"""Training in short segments, for methods that change the model in between: dimension squeezing (MPOP, Algorithm 2).

>>> with Session(model, tokenizer, data, settings) as session:  # doctest: +SKIP
...     session.train(steps=20)
...     before = session.evaluate("select")
...     ...  # cut a bond, and swap the parameters in session.optimizer
...     session.train(steps=20)

One optimizer and one constant learning rate go through all segments; the rows go on where the last segment stopped.
Nothing here holds on to parameters: gradients are clipped over `model.parameters()` as they are at each step, so the
model's parameters may be replaced by others (of other shapes) between segments, if `session.optimizer.param_groups` and
`session.optimizer.state` are changed along.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from . import training
from .errors import TrainingError
from .pretrained import quiet_transformers
from .settings import Settings

if TYPE_CHECKING:
    from .prepare import Data


class Session:
    """A model, its data and one optimizer, trained segment by segment in this process.

    settings: of these `epochs`, `max_steps`, `warmup`, `schedule`, `patience` and the intervals play no part.
    objective: of a TextData, as for `train_lm`. The random streams (order of rows, dropout, masks) come from `seed` and
    are kept between segments: what the caller draws in between changes nothing.

    optimizer: the torch optimizer itself, with named groups (`engine.parameter_groups`). step: updates done.
    Use as a context manager, or call `close()`.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        data: Data,
        settings: Settings | None = None,
        seed: int = 0,
        objective: str | None = None,
    ):
        self.model, self.step = model, 0
        self._engine = training.make_trainer(model, tokenizer, data, settings, seed, objective=objective)
        if self._engine.args.world_size > 1:
            self.close()
            raise TrainingError("a Session trains in one process: replaced parameters would escape torch's DDP.")
        self._engine.create_optimizer()
        accelerator = self._engine.accelerator
        self._prepared, self._engine.optimizer = accelerator.prepare(self._engine.model, self._engine.optimizer)
        self._batches = self._endless()

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Not accelerate's wrapper: the AdamW that it wraps."""
        return self._engine.optimizer.optimizer

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._engine.rows)

    def _endless(self) -> Iterator[dict[str, torch.Tensor]]:
        loader = self._engine.get_train_dataloader()
        while True:
            yield from loader
            self._engine.batches.epoch += 1

    def train(self, steps: int, lr: float | None = None) -> float:
        """The mean loss of `steps` further updates; lr: another rate for these, and all after them, in every group.

        Raises TrainingError for a loss that is no number (the weights are then those before that step), and for a
        replaced parameter that is not contiguous.
        """
        engine, settings = self._engine, self._engine.settings
        groups = self.optimizer.param_groups
        if groups[0]["fused"] and not engine.can_fuse(groups):
            raise TrainingError("a replaced parameter is not contiguous: make it of tensor.contiguous().")
        if lr is not None:
            for group in groups:
                group["lr"] = lr
        total = 0.0
        with quiet_transformers(), engine.streams:
            engine.accelerator.gradient_state._set_sync_gradients(True)
            for _ in range(steps):
                engine.state.global_step = self.step
                parts = [next(self._batches) for _ in range(settings.accumulation)]
                items = sum(engine.objective.count(part["labels"]) for part in parts)
                engine.current_gradient_accumulation_steps = len(parts)
                loss = sum(engine.training_step(self._prepared, part, items) for part in parts)
                if settings.max_grad_norm > 0:
                    engine.accelerator.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
                engine.optimizer.step()
                engine.optimizer.zero_grad()
                self.step += 1
                total += loss.item()
        return total / steps if steps else float("nan")

    def evaluate(self, split: str = "select") -> dict[str, float]:
        """{metric: value, "loss": value} of a split; the model is in eval mode afterwards."""
        with quiet_transformers(), self._engine.streams:
            return self._engine.scores(split)

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
