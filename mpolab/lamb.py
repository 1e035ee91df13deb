"""LAMB with bounds on the trust ratio, as MPOBERT was pre-trained: pytorch-optimizer's, and one correction after it.

LAMB (You et al. 2020) gives each tensor w Adam's update u times the trust ratio ||w|| / ||u||; MPOBERT's settings keep
that ratio between 0.01 and 0.3. pytorch-optimizer can bound ||w|| only, so what its step moved too far (or too little)
is mended after it: w += lr (ratio - bounded ratio) u. MPOBERT (Liu et al. 2023) section A.2; notebook 03,
"Pre-training".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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
            loss = super().step(closure)
            if bounds is not None:
                for group in self.param_groups:
                    self._take_back(group)
            return loss

        def _take_back(self, group: dict[str, Any]) -> None:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                return
            states = [self.state[p] for p in moved]
            ratios = torch.stack([torch.as_tensor(s["trust_ratio"], dtype=torch.float32) for s in states]).cpu()
            empty = [float(s["weight_norm"]) == 0 or float(s["adam_norm"]) == 0 for s in states]  # ratio 1, not clamped
            wanted = torch.where(torch.tensor(empty), ratios, ratios.clamp(*bounds))
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
