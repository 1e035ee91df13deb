"""Feed-forward blocks with more neurons: what a dense model makes of the parameters that experts would cost.

The new neurons read with random weights and write nothing at first, so that the model computes what it did (Net2Net,
Chen et al. 2016). The comparison at equal parameters in notebook 04, "What the claims are worth".
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from .errors import MatrixTypeError, PlanError
from .ffn import LAYOUTS, read_ffn

STANDARD_DEVIATION = 0.02
"""Of the new reading weights: what GPT-2 starts from."""


def widen(model: nn.Module, neurons: int, seed: int = 0) -> nn.Module:
    """Every plain feed-forward block of a model to `neurons` inner neurons, in place; returns the model.

    Raises MatrixTypeError for a model without a plain block that is known (GPT-2; T5 without gates), PlanError for
    fewer neurons than it has.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = [
        (module, names["up"], names["down"])
        for module in model.modules()
        for children, (names, _) in LAYOUTS.items()
        if "gate" not in names and all(isinstance(getattr(module, name, None), nn.Module) for name in children)
    ]
    if not blocks:
        raise MatrixTypeError(f"{type(model).__name__} has no plain feed-forward block that is known: GPT-2 and T5 do.")
    for module, up, down in blocks:
        found = read_ffn(module)
        more = neurons - found.inner
        if more < 0:
            raise PlanError(f"{neurons} neurons were asked for, and the blocks have {found.inner} already.")
        _grow(getattr(module, up), 0, torch.randn(more, found.hidden, generator=generator) * STANDARD_DEVIATION)
        _grow(getattr(module, down), 1, torch.zeros(found.hidden, more))
    for name in ("n_inner", "d_ff"):
        if hasattr(model.config, name):
            setattr(model.config, name, neurons)
    return model


def _grow(layer: nn.Module, dim: int, more: torch.Tensor) -> None:
    """Appends rows (dim 0) or columns (dim 1) to a layer's matrix W (out, in); new outputs have a bias of zero."""
    turned = isinstance(layer, Conv1D)  # it keeps W (in, out)
    weight = layer.weight.data
    more = more.to(weight)
    layer.weight = nn.Parameter(torch.cat([weight, more.T if turned else more], dim=1 - dim if turned else dim))
    if dim == 0 and layer.bias is not None:
        layer.bias = nn.Parameter(torch.cat([layer.bias.data, weight.new_zeros(len(more))]))
    out, into = layer.weight.shape[::-1] if turned else layer.weight.shape
    if turned:
        layer.nf, layer.nx = out, into
    else:
        layer.out_features, layer.in_features = out, into
