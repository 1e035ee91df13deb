"""An MPOBERT from a trained ALBERT: central tensors shared, auxiliary tensors copied or made anew in the deeper layers.

MPOBERT (Liu et al. 2023) section 3.3.1 and Algorithm 1, which disagree about the layers that ALBERT does not have; the
theory of section 3.3.2 asks for a third thing. `INITS` has them all. Notebook 03, "From ALBERT to MPOBERT".

Items: mpobert-alg1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.models.albert import modeling_albert as albert

from .errors import CheckpointError, unknown
from .mpo import MPO
from .mpobert_config import MATRICES, MPOBertConfig
from .pretrained import Pretrained, load_pretrained
from .shared_linear import SharedLinear

Init = Callable[[SharedLinear, int, torch.Generator], None]


def _scaled(layer: SharedLinear, factor: float) -> None:
    with torch.no_grad():
        for core in layer.auxiliary:
            core.mul_(factor)


def _copy(layer: SharedLinear, depth: int, generator: torch.Generator) -> None:
    """As decomposed: the layer computes what ALBERT's does."""


def _paper_text(layer: SharedLinear, depth: int, generator: torch.Generator) -> None:
    """Section 3.3.1: "randomly initialized values" (Xavier's) times (2L)^(-1/4)."""
    layer.xavier(generator)
    _scaled(layer, (2 * depth) ** -0.25)


def _algorithm1(layer: SharedLinear, depth: int, generator: torch.Generator) -> None:
    """Algorithm 1: ALBERT's auxiliary tensors times (2L)^(-1/4)."""
    _scaled(layer, (2 * depth) ** -0.25)


def _theory(layer: SharedLinear, depth: int, generator: torch.Generator) -> None:
    """Section 3.3.2 scales one tensor a side by (2L)^(-1/4): with h tensors a side each takes its h-th root."""
    c, names = layer.plan.centre, layer.auxiliary
    with torch.no_grad():
        for k, core in enumerate(names):
            core.mul_((2 * depth) ** (-0.25 / (c if k < c else len(names) - c)))


def _xavier(layer: SharedLinear, depth: int, generator: torch.Generator) -> None:
    """Xavier's, unscaled."""
    layer.xavier(generator)


INITS: dict[str, Init] = {
    "copy": _copy,
    "paper_text": _paper_text,
    "algorithm1": _algorithm1,
    "theory": _theory,
    "xavier": _xavier,
}
"""What happens to the auxiliary tensors, which ALBERT's are at first, of a layer that ALBERT does not have."""


def source_of(source: str | os.PathLike | Pretrained | nn.Module) -> nn.Module:
    """The ALBERT that is meant: a model, or a name or folder for `load_pretrained`.

    Raises CheckpointError for another model class and for an ALBERT of several groups or inner layers, whose layers do
    not share one set of matrices.
    """
    if isinstance(source, str | os.PathLike):
        source = load_pretrained(source, tokenizer=False)
    model = source.model if isinstance(source, Pretrained) else source
    if not isinstance(model, albert.AlbertPreTrainedModel) or getattr(model.config, "model_type", "") != "albert":
        raise CheckpointError(
            f"expected an ALBERT, whose layers share their matrices, got {type(model).__name__}. An MPOBERT with "
            "random numbers is MPOBertModel(config)."
        )
    config = model.config
    if config.num_hidden_groups != 1 or config.inner_group_num != 1:
        raise CheckpointError(
            f"this ALBERT has {config.num_hidden_groups} groups of layers with {config.inner_group_num} inner layer(s) "
            "each; MPOBERT starts from one set of matrices (num_hidden_groups = inner_group_num = 1)."
        )
    return model


def config_from(model: nn.Module, num_layers: int | None, **changes: Any) -> MPOBertConfig:
    """ALBERT's config with so many layers (None = as many), and `changes` to any entry of `MPOBertConfig`."""
    given = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_COPIED}
    depth = model.config.num_hidden_layers if num_layers is None else num_layers
    return MPOBertConfig(**{**given, "num_hidden_layers": depth, **changes})


_NOT_COPIED = ("model_type", "architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype")


@torch.no_grad()
def initialise(model: nn.Module, source: nn.Module, init: str, seed: int, start: int | None = None) -> nn.Module:
    """Puts the numbers of an ALBERT into an MPOBERT of the same sizes, with or without head; returns it.

    init: one of `INITS`, for the layers from number `start` (from 0; None = the depth of the source) on. The layers
    before copy the decomposition, so does every group's centre; all else that both have (embeddings, pooler, biases,
    LayerNorms, heads) is copied. Biases and LayerNorms that the layers own are copies of ALBERT's. What only the
    MPOBERT has (adapters, a head) keeps its own numbers.

    Raises UnknownNameError for another init, CheckpointError where the sizes differ.
    """
    if init not in INITS:
        raise unknown("initialisation", init, INITS)
    depth = model.config.num_hidden_layers
    start = source.config.num_hidden_layers if start is None else start
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = _base(model), _base(source)
    _copy_same(model, source)
    layer = theirs.encoder.albert_layer_groups[0].albert_layers[0]
    modules = {
        **{name: getattr(layer.attention, name) for name in ("query", "key", "value", "dense")},
        **{name: getattr(layer, name) for name in ("ffn", "ffn_output")},
    }
    for name in MATRICES:
        plan, linear = model.config.plan(name), modules[name]
        mpo = MPO.decompose(linear.weight, rows=plan.rows, cols=plan.cols, bond=model.config.mpo_bond)
        for group in ours.encoder.groups:
            getattr(group, name).copy_(mpo.cores[plan.centre])
        for number, mine in enumerate(ours.encoder.layers):
            mine.matrices[name].mpo.take(mpo)
            if number >= start:
                INITS[init](mine.matrices[name].mpo, depth, generator)
    for parts in (ours.encoder.shared, *(mine.parts for mine in ours.encoder.layers)):
        for name, bias in parts.biases.items():
            bias.copy_(modules[name].bias)
        for mine, its in ((parts.attention_norm, layer.attention.LayerNorm),
                          (parts.output_norm, layer.full_layer_layer_norm)):  # fmt: skip
            if mine is not None:
                mine.load_state_dict(its.state_dict())
    return model


def _base(model: nn.Module) -> nn.Module:
    return getattr(model, "albert", model)


def _copy_same(model: nn.Module, source: nn.Module) -> None:
    """Every tensor that both have under one name, outside the layers; the name of a base model may lack its prefix."""
    theirs, mine = source.state_dict(), model.state_dict()
    if _base(source) is source and _base(model) is not model:
        theirs = {f"albert.{name}": tensor for name, tensor in theirs.items()}
    if _base(source) is not source and _base(model) is model:
        theirs = {name.removeprefix("albert."): tensor for name, tensor in theirs.items() if name.startswith("albert.")}
    for name in theirs.keys() & mine.keys():
        if theirs[name].shape != mine[name].shape:
            if name.split(".")[0] in ("classifier", "qa_outputs"):
                continue  # a head for another task
            raise CheckpointError(
                f"{name} is {tuple(theirs[name].shape)} in the ALBERT and {tuple(mine[name].shape)} here; only the "
                "depth, the groups, the adapters and the bonds may differ."
            )
        mine[name].copy_(theirs[name])
