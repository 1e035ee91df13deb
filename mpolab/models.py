"""Models under one name: where a pre-trained one comes from (`pretrained.py`), which matrices it holds (`matrices.py`),
and the models of this project, which are imported when they are first asked for: MPOBERT (`mpobert.py`).
"""

import importlib
from typing import Any

from .matrices import CROSS_ATTENTION, KINDS, LAYERS, Matrix, matrices, select, short_label
from .pretrained import (
    ALIASES,
    HEADS,
    HUB_SECONDS,
    MINILM,
    PACKAGE,
    PACKAGE_MODULE,
    PACKAGE_SHA256,
    Pretrained,
    load_pretrained,
    quiet_transformers,
)

_OWN = {
    "MPOBertConfig": "mpobert_config",
    **dict.fromkeys(
        (
            "MPOBertModel",
            "MPOBertForMaskedLM",
            "MPOBertForPreTraining",
            "MPOBertForQuestionAnswering",
            "MPOBertForSequenceClassification",
            "MPOBertForTokenClassification",
        ),
        "mpobert",
    ),
}
"""Class -> the file that has it."""


def __getattr__(name: str) -> Any:
    if name not in _OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_OWN[name]}", __package__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OWN])


__all__ = [
    "ALIASES",
    "CROSS_ATTENTION",
    "HEADS",
    "HUB_SECONDS",
    "KINDS",
    "LAYERS",
    "MINILM",
    "PACKAGE",
    "PACKAGE_MODULE",
    "PACKAGE_SHA256",
    "Matrix",
    "Pretrained",
    "load_pretrained",
    "matrices",
    "quiet_transformers",
    "select",
    "short_label",
]
