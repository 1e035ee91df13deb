"""LAMB's step against the formula of the paper, written out here for one tensor."""

from __future__ import annotations

import pytest
import torch

from mpolab.errors import TrainingError
from mpolab.lamb import lamb


def by_hand(w, gradients, lr, betas, epsilon, decay, bounds):
    """You et al. 2020, Algorithm 2, without bias correction (its version 3), float64."""
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for g in gradients:
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        u = m / (v.sqrt() + epsilon) + decay * w
        ratio = w.norm() / u.norm() if w.norm() > 0 and u.norm() > 0 else torch.tensor(1.0)
        if bounds is not None and w.norm() > 0 and u.norm() > 0:
            ratio = ratio.clamp(*bounds)
        w = w - lr * ratio * u
    return w


@pytest.mark.parametrize("bounds", [None, (0.01, 0.3), (0.2, 0.25)])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("size", [1e-3, 0.1, 3.0])
def test_steps_are_those_of_the_formula(bounds, decay, size):
    generator = torch.Generator().manual_seed(0)
    w = size * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    gradients = [torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(4)]
    parameter = torch.nn.Parameter(w.clone())
    optimizer = lamb([{"params": [parameter], "weight_decay": decay}], 0.02, (0.9, 0.99), 1e-6, bounds)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    want = by_hand(w, gradients, 0.02, (0.9, 0.99), 1e-6, decay, bounds)
    torch.testing.assert_close(parameter.detach(), want, rtol=1e-5, atol=1e-7)


def test_each_tensor_has_its_own_ratio_and_a_zero_one_moves():
    big, zero, idle = (torch.nn.Parameter(value) for value in (torch.full((3,), 5.0), torch.zeros(3), torch.ones(3)))
    optimizer = lamb([{"params": [big, zero, idle], "weight_decay": 0.0}], 0.1)
    big.grad, zero.grad = torch.ones(3), torch.ones(3)
    optimizer.step()
    update = 0.1 / (0.001**0.5 + 1e-6)  # m / sqrt(v) of a first gradient of 1
    torch.testing.assert_close(big.detach(), torch.full((3,), 5 - 0.1 * 0.3 * update), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(zero.detach(), torch.full((3,), -0.1 * update), rtol=1e-4, atol=1e-5)
    assert (idle == 1).all()


def test_bounds_that_are_none():
    with pytest.raises(TrainingError, match="the first above 0"):
        lamb([torch.nn.Parameter(torch.ones(2))], 0.1, bounds=(0.3, 0.01))
