"""What training has to keep across a cut, and get back when a cut is taken back: optimizer state, weights, bonds.

`carry` takes an optimizer's memory of a core through a cut of one of the core's bonds. An optimizer of the Adam family
remembers an average of the gradient (`exp_avg`) and one of its square, entry by entry (`exp_avg_sq`), both counted by
`step` so that their start from zero can be divided out (bias correction).

- The first moment is an average of gradients and turns as they do: `Cut.on_gradient`.
- The second moment does not turn: squares of single entries say nothing about the entries along other axes. Only their
  sum over the bond's index survives a rotation. So it *restarts*, from that mean for all values of the index (the
  other indices keep theirs), as if it had been gathered from `RESTART` gradients; new ones soon outweigh it.
- One `step` counts for both, so it is set to `RESTART`, and both moments are scaled to be unbiased under that count.

Restarting from zero would be the simpler rule, and a wrong one: beside a first moment that is kept, the first update
would be lr * (b1 m + (1-b1) g) / |g| per entry, without bound where the new gradient g happens to be small.

`Snapshot` puts a model and its optimizer back, bit for bit. Notebook 02, "Squeezing".
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from .errors import TrainingError
from .surgery import mpo_layers

RESTART = 10  # gradients that a restarted second moment counts for, at most
FIRST = ("exp_avg", "momentum_buffer")  # averages of gradients
SECOND = ("exp_avg_sq", "max_exp_avg_sq")  # averages of their squares
COUNT = "step"


def check(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    """Raises TrainingError where an optimizer remembers something about a parameter that `carry` cannot turn."""
    for name, value in optimizer.state.get(parameter, {}).items():
        if name not in (*FIRST, *SECOND, COUNT) and value is not None:
            raise TrainingError(
                f"{type(optimizer).__name__} keeps {name!r} for every parameter, and nothing is known about how that "
                f"changes when a bond is cut; squeeze with torch.optim.AdamW, Adam or SGD (which keep "
                f"{', '.join((*FIRST, *SECOND, COUNT))}), or without optimizer=, making a new one for every `tune`."
            )


@torch.no_grad()
def carry(
    optimizer: torch.optim.Optimizer,
    parameter: nn.Parameter,
    turn: Callable[[torch.Tensor], torch.Tensor],
    axis: int,
    restart: int = RESTART,
) -> None:
    """Takes an optimizer's state of one core through a cut; a core that has none (frozen, or new) has none after it.

    parameter: the core, already cut. turn: what the cut does to gradients (d_{k-1}, i_k, j_k, d_k) of this core. axis:
    the cut bond's, 0 or 3. The parameter group, and all other parameters' states, are not touched.
    """
    state = optimizer.state.get(parameter)
    if not state:
        return
    check(optimizer, parameter)
    weights = {name: 1.0 for name in (*FIRST, *SECOND)}  # what a moment is to be multiplied with
    betas = next((group.get("betas") for group in optimizer.param_groups if _holds(group, parameter)), None)
    if betas is not None and state.get(COUNT) is not None:
        before, after = float(state[COUNT]), min(float(state[COUNT]), restart)
        for names, beta in zip((FIRST, SECOND), betas):
            weights |= {name: (1 - beta**after) / (1 - beta**before) for name in names if before > after}
        state[COUNT] = torch.full_like(state[COUNT], after) if torch.is_tensor(state[COUNT]) else int(after)
    for name, value in list(state.items()):
        if name in FIRST and value is not None:
            state[name] = _like(turn(value) * weights[name], parameter, value.dtype)
        elif name in SECOND and value is not None:
            mean = value.mean(axis, keepdim=True) * weights[name]
            state[name] = _like(mean.expand(parameter.shape), parameter, value.dtype)


def _holds(group: dict, parameter: nn.Parameter) -> bool:
    return any(other is parameter for other in group["params"])


def _like(value: torch.Tensor, parameter: nn.Parameter, dtype: torch.dtype) -> torch.Tensor:
    """With a memory of its own, laid out as the optimizer would have made it."""
    return torch.empty_like(parameter, dtype=dtype, memory_format=torch.preserve_format).copy_(value)


class Snapshot:
    """A model's weights and bonds and an optimizer's state as they are now.

    What trains is copied, and the buffers; of what is frozen only the memory is remembered, for neither a cut nor an
    optimizer writes into it. Random generators, schedulers and data loaders are the caller's.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None):
        self.model, self.optimizer = model, optimizer
        self._layers = {path: [_saved(core) for core in layer.cores] for path, layer in mpo_layers(model).items()}
        cores = {id(core) for layer in mpo_layers(model).values() for core in layer.cores}
        self._rest = [(tensor, _saved(tensor)) for tensor in model.parameters() if id(tensor) not in cores]
        self._buffers = [
            (module, name, buffer, buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        self._flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        self._frozen = [
            (name, parameter, parameter._version, parameter.data_ptr())
            for name, parameter in model.named_parameters()
            if not parameter.requires_grad
        ]
        if optimizer is not None:
            self._groups = [_settings(group) for group in optimizer.param_groups]
            self._state = {parameter: copy.deepcopy(dict(state)) for parameter, state in optimizer.state.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Everything as it was; can be called once, for it gives its copies away.

        Raises TrainingError, after all else is restored, if somebody has written into a frozen tensor.
        """
        written = [name for name, p, version, at in self._frozen if p.data_ptr() == at and p._version != version]
        for path, layer in mpo_layers(self.model).items():
            layer.set_cores(self._layers[path])
        for tensor, saved in self._rest:
            if tensor.data_ptr() != saved.data_ptr():
                tensor.copy_(saved)
        for module, name, buffer, saved in self._buffers:
            setattr(module, name, buffer.copy_(saved))
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
            parameter.grad = None
        if self.optimizer is not None:
            for group, settings in zip(self.optimizer.param_groups, self._groups):
                params = group["params"]
                group.clear()
                group.update(settings, params=params)
            self.optimizer.state.clear()
            self.optimizer.state.update(self._state)
        if written:
            raise TrainingError(
                f"{written[0]} was frozen and has been written to since ({len(written)} such tensors): only what "
                "trains is copied, so it cannot be taken back. Leave frozen tensors alone in tune, or unfreeze them "
                "before squeeze."
            )


def _saved(parameter: nn.Parameter) -> torch.Tensor:
    """A copy of what trains; the memory itself of what is frozen."""
    return parameter.detach().clone() if parameter.requires_grad else parameter.detach()


def _settings(group: dict) -> dict:
    return copy.deepcopy({name: value for name, value in group.items() if name != "params"})
