"""LAMB with bounds on the trust ratio, as MPOBERT was pre-trained: pytorch-optimizer's, and one correction after it.

LAMB (You et al. 2020) gives each tensor w Adam's update u times the trust ratio ||w|| / ||u||; MPOBERT's settings keep
that ratio between 0.01 and 0.3. pytorch-optimizer can bound ||w|| only, so what its step moved too far (or too little)
is mended after it: w += lr (ratio - bounded ratio) u. The library's norms fail on tensors that are divided among
processes (FSDP: `p.norm(2).clamp_` on torch's DTensor), so it steps with each process's part as if that were all, and
the same correction puts the ratio of the whole tensors in. MPOBERT (Liu et al. 2023) section A.2; notebook 03,
"Pre-training".
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from .errors import TrainingError

BOUNDS = (0.01, 0.3)
"""Of the trust ratio, in MPOBERT's pre-training."""


def lamb(
    groups: Iterable[Any],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-6,
    bounds: tuple[float, float] | None = BOUNDS,
) -> torch.optim.Optimizer:
    """The optimizer for parameter groups as torch's. Weight decay is part of u, as in LAMB's version 3.

    bounds: least and largest trust ratio; None = none. A tensor that is zero, or has no gradient, has a ratio of 1.
    Raises TrainingError where pytorch-optimizer is not installed, or for bounds that are none.
    """
    try:
        from pytorch_optimizer import Lamb
    except ImportError:
        raise TrainingError(
            "optimizer='lamb' needs pytorch-optimizer, which is not installed: pip install 'mpolab[train]'."
        ) from None
    if bounds is not None and not 0 < bounds[0] <= bounds[1]:
        raise TrainingError(f"bounds={bounds!r} of the trust ratio: expected two numbers, the first above 0.")

    class BoundedLamb(Lamb):
        clamp = math.inf  # the library's own bound, on ||w||: 10, which an embedding passes

        @torch.no_grad()
        def step(self, closure=None):
            with self._parts() as divided:
                loss = super().step(closure)
                if bounds is not None or divided:
                    for group in self.param_groups:
                        self._take_back(group, divided)
            return loss

        @contextlib.contextmanager
        def _parts(self) -> Iterator[bool]:
            """Inside it, parameters and states that are divided among processes are this process's parts of them;
            gives whether there are any.
            """
            wholes = [group["params"] for group in self.param_groups]
            swapped = []
            for group in self.param_groups:
                group["params"] = list(group["params"])
                for k, p in enumerate(group["params"]):
                    if hasattr(p, "to_local"):
                        part = p.to_local().detach()
                        part.grad = None if p.grad is None else p.grad.to_local()
                        if p in self.state:
                            entries = self.state.pop(p).items()
                            self.state[part] = {key: getattr(v, "to_local", lambda v=v: v)() for key, v in entries}
                        group["params"][k] = part
                        swapped.append((p, part))
            try:
                yield bool(swapped)
            finally:
                for group, params in zip(self.param_groups, wholes):
                    group["params"] = params
                for p, part in swapped:
                    if part in self.state:
                        entries = self.state.pop(part).items()
                        self.state[p] = {key: _whole(v, p) if _fits(v, part) else v for key, v in entries}

        def _take_back(self, group: dict[str, Any], divided: bool) -> None:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                return
            states = [self.state[p] for p in moved]
            ratios = torch.stack([torch.as_tensor(s["trust_ratio"], dtype=torch.float32) for s in states]).cpu()
            norms = torch.tensor([[float(s["weight_norm"]), float(s["adam_norm"])] for s in states])
            taken = ratios
            if divided:
                norms = norms.square().to(moved[0].device)
                torch.distributed.all_reduce(norms)
                norms = norms.sqrt().cpu()
                taken = norms[:, 0] / norms[:, 1]
            empty = (norms == 0).any(1)  # ratio 1, not clamped
            wanted = torch.where(empty, 1.0, taken if bounds is None else taken.clamp(*bounds))
            for p, state, excess in zip(moved, states, (ratios - wanted).tolist()):
                if excess:
                    update = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])
                    if group["weight_decay"]:
                        # u had w from before the step: w - lr ratio (v + decay w) = w_now, solved for w
                        factor = group["lr"] * float(state["trust_ratio"])
                        before = (p + factor * update) / (1 - factor * group["weight_decay"])
                        update = update.add_(before, alpha=group["weight_decay"])
                    p.add_(update, alpha=group["lr"] * excess)

    # adam_debias=True: the step is not divided by 1 - beta1^t (the library's flag reads the other way round)
    settings = {"weight_decouple": False, "max_grad_norm": 0.0, "adam_debias": True}
    return BoundedLamb(groups, lr=lr, betas=betas, eps=epsilon, **settings)


def _fits(value: Any, part: torch.Tensor) -> bool:
    return torch.is_tensor(value) and value.ndim > 0 and value.shape == part.shape


def _whole(part: torch.Tensor, like: Any) -> Any:
    """A process's part of a state, as one of the tensor that is divided as `like` is."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
