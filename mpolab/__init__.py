"""mpolab: learn, explore and reproduce matrix product operators (MPO) in language models.

>>> from mpolab import MPO
>>> print(MPO.decompose(weight).show())  # doctest: +SKIP
>>> from mpolab import load, save_pretrained, to_mpo
>>> save_pretrained(to_mpo(model, ratio=0.3), "small")  # doctest: +SKIP
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import load, save_pretrained
    from .moe import to_moe
    from .mpo import MPO
    from .plans import Plan, make_plan
    from .surgery import freeze_central, to_dense, to_mpo, trainable_report

__version__ = "0.1.0"
__all__ = [
    "MPO",
    "Plan",
    "freeze_central",
    "load",
    "make_plan",
    "save_pretrained",
    "to_dense",
    "to_moe",
    "to_mpo",
    "trainable_report",
]

# Name -> where it lives. Loaded on first use, so that `mpolab --help` need not wait for torch. Names of the package's
# own files (`mpolab.squeeze` is one) cannot stand here: importing the file would put it in the name's place.
_LAZY = {
    "MPO": "mpo",
    "Plan": "plans",
    "make_plan": "plans",
    "to_mpo": "surgery",
    "to_dense": "surgery",
    "to_moe": "moe",
    "freeze_central": "surgery",
    "trainable_report": "surgery",
    "save_pretrained": "checkpoint",
    "load": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        if name.isidentifier() and find_spec(f"{__name__}.{name}"):  # mpolab.metrics without importing it first
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module 'mpolab' has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
