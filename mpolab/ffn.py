"""The feed-forward blocks of transformers, seen alike: up to three matrices in nn.Linear's orientation, (out, in).

    plain  y = down(act(up(x)))              GPT-2; T5 v1.0, where act is relu and there are no biases
    gated  y = down(act(gate(x)) * up(x))    T5 v1.1

Where dropout stands (T5: before `down`, GPT-2: after it) is kept too. Notebook 04.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .errors import MatrixTypeError

# What the matrices are called in transformers, by the names of the module's children -> (names here, dropout before
# `down`). A new architecture is one entry here.
LAYOUTS: dict[tuple[str, ...], tuple[dict[str, str], bool]] = {
    ("c_fc", "c_proj"): ({"up": "c_fc", "down": "c_proj"}, False),  # GPT-2
    ("wi_0", "wi_1", "wo"): ({"gate": "wi_0", "up": "wi_1", "down": "wo"}, True),  # T5 v1.1, gated
    ("wi", "wo"): ({"up": "wi", "down": "wo"}, True),  # T5 v1.0, Switch Transformers
}


@dataclass(frozen=True)
class FFN:
    """A feed-forward block.

    weights: {"up": (inner, hidden), "down": (hidden, inner)}, and "gate" (inner, hidden) where it is gated.
    biases: {name: (out,) or None}. activation: a module. dropout: its probability; inside: it stands before `down`,
    else after it. training, device and dtype are those of the weights' module.
    """

    weights: dict[str, torch.Tensor]
    biases: dict[str, torch.Tensor | None]
    activation: nn.Module
    dropout: float = 0.0
    inside: bool = True
    training: bool = True

    @property
    def gated(self) -> bool:
        return "gate" in self.weights

    @property
    def hidden(self) -> int:
        return self.weights["up"].shape[1]

    @property
    def inner(self) -> int:
        return self.weights["up"].shape[0]


def read_ffn(module: nn.Module) -> FFN:
    """The matrices of a feed-forward block of GPT-2 or T5: views of its own, nothing is copied.

    Raises MatrixTypeError for a module whose matrices are not called as in `LAYOUTS`, or are no linear layers.
    """
    found = [names for names in LAYOUTS if all(isinstance(getattr(module, name, None), nn.Module) for name in names)]
    if not found:
        known = "; ".join(" and ".join(names) for names in LAYOUTS)
        children = ", ".join(name for name, _ in module.named_children()) or "none"
        raise MatrixTypeError(
            f"a {type(module).__name__} is no feed-forward block that is known (children: {children}). Known are "
            f"blocks with {known}: those of GPT-2 and T5. Others are one entry in `mpolab.ffn.LAYOUTS`."
        )
    matrices, inside = LAYOUTS[found[0]]
    layers = {name: getattr(module, theirs) for name, theirs in matrices.items()}
    activation = getattr(module, "act", None)
    if not isinstance(activation, nn.Module):
        raise MatrixTypeError(f"the {type(module).__name__} has no activation called `act`, as GPT-2's and T5's have.")
    dropout = getattr(module, "dropout", None)
    return FFN(
        {name: _weight(layer) for name, layer in layers.items()},
        {name: layer.bias for name, layer in layers.items()},
        _one_kernel(activation),
        float(getattr(dropout, "p", 0.0)),
        inside,
        module.training,
    )


def _weight(layer: nn.Module) -> torch.Tensor:
    """(out, in), whichever way it is stored."""
    if isinstance(layer, nn.Linear):
        return layer.weight
    if type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):  # transformers' stores (in, out)
        return layer.weight.T
    raise MatrixTypeError(
        f"expected an nn.Linear or transformers' Conv1D in a feed-forward block, got a {type(layer).__name__}; turn a "
        "model with MPO layers back first (`to_dense`)."
    )


def _one_kernel(activation: nn.Module) -> nn.Module:
    """The same function as one kernel: transformers' gelu_new is eight passes over the widest activations."""
    return nn.GELU("tanh") if type(activation).__name__ == "NewGELUActivation" else activation


def feed_forward(
    apply: Callable[[str, list[torch.Tensor]], list[torch.Tensor]],
    parts: list[torch.Tensor],
    gated: bool,
    before: nn.Module,
    activation: nn.Module,
    after: nn.Module,
    dropout: nn.Module,
) -> list[torch.Tensor]:
    """Both formulas above for several experts at once.

    apply: (name of the matrix, one input per expert) -> one product per expert. parts: (tokens of the expert, hidden)
    each. before, after: what is done to the activation's input and output.
    """
    inner = [after(activation(before(h))) for h in apply("gate" if gated else "up", parts)]  # (tokens, inner) each
    if gated:
        inner = [h * u for h, u in zip(inner, apply("up", parts))]
    return apply("down", [dropout(h) for h in inner])
