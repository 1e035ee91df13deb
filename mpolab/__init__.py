"""mpolab: learn, explore and reproduce matrix product operators (MPO) in language models.

>>> from mpolab import MPO
>>> print(MPO.decompose(weight).show())  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .mpo import MPO
    from .plans import Plan, make_plan

__version__ = "0.1.0"
__all__ = ["MPO", "Plan", "make_plan"]


def __getattr__(name: str) -> Any:
    """Loads on first use, so that `mpolab --help` need not wait for torch."""
    if name == "MPO":
        from .mpo import MPO

        return MPO
    if name in ("Plan", "make_plan"):
        from . import plans

        return getattr(plans, name)
    raise AttributeError(f"module 'mpolab' has no attribute {name!r}")
