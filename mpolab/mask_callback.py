"""The gradient mask and the routed updates as one callback for a training, by our engine or by a plain Trainer."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import distributed, nn
from transformers.trainer_callback import TrainerCallback

from .errors import TrainingError
from .gradient_mask import GradientMask, RoutedUpdates, mpo_experts


class MaskCallback(TrainerCallback):
    """Give it to a training: `train_lm(..., callbacks=[MaskCallback(model, 0.25)])`. MPOE Algorithm 1.

    probability, seed, mode: as in `GradientMask`; made here and now, so that with probability 1 the centres are frozen
    before an optimizer or DDP sees them. routed: whether experts without tokens are held still, too.

    The mask has to come between backward and clipping. `mpolab.engine` calls `on_backward_end` there, and enters
    `around_step` before the passes, so that in one process no gradient is computed to be discarded; transformers'
    Trainer has no such event (its `on_pre_optimizer_step` comes after clipping), so with a plain Trainer the callback
    works where `max_grad_norm` is 0, and otherwise raises TrainingError instead of clipping by the wrong norm.
    """

    def __init__(self, model: nn.Module, probability: float, seed: int = 0, mode: str = "skip", routed: bool = True):
        self.mask = GradientMask(model, probability, seed, mode) if probability else None
        self.routed = routed
        self.masked: list[str] = []  # in the last step
        self._updates: RoutedUpdates | None = None
        self._done: int | None = None  # the step that the mask was applied in

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._done = None
        model: nn.Module = given["model"]
        optimizer: torch.optim.Optimizer | None = given.get("optimizer")
        if self.routed and optimizer is not None and mpo_experts(model):
            self._updates = RoutedUpdates(model, optimizer)

    def around_step(self, args: Any, state: Any, model: nn.Module) -> contextlib.AbstractContextManager[None]:
        """For the passes of step `state.global_step`: see `GradientMask.ahead`."""
        alone = not (distributed.is_available() and distributed.is_initialized())
        if self.mask is None or not alone or any(map(_compiled, model.modules())):
            return contextlib.nullcontext()
        return self.mask.ahead(state.global_step)

    def on_backward_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The gradients of step `state.global_step`, of all micro-batches and processes, are there; not yet clipped."""
        if self.mask is not None:
            self.masked = self.mask.apply(state.global_step)
        self._done = state.global_step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._done == state.global_step or self.mask is None:
            return
        if args.max_grad_norm and self.mask.masked(state.global_step) and not self._frozen():
            raise TrainingError(
                f"gradients were clipped to {args.max_grad_norm} before the mask could discard any, so the others were "
                "scaled by the wrong norm. Train with mpolab's engine (`fine_tune`, `train_lm`), or set "
                "max_grad_norm=0."
            )
        self.on_backward_end(args, state, control)

    def _frozen(self) -> bool:
        return not any(tensor.requires_grad for tensor in self.mask.tensors.values())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._updates is not None:
            self._updates.clear()  # where the loss scaler left a step out, its marks are void, too

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._updates is not None:
            self._updates.remove()
            self._updates = None


def _compiled(module: nn.Module) -> bool:
    """By torch.compile(module), or in place by module.compile()."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
