"""Which matrices a model holds.

`matrices` lists the two-dimensional weights of any model, with the role and the layer of each, in `nn.Linear`'s
orientation (out, in).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from .errors import UnknownNameError, unknown
from .pretrained import Pretrained


@dataclass(frozen=True, eq=False, repr=False)
class Matrix:
    """One two-dimensional weight of a model.

    name: the module's path. kind: its role, one of those in `KINDS`. layer: the number of its layer (ALBERT: of its
    group of layers), None outside the layers. label: a short name that is unique in its model. weight: (out, in) as
    in nn.Linear, (vocabulary, hidden) for an embedding; a detached view of the model's own numbers, not a copy.
    """

    name: str
    kind: str
    layer: int | None
    label: str
    weight: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.weight.shape)

    def __repr__(self) -> str:
        return f"Matrix({self.name}: {self.kind}, {self.shape[0]} x {self.shape[1]})"


# One line per new thing: the end of a module's path, the kind, and a label where it should say more than the kind.
# The first line that matches counts.
KINDS: tuple[tuple[str, str, str | None], ...] = (
    (r"word_embeddings?|wte|shared|embed_tokens|embed_in", "word embedding", None),
    (r"position_embeddings?|wpe|embed_positions|position_embed", "other", "position embedding"),
    (r"token_type_embeddings", "other", "token type embedding"),
    (r"relative_attention_bias", "other", "relative position bias"),
    (r"embedding_hidden_mapping_in|embeddings_project", "other", "embedding projection"),
    (r"crossattention\.c_attn", "key+value", None),  # GPT-2: two matrices side by side in one
    (r"c_attn|query_key_value", "query+key+value", None),  # and three
    (r"query|q_lin|q_proj|q_attn|q", "query", None),
    (r"key|k_lin|k_proj|k", "key", None),
    (r"value|v_lin|v_proj|v", "value", None),
    (r"\w*attention\.(?:output\.)?dense|out_lin|(?:attn|attention|crossattention)\.c_proj", "attention output", None),
    (r"\w*Attention\.o|attn\.o|o_proj|out_proj", "attention output", None),
    (r"DenseReluDense\.wi_0|gate_proj", "FFN in", "FFN gate"),  # a gated layer has two of them
    (r"intermediate\.dense|ffn|lin1|c_fc|DenseReluDense\.wi(?:_1)?|fc1|up_proj", "FFN in", None),
    (r"output\.dense|ffn_output|lin2|mlp\.c_proj|DenseReluDense\.wo|fc2|down_proj", "FFN out", None),
    (r"pooler(?:\.dense)?", "pooler", None),
    (r"lm_head", "other", "LM head"),
)

# Where in the model: a part of the path, and what the label begins with. The first line that matches counts.
LAYERS: tuple[tuple[str, str], ...] = (
    (r"encoder\.(?:block|layers)\.(\d+)", "enc L{}"),
    (r"decoder\.(?:block|layers)\.(\d+)", "dec L{}"),
    (r"albert_layer_groups\.(\d+)\.albert_layers\.0", "G{}"),  # ALBERT's layers share the weights of their group
    (r"albert_layer_groups\.(\d+)\.albert_layers\.(\d+)", "G{}.{}"),
    (r"(?:layers?|h|blocks?)\.(\d+)", "L{}"),
)

CROSS_ATTENTION = r"(?:^|\.)(?:crossattention|EncDecAttention|encoder_attn|cross_attn)\."


def role(name: str) -> tuple[str, int | None, str]:
    """(kind, layer, short label) of the module path `name`."""
    found = next(((kind, label or kind) for end, kind, label in KINDS if re.search(rf"(?:^|\.)(?:{end})$", name)), None)
    prefix, layer = "", None
    for part, template in LAYERS:
        place = re.search(rf"(?:^|\.){part}(?=\.|$)", name)
        if place:
            prefix, layer = template.format(*place.groups()), int(place[1])
            break
    if found is None:
        return "other", layer, name  # a label that says less than the path might not be unique
    kind, label = found
    cross = "cross" if re.search(CROSS_ATTENTION, name) else ""
    return kind, layer, " ".join(filter(None, (prefix, cross, label)))


def short_label(name: str) -> str:
    """A short name for axis labels and menus: "L0 query", "dec L3 cross key", "G0 FFN in", "word embedding".

    A path that no entry of `KINDS` knows is returned unchanged. `Matrix.label` is this label, or the whole path where
    two matrices of one model would share it.
    """
    return role(name)[2]


def matrices(model: nn.Module | Pretrained, include_small: bool = False) -> dict[str, Matrix]:
    """The matrices of `model` by module path, in the model's order: weights of Linear, Conv1D and Embedding modules.

    Each is (out, in): GPT-2's Conv1D, which stores (in, out), is transposed; a word embedding is (vocabulary, hidden).
    A tensor that several modules share is listed once, under the first. `include_small` adds the embeddings that are
    not of words: positions, token types, relative positions.
    """
    model = model.model if isinstance(model, Pretrained) else model
    # A model can only hold a Conv1D if the module that defines it is loaded, so it need not be imported here.
    conv1d = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", ())
    found: dict[str, Matrix] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)) and not (conv1d and isinstance(module, conv1d)):
            continue
        weight = module.weight
        kind, layer, label = role(name)
        small = isinstance(module, nn.Embedding) and kind != "word embedding"
        if weight.ndim != 2 or id(weight) in seen or (small and not include_small):
            continue
        seen.add(id(weight))
        weight = weight.detach()
        found[name] = Matrix(name, kind, layer, label, weight.T if conv1d and isinstance(module, conv1d) else weight)
    count = Counter(matrix.label for matrix in found.values())
    for name, m in found.items():
        if count[m.label] > 1:
            found[name] = Matrix(name, m.kind, m.layer, name, m.weight)
    return found


def select(model: nn.Module | Pretrained, pattern: str, include_small: bool = False) -> dict[str, Matrix]:
    """The matrices whose path or label contains the regular expression `pattern`, upper and lower case alike.

    Raises UnknownNameError, with the candidates, if none does or if `pattern` is no regular expression.
    """
    try:
        regex = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UnknownNameError(
            f"matrix pattern {pattern!r} is not a regular expression: {error}. Write for example 'query$' or "
            "'layer.0.'."
        ) from error
    candidates = matrices(model, include_small)
    found = {name: m for name, m in candidates.items() if regex.search(name) or regex.search(m.label)}
    if not found:
        raise unknown("matrix", pattern, candidates)
    return found
