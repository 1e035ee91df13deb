"""How many numbers an encoder holds, by part: an MPOBERT, and the ALBERT and the BERT of the same depth and width.

Formulas, so that a slider can ask; the tests compare them with models on the meta device. MPOBERT (Liu et al. 2023)
section 3.2.2, Figure 2, the columns #To of Tables 1, 4 and 5; notebook 03, "Sharing".
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .mpobert_config import MATRICES, MPOBertConfig

PARTS = ("embeddings", "central", "auxiliary", "adapters", "dense", "rest")
"""embeddings: of words, positions and segments, their LayerNorm, and ALBERT's map from them to the hidden size.
central, auxiliary: tensors, of all groups and of all layers. adapters: of all layers. dense: matrices that are no
MPOs. rest: biases, the layers' LayerNorms, the pooler."""


def mpobert_counts(config: MPOBertConfig) -> dict[str, int]:
    """{part: its numbers} of an MPOBertModel; a shared tensor counts once.

    Raises BondError or UnknownNameError for a config that makes no model.
    """
    config.check()
    depth = config.num_hidden_layers
    central = auxiliary = 0
    for matrix in MATRICES:
        plan, bonds = config.plan(matrix), config.bonds(matrix)
        centre = math.prod(plan.core_shape(plan.centre, bonds))
        central += centre
        auxiliary += plan.parameters(bonds) - centre
    biases, norms = _biases(config), _norms(config)
    return {
        "embeddings": _albert_embeddings(config),
        "central": config.num_central_groups * central,
        "auxiliary": depth * auxiliary,
        "adapters": depth * adapter_counts(config),
        "dense": 0,
        "rest": _pooler(config)
        + biases * (1 if config.share_biases else depth)
        + norms * (1 if config.share_norms else depth),
    }


def adapter_counts(config: MPOBertConfig) -> int:
    """Numbers of one layer's adapters, r (in + out) each."""
    return config.adapter_rank * sum(sum(config.shape(matrix)) for matrix in config.adapter_matrices)


def albert_counts(config: MPOBertConfig) -> dict[str, int]:
    """{part: its numbers} of the AlbertModel of the same sizes: one layer's numbers for any depth."""
    return {
        "embeddings": _albert_embeddings(config),
        **_dense(config, 1),
        "rest": _pooler(config) + _biases(config) + _norms(config),
    }


def bert_counts(config: MPOBertConfig, vocabulary: int | None = None) -> dict[str, int]:
    """{part: its numbers} of the BertModel of the same depth and width: every layer has all numbers of its own.

    vocabulary: None = that of the config. BERT's embeddings are as wide as its layers.
    """
    hidden, depth = config.hidden_size, config.num_hidden_layers
    words = config.vocab_size if vocabulary is None else vocabulary
    return {
        "embeddings": hidden * (words + config.max_position_embeddings + config.type_vocab_size + 2),
        **_dense(config, depth),
        "rest": _pooler(config) + depth * (_biases(config) + _norms(config)),
    }


def total(counts: Mapping[str, int]) -> int:
    """#To of the papers."""
    return sum(counts.values())


def _dense(config: MPOBertConfig, layers: int) -> dict[str, int]:
    matrices = layers * sum(math.prod(config.shape(matrix)) for matrix in MATRICES)
    return {"central": 0, "auxiliary": 0, "adapters": 0, "dense": matrices}


def _albert_embeddings(config: MPOBertConfig) -> int:
    rows = config.vocab_size + config.max_position_embeddings + config.type_vocab_size + 2  # 2: the LayerNorm
    return config.embedding_size * rows + (config.embedding_size + 1) * config.hidden_size


def _pooler(config: MPOBertConfig) -> int:
    return config.hidden_size * (config.hidden_size + 1)


def _biases(config: MPOBertConfig) -> int:
    """Of one layer's matrices."""
    return sum(config.shape(matrix)[0] for matrix in MATRICES)


def _norms(config: MPOBertConfig) -> int:
    """Of one layer's two LayerNorms."""
    return 4 * config.hidden_size
