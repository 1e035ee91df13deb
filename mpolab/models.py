"""Pre-trained models and their matrices under one name: `pretrained.py` says where a model comes from, `matrices.py`
which matrices it holds.
"""

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
