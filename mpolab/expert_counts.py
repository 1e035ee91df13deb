"""How many numbers a GPT-2 or a T5 holds, by part: as it is, and with its feed-forward blocks as experts (MoE, MPOE).

    shape = ModelShape.of(GPT2Config())
    total(mpoe_counts(shape, 8, keep_dense=True))   # 157.0 million

Formulas, so that a slider can ask; the tests compare them with `to_moe` on the meta device. MPOE (Gao et al. 2022)
section 3.1, the columns #To of Tables 1, 2 and 4; notebook 04, "From FFN to experts".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import MatrixTypeError, unknown
from .experts import BIASES
from .layers import _meta_bonds
from .moe import STYLES
from .plans import Plan, make_plan
from .routing import whole_number

PARTS = ("embeddings", "attention and norms", "dense", "central", "auxiliary", "biases", "routers")
"""embeddings: of words and positions, and an output matrix that is not tied.
dense: matrices of feed-forward blocks that are no MPOs, one block's or all copies'. central, auxiliary: tensors of
experts. biases: of feed-forward blocks or experts. routers: with their biases."""

ROUTERS = {
    "moe": lambda hidden: 2 * hidden,  # the logits and the noise (Shazeer et al. 2017)
    "switch": lambda hidden: hidden,
    "mpoe": lambda hidden: hidden + 1,
}
"""kind of `to_moe` -> numbers of its router for each expert."""


@dataclass(frozen=True)
class ModelShape:
    """What of a GPT-2 or T5 is counted. Make it with `of`.

    family: "gpt2" or "t5". hidden, inner: sizes of a feed-forward block. blocks: how many there are, those of encoder
    and decoder together. gated: a block has a third matrix. biased: its matrices have biases. embeddings, attention
    (with all norms): numbers of these parts, see `PARTS`.
    """

    family: str
    hidden: int
    inner: int
    blocks: int
    gated: bool
    biased: bool
    embeddings: int
    attention: int

    @classmethod
    def of(cls, config: Any, d_ff: int | None = None) -> ModelShape:
        """The shape of the GPT2LMHeadModel or T5ForConditionalGeneration of a config; d_ff: another inner size.

        Raises MatrixTypeError for a config of another family.
        """
        family = getattr(config, "model_type", None)
        if family not in FAMILIES:
            raise MatrixTypeError(
                f"expected a GPT2Config or a T5Config, got a {type(config).__name__}; counted are "
                f"{', '.join(FAMILIES)}."
            )
        found = FAMILIES[family](config)
        inner = found.pop("inner") if d_ff is None else whole_number("d_ff", d_ff)
        return cls(**{**found, "family": family, "inner": inner})

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(out, in) of each matrix of one feed-forward block."""
        up, down = (self.inner, self.hidden), (self.hidden, self.inner)
        return [up, up, down] if self.gated else [up, down]

    @property
    def entries(self) -> int:
        """Of one block's matrices."""
        return sum(math.prod(shape) for shape in self.matrices)

    @property
    def biases(self) -> int:
        """Of one block."""
        return sum(out for out, _ in self.matrices) if self.biased else 0


def _gpt2(config: Any) -> dict[str, Any]:
    hidden, layers = config.n_embd, config.n_layer
    tables = (1 if config.tie_word_embeddings else 2) * config.vocab_size + config.n_positions
    projections = 4 * hidden * (hidden + 1)  # query, key, value and output, with biases
    norm = 2 * hidden
    layer = projections + 2 * norm + (projections + norm if config.add_cross_attention else 0)
    return {
        "hidden": hidden,
        "inner": 4 * hidden if config.n_inner is None else config.n_inner,
        "blocks": layers,
        "gated": False,
        "biased": True,
        "embeddings": hidden * tables,
        "attention": layers * layer + norm,
    }


def _t5(config: Any) -> dict[str, Any]:
    hidden, encoder, decoder = config.d_model, config.num_layers, config.num_decoder_layers
    projections = 4 * hidden * config.num_heads * config.d_kv
    biases = config.relative_attention_num_buckets * config.num_heads  # of positions, in the first layer of a stack
    layers = encoder * (projections + 2 * hidden) + decoder * (2 * projections + 3 * hidden)
    return {
        "hidden": hidden,
        "inner": config.d_ff,
        "blocks": encoder + decoder,
        "gated": config.is_gated_act,
        "biased": False,
        "embeddings": (1 if config.tie_word_embeddings else 2) * hidden * config.vocab_size,
        "attention": layers + sum(biases for depth in (encoder, decoder) if depth) + 2 * hidden,
    }


FAMILIES = {"gpt2": _gpt2, "t5": _t5}
"""model_type of a config -> what its entries make of `ModelShape`. A new family is one entry here."""


# -- counts ----------------------------------------------------------------------------------------------


def dense_counts(shape: ModelShape) -> dict[str, int]:
    """{part: its numbers} of the model as it is."""
    return _parts(shape, dense=shape.blocks * shape.entries, biases=shape.blocks * shape.biases)


def moe_counts(
    shape: ModelShape, experts: int, keep_dense: bool = False, biases: str = "own", kind: str = "moe"
) -> dict[str, int]:
    """{part: its numbers} of the model with copies of its blocks as experts: `to_moe` of kind "moe" or "switch".

    keep_dense: one copy more. biases: "own" or "shared". Raises RoutingError, UnknownNameError.
    """
    if kind not in ("moe", "switch"):
        raise unknown("kind of dense experts", kind, ("moe", "switch"))
    count = copies(experts, keep_dense)
    return _parts(shape, dense=shape.blocks * count * shape.entries, **_around(shape, count, biases, kind))


def mpoe_counts(
    shape: ModelShape,
    experts: int,
    tensors: int = 5,
    bond: int | Sequence[int] | None = None,
    keep_dense: bool = False,
    biases: str = "own",
) -> dict[str, int]:
    """{part: its numbers} of the model with experts that share a central tensor: `to_moe` of kind "mpoe".

    tensors: m of Table 4. bond: a cap, or m-1 inner bonds; None = full ones. The rest as in `moe_counts`. Raises
    BondError and PlanError too.
    """
    count = copies(experts, keep_dense)
    centre, auxiliary = block_tensors(shape, tensors, bond)
    return _parts(
        shape,
        central=shape.blocks * centre,
        auxiliary=shape.blocks * count * auxiliary,
        **_around(shape, count, biases, "mpoe"),
    )


def copies(experts: int, keep_dense: bool) -> int:
    """Experts of a layer: n, or n + 1 where the dense block stays as one more."""
    return whole_number("experts", experts) + bool(keep_dense)


def plans(shape: ModelShape, tensors: int = 5) -> list[Plan]:
    """Those of one block's matrices, as `to_moe` chooses them for the family."""
    return [make_plan(matrix, n=tensors, style=STYLES[shape.family]) for matrix in shape.matrices]


def block_tensors(shape: ModelShape, tensors: int = 5, bond: int | Sequence[int] | None = None) -> tuple[int, int]:
    """Numbers of the central tensors, and of one expert's auxiliary ones, of the matrices of one block."""
    centre = auxiliary = 0
    for plan in plans(shape, tensors):
        bonds = _meta_bonds(plan, bond, None, None, "weight")
        core = math.prod(plan.core_shape(plan.centre, bonds))
        centre += core
        auxiliary += plan.parameters(bonds) - core
    return centre, auxiliary


def total(counts: Mapping[str, int]) -> int:
    """#To of the papers."""
    return sum(counts.values())


def _parts(shape: ModelShape, **found: int) -> dict[str, int]:
    body = {"embeddings": shape.embeddings, "attention and norms": shape.attention}
    return {**dict.fromkeys(PARTS, 0), **body, **found}


def _around(shape: ModelShape, count: int, biases: str, kind: str) -> dict[str, int]:
    """What experts of all kinds have beside their matrices."""
    if biases not in BIASES:
        raise unknown("kind of biases", biases, BIASES)
    return {
        "biases": shape.blocks * shape.biases * (count if biases == "own" else 1),
        "routers": shape.blocks * count * ROUTERS[kind](shape.hidden),
    }


# -- ratios ----------------------------------------------------------------------------------------------


def gamma(shape: ModelShape, tensors: int = 5, bond: int | Sequence[int] | None = None) -> float:
    """The central tensors' numbers over those of one expert's auxiliary ones; "about 12" in section 3.1."""
    centre, auxiliary = block_tensors(shape, tensors, bond)
    return centre / auxiliary


def formula_ratio(count: int, gamma: float) -> float:
    """(n + gamma) / (n (gamma + 1)) of section 3.1: experts that share a centre over as many MPOs that do not.

    count: n. Both sides are MPOs, which at full bonds hold more numbers than the matrix: `stored_ratio` divides by
    that. Raises RoutingError for no expert.
    """
    whole_number("experts", count)
    return (count + gamma) / (count * (gamma + 1))


def stored_ratio(shape: ModelShape, count: int, tensors: int = 5, bond: int | Sequence[int] | None = None) -> float:
    """MPOE's central and auxiliary tensors over the matrices of as many dense copies: MPOE against MoE in truth."""
    whole_number("experts", count)
    centre, auxiliary = block_tensors(shape, tensors, bond)
    return (centre + count * auxiliary) / (count * shape.entries)
