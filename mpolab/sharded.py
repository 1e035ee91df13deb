"""A model divided among the processes of torchrun (FSDP2: torch's `fully_shard`), and put together again.

Each process keeps a part of every parameter, gradient and optimizer state on its device. A layer's parameters are
gathered when the layer runs and freed after it; what no layer owns (embeddings, heads, and of an MPOBERT the central
tensors that all layers are handed) is one unit, the root, gathered once for a forward and backward pass. So a shared
tensor keeps its one owner. The caller's model stays whole, on the host: it is what checkpoints are written from and
read into, and it gets the weights at the end. ALBERT's one layer, called many times, belongs to the root.

Why not the Trainer's own `fsdp=True`: with transformers 5.23 and accelerate 1.15 it does nothing on a CPU, and says
nothing. `AcceleratorState` takes the plugin in only where its distributed type is one of the accelerators'
(MULTI_GPU, MULTI_XPU, ...); MULTI_CPU is not in that list, so that the type stays, `state.fsdp_plugin` is not set, the
Trainer's `is_fsdp_enabled` is False, and the model is wrapped in DDP. torch itself divides on gloo. Doing it here gives
one path for both devices, which two processes on a CPU can test, and whole checkpoints in the usual files.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from .errors import TrainingError


def units(model: nn.Module) -> list[nn.Module]:
    """The modules that are gathered one at a time: transformers' layers (the classes that may be checkpointed)."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


class Sharded:
    """whole: the caller's model, whose device and modules stay as they are. model: its divided copy, to be trained.

    device: "cpu" or "cuda"; the processes' group must have been started. Raises TrainingError in a single process.
    """

    def __init__(self, whole: nn.Module, device: str):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        from torch.distributed.tensor import Shard

        if not torch.distributed.is_initialized() or torch.distributed.get_world_size() < 2:
            raise TrainingError(
                "parallel='fsdp' divides a model among several processes, and here is one: start the script with "
                "torchrun --nproc-per-node 2 (or more), or leave parallel='ddp'."
            )
        self.whole = whole
        self.processes = torch.distributed.get_world_size()
        self.mesh = init_device_mesh(device, (self.processes,))
        model = copy.deepcopy(whole)
        if hasattr(model.config, "mpo_rebuild"):
            model.config.mpo_rebuild = "layer"  # a batch would need the auxiliary tensors of layers not yet gathered

        def place(parameter: nn.Parameter) -> Shard:
            """Along the longest side that divides evenly: a core (1, i, j, d) has nothing to divide along the first."""
            sides = [k for k, size in enumerate(parameter.shape) if size % self.processes == 0]
            return Shard(max(sides, key=lambda k: parameter.shape[k], default=0))

        for module in units(model):
            fully_shard(module, mesh=self.mesh, shard_placement_fn=place)
        fully_shard(model, mesh=self.mesh, shard_placement_fn=place)
        model._is_fsdp_managed_module = True  # the Trainer then waits with the gradients of micro-batches
        self.model = model

    def _pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(tensor of the whole model, that of the divided one), a shared one once."""
        divided = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        whole = {**dict(self.whole.named_parameters()), **dict(self.whole.named_buffers())}
        return [(tensor, divided[name]) for name, tensor in whole.items()]

    @torch.no_grad()
    def gather(self) -> None:
        """The weights into the whole model of every process; all processes must call it."""
        for tensor, part in self._pairs():
            tensor.copy_(whole_tensor(part))

    @torch.no_grad()
    def scatter(self) -> None:
        """The whole model's weights into the divided one; each process takes its part of its own."""
        for tensor, part in self._pairs():
            if is_divided(part):
                part.to_local().copy_(self._part_of(tensor, part).to_local())
            else:
                part.copy_(tensor)
        mode = self.model.training
        self.model.train(not mode).train(mode)  # layers forget what they had rebuilt

    def _part_of(self, tensor: torch.Tensor, like: Any) -> Any:
        from torch.distributed.tensor import distribute_tensor

        on_device = tensor.to(like.to_local().device)
        return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """As one process would have it, on the host; all processes must call it."""
        return tree_map(lambda value: whole_tensor(value).cpu() if is_divided(value) else value, optimizer.state_dict())

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Takes each process's part of what `optimizer_state` gave."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]  # in the order of the numbers
        divided = {}
        for number, entries in state["state"].items():
            like = parameters[number]
            divided[number] = {
                key: self._part_of(value, like) if torch.is_tensor(value) and value.shape == like.shape else value
                for key, value in entries.items()
            }
        optimizer.load_state_dict({**state, "state": divided})


def is_divided(value: Any) -> bool:
    """Whether a tensor is a part of one: torch's DTensor."""
    return hasattr(value, "full_tensor")


def whole_tensor(value: Any) -> Any:
    """Of a part, the whole; all processes must call it. Anything else as it is."""
    return value.full_tensor() if is_divided(value) else value


def total_norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    """The norm of all gradients together, those of the other processes' parts included."""
    return whole_tensor(torch.nn.utils.get_total_norm(gradients))
