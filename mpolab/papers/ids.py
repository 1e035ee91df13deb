"""An id for every numbered equation, algorithm, table and figure of the three papers, and what it is.

Docstrings and notebooks point to these ids, and a claim of the ledger is about one of them. A table that is printed in
two halves has one id here ("mpobert-tab1") and one more for each half in `TABLES` ("mpobert-tab1-dev").
"""

from __future__ import annotations

import re

from ..errors import unknown

PAPERS: dict[str, str] = {
    "mpop": "Liu et al. 2021, Enabling Lightweight Fine-tuning for Pre-trained Language Model Compression based on "
    "Matrix Product Operators (ACL)",
    "mpobert": "Liu et al. 2023, Enhancing Scalability of Pre-trained Language Models via Efficient Parameter Sharing "
    "(Findings of EMNLP)",
    "mpoe": "Gao et al. 2022, Parameter-Efficient Mixture-of-Experts Architecture for Pre-trained Language Models "
    "(COLING)",
}

NAMES: dict[str, str] = {"mpop": "MPOP", "mpobert": "MPOBERT", "mpoe": "MPOE"}

_LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "mpop": {
        "eq": (
            "a matrix as a product of n local tensors",
            "the full bond dimensions",
            "the local truncation error of a bond",
            "the bound on the whole truncation error",
            "the compression ratio",
            "the entanglement entropy of a bond",
        ),
        "alg": ("decomposition from left to right", "training with dimension squeezing"),
        "tab": (
            "how far fine-tuning moves parameters",
            "inference time of low-rank methods",
            "GLUE with ALBERT",
            "other models than ALBERT",
            "only the last layers of BERT",
        ),
        "fig": ("a matrix and its five local tensors", "error over compression ratio: CPD and MPO, numbers of tensors"),
    },
    "mpobert": {
        "eq": (
            "a matrix as a product of n local tensors",
            "the bound on one update of the model",
            "that bound in Theorem A.1",
            "a sub-layer with its LayerNorm",
            "the same for numbers in place of matrices",
            "one update, expanded by tensors",
            "a sub-layer's derivative by its input",
            "a sub-layer's derivative by its weight",
            "a weight as a product of three tensors",
            "one update of the scalar model",
            "that update, bounded",
            "the condition of Corollary A.2",
            "the bound without the centre's update",
            "the same by the chain rule",
            "the same with the assumptions of the proof",
            "the update is O(1)",
            "the condition that the initialisation meets",
        ),
        "alg": ("training, from ALBERT's decomposition",),
        "tab": (
            "GLUE and SQuAD",
            "multi-task learning on GLUE",
            "few shots",
            "without adapters, without sharing",
            "ranks of the adapter",
            "the strongest variants of popular models",
        ),
        "fig": (
            "size, depth and score",
            "an encoder whose layers share central tensors",
            "pre-training from random numbers and from ALBERT",
            "what the layers know, by probing",
        ),
    },
    "mpoe": {
        "eq": (
            "a mixture of experts",
            "noisy top-k gating",
            "a matrix as a product of m local tensors",
            "the gradient mask of the central tensor",
        ),
        "alg": ("updating with the gradient mask",),
        "tab": (
            "GLUE with T5, generation with GPT-2",
            "multi-task learning on GLUE",
            "without sharing, without the gradient mask",
            "numbers of tensors",
        ),
        "fig": ("a matrix and its five local tensors", "experts that share central tensors; the gradient mask"),
    },
}

ITEMS: dict[str, str] = {
    f"{paper}-{kind}{number}": about
    for paper, kinds in _LISTS.items()
    for kind, found in kinds.items()
    for number, about in enumerate(found, 1)
}
"""id -> what it is."""

_KINDS = {"eq": "eq. ", "alg": "Algorithm ", "tab": "Table ", "fig": "Figure "}
_ID = re.compile(r"(?P<paper>[a-z]+)-(?P<kind>[a-z]+)(?P<number>\d+)")


def check_item(id: str) -> str:
    """The id itself. Raises UnknownNameError, with the nearest ids, for one that is none."""
    if id not in ITEMS:
        raise unknown("item of the papers", id, ITEMS)
    return id


def item_of(table: str) -> str:
    """ "mpobert-tab1-dev" -> "mpobert-tab1". Raises UnknownNameError for an id of no item."""
    found = _ID.match(table)
    return check_item(found[0] if found else table)


def paper_of(item: str) -> str:
    """ "mpobert-tab1" -> "MPOBERT". Raises UnknownNameError for an id that is none."""
    return NAMES[check_item(item).partition("-")[0]]


def label(item: str) -> str:
    """ "mpobert-tab1" -> "MPOBERT Table 1". Raises UnknownNameError for an id that is none."""
    found = _ID.fullmatch(check_item(item))
    return f"{NAMES[found['paper']]} {_KINDS[found['kind']]}{found['number']}"
