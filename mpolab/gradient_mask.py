"""MPOE's gradient mask, and updates for those experts only that saw a token: what an optimizer must not touch.

The central tensor sees every token and each auxiliary tensor a share of them; so, with probability p_b, the central
tensor's update of a step is discarded (eq. 4, Algorithm 1 line 5). A gradient of *zero* does not do that: Adam goes on
moving the tensor by its momentum and its weight decay. A gradient of *None* does: optimizers pass such a tensor over.

The auxiliary tensors of an expert that no token was routed to are not updated either (line 6, "update the routed
auxiliary tensors"). They are slices of stacked parameters, whose gradient there is zero; `RoutedUpdates` puts those
slices back, the optimizer's moments included. Notebook 04, "What the gradient mask does to Adam".

Items: mpoe-eq4, mpoe-alg1.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import distributed, nn

from .errors import RoutingError, unknown
from .experts import Experts, MPOMatrix
from .layer_base import MPOLayer

MODES = ("skip", "zero")
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def draw(seed: int, step: int, name: str) -> float:
    """A number in [0, 1) that depends on these three alone: the same in every process, on every device, after a resume.

    Not from torch's streams, which differ between processes and would have to be saved.
    """
    digest = hashlib.blake2b(f"{seed}:{step}:{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def central_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """{name in the model: central tensor} of all experts and MPO layers; DDP and the like do not change the names."""
    owned = {id(module.central) for module in model.modules() if _owns_a_centre(module)}
    return {_plain(name): p for name, p in model.named_parameters() if id(p) in owned}


def _owns_a_centre(module: nn.Module) -> bool:
    """A `SharedLinear` does not: it is handed one in every call, and has no list of cores."""
    return isinstance(module, MPOMatrix) or (isinstance(module, MPOLayer) and "cores" in module._modules)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise RoutingError(f"a mask probability of {value} was given; it lies between 0 (never) and 1 (always).")
    return float(value)


class GradientMask:
    """Discards the update of each central tensor with a probability, independently per tensor and optimizer step.

    Call `apply(step)` after the last backward pass of an optimizer step and before gradients are clipped (a gradient
    that is discarded must not shrink the others). mode: "skip" sets the gradient to None; "zero" sets it to zero, which
    is there to show what that does. tensors: {name: Parameter}, by default all `central_tensors` of the model.

    With probability 1 and "skip" the tensors are frozen at once, and their gradients not even computed; do it before
    the model is wrapped in DDP.

    Raises RoutingError for a probability outside [0, 1] and a model without a central tensor, UnknownNameError for
    another mode.
    """

    def __init__(
        self,
        model: nn.Module,
        probability: float,
        seed: int = 0,
        mode: str = "skip",
        tensors: Mapping[str, nn.Parameter] | None = None,
    ):
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        self.probability, self.seed, self.mode = _probability(probability), int(seed), mode
        self.tensors = dict(central_tensors(model) if tensors is None else tensors)
        if not self.tensors:
            raise RoutingError(
                "the model has no central tensor to mask; make its experts or matrices MPOs first, or give tensors=."
            )
        # What stands beside a centre in its own module: in the graph of a loss whenever the centre is.
        self._beside = {
            id(module.central): [p for p in module.parameters() if p is not module.central]
            for module in model.modules()
            if _owns_a_centre(module)
        }
        if self.probability == 1 and mode == "skip":
            for tensor in self.tensors.values():
                tensor.requires_grad_(False)
                tensor.grad = None

    def masked(self, step: int) -> list[str]:
        """The names of the tensors whose update is discarded in this optimizer step."""
        return [name for name in self.tensors if draw(self.seed, step, name) < self.probability]

    @contextlib.contextmanager
    def ahead(self, step: int) -> Iterator[None]:
        """Around the forward and backward passes of a step: what `apply(step)` is to discard is not even computed.

        Nothing else changes by it. Not for DDP, which waits for every gradient, nor for a compiled model, which would
        be compiled anew for every set of tensors. Does nothing with the mode "zero", nor to a tensor beside which no
        auxiliary one trains, without which a loss might have no gradient at all.
        """
        held = []
        for tensor in (self.tensors[name] for name in self.masked(step)) if self.mode == "skip" else ():
            beside = self._beside.get(id(tensor), ())
            if tensor.requires_grad and any(p.requires_grad for p in beside):
                held.append(tensor)
        for tensor in held:
            tensor.requires_grad_(False)
        try:
            yield
        finally:
            for tensor in held:
                tensor.requires_grad_(True)

    @torch.no_grad()
    def apply(self, step: int) -> list[str]:
        """Discards; returns `masked(step)`."""
        names = self.masked(step)
        for name in names:
            tensor = self.tensors[name]
            if self.mode == "skip":
                tensor.grad = None
            elif tensor.grad is not None:
                tensor.grad.zero_()
        return names


# -- the paper's alternatives --------------------------------------------------------------------------


class GradientDropout(nn.Module):
    """The identity, whose backward pass drops each entry of the gradient with a probability; in training only.

    MPOE section 3.2 compares its mask with masking "pre-activation or post-activation in FFN layers" and says no more.
    Read as dropping entries of other gradients with the same probability: `experts.before = GradientDropout(p)` drops
    those of the activation's input, `experts.after` those of its output. As in eq. 4 nothing is scaled up for what is
    dropped. Where the activation works entry by entry the two are one: both drop the same entries of the same product.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = _probability(probability)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.probability or not torch.is_grad_enabled():
            return x
        kept = torch.rand_like(x, dtype=torch.float32) >= self.probability
        return _Masked.apply(x, kept)

    def extra_repr(self) -> str:
        return f"p={self.probability}"


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kept):
        ctx.save_for_backward(kept)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


# -- experts without tokens ----------------------------------------------------------------------------


class RoutedUpdates:
    """Keeps an optimizer's step from moving what belongs to experts that saw no token since the last step.

    Before the step it copies those slices, of parameters and of the optimizer's moments, and puts them back after it:
    bits unchanged, weight decay or not, whatever the optimizer. That, rather than a parameter per expert, because
    stacked parameters make one contraction, one entry in a checkpoint and a graph that is the same whatever the
    routing (DDP). It keeps no state of its own, so checkpoints of the optimizer are as they were. The step counter of
    Adam's bias correction belongs to the whole stack and counts all steps, as torch's own SparseAdam does it.

    Where no expert of a layer saw a token, the gradients are set to None. In DDP an expert counts as routed if any
    process routed to it. experts: by default all `MPOMatrix`-based sets of the model; give `all_experts(model)` for
    dense ones too. `remove()` takes the hooks off the optimizer.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, experts: Iterable[Experts] | None = None):
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        self.experts = list(mpo_experts(model) if experts is None else experts)
        self.clear()
        self._saved: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # tensor, experts, their slices
        self._handles = [optimizer.register_step_pre_hook(self._before), optimizer.register_step_post_hook(self._after)]

    def clear(self) -> None:
        """Nobody has seen a token yet."""
        for experts in self.experts:
            experts.routed.zero_()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def _before(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self._saved = []
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for experts, routed in zip(self.experts, routed_anywhere(self.experts)):
            if routed.all():
                continue
            for parameter in experts.own().values():
                if parameter.grad is None or id(parameter) not in mine:
                    continue
                if not routed.any():
                    parameter.grad = None
                    continue
                still = (~routed).nonzero()[:, 0].to(parameter.device)  # (experts without a token,)
                state = [t for t in optimizer.state.get(parameter, {}).values() if isinstance(t, torch.Tensor)]
                for tensor in (parameter, *(t for t in state if t.shape == parameter.shape)):
                    self._saved.append((tensor, still, tensor[still].clone()))

    @torch.no_grad()
    def _after(self, *_: object) -> None:
        for tensor, still, slices in self._saved:
            tensor[still] = slices
        self._saved = []
        self.clear()


def routed_anywhere(sets: Sequence[Experts]) -> list[torch.Tensor]:
    """(count,) bool of each set: which experts saw a token since the last step, in any of all processes."""
    if not sets:
        return []
    marks = torch.cat([experts.routed for experts in sets])
    if distributed.is_available() and distributed.is_initialized():
        everywhere = marks.to(next(sets[0].parameters()).device, torch.uint8)
        distributed.all_reduce(everywhere, distributed.ReduceOp.MAX)
        marks = everywhere.cpu().bool()
    return list(marks.split([experts.count for experts in sets]))


def all_experts(model: nn.Module) -> list[Experts]:
    return [module for module in model.modules() if isinstance(module, Experts)]


def mpo_experts(model: nn.Module) -> list[Experts]:
    """The sets whose matrices share a centre."""
    return [e for e in all_experts(model) if any(isinstance(m, MPOMatrix) for m in e.matrices.values())]
