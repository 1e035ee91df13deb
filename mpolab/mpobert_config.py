"""The shape of an MPOBERT, and its presets.

MPOBERT (Liu et al. 2023) section 4.1 and Table 4; the counts are checked against recomputed ones in the tests.
Notebook 03, "Sharing".
"""

from __future__ import annotations

from typing import Any

from transformers import AlbertConfig

from .errors import BondError, unknown
from .plans import Plan, make_plan

MATRICES = ("query", "key", "value", "dense", "ffn", "ffn_output")
"""The six matrices of a layer, under ALBERT's names: attention's four (`dense` is its output) and the FFN's two."""

REBUILDS = ("auto", "layer", "batch")


class MPOBertConfig(AlbertConfig):
    """ALBERT's config and what MPOBERT adds to it.

    num_central_groups: of neighbouring layers, each with central tensors of its own; 1 is MPOBERT, 3 MPOBERT+.
    adapter_rank: of a low-rank adapter beside each of `adapter_matrices` in every layer; 0 = none. adapter_alpha: see
    `LowRankAdapter`. share_biases, share_norms: all layers share the biases (the LayerNorms), as in ALBERT.
    mpo_n: tensors per matrix. mpo_factors: {size: factors} for sizes that shall not be factorized as usual (JSON makes
    the sizes strings). mpo_bond: no bond above it; None = full bonds.
    mpo_mode, mpo_keep_weight: see `mpolab.layers`.
    mpo_rebuild: for a step of training "layer" rebuilds W layer by layer, "batch" those of all layers of a group at
    once; "auto" = as `shared_rebuild.pays` says, and layer by layer under activation checkpointing.
    """

    model_type = "mpobert"

    num_central_groups: int = 1
    adapter_rank: int = 0
    adapter_matrices: list | tuple = ("query", "key", "value", "dense")
    adapter_alpha: float | int | None = None
    share_biases: bool = True
    share_norms: bool = True
    mpo_n: int = 5
    mpo_factors: dict | None = None
    mpo_bond: int | None = None
    mpo_mode: str = "auto"
    mpo_keep_weight: bool = True
    mpo_rebuild: str = "auto"

    @classmethod
    def preset(cls, name: str, **changes: Any) -> MPOBertConfig:
        """One of `PRESETS`, with `changes` to any entry. Raises UnknownNameError for another name."""
        if name not in PRESETS:
            raise unknown("preset of MPOBERT", name, PRESETS)
        return cls(**{**PRESETS[name], **changes})

    def shape(self, matrix: str) -> tuple[int, int]:
        """(out, in) of one of `MATRICES`."""
        hidden, inner = self.hidden_size, self.intermediate_size
        return {"ffn": (inner, hidden), "ffn_output": (hidden, inner)}.get(matrix, (hidden, hidden))

    def plan(self, matrix: str) -> Plan:
        """The factors of one of `MATRICES`: MPOBERT's, or those of `mpo_factors`. Raises PlanError where none fit."""
        factors = {int(size): tuple(given) for size, given in (self.mpo_factors or {}).items()}
        rows, cols = self.shape(matrix)
        return make_plan((rows, cols), n=self.mpo_n, rows=factors.get(rows), cols=factors.get(cols), style="mpobert")

    def bonds(self, matrix: str) -> list[int]:
        """d_0 .. d_n: the full ones, none above `mpo_bond`."""
        full = self.plan(matrix).full_bonds
        return [d if self.mpo_bond is None else min(d, self.mpo_bond) for d in full]

    def group(self, layer: int) -> int:
        """Whose central tensors a layer uses."""
        return layer * self.num_central_groups // self.num_hidden_layers

    def check(self) -> None:
        """Raises BondError or UnknownNameError for entries that make no model, each with what would have worked."""
        if self.num_hidden_layers < 1:
            raise BondError(f"num_hidden_layers = {self.num_hidden_layers}: a model has at least one layer.")
        if not 1 <= self.num_central_groups <= self.num_hidden_layers:
            raise BondError(
                f"num_central_groups = {self.num_central_groups}: {self.num_hidden_layers} layers fall into 1 to "
                f"{self.num_hidden_layers} groups; MPOBERT has 1, MPOBERT+ has 3."
            )
        if self.mpo_bond is not None and self.mpo_bond < 1:
            raise BondError(f"mpo_bond = {self.mpo_bond}: a bond is at least 1; None leaves all bonds full.")
        if self.hidden_size % self.num_attention_heads:
            raise BondError(
                f"hidden_size = {self.hidden_size} is no multiple of num_attention_heads = {self.num_attention_heads}."
            )
        if self.mpo_rebuild not in REBUILDS:
            raise unknown("mpo_rebuild", self.mpo_rebuild, REBUILDS)
        for matrix in self.adapter_matrices:
            if matrix not in MATRICES:
                raise unknown("matrix of a layer", matrix, MATRICES)
        least = min((min(self.shape(matrix)) for matrix in self.adapter_matrices), default=0)
        if not 0 <= self.adapter_rank <= least:
            raise BondError(
                f"adapter_rank = {self.adapter_rank}: the adapters beside {', '.join(self.adapter_matrices)} have a "
                f"rank of at most {least}; 0 means none, 8 is the paper's."
            )


_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}

PRESETS: dict[str, dict[str, Any]] = {
    "mpobert-12": {**_BASE, "num_hidden_layers": 12},
    "mpobert-24": {**_LARGE, "num_hidden_layers": 24},
    "mpobert-48": {**_LARGE, "num_hidden_layers": 48},
    "mpobert-48plus": {**_LARGE, "num_hidden_layers": 48, "num_central_groups": 3},
    "mpobert-mini": {
        "vocab_size": 8000,
        "embedding_size": 128,
        "hidden_size": 192,
        "num_attention_heads": 3,
        "intermediate_size": 768,
        "max_position_embeddings": 128,
        "num_hidden_layers": 24,
        # small side bonds: 24 layers' auxiliary tensors weigh as much as all that is shared
        "mpo_factors": {192: (2, 3, 4, 4, 2), 768: (4, 3, 4, 4, 4)},
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}
"""The paper's four models and one that a laptop trains."""
